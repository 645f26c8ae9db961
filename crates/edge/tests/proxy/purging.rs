//! What purges do to copies, to fetches under way and to those who share them.

use crate::world::{Client, HOST, OTHER_HOST, World, host, prefix, tag, until, url};
use purge::{CacheTag, Method, Scope};

const MINUTE: &str = "cache-control: max-age=60\r\n";
const VALIDATED: &str = "cache-control: max-age=60\r\netag: \"1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ncache-tag: news, \
     sports\r\n";

/// Scopes that match `/dir/a` with the tags of [`VALIDATED`], and what each leaves alone.
fn scopes() -> Vec<(Scope, &'static str)> {
    let host_tag = |name| Scope::Tag { tag: CacheTag::parse("news").unwrap(), host: Some(host(name)) };
    vec![
        (url("/dir/a"), "/dir/b"),
        (prefix("/dir/"), "/other"),
        (Scope::Host(host(HOST)), ""),
        (Scope::All, ""),
        (tag("sports"), "/untagged"),
        (host_tag(HOST), "/untagged"),
    ]
}

#[tokio::test]
async fn what_a_delete_matched_is_fetched_without_conditions() {
    for (scope, spared) in scopes() {
        let mut world = World::start().await;
        world.fetch("/dir/a", VALIDATED, "one").await;
        if !spared.is_empty() {
            world.fetch(spared, MINUTE, "spared").await;
        }
        let seq = world.purge(scope.clone(), Method::Delete).await;
        let pending = world.get("/dir/a");
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match") && !asked.has("if-modified-since"), "{scope:?}");
        asked.reply("200 OK", VALIDATED, b"two").await;
        let answer = pending.await;
        assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("two", "MISS"), "{scope:?}");
        let detail =
            format!("fwd=miss; fwd-status=200; ttl=60; stored; detail=\"seq={seq} purged-by={seq}\"");
        assert_eq!(answer.field("cache-status"), format!("e; {detail}"), "{scope:?}");
        assert_eq!(world.hit("/dir/a").await.text(), "two", "{scope:?}");
        if !spared.is_empty() {
            assert_eq!(world.hit(spared).await.text(), "spared", "{scope:?}");
        }
    }
}

#[tokio::test]
async fn what_an_invalidate_matched_is_asked_about() {
    for (scope, _) in scopes() {
        let mut world = World::start().await;
        world.fetch("/dir/a", VALIDATED, "one").await;
        let seq = world.purge(scope.clone(), Method::Invalidate).await;
        let pending = world.get("/dir/a");
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), "\"1\"", "{scope:?}");
        assert_eq!(asked.field("if-modified-since"), "Sun, 06 Nov 1994 08:49:37 GMT", "{scope:?}");
        asked.not_modified("etag: \"1\"\r\n").await;
        let answer = pending.await;
        assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("one", "RefreshHit"));
        let detail =
            format!("fwd=stale; fwd-status=304; ttl=60; stored; detail=\"seq={seq} purged-by={seq}\"");
        assert_eq!(answer.field("cache-status"), format!("e; {detail}"), "{scope:?}");
        assert_eq!(world.hit("/dir/a").await.text(), "one", "{scope:?}");

        world.purge(scope.clone(), Method::Invalidate).await;
        let pending = world.get("/dir/a");
        world.origin.next().await.reply("200 OK", VALIDATED, b"two").await;
        assert_eq!(pending.await.text(), "two", "{scope:?}");
        assert_eq!(world.hit("/dir/a").await.text(), "two", "{scope:?}");
    }
}

#[tokio::test]
async fn a_purge_of_another_host_or_tag_leaves_the_copy_alone() {
    let mut world = World::start().await;
    world.fetch("/dir/a", VALIDATED, "one").await;
    let elsewhere = Scope::Tag { tag: CacheTag::parse("news").unwrap(), host: Some(host(OTHER_HOST)) };
    for scope in [Scope::Host(host(OTHER_HOST)), elsewhere, tag("New"), url("/dir"), prefix("/di/")] {
        let seq = world.purge(scope.clone(), Method::Delete).await;
        let answer = world.hit("/dir/a").await;
        assert!(answer.field("cache-status").ends_with(&format!("detail=\"seq={seq}\"")), "{scope:?}");
    }
}

