//! What an edge knows of the purge log: marks, and the judgement of one object by them.
//!
//! Owns `applied`, the horizon and the marks. Many threads judge; writers take turns. Invariant: whoever reads
//! `applied` finds every mark up to it, or a horizon above what was dropped. Knows no cache, no lease and no time.
//!
//! A purge is a comparison, not a deletion: applying an entry costs the same however many objects it matches, and a
//! hit pays one atomic load ([`ZoneClock::has_nothing_after`]) until something is purged in its zone.

use crate::{Entry, Epoch, LogEntry, Method, PurgeSeq, Scope, Tags, UrlKey};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};
use zone::{HostName, ZoneId};

mod durable;

pub use durable::{DurableLedger, DurableMark, DurableZone, ImportError};

/// What one mark takes in its table: 16 bytes of key, two positions, one byte of the table's own. A table is between
/// 7/16 and 7/8 full, so that a mark costs 38 to 76 bytes of memory ([`Ledger::memory_bytes`] says exactly).
pub const MARK_BYTES: usize = 33;

const _: () = assert!(size_of::<(MarkKey, Mark)>() + 1 == MARK_BYTES);

/// The highest position a log can reach. Above it lies [`RETIRED`].
const SEQ_MAX: u64 = u64::MAX - 1;

/// The last position of a clock whose epoch is over: above every `checked` there is.
const RETIRED: u64 = u64::MAX;

const SHARDS: usize = 64;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

const _: () = assert!(SHARDS.is_power_of_two());

type MarkKey = u128;
type Marks = HashMap<MarkKey, Mark, BuildHasherDefault<KeyIsHash>>;

/// The highest seq of each method that was applied to one scope key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    invalidate: u64,
    delete: u64,
}

/// How far the purge log has come in one zone, as far as this edge applied it. An object keeps the clock under which
/// it was fetched; when the log's epoch changes, old clocks are retired and everything that holds one is out of reach.
pub struct ZoneClock {
    zone: ZoneId,
    last_seq: AtomicU64,
    /// Which kinds of marks the zone has had since the clock was made ([`Kind::flag`]).
    kinds: AtomicU8,
    /// Which depths the zone's directories have had: bit `n` for `n` slashes, the highest bit for that many or more.
    prefix_depths: AtomicU64,
    /// The hasher with the ledger's key that has taken the zone's id.
    hasher: SipHasher13,
}

/// What a ledger judges: one object, or the response that may become one.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The clock that the request obtained before it read [`Ledger::applied`].
    pub clock: &'a ZoneClock,
    /// The URL asked for.
    pub url: &'a UrlKey,
    /// Every tag the content has had at this edge.
    pub tags: &'a Tags,
}

/// What the log says about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that was purged since it was born matches it: the HTTP freshness rules decide.
    Clear,
    /// Stale by the purge at this position: revalidate, never serve it unvalidated.
    Invalidated(PurgeSeq),
    /// Gone by the purge at this position: fetch unconditionally, and drop it.
    Deleted(PurgeSeq),
    /// The ledger can't know any more, or never could: as deleted.
    BeyondHorizon,
}

/// A verdict with the position that it vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the log says.
    pub verdict: Verdict,
    /// The zone's last seq, read before the walk: what the object's `checked` may be raised to if the verdict is
    /// [`Verdict::Clear`].
    pub walked_at: PurgeSeq,
}

/// What of an object a mark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkedScope<'a> {
    /// Its whole zone.
    Zone,
    /// Its host.
    Host(&'a str),
    /// A directory that holds it.
    Prefix(&'a str),
    /// Its URL.
    Url,
    /// One of its tags.
    Tag(&'a str),
    /// One of its tags, on its host only.
    HostTag(&'a str),
}

impl MarkedScope<'_> {
    /// Its kind, in a word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Host(_) => "host",
            Self::Prefix(_) => "prefix",
            Self::Url => "url",
            Self::Tag(_) => "tag",
            Self::HostTag(_) => "host-tag",
        }
    }
}

/// The newest purge of one method that names one scope of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeMark<'a> {
    /// What it names.
    pub scope: MarkedScope<'a>,
    /// What it does to what was stored.
    pub method: Method,
    /// Its position in the log.
    pub seq: PurgeSeq,
}

