//! The `Cache-Control` field of requests and responses (RFC 9111 §5.2).
//!
//! Lenient, and on the safe side where it has to guess: a directive that restricts is honoured even with an argument
//! it should not have, a lifetime that cannot be read counts as zero (§4.2.1 encourages that).

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap};

use crate::field;

/// The largest delta-seconds; a greater number counts as this one (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// The directives of all `Cache-Control` lines of one message.
///
/// Of a directive given twice the first one counts (RFC 9111 §4.2.1). `private` and `no-cache` with field names count as
/// if they had none, which is always allowed (§5.2.2.4, §5.2.2.7). The request directives `max-age`, `min-fresh`,
/// `max-stale` and `no-cache` are not honoured by this cache; see [`crate::may_store`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-store` (§5.2.1.5, §5.2.2.5).
    pub no_store: bool,
    /// `no-cache` (§5.2.2.4): stored, but never used without asking the origin.
    pub no_cache: bool,
    /// `private` (§5.2.2.7).
    pub private: bool,
    /// `public` (§5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (§5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (§5.2.2.3).
    pub must_understand: bool,
    /// `no-transform` (§5.2.2.6).
    pub no_transform: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `only-if-cached` (§5.2.1.7), of requests.
    pub only_if_cached: bool,
    /// `max-age` (§5.2.2.1). Zero when its argument cannot be read.
    pub max_age: Option<Duration>,
    /// `s-maxage` (§5.2.2.10). Zero when its argument cannot be read.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3). Absent when its argument cannot be read: it is a permission.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4). Absent when its argument cannot be read.
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads the directives of a message; without the field all are absent.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for element in field::elements(headers, &CACHE_CONTROL) {
            let (name, argument) = match element.iter().position(|&b| b == b'=') {
                Some(at) => (&element[..at], Some(&element[at + 1..])),
                None => (element, None),
            };
            found.add(&field::trim(name).to_ascii_lowercase(), argument);
        }
        found
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let seconds = || argument.and_then(delta_seconds);
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-transform" => self.no_transform = true,
            b"immutable" => self.immutable = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = self.max_age.or(Some(seconds().unwrap_or_default())),
            b"s-maxage" => self.s_maxage = self.s_maxage.or(Some(seconds().unwrap_or_default())),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or_else(seconds);
            }
            b"stale-if-error" => self.stale_if_error = self.stale_if_error.or_else(seconds),
            // RFC 9111 §5.2.3: what a cache does not know, it ignores.
            _ => {}
        }
    }

    /// The lifetime it gives to a shared cache: `s-maxage`, else `max-age` (RFC 9111 §4.2.1).
    pub fn shared_lifetime(&self) -> Option<Duration> {
        self.s_maxage.or(self.max_age)
    }

    /// Must a stale response not be served without asking? `s-maxage` implies `proxy-revalidate` (§5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }
}

/// Delta-seconds as token or quoted string, bounded by [`DELTA_SECONDS_MAX`]. Nothing but digits is one.
pub(crate) fn delta_seconds(argument: &[u8]) -> Option<Duration> {
    let digits = match argument {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(DELTA_SECONDS_MAX)
    });
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        CacheControl::of(&headers)
    }

    #[test]
    fn lifetimes() {
        let cases: &[(&[&str], Option<u64>)] = &[
            (&["max-age=60"], Some(60)),
            (&["MAX-Age=60"], Some(60)),
            (&["public , max-age=60 "], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=60, s-maxage=5"], Some(5)),
            (&["s-maxage=5", "max-age=60"], Some(5)),
            (&["max-age=60, max-age=5"], Some(60)),
            (&["max-age=0060"], Some(60)),
            (&["max-age=2147483647"], Some(2_147_483_647)),
            (&["max-age=2147483649"], Some(DELTA_SECONDS_MAX)),
            (&["max-age=99999999999999999999999999"], Some(DELTA_SECONDS_MAX)),
            (&["max-age"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=1.5"], Some(0)),
            (&["max-age= 60"], Some(0)),
            (&["max-age=x, max-age=60"], Some(0)),
            (&["s-maxage=x, max-age=60"], Some(0)),
            (&["x=\"max-age=60\""], None),
            (&["xmax-age=60"], None),
            (&[], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(parse(lines).shared_lifetime(), expected.map(Duration::from_secs), "{lines:?}");
        }
    }

    #[test]
    fn flags() {
        let all = parse(&[
            "no-store, No-Cache=\"set-cookie\", private=\"a, b\"",
            "public,must-revalidate,proxy-revalidate",
        ]);
        assert!(
            all.no_store
                && all.no_cache
                && all.private
                && all.public
                && all.must_revalidate
                && all.proxy_revalidate
        );
        let rest = parse(&["must-understand, no-transform, immutable, only-if-cached"]);
        assert!(rest.must_understand && rest.no_transform && rest.immutable && rest.only_if_cached);
        assert_eq!(parse(&["unknown, foo=bar, =, ,,"]), CacheControl::default());
        assert!(parse(&["x=\"unclosed, no-store"]).no_store);
        assert!(parse(&["s-maxage=1"]).forbids_stale());
        assert!(!parse(&["max-age=1"]).forbids_stale());
    }

    #[test]
    fn stale_permissions_need_a_readable_argument() {
        let given = parse(&["stale-while-revalidate=30, stale-if-error=\"40\""]);
        assert_eq!(given.stale_while_revalidate, Some(Duration::from_secs(30)));
        assert_eq!(given.stale_if_error, Some(Duration::from_secs(40)));
        let bad = parse(&["stale-while-revalidate, stale-if-error=x"]);
        assert_eq!((bad.stale_while_revalidate, bad.stale_if_error), (None, None));
    }
}
