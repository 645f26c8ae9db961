//! Which requests a stored response answers (RFC 9111 §4.1, RFC 9110 §12.5.5).

use std::collections::BTreeSet;

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderMap, HeaderName, VARY};

use crate::field;

/// The most field names in a `Vary` that is stored.
pub const VARY_FIELDS_MAX: usize = 16;

/// The longest variant key, in bytes. A request that would have a longer one selects nothing: it is answered by the origin and
/// not stored, so that no client fills the index with its headers.
pub const VARY_KEY_BYTES_MAX: usize = 4096;

/// What the `Vary` field of a stored response asks of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VaryRule {
    /// No `Vary`: any request for the URL selects it.
    None,
    /// `*`, or something that is no field name: no request selects it.
    Star,
    /// More names than [`VARY_FIELDS_MAX`]: no request selects it.
    TooMany,
    /// The fields that count, sorted and once each.
    Fields(Box<[HeaderName]>),
}

impl VaryRule {
    /// Reads the `Vary` lines of a response.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let mut names: Vec<HeaderName> = Vec::new();
        for element in field::elements(headers, &VARY) {
            // A member that is no field name may stand for anything, and so does the star.
            let Some(name) = HeaderName::from_bytes(element).ok().filter(|_| element != b"*") else {
                return Self::Star;
            };
            if !names.contains(&name) {
                if names.len() == VARY_FIELDS_MAX {
                    // A star may still follow, but either way it is not stored.
                    return Self::TooMany;
                }
                names.push(name);
            }
        }
        if names.is_empty() {
            return Self::None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Self::Fields(names.into())
    }

    /// The key of the variant that this request selects: two requests with equal keys get the same response. Nothing when the
    /// request selects none, because of the rule or because its key were longer than [`VARY_KEY_BYTES_MAX`].
    ///
    /// Values are compared as RFC 9111 §4.1 allows: lines joined, whitespace around list members dropped. Of `Accept-Encoding`
    /// the set of acceptable codings counts; order, weights above zero and case do not, since browsers differ in them without
    /// needing different answers. Of `Accept-Language` the ranges in the order of their weights count; case and the way in which
    /// weights are written do not. The order of ranges of equal weight does: RFC 9110 §12.5.4 allows servers to heed it, and
    /// they do. The key of [`VaryRule::None`] is empty.
    pub fn selects(&self, request_headers: &HeaderMap) -> Option<Vec<u8>> {
        let names = match self {
            Self::None => return Some(Vec::new()),
            Self::Star | Self::TooMany => return None,
            Self::Fields(names) => names,
        };
        let mut key = Vec::new();
        for name in names {
            key.extend_from_slice(name.as_str().as_bytes());
            // Neither byte can be in a field value, so keys of different requests cannot run into each other. An absent
            // field differs from an empty one.
            if request_headers.contains_key(name) {
                key.push(b'\r');
                if name == ACCEPT_ENCODING {
                    push_codings(&mut key, request_headers);
                } else if name == ACCEPT_LANGUAGE {
                    push_languages(&mut key, request_headers);
                } else {
                    push_members(&mut key, request_headers, name);
                }
            }
            key.push(b'\n');
        }
        (key.len() <= VARY_KEY_BYTES_MAX).then_some(key)
    }
}

/// The members of the field, whitespace inside them as single spaces outside quotes, joined by commas.
fn push_members(key: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    let mut is_first = true;
    for member in field::elements(headers, name) {
        if !std::mem::take(&mut is_first) {
            key.push(b',');
        }
        let (mut in_quotes, mut after_space) = (false, false);
        for &byte in member {
            let is_space = matches!(byte, b' ' | b'\t') && !in_quotes;
            if !is_space || !after_space {
                key.push(if is_space { b' ' } else { byte });
            }
            after_space = is_space;
            in_quotes ^= byte == b'"';
        }
    }
}

