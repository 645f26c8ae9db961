//! Fetches under way, and who may wait for which.
//!
//! Each key has a slot: the fetches that were sent, newest last, and at most one that is yet to be sent. A fetch is in
//! its slot until it ends, or until its head tells that its content is only passed on. Whoever may
//! not join a sent fetch waits for that next one, which is sent after they came. The rules are the purge protocol's
//! ("Collapsed requests"):
//!
//! - a sent fetch is joined only under a valid lease, and the follower's `seen` is kept;
//! - if it is above the fetch's born, the follower shares only what no purge since that born matches, which is known
//!   for certain when the head with its tags is there;
//! - the next fetch reads lease, `seen` and objects anew when it is sent, as a request that started then.

use crate::body::Reader;
use crate::object::{Birth, Object};
use crate::shelf::ObjectKey;
use crate::slice_run::Run;
use http::HeaderMap;
use parking_lot::Mutex;
use purge::{FencePolicy, Ledger, PurgeSeq, UrlKey, Verdict, ZoneClock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How many fetches of one object may be under way at once while the lease holds: one more for each purge that the
/// earlier ones don't survive.
pub(crate) const FETCHES_PER_OBJECT_MAX: usize = 4;

/// The same while the edge is fenced.
pub(crate) const FENCED_FETCHES_PER_OBJECT_MAX: usize = 1;

/// How long a request waits for the head of a fetch that others sent, or that is yet to be sent.
pub(crate) const FOLLOW_TIMEOUT: Duration = Duration::from_secs(60);

const SHARDS: usize = 64;

/// How many counters of unsafe requests there are. URLs that share one keep each other's fetches from being stored and
/// joined.
const UNSAFE_SHARDS: usize = 4096;

/// One fetch.
pub(crate) struct Flight {
    url: UrlKey,
    /// Empty until it is sent and the sender has looked.
    birth: OnceLock<Birth>,
    /// How often unsafe methods had gone through when it was sent (see [`Flights::unsafe_requests`]).
    unsafe_requests: AtomicU64,
    state: Mutex<FlightState>,
    /// Told when the state changes: those who wait go on in the order in which they came.
    changed: Notify,
}

/// How far a fetch has come, for those who wait.
#[derive(Clone)]
pub(crate) enum FlightState {
    /// No head yet.
    Waiting,
    /// The head is there; content follows.
    Arrived(Arc<Arrival>),
    /// There will be none.
    Failed(FetchFailure),
}

/// A response as its fetch brought it.
pub(crate) struct Arrival {
    pub(crate) object: Arc<Object>,
    pub(crate) source: ArrivalSource,
    pub(crate) sharing: Sharing,
    /// Whether it is stored, if its content comes to its end.
    pub(crate) is_stored: bool,
    /// Fields that only who sent the fetch may have.
    pub(crate) unshared: HeaderMap,
}

/// Where the response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalSource {
    /// A response of the origin.
    Origin,
    /// The origin answered 304: what was stored counts again.
    Validated,
    /// Another fetch had stored it before this one was sent.
    Stored,
}

/// Who may share the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Only who sent the fetch.
    Nobody,
    /// Also those who came before the fetch was sent: it must be validated for each later use.
    ThoseBefore,
    /// All whose request selects this key.
    Everyone(ObjectKey),
}

/// Why a fetch brought nothing. The names appear in `Cache-Status` and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchFailure {
    #[error("the origin could not be reached")]
    Unreachable,
    #[error("the origin accepted no connection in time")]
    ConnectTimedOut,
    #[error("the origin did not agree on TLS in time")]
    TlsTimedOut,
    #[error("the origin and this edge could not agree on TLS")]
    TlsFailed,
    #[error("the origin's certificate is not valid for the Host header that is asked for")]
    CertificateRefused,
    #[error("the origin did not answer in time")]
    TimedOut,
    #[error("the origin closed the connection before it answered")]
    Closed,
    #[error("the origin's answer is no HTTP, or one of which nobody can tell where it ends")]
    Malformed,
    #[error("the head of the origin's answer is larger than allowed")]
    HeadTooLarge,
    #[error("the origin broke off its response")]
    Truncated,
    #[error("the origin fell silent in its response")]
    BodyTimedOut,
    #[error("the origin took too long for its whole response")]
    ResponseTimedOut,
    #[error("the parent edge refused the request")]
    ParentRefused,
    #[error("as many fetches as allowed are under way")]
    TooManyFetches,
    #[error("the fetch was broken off")]
    Abandoned,
    #[error("the origin has other content now than what this is a part of")]
    PartChanged,
    #[error("the origin's answer is not the part it was asked for")]
    PartWrong,
    #[error("the origin refused a part of content it has")]
    PartRefused,
}

