//! HTTP/2 with clients, and those who abuse it.

use crate::world::{Client, Framed, HOST, Made, PATIENCE, SecureClient, World, read, until};
use edge::TlsSettings;
use http::Request;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// An edge that speaks TLS, a client that believes it, and what must live as long.
async fn world(change: impl FnOnce(&mut edge::EdgeConfig)) -> (World, SecureClient, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let www = Made::for_names(&[HOST]);
    www.write(directory.path(), "www");
    let world = World::start_with(|config| {
        let mut settings = TlsSettings::new(([127, 0, 0, 1], 0).into());
        settings.directory = Some(directory.path().to_owned());
        config.tls = Some(settings);
        change(config);
    })
    .await;
    (world, SecureClient::http2(&[&www]), directory)
}

fn url(path: &str) -> String {
    format!("https://{HOST}{path}")
}

#[tokio::test]
async fn many_requests_share_a_connection_and_the_cache() {
    let (mut world, client, _directory) = world(|_| {}).await;
    let framed = client.framed(world.edge.tls_address().unwrap(), HOST).await;
    let fetching = (0..20).map(|number| {
        let framed = framed.clone();
        tokio::spawn(async move { framed.get(&url(&format!("/{number}"))).await })
    });
    let fetching: Vec<_> = fetching.collect();
    let large = "x".repeat(300_000);
    for _ in 0..20 {
        world.origin.next().await.reply("200 OK", MINUTE, large.as_bytes()).await;
    }
    for fetch in fetching {
        let (head, body) = fetch.await.unwrap();
        assert_eq!((head.status().as_u16(), body.len()), (200, large.len()));
    }
    let (head, _) = framed.get(&url("/7")).await;
    assert_eq!(head.headers()["eo-cache-status"], "HIT");
    assert!(!head.headers().contains_key("connection"));
    assert_eq!(world.hit("/7").await.body.len(), large.len());
    let post = Request::post(url("/form")).header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let posting = tokio::spawn(async move { framed.send(post, Some("hello")).await });
    let asked = world.origin.next().await;
    assert_eq!((&asked.body[..], asked.field("cookie")), (&b"hello"[..], "a=1; b=2"));
    assert!(asked.field("via").starts_with("2.0 "), "{}", asked.head);
    asked.reply("200 OK", "", b"thanks").await;
    let mut response = posting.await.unwrap().unwrap();
    assert_eq!(read(response.body_mut()).await.unwrap(), "thanks");
}

#[tokio::test]
async fn requests_that_would_be_ambiguous_in_http1_are_refused() {
    let (world, client, _directory) = world(|config| config.fields_max = 8).await;
    let framed = client.framed(world.edge.tls_address().unwrap(), HOST).await;
    let many =
        (0..9).fold(Request::get(url("/")), |request, number| request.header(format!("x-{number}"), "a"));
    for (request, status, name) in [
        (Request::get(url("/")).header("host", "b.test"), 400, "host-mismatch"),
        (Request::get(url("/")).method("get"), 400, "method-form"),
        (Request::get(url("/")).header("content_length", "5"), 400, "look-alike-field"),
        (Request::get(url(&format!("/{}", "a".repeat(9000)))), 414, "url-too-long"),
        (many, 431, "too-many-fields"),
        (Request::get("https://img.a.test/"), 421, "misdirected"),
    ] {
        let answer = framed.send(request.body(()).unwrap(), None).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}");
        assert_eq!(answer.headers()["cache-status"], format!("e; detail={name}"));
    }
    assert_eq!(world.origin.asked(), 0);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_ends() {
    let (mut world, client, _directory) =
        world(|config| config.client_idle_timeout = Duration::from_millis(50)).await;
    world.fetch("/a", MINUTE, "one").await;
    let framed = client.framed(world.edge.tls_address().unwrap(), HOST).await;
    assert_eq!(framed.get(&url("/a")).await.1, "one");
    framed.until_closed().await;
}

