//! The lease, the log and what the edge does without them.

use crate::world::{World, tag, until, url};
use feed::ToEdge;
use purge::{Entry, Epoch, LogEntry, Method, PurgeSeq, Scope};
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\netag: \"1\"\r\n";

/// A lease that a test can wait out.
const SHORT: Duration = Duration::from_millis(300);

/// One that no test outlasts.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_new_edge_serves_nothing_from_its_cache_before_its_first_lease() {
    let mut world = World::fenced().await;
    for body in ["one", "two"] {
        let pending = world.get("/a");
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match"), "what it missed may be a delete");
        asked.reply("200 OK", MINUTE, body.as_bytes()).await;
        let answer = pending.await;
        assert_eq!(answer.text(), body);
        let status = "e; fwd=bypass; fwd-status=200; ttl=60; stored; detail=\"seq=0 fenced\"";
        assert_eq!(answer.field("cache-status"), status);
    }
    world.control.grant(LONG);
    until("a lease", || world.edge.holds_lease()).await;
    // What was fetched before the edge knew any log has no place in it.
    world.fetch("/a", MINUTE, "three").await;
    assert_eq!(world.hit("/a").await.text(), "three");
}

#[tokio::test]
async fn an_edge_whose_lease_ran_out_fetches_and_trusts_its_copies_with_the_next_lease() {
    let mut world = World::leased(SHORT).await;
    world.fetch("/a", MINUTE, "one").await;
    world.fetch("/b", MINUTE, "one").await;
    world.lose_lease().await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", MINUTE, b"two").await;
    let answer = pending.await;
    assert!(answer.field("cache-status").contains("fenced"), "{answer:?}");
    assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("two", "MISS"));
    world.control.grant(LONG);
    until("a lease", || world.edge.holds_lease()).await;
    assert_eq!(world.hit("/a").await.text(), "two");
    assert_eq!(world.hit("/b").await.text(), "one");
}

#[tokio::test]
async fn a_lease_is_renewed_before_it_runs_out() {
    let lease = Duration::from_secs(1);
    let mut world = World::leased(lease).await;
    world.fetch("/a", MINUTE, "one").await;
    let start = tokio::time::Instant::now();
    while start.elapsed() < lease * 3 / 2 {
        world.hit("/a").await;
    }
    assert!(world.control.grants() > 10);
}

#[tokio::test]
async fn a_lease_holds_only_once_what_was_granted_is_applied() {
    let mut world = World::leased(SHORT).await;
    world.fetch("/a", MINUTE, "one").await;
    world.control.answer_wants(false);
    // Recorded, but the edge is not told: every later grant names a head that it lacks.
    world.control.append(url("/a"), Method::Delete);
    until("the lease to run out", || !world.edge.holds_lease()).await;
    world.fetch("/a", MINUTE, "two").await;
    world.control.answer_wants(true);
    until("a lease", || world.edge.holds_lease()).await;
    // Fetched with a born below the delete.
    world.fetch("/a", MINUTE, "three").await;
    assert_eq!(world.hit("/a").await.text(), "three");
}

#[tokio::test]
async fn a_fenced_origin_sees_one_fetch_under_way_and_one_waiting_per_object() {
    let mut world = World::fenced().await;
    let first = world.get("/a");
    let asked = world.origin.next().await;
    let others: Vec<_> = (0..6).map(|_| world.get("/a")).collect();
    until("all to have come", || world.requests() == 7).await;
    assert_eq!(world.origin.asked(), 1);
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(first.await.text(), "one");
    let next = world.origin.next().await;
    let last = world.get("/a");
    until("all to have come", || world.requests() == 8).await;
    assert_eq!(world.origin.asked(), 2);
    next.reply("200 OK", MINUTE, b"two").await;
    for other in others {
        assert_eq!(other.await.text(), "two", "sent after they came");
    }
    world.origin.next().await.reply("200 OK", MINUTE, b"three").await;
    assert_eq!(last.await.text(), "three");
}

