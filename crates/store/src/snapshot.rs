//! The configuration as edges need it, all of it at one moment.

use crate::database::Session;
use crate::domains::{DomainRecord, domain_of_row};
use crate::log::{parse_host, parse_zone, read_head};
use crate::{Store, StoreError, caching};
use purge::PurgeSeq;
use std::collections::HashMap;
use zone::{Domain, Origin, Zone, ZoneId};

/// Every zone with its domains and cache settings, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSnapshot {
    /// Grows with every change of the configuration; at least 1.
    pub version: u64,
    /// The log's head at that moment: a deletion that this snapshot shows has its entry at or below it.
    pub head: PurgeSeq,
    /// The zones, in order of their ids.
    pub zones: Vec<Zone>,
}

impl Store {
    /// Reads the whole configuration.
    pub async fn config_snapshot(&self) -> Result<ConfigSnapshot, StoreError> {
        let mut tx = self.read().await?;
        let version = read_version(&mut tx).await?;
        let head = read_head(&mut tx).await?.head;
        let mut domains: HashMap<ZoneId, Vec<Domain>> = HashMap::new();
        for row in tx.query("SELECT * FROM domains ORDER BY name").all().await? {
            let record = domain_of_row(&row)?;
            domains.entry(record.zone.clone()).or_default().push(domain_of_record(record));
        }
        let mut caching = caching::read_all(&mut tx).await?;
        let rows = tx.query("SELECT zone_id, name, paused FROM zones ORDER BY zone_id").all().await?;
        let zones = rows
            .iter()
            .map(|row| {
                let id = parse_zone(row.get("zone_id")?)?;
                let domains = domains.remove(&id).unwrap_or_default();
                let caching = caching.remove(&id).unwrap_or_default();
                let (name, paused) = (parse_host(row.get("name")?)?, row.get("paused")?);
                Ok(Zone { id, name, paused, domains, caching })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(ConfigSnapshot { version, head, zones })
    }

    /// The version of the configuration, for whoever only wants to know whether it changed.
    pub async fn config_version(&self) -> Result<u64, StoreError> {
        read_version(&mut self.glance().await?).await
    }
}

pub(crate) async fn read_version(db: &mut Session) -> Result<u64, StoreError> {
    let version: i64 = db.query("SELECT config_version FROM log").scalar().await?;
    Ok(version.cast_unsigned())
}

/// Counts a change of the configuration, in the transaction that makes it.
pub(crate) async fn bump_version(db: &mut Session) -> Result<(), StoreError> {
    db.query("UPDATE log SET config_version = config_version + 1").execute().await?;
    Ok(())
}

fn domain_of_record(record: DomainRecord) -> Domain {
    let host_header = record.origin.host_header.unwrap_or_else(|| record.name.to_string());
    Domain {
        name: record.name,
        origin: Origin {
            address: record.origin.address,
            backup: record.origin.backup,
            protocol: record.protocol,
            http_port: record.http_port,
            https_port: record.https_port,
            host_header,
        },
        online: record.online,
    }
}