/// The codings that the client accepts (RFC 9110 §12.5.3), sorted; `!` marks one that it refuses where that matters.
///
/// Codings we do not know are kept, not dropped: the origin may use them, and its answer must reach no client that did not ask.
fn push_codings(key: &mut Vec<u8>, headers: &HeaderMap) {
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for member in field::elements(headers, &ACCEPT_ENCODING) {
        let mut parts = member.split(|&b| b == b';');
        let coding = field::trim(parts.next().unwrap_or_default()).to_ascii_lowercase();
        let coding = if coding == b"x-gzip" { b"gzip".to_vec() } else { coding };
        let set = if parts.any(is_zero_weight) { &mut refused } else { &mut accepted };
        set.insert(coding);
    }
    let (star, identity): (&[u8], &[u8]) = (b"*", b"identity");
    // Refused alone says nothing: what is not listed is not accepted. It matters for identity, which otherwise always is, and
    // beside a star, which otherwise accepts it.
    let is_identity_listed = accepted.remove(identity) || refused.contains(identity);
    if refused.remove(star) && !is_identity_listed {
        refused.insert(identity.to_vec());
    }
    let is_any = accepted.contains(star);
    refused.retain(|coding| !accepted.contains(coding) && (is_any || coding == identity));
    for coding in &accepted {
        key.extend_from_slice(coding);
        key.push(b',');
    }
    for coding in &refused {
        key.push(b'!');
        key.extend_from_slice(coding);
        key.push(b',');
    }
}

/// The languages that the client wants (RFC 9110 §12.5.4) with their weights in thousandths, the heaviest first.
fn push_languages(key: &mut Vec<u8>, headers: &HeaderMap) {
    let mut ranges: Vec<(u16, Vec<u8>)> = field::elements(headers, &ACCEPT_LANGUAGE)
        .map(|member| {
            let mut parts = member.split(|&b| b == b';');
            let range = field::trim(parts.next().unwrap_or_default()).to_ascii_lowercase();
            match parts.map(weight).collect::<Option<Vec<u16>>>().as_deref() {
                Some([]) => (1000, range),
                Some([weight]) => (*weight, range),
                // Nobody knows what a server makes of it: it stands for itself.
                _ => (1000, member.to_vec()),
            }
        })
        .collect();
    ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    for (weight, range) in ranges {
        key.extend_from_slice(&range);
        key.push(b';');
        key.extend_from_slice(weight.to_string().as_bytes());
        key.push(b',');
    }
}

/// A weight in thousandths: `q=1`, `q=0.5` (RFC 9110 §12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = field::trim(parameter) else { return None };
    let digits = match rest {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let fraction =
        (0..3).fold(0, |sum, at| sum * 10 + u16::from(digits.get(at).map_or(0, |digit| digit - b'0')));
    let weight = u16::from(whole - b'0') * 1000 + fraction;
    (weight <= 1000).then_some(weight)
}

