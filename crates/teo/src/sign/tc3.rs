//! TC3-HMAC-SHA256: canonical request, string to sign, derived key.

use ring::{digest, hmac};
use time::OffsetDateTime;

use super::authorization::{ALGORITHM, Authorization};
use super::{Candidate, Common, SecretKey, parse_timestamp, signature_failure, signed_hosts};
use crate::error::ApiError;
use crate::request::{Method, RawRequest};

const UNSIGNED_PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";
const SIGNATURE_BYTES: usize = 32;

/// A TC3 request's claim.
#[derive(Debug)]
pub(super) struct Tc3<'a> {
    authorization: Authorization<'a>,
    timestamp_text: Option<&'a str>,
}

impl<'a> Tc3<'a> {
    pub(super) fn read(request: &RawRequest<'a>, authorization: &'a [u8]) -> Result<Self, ApiError> {
        let authorization = Authorization::parse(authorization)?;
        let timestamp_text = request.header_text("x-tc-timestamp")?;
        Ok(Self { authorization, timestamp_text })
    }

    pub(super) fn secret_id(&self) -> &str {
        self.authorization.secret_id
    }

    pub(super) fn timestamp(&self) -> Result<i64, ApiError> {
        parse_timestamp(self.timestamp_text, "the header X-TC-Timestamp")
    }

    pub(super) fn candidates(
        &self,
        request: &RawRequest<'_>,
        method: Method,
    ) -> Result<Vec<Candidate>, ApiError> {
        let names: Vec<&str> = self.authorization.signed_headers.split(';').collect();
        for needed in ["content-type", "host"] {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(needed)) {
                let text = format!("SignedHeaders must contain content-type and host; it lacks {needed}");
                return Err(signature_failure(text));
            }
        }
        let host = signed_header(request, "host")?;
        let payload: &[u8] = match (request.header("x-tc-content-sha256")?, method) {
            (Some(UNSIGNED_PAYLOAD), _) => UNSIGNED_PAYLOAD,
            (_, Method::Get) => b"",
            (_, Method::Post) => request.body,
        };
        let payload_hash = sha256_hex(payload);
        signed_hosts(host)
            .into_iter()
            .map(|host| {
                let mut lines = Vec::new();
                for name in &names {
                    lines.extend_from_slice(name.as_bytes());
                    lines.push(b':');
                    if name.eq_ignore_ascii_case("host") {
                        lines.extend_from_slice(host);
                    } else if name.eq_ignore_ascii_case("content-type") {
                        lines.extend_from_slice(signed_header(request, name)?);
                    } else {
                        lines.extend(signed_header(request, name)?.to_ascii_lowercase());
                    }
                    lines.push(b'\n');
                }
                let canonical = [
                    request.method.as_bytes(),
                    request.path(),
                    request.query(),
                    &lines,
                    self.authorization.signed_headers.as_bytes(),
                    payload_hash.as_bytes(),
                ]
                .join(&b'\n');
                let string_to_sign = string_to_sign(
                    self.timestamp_text.unwrap_or(""),
                    self.authorization.date,
                    self.authorization.service,
                    &canonical,
                );
                Ok(Candidate {
                    host: host.to_vec(),
                    canonical_request: Some(canonical),
                    string_to_sign: string_to_sign.into_bytes(),
                })
            })
            .collect()
    }

    pub(super) fn verify(
        &self,
        key: &SecretKey,
        timestamp: i64,
        candidates: Vec<Candidate>,
    ) -> Result<Candidate, ApiError> {
        let date = utc_date(timestamp);
        if date.as_deref() != Some(self.authorization.date) {
            let text = "the date in Credential is not the UTC date of X-TC-Timestamp";
            return Err(signature_failure(text));
        }
        let Some(signature) = unhex(self.authorization.signature) else {
            return Err(signature_failure("Signature must be 64 lower-case hex digits"));
        };
        let key = signing_key(key, self.authorization.date, self.authorization.service);
        candidates
            .into_iter()
            .find(|candidate| hmac::verify(&key, &candidate.string_to_sign, &signature).is_ok())
            .ok_or_else(|| {
                signature_failure(
                    "the signature does not fit the request: check the SecretKey, and that method, query, body and \
                     the headers Host and Content-Type arrive as they were signed",
                )
            })
    }
}

/// The common parameters of a TC3 request: all in headers, none of them signed by the official clients.
pub(super) fn common(request: &RawRequest<'_>) -> Result<Common, ApiError> {
    let text = |name: &str| -> Result<Option<String>, ApiError> {
        Ok(request.header_text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    Ok(Common {
        action: text("x-tc-action")?,
        version: text("x-tc-version")?,
        region: text("x-tc-region")?,
        language: text("x-tc-language")?,
        token: text("x-tc-token")?,
    })
}

fn signed_header<'a>(request: &RawRequest<'a>, name: &str) -> Result<&'a [u8], ApiError> {
    request.header(name)?.ok_or_else(|| {
        signature_failure(format!("SignedHeaders names {}, which was not sent", crate::error::clipped(name)))
    })
}

pub(super) fn string_to_sign(timestamp: &str, date: &str, service: &str, canonical_request: &[u8]) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{date}/{service}/tc3_request\n{}", sha256_hex(canonical_request))
}

pub(super) fn signing_key(secret: &SecretKey, date: &str, service: &str) -> hmac::Key {
    let first = [b"TC3", secret.bytes()].concat();
    [date, service, "tc3_request"].iter().fold(hmac::Key::new(hmac::HMAC_SHA256, &first), |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
    })
}

/// `YYYY-MM-DD` in UTC; nothing for times outside the years that can be written so.
pub(super) fn utc_date(unix_secs: i64) -> Option<String> {
    let date = OffsetDateTime::from_unix_timestamp(unix_secs).ok()?.date();
    Some(format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()))
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

/// Lower-case hex only: the one form in which a signature is written.
fn unhex(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let text = text.as_bytes();
    if text.len() != 2 * SIGNATURE_BYTES {
        return None;
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_in_lower_case_only() {
        let bytes: [u8; 32] = std::array::from_fn(|at| (at * 8) as u8 + 7);
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex(&hex(&bytes).to_uppercase()), None);
        assert_eq!(unhex("ab"), None);
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(utc_date(1_700_000_000).as_deref(), Some("2023-11-14"));
        assert_eq!(utc_date(0).as_deref(), Some("1970-01-01"));
        assert_eq!(utc_date(i64::MAX), None);
    }
}