/// Why entries were not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing. What came before the gap is applied.
    #[error("entry {expected} is missing before entry {got}; ask for the range")]
    Gap {
        /// The next position to apply.
        expected: PurgeSeq,
        /// The position that came instead.
        got: PurgeSeq,
    },
    /// The entries belong to another log than the ledger follows.
    #[error("the entries are of epoch {got}, not the one followed; jump to its head")]
    WrongEpoch {
        /// The epoch followed; `None` before the first jump.
        followed: Option<Epoch>,
        /// The epoch of the entries.
        got: Epoch,
    },
}

/// Why the ledger did not jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JumpError {
    /// The head lies below what is applied: the log has lost commits without changing its epoch.
    #[error(
        "the head {head} lies below the applied {applied} of the same epoch; the log's epoch must change"
    )]
    Backwards {
        /// What is applied.
        applied: PurgeSeq,
        /// The head that was given.
        head: PurgeSeq,
    },
    /// No log has a head this high.
    #[error("the head {0} is above the highest position of a log")]
    TooHigh(PurgeSeq),
}

/// Why no marks were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// The sweep began in another epoch.
    #[error("the sweep was of epoch {swept}, which is not followed any more")]
    WrongEpoch {
        /// The epoch in which the sweep began.
        swept: Epoch,
    },
    /// The sweep claims more than was applied.
    #[error("a sweep up to {up_to} can't have happened: only {applied} is applied")]
    NotApplied {
        /// What the sweep claims.
        up_to: PurgeSeq,
        /// What is applied.
        applied: PurgeSeq,
    },
}

/// The concurrent ledger of one edge.
pub struct Ledger {
    hasher: SipHasher13,
    shards: Box<[RwLock<Marks>]>,
    clocks: RwLock<Clocks>,
    applied: AtomicU64,
    horizon: AtomicU64,
    epoch: RwLock<Option<Epoch>>,
    /// Held by whoever changes anything but the making of a clock.
    writing: Mutex<()>,
}

struct Clocks {
    by_zone: std::collections::HashMap<ZoneId, Arc<ZoneClock>>,
    /// The head of the last jump: where a new clock starts, so that a jump counts for every zone.
    jumped_to: u64,
}

/// What a mark is keyed by, apart from the zone. The discriminant separates the domains of the hash.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    All = 0,
    Host = 1,
    Prefix = 2,
    Url = 3,
    Tag = 4,
    HostTag = 5,
}

