//! What connections cost in memory, and that many of them harm nobody.
//!
//! `EVERFRESH_TEST_IDLE` and `EVERFRESH_TEST_SLOW` set how many: 10,000 and 1,000 need more file descriptors than most
//! systems give by default, so that a plain run takes a tenth.

use crate::world::{HOST, World, until};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOUR: &str = "cache-control: max-age=3600\r\n";

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn count(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Opens connections that have each asked once, in batches so that none waits in the queue for long.
async fn open(world: &World, number: usize, request: &str, wants: usize) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(number);
    for _ in 0..number {
        let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = [0; 16];
        stream.read_exact(&mut read[..wants]).await.unwrap();
        open.push(stream);
    }
    open
}

#[tokio::test]
async fn idle_and_slow_connections_cost_little_and_harm_nobody() {
    let (idle, slow) = (count("EVERFRESH_TEST_IDLE", 1_000), count("EVERFRESH_TEST_SLOW", 100));
    let mut world = World::start_with(|config| {
        config.client_idle_timeout = Duration::from_secs(3_600);
        config.client_head_timeout = Duration::from_secs(3_600);
        config.client_stall_timeout = Duration::from_secs(3_600);
    })
    .await;
    world.fetch("/small", HOUR, "small").await;
    world.fetch("/large", HOUR, &"x".repeat(1_000_000)).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let before = resident();
    let idle_open = open(&world, idle, &get("/small"), 16).await;
    let with_idle = resident();
    // They ask for a megabyte that is stored and take nothing of it.
    let slow_open = open(&world, slow, &get("/large"), 0).await;
    until("all to be asked", || world.requests() >= idle + slow + 2).await;
    let with_slow = resident();
    let each = |more: u64, less: u64, number: usize| more.saturating_sub(less) / number as u64;
    let (per_idle, per_slow) = (each(with_idle, before, idle), each(with_slow, with_idle, slow));
    println!("{idle} idle connections: {per_idle} bytes each; {slow} slow ones: {per_slow} bytes each");
    // The clients' own ends are in it, too. What is stored is not copied for anyone.
    assert!(per_idle < 64 * 1024, "{per_idle} bytes for an idle connection");
    assert!(per_slow < 512 * 1024, "{per_slow} bytes for a slow connection");
    assert_eq!(world.hit("/small").await.text(), "small");
    assert_eq!(world.hit("/large").await.body.len(), 1_000_000);
    drop((idle_open, slow_open));
}
