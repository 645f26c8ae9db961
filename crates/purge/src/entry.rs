//! Entries of the purge log and their positions.

use crate::{CacheTag, UrlKey, UrlPrefix};
use std::fmt;
use zone::{HostName, ZoneId};

/// A position in the purge log: the last entry counted. Total order, no gap, never reused; [`PurgeSeq::ZERO`] is
/// before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PurgeSeq(u64);

impl PurgeSeq {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position numbered `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for the boundary and for atomics.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The position right after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for PurgeSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log a position belongs to: a random number in the log's row. A position of another epoch counts as
/// [`PurgeSeq::ZERO`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch numbered `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for the boundary.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a purge does to a stored copy (API field `Method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The copy is stale: the next request revalidates it.
    Invalidate,
    /// The copy is gone: the next request fetches anew.
    Delete,
}

impl Method {
    /// Reads the method as the API writes it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Invalidate, Self::Delete].into_iter().find(|method| method.as_str() == text)
    }

    /// The method as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalidate => "invalidate",
            Self::Delete => "delete",
        }
    }
}

/// Which objects of a zone an entry matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every object of the zone.
    All,
    /// Every object of the zone, since its cache keys are made anew from this version of the configuration on. An edge
    /// changes to that configuration and applies the entry at once, neither without the other.
    Keys {
        /// The version.
        config_version: u64,
    },
    /// Every object of one host.
    Host(HostName),
    /// Every object whose path lies under a directory of one host.
    Prefix(UrlPrefix),
    /// Every variant of one URL.
    Url(UrlKey),
    /// Every object that carries a tag, in the whole zone or on one host.
    Tag {
        /// The tag.
        tag: CacheTag,
        /// Limits the purge to one host (API field `CacheTag.Domains`).
        host: Option<HostName>,
    },
}

/// One thing to purge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The zone whose objects it matches.
    pub zone: ZoneId,
    /// Which of them.
    pub scope: Scope,
    /// What becomes of them.
    pub method: Method,
}

/// An entry with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub seq: PurgeSeq,
    /// What it purges.
    pub entry: Entry,
}
