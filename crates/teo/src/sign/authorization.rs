//! The `Authorization` header of TC3-HMAC-SHA256, read leniently.

use crate::error::{ApiError, ErrorCode};

pub(super) const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// The parts of the header. None is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) secret_id: &'a str,
    pub(super) date: &'a str,
    /// Whatever the client derived its key from; some take it from the endpoint's name.
    pub(super) service: &'a str,
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header: parts in any order, any run of spaces around the commas. The service may hold anything but a
    /// slash, commas included.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, ApiError> {
        Self::read(value).ok_or_else(|| {
            let text = "the header Authorization must read \"TC3-HMAC-SHA256 Credential=<SecretId>/<date>/<service>\
                        /tc3_request, SignedHeaders=content-type;host, Signature=<64 lower-case hex digits>\"";
            ApiError::new(ErrorCode::AuthInvalidAuthorization, text)
        })
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut rest = text.strip_prefix(ALGORITHM)?;
        if !rest.starts_with([' ', '\t']) {
            return None;
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            if let Some(after) = rest.strip_prefix("Credential=") {
                let (parts, after) = read_credential(after)?;
                rest = after;
                if credential.replace(parts).is_some() {
                    return None;
                }
                continue;
            }
            let (slot, after) = match rest.strip_prefix("SignedHeaders=") {
                Some(after) => (&mut signed_headers, after),
                None => (&mut signature, rest.strip_prefix("Signature=")?),
            };
            let (part, after) = after.split_once(',').unwrap_or((after, ""));
            rest = after;
            if slot.replace(part.trim_ascii()).is_some() {
                return None;
            }
        }
        let (secret_id, date, service) = credential?;
        let (signed_headers, signature) = (signed_headers?, signature?);
        let complete = !secret_id.is_empty() && !signed_headers.is_empty() && !signature.is_empty();
        complete.then_some(Self { secret_id, date, service, signed_headers, signature })
    }
}

/// `<SecretId>/<date>/<service>/tc3_request` and what follows it.
fn read_credential(text: &str) -> Option<((&str, &str, &str), &str)> {
    let (secret_id, text) = text.split_once('/')?;
    let (date, text) = text.split_once('/')?;
    let (service, text) = text.split_once('/')?;
    let rest = text.strip_prefix("tc3_request")?;
    let ended = rest.is_empty() || rest.starts_with([',', ' ', '\t']);
    ended.then_some(((secret_id, date, service), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<[&str; 5]>) {
        let parsed = Authorization::parse(text.as_bytes()).ok();
        let parts = parsed.map(|a| [a.secret_id, a.date, a.service, a.signed_headers, a.signature]);
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn lenient_in_spaces_strict_in_parts() {
        let whole = Some(["ID", "2023-11-14", "teo", "content-type;host", "ab"]);
        check(
            "TC3-HMAC-SHA256 Credential=ID/2023-11-14/teo/tc3_request, SignedHeaders=content-type;host, Signature=ab",
            whole,
        );
        check(
            "TC3-HMAC-SHA256   Credential=ID/2023-11-14/teo/tc3_request,SignedHeaders=content-type;host,    Signature=ab ",
            whole,
        );
        check(
            "TC3-HMAC-SHA256 Signature=ab, Credential=ID/2023-11-14/teo/tc3_request, SignedHeaders=content-type;host",
            whole,
        );
        check(
            "TC3-HMAC-SHA256 Credential=ID/d/local host:80, x/tc3_request, SignedHeaders=h, Signature=s",
            Some(["ID", "d", "local host:80, x", "h", "s"]),
        );
        for bad in [
            "",
            "SKIP",
            "Bearer abc",
            "TC3-HMAC-SHA256",
            "TC3-HMAC-SHA256 ",
            "TC3-HMAC-SHA256Credential=ID/d/teo/tc3_request, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA1 Credential=ID/d/teo/tc3_request, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_request, SignedHeaders=h",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_request, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_request, SignedHeaders=h, Signature=",
            "TC3-HMAC-SHA256 Credential=/d/teo/tc3_request, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc4_request, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_requests, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/tc3_request, SignedHeaders=h, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_request, SignedHeaders=h, Signature=s, Signature=s",
            "TC3-HMAC-SHA256 Credential=ID/d/teo/tc3_request, SignedHeaders=h, Signature=s, Extra=1",
        ] {
            check(bad, None);
        }
    }
}
