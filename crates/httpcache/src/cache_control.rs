//! The `Cache-Control` field of requests and responses (RFC 9111 §5.2), and the one targeted at this cache (RFC 9213).
//!
//! `Cache-Control` is read leniently, and on the safe side where it has to guess: a directive that restricts is honoured
//! even with an argument it should not have, a lifetime that cannot be read counts as zero (§4.2.1 encourages that).
//! `CDN-Cache-Control` is a structured field: it is read strictly, and counts as absent when that fails.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderName, VARY};

use crate::field;
use crate::structured::{self, BareItem, Member};

/// The largest delta-seconds; a greater number counts as this one (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// The most field names that one `no-cache` or `private` may give; with more it counts for the whole response.
pub const DIRECTIVE_FIELDS_MAX: usize = 64;

/// The field that is targeted at caches like this one (RFC 9213 §3). It takes the place of `Cache-Control` and `Expires`.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of one message.
///
/// Of a directive given twice the first one counts (RFC 9111 §4.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-store` (§5.2.1.5, §5.2.2.5).
    pub no_store: bool,
    /// `no-cache` without field names (§5.2.1.4, §5.2.2.4): stored, but never used without asking the origin.
    pub no_cache: bool,
    /// `private` without field names (§5.2.2.7).
    pub private: bool,
    /// The fields that `no-cache` or `private` names. They are for the client that asked; this cache stores neither kind, so
    /// that no later answer carries them (§5.2.2.4 and §5.2.2.7 allow as much).
    pub unshared_fields: Vec<HeaderName>,
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
    /// `immutable` (RFC 8246): for clients that reload. A shared cache asks about what is stale whether it says so or not.
    pub immutable: bool,
    /// `only-if-cached` (§5.2.1.7), of requests.
    pub only_if_cached: bool,
    /// `max-age` (§5.2.1.1, §5.2.2.1). Zero when its argument cannot be read.
    pub max_age: Option<Duration>,
    /// `s-maxage` (§5.2.2.10). Zero when its argument cannot be read.
    pub s_maxage: Option<Duration>,
    /// `min-fresh` (§5.2.1.3), of requests. Absent when its argument cannot be read.
    pub min_fresh: Option<Duration>,
    /// `max-stale` (§5.2.1.2), of requests; without an argument it is as long as can be. Absent when its argument cannot be
    /// read: it is a permission.
    pub max_stale: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3). Absent when its argument cannot be read: it is a permission.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4). Absent when its argument cannot be read.
    pub stale_if_error: Option<Duration>,
    /// The directives come from [`CDN_CACHE_CONTROL`]: `Expires` does not count beside them (RFC 9213 §2.2).
    pub is_targeted: bool,
}

impl CacheControl {
    /// Reads the `Cache-Control` directives of a message, all lines; without the field all are absent.
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

    /// The directives of a response that count for this cache: those of [`CDN_CACHE_CONTROL`] if it holds any and parses,
    /// else those of `Cache-Control` (RFC 9213 §2.2).
    pub fn of_response(headers: &HeaderMap) -> Self {
        Self::targeted(headers).unwrap_or_else(|| Self::of(headers))
    }

