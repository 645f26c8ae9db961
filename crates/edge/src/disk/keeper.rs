//! The one thread that changes the disk: writes, removals, the sweep, finding the files of the last run, the state.
//!
//! It works in turns, so that a long sweep or recovery holds up no write for long. The order within and between turns is
//! what [`super`] argues with. A turn does no waiting and can be taken by a test.

use super::format::{
    self, BadFile, FrontKind, FrontPart, META_BYTES_MAX, STANDING_BYTES, Standings, encode_object,
    encode_selector, encode_standing,
};
use super::index::{Stored, StoredHeader, StoredKind, StoredPart};
use super::jobs::{SweepOutcome, Turn, Write, WriteKind};
use super::state_file::{Durable, Tier};
use super::volume::{BUCKETS, ObjectFile};
use super::{Disk, WRITE_PAUSE, nanos};
use crate::groups::GroupEvent;
use crate::object::{Birth, Object, Standing, place};
use crate::shelf::ObjectKey;
use crate::state::Counters;
use purge::{Epoch, PurgeSeq};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

/// How many files one turn sweeps, or finds. Tests want much to happen in between.
const FILES_PER_TURN: usize = if cfg!(test) { 2 } else { 256 };

/// How often the state is written while it changes.
pub(crate) const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the writes that are queued may take once the edge ends.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a file is read to find what it is; few fronts are longer.
const FRONT_READ_BYTES: u64 = 8 * 1024;

/// See the module.
pub(crate) struct Keeper {
    disk: Arc<Disk>,
    /// The last sweep that was made durable.
    swept: Option<(Epoch, PurgeSeq)>,
    /// What the last state said; the next is written when it would say something else.
    saved: Option<Saved>,
    /// The log of which the state on disk is: files of another are dropped after a restart.
    saved_epoch: Option<Epoch>,
    save_at: Duration,
    save_failed: bool,
    write_failed: bool,
    next_serial: u64,
    /// Whether anything was changed since the last sync.
    is_dirty: bool,
    sweeping: Option<Sweeping>,
    recovering: Option<Recovering>,
    /// No state is to be left behind, and one is there yet.
    forgets_all: bool,
    is_forgotten: bool,
    stopping_until: Option<Duration>,
}

/// What tells one state from another: epoch, applied, horizon, and the sweep.
type Saved = (Option<(Epoch, PurgeSeq)>, PurgeSeq, PurgeSeq);

struct Sweeping {
    epoch: Epoch,
    swept_to: PurgeSeq,
    left: Vec<(ObjectKey, Arc<Stored>)>,
    removed: u64,
    done: oneshot::Sender<SweepOutcome>,
}

struct Recovering {
    /// Of the state; files of another are dropped.
    epoch: Option<Epoch>,
    swept_to: PurgeSeq,
    next_bucket: u16,
    files: Vec<ObjectFile>,
    began: Duration,
    dropped: u64,
    broken: u64,
    /// Files that an edge of another version wrote.
    other_layout: u64,
}

/// What is to become of a file that was found.
enum FoundFile {
    Kept(Stored),
    /// It is of another epoch, or purges leave nothing of it.
    Dropped,
    Broken(BadFile),
}

impl Keeper {
    pub(super) fn new(disk: Arc<Disk>, swept_to: PurgeSeq) -> Self {
        let epoch = disk.ledger.epoch();
        let began = (disk.boot)();
        let recovering = Recovering {
            epoch,
            swept_to,
            next_bucket: 0,
            files: Vec::new(),
            began,
            dropped: 0,
            broken: 0,
            other_layout: 0,
        };
        Self {
            swept: epoch.map(|epoch| (epoch, swept_to)),
            saved: None,
            saved_epoch: epoch,
            save_at: began + SAVE_INTERVAL,
            save_failed: false,
            write_failed: false,
            next_serial: first_serial(&disk.tier),
            is_dirty: true,
            sweeping: None,
            recovering: Some(recovering),
            forgets_all: false,
            is_forgotten: false,
            stopping_until: None,
            disk,
        }
    }

