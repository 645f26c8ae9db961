//! Origins that break off, lie, flood or stall: an error to the one client that asked, and nothing wrong in the cache.

use crate::world::{Client, Exchange, HOST, World, until};
use std::sync::atomic::Ordering;
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// How the origin goes on after it wrote what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Closes,
    Resets,
    KeepsOpen,
}

/// What the client gets.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// An answer of the edge's own, with the name of its reason.
    Refusal(u16, &'static str),
    /// A beginning of this, or nothing.
    Part(&'static str),
    /// The same, but more came than was declared: all that was declared may have gone out before the rest came.
    TooMuch(&'static str),
}

use Got::{Part, Refusal, TooMuch};
use Then::{Closes, KeepsOpen, Resets};

/// What the case is, what the origin writes, how it goes on, what the client gets.
type Case = (&'static str, String, Then, Got);

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{MINUTE}{rest}")
}

fn malformed() -> Got {
    Refusal(502, "origin-malformed")
}

fn bad_lengths() -> Vec<Case> {
    vec![
        ("less than declared", ok("content-length: 10\r\n\r\nabc"), Closes, Part("abc")),
        ("less than declared, then a reset", ok("content-length: 10\r\n\r\nabc"), Resets, Part("abc")),
        ("more than declared", ok("content-length: 3\r\n\r\nabcdef"), KeepsOpen, TooMuch("abc")),
        (
            "another response at once",
            ok("content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
            KeepsOpen,
            TooMuch("ok"),
        ),
        ("two lengths", ok("content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), Closes, malformed()),
        ("a list of lengths", ok("content-length: 3, 4\r\n\r\nabcd"), Closes, malformed()),
        ("a signed length", ok("content-length: +3\r\n\r\nabc"), Closes, malformed()),
        (
            "length and coding",
            ok("content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            KeepsOpen,
            malformed(),
        ),
        (
            "a coding nobody asked for",
            ok("transfer-encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            KeepsOpen,
            malformed(),
        ),
        ("a coding without chunks", ok("transfer-encoding: identity\r\n\r\nabc"), Closes, malformed()),
        (
            "chunks in HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\n{MINUTE}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            Closes,
            malformed(),
        ),
    ]
}

fn bad_chunks() -> Vec<Case> {
    vec![
        ("no length, then a reset", ok("\r\nabc"), Resets, Part("abc")),
        ("no last chunk", ok("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"), Closes, Part("abc")),
        ("half a chunk", ok("transfer-encoding: chunked\r\n\r\n8\r\nabc"), Closes, Part("abc")),
        (
            "a bad chunk size",
            ok("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
            KeepsOpen,
            Part("abc"),
        ),
        (
            "a chunk size beyond numbers",
            ok("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc"),
            KeepsOpen,
            Part(""),
        ),
        (
            "a chunk longer than it says",
            ok("transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"),
            KeepsOpen,
            Part("ab"),
        ),
    ]
}

fn bad_heads() -> Vec<Case> {
    vec![
        ("garbage", "\u{1}\u{2}garbage\r\n\r\n".into(), KeepsOpen, malformed()),
        ("another protocol", "SSH-2.0-OpenSSH\r\n".into(), Closes, malformed()),
        ("half a head", ok("content-le"), Closes, Refusal(502, "origin-closed")),
        ("half a head and a reset", ok("content-le"), Resets, Refusal(502, "origin-closed")),
        ("a space before the colon", ok("content-length : 3\r\n\r\nabc"), Closes, malformed()),
        ("a folded field", ok("x: a\r\n b\r\ncontent-length: 3\r\n\r\nabc"), Closes, malformed()),
        (
            "a large head",
            ok(&format!("x: {}\r\n\r\n", "a".repeat(70_000))),
            Closes,
            Refusal(502, "origin-head-too-large"),
        ),
        (
            "an endless head",
            ok(&format!("x: {}", "a".repeat(600_000))),
            KeepsOpen,
            Refusal(502, "origin-head-too-large"),
        ),
        (
            "many fields",
            ok(&format!("{}\r\n", "x: a\r\n".repeat(200))),
            Closes,
            Refusal(502, "origin-head-too-large"),
        ),
        ("a flood of interim responses", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100), KeepsOpen, malformed()),
        (
            "an upgrade nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".into(),
            KeepsOpen,
            malformed(),
        ),
    ]
}

/// Answers the next request with bytes as they are. The edge may close before it has taken them all.
async fn play(world: &mut World, bytes: &str, then: Then) -> Option<Exchange> {
    let mut asked = world.origin.next().await;
    asked.try_write(bytes.as_bytes()).await;
    match then {
        Closes => None,
        Resets => {
            asked.reset();
            None
        }
        KeepsOpen => Some(asked),
    }
}

#[tokio::test]
async fn a_bad_answer_is_an_error_to_its_client_only_and_never_stored() {
    for (what, bytes, then, expected) in bad_lengths().into_iter().chain(bad_chunks()).chain(bad_heads()) {
        let mut world = World::start_with(|config| config.workers = 1).await;
        let mut client = Client::connect(world.edge.address()).await;
        client.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
        let held = play(&mut world, &bytes, then).await;
        // A connection that closed without an answer is tried once more.
        let held_again = match expected {
            Refusal(_, "origin-closed") => play(&mut world, &bytes, then).await,
            _ => None,
        };
        let answer = client.answer_or_nothing().await;
        match (expected, answer) {
            (Refusal(status, name), Some(answer)) => {
                let detail = answer.field("cache-status");
                let seen = (answer.status, detail.rsplit("detail=").next().unwrap());
                assert_eq!(seen, (status, name), "{what}");
            }
            // What broke off before any of it was on its way to the client is no answer at all.
            (Part(_) | TooMuch(_), None) => {}
            (Part(body), Some(answer)) => {
                assert_eq!((answer.status, answer.is_whole), (200, false), "{what}");
                assert!(body.starts_with(answer.text()), "{what}: {}", answer.text());
            }
            (TooMuch(body), Some(answer)) => {
                assert_eq!(answer.status, 200, "{what}");
                assert!(body.starts_with(answer.text()), "{what}: {}", answer.text());
            }
            (Refusal(..), None) => panic!("{what}: no answer"),
        }
        // Others get their own answers, and whoever asks for the same again gets a new one.
        let before = world.origin.asked();
        assert_eq!(world.fetch("/b", MINUTE, "other").await.text(), "other", "{what}");
        assert_eq!(world.fetch("/a", MINUTE, "good").await.text(), "good", "{what}");
        assert_eq!(world.hit("/a").await.text(), "good", "{what}");
        assert_eq!(world.origin.asked(), before + 2, "{what}");
        drop((held, held_again));
    }
}

/// RFC 9112 §8: without length and chunks, the end of the connection is the end of the response, if it is an orderly
/// one. A reset is none (above); over TLS, neither is an end without the word for it.
#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    let mut world = World::start().await;
    for (head, path) in [("HTTP/1.1 200 OK", "/a"), ("HTTP/1.0 200 OK", "/b")] {
        let pending = world.get(path);
        let mut asked = world.origin.next().await;
        asked.write(format!("{head}\r\n{MINUTE}\r\nabc").as_bytes()).await;
        drop(asked);
        assert_eq!(pending.await.text(), "abc");
        assert_eq!(world.hit(path).await.text(), "abc");
    }
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let mut world = World::start().await;
    for _ in 0..2 {
        // Passed on, since it may not be stored.
        let pending = world.get("/a");
        let mut asked = world.origin.next().await;
        asked
            .head_of("200 OK", "cache-control: no-store\r\ncontent-length: 3\r\ncontent-length: 3\r\n")
            .await;
        asked.write(b"abc").await;
        asked.done();
        let answer = pending.await;
        assert_eq!((answer.text(), answer.field("content-length").as_str()), ("abc", "3"));
    }
}

#[tokio::test]
async fn redirects_are_passed_on_and_not_followed() {
    let mut world = World::start().await;
    for _ in 0..3 {
        let pending = world.get("/a");
        let asked = world.origin.next().await;
        asked.reply("302 Found", "location: /a\r\ncache-control: no-store\r\n", b"").await;
        let answer = pending.await;
        assert_eq!((answer.status, answer.field("location").as_str()), (302, "/a"));
    }
    assert_eq!(world.origin.asked(), 3);
}

/// The whole time counts, however regularly the bytes come.
#[tokio::test]
async fn an_origin_that_drips_is_let_go_and_nothing_of_it_is_stored() {
    let mut world = World::start_with(|config| config.response_timeout = Duration::from_millis(300)).await;
    let pending = world.get("/a");
    let mut asked = world.origin.next().await;
    asked.head_of("200 OK", &format!("{MINUTE}content-length: 1000000\r\n")).await;
    let dripping = tokio::spawn(async move {
        let mut drops = 0;
        while asked.try_write(b"x").await {
            drops += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drops
    });
    let answer = pending.await;
    assert!(!answer.is_whole);
    assert!(tokio::time::timeout(crate::world::PATIENCE, dripping).await.unwrap().unwrap() > 0);
    world.fetch("/a", MINUTE, "good").await;
    assert_eq!(world.hit("/a").await.text(), "good");
}

/// An interim response or a few are no flood.
#[tokio::test]
async fn a_few_interim_responses_pass() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut asked = world.origin.next().await;
    asked.write("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(16).as_bytes()).await;
    for _ in 0..16 {
        assert_eq!(client.answer_head().await.status, 103);
    }
    asked.reply("200 OK", MINUTE, b"abc").await;
    assert_eq!(client.answer(false).await.text(), "abc");
}

/// The connection goes back once its response is read, and not before.
#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let mut world = World::start_with(|config| config.workers = 1).await;
    let mut seen = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let pending = world.get(path);
        let asked = world.origin.next().await;
        seen.push(asked.connection);
        asked.reply("200 OK", MINUTE, b"x").await;
        pending.await;
        until("the fetch to end", || world.edge.stored().0 >= seen.len()).await;
    }
    assert!(seen.iter().all(|connection| *connection == seen[0]), "{seen:?}");
    assert_eq!(world.edge.counters().repeated.load(Ordering::Relaxed), 0);
}
