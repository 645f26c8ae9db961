//! Who sent a request: signatures, checked and made.
//!
//! Both schemes of the API are read: TC3-HMAC-SHA256 (headers) and the older HmacSHA1/HmacSHA256 (parameters).
//! The steps can't be reordered, since each consumes what came before:
//! [`Credentials::read`] → [`Claim`] (a SecretId, nothing proven) → [`Claim::verify`] → [`Authenticated`].
//!
//! Does not know where keys are kept, and reads no clock.

mod authorization;
mod client;
mod tc3;
mod v1;

pub use client::{Signer, sign_request};

use std::fmt;

use ring::hmac;

use crate::error::{ApiError, ErrorCode};
use crate::params::{self, Param};
use crate::request::{Method, RawRequest};

/// How far the request's time and the server's may lie apart, in seconds. Exactly this much passes.
pub const TIMESTAMP_WINDOW_SECS: u64 = 300;

/// The secret half of a key pair. Its content never appears in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<[u8]>);

impl SecretKey {
    /// Takes the secret as the operator knows it.
    pub fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

/// The first step: finding out what a request claims to be signed with.
#[derive(Debug)]
pub struct Credentials;

/// A request that names a SecretId. Nothing is proven yet.
#[derive(Debug)]
pub struct Claim<'a> {
    request: &'a RawRequest<'a>,
    method: Method,
    scheme: Scheme<'a>,
}

#[derive(Debug)]
enum Scheme<'a> {
    Tc3(tc3::Tc3<'a>),
    V1(v1::V1),
}

/// What a signature would be made over if the client signed this host value: for tests, and for telling a user where
/// their client and this server differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The host value used.
    pub host: Vec<u8>,
    /// The canonical request; only TC3-HMAC-SHA256 has one.
    pub canonical_request: Option<Vec<u8>>,
    /// What the MAC is computed over.
    pub string_to_sign: Vec<u8>,
}

/// A request whose signature was made with the key of its SecretId.
#[derive(Debug)]
pub struct Authenticated<'a> {
    request: &'a RawRequest<'a>,
    secret_id: String,
    signed: Candidate,
    common: Common,
    /// A v1 request's own parameters, already decoded for its signature.
    flat: Option<Vec<(String, String)>>,
}

/// The common parameters, wherever the scheme carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) action: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) token: Option<String>,
}

impl Credentials {
    /// Finds the scheme and the SecretId of a request.
    ///
    /// # Errors
    /// `UnsupportedProtocol`, `InvalidRequest`, `RequestSizeLimitExceeded` for a request that cannot be one of this
    /// API; `MissingParameter` without credentials; `AuthFailure.InvalidAuthorization` for a malformed header.
    pub fn read<'a>(request: &'a RawRequest<'a>) -> Result<Claim<'a>, ApiError> {
        let method = request.checked_method()?;
        let authorization = request.header("authorization")?;
        let scheme = match authorization {
            Some(value) => Scheme::Tc3(tc3::Tc3::read(request, value)?),
            None if request.header("x-tc-action")?.is_some() => {
                let text = "the header Authorization is missing; sign the request with TC3-HMAC-SHA256";
                return Err(ApiError::new(ErrorCode::MissingParameter, text));
            }
            None => Scheme::V1(v1::V1::read(request, method)?),
        };
        Ok(Claim { request, method, scheme })
    }
}

impl<'a> Claim<'a> {
    /// The SecretId that the request names.
    pub fn secret_id(&self) -> &str {
        match &self.scheme {
            Scheme::Tc3(tc3) => tc3.secret_id(),
            Scheme::V1(v1) => v1.secret_id(),
        }
    }

    /// What the signature may have been made over: with the Host header as received, then without its port.
    /// (Some clients sign the host without the port they send. Both come from the same header, so this opens nothing.)
    pub fn candidates(&self) -> Result<Vec<Candidate>, ApiError> {
        match &self.scheme {
            Scheme::Tc3(tc3) => tc3.candidates(self.request, self.method),
            Scheme::V1(v1) => v1.candidates(self.request),
        }
    }

