//! Zones with their domains, and the table that finds them by host.

use crate::{CacheConfig, HostName, ZoneId};
use std::collections::HashMap;
use std::sync::Arc;

/// How an edge speaks to an origin (API field `OriginProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginProtocol {
    /// As the client spoke to the edge.
    Follow,
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// Where a domain's content comes from (API field `OriginInfo` and its neighbours).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// IPv4 or IPv6 address, or a name.
    pub address: HostName,
    /// Another one for when the first does not answer; the same protocol, ports and `Host` (API field `BackupOrigin`).
    pub backup: Option<HostName>,
    /// Which protocol requests to the origin use.
    pub protocol: OriginProtocol,
    /// Port for plain HTTP.
    pub http_port: u16,
    /// Port for HTTPS.
    pub https_port: u16,
    /// The `Host` header sent to the origin.
    pub host_header: String,
}

/// A host name that edges answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The name clients ask for.
    pub name: HostName,
    /// Where its content comes from.
    pub origin: Origin,
    /// Whether it is served (`DomainStatus` is `online`).
    pub online: bool,
}

/// A zone: the unit of rights, quotas and purges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// The domain name all its domains lie under.
    pub name: HostName,
    /// Switched off: its hosts are answered 503.
    pub paused: bool,
    /// What edges answer for.
    pub domains: Vec<Domain>,
    /// How content is to be cached.
    pub caching: ZoneCaching,
}

/// What is decided about caching in a zone, and since when its cache keys are made as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneCaching {
    /// What the operator decided.
    pub config: Arc<CacheConfig>,
    /// The version of the configuration that altered the keys last; 0 if none did. Keys of two versions never meet.
    pub keys_version: u64,
    /// The position in the purge log of the entry that went with that change; 0 if there is none.
    pub keys_seq: u64,
}

/// Every zone, found by host. Built whole from a snapshot of the configuration and never changed after.
#[derive(Debug, Default)]
pub struct ZoneTable {
    version: u64,
    by_host: HashMap<HostName, (Arc<Zone>, usize)>,
}

/// The domain that answers for a host, with its zone.
#[derive(Clone, Debug)]
pub struct Route {
    zone: Arc<Zone>,
    domain_index: usize,
}

/// Why a host is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteRefusal {
    /// No zone has a domain of that name.
    #[error("no zone serves this host; create an acceleration domain of this name")]
    UnknownHost,
    /// The zone is switched off (`ModifyZoneStatus`).
    #[error("the zone of this host is paused")]
    ZonePaused,
    /// The domain is switched off (`ModifyAccelerationDomainStatuses`).
    #[error("this host is offline")]
    DomainOffline,
}

impl ZoneTable {
    /// Builds the table of one snapshot. `version` grows with every change of the configuration.
    pub fn new(version: u64, zones: impl IntoIterator<Item = Zone>) -> Self {
        let mut by_host = HashMap::new();
        for zone in zones {
            let zone = Arc::new(zone);
            for (index, domain) in zone.domains.iter().enumerate() {
                by_host.insert(domain.name.clone(), (Arc::clone(&zone), index));
            }
        }
        Self { version, by_host }
    }

    /// Which snapshot this is; 0 is the empty table before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Finds the domain that answers for `host`.
    pub fn route(&self, host: &HostName) -> Result<Route, RouteRefusal> {
        let (zone, index) = self.by_host.get(host).ok_or(RouteRefusal::UnknownHost)?;
        if zone.paused {
            return Err(RouteRefusal::ZonePaused);
        }
        if !zone.domains[*index].online {
            return Err(RouteRefusal::DomainOffline);
        }
        Ok(Route { zone: Arc::clone(zone), domain_index: *index })
    }
}

impl Route {
    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.zone.domains[self.domain_index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(id: &str, name: &str, paused: bool, domains: &[(&str, bool)]) -> Zone {
        let host = |text: &str| HostName::parse(text).unwrap();
        let origin = Origin {
            address: host("127.0.0.1"),
            backup: None,
            protocol: OriginProtocol::Http,
            http_port: 80,
            https_port: 443,
            host_header: name.into(),
        };
        let domains = domains.iter().map(|(name, online)| Domain {
            name: host(name),
            origin: origin.clone(),
            online: *online,
        });
        let (id, name, caching) = (ZoneId::parse(id).unwrap(), host(name), ZoneCaching::default());
        Zone { id, name, paused, domains: domains.collect(), caching }
    }

    #[test]
    fn every_refusal_has_its_name() {
        let table = ZoneTable::new(
            7,
            [
                zone("zone-aaaaaaaaaaaa", "a.test", false, &[("www.a.test", true), ("off.a.test", false)]),
                zone("zone-bbbbbbbbbbbb", "b.test", true, &[("www.b.test", true)]),
            ],
        );
        let route = |host: &str| {
            table.route(&HostName::parse(host).unwrap()).map(|route| route.domain().name.to_string())
        };
        assert_eq!(table.version(), 7);
        assert_eq!(route("WWW.a.test:8080"), Ok("www.a.test".into()));
        assert_eq!(route("a.test"), Err(RouteRefusal::UnknownHost));
        assert_eq!(route("off.a.test"), Err(RouteRefusal::DomainOffline));
        assert_eq!(route("www.b.test"), Err(RouteRefusal::ZonePaused));
    }
}