impl Ledger {
    /// An empty ledger that follows no log yet: [`Ledger::jump`] begins. `hash_key` should be random, so that nobody
    /// can make keys collide; a collision would only purge too much.
    pub fn new(hash_key: [u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&hash_key),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            clocks: RwLock::new(Clocks { by_zone: std::collections::HashMap::new(), jumped_to: 0 }),
            applied: AtomicU64::new(0),
            horizon: AtomicU64::new(0),
            epoch: RwLock::new(None),
            writing: Mutex::new(()),
        }
    }

    /// The clock of a zone. A request obtains it **before** it reads [`Ledger::applied`]: then, if the epoch changes
    /// in between, it holds a retired clock and not an old log's position under a new log's clock.
    pub fn clock(&self, zone: &ZoneId) -> Arc<ZoneClock> {
        if let Some(clock) = self.clocks.read().by_zone.get(zone) {
            return Arc::clone(clock);
        }
        let mut clocks = self.clocks.write();
        let jumped_to = clocks.jumped_to;
        let make = || Arc::new(ZoneClock::new(&self.hasher, zone, jumped_to));
        Arc::clone(clocks.by_zone.entry(zone.clone()).or_insert_with(make))
    }

    /// The position up to which every entry is applied, with no gap: the `seen` of a request that reads it.
    pub fn applied(&self) -> PurgeSeq {
        PurgeSeq::new(self.applied.load(Ordering::Acquire))
    }

    /// The position up to which there are no marks any more, or never were.
    pub fn horizon(&self) -> PurgeSeq {
        PurgeSeq::new(self.horizon.load(Ordering::Acquire))
    }

    /// The log that is followed; `None` before the first jump.
    pub fn epoch(&self) -> Option<Epoch> {
        *self.epoch.read()
    }

    /// The log that is followed and what is applied of it, both of one moment: what an acknowledgement carries.
    pub fn position(&self) -> Option<(Epoch, PurgeSeq)> {
        // A jump changes `applied` under the write lock.
        let epoch = self.epoch.read();
        epoch.map(|epoch| (epoch, self.applied()))
    }

    /// The log that `clock` belongs to; `None` once it is retired, and before the first jump.
    pub fn epoch_of(&self, clock: &ZoneClock) -> Option<Epoch> {
        // A jump retires clocks under the write lock.
        let epoch = self.epoch.read();
        epoch.filter(|_| !clock.is_retired())
    }

    /// Applies entries in order, skipping those that are applied already, and returns what is applied then. Only
    /// after this returned may that be acknowledged, or a lease be taken for it.
    pub fn apply(&self, epoch: Epoch, entries: &[LogEntry]) -> Result<PurgeSeq, ApplyError> {
        let _turn = self.writing.lock();
        let followed = self.epoch();
        if followed != Some(epoch) {
            return Err(ApplyError::WrongEpoch { followed, got: epoch });
        }
        let mut applied = self.applied();
        let mut gap = None;
        for LogEntry { seq, entry } in entries {
            if *seq <= applied {
                continue;
            }
            let expected = applied.next();
            if *seq != expected || seq.number() > SEQ_MAX {
                gap = Some(ApplyError::Gap { expected, got: *seq });
                break;
            }
            // The order that lookups rely on: marks, the zone's last seq, applied.
            let clock = self.clock(&entry.zone);
            self.mark(&clock, entry, seq.number());
            clock.last_seq.store(seq.number(), Ordering::Release);
            self.applied.store(seq.number(), Ordering::Release);
            applied = *seq;
        }
        // A full fence before anyone may say that the entries are applied: no lookup that starts after the
        // acknowledgement reads an older last seq.
        fence(Ordering::SeqCst);
        gap.map_or(Ok(applied), Err)
    }

    /// Goes to the head of a log whose entries can't be had one by one: the first log, another epoch, or a log that
    /// has dropped what would come next. Everything born before is beyond the horizon from then on.
    pub fn jump(&self, epoch: Epoch, head: PurgeSeq) -> Result<(), JumpError> {
        let _turn = self.writing.lock();
        if head.number() > SEQ_MAX {
            return Err(JumpError::TooHigh(head));
        }
        let mut followed = self.epoch.write();
        let applied = self.applied();
        if *followed == Some(epoch) && head < applied {
            return Err(JumpError::Backwards { applied, head });
        }
        // Held to the end, so that nobody obtains a clock of the new epoch before `applied` is of it too.
        let mut clocks = self.clocks.write();
        clocks.jumped_to = head.number();
        if *followed == Some(epoch) {
            // The horizon comes before the last seqs: a walk that read the new last seq and yet passed by the old
            // horizon would vouch up to the head for what it can't know.
            self.horizon.store(head.number(), Ordering::Release);
            for clock in clocks.by_zone.values() {
                clock.last_seq.store(head.number(), Ordering::Release);
            }
        } else {
            // Positions of two epochs don't compare. So what is held from the old one is caught by its clock, and
            // the clocks go before the horizon, which may fall.
            for clock in clocks.by_zone.values() {
                clock.last_seq.store(RETIRED, Ordering::Release);
            }
            clocks.by_zone.clear();
            self.horizon.store(head.number(), Ordering::Release);
        }
        for shard in &self.shards {
            *shard.write() = Marks::default();
        }
        self.applied.store(head.number(), Ordering::Release);
        *followed = Some(epoch);
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Drops the marks up to `up_to`, after a full sweep of the cache up to there that began in `epoch`, and returns
    /// how many went.
    pub fn forget(&self, epoch: Epoch, up_to: PurgeSeq) -> Result<usize, ForgetError> {
        let _turn = self.writing.lock();
        if self.epoch() != Some(epoch) {
            return Err(ForgetError::WrongEpoch { swept: epoch });
        }
        let applied = self.applied();
        if up_to > applied {
            return Err(ForgetError::NotApplied { up_to, applied });
        }
        if up_to <= self.horizon() {
            return Ok(0);
        }
        // The horizon rises first and marks go last, while a walk reads marks first and the horizon last: whoever
        // misses a mark because it went finds the horizon above it.
        self.horizon.store(up_to.number(), Ordering::SeqCst);
        let mut dropped = 0;
        for shard in &self.shards {
            let mut marks = shard.write();
            let before = marks.len();
            marks.retain(|_, mark| mark.forget(up_to.number()));
            dropped += before - marks.len();
            if marks.capacity() / 4 >= marks.len() {
                marks.shrink_to_fit();
            }
        }
        Ok(dropped)
    }

    /// Judges an object born at `born` that has passed a walk up to `checked` (which starts at `born`).
    pub fn judge(&self, subject: Subject<'_>, born: PurgeSeq, checked: PurgeSeq) -> Judgement {
        self.judge_by(subject.clock, born, checked, || {
            let mut newest = self.newest_of_url(subject.clock, subject.url);
            newest.merge(self.newest_of_tags(subject.clock, subject.url.host(), subject.tags));
            newest
        })
    }

    /// Judges a fetch under way whose head, and so whose tags, has not arrived.
    pub fn judge_url_only(&self, clock: &ZoneClock, url: &UrlKey, born: PurgeSeq) -> Judgement {
        self.judge_by(clock, born, born, || self.newest_of_url(clock, url))
    }

    /// Every mark above `born` that names an object, newest first: which purges hit it, for people. Marks at or below the
    /// horizon may be gone. A zone's mark also stands for a change of its cache keys.
    pub fn marks_of<'s>(&self, subject: &Subject<'s>, born: PurgeSeq) -> Vec<ScopeMark<'s>> {
        let (clock, url) = (subject.clock, subject.url);
        let host = Some(url.host());
        let mut named = vec![
            (MarkedScope::Zone, clock.key(Kind::All, None, "")),
            (MarkedScope::Host(url.host().as_str()), clock.key(Kind::Host, host, "")),
            (MarkedScope::Url, clock.url_key(url)),
        ];
        let prefix = |path: &'s str| (MarkedScope::Prefix(path), clock.key(Kind::Prefix, host, path));
        named.extend(directories(url.path()).map(prefix));
        for tag in subject.tags.iter() {
            named.push((MarkedScope::Tag(tag), clock.key(Kind::Tag, None, tag)));
            named.push((MarkedScope::HostTag(tag), clock.key(Kind::HostTag, host, tag)));
        }
        let mut marks = Vec::new();
        for (scope, key) in named {
            let Mark { invalidate, delete } = self.look_up(key);
            for (method, seq) in [(Method::Invalidate, invalidate), (Method::Delete, delete)] {
                if seq > born.number() {
                    marks.push(ScopeMark { scope, method, seq: PurgeSeq::new(seq) });
                }
            }
        }
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.seq));
        marks
    }

    /// How many marks are held.
    pub fn mark_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// How many bytes the tables of marks take, free slots included.
    pub fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().allocation_size()).sum()
    }

    fn judge_by(
        &self,
        clock: &ZoneClock,
        born: PurgeSeq,
        checked: PurgeSeq,
        walk: impl FnOnce() -> Mark,
    ) -> Judgement {
        // Read before the walk: marks up to it are in place, later ones the walk may miss.
        let last_seq = clock.last_seq.load(Ordering::Acquire);
        let walked_at = PurgeSeq::new(last_seq);
        let vouched = born.max(checked).number();
        if last_seq == RETIRED {
            return Judgement { verdict: Verdict::BeyondHorizon, walked_at: PurgeSeq::ZERO };
        }
        if last_seq <= vouched {
            return Judgement { verdict: Verdict::Clear, walked_at };
        }
        let newest = walk();
        // Read after the marks, see `forget`. The clock is read again because a jump to another epoch may have
        // lowered the horizon meanwhile; it retires the clocks first.
        let horizon = self.horizon.load(Ordering::SeqCst);
        let retired = clock.last_seq.load(Ordering::Acquire) == RETIRED;
        let verdict = if retired {
            Verdict::BeyondHorizon
        } else if newest.delete > born.number() {
            Verdict::Deleted(PurgeSeq::new(newest.delete))
        } else if vouched < horizon {
            Verdict::BeyondHorizon
        } else if newest.invalidate > born.number() {
            Verdict::Invalidated(PurgeSeq::new(newest.invalidate))
        } else {
            Verdict::Clear
        };
        Judgement { verdict, walked_at }
    }

    fn mark(&self, clock: &ZoneClock, entry: &Entry, seq: u64) {
        let (kind, key) = match &entry.scope {
            Scope::All | Scope::Keys { .. } => (Kind::All, clock.key(Kind::All, None, "")),
            Scope::Host(host) => (Kind::Host, clock.key(Kind::Host, Some(host), "")),
            Scope::Prefix(prefix) => {
                let depth = prefix.path().bytes().filter(|byte| *byte == b'/').count();
                clock.prefix_depths.fetch_or(depth_bit(depth), Ordering::Release);
                (Kind::Prefix, clock.key(Kind::Prefix, Some(prefix.host()), prefix.path()))
            }
            Scope::Url(url) => (Kind::Url, clock.url_key(url)),
            Scope::Tag { tag, host: None } => (Kind::Tag, clock.key(Kind::Tag, None, tag.as_str())),
            Scope::Tag { tag, host } => {
                (Kind::HostTag, clock.key(Kind::HostTag, host.as_ref(), tag.as_str()))
            }
        };
        clock.kinds.fetch_or(kind.flag(), Ordering::Release);
        let mut shard = self.shards[shard_of(key)].write();
        let mark = shard.entry(key).or_default();
        match entry.method {
            Method::Invalidate => mark.invalidate = seq,
            Method::Delete => mark.delete = seq,
        }
    }

    /// The newest marks of the zone, the host, every prefix of the path, and the URL.
    fn newest_of_url(&self, clock: &ZoneClock, url: &UrlKey) -> Mark {
        let kinds = clock.kinds.load(Ordering::Acquire);
        let host = Some(url.host());
        let mut newest = Mark::default();
        if kinds & Kind::All.flag() != 0 {
            newest.merge(self.look_up(clock.key(Kind::All, None, "")));
        }
        if kinds & Kind::Host.flag() != 0 {
            newest.merge(self.look_up(clock.key(Kind::Host, host, "")));
        }
        if kinds & Kind::Url.flag() != 0 {
            newest.merge(self.look_up(clock.url_key(url)));
        }
        if kinds & Kind::Prefix.flag() != 0 {
            let depths = clock.prefix_depths.load(Ordering::Acquire);
            let hasher = clock.hasher_of(Kind::Prefix, host);
            each_prefix(hasher, url.path(), depths, |key| newest.merge(self.look_up(key)));
        }
        newest
    }

    /// The newest marks of the tags, in the whole zone and on the host.
    fn newest_of_tags(&self, clock: &ZoneClock, host: &HostName, tags: &Tags) -> Mark {
        let kinds = clock.kinds.load(Ordering::Acquire);
        let mut newest = Mark::default();
        for (kind, host) in [(Kind::Tag, None), (Kind::HostTag, Some(host))] {
            if kinds & kind.flag() == 0 {
                continue;
            }
            let hasher = clock.hasher_of(kind, host);
            for tag in tags.iter() {
                newest.merge(self.look_up(key_of(hasher, tag)));
            }
        }
        newest
    }

    fn look_up(&self, key: MarkKey) -> Mark {
        self.shards[shard_of(key)].read().get(&key).copied().unwrap_or_default()
    }
}

