//! What of a response is stored, for how long, and for whom.

use crate::world::{Answer, World, tag, url};
use edge::{Policy, SetCookie, TagHeaders};
use purge::Method;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// Asks for a path and has the origin answer; the origin must be asked.
async fn fetch(world: &mut World, path: &str, status: &str, fields: &str) -> Answer {
    let pending = world.get(path);
    let body: &[u8] = if status.starts_with("204") { b"" } else { b"body" };
    world.origin.next().await.reply(status, fields, body).await;
    pending.await
}

#[tokio::test]
async fn a_targeted_field_decides_and_is_passed_on() {
    let mut world = World::start().await;
    let fields = "cdn-cache-control: max-age=60\r\ncache-control: no-store\r\n";
    fetch(&mut world, "/a", "200 OK", fields).await;
    let answer = world.hit("/a").await;
    assert_eq!(answer.field("cdn-cache-control"), "max-age=60");
    assert_eq!(answer.field("cache-control"), "no-store");
    for fields in [
        "cdn-cache-control: no-store\r\ncache-control: max-age=60\r\n",
        "cdn-cache-control: private\r\ncache-control: max-age=60\r\n",
        "cdn-cache-control: max-age=60, &&\r\ncache-control: no-store\r\n",
        "cdn-cache-control: max-age=\"60\"\r\ncache-control: max-age=60\r\n",
    ] {
        for _ in 0..2 {
            fetch(&mut world, "/b", "200 OK", fields).await;
        }
    }
}

#[tokio::test]
async fn other_statuses_are_stored_when_the_origin_gives_them_a_lifetime() {
    let mut world = World::start().await;
    for (index, status) in
        ["301 Moved", "302 Found", "410 Gone", "204 No Content", "500 Oops"].iter().enumerate()
    {
        let path = format!("/{index}");
        let fetched = fetch(&mut world, &path, status, &format!("{MINUTE}location: /x\r\n")).await;
        let hit = world.hit(&path).await;
        assert_eq!((hit.status, hit.field("location")), (fetched.status, "/x".to_owned()));
        let path = format!("/without/{index}");
        for _ in 0..2 {
            fetch(&mut world, &path, status, "").await;
        }
    }
}

#[tokio::test]
async fn fields_for_one_client_reach_it_and_nobody_else() {
    let mut world = World::start().await;
    let fields = "cache-control: max-age=60, private=\"x-a, set-cookie\", no-cache=\"x-b\"\r\n\
                  x-a: 1\r\nx-b: 2\r\nx-c: 3\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n";
    let first = world.fetch("/a", fields, "one").await;
    assert_eq!(
        (first.field("x-a"), first.field("x-b"), first.field("x-c")),
        ("1".into(), "2".into(), "3".into())
    );
    assert_eq!(first.field("set-cookie"), "a=b, c=d");
    let hit = world.hit("/a").await;
    assert_eq!(hit.field("x-c"), "3");
    for gone in ["x-a", "x-b", "set-cookie"] {
        assert!(!hit.has(gone), "{gone}");
    }
}

