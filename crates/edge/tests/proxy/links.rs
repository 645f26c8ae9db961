//! Links to control planes: when an edge gives one up and opens another.

use crate::world::{PATIENCE, World, until};
use edge::{Clocks, EdgeConfig};
use feed::{ControlLink, EdgeToControl, Grant, InProcess, ToEdge};
use purge::{Epoch, PurgeSeq};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

async fn taken(links: &mut mpsc::Receiver<ControlLink>) -> ControlLink {
    tokio::time::timeout(PATIENCE, links.recv()).await.unwrap().unwrap()
}

/// Answers pings until there were `grants` of them.
async fn grant(link: &mut ControlLink, lease: Duration, grants: usize) {
    link.send(ToEdge::Zones { version: 1, zones: Vec::new() }).await.unwrap();
    let mut granted = 0;
    while granted < grants {
        let message = tokio::time::timeout(PATIENCE, link.receive()).await.unwrap();
        if let EdgeToControl::Ping(ping) = message.expect("the link holds") {
            granted += 1;
            let grant = Grant {
                nonce: ping.nonce,
                epoch: Epoch::new(1),
                head: PurgeSeq::ZERO,
                first_retained: PurgeSeq::ZERO.next(),
                config_version: 1,
                lease,
            };
            link.send(ToEdge::Grant(grant)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_edge_leaves_a_link_that_says_nothing_before_its_lease_runs_out() {
    let (accept, mut links) = mpsc::channel(1);
    let mut config = EdgeConfig::new("e".into(), ([127, 0, 0, 1], 0).into());
    // So that silence is noticed soon after its bound.
    config.pings_per_lease = 40;
    let edge =
        edge::start(config, InProcess::new(accept), Clocks::with_wall(|| SystemTime::UNIX_EPOCH)).unwrap();
    let silent = taken(&mut links).await;
    // Never granted: there is no lease to lose, and still it is left.
    let mut first = taken(&mut links).await;
    drop(silent);
    let lease = Duration::from_secs(60);
    grant(&mut first, lease, 1).await;
    until("a lease", || edge.is_ready()).await;
    // From now on it is silent; with a lease that is known the edge waits for a part of it, and no longer.
    drop(first);
    let mut second = taken(&mut links).await;
    grant(&mut second, Duration::from_secs(4), 1).await;
    let third = taken(&mut links).await;
    assert!(edge.is_ready(), "what the first granted still holds");
    // Here is much, but no lease.
    let chatter = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if third.send(ToEdge::NotMember { nonce: 0 }).await.is_err() {
                return;
            }
        }
    };
    let (_, fourth) = tokio::join!(tokio::time::timeout(PATIENCE, chatter), taken(&mut links));
    drop(fourth);
    tokio::task::spawn_blocking(move || edge.stop()).await.unwrap();
}

#[tokio::test]
async fn where_no_link_brings_a_lease_each_gets_more_time() {
    let (accept, mut links) = mpsc::channel(1);
    let mut config = EdgeConfig::new("e".into(), ([127, 0, 0, 1], 0).into());
    config.pings_per_lease = 40;
    let edge =
        edge::start(config, InProcess::new(accept), Clocks::with_wall(|| SystemTime::UNIX_EPOCH)).unwrap();
    let lease = Duration::from_millis(800);
    let mut first = taken(&mut links).await;
    grant(&mut first, lease, 1).await;
    let mut lasted = Vec::new();
    let mut link = first;
    for _ in 0..4 {
        let began = tokio::time::Instant::now();
        link.send(ToEdge::Zones { version: 1, zones: Vec::new() }).await.unwrap();
        let ended = async { while link.receive().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
        lasted.push(began.elapsed());
        link = taken(&mut links).await;
    }
    assert!(lasted[3] >= lease, "the fourth has twice as long as half a lease: {lasted:?}");
    // Once one grants, silence is noticed as early as ever.
    grant(&mut link, lease, 1).await;
    until("a lease", || edge.is_ready()).await;
    tokio::task::spawn_blocking(move || edge.stop()).await.unwrap();
}

#[tokio::test]
async fn a_kept_configuration_serves_fenced_and_takes_no_lease_before_another_came() {
    const MINUTE: &str = "cache-control: max-age=60\r\n";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("configuration");
    let world = World::start_with(|config| config.configuration_file = Some(file.clone())).await;
    until("the configuration is kept", || file.exists()).await;
    let restarted = world.restarted(|control, _| {
        control.refuse_grants();
        control.send_zones(false);
    });
    let mut world = restarted.await;
    world.fetch("/a", MINUTE, "one").await;
    let before = world.control.grants();
    world.control.grant(Duration::from_secs(60));
    until("grants", || world.control.grants() >= before + 3).await;
    assert!(!world.edge.holds_lease(), "nothing says yet that the configuration is the log's");
    world.fetch("/a", MINUTE, "two").await;
    world.control.send_zones(true);
    until("a lease", || world.edge.holds_lease()).await;
    world.fetch("/a", MINUTE, "three").await;
    assert_eq!(world.hit("/a").await.text(), "three");
}
