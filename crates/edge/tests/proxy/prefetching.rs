//! Fetching ahead of clients: through the cache, once the log is applied, within a budget, with an outcome for each URL.

use crate::world::{Control, HOST, World, url};
use feed::{Prefetch, ToEdge};
use purge::{Epoch, Method, PurgeSeq};
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// Asks the edge to fetch these paths, tasks numbered from `first`, once it has applied `head`.
fn order(control: &Control, head: u64, first: u64, headers: &[(&str, &str)], urls: &[String]) {
    let urls = urls.iter().zip(first..).map(|(url, task)| Prefetch { task, url: url.clone() });
    control.send(ToEdge::Prefetch {
        epoch: Epoch::new(1),
        head: PurgeSeq::new(head),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        urls: urls.collect(),
    });
}

fn at(path: &str) -> String {
    format!("http://{HOST}{path}")
}

#[tokio::test]
async fn what_was_prefetched_is_a_hit_and_what_is_fresh_is_left_alone() {
    let mut world = World::start().await;
    order(&world.control, 0, 1, &[("X-Reason", "warm")], &[at("/a?b=1")]);
    let asked = world.origin.next().await;
    assert!(asked.head.starts_with("GET /a?b=1 HTTP/1.1"), "{}", asked.head);
    assert_eq!(asked.field("x-reason"), "warm");
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(world.control.until_prefetched(1).await, [(1, None)]);
    assert_eq!(world.hit("/a?b=1").await.text(), "one");
    let count = world.origin.asked();
    order(&world.control, 0, 2, &[], &[at("/a?b=1")]);
    assert_eq!(world.control.until_prefetched(2).await, [(1, None), (2, None)]);
    assert_eq!(world.origin.asked(), count, "a fresh copy is not fetched again");
}

#[tokio::test]
async fn each_url_has_an_outcome_of_its_own() {
    let mut world = World::start().await;
    order(&world.control, 0, 1, &[], &[at("/gone"), at("/private"), at("/broken")]);
    order(&world.control, 0, 4, &[], &["http://unknown.test/".into(), "nonsense".into()]);
    for _ in 0..3 {
        let asked = world.origin.next().await;
        match asked.head.split(' ').nth(1).unwrap() {
            "/gone" => asked.reply("404 Not Found", "", b"no").await,
            "/private" => asked.reply("200 OK", "cache-control: private\r\n", b"mine").await,
            _ => {
                let mut asked = asked;
                asked
                    .write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n12345")
                    .await;
            }
        }
    }
    let outcomes = world.control.until_prefetched(5).await;
    let told: Vec<_> = outcomes.iter().map(|(_, failure)| failure.as_deref().unwrap_or("done")).collect();
    assert_eq!(told[0], "the answer was 404 Not Found");
    assert_eq!(told[1], "the answer may not be stored");
    assert_eq!(told[2], "the answer broke off");
    assert_eq!(told[3], "the answer was 404 Not Found: unknown-host");
    assert_eq!(told[4], "the URL or a request field is malformed");
}

#[tokio::test]
async fn a_prefetch_begins_once_the_log_is_applied_under_a_lease() {
    let mut world = World::fenced().await;
    // Of two tasks the second one's head is ahead of the log.
    let seq = world.control.append(url("/other"), Method::Delete);
    order(&world.control, seq, 1, &[], &[at("/a")]);
    order(&world.control, seq + 1, 2, &[], &[at("/b")]);
    assert!(world.origin.try_next().is_none(), "the edge has no lease yet");
    world.control.grant(Duration::from_secs(60));
    let asked = world.origin.next().await;
    assert!(asked.head.starts_with("GET /a "), "{}", asked.head);
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(world.control.until_prefetched(1).await, [(1, None)]);
    assert!(world.origin.try_next().is_none(), "the entry before the second is not applied yet");
    world.purge(url("/b"), Method::Delete).await;
    let asked = world.origin.next().await;
    assert!(asked.head.starts_with("GET /b "), "{}", asked.head);
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(world.control.until_prefetched(2).await.len(), 2);
}

#[tokio::test]
async fn an_origin_gets_no_more_at_once_than_it_may() {
    let mut world = World::start_with(|config| config.prefetch_concurrency = 2).await;
    let urls: Vec<String> = (0..6).map(|number| at(&format!("/{number}"))).collect();
    order(&world.control, 0, 1, &[], &urls);
    for left in [4, 2, 0_usize] {
        let (first, second) = (world.origin.next().await, world.origin.next().await);
        assert!(world.origin.try_next().is_none(), "a third at once, with {left} to go");
        first.reply("200 OK", MINUTE, b"x").await;
        second.reply("200 OK", MINUTE, b"x").await;
    }
    assert!(world.control.until_prefetched(6).await.iter().all(|(_, failure)| failure.is_none()));
}

#[tokio::test]
async fn a_task_that_is_asked_for_again_is_told_once_for_each_time_it_was_done() {
    let mut world = World::start().await;
    order(&world.control, 0, 7, &[], &[at("/a")]);
    let asked = world.origin.next().await;
    // Asked for again while it is under way: its one outcome answers both.
    order(&world.control, 0, 7, &[], &[at("/a")]);
    order(&world.control, 0, 8, &[], &[at("/a")]);
    // Both have come once the edge acknowledges what was sent after them.
    world.purge(url("/elsewhere"), Method::Delete).await;
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(world.control.until_prefetched(2).await, [(7, None), (8, None)]);
    assert_eq!(world.origin.asked(), 1);
}
