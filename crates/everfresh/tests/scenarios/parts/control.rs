//! `everfresh control`, several of them on one PostgreSQL database.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::everfresh::{Edge, PROGRAM, first_line, start_edge};
use super::process::{Process, Ran, no_input, run};

/// What all control planes of one database share.
const SHARED: [(&str, &str); 4] = [
    ("EVERFRESH_MASTER_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    ("EVERFRESH_EDGE_TOKEN", "an-edge-token-for-scenarios-only"),
    ("EVERFRESH_SECRET_ID", "AKIDscenario"),
    ("EVERFRESH_SECRET_KEY", "scenario-key"),
];

/// A running `everfresh control`.
#[derive(Debug)]
pub(crate) struct Control {
    api: String,
    pub(crate) feed: SocketAddr,
    process: Process,
    own: TempDir,
}

impl Control {
    /// Starts one on a database, and waits until it is ready.
    pub(crate) fn start(database: &str) -> Self {
        let own = TempDir::new().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["control", "--json", "--api-listen", "127.0.0.1:0", "--feed-listen", "127.0.0.1:0"]);
        command.arg("--data").arg(own.path().join("data")).envs(SHARED).env("EVERFRESH_DATABASE", database);
        let log = File::create(own.path().join("log")).unwrap();
        command.stdin(no_input()).stdout(Stdio::piped()).stderr(log);
        let mut process = Process::spawn(&mut command, "cargo builds it");
        let Some(line) = first_line(&mut process) else {
            panic!("everfresh control ended: {}", std::fs::read_to_string(own.path().join("log")).unwrap());
        };
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { api: text("api"), feed: text("feed").parse().unwrap(), process, own }
    }

    /// Runs a command against its API.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ran {
        let scratch = TempDir::new().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("HOME", scratch.path()).stdin(no_input());
        command.envs(SHARED).env("EVERFRESH_ENDPOINT", &self.api);
        run(&mut command, scratch.path(), "cargo builds it")
    }

    /// Runs a command that succeeds, and returns what it printed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.command(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}\n{}", self.log());
        ran.out
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// What it logged so far.
    fn log(&self) -> String {
        std::fs::read_to_string(self.own.path().join("log")).unwrap()
    }
}

/// Runs `everfresh control` with these arguments, to its end.
pub(crate) fn control_command(arguments: &[&str], database: &str) -> Ran {
    let scratch = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("control").args(arguments).arg("--data").arg(scratch.path().join("data"));
    command.envs(SHARED).env("EVERFRESH_DATABASE", database).stdin(no_input());
    run(&mut command, scratch.path(), "cargo builds it")
}

/// Starts an edge that follows these control planes.
pub(crate) fn edge_of(name: &str, controls: &[&Control]) -> Edge {
    let feeds: Vec<String> = controls.iter().map(|control| control.feed.to_string()).collect();
    let token = [("EVERFRESH_EDGE_TOKEN", SHARED[1].1)];
    start_edge(&["--listen", "127.0.0.1:0", "--name", name, "--control", &feeds.join(",")], &token)
}
