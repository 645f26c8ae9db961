//! Signing on the client's side: POST with a JSON body, TC3-HMAC-SHA256.

use ring::hmac;

use super::SecretKey;
use super::authorization::ALGORITHM;
use super::tc3;
use crate::action::Action;
use crate::envelope::CONTENT_TYPE;

/// What is signed beyond the two headers that the scheme demands: so nobody on the way can turn a signed call into
/// another one with the same body.
const SIGNED_HEADERS: &str = "content-type;host;x-tc-action;x-tc-version";

/// A key pair as a client holds it.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Names the key.
    pub secret_id: String,
    /// Signs.
    pub secret_key: SecretKey,
    /// The session token of a temporary key.
    pub token: Option<String>,
}

/// The headers of a signed `POST /` of `body` to `host` (the value of the Host header, with its port if that is sent).
///
/// The body must be sent exactly as given here.
pub fn sign_request(
    signer: &Signer,
    host: &str,
    action: Action,
    body: &[u8],
    now_unix_secs: i64,
) -> Vec<(&'static str, String)> {
    let timestamp = now_unix_secs.to_string();
    // A clock outside the years 0 to 9999 gets a request that the server refuses for its time.
    let date = tc3::utc_date(now_unix_secs).unwrap_or_default();
    let service = action.product().name();
    let canonical = format!(
        "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\nx-tc-action:{}\nx-tc-version:{}\n\n{SIGNED_HEADERS}\n{}",
        action.name().to_ascii_lowercase(),
        action.product().version(),
        tc3::sha256_hex(body),
    );
    let string_to_sign = tc3::string_to_sign(&timestamp, &date, service, canonical.as_bytes());
    let key = tc3::signing_key(&signer.secret_key, &date, service);
    let signature = tc3::hex(hmac::sign(&key, string_to_sign.as_bytes()).as_ref());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{date}/{service}/tc3_request, SignedHeaders={SIGNED_HEADERS}, Signature={signature}",
        signer.secret_id
    );
    let mut headers = vec![
        ("Authorization", authorization),
        ("Content-Type", CONTENT_TYPE.to_owned()),
        ("Host", host.to_owned()),
        ("X-TC-Action", action.name().to_owned()),
        ("X-TC-Version", action.product().version().to_owned()),
        ("X-TC-Timestamp", timestamp),
    ];
    if let Some(token) = &signer.token {
        headers.push(("X-TC-Token", token.clone()));
    }
    headers
}
