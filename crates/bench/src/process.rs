//! A server under test as a process: on its own core, with what it costs.

use crate::machine::{field, number};
use anyhow::{Context, bail};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The core of the server under test.
const SERVER_CORE: &str = "0";

/// How the names of an edge's threads begin, in `/proc/<pid>/task/<tid>/stat`.
const EDGE_THREAD: &str = "(edge-";

/// A running server with its workers. Killed when dropped.
pub(crate) struct Process {
    child: Child,
}

/// What processes have used, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
}

impl Process {
    /// Starts it on the server's core, and waits until it listens at `address`.
    pub(crate) fn start(command: &mut Command, address: SocketAddr, log: &Path) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", SERVER_CORE]).arg(&program).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        let log = fs::File::create(log)?;
        let child = pinned
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("taskset can't be run")?;
        let mut process = Self { child };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("{} ended at its start: {status}", program.display());
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("{} does not listen at {address}", program.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// What it and its children have used so far. Of Everfresh only the edge's threads count: its control plane is at
    /// home elsewhere.
    pub(crate) fn cpu(&self) -> Cpu {
        let mut sum = Cpu::default();
        for pid in family(self.child.id()) {
            let stat = |path: String| fs::read_to_string(path).unwrap_or_default();
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let threads: Vec<String> =
                tasks.map(|task| stat(format!("{}/stat", task.path().display()))).collect();
            let edges: Vec<&String> = threads.iter().filter(|text| text.contains(EDGE_THREAD)).collect();
            let whole = stat(format!("/proc/{pid}/stat"));
            let counted = if edges.is_empty() { vec![&whole] } else { edges };
            for text in counted {
                let cpu = cpu_of_stat(text).unwrap_or_default();
                sum.user_us += cpu.user_us;
                sum.system_us += cpu.system_us;
            }
        }
        sum
    }

    /// How much memory they hold, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let of = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            field(&text, "VmRSS").and_then(|value| number(&value)).unwrap_or(0) * 1024
        };
        family(self.child.id()).into_iter().map(of).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in family(self.child.id()).into_iter().rev() {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process and those that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        at += 1;
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    all
}

/// User and system time of `/proc/<pid>/stat`, whose clock ticks a hundred times a second on Linux.
fn cpu_of_stat(text: &str) -> Option<Cpu> {
    // The name before it may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    Some(Cpu { user_us: fields.next()?? * 10_000.0, system_us: fields.next()?? * 10_000.0 })
}

/// A port that nobody listens at.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_of_stat(text), Some(Cpu { user_us: 1_500_000.0, system_us: 250_000.0 }));
        assert_eq!(cpu_of_stat("7 (a"), None);
        assert!(family(std::process::id()).contains(&std::process::id()));
    }
}
