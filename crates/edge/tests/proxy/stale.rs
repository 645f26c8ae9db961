//! Stale answers with leave (RFC 5861, `max-stale`), and what withdraws it: purges, the lease, the origin's own words.

use crate::world::{Exchange, World, until, url};
use edge::{EdgeConfig, Policy};
use purge::Method;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A world with a clock of its own, which the test sets forward.
macro_rules! world {
    ($lease:expr, $change:expr) => {{
        static NOW_SECS: AtomicU64 = AtomicU64::new(1_000_000_000);
        let wall = || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECS.load(Ordering::SeqCst));
        (World::at(wall, Some($lease), $change).await, |secs: u64| NOW_SECS.fetch_add(secs, Ordering::SeqCst))
    }};
    () => {
        world!(Duration::from_secs(60), |_| {})
    };
}

const REVALIDATING: &str = "cache-control: max-age=10, stale-while-revalidate=30\r\netag: \"1\"\r\n";
const ON_ERROR: &str = "cache-control: max-age=10, stale-if-error=100\r\netag: \"1\"\r\n";

/// Waits until a background fetch has ended: then another may begin.
async fn until_fresh(world: &World, path: &str, text: &str) {
    let waited =
        tokio::time::timeout(crate::world::PATIENCE, async { while world.get(path).await.text() != text {} });
    waited.await.unwrap();
}

async fn fail(asked: Exchange) {
    asked.reply("503 Service Unavailable", "", b"down").await;
}

#[tokio::test]
async fn what_is_validated_meanwhile_is_served_stale() {
    let (mut world, set_forward) = world!();
    world.fetch("/a", REVALIDATING, "one").await;
    set_forward(39);
    let answer = world.get("/a").await;
    assert_eq!((answer.text(), answer.field("age")), ("one", "39".into()));
    assert_eq!(answer.field("cache-status"), "e; hit; ttl=-29; detail=\"seq=0 stale-while-revalidate\"");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    // All others are served meanwhile, and nothing more is asked.
    for _ in 0..5 {
        assert_eq!(world.get("/a").await.text(), "one");
    }
    assert_eq!(world.origin.asked(), 2);
    asked.reply("200 OK", REVALIDATING, b"two").await;
    until_fresh(&world, "/a", "two").await;
    assert_eq!(world.origin.asked(), 2);
    let counters = world.edge.counters();
    assert_eq!(counters.background_fetches.load(Ordering::Relaxed), 1);
    assert!(counters.stale.load(Ordering::Relaxed) >= 6);
    set_forward(40);
    let pending = world.get("/a");
    world.origin.next().await.not_modified("").await;
    assert_eq!(pending.await.field("eo-cache-status"), "RefreshHit", "the time for it is over");
}

#[tokio::test]
async fn a_background_fetch_that_fails_is_not_repeated_at_once() {
    let (mut world, set_forward) = world!();
    world.fetch("/a", REVALIDATING, "one").await;
    set_forward(11);
    assert_eq!(world.get("/a").await.text(), "one");
    fail(world.origin.next().await).await;
    for _ in 0..20 {
        assert_eq!(world.get("/a").await.text(), "one");
    }
    assert_eq!(world.origin.asked(), 2);
    set_forward(1);
    assert_eq!(world.get("/a").await.text(), "one");
    world.origin.next().await.reply("200 OK", REVALIDATING, b"two").await;
    until_fresh(&world, "/a", "two").await;
}