impl ZoneClock {
    fn new(hasher: &SipHasher13, zone: &ZoneId, last_seq: u64) -> Self {
        let mut hasher = *hasher;
        // Zone ids all have one length, so that what follows can't be taken for a part of one.
        hasher.write(zone.as_str().as_bytes());
        Self {
            zone: zone.clone(),
            last_seq: AtomicU64::new(last_seq),
            kinds: AtomicU8::new(0),
            prefix_depths: AtomicU64::new(0),
            hasher,
        }
    }

    /// Whether nothing was purged in the zone after `checked`: then an object that passed a walk up to there, or was
    /// born there, is clear. One atomic load; all that a hit pays.
    #[inline]
    pub fn has_nothing_after(&self, checked: PurgeSeq) -> bool {
        self.last_seq.load(Ordering::Acquire) <= checked.number()
    }

    /// Whose clock it is.
    pub fn zone(&self) -> &ZoneId {
        &self.zone
    }

    /// Whether the log's epoch has changed since this clock was obtained.
    pub fn is_retired(&self) -> bool {
        self.last_seq.load(Ordering::Acquire) == RETIRED
    }

    fn hasher_of(&self, kind: Kind, host: Option<&HostName>) -> SipHasher13 {
        let mut hasher = self.hasher;
        hasher.write(&[kind as u8]);
        if let Some(host) = host {
            hasher.write(host.as_str().as_bytes());
            // No host name holds a zero byte.
            hasher.write(&[0]);
        }
        hasher
    }

