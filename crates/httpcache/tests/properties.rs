//! Properties of the decisions over arbitrary headers and times.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use httpcache::{
    BareItem, CACHE_GROUPS, CDN_CACHE_CONTROL, CacheControl, CacheStatus, EntityTag, Freshness, Member,
    Policy, RequestDirectives, Resolved, Validators, VaryRule, ViaName, conditional_headers, end_to_end,
    evaluate, freshen, groups, has_passed, if_range_holds, invalidation_targets, is_only_if_cached,
    may_store, names_validator, not_modified_headers, parse_dictionary, parse_list, parse_range, resolve,
    update_by_head, via_hops,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NAMES: [HeaderName; 26] = [
    CDN_CACHE_CONTROL,
    CACHE_GROUPS,
    header::CONTENT_ENCODING,
    header::PRAGMA,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::DATE,
    header::AGE,
    header::LAST_MODIFIED,
    header::ETAG,
    header::VARY,
    header::ACCEPT_ENCODING,
    header::ACCEPT,
    header::CONNECTION,
    header::VIA,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::LOCATION,
    header::CONTENT_LOCATION,
    header::CONTENT_LENGTH,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
];

/// Any bytes that a field value may hold, and pieces that mean something glued together.
fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..40);
    let pieces = proptest::sample::select(vec![
        "max-age",
        "s-maxage",
        "no-store",
        "no-cache=\"",
        "private=",
        "stale-if-error=",
        ";a=",
        "(",
        ")",
        "?1",
        "=",
        "99999999999999999999",
        "60",
        "0",
        ",",
        "\"",
        "\\",
        " ",
        ";",
        "q=0",
        "gzip",
        "br",
        "*",
        "W/",
        "bytes=",
        "-",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "http://",
        "//",
        "/",
        "..",
        "?",
        "#",
        ":",
        "www.example.com",
        "accept",
        "accept-encoding",
        "etag",
        "1.1 edge",
    ]);
    let glued = vec(pieces, 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![bytes, glued].prop_map(|bytes| HeaderValue::from_bytes(&bytes).expect("field bytes only"))
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    vec((proptest::sample::select(NAMES.to_vec()), value()), 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    })
}

/// Any whole second between 1970 and about 2106, and the far ends of what is a time at all.
fn time() -> impl Strategy<Value = SystemTime> {
    prop_oneof![
        8 => (0..u64::from(u32::MAX)).prop_map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs)),
        1 => Just(SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40)),
        1 => Just(SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs())),
    ]
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![Just(StatusCode::OK), Just(StatusCode::NOT_FOUND), Just(StatusCode::IM_A_TEAPOT)]
}

