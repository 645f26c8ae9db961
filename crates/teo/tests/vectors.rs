//! Every signing vector of the specification: what clients really send verifies, what was tampered with does not.
//!
//! Each file is read twice, from the bytes off the wire and from its parsed form, and must give the same both times.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use teo::{ApiError, Authenticated, Candidate, Credentials, ErrorCode, RawRequest, SecretKey};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vectors() -> BTreeMap<String, Value> {
    let mut vectors = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "index" {
            vectors.insert(name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        }
    }
    vectors
}

/// A request that owns its bytes.
struct Owned {
    method: String,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Owned {
    fn from_wire(bytes: &[u8]) -> Self {
        let head_length = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..head_length]).unwrap();
        let mut lines = head.split("\r\n");
        let mut request_line = lines.next().unwrap().split(' ');
        let method = request_line.next().unwrap().to_owned();
        let target = request_line.next().unwrap().as_bytes().to_vec();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.as_bytes().to_vec(), value.trim().as_bytes().to_vec())
        };
        let headers = lines.map(header).collect();
        Self { method, target, headers, body: bytes[head_length + 4..].to_vec() }
    }

    fn from_parsed(request: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().as_bytes().to_vec();
        let headers = request["headers"].as_array().unwrap();
        Self {
            method: request["method"].as_str().unwrap().to_owned(),
            target: text(&request["target"]),
            headers: headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            body: STANDARD.decode(request["body_base64"].as_str().unwrap()).unwrap(),
        }
    }

    fn raw(&self) -> RawRequest<'_> {
        RawRequest {
            method: &self.method,
            target: &self.target,
            headers: self.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect(),
            body: &self.body,
        }
    }
}

fn both_forms(vector: &Value) -> [Owned; 2] {
    let wire = STANDARD.decode(vector["raw_base64"].as_str().unwrap()).unwrap();
    [Owned::from_wire(&wire), Owned::from_parsed(&vector["request"])]
}

fn authenticate<'a>(raw: &'a RawRequest<'a>, vector: &Value) -> Result<Authenticated<'a>, ApiError> {
    let claim = Credentials::read(raw)?;
    if claim.secret_id() != vector["secret_id"].as_str().unwrap() {
        return Err(ApiError::new(ErrorCode::AuthSecretIdNotFound, "there is no such SecretId"));
    }
    let key = SecretKey::new(vector["secret_key"].as_str().unwrap());
    claim.verify(&key, vector["now"].as_i64().unwrap(), vector["expected"]["token"].as_str())
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check_tc3(name: &str, raw: &RawRequest<'_>, signed: &Candidate, expected: &Value) {
    let canonical = signed.canonical_request.as_deref().map(utf8);
    assert_eq!(canonical, expected["canonical_request"].as_str(), "{name}");
    assert_eq!(Some(utf8(&signed.host)), expected["signed_host"].as_str(), "{name}");
    let authorization = raw.header_text("Authorization").unwrap();
    assert_eq!(authorization, expected["authorization"].as_str(), "{name}");
    // The signature was compared by `verify`; here we see that it is the one that the vector names.
    let signature = format!("Signature={}", expected["signature"].as_str().unwrap());
    assert!(authorization.unwrap().ends_with(&signature), "{name}");
}

/// Decoded parameters of a v1 request, flattened again, against the vector's.
fn check_v1(name: &str, authenticated: &Authenticated<'_>, expected: &Value) {
    const COMMON: [&str; 10] = [
        "Action",
        "Version",
        "SecretId",
        "Timestamp",
        "Nonce",
        "SignatureMethod",
        "Region",
        "Token",
        "Language",
        "RequestClient",
    ];
    let decoded = expected["decoded_parameters"].as_object().unwrap();
    let own = decoded.iter().filter(|(key, _)| !COMMON.contains(&key.as_str()));
    let own: BTreeMap<String, String> =
        own.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
    let parameters = teo::params::flatten(&authenticated.parameters().unwrap());
    assert_eq!(parameters.into_iter().collect::<BTreeMap<_, _>>(), own, "{name}");
}

fn check_good(name: &str, vector: &Value) {
    let expected = &vector["expected"];
    for owned in both_forms(vector) {
        let raw = owned.raw();
        let authenticated = authenticate(&raw, vector).unwrap_or_else(|error| panic!("{name}: {error}"));
        let signed = authenticated.signed();
        assert_eq!(Some(utf8(&signed.string_to_sign)), expected["string_to_sign"].as_str(), "{name}");
        if vector["scheme"] == "TC3-HMAC-SHA256" {
            check_tc3(name, &raw, signed, expected);
        } else {
            check_v1(name, &authenticated, expected);
        }
        assert_eq!(authenticated.action_name(), expected["action"].as_str(), "{name}");
        assert_eq!(authenticated.version(), expected["version"].as_str(), "{name}");
        assert_eq!(authenticated.region(), expected["region"].as_str(), "{name}");
        assert_eq!(authenticated.token(), expected["token"].as_str(), "{name}");
        if expected["version"] == teo::edgeone::VERSION {
            let request = authenticated.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(Some(request.action().name()), expected["action"].as_str(), "{name}");
        }
    }
}

#[test]
fn every_vector_of_the_index_is_here_and_checked() {
    let index: Value = serde_json::from_slice(&fs::read(directory().join("index.json")).unwrap()).unwrap();
    let named: BTreeSet<&str> =
        index.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let vectors = vectors();
    assert_eq!(named, vectors.keys().map(String::as_str).collect());
    let (mut good, mut bad) = (0, 0);
    for (name, vector) in &vectors {
        let Some(code) = vector["expected"]["error_code"].as_str() else {
            check_good(name, vector);
            good += 1;
            continue;
        };
        for owned in both_forms(vector) {
            let raw = owned.raw();
            let error = authenticate(&raw, vector).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert_eq!(error.code.as_str(), code, "{name}: {error}");
            assert!(!error.message.is_empty());
        }
        bad += 1;
    }
    assert_eq!((good, bad), (31, 14), "a vector is not covered");
}

#[test]
fn both_ends_of_the_window_pass_and_nothing_beyond() {
    let mut vector = vectors().remove("py-tc3-post-port").unwrap();
    let signed_at = vector["now"].as_i64().unwrap();
    for (offset, passes) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        vector["now"] = (signed_at + offset).into();
        let [owned, _] = both_forms(&vector);
        let raw = owned.raw();
        let code = authenticate(&raw, &vector).map(drop).map_err(|error| error.code);
        let expected = if passes { Ok(()) } else { Err(ErrorCode::AuthSignatureExpire) };
        assert_eq!(code, expected, "{offset}");
    }
}

