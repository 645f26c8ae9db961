//! Several control planes on one PostgreSQL database, with scripted edges linked to different ones.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../../store/tests/postgres_server/mod.rs"]
#[expect(dead_code, reason = "the store's own tests do more with it")]
mod postgres_server;

use control::{Network, NetworkSettings};
use feed::{EdgeLink, EdgeToControl, Grant, Hello, Ping, Prefetched, ToEdge};
use postgres_server::PostgresServer;
use purge::{
    Entry, Epoch, JobId, MemberId, MemberTerms, Method, PlannedTask, PrefetchMode, PrefetchTask, PurgeSeq,
    PurgeType, Scope, TaskStatus,
};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use store::{
    Area, MasterKey, NewZone, Place, PostgresPlace, PrefetchQuery, PrefetchRecording, Recording, Store,
    StoreOptions,
};
use tokio::sync::watch;
use zone::{HostName, ZoneId};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

/// Far above what anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A long lease: what happens within it did not wait for it.
const LONG: Duration = Duration::from_secs(120);

struct Instance {
    store: Store,
    network: Network,
    shutdown: watch::Sender<bool>,
}

impl Instance {
    async fn start(url: &str, lease: Duration, boot_clock: fn() -> Duration) -> Self {
        let place = Place::Postgres(PostgresPlace::parse(url).unwrap());
        let key = MasterKey::new(&[7; 32]).unwrap();
        let store = Store::open(StoreOptions::at(place, key)).await.unwrap();
        let (shutdown, down) = watch::channel(false);
        let network = Network::start(store.clone(), NetworkSettings { lease, boot_clock, wall_clock }, down);
        Self { store, network, shutdown }
    }

    async fn stop(self) {
        self.shutdown.send_replace(true);
        self.network.ended(PATIENCE).await;
        self.store.close().await;
    }

    async fn edge(&self, name: &str, has_parent: bool) -> Edge {
        let member = random_member();
        let (link, control) = feed::pair();
        self.network.accept().send(control).await.unwrap();
        let terms = MemberTerms { has_parent, ..MemberTerms::default() };
        let hello = Hello {
            member,
            edge_name: name.into(),
            epoch: None,
            applied: PurgeSeq::ZERO,
            terms,
            version: String::new(),
        };
        link.send(EdgeToControl::Hello(hello)).await.unwrap();
        Edge { link, member, nonce: 100 }
    }

    async fn zone(&self) -> ZoneId {
        let name = HostName::parse("example.com").unwrap();
        let zone = NewZone { name, alias: String::new(), area: Area::Global, tags: Vec::new() };
        self.store.create_zone(zone, 1).await.unwrap()
    }

    async fn purge(&self, zone: &ZoneId) -> JobId {
        let recording = Recording {
            kind: PurgeType::All,
            method: Method::Delete,
            tasks: vec![PlannedTask {
                zone: zone.clone(),
                target: "example.com".into(),
                hosts: vec![HostName::parse("example.com").unwrap()],
                entries: vec![Entry { zone: zone.clone(), scope: Scope::All, method: Method::Delete }],
            }],
            now_ms: 1_700_000_000_000,
            config_version: self.store.config_version().await.unwrap(),
        };
        let recorded = self.store.record(vec![recording]).await.remove(0).unwrap();
        self.network.wake();
        recorded.job_id
    }

