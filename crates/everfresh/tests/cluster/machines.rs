//! The processes of the network, each on a host of its own, and how they are started again.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::net::Host;
use crate::process::{PATIENCE, Process, no_input, until, within};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_everfresh");

pub(crate) const SECRET_ID: &str = "AKIDcluster";
pub(crate) const SECRET_KEY: &str = "cluster-key";
const EDGE_TOKEN: &str = "cluster-edge-token-0123456789abcdef";
const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The port of the API, of the feed, of edges, of an edge's admin server, and of NATS.
pub(crate) const API_PORT: u16 = 8090;
pub(crate) const FEED_PORT: u16 = 8091;
pub(crate) const EDGE_PORT: u16 = 8080;
pub(crate) const ADMIN_PORT: u16 = 8088;

/// A program on a host, which may run or not.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) region: u8,
    /// Whether it is known to be without a lease.
    pub(crate) is_cut_off: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Process>,
}

impl Machine {
    /// `everfresh` with these arguments on a host, not yet started. Its logs go to `directory`.
    pub(crate) fn new(host: &Host, region: u8, directory: &Path, arguments: &[String]) -> Self {
        let environment = [
            ("EVERFRESH_SECRET_ID", SECRET_ID),
            ("EVERFRESH_SECRET_KEY", SECRET_KEY),
            ("EVERFRESH_MASTER_KEY", MASTER_KEY),
            ("EVERFRESH_EDGE_TOKEN", EDGE_TOKEN),
        ];
        Self {
            name: host.name.clone(),
            host: host.clone(),
            region,
            is_cut_off: false,
            arguments: arguments.to_vec(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            log: directory.join(format!("{}.log", host.name)),
            process: None,
        }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.host.command(PROGRAM);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(no_input()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(Process::spawn(&mut command, "apt-get install iproute2"));
    }

    /// Kills it, as a failing machine would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.signal(Signal::KILL);
        process.child.wait().unwrap();
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Panics, with its log, if it has ended by itself.
    pub(crate) fn check(&mut self) {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            panic!("{} ended, {status}:\n{}", self.name, self.log_end());
        }
    }

    /// Waits until `GET path` answers 200 on its host.
    pub(crate) fn answers(&mut self, port: u16, path: &'static str) {
        let address = SocketAddr::from((self.host.address, port));
        let host = self.host.clone();
        let mut last = None;
        let answers = within(PATIENCE, || {
            self.check();
            last = host.on(move || get(address, path)).join().unwrap();
            last.as_ref().filter(|(status, _)| *status == 200).map(|_| ())
        });
        if answers.is_none() {
            panic!("{} should answer {path} with 200, not {last:?}:\n{}", self.name, self.log_end());
        }
    }

    /// Waits until its admin server says that it has no lease.
    pub(crate) fn is_fenced(&mut self, port: u16) {
        let address = SocketAddr::from((self.host.address, port));
        until(PATIENCE, &format!("{} should be without a lease", self.name), || {
            self.check();
            let host = self.host.clone();
            host.on(move || get(address, "/readyz")).join().unwrap().filter(|(status, _)| *status == 503)
        });
    }

    /// The last lines that it wrote.
    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// The status of the answer to a GET, and the whole answer, if there is one.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address.ip());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    Some((status, answer))
}

/// Runs a client's command on a host, to its end.
pub(crate) fn client(host: &Host, endpoint: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command: Command = host.command(PROGRAM);
    command.args(arguments).env("EVERFRESH_ENDPOINT", endpoint).env("HOME", "/nonexistent");
    command.env("EVERFRESH_SECRET_ID", SECRET_ID).env("EVERFRESH_SECRET_KEY", SECRET_KEY);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}
