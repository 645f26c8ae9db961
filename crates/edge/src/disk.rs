//! The disk tier: stored responses outlive memory and the process.
//!
//! Owns a directory, one file for each object (of large content for its head and for each slice), and the state that tells what the files are worth. Behind
//! [`crate::shelf::Shelf`], which asks here what memory does not have. One thread makes all changes to the directory
//! ([`keeper`]); reads run on the workers' blocking threads, so that no worker ever waits for a disk. Whatever goes wrong
//! with the disk costs a fetch: a write that does not come about, a file that is torn, unreadable or gone.
//!
//! # What must hold, whenever the process or the machine ends
//!
//! A file says in its header up to where it was held against the marks (`checked`), and whether an `invalidate` was found.
//! The state says up to where a sweep walked all files (`swept_to`), and beside it holds the ledger. A recovered object
//! counts as checked up to the higher of the two, and the ledger judges it like any other. So only this claim has to be true of
//! whatever the directory holds after a crash:
//!
//! > For each file, every `delete` mark that matches it lies at or below its born or above both `checked` and
//! > `swept_to`; every `invalidate` mark likewise, or its header says that it is stale.
//!
//! It is kept by the order of things, all of them on the one thread:
//!
//! 1. *A write* reads `applied` (`A`), then walks the marks, then composes the header with `checked := A`. So the claim holds for the
//!    new file by itself, however old the state is that survives with it. Marks above the state's `applied` are applied
//!    again before the first lease. Names are never used twice, and parts of a file that a crash lost show in its sums.
//! 2. *A sweep* reads `S := applied`, then walks the index; between two of its steps there may be writes, whose `A` is at or above
//!    `S`. No write is half done when `S` is read: writes take turns with it. What is matched by a delete is unlinked, what
//!    is invalidated is marked so in its file.
//! 3. Every file that left the index before the walk reached it (evicted, replaced, removed) is unlinked before the sweep ends: leaving
//!    the index and joining the list of the condemned is one step under one lock ([`jobs`]).
//! 4. Then the file system is synced, and only then `swept_to := S` is part of a state. If the sync fails, no state is ever written
//!    again by this process: an older one is safe, by 1.
//! 5. While files of an earlier run are still being found, no sweep begins: it could not walk them.
//!
//! Crash points: before the sync of 4, the old `swept_to` counts, and each change that survives alone makes the claim only truer. Between sync and
//! state: the same with all changes. A state that is torn counts as missing, and so do all files, by the instance in their names.
//! State written, marks dropped from it: they are at or below `S`, and the claim no longer needs them. A state whose ledger jumped has a horizon above
//! `swept_to`; what was not checked up to it is beyond the horizon, also after a restart.
//!
//! Tags are the one thing about content that can be learnt later, by a 304 or by a part of large content: see
//! [`crate::shelf::Shelf::renew`] and [`crate::shelf::Shelf::add_tags`], which let no file survive that knows fewer tags than were seen.
//!
//! # Heads and slices
//!
//! Each is a file of its own, with a born of its own, for which the claim holds by itself; [`crate::slices`] says what holds them
//! together. So a crash may lose or bring back any of them: a slice alone is found by nobody, since only a head knows its generation, and
//! a head alone costs fetches. What a crash may not do is to bring back a head that knows fewer tags than parts of its content have brought,
//! since it vouches for slices of before. Its file therefore goes, durably, before the bytes of such a part count; the new one is written
//! like any other, and until it is there the slices are nobody's.

mod admission;
mod bytes;
mod format;
mod index;
mod jobs;
mod keeper;
mod listing;
mod recall;
mod state_file;
mod volume;

#[cfg(test)]
mod tests;

pub use listing::{DirectoryListing, StoredFile, StoredSlices, list_directory};
pub use volume::{DirectoryError, ObjectFile, Volume};

pub(crate) use index::{Stored, StoredKind};
pub(crate) use jobs::SweepOutcome;
pub(crate) use keeper::Keeper;
pub(crate) use recall::Recalled;
pub(crate) use state_file::Tier;
pub(crate) use volume::Directory;