#[tokio::test]
async fn fields_for_one_client_are_not_shared_by_those_who_wait_with_it() {
    let mut world = World::start().await;
    let first = world.get("/a");
    let asked = world.origin.next().await;
    let other = world.get("/a");
    crate::world::until("both to have come", || world.requests() == 2).await;
    asked
        .reply("200 OK", "cache-control: max-age=60, no-cache=\"set-cookie\"\r\nset-cookie: a=b\r\n", b"one")
        .await;
    assert_eq!(first.await.field("set-cookie"), "a=b");
    assert!(!other.await.has("set-cookie"));
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn a_304_brings_fields_for_one_client_too() {
    let mut world = World::start().await;
    world.fetch("/a", "cache-control: no-cache\r\netag: \"1\"\r\n", "one").await;
    let pending = world.get("/a");
    let fields = "cache-control: max-age=60, private=\"x-a\"\r\nx-a: 1\r\nset-cookie: a=b\r\netag: \"1\"\r\n";
    world.origin.next().await.not_modified(fields).await;
    let answer = pending.await;
    assert_eq!(
        (answer.text(), answer.field("x-a"), answer.field("set-cookie")),
        ("one", "1".into(), "a=b".into())
    );
    let hit = world.hit("/a").await;
    assert!(!hit.has("x-a") && !hit.has("set-cookie"));
}

#[tokio::test]
async fn cookies_are_handled_as_the_operator_says() {
    let cookie = "cache-control: max-age=60\r\nset-cookie: a=b\r\n";
    let public = "cache-control: max-age=60, public\r\nset-cookie: a=b\r\n";
    let cases = [
        (SetCookie::DontStore, public, None),
        (SetCookie::StoreWithout, cookie, Some("")),
        (SetCookie::StoreIfShared, cookie, None),
        (SetCookie::StoreIfShared, public, Some("a=b")),
    ];
    for (set_cookie, fields, expected) in cases {
        let change =
            |config: &mut edge::EdgeConfig| config.policy = Policy { set_cookie, ..Policy::default() };
        let mut world = World::start_with(change).await;
        assert_eq!(world.fetch("/a", fields, "one").await.field("set-cookie"), "a=b");
        match expected {
            Some(stored) => assert_eq!(world.hit("/a").await.field("set-cookie"), stored),
            None => assert_eq!(world.fetch("/a", fields, "one").await.field("set-cookie"), "a=b"),
        }
    }
}

#[tokio::test]
async fn tags_of_other_fields_are_purged_by_where_the_operator_says_so() {
    let all = TagHeaders { surrogate_key: true, xkey: true, edge_cache_tag: true, to_clients: false };
    for (tag_headers, finds) in [(all, true), (TagHeaders::default(), false)] {
        let mut world = World::start_with(|config| config.tag_headers = tag_headers).await;
        for (path, field) in [
            ("/a", "surrogate-key: x one\r\n"),
            ("/b", "xkey: x one\r\n"),
            ("/c", "edge-cache-tag: x,one\r\n"),
        ] {
            let answer = world.fetch(path, &format!("{MINUTE}{field}"), "old").await;
            assert!(!answer.has(field.split(':').next().unwrap()), "tags are for the cache alone");
        }
        world.purge(tag("one"), Method::Delete).await;
        for path in ["/a", "/b", "/c"] {
            match finds {
                true => assert_eq!(world.fetch(path, MINUTE, "new").await.text(), "new"),
                false => assert_eq!(world.hit(path).await.text(), "old"),
            }
        }
    }
}

#[tokio::test]
async fn groups_are_tags_of_their_origin() {
    let mut world = World::start().await;
    world.fetch("/a", &format!("{MINUTE}cache-groups: \"scripts\", \"x y\"\r\n"), "old").await;
    assert_eq!(world.hit("/a").await.field("cache-groups"), "\"scripts\", \"x y\"");
    world.purge(tag("scripts"), Method::Delete).await;
    world.fetch("/a", MINUTE, "new").await;
}

/// Whatever is purged in the zone could have been purged by a tag that was ignored.
#[tokio::test]
async fn what_has_tags_that_can_not_count_is_never_out_of_a_purges_reach() {
    static NOW_SECS: AtomicU64 = AtomicU64::new(1_000_000_000);
    let wall = || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECS.load(Ordering::SeqCst));
    let mut world = World::at(wall, Some(Duration::from_secs(60)), |_| {}).await;
    let many: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    for tags in [many.join(","), "a b".to_owned(), "x".repeat(129)] {
        let fields = format!("{MINUTE}etag: \"1\"\r\ncache-tag: {tags}\r\n");
        let counted = world.edge.counters().tags_ignored.load(Ordering::Relaxed);
        let answer = world.fetch("/a", &fields, "old").await;
        assert!(answer.field("cache-status").contains("; ttl=5;"), "{}", answer.field("cache-status"));
        assert_eq!(world.edge.counters().tags_ignored.load(Ordering::Relaxed), counted + 1);
        NOW_SECS.fetch_add(4, Ordering::SeqCst);
        world.hit("/a").await;
        // For a short time only, also after it was confirmed.
        NOW_SECS.fetch_add(1, Ordering::SeqCst);
        let pending = world.get("/a");
        world.origin.next().await.not_modified(MINUTE).await;
        assert!(pending.await.field("cache-status").contains("; ttl=5;"));
        world.hit("/a").await;
        world.purge(tag("elsewhere"), Method::Invalidate).await;
        world.fetch("/a", &fields, "new").await;
        world.purge(url("/b"), Method::Delete).await;
    }
}
