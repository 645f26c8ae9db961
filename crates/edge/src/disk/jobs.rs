//! What waits for the thread that changes the disk.
//!
//! One lock guards both the waiting list and the taking of files out of the index by others than that thread, so that
//! no file is in neither: a sweep that finds it in no place may say that it is gone.

use super::index::{Index, Stored};
use crate::object::{Object, place};
use crate::shelf::{ObjectKey, Selector};
use crate::slices::SliceOf;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How many writes may wait. More are not written.
pub(crate) const WRITES_QUEUED_MAX: usize = 1024;

/// How much content of waiting writes is held, in bytes, beside what memory holds of it. A write that is larger by itself
/// waits alone.
pub(crate) const WRITE_BYTES_QUEUED_MAX: u64 = 64 << 20;

/// How many keys are remembered that were removed while the files are still being found. After more, files that are
/// found are dropped.
pub(crate) const REMOVED_KEYS_MAX: usize = 1 << 16;

/// What is to be written.
pub(super) enum WriteKind {
    Object(Arc<Object>),
    Selector(Arc<Selector>, u64),
}

pub(super) struct Write {
    pub(super) key: ObjectKey,
    pub(super) kind: WriteKind,
    bytes: u64,
}

/// What became of a request for a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SweepOutcome {
    /// All was walked; so many objects went.
    Swept(u64),
    /// Not yet: the files of the last run are still being found.
    Recovering,
}

#[derive(Default)]
struct Waiting {
    writes: VecDeque<Write>,
    /// The key that is being written right now.
    writing: Option<ObjectKey>,
    /// Whether what is being written was removed meanwhile.
    is_cancelled: bool,
    /// Files that are in the index no more and on disk still. Each was in the index once, which bounds them.
    condemned: Vec<(ObjectKey, u64)>,
    settles: Vec<(ObjectKey, oneshot::Sender<bool>)>,
    sweep: Option<oneshot::Sender<SweepOutcome>>,
    /// Keys removed while files are being found; `None` once all are.
    removed: Option<RemovedKeys>,
    is_told_to_save: bool,
    is_told_to_stop: bool,
    /// The thread has ended: nobody answers any more.
    is_over: bool,
}

#[derive(Default)]
struct RemovedKeys {
    keys: std::collections::HashSet<ObjectKey>,
    is_full: bool,
}

/// What the thread takes for one turn.
pub(super) struct Turn {
    pub(super) condemned: Vec<(ObjectKey, u64)>,
    pub(super) settles: Vec<(ObjectKey, oneshot::Sender<bool>)>,
    pub(super) write: Option<Write>,
    pub(super) sweep: Option<oneshot::Sender<SweepOutcome>>,
    pub(super) is_told_to_save: bool,
    pub(super) is_told_to_stop: bool,
}

pub(super) struct Jobs {
    waiting: Mutex<Waiting>,
    came: Condvar,
    write_bytes: AtomicU64,
    /// Told each time a write leaves the queue.
    left: Notify,
}

impl Jobs {
    /// No jobs; files of an earlier run are yet to be found.
    pub(super) fn new() -> Self {
        let waiting = Waiting { removed: Some(RemovedKeys::default()), ..Waiting::default() };
        Self {
            waiting: Mutex::new(waiting),
            came: Condvar::new(),
            write_bytes: AtomicU64::new(0),
            left: Notify::new(),
        }
    }

    /// How much content waits to be written.
    pub(super) fn write_bytes(&self) -> u64 {
        self.write_bytes.load(Ordering::Relaxed)
    }

    /// Queues a write. Whether there was room for it.
    pub(super) fn write(&self, key: ObjectKey, kind: WriteKind, bytes: u64) -> bool {
        // Read first: when the queue is full, hits must not all wait for its lock.
        if !self.has_room(bytes) {
            return false;
        }
        let mut waiting = self.waiting.lock();
        if waiting.is_over || waiting.writes.len() >= WRITES_QUEUED_MAX {
            return false;
        }
        waiting.cancel(key, &self.write_bytes);
        self.write_bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.writes.push_back(Write { key, kind, bytes });
        self.came.notify_one();
        true
    }

    fn has_room(&self, bytes: u64) -> bool {
        let queued = self.write_bytes();
        queued == 0 || queued + bytes <= WRITE_BYTES_QUEUED_MAX
    }