#[tokio::test]
async fn what_is_stale_answers_instead_of_an_error() {
    let (mut world, set_forward) = world!();
    for (path, status) in [
        ("/a", "500 Oops"),
        ("/b", "502 Bad Gateway"),
        ("/c", "503 Service Unavailable"),
        ("/d", "504 Timeout"),
    ] {
        world.fetch(path, ON_ERROR, "one").await;
        set_forward(11);
        let pending = world.get(path);
        world.origin.next().await.reply(status, "cache-control: max-age=60\r\n", b"down").await;
        let answer = pending.await;
        assert_eq!((answer.status, answer.text()), (200, "one"));
        let expected =
            format!("e; fwd=stale; fwd-status={}; ttl=-1; detail=\"seq=0 stale-if-error\"", &status[..3]);
        assert_eq!(answer.field("cache-status"), expected);
    }
    // Who comes next need not wait for the origin to fail again.
    let asked = world.origin.asked();
    assert_eq!(
        world.get("/d").await.field("cache-status"),
        "e; hit; ttl=-1; detail=\"seq=0 stale-if-error\""
    );
    assert_eq!(world.origin.asked(), asked);
    set_forward(5);
    assert_eq!(world.get("/d").await.text(), "one");
    world.origin.next().await.reply("200 OK", ON_ERROR, b"two").await;
    until_fresh(&world, "/d", "two").await;
    for status in ["404 Not Found", "501 Not Implemented", "429 Slow Down"] {
        world.fetch("/e", ON_ERROR, "one").await;
        set_forward(11);
        let pending = world.get("/e");
        world.origin.next().await.reply(status, "cache-control: no-store\r\n", b"no").await;
        assert_eq!(pending.await.text(), "no", "{status}");
        world.purge(url("/e"), Method::Delete).await;
    }
}

#[tokio::test]
async fn what_is_stale_answers_instead_of_no_answer() {
    let (mut world, set_forward) = world!(Duration::from_secs(60), |config| {
        config.head_timeout = Duration::from_secs(3);
    });
    world.fetch("/a", ON_ERROR, "one").await;
    set_forward(11);
    let pending = world.get("/a");
    // An origin that says nothing.
    let silent = world.origin.next().await;
    let others: Vec<_> = (0..5).map(|_| world.get("/a")).collect();
    for answer in [pending].into_iter().chain(others) {
        let answer = answer.await;
        assert_eq!((answer.status, answer.text()), (200, "one"));
        assert!(answer.field("cache-status").contains("stale-if-error"), "{answer:?}");
    }
    silent.until_closed().await;
    set_forward(100);
    let pending = world.get("/a");
    let silent = world.origin.next().await;
    assert_eq!(pending.await.status, 504, "the time for it is over");
    silent.until_closed().await;
}

#[tokio::test]
async fn an_operator_may_allow_it_for_all_that_is_stored() {
    let (mut world, set_forward) = world!(Duration::from_secs(60), |config: &mut EdgeConfig| {
        config.policy = Policy { stale_when_origin_fails: true, ..Policy::default() };
    });
    world.fetch("/a", "cache-control: max-age=10\r\n", "one").await;
    set_forward(1_000_000);
    let pending = world.get("/a");
    fail(world.origin.next().await).await;
    assert_eq!(pending.await.text(), "one");
    world.purge(url("/a"), Method::Invalidate).await;
    let pending = world.get("/a");
    fail(world.origin.next().await).await;
    assert_eq!(pending.await.status, 503, "never against a purge");
}

/// The leave to be stale is about age. A purge withdraws it, however it and the fetch meet.
#[tokio::test]
async fn nothing_stale_is_served_against_a_purge() {
    for method in [Method::Invalidate, Method::Delete] {
        let (mut world, set_forward) = world!();
        for fields in [REVALIDATING, ON_ERROR] {
            // Purged before the request.
            world.fetch("/a", fields, "one").await;
            set_forward(11);
            world.purge(url("/a"), method).await;
            let pending = world.get("/a");
            fail(world.origin.next().await).await;
            assert_eq!(pending.await.status, 503, "{method:?} {fields}");
            world.purge(url("/a"), Method::Delete).await;
        }
        // Purged while the fetch was under way that then failed.
        world.fetch("/b", ON_ERROR, "one").await;
        set_forward(11);
        let pending = world.get("/b");
        let asked = world.origin.next().await;
        world.purge(url("/b"), method).await;
        fail(asked).await;
        assert_eq!(pending.await.status, 503, "{method:?}");
        // Purged while it was validated in the background: what the fetch brings is older than the purge.
        world.fetch("/c", REVALIDATING, "one").await;
        set_forward(11);
        assert_eq!(world.get("/c").await.text(), "one");
        let asked = world.origin.next().await;
        world.purge(url("/c"), method).await;
        let pending = world.get("/c");
        let newer = world.origin.next().await;
        asked.reply("200 OK", REVALIDATING, b"two").await;
        newer.reply("200 OK", REVALIDATING, b"three").await;
        assert_eq!(pending.await.text(), "three", "{method:?}");
        assert_eq!(world.hit("/c").await.text(), "three");
    }
}