    /// Works until it is told to end. Then the directory may be another edge's.
    pub(crate) fn run(mut self) {
        loop {
            let is_done = self.turn();
            if is_done && self.stopping_until.is_some() {
                break;
            }
            if is_done {
                let now = (self.disk.boot)();
                self.disk.jobs.wait(self.save_at.saturating_sub(now).max(Duration::from_millis(1)));
            }
        }
        self.save();
        self.disk.jobs.end();
        self.disk.is_closed.store(true, Ordering::Release);
        self.disk.volume.release();
        self.disk.released.send_replace(true);
    }

    /// The same on a thread that others need, too: with a pause before each turn. A long one stands for a slow disk.
    pub(crate) async fn run_among_others(mut self, pause: impl Fn() -> Duration) {
        loop {
            tokio::time::sleep(pause()).await;
            if self.turn() && self.stopping_until.is_some() {
                break;
            }
        }
        self.save();
    }

    /// One turn. Whether there is nothing left to do at once.
    pub(super) fn turn(&mut self) -> bool {
        let Turn { condemned, settles, write, sweep, is_told_to_save, is_told_to_stop } =
            self.disk.jobs.take();
        let now = (self.disk.boot)();
        for (key, serial) in condemned {
            self.unlink(key, serial);
        }
        for (key, done) in settles {
            let is_settled = self.settle(key);
            let _ = done.send(is_settled);
        }
        if is_told_to_stop && self.stopping_until.is_none() {
            self.stopping_until = Some(now + STOP_TIMEOUT);
        }
        let is_late = self.stopping_until.is_some_and(|until| now >= until);
        let had_write = write.is_some();
        if let Some(write) = write.filter(|_| !is_late) {
            self.write(write);
        }
        if let Some(done) = sweep {
            self.begin_sweep(done);
        }
        let is_stopping = self.stopping_until.is_some();
        if !is_stopping {
            self.recover_some();
            self.sweep_some();
        }
        if is_told_to_save || now >= self.save_at {
            self.save();
        }
        let works = !is_stopping && (self.recovering.is_some() || self.sweeping.is_some());
        (!had_write || is_late) && !works
    }

    fn file(&self, key: ObjectKey, serial: u64) -> ObjectFile {
        ObjectFile { instance: self.disk.tier.instance, key, serial }
    }

    /// Removes a file that is in the index no more.
    fn unlink(&mut self, key: ObjectKey, serial: u64) {
        self.is_dirty = true;
        if let Err(error) = self.disk.volume.remove(self.file(key, serial)) {
            self.give_up("a file can't be removed", &error);
        }
    }

    /// What is condemned is unlinked by now; this makes it last. Whether it did. If not, a file may come back that does not
    /// know all tags of its content: then the whole directory is to be worth nothing at the next start.
    fn settle(&mut self, key: ObjectKey) -> bool {
        if !self.has_given_up() {
            let bucket = self.file(key, 0).bucket();
            if let Err(error) = self.disk.volume.sync_bucket(self.disk.tier.instance, bucket) {
                self.give_up("a removal can't be made durable", &error);
            }
        }
        if self.has_given_up() && !self.is_forgotten {
            self.forget_all();
        }
        !self.has_given_up()
    }

    /// Leaves no state behind, so that the next start drops all files. On a disk that takes nothing at all this is tried again.
    fn forget_all(&mut self) {
        self.forgets_all = self.disk.volume.put_state(&[]).is_err();
        self.is_forgotten = !self.forgets_all;
    }

    fn has_given_up(&self) -> bool {
        self.disk.gave_up.load(Ordering::Acquire)
    }

