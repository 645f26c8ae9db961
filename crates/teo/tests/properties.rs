//! Properties over arbitrary input: what is flattened comes back, what we sign verifies, nothing panics.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use teo::{Action, Credentials, ErrorCode, Param, RawRequest, SecretKey, Signer, sign_request};

/// Trees that have one flattened form: no empty lists or objects (they do not appear in it), everything text.
fn tree() -> impl Strategy<Value = Param> {
    let leaf = any::<String>().prop_map(Param::Text);
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        let list = vec(inner.clone(), 1..12).prop_map(|items| {
            // Unflattened, a list is a branch with numbers for names, until a declaration says what it is.
            let named = items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item));
            Param::Branch(named.collect())
        });
        prop_oneof![list, btree_map("[A-Za-z_]{1,8}", inner, 1..4).prop_map(Param::Branch)]
    });
    btree_map("[A-Za-z]{1,8}", value, 0..5).prop_map(Param::Object)
}

/// Percent-encodes everything but letters and digits; a space becomes `+` or `%20`.
fn encoded(pairs: &[(String, String)], plus: bool) -> String {
    let encode = |text: &str| {
        let byte = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' => char::from(byte).to_string(),
            b' ' if plus => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let pair = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn actions() -> impl Strategy<Value = Action> {
    proptest::sample::select(Action::all().collect::<Vec<_>>())
}

/// Bytes that look like a part of what parsers expect, or like nothing at all.
fn likely(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..12),
    ];
    vec(part, 0..10).prop_map(|parts| parts.concat())
}

const AUTHORIZATION: &[&str] = &[
    "TC3-HMAC-SHA256 ",
    "Credential=",
    "id/2023-11-14/teo/tc3_request",
    ", ",
    "SignedHeaders=",
    "content-type;host",
    "Signature=",
    "2ffb3608dcce2e5be16cfe9c1e5009a9b07fef11b80915af4a1e22c4d8b004a9",
];
const TARGET: &[&str] =
    &["/", "?", "&", "=", "%", "SecretId=a", "Signature=YQ==", "Timestamp=1", "Nonce=1", "A.0.B=1"];
const BODY: &[&str] =
    &["{", "}", "[", "]", "\"", ":", ",", "1e999", "null", "\"Targets\"", "\r\n", "--XX", "--", "=", "&"];
const PART: &[&str] = &[
    "Content-Disposition: form-data; name=\"A\"",
    "\r\n",
    "\r\n\r\n",
    "--XX",
    "Content-Type: application/json",
    "{}",
];
const KINDS: &[&str] =
    &["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=XX", ""];