    async fn wait_for(&self, job: &JobId, status: TaskStatus) {
        let mut completed = self.network.completions();
        let wait = async {
            while self.store.job(job).await.unwrap().unwrap().status != status {
                let _ = tokio::time::timeout(Duration::from_millis(50), completed.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

struct Edge {
    link: EdgeLink,
    member: MemberId,
    nonce: u64,
}

impl Edge {
    async fn next(&mut self) -> ToEdge {
        tokio::time::timeout(PATIENCE, self.link.receive()).await.unwrap().unwrap()
    }

    async fn send_ping(&mut self, position: Option<(Epoch, u64)>) {
        self.nonce += 1;
        let applied = PurgeSeq::new(position.map_or(0, |(_, applied)| applied));
        let ping = Ping { nonce: self.nonce, epoch: position.map(|(epoch, _)| epoch), applied };
        self.link.send(EdgeToControl::Ping(ping)).await.unwrap();
    }

    async fn ping(&mut self) -> Grant {
        self.send_ping(None).await;
        loop {
            match self.next().await {
                ToEdge::Grant(grant) if grant.nonce == self.nonce => return grant,
                ToEdge::NotMember { .. } => panic!("no member any more"),
                _ => {}
            }
        }
    }

    /// Waits for entries, and acknowledges them.
    async fn apply(&mut self) {
        loop {
            if let ToEdge::Entries { epoch, entries } = self.next().await {
                let applied = entries.last().unwrap().seq;
                return self.link.send(EdgeToControl::Acknowledge { epoch, applied }).await.unwrap();
            }
        }
    }

    /// Waits for URLs to prefetch, and tells what became of them.
    async fn prefetch(&mut self, failure: Option<&str>) {
        loop {
            if let ToEdge::Prefetch { urls, .. } = self.next().await {
                let told = |task| Prefetched { task, failure: failure.map(str::to_owned) };
                let outcomes = urls.iter().map(|url| told(url.task)).collect();
                return self.link.send(EdgeToControl::Prefetched { outcomes }).await.unwrap();
            }
        }
    }
}

fn random_member() -> MemberId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    MemberId::new(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

#[expect(clippy::disallowed_methods, reason = "a test's clock; nothing here is suspended")]
fn boot_clock() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a test's clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_taken_by_one_is_done_when_the_edges_of_others_have_acknowledged() {
    let url = SERVER.database();
    let taker = Instance::start(&url, LONG, boot_clock).await;
    let (one, two) =
        (Instance::start(&url, LONG, boot_clock).await, Instance::start(&url, LONG, boot_clock).await);
    let zone = taker.zone().await;
    let (mut near, mut far) = (one.edge("near", false).await, two.edge("far", false).await);
    assert_eq!(near.ping().await.epoch, far.ping().await.epoch);
    for _ in 0..3 {
        let job = taker.purge(&zone).await;
        near.apply().await;
        assert_eq!(taker.store.job(&job).await.unwrap().unwrap().status, TaskStatus::Processing);
        far.apply().await;
        taker.wait_for(&job, TaskStatus::Success).await;
    }
    let head = taker.store.log_head().await.unwrap().head;
    for instance in [&taker, &one, &two] {
        until("any of them should know", async || {
            let edges = instance.network.edges().await.unwrap();
            edges.iter().map(|edge| edge.applied).collect::<Vec<_>>() == [head; 2]
        })
        .await;
    }
    // One that is gone is missed by none, once its edges are elsewhere.
    two.stop().await;
    let job = one.purge(&zone).await;
    near.apply().await;
    far.link = {
        let (link, control) = feed::pair();
        taker.network.accept().send(control).await.unwrap();
        let epoch = Some(taker.store.log_head().await.unwrap().epoch);
        let (member, edge_name) = (far.member, "far".to_owned());
        let hello = Hello {
            member,
            edge_name,
            epoch,
            applied: head,
            terms: MemberTerms::default(),
            version: String::new(),
        };
        link.send(EdgeToControl::Hello(hello)).await.unwrap();
        link
    };
    far.apply().await;
    one.wait_for(&job, TaskStatus::Success).await;
    one.stop().await;
    taker.stop().await;
}

/// The clock of the test below, in milliseconds.
static CLOCK_MS: AtomicU64 = AtomicU64::new(1_000_000);

fn moved_clock() -> Duration {
    Duration::from_millis(CLOCK_MS.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_one_hears_is_not_silent_for_another() {
    let url = SERVER.database();
    let lease = Duration::from_millis(400);
    let other = Instance::start(&url, lease, moved_clock).await;
    let linked = Instance::start(&url, lease, moved_clock).await;
    let mut edge = linked.edge("one", false).await;
    edge.ping().await;
    let beat = async || other.store.heard_elsewhere().await.unwrap().first().map(|told| told.beat);
    for _ in 0..12 {
        let before = beat().await;
        edge.ping().await;
        until("it should be told", async || beat().await != before).await;
        // Both hear of it at this time of the clock.
        assert_eq!(other.network.edges().await.unwrap().len(), 1);
        CLOCK_MS.fetch_add(300, Ordering::Relaxed);
    }
    assert!(!other.network.edges().await.unwrap()[0].leaving);
    linked.stop().await;
    drop(edge);
    // Nobody hears it any more.
    until("it should be marked leaving, and go", async || {
        CLOCK_MS.fetch_add(50, Ordering::Relaxed);
        other.network.edges().await.unwrap().is_empty()
    })
    .await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_ahead_of_the_log_stops_the_leases_of_all_until_the_epoch_is_another() {
    let url = SERVER.database();
    let (one, two) =
        (Instance::start(&url, LONG, boot_clock).await, Instance::start(&url, LONG, boot_clock).await);
    let (mut ahead, mut other) = (one.edge("ahead", false).await, two.edge("other", false).await);
    let epoch = other.ping().await.epoch;
    ahead.ping().await;
    ahead.send_ping(Some((epoch, 9))).await;
    until("it should be noted", async || two.store.basis().await.unwrap().lost == Some(PurgeSeq::new(9)))
        .await;
    other.send_ping(Some((epoch, 0))).await;
    // A control plane that starts meanwhile grants none either.
    let three = Instance::start(&url, LONG, boot_clock).await;
    let mut third = three.edge("third", false).await;
    third.send_ping(None).await;
    let renewed = three.store.renew_epoch(2).await.unwrap().epoch;
    assert_ne!(renewed, epoch);
    for edge in [&mut ahead, &mut other, &mut third] {
        edge.send_ping(Some((epoch, 9))).await;
        loop {
            match edge.next().await {
                ToEdge::Grant(grant) => {
                    assert_eq!(grant.epoch, renewed, "a lease of the log that had lost entries");
                    if grant.nonce == edge.nonce {
                        break;
                    }
                }
                ToEdge::NotMember { .. } => panic!("a member"),
                _ => {}
            }
        }
    }
    for instance in [one, two, three] {
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefetch_is_done_when_the_edges_of_all_have_told() {
    let url = SERVER.database();
    let (one, two) =
        (Instance::start(&url, LONG, boot_clock).await, Instance::start(&url, LONG, boot_clock).await);
    let zone = one.zone().await;
    let (mut near, mut far) = (one.edge("near", false).await, two.edge("far", false).await);
    let mut child = two.edge("child", true).await;
    for edge in [&mut near, &mut far, &mut child] {
        edge.ping().await;
    }
    let task = |path: &str| PrefetchTask {
        zone: zone.clone(),
        target: format!("http://example.com/{path}"),
        host: HostName::parse("example.com").unwrap(),
    };
    let version = one.store.config_version().await.unwrap();
    let record = async |instance: &Instance, mode, path| {
        let recording = PrefetchRecording {
            mode,
            headers: Vec::new(),
            tasks: vec![task(path)],
            now_ms: i64::try_from(wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis())
                .unwrap(),
            config_version: version,
        };
        let job = instance.store.record_prefetch(recording).await.unwrap();
        instance.network.wake_prefetch();
        job
    };
    let outcome = async |instance: &Instance, job: &JobId| {
        let query = PrefetchQuery { job_id: Some(job.clone()), limit: 1, ..PrefetchQuery::default() };
        let task = instance.store.describe_prefetches(&query).await.unwrap().tasks.remove(0);
        (task.status, task.fail_message)
    };
    // The default asks those without a parent, wherever they are linked.
    let job = record(&one, PrefetchMode::Default, "a").await;
    near.prefetch(None).await;
    far.prefetch(None).await;
    until("done", async || outcome(&two, &job).await == (TaskStatus::Success, None)).await;
    let job = record(&two, PrefetchMode::Edge, "b").await;
    near.prefetch(None).await;
    child.prefetch(None).await;
    far.prefetch(Some("404")).await;
    let failed = (TaskStatus::Failed, Some("far: 404".to_owned()));
    until("done", async || outcome(&one, &job).await == failed).await;
    one.stop().await;
    two.stop().await;
}
