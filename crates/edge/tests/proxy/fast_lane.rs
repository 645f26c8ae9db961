//! Plain hits are answered below the library's server, and nobody can tell.

use crate::world::{Client, HOST, Made, PATIENCE, SecureClient, World, url};
use edge::{AccessLogConfig, AccessLogFormat, EdgeConfig, TlsSettings};
use proptest::prelude::*;
use purge::Method;
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const HOUR: &str = "cache-control: max-age=3600\r\n";

/// Means nothing, but no request with such a field is plain.
const UNUSUAL: &str = "everfresh-nothing: 1\r\n";

/// So that no two answers differ by their times.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// One worker, so that it knows what the one before asked for.
fn one_worker(config: &mut EdgeConfig) {
    config.workers = 1;
}

async fn world() -> World {
    World::at(noon, Some(Duration::from_secs(60)), one_worker).await
}

fn fast_hits(world: &World) -> u64 {
    world.edge.counters().fast_hits.load(Ordering::Relaxed)
}

/// The bytes of one answer, which has a length.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let is_bodiless = head.starts_with("HTTP/1.1 304");
        let length = length.filter(|_| !is_bodiless).map_or(0, |length| length.parse().unwrap());
        let start = bytes.len();
        bytes.resize(start + length, 0);
        stream.read_exact(&mut bytes[start..]).await.unwrap();
        bytes
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the edge answers in time")
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, fields: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_answer(stream).await
}

/// Without the number of the request.
fn unnumbered(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("eo-log-uuid: ")).collect();
    assert_eq!(lines.len() + 1, text.split("\r\n").count(), "one number: {text}");
    lines.join("\r\n")
}

/// Asks for a path with these fields in both ways, and holds the answers against each other.
async fn asked_both_ways(world: &World, path: &str, fields: &str) -> (bool, String) {
    let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
    let fast_before = fast_hits(world);
    let either = unnumbered(&ask(&mut stream, path, fields).await);
    let is_fast = fast_hits(world) > fast_before;
    let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
    let slow = unnumbered(&ask(&mut stream, path, &format!("{fields}{UNUSUAL}")).await);
    assert_eq!(fast_hits(world), fast_before + u64::from(is_fast), "{UNUSUAL} makes it unusual");
    assert_eq!(either, slow, "{path} {fields}");
    (is_fast, either)
}

#[tokio::test]
async fn a_plain_hit_is_answered_the_same_to_the_byte() {
    let mut world = world().await;
    // What the origin says beside its status, and whether a hit is plain.
    let cases = [
        ("200 OK", HOUR.to_owned(), "hello", true),
        ("200 OK", format!("{HOUR}date: Tue, 14 Nov 2023 22:13:20 GMT\r\netag: \"1\"\r\n"), "hello", true),
        ("200 OK", format!("{HOUR}age: 7\r\nage: 8\r\naccept-ranges: none\r\nserver: o\r\n"), "hello", true),
        (
            "200 OK",
            format!("cache-status: o; hit\r\n{HOUR}via: 1.0 o\r\nx: 1\r\ncache-status: p; hit\r\n"),
            "a",
            true,
        ),
        (
            "200 OK",
            format!("{HOUR}eo-cache-status: MISS\r\neo-log-uuid: 1\r\nx-a: 1\r\nx-a: \r\n"),
            "hello",
            true,
        ),
        (
            "200 OK",
            format!("{HOUR}via: 1.1 a, 1.1 b\r\nvia: 1.1 c\r\nlink: <a>\r\nlink: <b>\r\n"),
            "hello",
            true,
        ),
        ("404 Not Found", HOUR.to_owned(), "nothing here", true),
        ("301 Moved Permanently", format!("{HOUR}location: /x\r\n"), "elsewhere", true),
        ("299 Odd", HOUR.to_owned(), "odd", true),
        ("200 OK", HOUR.to_owned(), "", false),
        ("200 OK", format!("{HOUR}vary: accept\r\n"), "hello", true),
        ("200 OK", format!("{HOUR}vary: x-forwarded-for\r\n"), "hello", false),
        ("200 OK", format!("{HOUR}vary: accept, x-a\r\n"), "hello", false),
    ];
    for (index, (status, fields, body, is_plain)) in cases.iter().enumerate() {
        let path = format!("/{index}");
        let pending = world.get(&path);
        world.origin.next().await.reply(status, fields, body.as_bytes()).await;
        pending.await;
        let (is_fast, answer) = asked_both_ways(&world, &path, "").await;
        assert_eq!(is_fast, *is_plain, "{fields}");
        assert!(answer.contains("; hit; ttl=") && answer.ends_with(body), "{answer}");
    }
}

