//! The control plane's memory: zones and domains, jobs and their tasks, quotas, API keys, members, and the purge log.
//!
//! Owns the database; nothing else writes it. Invariant: a job's tasks, its entries with their [`purge::PurgeSeq`]s
//! and the quota it spent are one transaction, and seqs are consecutive in commit order. Knows no HTTP, no edges and
//! no clock: every "now" comes in as milliseconds since the Unix epoch.

mod caching;
mod domains;
mod error;
mod jobs;
mod keys;
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
pub use error::{ConfigError, StoreError};
pub use jobs::{FORGET_JOBS_MAX, Job, PendingJob, TargetFilter, TaskPage, TaskQuery, TaskRow};
pub use keys::{KEYS_MAX, KeyError, KeyInfo, SecretKey, StoredKey};
pub use log::{GrantBasis, LogHead, LogRange};
pub use master_key::{MASTER_KEY_BYTES, MasterKey, MasterKeyError};
pub use members::{Joined, MEMBERS_MAX, Member, MemberState, MemberTerms};
pub use open::{OpenError, Store, StoreOptions};
pub use prefetch::{
    FORGET_PREFETCHES_MAX, PendingPrefetch, PrefetchJob, PrefetchOutcome, PrefetchPage, PrefetchQuery,
    PrefetchRecording, PrefetchRow,
};
pub use quota::{QUOTA_DAY_OFFSET_SECS, QuotaKind, QuotaLimits, QuotaLine};
pub use record::{RecordError, Recorded, Recording};
pub use snapshot::ConfigSnapshot;
pub use zones::{Area, NewZone, Tag, ZONES_MAX, ZoneChange, ZoneRecord};