use crate::clock::Clocks;
use crate::counter::Counter;
use crate::groups::GroupMarks;
use crate::object::{Object, Standing, place};
use crate::shelf::{ObjectKey, Selector};
use crate::slices::SliceOf;
use crate::state::Counters;
use crate::surroundings::{NoRandomness, Randomness};
use admission::SeenKeys;
use index::Index;
use jobs::{Jobs, WriteKind};
use purge::{Ledger, PurgeSeq, UrlKey};
use recall::Reads;
use state_file::Durable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// For how long nothing is written after a write failed.
pub(crate) const WRITE_PAUSE: Duration = Duration::from_secs(10);

/// How long a response waits for the disk to take its slices, once. Then it goes on without, until the disk has caught up.
pub(crate) const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is kept of an object that comes from disk again: its file's front is at most so much larger than its content.
const FRONT_BYTES_ROOM: u64 = 64 * 1024;

/// A disk tier as all threads of an edge see it.
pub(crate) struct Disk {
    volume: Arc<dyn Volume>,
    ledger: Arc<Ledger>,
    groups: Arc<GroupMarks>,
    tier: Tier,
    index: Index,
    jobs: Jobs,
    reads: Reads,
    seen: SeenKeys,
    budget_bytes: u64,
    /// From how many bytes on something had to go for something else: the index's tables, which share the budget, are never
    /// full to the last byte.
    full_at: AtomicU64,
    boot: fn() -> Duration,
    /// Until when nothing is written, in nanoseconds of the boot clock.
    writes_pause_until: AtomicU64,
    /// The disk failed in a way after which nothing that is written there can be relied upon.
    gave_up: AtomicBool,
    is_recovered: AtomicBool,
    /// Nothing of it is used any more: see [`Disk::close`].
    is_closed: AtomicBool,
    /// Whether another edge may open the directory.
    released: watch::Sender<bool>,
    counts: DiskCounts,
}

/// What a disk tier counts. All of them only grow.
#[derive(Debug, Default)]
pub struct DiskCounts {
    /// Objects that were read from disk for a request.
    pub hits: Counter,
    /// Objects written.
    pub written: Counter,
    /// Objects that were to be written and were not: the queue was full, or the disk failed.
    pub not_written: Counter,
    /// Writes that failed.
    pub write_errors: Counter,
    /// Reads that failed, and files that were torn or rotten.
    pub read_errors: Counter,
    /// Objects that went because the budget was used up.
    pub evicted: Counter,
}

/// How a disk tier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    /// How many files there are.
    pub files: usize,
    /// How many bytes of the budget they take.
    pub bytes: u64,
    /// Whether all files of the last run have been found.
    pub is_recovered: bool,
    /// Whether the disk is full or failing: the edge goes on from memory.
    pub is_failing: bool,
}

