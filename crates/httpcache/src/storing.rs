//! May a response be stored (RFC 9111 §3)?
//!
//! A gateway cache acts for the origin, so it follows the origin and lets clients do little: of a request's directives only
//! `no-store` (the answer is not stored) and `only-if-cached` count. `no-cache`, `max-age`, `min-fresh`, `max-stale` and
//! `Pragma` of a request are ignored, as content delivery networks do: anyone could otherwise make the cache send load to the
//! origin, or age its copies for others.

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, SET_COOKIE};
use http::{Method, StatusCode};

use crate::cache_control::CacheControl;
use crate::freshness;
use crate::policy::{Policy, Storing};
use crate::validators::Validators;
use crate::vary::VaryRule;

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoStoreReason {
    /// The request was no GET.
    Method,
    /// The operator has nothing stored for this URL.
    Policy,
    /// A piece (206, or `Content-Range` in another status), which is no whole response.
    Partial,
    /// The status is not among those stored.
    Status,
    /// The client said `no-store`.
    RequestNoStore,
    /// The origin said `no-store`.
    NoStore,
    /// The origin said `private`.
    Private,
    /// The request had `Authorization` and the response does not say that it may be shared (§3.5).
    Authorization,
    /// It sets a cookie. RFC 9111 §7.3 would allow storing; handing one client's session to all is too high a price.
    SetCookie,
    /// `Vary: *`: it would never be selected (§4.1).
    VaryStar,
    /// `Vary` names more fields than [`crate::VARY_FIELDS_MAX`].
    VaryTooMany,
    /// Neither an explicit lifetime nor one that the policy gives.
    NoFreshness,
    /// Stale at once and without a validator: it could never be used.
    NeverUsable,
}

impl NoStoreReason {
    /// All reasons, for tables of metrics and tests.
    pub const ALL: [Self; 13] = [
        Self::Method,
        Self::Policy,
        Self::Partial,
        Self::Status,
        Self::RequestNoStore,
        Self::NoStore,
        Self::Private,
        Self::Authorization,
        Self::SetCookie,
        Self::VaryStar,
        Self::VaryTooMany,
        Self::NoFreshness,
        Self::NeverUsable,
    ];

    /// Its name in logs, metric labels and `Cache-Status`; these do not change.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Policy => "policy",
            Self::Partial => "partial",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::VaryTooMany => "vary-too-many",
            Self::NoFreshness => "no-freshness",
            Self::NeverUsable => "never-usable",
        }
    }
}

impl fmt::Display for NoStoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// May the answer to this request be stored whole? The reasons are tried in the order of [`NoStoreReason`].
///
/// A response that must always be revalidated (`no-cache`, `max-age=0`) is stored when it has a validator.
pub fn may_store(
    method: &Method,
    request_headers: &HeaderMap,
    status: StatusCode,
    response_headers: &HeaderMap,
    policy: &Policy,
) -> Result<(), NoStoreReason> {
    if method != Method::GET {
        return Err(NoStoreReason::Method);
    }
    if policy.storing == Storing::Never {
        return Err(NoStoreReason::Policy);
    }
    if status == StatusCode::PARTIAL_CONTENT || response_headers.contains_key(CONTENT_RANGE) {
        return Err(NoStoreReason::Partial);
    }
    if status != StatusCode::OK && policy.status_lifetime(status).is_none() {
        return Err(NoStoreReason::Status);
    }
    if CacheControl::of(request_headers).no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    let control = policy.control_of(response_headers);
    // RFC 9111 §5.2.2.3: must-understand lifts no-store for a cache that knows the status. Of the statuses, we know 200 and
    // 404 to need nothing special; others get here only by configuration.
    let understood = control.must_understand && matches!(status, StatusCode::OK | StatusCode::NOT_FOUND);
    if control.no_store && !understood {
        return Err(NoStoreReason::NoStore);
    }
    if control.private {
        return Err(NoStoreReason::Private);
    }
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if request_headers.contains_key(AUTHORIZATION) && !shared {
        return Err(NoStoreReason::Authorization);
    }
    if response_headers.contains_key(SET_COOKIE) {
        return Err(NoStoreReason::SetCookie);
    }
    match policy.vary_rule(response_headers) {
        VaryRule::Star => return Err(NoStoreReason::VaryStar),
        VaryRule::TooMany => return Err(NoStoreReason::VaryTooMany),
        VaryRule::None | VaryRule::Fields(_) => {}
    }
    let Some(usable) = freshness::may_be_fresh(status, &control, response_headers, policy) else {
        return Err(NoStoreReason::NoFreshness);
    };
    if !usable && Validators::of_response(response_headers).is_empty() {
        return Err(NoStoreReason::NeverUsable);
    }
    Ok(())
}

