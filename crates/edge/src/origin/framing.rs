//! Where a response ends. An answer that two readers could end in different places is no answer: what follows it on
//! the connection would be taken for the answer to somebody else's request (RFC 9112 §6.3, §11.1).

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Why the head of a response is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingError {
    #[error("the response has both Transfer-Encoding and Content-Length")]
    LengthAndCoding,
    #[error("the response's Transfer-Encoding is something else than chunked, which was not asked for")]
    UnknownCoding,
    #[error("the response's Content-Length is no number, or more than one")]
    BadLength,
    #[error("the response changes to a protocol that was not asked for")]
    UnaskedUpgrade,
}

/// Checks the head of a response, and leaves one Content-Length where the same one was given several times.
pub(super) fn check(
    status: StatusCode,
    headers: &mut HeaderMap,
    asked_upgrade: bool,
) -> Result<(), FramingError> {
    if status == StatusCode::SWITCHING_PROTOCOLS && !asked_upgrade {
        return Err(FramingError::UnaskedUpgrade);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(FramingError::UnknownCoding);
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(FramingError::LengthAndCoding);
        }
    }
    let mut length = None;
    let mut count = 0;
    for line in headers.get_all(header::CONTENT_LENGTH) {
        for text in line.as_bytes().split(|byte| *byte == b',') {
            let number = number(text.trim_ascii()).ok_or(FramingError::BadLength)?;
            if length.is_some_and(|length| length != number) {
                return Err(FramingError::BadLength);
            }
            length = Some(number);
            count += 1;
        }
    }
    if let Some(length) = length.filter(|_| count > 1) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// Digits only: no sign, no space, nothing that overflows.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn what_two_readers_could_end_in_different_places_is_refused() {
        use FramingError::{BadLength, LengthAndCoding, UnaskedUpgrade, UnknownCoding};
        let cases = [
            (200, "content-length: 5", Ok("5")),
            (200, "", Ok("")),
            (200, "transfer-encoding: chunked", Ok("")),
            (200, "transfer-encoding: Chunked", Ok("")),
            (200, "content-length: 5\ncontent-length: 5", Ok("5")),
            (200, "content-length: 5, 5", Ok("5")),
            (200, "content-length: 05", Ok("05")),
            (200, "content-length: 5\ncontent-length: 6", Err(BadLength)),
            (200, "content-length: 5, 6", Err(BadLength)),
            (304, "content-length: 5, 6", Err(BadLength)),
            (200, "content-length: ", Err(BadLength)),
            (200, "content-length: 5,", Err(BadLength)),
            (200, "content-length: +5", Err(BadLength)),
            (200, "content-length: -5", Err(BadLength)),
            (200, "content-length: 0x5", Err(BadLength)),
            (200, "content-length: 5 5", Err(BadLength)),
            (200, "content-length: 99999999999999999999", Err(BadLength)),
            (200, "transfer-encoding: chunked\ncontent-length: 5", Err(LengthAndCoding)),
            (200, "transfer-encoding: gzip, chunked", Err(UnknownCoding)),
            (200, "transfer-encoding: identity", Err(UnknownCoding)),
            (200, "transfer-encoding: chunked\ntransfer-encoding: chunked", Err(UnknownCoding)),
            (200, "transfer-encoding: chunked, identity", Err(UnknownCoding)),
            (200, "transfer-encoding: xchunked", Err(UnknownCoding)),
            (101, "upgrade: websocket", Err(UnaskedUpgrade)),
        ];
        for (status, lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            let checked = check(StatusCode::from_u16(status).unwrap(), &mut headers, false);
            let left: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
            match expected {
                Ok(length) => {
                    assert_eq!(checked, Ok(()), "{lines}");
                    assert_eq!(left.first().map_or("", |value| value.to_str().unwrap()), length, "{lines}");
                    assert!(left.len() <= 1, "{lines}");
                }
                Err(error) => assert_eq!(checked, Err(error), "{lines}"),
            }
        }
        assert_eq!(check(StatusCode::SWITCHING_PROTOCOLS, &mut HeaderMap::new(), true), Ok(()));
    }
}
