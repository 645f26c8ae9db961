//! What is on disk, in memory: enough to find an object, to judge it and to sweep it without reading its file.
//!
//! The eviction policy is the library's, as in the memory store: what was asked for once goes before what was asked for
//! again. What it evicts, and what is replaced, the caller unlinks.

use crate::groups::GroupEvent;
use crate::object::{Birth, Standing, hold, look};
use crate::shelf::{KeyIsHash, ObjectKey, Selector};
use crate::slices::SliceOf;
use purge::{Ledger, PurgeSeq, Subject, Tags, UrlKey};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file takes at least, and what its size is rounded up to.
const BLOCK_BYTES: u64 = 4096;

/// The size of files for which the tables are laid out at first.
const TYPICAL_FILE_BYTES: u64 = 64 * 1024;

type Slot = (ObjectKey, Arc<Stored>);

/// One file.
pub(crate) struct Stored {
    pub(crate) serial: u64,
    pub(crate) file_bytes: u64,
    pub(crate) kind: StoredKind,
}

pub(crate) enum StoredKind {
    /// A response, its head or a slice.
    Object(StoredHeader),
    /// See [`crate::shelf::Entry::Varies`].
    Varies(Arc<Selector>, u64),
}

/// What purges look at.
pub(crate) struct StoredHeader {
    pub(crate) url: UrlKey,
    pub(crate) birth: Birth,
    pub(crate) tags: Tags,
    /// The last event of groups before its fetch was sent.
    pub(crate) group_event: GroupEvent,
    pub(crate) checked: AtomicU64,
    pub(crate) invalidated: AtomicU64,
    /// What the file says of that.
    pub(crate) noted: AtomicU64,
    pub(crate) part: StoredPart,
}

/// Which part of a response a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoredPart {
    /// All of it.
    Whole,
    /// All but the content, which lies in the slices of this generation.
    Head {
        /// See [`crate::slices::Slices`].
        generation: u64,
    },
    /// A slice of this response. Boxed, since most files hold all.
    Slice(Box<SliceOf>),
}

impl Stored {
    /// The response whose head this is under `key`, or whose slice it is.
    pub(crate) fn response(&self, key: ObjectKey) -> Option<SliceOf> {
        match &self.kind {
            StoredKind::Object(header) => match &header.part {
                StoredPart::Head { generation } => Some(SliceOf { head: key, generation: *generation }),
                StoredPart::Slice(of) => Some(**of),
                StoredPart::Whole => None,
            },
            StoredKind::Varies(..) => None,
        }
    }

    /// Whether this is the head of that generation, under the key of the head.
    pub(crate) fn is_head_of(&self, of: SliceOf) -> bool {
        matches!(&self.kind, StoredKind::Object(header)
            if header.part == StoredPart::Head { generation: of.generation })
    }

    /// Whether this is a slice.
    pub(crate) fn is_slice(&self) -> bool {
        matches!(&self.kind, StoredKind::Object(header) if matches!(header.part, StoredPart::Slice(_)))
    }
}

impl StoredHeader {
    /// See [`crate::object::Object::standing`].
    pub(crate) fn standing(&self, ledger: &Ledger) -> Standing {
        hold(ledger, self.subject(), self.birth.born, &self.checked, &self.invalidated)
    }

    /// What purges name it by.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { clock: &self.birth.clock, url: &self.url, tags: &self.tags }
    }

    /// See [`crate::object::Object::look`].
    pub(crate) fn look(&self, ledger: &Ledger) -> (Standing, PurgeSeq) {
        look(ledger, self.subject(), self.birth.born, &self.checked, &self.invalidated)
    }

    /// See [`crate::object::Object::sweep`].
    pub(crate) fn sweep(&self, ledger: &Ledger, swept_to: PurgeSeq) -> Standing {
        let standing = self.standing(ledger);
        if matches!(standing, Standing::Clear | Standing::Invalidated(_)) && !self.birth.clock.is_retired() {
            self.checked.fetch_max(swept_to.number(), Ordering::AcqRel);
        }
        standing
    }
}

