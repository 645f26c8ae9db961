//! What is measured, one thing after the other.

use crate::api::read_answer;
use crate::load::{self, HOST, Load, Loaded};
use crate::machine::{Machine, load as machine_load};
use crate::origin;
use crate::process::Cpu;
use crate::purges::{self, Kind as PurgeKind};
use crate::servers::{Kind, Server};
use crate::watch::Watch;
use anyhow::Context;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How many connections fill a cache.
const FILLERS: u32 = 3;

/// The size of the objects that purges are measured with, in bytes.
const SMALL: u64 = 1024;

/// How long an answer may take while a cache is filled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is measured.
pub(crate) struct Plan {
    /// Sizes of bodies, and how many objects of each.
    sizes: Vec<(u64, u64)>,
    /// How often each server is asked, in turns, so that what else the machine does meets all.
    rounds: u32,
    secs: u32,
    kinds: Vec<PurgeKind>,
    rates: Vec<u32>,
    /// How many objects lie in the cache when a purge is timed.
    objects: Vec<u64>,
    idle_connections: u32,
    /// What has not begun by then is left out.
    time_max: Duration,
}

impl Plan {
    /// Everything, in about a quarter of an hour.
    pub(crate) fn full() -> Self {
        Self {
            sizes: vec![(SMALL, 100_000), (16 * 1024, 10_000), (1024 * 1024, 100)],
            rounds: 3,
            secs: 3,
            kinds: PurgeKind::ALL.to_vec(),
            rates: vec![1, 100, 1000],
            objects: vec![10_000, 100_000, 1_000_000],
            idle_connections: 5_000,
            time_max: Duration::from_secs(40 * 60),
        }
    }

    /// The same in about a minute.
    pub(crate) fn quick() -> Self {
        Self {
            sizes: vec![(SMALL, 1_000), (1024 * 1024, 10)],
            rounds: 2,
            secs: 1,
            kinds: vec![PurgeKind::Url, PurgeKind::Tag, PurgeKind::Prefix],
            rates: vec![100],
            objects: vec![1_000],
            idle_connections: 500,
            time_max: Duration::from_secs(5 * 60),
        }
    }
}

impl Plan {
    /// Without the purges at more objects than that.
    pub(crate) fn with_objects_max(mut self, objects_max: u64) -> Self {
        self.objects.retain(|objects| *objects <= objects_max);
        self
    }
}

/// Requests of one server, and what they cost it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) server: Kind,
    pub(crate) loaded: Loaded,
    pub(crate) cpu: Cpu,
}

impl Served {
    /// Requests for each second of the server's processor.
    pub(crate) fn per_cpu_sec(&self) -> f64 {
        let used_us = self.cpu.user_us + self.cpu.system_us;
        if used_us > 0.0 { self.loaded.requests as f64 * 1e6 / used_us } else { 0.0 }
    }
}

/// Hits of one size.
pub(crate) struct Hits {
    pub(crate) body_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) served: Vec<Served>,
}

/// Hits while purges come.
pub(crate) struct UnderPurges {
    pub(crate) kind: PurgeKind,
    pub(crate) asked_per_sec: u32,
    pub(crate) purges_per_sec: f64,
    pub(crate) served: Served,
}

/// How long purges take.
pub(crate) struct PurgeTime {
    pub(crate) server: Kind,
    pub(crate) kind: PurgeKind,
    pub(crate) objects: u64,
    pub(crate) done: Duration,
    pub(crate) shown: Duration,
}

/// What things take in memory, in bytes.
pub(crate) struct Memory {
    pub(crate) server: Kind,
    pub(crate) object: f64,
    pub(crate) idle_connection: f64,
}

pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// The load averages after the run.
    pub(crate) load_after: String,
    pub(crate) hits: Vec<Hits>,
    pub(crate) quiet: Vec<Served>,
    pub(crate) under_purges: Vec<UnderPurges>,
    pub(crate) purge_times: Vec<PurgeTime>,
    pub(crate) memory: Vec<Memory>,
    /// What was not measured, since time was up.
    pub(crate) left_out: Vec<String>,
}

/// Measures all of a plan, and tells on the way what it is at.
pub(crate) fn all(binary: &Path, plan: &Plan) -> anyhow::Result<Results> {
    let origin = origin::start()?;
    let work = TempDir::new()?;
    let mut watch = Watch::start(plan.time_max);
    let mut results = Results {
        machine: Machine::read()?,
        load_after: String::new(),
        hits: Vec::new(),
        quiet: Vec::new(),
        under_purges: Vec::new(),
        purge_times: Vec::new(),
        memory: Vec::new(),
        left_out: Vec::new(),
    };
    for (body_bytes, keys) in plan.sizes.iter().copied() {
        if watch.begin(&format!("hits of {body_bytes} bytes, {keys} objects")) {
            hits(binary, origin, plan, (body_bytes, keys), work.path(), &mut results)?;
        }
    }
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_purged()) {
        let server = Server::start(kind, binary, origin)?;
        let mut filled = 0;
        for objects in plan.objects.iter().copied() {
            if !watch.begin(&format!("purges of {} at {objects} objects", kind.name())) {
                continue;
            }
            fill(server.address, SMALL, filled..objects)?;
            filled = objects;
            for purge in plan.kinds.iter().copied() {
                let (done, shown) = purges::time(&server, purge, SMALL)?;
                results.purge_times.push(PurgeTime { server: kind, kind: purge, objects, done, shown });
                // What a purge took away is there again for the next.
                fill(server.address, SMALL, 0..objects.min(1_000))?;
            }
        }
        drop(server);
        let server = Server::start(kind, binary, origin)?;
        let load = Load { body_bytes: SMALL, keys: 1_000, connections: 32, secs: plan.secs };
        fill(server.address, SMALL, 0..load.keys)?;
        results.quiet.push(served(&server, &load, work.path())?);
        for purge in plan.kinds.iter().copied() {
            for per_sec in plan.rates.iter().copied() {
                if watch.begin(&format!(
                    "hits of {} while {per_sec} × {} a second",
                    kind.name(),
                    purge.name()
                )) {
                    let row = while_purging(&server, &load, purge, per_sec, work.path())?;
                    results.under_purges.push(row);
                }
            }
        }
    }
    results.load_after = machine_load();
    results.left_out = watch.end();
    Ok(results)
}

