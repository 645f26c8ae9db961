//! The control plane's memory: zones and domains, jobs and their tasks, quotas, API keys, members, and the purge log.
//!
//! Owns the database; nothing else writes it. Invariant: a job's tasks, its entries with their [`purge::PurgeSeq`]s
//! and the quota it spent are one transaction, and seqs are consecutive in commit order. Knows no HTTP, no edges and
//! no clock: every "now" comes in as milliseconds since the Unix epoch.

mod caching;
mod database;
mod domains;
mod edges;
mod error;
mod heard;
mod jobs;
mod keys;
mod lease;
mod log;
mod master_key;
mod members;
mod open;
mod prefetch;
mod quota;
mod record;
mod snapshot;
mod zones;

pub use caching::CACHE_CONFIGS_BYTES_MAX;
pub use domains::{DOMAINS_PER_ZONE_MAX, DomainChange, DomainRecord, Ipv6Status, OriginRecord};
pub use edges::{
    EDGE_KEYS_MAX, EDGE_SECRET_BYTES, EdgeError, JOIN_TOKENS_MAX, JoinTokenInfo, KnownEdge, StoredEdgeKey,
};
pub use error::{ConfigError, StoreError};
pub use heard::{Changes, Told};
pub use jobs::{FORGET_JOBS_MAX, Job, PendingJob, TargetFilter, TaskPage, TaskQuery, TaskRow};
pub use keys::{KEYS_MAX, KeyError, KeyInfo, SecretKey, StoredKey};
pub use lease::LeaseTime;
pub use log::{GrantBasis, LogHead, LogRange, TRIM_ENTRIES_MAX};
pub use master_key::{MASTER_KEY_BYTES, MasterKey, MasterKeyError};
pub use members::{Joined, MEMBERS_MAX, Member, MemberProcess, MemberState};
pub use open::{OpenError, Place, PostgresPlace, Store, StoreOptions};
pub use prefetch::{
    FORGET_PREFETCHES_MAX, PendingPrefetch, PrefetchJob, PrefetchOutcome, PrefetchPage, PrefetchQuery,
    PrefetchRecording, PrefetchRow, PrefetchTold,
};
pub use quota::{QUOTA_DAY_OFFSET_SECS, QuotaKind, QuotaLimits, QuotaLine};
pub use record::{RecordError, Recorded, Recording};
pub use snapshot::ConfigSnapshot;
pub use zones::{Area, NewZone, Tag, ZONES_MAX, ZoneChange, ZoneRecord};

/// `N` random bytes of the operating system.
fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| StoreError::NoRandomness)?;
    Ok(bytes)
}

/// Texts that lie in one column.
fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(sqlx::Error::Encode(error.into())))
}
