//! What comes from the cache and what from the origin, as long as nothing is purged.

use crate::world::{Client, HOST, OTHER_HOST, World, until};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const MINUTE: &str = "cache-control: max-age=60\r\n";

#[tokio::test]
async fn what_was_fetched_once_is_served_from_the_cache() {
    let mut world = World::start().await;
    let first = world.fetch("/a", "cache-control: max-age=60\r\nage: 7\r\ncache-tag: x\r\n", "hello").await;
    assert_eq!((first.status, first.text()), (200, "hello"));
    assert_eq!(first.field("eo-cache-status"), "MISS");
    assert_eq!(
        first.field("cache-status"),
        "e; fwd=uri-miss; fwd-status=200; ttl=53; stored; detail=\"seq=0\""
    );
    let again = world.hit("/a").await;
    assert_eq!((again.status, again.text()), (200, "hello"));
    assert_eq!(again.field("cache-status"), "e; hit; ttl=53; detail=\"seq=0\"");
    for answer in [first, again] {
        assert_eq!(answer.field("age"), "7");
        assert_eq!(answer.field("content-length"), "5");
        assert!(answer.has("date") && answer.has("via") && answer.has("eo-log-uuid"));
        assert!(!answer.has("cache-tag"), "tags are for the cache only");
    }
}

#[tokio::test]
async fn a_copy_ages_and_goes_stale() {
    static NOW_SECS: AtomicU64 = AtomicU64::new(1_000_000_000);
    let wall = || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECS.load(Ordering::SeqCst));
    let mut world = World::at(wall, Some(Duration::from_secs(60)), |_| {}).await;
    world.fetch("/a", "cache-control: max-age=60\r\netag: \"1\"\r\n", "one").await;
    NOW_SECS.fetch_add(59, Ordering::SeqCst);
    let answer = world.hit("/a").await;
    assert_eq!(answer.field("age"), "59");
    assert_eq!(answer.field("cache-status"), "e; hit; ttl=1; detail=\"seq=0\"");
    NOW_SECS.fetch_add(1, Ordering::SeqCst);
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified("").await;
    assert_eq!(pending.await.field("age"), "0");
    assert_eq!(world.hit("/a").await.field("age"), "0");
}

#[tokio::test]
async fn a_new_configuration_counts_at_once() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.control.send(feed::ToEdge::Zones { version: 2, zones: Vec::new() });
    let gone =
        tokio::time::timeout(crate::world::PATIENCE, async { while world.get("/a").await.status != 404 {} });
    gone.await.unwrap();
}

#[tokio::test]
async fn the_origin_gets_the_request_without_what_is_of_this_hop() {
    let mut world = World::start().await;
    let pending = world.get_with(
        "/a?b=%7e",
        "accept: x\r\nconnection: x-hop\r\nx-hop: 1\r\nte: trailers\r\nkeep-alive: 5\r\nrange: bytes=0-1\r\n\
         if-none-match: \"z\"\r\nupgrade: h2c\r\n",
    );
    let asked = world.origin.next().await;
    assert_eq!(asked.first_line(), "GET /a?b=~ HTTP/1.1");
    assert_eq!((asked.field("host"), asked.field("accept")), ("origin.test", "x"));
    assert!(asked.field("via").starts_with("1.1 everfresh-"));
    // The client's range, widened to whole slices of what is not known yet.
    assert_eq!(asked.field("range"), "bytes=0-1048575");
    for gone in ["x-hop", "te", "keep-alive", "if-none-match", "upgrade", "connection"] {
        assert!(!asked.has(gone), "{gone}");
    }
    let fields =
        "cache-control: max-age=60\r\nconnection: x-mine\r\nx-mine: 1\r\nkeep-alive: 5\r\nx-kept: 1\r\n";
    asked.reply("200 OK", fields, b"ab").await;
    for answer in [pending.await, world.get("/a?b=~").await] {
        assert!(!answer.has("x-mine") && !answer.has("keep-alive"), "{answer:?}");
        assert_eq!(answer.field("x-kept"), "1");
    }
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn connections_to_the_origin_are_used_again() {
    let mut world = World::start_with(|config| config.workers = 1).await;
    for round in 0..3 {
        let pending = world.get(&format!("/{round}"));
        let asked = world.origin.next().await;
        assert_eq!(asked.connection, 0);
        asked.reply("200 OK", MINUTE, b"x").await;
        pending.await;
    }
}

#[tokio::test]
async fn what_is_stale_by_age_is_asked_about() {
    let mut world = World::start().await;
    let stale = "cache-control: max-age=60\r\nage: 61\r\netag: \"1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    world.fetch("/a", stale, "one").await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    assert_eq!(asked.field("if-modified-since"), "Sun, 06 Nov 1994 08:49:37 GMT");
    asked.not_modified("etag: \"1\"\r\ncache-control: max-age=30\r\n").await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.text()), (200, "one"));
    assert_eq!(answer.field("eo-cache-status"), "RefreshHit");
    assert_eq!(
        answer.field("cache-status"),
        "e; fwd=stale; fwd-status=304; ttl=30; stored; detail=\"seq=0\""
    );
    assert_eq!(world.hit("/a").await.text(), "one");
}

