//! Which bytes a response of an origin carries: `Content-Range` read back (RFC 9110 §14.4).
//!
//! Strict where `Range` of clients is lenient: what an origin says about its bytes decides where a cache puts them, so
//! that anything unclear counts as nothing said.

use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue};

use crate::field;

/// The `Content-Range` of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes first-last/complete`: a part (206).
    Part {
        /// The first byte.
        first: u64,
        /// The last byte, not before `first` and within the complete length.
        last: u64,
        /// The length of the whole; `None` where the origin does not know it (`*`).
        complete: Option<u64>,
    },
    /// `bytes */complete`: nothing of it can be had as asked for (416).
    Unsatisfied {
        /// The length of the whole.
        complete: u64,
    },
}

impl ContentRange {
    /// Reads the one `Content-Range` of a response. Nothing when there is none or several, when its unit is not bytes,
    /// when a number does not fit, or when the range lies outside the complete length (RFC 9110 §14.4: invalid, and not
    /// to be combined).
    pub fn of_response(headers: &HeaderMap) -> Option<Self> {
        let value = field::single(headers, &CONTENT_RANGE)?;
        let (unit, rest) = value.split_at_checked(b"bytes".len())?;
        if !unit.eq_ignore_ascii_case(b"bytes") || rest.first() != Some(&b' ') {
            return None;
        }
        let rest = field::trim(rest);
        let slash = rest.iter().position(|&b| b == b'/')?;
        let (range, complete) = (&rest[..slash], &rest[slash + 1..]);
        if range == b"*" {
            return Some(Self::Unsatisfied { complete: number(complete)? });
        }
        let dash = range.iter().position(|&b| b == b'-')?;
        let (first, last) = (number(&range[..dash])?, number(&range[dash + 1..])?);
        let complete = if complete == b"*" { None } else { Some(number(complete)?) };
        let is_valid = first <= last && complete.is_none_or(|complete| last < complete);
        is_valid.then_some(Self::Part { first, last, complete })
    }
}

/// Digits only, and no more than a length can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// The `Range` that asks for the bytes from `first` to before `end`, `None` for all that follow.
pub fn range_value(first: u64, end: Option<u64>) -> HeaderValue {
    let last = end.map(|end| end.saturating_sub(1).to_string()).unwrap_or_default();
    HeaderValue::from_str(&format!("bytes={first}-{last}")).expect("digits and dashes are field characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn what_an_origin_says_about_its_bytes() {
        let part = |first, last, complete| Some(ContentRange::Part { first, last, complete });
        let cases = [
            ("bytes 0-3/10", part(0, 3, Some(10))),
            ("Bytes 0-3/10", part(0, 3, Some(10))),
            ("bytes  0-3/10 ", part(0, 3, Some(10))),
            ("bytes 9-9/10", part(9, 9, Some(10))),
            ("bytes 0-3/*", part(0, 3, None)),
            ("bytes 0-18446744073709551614/18446744073709551615", part(0, u64::MAX - 1, Some(u64::MAX))),
            ("bytes */10", Some(ContentRange::Unsatisfied { complete: 10 })),
            ("bytes */*", None),
            ("bytes 0-10/10", None),
            ("bytes 3-2/10", None),
            ("bytes 0-3/18446744073709551616", None),
            ("bytes 0-3", None),
            ("bytes 0-/10", None),
            ("bytes -3/10", None),
            ("bytes 0-3/", None),
            ("bytes 0 - 3/10", None),
            ("bytes +0-3/10", None),
            ("bytes=0-3/10", None),
            ("bytes0-3/10", None),
            ("lines 0-3/10", None),
            ("bytes 0-3/10, bytes 4-5/10", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = ContentRange::of_response(&headers(&format!("content-range: {text}")));
            assert_eq!(found, expected, "{text:?}");
        }
        let twice = headers("content-range: bytes 0-3/10\ncontent-range: bytes 0-3/10");
        assert_eq!(ContentRange::of_response(&twice), None);
        assert_eq!(ContentRange::of_response(&HeaderMap::new()), None);
    }

    #[test]
    fn what_a_cache_asks_for() {
        assert_eq!(range_value(0, Some(10)), "bytes=0-9");
        assert_eq!(range_value(5, None), "bytes=5-");
    }
}
