//! What a purge is: targets, entries, their order, and the edge's ledger of them.
//!
//! The purge protocol's rules live here and nowhere else. Does no I/O, reads no clock, knows no runtime.

mod entry;
mod tag;
mod url;

pub use entry::{Entry, Epoch, LogEntry, Method, PurgeSeq, Scope};
pub use tag::{CacheTag, CacheTagError, TAG_BYTES_MAX};
pub use url::{URL_BYTES_MAX, UrlError, UrlKey, UrlPrefix};
