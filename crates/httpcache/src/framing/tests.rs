//! Tables of what passes and what is refused.

use super::{FramingRefusal as No, *};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 1000, target_bytes: 100, fields: 10 };

fn refusal_of(bytes: &str) -> Option<FramingRefusal> {
    Requests::new(LIMITS).check(bytes.as_bytes()).refusal
}

/// Passes as a whole, and the connection is at the next head.
fn check_good(bytes: &str, heads: u64) {
    let mut requests = Requests::new(LIMITS);
    let checked = requests.check(bytes.as_bytes());
    assert_eq!(checked, Checked { passed: bytes.len(), refusal: None }, "{bytes:?}");
    assert_eq!((requests.heads(), requests.is_at_head()), (heads, true), "{bytes:?}");
}

#[test]
fn what_every_parser_reads_the_same_passes() {
    for (bytes, heads) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1),
        ("GET / HTTP/1.0\r\n\r\n", 1),
        ("OPTIONS * HTTP/1.1\r\nHost:a\r\n\r\n", 1),
        ("M-SEARCH /a?b=%20{}| HTTP/1.1\r\nHOST: a:80\r\n\r\n", 1),
        ("GET /é HTTP/1.1\r\nhost: a\r\n\r\n", 1),
        ("GET http://A.test/x HTTP/1.1\r\nhost: a.TEST:80 \r\n\r\n", 1),
        ("GET HTTPS://a.test?x HTTP/1.1\r\nhost: a.test:\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nhost: [::1]:8080\r\nx:\r\ny: \t a\tb é \r\n\r\n", 1),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:  3 \r\n\r\nabcGET / HTTP/1.1\r\nhost: a\r\n\r\n", 2),
        ("POST / HTTP/1.0\r\ncontent-length: 0\r\n\r\n", 1),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0A\r\n\n123456789\r\n0\r\n\r\n",
            1,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n000\r\nx-sum: 1\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            2,
        ),
    ] {
        check_good(bytes, heads);
    }
}

