//! Fields of requests and responses: their values, one line of input for each line of the field.

use http::header::{CACHE_CONTROL, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, RANGE};
use http::{Method, StatusCode};
use httpcache::{
    BareItem, ByteRange, CDN_CACHE_CONTROL, CacheControl, ContentRange, DELTA_SECONDS_MAX, Member, Policy,
    Resolved, may_store, parse_dictionary, parse_list, parse_range, resolve,
};
use purge::{CacheTag, TAG_HEADER_BYTES_MAX, TAGS_PER_RESPONSE_MAX, Tags, is_tag};
use std::fmt::Write;
use std::time::Duration;

/// The field with these lines; what no line of a field can hold is left out.
fn field(name: &HeaderName, lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in lines.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(name, value);
    }
    headers
}

fn bytes_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// `Cache-Control`: reading does not depend on how a field is split over lines or on the case of letters; what forbids to
/// store does so whatever stands beside it. The same bytes as `CDN-Cache-Control`: if they count, nothing else does.
pub fn cache_control(input: &[u8]) {
    let headers = field(&CACHE_CONTROL, input);
    let read = CacheControl::of(&headers);
    let times = [read.max_age, read.s_maxage, read.min_fresh, read.max_stale, read.stale_if_error];
    let most = Duration::from_secs(DELTA_SECONDS_MAX);
    assert!(times.into_iter().flatten().all(|time| time <= most), "{read:?}");

    let lines = bytes_of(&headers, &CACHE_CONTROL);
    // An open quote of one line would meet one of the next; RFC 9110 §5.3 has senders join, not us.
    if !lines.iter().any(|line| line.contains(&b'"')) {
        let joined = lines.join(&b", "[..]);
        assert_eq!(CacheControl::of(&field(&CACHE_CONTROL, &joined)), read, "joined");
    }
    assert_eq!(CacheControl::of(&field(&CACHE_CONTROL, &input.to_ascii_uppercase())), read, "in upper case");

    let stored = |headers: &HeaderMap| {
        may_store(&Method::GET, &HeaderMap::new(), StatusCode::OK, headers, &Policy::default()).is_ok()
    };
    // RFC 9111 §5.2.2.3: with must-understand, no-store is for caches that do not know the status.
    let forbids = read.private || read.no_store && !read.must_understand;
    assert!(!(forbids && stored(&headers)), "stored against {read:?}");
    let mut forbidden = headers.clone();
    forbidden.append(CACHE_CONTROL, HeaderValue::from_static("No-Store"));
    assert!(CacheControl::of(&forbidden).no_store, "no-store did not count");
    assert!(read.must_understand || !stored(&forbidden), "stored against no-store");

    let mut targeted = field(&CDN_CACHE_CONTROL, input);
    let alone = CacheControl::of_response(&targeted);
    targeted.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let beside = CacheControl::of_response(&targeted);
    assert_eq!(beside.is_targeted, alone.is_targeted);
    if alone.is_targeted {
        assert_eq!(beside, alone, "Cache-Control counted beside CDN-Cache-Control");
    } else {
        assert!(beside.no_store, "CDN-Cache-Control is not one, and Cache-Control did not count");
    }
}

/// Structured fields: what was read and is written again as RFC 9651 §4.1 says reads as the same.
pub fn structured(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if let Some(list) = parse_list(lines.iter().copied()) {
        let written = list.iter().map(write_member).collect::<Vec<_>>().join(", ");
        assert_eq!(parse_list([written.as_bytes()]), Some(list), "{written}");
    }
    if let Some(dictionary) = parse_dictionary(lines.iter().copied()) {
        let pair = |(key, member): &(String, Member)| format!("{key}={}", write_member(member));
        let written = dictionary.iter().map(pair).collect::<Vec<_>>().join(", ");
        assert_eq!(parse_dictionary([written.as_bytes()]), Some(dictionary), "{written}");
    }
}

