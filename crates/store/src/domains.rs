//! Acceleration domains: the hosts of a zone and the origins behind them.

use crate::database::{Row, Session, commit};
use crate::log::{self, parse_host, parse_zone};
use crate::snapshot::bump_version;
use crate::zones::{existing_zone, other_zones};
use crate::{ConfigError, Store, StoreError, caching, to_json};
use purge::{Entry, Method, Scope};
use zone::{HostName, OriginProtocol, ZoneId};

/// How many domains a zone may have.
pub const DOMAINS_PER_ZONE_MAX: usize = 1000;

/// Whether edges speak IPv6 for a domain (API field `IPv6Status`). Kept for the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Status {
    /// As the zone does.
    Follow,
    /// Yes.
    On,
    /// No.
    Off,
}

impl Ipv6Status {
    const EVERY: [Self; 3] = [Self::Follow, Self::On, Self::Off];

    /// The status as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// The status the API writes as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|status| status.as_str() == text)
    }
}

/// Where a domain's content comes from (API structure `OriginInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRecord {
    /// IPv4 or IPv6 address, or a name.
    pub address: HostName,
    /// Another one for when the first does not answer.
    pub backup: Option<HostName>,
    /// The `Host` header sent to the origin; `None` for the domain's own name.
    pub host_header: Option<String>,
    /// Whether requests to the origin are signed. Kept for the API.
    pub private_access: bool,
    /// Names and values for that signing. Kept for the API.
    pub private_parameters: Vec<(String, String)>,
}

/// A domain as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainRecord {
    /// The zone it lies in.
    pub zone: ZoneId,
    /// The name clients ask for.
    pub name: HostName,
    /// Whether it is served.
    pub online: bool,
    /// Where its content comes from.
    pub origin: OriginRecord,
    /// Which protocol requests to the origin use.
    pub protocol: OriginProtocol,
    /// The origin's port for plain HTTP.
    pub http_port: u16,
    /// The origin's port for HTTPS.
    pub https_port: u16,
    /// Whether edges speak IPv6 for it.
    pub ipv6: Ipv6Status,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was last changed, likewise.
    pub modified_ms: i64,
}

/// What to change of a domain; `None` leaves a part as it is.
#[derive(Clone, Debug, Default)]
pub struct DomainChange {
    /// Where its content comes from.
    pub origin: Option<OriginRecord>,
    /// Which protocol requests to the origin use.
    pub protocol: Option<OriginProtocol>,
    /// The origin's port for plain HTTP.
    pub http_port: Option<u16>,
    /// The origin's port for HTTPS.
    pub https_port: Option<u16>,
    /// Whether edges speak IPv6 for it.
    pub ipv6: Option<Ipv6Status>,
}

/// How private parameters lie in their column.
type ParametersColumn = Vec<(String, String)>;

impl Store {
    /// Makes a domain. `created_ms` and `modified_ms` are taken from the record.
    pub async fn create_domain(&self, domain: DomainRecord) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        let zone = existing_zone(&mut tx, &domain.zone).await?;
        if !domain.name.is_within(&zone.name) {
            return Err(ConfigError::DomainOutsideZone { domain: domain.name, zone_name: zone.name });
        }
        let row = tx
            .query(
                "SELECT (SELECT count(*) FROM domains WHERE zone_id = $1), EXISTS (SELECT 1 FROM \
             domains WHERE name = $2)",
            )
            .bind(domain.zone.as_str())
            .bind(domain.name.as_str())
            .one()
            .await?;
        let (count, taken): (i64, bool) = (row.get(0)?, row.get(1)?);
        if taken {
            return Err(ConfigError::DomainExists(domain.name));
        }
        if usize::try_from(count).is_ok_and(|count| count >= DOMAINS_PER_ZONE_MAX) {
            return Err(ConfigError::TooMany { what: "domains in the zone", limit: DOMAINS_PER_ZONE_MAX });
        }
        write_domain(&mut tx, &domain).await?;
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }

    /// A zone's domains, by name.
    pub async fn domains(&self, zone: &ZoneId) -> Result<Vec<DomainRecord>, ConfigError> {
        let mut tx = self.read().await?;
        existing_zone(&mut tx, zone).await?;
        let rows = tx
            .query("SELECT * FROM domains WHERE zone_id = $1 ORDER BY name")
            .bind(zone.as_str())
            .all()
            .await?;
        Ok(rows.iter().map(domain_of_row).collect::<Result<_, _>>()?)
    }

    /// Changes a domain.
    pub async fn modify_domain(
        &self,
        zone: &ZoneId,
        name: &HostName,
        change: DomainChange,
        now_ms: i64,
    ) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        existing_zone(&mut tx, zone).await?;
        let old = existing_domain(&mut tx, zone, name).await?;
        let new = DomainRecord {
            origin: change.origin.unwrap_or(old.origin),
            protocol: change.protocol.unwrap_or(old.protocol),
            http_port: change.http_port.unwrap_or(old.http_port),
            https_port: change.https_port.unwrap_or(old.https_port),
            ipv6: change.ipv6.unwrap_or(old.ipv6),
            modified_ms: now_ms,
            ..old
        };
        write_domain(&mut tx, &new).await?;
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }

    /// Switches domains of a zone on or off, all or none of them.
    pub async fn set_domains_online(
        &self,
        zone: &ZoneId,
        names: &[HostName],
        online: bool,
        now_ms: i64,
    ) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        existing_zone(&mut tx, zone).await?;
        for name in names {
            let old = existing_domain(&mut tx, zone, name).await?;
            write_domain(&mut tx, &DomainRecord { online, modified_ms: now_ms, ..old }).await?;
        }
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }

    /// Deletes domains of a zone with their content, all or none of them.
    pub async fn delete_domains(
        &self,
        zone: &ZoneId,
        names: &[HostName],
        now_ms: i64,
    ) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        existing_zone(&mut tx, zone).await?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            existing_domain(&mut tx, zone, name).await?;
            tx.query("DELETE FROM domains WHERE name = $1").bind(name.as_str()).execute().await?;
            let scope = Scope::Host(name.clone());
            entries.push(Entry { zone: zone.clone(), scope, method: Method::Delete });
        }
        // What was cached for a host must not be found when it is made anew, perhaps for another origin.
        log::append(&mut tx, &log::without_job(&entries), now_ms).await?;
        // It may be made anew in another zone whose name covers it.
        let mut others = other_zones(&mut tx, zone).await?.into_iter();
        if others.any(|(_, other)| names.iter().any(|name| name.is_within(&other))) {
            caching::renew_keys(&mut tx, zone, now_ms).await?;
        }
        bump_version(&mut tx).await?;
        Ok(commit(tx).await?)
    }
}

