//! What travels on a link.

use purge::{Epoch, LogEntry, MemberId, MemberTerms, PurgeSeq};
use std::time::Duration;
use zone::Zone;

/// An edge presents itself. The first message of every link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which process this is.
    pub member: MemberId,
    /// What the operator calls the edge.
    pub edge_name: String,
    /// Which log its position belongs to; `None` before its first lease.
    pub epoch: Option<Epoch>,
    /// How far it has applied that log.
    pub applied: PurgeSeq,
    /// What it does without a lease, whether its clock is trusted and whom it asks: for the whole life of the process.
    pub terms: MemberTerms,
    /// The version of its program, for people.
    pub version: String,
}

/// An edge asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Fresh for each ping of each process, so that no answer to an earlier process fits.
    pub nonce: u64,
    /// Which log its position belongs to.
    pub epoch: Option<Epoch>,
    /// How far it has applied that log.
    pub applied: PurgeSeq,
}

/// What edges send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeToControl {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Ping`].
    Ping(Ping),
    /// Every lookup of the edge sees the entries up to `applied`.
    Acknowledge {
        /// The log.
        epoch: Epoch,
        /// The position.
        applied: PurgeSeq,
    },
    /// The edge lacks the entries after `after`.
    Want {
        /// The last entry it has.
        after: PurgeSeq,
    },
    /// What became of URLs that were to be fetched ahead.
    Prefetched {
        /// At most [`crate::PREFETCHES_PER_MESSAGE_MAX`].
        outcomes: Vec<Prefetched>,
    },
    /// The edge has given up its lease for good.
    Leave,
}

/// A URL to fetch ahead of its readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// The task's number, by which its outcome is told.
    pub task: u64,
    /// The URL, as submitted.
    pub url: String,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetched {
    /// The task's number.
    pub task: u64,
    /// Why it is not in the cache now; `None` if it is.
    pub failure: Option<String>,
}

/// The right to trust the cache, counted from the moment the ping of that nonce was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The ping it answers.
    pub nonce: u64,
    /// The log.
    pub epoch: Epoch,
    /// The log's head, read after the ping arrived. The lease holds once this is applied.
    pub head: PurgeSeq,
    /// The oldest entry the log still has; an edge that lacks older ones must jump.
    pub first_retained: PurgeSeq,
    /// The version of the configuration at that moment. An edge that jumps needs one at least as new: the entries it
    /// passes over may be those that go with a change of cache keys.
    pub config_version: u64,
    /// How long the lease is.
    pub lease: Duration,
}

/// What the control plane sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToEdge {
    /// Consecutive entries of the log.
    Entries {
        /// The log.
        epoch: Epoch,
        /// In order, without gap, at most [`crate::ENTRIES_PER_MESSAGE_MAX`].
        entries: Vec<LogEntry>,
    },
    /// See [`Grant`].
    Grant(Grant),
    /// The process is to give up its lease for good and to say so: somebody wants it to leave. It may join anew under
    /// another id.
    GiveUp,
    /// The edge is drained: it gets no lease until an operator resumes it.
    Drained,
    /// The process is no member any more: it must join anew under a new id.
    NotMember {
        /// The ping it answers.
        nonce: u64,
    },
    /// URLs to fetch ahead, once the entries up to `head` are applied.
    Prefetch {
        /// The log.
        epoch: Epoch,
        /// Its head when the job was accepted.
        head: PurgeSeq,
        /// The request fields to fetch with.
        headers: Vec<(String, String)>,
        /// At most [`crate::PREFETCHES_PER_MESSAGE_MAX`].
        urls: Vec<Prefetch>,
    },
    /// The whole configuration.
    Zones {
        /// Grows with every change.
        version: u64,
        /// Every zone.
        zones: Vec<Zone>,
    },
}