#[tokio::test]
async fn a_304_about_something_else_is_not_believed() {
    let mut world = World::start().await;
    world.fetch("/a", "cache-control: no-cache\r\netag: \"1\"\r\n", "one").await;
    let pending = world.get("/a");
    world.origin.next().await.not_modified("etag: \"2\"\r\n").await;
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(pending.await.text(), "two");
    assert_eq!(world.hit("/a").await.text(), "two");
}

/// Without a condition in the request, a 304 says nothing about what is stored.
#[tokio::test]
async fn a_304_that_nothing_asked_for_renews_nothing() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.purge(crate::world::url("/a"), purge::Method::Invalidate).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match") && !asked.has("if-modified-since"));
    asked.not_modified("").await;
    assert_eq!(pending.await.status, 304);
    world.fetch("/a", MINUTE, "two").await;
    assert_eq!(world.hit("/a").await.text(), "two");
}

#[tokio::test]
async fn many_requests_at_once_are_one_fetch() {
    let mut world = World::start().await;
    let first = world.get("/a");
    let mut asked = world.origin.next().await;
    let others: Vec<_> = (0..40).map(|_| world.get("/a")).collect();
    until("all to have come", || world.requests() == 41).await;
    asked.head_of("200 OK", &format!("{MINUTE}content-length: 6\r\n")).await;
    asked.write(b"abc").await;
    asked.write(b"def").await;
    asked.done();
    assert_eq!(first.await.text(), "abcdef");
    let mut collapsed = 0;
    for other in others {
        let answer = other.await;
        assert_eq!(answer.text(), "abcdef");
        collapsed += usize::from(answer.field("cache-status").contains("; collapsed"));
    }
    assert!(collapsed > 0, "some came before the end");
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn what_may_not_be_shared_is_fetched_for_each() {
    for fields in
        ["cache-control: private, max-age=60\r\n", "cache-control: no-store\r\n", "set-cookie: a=b\r\n"]
    {
        let mut world = World::start().await;
        let mut pending: Vec<_> = (0..3).map(|_| world.get("/a")).collect();
        until("all to have come", || world.requests() == 3).await;
        for round in 0..3 {
            let asked = world.origin.next().await;
            asked.reply("200 OK", fields, round.to_string().as_bytes()).await;
        }
        let mut bodies = Vec::new();
        for pending in pending.drain(..) {
            let answer = pending.await;
            assert!(!answer.field("cache-status").contains("stored"), "{fields}");
            bodies.push(answer.text().to_owned());
        }
        bodies.sort();
        assert_eq!(bodies, ["0", "1", "2"], "{fields}");
        assert_eq!(world.edge.stored().1 / 1024, 0, "no object is stored");
    }
}

/// What must be validated for each use is shared with those who came before the fetch was sent, so that many requests
/// at once are a few fetches and not one each.
#[tokio::test]
async fn many_requests_for_what_is_always_validated_are_a_few_fetches() {
    let mut world = World::start().await;
    let pending: Vec<_> = (0..40).map(|_| world.get("/a")).collect();
    let first = world.origin.next().await;
    until("all to have come", || world.requests() == 40).await;
    let fields = "cache-control: no-cache\r\netag: \"1\"\r\n";
    first.reply("200 OK", fields, b"one").await;
    // As many as may be under way at once; all others wait for one more.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.origin.next().await);
    }
    until("all to have looked again", || world.origin.asked() == 5).await;
    for asked in held {
        asked.reply("200 OK", fields, b"one").await;
    }
    let deadline = tokio::time::Instant::now() + crate::world::PATIENCE;
    while !pending.iter().all(crate::world::Pending::is_finished) {
        assert!(tokio::time::Instant::now() < deadline, "in vain: all answers");
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(asked) = world.origin.try_next() {
            asked.reply("200 OK", fields, b"one").await;
        }
    }
    assert!(world.origin.asked() < 20, "{} fetches", world.origin.asked());
    for pending in pending {
        assert_eq!(pending.await.text(), "one");
    }
}