#[test]
fn a_target_is_what_whoever_reads_it_next_takes_for_a_url() {
    let check = |target: &[u8], refusal: Option<No>| {
        let bytes = [b"GET ", target, b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
        assert_eq!(Requests::new(LIMITS).check(&bytes).refusal, refusal, "{}", target.escape_ascii());
    };
    for byte in 0x21..=0xff {
        for target in [vec![b'/', byte], vec![b'/', b'?', byte], vec![b'/', b'a', byte, b'b']] {
            let expected = match byte {
                0x7f => Some(No::Control),
                b'#' => Some(No::TargetForm),
                _ if http::Uri::try_from(&target[..]).is_err() => Some(No::TargetForm),
                _ => None,
            };
            check(&target, expected);
        }
    }
    check("/bücher?ü".as_bytes(), None);
    check(b"/b\xfccher", Some(No::TargetForm));
    check(b"/?\xff", Some(No::TargetForm));
    check(b"/\xc3", Some(No::TargetForm));
    check(b"http://a/\xff", Some(No::TargetForm));
}

/// Start lines, without their ends.
const START_LINES: &[(&str, No)] = &[
    ("\r\nGET / HTTP/1.1", No::EmptyLine),
    ("\nGET / HTTP/1.1", No::EmptyLine),
    (" GET / HTTP/1.1", No::MethodForm),
    ("get / HTTP/1.1", No::MethodForm),
    ("\u{16}\u{3}\u{1}", No::MethodForm),
    ("Get / HTTP/1.1", No::MethodForm),
    ("G_T / HTTP/1.1", No::MethodForm),
    ("GET\t/ HTTP/1.1", No::MethodForm),
    ("CONNECT a:80 HTTP/1.1", No::Connect),
    ("GET /", No::RequestLine),
    ("GET", No::RequestLine),
    ("GET  / HTTP/1.1", No::RequestLine),
    ("GET /  HTTP/1.1", No::RequestLine),
    ("GET / HTTP/1.1 ", No::RequestLine),
    ("GET / HTTP/1.1\t", No::RequestLine),
    ("GET /a b HTTP/1.1", No::RequestLine),
    ("GET / http/1.1", No::RequestLine),
    ("GET / HTTP/1.10", No::RequestLine),
    ("GET / HTTP/01.1", No::RequestLine),
    ("GET / ICAP/1.0", No::RequestLine),
    ("GET / HTTP/1.2", No::Version),
    ("GET / HTTP/0.9", No::Version),
    ("GET / HTTP/2.0", No::Version),
    ("PRI * HTTP/2.0", No::Version),
    ("GET /a\tb HTTP/1.1", No::TargetForm),
    ("GET /a#b HTTP/1.1", No::TargetForm),
    ("GET /a<b> HTTP/1.1", No::TargetForm),
    ("GET /a`b HTTP/1.1", No::TargetForm),
    ("GET /?<b> HTTP/1.1", No::TargetForm),
    ("GET * HTTP/1.1", No::TargetForm),
    ("GET a HTTP/1.1", No::TargetForm),
    ("GET a:80 HTTP/1.1", No::TargetForm),
    ("GET ftp://a/ HTTP/1.1", No::TargetForm),
    ("GET http://u@a/ HTTP/1.1", No::TargetForm),
    ("GET http:///a HTTP/1.1", No::TargetForm),
    ("GET http://a\\b/ HTTP/1.1", No::TargetForm),
    ("GET /\u{0} HTTP/1.1", No::Control),
    ("GET /\u{7f} HTTP/1.1", No::Control),
    ("GET /\r HTTP/1.1", No::BareCr),
    ("GET / HTTP/1.1\r", No::BareCr),
    ("GET http://b/ HTTP/1.1", No::HostMismatch),
    ("GET http://a:81/ HTTP/1.1", No::HostMismatch),
];

/// Lines between `host: a` and the empty line.
const FIELDS: &[(&str, No)] = &[
    ("x: a\n", No::BareLf),
    ("\n", No::BareLf),
    ("x: a\rb\r\n", No::BareCr),
    ("x: a\r\r\n", No::BareCr),
    ("x: a\u{0}\r\n", No::Control),
    ("x: a\u{b}b\r\n", No::Control),
    ("x: a\u{7f}b\r\n", No::Control),
    (" x: a\r\n", No::FoldedLine),
    ("x: a\r\n b\r\n", No::FoldedLine),
    ("x: a\r\n\tb\r\n", No::FoldedLine),
    ("x\r\n", No::NoColon),
    ("x : a\r\n", No::SpaceBeforeColon),
    ("x\t: a\r\n", No::SpaceBeforeColon),
    ("content-length : 5\r\n", No::SpaceBeforeColon),
    (": a\r\n", No::FieldName),
    ("x y: a\r\n", No::FieldName),
    ("x(: a\r\n", No::FieldName),
    ("é: a\r\n", No::FieldName),
    ("\"x\": a\r\n", No::FieldName),
    ("content_length: 5\r\n", No::LookAlike),
    ("Transfer_Encoding: chunked\r\n", No::LookAlike),
    ("content-length: +5\r\n", No::LengthForm),
    ("content-length: -5\r\n", No::LengthForm),
    ("content-length: 5, 5\r\n", No::LengthForm),
    ("content-length: 5 5\r\n", No::LengthForm),
    ("content-length: 0x5\r\n", No::LengthForm),
    ("content-length: 05\r\n", No::LengthForm),
    ("content-length: 5;\r\n", No::LengthForm),
    ("content-length: \"5\"\r\n", No::LengthForm),
    ("content-length: \t5\r\n", No::LengthForm),
    ("content-length: 5\t\r\n", No::LengthForm),
    ("content-length:\r\n", No::LengthForm),
    ("content-length: 5.0\r\n", No::LengthForm),
    ("content-length: 1e1\r\n", No::LengthForm),
    ("content-length: ５\r\n", No::LengthForm),
    ("content-length: 9223372036854775808\r\n", No::LengthForm),
    ("content-length: 18446744073709551621\r\n", No::LengthForm),
    ("content-length: 5\r\ncontent-length: 5\r\n", No::LengthRepeated),
    ("content-length: 5\r\ncontent-length: 6\r\n", No::LengthRepeated),
    ("content-length: 0\r\nContent-Length: 5\r\n", No::LengthRepeated),
    ("transfer-encoding: xchunked\r\n", No::CodingForm),
    ("transfer-encoding: chunked, identity\r\n", No::CodingForm),
    ("transfer-encoding: identity, chunked\r\n", No::CodingForm),
    ("transfer-encoding: gzip, chunked\r\n", No::CodingForm),
    ("transfer-encoding: chunked, chunked\r\n", No::CodingForm),
    ("transfer-encoding: identity\r\n", No::CodingForm),
    ("transfer-encoding:\r\n", No::CodingForm),
    ("transfer-encoding: \tchunked\r\n", No::CodingForm),
    ("transfer-encoding: chunked\t\r\n", No::CodingForm),
    ("transfer-encoding: \"chunked\"\r\n", No::CodingForm),
    ("transfer-encoding: chunked;x=1\r\n", No::CodingForm),
    ("transfer-encoding: ,chunked\r\n", No::CodingForm),
    ("transfer-encoding: \u{a0}chunked\r\n", No::CodingForm),
    ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", No::CodingRepeated),
    ("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", No::CodingRepeated),
    ("content-length: 5\r\ntransfer-encoding: chunked\r\n", No::LengthAndCoding),
    ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", No::LengthAndCoding),
    ("host: a\r\n", No::HostRepeated),
    ("host: b\r\n", No::HostRepeated),
];

/// All fields.
const HOSTS: &[(&str, No)] = &[
    ("", No::HostMissing),
    ("host:\r\n", No::HostForm),
    ("host: a, b\r\n", No::HostForm),
    ("host: a b\r\n", No::HostForm),
    ("host: u@a\r\n", No::HostForm),
    ("host: a/b\r\n", No::HostForm),
    ("host: a\t\r\n", No::HostForm),
    ("host: é\r\n", No::HostForm),
];

#[test]
fn what_parsers_read_differently_is_refused_by_name() {
    for (line, refusal) in START_LINES {
        assert_eq!(refusal_of(&format!("{line}\r\nhost: a\r\n\r\n")), Some(*refusal), "{line:?}");
    }
    for (lines, refusal) in FIELDS {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        assert_eq!(refusal_of(&head), Some(*refusal), "{lines:?}");
    }
    for (lines, refusal) in HOSTS {
        assert_eq!(refusal_of(&format!("GET / HTTP/1.1\r\n{lines}\r\n")), Some(*refusal), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refusal_of(old), Some(No::CodingInHttp10));
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let start = "GET / HTTP/1.1\r\nhost: a\r\n";
    for (bytes, refusal) in [
        (format!("{} / HTTP/1.1\r\n", "G".repeat(METHOD_BYTES_MAX + 1)), No::MethodForm),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(100)), No::TargetTooLong),
        (format!("GET /{}", "a".repeat(1000)), No::TargetTooLong),
        (format!("{start}{}", "x: a\r\n".repeat(10)), No::TooManyFields),
        (format!("{start}x: {}", "a".repeat(1000)), No::HeadTooLarge),
    ] {
        assert_eq!(refusal_of(&bytes), Some(refusal), "{bytes:?}");
    }
}

