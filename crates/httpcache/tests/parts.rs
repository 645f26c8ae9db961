//! Properties of parts: whatever an origin says about its bytes is either sound or nothing.

use http::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, RANGE};
use httpcache::{
    ContentRange, Resolved, StrongValidator, content_range, if_range_holds, parse_range, range_value, resolve,
};
use proptest::prelude::*;

fn with(name: http::HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value)])
}

proptest! {
    #[test]
    fn what_is_written_reads_back(first in 0..=u64::MAX - 1, more in 0..1_u64 << 40, beyond in 1..1_u64 << 40) {
        let last = first.saturating_add(more).min(u64::MAX - 1);
        let complete = last.saturating_add(beyond);
        let headers = with(CONTENT_RANGE, content_range(first, last, complete));
        let expected = ContentRange::Part { first, last, complete: Some(complete) };
        prop_assert_eq!(ContentRange::of_response(&headers), Some(expected));
    }

    #[test]
    fn whatever_is_read_lies_within_its_whole(text in "(bytes|bites)?[ =]?[0-9*]{0,21}[-]?[0-9]{0,21}[/]?[0-9*]{0,21}") {
        match ContentRange::of_response(&with(CONTENT_RANGE, HeaderValue::from_str(&text).unwrap())) {
            Some(ContentRange::Part { first, last, complete }) => {
                prop_assert!(first <= last && complete.is_none_or(|complete| last < complete));
            }
            Some(ContentRange::Unsatisfied { .. }) | None => {}
        }
    }

    #[test]
    fn what_is_asked_for_is_what_a_range_names(first in 0..1_000_u64, more in 1..1_000_u64, length in 1..2_000_u64) {
        let asked = parse_range(&with(RANGE, range_value(first, Some(first + more))));
        let expected = if first < length {
            Resolved::Part { first, last: (first + more).min(length) - 1 }
        } else {
            Resolved::Unsatisfiable
        };
        prop_assert_eq!(resolve(asked, length), expected);
        let asked = parse_range(&with(RANGE, range_value(first, None)));
        if first < length {
            prop_assert_eq!(resolve(asked, length), Resolved::Part { first, last: length - 1 });
        }
    }

    #[test]
    fn a_strong_validator_asks_for_its_own_representation_and_no_other(a in "[!#-~]{0,20}", b in "[!#-~]{0,20}") {
        let response = |tag: &str| with(ETAG, HeaderValue::from_str(&format!("\"{tag}\"")).unwrap());
        let strong = StrongValidator::of_response(&response(&a)).unwrap();
        prop_assert_eq!(strong.is_of(&response(&b)), a == b);
        let request = with(http::header::IF_RANGE, strong.if_range());
        prop_assert_eq!(if_range_holds(&request, &response(&b)), a == b);
    }
}
