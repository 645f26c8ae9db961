//! What all threads of one edge share.

use crate::access_log::AccessLog;
use crate::clock::Clocks;
use crate::config::EdgeConfig;
use crate::counter::{Counter, NamedCounters, Times};
use crate::disk::{Directory, Disk, DiskError, Keeper, Opened, Volume};
use crate::flight::{Flights, Reading};
use crate::groups::GroupMarks;
use crate::lease::{Fence, Lease};
use crate::outcome::{Outcome, OutcomeKind};
use crate::proxy::Detour;
use crate::routes::Zones;
use crate::shelf::Shelf;
use crate::surroundings::{NoRandomness, Randomness, Surroundings};
use http::HeaderValue;
use httpcache::{Policy, ViaName};
use purge::{FencePolicy, Ledger, PurgeSeq, ZoneClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, Semaphore};
use zone::Zone;

/// One edge's state.
pub(crate) struct State {
    pub(crate) config: EdgeConfig,
    pub(crate) clocks: Clocks,
    randomness: Randomness,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) lease: Lease,
    pub(crate) fence: Fence,
    pub(crate) zones: Zones,
    pub(crate) shelf: Shelf,
    pub(crate) flights: Arc<Flights>,
    pub(crate) groups: Arc<GroupMarks>,
    pub(crate) fetches: Semaphore,
    pub(crate) fenced_fetches: Semaphore,
    /// Places of requests that are passed on since the edge is behind the position they name.
    pub(crate) min_seq_fetches: Semaphore,
    /// Places of connections that speak another protocol by now.
    pub(crate) upgrades: Arc<Semaphore>,
    /// How much content is being stored right now, in bytes.
    pub(crate) storing_bytes: AtomicU64,
    /// The policy of zones without settings of their own.
    pub(crate) policy: Arc<Policy>,
    pub(crate) via: ViaName,
    /// What answers say in `Via`. One text for the life of the process, so that no answer counts references to it.
    pub(crate) via_value: HeaderValue,
    pub(crate) counters: Counters,
    /// Told each time entries were applied.
    pub(crate) applied: Notify,
    pub(crate) access_log: Option<AccessLog>,
    /// The log's head as the control plane last told it.
    pub(crate) granted_head: AtomicU64,
    request_ids: AtomicU64,
}

/// What an edge counts. All of them only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that clients sent.
    pub requests: Counter,
    /// Answers from the cache without asking the origin.
    pub hits: Counter,
    /// Those among them whose age alone made them stale: validated meanwhile, or instead of an error (RFC 5861).
    pub stale: Counter,
    /// Fetches that validate what is stored while nobody waits for them.
    pub background_fetches: Counter,
    /// Requests sent to origins.
    pub fetches: Counter,
    /// Those among them that were sent again, to the same origin or to its backup, after a failure.
    pub repeated: Counter,
    /// Connections that changed to another protocol, such as WebSocket.
    pub upgrades: Counter,
    /// Parents that were passed over since they did not answer, or refused.
    pub parents_passed_over: Counter,
    /// Requests of child edges.
    pub of_children: Counter,
    /// Answers that came with another request's fetch.
    pub collapsed: Counter,
    /// Requests answered while the edge was fenced.
    pub fenced: Counter,
    /// Those among them whose answers the promise does not cover, by the operator's choice.
    pub promise_given_up: Counter,
    /// Requests refused for their framing, or because their head took too long.
    pub refused: Counter,
    /// Responses some of whose tags could not count; each is stored for a short time only.
    pub tags_ignored: Counter,
    /// Connections that could not be accepted, for want of file descriptors or memory.
    pub accepts_failed: Counter,
    /// Connections closed at once because their client had too many.
    pub turned_away: Counter,
    /// TLS handshakes that came to nothing.
    pub handshakes_failed: Counter,
    /// HTTP/2 connections broken off because of too many frames that carry nothing.
    pub flooded: Counter,
    /// Clients let go because they took nothing of their answers.
    pub stalled: Counter,
    /// Purge entries applied.
    pub entries_applied: Counter,
    /// Objects that sweeps removed.
    pub swept: Counter,
    /// Full sweeps.
    pub sweeps: Counter,
    /// Connections that clients opened.
    pub connections_opened: Counter,
    /// Those among them that have ended.
    pub connections_closed: Counter,
    /// Hits that were answered below the library's server.
    pub fast_hits: Counter,
    /// Requests that were not, by why, in the order of the reasons.
    detours: [Counter; Detour::ALL.len()],
    /// Answers by how they came about, in the order of their kinds.
    answers: [Counter; OutcomeKind::ALL.len()],
    /// Requests that were forwarded, by the reason; refused or failed ones, by their name.
    pub reasons: NamedCounters,
    /// Answers whose body did not come to its end, and requests whose client left before there was one.
    pub broken_off: Counter,
    /// Bytes of answers' bodies.
    pub bytes_sent: Counter,
    /// How long origins took until the heads of their responses.
    pub origin_times: Times,
}

impl Counters {
    pub(crate) fn count(counter: &Counter) {
        counter.add(1);
    }

    /// An answer's head goes out. Of a hit this touches nothing that other workers write.
    pub(crate) fn answered(&self, outcome: &Outcome) {
        self.answers[outcome.kind as usize].add(1);
        if !outcome.reason.is_empty() {
            self.reasons.count(outcome.reason);
        }
    }

    /// A request could not be answered below the library's server.
    pub(crate) fn detoured(&self, detour: Detour) {
        self.detours[detour as usize].add(1);
    }

