//! Byte ranges (RFC 9110 §14), one at a time.
//!
//! A request for several ranges, for another unit, or with a malformed `Range` gets the whole response, as §14.2 allows.

use http::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};

use crate::field;
use crate::validators::{EntityTag, Validators};

/// One range as a request asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both included.
    FromTo {
        /// The first byte.
        first: u64,
        /// The last byte, not before `first`.
        last: u64,
    },
    /// `first-`: all from there.
    From(u64),
    /// `-length`: that many at the end.
    Last(u64),
}

/// A range against a response's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// Answer 200 with all bytes.
    Whole,
    /// Answer 206 with these bytes, both included, and [`content_range`].
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Answer 416 with [`content_range_unsatisfied`].
    Unsatisfiable,
}

/// The range of a request, if it asks for exactly one and well. Only GET has ranges (§14.2): the caller asks for no other.
pub fn parse_range(request_headers: &HeaderMap) -> Option<ByteRange> {
    let value = field::single(request_headers, &RANGE)?;
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    // RFC 9110 §5.6.1: empty members of a list do not count, so that "bytes=0-1," asks for one range.
    let mut members = set.split(|&b| b == b',').map(field::trim).filter(|member| !member.is_empty());
    let (member, None) = (members.next()?, members.next()) else { return None };
    let dash = member.iter().position(|&b| b == b'-')?;
    match (&member[..dash], &member[dash + 1..]) {
        ([], length) => Some(ByteRange::Last(position(length)?)),
        (first, []) => Some(ByteRange::From(position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(ByteRange::FromTo { first, last })
        }
    }
}

/// A number of digits only. One that is too large is as good as the largest: it lies beyond every response.
fn position(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// The bytes that a range names in a response of `length` bytes (RFC 9110 §14.1.2).
pub fn resolve(range: Option<ByteRange>, length: u64) -> Resolved {
    let Some(range) = range else { return Resolved::Whole };
    let Some(end) = length.checked_sub(1) else { return Resolved::Unsatisfiable };
    match range {
        ByteRange::FromTo { first, .. } | ByteRange::From(first) if first > end => Resolved::Unsatisfiable,
        ByteRange::FromTo { first, last } => Resolved::Part { first, last: last.min(end) },
        ByteRange::From(first) => Resolved::Part { first, last: end },
        ByteRange::Last(0) => Resolved::Unsatisfiable,
        ByteRange::Last(count) => Resolved::Part { first: length.saturating_sub(count), last: end },
    }
}

/// Is the request's `If-Range` absent or met (RFC 9110 §13.1.5)? If not, `Range` is ignored.
///
/// A tag must be the same strongly; a date must be exactly the stored `Last-Modified`, and that one a strong validator.
pub fn if_range_holds(request_headers: &HeaderMap, stored_headers: &HeaderMap) -> bool {
    if !request_headers.contains_key(IF_RANGE) {
        return true;
    }
    let Some(value) = field::single(request_headers, &IF_RANGE) else { return false };
    let stored = Validators::of_response(stored_headers);
    if let Some(asked) = EntityTag::parse(value) {
        return stored.entity_tag.is_some_and(|tag| asked.is_same_strongly(&tag));
    }
    let asked = field::date(value);
    asked.is_some() && asked == stored.last_modified && stored.has_strong_date()
}

/// The `Content-Range` of a 206 (RFC 9110 §14.4).
pub fn content_range(first: u64, last: u64, length: u64) -> HeaderValue {
    value_of(&format!("bytes {first}-{last}/{length}"))
}

/// The `Content-Range` of a 416.
pub fn content_range_unsatisfied(length: u64) -> HeaderValue {
    value_of(&format!("bytes */{length}"))
}

fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, spaces and slashes are field characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn ranges_of_ten_bytes() {
        use Resolved::*;
        let cases = [
            ("bytes=0-3", Part { first: 0, last: 3 }),
            ("Bytes=0-3", Part { first: 0, last: 3 }),
            ("bytes= 0-3 ,", Part { first: 0, last: 3 }),
            ("bytes=9-9", Part { first: 9, last: 9 }),
            ("bytes=4-", Part { first: 4, last: 9 }),
            ("bytes=4-99", Part { first: 4, last: 9 }),
            ("bytes=-3", Part { first: 7, last: 9 }),
            ("bytes=-99", Part { first: 0, last: 9 }),
            ("bytes=0-99999999999999999999999", Part { first: 0, last: 9 }),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=3-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=+1-2", Whole),
            ("bytes 0-3", Whole),
            ("lines=0-3", Whole),
            ("", Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(parse_range(&headers(&format!("range: {text}"))), 10), expected, "{text:?}");
        }
        assert_eq!(parse_range(&headers("range: bytes=0-1\nrange: bytes=2-3")), None);
        assert_eq!(resolve(None, 0), Whole);
        assert_eq!(resolve(Some(ByteRange::From(0)), 0), Unsatisfiable);
        assert_eq!(resolve(Some(ByteRange::Last(1)), 0), Unsatisfiable);
    }

    #[test]
    fn if_range() {
        let day = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sun, 06 Nov 1994 08:49:39 GMT";
        let strong = format!("etag: \"a\"\nlast-modified: {day}\ndate: {later}");
        let cases = [
            (String::new(), strong.clone(), true),
            ("if-range: \"a\"".to_owned(), strong.clone(), true),
            ("if-range: \"b\"".to_owned(), strong.clone(), false),
            ("if-range: W/\"a\"".to_owned(), strong.clone(), false),
            ("if-range: \"a\"".to_owned(), "etag: W/\"a\"".to_owned(), false),
            (format!("if-range: {day}"), strong.clone(), true),
            (format!("if-range: {later}"), strong.clone(), false),
            (format!("if-range: {day}"), format!("last-modified: {day}\ndate: {day}"), false),
            (format!("if-range: {day}"), format!("last-modified: {day}"), false),
            ("if-range: never".to_owned(), strong.clone(), false),
            ("if-range: never".to_owned(), String::new(), false),
        ];
        for (request, stored, expected) in cases {
            assert_eq!(
                if_range_holds(&headers(&request), &headers(&stored)),
                expected,
                "{request:?} {stored:?}"
            );
        }
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range(0, 3, 10), "bytes 0-3/10");
        assert_eq!(content_range_unsatisfied(10), "bytes */10");
    }
}