/// Measures the hits of one size, and what things take in memory where they are small.
fn hits(
    binary: &Path,
    origin: SocketAddr,
    plan: &Plan,
    (body_bytes, keys): (u64, u64),
    work: &Path,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let server = Server::start(kind, binary, origin)?;
        let before = server.process.memory_bytes();
        fill(server.address, body_bytes, 0..keys)?;
        if body_bytes == SMALL {
            let object = grown(&server, before, keys);
            let idle_connection = idle(&server, plan.idle_connections)?;
            results.memory.push(Memory { server: kind, object, idle_connection });
        }
        servers.push(server);
    }
    let load = Load { body_bytes, keys, connections: 32, secs: plan.secs };
    results.hits.push(Hits { body_bytes, keys, served: in_turns(&servers, &load, plan.rounds, work)? });
    Ok(())
}

fn served(server: &Server, load: &Load, work: &Path) -> anyhow::Result<Served> {
    let before = server.process.cpu();
    let loaded = load::run(server.address, load, work)?;
    let after = server.process.cpu();
    let cpu = Cpu { user_us: after.user_us - before.user_us, system_us: after.system_us - before.system_us };
    Ok(Served { server: server.kind, loaded, cpu })
}

fn in_turns(servers: &[Server], load: &Load, rounds: u32, work: &Path) -> anyhow::Result<Vec<Served>> {
    let mut sums: Vec<Served> = Vec::new();
    for _ in 0..rounds {
        for (at, server) in servers.iter().enumerate() {
            let served = served(server, load, work)?;
            match sums.get_mut(at) {
                None => sums.push(served),
                Some(sum) => {
                    sum.loaded.requests += served.loaded.requests;
                    sum.loaded.secs += served.loaded.secs;
                    sum.loaded.failed += served.loaded.failed;
                    sum.cpu.user_us += served.cpu.user_us;
                    sum.cpu.system_us += served.cpu.system_us;
                }
            }
        }
    }
    Ok(sums)
}

fn while_purging(
    server: &Server,
    load: &Load,
    kind: PurgeKind,
    per_sec: u32,
    work: &Path,
) -> anyhow::Result<UnderPurges> {
    let stop = AtomicBool::new(false);
    let (served, sent) = std::thread::scope(|scope| {
        let purging = scope.spawn(|| purges::at_rate(server, kind, per_sec, &stop));
        let served = served(server, load, work);
        stop.store(true, Ordering::Relaxed);
        (served, purging.join())
    });
    let served = served?;
    let sent = sent.map_err(|_| anyhow::anyhow!("the purges ended by a panic"))??;
    let purges_per_sec = sent as f64 / served.loaded.secs.max(0.1);
    Ok(UnderPurges { kind, asked_per_sec: per_sec, purges_per_sec, served })
}

/// Asks for each object once.
fn fill(address: SocketAddr, body_bytes: u64, keys: std::ops::Range<u64>) -> anyhow::Result<()> {
    let next = AtomicU64::new(keys.start);
    std::thread::scope(|scope| {
        let filling: Vec<_> = (0..FILLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(address)?;
                    loop {
                        let key = next.fetch_add(1, Ordering::Relaxed);
                        if key >= keys.end {
                            return anyhow::Ok(());
                        }
                        ask(&mut stream, body_bytes, key)?;
                    }
                })
            })
            .collect();
        for filler in filling {
            filler.join().map_err(|_| anyhow::anyhow!("a filler ended by a panic"))??;
        }
        Ok(())
    })
}

fn connect(address: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).with_context(|| format!("no connection to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(BufReader::new(stream))
}

fn ask(stream: &mut BufReader<TcpStream>, body_bytes: u64, key: u64) -> anyhow::Result<()> {
    write!(stream.get_mut(), "GET /{body_bytes}/{key} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    let (head, body) = read_answer(stream)?;
    anyhow::ensure!(body.len() as u64 == body_bytes, "{} bytes of {body_bytes}: {head}", body.len());
    Ok(())
}

/// Opens connections that have asked once and wait. What each takes.
fn idle(server: &Server, count: u32) -> anyhow::Result<f64> {
    let before = server.process.memory_bytes();
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut stream = connect(server.address)?;
        ask(&mut stream, SMALL, 0)?;
        // The reader's buffer is this process's, and large.
        connections.push(stream.into_inner());
    }
    Ok(grown(server, before, u64::from(count)))
}

fn grown(server: &Server, before: u64, count: u64) -> f64 {
    server.process.memory_bytes().saturating_sub(before) as f64 / count.max(1) as f64
}
