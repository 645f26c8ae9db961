//! The admin server of a control plane: what it tells Prometheus, and whom it answers.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod world;

use control::api::ApiOptions;
use control::{admin_router, listen};
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::World;

async fn get(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn calls_purges_and_the_log_are_told() {
    let (world, zone) = World::with_zone(ApiOptions { calls_per_sec: 0, ..ApiOptions::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = admin_router(world.network.clone(), false);
    tokio::spawn(listen::serve(listener, None, router, std::future::pending()));

    let purge = json!({ "ZoneId": zone, "Type": "purge_all", "Method": "delete" });
    world.call_ok("CreatePurgeTask", purge).await;
    let wrong = json!({ "ZoneId": zone, "Type": "purge_url", "Targets": ["nonsense"] });
    world.call_refused("CreatePurgeTask", wrong).await;
    let page = get(address, "/metrics", "127.0.0.1").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("everfresh_control_{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {page}")).parse::<f64>().unwrap()
    };
    assert_eq!(value("calls_total{action=\"CreatePurgeTask\",outcome=\"ok\"}"), 1.0);
    let refused = page.lines().filter(|line| line.contains("action=\"CreatePurgeTask\"")).count();
    assert_eq!(refused, 2, "{page}");
    assert_eq!((value("recorded_purges_total"), value("purges_waiting")), (1.0, 0.0));
    assert!(value("record_seconds_total") > 0.0);
    let head = world.store.basis().await.unwrap().head.number();
    assert_eq!((value("database_up"), value("log_head")), (1.0, head as f64));
    assert_eq!((value("members{state=\"active\"}"), value("links")), (0.0, 0.0));

    assert!(get(address, "/healthz", "localhost").await.ends_with("\r\n\r\nok\n"));
    assert!(get(address, "/metrics", "evil.test").await.starts_with("HTTP/1.1 421 "));
    assert!(get(address, "/", "127.0.0.1").await.starts_with("HTTP/1.1 404 "));
}
