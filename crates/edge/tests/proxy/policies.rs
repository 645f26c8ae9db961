//! What an edge does without a lease, by its operator's choice, and what it says of it.

use crate::world::{Client, HOST, Pending, World, until, url};
use edge::EdgeConfig;
use purge::{FencePolicy, Method};
use std::sync::atomic::Ordering;
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\netag: \"1\"\r\n";

/// A lease that a test can wait out.
const SHORT: Duration = Duration::from_millis(300);

/// One that no test outlasts.
const LONG: Duration = Duration::from_secs(60);

fn policy(policy: FencePolicy) -> impl FnOnce(&mut EdgeConfig) {
    move |config| config.fence_policy = policy
}

/// An edge with this policy that has what the origin answered `/a` with, and then loses its lease.
async fn cut_off(chosen: FencePolicy, fields: &str) -> World {
    let mut world = World::with(Some(SHORT), policy(chosen)).await;
    world.fetch("/a", fields, "one").await;
    world.lose_lease().await;
    world
}

fn send(world: &World, method: &str, path: &str, fields: &str) -> Pending {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n");
    Client::request(world.edge.address(), request.into_bytes())
}

fn given_up(world: &World) -> u64 {
    world.edge.counters().promise_given_up.load(Ordering::Relaxed)
}

#[tokio::test]
async fn an_edge_that_is_to_refuse_answers_503_until_it_has_a_lease() {
    let mut world = cut_off(FencePolicy::Refuse, MINUTE).await;
    let asked = world.origin.asked();
    for (method, path) in [("GET", "/a"), ("HEAD", "/a"), ("GET", "/new")] {
        let answer = send(&world, method, path, "").await;
        assert_eq!((answer.status, answer.field("retry-after").as_str()), (503, "1"), "{method} {path}");
        assert_eq!(answer.field("cache-status"), "e; detail=fenced");
        assert_eq!(answer.text().is_empty(), method == "HEAD");
    }
    assert_eq!(world.origin.asked(), asked);
    // What the cache has no part in is not its to refuse.
    let pending = send(&world, "POST", "/a", "content-length: 0\r\n");
    world.origin.next().await.reply("200 OK", "", b"posted").await;
    assert_eq!(pending.await.text(), "posted");
    world.control.grant(LONG);
    until("a lease", || world.edge.holds_lease()).await;
    // The POST outdated the copy.
    world.fetch("/a", MINUTE, "two").await;
    assert_eq!(world.hit("/a").await.text(), "two");
    assert_eq!(given_up(&world), 0);
}

#[tokio::test]
async fn an_edge_that_is_to_serve_answers_from_its_cache_and_says_that_it_has_no_lease() {
    let mut world = cut_off(FencePolicy::Serve, MINUTE).await;
    let answer = world.hit("/a").await;
    assert_eq!(answer.text(), "one");
    let status = answer.field("cache-status");
    assert!(
        status.starts_with("e; hit; ttl=") && status.ends_with("detail=\"seq=0 fenced=serve\""),
        "{status}"
    );
    assert_eq!(given_up(&world), 1);
    // A purge that the edge hears of counts, lease or not.
    world.purge(url("/a"), Method::Delete).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", MINUTE, b"two").await;
    let status = pending.await.field("cache-status");
    // The origin was asked for all of it after the request came: that is as the promise has it.
    assert!(status.ends_with("stored; detail=\"seq=1 purged-by=1 fenced\""), "{status}");
    assert_eq!(world.hit("/a").await.text(), "two");
    assert_eq!(given_up(&world), 2);
    world.control.grant(LONG);
    until("a lease", || world.edge.holds_lease()).await;
    assert!(world.hit("/a").await.field("cache-status").ends_with("detail=\"seq=1\""));
}

#[tokio::test]
async fn an_edge_that_is_to_serve_asks_about_what_is_stale_and_serves_it_with_leave_only() {
    let fields = "cache-control: max-age=0, stale-if-error=60\r\netag: \"1\"\r\n";
    let mut world = cut_off(FencePolicy::Serve, fields).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.reply("304 Not Modified", MINUTE, b"").await;
    let status = pending.await.field("cache-status");
    assert!(
        status.ends_with("detail=\"seq=0 fenced=serve\"") && status.contains("fwd-status=304"),
        "{status}"
    );
    let mut world = cut_off(FencePolicy::Serve, fields).await;
    let pending = world.get("/a");
    world.origin.next().await.reply("500 Internal Server Error", "", b"").await;
    let answer = pending.await;
    assert_eq!(answer.text(), "one");
    let status = answer.field("cache-status");
    assert!(status.ends_with("detail=\"seq=0 fenced=serve stale-if-error\""), "{status}");
}