impl FetchFailure {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "origin-unreachable",
            Self::ConnectTimedOut => "origin-connect-timeout",
            Self::TlsTimedOut => "origin-tls-timeout",
            Self::TlsFailed => "origin-tls-failed",
            Self::CertificateRefused => "origin-certificate",
            Self::TimedOut => "origin-timeout",
            Self::Closed => "origin-closed",
            Self::Malformed => "origin-malformed",
            Self::HeadTooLarge => "origin-head-too-large",
            Self::Truncated => "origin-truncated",
            Self::BodyTimedOut => "origin-body-timeout",
            Self::ResponseTimedOut => "origin-response-timeout",
            Self::ParentRefused => "parent-refused",
            Self::TooManyFetches => "too-many-fetches",
            Self::Abandoned => "fetch-abandoned",
            Self::PartChanged => "part-changed",
            Self::PartWrong => "part-wrong",
            Self::PartRefused => "part-refused",
        }
    }
}

/// What a request is to do for its response.
pub(crate) enum Boarding {
    /// Send the fetch whose birth is the request's own reading.
    Send(Landing),
    /// Send the next fetch once it may go: see [`Flights::depart`].
    SendNext(Landing),
    /// Wait for a fetch.
    Follow {
        /// Which.
        flight: Arc<Flight>,
        /// Whether it was not sent yet.
        before_sent: bool,
    },
}

/// What whoever sent a fetch reads its content with.
pub(crate) enum OwnContent {
    /// Content that is in one.
    Reader(Reader),
    /// Content that lies in slices: these are the first of them.
    Run(Run),
}

/// Which fetches a request would wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// A sent one or one that is yet to be sent.
    Any,
    /// Only one that is yet to be sent.
    Unsent,
    /// None.
    Nothing,
}

/// What a request has read, in the protocol's order, before it boards.
pub(crate) struct Reading {
    pub(crate) leased: bool,
    /// What the edge does without a lease. Means nothing with one.
    pub(crate) policy: FencePolicy,
    pub(crate) clock: Arc<ZoneClock>,
    pub(crate) seen: PurgeSeq,
}

impl Reading {
    /// The policy under which the request goes on, if there is no lease.
    pub(crate) fn fenced(&self) -> Option<FencePolicy> {
        (!self.leased).then_some(self.policy)
    }

    /// Whether what is stored may answer by itself: under a lease, or where the operator gave up the promise.
    pub(crate) fn may_serve(&self) -> bool {
        self.leased || self.policy == FencePolicy::Serve
    }

    /// Whether the origin may be asked about what is stored, rather than for all of it.
    pub(crate) fn may_ask_whether(&self) -> bool {
        self.may_serve() || self.policy == FencePolicy::Revalidate
    }
}

#[derive(Default)]
struct Slot {
    sent: Vec<Arc<Flight>>,
    next: Option<Arc<Flight>>,
    /// Told each time a fetch of this slot ends.
    ended: Arc<Notify>,
}

/// All fetches under way at this edge.
pub(crate) struct Flights {
    shards: Box<[Mutex<HashMap<ObjectKey, Slot>>]>,
    /// How often an unsafe method went through, by shard of the URL's key: a fetch that was under way then, of whatever
    /// variant or slice of the URL, is not stored, and nobody joins it.
    unsafe_requests: Box<[AtomicU64]>,
}