#[tokio::test]
async fn each_variant_is_fetched_once() {
    let mut world = World::start().await;
    let fields = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    for (language, status) in [("de", "uri-miss"), ("fr", "vary-miss")] {
        let pending = world.get_with("/a", &format!("accept-language: {language}\r\n"));
        world.origin.next().await.reply("200 OK", fields, language.as_bytes()).await;
        assert!(pending.await.field("cache-status").contains(status), "{language}");
    }
    for language in ["fr", "de", "fr"] {
        let answer = world.get_with("/a", &format!("accept-language: {language}\r\n")).await;
        assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), (language, "HIT"));
    }
    assert_eq!(world.origin.asked(), 2);
}

#[tokio::test]
async fn a_follower_of_another_variant_fetches_its_own() {
    let mut world = World::start().await;
    let first = world.get_with("/a", "accept-language: de\r\n");
    let asked = world.origin.next().await;
    let other = world.get_with("/a", "accept-language: fr\r\n");
    until("both to have come", || world.requests() == 2).await;
    let fields = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    asked.reply("200 OK", fields, b"de").await;
    assert_eq!(first.await.text(), "de");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("accept-language"), "fr");
    asked.reply("200 OK", fields, b"fr").await;
    assert_eq!(other.await.text(), "fr");
}

/// One client with a password must not make the edge forget what it may share of the same URL.
#[tokio::test]
async fn a_response_for_one_client_leaves_stored_variants_alone() {
    let mut world = World::start().await;
    let fields = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    let pending = world.get_with("/a", "accept-language: de\r\n");
    world.origin.next().await.reply("200 OK", fields, b"de").await;
    pending.await;
    let pending = world.get_with("/a", "accept-language: xx\r\nauthorization: Basic eDp5\r\n");
    world.origin.next().await.reply("200 OK", fields, b"mine").await;
    assert_eq!(pending.await.text(), "mine");
    let answer = world.get_with("/a", "accept-language: de\r\n");
    until("an answer", || answer.is_finished() || world.origin.asked() > 2).await;
    assert_eq!(world.origin.asked(), 2, "the variant is still there");
    assert_eq!(answer.await.text(), "de");
}

#[tokio::test]
async fn hosts_have_copies_of_their_own() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    let pending = Client::get(world.edge.address(), OTHER_HOST, "/a", "");
    world.origin.next().await.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(pending.await.text(), "two");
    assert_eq!(world.hit("/a").await.text(), "one");
}