    fn url_key(&self, url: &UrlKey) -> MarkKey {
        let mut hasher = self.hasher_of(Kind::Url, Some(url.host()));
        // A path begins with a slash, and no scheme does.
        if let Some(scheme) = url.scheme() {
            hasher.write(scheme.as_str().as_bytes());
        }
        key_of(hasher, url.path_and_query())
    }

    fn key(&self, kind: Kind, host: Option<&HostName>, rest: &str) -> MarkKey {
        key_of(self.hasher_of(kind, host), rest)
    }
}

impl Kind {
    fn flag(self) -> u8 {
        1 << self as u8
    }
}

impl Mark {
    fn merge(&mut self, other: Self) {
        self.invalidate = self.invalidate.max(other.invalidate);
        self.delete = self.delete.max(other.delete);
    }

    /// Drops what lies at or below `up_to`; whether anything is left.
    fn forget(&mut self, up_to: u64) -> bool {
        for seq in [&mut self.invalidate, &mut self.delete] {
            if *seq <= up_to {
                *seq = 0;
            }
        }
        *self != Self::default()
    }
}

/// Calls `found` with the key of each directory that holds `path` and has one of `depths`: at each slash the text
/// before it and the text up to it, then the whole. `hasher` has taken what comes before the path.
fn each_prefix(mut hasher: SipHasher13, path: &str, depths: u64, mut found: impl FnMut(MarkKey)) {
    let deepest = if depths >> 63 == 1 { usize::MAX } else { 64 - depths.leading_zeros() as usize };
    let bytes = path.as_bytes();
    let mut taken = 0;
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for (depth, at) in slashes.enumerate() {
        if depth > deepest {
            return;
        }
        hasher.write(&bytes[taken..at]);
        if depth > 0 && depths & depth_bit(depth) != 0 {
            found(finish(&hasher));
        }
        hasher.write(b"/");
        taken = at + 1;
        if depths & depth_bit(depth + 1) != 0 {
            found(finish(&hasher));
        }
    }
    if taken < bytes.len() {
        hasher.write(&bytes[taken..]);
        found(finish(&hasher));
    }
}

