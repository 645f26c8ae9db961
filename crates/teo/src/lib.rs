//! The wire dialect of the API: names, parameters, answers, error codes and signatures.
//!
//! Owns everything that stands on the wire between a client and the control plane, for both products of the endpoint:
//! [`edgeone`] (EdgeOne's API, product `teo` 2022-09-01) and [`everfresh`] (ours, 2026-11-01). Knows nothing of zones,
//! purges or keys as things, does no I/O and reads no clock.
//!
//! A server takes a request through these steps, in this order:
//!
//! ```
//! # use teo::{Answer, ApiError, Credentials, ErrorCode, RawRequest, Request, RequestId, SecretKey, envelope};
//! # fn find_key(_: &str) -> Option<SecretKey> { None }
//! fn answer(raw: &RawRequest<'_>, now_unix_secs: i64) -> Result<Request, ApiError> {
//!     let claim = Credentials::read(raw)?;                                // names a SecretId, proves nothing
//!     let key = find_key(claim.secret_id())
//!         .ok_or_else(|| ApiError::new(ErrorCode::AuthSecretIdNotFound, "there is no such SecretId"))?;
//!     let authenticated = claim.verify(&key, now_unix_secs, None)?;       // time, signature, token
//!     authenticated.decode()                                              // version, action, parameters
//! }
//! # let raw = RawRequest { method: "GET", target: b"/", headers: vec![], body: b"" };
//! let error = answer(&raw, 0).unwrap_err();
//! assert_eq!(error.code, ErrorCode::MissingParameter);
//! let body = envelope::failure(&error, RequestId::from_random([7; 16])); // status 200, envelope::CONTENT_TYPE
//! assert!(matches!(Answer::read(&body), Ok(Answer::Failure { .. })));
//! ```
//!
//! A client encodes a request ([`encode_request`]), signs it ([`sign_request`]) and opens the answer
//! ([`Answer::read`], [`decode_answer`]).
//!
//! Each operation is declared once, in `edgeone` or `everfresh`; types, decoding, encoding and the tables behind
//! [`Action::spec`] all come from there.

mod action;
mod declare;
pub mod edgeone;
pub mod envelope;
mod error;
pub mod everfresh;
pub mod params;
mod request;
mod sign;
pub mod wire;

pub use action::{Action, ActionSpec, Operation, Product, Request};
pub use envelope::{Answer, CONTENT_TYPE, EnvelopeError, RequestId};
pub use error::{ApiError, ErrorCode};
pub use params::Param;
pub use request::{GET_BYTES_MAX, POST_BODY_BYTES_MAX, RawRequest, V1_POST_BODY_BYTES_MAX};
pub use sign::{
    Authenticated, Candidate, Claim, Credentials, SecretKey, Signer, TIMESTAMP_WINDOW_SECS, sign_request,
    trace_id,
};
pub use wire::{SecretText, Shape, decode_answer, decode_request, encode_answer, encode_request};