/// Is this parameter a weight of zero: `q=0`, `q=0.`, `q=0.000`?
fn is_zero_weight(parameter: &[u8]) -> bool {
    match field::trim(parameter) {
        [b'q' | b'Q', b'=', b'0'] => true,
        [b'q' | b'Q', b'=', b'0', b'.', digits @ ..] => digits.iter().all(|&b| b == b'0'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    fn rule(response: &str) -> VaryRule {
        VaryRule::of_response(&headers(response))
    }

    fn fields(names: &[&'static str]) -> VaryRule {
        VaryRule::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect())
    }

    #[test]
    fn rules() {
        assert_eq!(rule(""), VaryRule::None);
        assert_eq!(rule("vary: ,"), VaryRule::None);
        assert_eq!(rule("vary: *"), VaryRule::Star);
        assert_eq!(rule("vary: accept\nvary: *"), VaryRule::Star);
        assert_eq!(rule("vary: two words"), VaryRule::Star);
        assert_eq!(rule("vary: Origin, Accept\nvary: ORIGIN"), fields(&["accept", "origin"]));
        let names = |count: usize| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert!(matches!(rule(&format!("vary: {}", names(VARY_FIELDS_MAX))), VaryRule::Fields(_)));
        assert_eq!(rule(&format!("vary: {}", names(VARY_FIELDS_MAX + 1))), VaryRule::TooMany);
    }

    #[track_caller]
    fn check(vary: &str, a: &str, b: &str, same: bool) {
        let rule = rule(&format!("vary: {vary}"));
        let (key_a, key_b) = (rule.selects(&headers(a)).unwrap(), rule.selects(&headers(b)).unwrap());
        assert_eq!(key_a == key_b, same, "{vary:?}: {a:?} {b:?}");
    }

    #[test]
    fn requests_of_one_variant() {
        check("accept", "", "x: 1", true);
        check("accept", "", "accept:", false);
        check("accept", "accept: a,b", "accept: a ,\t b", true);
        check("accept", "accept: a, b", "accept: a\naccept: b", true);
        check("accept", "accept: a, b", "accept: b, a", false);
        check("x-a", "x-a: a  b", "x-a: a b", true);
        check("x-a", "x-a: \"a  b\"", "x-a: \"a b\"", false);
        check("x-a", "x-a: a", "x-a: A", false);
        check("x-a, x-b", "x-a: 1", "x-b: 1", false);
        check("x-a, x-b", "x-a: 1\nx-b: 2", "x-b: 2\nx-a: 1", true);
    }

    #[test]
    fn accept_encoding_counts_as_a_set() {
        let same = |a: &str, b: &str, expected| {
            check(
                "accept-encoding",
                &format!("accept-encoding: {a}"),
                &format!("accept-encoding: {b}"),
                expected,
            );
        };
        same("gzip, br", "br;q=1.0, GZIP;q=0.8", true);
        same("gzip, deflate", "x-gzip,deflate", true);
        same("gzip", "gzip, identity", true);
        same("gzip", "gzip, br;q=0", true);
        same("gzip", "gzip, br", false);
        same("gzip", "gzip;q=0", false);
        same("", "identity", true);
        same("dcb", "", false);
        same("*", "gzip", false);
        same("*", "*, gzip;q=0", false);
        same("gzip, *;q=0", "gzip, identity;q=0.000", true);
        same("gzip, *;q=0", "gzip", false);
        same("gzip, identity, *;q=0", "gzip", true);
        check("accept-encoding", "", "accept-encoding: identity", false);
    }

    #[test]
    fn accept_language_counts_by_weight() {
        let same = |a: &str, b: &str, expected| {
            let field = |value: &str| format!("accept-language: {value}");
            check("accept-language", &field(a), &field(b), expected);
        };
        same("en, de", "eN,De", true);
        same("en, de", "en;q=1.0, de ; Q=1.000", true);
        same("en;q=0.5, de", "de, en;q=0.50", true);
        same("en, de", "de, en", false);
        same("en, de;q=0.5", "en, de;q=0.4", false);
        same("en;q=0.5, de;q=0.5", "de;q=0.5, en;q=0.5", false);
        same("en", "en, de;q=0", false);
        same("en;q=2", "en", false);
        same("en;x=1", "en", false);
        same("en;q=1;q=1", "en", false);
        same("*", "en", false);
        same("", "en", false);
    }

    #[test]
    fn nothing_selects_a_star() {
        assert_eq!(VaryRule::Star.selects(&headers("")), None);
        assert_eq!(VaryRule::TooMany.selects(&headers("")), None);
        assert_eq!(VaryRule::None.selects(&headers("accept: a")), Some(Vec::new()));
    }

    #[test]
    fn a_key_has_a_longest_length() {
        let rule = rule("vary: x-a");
        let request = |len: usize| headers(&format!("x-a: {}", "a".repeat(len)));
        let frame_bytes = "x-a\r\n".len();
        assert!(rule.selects(&request(VARY_KEY_BYTES_MAX - frame_bytes)).is_some());
        assert!(rule.selects(&request(VARY_KEY_BYTES_MAX - frame_bytes + 1)).is_none());
    }
}
