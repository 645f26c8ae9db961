//! What pieces of one representation have in common (RFC 9110 §8.8.1, §13.1.5, RFC 9111 §3.4).

use std::time::SystemTime;

use http::header::{ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use crate::field;
use crate::validators::{EntityTag, Validators};

/// A validator that changes whenever a byte does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrongValidator {
    /// A strong entity tag.
    Tag(EntityTag),
    /// A `Last-Modified` at least a second before the response's `Date` (RFC 9110 §8.8.2.2), of a response without an
    /// entity tag: §13.1.5 lets nobody ask by date who has a tag.
    Date {
        /// The date.
        at: SystemTime,
        /// Byte by byte as it came, as it goes back.
        text: HeaderValue,
    },
}

impl StrongValidator {
    /// The strong validator of a response, if it has one.
    pub fn of_response(headers: &HeaderMap) -> Option<Self> {
        let validators = Validators::of_response(headers);
        if headers.contains_key(ETAG) {
            return validators.strong_entity_tag().cloned().map(Self::Tag);
        }
        let at = validators.last_modified.filter(|_| validators.has_strong_date())?;
        Some(Self::Date { at, text: headers.get(LAST_MODIFIED)?.clone() })
    }

    /// Does this response say that it is of the same representation? One that does not repeat the validator says nothing.
    pub fn is_of(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Tag(tag) => Validators::of_response(headers)
                .strong_entity_tag()
                .is_some_and(|other| tag.is_same_strongly(other)),
            Self::Date { at, .. } => {
                !headers.contains_key(ETAG)
                    && field::single(headers, &LAST_MODIFIED).and_then(field::date) == Some(*at)
            }
        }
    }

    /// The `If-Range` that asks for a part of this representation and no other.
    pub fn if_range(&self) -> HeaderValue {
        match self {
            Self::Tag(tag) => HeaderValue::from_bytes(&tag.to_bytes())
                .expect("a tag that was read out of a field value can be written into one"),
            Self::Date { text, .. } => text.clone(),
        }
    }

    /// Reads back what [`StrongValidator::if_range`] wrote. Nothing when the value is anything else, such as a weak tag.
    pub fn of_if_range(value: &HeaderValue) -> Option<Self> {
        if let Some(tag) = EntityTag::parse(value.as_bytes()) {
            return (!tag.is_weak()).then_some(Self::Tag(tag));
        }
        Some(Self::Date { at: field::date(value.as_bytes())?, text: value.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    const DAY: &str = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_DAY: &str = "last-modified: Sunday, 06-Nov-94 08:49:37 GMT";
    const NEXT: &str = "last-modified: Sun, 06 Nov 1994 08:49:38 GMT";
    const LATER: &str = "date: Sun, 06 Nov 1994 08:49:39 GMT";

    #[test]
    fn what_counts_as_strong() {
        let cases = [
            ("etag: \"a\"".to_owned(), Some("\"a\"")),
            (format!("etag: \"a\"\n{DAY}\n{LATER}"), Some("\"a\"")),
            ("etag: W/\"a\"".to_owned(), None),
            (format!("etag: W/\"a\"\n{DAY}\n{LATER}"), None),
            (format!("etag: a\n{DAY}\n{LATER}"), None),
            ("etag: \"a\"\netag: \"b\"".to_owned(), None),
            (format!("{DAY}\n{LATER}"), Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (format!("{SAME_DAY}\n{LATER}"), Some("Sunday, 06-Nov-94 08:49:37 GMT")),
            (format!("{DAY}\ndate: Sun, 06 Nov 1994 08:49:37 GMT"), None),
            (DAY.to_owned(), None),
            (String::new(), None),
        ];
        for (response, expected) in cases {
            let found = StrongValidator::of_response(&headers(&response)).map(|strong| strong.if_range());
            assert_eq!(found, expected.map(HeaderValue::from_static), "{response:?}");
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        for response in ["etag: \"a\"".to_owned(), format!("{DAY}\n{LATER}"), format!("{SAME_DAY}\n{LATER}")]
        {
            let strong = StrongValidator::of_response(&headers(&response)).unwrap();
            assert_eq!(StrongValidator::of_if_range(&strong.if_range()), Some(strong), "{response}");
        }
        for other in ["", "W/\"a\"", "\"a", "yesterday"] {
            assert_eq!(StrongValidator::of_if_range(&HeaderValue::from_static(other)), None, "{other}");
        }
    }

    #[test]
    fn which_pieces_belong_together() {
        let tag = StrongValidator::of_response(&headers("etag: \"a\"")).unwrap();
        let date = StrongValidator::of_response(&headers(&format!("{DAY}\n{LATER}"))).unwrap();
        let cases = [
            (&tag, "etag: \"a\"", true),
            (&tag, "etag: \"b\"", false),
            (&tag, "etag: W/\"a\"", false),
            (&tag, "etag: \"a\"\netag: \"a\"", false),
            (&tag, DAY, false),
            (&tag, "", false),
            (&date, DAY, true),
            (&date, SAME_DAY, true),
            (&date, NEXT, false),
            (&date, "", false),
        ];
        for (strong, response, expected) in cases {
            assert_eq!(strong.is_of(&headers(response)), expected, "{strong:?} {response:?}");
        }
        assert!(
            !date.is_of(&headers(&format!("{DAY}\netag: \"a\""))),
            "it has a tag now, and may be another"
        );
    }
}