    /// After this nothing is known about what the disk holds: no state may claim anything of it any more, and the one that
    /// is there says nothing wrong.
    fn give_up(&self, what: &str, error: &io::Error) {
        if !self.disk.gave_up.swap(true, Ordering::AcqRel) {
            error!(
                error = error as &dyn std::error::Error,
                "{what}: nothing is written to this disk any more until the edge starts anew, it goes on from memory"
            );
        }
    }

    fn write(&mut self, write: Write) {
        let Write { key, kind, .. } = write;
        if !self.disk.takes_writes() || self.is_slice_alone(&kind) {
            self.not_written(&kind);
            return;
        }
        // Kept off the disk after it was queued: a file of it might know less than is known by now.
        if matches!(&kind, WriteKind::Object(object) if object.place.load(Ordering::Acquire) != place::QUEUED)
        {
            return;
        }
        if self.disk.ledger.epoch() != self.saved_epoch {
            self.save();
        }
        let file = self.file(key, self.next_serial);
        self.next_serial += 1;
        let composed = match &kind {
            WriteKind::Object(object) => self.compose(file, object),
            WriteKind::Selector(selector, generation) => encode_selector(file, selector, *generation)
                .map(|front| (front, StoredKind::Varies(Arc::clone(selector), *generation))),
        };
        let Some((front, stored)) = composed else {
            if let WriteKind::Object(object) = &kind {
                object.leave_queue(place::REFUSED);
            }
            return;
        };
        let mut parts: Vec<&[u8]> = vec![&front];
        if let WriteKind::Object(object) = &kind {
            parts.extend(
                object.content.whole().into_iter().flat_map(|pieces| pieces.iter().map(|piece| &piece[..])),
            );
        }
        let file_bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.is_dirty = true;
        if let Err(error) = self.disk.volume.put(file, &parts) {
            self.write_error(&error);
            self.not_written(&kind);
            return;
        }
        if std::mem::take(&mut self.write_failed) {
            info!("the disk takes writes again");
        }
        Counters::count(&self.disk.counts.written);
        let stored = Arc::new(Stored { serial: file.serial, file_bytes, kind: stored });
        let (gone, is_in) = self.disk.jobs.land(key, stored, &self.disk.index);
        let is_refused = is_in && gone.iter().any(|(_, gone)| gone.serial == file.serial);
        if let WriteKind::Object(object) = &kind {
            let place = match (is_in, is_refused) {
                (true, false) => file.serial,
                (_, true) => place::REFUSED,
                (false, false) => place::MEMORY,
            };
            object.leave_queue(place);
        }
        self.unlink_evicted(gone, key);
    }

    /// Walks the marks and composes the front. `None` for what is not to be written. The order is the first rule's:
    /// `applied`, then the marks, then the header; and an object of an epoch that ended meanwhile is none.
    fn compose(&self, file: ObjectFile, object: &Object) -> Option<(Vec<u8>, StoredKind)> {
        let ledger = &self.disk.ledger;
        let (epoch, applied) = ledger.position()?;
        let invalidated = match object.sweep(ledger, applied) {
            Standing::Clear => PurgeSeq::ZERO,
            Standing::Invalidated(seq) => seq,
            Standing::Deleted(_) | Standing::BeyondHorizon => return None,
        };
        if ledger.epoch_of(&object.birth.clock) != Some(epoch) {
            return None;
        }
        let standing = Standings { checked: applied, invalidated };
        let front = encode_object(file, epoch, standing, object)?;
        let header = StoredHeader {
            url: object.url.clone(),
            birth: object.birth.clone(),
            tags: object.tags.clone(),
            group_event: object.group_event(),
            checked: AtomicU64::new(applied.number()),
            invalidated: AtomicU64::new(invalidated.number()),
            noted: AtomicU64::new(invalidated.number()),
            part: match (object.content.slices(), object.content.slice_of()) {
                (Some(slices), _) => StoredPart::Head { generation: slices.generation },
                (None, Some(of)) => StoredPart::Slice(Box::new(of)),
                (None, None) => StoredPart::Whole,
            },
        };
        Some((front, StoredKind::Object(header)))
    }

