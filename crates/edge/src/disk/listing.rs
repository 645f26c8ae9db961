//! What a cache directory holds, for people to look at: whether an edge uses it or not.

use super::format::{self, FrontKind, FrontPart};
use super::state_file::Durable;
use super::volume::{BUCKETS, Directory, DirectoryError, ObjectFile, Volume};
use crate::slices::SliceOf;
use purge::{Epoch, PurgeSeq};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How much of a file's front is read at once.
const FRONT_READ_BYTES: u64 = 8 * 1024;

/// A cache directory as it is on disk.
#[derive(Debug)]
pub struct DirectoryListing {
    /// The log that its edge followed, as far as it was recorded.
    pub epoch: Option<Epoch>,
    /// Up to where the edge had applied the log.
    pub applied: PurgeSeq,
    /// Up to where purges have left the directory: what they matched is gone, or says that it is stale.
    pub swept_to: PurgeSeq,
    /// How many marks lie above that.
    pub marks: usize,
    /// The stored responses, in no order. One whose content lies in slices is one of them, whatever it has of slices.
    pub files: Vec<StoredFile>,
    /// How many files can't be read or are damaged; the edge removes them when it comes upon them.
    pub broken: usize,
    /// How many bytes the file system has left.
    pub free_bytes: u64,
}

/// One stored response.
#[derive(Debug)]
pub struct StoredFile {
    /// Host, path and query.
    pub url: String,
    /// The position at which its fetch began.
    pub born: PurgeSeq,
    /// The `invalidate` that made it stale, as far as the sweep has noted it.
    pub invalidated: Option<PurgeSeq>,
    /// Its tags, joined with commas.
    pub tags: String,
    /// How long its content is, in bytes, whether all of it is here or not.
    pub content_bytes: u64,
    /// How many bytes its files have.
    pub file_bytes: u64,
    /// What is here of its slices, if its content lies in slices.
    pub slices: Option<StoredSlices>,
}

/// What is stored of content that lies in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSlices {
    /// How many slices are stored.
    pub count: u64,
    /// How many there are of the whole; `None` where its head is not stored: then they are never served, and go soon.
    pub of: Option<u64>,
    /// How much content they hold, in bytes.
    pub bytes: u64,
}

/// Looks through a cache directory. Takes nothing away, and may be called while an edge uses it: then files that come and
/// go meanwhile may be missing or counted still.
pub fn list_directory(path: &Path) -> Result<DirectoryListing, DirectoryError> {
    let failed = |source| DirectoryError::Io { path: PathBuf::from(path), source };
    let directory = Directory::look(path)?;
    let state = directory.state().map_err(failed)?;
    let state = state.as_deref().and_then(Durable::from_bytes);
    let ledger = state.as_ref().map(|state| &state.ledger);
    let mut listing = DirectoryListing {
        epoch: ledger.and_then(|ledger| ledger.epoch),
        applied: ledger.map_or(PurgeSeq::ZERO, |ledger| ledger.applied),
        swept_to: state.as_ref().map_or(PurgeSeq::ZERO, |state| state.swept_to),
        marks: ledger.map_or(0, |ledger| ledger.marks.len()),
        files: Vec::new(),
        broken: 0,
        free_bytes: directory.free_bytes().map_err(failed)?,
    };
    let (mut heads, mut slices) = (Vec::new(), HashMap::<SliceOf, StoredFile>::new());
    for instance in directory.instances().map_err(failed)? {
        for bucket in 0..BUCKETS {
            for file in directory.list(instance, bucket, false).unwrap_or_default() {
                match look_at(&directory, file) {
                    Some(Seen::Whole(stored)) => listing.files.push(stored),
                    Some(Seen::Head(of, head)) => heads.push((of, head)),
                    Some(Seen::Slice(of, slice)) => match slices.get_mut(&of) {
                        Some(there) => there.add(&slice),
                        None => _ = slices.insert(of, slice),
                    },
                    Some(Seen::Selector) => {}
                    None => listing.broken += 1,
                }
            }
        }
    }
    for (of, mut head) in heads {
        if let Some(slices) = slices.remove(&of) {
            head.add(&slices);
        }
        listing.files.push(head);
    }
    listing.files.extend(slices.into_values());
    Ok(listing)
}

/// What one file holds.
enum Seen {
    Whole(StoredFile),
    Head(SliceOf, StoredFile),
    Slice(SliceOf, StoredFile),
    Selector,
}

impl StoredFile {
    /// Puts slices to their response, or to each other.
    fn add(&mut self, slice: &Self) {
        self.file_bytes += slice.file_bytes;
        if self.slices.is_some_and(|slices| slices.of.is_none()) {
            self.content_bytes += slice.content_bytes;
        }
        if let (Some(all), Some(more)) = (&mut self.slices, slice.slices) {
            all.count += more.count;
            all.bytes += more.bytes;
        }
    }
}

/// One file; `None` if it is damaged.
fn look_at(directory: &Directory, file: ObjectFile) -> Option<Seen> {
    let (mut bytes, file_bytes) = directory.read(file, FRONT_READ_BYTES).ok()?;
    let length = format::front_length(&bytes).ok()?;
    if length > bytes.len() {
        bytes = directory.read(file, length as u64).ok()?.0;
    }
    let front = format::decode_front(file, &bytes, file_bytes).ok()?;
    let FrontKind::Object(object) = front.kind else { return Some(Seen::Selector) };
    let invalidated = front.standing.invalidated;
    let stored = |content_bytes, slices| StoredFile {
        url: format!("{}{}", object.url.host(), object.url.path_and_query()),
        born: object.born,
        invalidated: (invalidated > PurgeSeq::ZERO).then_some(invalidated),
        tags: object.tags.as_header_value().to_owned(),
        content_bytes,
        file_bytes,
        slices,
    };
    let content_bytes = object.content_length;
    Some(match object.part {
        FrontPart::Whole => Seen::Whole(stored(content_bytes, None)),
        FrontPart::Head(slices) => {
            let of = SliceOf { head: file.key, generation: slices.generation };
            let count = Some(slices.length.div_ceil(slices.slice_bytes));
            Seen::Head(of, stored(slices.length, Some(StoredSlices { count: 0, of: count, bytes: 0 })))
        }
        FrontPart::Slice(slice) => {
            let alone = StoredSlices { count: 1, of: None, bytes: content_bytes };
            Seen::Slice(slice.of, stored(content_bytes, Some(alone)))
        }
    })
}
