//! `everfresh serve`, and the commands that speak to it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::process::{PATIENCE, Process, Ran, no_input, run, until};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_everfresh");

/// The domain that every network of these scenarios has from the start.
pub(crate) const HOST: &str = "www.example.com";

/// How `everfresh serve` is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Serve {
    edges: usize,
    origin: String,
    data: Option<PathBuf>,
    key: Option<(String, String)>,
    api_listen: String,
    more: Vec<String>,
}

impl Serve {
    /// Two edges before an origin, on a data directory and with a key of their own.
    pub(crate) fn new(origin: &str) -> Self {
        let key = ("AKIDscenario".to_owned(), "scenario-key".to_owned());
        let api_listen = "127.0.0.1:0".to_owned();
        Self { edges: 2, origin: origin.to_owned(), data: None, key: Some(key), api_listen, more: Vec::new() }
    }

    pub(crate) fn edges(mut self, edges: usize) -> Self {
        self.edges = edges;
        self
    }

    pub(crate) fn data(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// Leaves it to `serve` to make the first key.
    pub(crate) fn without_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub(crate) fn api_listen(mut self, address: &str) -> Self {
        self.api_listen = address.to_owned();
        self
    }

    pub(crate) fn more(mut self, arguments: &[&str]) -> Self {
        self.more.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts it, and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Everfresh {
        self.try_start().unwrap_or_else(|ended| panic!("everfresh serve ended: {ended:?}"))
    }

    /// Starts it, and waits until it serves or has ended.
    pub(crate) fn try_start(self) -> Result<Everfresh, Ran> {
        let own = Arc::new(TempDir::new().unwrap());
        let data = self.data.unwrap_or_else(|| own.path().join("data"));
        let log = own.path().join("log");
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--json", "--domain", HOST, "--origin", &self.origin]);
        command.args(["--api-listen", &self.api_listen]).arg("--data").arg(&data);
        for _ in 0..self.edges {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(&self.more).env_remove("EVERFRESH_SECRET_ID").env_remove("EVERFRESH_SECRET_KEY");
        if let Some((secret_id, secret_key)) = &self.key {
            command.env("EVERFRESH_SECRET_ID", secret_id).env("EVERFRESH_SECRET_KEY", secret_key);
        }
        command.stdin(no_input()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut process = Process::spawn(&mut command, "cargo builds it");
        match first_line(&mut process) {
            Some(line) => {
                let ready: Value =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
                Ok(Everfresh::new(&ready, self.key, process, data, own))
            }
            None => {
                let status = until(PATIENCE, "everfresh serve closed its output", || process.ended());
                let err = std::fs::read_to_string(&log).unwrap();
                Err(Ran { code: status.code(), out: String::new(), err })
            }
        }
    }
}

/// The first line of its output; `None` if it ends without one.
pub(super) fn first_line(process: &mut Process) -> Option<String> {
    first_lines(process, 1).pop()
}

/// The first lines of its output, so many unless it ends before.
fn first_lines(process: &mut Process, count: usize) -> Vec<String> {
    let mut output = BufReader::new(process.child.stdout.take().unwrap());
    let (sender, lines) = sync_channel(1);
    std::thread::spawn(move || {
        let read = output.by_ref().lines().take(count).map_while(Result::ok).collect();
        // Nobody listens any more after a time that was too long.
        let _ = sender.send(read);
        // What else it prints must not fill the pipe.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    lines.recv_timeout(PATIENCE).expect("everfresh should say that it is ready, or end")
}

/// A running `everfresh serve`.
#[derive(Debug)]
pub(crate) struct Everfresh {
    pub(crate) edges: Vec<SocketAddr>,
    /// The API with its scheme.
    pub(crate) api: String,
    pub(crate) zone_id: String,
    pub(crate) secret_id: String,
    pub(crate) secret_key: String,
    pub(crate) data: PathBuf,
    /// What it printed when it was ready.
    pub(crate) ready: Value,
    process: Process,
    own: Arc<TempDir>,
}

impl Everfresh {
    fn new(
        ready: &Value,
        key: Option<(String, String)>,
        process: Process,
        data: PathBuf,
        own: Arc<TempDir>,
    ) -> Self {
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let edges = ready["edges"].as_array().unwrap();
        let (secret_id, secret_key) = key.unwrap_or_else(|| (text("secret_id"), text("secret_key")));
        Self {
            edges: edges.iter().map(|edge| edge.as_str().unwrap().parse().unwrap()).collect(),
            api: text("api"),
            zone_id: text("zone_id"),
            secret_id,
            secret_key,
            data,
            ready: ready.clone(),
            process,
            own,
        }
    }

    /// GETs a path of the domain from one edge.
    pub(crate) fn get(&self, edge: usize, path: &str) -> Answer {
        http::get(self.edges[edge], HOST, path)
    }

    /// The same from every edge.
    pub(crate) fn get_everywhere(&self, path: &str) -> Vec<Answer> {
        (0..self.edges.len()).map(|edge| self.get(edge, path)).collect()
    }

    /// Runs a command against its API with its first key.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ran {
        let scratch = TempDir::new().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("HOME", scratch.path()).stdin(no_input());
        command.env("EVERFRESH_ENDPOINT", &self.api);
        command.env("EVERFRESH_SECRET_ID", &self.secret_id).env("EVERFRESH_SECRET_KEY", &self.secret_key);
        run(&mut command, scratch.path(), "cargo builds it")
    }

    /// Runs a command that succeeds, and returns what it printed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.command(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Starts an edge in a process of its own that follows this control plane.
    pub(crate) fn start_edge(&self, name: &str) -> Edge {
        let token_file = self.data.join("edge.token");
        self.start_edge_with(&[
            "--listen",
            "127.0.0.1:0",
            "--name",
            name,
            "--control",
            self.ready["feed"].as_str().unwrap(),
            "--token-file",
            token_file.to_str().unwrap(),
        ])
    }

    /// Starts an edge in a process of its own with just these arguments.
    pub(crate) fn start_edge_with(&self, arguments: &[&str]) -> Edge {
        start_edge(arguments, &[])
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// Stops it where it is.
    pub(crate) fn sleep(&self) {
        self.process.stop();
    }

    /// Lets it go on.
    pub(crate) fn wake_up(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends_within(&mut self, limit: Duration) -> ExitStatus {
        until(limit, "everfresh serve should end", || self.process.ended())
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.own.path().join("log")).unwrap()
    }
}

/// Starts an edge in a process of its own with just these arguments and this environment.
pub(super) fn start_edge(arguments: &[&str], environment: &[(&str, &str)]) -> Edge {
    let mut command = Command::new(PROGRAM);
    command.arg("edge").args(arguments).env_remove("EVERFRESH_EDGE_TOKEN").envs(environment.iter().copied());
    command.stdin(no_input()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process::spawn(&mut command, "cargo builds it");
    let has_admin = arguments.contains(&"--admin-listen");
    let lines = first_lines(&mut process, if has_admin { 2 } else { 1 });
    let address = |line: &String| {
        let address = line.rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        address.unwrap_or_else(|| panic!("{lines:?}"))
    };
    let listens = lines.first().map(address).expect("the edge should say that it is ready");
    Edge { address: listens, admin: lines.get(1).map(address), process }
}

/// A running `everfresh edge`.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    /// Where it tells of itself, if it was asked to.
    pub(crate) admin: Option<SocketAddr>,
    process: Process,
}

impl Edge {
    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// The most memory it has held at once, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Stops it where it is, as a machine does that is suspended.
    pub(crate) fn sleep(&self) {
        self.process.stop();
    }

    /// Lets it go on.
    pub(crate) fn wake_up(&self) {
        self.process.signal(Signal::CONT);
    }
}

impl Drop for Everfresh {
    #[expect(clippy::print_stderr, reason = "whoever looks into a failed test wants the log")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("everfresh serve logged, newest first:\n{}", tail.join("\n"));
        }
    }
}
