//! The network's side of the protocol, with scripted edges: when leases are granted, what is handed on, and when a
//! task reads success.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::{Network, NetworkSettings};
use feed::{EdgeLink, EdgeToControl, Grant, Hello, Ping, ToEdge};
use purge::{
    Entry, Epoch, FencePolicy, JobId, MemberId, MemberTerms, Method, PlannedTask, PurgeSeq, PurgeType, Scope,
    TaskStatus,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use store::{Area, MasterKey, NewZone, Recording, Store, StoreOptions};
use tokio::sync::watch;
use zone::{HostName, ZoneId};

/// Far above what anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    store: Store,
    network: Network,
    zone: ZoneId,
    shutdown: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

/// A long lease: what happens within it did not wait for it.
const LONG: Duration = Duration::from_secs(120);

/// A lease that a test can wait for.
const SHORT: Duration = Duration::from_millis(150);

fn boot_clock() -> Duration {
    edge_like_clock()
}

#[expect(clippy::disallowed_methods, reason = "a test's clock; nothing here is suspended")]
fn edge_like_clock() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a test's clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

impl World {
    async fn start(lease: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::new(&[7; 32]).unwrap();
        let store = Store::open(StoreOptions::new(dir.path(), key)).await.unwrap();
        let new = NewZone {
            name: HostName::parse("example.com").unwrap(),
            alias: String::new(),
            area: Area::Global,
            tags: Vec::new(),
        };
        let zone = store.create_zone(new, 1).await.unwrap();
        let (shutdown, down) = watch::channel(false);
        let settings = NetworkSettings { lease, boot_clock, wall_clock };
        let network = Network::start(store.clone(), settings, down);
        Self { store, network, zone, shutdown, _dir: dir }
    }

    async fn edge(&self, name: &str) -> Edge {
        self.edge_of(name, random_member(), None).await
    }

    async fn edge_under(&self, terms: MemberTerms, member: MemberId) -> Edge {
        self.join(terms, "one", member, None).await
    }

    async fn edge_of(&self, name: &str, member: MemberId, position: Option<(Epoch, PurgeSeq)>) -> Edge {
        self.join(MemberTerms::default(), name, member, position).await
    }

    async fn join(
        &self,
        terms: MemberTerms,
        name: &str,
        member: MemberId,
        position: Option<(Epoch, PurgeSeq)>,
    ) -> Edge {
        let (link, control) = feed::pair();
        self.network.accept().send(control).await.unwrap();
        let (epoch, applied) = match position {
            Some((epoch, applied)) => (Some(epoch), applied),
            None => (None, PurgeSeq::ZERO),
        };
        let hello = Hello { member, edge_name: name.into(), epoch, applied, terms, version: "0.1.0".into() };
        link.send(EdgeToControl::Hello(hello)).await.unwrap();
        Edge { link, nonce: 100 }
    }

    async fn purge(&self, count: usize) -> (JobId, PurgeSeq) {
        self.purge_by(Method::Delete, count).await
    }

    async fn purge_by(&self, method: Method, count: usize) -> (JobId, PurgeSeq) {
        let entry = || Entry { zone: self.zone.clone(), scope: Scope::All, method };
        let recording = Recording {
            kind: PurgeType::All,
            method,
            tasks: vec![PlannedTask {
                zone: self.zone.clone(),
                target: "example.com".into(),
                hosts: vec![HostName::parse("example.com").unwrap()],
                entries: (0..count).map(|_| entry()).collect(),
            }],
            now_ms: 1_700_000_000_000,
            config_version: self.store.config_version().await.unwrap(),
        };
        let recorded = self.store.record(vec![recording]).await.remove(0).unwrap();
        self.network.wake();
        (recorded.job_id, recorded.last_seq)
    }

    async fn status(&self, job: &JobId) -> TaskStatus {
        self.store.job(job).await.unwrap().unwrap().status
    }

    async fn wait_for(&self, job: &JobId, status: TaskStatus) {
        let mut completed = self.network.completions();
        let wait = async {
            while self.status(job).await != status {
                let _ = tokio::time::timeout(Duration::from_millis(50), completed.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

fn random_member() -> MemberId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    MemberId::new(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

struct Edge {
    link: EdgeLink,
    nonce: u64,
}

impl Edge {
    async fn next(&mut self) -> ToEdge {
        tokio::time::timeout(PATIENCE, self.link.receive()).await.unwrap().unwrap()
    }

    /// Pings, and waits for the answer to that ping among whatever else comes.
    async fn ping(&mut self, position: Option<(Epoch, PurgeSeq)>) -> Result<Grant, ()> {
        self.nonce += 1;
        let applied = position.map_or(PurgeSeq::ZERO, |(_, applied)| applied);
        let ping = Ping { nonce: self.nonce, epoch: position.map(|(epoch, _)| epoch), applied };
        self.link.send(EdgeToControl::Ping(ping)).await.unwrap();
        loop {
            match self.next().await {
                ToEdge::Grant(grant) if grant.nonce == self.nonce => return Ok(grant),
                ToEdge::NotMember { nonce } if nonce == self.nonce => return Err(()),
                _ => {}
            }
        }
    }

    async fn entries(&mut self) -> (Epoch, Vec<u64>) {
        loop {
            if let ToEdge::Entries { epoch, entries } = self.next().await {
                return (epoch, entries.iter().map(|entry| entry.seq.number()).collect());
            }
        }
    }

    async fn acknowledge(&self, epoch: Epoch, applied: u64) {
        let applied = PurgeSeq::new(applied);
        self.link.send(EdgeToControl::Acknowledge { epoch, applied }).await.unwrap();
    }
}

#[tokio::test]
async fn a_task_is_done_when_every_member_has_acknowledged_its_last_entry() {
    let world = World::start(LONG).await;
    let (mut one, mut two) = (world.edge("one").await, world.edge("two").await);
    let epoch = one.ping(None).await.unwrap().epoch;
    two.ping(None).await.unwrap();
    let (job, last) = world.purge(3).await;
    assert_eq!(last, PurgeSeq::new(3));
    assert_eq!(one.entries().await, (epoch, vec![1, 2, 3]));
    assert_eq!(two.entries().await, (epoch, vec![1, 2, 3]));
    one.acknowledge(epoch, 3).await;
    two.acknowledge(epoch, 2).await;
    // Two grants later both acknowledgements have been folded in.
    two.ping(Some((epoch, PurgeSeq::new(2)))).await.unwrap();
    one.ping(Some((epoch, PurgeSeq::new(3)))).await.unwrap();
    assert_eq!(world.status(&job).await, TaskStatus::Processing, "one entry is missing at edge two");
    two.acknowledge(epoch, 3).await;
    world.wait_for(&job, TaskStatus::Success).await;
}

#[tokio::test]
async fn an_acknowledgement_of_another_log_counts_as_none() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    let epoch = edge.ping(None).await.unwrap().epoch;
    let (job, _) = world.purge(1).await;
    edge.acknowledge(Epoch::new(epoch.number() ^ 1), 9).await;
    edge.ping(Some((epoch, PurgeSeq::ZERO))).await.unwrap();
    assert_eq!(world.status(&job).await, TaskStatus::Processing);
    edge.acknowledge(epoch, 1).await;
    world.wait_for(&job, TaskStatus::Success).await;
}

#[tokio::test]
async fn a_task_is_done_without_edges_and_past_the_lease_of_silent_ones() {
    let world = World::start(SHORT).await;
    let (job, _) = world.purge(1).await;
    world.wait_for(&job, TaskStatus::Success).await;
    let mut edge = world.edge("one").await;
    edge.ping(None).await.unwrap();
    let before = boot_clock();
    let (job, _) = world.purge(1).await;
    world.wait_for(&job, TaskStatus::Success).await;
    assert!(boot_clock() - before >= SHORT, "done before the silent edge's lease had run out");
}

#[tokio::test]
async fn a_silent_member_is_marked_leaving_removed_and_told_so() {
    let world = World::start(SHORT).await;
    let mut edge = world.edge("one").await;
    edge.ping(None).await.unwrap();
    assert_eq!(world.network.edges().await.unwrap().len(), 1);
    let gone = async {
        while !world.network.edges().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(edge.ping(None).await, Err(()), "whoever was removed gets no lease");
    let mut again = world.edge("one").await;
    assert!(again.ping(None).await.is_ok(), "under another id it joins anew");
}

#[tokio::test]
async fn a_member_that_leaves_is_waited_for_no_longer() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    edge.ping(None).await.unwrap();
    let (job, _) = world.purge(1).await;
    assert_eq!(world.status(&job).await, TaskStatus::Processing);
    edge.link.send(EdgeToControl::Leave).await.unwrap();
    world.wait_for(&job, TaskStatus::Success).await;
}

/// Waits until this is so of the only edge there is.
async fn until_edge(world: &World, is_so: impl Fn(&control::EdgeProgress) -> bool) {
    let wait = async {
        while !world.network.edges().await.unwrap().iter().any(&is_so) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn a_silent_edge_that_may_answer_with_what_was_purged_ends_tasks_as_timeout_until_it_leaves() {
    let world = World::start(SHORT).await;
    for (policy, of_delete, of_invalidate) in [
        (FencePolicy::Serve, TaskStatus::Timeout, TaskStatus::Timeout),
        (FencePolicy::Revalidate, TaskStatus::Timeout, TaskStatus::Success),
        (FencePolicy::Refuse, TaskStatus::Success, TaskStatus::Success),
    ] {
        let member = random_member();
        let terms = MemberTerms { policy, ..MemberTerms::default() };
        let mut edge = world.edge_under(terms, member).await;
        edge.ping(None).await.unwrap();
        let (delete, invalidate) =
            (world.purge_by(Method::Delete, 1).await.0, world.purge_by(Method::Invalidate, 1).await.0);
        world.wait_for(&delete, of_delete).await;
        world.wait_for(&invalidate, of_invalidate).await;
        if policy == FencePolicy::Refuse {
            break;
        }
        // Its row stays, so that later tasks say so too, and at once.
        until_edge(&world, |edge| edge.leaving && edge.lease_over && edge.terms == terms).await;
        world.wait_for(&world.purge_by(Method::Delete, 1).await.0, of_delete).await;
        world.wait_for(&world.purge_by(Method::Invalidate, 1).await.0, of_invalidate).await;
        assert_eq!(world.network.edges().await.unwrap().len(), 1);
        assert_eq!(edge.ping(None).await, Err(()), "back, it learns that it must join anew");
        edge.link.send(EdgeToControl::Leave).await.unwrap();
        let gone = async {
            while !world.network.edges().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
        world.wait_for(&world.purge(1).await.0, TaskStatus::Success).await;
    }
}

#[tokio::test]
async fn an_edge_whose_clock_is_not_trusted_is_waited_for_until_it_acknowledges_or_is_removed() {
    let world = World::start(SHORT).await;
    let terms = MemberTerms { acks_only: true, ..MemberTerms::default() };
    let member = random_member();
    let mut edge = world.edge_under(terms, member).await;
    let epoch = edge.ping(None).await.unwrap().epoch;
    let (job, last) = world.purge(1).await;
    // Far past the lease, and past the silence after which others are marked leaving.
    until_edge(&world, |edge| edge.silent_for > Some(SHORT * 5)).await;
    assert_eq!(world.network.deadline_in(&job), Some(Duration::ZERO));
    assert_eq!(world.status(&job).await, TaskStatus::Processing);
    until_edge(&world, |edge| !edge.leaving).await;
    edge.acknowledge(epoch, last.number()).await;
    world.wait_for(&job, TaskStatus::Success).await;
    let (job, _) = world.purge(1).await;
    until_edge(&world, |edge| edge.silent_for > Some(SHORT * 3)).await;
    assert_eq!(world.status(&job).await, TaskStatus::Processing);
    // Marking it leaving alone is not enough: who knows whether its lease has run out.
    world.store.mark_leaving(&[member], 1).await.unwrap();
    world.network.wake();
    until_edge(&world, |edge| edge.lease_over).await;
    assert_eq!(world.status(&job).await, TaskStatus::Processing);
    world.store.remove_member(&[member]).await.unwrap();
    world.network.wake();
    world.wait_for(&job, TaskStatus::Success).await;
}

/// Two control planes on one database: whichever grants, the leases of the longer time are waited for.
#[tokio::test]
async fn a_shorter_lease_counts_once_the_longer_ones_have_run_out() {
    let long = Duration::from_secs(1);
    let world = World::start(long).await;
    let mut edge = world.edge("one").await;
    assert_eq!(edge.ping(None).await.unwrap().lease, long);
    let granted = boot_clock();
    let (_stop, down) = watch::channel(false);
    let settings = NetworkSettings { lease: SHORT, boot_clock, wall_clock };
    let second = Network::start(world.store.clone(), settings, down);
    let shorter = async {
        while world.store.grant_basis().await.unwrap().lease.granted != SHORT {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, shorter).await.unwrap();
    let (job, _) = world.purge(1).await;
    second.wake();
    world.wait_for(&job, TaskStatus::Success).await;
    assert!(boot_clock() - granted >= long, "done while the lease of the longer time still ran");
    let settled = async {
        while second.lease() != SHORT || world.network.lease() != SHORT {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    let mut edge = world.edge("two").await;
    assert_eq!(edge.ping(None).await.unwrap().lease, SHORT, "by both");
}

#[tokio::test]
async fn a_member_can_not_change_its_terms() {
    let world = World::start(LONG).await;
    let member = random_member();
    let serve = MemberTerms { policy: FencePolicy::Serve, ..MemberTerms::default() };
    let mut edge = world.edge_under(serve, member).await;
    edge.ping(None).await.unwrap();
    let mut other = world.edge_under(MemberTerms::default(), member).await;
    assert_eq!(tokio::time::timeout(PATIENCE, other.link.receive()).await.unwrap(), None);
    assert_eq!(world.network.edges().await.unwrap()[0].terms, serve);
}

#[tokio::test]
async fn a_lease_names_the_head_that_was_read_after_its_ping() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    let first = edge.ping(None).await.unwrap();
    assert_eq!((first.head, first.first_retained, first.lease), (PurgeSeq::ZERO, PurgeSeq::new(1), LONG));
    world.purge(5).await;
    assert_eq!(edge.ping(None).await.unwrap().head, PurgeSeq::new(5));
}

#[tokio::test]
async fn nobody_gets_a_lease_while_an_edge_is_ahead_of_the_log() {
    let world = World::start(LONG).await;
    let (mut ahead, mut other) = (world.edge("ahead").await, world.edge("other").await);
    let epoch = other.ping(None).await.unwrap().epoch;
    let ping = Ping { nonce: 1, epoch: Some(epoch), applied: PurgeSeq::new(9) };
    ahead.link.send(EdgeToControl::Ping(ping)).await.unwrap();
    // Once it has been heard of, its ping is in the queue: everything here runs on one thread.
    let heard = async {
        while !world.network.edges().await.unwrap().iter().any(|edge| edge.applied == PurgeSeq::new(9)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    let ping = Ping { nonce: 2, epoch: Some(epoch), applied: PurgeSeq::ZERO };
    other.link.send(EdgeToControl::Ping(ping)).await.unwrap();
    // Whatever is granted from here on is of the log's next epoch, or nothing.
    let renewed = world.store.renew_epoch(2).await.unwrap();
    world.network.wake();
    let ping = Ping { nonce: 3, epoch: Some(epoch), applied: PurgeSeq::ZERO };
    other.link.send(EdgeToControl::Ping(ping)).await.unwrap();
    loop {
        if let ToEdge::Grant(grant) = other.next().await {
            assert_eq!(grant.epoch, renewed.epoch, "a lease of the log that had lost entries");
            assert_ne!(grant.epoch, epoch);
            if grant.nonce == 3 {
                break;
            }
        }
    }
    assert_eq!(ahead.ping(Some((epoch, PurgeSeq::new(9)))).await.unwrap().epoch, renewed.epoch);
}

#[tokio::test]
async fn what_was_acknowledged_beyond_the_log_completes_nothing() {
    let lease = Duration::from_millis(500);
    let world = World::start(lease).await;
    let mut ahead = world.edge("ahead").await;
    let epoch = ahead.ping(None).await.unwrap().epoch;
    // The log was restored from a copy, and its next entry will be another one under the same number.
    ahead.acknowledge(epoch, 9).await;
    let heard = async {
        while !world.network.edges().await.unwrap().iter().any(|edge| edge.applied == PurgeSeq::new(9)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    let before = boot_clock();
    let (job, _) = world.purge(1).await;
    world.wait_for(&job, TaskStatus::Success).await;
    assert!(boot_clock() - before >= lease, "it waits for leases to end, not for that acknowledgement");
}

#[tokio::test]
async fn an_edge_that_lacks_entries_gets_them_again() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    let epoch = edge.ping(None).await.unwrap().epoch;
    world.purge(600).await;
    let mut got = Vec::new();
    while got.len() < 600 {
        got.extend(edge.entries().await.1);
    }
    assert_eq!(got, (1..=600).collect::<Vec<_>>(), "in order, in several messages");
    edge.link.send(EdgeToControl::Want { after: PurgeSeq::new(598) }).await.unwrap();
    assert_eq!(edge.entries().await, (epoch, vec![599, 600]));
    drop(edge);
    let mut behind = world.edge_of("one", random_member(), Some((epoch, PurgeSeq::new(599)))).await;
    assert_eq!(behind.entries().await, (epoch, vec![600]), "a link that resumes begins where the edge is");
}

#[tokio::test]
async fn every_edge_gets_the_configuration_at_first_and_when_it_changes() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    let zones_of = |message| match message {
        ToEdge::Zones { version, zones } => Some((version, zones)),
        _ => None,
    };
    let first = loop {
        if let Some(zones) = zones_of(edge.next().await) {
            break zones;
        }
    };
    assert_eq!(first.1.len(), 1);
    world.store.set_zone_paused(&world.zone, true, 2).await.unwrap();
    world.network.wake();
    let second = loop {
        if let Some(zones) = zones_of(edge.next().await) {
            break zones;
        }
    };
    assert!(second.0 > first.0 && second.1[0].paused);
}

#[tokio::test]
async fn a_link_that_does_not_begin_with_a_hello_is_dropped() {
    let world = World::start(LONG).await;
    let (mut link, control) = feed::pair();
    world.network.accept().send(control).await.unwrap();
    link.send(EdgeToControl::Want { after: PurgeSeq::ZERO }).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, link.receive()).await.unwrap(), None);
}

#[tokio::test]
async fn after_a_shutdown_nothing_runs_any_more() {
    let world = World::start(LONG).await;
    let mut edge = world.edge("one").await;
    edge.ping(None).await.unwrap();
    world.shutdown.send_replace(true);
    world.network.ended(PATIENCE).await;
    // What was sent before the shutdown may still lie in the link.
    while tokio::time::timeout(PATIENCE, edge.link.receive()).await.unwrap().is_some() {}
}
