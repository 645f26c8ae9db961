//! Groups of responses that unsafe requests make stale (RFC 9875).

use crate::world::{Answer, Client, HOST, OTHER_HOST, World, until};

const GROUPED: &str = "cache-control: max-age=60\r\ncache-groups: \"scripts\", \"all\"\r\netag: \"1\"\r\n";

/// Sends an unsafe request that the origin answers.
async fn post(world: &mut World, host: &str, method: &str, status: &str, fields: &str) -> Answer {
    let request = format!("{method} /form HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\nhi");
    let pending = Client::request(world.edge.address(), request.into_bytes());
    world.origin.next().await.reply(status, fields, b"").await;
    pending.await
}

#[tokio::test]
async fn an_unsafe_request_makes_what_shares_a_group_stale() {
    let mut world = World::start().await;
    world.fetch("/a", GROUPED, "one").await;
    world.fetch("/b", "cache-control: max-age=60\r\ncache-groups: \"styles\"\r\n", "one").await;
    let answer =
        post(&mut world, HOST, "POST", "204 No Content", "cache-group-invalidation: \"x\", \"scripts\"\r\n")
            .await;
    assert_eq!(answer.field("cache-group-invalidation"), "\"x\", \"scripts\"");
    world.hit("/b").await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified("").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.field("eo-cache-status")), ("one", "RefreshHit".into()));
    assert!(answer.field("cache-status").starts_with("e; fwd=stale; fwd-status=304"));
    world.hit("/a").await;
}

#[tokio::test]
async fn groups_end_at_their_origin_and_safe_requests_say_nothing_about_them() {
    let mut world = World::start().await;
    world.fetch("/a", GROUPED, "one").await;
    let invalidation = "cache-group-invalidation: \"scripts\"\r\n";
    post(&mut world, OTHER_HOST, "POST", "204 No Content", invalidation).await;
    post(&mut world, HOST, "POST", "500 Oops", invalidation).await;
    post(&mut world, HOST, "OPTIONS", "204 No Content", invalidation).await;
    world.fetch("/c", invalidation, "x").await;
    post(&mut world, HOST, "POST", "204 No Content", "cache-group-invalidation: scripts\r\n").await;
    world.hit("/a").await;
}

#[tokio::test]
async fn what_was_under_way_is_stale_too_and_nobody_joins_it() {
    let mut world = World::start().await;
    let pending = world.get("/a");
    let mut old = world.origin.next().await;
    old.head_of("200 OK", &format!("{GROUPED}content-length: 3\r\n")).await;
    until("the head to have come", || world.origin.asked() == 1).await;
    post(&mut world, HOST, "POST", "204 No Content", "cache-group-invalidation: \"all\"\r\n").await;
    let later = world.get("/a");
    // It may have come before the head was seen; either way it gets nothing that is older than itself.
    let new = world.origin.next().await;
    new.reply("200 OK", GROUPED, b"new").await;
    assert_eq!(later.await.text(), "new");
    old.write(b"old").await;
    old.done();
    assert_eq!(pending.await.text(), "old");
    let answer = world.get("/a");
    let answer = match world.origin.try_next() {
        // The older one was stored last, and is stale.
        Some(asked) => {
            asked.reply("200 OK", GROUPED, b"new").await;
            answer.await
        }
        None => tokio::select! {
            answer = answer => answer,
            asked = world.origin.next() => {
                asked.reply("200 OK", GROUPED, b"new").await;
                world.get("/a").await
            }
        },
    };
    assert_eq!(answer.text(), "new");
}

#[tokio::test]
async fn what_has_groups_is_validated_after_a_restart() {
    let directory = tempfile::TempDir::new().unwrap();
    let on_disk = |config: &mut edge::EdgeConfig| {
        let directory = directory.path().join("cache");
        config.disk = Some(edge::DiskConfig { directory, bytes: 64 << 20 });
    };
    let mut world = World::start_with(on_disk).await;
    world.fetch("/grouped", GROUPED, "one").await;
    world.fetch("/other", "cache-control: max-age=60\r\n", "one").await;
    let is_written =
        |world: &World| world.edge.disk().unwrap().1.written.load(std::sync::atomic::Ordering::Relaxed) == 2;
    until("both on disk", || is_written(&world)).await;
    post(&mut world, HOST, "POST", "204 No Content", "cache-group-invalidation: \"all\"\r\n").await;

    // Whatever was marked before, nobody remembers.
    let mut world = world.restarted(|_, _| {}).await;
    until("the files of the last run", || world.edge.disk().unwrap().0.is_recovered).await;
    world.hit("/other").await;
    let pending = world.get("/grouped");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified(GROUPED).await;
    assert_eq!(pending.await.text(), "one");
    world.hit("/grouped").await;
}