    fn unlink_evicted(&mut self, gone: Vec<(ObjectKey, Arc<Stored>)>, newcomer: ObjectKey) {
        for (key, stored) in gone {
            if key != newcomer {
                self.disk.note_full();
                Counters::count(&self.disk.counts.evicted);
            }
            self.unlink(key, stored.serial);
        }
    }

    fn not_written(&self, kind: &WriteKind) {
        Counters::count(&self.disk.counts.not_written);
        if let WriteKind::Object(object) = kind {
            object.leave_queue(place::MEMORY);
        }
    }

    /// Whether this is a slice whose head is not on disk: nobody could find it. With its slices a head stays.
    fn is_slice_alone(&self, kind: &WriteKind) -> bool {
        let WriteKind::Object(object) = kind else { return false };
        object.content.slice_of().is_some_and(|of| !self.disk.uses_head(of))
    }

    /// One line for all the writes that fail until one succeeds.
    fn write_error(&mut self, error: &io::Error) {
        Counters::count(&self.disk.counts.write_errors);
        let until = (self.disk.boot)() + WRITE_PAUSE;
        self.disk.writes_pause_until.store(nanos(until), Ordering::Release);
        if !std::mem::replace(&mut self.write_failed, true) {
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            let pause_secs = WRITE_PAUSE.as_secs();
            let error = error as &dyn std::error::Error;
            if is_full {
                warn!(error, pause_secs, "the disk is full: the edge goes on from memory and tries again");
            } else {
                warn!(error, pause_secs, "the disk fails: the edge goes on from memory and tries again");
            }
        }
    }

    fn begin_sweep(&mut self, done: oneshot::Sender<SweepOutcome>) {
        if self.recovering.is_some() {
            let _ = done.send(SweepOutcome::Recovering);
            return;
        }
        // Read before the list of files is taken: whatever is written later was held against all marks up to here.
        let Some((epoch, swept_to)) = self.disk.ledger.position() else {
            let _ = done.send(SweepOutcome::Swept(0));
            return;
        };
        let left = self.disk.index.snapshot();
        self.sweeping = Some(Sweeping { epoch, swept_to, left, removed: 0, done });
    }

    fn sweep_some(&mut self) {
        let Some(mut sweeping) = self.sweeping.take() else { return };
        for _ in 0..FILES_PER_TURN {
            let Some((key, stored)) = sweeping.left.pop() else {
                self.end_sweep(sweeping);
                return;
            };
            let StoredKind::Object(header) = &stored.kind else { continue };
            let is_gone = match header.sweep(&self.disk.ledger, sweeping.swept_to) {
                Standing::Clear => false,
                Standing::Invalidated(seq) => {
                    // A later one counts, too: a 304 raises slices against an earlier one.
                    seq.number() > header.noted.load(Ordering::Acquire)
                        && !self.note_invalidated(key, &stored, header, sweeping.swept_to, seq)
                }
                Standing::Deleted(_) | Standing::BeyondHorizon => true,
            };
            if is_gone && self.disk.index.remove_serial(key, stored.serial).is_some() {
                self.unlink(key, stored.serial);
                sweeping.removed += 1;
            }
        }
        self.sweeping = Some(sweeping);
    }

    /// Sets a file stale in its header. Whether that succeeded.
    fn note_invalidated(
        &mut self,
        key: ObjectKey,
        stored: &Stored,
        header: &StoredHeader,
        checked: PurgeSeq,
        invalidated: PurgeSeq,
    ) -> bool {
        self.is_dirty = true;
        let file = self.file(key, stored.serial);
        let standing: [u8; STANDING_BYTES] = encode_standing(file, Standings { checked, invalidated });
        let noted = self.disk.volume.write_over(file, &standing).is_ok();
        if noted {
            header.noted.store(invalidated.number(), Ordering::Release);
        }
        noted
    }

