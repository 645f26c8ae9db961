//! Parameters as given, before they are held against an operation's declaration.
//!
//! Four ways in (JSON body, form body, multipart body, GET query) lead to one tree. What came as text stays text
//! until a declaration says what type it should have. Everything is bounded while it is read.

mod flat;
mod json;
mod multipart;

pub use flat::flatten;
pub(crate) use flat::{decode_flat, from_flat_bytes, unflatten};

use std::collections::BTreeMap;

use crate::error::{ApiError, ErrorCode, clipped};
use crate::request::{Method, RawRequest};

/// The deepest nesting of objects and lists; the parameters themselves are level 1.
pub const DEPTH_MAX: usize = 16;
/// The most values (of any kind, at any depth) in one request.
pub const ELEMENTS_MAX: usize = 50_000;
/// The longest name of a parameter, flattened, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The media type of flat parameters.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// A parameter's value as given.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// JSON `null`: as if absent.
    Null,
    /// A JSON boolean.
    Boolean(bool),
    /// A JSON number without a fraction, within 64 bits.
    Integer(i64),
    /// Any other JSON number; no parameter takes one.
    Number(f64),
    /// A JSON string.
    String(String),
    /// From a form or query, where everything is text: takes the type that the declaration names.
    Text(String),
    /// A JSON array.
    List(Vec<Param>),
    /// A JSON object, or all parameters together.
    Object(BTreeMap<String, Param>),
    /// What flattened names made: an object or, if the declaration says so, a list by numeric order of its keys.
    Branch(BTreeMap<String, Param>),
}

impl Param {
    /// No parameters.
    pub fn empty() -> Self {
        Param::Object(BTreeMap::new())
    }

    /// The operation's parameters in a request whose own parameters travel apart from the common ones (TC3): from the
    /// query of a GET, from the body of a POST. A GET's body and a POST's query are no parameters.
    ///
    /// # Errors
    /// `InvalidParameter` for a body that is not what its content type says, `InvalidRequest` for a broken multipart
    /// body, `RequestSizeLimitExceeded` for more values than allowed; and for requests that cannot be of this API.
    pub fn read(request: &RawRequest<'_>) -> Result<Self, ApiError> {
        match request.checked_method()? {
            Method::Get => from_flat_bytes(request.query()),
            Method::Post => {
                let content_type = request.header_text("content-type")?.unwrap_or("");
                from_body(content_type, request.body)
            }
        }
    }

    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Param::Null => "null",
            Param::Boolean(_) => "a boolean",
            Param::Integer(_) => "an integer",
            Param::Number(_) => "a number that is no 64-bit integer",
            Param::String(_) => "a string",
            Param::Text(_) => "a single value",
            Param::List(_) => "a list",
            Param::Object(_) => "an object",
            Param::Branch(_) => "a group of flattened names",
        }
    }
}

/// How many more values may be read.
#[derive(Debug)]
pub(crate) struct Budget {
    elements_left: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { elements_left: ELEMENTS_MAX }
    }

    /// Takes one value off; false when there is none left.
    pub(crate) fn take(&mut self) -> bool {
        let left = self.elements_left.checked_sub(1);
        self.elements_left = left.unwrap_or(0);
        left.is_some()
    }
}

pub(crate) fn too_many() -> ApiError {
    let text = format!("a request may hold at most {ELEMENTS_MAX} values");
    ApiError::new(ErrorCode::RequestSizeLimitExceeded, text)
}

pub(crate) fn too_deep() -> ApiError {
    let text = format!("parameters may be nested at most {DEPTH_MAX} levels deep");
    ApiError::new(ErrorCode::InvalidParameter, text)
}

/// The media type of a `Content-Type` value: without parameters, in lower case.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim_ascii().to_ascii_lowercase()
}

/// Reads a POST body.
pub(crate) fn from_body(content_type: &str, body: &[u8]) -> Result<Param, ApiError> {
    match media_type(content_type).as_str() {
        _ if body.is_empty() => Ok(Param::empty()),
        "application/json" => json::object(body, &mut Budget::new()),
        FORM => from_flat_bytes(body),
        "multipart/form-data" => multipart::read(content_type, body),
        other => {
            let text = format!(
                "Content-Type \"{}\" is not supported; send application/json, {FORM} or multipart/form-data",
                clipped(other)
            );
            Err(ApiError::new(ErrorCode::InvalidParameter, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, body: &str, expected: Result<&str, ErrorCode>) {
        let read = from_body(content_type, body.as_bytes());
        let expected = expected.map(|text| json::object(text.as_bytes(), &mut Budget::new()).unwrap());
        assert_eq!(read.map_err(|error| error.code), expected, "{content_type} {body}");
    }

    #[test]
    fn the_content_type_decides_how_a_body_is_read() {
        for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"] {
            check(kind, r#"{"A":"b"}"#, Ok(r#"{"A":"b"}"#));
        }
        check("application/json", "", Ok("{}"));
        check("application/octet-stream", "", Ok("{}"));
        check("application/octet-stream", "{}", Err(ErrorCode::InvalidParameter));
        check("text/plain", "{}", Err(ErrorCode::InvalidParameter));
        check("", "{}", Err(ErrorCode::InvalidParameter));
        for bad in ["[]", "1", "null", "{", "{} {}", "{\"A\":1,\"A\":2}", "{\"A\":\"\\ud800\"}", "nan"] {
            check("application/json", bad, Err(ErrorCode::InvalidParameter));
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested =
            |levels: usize| format!("{}{}", "{\"a\":".repeat(levels - 1) + "{}", "}".repeat(levels - 1));
        let read = |text: &str| json::object(text.as_bytes(), &mut Budget::new()).map_err(|error| error.code);
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(DEPTH_MAX + 1)), Err(ErrorCode::InvalidParameter));
        assert_eq!(read(&nested(100_000)), Err(ErrorCode::InvalidParameter));

        // The outer object and the list count as well.
        let list = |items: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(items - 1));
        assert!(read(&list(ELEMENTS_MAX - 2)).is_ok());
        assert_eq!(read(&list(ELEMENTS_MAX - 1)), Err(ErrorCode::RequestSizeLimitExceeded));
    }
}