#[test]
fn a_token_counts_only_for_a_key_that_has_one() {
    let vector = vectors().remove("node-tc3-post-token-region").unwrap();
    let [owned, _] = both_forms(&vector);
    let raw = owned.raw();
    let key = SecretKey::new(vector["secret_key"].as_str().unwrap());
    let now = vector["now"].as_i64().unwrap();
    let verify = |token: Option<&str>| {
        let claim = Credentials::read(&raw).unwrap();
        claim.verify(&key, now, token).map(drop).map_err(|error| error.code)
    };
    assert_eq!(verify(vector["expected"]["token"].as_str()), Ok(()));
    assert_eq!(verify(None), Ok(()));
    assert_eq!(verify(Some("another")), Err(ErrorCode::AuthTokenFailure));
}

#[test]
fn the_time_is_checked_before_the_signature_and_the_signature_before_the_operation() {
    let vector = vectors().remove("py-tc3-post-port").unwrap();
    let signed_at = vector["now"].as_i64().unwrap();
    let check = |edit: &dyn Fn(&mut Owned), now: i64, expected: ErrorCode| {
        let [mut owned, _] = both_forms(&vector);
        edit(&mut owned);
        let raw = owned.raw();
        let key = SecretKey::new(vector["secret_key"].as_str().unwrap());
        let outcome = Credentials::read(&raw)
            .and_then(|claim| claim.verify(&key, now, None))
            .and_then(|authenticated| authenticated.decode());
        assert_eq!(outcome.map(drop).map_err(|error| error.code), Err(expected));
    };
    let set = |name: &'static str, value: &'static str| {
        move |owned: &mut Owned| {
            owned.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name.as_bytes()));
            owned.headers.push((name.into(), value.into()));
        }
    };
    let drop_header = |name: &'static str| {
        move |owned: &mut Owned| {
            owned.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name.as_bytes()));
        }
    };
    let body = |owned: &mut Owned| owned.body.push(b' ');
    check(&body, signed_at + 301, ErrorCode::AuthSignatureExpire);
    check(&body, signed_at, ErrorCode::AuthSignatureFailure);
    check(&drop_header("x-tc-timestamp"), signed_at, ErrorCode::MissingParameter);
    check(&set("x-tc-timestamp", "17e8"), signed_at, ErrorCode::InvalidParameter);
    check(&drop_header("host"), signed_at, ErrorCode::AuthSignatureFailure);
    check(&set("x-tc-version", "2022-01-06"), signed_at, ErrorCode::NoSuchVersion);
    check(&drop_header("x-tc-version"), signed_at, ErrorCode::MissingParameter);
    check(&set("x-tc-action", "NoSuchThing"), signed_at, ErrorCode::InvalidAction);
    check(&drop_header("x-tc-action"), signed_at, ErrorCode::MissingParameter);
    check(&|owned| owned.method = "PUT".into(), signed_at, ErrorCode::UnsupportedProtocol);
    check(&|owned| owned.target = b"/other".to_vec(), signed_at, ErrorCode::InvalidRequest);
    check(
        &|owned| owned.headers.push((b"HOST".to_vec(), b"x".to_vec())),
        signed_at,
        ErrorCode::InvalidRequest,
    );
}