    /// All files were walked. What left the index meanwhile must be gone too before the sync.
    fn end_sweep(&mut self, sweeping: Sweeping) {
        for (key, serial) in self.disk.jobs.take_condemned() {
            self.unlink(key, serial);
        }
        if !self.has_given_up() && self.is_dirty {
            match self.disk.volume.sync() {
                Ok(()) => self.is_dirty = false,
                Err(error) => self.give_up("the disk can't be synced", &error),
            }
        }
        if !self.has_given_up() {
            self.swept = Some((sweeping.epoch, sweeping.swept_to));
        }
        debug!(swept_to = %sweeping.swept_to, removed = sweeping.removed, "swept the disk");
        let _ = sweeping.done.send(SweepOutcome::Swept(sweeping.removed));
    }

    fn recover_some(&mut self) {
        let Some(mut recovering) = self.recovering.take() else { return };
        let instance = self.disk.tier.instance;
        for _ in 0..FILES_PER_TURN {
            if let Some(file) = recovering.files.pop() {
                // The files of this run are in the index already, or on their way out.
                if file.serial < first_serial(&self.disk.tier) {
                    self.recover_file(&mut recovering, file);
                }
            } else if recovering.next_bucket < BUCKETS {
                let bucket = recovering.next_bucket;
                recovering.next_bucket += 1;
                match self.disk.volume.list(instance, bucket, true) {
                    Ok(files) => recovering.files = files,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.give_up("the cache directory can't be read", &error),
                }
            } else {
                self.end_recovery(&recovering);
                return;
            }
        }
        self.recovering = Some(recovering);
    }

    fn recover_file(&mut self, recovering: &mut Recovering, file: ObjectFile) {
        let found = match self.read_front(recovering, file) {
            Ok(found) => found,
            // It must not be there again after a later start: the sweeps until then would not have walked it.
            Err(error) => {
                Counters::count(&self.disk.counts.read_errors);
                debug!(error = &error as &dyn std::error::Error, "a file that can't be read was dropped");
                recovering.broken += 1;
                self.unlink(file.key, file.serial);
                return;
            }
        };
        match found {
            FoundFile::Kept(stored) => {
                let gone = self.disk.jobs.recover(file.key, Arc::new(stored), &self.disk.index);
                self.unlink_evicted(gone, file.key);
            }
            FoundFile::Dropped => {
                recovering.dropped += 1;
                self.unlink(file.key, file.serial);
            }
            FoundFile::Broken(why) => {
                match why {
                    BadFile::Version => recovering.other_layout += 1,
                    _ => recovering.broken += 1,
                }
                debug!(%why, "a file that can't be used was dropped");
                self.unlink(file.key, file.serial);
            }
        }
    }