#[test]
fn what_is_wrong_in_a_chunked_body_is_refused_where_it_is() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = format!("0\r\nx: {}\r\n", "a".repeat(TRAILER_BYTES_MAX));
    let cases = [
        ("\r\n", 0, No::ChunkSize),
        ("g\r\n", 0, No::ChunkSize),
        (" 3\r\nabc", 0, No::ChunkSize),
        ("3 \r\nabc", 0, No::ChunkSize),
        ("+3\r\nabc", 0, No::ChunkSize),
        ("-3\r\nabc", 0, No::ChunkSize),
        ("0x3\r\nabc", 0, No::ChunkSize),
        ("3\t\r\nabc", 0, No::ChunkSize),
        ("10000000000000003\r\nabc", 0, No::ChunkSize),
        ("ffffffffffffffff\r\nabc", 0, No::ChunkSize),
        ("8000000000000000\r\nabc", 0, No::ChunkSize),
        ("00000000000000003\r\nabc", 0, No::ChunkSize),
        ("3;a=b\r\nabc", 0, No::ChunkExtension),
        ("3;\nabc", 0, No::ChunkExtension),
        ("3\nabc", 0, No::BareLf),
        ("3\rabc", 0, No::BareCr),
        ("3\r\nabc\n", 6, No::ChunkEnd),
        ("3\r\nabcd", 6, No::ChunkEnd),
        ("3\r\nabc0\r\n\r\n", 6, No::ChunkEnd),
        ("3\r\nabc\rx", 6, No::ChunkEnd),
        ("0\n\r\n", 0, No::BareLf),
        ("0\r\n\n", 3, No::BareLf),
        ("0\r\n x: a\r\n\r\n", 3, No::FoldedLine),
        ("0\r\nx: a\r\nno\r\n", 9, No::NoColon),
        ("0\r\nx : a\r\n", 3, No::SpaceBeforeColon),
        ("0\r\nx: a\rb\r\n", 3, No::BareCr),
        ("0\r\nContent-Length: 5\r\n\r\n", 3, No::TrailerField),
        ("0\r\ntransfer_encoding: chunked\r\n\r\n", 3, No::TrailerField),
        ("0\r\nhost: b\r\n\r\n", 3, No::TrailerField),
        ("0\r\nauthorization: b\r\n\r\n", 3, No::TrailerField),
        (&long, 3, No::TrailersTooLarge),
    ];
    for (body, passed, refusal) in cases {
        let mut requests = Requests::new(LIMITS);
        let checked = requests.check(format!("{head}{body}").as_bytes());
        assert_eq!(checked, Checked { passed: head.len() + passed, refusal: Some(refusal) }, "{body:?}");
        assert!(!requests.is_at_head());
    }
}

