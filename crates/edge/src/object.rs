//! A stored response: its header, which purges and hits look at, and its content.

use crate::body::Content;
use crate::groups::{GroupEvent, Grouping};
use crate::head::PackedHead;
use http::{HeaderMap, StatusCode};
use httpcache::Freshness;
use purge::{Ledger, PurgeSeq, Subject, Tags, UrlKey, Verdict, ZoneClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What an object takes beside its content, its head and its URL, in bytes: a cautious estimate of the structures
/// and the store's own tables.
const OBJECT_OVERHEAD_BYTES: u64 = 512;

/// When a fetch began, in the log's terms: the `seen` of the request that sent it, and the clock it held then. A
/// position under another clock says nothing (another epoch's counts as 0).
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) clock: Arc<ZoneClock>,
    pub(crate) born: PurgeSeq,
}

/// A response with its place in the log. Never changed: whatever changes born or tags makes a new `Object` over the
/// same content, with a `checked` of its own, so that no older walk vouches for it.
pub(crate) struct Object {
    pub(crate) url: UrlKey,
    pub(crate) birth: Birth,
    /// The position up to which a walk's outcome is recorded here.
    checked: AtomicU64,
    /// The highest `invalidate` that a walk found; 0 is none.
    invalidated: AtomicU64,
    /// The groups that the origin gave it, if any.
    grouping: Option<Box<Grouping>>,
    /// When a fetch that asked about it last failed, in milliseconds since 1970; 0 is never.
    failed_at_ms: AtomicU64,
    /// Where it is beside memory: one of [`place`], or the serial of its file.
    pub(crate) place: AtomicU64,
    pub(crate) tags: Tags,
    /// How many tags of its responses can't count. With any, nobody can tell which purges match: all in its zone do.
    pub(crate) tags_ignored: usize,
    pub(crate) status: StatusCode,
    pub(crate) head: PackedHead,
    pub(crate) freshness: Freshness,
    /// The length that the origin declared, if it did.
    pub(crate) declared_length: Option<u64>,
    pub(crate) content: Arc<Content>,
}

/// Where an object is beside memory. Any other number is the serial of its file.
pub(crate) mod place {
    /// Nowhere.
    pub(crate) const MEMORY: u64 = 0;
    /// On its way to the disk.
    pub(crate) const QUEUED: u64 = 1;
    /// Nowhere, and it will not go to the disk.
    pub(crate) const REFUSED: u64 = 2;
    /// The first serial there is.
    pub(crate) const FIRST_SERIAL: u64 = 16;
}

/// What purges leave of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The HTTP freshness rules decide.
    Clear,
    /// Stale by a purge: never served unvalidated.
    Invalidated(PurgeSeq),
    /// Gone by a purge.
    Deleted(PurgeSeq),
    /// Gone, since the edge cannot know.
    BeyondHorizon,
}

/// The parts of a new object.
pub(crate) struct NewObject {
    pub(crate) url: UrlKey,
    pub(crate) birth: Birth,
    pub(crate) tags: Tags,
    pub(crate) tags_ignored: usize,
    pub(crate) grouping: Option<Box<Grouping>>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) declared_length: Option<u64>,
    pub(crate) content: Arc<Content>,
}

/// Holds a header against the ledger. While nothing was purged in its zone this is one atomic load beside the header's
/// own; otherwise the marks are walked once, and the outcome is kept.
pub(crate) fn hold(
    ledger: &Ledger,
    subject: Subject<'_>,
    born: PurgeSeq,
    checked: &AtomicU64,
    invalidated: &AtomicU64,
) -> Standing {
    let walked_to = PurgeSeq::new(checked.load(Ordering::Acquire));
    if !subject.clock.has_nothing_after(walked_to) {
        let judgement = ledger.judge(subject, born, walked_to);
        match judgement.verdict {
            Verdict::Deleted(seq) => return Standing::Deleted(seq),
            Verdict::BeyondHorizon => return Standing::BeyondHorizon,
            Verdict::Invalidated(seq) => {
                // The outcome first: whoever reads the higher `checked` reads it too.
                invalidated.fetch_max(seq.number(), Ordering::AcqRel);
                checked.fetch_max(judgement.walked_at.number(), Ordering::AcqRel);
            }
            Verdict::Clear => {
                checked.fetch_max(judgement.walked_at.number(), Ordering::AcqRel);
            }
        }
    }
    match invalidated.load(Ordering::Acquire) {
        0 => Standing::Clear,
        seq => Standing::Invalidated(PurgeSeq::new(seq)),
    }
}

/// The same without leaving a trace, and up to where it is known. For those who only want to know.
pub(crate) fn look(
    ledger: &Ledger,
    subject: Subject<'_>,
    born: PurgeSeq,
    checked: &AtomicU64,
    invalidated: &AtomicU64,
) -> (Standing, PurgeSeq) {
    let checked = PurgeSeq::new(checked.load(Ordering::Acquire));
    let judgement = ledger.judge(subject, born, checked);
    let standing = match (judgement.verdict, invalidated.load(Ordering::Acquire)) {
        (Verdict::Deleted(seq), _) => Standing::Deleted(seq),
        (Verdict::BeyondHorizon, _) => Standing::BeyondHorizon,
        (Verdict::Invalidated(seq), known) => Standing::Invalidated(seq.max(PurgeSeq::new(known))),
        (Verdict::Clear, 0) => Standing::Clear,
        (Verdict::Clear, known) => Standing::Invalidated(PurgeSeq::new(known)),
    };
    (standing, checked)
}

impl Object {
    pub(crate) fn new(parts: NewObject) -> Arc<Self> {
        Arc::new(Self::made_of(parts))
    }

