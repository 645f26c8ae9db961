//! Reading objects back from disk for requests.
//!
//! Requests that want one object share one read. What is read is verified before anyone sees it, and is judged by the
//! ledger again by whoever asked, after the read: a mark that was applied meanwhile counts.

use super::format::{self, BadFile, FrontKind, FrontPart};
use super::index::{Stored, StoredHeader, StoredKind, StoredPart};
use super::volume::ObjectFile;
use super::{Disk, nanos};
use crate::body::Content;
use crate::object::{NewObject, Object, Standing};
use crate::shelf::ObjectKey;
use crate::state::Counters;
use bytes::Bytes;
use parking_lot::Mutex;
use purge::{PurgeSeq, UrlKey};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};

/// How many reads may be under way at once, each with an object in memory.
pub(crate) const READS_MAX: usize = 64;

/// How long a request waits for a read. Then it goes to the origin, and for [`READ_PAUSE`] nobody reads.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long nothing is read after a read did not end.
pub(crate) const READ_PAUSE: Duration = Duration::from_secs(30);

/// What the disk has for a request.
pub(crate) enum Recalled {
    Nothing,
    /// Purges leave nothing of it: the position of the purge, where it is known.
    Gone(Option<PurgeSeq>),
    Object(Arc<Object>),
}

/// A read under way: `None` until it ends.
type Reading = watch::Receiver<Option<Option<Arc<Object>>>>;

pub(super) struct Reads {
    under_way: Mutex<HashMap<(ObjectKey, u64), Reading>>,
    permits: Semaphore,
    pause_until: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
enum RecallError {
    #[error("it can't be read")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bad(#[from] BadFile),
    #[error("it is about something else")]
    Other,
}

impl Reads {
    pub(super) fn new() -> Self {
        Self {
            under_way: Mutex::default(),
            permits: Semaphore::new(READS_MAX),
            pause_until: AtomicU64::new(0),
        }
    }
}

impl Disk {
    /// Reads the object under a key. `url` guards against two URLs with one key.
    pub(crate) async fn recall(self: &Arc<Self>, key: ObjectKey, url: &UrlKey) -> Recalled {
        let Some(stored) = self.index.find(key) else { return Recalled::Nothing };
        let StoredKind::Object(header) = &stored.kind else { return Recalled::Nothing };
        if header.url != *url {
            return Recalled::Nothing;
        }
        let gone = match header.standing(&self.ledger) {
            Standing::Clear | Standing::Invalidated(_) => None,
            Standing::Deleted(seq) => Some(Some(seq)),
            Standing::BeyondHorizon => Some(None),
        };
        if let Some(purge) = gone {
            self.jobs.condemn_file(key, stored.serial, &self.index);
            return Recalled::Gone(purge);
        }
        if !self.is_read() {
            return Recalled::Nothing;
        }
        if let StoredPart::Slice(of) = &header.part {
            // With its slices a head stays.
            self.uses_head(**of);
        }
        let mut reading = self.read_of(key, &stored);
        let read = tokio::time::timeout(READ_TIMEOUT, reading.wait_for(Option::is_some)).await;
        match read {
            Ok(Ok(object)) => match &*object {
                Some(Some(object)) => {
                    Counters::count(&self.counts.hits);
                    Recalled::Object(Arc::clone(object))
                }
                Some(None) | None => Recalled::Nothing,
            },
            Ok(Err(_)) => Recalled::Nothing,
            Err(_) => {
                Counters::count(&self.counts.read_errors);
                let until = nanos((self.boot)() + READ_PAUSE);
                if self.reads.pause_until.swap(until, Ordering::AcqRel) < self.now() {
                    let pause_secs = READ_PAUSE.as_secs();
                    tracing::warn!(pause_secs, "the disk does not answer: the edge goes on from memory");
                }
                Recalled::Nothing
            }
        }
    }

    /// Whether anything is read from this disk now.
    pub(super) fn is_read(&self) -> bool {
        !self.is_closed() && self.now() >= self.reads.pause_until.load(Ordering::Acquire)
    }

    /// The read of this file that is under way, or a new one. It runs by itself: whoever asked for it may leave.
    fn read_of(self: &Arc<Self>, key: ObjectKey, stored: &Arc<Stored>) -> Reading {
        let name = (key, stored.serial);
        let mut under_way = self.reads.under_way.lock();
        if let Some(reading) = under_way.get(&name) {
            return reading.clone();
        }
        let (ended, reading) = watch::channel(None);
        under_way.insert(name, reading.clone());
        let (disk, stored) = (Arc::clone(self), Arc::clone(stored));
        tokio::spawn(async move {
            let _permit = disk.reads.permits.acquire().await;
            let reader = Arc::clone(&disk);
            let (done, read) = oneshot::channel();
            let reading = disk.volume.apart(Box::new(move || {
                let _ = done.send(reader.read_whole(key, &stored));
            }));
            reading.await;
            disk.reads.under_way.lock().remove(&name);
            ended.send_replace(Some(read.await.ok().flatten()));
        });
        reading
    }

    /// Reads and verifies. A file that is not what it should be goes.
    fn read_whole(&self, key: ObjectKey, stored: &Stored) -> Option<Arc<Object>> {
        let StoredKind::Object(header) = &stored.kind else { return None };
        match self.try_read(key, stored, header) {
            Ok(object) => Some(object),
            Err(error) => {
                // Removed while it was being looked for is no error.
                if self.index.peek(key).is_some_and(|there| there.serial == stored.serial) {
                    Counters::count(&self.counts.read_errors);
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "a stored object can't be used, it is dropped");
                    self.jobs.condemn_file(key, stored.serial, &self.index);
                }
                None
            }
        }
    }

    fn try_read(
        &self,
        key: ObjectKey,
        stored: &Stored,
        header: &StoredHeader,
    ) -> Result<Arc<Object>, RecallError> {
        let file = ObjectFile { instance: self.tier.instance, key, serial: stored.serial };
        let (bytes, file_bytes) = self.volume.read(file, stored.file_bytes)?;
        let front = format::decode_front(file, &bytes, file_bytes)?;
        let FrontKind::Object(object) = front.kind else { return Err(RecallError::Other) };
        let content = Bytes::from(bytes).split_off(front.length);
        if !object.is_content(&content) {
            return Err(BadFile::Content.into());
        }
        if object.url != header.url || object.tags != header.tags || object.born != header.birth.born {
            return Err(RecallError::Other);
        }
        let content = match (object.part, &header.part) {
            (FrontPart::Whole, StoredPart::Whole) => Content::of_whole(content),
            (FrontPart::Head(slices), StoredPart::Head { generation })
                if slices.generation == *generation =>
            {
                Content::in_slices(Arc::new(slices))
            }
            (FrontPart::Slice(slice), StoredPart::Slice(of)) if slice.of == **of => {
                Content::of_whole_slice(slice, content)
            }
            _ => return Err(RecallError::Other),
        };
        // In this order: what raised `checked` had noted its outcome before.
        let checked = header.checked.load(Ordering::Acquire);
        let invalidated = header.invalidated.load(Ordering::Acquire);
        let groups = httpcache::groups(&object.headers, &httpcache::CACHE_GROUPS);
        let parts = NewObject {
            grouping: self.groups.grouping(&header.url, &groups, header.group_event),
            url: header.url.clone(),
            birth: header.birth.clone(),
            tags: header.tags.clone(),
            tags_ignored: 0,
            status: object.status,
            headers: object.headers,
            freshness: object.freshness,
            declared_length: object.declared_length,
            content,
        };
        Ok(Object::recalled(parts, checked, invalidated, stored.serial))
    }
}