#[tokio::test]
async fn what_a_request_says_beside_its_url_decides_its_way_and_nothing_else() {
    let mut world = world().await;
    world.fetch("/a", &format!("{HOUR}etag: \"1\"\r\n"), "hello").await;
    let cases = [
        ("", true, "200"),
        ("User-Agent: a\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n", true, "200"),
        (
            "Cookie: a=b\r\nAuthorization: Basic x\r\nReferer: http://b/\r\nX-Forwarded-For: 1.2.3.4\r\n",
            true,
            "200",
        ),
        ("Cache-Control: no-cache\r\nPragma: no-cache\r\n", true, "200"),
        ("Connection: Keep-Alive\r\nKeep-Alive: 5\r\nTE: trailers\r\n", true, "200"),
        ("connection: close\r\n", false, "200"),
        ("connection: keep-alive, x-a\r\nx-a: 1\r\n", false, "200"),
        ("Range: bytes=1-2\r\n", false, "206"),
        ("range: bytes=9-\r\n", false, "416"),
        ("if-none-match: \"1\"\r\n", false, "304"),
        ("If-Match: \"2\"\r\n", false, "412"),
        ("if-range: \"2\"\r\nrange: bytes=0-1\r\n", false, "200"),
        ("content-length: 0\r\n", false, "200"),
        ("expect: x\r\n", false, "200"),
        ("upgrade: h2c\r\nconnection: upgrade\r\n", false, "200"),
        ("via: 1.1 a\r\n", false, "200"),
        ("cdn-loop: a\r\n", false, "200"),
    ];
    for (fields, is_plain, status) in cases {
        let (is_fast, answer) = asked_both_ways(&world, "/a", fields).await;
        assert_eq!(is_fast, is_plain, "{fields}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
    }
    for path in ["/a", "/./a", "/%61", "/x/../a"] {
        assert!(asked_both_ways(&world, path, "").await.0, "{path}");
    }
}

#[tokio::test]
async fn of_what_varies_both_ways_select_the_same() {
    let mut world = world().await;
    let vary = format!("{HOUR}vary: Accept-Encoding, accept-language\r\n");
    let stored = ["", "accept-encoding: gzip, br\r\n", "accept-language: de\r\naccept-encoding: gzip\r\n"];
    for fields in stored {
        let pending = world.get_with("/a", fields);
        world.origin.next().await.reply("200 OK", &vary, format!("for {fields:?}").as_bytes()).await;
        pending.await;
    }
    let asked = [
        ("", 0),
        ("user-agent: x\r\n", 0),
        ("Accept-Encoding: BR;q=0.5,gzip\r\n", 1),
        ("accept-encoding: br\r\nAccept-Encoding:  gzip\r\n", 1),
        ("Accept-Language: \tDE \r\ncookie: a=b\r\naccept-encoding: x-gzip\r\n", 2),
    ];
    for (fields, variant) in asked {
        let (is_fast, answer) = asked_both_ways(&world, "/a", fields).await;
        assert!(is_fast && answer.ends_with(&format!("for {:?}", stored[variant])), "{fields}: {answer}");
    }
    assert_eq!(world.origin.asked(), stored.len());
    // What no stored one is for goes the long way.
    let pending = world.get_with("/a", "accept-language: fr\r\n");
    world.origin.next().await.reply("200 OK", &vary, b"fr").await;
    assert_eq!(pending.await.text(), "fr");
}

#[tokio::test]
async fn directives_of_requests_count_where_the_operator_has_it_so() {
    let honour = |config: &mut EdgeConfig| {
        one_worker(config);
        config.honour_request_directives = true;
    };
    let mut world = World::at(noon, Some(Duration::from_secs(60)), honour).await;
    world.fetch("/a", HOUR, "one").await;
    for (fields, is_plain) in [("", true), ("cache-control: max-age=60\r\n", false), ("pragma: x\r\n", false)]
    {
        assert_eq!(asked_both_ways(&world, "/a", fields).await.0, is_plain, "{fields}");
    }
    let pending = world.get_with("/a", "Cache-Control: no-cache\r\n");
    world.origin.next().await.reply("200 OK", HOUR, b"two").await;
    assert_eq!(pending.await.text(), "two");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever an origin sends and a client asks, the two ways have one answer.
    #[test]
    fn both_ways_answer_alike(
        fields in prop::collection::vec((field_of_response(), "[a-z0-9/;=\" ]{0,12}"), 0..8),
        lengths in prop::collection::vec(prop_oneof![1..100_usize, 1..300_000_usize], 1..3),
        requests in prop::collection::vec(prop::collection::vec(field_of_request(), 0..4), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        runtime.block_on(async {
            let mut world = world().await;
            for (index, length) in lengths.iter().enumerate() {
                let path = format!("/{index}");
                let body: String = (0..*length).map(|at| char::from(b'a' + u8::try_from(at % 26).unwrap())).collect();
                world.fetch(&path, &format!("{HOUR}{fields}"), &body).await;
                for request in &requests {
                    asked_both_ways(&world, &path, &request.concat()).await;
                }
            }
            world.stop().await;
        });
    }
}

fn field_of_response() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "x-a",
        "x-b",
        "link",
        "via",
        "server",
        "cache-status",
        "eo-cache-status",
        "eo-log-uuid",
        "age",
        "date",
        "accept-ranges",
        "content-type",
        "expires",
        "x-request-id",
        "content-language",
        "warning",
    ])
}