    fn targeted(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(CDN_CACHE_CONTROL) {
            return None;
        }
        let lines = headers.get_all(CDN_CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
        let directives = structured::parse_dictionary(lines).filter(|directives| !directives.is_empty())?;
        let mut found = Self { is_targeted: true, ..Self::default() };
        for name in DIRECTIVES {
            if let Some(member) = structured::member(&directives, name) {
                found.add_member(name, member);
            }
        }
        Some(found)
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let seconds = || argument.and_then(delta_seconds);
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.add_no_cache(argument.map(unquoted)),
            b"private" => self.add_private(argument.map(unquoted)),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-transform" => self.no_transform = true,
            b"immutable" => self.immutable = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = self.max_age.or(Some(seconds().unwrap_or_default())),
            b"s-maxage" => self.s_maxage = self.s_maxage.or(Some(seconds().unwrap_or_default())),
            b"min-fresh" => self.min_fresh = self.min_fresh.or_else(seconds),
            b"max-stale" if argument.is_none() => self.max_stale = self.max_stale.or(Some(LONGEST)),
            b"max-stale" => self.max_stale = self.max_stale.or_else(seconds),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or_else(seconds);
            }
            b"stale-if-error" => self.stale_if_error = self.stale_if_error.or_else(seconds),
            // RFC 9111 §5.2.3: what a cache does not know, it ignores.
            _ => {}
        }
    }

    /// Adds a directive of a targeted field. RFC 9213 §2.1: values of other types than the directive's own are not used. So a
    /// permission of the wrong type is none, and a lifetime of the wrong type is zero, as one that cannot be read; but a
    /// restriction restricts, whatever it is given, unless it is given as false.
    fn add_member(&mut self, name: &str, member: &Member) {
        let seconds = match member {
            Member::Item(BareItem::Integer(seconds)) => u64::try_from(*seconds)
                .ok()
                .map(|seconds| Duration::from_secs(seconds.min(DELTA_SECONDS_MAX))),
            _ => None,
        };
        let is_true = *member == Member::Item(BareItem::Boolean(true));
        let restricts = *member != Member::Item(BareItem::Boolean(false));
        let names = match member {
            Member::Item(BareItem::String(names)) => Some(Some(names.as_bytes())),
            _ => restricts.then_some(None),
        };
        match (name, names) {
            ("no-cache", Some(names)) => self.add_no_cache(names.map(Some)),
            ("private", Some(names)) => self.add_private(names.map(Some)),
            ("no-store", _) => self.no_store |= restricts,
            ("must-revalidate", _) => self.must_revalidate |= restricts,
            ("proxy-revalidate", _) => self.proxy_revalidate |= restricts,
            ("no-transform", _) => self.no_transform |= restricts,
            ("public", _) => self.public |= is_true,
            ("must-understand", _) => self.must_understand |= is_true,
            ("immutable", _) => self.immutable |= is_true,
            ("max-age", _) => self.max_age = Some(seconds.unwrap_or_default()),
            ("s-maxage", _) => self.s_maxage = Some(seconds.unwrap_or_default()),
            ("stale-while-revalidate", _) => self.stale_while_revalidate = seconds,
            ("stale-if-error", _) => self.stale_if_error = seconds,
            _ => {}
        }
    }

    /// `None`: without an argument. `Some(None)`: with one that is no list of anything.
    fn add_no_cache(&mut self, names: Option<Option<&[u8]>>) {
        self.no_cache |= !self.add_fields(names);
    }

    fn add_private(&mut self, names: Option<Option<&[u8]>>) {
        self.private |= !self.add_fields(names);
    }

    /// Takes note of field names; false if there are none, or if any is not to be had: then the directive is about the whole
    /// response, which is always allowed.
    fn add_fields(&mut self, names: Option<Option<&[u8]>>) -> bool {
        let Some(Some(names)) = names else { return false };
        let mut fields = Vec::new();
        for name in names.split(|&b| b == b',').map(field::trim).filter(|name| !name.is_empty()) {
            match HeaderName::from_bytes(name) {
                Ok(name) if !COUNTS_WHEN_STORED.contains(&name) && fields.len() < DIRECTIVE_FIELDS_MAX => {
                    fields.push(name);
                }
                _ => return false,
            }
        }
        let are_named = !fields.is_empty();
        self.unshared_fields.extend(fields);
        are_named
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

const LONGEST: Duration = Duration::from_secs(DELTA_SECONDS_MAX);

/// The response directives that a targeted field may hold and this cache knows.
const DIRECTIVES: [&str; 13] = [
    "no-store",
    "no-cache",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "no-transform",
    "immutable",
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
    "stale-if-error",
];

/// Fields without which a stored response would mean something else: naming one of them is about the whole response.
const COUNTS_WHEN_STORED: [HeaderName; 6] = [CACHE_CONTROL, CDN_CACHE_CONTROL, EXPIRES, DATE, AGE, VARY];

/// The text of an argument that may be quoted. Nothing when it has escapes, which no list of field names needs.
fn unquoted(argument: &[u8]) -> Option<&[u8]> {
    let text = match argument {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    (!text.contains(&b'\\')).then_some(text)
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
        let all = parse(&["no-store, No-Cache, private", "public,must-revalidate,proxy-revalidate"]);
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

    #[test]
    fn directives_about_fields() {
        let cases: &[(&str, bool, bool, &[&str])] = &[
            (r#"no-cache="Set-Cookie""#, false, false, &["set-cookie"]),
            (r#"no-cache="a, b", private="c,,d""#, false, false, &["a", "b", "c", "d"]),
            (r#"no-cache=a, private=b"#, false, false, &["a", "b"]),
            (r#"private="a", private"#, false, true, &["a"]),
            (r#"private="", no-cache="""#, true, true, &[]),
            (r#"private=, no-cache=" , ""#, true, true, &[]),
            (r#"private="a b", no-cache="a=b""#, true, true, &[]),
            (r#"private="a\,b""#, false, true, &[]),
            (r#"private="a, cache-control""#, false, true, &[]),
            (r#"private="vary", no-cache="Expires""#, true, true, &[]),
        ];
        for (line, no_cache, private, fields) in cases {
            let found = parse(&[line]);
            assert_eq!((found.no_cache, found.private), (*no_cache, *private), "{line}");
            assert_eq!(found.unshared_fields, *fields, "{line}");
        }
        let many: Vec<String> = (0..=DIRECTIVE_FIELDS_MAX).map(|n| format!("x-{n}")).collect();
        assert!(parse(&[&format!("private=\"{}\"", many.join(","))]).private);
    }

    #[test]
    fn directives_of_requests() {
        let found = parse(&["min-fresh=5, max-stale=7"]);
        assert_eq!(
            (found.min_fresh, found.max_stale),
            (Some(Duration::from_secs(5)), Some(Duration::from_secs(7)))
        );
        assert_eq!(parse(&["max-stale"]).max_stale, Some(LONGEST));
        assert_eq!(parse(&["max-stale=x, min-fresh"]), CacheControl::default());
    }

    fn of_response(fields: &str) -> CacheControl {
        CacheControl::of_response(&crate::field::tests_support::headers(fields))
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_cache_control() {
        let found =
            of_response("cdn-cache-control: max-age=5;x=1, unknown\ncache-control: no-store, max-age=9");
        assert!(found.is_targeted && !found.no_store);
        assert_eq!(found.shared_lifetime(), Some(Duration::from_secs(5)));
        assert!(!of_response("cdn-cache-control: none\ncache-control: no-store").no_store);
        let all = of_response(
            "cdn-cache-control: no-store, no-cache, private, public, must-revalidate, proxy-revalidate, no-transform\n\
             cdn-cache-control: must-understand, immutable, s-maxage=1, stale-while-revalidate=2, stale-if-error=3",
        );
        let expected = CacheControl {
            is_targeted: true,
            ..parse(&[
                "no-store, no-cache, private, public, must-revalidate, proxy-revalidate, no-transform",
                "must-understand, immutable, s-maxage=1, stale-while-revalidate=2, stale-if-error=3",
            ])
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn a_targeted_field_that_does_not_parse_counts_as_absent() {
        for bad in [
            "",
            " ",
            "max-age=60, &&&&&",
            "MaX-aGe=60",
            "max-age =60",
            "max-age= 60",
            "max-age=60,",
            "no-store=\"a",
        ] {
            let found = of_response(&format!("cdn-cache-control: {bad}\ncache-control: max-age=9"));
            assert!(!found.is_targeted, "{bad:?}");
            assert_eq!(found.shared_lifetime(), Some(Duration::from_secs(9)), "{bad:?}");
        }
    }

    #[test]
    fn values_of_other_types_than_the_directives_own() {
        for value in ["\"60\"", "60.0", "60.5", "-1", "?1", "tok", ":aGk=:", "(60)", "@60"] {
            let found = of_response(&format!("cdn-cache-control: max-age={value}, stale-if-error={value}"));
            assert_eq!((found.max_age, found.stale_if_error), (Some(Duration::ZERO), None), "{value}");
        }
        let found = of_response("cdn-cache-control: max-age=99999999999, max-age=7");
        assert_eq!(found.max_age, Some(Duration::from_secs(7)), "the last one counts");
        let found = of_response("cdn-cache-control: max-age=99999999999");
        assert_eq!(found.max_age, Some(Duration::from_secs(DELTA_SECONDS_MAX)));
        let found = of_response("cdn-cache-control: no-store=1, private=tok, must-revalidate=(), public=1");
        assert!(found.no_store && found.private && found.must_revalidate && !found.public);
        let found =
            of_response("cdn-cache-control: no-store=?0, private=?0, no-cache=?0, must-revalidate=?0");
        assert_eq!(found, CacheControl { is_targeted: true, ..CacheControl::default() });
        let found = of_response("cdn-cache-control: private=\"set-cookie, x-a\", no-cache=\"x b\"");
        assert_eq!((found.private, found.no_cache), (false, true));
        assert_eq!(found.unshared_fields, ["set-cookie", "x-a"]);
    }
}