#[tokio::test]
async fn conditions_and_ranges_of_clients_are_answered_from_the_copy() {
    let mut world = World::start().await;
    let fields =
        "cache-control: max-age=60\r\netag: \"1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    world.fetch("/a", fields, "0123456789").await;
    let cases = [
        ("if-none-match: \"1\"\r\n", 304, ""),
        ("if-none-match: \"2\"\r\n", 200, "0123456789"),
        ("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304, ""),
        ("if-match: \"2\"\r\n", 412, ""),
        ("range: bytes=2-4\r\n", 206, "234"),
        ("range: bytes=-3\r\n", 206, "789"),
        ("range: bytes=7-99\r\n", 206, "789"),
        ("range: bytes=10-\r\n", 416, ""),
        ("range: bytes=0-1,4-5\r\n", 200, "0123456789"),
        ("range: bytes=2-4\r\nif-range: \"1\"\r\n", 206, "234"),
        ("range: bytes=2-4\r\nif-range: \"2\"\r\n", 200, "0123456789"),
    ];
    for (request, status, body) in cases {
        let answer = world.get_with("/a", request).await;
        assert_eq!((answer.status, answer.text()), (status, body), "{request}");
        assert!(answer.field("cache-status").starts_with("e; hit"), "{request}");
        let range = match status {
            206 => format!("bytes {}-{}/10", &body[..1], &body[body.len() - 1..]),
            416 => "bytes */10".to_owned(),
            _ => String::new(),
        };
        assert_eq!(answer.field("content-range"), range, "{request}");
        assert_eq!(answer.has("age"), !matches!(status, 412 | 416), "{request}");
    }
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn conditions_and_ranges_are_answered_from_a_fetch_too() {
    let fields = "cache-control: max-age=60\r\netag: \"1\"\r\n";
    for (request, status, body) in
        [("if-none-match: \"1\"\r\n", 304, ""), ("range: bytes=2-4\r\n", 206, "234"), ("", 200, "0123456789")]
    {
        let mut world = World::start().await;
        let pending = world.get_with("/a", request);
        let asked = world.origin.next().await;
        let range = if request.starts_with("range") { "bytes=0-1048575" } else { "" };
        assert_eq!(
            (asked.field("range"), asked.has("if-none-match")),
            (range, false),
            "the cache's own wants"
        );
        asked.reply("200 OK", fields, b"0123456789").await;
        let answer = pending.await;
        assert_eq!((answer.status, answer.text()), (status, body), "{request}");
        until("the whole", || world.edge.stored().0 == 1).await;
        assert_eq!(world.hit("/a").await.text(), "0123456789", "{request}");
    }
}

#[tokio::test]
async fn a_head_is_answered_like_a_get_without_its_body() {
    let mut world = World::start().await;
    let head = || format!("HEAD /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").into_bytes();
    let pending = Client::request(world.edge.address(), head());
    let asked = world.origin.next().await;
    assert_eq!(asked.first_line(), "GET /a HTTP/1.1");
    asked.reply("200 OK", MINUTE, b"hello").await;
    let first = pending.await;
    until("the whole", || world.edge.stored().0 == 1).await;
    let again = Client::request(world.edge.address(), head()).await;
    for (answer, status) in [(first, "MISS"), (again, "HIT")] {
        assert_eq!((answer.status, answer.field("content-length").as_str()), (200, "5"));
        assert_eq!(answer.field("eo-cache-status"), status);
    }
    assert_eq!(world.hit("/a").await.text(), "hello");
}

#[tokio::test]
async fn only_if_cached_asks_no_origin() {
    let mut world = World::start().await;
    let ask = "cache-control: only-if-cached\r\n";
    assert_eq!(world.get_with("/a", ask).await.status, 504);
    assert_eq!(world.origin.asked(), 0);
    world.fetch("/a", MINUTE, "one").await;
    assert_eq!(world.get_with("/a", ask).await.text(), "one");
}

#[tokio::test]
async fn a_body_passes_both_ways_and_makes_the_copy_unusable() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.fetch("/b", MINUTE, "one").await;
    let post = format!(
        "POST /a HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    );
    let pending = Client::request(world.edge.address(), post.into_bytes());
    let mut asked = world.origin.next().await;
    assert_eq!(asked.first_line(), "POST /a HTTP/1.1");
    assert_eq!(asked.body, b"hello world");
    asked.head_of("200 OK", "transfer-encoding: chunked\r\nlocation: /b\r\ncache-tag: x\r\n").await;
    asked.write(b"3\r\nabc\r\n").await;
    asked.write(b"2\r\nde\r\n0\r\n\r\n").await;
    asked.done();
    let answer = pending.await;
    assert_eq!((answer.text(), answer.is_whole), ("abcde", true));
    assert_eq!(answer.field("cache-status"), "e; fwd=method; fwd-status=200");
    assert!(!answer.has("cache-tag"));
    world.fetch("/a", MINUTE, "two").await;
    world.fetch("/b", MINUTE, "two").await;
}

#[tokio::test]
async fn what_was_under_way_when_an_unsafe_request_went_through_is_not_stored() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    let old = world.origin.next().await;
    let post = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi");
    let posted = Client::request(world.edge.address(), post.into_bytes());
    world.origin.next().await.reply("204 No Content", "", b"").await;
    assert_eq!(posted.await.status, 204);
    // Whoever comes now doesn't join what was sent before.
    let later = world.get("/a");
    let new = world.origin.next().await;
    new.reply("200 OK", MINUTE, b"new").await;
    assert_eq!(later.await.text(), "new");
    old.reply("200 OK", MINUTE, b"old").await;
    assert_eq!(pending.await.text(), "old");
    assert_eq!(world.hit("/a").await.text(), "new");
}

#[tokio::test]
async fn a_fetch_fills_the_cache_though_its_client_left() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut asked = world.origin.next().await;
    drop(client);
    asked.head_of("200 OK", &format!("{MINUTE}content-length: 6\r\n")).await;
    asked.write(b"abc").await;
    asked.write(b"def").await;
    asked.done();
    until("the whole", || world.edge.stored().0 == 1).await;
    assert_eq!(world.hit("/a").await.text(), "abcdef");
}

#[tokio::test]
async fn what_breaks_off_breaks_its_readers_and_is_not_stored() {
    for fields in ["content-length: 6\r\n", "transfer-encoding: chunked\r\n"] {
        let mut world = World::start().await;
        let first = world.get("/a");
        let mut asked = world.origin.next().await;
        asked.head_of("200 OK", &format!("{MINUTE}{fields}")).await;
        let part: &[u8] = if fields.starts_with('c') { b"abc" } else { b"3\r\nabc\r\n" };
        asked.write(part).await;
        let other = world.get("/a");
        until("both to have come", || world.requests() == 2).await;
        drop(asked);
        let answer = first.await;
        assert!(!answer.is_whole && answer.text() == "abc", "{answer:?}");
        // The other one either read along or came after the end.
        until("an end", || other.is_finished() || world.origin.asked() > 1).await;
        if let Some(asked) = world.origin.try_next() {
            asked.reply("200 OK", "cache-control: no-store\r\n", b"abcdef").await;
        }
        other.await;
        assert_eq!(world.edge.stored().1 / 1024, 0, "nothing is stored");
    }
}
