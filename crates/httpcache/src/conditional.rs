//! A client's conditional request, answered from a stored response (RFC 9110 §13, RFC 9111 §4.3.2).

use std::cell::LazyCell;
use std::time::SystemTime;

use http::Method;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, DATE, ETAG, EXPIRES, HeaderMap, HeaderName,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, SET_COOKIE, VARY,
};

use crate::field;
use crate::validators::{EntityTag, Validators};

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Answer as if there were none.
    Proceed,
    /// Answer 304 with [`not_modified_headers`].
    NotModified,
    /// Answer 412.
    PreconditionFailed,
}

/// Weighs the conditions of a request against a stored response, in the order of RFC 9110 §13.2.2. `If-Range` is not among
/// them: see [`crate::if_range_holds`].
///
/// Conditions count for a stored 200 only (§13.2.1); for another status the caller proceeds without asking.
pub fn evaluate(method: &Method, request_headers: &HeaderMap, stored_headers: &HeaderMap) -> Precondition {
    let is_read = method == Method::GET || method == Method::HEAD;
    // Most requests have no condition.
    let stored = LazyCell::new(|| Validators::of_response(stored_headers));
    if request_headers.contains_key(IF_MATCH) {
        if !any_tag(request_headers, &IF_MATCH, &stored, EntityTag::is_same_strongly) {
            return Precondition::PreconditionFailed;
        }
    } else if let Some(limit) = field::single(request_headers, &IF_UNMODIFIED_SINCE).and_then(field::date) {
        // RFC 9110 §13.1.4: the field is ignored when there is no modification date to compare it with.
        if stored.last_modified.is_some_and(|modified| modified > limit) {
            return Precondition::PreconditionFailed;
        }
    }
    if request_headers.contains_key(IF_NONE_MATCH) {
        if any_tag(request_headers, &IF_NONE_MATCH, &stored, EntityTag::is_same_weakly) {
            return if is_read { Precondition::NotModified } else { Precondition::PreconditionFailed };
        }
    } else if is_read
        && let Some(limit) = field::single(request_headers, &IF_MODIFIED_SINCE).and_then(field::date)
        && is_unmodified_since(&stored, stored_headers, limit)
    {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// RFC 9111 §4.3.2: without a modification date the time counts at which the stored response was made. Only when that is
/// before the client's date: what was made within the same second may be something else.
fn is_unmodified_since(stored: &Validators, stored_headers: &HeaderMap, limit: SystemTime) -> bool {
    match stored.last_modified {
        Some(modified) => modified <= limit,
        None if stored_headers.contains_key(LAST_MODIFIED) => false,
        None => field::first_date(stored_headers, &DATE).is_some_and(|made| made < limit),
    }
}

fn any_tag(
    request_headers: &HeaderMap,
    name: &HeaderName,
    stored: &Validators,
    is_same: fn(&EntityTag, &EntityTag) -> bool,
) -> bool {
    field::entity_tags(request_headers, name).any(|member| {
        // The star means any current representation, and a stored response is one.
        member == b"*"
            || matches!((EntityTag::parse(member), &stored.entity_tag), (Some(asked), Some(tag)) if is_same(&asked, tag))
    })
}

/// The fields of a stored 200 that its 304 carries (RFC 9110 §15.4.5): those that a cache downstream needs, no others, to
/// save bytes. `Last-Modified` goes along only when there is no `ETag`. The caller adds `Age` as of now.
pub fn not_modified_headers(stored_headers: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY] {
        for value in stored_headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if !headers.contains_key(ETAG)
        && let Some(modified) = stored_headers.get(LAST_MODIFIED)
    {
        headers.insert(LAST_MODIFIED, modified.clone());
    }
    headers
}

/// Adds to the 304 of [`not_modified_headers`] what else of the stored fields a cache would bring up to date by it (RFC 9111
/// §3.2): for a cache downstream that takes this one's word for the origin's.
pub fn complete_not_modified(headers_of_304: &mut HeaderMap, stored_headers: &HeaderMap) {
    const DECIDED: [HeaderName; 9] =
        [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY, AGE, CONTENT_LENGTH, SET_COOKIE];
    for name in stored_headers.keys().filter(|name| !DECIDED.contains(name)) {
        if !headers_of_304.contains_key(name) {
            for value in stored_headers.get_all(name) {
                headers_of_304.append(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;
    use Precondition::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[track_caller]
    fn check(request: &str, stored: &str, expected: Precondition) {
        assert_eq!(
            evaluate(&Method::GET, &headers(request), &headers(stored)),
            expected,
            "{request:?} {stored:?}"
        );
    }

    #[test]
    fn precedence() {
        let both = &format!("etag: \"a\"\nlast-modified: {MODIFIED}");
        check("", both, Proceed);
        check("if-none-match: \"a\"", both, NotModified);
        check("if-none-match: W/\"a\"", both, NotModified);
        check("if-none-match: \"b\", W/\"a\"", both, NotModified);
        check("if-none-match: \"b\"\nif-none-match: \"a\"", both, NotModified);
        check("if-none-match: *", both, NotModified);
        check("if-none-match: \"b\"", both, Proceed);
        check("if-none-match: a", both, Proceed);
        check("if-none-match: \"a\"", "", Proceed);
        check("if-match: \"x\\\", \"a\"", both, Proceed);
        check("if-match: \"a\"", both, Proceed);
        check("if-match: *", both, Proceed);
        check("if-match: W/\"a\"", both, PreconditionFailed);
        check("if-match: \"b\"", both, PreconditionFailed);
        check("if-match: \"a\"\nif-none-match: \"a\"", both, NotModified);
        check(&format!("if-modified-since: {MODIFIED}"), both, NotModified);
        check(&format!("if-modified-since: {AFTER}"), both, NotModified);
        check(&format!("if-modified-since: {BEFORE}"), both, Proceed);
        check("if-modified-since: 0", both, Proceed);
        check(&format!("if-modified-since: {AFTER}"), "", Proceed);
        let made = format!("date: {MODIFIED}");
        check(&format!("if-modified-since: {AFTER}"), &made, NotModified);
        check(&format!("if-modified-since: {MODIFIED}"), &made, Proceed);
        check(&format!("if-modified-since: {AFTER}"), &format!("{made}\nlast-modified: x"), Proceed);
        check(&format!("if-none-match: \"b\"\nif-modified-since: {AFTER}"), both, Proceed);
        check(&format!("if-unmodified-since: {BEFORE}"), both, PreconditionFailed);
        check(&format!("if-unmodified-since: {MODIFIED}"), both, Proceed);
        check(&format!("if-unmodified-since: {BEFORE}"), "", Proceed);
        check(&format!("if-match: \"a\"\nif-unmodified-since: {BEFORE}"), both, Proceed);
    }

    #[test]
    fn methods_that_write_fail_instead() {
        let (request, stored) = (headers("if-none-match: *"), headers("etag: \"a\""));
        assert_eq!(evaluate(&Method::HEAD, &request, &stored), NotModified);
        assert_eq!(evaluate(&Method::PUT, &request, &stored), PreconditionFailed);
    }

    #[test]
    fn a_304_carries_what_caches_need() {
        let stored = "cache-control: max-age=1\ndate: d\nvary: a\nvary: b\ncontent-type: t\ncontent-length: 3\nserver: s";
        let always = "cache-control: max-age=1\ndate: d\nvary: a\nvary: b";
        let modified = format!("last-modified: {MODIFIED}");
        let cases = [
            (format!("{stored}\n{modified}"), format!("{always}\n{modified}")),
            (format!("{stored}\n{modified}\netag: \"a\""), format!("{always}\netag: \"a\"")),
        ];
        for (stored, expected) in cases {
            assert_eq!(not_modified_headers(&headers(&stored)), headers(&expected));
        }
    }
}
