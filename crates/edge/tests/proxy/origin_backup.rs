//! An origin that fails, and the one beside it.

use crate::world::{Client, HOST, Origin, World, host};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\n";

/// Two origins at the same port of two addresses; `world.origin` is asked by nobody.
struct Pair {
    world: World,
    primary: Option<Origin>,
    backup: Origin,
}

async fn pair(primary_listens: bool) -> Pair {
    // Both listen at one port, which the second address may have given away meanwhile: then at another.
    let (backup, address, primary) = loop {
        let backup = Origin::start().await;
        let address = SocketAddr::from(([127, 0, 0, 2], backup.address().port()));
        if !primary_listens {
            break (backup, address, None);
        }
        if let Some(primary) = Origin::try_start_at(address).await {
            break (backup, address, Some(primary));
        }
    };
    let world = World::before(
        |origin| {
            origin.address = host("127.0.0.2");
            origin.backup = Some(host("127.0.0.1"));
            origin.http_port = address.port();
        },
        |config| {
            config.workers = 1;
            config.head_timeout = Duration::from_secs(2);
        },
    )
    .await;
    Pair { world, primary, backup }
}

fn post(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi").into_bytes()
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_is_replaced_for_every_method() {
    let Pair { world, mut backup, .. } = pair(false).await;
    let pending = world.get("/a");
    backup.next().await.reply("200 OK", MINUTE, b"from backup").await;
    assert_eq!(pending.await.text(), "from backup");
    // Nothing of it was sent before.
    let pending = Client::request(world.edge.address(), post("/a"));
    let asked = backup.next().await;
    assert_eq!(asked.body, b"hi");
    asked.reply("200 OK", "", b"posted").await;
    assert_eq!(pending.await.text(), "posted");
    assert_eq!(world.edge.counters().repeated.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_failed_is_asked_of_the_backup_if_it_may_be_repeated() {
    let Pair { world, primary, mut backup } = pair(true).await;
    let mut primary = primary.unwrap();
    // It answers that it can't.
    let pending = world.get("/a");
    primary.next().await.reply("503 Service Unavailable", "", b"sorry").await;
    backup.next().await.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(pending.await.text(), "one");
    // It breaks off.
    let pending = world.get("/b");
    let asked = tokio::select! {
        asked = backup.next() => asked,
        // Once, or twice if the first one came over a connection from before.
        never = breaks_off(&mut primary) => never,
    };
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(pending.await.text(), "two");
    primary_answers(&world, &mut primary, "/well").await;
    // What may have had its effect is not repeated.
    let asked_before = backup.asked();
    let pending = Client::request(world.edge.address(), post("/a"));
    primary.next().await.reply("503 Service Unavailable", "", b"sorry").await;
    assert_eq!(pending.await.status, 503);
    primary_answers(&world, &mut primary, "/well-again").await;
    let pending = Client::request(world.edge.address(), post("/b"));
    drop(primary.next().await);
    assert_eq!(pending.await.status, 502);
    assert_eq!(backup.asked(), asked_before);
}

/// Closes the connection of every request that comes.
async fn breaks_off<T>(origin: &mut Origin) -> T {
    while let Some(asked) = origin.any().await {
        drop(asked);
    }
    std::future::pending().await
}

async fn primary_answers(world: &World, primary: &mut Origin, path: &str) {
    let pending = world.get(path);
    primary.next().await.reply("200 OK", MINUTE, b"well").await;
    assert_eq!(pending.await.text(), "well");
}

#[tokio::test]
async fn both_failing_is_told_with_the_first_ones_words_if_it_had_any() {
    let Pair { world, primary, mut backup } = pair(true).await;
    let mut primary = primary.unwrap();
    let pending = world.get("/a");
    primary.next().await.reply("503 Service Unavailable", "", b"first").await;
    backup.next().await.reply("502 Bad Gateway", "", b"second").await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.text()), (503, "first"));
    let pending = world.get("/b");
    primary.next().await.reply("503 Service Unavailable", "", b"first").await;
    let answer = tokio::select! {
        answer = pending => answer,
        never = breaks_off(&mut backup) => never,
    };
    assert_eq!((answer.status, answer.text()), (503, "first"));
}

#[tokio::test]
async fn an_origin_that_failed_three_times_in_a_row_is_left_alone() {
    let Pair { world, primary, mut backup } = pair(true).await;
    let mut primary = primary.unwrap();
    for round in 0..3 {
        let pending = world.get(&format!("/{round}"));
        primary.next().await.reply("503 Service Unavailable", "", b"sorry").await;
        backup.next().await.reply("200 OK", MINUTE, b"x").await;
        assert_eq!(pending.await.status, 200);
    }
    for round in 3..8 {
        let pending = world.get(&format!("/{round}"));
        backup.next().await.reply("200 OK", MINUTE, b"x").await;
        assert_eq!(pending.await.status, 200);
    }
    assert_eq!((primary.asked(), backup.asked()), (3, 8));
    // It is asked all the same when the backup fails, too.
    let pending = world.get("/8");
    backup.next().await.reply("503 Service Unavailable", "", b"sorry").await;
    primary.next().await.reply("200 OK", MINUTE, b"back again").await;
    assert_eq!(pending.await.text(), "back again");
    primary_answers(&world, &mut primary, "/9").await;
}

#[tokio::test]
async fn repetitions_do_not_multiply_the_load_of_an_outage() {
    let mut world = World::start_with(|config| config.workers = 1).await;
    let requests = 60;
    let address = world.edge.address();
    let clients = tokio::spawn(async move {
        for number in 0..requests {
            let answer = Client::get(address, HOST, &format!("/{number}"), "").await;
            assert_eq!(answer.status, 502);
        }
    });
    while !clients.is_finished() {
        tokio::select! {
            asked = world.origin.any() => drop(asked),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    clients.await.unwrap();
    let asked = world.origin.asked();
    assert!((requests + 10..=requests + 10 + requests / 10).contains(&asked), "{asked}");
}