/// The duty to bring a flight to its end. Dropped early, it fails those who wait.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    /// `None` for a fetch that nobody else can join.
    key: Option<ObjectKey>,
    flight: Arc<Flight>,
    /// The reader of whoever sent the fetch, registered before the first byte is written.
    own_reader: Option<oneshot::Sender<OwnContent>>,
    url_shard: usize,
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            unsafe_requests: (0..UNSAFE_SHARDS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn shard(&self, key: ObjectKey) -> &Mutex<HashMap<ObjectKey, Slot>> {
        &self.shards[key.shard(SHARDS)]
    }

    /// Finds the fetch that a request with this reading may join, or makes one.
    pub(crate) fn board(
        self: &Arc<Self>,
        url_key: ObjectKey,
        key: ObjectKey,
        url: &UrlKey,
        reading: &Reading,
        ledger: &Ledger,
        joins: Joins,
    ) -> Boarding {
        let mut shard = self.shard(key).lock();
        let slot = shard.entry(key).or_default();
        if joins == Joins::Any
            && reading.leased
            && let Some(newest) = slot.sent.last()
            && newest.unsafe_requests.load(Ordering::Acquire) == self.unsafe_requests_of(url_key)
            && newest.may_be_joined(reading, ledger)
        {
            return Boarding::Follow { flight: Arc::clone(newest), before_sent: false };
        }
        if let Some(next) = &slot.next {
            return Boarding::Follow { flight: Arc::clone(next), before_sent: true };
        }
        let flight = Flight::new(url);
        let landing = |flight| self.landing(url_key, Some(key), flight);
        if slot.sent.len() < sent_max(reading.leased) {
            flight.set_birth(reading);
            slot.sent.push(Arc::clone(&flight));
            Boarding::Send(landing(flight))
        } else {
            slot.next = Some(Arc::clone(&flight));
            Boarding::SendNext(landing(flight))
        }
    }

    /// A fetch that nobody waits for yet, if none of this object is under way or waits to be sent.
    pub(crate) fn board_idle(
        self: &Arc<Self>,
        url_key: ObjectKey,
        key: ObjectKey,
        url: &UrlKey,
        reading: &Reading,
    ) -> Option<Landing> {
        let mut shard = self.shard(key).lock();
        let slot = shard.entry(key).or_default();
        if !slot.sent.is_empty() || slot.next.is_some() {
            return None;
        }
        let flight = Flight::new(url);
        flight.set_birth(reading);
        slot.sent.push(Arc::clone(&flight));
        Some(self.landing(url_key, Some(key), flight))
    }

    /// A fetch of a request's own, which nobody joins.
    pub(crate) fn alone(self: &Arc<Self>, url_key: ObjectKey, url: &UrlKey, reading: &Reading) -> Landing {
        let flight = Flight::new(url);
        flight.set_birth(reading);
        self.landing(url_key, None, flight)
    }

    /// Enters a fetch whose head is known already, of a slice: others may join it. `None` if one is under way.
    pub(crate) fn enter(
        self: &Arc<Self>,
        url_key: ObjectKey,
        key: ObjectKey,
        arrival: Arc<Arrival>,
    ) -> Option<Landing> {
        let mut shard = self.shard(key).lock();
        let slot = shard.entry(key).or_default();
        if !slot.sent.is_empty() || slot.next.is_some() {
            return None;
        }
        // Without a birth, so that no sweep waits for a long response: its slices tell theirs by themselves.
        let flight = Flight::new(&arrival.object.url);
        flight.turn(FlightState::Arrived(arrival));
        slot.sent.push(Arc::clone(&flight));
        drop(shard);
        Some(self.landing(url_key, Some(key), flight))
    }

    /// Whether a fetch is under way, or yet to be sent.
    pub(crate) fn is_under_way(&self, key: ObjectKey) -> bool {
        self.shard(key).lock().get(&key).is_some_and(|slot| !slot.sent.is_empty() || slot.next.is_some())
    }

    fn landing(self: &Arc<Self>, url_key: ObjectKey, key: Option<ObjectKey>, flight: Arc<Flight>) -> Landing {
        let url_shard = url_key.shard(UNSAFE_SHARDS);
        flight.unsafe_requests.store(self.unsafe_requests_of(url_key), Ordering::Release);
        Landing { flights: Arc::clone(self), key, flight, own_reader: None, url_shard }
    }

    fn unsafe_requests_of(&self, url_key: ObjectKey) -> u64 {
        self.unsafe_requests[url_key.shard(UNSAFE_SHARDS)].load(Ordering::Acquire)
    }

    /// An unsafe method went through: nobody joins what was sent before, and nothing of it is stored.
    pub(crate) fn detach(&self, url_key: ObjectKey) {
        let mut shard = self.shard(url_key).lock();
        self.unsafe_requests[url_key.shard(UNSAFE_SHARDS)].fetch_add(1, Ordering::AcqRel);
        if let Some(slot) = shard.get_mut(&url_key) {
            slot.sent.clear();
            slot.ended.notify_waiters();
        }
    }

    /// The lowest born among the fetches under way, if any is under way.
    pub(crate) fn lowest_born(&self) -> Option<PurgeSeq> {
        let born = |flight: &Arc<Flight>| flight.birth.get().map(|birth| birth.born);
        self.shards
            .iter()
            .filter_map(|shard| {
                shard.lock().values().flat_map(|slot| slot.sent.iter()).filter_map(born).min()
            })
            .min()
    }
}