/// Collects what goes, for the caller.
#[derive(Clone)]
struct Evicted;

impl Lifecycle<ObjectKey, Arc<Stored>> for Evicted {
    type RequestState = Vec<Slot>;

    fn on_evict(&self, gone: &mut Vec<Slot>, key: ObjectKey, stored: Arc<Stored>) {
        gone.push((key, stored));
    }
}

#[derive(Clone)]
struct ByFile;

impl Weighter<ObjectKey, Arc<Stored>> for ByFile {
    fn weight(&self, _key: &ObjectKey, stored: &Arc<Stored>) -> u64 {
        weight(stored.file_bytes)
    }
}

/// What a file of so many bytes takes of the budget.
pub(crate) fn weight(file_bytes: u64) -> u64 {
    file_bytes.div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES
}

pub(crate) struct Index {
    files: Cache<ObjectKey, Arc<Stored>, ByFile, BuildHasherDefault<KeyIsHash>, Evicted>,
}

impl Index {
    /// An index of at most `bytes`, whose largest file has about `file_bytes_max`.
    pub(crate) fn new(bytes: u64, file_bytes_max: u64) -> Self {
        let shards = usize::try_from(bytes / file_bytes_max.max(1) / 4).unwrap_or(1).clamp(1, 16);
        let items = usize::try_from(bytes / TYPICAL_FILE_BYTES).unwrap_or(usize::MAX).max(64);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .build()
            .expect("both capacities are given");
        Self { files: Cache::with_options(options, ByFile, BuildHasherDefault::default(), Evicted) }
    }

    /// Finds a file, which counts for its keeping.
    pub(crate) fn find(&self, key: ObjectKey) -> Option<Arc<Stored>> {
        self.files.get(&key)
    }

    /// The same without counting.
    pub(crate) fn peek(&self, key: ObjectKey) -> Option<Arc<Stored>> {
        self.files.peek(&key)
    }

    /// Takes a file in. Returns those that go for it: the one it replaces, those evicted, or the file itself.
    pub(crate) fn insert(&self, key: ObjectKey, stored: Arc<Stored>) -> Vec<Slot> {
        let mut gone: Vec<Slot> = self.files.remove(&key).into_iter().collect();
        self.files.insert_with_lifecycle(key, stored, &mut gone);
        gone
    }

    pub(crate) fn remove(&self, key: ObjectKey) -> Option<Arc<Stored>> {
        self.files.remove(&key).map(|(_, stored)| stored)
    }

    /// Takes out the file with this serial, if it is still there.
    pub(crate) fn remove_serial(&self, key: ObjectKey, serial: u64) -> Option<Arc<Stored>> {
        self.files.remove_if(&key, |stored| stored.serial == serial).map(|(_, stored)| stored)
    }

    /// Every file of this moment. Each that is still there when the list is walked is on it.
    pub(crate) fn snapshot(&self) -> Vec<Slot> {
        self.files.iter().collect()
    }

    /// Every head and slice, as the walk comes to it.
    pub(crate) fn in_slices(&self) -> impl Iterator<Item = Slot> + '_ {
        self.files.iter().filter(|(key, stored)| stored.response(*key).is_some())
    }

    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// How much of the budget is used, in bytes.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.files.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`crate::DiskConfig::bytes`] says: a file's entry, its two reference counts, and its share of a table that has
    /// half as many places again for what was evicted last and is between half and wholly full.
    #[test]
    fn a_stored_object_takes_as_much_memory_as_stated() {
        let entry = size_of::<Stored>() + 2 * size_of::<usize>();
        let place = size_of::<Slot>() + 21;
        let (least, most) = (entry + place * 3 / 2, entry + place * 3);
        assert!(least >= 150 && most <= 320, "{least} to {most}");
    }
}
