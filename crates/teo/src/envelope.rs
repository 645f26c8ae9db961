//! The envelope around every answer.
//!
//! HTTP status 200 always; `Content-Type` is [`CONTENT_TYPE`] and nothing more, since the official Python client
//! takes an answer of any other type for a success; `RequestId` in both kinds; no `Error` key in a success.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, ErrorCode};

/// The one content type of answers. Exactly this text, without a charset.
pub const CONTENT_TYPE: &str = "application/json";

/// The largest answer that is sent, in bytes; the next larger one becomes `ResponseSizeLimitExceeded`.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The id of one request: a version 4 UUID in lower case, fresh for each answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// Makes the id of sixteen random bytes (RFC 9562, section 5.4).
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The body of a success: the fields of `answer` and the request's id.
pub fn success(answer: Map<String, Value>, id: RequestId) -> Vec<u8> {
    debug_assert!(!answer.contains_key("Error"), "clients take any Error key for a failure");
    let mut fields = answer;
    fields.insert("RequestId".into(), id.to_string().into());
    let body = json!({ "Response": fields }).to_string().into_bytes();
    if body.len() > ANSWER_BYTES_MAX {
        let text = format!("the answer would exceed {ANSWER_BYTES_MAX} bytes; ask for fewer with Limit");
        return failure(&ApiError::new(ErrorCode::ResponseSizeLimitExceeded, text), id);
    }
    body
}

/// The body of a refusal.
pub fn failure(error: &ApiError, id: RequestId) -> Vec<u8> {
    let error = json!({ "Code": error.code.as_str(), "Message": error.message });
    json!({ "Response": { "Error": error, "RequestId": id.to_string() } }).to_string().into_bytes()
}

/// An answer as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The fields of a success, without `RequestId`.
    Success {
        /// Everything but `RequestId`.
        fields: Map<String, Value>,
        /// The server's name for this exchange.
        request_id: String,
    },
    /// A refusal. The code stays text: another server may know codes that we do not.
    Failure {
        /// `Error.Code`.
        code: String,
        /// `Error.Message`.
        message: String,
        /// The server's name for this exchange.
        request_id: String,
    },
}

/// An answer that is not in the envelope; says what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not one of this API: {0}")]
pub struct EnvelopeError(String);

impl Answer {
    /// Opens the envelope.
    pub fn read(body: &[u8]) -> Result<Answer, EnvelopeError> {
        let lacks = |what: &str| EnvelopeError(what.to_owned());
        let value: Value = serde_json::from_slice(body).map_err(|_| lacks("it is not JSON"))?;
        let Value::Object(mut outer) = value else { return Err(lacks("it is no JSON object")) };
        let Some(Value::Object(mut fields)) = outer.remove("Response") else {
            return Err(lacks("it has no object \"Response\""));
        };
        let Some(Value::String(request_id)) = fields.remove("RequestId") else {
            return Err(lacks("it has no \"RequestId\""));
        };
        let Some(error) = fields.remove("Error") else { return Ok(Answer::Success { fields, request_id }) };
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        match (text("Code"), text("Message")) {
            (Some(code), Some(message)) => Ok(Answer::Failure { code, message, request_id }),
            _ => Err(lacks("its \"Error\" has no \"Code\" or no \"Message\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId::from_random([0xff; 16]);

    #[test]
    fn request_ids_are_lower_case_version_4_uuids() {
        assert_eq!(ID.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(RequestId::from_random([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_success_has_no_error_key_and_a_failure_has_code_message_and_id() {
        let fields = Map::from_iter([("JobId".to_owned(), "2abc".into())]);
        let body = success(fields.clone(), ID);
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"Response":{"JobId":"2abc","RequestId":"ffffffff-ffff-4fff-bfff-ffffffffffff"}}"#
        );
        assert_eq!(Answer::read(&body), Ok(Answer::Success { fields, request_id: ID.to_string() }));

        let body = failure(&ApiError::new(ErrorCode::InvalidAction, "no"), ID);
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"Response":{"Error":{"Code":"InvalidAction","Message":"no"},"RequestId":"ffffffff-ffff-4fff-bfff-ffffffffffff"}}"#
        );
        assert!(matches!(Answer::read(&body), Ok(Answer::Failure { code, .. }) if code == "InvalidAction"));
    }

    #[test]
    fn an_answer_over_the_limit_becomes_an_error() {
        let large = Map::from_iter([("Text".to_owned(), "x".repeat(ANSWER_BYTES_MAX).into())]);
        let answer = Answer::read(&success(large, ID)).unwrap();
        assert!(matches!(answer, Answer::Failure { code, .. } if code == "ResponseSizeLimitExceeded"));
    }

    #[test]
    fn what_is_not_in_the_envelope_is_refused_with_a_reason() {
        for body in ["", "[]", "{}", r#"{"Response":{}}"#, r#"{"Response":{"RequestId":"a","Error":null}}"#] {
            assert!(Answer::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
