//! Refusals, failures and bounds.

use crate::world::{Client, DEAD_HOST, HOST, OFFLINE_HOST, PAUSED_HOST, World, until};
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\n";

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_with_a_reason() {
    let world = World::start_with(|config| config.request_body_bytes_max = 10).await;
    let get = |host: &str| format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "a".repeat(9000));
    let longer_path = format!("GET /{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "a".repeat(70_000));
    let large_head = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let many_fields = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n", "x: a\r\n".repeat(200));
    let large_body = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 11\r\n\r\n01234567890");
    let many_hops = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n", "via: 1.1 a\r\n".repeat(17));
    let cases: &[(&str, u16, &str)] = &[
        (&get("nobody.test"), 404, "unknown-host"),
        (&get("a.test"), 404, "unknown-host"),
        (&get(PAUSED_HOST), 503, "zone-paused"),
        (&get(OFFLINE_HOST), 503, "domain-offline"),
        (&get("a..b"), 400, "bad-host"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "host-missing"),
        ("GET / HTTP/1.0\r\n\r\n", 400, "bad-host"),
        (&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n\r\n"), 400, "host-repeated"),
        (&long_path, 414, "url-too-long"),
        (&longer_path, 414, "url-too-long"),
        (&large_head, 431, "head-too-large"),
        (&many_fields, 431, "too-many-fields"),
        (&large_body, 413, "body-too-large"),
        (&many_hops, 508, "loop"),
        (&get(DEAD_HOST), 502, "origin-unreachable"),
        ("no http\r\n\r\n", 400, "method-form"),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400, "space-before-colon"),
        ("GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400, "length-form"),
        (&format!("CONNECT {HOST}:80 HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 405, "method"),
        (&format!("OPTIONS * HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 400, "bad-url"),
    ];
    for (request, status, name) in cases {
        let what: String = request.chars().take(60).collect();
        let answer = Client::request(world.edge.address(), request.as_bytes().to_vec()).await;
        assert_eq!(answer.status, *status, "{what}");
        assert_eq!(answer.field("cache-status"), format!("e; detail={name}"), "{what}");
        assert!(answer.text().starts_with(&format!("{status} {name}: ")), "{what}: {}", answer.text());
        assert_eq!(answer.has("retry-after"), *status == 503, "{what}");
    }
    assert_eq!(world.origin.asked(), 0);
}

#[tokio::test]
async fn an_unknown_host_is_told_what_to_do() {
    let world = World::start().await;
    let answer = Client::get(world.edge.address(), "nobody.test", "/", "").await;
    let text = "404 unknown-host: nobody.test: no zone serves this host; create an acceleration domain of this name\n";
    assert_eq!(answer.text(), text);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused() {
    let mut world = World::start_with(|config| config.request_body_bytes_max = 10).await;
    let post = format!(
        "POST /a HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n"
    );
    let answer = Client::request(world.edge.address(), post.into_bytes()).await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (413, "e; detail=body-too-large"));
    // The origin may have seen its beginning, but no end of it.
    if let Some(asked) = world.origin.try_next() {
        assert!(asked.body.len() <= 10);
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    let again = world.get_with("/a", &format!("via: 1.0 fred, {}\r\n", asked.field("via"))).await;
    assert_eq!((again.status, again.field("cache-status").as_str()), (508, "e; detail=loop"));
    asked.reply("200 OK", MINUTE, b"x").await;
    pending.await;
}

#[tokio::test]
async fn a_silent_origin_is_not_waited_for_without_end() {
    let mut world = World::start_with(|config| {
        config.connect_timeout = Duration::from_millis(50);
        config.head_timeout = Duration::from_millis(50);
    })
    .await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (504, "e; detail=origin-timeout"));
    asked.until_closed().await;
    world.fetch("/a", MINUTE, "one").await;
}

#[tokio::test]
async fn an_origin_that_falls_silent_breaks_the_answer() {
    let mut world = World::start_with(|config| config.body_timeout = Duration::from_millis(50)).await;
    let pending = world.get("/a");
    let mut asked = world.origin.next().await;
    asked.head_of("200 OK", &format!("{MINUTE}content-length: 6\r\n")).await;
    asked.write(b"abc").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.is_whole), ("abc", false));
    world.fetch("/a", MINUTE, "abcdef").await;
}

#[tokio::test]
async fn an_origin_that_speaks_no_http_is_a_bad_gateway() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    let mut asked = world.origin.next().await;
    asked.write(b"hello\r\n\r\n").await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (502, "e; detail=origin-malformed"));
}

/// As it happens when the origin gives up an idle connection while a request is on its way.
#[tokio::test]
async fn an_origin_that_closes_without_an_answer_is_asked_once_more() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    drop(world.origin.next().await);
    world.origin.next().await.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(pending.await.text(), "one");
    let pending = world.get("/b");
    drop(world.origin.next().await);
    drop(world.origin.next().await);
    let answer = pending.await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (502, "e; detail=origin-closed"));
    // What is not safe to repeat is not repeated.
    let post = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi");
    let posted = Client::request(world.edge.address(), post.into_bytes());
    drop(world.origin.next().await);
    assert_eq!(posted.await.status, 502);
    assert_eq!(world.origin.asked(), 5);
}