    /// Waits until a write of so many bytes would find room.
    pub(super) async fn room(&self, bytes: u64) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // From here on no write leaves unheard.
            left.as_mut().enable();
            if self.has_room(bytes) && self.waiting.lock().writes.len() < WRITES_QUEUED_MAX {
                return;
            }
            left.await;
        }
    }

    /// Whether an object waits to be written or is being written, and was not removed meanwhile.
    pub(super) fn holds(&self, key: ObjectKey, object: &Object) -> bool {
        let waiting = self.waiting.lock();
        let is_this = |write: &Write| {
            write.key == key
                && matches!(&write.kind, WriteKind::Object(there) if std::ptr::eq(&raw const **there, object))
        };
        waiting.writing == Some(key) && !waiting.is_cancelled || waiting.writes.iter().any(is_this)
    }

    /// Whether the head of a response waits to be written, or is being written.
    pub(super) fn holds_head(&self, of: SliceOf) -> bool {
        let waiting = self.waiting.lock();
        let is_head = |write: &Write| {
            write.key == of.head && matches!(&write.kind, WriteKind::Object(there) if of.is_of(there))
        };
        waiting.writing == Some(of.head) || waiting.writes.iter().any(is_head)
    }

    /// Takes a key out of the index and out of the queue. Whether there was anything. Keeps away a file that is yet to be
    /// found, too, if it is `for_good`: not if another response takes its place, which is no reason to drop files.
    pub(super) fn condemn(&self, key: ObjectKey, index: &Index, for_good: bool) -> bool {
        let mut waiting = self.waiting.lock();
        let mut found = waiting.cancel(key, &self.write_bytes);
        if let Some(removed) = waiting.removed.as_mut().filter(|_| for_good) {
            removed.is_full |= removed.keys.len() >= REMOVED_KEYS_MAX;
            if !removed.is_full {
                removed.keys.insert(key);
            }
        }
        if let Some(stored) = index.remove(key) {
            waiting.condemned.push((key, stored.serial));
            found = true;
            self.came.notify_one();
        }
        found
    }

    /// Takes one file out of the index, if it is still there.
    pub(super) fn condemn_file(&self, key: ObjectKey, serial: u64, index: &Index) {
        let mut waiting = self.waiting.lock();
        if index.remove_serial(key, serial).is_some() {
            waiting.condemned.push((key, serial));
            self.came.notify_one();
        }
    }

    /// Asks to be told when all that is condemned under this key is gone for good, or that nobody can tell. No answer once
    /// the thread has ended.
    pub(super) fn settle(&self, key: ObjectKey) -> oneshot::Receiver<bool> {
        let (done, settled) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if !waiting.is_over {
            waiting.settles.push((key, done));
            self.came.notify_one();
        }
        settled
    }

    /// Asks for a sweep. A second request takes the place of the first, which then has no answer.
    pub(super) fn sweep(&self) -> oneshot::Receiver<SweepOutcome> {
        let (done, swept) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if !waiting.is_over {
            waiting.sweep = Some(done);
            self.came.notify_one();
        }
        swept
    }

    pub(super) fn save(&self) {
        self.waiting.lock().is_told_to_save = true;
        self.came.notify_one();
    }

    pub(super) fn stop(&self) {
        self.waiting.lock().is_told_to_stop = true;
        self.came.notify_one();
    }

    /// Waits for a job, not for longer than this.
    pub(super) fn wait(&self, longest: Duration) {
        let mut waiting = self.waiting.lock();
        if waiting.is_idle() {
            self.came.wait_for(&mut waiting, longest);
        }
    }

    /// What is to be done now.
    pub(super) fn take(&self) -> Turn {
        let mut waiting = self.waiting.lock();
        let write = waiting.writes.pop_front();
        waiting.writing = write.as_ref().map(|write| write.key);
        waiting.is_cancelled = false;
        if let Some(write) = &write {
            self.write_bytes.fetch_sub(write.bytes, Ordering::Relaxed);
            self.left.notify_waiters();
        }
        Turn {
            condemned: std::mem::take(&mut waiting.condemned),
            settles: std::mem::take(&mut waiting.settles),
            write,
            sweep: waiting.sweep.take(),
            is_told_to_save: std::mem::take(&mut waiting.is_told_to_save),
            is_told_to_stop: waiting.is_told_to_stop,
        }
    }

    /// What was condemned since the turn began.
    pub(super) fn take_condemned(&self) -> Vec<(ObjectKey, u64)> {
        std::mem::take(&mut self.waiting.lock().condemned)
    }

    /// Takes what was written into the index, unless it was removed meanwhile. Returns the files that go, and whether it
    /// was taken in.
    pub(super) fn land(
        &self,
        key: ObjectKey,
        stored: Arc<Stored>,
        index: &Index,
    ) -> (Vec<(ObjectKey, Arc<Stored>)>, bool) {
        let mut waiting = self.waiting.lock();
        waiting.writing = None;
        if std::mem::take(&mut waiting.is_cancelled) {
            return (vec![(key, stored)], false);
        }
        (index.insert(key, stored), true)
    }

    /// Takes in a file of an earlier run, unless its key was removed or written since. Returns the files that go.
    pub(super) fn recover(
        &self,
        key: ObjectKey,
        stored: Arc<Stored>,
        index: &Index,
    ) -> Vec<(ObjectKey, Arc<Stored>)> {
        let waiting = self.waiting.lock();
        let is_removed =
            waiting.removed.as_ref().is_some_and(|removed| removed.is_full || removed.keys.contains(&key));
        if is_removed || index.peek(key).is_some_and(|newer| newer.serial > stored.serial) {
            return vec![(key, stored)];
        }
        index.insert(key, stored)
    }

    /// The thread ends: whoever waits for it, or will, is let go.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_over = true;
        waiting.settles.clear();
        waiting.sweep = None;
        waiting.writes.clear();
        self.write_bytes.store(0, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// All files of earlier runs are found.
    pub(super) fn recovered(&self) {
        self.waiting.lock().removed = None;
    }
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.writes.is_empty()
            && self.condemned.is_empty()
            && self.settles.is_empty()
            && self.sweep.is_none()
            && !self.is_told_to_save
            && !self.is_told_to_stop
    }

    /// Gives up whatever is to be written under a key.
    fn cancel(&mut self, key: ObjectKey, write_bytes: &AtomicU64) -> bool {
        let mut found = false;
        if self.writing == Some(key) {
            self.is_cancelled = true;
            found = true;
        }
        self.writes.retain(|write| {
            let goes = write.key == key;
            if goes {
                found = true;
                write_bytes.fetch_sub(write.bytes, Ordering::Relaxed);
                if let WriteKind::Object(object) = &write.kind {
                    object.leave_queue(place::MEMORY);
                }
            }
            !goes
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Content;
    use crate::object::{Birth, NewObject};
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use httpcache::{Freshness, Policy};
    use purge::{Ledger, PurgeSeq, Tags, UrlKey};
    use std::time::SystemTime;
    use zone::{HostName, ZoneId};

    fn object() -> Arc<Object> {
        let clock = Ledger::new([1; 16]).clock(&ZoneId::parse("zone-aaaaaaaaaaaa").unwrap());
        let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        Object::new(NewObject {
            url: UrlKey::of_request(HostName::parse("a.test").unwrap(), "/").unwrap(),
            birth: Birth { clock, born: PurgeSeq::ZERO },
            tags: Tags::read([&b""[..]]).0,
            tags_ignored: 0,
            grouping: None,
            status: StatusCode::OK,
            freshness: Freshness::of_response(StatusCode::OK, &headers, now, now, &Policy::default()),
            headers,
            declared_length: None,
            content: Content::of_whole(Bytes::new()),
        })
    }

    /// Whoever removes it may have learnt a tag that the file does not have: a later 304 must not bring it back.
    #[test]
    fn what_is_removed_while_it_is_written_is_not_on_its_way_any_more() {
        let (jobs, index) = (Jobs::new(), Index::new(1 << 20, 1 << 16));
        let (key, object, other) = (ObjectKey::from_bytes([7; 16]), object(), object());
        assert!(!jobs.holds(key, &object));
        assert!(jobs.write(key, WriteKind::Object(Arc::clone(&object)), 0));
        assert!(jobs.holds(key, &object) && !jobs.holds(key, &other));
        let turn = jobs.take();
        assert!(turn.write.is_some() && jobs.holds(key, &object));
        assert!(jobs.condemn(key, &index, false));
        assert!(!jobs.holds(key, &object));
    }
}