proptest! {
    #[test]
    fn nothing_panics(
        request in headers(), response in headers(), other in headers(), status in status(),
        sent in time(), arrived in time(), now in time(), length in any::<u64>(), text in ".*",
    ) {
        let policy = Policy::default();
        let _ = CacheControl::of(&request);
        let _ = is_only_if_cached(&request);
        let _ = (groups(&response, &CACHE_GROUPS), policy.unshared_fields(&response));
        let _ = update_by_head(status, &response, length, status, &other);
        let _ = may_store(&Method::GET, &request, status, &response, &policy);
        let freshness = Freshness::of_response(status, &response, sent, arrived, &policy);
        let _ = (freshness.age(now), freshness.is_fresh(now), freshness.fresh_until(), freshness.ttl_secs(now));
        let _ = RequestDirectives::of(&request).accept(&freshness, now);
        let _ = VaryRule::of_response(&response).selects(&request);
        let _ = conditional_headers(&Validators::of_response(&response));
        let _ = evaluate(&Method::GET, &request, &response);
        let _ = (not_modified_headers(&response), freshen(&response, &other), names_validator(&response, &other));
        let _ = (resolve(parse_range(&request), length), if_range_holds(&request, &response), end_to_end(&request));
        let edge = ViaName::parse("edge").expect("a token");
        let _ = (has_passed(&request, &edge), via_hops(&request));
        let _ = invalidation_targets("www.example.com", &text, &response);
        let status = CacheStatus::named(&text).key(&text).detail(&text);
        prop_assert!(http::HeaderValue::from_str(status.as_str()).is_ok());
    }

    #[test]
    fn freshening_twice_changes_nothing_more(stored in headers(), answer in headers()) {
        let once = freshen(&stored, &answer);
        prop_assert_eq!(&freshen(&once, &answer), &once);
    }

    #[test]
    fn age_never_falls(response in headers(), sent in time(), arrived in time(), a in time(), b in time()) {
        let freshness = Freshness::of_response(StatusCode::OK, &response, sent, arrived, &Policy::default());
        let (earlier, later) = (a.min(b), a.max(b));
        prop_assert!(freshness.age(earlier) <= freshness.age(later));
    }

    #[test]
    fn fresh_means_before_its_end(response in headers(), sent in time(), arrived in time(), now in time()) {
        let freshness = Freshness::of_response(StatusCode::OK, &response, sent, arrived, &Policy::default());
        if freshness.is_fresh(now) {
            prop_assert!(now < freshness.fresh_until());
            prop_assert!(freshness.ttl_secs(now) >= 0);
        }
    }

    #[test]
    fn the_variant_key_ignores_order_of_fields_and_whitespace(
        members in vec("[a-z]{1,6}(;q=0\\.[1-9])?", 1..6), other in "[a-z]{0,8}", spaces in vec("[ \t]{0,3}", 12),
    ) {
        let rule = {
            let mut response = HeaderMap::new();
            response.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding, x-other"));
            VaryRule::of_response(&response)
        };
        let name = HeaderName::from_static("x-other");
        let plain = HeaderValue::from_str(&members.join(",")).expect("visible ASCII");
        let spaced: Vec<String> =
            members.iter().zip(spaces.chunks(2)).map(|(member, around)| format!("{}{member}{}", around[0], around[1])).collect();
        let spaced = HeaderValue::from_str(&spaced.join(",")).expect("visible ASCII");
        let other = HeaderValue::from_str(&other).expect("visible ASCII");

        let mut a = HeaderMap::new();
        a.insert(header::ACCEPT, plain.clone());
        a.insert(header::ACCEPT_ENCODING, plain);
        a.insert(name.clone(), other.clone());
        let mut b = HeaderMap::new();
        b.insert(name, other);
        b.insert(header::ACCEPT_ENCODING, spaced);
        for member in &members {
            b.append(header::ACCEPT, HeaderValue::from_str(member).expect("visible ASCII"));
        }
        prop_assert_eq!(rule.selects(&a), rule.selects(&b));
    }

    #[test]
    fn an_entity_tag_reads_back(weak in any::<bool>(), text in "[!#-~]{0,40}") {
        let written = format!("{}\"{text}\"", if weak { "W/" } else { "" });
        let tag = EntityTag::parse(written.as_bytes()).expect("built as a tag");
        prop_assert_eq!(tag.is_weak(), weak);
        prop_assert_eq!(tag.to_bytes(), written.into_bytes());
    }

    #[test]
    fn a_part_lies_within_the_response(request in headers(), length in 0..1000_u64) {
        if let Resolved::Part { first, last } = resolve(parse_range(&request), length) {
            prop_assert!(first <= last && last < length);
        }
    }

    #[test]
    fn what_is_stored_may_be_used(request in headers(), response in headers(), arrived in time()) {
        let policy = Policy::default();
        if may_store(&Method::GET, &request, StatusCode::OK, &response, &policy).is_ok() {
            let freshness = Freshness::of_response(StatusCode::OK, &response, arrived, arrived, &policy);
            let has_validator = !Validators::of_response(&response).is_empty();
            let has_lifetime = !freshness.lifetime.is_zero();
            // Without a date, an Expires is judged only when the time of arrival is known.
            let is_undated = !response.contains_key(header::DATE) || response.contains_key(header::EXPIRES);
            prop_assert!(has_validator || has_lifetime || is_undated);
        }
    }
}

