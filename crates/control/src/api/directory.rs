//! To whom a host belongs, and how its content is cached, by the newest configuration.

use super::{Api, refusal};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use store::ConfigSnapshot;
use teo::{ApiError, ErrorCode};
use zone::{CacheConfig, HostName, ZoneId};

/// Zones by id, name and domain, of one version of the configuration.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) version: u64,
    names: HashMap<ZoneId, HostName>,
    by_name: HashMap<HostName, ZoneId>,
    by_domain: HashMap<HostName, ZoneId>,
    /// Of zones for which something was decided.
    caching: HashMap<ZoneId, Arc<CacheConfig>>,
}

/// The newest [`Directory`] seen.
#[derive(Debug, Default)]
pub(super) struct Directories(RwLock<Arc<Directory>>);

impl Directory {
    fn new(snapshot: ConfigSnapshot) -> Self {
        let mut directory = Self { version: snapshot.version, ..Self::default() };
        for zone in snapshot.zones {
            directory.names.insert(zone.id.clone(), zone.name.clone());
            directory.by_name.insert(zone.name, zone.id.clone());
            if !zone.caching.config.is_default() {
                directory.caching.insert(zone.id.clone(), zone.caching.config);
            }
            for domain in zone.domains {
                directory.by_domain.insert(domain.name, zone.id.clone());
            }
        }
        directory
    }

    /// The zone that has this domain; else the one with the longest name that the host lies under.
    pub(super) fn zone_of(&self, host: &HostName) -> Option<ZoneId> {
        if let Some(zone) = self.by_domain.get(host) {
            return Some(zone.clone());
        }
        let mut rest = host.as_str();
        loop {
            if let Ok(name) = HostName::parse(rest)
                && let Some(zone) = self.by_name.get(&name)
            {
                return Some(zone.clone());
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// The cache settings of a zone.
    pub(super) fn caching_of(&self, id: &ZoneId) -> Arc<CacheConfig> {
        self.caching.get(id).cloned().unwrap_or_default()
    }

    /// The name of a zone; a refusal if there is none of this id.
    pub(super) fn zone_name(&self, id: &ZoneId) -> Result<HostName, ApiError> {
        self.names.get(id).cloned().ok_or_else(|| no_zone(id.as_str()))
    }
}

impl Api {
    /// The directory of the newest configuration.
    pub(super) async fn directory(&self) -> Result<Arc<Directory>, ApiError> {
        let version = self.parts.store.config_version().await.map_err(refusal::of_store)?;
        let known = Arc::clone(&self.directories.0.read());
        if known.version == version {
            return Ok(known);
        }
        let snapshot = self.parts.store.config_snapshot().await.map_err(refusal::of_store)?;
        let newer = Arc::new(Directory::new(snapshot));
        let mut slot = self.directories.0.write();
        if slot.version < newer.version {
            *slot = Arc::clone(&newer);
        }
        Ok(newer)
    }
}

/// Reads `ZoneId`; a malformed one is as unknown as any other.
pub(super) fn read_zone_id(text: &str) -> Result<ZoneId, ApiError> {
    ZoneId::parse(text).map_err(|_| no_zone(text))
}

fn no_zone(text: &str) -> ApiError {
    let shown: String = text.chars().take(64).collect();
    let text = format!("there is no zone \"{shown}\"; DescribeZones lists those there are");
    ApiError::new(ErrorCode::ZoneNotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_counts_before_the_longest_name() {
        let host = |text: &str| HostName::parse(text).unwrap();
        let id = |text: &str| ZoneId::parse(text).unwrap();
        let (outer, inner) = (id("zone-000000000000"), id("zone-111111111111"));
        let directory = Directory {
            by_name: [(host("a.test"), outer.clone()), (host("img.a.test"), inner.clone())].into(),
            by_domain: [(host("x.img.a.test"), outer.clone())].into(),
            ..Directory::default()
        };
        for (name, zone) in [
            ("a.test", Some(&outer)),
            ("www.a.test", Some(&outer)),
            ("img.a.test", Some(&inner)),
            ("y.z.img.a.test", Some(&inner)),
            ("x.img.a.test", Some(&outer)),
            ("ba.test", None),
            ("test", None),
            ("127.0.0.1", None),
            ("[::1]", None),
        ] {
            assert_eq!(directory.zone_of(&host(name)).as_ref(), zone, "{name}");
        }
    }
}
