//! Zones: creating, changing, pausing, deleting and listing them.

use crate::database::{Row, Session, commit};
use crate::log::{parse_host, parse_zone};
use crate::snapshot::bump_version;
use crate::{ConfigError, Store, StoreError, caching, prefetch, random, to_json};
use zone::{HostName, ZoneId};

/// How many zones there may be.
pub const ZONES_MAX: usize = 10_000;

/// Where a zone is to be served (API field `Area`). Kept for the API; every edge serves every zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Everywhere.
    Global,
    /// The Chinese mainland.
    Mainland,
    /// Everywhere but the Chinese mainland.
    Overseas,
}

impl Area {
    const EVERY: [Self; 3] = [Self::Global, Self::Mainland, Self::Overseas];

    /// The area as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Mainland => "mainland",
            Self::Overseas => "overseas",
        }
    }

    /// The area the API writes as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|area| area.as_str() == text)
    }
}

/// A label an operator gave a zone (API structure `Tag`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A zone to make.
#[derive(Clone, Debug)]
pub struct NewZone {
    /// The name its domains lie under.
    pub name: HostName,
    /// Another name for it, or empty.
    pub alias: String,
    /// Where it is to be served.
    pub area: Area,
    /// Its labels.
    pub tags: Vec<Tag>,
}

/// What to change of a zone; `None` leaves a part as it is.
#[derive(Clone, Debug, Default)]
pub struct ZoneChange {
    /// Its name; its domains must lie under the new one.
    pub name: Option<HostName>,
    /// Its alias.
    pub alias: Option<String>,
    /// Its area.
    pub area: Option<Area>,
}

/// A zone as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRecord {
    /// Its id.
    pub id: ZoneId,
    /// The name its domains lie under.
    pub name: HostName,
    /// Another name for it, or empty.
    pub alias: String,
    /// Where it is to be served.
    pub area: Area,
    /// Switched off.
    pub paused: bool,
    /// Its labels.
    pub tags: Vec<Tag>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was last changed, likewise.
    pub modified_ms: i64,
}

/// How tags lie in their column.
#[derive(serde::Serialize, serde::Deserialize)]
struct TagColumn {
    key: String,
    value: String,
}

impl Store {
    /// Makes a zone and returns its id.
    pub async fn create_zone(&self, zone: NewZone, now_ms: i64) -> Result<ZoneId, ConfigError> {
        let mut tx = self.write().await?;
        refuse_taken_name(&mut tx, &zone.name, None).await?;
        let count: i64 = tx.query("SELECT count(*) FROM zones").scalar().await?;
        if usize::try_from(count).is_ok_and(|count| count >= ZONES_MAX) {
            return Err(ConfigError::TooMany { what: "zones", limit: ZONES_MAX });
        }
        let id = ZoneId::from_random(random()?);
        let tags: Vec<TagColumn> =
            zone.tags.into_iter().map(|tag| TagColumn { key: tag.key, value: tag.value }).collect();
        tx.query(
            "INSERT INTO zones (zone_id, name, alias, area, paused, tags, created_ms, \
             modified_ms) VALUES ($1, $2, $3, $4, FALSE, $5, $6, $6)",
        )
        .bind(id.as_str())
        .bind(zone.name.as_str())
        .bind(zone.alias)
        .bind(zone.area.as_str())
        .bind(to_json(&tags)?)
        .bind(now_ms)
        .execute()
        .await?;
        renew_keys_around(&mut tx, &id, &zone.name, now_ms).await?;
        bump_version(&mut tx).await?;
        commit(tx).await?;
        Ok(id)
    }

    /// Every zone, in the order in which they were made.
    pub async fn zones(&self) -> Result<Vec<ZoneRecord>, StoreError> {
        let mut tx = self.read().await?;
        let rows = tx.query("SELECT * FROM zones ORDER BY created_ms, zone_id").all().await?;
        rows.iter().map(zone_of_row).collect()
    }

    /// One zone; `None` when there is none of this id.
    pub async fn zone(&self, id: &ZoneId) -> Result<Option<ZoneRecord>, StoreError> {
        read_zone(&mut self.glance().await?, id).await
    }

