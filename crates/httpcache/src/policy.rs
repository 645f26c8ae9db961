//! What the operator of the cache decides where the RFCs leave it open.

use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;

/// What to do with a 200 whose origin says nothing about freshness (teo-api §9, `FollowOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutFreshness {
    /// A share of the time since `Last-Modified` (RFC 9111 §4.2.2); without `Last-Modified` it is not stored.
    Heuristic {
        /// The share in percent, 0 to 100.
        percent: u8,
        /// The longest lifetime guessed this way.
        lifetime_max: Duration,
    },
    /// Fresh for this long.
    For(Duration),
    /// Not stored.
    DontStore,
}

/// The rules of one site, or of one rule of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For a 200 without explicit freshness. Default: 10 % of its age, at most 2 hours.
    pub without_freshness: WithoutFreshness,
    /// The statuses stored beside 200, each with the longest time it is fresh: the origin's own lifetime counts when it is
    /// shorter, this one when the origin gives none. Default: 404 for 10 s. 206 and 304 are never stored from here.
    pub status_lifetimes: SmallVec<[(StatusCode, Duration); 2]>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            without_freshness: WithoutFreshness::Heuristic {
                percent: 10,
                lifetime_max: Duration::from_secs(2 * 3600),
            },
            status_lifetimes: SmallVec::from_iter([(StatusCode::NOT_FOUND, Duration::from_secs(10))]),
        }
    }
}

impl Policy {
    /// The longest lifetime of a status other than 200, if that status is stored at all.
    pub fn status_lifetime(&self, status: StatusCode) -> Option<Duration> {
        if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
            || status.is_informational()
        {
            return None;
        }
        self.status_lifetimes.iter().find(|(listed, _)| *listed == status).map(|(_, lifetime)| *lifetime)
    }
}
