//! From the errors of our own parts to the API's codes, each in one exhaustive match.
//!
//! What a client reads never holds internal detail; that goes to the log, with every source in its chain.

use crate::recorder::RecorderError;
use purge::PlanError;
use std::error::Error;
use store::{ConfigError, EdgeError, KeyError, RecordError, StoreError};
use teo::{ApiError, ErrorCode};
use tracing::error;

/// A failure of the store.
pub(super) fn of_store(failure: StoreError) -> ApiError {
    error!(error = %chain(&failure), "the store failed");
    match failure {
        StoreError::Database(_) | StoreError::Corrupt { .. } => {
            ApiError::new(ErrorCode::DbError, "the database failed; the server's log says how")
        }
        StoreError::Away(_) => ApiError::new(
            ErrorCode::DbError,
            "the database is away; nothing was changed: try again in some seconds",
        ),
        StoreError::Unconfirmed(_) => ApiError::new(
            ErrorCode::DbError,
            "the database did not confirm the change: it may or may not have been made",
        ),
        StoreError::NoRandomness => ApiError::new(ErrorCode::SystemError, "the server has no random numbers"),
    }
}

/// A change of zones or domains that was not made.
pub(super) fn of_config(refusal: ConfigError) -> ApiError {
    let code = match refusal {
        ConfigError::ZoneNotFound(_) => ErrorCode::ZoneNotFound,
        ConfigError::ZoneNameTaken(_) => ErrorCode::ZoneNameInUse,
        ConfigError::DomainOnline(_) => ErrorCode::DeleteZonePreCheckFailed,
        ConfigError::DomainExists(_) => ErrorCode::DomainAlreadyExists,
        ConfigError::DomainNotFound(_) => ErrorCode::DomainUnavailable,
        ConfigError::DomainOutsideZone { .. } => ErrorCode::DomainNotMatchZone,
        ConfigError::TooMany { .. } | ConfigError::Caching(_) => ErrorCode::LimitExceeded,
        ConfigError::Store(failure) => return of_store(failure),
    };
    ApiError::new(code, refusal.to_string())
}

/// A key that was not made, found or changed.
pub(super) fn of_key(refusal: KeyError) -> ApiError {
    let code = match refusal {
        KeyError::NotFound(_) => ErrorCode::ResourceNotFound,
        KeyError::LastEnabled(_) | KeyError::Exists(_) => ErrorCode::ResourceInUse,
        KeyError::Malformed => ErrorCode::InvalidParameterValue,
        KeyError::TooMany => ErrorCode::LimitExceeded,
        KeyError::Store(failure) => return of_store(failure),
    };
    ApiError::new(code, refusal.to_string())
}

/// An edge or a join token that was not made, found or changed.
pub(super) fn of_edge(refusal: EdgeError) -> ApiError {
    let code = match refusal {
        EdgeError::EdgeNotFound(_) | EdgeError::TokenNotFound(_) => ErrorCode::ResourceNotFound,
        EdgeError::TooMany { .. } => ErrorCode::LimitExceeded,
        EdgeError::Store(failure) => return of_store(failure),
    };
    ApiError::new(code, refusal.to_string())
}

/// A purge that becomes nothing.
pub(super) fn of_plan(refusal: &PlanError) -> ApiError {
    let code = match refusal {
        PlanError::NoTargets(_) | PlanError::Malformed { .. } => ErrorCode::InvalidTarget,
        PlanError::TooLong { .. } => ErrorCode::LengthExceedsLimit,
        PlanError::AllHostsForeign { .. } => ErrorCode::DomainNotFound,
        PlanError::AllNeedsOneZone | PlanError::TagNeedsZone => ErrorCode::InvalidParameter,
        PlanError::TooManyEntries(_) => ErrorCode::BatchQuota,
    };
    ApiError::new(code, refusal.to_string())
}

/// A purge that was not recorded.
pub(super) fn of_recorder(refusal: RecorderError) -> ApiError {
    let refusal = match refusal {
        RecorderError::Busy => {
            let text = "too many purges wait to be recorded; try again in a second";
            return ApiError::new(ErrorCode::ServiceUnavailable, text);
        }
        RecorderError::Stopped => {
            let text = "the server is stopping; the purge may or may not have been recorded";
            return ApiError::new(ErrorCode::ServiceUnavailable, text);
        }
        RecorderError::Record(refusal) => refusal,
    };
    of_record(refusal)
}

/// A purge or prefetch that the store did not record.
pub(super) fn of_record(refusal: RecordError) -> ApiError {
    match refusal {
        RecordError::Nothing => ApiError::new(ErrorCode::TaskNotGenerated, refusal.to_string()),
        // A quota of 0 is how an administrator switches a type off; there is no other call that would fit in it.
        RecordError::QuotaBatch { ref zone, kind, limit: 0, .. }
        | RecordError::QuotaDaily { ref zone, kind, limit: 0, .. } => ApiError::new(
            ErrorCode::PackNotAllow,
            format!("{} is switched off in zone {zone}: its quota is 0", kind.as_str()),
        ),
        RecordError::QuotaBatch { .. } => ApiError::new(ErrorCode::BatchQuota, refusal.to_string()),
        RecordError::QuotaDaily { .. } => ApiError::new(ErrorCode::DailyQuota, refusal.to_string()),
        RecordError::ZoneNotFound(_) => ApiError::new(ErrorCode::ZoneNotFound, refusal.to_string()),
        RecordError::ConfigChanged => ApiError::new(
            ErrorCode::ServiceUnavailable,
            "the configuration of zones changes all the time; try again in a second",
        ),
        RecordError::Refused(ref failure) => {
            error!(error = %chain(failure), "a job was not recorded");
            let text = match **failure {
                StoreError::Away(_) => {
                    "the database is away; the job was not recorded: try again in some seconds"
                }
                _ => "the database failed; the job was not recorded",
            };
            ApiError::new(ErrorCode::DbError, text)
        }
        RecordError::Unconfirmed(ref failure) => {
            error!(error = %chain(failure), "a job was not confirmed");
            ApiError::new(
                ErrorCode::DbError,
                "the database did not confirm the job: it may or may not have been recorded; send it again",
            )
        }
    }
}

/// A parameter with a value that is not allowed.
pub(super) fn value(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameterValue, text)
}

/// An error with all its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