proptest! {
    #[test]
    fn flattened_parameters_come_back_the_same(tree in tree(), plus: bool) {
        let query = format!("/?{}", encoded(&teo::params::flatten(&tree), plus));
        let raw = RawRequest { method: "GET", target: query.as_bytes(), headers: vec![], body: b"" };
        if query.len() <= teo::GET_BYTES_MAX {
            prop_assert_eq!(Param::read(&raw), Ok(tree.clone()));
        }
        let form = encoded(&teo::params::flatten(&tree), plus);
        let headers = vec![(&b"content-type"[..], &b"application/x-www-form-urlencoded"[..])];
        let raw = RawRequest { method: "POST", target: b"/", headers, body: form.as_bytes() };
        prop_assert_eq!(Param::read(&raw), Ok(tree));
    }

    #[test]
    fn what_the_client_signs_the_server_accepts_and_any_change_it_refuses(
        action in actions(),
        body in vec(any::<u8>(), 0..200),
        host in "[a-z0-9.-]{1,20}(:[0-9]{1,5})?",
        secret in "[!-~]{1,40}",
        id in "[A-Za-z0-9]{1,40}",
        now in 0i64..4_000_000_000,
        token in proptest::option::of("[a-z]{1,10}"),
        changed in 0usize..5,
    ) {
        let key = SecretKey::new(&secret);
        let signer = Signer { secret_id: id.clone(), secret_key: key.clone(), token: token.clone() };
        let mut headers = sign_request(&signer, &host, action, &body, now);
        let check = |headers: &[(&'static str, String)], body: &[u8]| {
            let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let raw = RawRequest { method: "POST", target: b"/", headers, body };
            let claim = Credentials::read(&raw)?;
            assert_eq!(claim.secret_id(), id);
            claim.verify(&key, now, token.as_deref())?.action()
        };
        prop_assert_eq!(check(&headers, &body), Ok(action));

        let mut other = body.clone();
        let alter = |headers: &mut Vec<(&'static str, String)>, name: &str| {
            headers.iter_mut().filter(|(given, _)| *given == name).for_each(|(_, value)| value.push('x'));
        };
        match changed {
            0 => other.push(0),
            1 => alter(&mut headers, "Host"),
            2 => alter(&mut headers, "Content-Type"),
            3 => alter(&mut headers, "X-TC-Action"),
            _ => alter(&mut headers, "X-TC-Version"),
        }
        let code = check(&headers, &other).map_err(|error| error.code);
        prop_assert_eq!(code, Err(ErrorCode::AuthSignatureFailure));
    }

    #[test]
    fn no_request_whatever_makes_the_server_panic(
        method in proptest::sample::select(&["GET", "POST", "PUT", ""][..]),
        target in likely(TARGET),
        authorization in proptest::option::of(likely(AUTHORIZATION)),
        timestamp in proptest::option::of("[0-9]{0,22}"),
        kind in proptest::sample::select(KINDS),
        host in proptest::option::of(likely(&["a.test", ":", "80", "http://"])),
        body in prop_oneof![likely(BODY), likely(PART)],
        slash: bool,
        now: i64,
    ) {
        let target = if slash { [b"/?", &target[..]].concat() } else { target };
        let mut headers: Vec<(&[u8], &[u8])> = vec![(b"Content-Type", kind.as_bytes())];
        headers.extend(authorization.as_deref().map(|value| (&b"Authorization"[..], value)));
        headers.extend(timestamp.as_deref().map(|value| (&b"X-TC-Timestamp"[..], value.as_bytes())));
        headers.extend(host.as_deref().map(|value| (&b"Host"[..], value)));
        let raw = RawRequest { method, target: &target, headers, body: &body };
        if let Ok(claim) = Credentials::read(&raw) {
            let _ = claim.candidates();
            let _ = claim.verify(&SecretKey::new("k"), now, Some("t")).map(|it| it.decode());
        }
        if let Ok(given) = Param::read(&raw) {
            for action in Action::all() {
                let _ = action.decode(given.clone());
            }
        }
    }

    #[test]
    fn no_bytes_whatever_make_the_client_panic(body in likely(&["{\"Response\":", "{", "}", "\"Error\":", "null"])) {
        let _ = teo::Answer::read(&body);
    }

    #[test]
    fn numbers_of_items_give_their_order_whatever_the_gaps(numbers in proptest::collection::btree_set(0u32..100_000, 1..20)) {
        let query: Vec<String> = numbers.iter().rev().map(|n| format!("Targets.{n}=t{n}")).collect();
        let target = format!("/?ZoneId=z&Type=purge_url&{}", query.join("&"));
        let raw = RawRequest { method: "GET", target: target.as_bytes(), headers: vec![], body: b"" };
        let action = Action::find("2022-09-01", "CreatePurgeTask").unwrap();
        let fields = action.decode(Param::read(&raw).unwrap()).unwrap().encode_fields();
        let expected: Vec<String> = numbers.iter().map(|n| format!("t{n}")).collect();
        prop_assert_eq!(&fields["Targets"], &serde_json::json!(expected));
    }
}

#[test]
fn an_object_of_nothing_flattens_to_nothing() {
    assert_eq!(teo::params::flatten(&Param::Object(BTreeMap::new())), vec![]);
}
