//! What the operator of the cache decides where the RFCs leave it open.

use std::time::Duration;

use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;

use crate::cache_control::CacheControl;
use crate::key_parts::KeyParts;
use crate::vary::VaryRule;

/// Whether responses are stored, and whose word on their lifetime counts (teo-api §9, `Cache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    /// The origin's (RFC 9111), and this where it says nothing about freshness.
    FollowOrigin(WithoutFreshness),
    /// Nothing is stored, and nothing stored is used (`NoCache`).
    Never,
    /// A 200 is fresh for this long, whatever lifetime the origin gives (`CustomTime`).
    For {
        /// How long. Zero: it is validated for each use.
        lifetime: Duration,
        /// Also where the origin says `no-store`, `no-cache`, `private` or a lifetime of zero, as if it had sent no
        /// `Cache-Control` and no `Expires` (`IgnoreCacheControl`). Otherwise these are obeyed.
        despite_origin: bool,
    },
}

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

impl WithoutFreshness {
    /// 10 % of the age, at most 2 hours.
    pub const DEFAULT: Self = Self::Heuristic { percent: 10, lifetime_max: Duration::from_secs(2 * 3600) };
}

/// Which statuses are stored beside 200 and those that [`Policy::status_lifetimes`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherStatuses {
    /// None, whatever the origin says (EdgeOne's own rule, teo-api §9).
    Never,
    /// Those to which the origin gives a lifetime.
    WithLifetime,
    /// These, and with a guessed lifetime those that RFC 9110 §15.1 calls heuristically cacheable, or the origin `public`
    /// (RFC 9111 §3, §4.2.2). A guess needs `Last-Modified` and [`WithoutFreshness::Heuristic`].
    Rfc9111,
}

/// What to do with a response that sets a cookie. RFC 9111 §7.3 leaves it to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetCookie {
    /// Not stored, unless the origin names the field in `no-cache="…"` or `private="…"`.
    DontStore,
    /// Stored without its cookies; whoever the response was fetched for gets them.
    StoreWithout,
    /// Stored with its cookies where the origin says that all may share it (`public` or `s-maxage`), else not stored.
    StoreIfShared,
}

/// The rules of one site, or of one rule of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether and how long. Default: follow the origin; a 200 without explicit freshness is fresh for 10 % of its age, at
    /// most 2 hours.
    pub storing: Storing,
    /// The statuses stored beside 200, each with the longest time it is fresh: the origin's own lifetime counts when it is
    /// shorter, this one when the origin gives none. Default: 404 for 10 s. 206 and 304 are never stored from here.
    pub status_lifetimes: SmallVec<[(StatusCode, Duration); 2]>,
    /// Which other statuses are stored. Default: as RFC 9111 has it, so that an origin's own words count.
    pub other_statuses: OtherStatuses,
    /// What to do with a response that sets a cookie. Default: it is not stored, since one client's session must not be
    /// handed to all.
    pub set_cookie: SetCookie,
    /// Whether a response's `Vary` selects among stored ones. Default: yes; without it one response answers all.
    pub varies: bool,
    /// Which of the request's fields select among stored responses whatever their `Vary`. Default: none.
    pub key_parts: KeyParts,
    /// How long clients may keep a response, instead of what the origin says (`MaxAge`). Default: as the origin says.
    pub client_lifetime: Option<Duration>,
    /// From which share of its lifetime on a response is validated in the background while it still answers
    /// (`CachePrefresh`), in percent, 1 to 99. Default: never.
    pub refresh_percent: Option<u8>,
    /// Whether what is stale by its age alone answers while the origin gives no answer, for however long (`OfflineCache`).
    /// Never what a purge made stale. Default: no.
    pub stale_when_origin_fails: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            storing: Storing::FollowOrigin(WithoutFreshness::DEFAULT),
            status_lifetimes: SmallVec::from_iter([(StatusCode::NOT_FOUND, Duration::from_secs(10))]),
            other_statuses: OtherStatuses::Rfc9111,
            set_cookie: SetCookie::DontStore,
            varies: true,
            key_parts: KeyParts::default(),
            client_lifetime: None,
            refresh_percent: None,
            stale_when_origin_fails: false,
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

    /// The directives of a response that count: none where the operator caches despite the origin.
    pub(crate) fn control_of(&self, response_headers: &HeaderMap) -> CacheControl {
        if self.is_despite_origin() {
            CacheControl::default()
        } else {
            CacheControl::of_response(response_headers)
        }
    }

    /// The fields of a response that are for the client it was fetched for, and are not stored: those that `no-cache="…"` or
    /// `private="…"` names, and cookies where [`SetCookie::StoreWithout`] has it so.
    pub fn unshared_fields(&self, response_headers: &HeaderMap) -> Vec<HeaderName> {
        let mut fields = self.control_of(response_headers).unshared_fields;
        if self.set_cookie == SetCookie::StoreWithout {
            fields.push(SET_COOKIE);
        }
        fields.retain(|name| response_headers.contains_key(name));
        fields
    }

    /// What a stored response's `Vary` asks of requests, where it counts.
    pub fn vary_rule(&self, response_headers: &HeaderMap) -> VaryRule {
        if self.varies { VaryRule::of_response(response_headers) } else { VaryRule::None }
    }

    /// Whether what the origin says about freshness and storing does not count.
    pub(crate) fn is_despite_origin(&self) -> bool {
        matches!(self.storing, Storing::For { despite_origin: true, .. })
    }
}
