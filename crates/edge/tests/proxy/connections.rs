//! How many connections there may be, and from whom.

use crate::world::{Client, PAUSED_HOST, World};
use std::sync::atomic::Ordering;

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

/// How many connections a client may have here. More than one, since those that ask whether the edge is configured may
/// overlap.
const SHARE: usize = 8;

/// A client of its own for the edge.
const CLIENT: [u8; 4] = [127, 0, 0, 2];

/// The address of a balancer.
const BALANCER: [u8; 4] = [127, 0, 0, 3];

#[tokio::test]
async fn one_client_holds_no_more_connections_than_its_share() {
    let world = World::start_with(|config| config.connections_per_client_max = SHARE).await;
    let mut open = Vec::new();
    for _ in 0..SHARE {
        let mut client = Client::connect_from(CLIENT, world.edge.address()).await;
        client.send(get(PAUSED_HOST).as_bytes()).await;
        assert_eq!(client.answer(false).await.status, 503);
        open.push(client);
    }
    let mut more = Client::connect_from(CLIENT, world.edge.address()).await;
    assert!(more.is_closed().await);
    assert_eq!(world.edge.counters().turned_away.load(Ordering::Relaxed), 1);
    assert_eq!(
        Client::get(world.edge.address(), PAUSED_HOST, "/", "").await.status,
        503,
        "others have their own"
    );
    open.pop();
    let again = tokio::time::timeout(crate::world::PATIENCE, async {
        loop {
            let mut client = Client::connect_from(CLIENT, world.edge.address()).await;
            client.send(get(PAUSED_HOST).as_bytes()).await;
            if client.is_answered().await {
                break;
            }
        }
    });
    assert!(again.await.is_ok(), "in vain: a place");
}

#[tokio::test]
async fn a_trusted_balancer_says_who_its_client_is() {
    let world = World::start_with(|config| {
        config.proxy_protocol_from = vec!["127.0.0.3".parse().unwrap()];
        config.connections_per_client_max = SHARE;
    })
    .await;
    let begin = |address: &str| format!("PROXY TCP4 {address} 192.0.2.9 1234 80\r\n{}", get(PAUSED_HOST));
    let mut clients = Vec::new();
    for address in ["192.0.2.1"; SHARE].into_iter().chain(["192.0.2.2"]) {
        let mut client = Client::connect_from(BALANCER, world.edge.address()).await;
        client.send(begin(address).as_bytes()).await;
        assert_eq!(client.answer(false).await.status, 503);
        clients.push(client);
    }
    let mut more = Client::connect_from(BALANCER, world.edge.address()).await;
    more.send(begin("192.0.2.1").as_bytes()).await;
    assert!(!more.is_answered().await, "each client has its own share");
    let mut plain = Client::connect_from(BALANCER, world.edge.address()).await;
    plain.send(get(PAUSED_HOST).as_bytes()).await;
    assert!(!plain.is_answered().await, "the header may not be left out");
    let forged = Client::request(world.edge.address(), begin("192.0.2.3").into_bytes()).await;
    assert_eq!(forged.field("cache-status"), "e; detail=request-line", "nobody else may send one");
}