    /// Checks time, signature and token, in this order.
    ///
    /// `token` is the one that belongs to the key pair, if it is a temporary one; without one, a token in the request
    /// is ignored.
    ///
    /// # Errors
    /// `MissingParameter` or `InvalidParameter` for a timestamp (or a v1 nonce) that is absent or no number,
    /// `AuthFailure.SignatureExpire`, `AuthFailure.SignatureFailure`, `AuthFailure.TokenFailure`.
    pub fn verify(
        self,
        key: &SecretKey,
        now_unix_secs: i64,
        token: Option<&str>,
    ) -> Result<Authenticated<'a>, ApiError> {
        let timestamp = match &self.scheme {
            Scheme::Tc3(tc3) => tc3.timestamp()?,
            Scheme::V1(v1) => v1.timestamp()?,
        };
        if timestamp.abs_diff(now_unix_secs) > TIMESTAMP_WINDOW_SECS {
            let text = format!(
                "the request's time {timestamp} and the server's {now_unix_secs} are more than \
                 {TIMESTAMP_WINDOW_SECS} seconds apart; set the client's clock"
            );
            return Err(ApiError::new(ErrorCode::AuthSignatureExpire, text));
        }
        let candidates = self.candidates()?;
        let signed = match &self.scheme {
            Scheme::Tc3(tc3) => tc3.verify(key, timestamp, candidates)?,
            Scheme::V1(v1) => v1.verify(key, candidates)?,
        };
        let secret_id = self.secret_id().to_owned();
        let (common, flat) = match self.scheme {
            Scheme::Tc3(_) => (tc3::common(self.request)?, None),
            Scheme::V1(v1) => {
                let (common, own) = v1.into_parts();
                (common, Some(own))
            }
        };
        if let Some(expected) = token {
            check_token(expected, common.token.as_deref().unwrap_or(""))?;
        }
        Ok(Authenticated { request: self.request, secret_id, signed, common, flat })
    }
}

impl Authenticated<'_> {
    /// The SecretId whose key signed the request.
    pub fn secret_id(&self) -> &str {
        &self.secret_id
    }

    /// What the signature turned out to be made over.
    pub fn signed(&self) -> &Candidate {
        &self.signed
    }

    /// `Action`, as given.
    pub fn action_name(&self) -> Option<&str> {
        self.common.action.as_deref()
    }

    /// `Version`, as given.
    pub fn version(&self) -> Option<&str> {
        self.common.version.as_deref()
    }

    /// `Region`, as given. The API ignores it.
    pub fn region(&self) -> Option<&str> {
        self.common.region.as_deref()
    }

    /// `Language`, as given. Messages are English whatever it says.
    pub fn language(&self) -> Option<&str> {
        self.common.language.as_deref()
    }

    /// `Token`, as given.
    pub fn token(&self) -> Option<&str> {
        self.common.token.as_deref()
    }

    /// The operation's parameters, read from wherever this kind of request carries them, not yet held against the
    /// operation's declaration.
    ///
    /// # Errors
    /// Those of [`Param::read`].
    pub fn parameters(&self) -> Result<Param, ApiError> {
        match &self.flat {
            Some(flat) => params::unflatten(flat.iter().cloned()),
            None => Param::read(self.request),
        }
    }
}

/// The request's own number for itself, to be echoed as `x-tc-traceid`: up to 64 of `[0-9A-Za-z._-]`, else nothing.
pub fn trace_id<'a>(request: &RawRequest<'a>) -> Option<&'a str> {
    const TRACE_ID_BYTES_MAX: usize = 64;
    let text = request.header_text("x-tc-traceid").ok()??;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= TRACE_ID_BYTES_MAX && text.bytes().all(plain)).then_some(text)
}

/// The host values that a client may have signed, given the Host header: as received, then without the port.
fn signed_hosts(host: &[u8]) -> Vec<&[u8]> {
    let mut hosts = vec![host];
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0
        && let Some(bare) = host[..host.len() - digits].strip_suffix(b":")
    {
        hosts.push(bare);
    }
    hosts
}

fn parse_timestamp(text: Option<&str>, name: &str) -> Result<i64, ApiError> {
    let Some(text) = text else {
        let text = format!("{name} is missing; give the time in Unix seconds");
        return Err(ApiError::new(ErrorCode::MissingParameter, text));
    };
    let decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        let text = format!("{name} must be the time in Unix seconds, in decimal digits");
        ApiError::new(ErrorCode::InvalidParameter, text)
    })
}

/// Compares in constant time, by way of MACs, so that a wrong token tells nothing about the right one.
fn check_token(expected: &str, given: &str) -> Result<(), ApiError> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, expected.as_bytes());
    let tag = hmac::sign(&key, given.as_bytes());
    hmac::verify(&key, expected.as_bytes(), tag.as_ref()).map_err(|_| {
        ApiError::new(ErrorCode::AuthTokenFailure, "the token does not belong to this temporary key")
    })
}

fn signature_failure(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::AuthSignatureFailure, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_dropped_only_when_it_is_one() {
        let cases: [(&str, &[&str]); 6] = [
            ("a.test", &["a.test"]),
            ("a.test:80", &["a.test:80", "a.test"]),
            ("a.test:", &["a.test:"]),
            ("http://127.0.0.1:8080", &["http://127.0.0.1:8080", "http://127.0.0.1"]),
            ("http://127.0.0.1:8080/", &["http://127.0.0.1:8080/"]),
            ("", &[""]),
        ];
        for (host, expected) in cases {
            let expected: Vec<&[u8]> = expected.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(signed_hosts(host.as_bytes()), expected, "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(check_token("abc", "abc").is_ok());
        for wrong in ["", "ab", "abcd", "abd"] {
            assert_eq!(check_token("abc", wrong).map_err(|e| e.code), Err(ErrorCode::AuthTokenFailure));
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", SecretKey::new("topsecret")).contains("topsecret"));
    }
}