fn write_member(member: &Member) -> String {
    match member {
        Member::InnerList => "()".to_owned(),
        Member::Item(BareItem::Integer(number)) => number.to_string(),
        Member::Item(BareItem::Date(seconds)) => format!("@{seconds}"),
        Member::Item(BareItem::Decimal(thousandths)) => {
            let sign = if *thousandths < 0 { "-" } else { "" };
            format!("{sign}{}.{:03}", thousandths.abs() / 1000, thousandths.abs() % 1000)
        }
        Member::Item(BareItem::Boolean(value)) => format!("?{}", u8::from(*value)),
        Member::Item(BareItem::Token(token)) => token.clone(),
        Member::Item(BareItem::ByteSequence(base64)) => format!(":{base64}:"),
        Member::Item(BareItem::String(text)) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        Member::Item(BareItem::DisplayString(text)) => {
            let mut written = "%\"".to_owned();
            for byte in text.bytes() {
                let _ = write!(written, "%{byte:02x}");
            }
            written + "\""
        }
    }
}

/// `Cache-Tag`: each tag counts, or is told to be ignored; the limits hold; what was read and is written again reads as
/// the same.
pub fn cache_tag(input: &[u8]) {
    let (tags, ignored) = Tags::read(input.split(|byte| *byte == b'\n'));
    assert!(tags.len() <= TAGS_PER_RESPONSE_MAX);
    assert!(tags.as_header_value().len() <= TAG_HEADER_BYTES_MAX);
    assert!(tags.iter().all(|tag| is_tag(tag.as_bytes()) && CacheTag::parse(tag).is_ok()), "{tags:?}");
    let given = input.split(|byte| matches!(byte, b'\n' | b',')).map(trim).filter(|piece| !piece.is_empty());
    for piece in given {
        let counts = tags.iter().any(|tag| tag.as_bytes() == piece);
        assert!(counts || ignored > 0, "{} is neither a tag nor ignored", piece.escape_ascii());
    }
    assert_eq!(Tags::read([tags.as_header_value().as_bytes()]), (tags.clone(), 0));
    assert_eq!(tags.union(&tags).as_ref(), Ok(&tags));
    assert_eq!(Tags::NONE.union(&tags).as_ref(), Ok(&tags));
}

fn trim(piece: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = piece.iter().position(|byte| !is_space(byte)).unwrap_or(piece.len());
    let end = piece.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &piece[start..end]
}

/// `Range`: a part lies within the response, has the bytes that were asked for, and its `Content-Range` says so.
pub fn range(input: &[u8]) {
    let range = parse_range(&field(&RANGE, input));
    if let Some(range) = range {
        let written = match range {
            ByteRange::FromTo { first, last } => format!("bytes={first}-{last}"),
            ByteRange::From(first) => format!("bytes={first}-"),
            ByteRange::Last(length) => format!("bytes=-{length}"),
        };
        assert_eq!(parse_range(&field(&RANGE, written.as_bytes())), Some(range), "{written}");
    }
    for length in [0, 1, 2, 10, 1000, u64::MAX - 1, u64::MAX] {
        let resolved = resolve(range, length);
        let Resolved::Part { first, last } = resolved else {
            assert_eq!(resolved == Resolved::Whole, range.is_none(), "{range:?} of {length}");
            continue;
        };
        assert!(first <= last && last < length, "{range:?} of {length}");
        let as_asked = match range {
            Some(ByteRange::FromTo { first: from, last: to }) => first == from && last <= to,
            Some(ByteRange::From(from)) => first == from && last == length - 1,
            Some(ByteRange::Last(count)) => last == length - 1 && last - first < count,
            None => false,
        };
        assert!(as_asked, "{range:?} of {length}: {resolved:?}");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, httpcache::content_range(first, last, length));
        let told = ContentRange::Part { first, last, complete: Some(length) };
        assert_eq!(ContentRange::of_response(&headers), Some(told));
    }
}

/// `Content-Range`: a part lies within the whole; what was read and is written again reads as the same.
pub fn content_range(input: &[u8]) {
    let Some(read) = ContentRange::of_response(&field(&CONTENT_RANGE, input)) else { return };
    let written = match read {
        ContentRange::Part { first, last, complete } => {
            assert!(first <= last && complete.is_none_or(|complete| last < complete), "{read:?}");
            match complete {
                Some(complete) => httpcache::content_range(first, last, complete),
                None => HeaderValue::from_str(&format!("bytes {first}-{last}/*")).expect("visible ASCII"),
            }
        }
        ContentRange::Unsatisfied { complete } => httpcache::content_range_unsatisfied(complete),
    };
    assert_eq!(
        ContentRange::of_response(&field(&CONTENT_RANGE, written.as_bytes())),
        Some(read),
        "{written:?}"
    );
}
