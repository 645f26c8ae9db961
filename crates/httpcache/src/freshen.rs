//! What a 304, or the answer to a HEAD, does to a stored response (RFC 9111 §3.2, §4.3.4, §4.3.5).

use http::StatusCode;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName,
    LAST_MODIFIED, SET_COOKIE,
};

use crate::field;
use crate::forwarding::strip_hop_by_hop;
use crate::validators::{EntityTag, Validators};

/// The stored headers, brought up to date by those of a 304: each field of the 304 replaces the stored one, all lines of it.
///
/// Kept as stored are the fields that describe the stored bytes (`Content-Length`, `Content-Encoding`, `Content-Range`,
/// `Content-Type`, and `ETag` where there is one), and those that hold for one hop only. `Content-Type` is among them because
/// some servers put that of an empty page into a 304; `ETag` because some write a strong tag there though the stored bytes,
/// compressed on the way out, bear a weak one, and bytes under a wrong strong tag would break ranges. `Set-Cookie` of a 304
/// belongs to the client that asked, not into the cache.
///
/// `Age` and `Date` are those of the 304 or none: the old ones speak of the old response and would make the fresh one old. A
/// response without `Date` was made when it arrived (RFC 9110 §6.6.1), and the caller says so when it forwards it.
pub fn freshen(stored_headers: &HeaderMap, headers_of_304: &HeaderMap) -> HeaderMap {
    let mut update = headers_of_304.clone();
    strip_hop_by_hop(&mut update);
    let mut fresh = stored_headers.clone();
    fresh.remove(AGE);
    fresh.remove(DATE);
    let keeps_tag = stored_headers.contains_key(ETAG);
    for name in update.keys().filter(|name| !(is_kept_as_stored(name) || keeps_tag && **name == ETAG)) {
        fresh.remove(name);
        for value in update.get_all(name) {
            fresh.append(name.clone(), value.clone());
        }
    }
    fresh
}

fn is_kept_as_stored(name: &HeaderName) -> bool {
    [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, SET_COOKIE].contains(name)
}

/// Does this 304 speak of the stored response (RFC 9111 §4.3.4)? If not, it freshens nothing.
///
/// A tag must be the same weakly, which for two strong ones means strongly; without a tag, a `Last-Modified` must be equal. A
/// 304 without any validator speaks of the response whose validators the request named, which is the stored one. A validator
/// that cannot be read, or several of a kind, match nothing.
///
/// More lenient than the RFC in one case: a strong tag in the 304 matches the same tag stored as weak. Servers that compress on
/// the way out answer so; refusing would mean to fetch all of that anew each time, though the server just said that nothing
/// changed.
pub fn names_validator(stored_headers: &HeaderMap, headers_of_304: &HeaderMap) -> bool {
    let stored = Validators::of_response(stored_headers);
    if headers_of_304.contains_key(ETAG) {
        let named = field::single(headers_of_304, &ETAG).and_then(EntityTag::parse);
        return matches!((named, &stored.entity_tag), (Some(named), Some(tag)) if named.is_same_weakly(tag));
    }
    if headers_of_304.contains_key(LAST_MODIFIED) {
        let named = field::single(headers_of_304, &LAST_MODIFIED).and_then(field::date);
        return named.is_some() && named == stored.last_modified;
    }
    true
}

/// What the answer to a HEAD says about a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadUpdate {
    /// Nothing: it is no 200, or the stored response is none.
    Nothing,
    /// The stored response is what a GET would bring: it goes on with these fields.
    Fields(HeaderMap),
    /// A GET would bring something else: the stored response is stale.
    Outdated,
}