/// Content that nobody can join must not make others wait for its slowest reader, fenced or not.
#[tokio::test]
async fn a_fenced_client_does_not_wait_for_the_content_of_another() {
    let mut world = World::fenced().await;
    let first = world.get("/a");
    let mut slow = world.origin.next().await;
    slow.head_of("200 OK", "cache-control: no-store\r\ncontent-length: 6\r\n").await;
    slow.write(b"abc").await;
    let second = world.get("/a");
    world.origin.next().await.reply("200 OK", "cache-control: no-store\r\n", b"whole").await;
    assert_eq!(second.await.text(), "whole");
    slow.write(b"def").await;
    slow.done();
    assert_eq!(first.await.text(), "abcdef");
}

#[tokio::test]
async fn above_the_ceiling_of_fetches_clients_are_told_to_come_again() {
    for fenced in [true, false] {
        let change = |config: &mut edge::EdgeConfig| {
            config.fenced_fetches_max = if fenced { 1 } else { 9 };
            config.fetches_max = if fenced { 9 } else { 1 };
        };
        let mut world =
            if fenced { World::fenced_with(change).await } else { World::start_with(change).await };
        let first = world.get("/a");
        let asked = world.origin.next().await;
        let refused = world.get("/b").await;
        assert_eq!((refused.status, refused.field("retry-after").as_str()), (503, "1"));
        assert_eq!(refused.field("cache-status"), "e; detail=too-many-fetches");
        asked.reply("200 OK", MINUTE, b"one").await;
        assert_eq!(first.await.text(), "one");
        let pending = world.get("/b");
        until("an answer", || pending.is_finished() || world.origin.asked() == 2).await;
        if world.origin.asked() == 2 {
            world.origin.next().await.reply("200 OK", MINUTE, b"two").await;
        }
        assert!(matches!(pending.await.status, 200 | 503));
    }
}

#[tokio::test]
async fn under_load_a_fenced_origin_sees_no_more_than_the_ceiling_and_one_request_per_object() {
    const CEILING: usize = 4;
    let mut world = World::fenced_with(|config| {
        config.fenced_fetches_max = CEILING;
        config.fetches_max = 1000;
    })
    .await;
    let pending: Vec<_> = (0..60).map(|number| world.get(&format!("/{}", number % 20))).collect();
    let mut held = Vec::new();
    for _ in 0..CEILING {
        held.push(world.origin.next().await);
    }
    until("all to have come", || world.requests() == 60).await;
    let mut most = 0;
    while !pending.iter().all(|pending| pending.is_finished()) {
        while let Some(asked) = world.origin.try_next() {
            held.push(asked);
        }
        most = most.max(held.len());
        let mut lines: Vec<_> = held.iter().map(|asked| asked.first_line().to_owned()).collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), held.len(), "two requests for one object at once");
        if let Some(asked) = held.pop() {
            asked.reply("200 OK", MINUTE, b"new").await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(most, CEILING);
    let (mut answered, mut refused) = (0, 0);
    for pending in pending {
        let answer = pending.await;
        match answer.status {
            200 => answered += 1,
            503 => {
                assert_eq!(answer.field("retry-after"), "1");
                assert_eq!(answer.field("cache-status"), "e; detail=too-many-fetches");
                refused += 1;
            }
            status => panic!("{status}: {answer:?}"),
        }
    }
    assert!(answered >= CEILING && refused > 0, "{answered} {refused}");
}

#[tokio::test]
async fn a_process_that_is_no_member_any_more_joins_anew() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.control.expel();
    until("another member", || world.control.members().len() == 2).await;
    let members = world.control.members();
    assert_ne!(members[0], members[1]);
    // It has missed nothing.
    assert_eq!(world.hit("/a").await.text(), "one");
    let before = world.control.grants();
    until("a grant", || world.control.grants() > before).await;
}

#[tokio::test]
async fn a_broken_link_is_opened_again_by_the_same_member() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.control.break_link();
    until("another link", || world.control.members().len() == 2).await;
    let members = world.control.members();
    assert_eq!(members[0], members[1]);
    world.purge(url("/a"), Method::Delete).await;
    world.fetch("/a", MINUTE, "two").await;
}

#[tokio::test]
async fn missing_entries_are_asked_for_and_applied_in_order() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    world.fetch("/b", MINUTE, "one").await;
    world.control.append(url("/a"), Method::Delete);
    world.purge(url("/b"), Method::Invalidate).await;
    assert_eq!(world.control.wants().first(), Some(&0));
    let marks = world.edge.marks().0;
    assert_eq!(marks, 2);
    world.fetch("/a", MINUTE, "two").await;
    world.fetch("/b", MINUTE, "two").await;
}