fn field_of_request() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "accept: */*\r\n",
        "Accept-Encoding: gzip, br\r\n",
        "cookie: a=b\r\n",
        "user-agent: x\r\n",
        "range: bytes=1-\r\n",
        "range: bytes=-5\r\n",
        "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "if-none-match: *\r\n",
        "if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "cache-control: no-cache\r\n",
        "connection: keep-alive\r\n",
        "authorization: x\r\n",
        "via: 1.1 a\r\n",
        "x-a:\t 1 \r\n",
    ])
}

#[tokio::test]
async fn answers_keep_their_order_whichever_way_they_go_and_however_they_are_split() {
    let mut world = world().await;
    world.fetch("/a", HOUR, "from the cache a").await;
    world.fetch("/b", HOUR, "from the cache b").await;
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n");
    let all = [
        get("/a", ""),
        get("/b", ""),
        get("/a", "range: bytes=0-3\r\n"),
        get("/b", ""),
        format!("POST /p HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\n\r\nabc"),
        get("/b", ""),
        get("/a", UNUSUAL),
        get("/a", ""),
        get("/b", "connection: close\r\n"),
    ];
    let bytes = all.concat().into_bytes();
    for piece_bytes in [bytes.len(), 200, 61, 7, 1] {
        let fast_before = fast_hits(&world);
        let mut client = Client::connect(world.edge.address()).await;
        let asked = async {
            for piece in bytes.chunks(piece_bytes) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }
            let mut texts = Vec::new();
            for _ in &all {
                texts.push(client.answer(false).await.text().to_owned());
            }
            assert!(client.is_closed().await);
            texts
        };
        let posted = async {
            let posted = world.origin.next().await;
            assert_eq!(posted.body, b"abc");
            posted.reply("200 OK", "", b"posted").await;
        };
        let (texts, ()) = tokio::join!(asked, posted);
        let (a, b) = ("from the cache a", "from the cache b");
        assert_eq!(texts, [a, b, "from", b, "posted", b, a, a, b], "in pieces of {piece_bytes}");
        assert!(fast_hits(&world) >= fast_before + 2, "the first ones go the fast way");
    }
}