#[test]
fn what_is_not_whole_waits() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (bytes, passed) in [
        ("", 0),
        ("G", 0),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r", 0),
        (&format!("{head}3"), head.len()),
        (&format!("{head}3\r"), head.len()),
        (&format!("{head}3\r\nab"), head.len() + 5),
        (&format!("{head}3\r\nabc\r"), head.len() + 6),
        (&format!("{head}0\r\nx: a\r\ny"), head.len() + 9),
    ] {
        let checked = Requests::new(LIMITS).check(bytes.as_bytes());
        assert_eq!(checked, Checked { passed, refusal: None }, "{bytes:?}");
    }
}

#[test]
fn another_protocol_passes_as_it_is() {
    let mut requests = Requests::new(LIMITS);
    requests.check(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    requests.switch_protocol();
    assert_eq!(requests.check(b"\n\x00any"), Checked { passed: 5, refusal: None });
}

#[test]
fn a_request_in_frames_is_held_to_the_same_rule() {
    let check = |method: &str, uri: &str, fields: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_str(value).unwrap());
        }
        check_framed_request(&Method::from_bytes(method.as_bytes()).unwrap(), &uri.parse().unwrap(), &headers)
    };
    assert_eq!(check("GET", "https://a.test/", &[("content-length", "0")]), Ok(()));
    assert_eq!(check("GET", "https://a.test/", &[("host", "A.test:443")]), Ok(()));
    assert_eq!(check("GET", "/", &[("host", "a.test")]), Ok(()));
    for (method, uri, fields, refusal) in [
        ("get", "https://a/", &[][..], No::MethodForm),
        ("GET", "/", &[], No::HostMissing),
        ("GET", "https://a/", &[("host", "b")], No::HostMismatch),
        ("GET", "https://a/", &[("host", "a"), ("host", "a")], No::HostRepeated),
        ("GET", "https://u@a/", &[], No::HostForm),
        ("GET", "https://a/", &[("content-length", "5"), ("content-length", "5")], No::LengthRepeated),
        ("GET", "https://a/", &[("content-length", "5, 5")], No::LengthForm),
        ("GET", "https://a/", &[("content_length", "5")], No::LookAlike),
        ("GET", "https://a/", &[("transfer-encoding", "chunked")], No::HopField),
        ("GET", "https://a/", &[("connection", "close")], No::HopField),
    ] {
        assert_eq!(check(method, uri, fields), Err(refusal), "{method} {uri} {fields:?}");
    }
}

#[test]
fn every_refusal_has_a_name_of_its_own_and_an_error_status() {
    let names: std::collections::HashSet<_> =
        FramingRefusal::ALL.iter().map(|refusal| refusal.name()).collect();
    assert_eq!(names.len(), FramingRefusal::ALL.len());
    assert!(
        FramingRefusal::ALL
            .iter()
            .all(|refusal| refusal.status().is_client_error() || refusal.status() == 505)
    );
}