    /// How many there were for this reason.
    pub(crate) fn detours(&self, detour: Detour) -> &Counter {
        &self.detours[detour as usize]
    }

    /// How many answers came about like this.
    pub(crate) fn answers(&self, kind: OutcomeKind) -> &Counter {
        &self.answers[kind as usize]
    }
}

impl State {
    /// A new edge's state, or that of an edge which goes on with what its disk holds; with the disk tier comes what is to
    /// run on a thread of its own.
    pub(crate) fn new(
        config: EdgeConfig,
        surroundings: &Surroundings,
        access_log: Option<AccessLog>,
    ) -> Result<(Self, Option<Keeper>), DiskError> {
        let Surroundings { clocks, randomness, .. } = *surroundings;
        let process: [u8; 4] = randomness.bytes()?;
        let via = format!("everfresh-{:08x}", u32::from_be_bytes(process));
        let groups = GroupMarks::new(randomness.bytes()?);
        let (ledger, shelf_key, disk, keeper) = match &config.disk {
            None => (Arc::new(Ledger::new(randomness.bytes()?)), randomness.bytes()?, None, None),
            Some(on_disk) => {
                let volume: Arc<dyn Volume> = match &surroundings.volume {
                    Some(volume) => Arc::clone(volume),
                    None => Arc::new(Directory::open(&on_disk.directory)?),
                };
                let opened = Opened::read(&*volume, randomness)?;
                let (ledger, shelf_key) = (Arc::clone(&opened.ledger), opened.tier.shelf_key);
                let (disk, keeper) = Disk::new(
                    volume,
                    opened,
                    Arc::clone(&groups),
                    on_disk.bytes,
                    config.object_bytes_max,
                    clocks,
                );
                (ledger, shelf_key, Some(disk), Some(keeper))
            }
        };
        let state = Self {
            ledger,
            lease: Lease::default(),
            fence: Fence::new(config.fence_policy),
            zones: Zones::default(),
            shelf: Shelf::new(config.memory_bytes, config.object_bytes_max, shelf_key, disk),
            flights: Flights::new(),
            groups,
            fetches: Semaphore::new(config.fetches_max),
            fenced_fetches: Semaphore::new(config.fenced_fetches_max),
            min_seq_fetches: Semaphore::new(config.min_seq_fetches_max),
            upgrades: Arc::new(Semaphore::new(config.upgrades_max)),
            storing_bytes: AtomicU64::new(0),
            policy: Arc::new(config.policy.clone()),
            via_value: HeaderValue::from_static(String::leak(format!("1.1 {via}"))),
            via: ViaName::parse(&via).map_err(|_| NoRandomness)?,
            counters: Counters::default(),
            applied: Notify::new(),
            access_log,
            granted_head: AtomicU64::new(0),
            request_ids: AtomicU64::new(u64::from_be_bytes(randomness.bytes()?) >> 1),
            config,
            clocks,
            randomness,
        };
        Ok((state, keeper))
    }

    /// Random bytes.
    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        self.randomness.bytes()
    }

    /// Reads the lease, then the zone's clock, then `seen`: the protocol's order. What follows may look at objects,
    /// at fetches under way and at marks.
    ///
    /// While the entry that goes with the zone's cache keys is not applied, purges planned by earlier keys may still
    /// come: nothing is answered from the cache then, as without a lease.
    pub(crate) fn read(&self, zone: &Zone) -> Reading {
        let leased = self.lease.holds((self.clocks.boot)());
        self.read_on(leased, self.ledger.clock(&zone.id), zone)
    }

    /// The same by a clock of the zone that was obtained before, unless it is retired by now: that it is not is as good
    /// as to obtain it anew.
    pub(crate) fn read_by(&self, clock: &Arc<ZoneClock>, zone: &Zone) -> Reading {
        let leased = self.lease.holds((self.clocks.boot)());
        let clock = if clock.is_retired() { self.ledger.clock(&zone.id) } else { Arc::clone(clock) };
        self.read_on(leased, clock, zone)
    }

    /// The same for whoever fetches nothing and keeps no clock: whether the cache may be used, and `seen`. `None` once the
    /// clock is retired.
    pub(crate) fn read_only(&self, clock: &ZoneClock, zone: &Zone) -> Option<(bool, PurgeSeq)> {
        let leased = self.lease.holds((self.clocks.boot)());
        if clock.is_retired() {
            return None;
        }
        Some(self.read_seen(leased, zone))
    }

    fn read_on(&self, leased: bool, clock: Arc<ZoneClock>, zone: &Zone) -> Reading {
        let (usable, seen) = self.read_seen(leased, zone);
        let policy = match self.fence.policy() {
            // With a lease, it is only the keys of the zone that are not in force yet: no policy is about that.
            _ if leased => FencePolicy::default(),
            FencePolicy::Revalidate | FencePolicy::Serve if zone.caching.keys_seq > seen.number() => {
                FencePolicy::default()
            }
            policy => policy,
        };
        Reading { leased: usable, policy, clock, seen }
    }

    fn read_seen(&self, leased: bool, zone: &Zone) -> (bool, PurgeSeq) {
        let seen = self.ledger.applied();
        let keyed = zone.caching.keys_seq <= seen.number();
        (leased && keyed, seen)
    }

    /// A number for one request (`EO-LOG-UUID`); also serves as a generation of variants.
    pub(crate) fn next_request_id(&self) -> u64 {
        self.request_ids.fetch_add(1, Ordering::Relaxed)
    }
}
