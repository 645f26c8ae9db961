//! The control plane's side of the purge protocol: members, leases, the log's tail, and when a task is done.
//!
//! Loops, each woken by a signal and by a timer, each reading the state and moving it on, so that the path after
//! a crash is the everyday path:
//!
//! - [`publish`] reads the log's tail and the configuration, for the links to hand on;
//! - [`grant`] answers pings with what it read from the database after they arrived;
//! - [`fold`] completes jobs, marks silent members leaving and removes those whose lease has run out;
//! - [`prefetch`] loads prefetches for the links to hand on, and completes them;
//! - [`instances`] tells other control planes of the same database what this one hears, and hears of them;
//! - [`link`], one for each edge, speaks with it.
//!
//! Clocks: waits are counted on the boot clock of this process, from readings made after the database was read. What
//! an earlier process counted is counted anew.

mod fold;
mod gate;
mod grant;
mod instances;
mod link;
mod prefetch;
mod publish;

pub use gate::EdgeGate;

use crate::metrics::{Metrics, Standing};
use feed::ControlLink;
use parking_lot::Mutex;
use purge::{Epoch, JobId, MemberAck, MemberId, MemberTerms, PurgeSeq};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use store::{MemberProcess, MemberState, Store, StoreError};
use tokio::sync::{OnceCell, mpsc, watch};
use tracing::error;

/// How many links wait to be taken.
const ACCEPT_MAX: usize = 64;

/// How many pings wait to be answered, and are answered with one read.
const PINGS_MAX: usize = 1024;

/// How many percent clocks may differ in speed.
const DRIFT_PERCENT: u32 = 1;

/// The settings of the network.
#[derive(Clone, Copy)]
pub struct NetworkSettings {
    /// The length `L` of a lease, from this start on. 100 ms to 10 minutes.
    pub lease: Duration,
    /// Time since boot, sleep included.
    pub boot_clock: fn() -> Duration,
    /// The wall clock, for times that people read.
    pub wall_clock: fn() -> SystemTime,
}

/// What a lease may be set to.
pub const LEASE_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));

/// The network as the rest of the control plane sees it. Clones share it.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    accept: mpsc::Sender<ControlLink>,
}

/// One edge process, as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeProgress {
    /// What the operator calls the edge.
    pub edge_name: String,
    /// Which process.
    pub member: MemberId,
    /// The highest position it acknowledged in the log's epoch.
    pub applied: PurgeSeq,
    /// Whether it is leaving: it gets no lease any more.
    pub leaving: bool,
    /// What it declared.
    pub terms: MemberTerms,
    /// Whether it is leaving and its last lease has run out.
    pub lease_over: bool,
    /// How long ago this control plane last heard of it; `None` if it never did.
    pub silent_for: Option<Duration>,
    /// The process behind it.
    pub process: MemberProcess,
    /// When it joined, milliseconds since the Unix epoch.
    pub joined_ms: i64,
}

struct Shared {
    store: Store,
    settings: NetworkSettings,
    /// Counts up when the log, the configuration, members or acknowledgements changed. Carries no facts.
    wake: watch::Sender<u64>,
    /// Counts up when jobs were completed.
    completed: watch::Sender<u64>,
    tail: publish::Tail,
    prefetches: prefetch::Board,
    heard: Mutex<HashMap<MemberId, Heard>>,
    instances: instances::Instances,
    /// What the last turn of the fold counted, for whoever asks how far a job is.
    told: Mutex<Told>,
    pings: mpsc::Sender<grant::PendingPing>,
    /// How long leases are that may hold, in milliseconds, as last read.
    lease_ms: AtomicU64,
    /// Whether this process has said how long they are to be.
    lease_set: OnceCell<()>,
    metrics: Arc<Metrics>,
    /// How many links there are.
    links: watch::Sender<usize>,
    /// The members that are leaving, for their links.
    leaving: watch::Sender<HashSet<MemberId>>,
    /// How many loops and links run.
    running: watch::Sender<usize>,
}

/// What a turn of the fold counted, on this process's boot clock.
#[derive(Default)]
struct Told {
    /// When each pending job is done by the lease rule, whoever is silent then.
    deadlines: HashMap<JobId, Duration>,
    /// Leaving members whose last lease has run out.
    leases_over: HashSet<MemberId>,
}

/// What this process heard of a member, from itself or from the instance that it is linked to.
#[derive(Clone, Copy)]
struct Heard {
    /// When last, on the boot clock.
    at: Duration,
    /// The last beat that another instance told.
    beat: Option<i64>,
    /// What it acknowledged, of which log.
    acknowledged: Option<(Epoch, PurgeSeq)>,
}

