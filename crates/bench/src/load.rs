//! The load generator: wrk, on the cores that the server has not.

use anyhow::{Context, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// The host that every request names.
pub(crate) const HOST: &str = "www.bench.test";

/// What wrk counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) requests: u64,
    pub(crate) secs: f64,
    /// Answers that were no success, and connections that failed.
    pub(crate) failed: u64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) body_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) connections: u32,
    pub(crate) secs: u32,
}

/// The script that asks for keys in a random order of its own.
pub(crate) fn script(load: &Load) -> String {
    format!(
        "local state = 12345\n\
         request = function()\n\
         \x20 state = (state * 1103515245 + 12345) % 2147483648\n\
         \x20 return wrk.format('GET', '/{}/' .. math.floor(state / 256) % {})\n\
         end\n",
        load.body_bytes, load.keys
    )
}

/// Runs it.
pub(crate) fn run(address: SocketAddr, load: &Load, work: &Path) -> anyhow::Result<Loaded> {
    let path = work.join("load.lua");
    fs::write(&path, script(load))?;
    let cores = match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => "0".to_owned(),
        cores => format!("1-{}", cores - 1),
    };
    let output = Command::new("taskset")
        .args(["-c", &cores, "wrk", "-t1"])
        .arg(format!("-c{}", load.connections))
        .arg(format!("-d{}s", load.secs))
        .args(["-H", &format!("Host: {HOST}"), "-s"])
        .arg(&path)
        .arg(format!("http://{address}/"))
        .output()
        .context("wrk can't be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse(&text) {
        Some(loaded) => Ok(loaded),
        None => bail!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn parse(text: &str) -> Option<Loaded> {
    let mut loaded = Loaded::default();
    let mut found = false;
    for line in text.lines().map(str::trim) {
        if let Some((requests, rest)) = line.split_once(" requests in ") {
            loaded.requests = requests.parse().ok()?;
            loaded.secs = seconds(rest.split(',').next()?)?;
            found = true;
        } else if let Some(failed) = line.strip_prefix("Non-2xx or 3xx responses:") {
            loaded.failed += failed.trim().parse::<u64>().ok()?;
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            let counts = errors.split(',').filter_map(|part| part.split_whitespace().nth(1));
            loaded.failed += counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>();
        }
    }
    found.then_some(loaded)
}

fn seconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else {
        (text.strip_suffix('m')?, 60.0)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 2s test @ http://a/\n  1 threads and 2 connections\n  27854 requests in 2.01s, 37.85MB read\n\
                    \x20 Socket errors: connect 0, read 1, write 0, timeout 2\n  Non-2xx or 3xx responses: 4\nRequests/sec: 1";
        let expected = Loaded { requests: 27_854, secs: 2.01, failed: 7 };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("unable to connect"), None);
        assert_eq!((seconds("900.5ms"), seconds("1.50m")), (Some(0.9005), Some(90.0)));
    }

    #[test]
    fn the_script_asks_for_the_keys() {
        let load = Load { body_bytes: 1024, keys: 100, connections: 1, secs: 1 };
        assert!(script(&load).contains("'/1024/' .. math.floor(state / 256) % 100"));
    }
}