/// Does the client want an answer from the cache or none (RFC 9111 §5.2.1.7)? Without a usable copy the answer is 504.
pub fn is_only_if_cached(request_headers: &HeaderMap) -> bool {
    CacheControl::of(request_headers).only_if_cached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;
    use crate::policy::WithoutFreshness;
    use std::time::Duration;

    #[track_caller]
    fn check(method: Method, request: &str, status: u16, response: &str, expected: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        let found = may_store(&method, &headers(request), status, &headers(response), &Policy::default());
        assert_eq!(
            found.map_or_else(NoStoreReason::name, |()| "stored"),
            expected,
            "{request:?} {status} {response:?}"
        );
    }

    #[test]
    fn what_is_stored() {
        let get =
            |request, status, response, expected| check(Method::GET, request, status, response, expected);
        get("", 200, "cache-control: max-age=60", "stored");
        get("", 200, "expires: Thu, 01 Jan 2037 00:00:00 GMT", "stored");
        get("", 200, "last-modified: Thu, 01 Jan 2015 00:00:00 GMT", "stored");
        get("", 200, "last-modified: yesterday", "no-freshness");
        get("", 200, "", "no-freshness");
        get("", 200, "etag: \"a\"", "no-freshness");
        get("", 200, "cache-control: public", "no-freshness");
        get("", 200, "cache-control: no-cache", "never-usable");
        get("", 200, "cache-control: no-cache\netag: \"a\"", "stored");
        get("", 200, "cache-control: max-age=0", "never-usable");
        get("", 200, "cache-control: max-age=60, s-maxage=0", "never-usable");
        get("", 200, "cache-control: max-age=0\nlast-modified: Thu, 01 Jan 2015 00:00:00 GMT", "stored");
        get("", 200, "expires: 0", "never-usable");
        get("", 200, "expires: 0\netag: W/\"a\"", "stored");
        get("", 200, "cache-control: no-store, max-age=60", "no-store");
        get("", 200, "cache-control: no-store, must-understand, max-age=60", "stored");
        get("", 200, "cache-control: private, max-age=60", "private");
        get("", 200, "cache-control: private=\"x-a\", max-age=60", "private");
        get("", 200, "cache-control: max-age=60\nset-cookie: a=b", "set-cookie");
        get("", 200, "cache-control: max-age=60\nvary: *", "vary-star");
        get("", 200, "cache-control: max-age=60\nvary: accept, *", "vary-star");
        get("", 206, "cache-control: max-age=60\ncontent-range: bytes 0-1/2", "partial");
        get("", 200, "cache-control: max-age=60\ncontent-range: bytes 0-1/2", "partial");
        get("", 404, "", "stored");
        get("", 404, "cache-control: no-store", "no-store");
        get("", 404, "cache-control: max-age=0", "never-usable");
        for status in [301, 302, 304, 400, 410, 500, 503] {
            get("", status, "cache-control: max-age=60", "status");
        }
        get("cache-control: no-store", 200, "cache-control: max-age=60", "request-no-store");
        get("cache-control: no-cache", 200, "cache-control: max-age=60", "stored");
        get("pragma: no-cache", 200, "cache-control: max-age=60", "stored");
    }

    #[test]
    fn methods_but_get_are_not_stored() {
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            check(method, "", 200, "cache-control: max-age=60", "method");
        }
    }

    #[test]
    fn authorization_needs_leave_to_share() {
        let cases = [
            ("max-age=60", "authorization"),
            ("max-age=60, proxy-revalidate", "authorization"),
            ("max-age=60, public", "stored"),
            ("max-age=60, must-revalidate", "stored"),
            ("s-maxage=60", "stored"),
        ];
        for (control, expected) in cases {
            check(
                Method::GET,
                "authorization: Basic eDp5",
                200,
                &format!("cache-control: {control}"),
                expected,
            );
        }
    }

    #[test]
    fn a_vary_of_too_many_fields_is_not_stored() {
        let names: Vec<String> = (0..=crate::VARY_FIELDS_MAX).map(|n| format!("x-{n}")).collect();
        let response = format!("cache-control: max-age=60\nvary: {}", names.join(", "));
        check(Method::GET, "", 200, &response, "vary-too-many");
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let hour = Duration::from_secs(3600);
        let follow = |without| Policy { storing: Storing::FollowOrigin(without), ..Policy::default() };
        let custom = |despite_origin| Policy {
            storing: Storing::For { lifetime: hour, despite_origin },
            ..Policy::default()
        };
        let never = Policy { storing: Storing::Never, ..Policy::default() };
        let ignores_vary = Policy { varies: false, ..Policy::default() };
        let cases = [
            (&never, 200, "cache-control: max-age=60", "policy"),
            (&never, 404, "", "policy"),
            (
                &follow(WithoutFreshness::DontStore),
                200,
                "last-modified: Thu, 01 Jan 2015 00:00:00 GMT",
                "no-freshness",
            ),
            (&follow(WithoutFreshness::For(hour)), 200, "", "stored"),
            (&custom(false), 200, "", "stored"),
            (&custom(false), 200, "cache-control: max-age=0", "never-usable"),
            (&custom(false), 200, "cache-control: no-store", "no-store"),
            (&custom(false), 200, "cache-control: private", "private"),
            (&custom(true), 200, "cache-control: no-store, private, max-age=0", "stored"),
            (&custom(true), 200, "expires: 0", "stored"),
            (&custom(true), 200, "cache-control: no-store\nset-cookie: a=b", "set-cookie"),
            (&custom(true), 200, "cache-control: no-store\nvary: *", "vary-star"),
            (&ignores_vary, 200, "cache-control: max-age=60\nvary: *", "stored"),
        ];
        for (policy, status, response, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let found = may_store(&Method::GET, &headers(""), status, &headers(response), policy);
            assert_eq!(
                found.map_or_else(NoStoreReason::name, |()| "stored"),
                expected,
                "{policy:?} {response:?}"
            );
        }
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> =
            NoStoreReason::ALL.map(NoStoreReason::name).into_iter().collect();
        assert_eq!(names.len(), NoStoreReason::ALL.len());
    }

    #[test]
    fn only_if_cached_is_seen() {
        assert!(is_only_if_cached(&headers("cache-control: max-age=0, only-if-cached")));
        assert!(!is_only_if_cached(&headers("")));
    }
}
