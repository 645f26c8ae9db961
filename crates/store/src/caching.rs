//! What is decided about caching in each zone.
//!
//! A change that alters cache keys is an entry of the log too, in the same transaction: a `delete` of the zone that
//! carries the version of the configuration it goes with. So edges change their keys at one place of the log, and no
//! purge that was planned by the old keys comes after it, nor one by the new before. The same entry is written when a
//! host could pass from one zone to another: an edge that still takes it for the old zone's would not see purges of the new.

use crate::database::{Row, Session, commit};
use crate::log::{self, parse_zone, to_column};
use crate::snapshot::{bump_version, read_version};
use crate::zones::existing_zone;
use crate::{ConfigError, Store, StoreError};
use purge::{Entry, Method, Scope};
use std::collections::HashMap;
use std::sync::Arc;
use zone::{CacheConfig, ZoneCaching, ZoneId};

/// How many bytes the written forms of all zones' settings may have together: they travel to edges in one message.
pub const CACHE_CONFIGS_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// What is decided about caching in a zone.
    pub async fn cache_config(&self, zone: &ZoneId) -> Result<Arc<CacheConfig>, ConfigError> {
        let mut tx = self.read().await?;
        existing_zone(&mut tx, zone).await?;
        Ok(read(&mut tx, zone).await?.config)
    }

    /// Changes it: `change` makes the new one from the one there is, or says why not.
    pub async fn change_cache_config<E: From<ConfigError>>(
        &self,
        zone: &ZoneId,
        now_ms: i64,
        change: impl FnOnce(&CacheConfig) -> Result<CacheConfig, E>,
    ) -> Result<(), E> {
        let mut tx = self.write().await.map_err(ConfigError::from)?;
        existing_zone(&mut tx, zone).await?;
        let old = read(&mut tx, zone).await.map_err(ConfigError::from)?;
        let new = change(&old.config)?;
        if new == *old.config {
            return Ok(());
        }
        Ok(write(tx, zone, &old, &new, now_ms).await?)
    }
}

async fn write(
    mut tx: Session,
    zone: &ZoneId,
    old: &ZoneCaching,
    new: &CacheConfig,
    now_ms: i64,
) -> Result<(), ConfigError> {
    let document = new.to_document().map_err(|error| ConfigError::Caching(error.to_string()))?;
    let others: i64 = tx
        .query("SELECT coalesce(sum(length(document)), 0) FROM cache_configs WHERE zone_id <> $1")
        .bind(zone.as_str())
        .scalar()
        .await?;
    let total = usize::try_from(others).unwrap_or(usize::MAX).saturating_add(document.len());
    if total > CACHE_CONFIGS_BYTES_MAX {
        let limit = CACHE_CONFIGS_BYTES_MAX;
        return Err(ConfigError::TooMany { what: "bytes of cache settings in all zones", limit });
    }
    let keys = if old.config.keys_differ(new) {
        append_keys(&mut tx, zone, now_ms).await?
    } else {
        (old.keys_version, old.keys_seq)
    };
    keep(&mut tx, zone, document, keys).await?;
    bump_version(&mut tx).await?;
    Ok(commit(tx).await?)
}

/// Gives a zone new cache keys although its settings stay: a host may be another zone's from now on. As with settings, no
/// edge applies what comes later before it has the configuration of this transaction, and what was stored under the old
/// keys is found no more, also if the host comes back. The caller has yet to [`bump_version`], once.
pub(crate) async fn renew_keys(tx: &mut Session, zone: &ZoneId, now_ms: i64) -> Result<(), ConfigError> {
    let old = read(tx, zone).await?;
    let document = old.config.to_document().map_err(|error| ConfigError::Caching(error.to_string()))?;
    let keys = append_keys(tx, zone, now_ms).await?;
    Ok(keep(tx, zone, document, keys).await?)
}

/// Appends the entry at which edges change a zone's keys, to go with the configuration that this transaction makes.
/// Returns that version and the entry's seq.
pub(crate) async fn append_keys(
    tx: &mut Session,
    zone: &ZoneId,
    now_ms: i64,
) -> Result<(u64, u64), StoreError> {
    let config_version = read_version(tx).await? + 1;
    let entry = Entry { zone: zone.clone(), scope: Scope::Keys { config_version }, method: Method::Delete };
    let before = log::append(tx, &[(&entry, None)], now_ms).await?;
    Ok((config_version, before.next().number()))
}

async fn keep(tx: &mut Session, zone: &ZoneId, document: String, keys: (u64, u64)) -> Result<(), StoreError> {
    tx.query(
        "INSERT INTO cache_configs (zone_id, document, keys_version, keys_seq) VALUES ($1, \
             $2, $3, $4) ON CONFLICT (zone_id) DO UPDATE SET document = excluded.document, \
             keys_version = excluded.keys_version, keys_seq = excluded.keys_seq",
    )
    .bind(zone.as_str())
    .bind(document)
    .bind(to_column(keys.0))
    .bind(to_column(keys.1))
    .execute()
    .await?;
    Ok(())
}

async fn read(db: &mut Session, zone: &ZoneId) -> Result<ZoneCaching, StoreError> {
    let row =
        db.query("SELECT * FROM cache_configs WHERE zone_id = $1").bind(zone.as_str()).optional().await?;
    row.as_ref().map_or_else(|| Ok(ZoneCaching::default()), caching_of_row)
}

/// Of every zone for which something was decided.
pub(crate) async fn read_all(db: &mut Session) -> Result<HashMap<ZoneId, ZoneCaching>, StoreError> {
    let rows = db.query("SELECT * FROM cache_configs").all().await?;
    rows.iter().map(|row| Ok((parse_zone(row.get("zone_id")?)?, caching_of_row(row)?))).collect()
}

fn caching_of_row(row: &Row) -> Result<ZoneCaching, StoreError> {
    let document: &str = row.get("document")?;
    let config = CacheConfig::from_document(document)
        .map_err(|_| StoreError::corrupt("cache configuration", document))?;
    let (keys_version, keys_seq): (i64, i64) = (row.get("keys_version")?, row.get("keys_seq")?);
    Ok(ZoneCaching {
        config: Arc::new(config),
        keys_version: keys_version.cast_unsigned(),
        keys_seq: keys_seq.cast_unsigned(),
    })
}