#[tokio::test]
async fn a_purge_reaches_every_variant() {
    let mut world = World::start().await;
    let fields = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    for version in ["1", "2"] {
        for language in ["de", "fr"] {
            let pending = world.get_with("/a", &format!("accept-language: {language}\r\n"));
            let body = format!("{language}{version}");
            world.origin.next().await.reply("200 OK", fields, body.as_bytes()).await;
            assert_eq!(pending.await.text(), body);
        }
        world.purge(url("/a"), Method::Delete).await;
    }
}

/// The slow-origin race: the old version is under way when its purge comes.
#[tokio::test]
async fn what_was_under_way_when_its_purge_came_is_not_served_to_later_requests() {
    for method in [Method::Delete, Method::Invalidate] {
        for (scope, _) in scopes() {
            for head_first in [false, true] {
                let what = format!("{method:?} {scope:?} {head_first}");
                let mut world = World::start().await;
                let pending = world.get("/dir/a");
                let mut asked = world.origin.next().await;
                let head = format!("{VALIDATED}content-length: 6\r\n");
                if head_first {
                    asked.head_of("200 OK", &head).await;
                    asked.write(b"old").await;
                }
                world.purge(scope.clone(), method).await;
                let later = world.get("/dir/a");
                if !head_first {
                    asked.head_of("200 OK", &head).await;
                    asked.write(b"old").await;
                }
                let new = world.origin.next().await;
                asked.write(b"old").await;
                asked.done();
                assert_eq!(pending.await.text(), "oldold", "{what}");
                new.reply("200 OK", VALIDATED, b"new").await;
                assert_eq!(later.await.text(), "new", "{what}");
                assert_eq!(world.hit("/dir/a").await.text(), "new", "{what}");
            }
        }
    }
}

/// The same without anyone waiting: what arrives late is not stored, or stored as stale.
#[tokio::test]
async fn what_arrives_after_its_purge_is_not_stored_as_fresh() {
    for method in [Method::Delete, Method::Invalidate] {
        for (scope, _) in scopes() {
            let mut world = World::start().await;
            let pending = world.get("/dir/a");
            let asked = world.origin.next().await;
            world.purge(scope.clone(), method).await;
            asked.reply("200 OK", VALIDATED, b"old").await;
            assert_eq!(pending.await.text(), "old");
            let later = world.get("/dir/a");
            let asked = world.origin.next().await;
            assert_eq!(asked.has("if-none-match"), method == Method::Invalidate, "{scope:?}");
            asked.reply("200 OK", VALIDATED, b"new").await;
            assert_eq!(later.await.text(), "new");
        }
    }
}

/// The collapse race: a request that comes after the purge never gets the old fetch's body, while those before do.
#[tokio::test]
async fn followers_from_before_a_purge_share_and_those_from_after_wait_for_the_next_fetch() {
    let mut world = World::start().await;
    let mut before: Vec<_> = (0..5).map(|_| world.get("/dir/a")).collect();
    let asked = world.origin.next().await;
    until("all to have come", || world.requests() == 5).await;
    // Only the head tells that the tag matches, so that even later requests wait for it.
    world.purge(tag("news"), Method::Delete).await;
    let after: Vec<_> = (0..5).map(|_| world.get("/dir/a")).collect();
    until("all to have come", || world.requests() == 10).await;
    asked.reply("200 OK", VALIDATED, b"old").await;
    for pending in before.drain(..) {
        assert_eq!(pending.await.text(), "old");
    }
    world.origin.next().await.reply("200 OK", VALIDATED, b"new").await;
    for pending in after {
        assert_eq!(pending.await.text(), "new");
    }
    assert_eq!(world.origin.asked(), 2);
}

