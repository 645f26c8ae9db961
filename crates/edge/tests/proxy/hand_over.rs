//! One edge after the other at the same address.

use crate::disk::{until_recovered, until_written};
use crate::world::{Client, PATIENCE, PAUSED_HOST, World, until, url};
use edge::DiskConfig;
use purge::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks on a connection of its own; an error is one that a client would see.
async fn ask(edge: std::net::SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(edge).await.map_err(|error| format!("connect: {error}"))?;
    let request = format!("GET / HTTP/1.1\r\nhost: {PAUSED_HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|error| format!("read: {error}"))?;
    if answer.starts_with("HTTP/1.1 503 ") { Ok(()) } else { Err(format!("{answer:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_nothing_of_an_edge_that_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hand-over");
    let mut current = World::start_with(|config| config.hand_over = Some(path.clone())).await;
    let edge = current.edge.address();
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    ask(edge).await?;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    for workers in [2, 3, 1] {
        let before = asked.load(Ordering::Relaxed);
        until("requests to the edge that is there", || asked.load(Ordering::Relaxed) > before + 50).await;
        let next = World::start_with(|config| {
            (config.listen, config.workers, config.hand_over) = (edge, workers, Some(path.clone()));
        })
        .await;
        assert_eq!(next.edge.address(), edge);
        tokio::time::timeout(PATIENCE, current.edge.handed_over()).await.expect("the edge before is told");
        assert!(!current.edge.is_ready() && next.edge.is_ready());
        std::mem::replace(&mut current, next).stop().await;
        let before = asked.load(Ordering::Relaxed);
        until("requests to the next edge", || asked.load(Ordering::Relaxed) > before + 50).await;
    }
    over.store(true, Ordering::Relaxed);
    for asking in asking {
        assert_eq!(asking.await.unwrap(), Ok(()));
    }
    current.stop().await;
    assert!(!path.exists(), "the last one leaves nothing behind");
}

#[tokio::test]
async fn an_edge_that_never_gets_ready_takes_nothing_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hand-over");
    // Left behind by one that ended without order.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = World::start_with(|config| config.hand_over = Some(path.clone())).await;
    let edge = first.edge.address();
    let fenced = World::fenced_with(|config| {
        (config.listen, config.hand_over) = (edge, Some(path.clone()));
    })
    .await;
    fenced.stop().await;
    assert_eq!(Client::get(edge, PAUSED_HOST, "/", "").await.status, 503);
    assert!(first.edge.is_ready());
    let next = World::start_with(|config| {
        (config.listen, config.hand_over) = (edge, Some(path.clone()));
    })
    .await;
    tokio::time::timeout(PATIENCE, first.edge.handed_over()).await.expect("the edge before is told");
    first.stop().await;
    assert_eq!(Client::get(edge, PAUSED_HOST, "/", "").await.status, 503);
    next.stop().await;
}

/// The next edge begins with what the one before had on disk, as far as purges leave it; until it serves, that one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_directory_changes_hands_too() {
    const MINUTE: &str = "cache-control: max-age=60\r\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hand-over");
    let disk = Some(DiskConfig { directory: directory.path().join("cache"), bytes: 64 << 20 });
    let mut first = World::start_with(|config| {
        (config.hand_over, config.disk) = (Some(path.clone()), disk.clone());
    })
    .await;
    let edge = first.edge.address();
    for name in ["/a", "/purged"] {
        first.fetch(name, MINUTE, name).await;
    }
    until_written(&first, 2).await;
    first.purge(url("/purged"), Method::Delete).await;

    // One that never gets a lease: the one before serves on, from memory.
    let failing = World::fenced_with(|config| {
        (config.listen, config.hand_over, config.disk) = (edge, Some(path.clone()), disk.clone());
    })
    .await;
    until_recovered(&failing).await;
    assert_eq!(first.hit("/a").await.text(), "/a");
    first.fetch("/only-in-memory", MINUTE, "x").await;
    assert_eq!(first.hit("/only-in-memory").await.text(), "x");
    assert!(first.edge.disk().unwrap().0.is_failing, "it has no disk any more");
    failing.stop().await;
    assert!(first.edge.is_ready());

    let mut next = World::start_with(|config| {
        (config.listen, config.hand_over, config.disk) = (edge, Some(path.clone()), disk.clone());
    })
    .await;
    tokio::time::timeout(PATIENCE, first.edge.handed_over()).await.expect("the edge before is told");
    first.stop().await;
    until_recovered(&next).await;
    assert_eq!(next.edge.disk().unwrap().0.files, 1, "what was purged is not taken over");
    assert_eq!(next.hit("/a").await.text(), "/a");
    next.fetch("/purged", MINUTE, "new").await;
    until_written(&next, 1).await;
    next.stop().await;
}
