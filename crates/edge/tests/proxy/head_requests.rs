//! What answers to HEAD do to what is stored (RFC 9111 §4.3.5).

use crate::world::{Answer, Client, HOST, Pending, World, tag, url};
use purge::Method;

/// Stale on arrival.
const STALE: &str = "cache-control: max-age=10\r\nage: 11\r\netag: \"1\"\r\nx-a: 1\r\nx-b: 1\r\n";

fn head(world: &World) -> Pending {
    Client::request(world.edge.address(), format!("HEAD /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").into_bytes())
}

/// Sends a HEAD that the origin must get as one, and has it answered.
async fn head_answered(world: &mut World, status: &str, fields: &str) -> Answer {
    let pending = head(world);
    let mut asked = world.origin.next().await;
    assert_eq!(asked.first_line(), "HEAD /a HTTP/1.1");
    asked.head_of(status, fields).await;
    asked.done();
    pending.await
}

#[tokio::test]
async fn a_head_brings_what_is_stored_up_to_date() {
    let mut world = World::start().await;
    world.fetch("/a", STALE, "one").await;
    let fields =
        "cache-control: max-age=60\r\netag: \"1\"\r\nx-a: 2\r\ncontent-length: 3\r\ncache-tag: late\r\n";
    let answer = head_answered(&mut world, "200 OK", fields).await;
    assert_eq!((answer.status, answer.field("x-a")), (200, "2".into()));
    assert_eq!(answer.field("cache-status"), "e; fwd=stale; fwd-status=200");
    assert!(!answer.has("cache-tag"));
    let hit = world.hit("/a").await;
    assert_eq!(
        (hit.text(), hit.field("x-a"), hit.field("x-b"), hit.field("age")),
        ("one", "2".into(), "1".into(), "0".into())
    );
    // Fresh now: no HEAD goes to the origin.
    assert_eq!(head(&world).await.field("eo-cache-status"), "HIT");
    world.purge(tag("late"), Method::Delete).await;
    world.fetch("/a", STALE, "two").await;
}

#[tokio::test]
async fn a_head_about_something_else_ends_what_is_stored() {
    for fields in ["etag: \"2\"\r\n", "etag: \"1\"\r\ncontent-length: 4\r\n", "cache-control: no-store\r\n"] {
        let mut world = World::start().await;
        world.fetch("/a", STALE, "one").await;
        head_answered(&mut world, "200 OK", fields).await;
        let pending = world.get("/a");
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match"), "{fields}");
        asked.reply("200 OK", STALE, b"two").await;
        assert_eq!(pending.await.text(), "two");
    }
}

#[tokio::test]
async fn a_head_that_is_no_200_says_nothing_about_what_is_stored() {
    let mut world = World::start().await;
    world.fetch("/a", STALE, "one").await;
    assert_eq!(
        head_answered(&mut world, "410 Gone", "cache-control: max-age=60\r\nx-a: 2\r\n").await.status,
        410
    );
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified("").await;
    assert_eq!(pending.await.field("x-a"), "1");
}

#[tokio::test]
async fn an_error_gives_way_to_what_may_be_served_stale() {
    let mut world = World::start().await;
    world.fetch("/a", "cache-control: max-age=10, stale-if-error=60\r\nage: 11\r\n", "one").await;
    let answer = head_answered(&mut world, "503 Service Unavailable", "").await;
    assert_eq!((answer.status, answer.field("content-length")), (200, "3".into()));
}

/// It does not tell when the stored bytes left the origin.
#[tokio::test]
async fn a_head_never_speaks_against_a_purge() {
    for method in [Method::Invalidate, Method::Delete] {
        let mut world = World::start().await;
        world.fetch("/a", STALE, "one").await;
        let pending = head(&world);
        let mut asked = world.origin.next().await;
        world.purge(url("/a"), method).await;
        asked.head_of("200 OK", "cache-control: max-age=60\r\netag: \"1\"\r\ncontent-length: 3\r\n").await;
        asked.done();
        assert_eq!(pending.await.status, 200);
        let pending = world.get("/a");
        let asked = world.origin.next().await;
        assert_eq!(asked.has("if-none-match"), method == Method::Invalidate);
        asked.reply("200 OK", STALE, b"two").await;
        assert_eq!(pending.await.text(), "two", "{method:?}");
    }
    // What a purge made stale is asked about, and a HEAD has its answer from that.
    let mut world = World::start().await;
    world.fetch("/a", "cache-control: max-age=60\r\netag: \"1\"\r\n", "one").await;
    world.purge(url("/a"), Method::Invalidate).await;
    let pending = head(&world);
    let asked = world.origin.next().await;
    assert_eq!((asked.first_line(), asked.field("if-none-match")), ("GET /a HTTP/1.1", "\"1\""));
    asked.not_modified("").await;
    assert_eq!(pending.await.field("eo-cache-status"), "RefreshHit");
}
