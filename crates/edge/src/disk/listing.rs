//! What a cache directory holds, for people to look at: whether an edge uses it or not.

use super::format::{self, FrontKind};
use super::state_file::Durable;
use super::volume::{BUCKETS, Directory, DirectoryError, ObjectFile, Volume};
use purge::{Epoch, PurgeSeq};
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
    /// The stored responses, in no order.
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
    /// How long its content is, in bytes.
    pub content_bytes: u64,
    /// How many bytes its file has.
    pub file_bytes: u64,
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
    for instance in directory.instances().map_err(failed)? {
        for bucket in 0..BUCKETS {
            for file in directory.list(instance, bucket, false).unwrap_or_default() {
                match look_at(&directory, file) {
                    Some(Some(stored)) => listing.files.push(stored),
                    Some(None) => {}
                    None => listing.broken += 1,
                }
            }
        }
    }
    Ok(listing)
}

/// One file; the outer `None` if it is damaged, the inner if it holds no response.
fn look_at(directory: &Directory, file: ObjectFile) -> Option<Option<StoredFile>> {
    let (mut bytes, file_bytes) = directory.read(file, FRONT_READ_BYTES).ok()?;
    let length = format::front_length(&bytes).ok()?;
    if length > bytes.len() {
        bytes = directory.read(file, length as u64).ok()?.0;
    }
    let front = format::decode_front(file, &bytes, file_bytes).ok()?;
    let FrontKind::Object(object) = front.kind else { return Some(None) };
    let invalidated = front.standing.invalidated;
    Some(Some(StoredFile {
        url: format!("{}{}", object.url.host(), object.url.path_and_query()),
        born: object.born,
        invalidated: (invalidated > PurgeSeq::ZERO).then_some(invalidated),
        tags: object.tags.as_header_value().to_owned(),
        content_bytes: object.content_length,
        file_bytes,
    }))
}