/// The texts whose keys [`each_prefix`] finds: at each slash what is before it, unless that is nothing, and what is up to
/// it; then the whole, unless it ends there.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    let at_slash = |(at, _)| [&path[..at], &path[..=at]];
    let cut = path.match_indices('/').flat_map(at_slash).filter(|text| !text.is_empty());
    cut.chain((!path.ends_with('/')).then_some(path))
}

fn depth_bit(slashes: usize) -> u64 {
    1 << slashes.min(63)
}

fn key_of(mut hasher: SipHasher13, rest: &str) -> MarkKey {
    hasher.write(rest.as_bytes());
    finish(&hasher)
}

fn finish(hasher: &SipHasher13) -> MarkKey {
    hasher.finish128().as_u128()
}

/// By the key's highest bits; the table within uses the lower half.
fn shard_of(key: MarkKey) -> usize {
    (key >> (128 - SHARD_BITS)) as usize
}

/// Marks' keys are hashes already.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write(&mut self, bytes: &[u8]) {
        // Only `u128` keys are hashed, and they come by `write_u128`; any other would still hash correctly.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ZoneClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneClock(")?;
        match self.last_seq.load(Ordering::Acquire) {
            RETIRED => write!(f, "retired)"),
            last_seq => write!(f, "{last_seq})"),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("epoch", &self.epoch())
            .field("applied", &self.applied())
            .field("horizon", &self.horizon())
            .field("marks", &self.mark_count())
            .finish()
    }
}
