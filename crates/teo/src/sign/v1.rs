//! HmacSHA1 and HmacSHA256: everything travels as flat parameters, and the decoded ones are signed, sorted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::{Candidate, Common, SecretKey, parse_timestamp, signature_failure, signed_hosts};
use crate::error::{ApiError, ErrorCode};
use crate::params::{self, FORM};
use crate::request::{Method, RawRequest, V1_POST_BODY_BYTES_MAX, too_large};

/// Parameters that belong to the call as such, not to the operation.
const COMMON: [&str; 11] = [
    "Action",
    "Version",
    "SecretId",
    "Timestamp",
    "Nonce",
    "SignatureMethod",
    "Signature",
    "Region",
    "Token",
    "Language",
    "RequestClient",
];

/// A v1 request's claim.
#[derive(Debug)]
pub(super) struct V1 {
    /// All parameters, decoded, in the order sent; no name twice.
    pairs: Vec<(String, String)>,
    secret_id: String,
    signature: String,
}

impl V1 {
    pub(super) fn read(request: &RawRequest<'_>, method: Method) -> Result<Self, ApiError> {
        let encoded = match method {
            Method::Get => request.query(),
            Method::Post => {
                let content_type = request.header_text("content-type")?.unwrap_or(FORM);
                if params::media_type(content_type) != FORM {
                    return Err(no_credentials());
                }
                if request.body.len() > V1_POST_BODY_BYTES_MAX {
                    return Err(too_large("the body of a POST signed this way", V1_POST_BODY_BYTES_MAX));
                }
                request.body
            }
        };
        let pairs = params::decode_flat(encoded)?;
        let text = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let Some(signature) = text("Signature") else { return Err(no_credentials()) };
        let Some(secret_id) = text("SecretId") else {
            let text = "the parameter SecretId is missing";
            return Err(ApiError::new(ErrorCode::MissingParameter, text));
        };
        Ok(Self { pairs, secret_id, signature })
    }

    pub(super) fn secret_id(&self) -> &str {
        &self.secret_id
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn timestamp(&self) -> Result<i64, ApiError> {
        parse_timestamp(self.text("Timestamp"), "the parameter Timestamp")
    }

    /// Host as received and without its port; and, when a name has an underscore, also with dots in its place, which
    /// is what the Python client signs.
    pub(super) fn candidates(&self, request: &RawRequest<'_>) -> Result<Vec<Candidate>, ApiError> {
        let Some(host) = request.header("host")? else {
            return Err(signature_failure("the header Host, which is signed, was not sent"));
        };
        let mut pairs: Vec<_> = self.pairs.iter().filter(|(key, _)| key != "Signature").collect();
        pairs.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        let written = |dotted: bool| {
            let pair = |(key, value): &&(String, String)| {
                if dotted { format!("{}={value}", key.replace('_', ".")) } else { format!("{key}={value}") }
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join("&")
        };
        let mut forms = vec![written(false)];
        if pairs.iter().any(|(key, _)| key.contains('_')) {
            forms.push(written(true));
        }
        let mut candidates = Vec::new();
        for host in signed_hosts(host) {
            for form in &forms {
                let head: [&[u8]; 5] =
                    [request.method.as_bytes(), host, request.path(), b"?", form.as_bytes()];
                candidates.push(Candidate {
                    host: host.to_vec(),
                    canonical_request: None,
                    string_to_sign: head.concat(),
                });
            }
        }
        Ok(candidates)
    }

    pub(super) fn verify(&self, key: &SecretKey, candidates: Vec<Candidate>) -> Result<Candidate, ApiError> {
        self.check_nonce()?;
        let algorithm = match self.text("SignatureMethod") {
            None | Some("HmacSHA1") => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some("HmacSHA256") => hmac::HMAC_SHA256,
            Some(_) => return Err(signature_failure("SignatureMethod must be HmacSHA1 or HmacSHA256")),
        };
        let Ok(signature) = STANDARD.decode(&self.signature) else {
            return Err(signature_failure("Signature must be base64"));
        };
        let key = hmac::Key::new(algorithm, key.bytes());
        candidates
            .into_iter()
            .find(|candidate| hmac::verify(&key, &candidate.string_to_sign, &signature).is_ok())
            .ok_or_else(|| {
                signature_failure(
                    "the signature does not fit the request: check the SecretKey, and that method, Host and every \
                     parameter arrive as they were signed",
                )
            })
    }

    /// A nonce must be there; it is not stored, so its reuse within the window goes unnoticed.
    fn check_nonce(&self) -> Result<(), ApiError> {
        let Some(nonce) = self.text("Nonce") else {
            let text = "the parameter Nonce is missing; give a positive integer";
            return Err(ApiError::new(ErrorCode::MissingParameter, text));
        };
        // The Node client draws from 0.
        let number = !nonce.is_empty()
            && nonce.bytes().all(|byte| byte.is_ascii_digit())
            && nonce.parse::<u64>().is_ok();
        if number {
            Ok(())
        } else {
            Err(ApiError::new(ErrorCode::InvalidParameter, "Nonce must be a positive integer"))
        }
    }

    /// The common parameters, and the operation's own.
    pub(super) fn into_parts(self) -> (Common, Vec<(String, String)>) {
        let text = |name: &str| self.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let common = Common {
            action: text("Action"),
            version: text("Version"),
            region: text("Region"),
            language: text("Language"),
            token: text("Token"),
        };
        let own = self.pairs.into_iter().filter(|(key, _)| !COMMON.contains(&key.as_str())).collect();
        (common, own)
    }
}

fn no_credentials() -> ApiError {
    let text = "the request is not signed: send the header Authorization (TC3-HMAC-SHA256), or the parameters \
                SecretId, Timestamp, Nonce and Signature (HmacSHA1, HmacSHA256)";
    ApiError::new(ErrorCode::MissingParameter, text)
}