/// Why a disk tier does not start.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It can't be read or written.
    #[error("the state of the cache directory can't be kept")]
    State(#[source] std::io::Error),
    /// The system gives no random numbers.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// What a start finds: the ledger that goes on where the last run was, and whose files there are.
pub(crate) struct Opened {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tier: Tier,
    swept_to: PurgeSeq,
}

impl Opened {
    /// Reads the state, or begins anew if there is none that can be read, and makes this start durable before anything
    /// is written: no serial of an earlier start is used again.
    pub(crate) fn read(volume: &dyn Volume, randomness: Randomness) -> Result<Self, DiskError> {
        let bytes = volume.state().map_err(DiskError::State)?;
        let found = bytes.as_deref().and_then(Durable::from_bytes).and_then(|found| {
            Ledger::import(found.tier.ledger_key, &found.ledger).ok().map(|ledger| (found, ledger))
        });
        let (mut durable, ledger) = match found {
            Some(found) => found,
            None => {
                if bytes.is_some() {
                    tracing::warn!("the state of the cache directory is damaged, its content is dropped");
                }
                let tier = Tier {
                    instance: u64::from_be_bytes(randomness.bytes()?),
                    starts: 0,
                    shelf_key: randomness.bytes()?,
                    ledger_key: randomness.bytes()?,
                };
                let ledger = Ledger::new(tier.ledger_key);
                (Durable { tier, swept_to: PurgeSeq::ZERO, ledger: ledger.export() }, ledger)
            }
        };
        durable.tier.starts += 1;
        let too_large = || std::io::Error::other("more marks than a state may hold");
        let bytes = durable.to_bytes().ok_or_else(too_large).map_err(DiskError::State)?;
        volume.make_instance(durable.tier.instance).map_err(DiskError::State)?;
        volume.put_state(&bytes).map_err(DiskError::State)?;
        Ok(Self { ledger: Arc::new(ledger), tier: durable.tier, swept_to: durable.swept_to })
    }
}

impl Disk {
    /// The tier, and what is to run on a thread of its own.
    pub(crate) fn new(
        volume: Arc<dyn Volume>,
        opened: Opened,
        groups: Arc<GroupMarks>,
        budget_bytes: u64,
        object_bytes_max: u64,
        clocks: Clocks,
    ) -> (Arc<Self>, Keeper) {
        let Opened { ledger, tier, swept_to } = opened;
        let disk = Arc::new(Self {
            volume,
            ledger,
            groups,
            index: Index::new(budget_bytes, object_bytes_max.saturating_add(FRONT_BYTES_ROOM)),
            jobs: Jobs::new(),
            reads: Reads::new(),
            seen: SeenKeys::new(budget_bytes),
            budget_bytes,
            full_at: AtomicU64::new(budget_bytes),
            boot: clocks.boot,
            writes_pause_until: AtomicU64::new(0),
            gave_up: AtomicBool::new(false),
            is_recovered: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            released: watch::Sender::new(false),
            counts: DiskCounts::default(),
            tier,
        });
        let keeper = Keeper::new(Arc::clone(&disk), swept_to);
        (disk, keeper)
    }

    /// What it counted.
    pub(crate) fn counts(&self) -> &DiskCounts {
        &self.counts
    }

    /// How it stands.
    pub(crate) fn usage(&self) -> DiskUsage {
        DiskUsage {
            files: self.index.file_count(),
            bytes: self.index.used_bytes(),
            is_recovered: self.is_recovered.load(Ordering::Acquire),
            is_failing: !self.takes_writes(),
        }
    }

    /// How many bytes it may take.
    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// The files of a URL's response or of its variants, for which the whole index is walked. Leaves no trace.
    pub(crate) fn stored_of(
        &self,
        url_key: ObjectKey,
        url: &UrlKey,
        most: usize,
    ) -> Vec<(ObjectKey, Arc<Stored>)> {
        let is_of_url = |stored: &Stored| {
            matches!(&stored.kind, StoredKind::Object(header) if header.url == *url) && !stored.is_slice()
        };
        match self.index.peek(url_key).filter(|_| !self.is_closed()) {
            Some(stored) if is_of_url(&stored) => vec![(url_key, stored)],
            Some(stored) if matches!(stored.kind, StoredKind::Varies(..)) => {
                let files = self.index.snapshot().into_iter();
                files.filter(|(_, stored)| is_of_url(stored)).take(most).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The file under a key, without reading it.
    pub(crate) fn peek(&self, key: ObjectKey) -> Option<Arc<Stored>> {
        self.index.peek(key)
    }

    /// What selects among the responses under a key, if there is more than one.
    pub(crate) fn selector(&self, key: ObjectKey) -> Option<(Arc<Selector>, u64)> {
        match &self.index.find(key)?.kind {
            StoredKind::Varies(selector, generation) => Some((Arc::clone(selector), *generation)),
            StoredKind::Object(_) => None,
        }
    }

    /// An object was stored in memory. Queues it for the disk if there is room for it, or if it was fetched before.
    pub(crate) fn offer_new(&self, key: ObjectKey, object: &Arc<Object>) {
        let fetched_before = self.seen.saw(key);
        if fetched_before || self.has_room(object.weight()) {
            self.offer(key, object);
        }
    }

    /// A slice was stored in memory. Queues it where its head is on disk, or on its way there, by the same rule; so of a
    /// large response that is asked for once no more is written than there is room for. `head` is its head in memory.
    pub(crate) fn offer_slice(
        &self,
        key: ObjectKey,
        slice: &Arc<Object>,
        of: SliceOf,
        head: Option<&Arc<Object>>,
    ) {
        let fetched_before = self.seen.saw(key);
        if let Some(head) = head {
            self.offer_again(of, head);
        }
        let is_queued = head.is_some_and(|head| head.place.load(Ordering::Acquire) == place::QUEUED);
        if (is_queued || self.has_head(of)) && (fetched_before || self.has_room(slice.weight())) {
            self.queue(key, slice);
        }
    }

    /// A head went from the disk for want of room, and new slices come: it may go there again.
    fn offer_again(&self, of: SliceOf, head: &Arc<Object>) {
        let serial = head.place.load(Ordering::Acquire);
        let is_gone = serial >= place::FIRST_SERIAL
            && self.index.peek(of.head).is_none_or(|stored| stored.serial != serial);
        let leaves = || {
            head.place.compare_exchange(serial, place::MEMORY, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        if is_gone && leaves() {
            self.offer_new(of.head, head);
        }
    }

    /// Queues an object that is in memory only. A slice only where its head is on disk.
    pub(crate) fn offer(&self, key: ObjectKey, object: &Arc<Object>) {
        if object.content.slice_of().is_none_or(|of| self.has_head(of)) {
            self.queue(key, object);
        }
    }

    fn queue(&self, key: ObjectKey, object: &Arc<Object>) {
        let is_whole = object.content.whole().is_some() || object.content.slices().is_some();
        if !is_whole || !self.takes_writes() {
            return;
        }
        let queued =
            object.place.compare_exchange(place::MEMORY, place::QUEUED, Ordering::AcqRel, Ordering::Acquire);
        if queued.is_ok() && !self.jobs.write(key, WriteKind::Object(Arc::clone(object)), object.weight()) {
            object.leave_queue(place::MEMORY);
            Counters::count(&self.counts.not_written);
        }
    }

    /// Waits until an object with so much content may wait to be written; for [`ROOM_WAIT_MAX`] at most, or not at all.
    /// Whether it may now, or would not be written anyway.
    pub(crate) async fn room(&self, content_bytes: u64, waits: bool) -> bool {
        let longest = if waits { ROOM_WAIT_MAX } else { Duration::ZERO };
        let room = self.jobs.room(content_bytes.saturating_add(FRONT_BYTES_ROOM));
        !self.takes_writes() || tokio::time::timeout(longest, room).await.is_ok()
    }

    /// Whether this object could be read from here.
    pub(crate) fn holds(&self, key: ObjectKey) -> bool {
        self.index.peek(key).is_some_and(|stored| matches!(stored.kind, StoredKind::Object(_)))
            && self.is_read()
    }

    /// Whether the head of a response is here.
    pub(crate) fn has_head(&self, of: SliceOf) -> bool {
        !self.is_closed() && self.index.peek(of.head).is_some_and(|stored| stored.is_head_of(of))
    }

    /// The same, which counts for its keeping.
    fn uses_head(&self, of: SliceOf) -> bool {
        self.index.find(of.head).is_some_and(|stored| stored.is_head_of(of))
    }

    /// Whether the head of a response is here or on its way. In this order: what leaves the queue is here by then.
    pub(crate) fn has_or_gets_head(&self, of: SliceOf) -> bool {
        self.jobs.holds_head(of) || self.has_head(of)
    }

    /// What purges leave of the head of a response, if it is here.
    pub(crate) fn head_standing(&self, of: SliceOf) -> Option<Standing> {
        let is_head = |stored: &Arc<Stored>| !self.is_closed() && stored.is_head_of(of);
        let stored = self.index.peek(of.head).filter(is_head)?;
        match &stored.kind {
            StoredKind::Object(header) => Some(header.standing(&self.ledger)),
            StoredKind::Varies(..) => None,
        }
    }

    /// Every head and slice, as the walk comes to it.
    pub(crate) fn in_slices(&self) -> impl Iterator<Item = (ObjectKey, Arc<Stored>)> + '_ {
        self.index.in_slices()
    }

    /// Lets go of one file, if it is still there.
    pub(crate) fn condemn_file(&self, key: ObjectKey, stored: &Stored) {
        self.jobs.condemn_file(key, stored.serial, &self.index);
    }

    /// Whether an object is still on its way to the disk: not once its key was condemned, even while its file is being written.
    pub(crate) fn is_queued(&self, key: ObjectKey, object: &Object) -> bool {
        self.jobs.holds(key, object)
    }

    /// Queues what selects among a URL's responses.
    pub(crate) fn offer_selector(&self, key: ObjectKey, selector: &Arc<Selector>, generation: u64) {
        let write = WriteKind::Selector(Arc::clone(selector), generation);
        if self.takes_writes() && !self.jobs.write(key, write, 0) {
            Counters::count(&self.counts.not_written);
        }
    }

    /// Lets go of whatever is or will be on disk under a key, since something else takes its place. Whether there was
    /// anything.
    pub(crate) fn condemn(&self, key: ObjectKey) -> bool {
        self.jobs.condemn(key, &self.index, false)
    }

    /// The same, and it stays away.
    pub(crate) fn remove(&self, key: ObjectKey) {
        self.jobs.condemn(key, &self.index, true);
    }

    /// Lets go of the object under a key if purges leave nothing of it.
    pub(crate) fn condemn_if_gone(&self, key: ObjectKey) {
        let Some(stored) = self.index.peek(key) else { return };
        if let StoredKind::Object(header) = &stored.kind
            && matches!(header.standing(&self.ledger), Standing::Deleted(_) | Standing::BeyondHorizon)
        {
            self.jobs.condemn_file(key, stored.serial, &self.index);
        }
    }

    /// Waits until what was condemned under a key can't come back, whatever happens to the machine. Whether that is certain.
    pub(crate) async fn settle(&self, key: ObjectKey) -> bool {
        // No answer: the tier has ended, and nothing of it is used any more.
        self.jobs.settle(key).await.unwrap_or(true)
    }

    /// Sweeps the disk. `None` when the tier ends meanwhile; after that there is nothing to sweep.
    pub(crate) async fn sweep(&self) -> Option<SweepOutcome> {
        if self.is_closed() {
            return Some(SweepOutcome::Swept(0));
        }
        self.jobs.sweep().await.ok()
    }

    /// Writes the state soon.
    pub(crate) fn save(&self) {
        self.jobs.save();
    }

    /// Ends the thread, once it has written what is queued.
    pub(crate) fn stop(&self) {
        self.jobs.stop();
    }

    fn has_room(&self, bytes: u64) -> bool {
        let used = self.index.used_bytes().saturating_add(self.jobs.write_bytes());
        used.saturating_add(index::weight(bytes)) <= self.full_at.load(Ordering::Relaxed)
    }

    /// Something had to go for something else.
    fn note_full(&self) {
        self.full_at.fetch_min(self.index.used_bytes(), Ordering::Relaxed);
    }

    /// Ends the tier while the edge goes on from memory: what is queued is written, the state is made durable, and the
    /// directory is free for another edge.
    pub(crate) async fn close(&self) {
        self.jobs.stop();
        // Kept by this tier itself.
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }

    /// Whether the directory may be another edge's by now.
    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn takes_writes(&self) -> bool {
        !self.is_closed()
            && !self.gave_up.load(Ordering::Acquire)
            && self.now() >= self.writes_pause_until.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        nanos((self.boot)())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