impl Network {
    /// Starts the loops on the current runtime. They end when `shutdown` turns true.
    pub fn start(store: Store, settings: NetworkSettings, shutdown: watch::Receiver<bool>) -> Self {
        let (pings, pending) = mpsc::channel(PINGS_MAX);
        let (accept, links) = mpsc::channel(ACCEPT_MAX);
        let shared = Arc::new(Shared {
            store,
            settings,
            wake: watch::Sender::new(0),
            completed: watch::Sender::new(0),
            tail: publish::Tail::default(),
            prefetches: prefetch::Board::default(),
            heard: Mutex::default(),
            instances: instances::Instances::default(),
            told: Mutex::default(),
            pings,
            lease_ms: AtomicU64::new(millis(settings.lease)),
            lease_set: OnceCell::new(),
            metrics: Arc::default(),
            links: watch::Sender::new(0),
            leaving: watch::Sender::default(),
            running: watch::Sender::new(0),
        });
        spawn(&shared, shutdown.clone(), publish::run(Arc::clone(&shared)));
        spawn(&shared, shutdown.clone(), grant::run(Arc::clone(&shared), pending));
        spawn(&shared, shutdown.clone(), fold::run(Arc::clone(&shared)));
        spawn(&shared, shutdown.clone(), prefetch::run(Arc::clone(&shared)));
        spawn(&shared, shutdown.clone(), instances::tell(Arc::clone(&shared)));
        spawn(&shared, shutdown.clone(), instances::listen(Arc::clone(&shared)));
        spawn(&shared, shutdown.clone(), take_links(Arc::clone(&shared), links, shutdown));
        Self { shared, accept }
    }

    /// The counts of this control plane, for whoever has something to count.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The page for Prometheus.
    pub(crate) async fn metrics_page(&self) -> String {
        let standing = self.standing().await;
        self.shared.metrics.page(standing.as_ref().ok())
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        let basis = self.shared.store.basis().await?;
        let jobs_pending = self.shared.store.pending_jobs().await?.len();
        let heard = self.shared.heard.lock();
        let is_active = |member: &&store::Member| member.state == MemberState::Active;
        let active = basis.members.iter().filter(is_active);
        let lag = active.clone().map(|member| {
            let acked = acknowledged(&heard, member.id, basis.epoch);
            basis.head.number().saturating_sub(acked.number())
        });
        Ok(Standing {
            head: basis.head.number(),
            first_retained: basis.first_retained.number(),
            config_version: basis.config_version,
            jobs_pending,
            members_active: active.clone().count(),
            members_leaving: basis.members.len() - active.count(),
            lag_entries: lag.max().unwrap_or(0),
            links: *self.shared.links.borrow(),
            prefetches_open: self.shared.prefetches.open_count(),
        })
    }

    /// Where links to edges are handed in.
    pub fn accept(&self) -> mpsc::Sender<ControlLink> {
        self.accept.clone()
    }

    /// Says that the log or the configuration changed. Called after the commit; being told twice does no harm.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Says that prefetches were recorded. Called after the commit; being told twice does no harm.
    pub fn wake_prefetch(&self) {
        self.shared.prefetches.wake();
    }

    /// Changes whenever jobs were completed.
    pub fn completions(&self) -> watch::Receiver<u64> {
        self.shared.completed.subscribe()
    }

    /// Waits until every edge has left or has broken its link, at most for `wait_max`.
    pub async fn links_ended(&self, wait_max: Duration) {
        let mut links = self.shared.links.subscribe();
        // Past the limit their rows stay, and are removed by whoever finds them silent.
        let _ = tokio::time::timeout(wait_max, links.wait_for(|count| *count == 0)).await;
    }

    /// Waits until all loops have ended after a shutdown, at most for `wait_max`: then nothing reads the store any more.
    pub async fn ended(&self, wait_max: Duration) {
        let mut running = self.shared.running.subscribe();
        let _ = tokio::time::timeout(wait_max, running.wait_for(|count| *count == 0)).await;
    }

    /// How long leases are that may hold, as last read: all control planes of one database grant the same.
    pub fn lease(&self) -> Duration {
        self.shared.lease()
    }

    /// Every edge process that holds or may hold a lease.
    pub async fn edges(&self) -> Result<Vec<EdgeProgress>, StoreError> {
        Ok(self.edges_of_log().await?.1)
    }