/// A 304 that began before the purge does not bring the copy back.
#[tokio::test]
async fn a_304_from_before_a_purge_does_not_renew() {
    for method in [Method::Delete, Method::Invalidate] {
        let mut world = World::start().await;
        world.fetch("/dir/a", VALIDATED, "old").await;
        world.purge(url("/dir/a"), Method::Invalidate).await;
        let pending = world.get("/dir/a");
        let asked = world.origin.next().await;
        world.purge(tag("sports"), method).await;
        asked.not_modified("etag: \"1\"\r\n").await;
        assert_eq!(pending.await.text(), "old");
        let later = world.get("/dir/a");
        let asked = world.origin.next().await;
        assert_eq!(asked.has("if-none-match"), method == Method::Invalidate);
        asked.reply("200 OK", VALIDATED, b"new").await;
        assert_eq!(later.await.text(), "new");
    }
}

#[tokio::test]
async fn tags_of_a_304_count_beside_the_old_ones() {
    for purged in ["news", "later"] {
        let mut world = World::start().await;
        world.fetch("/dir/a", VALIDATED, "old").await;
        world.purge(url("/dir/a"), Method::Invalidate).await;
        let pending = world.get("/dir/a");
        world.origin.next().await.not_modified("etag: \"1\"\r\ncache-tag: later\r\n").await;
        assert!(!pending.await.has("cache-tag"));
        world.purge(tag(purged), Method::Delete).await;
        world.fetch("/dir/a", VALIDATED, "new").await;
    }
}

#[tokio::test]
async fn a_fetch_that_ends_late_does_not_replace_what_was_fetched_after_it() {
    let mut world = World::start().await;
    let first = world.get("/dir/a");
    let old = world.origin.next().await;
    world.purge(url("/dir/b"), Method::Delete).await;
    world.purge(url("/dir/a"), Method::Invalidate).await;
    let second = world.get("/dir/a");
    world.origin.next().await.reply("200 OK", VALIDATED, b"new").await;
    assert_eq!(second.await.text(), "new");
    old.reply("200 OK", VALIDATED, b"old").await;
    assert_eq!(first.await.text(), "old");
    assert_eq!(world.hit("/dir/a").await.text(), "new");
}

#[tokio::test]
async fn purges_hold_after_a_sweep_forgot_their_marks() {
    let mut world = World::start_with(|config| {
        config.sweep_interval = std::time::Duration::from_millis(20);
    })
    .await;
    for path in ["/dir/a", "/dir/b", "/c", "/d"] {
        world.fetch(path, VALIDATED, "old").await;
    }
    let late = world.get("/late");
    let asked = world.origin.next().await;
    world.purge(prefix("/dir/"), Method::Delete).await;
    world.purge(url("/c"), Method::Invalidate).await;
    until("two objects to go", || world.edge.stored().0 == 2).await;
    // Not stored yet when the sweep began, and yet no reason to fetch it again.
    asked.reply("200 OK", MINUTE, b"late").await;
    late.await;
    until("the marks to go", || world.edge.marks().0 == 0).await;
    assert_eq!(world.hit("/d").await.text(), "old");
    assert_eq!(world.hit("/late").await.text(), "late");
    let pending = world.get("/c");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.reply("200 OK", VALIDATED, b"new").await;
    assert_eq!(pending.await.text(), "new");
    world.fetch("/dir/a", VALIDATED, "new").await;
    assert_eq!(world.hit("/dir/a").await.text(), "new");
}

#[tokio::test]
async fn a_purge_reaches_a_client_that_keeps_its_connection() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "old").await;
    let mut client = Client::connect(world.edge.address()).await;
    let request = format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.send(request.as_bytes()).await;
    assert_eq!(client.answer(false).await.text(), "old");
    world.purge(Scope::All, Method::Delete).await;
    client.send(request.as_bytes()).await;
    world.origin.next().await.reply("200 OK", MINUTE, b"new").await;
    assert_eq!(client.answer(false).await.text(), "new");
}