/// Weighs the answer to a HEAD against a stored response of `stored_length` bytes (RFC 9111 §4.3.5): every validator and the
/// length that the answer names must be those of the stored response.
///
/// It says nothing about when the stored bytes left the origin, so that it never speaks against a purge.
pub fn update_by_head(
    stored_status: StatusCode,
    stored_headers: &HeaderMap,
    stored_length: u64,
    status: StatusCode,
    headers: &HeaderMap,
) -> HeadUpdate {
    if status != StatusCode::OK || stored_status != StatusCode::OK {
        return HeadUpdate::Nothing;
    }
    let same = |name: &HeaderName| {
        !headers.contains_key(name) || headers.get_all(name).iter().eq(stored_headers.get_all(name).iter())
    };
    let length = field::single(headers, &CONTENT_LENGTH);
    let is_same_length = match (headers.contains_key(CONTENT_LENGTH), length) {
        (false, _) => true,
        (true, length) => length.is_some_and(|length| length == stored_length.to_string().as_bytes()),
    };
    // Codings name other bytes under the same URL, whatever the validators say.
    if is_same_length && [ETAG, LAST_MODIFIED, CONTENT_ENCODING].iter().all(same) {
        HeadUpdate::Fields(freshen(stored_headers, headers))
    } else {
        HeadUpdate::Outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn fields_of_the_304_replace_stored_ones() {
        let stored = "etag: \"a\"\ncontent-length: 5\ncontent-type: text/css\ncontent-encoding: gzip\nage: 7\n\
                      cache-control: max-age=1\ncache-control: public\nx-kept: 1";
        let answer = "etag: \"a\"\ncontent-length: 0\ncontent-type: text/html\ncontent-encoding: br\ncontent-range: x\n\
                      cache-control: max-age=9\nset-cookie: a=b\nx-new: 1\nx-new: 2\nconnection: x-hop\nx-hop: 1\n\
                      transfer-encoding: chunked\nkeep-alive: 5";
        let expected = "etag: \"a\"\ncontent-length: 5\ncontent-type: text/css\ncontent-encoding: gzip\n\
                        cache-control: max-age=9\nx-kept: 1\nx-new: 1\nx-new: 2";
        assert_eq!(freshen(&headers(stored), &headers(answer)), headers(expected));
    }

    #[test]
    fn the_stored_tag_stays_with_its_bytes() {
        assert_eq!(freshen(&headers("etag: W/\"a\""), &headers("etag: \"a\"")), headers("etag: W/\"a\""));
        assert_eq!(freshen(&headers(""), &headers("etag: \"a\"")), headers("etag: \"a\""));
    }

    #[test]
    fn age_and_date_are_those_of_the_304() {
        assert_eq!(freshen(&headers("date: a"), &headers("")), headers(""));
        assert_eq!(freshen(&headers("date: a"), &headers("date: b")), headers("date: b"));
        assert_eq!(freshen(&headers("age: 7"), &headers("")), headers(""));
        assert_eq!(freshen(&headers("age: 7"), &headers("age: 2")), headers("age: 2"));
    }

    #[test]
    fn whom_a_304_names() {
        let day = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
        let same_day_otherwise = "last-modified: Sunday, 06-Nov-94 08:49:37 GMT";
        let next = "last-modified: Sun, 06 Nov 1994 08:49:38 GMT";
        let cases = [
            ("etag: \"a\"", "etag: \"a\"", true),
            ("etag: \"a\"", "etag: \"b\"", false),
            ("etag: \"a\"", "etag: W/\"a\"", true),
            ("etag: W/\"a\"", "etag: W/\"a\"", true),
            ("etag: W/\"a\"", "etag: \"a\"", true),
            ("etag: \"a\"", "etag: a", false),
            ("etag: \"a\"", "etag: \"a\"\netag: \"b\"", false),
            ("", "etag: \"a\"", false),
            (day, same_day_otherwise, true),
            (day, next, false),
            ("", day, false),
            ("etag: \"a\"", "", true),
            (day, "", true),
        ];
        for (stored, answer, expected) in cases {
            assert_eq!(
                names_validator(&headers(stored), &headers(answer)),
                expected,
                "{stored:?} {answer:?}"
            );
        }
    }

    #[test]
    fn what_a_head_says() {
        let stored =
            "etag: \"a\"\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\ncache-control: max-age=1\nx-kept: 1";
        let cases = [
            ("cache-control: max-age=9", Some("max-age=9")),
            ("etag: \"a\"\ncontent-length: 5", Some("max-age=1")),
            ("etag: \"b\"", None),
            ("etag: W/\"a\"", None),
            ("last-modified: Sun, 06 Nov 1994 08:49:38 GMT", None),
            ("content-length: 6", None),
            ("content-length: x", None),
            ("content-encoding: gzip", None),
        ];
        for (answer, expected) in cases {
            let ok = StatusCode::OK;
            match (update_by_head(ok, &headers(stored), 5, ok, &headers(answer)), expected) {
                (HeadUpdate::Fields(fields), Some(control)) => {
                    assert_eq!(
                        (&fields["cache-control"], &fields["x-kept"]),
                        (&control.parse().unwrap(), &"1".parse().unwrap())
                    );
                }
                (HeadUpdate::Outdated, None) => {}
                (found, _) => panic!("{answer:?} {found:?}"),
            }
        }
        let (ok, gone) = (StatusCode::OK, StatusCode::GONE);
        for (stored_status, status) in [(ok, gone), (gone, ok), (ok, StatusCode::NOT_MODIFIED)] {
            let found = update_by_head(stored_status, &headers(stored), 5, status, &headers("etag: \"b\""));
            assert_eq!(found, HeadUpdate::Nothing);
        }
    }
}