    /// The same with the log that their positions are in.
    pub async fn edges_of_log(&self) -> Result<(Epoch, Vec<EdgeProgress>), StoreError> {
        let basis = self.shared.store.basis().await?;
        instances::hear(&self.shared).await?;
        let now = (self.shared.settings.boot_clock)();
        let heard = self.shared.heard.lock();
        let told = self.shared.told.lock();
        let edge = |member: store::Member| {
            let id = member.id;
            EdgeProgress {
                edge_name: member.edge_name,
                member: id,
                applied: acknowledged(&heard, id, basis.epoch),
                leaving: member.state != MemberState::Active,
                terms: member.terms,
                lease_over: told.leases_over.contains(&id),
                silent_for: heard.get(&id).map(|heard| now.saturating_sub(heard.at)),
                process: member.process,
                joined_ms: member.joined_ms,
            }
        };
        Ok((basis.epoch, basis.members.into_iter().map(edge).collect()))
    }

    /// For how long a pending job may still wait for silent edges whose clocks are trusted; `None` until the job was
    /// seen, and once it is done.
    pub fn deadline_in(&self, job: &JobId) -> Option<Duration> {
        let now = (self.shared.settings.boot_clock)();
        self.shared.told.lock().deadlines.get(job).map(|deadline| deadline.saturating_sub(now))
    }
}

impl EdgeProgress {
    /// The edge as the rule sees it by which jobs are done.
    pub fn ack(&self) -> MemberAck {
        MemberAck { acked: self.applied, terms: self.terms, lease_over: self.lease_over }
    }
}

fn acknowledged(heard: &HashMap<MemberId, Heard>, member: MemberId, epoch: Epoch) -> PurgeSeq {
    match heard.get(&member).and_then(|heard| heard.acknowledged) {
        Some((of, applied)) if of == epoch => applied,
        // A position in another log counts as none.
        Some(_) | None => PurgeSeq::ZERO,
    }
}

impl Heard {
    fn at(at: Duration) -> Self {
        Self { at, beat: None, acknowledged: None }
    }

    fn note(&mut self, at: Duration, position: Option<(Epoch, PurgeSeq)>) {
        self.at = at;
        self.acknowledged = match (self.acknowledged, position) {
            (Some((old, before)), Some((new, after))) if old == new => Some((new, before.max(after))),
            (_, Some(position)) => Some(position),
            (kept, None) => kept,
        };
    }
}

impl Shared {
    /// What this process knows of each member's acknowledgements.
    fn acknowledgements(&self) -> HashMap<MemberId, (Epoch, PurgeSeq)> {
        let heard = self.heard.lock();
        heard.iter().filter_map(|(member, heard)| Some((*member, heard.acknowledged?))).collect()
    }

    fn wake(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Notes a sign of life. An acknowledgement only ever grows within its log.
    fn hear(&self, member: MemberId, position: Option<(Epoch, PurgeSeq)>) {
        let at = (self.settings.boot_clock)();
        let is_news = {
            let mut all = self.heard.lock();
            let heard = all.entry(member).or_insert(Heard::at(at));
            let before = heard.acknowledged;
            heard.note(at, position);
            heard.acknowledged != before
        };
        self.instances.note(member, is_news);
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.load(Ordering::Relaxed))
    }

    /// Says once how long leases are to be. Nothing is granted and no task is done by this process before that.
    async fn set_lease(&self) {
        let lease = self.settings.lease;
        let set = async || {
            while let Err(error) = self.store.set_lease(lease).await {
                error!(
                    error = &error as &dyn std::error::Error,
                    "no leases yet: how long they are to be could not be written"
                );
                tokio::time::sleep(lease / 4).await;
            }
        };
        self.lease_set.get_or_init(set).await;
    }

    fn now_ms(&self) -> i64 {
        unix_ms((self.settings.wall_clock)())
    }
}

/// `L` and the drift on top: after so long on one clock a lease has run out on every clock.
fn with_drift(lease: Duration) -> Duration {
    lease + lease * DRIFT_PERCENT / 100
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn spawn(
    shared: &Shared,
    mut shutdown: watch::Receiver<bool>,
    run: impl Future<Output = ()> + Send + 'static,
) {
    let counted = Counted::new(&shared.running);
    tokio::spawn(async move {
        let _counted = counted;
        tokio::select! {
            biased;
            () = run => {}
            _ = async { shutdown.wait_for(|down| *down).await.is_ok() } => {}
        }
    });
}

async fn take_links(
    shared: Arc<Shared>,
    mut links: mpsc::Receiver<ControlLink>,
    shutdown: watch::Receiver<bool>,
) {
    while let Some(link) = links.recv().await {
        let counted = Counted::new(&shared.links);
        let run = link::run(Arc::clone(&shared), link);
        spawn(&shared, shutdown.clone(), async move {
            let _counted = counted;
            run.await;
        });
    }
}

/// One in a count, for as long as it lives.
struct Counted {
    count: watch::Sender<usize>,
}

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self { count: count.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
