//! What can go wrong between the store and its callers.

use zone::{HostName, ZoneId};

/// The database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("the database did not carry out a statement")]
    Database(#[source] sqlx::Error),
    /// The database could not be reached, went away, or did not answer in time. Nothing was changed.
    #[error("the database is away")]
    Away(#[source] sqlx::Error),
    /// The database confirmed no commit: it may or may not have happened.
    #[error("the database did not confirm a commit")]
    Unconfirmed(#[source] sqlx::Error),
    /// A stored value does not parse: the file was changed by something else.
    #[error("the database holds a {what} that does not parse: {text:?}")]
    Corrupt {
        /// What the value should have been.
        what: &'static str,
        /// The value, shortened.
        text: String,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl StoreError {
    pub(crate) fn corrupt(what: &'static str, text: impl AsRef<str>) -> Self {
        Self::Corrupt { what, text: text.as_ref().chars().take(80).collect() }
    }
}

/// Why a change of zones or domains was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No zone has this id.
    #[error("there is no zone {0}")]
    ZoneNotFound(ZoneId),
    /// Another zone has this name.
    #[error("there already is a zone named {0}")]
    ZoneNameTaken(HostName),
    /// The zone still serves this domain.
    #[error("domain {0} of the zone is online; switch it offline first")]
    DomainOnline(HostName),
    /// The domain exists already, in this zone or another.
    #[error("there already is a domain named {0}")]
    DomainExists(HostName),
    /// The zone has no domain of this name.
    #[error("the zone has no domain named {0}")]
    DomainNotFound(HostName),
    /// The domain does not lie under the zone's name.
    #[error("{domain} does not lie under the zone's name {zone_name}")]
    DomainOutsideZone {
        /// The domain.
        domain: HostName,
        /// The zone's name, the new one when it is being changed.
        zone_name: HostName,
    },
    /// There are as many zones or domains as allowed.
    #[error("there are {limit} {what} already; no more are allowed")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// The zone would have more cache settings and rules than allowed.
    #[error("{0}")]
    Caching(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}
