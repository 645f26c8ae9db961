//! Sizes at and over their limits, and what the older signature allows that the vectors do not show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use teo::{
    ApiError, Credentials, ErrorCode, GET_BYTES_MAX, POST_BODY_BYTES_MAX, RawRequest, SecretKey, Signer,
    V1_POST_BODY_BYTES_MAX, sign_request,
};

const NOW: i64 = 1_700_000_000;
const HOST: &str = "127.0.0.1:8090";
const SECRET: &str = "secret";

/// Percent-encodes everything.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The form of these parameters, signed over `written`: the sorted names and values as the client writes them.
fn v1_form(algorithm: hmac::Algorithm, written: &str, pairs: &[(&str, &str)]) -> String {
    let key = hmac::Key::new(algorithm, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("POST{HOST}/?{written}").as_bytes());
    let signature = STANDARD.encode(tag.as_ref());
    let last = ("Signature", signature.as_str());
    let signed = pairs.iter().chain([&last]);
    signed.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

fn verify(headers: &[(&str, &str)], target: &str, method: &str, body: &[u8]) -> Result<(), ApiError> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let raw = RawRequest { method, target: target.as_bytes(), headers, body };
    Credentials::read(&raw)?.verify(&SecretKey::new(SECRET), NOW, None).map(drop)
}

fn check_v1(
    algorithm: hmac::Algorithm,
    written: &str,
    pairs: &[(&str, &str)],
    expected: Result<(), ErrorCode>,
) {
    let form = v1_form(algorithm, written, pairs);
    let headers = [("Host", HOST), ("Content-Type", "application/x-www-form-urlencoded")];
    let outcome = verify(&headers, "/", "POST", form.as_bytes()).map_err(|error| error.code);
    assert_eq!(outcome, expected, "{written}");
}

const SHA1: hmac::Algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;

#[test]
fn v1_takes_sha1_when_no_method_is_named_and_refuses_what_it_does_not_know() {
    let base = [("Action", "A"), ("Nonce", "7"), ("SecretId", "id"), ("Timestamp", "1700000000")];
    let written = "Action=A&Nonce=7&SecretId=id&Timestamp=1700000000";
    check_v1(SHA1, written, &base, Ok(()));
    check_v1(hmac::HMAC_SHA256, written, &base, Err(ErrorCode::AuthSignatureFailure));
    for (method, algorithm, expected) in [
        ("HmacSHA1", SHA1, Ok(())),
        ("HmacSHA256", hmac::HMAC_SHA256, Ok(())),
        ("HmacSHA256", SHA1, Err(ErrorCode::AuthSignatureFailure)),
        ("HmacMD5", SHA1, Err(ErrorCode::AuthSignatureFailure)),
    ] {
        let written = format!("Action=A&Nonce=7&SecretId=id&SignatureMethod={method}&Timestamp=1700000000");
        let pairs = [base[0], base[1], base[2], ("SignatureMethod", method), base[3]];
        check_v1(algorithm, &written, &pairs, expected);
    }
}

#[test]
fn v1_signs_underscores_as_they_are_or_as_dots() {
    let base = [("A_b", "x_y"), ("Nonce", "7"), ("SecretId", "id"), ("Timestamp", "1700000000")];
    check_v1(SHA1, "A_b=x_y&Nonce=7&SecretId=id&Timestamp=1700000000", &base, Ok(()));
    check_v1(SHA1, "A.b=x_y&Nonce=7&SecretId=id&Timestamp=1700000000", &base, Ok(()));
    let wrong = "A.b=x.y&Nonce=7&SecretId=id&Timestamp=1700000000";
    check_v1(SHA1, wrong, &base, Err(ErrorCode::AuthSignatureFailure));
}

#[test]
fn v1_needs_its_common_parameters() {
    let missing = Err(ErrorCode::MissingParameter);
    check_v1(
        SHA1,
        "SecretId=id&Timestamp=1700000000",
        &[("SecretId", "id"), ("Timestamp", "1700000000")],
        missing,
    );
    check_v1(SHA1, "Nonce=7&SecretId=id", &[("Nonce", "7"), ("SecretId", "id")], missing);
    check_v1(SHA1, "Nonce=7&Timestamp=1700000000", &[("Nonce", "7"), ("Timestamp", "1700000000")], missing);
    let pairs = [("Nonce", "-7"), ("SecretId", "id"), ("Timestamp", "1700000000")];
    check_v1(SHA1, "Nonce=-7&SecretId=id&Timestamp=1700000000", &pairs, Err(ErrorCode::InvalidParameter));
}

#[test]
fn sizes_are_bounded_by_kind_of_request() {
    let code = |outcome: Result<(), ApiError>| outcome.map_err(|error| error.code);
    let too_large = Err(ErrorCode::RequestSizeLimitExceeded);

    let target = |length: usize| format!("/?{}", "a".repeat(length - 2));
    assert_eq!(code(verify(&[], &target(GET_BYTES_MAX), "GET", b"")), Err(ErrorCode::MissingParameter));
    assert_eq!(code(verify(&[], &target(GET_BYTES_MAX + 1), "GET", b"")), too_large);

    let form = |length: usize| "a".repeat(length).into_bytes();
    let unsigned = code(verify(&[], "/", "POST", &form(V1_POST_BODY_BYTES_MAX)));
    assert_eq!(unsigned, Err(ErrorCode::MissingParameter));
    assert_eq!(code(verify(&[], "/", "POST", &form(V1_POST_BODY_BYTES_MAX + 1))), too_large);

    let signer = Signer { secret_id: "id".into(), secret_key: SecretKey::new(SECRET), token: None };
    let action = teo::Action::Teo(teo::edgeone::Action::CreatePurgeTask);
    for (length, expected) in [(POST_BODY_BYTES_MAX, Ok(())), (POST_BODY_BYTES_MAX + 1, too_large)] {
        let body = vec![b' '; length];
        let headers = sign_request(&signer, HOST, action, &body, NOW);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(code(verify(&headers, "/", "POST", &body)), expected, "{length}");
    }
}

#[test]
fn trace_ids_are_echoed_only_when_they_are_harmless() {
    let check = |value: &str, expected: Option<&str>| {
        let headers = vec![(&b"x-tc-traceid"[..], value.as_bytes())];
        let raw = RawRequest { method: "POST", target: b"/", headers, body: b"" };
        assert_eq!(teo::trace_id(&raw), expected, "{value}");
    };
    check("7cd1c73c-b660-42b8-afc0-b4ed17104a50", Some("7cd1c73c-b660-42b8-afc0-b4ed17104a50"));
    check(&"a".repeat(64), Some(&"a".repeat(64)));
    for wrong in ["", "a b", "a\"b", &"a".repeat(65)] {
        check(wrong, None);
    }
}
