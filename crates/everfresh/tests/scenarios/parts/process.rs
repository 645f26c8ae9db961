//! Child processes and waiting, both bounded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// How long anything may take that takes a moment on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is something to return, for at most `limit`; then fails, saying what it waited for.
pub(crate) fn until<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"))
}

/// Looks until there is something to return, for at most `limit`.
pub(crate) fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A child process that is killed, by its own id, when the value goes.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command, install: &str) -> Self {
        match quiet(command).spawn() {
            Ok(child) => Self { child },
            Err(error) => panic!("cannot start {:?}: {error}; {install}", command.get_program()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).unwrap();
    }

    /// Stops it where it is. Returns once none of its threads runs any more.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.child.id());
        until(PATIENCE, "the process should stop", || {
            let is_stopped = |thread: std::fs::DirEntry| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // Behind the name, which may hold anything but is in parentheses.
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            };
            std::fs::read_dir(&threads).unwrap().all(|thread| is_stopped(thread.unwrap())).then_some(())
        });
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that ran to its end did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end. `scratch` is where its output goes meanwhile.
pub(crate) fn run(command: &mut Command, scratch: &Path, install: &str) -> Ran {
    let (out, err) = (scratch.join("out"), scratch.join("err"));
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut process = Process::spawn(command, install);
    let what = format!("{command:?} should end");
    let status = until(PATIENCE, &what, || process.ended());
    let text = |path: &PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    Ran { code: status.code(), out: text(&out), err: text(&err) }
}

/// Leaves a child nothing of this process's own input and proxies: all traffic stays on this machine.
fn quiet(command: &mut Command) -> &mut Command {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

/// The virtual environment with the official clients.
pub(crate) fn virtual_environment() -> PathBuf {
    let given = option_from_environment("EVERFRESH_TEST_VENV").map(PathBuf::from);
    let path = given
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join(".venv"));
    assert!(
        path.join("bin/tccli").exists(),
        "the official clients are not installed in {}: run `make test`, which installs them",
        path.display()
    );
    path
}

fn option_from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A child's standard input that is empty.
pub(crate) fn no_input() -> Stdio {
    Stdio::null()
}