#[tokio::test]
async fn an_edge_that_ends_finishes_what_is_under_way() {
    let (mut world, client, _directory) = world(|_| {}).await;
    let framed = client.framed(world.edge.tls_address().unwrap(), HOST).await;
    let idle = client.framed(world.edge.tls_address().unwrap(), HOST).await;
    let asking = framed.clone();
    let pending = tokio::spawn(async move { asking.get(&url("/a")).await });
    let asked = world.origin.next().await;
    world.edge.shut_down();
    assert!(!world.edge.is_ready());
    idle.until_closed().await;
    asked.reply("200 OK", MINUTE, b"late").await;
    assert_eq!(pending.await.unwrap().1, "late");
    framed.until_closed().await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_one_answer_is_let_go() {
    let (mut world, client, _directory) = world(|config| {
        config.client_stall_timeout = Duration::from_millis(100);
        config.client_head_timeout = Duration::from_millis(100);
    })
    .await;
    world.fetch("/a", MINUTE, &"x".repeat(500_000)).await;
    let stream = client.connect(world.edge.tls_address().unwrap(), HOST).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let framed = Framed::over(stream, builder).await;
    let stalled = framed.send(Request::get(url("/a")).body(()).unwrap(), None).await.unwrap();
    framed.until_closed().await;
    assert_eq!(world.edge.counters().stalled.load(Ordering::Relaxed), 1);
    drop(stalled);
}

/// A frame with this payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&[high, middle, low, kind, flags][..], &stream, payload].concat()
}

/// GET / of the host, as one block of fields.
fn fields() -> Vec<u8> {
    let length = u8::try_from(HOST.len()).unwrap();
    [&[0x82, 0x86, 0x84, 0x41, length][..], HOST.as_bytes()].concat()
}

/// Sends frames until the edge closes the connection, or gives up after so many.
async fn flood(edge: SocketAddr, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let reader = tokio::spawn(async move {
        let mut all = [0; 4096];
        while matches!(reading.read(&mut all).await, Ok(1..)) {}
    });
    for number in 0..20_000 {
        if writing.write_all(&next(number)).await.is_err() {
            break;
        }
        if reader.is_finished() {
            break;
        }
    }
    tokio::time::timeout(PATIENCE, reader).await.is_ok()
}

#[tokio::test]
async fn floods_of_frames_end_their_connection_and_no_other() {
    let mut world = World::start_with(|config| config.plain_http2 = true).await;
    world.fetch("/", MINUTE, "one").await;
    let edge = world.edge.address();
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        [frame(1, 5, stream, &fields()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    assert!(flood(edge, reset).await, "rapid resets");
    assert!(flood(edge, |_| frame(6, 0, 0, &[0; 8])).await, "pings");
    assert!(flood(edge, |_| frame(4, 0, 0, &[])).await, "settings");
    assert!(flood(edge, |_| frame(2, 0, 1, &[0, 0, 0, 0, 1])).await, "priorities");
    let endless = |number: u32| match number {
        0 => frame(1, 1, 1, &fields()),
        _ => frame(9, 0, 1, b"\x00\x01a\x01b"),
    };
    assert!(flood(edge, endless).await, "fields without end");
    // The protocol's parser has limits of its own for resets and fields, and may come first.
    until("floods to be counted", || world.edge.counters().flooded.load(Ordering::Relaxed) >= 3).await;
    assert_eq!(world.hit("/").await.text(), "one");
}

#[tokio::test]
async fn a_plain_connection_speaks_what_its_client_begins_with() {
    let mut world = World::start_with(|config| config.plain_http2 = true).await;
    world.fetch("/a", MINUTE, "one").await;
    let stream = TcpStream::connect(world.edge.address()).await.unwrap();
    let framed = Framed::over(stream, h2::client::Builder::new()).await;
    assert_eq!(framed.get(&format!("http://{HOST}/a")).await.1, "one");
    let mut client = Client::connect(world.edge.address()).await;
    for piece in ["P", "UT /a HTTP/1.1\r\nhost: ", HOST, "\r\ncontent-length: 0\r\n\r\n"] {
        client.send(piece.as_bytes()).await;
    }
    world.origin.next().await.reply("200 OK", "", b"put").await;
    assert_eq!(client.answer(false).await.text(), "put");
    let mut silent = Client::connect(world.edge.address()).await;
    silent.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert_eq!(silent.answer(false).await.status, 505);
}