    /// An object that was read from the file with this serial, with what walks have found of it.
    pub(crate) fn recalled(parts: NewObject, checked: u64, invalidated: u64, serial: u64) -> Arc<Self> {
        let object = Self::made_of(parts);
        object.checked.fetch_max(checked, Ordering::AcqRel);
        object.invalidated.store(invalidated, Ordering::Release);
        object.place.store(serial, Ordering::Release);
        Arc::new(object)
    }

    fn made_of(parts: NewObject) -> Self {
        Self {
            url: parts.url,
            checked: AtomicU64::new(parts.birth.born.number()),
            birth: parts.birth,
            invalidated: AtomicU64::new(0),
            grouping: parts.grouping,
            failed_at_ms: AtomicU64::new(0),
            place: AtomicU64::new(place::MEMORY),
            tags: parts.tags,
            tags_ignored: parts.tags_ignored,
            status: parts.status,
            head: PackedHead::pack(&parts.headers),
            freshness: parts.freshness,
            declared_length: parts.declared_length,
            content: parts.content,
        }
    }

    /// The same response with other tags: a new header, so that no older walk vouches for it.
    pub(crate) fn with_tags(&self, tags: Tags) -> Arc<Self> {
        Arc::new(Self {
            url: self.url.clone(),
            checked: AtomicU64::new(self.birth.born.number()),
            birth: self.birth.clone(),
            invalidated: AtomicU64::new(0),
            grouping: self.grouping.clone(),
            failed_at_ms: AtomicU64::new(self.failed_at_ms.load(Ordering::Relaxed)),
            place: AtomicU64::new(place::MEMORY),
            tags,
            tags_ignored: self.tags_ignored,
            status: self.status,
            head: self.head.clone(),
            freshness: self.freshness,
            declared_length: self.declared_length,
            content: Arc::clone(&self.content),
        })
    }

    /// Holds the object against the ledger. While nothing was purged in its zone this is one atomic load beside the
    /// object's own; otherwise the marks are walked once, and the outcome is kept.
    pub(crate) fn standing(&self, ledger: &Ledger) -> Standing {
        let checked = PurgeSeq::new(self.checked.load(Ordering::Acquire));
        if self.tags_ignored > 0 && !self.birth.clock.has_nothing_after(checked) {
            return Standing::BeyondHorizon;
        }
        hold(ledger, self.subject(), self.birth.born, &self.checked, &self.invalidated)
    }

    /// The same without leaving a trace, and up to where it is known. For those who only want to know.
    pub(crate) fn look(&self, ledger: &Ledger) -> (Standing, PurgeSeq) {
        look(ledger, self.subject(), self.birth.born, &self.checked, &self.invalidated)
    }

    /// The same as [`Object::standing`], and lets the outcome count up to `swept_to`, every mark up to which was applied before the walk.
    pub(crate) fn sweep(&self, ledger: &Ledger, swept_to: PurgeSeq) -> Standing {
        let standing = self.standing(ledger);
        if matches!(standing, Standing::Clear | Standing::Invalidated(_)) && !self.birth.clock.is_retired() {
            self.checked.fetch_max(swept_to.number(), Ordering::AcqRel);
        }
        standing
    }

    /// Whether no purge above its born matches it and its born is not below the horizon: what a request that came
    /// later than its fetch asks before it shares.
    pub(crate) fn is_clear_since_birth(&self, ledger: &Ledger) -> bool {
        match self.tags_ignored {
            0 => ledger.judge(self.subject(), self.birth.born, self.birth.born).verdict == Verdict::Clear,
            _ => self.birth.clock.has_nothing_after(self.birth.born),
        }
    }

    /// Whether an unsafe request made it stale, or what is in a group with it: never served unvalidated.
    pub(crate) fn is_outdated(&self) -> bool {
        self.grouping.as_ref().is_some_and(|grouping| grouping.is_outdated())
    }

    /// The last event of groups before its fetch was sent; before all events if it has no groups.
    pub(crate) fn group_event(&self) -> GroupEvent {
        self.grouping.as_ref().map_or(GroupEvent::FIRST, |grouping| grouping.since())
    }

    /// It is not on its way to the disk any more, but here; unless somebody has seen to it that it never goes there.
    pub(crate) fn leave_queue(&self, to: u64) {
        let _ = self.place.compare_exchange(place::QUEUED, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Sees to it that no file is made of it from now on. Where it was.
    pub(crate) fn keep_off_disk(&self) -> u64 {
        self.place.swap(place::REFUSED, Ordering::AcqRel)
    }

    /// Takes note that a fetch that asked about it failed.
    pub(crate) fn note_failure(&self, now: SystemTime) {
        self.failed_at_ms.store(millis(now).max(1), Ordering::Relaxed);
    }

    /// Whether the last fetch that asked about it failed. One that succeeds makes a new `Object`.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed_at_ms.load(Ordering::Relaxed) > 0
    }

    /// Whether that is no longer ago than `rest`.
    pub(crate) fn failed_within(&self, rest: Duration, now: SystemTime) -> bool {
        let (failed_at, now) = (self.failed_at_ms.load(Ordering::Relaxed), millis(now));
        // A clock that was set back tells nothing.
        failed_at > 0 && failed_at <= now && Duration::from_millis(now - failed_at) < rest
    }

    /// What it takes in the store, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        let content = self.content.whole().map_or(0, |pieces| pieces.length());
        let tags = self.tags.as_header_value().len() as u64;
        OBJECT_OVERHEAD_BYTES + content + self.head.bytes() + self.url.path_and_query().len() as u64 + tags
    }

    /// What purges name it by.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { clock: &self.birth.clock, url: &self.url, tags: &self.tags }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