    /// Changes a zone.
    pub async fn modify_zone(&self, id: &ZoneId, change: ZoneChange, now_ms: i64) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        let zone = existing_zone(&mut tx, id).await?;
        let name = change.name.unwrap_or_else(|| zone.name.clone());
        refuse_taken_name(&mut tx, &name, Some(id)).await?;
        let domains: Vec<String> =
            tx.query("SELECT name FROM domains WHERE zone_id = $1").bind(id.as_str()).scalars().await?;
        for domain in &domains {
            let domain = parse_host(domain)?;
            if !domain.is_within(&name) {
                return Err(ConfigError::DomainOutsideZone { domain, zone_name: name });
            }
        }
        tx.query(
            "UPDATE zones SET name = $1, alias = $2, area = $3, modified_ms = $4 WHERE zone_id \
             = $5",
        )
        .bind(name.as_str())
        .bind(change.alias.unwrap_or(zone.alias))
        .bind(change.area.unwrap_or(zone.area).as_str())
        .bind(now_ms)
        .bind(id.as_str())
        .execute()
        .await?;
        if name != zone.name {
            renew_keys_around(&mut tx, id, &name, now_ms).await?;
        }
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }

    /// Switches a zone off or on again.
    pub async fn set_zone_paused(&self, id: &ZoneId, paused: bool, now_ms: i64) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        existing_zone(&mut tx, id).await?;
        tx.query("UPDATE zones SET paused = $1, modified_ms = $2 WHERE zone_id = $3")
            .bind(paused)
            .bind(now_ms)
            .bind(id.as_str())
            .execute()
            .await?;
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }

    /// Deletes a zone without online domains, with its domains, quotas and content; tasks of it that are still
    /// processing fail.
    pub async fn delete_zone(&self, id: &ZoneId, now_ms: i64) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        existing_zone(&mut tx, id).await?;
        let online: Option<String> = tx
            .query("SELECT name FROM domains WHERE zone_id = $1 AND online ORDER BY name LIMIT 1")
            .bind(id.as_str())
            .optional_scalar()
            .await?;
        if let Some(name) = online {
            return Err(ConfigError::DomainOnline(parse_host(&name)?));
        }
        tx.query(
            "UPDATE tasks SET own_status = 'failed', own_updated_ms = $1, fail_message = 'the \
             zone was deleted meanwhile' WHERE zone_id = $2 AND own_status IS NULL AND job_id \
             IN (SELECT job_id FROM jobs WHERE status = 'processing')",
        )
        .bind(now_ms)
        .bind(id.as_str())
        .execute()
        .await?;
        prefetch::fail_of_zone(&mut tx, id, now_ms).await?;
        // The same host may come back in another zone: no edge may take it for this one's by then.
        caching::append_keys(&mut tx, id, now_ms).await?;
        tx.query("DELETE FROM zones WHERE zone_id = $1").bind(id.as_str()).execute().await?;
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }
}

/// A zone gets this name: hosts that were in zones around it or within it may become its own from now on, also such as were
/// deleted there before.
async fn renew_keys_around(
    tx: &mut Session,
    id: &ZoneId,
    name: &HostName,
    now_ms: i64,
) -> Result<(), ConfigError> {
    for (other, other_name) in other_zones(tx, id).await? {
        if other_name.is_within(name) || name.is_within(&other_name) {
            caching::renew_keys(tx, &other, now_ms).await?;
        }
    }
    Ok(())
}

/// Ids and names of all zones but one.
pub(crate) async fn other_zones(
    db: &mut Session,
    except: &ZoneId,
) -> Result<Vec<(ZoneId, HostName)>, StoreError> {
    let rows =
        db.query("SELECT zone_id, name FROM zones WHERE zone_id <> $1").bind(except.as_str()).all().await?;
    rows.iter().map(|row| Ok((parse_zone(row.get("zone_id")?)?, parse_host(row.get("name")?)?))).collect()
}

async fn refuse_taken_name(
    db: &mut Session,
    name: &HostName,
    except: Option<&ZoneId>,
) -> Result<(), ConfigError> {
    let taken: bool = db
        .query("SELECT EXISTS (SELECT 1 FROM zones WHERE name = $1 AND zone_id <> $2)")
        .bind(name.as_str())
        .bind(except.map_or("", ZoneId::as_str))
        .scalar()
        .await?;
    if taken { Err(ConfigError::ZoneNameTaken(name.clone())) } else { Ok(()) }
}

pub(crate) async fn existing_zone(db: &mut Session, id: &ZoneId) -> Result<ZoneRecord, ConfigError> {
    read_zone(db, id).await?.ok_or_else(|| ConfigError::ZoneNotFound(id.clone()))
}

async fn read_zone(db: &mut Session, id: &ZoneId) -> Result<Option<ZoneRecord>, StoreError> {
    let row = db.query("SELECT * FROM zones WHERE zone_id = $1").bind(id.as_str()).optional().await?;
    row.as_ref().map(zone_of_row).transpose()
}

fn zone_of_row(row: &Row) -> Result<ZoneRecord, StoreError> {
    let area: &str = row.get("area")?;
    let tags: &str = row.get("tags")?;
    let columns: Vec<TagColumn> =
        serde_json::from_str(tags).map_err(|_| StoreError::corrupt("list of tags", tags))?;
    Ok(ZoneRecord {
        id: parse_zone(row.get("zone_id")?)?,
        name: parse_host(row.get("name")?)?,
        alias: row.get("alias")?,
        area: Area::parse(area).ok_or_else(|| StoreError::corrupt("area", area))?,
        paused: row.get("paused")?,
        tags: columns.into_iter().map(|column| Tag { key: column.key, value: column.value }).collect(),
        created_ms: row.get("created_ms")?,
        modified_ms: row.get("modified_ms")?,
    })
}
