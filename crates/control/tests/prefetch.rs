//! Prefetches between the database and scripted edges: who is asked, what is handed on again, when a task is done.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::{Network, NetworkSettings};
use feed::{EdgeLink, EdgeToControl, Hello, Prefetch, Prefetched, ToEdge};
use purge::{MemberId, PrefetchMode, PrefetchTask, PurgeSeq, TaskStatus};
use std::time::{Duration, SystemTime};
use store::{Area, MasterKey, NewZone, PrefetchQuery, PrefetchRecording, PrefetchRow, Store, StoreOptions};
use tokio::sync::watch;
use zone::{HostName, ZoneId};

/// Far above what anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    store: Store,
    network: Network,
    zone: ZoneId,
    _shutdown: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "a test's clock; nothing here is suspended")]
fn boot_clock() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS.cast_unsigned())
}

const NOW_MS: i64 = 1_700_000_000_000;

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::new(&[7; 32]).unwrap();
        let store = Store::open(StoreOptions::new(dir.path(), key)).await.unwrap();
        let name = HostName::parse("a.test").unwrap();
        let zone = NewZone { name, alias: String::new(), area: Area::Global, tags: Vec::new() };
        let zone = store.create_zone(zone, 1).await.unwrap();
        let (shutdown, down) = watch::channel(false);
        // No member falls silent within a test.
        let settings = NetworkSettings { lease: Duration::from_secs(120), boot_clock, wall_clock };
        let network = Network::start(store.clone(), settings, down);
        Self { store, network, zone, _shutdown: shutdown, _dir: dir }
    }

    async fn edge(&self, number: u128, has_parent: bool) -> Edge {
        let (link, control) = feed::pair();
        self.network.accept().send(control).await.unwrap();
        let hello = Hello {
            member: MemberId::new(number),
            edge_name: format!("edge-{number}"),
            epoch: None,
            applied: PurgeSeq::ZERO,
            terms: purge::MemberTerms { has_parent, ..purge::MemberTerms::default() },
            version: "0.1.0".into(),
        };
        link.send(EdgeToControl::Hello(hello)).await.unwrap();
        Edge { link }
    }

    async fn prefetch(&self, mode: PrefetchMode, count: usize) {
        let task = |number| PrefetchTask {
            zone: self.zone.clone(),
            target: format!("http://a.test/{number}"),
            host: HostName::parse("a.test").unwrap(),
        };
        let recording = PrefetchRecording {
            mode,
            headers: vec![("Accept".into(), "*/*".into())],
            tasks: (0..count).map(task).collect(),
            now_ms: NOW_MS,
            config_version: self.store.config_version().await.unwrap(),
        };
        self.store.record_prefetch(recording).await.unwrap();
        self.network.wake_prefetch();
    }

    async fn tasks(&self) -> Vec<PrefetchRow> {
        let query = PrefetchQuery { limit: 1000, ..PrefetchQuery::default() };
        self.store.describe_prefetches(&query).await.unwrap().tasks
    }

    /// Waits until no task is processing.
    async fn until_done(&self) -> Vec<PrefetchRow> {
        let wait = async {
            while self.tasks().await.iter().any(|task| task.status == TaskStatus::Processing) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
        self.tasks().await
    }
}

struct Edge {
    link: EdgeLink,
}

impl Edge {
    /// The URLs of the next message that has some.
    async fn asked(&mut self) -> Vec<Prefetch> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.link.receive()).await.unwrap().unwrap();
            if let ToEdge::Prefetch { headers, urls, .. } = message {
                assert_eq!(headers, [("Accept".into(), "*/*".into())]);
                return urls;
            }
        }
    }

    async fn tell(&self, urls: &[Prefetch], failure: Option<&str>) {
        let outcome = |url: &Prefetch| Prefetched { task: url.task, failure: failure.map(Into::into) };
        let outcomes = urls.iter().map(outcome).collect();
        self.link.send(EdgeToControl::Prefetched { outcomes }).await.unwrap();
    }
}

#[tokio::test]
async fn every_edge_is_asked_and_one_failure_is_told_by_its_edges_name() {
    let world = World::start().await;
    let (mut one, mut two) = (world.edge(1, false).await, world.edge(2, true).await);
    world.prefetch(PrefetchMode::Edge, 2).await;
    let urls = one.asked().await;
    assert_eq!(urls.len(), 2);
    assert_eq!(two.asked().await, urls);
    one.tell(&urls, None).await;
    two.tell(&urls[..1], None).await;
    two.tell(&urls[1..], Some("the answer was 404 Not Found")).await;
    let tasks = world.until_done().await;
    assert_eq!((tasks[0].status, tasks[0].fail_message.as_deref()), (TaskStatus::Success, None));
    let why = "edge-2: the answer was 404 Not Found";
    assert_eq!((tasks[1].status, tasks[1].fail_message.as_deref()), (TaskStatus::Failed, Some(why)));
}

#[tokio::test]
async fn by_default_only_edges_without_a_parent_are_asked() {
    let world = World::start().await;
    let (mut parent, mut child) = (world.edge(1, false).await, world.edge(2, true).await);
    world.prefetch(PrefetchMode::Default, 1).await;
    let urls = parent.asked().await;
    parent.tell(&urls, None).await;
    assert_eq!(world.until_done().await[0].status, TaskStatus::Success);
    // The next thing the child is asked for is of another mode.
    world.prefetch(PrefetchMode::Edge, 1).await;
    assert_ne!(child.asked().await, urls);
}

#[tokio::test]
async fn what_a_broken_link_did_not_tell_is_asked_for_again_on_the_next() {
    let world = World::start().await;
    let mut edge = world.edge(1, false).await;
    world.prefetch(PrefetchMode::Edge, 3).await;
    let urls = edge.asked().await;
    edge.tell(&urls[..1], None).await;
    drop(edge);
    let mut edge = world.edge(1, false).await;
    // The first may have been told only after the new link had begun.
    let again = edge.asked().await;
    assert!(again == urls[1..] || again == urls, "{again:?}");
    edge.tell(&again, None).await;
    assert!(world.until_done().await.iter().all(|task| task.status == TaskStatus::Success));
}

#[tokio::test]
async fn many_urls_are_handed_on_as_the_edge_is_done_with_them() {
    let world = World::start().await;
    let mut edge = world.edge(1, false).await;
    world.prefetch(PrefetchMode::Edge, 600).await;
    let (mut untold, mut asked) = (Vec::new(), 0);
    while asked < 600 {
        let urls = edge.asked().await;
        asked += urls.len();
        untold.extend(urls);
        assert!(untold.len() <= 256, "more under way than allowed");
        if untold.len() == 256 || asked == 600 {
            edge.tell(&untold, None).await;
            untold.clear();
        }
    }
    let tasks = world.until_done().await;
    assert!(tasks.len() == 600 && tasks.iter().all(|task| task.status == TaskStatus::Success));
}

#[tokio::test]
async fn a_prefetch_waits_for_an_edge_and_does_not_wait_for_one_that_left() {
    let world = World::start().await;
    world.prefetch(PrefetchMode::Edge, 1).await;
    let (mut one, two) = (world.edge(1, false).await, world.edge(2, false).await);
    let urls = one.asked().await;
    one.tell(&urls, None).await;
    two.link.send(EdgeToControl::Leave).await.unwrap();
    assert_eq!(world.until_done().await[0].status, TaskStatus::Success);
}
