//! How a command ends.

use std::io;
use std::process::ExitCode;

/// How a command ended, as its exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the API refused.
    Refused,
    /// 2: wrong usage.
    Usage,
    /// 3: the endpoint cannot be reached, or is not this API.
    Unreachable,
    /// 4: a wait ran out of time.
    WaitTimedOut,
    /// 5: the task ended other than success.
    TaskEndedOtherwise,
    /// 6: some targets were not accepted.
    SomeTargetsFailed,
    /// 7: the output could not be written.
    OutputFailed,
    /// 8: an edge answered with what a finished purge had taken away.
    PromiseBroken,
}

impl Exit {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::WaitTimedOut => 4,
            Exit::TaskEndedOtherwise => 5,
            Exit::SomeTargetsFailed => 6,
            Exit::OutputFailed => 7,
            Exit::PromiseBroken => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum Failure {
    /// What the user asked for makes no sense; says what would.
    Usage(String),
    /// The API said no.
    Refused {
        /// Its code.
        code: String,
        /// What it says.
        message: String,
        /// The number of the request.
        request_id: String,
    },
    /// No answer of this API came back.
    Unreachable(String),
    /// The answer could not be printed.
    Output(io::Error),
}

impl Failure {
    /// The exit code that goes with it.
    pub const fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Refused { .. } => Exit::Refused,
            Failure::Unreachable(_) => Exit::Unreachable,
            Failure::Output(_) => Exit::OutputFailed,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Unreachable(text) => f.write_str(text),
            Failure::Refused { code, message, request_id } => write!(f, "{code}: {message} ({request_id})"),
            Failure::Output(error) => write!(f, "the output could not be written: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}
