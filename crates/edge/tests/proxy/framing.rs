//! Requests that could be read in two ways, as bytes on a connection. `docs/framing.md` lists them.

use crate::world::{Client, HOST, World, until};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use httpcache::{HeadLimits, Requests};
use hyper::body::{Bytes, Incoming};
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// A request that would be smuggled in behind another.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: www.a.test\r\n\r\n";

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read() {
    let mut world = World::start().await;
    let post = |fields: &str, body: &str| format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n{body}");
    let chunked = "transfer-encoding: chunked\r\n";
    let cases = [
        (post("content-length: 4\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), 400, "length-and-coding"),
        (post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n"), 400, "length-and-coding"),
        (post("content-length: 0\r\ncontent-length: 45\r\n", ""), 400, "length-repeated"),
        (post("content-length: 0\r\ncontent-length: 0\r\n", ""), 400, "length-repeated"),
        (post("content-length: 5, 5\r\n", "abcde"), 400, "length-form"),
        (post("content-length: +5\r\n", "abcde"), 400, "length-form"),
        (post("content-length: 0x5\r\n", "abcde"), 400, "length-form"),
        (post("content_length: 5\r\n", "abcde"), 400, "look-alike-field"),
        (post("content-length : 5\r\n", "abcde"), 400, "space-before-colon"),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), 400, "space-before-colon"),
        (post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), 400, "coding-form"),
        (post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), 400, "coding-form"),
        (post("transfer-encoding:\tchunked\r\n", "0\r\n\r\n"), 400, "coding-form"),
        (post("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", ""), 400, "coding-form"),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n", ""), 400, "coding-repeated"),
        (post("x: a\r\n transfer-encoding: chunked\r\n", ""), 400, "folded-line"),
        (post("transfer-encoding:\r\n chunked\r\n", ""), 400, "coding-form"),
        (post("x: a\ncontent-length: 45\r\n", ""), 400, "bare-lf"),
        (post("x: a\rcontent-length: 45\r\n", ""), 400, "bare-cr"),
        (post("x: a\0b\r\n", ""), 400, "control-character"),
        (post("\0content-length: 45\r\n", ""), 400, "control-character"),
        (post("x\r\n", ""), 400, "no-colon"),
        (post("host: b\r\n", ""), 400, "host-repeated"),
        (format!("GET http://b.test/ HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "host-mismatch"),
        (format!("GET  / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "request-line"),
        (format!("get / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "method-form"),
        (format!("GET /a<b HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "target-form"),
        (format!("GET / HTTP/1.2\r\nhost: {HOST}\r\n\r\n"), 505, "http-version"),
        (format!("\r\nGET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "empty-line"),
        (format!("POST / HTTP/1.0\r\nhost: {HOST}\r\n{chunked}\r\n0\r\n\r\n"), 400, "coding-in-http-1.0"),
        ("GET /\r\n".to_owned(), 400, "request-line"),
        ("GET /\n".to_owned(), 400, "bare-lf"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "http-version"),
        (post(chunked, "5;a=b\r\nabcde\r\n0\r\n\r\n"), 400, "chunk-extension"),
        (post(chunked, "5;\nabcde\r\n0\r\n\r\n"), 400, "chunk-extension"),
        (post(chunked, "5\nabcde\r\n0\r\n\r\n"), 400, "bare-lf"),
        (post(chunked, "5 \r\nabcde\r\n0\r\n\r\n"), 400, "chunk-size"),
        (post(chunked, "0x5\r\nabcde\r\n0\r\n\r\n"), 400, "chunk-size"),
        (post(chunked, "fffffffffffffff5\r\nabcde\r\n0\r\n\r\n"), 400, "chunk-size"),
        (post(chunked, "5\r\nabcdef\r\n0\r\n\r\n"), 400, "chunk-end"),
        (post(chunked, "5\r\nabcde0\r\n\r\n"), 400, "chunk-end"),
        (post(chunked, "0\r\ncontent-length: 45\r\n\r\n"), 400, "trailer-field"),
        (post(chunked, "0\r\n x: a\r\n\r\n"), 400, "folded-line"),
    ];
    let refused_before = world.edge.counters().refused.load(Ordering::Relaxed);
    for (bytes, status, name) in &cases {
        for piece_bytes in [usize::MAX, 1] {
            let mut client = Client::connect(world.edge.address()).await;
            let all = format!("{bytes}{SMUGGLED}");
            for piece in all.as_bytes().chunks(piece_bytes) {
                client.send(piece).await;
            }
            let answer = client.answer(false).await;
            assert_eq!((answer.status, answer.field("connection").as_str()), (*status, "close"), "{bytes:?}");
            assert_eq!(answer.field("cache-status"), format!("e; detail={name}"), "{bytes:?}");
            assert!(answer.text().starts_with(&format!("{status} {name}: ")), "{bytes:?}");
            assert!(client.is_closed().await, "{bytes:?}");
        }
    }
    let refused = world.edge.counters().refused.load(Ordering::Relaxed) - refused_before;
    assert_eq!(refused, 2 * cases.len() as u64);
    while let Some(asked) = world.origin.try_next() {
        assert!(!asked.head.contains("smuggled"), "{}", asked.head);
    }
}

#[tokio::test]
async fn a_target_that_is_not_utf8_is_refused_by_name() {
    let world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    let head = [b"GET /b\xfccher HTTP/1.1\r\nhost: ", HOST.as_bytes(), b"\r\n\r\n"].concat();
    client.send(&[&head[..], SMUGGLED.as_bytes()].concat()).await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status, answer.field("cache-status")), (400, "e; detail=target-form".into()));
    assert!(client.is_closed().await);
}

#[test]
fn the_page_lists_every_refusal() {
    let page = include_str!("../../../../docs/framing.md");
    for refusal in httpcache::FramingRefusal::ALL {
        let row = format!("| `{}` | ", refusal.name());
        assert!(page.contains(&row), "no row begins with {row}");
    }
}

#[tokio::test]
async fn connection_takes_no_field_away_that_the_origin_needs() {
    // What a client says of its own address is passed on from trusted proxies only.
    let trust = vec!["127.0.0.1".parse().unwrap()];
    let mut world = World::start_with(|config| config.forwarded.trusted_proxies = trust).await;
    let fields = "connection: close, host, authorization, x-forwarded-for, x-real-ip, cookie, x-hop\r\n\
                  authorization: a\r\nx-forwarded-for: 1.2.3.4\r\nx-real-ip: 1.2.3.4\r\ncookie: b\r\nx-hop: c\r\n";
    let pending = world.get_with("/a", fields);
    let asked = world.origin.next().await;
    assert_eq!((asked.field("host"), asked.field("authorization")), ("origin.test", "a"));
    assert!(
        asked.field("x-forwarded-for").contains("1.2.3.4") && asked.field("x-real-ip").contains("1.2.3.4")
    );
    assert_eq!((asked.field("cookie"), asked.has("x-hop"), asked.has("connection")), ("b", false, false));
    asked.reply("200 OK", "", b"").await;
    pending.await;
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_what_came_before_it() {
    let mut world = World::start().await;
    world.fetch("/stored", MINUTE, "stored").await;
    let mut client = Client::connect(world.edge.address()).await;
    let good = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client
        .send(format!("{}{}get / HTTP/1.1\r\n{SMUGGLED}", good("/fetched"), good("/stored")).as_bytes())
        .await;
    world.origin.next().await.reply("200 OK", MINUTE, b"fetched").await;
    assert_eq!(client.answer(false).await.text(), "fetched");
    assert_eq!(client.answer(false).await.text(), "stored");
    let refusal = client.answer(false).await;
    assert_eq!((refusal.status, refusal.field("connection").as_str()), (400, "close"));
    assert!(client.is_closed().await);
    assert_eq!(world.origin.asked(), 2);
}

#[tokio::test]
async fn requests_in_small_pieces_are_served_one_after_the_other() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    let requests = format!(
        "POST /a HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n\
         POST /b HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\n\r\nGET \
         GET /c HTTP/1.1\r\nhost: {HOST}\r\n\r\n"
    );
    for (path, body) in [("/a", &b"abc0123456789"[..]), ("/b", b"GET "), ("/c", b"")] {
        if path == "/a" {
            for byte in requests.as_bytes() {
                client.send(&[*byte]).await;
            }
        }
        let asked = world.origin.next().await;
        assert_eq!((asked.first_line().split(' ').nth(1), &asked.body[..]), (Some(path), body));
        asked.reply("200 OK", MINUTE, path.as_bytes()).await;
        assert_eq!(client.answer(false).await.text(), path);
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_told_so() {
    let world = World::start_with(|config| config.client_head_timeout = Duration::from_millis(50)).await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(b"GET / HTTP/1.1\r\nhost: ").await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (408, "e; detail=head-timeout"));
    assert!(client.is_closed().await);
    let mut silent = Client::connect(world.edge.address()).await;
    assert!(silent.is_closed().await, "nothing is said to a client that says nothing");
}

#[tokio::test]
async fn a_head_that_is_cut_off_is_told_so() {
    let world = World::start().await;
    let mut stream = tokio::net::TcpStream::connect(world.edge.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(crate::world::PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\r\n400 cut-off: "), "{answer}");
}

#[tokio::test]
async fn a_connection_without_requests_ends_and_one_that_waits_for_an_answer_does_not() {
    let mut world = World::start_with(|config| config.client_idle_timeout = Duration::from_millis(50)).await;
    let mut idle = Client::connect(world.edge.address()).await;
    let get = format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    idle.send(get.as_bytes()).await;
    let asked = world.origin.next().await;
    let mut other = Client::connect(world.edge.address()).await;
    other.send(format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", crate::world::PAUSED_HOST).as_bytes()).await;
    assert_eq!(other.answer(false).await.status, 503);
    assert!(other.is_closed().await, "this one's time is over");
    asked.reply("200 OK", MINUTE, b"late").await;
    assert_eq!(idle.answer(false).await.text(), "late");
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn an_answer_to_a_refused_client_is_not_lost_to_what_it_still_sends() {
    let world = World::start().await;
    for _ in 0..20 {
        let mut client = Client::connect(world.edge.address()).await;
        let flood = format!("get / HTTP/1.1\r\n{}", "a".repeat(500_000));
        client.send(flood.as_bytes()).await;
        assert_eq!(client.answer(false).await.status, 400);
    }
    until("all to be counted", || world.edge.counters().refused.load(Ordering::Relaxed) == 20).await;
}

/// What a server made with hyper reads on a connection with these bytes: methods, targets and bodies of its requests,
/// and whether it ended with anything but an answer 200.
async fn read_by_hyper(bytes: Vec<u8>) -> (Vec<String>, bool) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let read = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&read);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let requests = Arc::clone(&requests);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            #[expect(clippy::disallowed_methods, reason = "bounded by Limited")]
            let body = Limited::new(request.into_body(), 1 << 16).collect().await;
            let body = body.map_or(Bytes::from_static(b"broken"), |body| body.to_bytes());
            requests.lock().unwrap().push(format!("{line} {}", String::from_utf8_lossy(&body)));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let serving = tokio::spawn(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(hyper_util::rt::TokioIo::new(server), service),
    );
    let (mut answers, mut asking) = tokio::io::split(&mut client);
    let mut answered = String::new();
    let ask = async {
        let _ = asking.write_all(&bytes).await;
        let _ = asking.shutdown().await;
    };
    let (_, _) = tokio::join!(ask, answers.read_to_string(&mut answered));
    let _ = serving.await;
    let is_odd = answered.matches("HTTP/1.1 ").count() != answered.matches("HTTP/1.1 200 OK").count();
    let read = read.lock().unwrap().clone();
    (read, is_odd)
}

#[derive(Clone, Debug)]
struct Sent {
    path: String,
    body: Option<String>,
    chunks: Option<usize>,
}

fn sent() -> impl Strategy<Value = Sent> {
    ("/[a-z?=]{0,9}", prop::option::of("[ -~\r\n]{0,40}"), prop::option::of(1_usize..20))
        .prop_map(|(path, body, chunks)| Sent { path, body, chunks })
}

impl Sent {
    fn bytes(&self) -> String {
        let head = format!("{} HTTP/1.1\r\nhost: a\r\nx-any: \t b\r\n", self.line());
        match (&self.body, self.chunks) {
            (None, _) => format!("{head}\r\n"),
            (Some(body), None) => format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
            (Some(body), Some(chunk)) => {
                let chunks = body
                    .as_bytes()
                    .chunks(chunk)
                    .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
                let chunks: String = chunks.collect();
                format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            }
        }
    }

    fn line(&self) -> String {
        format!("{} {}", if self.body.is_some() { "POST" } else { "GET" }, self.path)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What passes means the same to the parser behind the check, even after a byte was changed somewhere.
    #[test]
    fn what_passes_is_read_the_same_by_the_parser_behind(
        all in prop::collection::vec(sent(), 1..5),
        change in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\r\n\0 \t:;,0159afxX-_".to_vec()))),
    ) {
        let mut bytes: Vec<u8> = all.iter().map(Sent::bytes).collect::<String>().into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let limits = HeadLimits { head_bytes: 1 << 16, target_bytes: 1 << 13, fields: 128 };
        let mut requests = Requests::new(limits);
        let checked = requests.check(&bytes);
        if change.is_none() {
            prop_assert_eq!((checked.passed, checked.refusal), (bytes.len(), None));
        }
        // The last one may be cut off by the change; what is whole must be the same.
        let whole = requests.heads() - u64::from(!requests.is_at_head());
        bytes.truncate(checked.passed);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (read, is_odd) = runtime.block_on(read_by_hyper(bytes));
        prop_assert!(!is_odd, "{:?}", read);
        let count = read.iter().filter(|line| !line.ends_with(" broken")).count() as u64;
        // A parser closes after a message of HTTP/1.0.
        let may_stop = text.contains("HTTP/1.0");
        prop_assert!(count == whole || (may_stop && count < whole), "{} of {}", count, whole);
        if change.is_none() {
            let expected: Vec<String> = all
                .iter()
                .map(|sent| format!("{} {}", sent.line(), sent.body.as_deref().unwrap_or("")))
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
