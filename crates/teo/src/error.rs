//! What the API says when it refuses.
//!
//! Owns the closed list of error codes. Does not know which domain error becomes which code: the control plane maps
//! its own errors onto these in one exhaustive match.

use std::fmt;

macro_rules! error_codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, )+) => {
        /// An error code of the API, as it stands in `Response.Error.Code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $( $(#[doc = $doc])+ $variant, )+ }

        impl ErrorCode {
            /// Every code, in the order of the API's list.
            pub const ALL: &'static [ErrorCode] = &[ $( ErrorCode::$variant, )+ ];

            /// The code on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $( ErrorCode::$variant => $text, )+ }
            }

            /// When the code is used, in one sentence.
            pub const fn doc(self) -> &'static str {
                match self { $( ErrorCode::$variant => concat!($($doc),+).trim_ascii(), )+ }
            }

            /// The code with this text, if it is one of ours.
            pub fn parse(text: &str) -> Option<ErrorCode> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

error_codes! {
    /// The `Authorization` header is not of the TC3 form.
    AuthInvalidAuthorization = "AuthFailure.InvalidAuthorization",
    /// No such SecretId.
    AuthSecretIdNotFound = "AuthFailure.SecretIdNotFound",
    /// The key exists, but is disabled.
    AuthInvalidSecretId = "AuthFailure.InvalidSecretId",
    /// The signature is not the one that this request and this key give.
    AuthSignatureFailure = "AuthFailure.SignatureFailure",
    /// The request's time and the server's lie more than five minutes apart.
    AuthSignatureExpire = "AuthFailure.SignatureExpire",
    /// The token of a temporary key is wrong.
    AuthTokenFailure = "AuthFailure.TokenFailure",
    /// The operation was withdrawn.
    ActionOffline = "ActionOffline",
    /// No such operation, or none that is implemented.
    InvalidAction = "InvalidAction",
    /// No such API version.
    NoSuchVersion = "NoSuchVersion",
    /// No such product.
    NoSuchProduct = "NoSuchProduct",
    /// A parameter has the wrong form or type, or the body is no JSON object.
    InvalidParameter = "InvalidParameter",
    /// A parameter has the right type and a value that is not allowed.
    InvalidParameterValue = "InvalidParameterValue",
    /// A required parameter is absent.
    MissingParameter = "MissingParameter",
    /// A parameter that the operation does not define.
    UnknownParameter = "UnknownParameter",
    /// The request is malformed as a whole: a broken multipart body, a path that is not `/`.
    InvalidRequest = "InvalidRequest",
    /// More requests than the rate limit allows.
    RequestLimitExceeded = "RequestLimitExceeded",
    /// The request is larger than its kind may be.
    RequestSizeLimitExceeded = "RequestSizeLimitExceeded",
    /// The answer would be larger than allowed.
    ResponseSizeLimitExceeded = "ResponseSizeLimitExceeded",
    /// Neither GET nor POST.
    UnsupportedProtocol = "UnsupportedProtocol",
    /// The operation does not apply here.
    UnsupportedOperation = "UnsupportedOperation",
    /// The region is not supported.
    UnsupportedRegion = "UnsupportedRegion",
    /// A trial run that would have succeeded.
    DryRunOperation = "DryRunOperation",
    /// The operation failed.
    FailedOperation = "FailedOperation",
    /// A fault of the server's own.
    InternalError = "InternalError",
    /// A limit on the number of things is reached.
    LimitExceeded = "LimitExceeded",
    /// The thing is in use.
    ResourceInUse = "ResourceInUse",
    /// There is not enough of the resource.
    ResourceInsufficient = "ResourceInsufficient",
    /// The thing does not exist.
    ResourceNotFound = "ResourceNotFound",
    /// The thing cannot be used now.
    ResourceUnavailable = "ResourceUnavailable",
    /// The service cannot answer now; try again later.
    ServiceUnavailable = "ServiceUnavailable",
    /// Not allowed.
    UnauthorizedOperation = "UnauthorizedOperation",
    /// A target is malformed for its type, or none is given where some are needed.
    InvalidTarget = "InvalidParameter.Target",
    /// Every target's host lies outside the zone.
    DomainNotFound = "InvalidParameter.DomainNotFound",
    /// The account has no zone of that id.
    ZoneNotFound = "InvalidParameter.ZoneNotFound",
    /// The time range is missing, reversed or longer than seven days.
    ParameterError = "InvalidParameter.ParameterError",
    /// Nothing is left to do after validation.
    TaskNotGenerated = "InvalidParameter.TaskNotGenerated",
    /// A filter that the operation does not know.
    InvalidFilterName = "InvalidParameter.InvalidFilterName",
    /// A filter that cannot be used as it is given.
    InvalidFilter = "InvalidParameter.InvalidFilter",
    /// More filters than allowed.
    TooManyFilters = "InvalidParameter.TooManyFilters",
    /// More values in a filter than allowed.
    TooManyFilterValues = "InvalidParameter.TooManyFilterValues",
    /// A target is longer than allowed.
    LengthExceedsLimit = "InvalidParameter.LengthExceedsLimit",
    /// The origin's address is not allowed.
    InvalidOriginIp = "InvalidParameter.InvalidOriginIp",
    /// A value that is not one of those allowed.
    NotInEnumeration = "InvalidParameterValue.NotInEnumeration",
    /// A value outside its range.
    NotWithinRange = "InvalidParameterValue.NotWithinRange",
    /// The zone is switched off.
    ZonePaused = "InvalidParameterValue.ZonePaused",
    /// The zone's name is no domain name.
    ZoneNameInvalid = "InvalidParameterValue.ZoneNameInvalid",
    /// The domain does not lie under the zone.
    DomainNotMatchZone = "InvalidParameterValue.DomainNotMatchZone",
    /// The domain's name is malformed.
    InvalidDomainName = "InvalidParameterValue.InvalidDomainName",
    /// More targets in one call than the quota's `Batch`.
    BatchQuota = "LimitExceeded.BatchQuota",
    /// More targets than are left of the quota's `Daily`.
    DailyQuota = "LimitExceeded.DailyQuota",
    /// An administrator switched this kind of purge off.
    PackNotAllow = "LimitExceeded.PackNotAllow",
    /// The queried time range is too long.
    QueryTimeLimitExceeded = "LimitExceeded.QueryTimeLimitExceeded",
    /// The key may not do this.
    CamUnauthorized = "UnauthorizedOperation.CamUnauthorized",
    /// The key may not do this to this thing.
    NoPermission = "UnauthorizedOperation.NoPermission",
    /// Permission could not be determined.
    UnauthorizedUnknown = "UnauthorizedOperation.Unknown",
    /// The account has no domain.
    DomainEmpty = "UnauthorizedOperation.DomainEmpty",
    /// A part of the service failed.
    BackendError = "InternalError.BackendError",
    /// The configuration of domains could not be read.
    DomainConfig = "InternalError.DomainConfig",
    /// The quota could not be determined.
    QuotaSystem = "InternalError.QuotaSystem",
    /// The database failed.
    DbError = "InternalError.DBError",
    /// The service failed.
    SystemError = "InternalError.SystemError",
    /// The zone is switched off already.
    ZoneIsAlreadyPaused = "OperationDenied.ErrZoneIsAlreadyPaused",
    /// The zone is not active.
    ZoneNotActive = "OperationDenied.ZoneNotActive",
    /// The zone cannot be deleted while a domain of it is online.
    DeleteZonePreCheckFailed = "OperationDenied.DeleteZonePreCheckFailed",
    /// The zone's name is taken.
    ZoneNameInUse = "ResourceInUse.Cname",
    /// The domain exists already.
    DomainAlreadyExists = "ResourceInUse.AlreadyExistsAsAnAccelerationDomain",
    /// There is no such domain in the zone.
    DomainUnavailable = "ResourceUnavailable.DomainNotFound",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal as the client sees it: a code and a sentence that says what was wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// What kind of refusal (`Response.Error.Code`).
    pub code: ErrorCode,
    /// For people (`Response.Error.Message`); never empty, never internal detail.
    pub message: String,
}

impl ApiError {
    /// A refusal with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The first `CLIPPED_CHARS` characters of what somebody sent, for quoting in a message.
pub(crate) fn clipped(text: &str) -> String {
    const CLIPPED_CHARS: usize = 64;
    match text.char_indices().nth(CLIPPED_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_text_and_is_found_by_it() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            assert!(!code.doc().is_empty() && !code.doc().starts_with(' '));
        }
        assert_eq!(ErrorCode::parse("InvalidParameter.Unheard"), None);
    }
}
