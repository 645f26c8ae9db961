//! What a client is told about keeping a response, by the operator's choice (teo-api §9, `MaxAge`).

use http::header::{AGE, CACHE_CONTROL, EXPIRES, HeaderMap, HeaderValue, PRAGMA};

use crate::cache_control::{CacheControl, DELTA_SECONDS_MAX};
use crate::policy::Policy;

/// Tells the client to keep a response for as long as the policy says, if it says so.
///
/// The lifetime counts from this answer, so that `Age` goes: an age above it would make the copy stale at once. Where the
/// origin forbids storing or sharing (`no-store`, `private`), its word stays, unless the policy overrides the origin
/// anyway: caches further on would otherwise share what is one client's.
pub fn set_client_lifetime(headers: &mut HeaderMap, policy: &Policy) {
    let Some(lifetime) = policy.client_lifetime else { return };
    let control = CacheControl::of(headers);
    if (control.no_store || control.private) && !policy.is_despite_origin() {
        return;
    }
    let seconds = lifetime.as_secs().min(DELTA_SECONDS_MAX);
    let Ok(value) = HeaderValue::from_str(&format!("max-age={seconds}")) else { return };
    headers.insert(CACHE_CONTROL, value);
    for name in [EXPIRES, PRAGMA, AGE] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;
    use crate::policy::Storing;
    use std::time::Duration;

    #[test]
    fn the_client_is_told_what_the_policy_says() {
        let hour = Some(Duration::from_secs(3600));
        let despite = Storing::For { lifetime: Duration::from_secs(1), despite_origin: true };
        let follow = Policy::default().storing;
        let cases = [
            (None, follow, "cache-control: max-age=5\nage: 3", "cache-control: max-age=5\nage: 3"),
            (
                hour,
                follow,
                "cache-control: public, max-age=5, s-maxage=9\nage: 3",
                "cache-control: max-age=3600",
            ),
            (
                hour,
                follow,
                "expires: 0\npragma: no-cache\netag: \"a\"",
                "etag: \"a\"\ncache-control: max-age=3600",
            ),
            (hour, follow, "cache-control: no-cache", "cache-control: max-age=3600"),
            (hour, follow, "cache-control: no-store", "cache-control: no-store"),
            (hour, follow, "cache-control: private", "cache-control: private"),
            (hour, despite, "cache-control: no-store", "cache-control: max-age=3600"),
            (Some(Duration::ZERO), follow, "", "cache-control: max-age=0"),
        ];
        for (client_lifetime, storing, given, expected) in cases {
            let policy = Policy { client_lifetime, storing, ..Policy::default() };
            let mut told = headers(given);
            set_client_lifetime(&mut told, &policy);
            assert_eq!(told, headers(expected), "{given:?}");
        }
    }
}