fn sent_max(leased: bool) -> usize {
    if leased { FETCHES_PER_OBJECT_MAX } else { FENCED_FETCHES_PER_OBJECT_MAX }
}

impl Flight {
    fn new(url: &UrlKey) -> Arc<Self> {
        Arc::new(Self {
            url: url.clone(),
            birth: OnceLock::new(),
            unsafe_requests: AtomicU64::new(0),
            state: Mutex::new(FlightState::Waiting),
            changed: Notify::new(),
        })
    }

    fn turn(&self, state: FlightState) {
        *self.state.lock() = state;
        self.changed.notify_waiters();
    }

    fn set_birth(&self, reading: &Reading) {
        let _ = self.birth.set(Birth { clock: Arc::clone(&reading.clock), born: reading.seen });
    }

    /// Whether it is worth waiting for this sent fetch. Before the head is there its tags aren't, so that this is a
    /// first sieve; [`may_share`] decides.
    fn may_be_joined(&self, reading: &Reading, ledger: &Ledger) -> bool {
        match &*self.state.lock() {
            FlightState::Failed(_) => false,
            FlightState::Arrived(arrival) => {
                matches!(arrival.sharing, Sharing::Everyone(_))
                    && arrival.object.content.can_be_joined()
                    && may_share(&arrival.object, reading, ledger)
            }
            // The sender has not looked yet: what it will see, this request would see too.
            FlightState::Waiting => self.birth.get().is_none_or(|birth| {
                is_not_later(birth, reading)
                    || ledger.judge_url_only(&birth.clock, &self.url, birth.born).verdict == Verdict::Clear
            }),
        }
    }

    /// Waits for the head.
    pub(crate) async fn arrival(&self) -> Result<Arc<Arrival>, FetchFailure> {
        let waited = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // From here on no change goes unheard.
                changed.as_mut().enable();
                match &*self.state.lock() {
                    FlightState::Arrived(arrival) => return Ok(Arc::clone(arrival)),
                    FlightState::Failed(failure) => return Err(*failure),
                    FlightState::Waiting => {}
                }
                changed.await;
            }
        };
        tokio::time::timeout(FOLLOW_TIMEOUT, waited).await.unwrap_or(Err(FetchFailure::TimedOut))
    }
}

fn is_not_later(birth: &Birth, reading: &Reading) -> bool {
    Arc::ptr_eq(&birth.clock, &reading.clock) && reading.seen <= birth.born
}

/// Whether a follower that read `reading` under a valid lease may share `object`, whose tags are known: its `seen` is
/// not above the born, or no purge above the born matches. Every mark above born counts, also one above `seen`: it
/// may hide one below.
pub(crate) fn may_share(object: &Object, reading: &Reading, ledger: &Ledger) -> bool {
    is_not_later(&object.birth, reading) || object.is_clear_since_birth(ledger)
}

