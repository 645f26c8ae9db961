//! The domain of a run: made before, deleted after.

use std::net::SocketAddr;

use cli::{Client, Failure};
use teo::edgeone::{
    AdvancedFilter, CreateAccelerationDomainRequest, DeleteAccelerationDomainsRequest, DescribeZonesRequest,
    Direction, DomainSwitch, Ipv6Status, ModifyAccelerationDomainStatusesRequest, OriginInfo, OriginProtocol,
    OriginType, ZoneOrder,
};

/// Where a run purges.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) zone_id: String,
    pub(crate) host: String,
    /// Whether it was made for this run.
    is_own: bool,
}

impl Site {
    /// Finds the zone, and makes a domain in it unless one is given.
    pub(crate) fn prepare(
        zone: Option<&str>,
        host: Option<&str>,
        origin: SocketAddr,
        run: u64,
        client: &Client<'_>,
    ) -> Result<Self, Failure> {
        let zone_id = cli::find_zone_id(zone, client)?;
        if let Some(host) = host {
            return Ok(Self { zone_id, host: host.to_ascii_lowercase(), is_own: false });
        }
        let host = format!("verify-{:08x}.{}", run >> 32, zone_name(&zone_id, client)?);
        client.call(&CreateAccelerationDomainRequest {
            zone_id: zone_id.clone(),
            domain_name: host.clone(),
            origin_info: origin_info(origin),
            origin_protocol: OriginProtocol::Http,
            http_origin_port: i64::from(origin.port()),
            https_origin_port: 443,
            ipv6_status: Ipv6Status::Follow,
            shared_cname: None,
        })?;
        Ok(Self { zone_id, host, is_own: true })
    }

    /// Deletes the domain again, if it was made.
    pub(crate) fn remove(&self, client: &Client<'_>) -> Result<(), Failure> {
        if !self.is_own {
            return Ok(());
        }
        let (zone_id, domain_names) = (self.zone_id.clone(), vec![self.host.clone()]);
        client.call(&ModifyAccelerationDomainStatusesRequest {
            zone_id: zone_id.clone(),
            domain_names: domain_names.clone(),
            status: DomainSwitch::Offline,
            force: false,
        })?;
        client.call(&DeleteAccelerationDomainsRequest { zone_id, domain_names, force: false })?;
        Ok(())
    }
}

fn zone_name(zone_id: &str, client: &Client<'_>) -> Result<String, Failure> {
    let filter = AdvancedFilter { name: "zone-id".to_owned(), values: vec![zone_id.to_owned()], fuzzy: None };
    let found = client.call(&DescribeZonesRequest {
        offset: 0,
        limit: 1,
        filters: vec![filter],
        order: ZoneOrder::ZoneName,
        direction: Direction::Asc,
    })?;
    let zone = found.answer.zones.into_iter().next();
    zone.map(|zone| zone.zone_name).ok_or_else(|| Failure::Usage(format!("there is no zone {zone_id}")))
}

fn origin_info(origin: SocketAddr) -> OriginInfo {
    OriginInfo {
        origin_type: OriginType::IpDomain,
        origin: origin.ip().to_string(),
        backup_origin: None,
        private_access: None,
        private_parameters: None,
        host_header: None,
        vod_origin_scope: None,
        vod_bucket_id: None,
        vodeo_distribution_range: None,
        vodeo_bucket_id: None,
        vodeo_sub_app_id: None,
    }
}