#[tokio::test]
async fn nothing_stale_is_served_without_a_lease() {
    let (mut world, set_forward) = world!(Duration::from_millis(300), |_| {});
    world.fetch("/a", ON_ERROR, "one").await;
    world.fetch("/b", REVALIDATING, "one").await;
    set_forward(11);
    // Decided before the lease ran out, the fetch failed after it had.
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    world.lose_lease().await;
    fail(asked).await;
    assert_eq!(pending.await.status, 503);
    for path in ["/a", "/b"] {
        let pending = world.get(path);
        fail(world.origin.next().await).await;
        assert_eq!(pending.await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn the_origin_may_forbid_stale_answers() {
    let (mut world, set_forward) = world!();
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
        let path = format!("/{strict}");
        let fields = format!(
            "cache-control: max-age=10, stale-while-revalidate=100, stale-if-error=100, {strict}\r\netag: \"1\"\r\n"
        );
        world.fetch(&path, &fields, "one").await;
        set_forward(11);
        let pending = world.get(&path);
        fail(world.origin.next().await).await;
        assert_eq!(pending.await.status, 503, "{strict}");
    }
}

#[tokio::test]
async fn what_nears_its_end_is_validated_before_it_where_the_operator_says_so() {
    let (mut world, set_forward) = world!(Duration::from_secs(60), |config: &mut EdgeConfig| {
        config.policy = Policy { refresh_percent: Some(90), ..Policy::default() };
    });
    let fields = "cache-control: max-age=10\r\netag: \"1\"\r\n";
    world.fetch("/a", fields, "one").await;
    set_forward(8);
    world.hit("/a").await;
    assert_eq!(world.origin.asked(), 1);
    set_forward(1);
    let answer = world.get("/a").await;
    assert_eq!((answer.text(), answer.field("age")), ("one", "9".into()));
    world.origin.next().await.not_modified(fields).await;
    let waited = tokio::time::timeout(crate::world::PATIENCE, async {
        while world.get("/a").await.field("age") != "0" {}
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn requests_say_what_they_accept_where_the_operator_lets_them() {
    let (mut world, set_forward) = world!(Duration::from_secs(60), |config: &mut EdgeConfig| {
        config.honour_request_directives = true;
    });
    world.fetch("/a", "cache-control: max-age=10\r\netag: \"1\"\r\n", "one").await;
    set_forward(5);
    let asks =
        ["no-cache", "max-age=4", "min-fresh=6"].map(|directive| format!("cache-control: {directive}\r\n"));
    for fields in asks.iter().map(String::as_str).chain(["pragma: no-cache\r\n"]) {
        let pending = world.get_with("/a", fields);
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), "\"1\"");
        asked.not_modified("").await;
        let answer = pending.await;
        assert!(
            answer.field("cache-status").starts_with("e; fwd=request; fwd-status=304"),
            "{fields} {answer:?}"
        );
        set_forward(5);
    }
    let asked = world.origin.asked();
    for fields in
        ["max-age=5", "min-fresh=5", "max-stale"].map(|directive| format!("cache-control: {directive}\r\n"))
    {
        assert_eq!(world.get_with("/a", &fields).await.text(), "one");
    }
    set_forward(10);
    let answer = world.get_with("/a", "cache-control: max-stale=10\r\n").await;
    assert_eq!(answer.field("cache-status"), "e; hit; ttl=-5; detail=\"seq=0 max-stale\"");
    assert_eq!(world.origin.asked(), asked);
    world.purge(url("/a"), Method::Invalidate).await;
    let pending = world.get_with("/a", "cache-control: max-stale\r\n");
    world.origin.next().await.not_modified("").await;
    assert_eq!(pending.await.field("eo-cache-status"), "RefreshHit", "never against a purge");
}

#[tokio::test]
async fn requests_can_not_send_the_cache_to_the_origin_by_default() {
    let mut world = World::start().await;
    world.fetch("/a", "cache-control: max-age=60\r\n", "one").await;
    for fields in ["cache-control: no-cache\r\n", "cache-control: max-age=0\r\n", "pragma: no-cache\r\n"] {
        assert_eq!(world.get_with("/a", fields).await.field("eo-cache-status"), "HIT");
    }
    until("nothing more", || world.origin.asked() == 1).await;
}