    fn read_front(&self, recovering: &Recovering, file: ObjectFile) -> io::Result<FoundFile> {
        let (mut bytes, file_bytes) = self.disk.volume.read(file, FRONT_READ_BYTES)?;
        match format::front_length(&bytes) {
            Ok(length) if length > bytes.len() => {
                debug_assert!(length <= META_BYTES_MAX + FRONT_READ_BYTES as usize);
                bytes = self.disk.volume.read(file, length as u64)?.0;
            }
            Ok(_) => {}
            Err(why) => return Ok(FoundFile::Broken(why)),
        }
        let front = match format::decode_front(file, &bytes, file_bytes) {
            Ok(front) => front,
            Err(why) => return Ok(FoundFile::Broken(why)),
        };
        let kind = match front.kind {
            FrontKind::Varies(selector, generation) => StoredKind::Varies(Arc::new(selector), generation),
            FrontKind::Object(object) => {
                let clock = self.disk.ledger.clock(&object.zone);
                let epoch = self.disk.ledger.epoch_of(&clock);
                if epoch != Some(object.epoch) || recovering.epoch != epoch {
                    return Ok(FoundFile::Dropped);
                }
                // Every file was walked by the sweep up to there, or written after it.
                let checked = front.standing.checked.max(recovering.swept_to);
                let header = StoredHeader {
                    url: object.url,
                    birth: Birth { clock, born: object.born },
                    tags: object.tags,
                    // Events are this process's: none came before it began.
                    group_event: GroupEvent::FIRST,
                    checked: AtomicU64::new(checked.number()),
                    invalidated: AtomicU64::new(front.standing.invalidated.number()),
                    noted: AtomicU64::new(front.standing.invalidated.number()),
                    part: match object.part {
                        FrontPart::Whole => StoredPart::Whole,
                        FrontPart::Head(slices) => StoredPart::Head { generation: slices.generation },
                        FrontPart::Slice(slice) => StoredPart::Slice(Box::new(slice.of)),
                    },
                };
                if matches!(
                    header.standing(&self.disk.ledger),
                    Standing::Deleted(_) | Standing::BeyondHorizon
                ) {
                    return Ok(FoundFile::Dropped);
                }
                StoredKind::Object(header)
            }
        };
        Ok(FoundFile::Kept(Stored { serial: file.serial, file_bytes, kind }))
    }

    fn end_recovery(&mut self, recovering: &Recovering) {
        let own = self.disk.tier.instance;
        // Of a state that was lost: no state to come claims anything of them.
        for instance in self.disk.volume.instances().unwrap_or_default() {
            if instance != own
                && let Err(error) = self.disk.volume.remove_instance(instance)
            {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "leftovers in the cache directory can't be removed"
                );
            }
        }
        self.disk.jobs.recovered();
        self.disk.is_recovered.store(true, Ordering::Release);
        if recovering.other_layout > 0 {
            info!(
                files = recovering.other_layout,
                "the cache directory held files of another version of Everfresh: they are dropped, and fetched anew"
            );
        }
        let took_ms = (self.disk.boot)().saturating_sub(recovering.began).as_millis();
        info!(
            files = self.disk.index.file_count(),
            bytes = self.disk.index.used_bytes(),
            dropped = recovering.dropped,
            broken = recovering.broken,
            took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX),
            "the cache directory is read"
        );
    }

    /// Writes the state if it would say anything new.
    fn save(&mut self) {
        self.save_at = (self.disk.boot)() + SAVE_INTERVAL;
        if self.forgets_all {
            self.forget_all();
            return;
        }
        let ledger = &self.disk.ledger;
        let swept_in =
            |epoch| self.swept.filter(|(of, _)| Some(*of) == epoch).map_or(PurgeSeq::ZERO, |(_, to)| to);
        let now = (ledger.position(), ledger.horizon(), swept_in(ledger.epoch()));
        if self.has_given_up() || self.saved == Some(now) {
            return;
        }
        let ledger = ledger.export();
        let swept_to = swept_in(ledger.epoch);
        let saved = (ledger.epoch.map(|epoch| (epoch, ledger.applied)), ledger.horizon, swept_to);
        let durable = Durable { tier: self.disk.tier.clone(), swept_to, ledger };
        let put = durable.to_bytes().ok_or_else(|| io::Error::other("more marks than a state may hold"));
        match put.and_then(|bytes| self.disk.volume.put_state(&bytes)) {
            Ok(()) => {
                self.saved = Some(saved);
                self.saved_epoch = saved.0.map(|(epoch, _)| epoch);
                self.save_failed = false;
            }
            Err(error) if !std::mem::replace(&mut self.save_failed, true) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the state of the cache directory is not written, an older one counts"
                );
            }
            Err(_) => {}
        }
    }
}

/// No serial of an earlier start is as high, and none of this start is lower.
fn first_serial(tier: &Tier) -> u64 {
    tier.starts << 40 | place::FIRST_SERIAL
}