#[tokio::test]
async fn a_slow_client_gets_all_of_what_it_asked_for_in_turn() {
    let mut world = world().await;
    let body: String = (0..1_000_000).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect();
    world.fetch("/large", HOUR, &body).await;
    world.fetch("/small", HOUR, "small").await;
    let mut client = Client::connect_narrowly(world.edge.address()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let all = ["/large", "/small", "/large", "/small"];
    let fast_before = fast_hits(&world);
    client.send(all.map(get).concat().as_bytes()).await;
    for path in all {
        let answer = client.answer(false).await;
        let expected = if path == "/large" { &body } else { "small" };
        assert!(answer.is_whole && answer.text() == expected, "{path}");
    }
    assert_eq!(fast_hits(&world) - fast_before, 4, "waiting for the client keeps nobody from the fast lane");
    let sent = world.edge.counters().bytes_sent.load(Ordering::Relaxed);
    assert!(sent >= 2 * 1_000_000 + 2 * 5, "{sent}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go_and_its_answer_counts_as_broken_off() {
    let impatient = |config: &mut EdgeConfig| {
        one_worker(config);
        config.client_stall_timeout = Duration::from_millis(200);
    };
    let mut world = World::at(noon, Some(Duration::from_secs(60)), impatient).await;
    world.fetch("/large", HOUR, &"x".repeat(1_000_000)).await;
    let mut client = Client::connect_narrowly(world.edge.address()).await;
    let request = format!("GET /large HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.send(request.repeat(20).as_bytes()).await;
    let counters = world.edge.counters();
    crate::world::until("the client to be let go", || counters.stalled.load(Ordering::Relaxed) == 1).await;
    crate::world::until("its answer to be counted", || counters.broken_off.load(Ordering::Relaxed) == 1)
        .await;
}

#[tokio::test]
async fn an_answer_under_way_is_finished_when_the_edge_ends() {
    let mut world = world().await;
    let body = "x".repeat(1_000_000);
    world.fetch("/large", HOUR, &body).await;
    let mut client = Client::connect_narrowly(world.edge.address()).await;
    let before = fast_hits(&world);
    // More than the sockets hold between the two.
    client.send(format!("GET /large HTTP/1.1\r\nhost: {HOST}\r\n\r\n").repeat(8).as_bytes()).await;
    crate::world::until("the first to be answered", || fast_hits(&world) > before).await;
    let stopping = tokio::spawn(world.stop());
    let mut answers = 0;
    while let Some(answer) = client.answer_or_nothing().await {
        assert!(answer.is_whole && answer.text() == body, "answer {answers} of an edge that ends");
        answers += 1;
        if answer.field("connection") == "close" {
            break;
        }
    }
    assert!(answers > 0 && client.is_closed().await);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_purge_and_a_lost_lease_count_on_a_connection_that_has_only_seen_hits() {
    let mut world = World::with(Some(Duration::from_secs(60)), one_worker).await;
    world.fetch("/a", HOUR, "one").await;
    let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
    let before = fast_hits(&world);
    for _ in 0..3 {
        assert!(ask(&mut stream, "/a", "").await.ends_with(b"one"));
    }
    assert_eq!(fast_hits(&world) - before, 3);
    let seq = world.purge(url("/a"), Method::Delete).await;
    let (answer, ()) = tokio::join!(ask(&mut stream, "/a", ""), async {
        world.origin.next().await.reply("200 OK", HOUR, b"two").await;
    });
    assert!(answer.ends_with(b"two"));
    let answer = String::from_utf8(ask(&mut stream, "/a", "").await).unwrap();
    assert!(answer.contains(&format!("detail=\"seq={seq}\"")) && answer.ends_with("two"), "{answer}");
    assert_eq!(fast_hits(&world) - before, 4);
}

#[tokio::test]
async fn hits_over_tls_take_the_fast_lane_too() {
    let directory = TempDir::new().unwrap();
    let made = Made::for_names(&[HOST]);
    made.write(directory.path(), "a");
    let mut world = World::start_with(|config| {
        one_worker(config);
        let mut settings = TlsSettings::new(([127, 0, 0, 1], 0).into());
        settings.directory = Some(directory.path().to_owned());
        config.tls = Some(settings);
    })
    .await;
    let body = "x".repeat(900_000);
    world.fetch("/a", HOUR, &body).await;
    let client = SecureClient::believing(&[&made], &["http/1.1"], rustls::ALL_VERSIONS);
    let mut stream = client.connect(world.edge.tls_address().unwrap(), HOST).await.unwrap();
    let before = fast_hits(&world);
    for _ in 0..3 {
        assert!(ask(&mut stream, "/a", "").await.ends_with(body.as_bytes()));
    }
    assert_eq!(fast_hits(&world) - before, 3);
}

#[tokio::test]
async fn the_access_log_tells_nothing_of_the_way() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let log = AccessLogConfig { file: Some(file.clone()), format: AccessLogFormat::Json, one_in: 1 };
    let logged = |config: &mut EdgeConfig| {
        one_worker(config);
        config.access_log = Some(log);
    };
    let mut world = World::at(noon, Some(Duration::from_secs(60)), logged).await;
    world.fetch("/a?b=%22", HOUR, "hello").await;
    let fields = "User-Agent:  a \"b\"\t\r\nReferer: http://b/\r\nuser-agent: second\r\n";
    assert!(asked_both_ways(&world, "/a?b=%22", fields).await.0);
    world.stop().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| line["cache"] == "hit");
    for line in &mut lines {
        let own = line.as_object_mut().unwrap();
        assert!(own.remove("request_id").is_some() && own.remove("duration_ms").is_some());
    }
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], lines[1]);
    assert_eq!((&lines[0]["user_agent"], &lines[0]["bytes"]), (&"a \"b\"".into(), &5.into()));
}
