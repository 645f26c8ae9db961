//! `bench control`: how many purges a second a control plane takes, durably and with signatures checked, and how long
//! one large call takes. On SQLite and on PostgreSQL; the control plane has one core, callers and database the others.

use crate::api::{Api, SECRET_ID, SECRET_KEY};
use crate::postgres_server::PostgresServer;
use crate::process::{Process, free_address};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many connections send calls.
const SENDERS: usize = 64;

/// How many large calls are timed.
const LARGE_CALLS: usize = 11;

/// How many URLs each of them has.
const LARGE_CALL_URLS: usize = 5000;

/// What one store came to.
pub(crate) struct Numbers {
    store: &'static str,
    calls_per_sec: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us_per_call: f64,
    large_call_ms: f64,
    large_call_max_ms: f64,
}

/// Measures both, for `seconds` each.
pub(crate) fn run(binary: &Path, seconds: u64) -> anyhow::Result<String> {
    // Whatever is started from here on, except what a Process is, stays off its core.
    let others = match std::thread::available_parallelism()?.get() {
        1 => "0".to_owned(),
        count => format!("1-{}", count - 1),
    };
    let pinned = Command::new("taskset").args(["-apc", &others, &std::process::id().to_string()]).output()?;
    ensure!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
    let scratch = tempfile::tempdir()?;
    let sqlite = measure("SQLite", binary, &scratch.path().join("sqlite"), None, seconds)?;
    let server = PostgresServer::start_with(&["synchronous_commit=on", "fsync=on"]);
    let data = scratch.path().join("postgres");
    let postgres = measure("PostgreSQL", binary, &data, Some(&server.database()), seconds)?;
    Ok(table(&[sqlite, postgres]))
}

fn measure(
    store: &'static str,
    binary: &Path,
    data: &Path,
    database: Option<&str>,
    seconds: u64,
) -> anyhow::Result<Numbers> {
    std::fs::create_dir_all(data)?;
    let address = free_address()?;
    let mut command = Command::new(binary);
    command.args(["control", "--rate-limit", "0", "--api-listen", &address.to_string(), "--data"]).arg(data);
    command.env("EVERFRESH_SECRET_ID", SECRET_ID).env("EVERFRESH_SECRET_KEY", SECRET_KEY);
    command.env("EVERFRESH_LOG", "warn");
    if let Some(database) = database {
        command.env("EVERFRESH_DATABASE", database);
    }
    let process = Process::start(&mut command, address, &data.join("log"))?;
    let mut api = Api::connect(address)?;
    let zone =
        api.call("2022-09-01", "CreateZone", &json!({"ZoneName": "example.com", "Type": "partial"}))?;
    let zone = zone.get("ZoneId").and_then(Value::as_str).context("no ZoneId")?.to_owned();
    let quota =
        json!({"ZoneId": zone, "Type": "purge_url", "Batch": LARGE_CALL_URLS, "Daily": 1_000_000_000});
    api.call("2026-11-01", "ModifyContentQuota", &quota)?;
    let large = large_calls(&mut api, &zone)?;
    // The first second warms up.
    send(address, &zone, Duration::from_secs(1))?;
    let (before, started) = (process.cpu(), Instant::now());
    let mut waits = send(address, &zone, Duration::from_secs(seconds))?;
    let (after, elapsed) = (process.cpu(), started.elapsed());
    let count = waits.len() as f64;
    let cpu_us = after.user_us + after.system_us - before.user_us - before.system_us;
    waits.sort_unstable();
    let at = |share: f64| waits.get((count * share) as usize).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    Ok(Numbers {
        store,
        calls_per_sec: count / elapsed.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us_per_call: cpu_us / count,
        large_call_ms: large[LARGE_CALLS / 2].as_secs_f64() * 1e3,
        large_call_max_ms: large[LARGE_CALLS - 1].as_secs_f64() * 1e3,
    })
}

fn large_calls(api: &mut Api, zone: &str) -> anyhow::Result<Vec<Duration>> {
    let mut waits = Vec::with_capacity(LARGE_CALLS);
    for call in 0..LARGE_CALLS {
        let urls: Vec<String> =
            (0..LARGE_CALL_URLS).map(|url| format!("http://www.example.com/{call}/{url}.html")).collect();
        let purge = json!({"ZoneId": zone, "Type": "purge_url", "Targets": urls});
        let sent = Instant::now();
        api.call("2022-09-01", "CreatePurgeTask", &purge)?;
        waits.push(sent.elapsed());
    }
    waits.sort_unstable();
    Ok(waits)
}

/// How long each call took that was answered within this time.
fn send(address: SocketAddr, zone: &str, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = |number: usize| {
            let ended = &ended;
            move || -> anyhow::Result<Vec<Duration>> {
                let mut api = Api::connect(address)?;
                let mut waits = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let url = format!("http://www.example.com/{number}/{}.html", waits.len());
                    let purge = json!({"ZoneId": zone, "Type": "purge_url", "Targets": [url]});
                    let sent = Instant::now();
                    api.call("2022-09-01", "CreatePurgeTask", &purge)?;
                    waits.push(sent.elapsed());
                }
                Ok(waits)
            }
        };
        let senders: Vec<_> = (0..SENDERS).map(|number| scope.spawn(sender(number))).collect();
        std::thread::sleep(time);
        ended.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for sender in senders {
            waits.extend(sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??);
        }
        Ok(waits)
    })
}

fn table(rows: &[Numbers]) -> String {
    let mut text = format!(
        "| store | purges a second ({SENDERS} callers) | P50 ms | P99 ms | CPU of the control plane per call, µs | \
         {LARGE_CALL_URLS} URLs in one call, median ms | slowest of {LARGE_CALLS}, ms |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        text.push_str(&format!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} |\n",
            row.store,
            row.calls_per_sec,
            row.p50_ms,
            row.p99_ms,
            row.cpu_us_per_call,
            row.large_call_ms,
            row.large_call_max_ms
        ));
    }
    text
}