#[tokio::test]
async fn what_is_too_large_to_store_is_passed_on() {
    for declared in [true, false] {
        let mut world = World::start_with(|config| config.object_bytes_max = 1000).await;
        for _ in 0..2 {
            let pending = world.get("/a");
            let mut asked = world.origin.next().await;
            if declared {
                asked.head_of("200 OK", &format!("{MINUTE}content-length: 1500\r\n")).await;
                asked.write(&[b'a'; 1500]).await;
            } else {
                asked.head_of("200 OK", &format!("{MINUTE}transfer-encoding: chunked\r\n")).await;
                for _ in 0..3 {
                    asked.write(format!("1f4\r\n{}\r\n", "a".repeat(500)).as_bytes()).await;
                }
                asked.write(b"0\r\n\r\n").await;
            }
            asked.done();
            let answer = pending.await;
            assert_eq!((answer.body.len(), answer.is_whole), (1500, true));
            if declared {
                assert!(!answer.field("cache-status").contains("stored"), "{answer:?}");
            }
        }
        assert_eq!(world.edge.stored().1 / 1024, 0, "nothing is stored");
    }
}

/// Content too large to store is never stored, so that a part of it is asked for as a part, and its head as a head.
#[tokio::test]
async fn a_part_of_content_too_large_to_store_is_not_fetched_whole() {
    let mut world = World::start_with(|config| config.object_bytes_max = 1000).await;
    let large = "a".repeat(1500);
    assert_eq!(world.fetch("/a", MINUTE, &large).await.body.len(), 1500);
    let part = world.get_with("/a", "range: bytes=1000-1003\r\nif-none-match: \"x\"\r\n");
    let asked = world.origin.next().await;
    assert_eq!((asked.field("range"), asked.has("if-none-match")), ("bytes=1000-1003", false));
    asked.reply("206 Partial Content", "content-range: bytes 1000-1003/1500\r\n", b"aaaa").await;
    let part = part.await;
    assert_eq!((part.status, part.text()), (206, "aaaa"));
    assert!(part.field("cache-status").contains("fwd=bypass"), "{part:?}");
    let mut client = Client::connect(world.edge.address()).await;
    client.send(format!("HEAD /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut asked = world.origin.next().await;
    assert!(asked.first_line().starts_with("HEAD /a "), "{}", asked.first_line());
    asked.head_of("200 OK", &format!("{MINUTE}content-length: 1500\r\n")).await;
    asked.done();
    assert_eq!(client.answer(true).await.field("content-length"), "1500");
}

/// Sends a request and reads no more than the head of its answer.
async fn slow_reader(world: &World, path: &str) -> Client {
    let mut client = Client::connect(world.edge.address()).await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    client
}

/// What is passed on to slow clients takes memory for a window, and nobody else waits for them.
#[tokio::test]
async fn a_slow_client_blocks_nobody_and_takes_no_more_than_a_window() {
    const LENGTH: usize = 96 << 20;
    let mut world = World::start().await;
    let mut slow = Vec::new();
    let content = vec![b'a'; LENGTH];
    for number in 0..6 {
        let mut client = slow_reader(&world, "/large").await;
        let mut asked = world.origin.next().await;
        asked.head_of("200 OK", &format!("{MINUTE}content-length: {LENGTH}\r\n")).await;
        client.answer_head().await;
        if number == 0 {
            let taken = asked.write_all_it_takes(&content, Duration::from_millis(300)).await;
            assert!(taken < LENGTH / 2, "the edge took {taken} bytes that nobody reads");
        } else {
            // Beyond the window, so that nobody can join from the start any more.
            asked.write_all_it_takes(&content[..1 << 20], Duration::from_millis(50)).await;
            client.take(1 << 19, &mut Vec::new()).await;
        }
        slow.push((client, asked));
    }
    world.fetch("/large", MINUTE, "small now").await;
    assert_eq!(world.hit("/large").await.text(), "small now");
}

/// Two that ask at once for what is only passed on get a fetch each: sharing one would mean the pace of the slower.
#[tokio::test]
async fn a_slow_client_does_not_hold_up_another_that_asked_at_the_same_time() {
    const LENGTH: usize = 64 << 20;
    let mut world = World::start().await;
    let mut slow = slow_reader(&world, "/large").await;
    let mut first = world.origin.next().await;
    let quick = world.get("/large");
    until("both to have come", || world.requests() == 2).await;
    let head = format!("{MINUTE}content-length: {LENGTH}\r\n");
    first.head_of("200 OK", &head).await;
    slow.answer_head().await;
    let content = vec![b'a'; LENGTH];
    world.origin.next().await.reply("200 OK", MINUTE, &content).await;
    assert_eq!(quick.await.body.len(), LENGTH);
}

#[tokio::test]
async fn a_slow_client_does_not_slow_down_what_is_stored() {
    let mut world = World::start_with(|config| {
        config.memory_bytes = 128 << 20;
        config.object_bytes_max = 32 << 20;
    })
    .await;
    const LENGTH: usize = 24 << 20;
    let slow = slow_reader(&world, "/large").await;
    let content = vec![b'a'; LENGTH];
    world.origin.next().await.reply("200 OK", MINUTE, &content).await;
    until("the whole", || world.edge.stored().0 == 1).await;
    assert_eq!(world.hit("/large").await.body.len(), LENGTH);
    drop(slow);
}

/// A client that takes nothing would keep what it was to get in memory, evicted or not, for as long as it likes.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    const LENGTH: usize = 24 << 20;
    let mut world = World::start_with(|config| {
        config.memory_bytes = 128 << 20;
        config.object_bytes_max = 32 << 20;
        config.client_stall_timeout = Duration::from_millis(50);
    })
    .await;
    let mut slow = slow_reader(&world, "/large").await;
    let content = vec![b'a'; LENGTH];
    world.origin.next().await.reply("200 OK", MINUTE, &content).await;
    until("the whole", || world.edge.stored().0 == 1).await;
    let stalled = &world.edge.counters().stalled;
    until("an end", || stalled.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    assert!(!slow.answer(false).await.is_whole);
}

#[tokio::test]
async fn what_is_passed_on_to_nobody_is_broken_off() {
    let mut world = World::start().await;
    let client = slow_reader(&world, "/large").await;
    let mut asked = world.origin.next().await;
    asked.head_of("200 OK", "cache-control: no-store\r\ncontent-length: 50000000\r\n").await;
    drop(client);
    let content = vec![b'a'; 1 << 20];
    let wrote =
        tokio::time::timeout(crate::world::PATIENCE, async { while asked.try_write(&content).await {} });
    assert!(wrote.await.is_ok(), "in vain: the edge to close a connection");
}

#[tokio::test]
async fn the_cache_stays_within_its_memory() {
    let mut world = World::start_with(|config| {
        config.memory_bytes = 2 << 20;
        config.object_bytes_max = 1 << 17;
    })
    .await;
    let content = "a".repeat(100_000);
    for number in 0..60 {
        world.fetch(&format!("/{number}"), MINUTE, &content).await;
    }
    until("the last to be stored", || world.edge.stored().1 > 1 << 20).await;
    assert!(world.edge.stored().1 <= 2 << 20);
}

#[tokio::test]
async fn beyond_the_limit_of_connections_clients_wait() {
    let world = World::start_with(|config| {
        config.workers = 1;
        config.connections_max = 1;
    })
    .await;
    let mut first = Client::connect(world.edge.address()).await;
    let request = format!("GET / HTTP/1.1\r\nhost: {PAUSED_HOST}\r\n\r\n");
    first.send(request.as_bytes()).await;
    assert_eq!(first.answer(false).await.status, 503);
    let second = Client::get(world.edge.address(), PAUSED_HOST, "/", "");
    first.send(request.as_bytes()).await;
    assert_eq!(first.answer(false).await.status, 503);
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.status, 503);
}

#[tokio::test]
async fn an_idle_edge_ends_within_a_second() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    let mut used = Client::connect(world.edge.address()).await;
    used.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    used.answer(false).await;
    let mut unused = Client::connect(world.edge.address()).await;
    tokio::time::timeout(Duration::from_secs(1), world.stop()).await.expect("an idle edge ends in time");
    assert!(used.is_closed().await && unused.is_closed().await);
}

#[tokio::test]
async fn an_edge_ends_in_time_without_a_control_plane_that_listens() {
    let world = World::start().await;
    world.control.fall_silent();
    // Whoever opens a link waits for room from now on.
    world.accept.try_send(feed::pair().1).unwrap();
    world.control.break_link();
    until("the link to break", || world.control.is_unlinked()).await;
    tokio::time::timeout(Duration::from_secs(2), world.stop()).await.expect("an idle edge ends in time");
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_the_edge_ends() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    let mut asked = world.origin.next().await;
    world.edge.shut_down();
    asked.head_of("200 OK", "content-length: 3\r\n").await;
    asked.write(b"abc").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.is_whole), ("abc", true));
    tokio::time::timeout(Duration::from_secs(1), world.stop()).await.expect("an idle edge ends in time");
}