impl Landing {
    /// What those who wait hold.
    pub(crate) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// The promise of a reader that is registered before the first byte is written.
    pub(crate) fn own_reader(&mut self) -> oneshot::Receiver<OwnContent> {
        let (sender, receiver) = oneshot::channel();
        self.own_reader = Some(sender);
        receiver
    }

    /// The fetch's birth; `None` before it was sent.
    pub(crate) fn birth(&self) -> Option<&Birth> {
        self.flight.birth.get()
    }

    /// Waits until the next fetch may be sent, and marks it sent: from then on nobody joins it as if it were not.
    /// Only afterwards may the sender read lease, clock, `seen` and objects, and call [`Self::set_birth`].
    pub(crate) async fn depart(&self, is_leased: impl Fn() -> bool) {
        let Some(key) = self.key else { return };
        loop {
            let ended = {
                let mut shard = self.flights.shard(key).lock();
                let slot = shard.entry(key).or_default();
                if slot.sent.len() < sent_max(is_leased()) {
                    // Before anyone can join it as a sent one.
                    let unsafe_requests =
                        self.flights.unsafe_requests[self.url_shard].load(Ordering::Acquire);
                    self.flight.unsafe_requests.store(unsafe_requests, Ordering::Release);
                    slot.next = None;
                    slot.sent.push(Arc::clone(&self.flight));
                    return;
                }
                Arc::clone(&slot.ended).notified_owned()
            };
            ended.await;
        }
    }

    /// The sender's reading, once it has departed.
    pub(crate) fn set_birth(&self, reading: &Reading) {
        self.flight.set_birth(reading);
    }

    /// Hands the head to all who wait, and its own reader to the sender.
    pub(crate) fn arrive(&mut self, arrival: Arc<Arrival>) {
        if let Some(own) = self.own_reader.take()
            && let Some(reader) = arrival.object.content.reader(0, None)
        {
            // Gone already: the reader is dropped with the message.
            let _ = own.send(OwnContent::Reader(reader));
        }
        self.flight.turn(FlightState::Arrived(arrival));
    }

    /// The same for content that lies in slices. Others find it stored: nobody joins this fetch any more.
    pub(crate) fn arrive_in_slices(&mut self, arrival: Arc<Arrival>, run: Run) {
        if let Some(own) = self.own_reader.take() {
            let _ = own.send(OwnContent::Run(run));
        }
        self.flight.turn(FlightState::Arrived(arrival));
        self.leave_slot();
    }

    /// Tells all who wait that nothing comes.
    pub(crate) fn fail(self, failure: FetchFailure) {
        self.flight.turn(FlightState::Failed(failure));
    }

    /// Runs `store` while nobody else can store under `key`. It is told whether it may: not if an unsafe method went
    /// through since the fetch began.
    pub(crate) fn store<T>(&self, key: ObjectKey, store: impl FnOnce(bool) -> T) -> T {
        let _slot = self.flights.shard(key).lock();
        let unsafe_requests = self.flights.unsafe_requests[self.url_shard].load(Ordering::Acquire);
        store(unsafe_requests == self.flight.unsafe_requests.load(Ordering::Acquire))
    }
}

impl Landing {
    /// Takes the flight out of its slot: nobody joins it from now on, and others may be sent. Called early for content
    /// that is only passed on, which comes as slowly as its slowest reader takes it.
    pub(crate) fn leave_slot(&self) {
        let Some(key) = self.key else { return };
        let mut shard = self.flights.shard(key).lock();
        if let Some(slot) = shard.get_mut(&key) {
            slot.sent.retain(|flight| !Arc::ptr_eq(flight, &self.flight));
            if slot.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, &self.flight)) {
                slot.next = None;
            }
            slot.ended.notify_waiters();
            if slot.sent.is_empty() && slot.next.is_none() {
                shard.remove(&key);
            }
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let is_waiting = matches!(*self.flight.state.lock(), FlightState::Waiting);
        if is_waiting {
            self.flight.turn(FlightState::Failed(FetchFailure::Abandoned));
        }
        self.leave_slot();
    }
}
