//! What becomes of the fields of an origin's response: some are for the cache alone, some for the client that asked.
//!
//! Tags name what a purge finds. A response whose tags do not all count is not to outlive its purge: it is stored for a
//! short time only, and any purge in its zone finds it (see [`crate::object::Object::standing`]).

use crate::config::TagHeaders;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httpcache::{CACHE_GROUPS, Policy};
use purge::Tags;

/// The header in which origins name the tags of a response, separated by commas.
pub(crate) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Fastly's header of tags, separated by spaces.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// The header of tags of Varnish's xkey, separated by spaces or commas.
const XKEY: HeaderName = HeaderName::from_static("xkey");

/// Akamai's header of tags, separated by commas.
const EDGE_CACHE_TAG: HeaderName = HeaderName::from_static("edge-cache-tag");

/// The tags of one response.
pub(crate) struct TagsRead {
    pub(crate) tags: Tags,
    /// How many of them can't count: malformed, or too many.
    pub(crate) ignored: usize,
}

/// Reads the tags of a response from every field that the operator has tags in. Its groups are tags of its origin: a purge by
/// tag finds them, too.
pub(crate) fn read_tags(fields: &TagHeaders, headers: &HeaderMap) -> TagsRead {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let is_either = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
    let lines = |is_read: bool, name| headers.get_all(name).into_iter().filter(move |_| is_read);
    let commas = lines(true, CACHE_TAG)
        .chain(lines(fields.edge_cache_tag, EDGE_CACHE_TAG))
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let spaces =
        lines(fields.surrogate_key, SURROGATE_KEY).flat_map(move |line| line.as_bytes().split(is_space));
    let either = lines(fields.xkey, XKEY).flat_map(move |line| line.as_bytes().split(is_either));
    let groups = httpcache::groups(headers, &CACHE_GROUPS);
    let groups = groups.iter().map(String::as_bytes).filter(|group| purge::is_tag(group));
    let (tags, ignored) = Tags::collect(commas.chain(spaces).chain(either).chain(groups));
    TagsRead { tags, ignored }
}

/// Takes the fields of tags away, read or not, unless the operator lets clients see them.
pub(crate) fn strip_tags(fields: &TagHeaders, headers: &mut HeaderMap) {
    if !fields.to_clients {
        for name in [CACHE_TAG, SURROGATE_KEY, XKEY, EDGE_CACHE_TAG] {
            headers.remove(name);
        }
    }
}

/// Takes the fields out that only the client may have for which the response was fetched.
pub(crate) fn take_unshared(policy: &Policy, headers: &mut HeaderMap) -> HeaderMap {
    let mut taken = HeaderMap::new();
    for name in policy.unshared_fields(headers) {
        move_field(&name, headers, &mut taken);
    }
    taken
}

/// The same of a 304, whose fields were merged into `stored`. A 304's cookies are never stored.
pub(crate) fn take_unshared_of_304(
    policy: &Policy,
    stored: &mut HeaderMap,
    validation: &HeaderMap,
) -> HeaderMap {
    let mut taken = HeaderMap::new();
    let mut of_304 = validation.clone();
    move_field(&header::SET_COOKIE, &mut of_304, &mut taken);
    for name in policy.unshared_fields(stored) {
        stored.remove(&name);
        move_field(&name, &mut of_304, &mut taken);
    }
    taken
}

fn move_field(name: &HeaderName, from: &mut HeaderMap, to: &mut HeaderMap) {
    let values: Vec<HeaderValue> = from.get_all(name).iter().cloned().collect();
    from.remove(name);
    for value in values {
        to.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use httpcache::SetCookie;

    fn headers(lines: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn tags_come_from_the_fields_that_the_operator_names() {
        let all = TagHeaders { surrogate_key: true, xkey: true, edge_cache_tag: true, to_clients: false };
        let cases = [
            ("cache-tag: a, b\ncache-tag: c", "a,b,c", "a,b,c", 0),
            ("surrogate-key: a  b\tc", "", "a,b,c", 0),
            ("surrogate-key: a,b c", "", "c", 1),
            ("xkey: a b,c\nxkey: d", "", "a,b,c,d", 0),
            ("edge-cache-tag: a, b", "", "a,b", 0),
            ("edge-cache-tag: a b", "", "", 1),
            ("cache-tag: a\nsurrogate-key: b a\nxkey: c\nedge-cache-tag: d", "a", "a,d,b,c", 0),
            ("cache-groups: \"g\", \"g 2\"", "g", "g", 0),
            ("cache-groups: g", "", "", 0),
        ];
        for (fields, by_default, with_all, ignored) in cases {
            let fields = headers(fields);
            let read = read_tags(&TagHeaders::default(), &fields);
            assert_eq!(read.tags.as_header_value(), by_default, "{fields:?}");
            let read = read_tags(&all, &fields);
            assert_eq!((read.tags.as_header_value(), read.ignored), (with_all, ignored), "{fields:?}");
        }
    }

    #[test]
    fn tags_are_for_the_cache_alone_unless_the_operator_says_otherwise() {
        let fields =
            headers("cache-tag: a\nsurrogate-key: a\nxkey: a\nedge-cache-tag: a\ncache-groups: \"a\"");
        let mut stripped = fields.clone();
        strip_tags(&TagHeaders::default(), &mut stripped);
        assert_eq!(stripped, headers("cache-groups: \"a\""));
        let mut kept = fields.clone();
        strip_tags(&TagHeaders { to_clients: true, ..TagHeaders::default() }, &mut kept);
        assert_eq!(kept, fields);
    }

    #[test]
    fn fields_for_one_client_are_taken_out() {
        let mut stored =
            headers("cache-control: private=\"x-a, x-b\"\nx-a: 1\nx-a: 2\nx-c: 3\nset-cookie: a=b");
        let without = Policy { set_cookie: SetCookie::StoreWithout, ..Policy::default() };
        let taken = take_unshared(&without, &mut stored);
        assert_eq!(taken, headers("x-a: 1\nx-a: 2\nset-cookie: a=b"));
        assert_eq!(stored, headers("cache-control: private=\"x-a, x-b\"\nx-c: 3"));

        let mut stored = headers("cache-control: no-cache=\"x-a\"\nx-a: 1");
        let validation = headers("cache-control: no-cache=\"x-a\"\nx-a: 1\nset-cookie: a=b");
        let taken = take_unshared_of_304(&Policy::default(), &mut stored, &validation);
        assert_eq!(taken, headers("set-cookie: a=b\nx-a: 1"));
        assert_eq!(stored, headers("cache-control: no-cache=\"x-a\""));
    }
}
