//! What travels on a link.

use purge::{Epoch, LogEntry, PurgeSeq};
use std::fmt;
use std::time::Duration;
use zone::Zone;

/// A member of the network: one process of an edge, a random id for each start, so that no clone or restart
/// acknowledges for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u128);

/// Why a text is no member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member id is 32 lower-case hexadecimal digits")]
pub struct MemberIdError;

impl MemberId {
    /// An id of random bytes.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The member numbered `number`.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number, for the boundary.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// Parses what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, MemberIdError> {
        let well_formed =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !well_formed {
            return Err(MemberIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| MemberIdError)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