/// Bytes that a structured field may hold, right or wrong.
fn structured_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        "a",
        "max-age",
        "=",
        ",",
        ";",
        " ",
        "\t",
        "\"",
        "\\",
        "(",
        ")",
        "?1",
        "?0",
        "-",
        "1",
        "123456789012345",
        ".5",
        ":aGk=:",
        "@1",
        "%\"",
        "%c3%bc",
        "*",
        "A",
        "/",
        "\u{e9}",
    ]);
    prop_oneof![vec(any::<u8>(), 0..40), vec(pieces, 0..16).prop_map(|pieces| pieces.concat().into_bytes()),]
}

/// An item and how it is written.
fn item() -> impl Strategy<Value = (BareItem, String)> {
    let integer = -999_999_999_999_999_i64..=999_999_999_999_999;
    prop_oneof![
        integer.clone().prop_map(|n| (BareItem::Integer(n), n.to_string())),
        integer.prop_map(|n| (BareItem::Date(n), format!("@{n}"))),
        (-999_999_999_999_999_i64..=999_999_999_999_999).prop_map(|thousandths| {
            let sign = if thousandths < 0 { "-" } else { "" };
            let (whole, rest) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
            (BareItem::Decimal(thousandths), format!("{sign}{whole}.{rest:03}"))
        }),
        any::<bool>().prop_map(|b| (BareItem::Boolean(b), format!("?{}", u8::from(b)))),
        "[ -~]{0,20}".prop_map(|text| {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            (BareItem::String(text), format!("\"{escaped}\""))
        }),
        "[a-zA-Z*][a-zA-Z0-9:/!#$%&'*+.^_`|~-]{0,12}"
            .prop_map(|token| (BareItem::Token(token.clone()), token)),
        ".{0,8}".prop_map(|text| {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            (BareItem::DisplayString(text), format!("%\"{escaped}\""))
        }),
    ]
}

proptest! {
    #[test]
    fn structured_fields_never_panic(lines in vec(structured_bytes(), 0..4)) {
        let _ = parse_dictionary(lines.iter().map(Vec::as_slice));
        let _ = parse_list(lines.iter().map(Vec::as_slice));
    }

    #[test]
    fn what_is_written_as_a_structured_field_is_read(
        items in vec((item(), "(;[a-z][a-z0-9_.*-]{0,5}(=1)?){0,2}"), 1..6),
        keys in vec("[a-z*][a-z0-9_.*-]{0,8}", 6),
        split in any::<bool>(),
    ) {
        let separate = |parts: Vec<String>| if split { parts } else { vec![parts.join(" ,\t")] };
        let list = separate(items.iter().map(|((_, text), parameters)| format!("{text}{parameters}")).collect());
        let expected: Vec<Member> = items.iter().map(|((item, _), _)| Member::Item(item.clone())).collect();
        prop_assert_eq!(parse_list(list.iter().map(String::as_bytes)), Some(expected.clone()));
        let pairs = items.iter().zip(&keys);
        let dictionary =
            separate(pairs.map(|(((_, text), parameters), key)| format!("{key}={text}{parameters}")).collect());
        let expected: Vec<(String, Member)> = keys.iter().cloned().zip(expected).collect();
        prop_assert_eq!(parse_dictionary(dictionary.iter().map(String::as_bytes)), Some(expected));
    }

    /// A date is read as the library that writes them writes them; in any case of letters.
    #[test]
    fn dates_are_read_as_they_are_written(secs in 0_u64..253_402_300_800, upper in any::<bool>()) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let text = httpdate::fmt_http_date(time);
        let text = if upper { text.to_ascii_uppercase() } else { text };
        let mut response = HeaderMap::new();
        response.insert(header::LAST_MODIFIED, HeaderValue::from_str(&text).unwrap());
        prop_assert_eq!(Validators::of_response(&response).last_modified, Some(time));
    }
}