async fn write_domain(db: &mut Session, domain: &DomainRecord) -> Result<(), StoreError> {
    let parameters: &ParametersColumn = &domain.origin.private_parameters;
    db.query(
        "INSERT INTO domains (name, zone_id, online, origin, backup_origin, host_header, \
             private_access, private_parameters, protocol, http_port, https_port, ipv6, \
             created_ms, modified_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
             $12, $13, $14) ON CONFLICT (name) DO UPDATE SET online = excluded.online, origin = \
             excluded.origin, backup_origin = excluded.backup_origin, host_header = \
             excluded.host_header, private_access = excluded.private_access, private_parameters \
             = excluded.private_parameters, protocol = excluded.protocol, http_port = \
             excluded.http_port, https_port = excluded.https_port, ipv6 = excluded.ipv6, \
             modified_ms = excluded.modified_ms",
    )
    .bind(domain.name.as_str())
    .bind(domain.zone.as_str())
    .bind(domain.online)
    .bind(domain.origin.address.as_str())
    .bind(domain.origin.backup.as_ref().map(HostName::as_str))
    .bind(domain.origin.host_header.as_deref())
    .bind(domain.origin.private_access)
    .bind(to_json(parameters)?)
    .bind(protocol_column(domain.protocol))
    .bind(domain.http_port)
    .bind(domain.https_port)
    .bind(domain.ipv6.as_str())
    .bind(domain.created_ms)
    .bind(domain.modified_ms)
    .execute()
    .await?;
    Ok(())
}

async fn existing_domain(
    db: &mut Session,
    zone: &ZoneId,
    name: &HostName,
) -> Result<DomainRecord, ConfigError> {
    let row = db
        .query("SELECT * FROM domains WHERE zone_id = $1 AND name = $2")
        .bind(zone.as_str())
        .bind(name.as_str())
        .optional()
        .await?;
    match row {
        Some(row) => Ok(domain_of_row(&row)?),
        None => Err(ConfigError::DomainNotFound(name.clone())),
    }
}

pub(crate) fn domain_of_row(row: &Row) -> Result<DomainRecord, StoreError> {
    let protocol: &str = row.get("protocol")?;
    let ipv6: &str = row.get("ipv6")?;
    let parameters: &str = row.get("private_parameters")?;
    let private_parameters: ParametersColumn = serde_json::from_str(parameters)
        .map_err(|_| StoreError::corrupt("list of parameters", parameters))?;
    let backup: Option<&str> = row.get("backup_origin")?;
    Ok(DomainRecord {
        zone: parse_zone(row.get("zone_id")?)?,
        name: parse_host(row.get("name")?)?,
        online: row.get("online")?,
        origin: OriginRecord {
            address: parse_host(row.get("origin")?)?,
            backup: backup.map(parse_host).transpose()?,
            host_header: row.get("host_header")?,
            private_access: row.get("private_access")?,
            private_parameters,
        },
        protocol: protocol_of_column(protocol)?,
        http_port: row.number("http_port")?,
        https_port: row.number("https_port")?,
        ipv6: Ipv6Status::parse(ipv6).ok_or_else(|| StoreError::corrupt("IPv6 status", ipv6))?,
        created_ms: row.get("created_ms")?,
        modified_ms: row.get("modified_ms")?,
    })
}

fn protocol_column(protocol: OriginProtocol) -> &'static str {
    match protocol {
        OriginProtocol::Follow => "FOLLOW",
        OriginProtocol::Http => "HTTP",
        OriginProtocol::Https => "HTTPS",
    }
}

fn protocol_of_column(text: &str) -> Result<OriginProtocol, StoreError> {
    match text {
        "FOLLOW" => Ok(OriginProtocol::Follow),
        "HTTP" => Ok(OriginProtocol::Http),
        "HTTPS" => Ok(OriginProtocol::Https),
        _ => Err(StoreError::corrupt("origin protocol", text)),
    }
}
