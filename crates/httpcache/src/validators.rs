//! Entity tags and modification dates (RFC 9110 §8.8), and the conditional requests made of them.

use std::time::SystemTime;

use http::header::{DATE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

use crate::field;

/// The longest entity tag that counts as one, with its quotes.
pub const ENTITY_TAG_BYTES_MAX: usize = 1024;

/// An entity tag (RFC 9110 §8.8.3): an opaque text, weak or strong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityTag {
    is_weak: bool,
    /// With its quotes.
    opaque: Box<[u8]>,
}

impl EntityTag {
    /// Reads `"…"` or `W/"…"`. Nothing when it is anything else, or longer than [`ENTITY_TAG_BYTES_MAX`].
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = field::trim(text);
        let (is_weak, opaque) = match text {
            [b'W', b'/', opaque @ ..] => (true, opaque),
            opaque => (false, opaque),
        };
        let [b'"', inner @ .., b'"'] = opaque else { return None };
        // RFC 9110 §8.8.3, etagc: no quotes, spaces or controls.
        let fits = inner.iter().all(|&b| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80);
        (fits && text.len() <= ENTITY_TAG_BYTES_MAX).then(|| Self { is_weak, opaque: opaque.into() })
    }

    /// Is it weak?
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): the same bytes.
    pub fn is_same_strongly(&self, other: &Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// Weak comparison: as good as the same.
    pub fn is_same_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    /// As it is written in a field.
    pub fn to_bytes(&self) -> Vec<u8> {
        let prefix: &[u8] = if self.is_weak { b"W/" } else { b"" };
        [prefix, &self.opaque].concat()
    }
}

/// The validators of one response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, if it is one and there is only one.
    pub entity_tag: Option<EntityTag>,
    /// `Last-Modified`, if it is a date and there is only one.
    pub last_modified: Option<SystemTime>,
    /// `Last-Modified` byte by byte: RFC 9110 §13.1.3 wants it back as it came.
    last_modified_text: Option<HeaderValue>,
    /// Is `Last-Modified` at least a second before `Date`, and so a strong validator (RFC 9110 §8.8.2.2)?
    is_date_strong: bool,
}

impl Validators {
    /// Reads the validators of a response.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let entity_tag = field::single(headers, &ETAG).and_then(EntityTag::parse);
        let last_modified = field::single(headers, &LAST_MODIFIED).and_then(field::date);
        let date = field::first_date(headers, &DATE);
        let is_date_strong = match (last_modified, date) {
            (Some(modified), Some(date)) => date.duration_since(modified).is_ok_and(|age| age.as_secs() >= 1),
            _ => false,
        };
        let last_modified_text = last_modified.and_then(|_| headers.get(LAST_MODIFIED).cloned());
        Self { entity_tag, last_modified, last_modified_text, is_date_strong }
    }

    /// Has the response none? Then it cannot be validated, only fetched anew.
    pub fn is_empty(&self) -> bool {
        self.entity_tag.is_none() && self.last_modified.is_none()
    }

    /// Its entity tag, when that is strong: what pieces of one representation have in common.
    pub fn strong_entity_tag(&self) -> Option<&EntityTag> {
        self.entity_tag.as_ref().filter(|tag| !tag.is_weak())
    }

    /// Is the date a strong validator: `Last-Modified` at least a second before `Date` (RFC 9110 §8.8.2.2)?
    pub fn has_strong_date(&self) -> bool {
        self.is_date_strong
    }
}

/// The fields that make a request ask whether the stored response still holds (RFC 9111 §4.3.1): `If-None-Match` and
/// `If-Modified-Since`, both when both validators exist. Empty when there is none.
///
/// They replace all conditional fields of the client's own request: the answer is meant for the cache.
pub fn conditional_headers(validators: &Validators) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    // A tag that was read out of a field value can be written into one.
    let tag = validators.entity_tag.as_ref().and_then(|tag| HeaderValue::from_bytes(&tag.to_bytes()).ok());
    if let Some(tag) = tag {
        headers.insert(IF_NONE_MATCH, tag);
    }
    if let Some(text) = &validators.last_modified_text {
        headers.insert(IF_MODIFIED_SINCE, text.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn entity_tags() {
        let cases: &[(&str, Option<bool>)] = &[
            ("\"a\"", Some(false)),
            (" \"a\"\t", Some(false)),
            ("W/\"a\"", Some(true)),
            ("\"\"", Some(false)),
            ("\"a,b\\\"", Some(false)),
            ("w/\"a\"", None),
            ("W/ \"a\"", None),
            ("a", None),
            ("\"a", None),
            ("\"", None),
            ("", None),
            ("\"a\"b\"", None),
            ("\"a b\"", None),
        ];
        for (text, is_weak) in cases {
            assert_eq!(EntityTag::parse(text.as_bytes()).map(|tag| tag.is_weak()), *is_weak, "{text:?}");
        }
        let tag_of = |len: usize| format!("\"{}\"", "a".repeat(len - 2));
        assert!(EntityTag::parse(tag_of(ENTITY_TAG_BYTES_MAX).as_bytes()).is_some());
        assert!(EntityTag::parse(tag_of(ENTITY_TAG_BYTES_MAX + 1).as_bytes()).is_none());
    }

    /// The table of RFC 9110 §8.8.3.2.
    #[test]
    fn comparisons() {
        let cases = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (a, b, strong, weak) in cases {
            let (a, b) = (EntityTag::parse(a.as_bytes()).unwrap(), EntityTag::parse(b.as_bytes()).unwrap());
            assert_eq!((a.is_same_strongly(&b), a.is_same_weakly(&b)), (strong, weak), "{a:?} {b:?}");
        }
    }

    #[test]
    fn revalidation_sends_both_validators() {
        let date = "Sunday, 06-Nov-94 08:49:37 GMT";
        let cases = [
            ("".to_owned(), ""),
            ("etag: W/\"a\"".to_owned(), "if-none-match: W/\"a\""),
            (format!("last-modified: {date}"), "if-modified-since: Sunday, 06-Nov-94 08:49:37 GMT"),
            (
                format!("etag: \"a\"\nlast-modified: {date}"),
                "if-none-match: \"a\"\nif-modified-since: Sunday, 06-Nov-94 08:49:37 GMT",
            ),
            ("etag: a\nlast-modified: 0".to_owned(), ""),
            ("etag: \"a\"\netag: \"b\"".to_owned(), ""),
        ];
        for (response, expected) in cases {
            let validators = Validators::of_response(&headers(&response));
            assert_eq!(conditional_headers(&validators), headers(expected), "{response:?}");
        }
    }

    #[test]
    fn dates_are_strong_a_second_later() {
        let modified = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
        let cases = [
            ("", false),
            ("date: Sun, 06 Nov 1994 08:49:37 GMT", false),
            ("date: Sun, 06 Nov 1994 08:49:38 GMT", true),
            ("date: Sun, 06 Nov 1994 08:49:36 GMT", false),
        ];
        for (date, strong) in cases {
            let validators = Validators::of_response(&headers(&format!("{modified}\n{date}")));
            assert_eq!(validators.has_strong_date(), strong, "{date:?}");
        }
    }
}
