//! A request as it came off the wire: bytes that nobody has interpreted yet.
//!
//! Signatures are made over these very bytes, so nothing here decodes, sorts or lower-cases anything.

use crate::error::{ApiError, ErrorCode};

/// The longest target (path and query) of a GET, in bytes.
pub const GET_BYTES_MAX: usize = 32 * 1024;
/// The longest body of a POST signed with TC3-HMAC-SHA256, in bytes. A server reads no more than this of any body.
pub const POST_BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The longest body of a POST signed with HmacSHA1 or HmacSHA256, in bytes.
pub const V1_POST_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRequest<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// The request line's target: path and, after a `?`, the query, neither decoded nor normalised.
    pub target: &'a [u8],
    /// Names and values in the order received. Over HTTP/2, `:authority` stands in for `host`.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// The whole body, after any transfer coding.
    pub body: &'a [u8],
}

/// The two methods that the API speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

impl<'a> RawRequest<'a> {
    /// The value of the header of this name (any case), spaces around it trimmed.
    ///
    /// A header given twice is refused: which of the two a signature covers would be anybody's guess.
    pub fn header(&self, name: &str) -> Result<Option<&'a [u8]>, ApiError> {
        let mut values = self
            .headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.trim_ascii());
        let first = values.next();
        if values.next().is_some() {
            let text = format!("the header {name} is given more than once; send it once");
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        Ok(first)
    }

    /// Like [`RawRequest::header`], as text; bytes that are no UTF-8 are refused.
    pub fn header_text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let Some(value) = self.header(name)? else { return Ok(None) };
        std::str::from_utf8(value).map(Some).map_err(|_| {
            ApiError::new(ErrorCode::InvalidParameter, format!("the header {name} is not UTF-8"))
        })
    }

    /// The path, as received.
    pub fn path(&self) -> &'a [u8] {
        self.split_target().0
    }

    /// The query, as received, without its `?`; empty if there is none.
    pub fn query(&self) -> &'a [u8] {
        self.split_target().1
    }

    fn split_target(&self) -> (&'a [u8], &'a [u8]) {
        match self.target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (self.target, b""),
        }
    }

    /// The method, if the API speaks it and the request's size and path are what that method allows.
    pub(crate) fn checked_method(&self) -> Result<Method, ApiError> {
        let method = match self.method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => {
                let text = "the API speaks GET and POST only";
                return Err(ApiError::new(ErrorCode::UnsupportedProtocol, text));
            }
        };
        // A client whose endpoint ends in a slash sends `//`.
        if !matches!(self.path(), b"/" | b"//") {
            let text = "the API has one path, \"/\"; the operation is named by X-TC-Action";
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        match method {
            Method::Get if self.target.len() > GET_BYTES_MAX => {
                Err(too_large("the target of a GET", GET_BYTES_MAX))
            }
            Method::Post if self.body.len() > POST_BODY_BYTES_MAX => {
                Err(too_large("the body of a POST", POST_BODY_BYTES_MAX))
            }
            method => Ok(method),
        }
    }
}

pub(crate) fn too_large(what: &str, bytes_max: usize) -> ApiError {
    let text = format!("{what} may have at most {bytes_max} bytes");
    ApiError::new(ErrorCode::RequestSizeLimitExceeded, text)
}