#[tokio::test]
async fn doubled_and_reordered_entries_do_no_harm() {
    let mut world = World::start().await;
    world.control.answer_wants(false);
    for path in ["/a", "/b", "/c"] {
        world.fetch(path, MINUTE, "one").await;
        world.control.append(url(path), Method::Delete);
    }
    let entry = |number, path| LogEntry {
        seq: PurgeSeq::new(number),
        entry: Entry { zone: crate::world::zone_id(), scope: url(path), method: Method::Delete },
    };
    for entries in [
        vec![entry(3, "/c")],
        vec![entry(2, "/b"), entry(3, "/c")],
        vec![entry(1, "/a")],
        vec![entry(1, "/a"), entry(2, "/b")],
    ] {
        world.control.send(ToEdge::Entries { epoch: Epoch::new(1), entries });
    }
    world.control.until_acknowledged(3).await;
    for path in ["/a", "/b", "/c"] {
        world.fetch(path, MINUTE, "two").await;
    }
}

#[tokio::test]
async fn entries_of_another_log_are_not_applied() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    let entry = LogEntry {
        seq: PurgeSeq::new(1),
        entry: Entry { zone: crate::world::zone_id(), scope: Scope::All, method: Method::Delete },
    };
    world.control.send(ToEdge::Entries { epoch: Epoch::new(9), entries: vec![entry] });
    let seq = world.purge(url("/other"), Method::Delete).await;
    assert_eq!(seq, 1);
    assert_eq!(world.hit("/a").await.text(), "one");
}

#[tokio::test]
async fn copies_of_another_epoch_are_not_served() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    let late = world.get("/late");
    let asked = world.origin.next().await;
    // Below what was applied in the old epoch, to be sure that positions are not compared.
    for _ in 0..5 {
        world.purge(tag("x"), Method::Delete).await;
    }
    world.control.change_epoch(2, 3);
    world.control.until_acknowledged(3).await;
    asked.reply("200 OK", MINUTE, b"old").await;
    assert_eq!(late.await.text(), "old");
    for path in ["/a", "/late"] {
        let answer = world.fetch(path, MINUTE, "two").await;
        assert!(answer.field("cache-status").contains("seq=3"), "{answer:?}");
        assert_eq!(world.hit(path).await.text(), "two");
    }
    world.purge(url("/a"), Method::Delete).await;
    world.fetch("/a", MINUTE, "three").await;
}

#[tokio::test]
async fn copies_of_another_epoch_leave_memory() {
    let mut world = World::start_with(|config| config.sweep_interval = Duration::from_millis(20)).await;
    world.fetch("/a", MINUTE, "one").await;
    until("a copy", || world.edge.stored().0 == 1).await;
    world.control.change_epoch(2, 3);
    until("no copy", || world.edge.stored().0 == 0).await;
    world.fetch("/a", MINUTE, "two").await;
    assert_eq!(world.hit("/a").await.text(), "two");
}

#[tokio::test]
async fn copies_from_before_entries_that_cannot_be_had_are_not_served() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, "one").await;
    let late = world.get("/late");
    let asked = world.origin.next().await;
    let seq = world.control.append(url("/a"), Method::Delete);
    world.control.truncate();
    world.control.until_acknowledged(seq).await;
    asked.reply("200 OK", MINUTE, b"old").await;
    assert_eq!(late.await.text(), "old");
    for path in ["/a", "/late"] {
        world.fetch(path, MINUTE, "two").await;
        assert_eq!(world.hit(path).await.text(), "two");
    }
}

#[tokio::test]
async fn a_follower_under_no_lease_does_not_join_what_was_sent_before_it_ran_out() {
    let mut world = World::leased(SHORT).await;
    let first = world.get("/a");
    let asked = world.origin.next().await;
    world.lose_lease().await;
    let later = world.get("/a");
    until("both to have come", || world.requests() == 2).await;
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(first.await.text(), "one");
    world.origin.next().await.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(later.await.text(), "two");
}

#[tokio::test]
async fn an_edge_that_ends_gives_up_its_lease_and_says_so() {
    let world = World::start().await;
    let control = world.control.clone();
    world.stop().await;
    until("its leave", || control.has_left()).await;
}
