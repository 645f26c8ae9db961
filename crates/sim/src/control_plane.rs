//! The control plane's process: the real store, network and recorder, and who asks it to purge.

use crate::chance::Chance;
use crate::checker::{Method, Scope, Task};
use crate::clients::HOST;
use crate::feed_link::carry_at_control;
use crate::lane::Lane;
use crate::machine;
use crate::network::{Incoming, Network};
use crate::origin::{Contents, TAGS};
use control::NetworkSettings;
use control::recorder::Recorder;
use parking_lot::Mutex;
use purge::{JobId, PlanRequest, PurgeType, TaskStatus, ZoneChoice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{
    Area, DomainRecord, Ipv6Status, MasterKey, NewZone, OriginRecord, QuotaKind, QuotaLimits, Recording,
    Store, StoreOptions,
};
use tokio::sync::watch;
use zone::{HostName, OriginProtocol, ZoneId};

/// The zone's name.
const ZONE: &str = "sim.test";

/// Whom edges ask for content.
pub(crate) const ORIGIN: &str = "machine-2.sim.test";

/// What the control plane shares with the rest of the simulation.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) net: Arc<Network>,
    pub(crate) contents: Arc<Mutex<Contents>>,
    pub(crate) tasks: Arc<Mutex<Vec<Task>>>,
    pub(crate) lease: Duration,
    /// How long it is between two purges, in milliseconds.
    pub(crate) purge_pause_ms: (u64, u64),
    /// No more purges.
    pub(crate) is_quiet: Arc<Mutex<bool>>,
    pub(crate) refused: Arc<Mutex<u64>>,
}

/// A running control plane.
pub(crate) struct ControlPlane {
    pub(crate) store: Store,
    pub(crate) network: control::Network,
    _shutdown: watch::Sender<bool>,
}

fn host(text: &str) -> HostName {
    HostName::parse(text).expect("it is a name")
}

