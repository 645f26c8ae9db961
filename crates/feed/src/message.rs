//! What travels on a link.

use purge::{Epoch, LogEntry, MemberId, PurgeSeq};
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
    /// The edge has given up its lease for good.
    Leave,
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
    /// The process is no member any more: it must join anew under a new id.
    NotMember {
        /// The ping it answers.
        nonce: u64,
    },
    /// The whole configuration.
    Zones {
        /// Grows with every change.
        version: u64,
        /// Every zone.
        zones: Vec<Zone>,
    },
}
