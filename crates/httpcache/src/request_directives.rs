//! What a request asks of a stored response (RFC 9111 §5.2.1, §5.4), for operators who let clients ask.
//!
//! A gateway cache acts for the origin. Anyone who may ask it to go forward can send load to the origin at will, so that a
//! cache does better to ignore all this unless its clients are trusted.

use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, HeaderMap, PRAGMA};

use crate::cache_control::CacheControl;
use crate::field;
use crate::freshness::Freshness;

/// The directives of one request that may refuse a stored response, or allow a stale one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or without any `Cache-Control` the older `Pragma: no-cache`.
    pub no_cache: bool,
    /// `max-age`: not older than this.
    pub max_age: Option<Duration>,
    /// `min-fresh`: fresh for at least this long still.
    pub min_fresh: Option<Duration>,
    /// `max-stale`: stale for no longer than this.
    pub max_stale: Option<Duration>,
}

/// How far a request accepts a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is fresh, and as fresh as the request asks for.
    Fresh,
    /// It is stale, and the request allows that.
    Stale,
    /// It has to be validated.
    Refused,
}

impl RequestDirectives {
    /// Nothing asked for: what is fresh is accepted.
    pub const NONE: Self = Self { no_cache: false, max_age: None, min_fresh: None, max_stale: None };

    /// Reads the directives of a request.
    pub fn of(request_headers: &HeaderMap) -> Self {
        if request_headers.contains_key(CACHE_CONTROL) {
            let CacheControl { no_cache, max_age, min_fresh, max_stale, .. } =
                CacheControl::of(request_headers);
            return Self { no_cache, max_age, min_fresh, max_stale };
        }
        // RFC 9111 §5.4: Pragma counts only where there is no Cache-Control.
        let no_cache =
            field::elements(request_headers, &PRAGMA).any(|pragma| pragma.eq_ignore_ascii_case(b"no-cache"));
        Self { no_cache, ..Self::NONE }
    }

    /// Weighs a stored response against them. `max-stale` does not count where the origin forbids stale answers (§4.2.4).
    pub fn accept(&self, freshness: &Freshness, now: SystemTime) -> Acceptance {
        let is_too_old = self.max_age.is_some_and(|max_age| freshness.age(now) > max_age);
        if self.no_cache || is_too_old {
            return Acceptance::Refused;
        }
        if freshness.is_fresh(now) {
            let lasts = self
                .min_fresh
                .is_none_or(|least| freshness.lifetime.saturating_sub(freshness.age(now)) >= least);
            return if lasts { Acceptance::Fresh } else { Acceptance::Refused };
        }
        // Whoever wants freshness to spare wants nothing stale.
        let window = self.max_stale.filter(|_| self.min_fresh.is_none());
        if freshness.may_serve_stale_for(window, now) { Acceptance::Stale } else { Acceptance::Refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;
    use crate::policy::Policy;
    use Acceptance::{Fresh, Refused, Stale};
    use http::StatusCode;

    #[test]
    fn what_requests_accept() {
        let cases = [
            ("", "max-age=60", 59, Fresh),
            ("", "max-age=60", 60, Refused),
            ("cache-control: no-cache", "max-age=60", 0, Refused),
            ("pragma: no-cache", "max-age=60", 0, Refused),
            ("pragma: x, No-Cache", "max-age=60", 0, Refused),
            ("pragma: no-cache\ncache-control: max-age=10", "max-age=60", 5, Fresh),
            ("cache-control: max-age=10", "max-age=60", 10, Fresh),
            ("cache-control: max-age=10", "max-age=60", 11, Refused),
            ("cache-control: max-age=0", "max-age=60", 1, Refused),
            ("cache-control: max-age=x", "max-age=60", 1, Refused),
            ("cache-control: min-fresh=10", "max-age=60", 50, Fresh),
            ("cache-control: min-fresh=10", "max-age=60", 51, Refused),
            ("cache-control: min-fresh=x", "max-age=60", 51, Fresh),
            ("cache-control: max-stale", "max-age=60", 9999, Stale),
            ("cache-control: max-stale=10", "max-age=60", 69, Stale),
            ("cache-control: max-stale=10", "max-age=60", 70, Refused),
            ("cache-control: max-stale=x", "max-age=60", 61, Refused),
            ("cache-control: max-stale, min-fresh=1", "max-age=60", 61, Refused),
            ("cache-control: max-stale, max-age=65", "max-age=60", 65, Stale),
            ("cache-control: max-stale, max-age=65", "max-age=60", 66, Refused),
            ("cache-control: max-stale", "max-age=60, must-revalidate", 61, Refused),
            ("cache-control: max-stale", "max-age=60, proxy-revalidate", 61, Refused),
            ("cache-control: max-stale", "s-maxage=60", 61, Refused),
            ("cache-control: max-stale", "max-age=60, no-cache", 1, Refused),
        ];
        for (request, stored, age_secs, expected) in cases {
            let arrived = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            let stored_headers = headers(&format!("cache-control: {stored}"));
            let freshness =
                Freshness::of_response(StatusCode::OK, &stored_headers, arrived, arrived, &Policy::default());
            let now = arrived + Duration::from_secs(age_secs);
            let found = RequestDirectives::of(&headers(request)).accept(&freshness, now);
            assert_eq!(found, expected, "{request:?} {stored:?} {age_secs}");
        }
    }
}