fn now_ms() -> i64 {
    let since = machine::wall_clock().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn open(directory: &Path) -> Store {
    let key = MasterKey::new(&[7; 32]).expect("it has the right length");
    let options = StoreOptions { in_step: true, ..StoreOptions::new(directory, key) };
    Store::open(options).await.expect("nobody else has the directory")
}

/// Makes the zone and its domain, unless they are there.
async fn set_up(store: &Store) -> ZoneId {
    if let Some(zone) = store.zones().await.expect("the store reads").into_iter().next() {
        return zone.id;
    }
    let zone = NewZone { name: host(ZONE), alias: String::new(), area: Area::Global, tags: Vec::new() };
    let zone = store.create_zone(zone, now_ms()).await.expect("it is the first");
    let origin = OriginRecord {
        address: host(ORIGIN),
        backup: None,
        host_header: None,
        private_access: false,
        private_parameters: Vec::new(),
    };
    let domain = DomainRecord {
        zone: zone.clone(),
        name: host(HOST),
        online: true,
        origin,
        protocol: OriginProtocol::Http,
        http_port: 80,
        https_port: 443,
        ipv6: Ipv6Status::Follow,
        created_ms: now_ms(),
        modified_ms: now_ms(),
    };
    store.create_domain(domain).await.expect("it is the first");
    for kind in QuotaKind::EVERY {
        let limits = Some(QuotaLimits { batch: 1000, daily: 1_000_000 });
        store.set_quota_override(&zone, kind, limits).await.expect("the zone is there");
    }
    zone
}

impl ControlPlane {
    /// Starts on what the directory holds. To be called in the control plane's process.
    pub(crate) async fn start(
        shared: &Shared,
        directory: &Path,
        listening: Arc<Lane<Incoming>>,
        incarnation: u64,
    ) -> Self {
        let store = open(directory).await;
        let zone = set_up(&store).await;
        let (shutdown, stopping) = watch::channel(false);
        let settings = NetworkSettings {
            lease: shared.lease,
            boot_clock: machine::boot_clock,
            wall_clock: machine::wall_clock,
        };
        let network = control::Network::start(store.clone(), settings, stopping);
        let (recorder, task) = Recorder::new(store.clone(), network.clone());
        tokio::spawn(task.run());
        let accept = network.accept();
        tokio::spawn(async move {
            while let Ok(arrived) = listening.receive().await {
                let Incoming::Feed(end) = arrived.message else { continue };
                if let Some(end) = end.lock().take() {
                    tokio::spawn(carry_at_control(end, accept.clone()));
                }
            }
        });
        tokio::spawn(observe(shared.clone(), store.clone(), network.clone()));
        let chance = Chance::new(shared.net.seed, "purges", incarnation);
        tokio::spawn(purge_for_ever(shared.clone(), store.clone(), recorder, zone, chance));
        Self { store, network, _shutdown: shutdown }
    }

    /// Forgets entries that edges may still want.
    pub(crate) async fn trim(&self, kept: u64) {
        let Ok(head) = self.store.log_head().await else { return };
        let keep_from = purge::PurgeSeq::new(head.head.number().saturating_sub(kept));
        drop(self.store.trim_log(keep_from).await);
    }

    /// Begins another epoch.
    pub(crate) async fn renew_epoch(&self) {
        drop(self.store.renew_epoch(now_ms()).await);
        self.network.wake();
    }
}

/// Writes down when tasks read `success`.
async fn observe(shared: Shared, store: Store, network: control::Network) {
    let mut completions = network.completions();
    loop {
        let processing: Vec<(usize, String)> = {
            let tasks = shared.tasks.lock();
            let processing = tasks.iter().enumerate().filter(|(_, task)| task.succeeded.is_none());
            processing.map(|(index, task)| (index, task.job.clone())).collect()
        };
        for (index, job) in processing {
            let Ok(job) = JobId::parse(&job) else { continue };
            if let Ok(Some(job)) = store.job(&job).await
                && job.status == TaskStatus::Success
            {
                shared.tasks.lock()[index].succeeded = Some(machine::now());
            }
        }
        if completions.changed().await.is_err() {
            return;
        }
    }
}

async fn purge_for_ever(shared: Shared, store: Store, recorder: Recorder, zone: ZoneId, mut chance: Chance) {
    loop {
        let (least, most) = shared.purge_pause_ms;
        tokio::time::sleep(chance.millis(least, most)).await;
        if *shared.is_quiet.lock() {
            return;
        }
        purge_once(&shared, &store, &recorder, &zone, &mut chance).await;
    }
}

async fn purge_once(shared: &Shared, store: &Store, recorder: &Recorder, zone: &ZoneId, chance: &mut Chance) {
    let (scope, resources) = choose(shared, chance);
    // As people do: what is new is there first. Or nothing has changed, or it changes later.
    let renews = chance.below(100);
    {
        let mut contents = shared.contents.lock();
        for resource in &resources {
            if renews < 70 {
                contents.renew(*resource);
            }
            if chance.permille(300) {
                contents.retag(*resource, chance);
            }
        }
    }
    if chance.permille(300) {
        tokio::time::sleep(chance.millis(1, 60)).await;
    }
    let asked = if chance.permille(500) { Method::Delete } else { Method::Invalidate };
    let url = |path: &str| format!("http://{HOST}{path}");
    let (kind, target) = match &scope {
        Scope::Url(path) => (PurgeType::Url, url(path)),
        Scope::Prefix(path) => (PurgeType::Prefix, url(path)),
        Scope::Tag(tag) => (PurgeType::CacheTag, (*tag).to_owned()),
        Scope::Host => (PurgeType::Host, HOST.to_owned()),
        Scope::All => (PurgeType::All, String::new()),
    };
    let wanted = match asked {
        Method::Delete => purge::Method::Delete,
        Method::Invalidate => purge::Method::Invalidate,
    };
    // Some kinds have a method of their own.
    let given = kind.method(Some(wanted), purge::Method::Invalidate);
    let method = if given == purge::Method::Delete { Method::Delete } else { Method::Invalidate };
    let Ok(snapshot) = store.config_snapshot().await else { return };
    let targets = if scope == Scope::All { Vec::new() } else { vec![target] };
    let request = PlanRequest {
        zones: ZoneChoice::One { id: zone.clone(), name: host(ZONE) },
        purge_type: kind,
        method: given,
        targets: &targets,
        tag_domains: &[],
    };
    let caching = snapshot.zones.iter().find(|known| known.id == *zone).map(|known| known.caching.clone());
    let caching = caching.unwrap_or_default();
    let planned = purge::plan(&request, |_| Some(zone.clone()), |_| Arc::clone(&caching.config));
    let plan = planned.expect("targets are well formed");
    let recording = Recording {
        kind,
        method: given,
        tasks: plan.tasks,
        now_ms: now_ms(),
        config_version: snapshot.version,
    };
    match recorder.record(recording).await {
        Ok(recorded) => shared.tasks.lock().push(Task {
            scope,
            method,
            job: recorded.job_id.to_string(),
            last_seq: recorded.last_seq.number(),
            committed: machine::now(),
            succeeded: None,
        }),
        Err(_) => *shared.refused.lock() += 1,
    }
}

/// What to purge, and which content that is about.
fn choose(shared: &Shared, chance: &mut Chance) -> (Scope, Vec<usize>) {
    let contents = shared.contents.lock();
    let of = |matches: &dyn Fn(usize) -> bool| {
        (0..contents.resources.len()).filter(|index| matches(*index)).collect()
    };
    match chance.below(100) {
        0..45 => {
            let index = chance.index(contents.resources.len());
            (Scope::Url(contents.resources[index].path), vec![index])
        }
        45..75 => {
            let tag = *chance.of(&TAGS);
            (Scope::Tag(tag), of(&|index| contents.resources[index].tags.contains(&tag)))
        }
        75..90 => {
            let prefix = *chance.of(&["/dir/", "/dir/sub/", "/"]);
            (Scope::Prefix(prefix), of(&|index| contents.resources[index].path.starts_with(prefix)))
        }
        90..95 => (Scope::Host, of(&|_| true)),
        _ => (Scope::All, of(&|_| true)),
    }
}