#[tokio::test]
async fn an_edge_that_is_to_revalidate_asks_the_origin_about_each_copy_it_has() {
    let mut world = cut_off(FencePolicy::Revalidate, MINUTE).await;
    for method in ["GET", "HEAD"] {
        let pending = send(&world, method, "/a", "");
        let asked = world.origin.next().await;
        assert_eq!((&asked.first_line()[..4], asked.field("if-none-match")), ("GET ", "\"1\""), "{method}");
        asked.reply("304 Not Modified", MINUTE, b"").await;
        let answer = pending.await;
        assert_eq!((answer.status, answer.text()), (200, if method == "GET" { "one" } else { "" }));
        let status = answer.field("cache-status");
        assert!(status.starts_with("e; fwd=stale; fwd-status=304;"), "{status}");
        assert!(status.ends_with("detail=\"seq=0 fenced=revalidate\""), "{status}");
    }
    assert_eq!(given_up(&world), 2);
    // New content, or an error, is the origin's own.
    let pending = world.get("/a");
    world.origin.next().await.reply("500 Internal Server Error", "", b"gone").await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.text()), (500, "gone"));
    assert!(answer.field("cache-status").ends_with("detail=\"seq=0 fenced\""), "{answer:?}");
    let pending = world.get("/a");
    world.origin.next().await.reply("200 OK", "cache-control: max-age=60\r\netag: \"2\"\r\n", b"two").await;
    assert_eq!(pending.await.text(), "two");
    assert_eq!(given_up(&world), 2);
    // A delete that the edge hears of counts, lease or not.
    world.purge(url("/a"), Method::Delete).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", MINUTE, b"three").await;
    assert_eq!(pending.await.text(), "three");
}

#[tokio::test]
async fn what_a_fenced_edge_validated_falls_to_a_purge_it_had_not_heard_of() {
    let mut world = cut_off(FencePolicy::Revalidate, MINUTE).await;
    world.control.append(url("/a"), Method::Delete);
    let pending = world.get("/a");
    world.origin.next().await.reply("304 Not Modified", MINUTE, b"").await;
    assert_eq!(pending.await.text(), "one", "the promise is given up for what the edge did not hear of");
    world.control.grant(LONG);
    until("a lease", || world.edge.holds_lease()).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(pending.await.text(), "two");
}

#[tokio::test]
async fn while_fenced_the_origin_is_asked_one_by_one_whatever_the_policy() {
    for chosen in [FencePolicy::Revalidate, FencePolicy::Serve] {
        let mut world = cut_off(chosen, "cache-control: max-age=0\r\netag: \"1\"\r\n").await;
        let first = world.get("/a");
        let asked = world.origin.next().await;
        let others: Vec<_> = (0..5).map(|_| world.get("/a")).collect();
        until("all to have come", || world.requests() == 7).await;
        assert_eq!(world.origin.asked(), 2, "one under way");
        asked.reply("304 Not Modified", MINUTE, b"").await;
        assert_eq!(first.await.text(), "one");
        if chosen == FencePolicy::Revalidate {
            let next = world.origin.next().await;
            assert_eq!(next.field("if-none-match"), "\"1\"");
            next.reply("304 Not Modified", MINUTE, b"").await;
        }
        for other in others {
            let answer = other.await;
            assert_eq!(answer.text(), "one");
            let says = format!("fenced={}", chosen.as_str());
            assert!(answer.field("cache-status").contains(&says), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_gives_up_the_promise_waits_for_the_first_grant() {
    for chosen in [FencePolicy::Revalidate, FencePolicy::Serve] {
        let mut world = World::fenced_with(policy(chosen)).await;
        for body in ["one", "two"] {
            let pending = world.get("/a");
            let asked = world.origin.next().await;
            assert!(!asked.has("if-none-match"), "the member's row may not be there yet");
            asked.reply("200 OK", MINUTE, body.as_bytes()).await;
            assert_eq!(pending.await.text(), body);
        }
    }
}

/// Nothing waits for such a member by itself, so that it has to say that it gave up its lease and what its terms allow.
#[tokio::test]
async fn a_member_whose_row_does_not_lapse_says_that_it_leaves_before_it_joins_anew() {
    for (chosen, acks_only) in
        [(FencePolicy::Serve, false), (FencePolicy::Revalidate, false), (FencePolicy::Fetch, true)]
    {
        let world = World::start_with(|config| {
            config.fence_policy = chosen;
            config.acks_only = acks_only;
        })
        .await;
        let control = world.control.clone();
        control.expel();
        until("its leave", || control.has_left()).await;
        until("another member", || control.members().len() == 2).await;
        assert_ne!(control.members()[0], control.members()[1]);
        until("a lease", || world.edge.holds_lease()).await;
    }
}
