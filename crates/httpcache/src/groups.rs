//! Cache groups (RFC 9875): which stored responses of one origin change together.

use http::header::{HeaderMap, HeaderName};

use crate::structured::{self, BareItem, Member};

/// Names the groups that a response belongs to (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// Names the groups that the answer to an unsafe request makes stale (RFC 9875 §3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The most groups of one field that count; the RFC asks for 32.
pub const GROUPS_MAX: usize = 128;

/// The longest name of a group that counts, in bytes; the RFC asks for 32.
pub const GROUP_BYTES_MAX: usize = 128;

/// The groups in all lines of a field, each once and in order. None when the field does not parse, holds anything but strings,
/// or more or longer ones than count: half of what belongs together would be worse than nothing.
pub fn groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    let lines = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    let members = structured::parse_list(lines).filter(|members| members.len() <= GROUPS_MAX);
    let mut groups = Vec::new();
    for member in members.unwrap_or_default() {
        match member {
            Member::Item(BareItem::String(group)) if group.len() <= GROUP_BYTES_MAX => {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
            _ => return Vec::new(),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn lists_of_strings() {
        let long = "x".repeat(GROUP_BYTES_MAX);
        let cases: &[(String, &[&str])] = &[
            (String::new(), &[]),
            ("cache-groups: \"a\", \"B c,\";x=1, \"a\"".into(), &["a", "B c,"]),
            ("cache-groups: \"a\"\ncache-groups: \"b\"".into(), &["a", "b"]),
            ("cache-groups: a".into(), &[]),
            ("cache-groups: \"a\", b".into(), &[]),
            ("cache-groups: \"a\", (\"b\")".into(), &[]),
            ("cache-groups: \"a\",".into(), &[]),
            (format!("cache-groups: \"{long}\""), &[&long]),
            (format!("cache-groups: \"{long}x\", \"a\""), &[]),
            ("cache-group-invalidation: \"a\"".into(), &[]),
        ];
        for (fields, expected) in cases {
            assert_eq!(groups(&headers(fields), &CACHE_GROUPS), *expected, "{fields:?}");
        }
        let of = |count: usize| {
            let list: Vec<String> = (0..count).map(|n| format!("\"{n}\"")).collect();
            groups(&headers(&format!("cache-groups: {}", list.join(","))), &CACHE_GROUPS).len()
        };
        assert_eq!((of(GROUPS_MAX), of(GROUPS_MAX + 1)), (GROUPS_MAX, 0));
    }
}
