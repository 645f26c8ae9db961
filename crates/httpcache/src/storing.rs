//! May a response be stored (RFC 9111 §3)?
//!
//! A gateway cache acts for the origin, so it follows the origin and lets clients do little: of a request's directives only
//! `no-store` (the answer is not stored) and `only-if-cached` count here; the others are weighed only where the operator wants
//! them ([`crate::RequestDirectives`]).

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, SET_COOKIE};
use http::{Method, StatusCode};

use crate::cache_control::CacheControl;
use crate::freshness;
use crate::policy::{OtherStatuses, Policy, SetCookie, Storing};
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
    let is_listed = status == StatusCode::OK || policy.status_lifetime(status).is_some();
    if !is_listed && !may_be_stored(status, policy) {
        return Err(NoStoreReason::Status);
    }
    if CacheControl::of(request_headers).no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    let control = policy.control_of(response_headers);
    // RFC 9111 §3: with must-understand only a status that is understood is stored; §5.2.2.3: then no-store does not count.
    if control.must_understand && !is_understood(status) {
        return Err(NoStoreReason::Status);
    }
    if control.no_store && !control.must_understand {
        return Err(NoStoreReason::NoStore);
    }
    if control.private {
        return Err(NoStoreReason::Private);
    }
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if request_headers.contains_key(AUTHORIZATION) && !shared {
        return Err(NoStoreReason::Authorization);
    }
    if response_headers.contains_key(SET_COOKIE) && !may_store_with_cookie(&control, policy) {
        return Err(NoStoreReason::SetCookie);
    }
    match policy.vary_rule(response_headers) {
        VaryRule::Star => return Err(NoStoreReason::VaryStar),
        VaryRule::TooMany => return Err(NoStoreReason::VaryTooMany),
        VaryRule::None | VaryRule::Fields(_) => {}
    }
    let Some(usable) = freshness::may_be_fresh(status, &control, response_headers, policy) else {
        return Err(if is_listed { NoStoreReason::NoFreshness } else { NoStoreReason::Status });
    };
    if !usable && Validators::of_response(response_headers).is_empty() {
        return Err(NoStoreReason::NeverUsable);
    }
    Ok(())
}

/// May a response of this status be stored at all? A 1xx is no response to store, a 304 is about another one, and a 206 is a
/// piece.
fn may_be_stored(status: StatusCode, policy: &Policy) -> bool {
    policy.other_statuses != OtherStatuses::Never
        && !status.is_informational()
        && !matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
}

fn may_store_with_cookie(control: &CacheControl, policy: &Policy) -> bool {
    control.unshared_fields.contains(&SET_COOKIE)
        || match policy.set_cookie {
            SetCookie::DontStore => false,
            SetCookie::StoreWithout => true,
            SetCookie::StoreIfShared => control.public || control.s_maxage.is_some(),
        }
}

/// The statuses whose rules for caches this cache knows: those of RFC 9110 §15, and the few registered since that need
/// nothing special.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=417 | 421..=426 | 428 | 429 | 431 | 451
        | 500..=508 | 510 | 511)
}

/// The statuses that may be stored with a guessed lifetime (RFC 9110 §15.1), 206 left out: it is no whole response.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
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
        get("", 200, "cache-control: private=\"x-a\", max-age=60", "stored");
        get("", 200, "cache-control: private=\"set-cookie\", max-age=60\nset-cookie: a=b", "stored");
        get("", 200, "cache-control: max-age=60\nset-cookie: a=b", "set-cookie");
        get("", 200, "cache-control: max-age=60\nvary: *", "vary-star");
        get("", 200, "cache-control: max-age=60\nvary: accept, *", "vary-star");
        get("", 206, "cache-control: max-age=60\ncontent-range: bytes 0-1/2", "partial");
        get("", 200, "cache-control: max-age=60\ncontent-range: bytes 0-1/2", "partial");
        get("", 404, "", "stored");
        get("", 404, "cache-control: no-store", "no-store");
        get("", 404, "cache-control: max-age=0", "never-usable");
        for status in [201, 299, 301, 302, 400, 410, 500, 503, 599] {
            get("", status, "cache-control: max-age=60", "stored");
            get("", status, "", "status");
            get("", status, "cache-control: no-store", "no-store");
        }
        get("", 304, "cache-control: max-age=60", "status");
        let modified = "last-modified: Thu, 01 Jan 2015 00:00:00 GMT";
        for status in [203, 204, 300, 301, 308, 405, 410, 414, 501] {
            get("", status, modified, "stored");
        }
        for status in [201, 302, 307, 400, 403, 500, 503, 599] {
            get("", status, modified, "status");
            get("", status, "cache-control: public\nlast-modified: Thu, 01 Jan 2015 00:00:00 GMT", "stored");
        }
        get("", 599, "cache-control: must-understand, no-store, max-age=60", "status");
        get("", 599, "cache-control: must-understand, max-age=60", "status");
        get("", 410, "cache-control: must-understand, no-store, max-age=60", "stored");
        get("", 200, "cdn-cache-control: no-store\ncache-control: max-age=60", "no-store");
        get("", 200, "cdn-cache-control: private\nexpires: Thu, 01 Jan 2037 00:00:00 GMT", "private");
        get("", 200, "cdn-cache-control: max-age=60\ncache-control: no-store", "stored");
        get("", 200, "cdn-cache-control: none\nexpires: Thu, 01 Jan 2037 00:00:00 GMT", "no-freshness");
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
        let only_listed = Policy { other_statuses: OtherStatuses::Never, ..Policy::default() };
        let with_lifetime = Policy { other_statuses: OtherStatuses::WithLifetime, ..Policy::default() };
        let cookies = |set_cookie| Policy { set_cookie, ..Policy::default() };
        let cookie = "cache-control: max-age=60\nset-cookie: a=b";
        let public_cookie = "cache-control: max-age=60, public\nset-cookie: a=b";
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
            (&only_listed, 301, "cache-control: max-age=60", "status"),
            (&only_listed, 404, "cache-control: max-age=60", "stored"),
            (&with_lifetime, 301, "cache-control: max-age=60", "stored"),
            (&with_lifetime, 301, "last-modified: Thu, 01 Jan 2015 00:00:00 GMT", "status"),
            (&cookies(SetCookie::StoreWithout), 200, cookie, "stored"),
            (&cookies(SetCookie::StoreIfShared), 200, cookie, "set-cookie"),
            (&cookies(SetCookie::StoreIfShared), 200, public_cookie, "stored"),
            (&cookies(SetCookie::DontStore), 200, public_cookie, "set-cookie"),
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
