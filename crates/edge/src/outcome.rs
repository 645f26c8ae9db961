//! What an edge did for a request, in closed words: the same in metrics and in the access log.

use crate::respond::AnswerBody;
use purge::PurgeSeq;
use std::time::Duration;

/// How a request came to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeKind {
    /// From the cache, without asking the origin.
    Hit,
    /// From the cache, stale by its age alone: validated meanwhile, or instead of an error (RFC 5861).
    Stale,
    /// From the cache, after the origin said that it is still good.
    Revalidated,
    /// From the origin.
    Miss,
    /// From the origin; the cache had no part in it.
    Passed,
    /// The edge's own: the request was not to be served.
    Refused,
    /// The edge's own: the origin gave nothing.
    Failed,
}

impl OutcomeKind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Passed, Self::Refused, Self::Failed];

    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What is told of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: OutcomeKind,
    /// Why it is no hit: a token of RFC 9211, or the name of a refusal or a failure. Empty for a hit.
    pub(crate) reason: &'static str,
    /// It came with another request's fetch.
    pub(crate) collapsed: bool,
    /// The edge had no lease.
    pub(crate) fenced: bool,
    /// It is stored, if its content comes to its end.
    pub(crate) stored: bool,
    /// The position of the purge log that the request has seen; zero if it did not come so far.
    pub(crate) seen: PurgeSeq,
    /// How long the origin, or another request's fetch, was waited for.
    pub(crate) origin_wait: Option<Duration>,
    /// `EO-LOG-UUID`.
    pub(crate) request_id: u64,
}

impl Outcome {
    pub(crate) fn new(kind: OutcomeKind, reason: &'static str) -> Self {
        Self {
            kind,
            reason,
            collapsed: false,
            fenced: false,
            stored: false,
            seen: PurgeSeq::ZERO,
            origin_wait: None,
            request_id: 0,
        }
    }
}

/// An answer's body, with what is told of the answer.
pub(crate) struct ToldBody {
    pub(crate) body: AnswerBody,
    pub(crate) outcome: Outcome,
}
