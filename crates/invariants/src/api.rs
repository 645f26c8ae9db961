//! Requests of the API. Input: `METHOD target`, header lines, an empty line, the body.

use http::Method;
use std::collections::BTreeMap;
use teo::params::flatten;
use teo::{Action, Credentials, Param, RawRequest, SecretKey, Signer, sign_request};

/// A request as it is written in an input.
fn request(input: &[u8]) -> Option<RawRequest<'_>> {
    let (head, body) = match input.windows(2).position(|window| window == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = split_once(lines.next()?, b' ')?;
    let headers = lines.filter_map(|line| split_once(line, b':')).collect();
    Some(RawRequest { method: std::str::from_utf8(method).ok()?, target, headers, body })
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Parameters: flat ones come back the same when written flat again; what an operation accepts and is written as JSON it
/// accepts as the same.
pub fn parameters(input: &[u8]) {
    let Some(raw) = request(input) else { return };
    let Ok(given) = Param::read(&raw) else { return };
    // A name with an empty part can't be told from one without it once it is flat; no operation has any.
    if let Param::Object(fields) = &given
        && is_flat(fields)
    {
        let pairs = flatten(&given);
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        assert_eq!(
            read_body("application/x-www-form-urlencoded", form.as_bytes()),
            Some(given.clone()),
            "{form}"
        );
    }
    for action in Action::all() {
        let Ok(decoded) = action.decode(given.clone()) else { continue };
        let written = serde_json::Value::Object(decoded.encode_fields()).to_string();
        let read = read_body("application/json", written.as_bytes()).expect("JSON that we wrote");
        let again = action.decode(read).map(|again| again.encode_fields());
        assert_eq!(again, Ok(decoded.encode_fields()), "{} {written}", action.name());
    }
}

/// Whether these came as text, under names without empty parts.
fn is_flat(fields: &BTreeMap<String, Param>) -> bool {
    fields.iter().all(|(name, value)| {
        let is_text = match value {
            Param::Text(_) => true,
            Param::Branch(below) => !below.is_empty() && is_flat(below),
            _ => false,
        };
        is_text && !name.is_empty()
    })
}

fn read_body(content_type: &str, body: &[u8]) -> Option<Param> {
    let headers = vec![(&b"content-type"[..], content_type.as_bytes())];
    Param::read(&RawRequest { method: Method::POST.as_str(), target: b"/", headers, body }).ok()
}

/// Signatures: whoever does not hold the key is not let in, whatever is sent; what the client signs is accepted.
pub fn signature(input: &[u8]) {
    let Some(raw) = request(input) else { return };
    let now = |raw: &RawRequest<'_>| {
        let header = raw.header_text("x-tc-timestamp").ok().flatten();
        header.and_then(|text| text.parse::<i64>().ok()).unwrap_or(1_700_000_000)
    };
    let key = SecretKey::new("a key that signed nothing of this");
    if let Ok(claim) = Credentials::read(&raw) {
        let candidates = claim.candidates().map_or(0, |candidates| candidates.len());
        assert!(candidates <= 4);
        let refused = claim.verify(&key, now(&raw), None).err();
        assert!(refused.is_some(), "let in without the key");
    }

    let signer = Signer { secret_id: "id".to_owned(), secret_key: key.clone(), token: None };
    let action = Action::all().next().expect("there are operations");
    let signed = sign_request(&signer, "a.test", action, raw.body, 1_700_000_000);
    let headers = signed.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let own = RawRequest { method: "POST", target: b"/", headers, body: raw.body };
    let accepted = Credentials::read(&own).and_then(|claim| claim.verify(&key, 1_700_000_000, None));
    assert_eq!(accepted.map(|it| it.secret_id().to_owned()).as_deref(), Ok("id"));
}
