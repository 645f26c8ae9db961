//! WebSocket and other protocols on a connection that began as HTTP.

use crate::world::{Client, Exchange, HOST, World, until};
use std::sync::atomic::Ordering;
use std::time::Duration;

const WEBSOCKET: &str = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn ask(world: &World, fields: &str) -> Client {
    let mut client = Client::connect(world.edge.address()).await;
    client.send(format!("GET /chat HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n").as_bytes()).await;
    client
}

/// A connection that speaks WebSocket on both ends.
async fn open(world: &mut World) -> (Client, Exchange) {
    let mut client = ask(world, WEBSOCKET).await;
    let mut asked = world.origin.next().await;
    assert_eq!((asked.field("connection"), asked.field("upgrade")), ("upgrade", "websocket"));
    assert_eq!(asked.field("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    // The origin may speak at once.
    asked.write(format!("{ACCEPT}hello").as_bytes()).await;
    let answer = client.answer_head().await;
    assert_eq!(answer.status, 101);
    assert_eq!((answer.field("connection"), answer.field("upgrade")), ("upgrade".into(), "websocket".into()));
    assert_eq!(answer.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut greeting = Vec::new();
    assert!(client.take(5, &mut greeting).await);
    assert_eq!(greeting, b"hello");
    (client, asked)
}

#[tokio::test]
async fn bytes_pass_both_ways_unchanged_until_both_have_ended() {
    let mut world = World::start().await;
    let (mut client, mut origin) = open(&mut world).await;
    // A masked text frame, and what looks like a request.
    for message in
        [&b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100_000]]
    {
        client.send(message).await;
        assert_eq!(origin.read(message.len()).await, message);
        origin.write(message).await;
        let mut echo = Vec::new();
        assert!(client.take(message.len(), &mut echo).await);
        assert_eq!(echo, message);
    }
    assert_eq!(world.edge.counters().upgrades.load(Ordering::Relaxed), 1);
    drop(client);
    origin.until_closed().await;
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn the_origins_end_is_the_clients() {
    let mut world = World::start().await;
    let (mut client, origin) = open(&mut world).await;
    drop(origin);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_origin_that_declines_answers_as_usual() {
    let mut world = World::start().await;
    let mut client = ask(&world, WEBSOCKET).await;
    world.origin.next().await.reply("403 Forbidden", "", b"no").await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status, answer.text()), (403, "no"));
    // The connection is still HTTP.
    client.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    world.origin.next().await.reply("200 OK", "", b"yes").await;
    assert_eq!(client.answer(false).await.text(), "yes");
}

#[tokio::test]
async fn a_switch_to_what_nobody_offered_is_an_error() {
    let mut world = World::start().await;
    for upgrade in ["upgrade: other\r\n", "", "upgrade: websocket, other\r\n"] {
        let mut client = ask(&world, WEBSOCKET).await;
        let mut asked = world.origin.next().await;
        asked.write(format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n").as_bytes()).await;
        let answer = client.answer(false).await;
        assert_eq!(
            (answer.status, answer.field("cache-status").as_str()),
            (502, "e; detail=origin-malformed")
        );
    }
}

/// An upgrade to HTTP would lead past everything that this edge is there for.
#[tokio::test]
async fn an_upgrade_to_http_is_ignored() {
    let mut world = World::start().await;
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
        let fields = format!(
            "connection: upgrade, http2-settings\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABk\r\n"
        );
        let mut client = ask(&world, &fields).await;
        let asked = world.origin.next().await;
        assert!(
            !asked.has("upgrade") && !asked.has("connection") && !asked.has("http2-settings"),
            "{protocol}"
        );
        asked.reply("200 OK", "cache-control: no-store\r\n", b"plain").await;
        assert_eq!(client.answer(false).await.text(), "plain", "{protocol}");
    }
}

#[tokio::test]
async fn upgraded_connections_have_a_limit_and_give_their_place_back() {
    let mut world = World::start_with(|config| config.upgrades_max = 1).await;
    let (client, origin) = open(&mut world).await;
    let refused = ask(&world, WEBSOCKET).await.answer(false).await;
    assert_eq!(
        (refused.status, refused.field("cache-status").as_str()),
        (503, "e; detail=too-many-upgrades")
    );
    assert!(refused.has("retry-after"));
    drop(client);
    origin.until_closed().await;
    // The place is given back a moment after both ends are closed.
    let again = async {
        loop {
            let mut client = ask(&world, WEBSOCKET).await;
            let answer = tokio::select! {
                answer = client.answer_head() => answer,
                asked = world.origin.next() => { asked.reply("200 OK", "", b"").await; return }
            };
            assert_eq!(answer.status, 503);
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_on_which_nothing_moves_is_closed() {
    let mut world = World::start_with(|config| config.upgrade_idle_timeout = Duration::from_secs(1)).await;
    let (mut client, origin) = open(&mut world).await;
    assert!(client.is_closed().await);
    origin.until_closed().await;
    until("no upgrade to be repeated", || world.edge.counters().upgrades.load(Ordering::Relaxed) == 1).await;
}
