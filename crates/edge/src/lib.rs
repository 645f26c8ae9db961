//! The caching proxy and the follower of the purge log.
//!
//! A request goes through [`proxy`]: route, key, lookup, judge, then hit, or a fetch that others may share, admission
//! and the answer. [`follow`] applies the log to the ledger and renews the lease. The order in which a request looks
//! at the lease, its `seen`, objects, fetches under way and marks is the purge protocol's, and is kept in
//! [`proxy`] and [`flight`] only.
//!
//! Never touches the store, the API or its dialect.

mod access_log;
mod admin;
mod body;
mod clock;
mod config;
mod configuration;
mod counter;
mod disk;
mod fetch;
mod flight;
mod follow;
mod forwarded;
mod groups;
mod head;
mod intake;
mod interim;
mod kept_configuration;
mod lease;
mod listen;
mod metrics;
mod min_seq;
mod object;
mod origin;
mod orphans;
mod outcome;
mod prefetch;
mod proxy;
mod record;
mod respond;
mod routes;
mod shelf;
mod sites;
mod slice_admission;
mod slice_run;
mod slices;
mod state;
mod surroundings;
mod sweep;
mod tier;
mod upstream;
mod variants;

pub use access_log::{AccessLogConfig, AccessLogFormat};
pub use admin::{AdminConfig, LogLevel, SetLogLevel};
pub use clock::Clocks;
pub use config::{DiskConfig, EdgeConfig, EdgeConfigError, TagHeaders};
pub use counter::{Counter, NamedCounters, Times};
pub use disk::{
    DirectoryError, DirectoryListing, DiskCounts, DiskError, DiskUsage, ObjectFile, StoredFile, StoredSlices,
    Volume, list_directory,
};
pub use forwarded::ForwardedFields;
pub use httpcache::{OtherStatuses, Policy, SetCookie, Storing, WithoutFreshness};
pub use listen::{
    CertificateError, CertificateFiles, EdgeHandle, Embedded, Network, NetworkError, StartError, TlsSettings,
    start,
};
pub use origin::{OriginTlsError, OriginTrust};
pub use shelf::ObjectKey;
pub use state::Counters;
pub use surroundings::{Dial, Dialling, NoRandomness, Randomness, Stream, Surroundings};
pub use tier::{TierToken, TierTokenError};
pub use upstream::{Parent, ParentError, Tiers};
