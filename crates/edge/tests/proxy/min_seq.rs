//! Read your purge: requests that name the position of the purge log that their answers must be at or above.

use crate::world::{Pending, World, until, url};
use edge::EdgeConfig;
use purge::{FencePolicy, Method};
use std::sync::atomic::Ordering;
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\netag: \"1\"\r\n";

fn get(world: &World, seq: &str) -> Pending {
    world.get_with("/a", &format!("everfresh-min-seq: {seq}\r\n"))
}

/// An edge that is not told of entries, and gives up at once when it waits for them.
async fn behind(change: impl FnOnce(&mut EdgeConfig)) -> World {
    let mut world = World::start_with(|config| {
        config.min_seq_wait = Duration::ZERO;
        change(config);
    })
    .await;
    world.control.answer_wants(false);
    world.fetch("/a", MINUTE, "one").await;
    world
}

#[tokio::test]
async fn an_edge_that_has_applied_what_is_named_answers_from_its_cache() {
    let mut world = World::start().await;
    let first = get(&world, "0");
    let asked = world.origin.next().await;
    assert!(!asked.has("everfresh-min-seq"), "it is none of the origin's business: {}", asked.head);
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(first.await.text(), "one");
    let seq = world.purge(url("/other"), Method::Delete).await;
    for named in ["0", "1", "0000000000000001:1"] {
        let answer = get(&world, named).await;
        assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("one", "HIT"), "{named}");
    }
    assert_eq!((seq, world.origin.asked()), (1, 1));
}

#[tokio::test]
async fn an_edge_that_lacks_what_is_named_waits_for_it_a_while() {
    let mut world = World::start_with(|config| config.min_seq_wait = Duration::from_secs(10)).await;
    world.control.answer_wants(false);
    world.fetch("/a", MINUTE, "one").await;
    let seq = world.control.append(url("/a"), Method::Delete);
    let pending = get(&world, &seq.to_string());
    until("it to have come", || world.requests() == 2).await;
    // Who names nothing is not kept waiting.
    assert_eq!(world.hit("/a").await.text(), "one");
    assert!(!pending.is_finished());
    world.control.push();
    world.origin.next().await.reply("200 OK", MINUTE, b"two").await;
    let answer = pending.await;
    assert_eq!(answer.text(), "two");
    assert!(answer.field("cache-status").contains("seq=1 purged-by=1"), "{answer:?}");
}

#[tokio::test]
async fn what_waited_in_vain_is_passed_on_without_the_cache() {
    let mut world = behind(|_| {}).await;
    world.control.append(url("/a"), Method::Delete);
    let asked_before = world.edge.stored();
    for (named, method) in [("1", "GET"), ("1", "HEAD"), ("0000000000000009:0", "GET")] {
        let pending = match method {
            "GET" => get(&world, named),
            _ => crate::world::Client::request(
                world.edge.address(),
                format!("HEAD /a HTTP/1.1\r\nhost: www.a.test\r\neverfresh-min-seq: {named}\r\n\r\n")
                    .into_bytes(),
            ),
        };
        let asked = world.origin.next().await;
        assert!(asked.first_line().starts_with(method) && !asked.has("if-none-match"), "{}", asked.head);
        assert!(!asked.has("everfresh-min-seq"));
        asked.reply("200 OK", MINUTE, if method == "GET" { b"two" } else { b"" }).await;
        let answer = pending.await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("cache-status"), "e; fwd=bypass; fwd-status=200; detail=min-seq", "{named}");
    }
    assert_eq!(world.edge.stored(), asked_before, "nothing is stored of it");
    assert_eq!(world.hit("/a").await.text(), "one", "who names nothing gets what the lease still allows");
    let only_if_cached = world.get_with("/a", "everfresh-min-seq: 1\r\ncache-control: only-if-cached\r\n");
    assert_eq!(only_if_cached.await.status, 504);
}

#[tokio::test]
async fn a_position_that_does_not_exist_is_no_way_past_the_cache_for_many() {
    let mut world = behind(|config| config.min_seq_fetches_max = 1).await;
    let first = get(&world, "18446744073709551615");
    let asked = world.origin.next().await;
    let refused = get(&world, "1000000").await;
    assert_eq!((refused.status, refused.field("retry-after").as_str()), (503, "1"));
    assert_eq!(refused.field("cache-status"), "e; detail=min-seq");
    assert_eq!(world.hit("/a").await.text(), "one");
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(first.await.text(), "two");
    assert_eq!(world.origin.asked(), 2);
}

#[tokio::test]
async fn what_is_no_position_is_refused_with_what_would_be_one() {
    let mut world = World::start().await;
    for bad in ["", "-1", "soon", "1, 2", "18446744073709551616", "0000000000000001:", "1:1"] {
        let answer = get(&world, bad).await;
        assert_eq!(
            (answer.status, answer.field("cache-status").as_str()),
            (400, "e; detail=min-seq"),
            "{bad}"
        );
        assert!(answer.text().contains("write 17"), "{answer:?}");
    }
    let twice = world.get_with("/a", "everfresh-min-seq: 1\r\neverfresh-min-seq: 1\r\n").await;
    assert_eq!(twice.status, 400);
    assert_eq!(world.origin.asked(), 0);
    // Where it is switched off it says nothing at all.
    let mut off = behind(|config| config.min_seq = false).await;
    for text in ["7", "soon"] {
        let answer = get(&off, text).await;
        assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("one", "HIT"), "{text}");
    }
    assert_eq!(off.hit("/a").await.text(), "one");
    world.fetch("/a", MINUTE, "one").await;
}

/// What an edge without a lease asks the origin for is as new as the request; only its parents might answer with less.
#[tokio::test]
async fn without_a_lease_nobody_is_kept_waiting() {
    let mut world = World::with(Some(Duration::from_millis(300)), |config| {
        config.min_seq_wait = Duration::from_secs(10);
    })
    .await;
    world.fetch("/a", MINUTE, "one").await;
    world.lose_lease().await;
    for (named, detail) in [("0", "detail=\"seq=0 fenced\""), ("5", "detail=min-seq")] {
        let start = tokio::time::Instant::now();
        let pending = get(&world, named);
        world.origin.next().await.reply("200 OK", MINUTE, b"two").await;
        let answer = pending.await;
        assert!(answer.text() == "two" && answer.field("cache-status").ends_with(detail), "{answer:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let world = World::with(Some(Duration::from_millis(300)), |config| {
        config.fence_policy = FencePolicy::Refuse;
    })
    .await;
    world.lose_lease().await;
    let answer = get(&world, "5").await;
    assert_eq!((answer.status, answer.field("cache-status").as_str()), (503, "e; detail=fenced"));
    assert_eq!(world.edge.counters().fetches.load(Ordering::Relaxed), 0);
}
