//! The operations on acceleration domains.

use super::directory::read_zone_id;
use super::filter::{self, Filter, Known};
use super::{Api, refusal, time_text};
use std::net::{IpAddr, Ipv6Addr};
use store::{DomainChange, DomainRecord, Ipv6Status, OriginRecord};
use teo::edgeone::{
    self as wire, AccelerationDomain, CreateAccelerationDomainRequest, CreateAccelerationDomainResponse,
    DeleteAccelerationDomainsRequest, DeleteAccelerationDomainsResponse, DescribeAccelerationDomainsRequest,
    DescribeAccelerationDomainsResponse, Direction, DomainOrder, DomainStatus, DomainSwitch,
    IdentificationStatus, Match, ModifyAccelerationDomainRequest, ModifyAccelerationDomainResponse,
    ModifyAccelerationDomainStatusesRequest, ModifyAccelerationDomainStatusesResponse, OriginDetail,
    OriginInfo, OriginType, PrivateParameter, Switch,
};
use teo::wire::EmptyList;
use teo::{ApiError, ErrorCode};
use tracing::info;
use zone::{HostName, OriginProtocol};

const FILTERS: [Known; 6] = [
    Known { name: "domain-name", several: true, fuzzy: false },
    Known { name: "origin-type", several: true, fuzzy: false },
    Known { name: "origin", several: true, fuzzy: false },
    Known { name: "backup-origin", several: true, fuzzy: false },
    Known { name: "domain-cname", several: true, fuzzy: false },
    Known { name: "share-cname", several: true, fuzzy: false },
];

impl Api {
    pub(super) async fn create_acceleration_domain(
        &self,
        request: CreateAccelerationDomainRequest,
    ) -> Result<CreateAccelerationDomainResponse, ApiError> {
        let now_ms = self.now_ms();
        let domain = DomainRecord {
            zone: read_zone_id(&request.zone_id)?,
            name: read_domain_name(&request.domain_name)?,
            online: true,
            origin: self.read_origin(request.origin_info)?,
            protocol: protocol_of_wire(request.origin_protocol),
            http_port: read_port("HttpOriginPort", request.http_origin_port)?,
            https_port: read_port("HttpsOriginPort", request.https_origin_port)?,
            ipv6: ipv6_of_wire(request.ipv6_status),
            created_ms: now_ms,
            modified_ms: now_ms,
        };
        let (zone, name) = (domain.zone.clone(), domain.name.clone());
        self.parts.store.create_domain(domain).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        info!(%zone, %name, "domain created");
        Ok(CreateAccelerationDomainResponse { ownership_verification: None })
    }

    pub(super) async fn describe_acceleration_domains(
        &self,
        request: DescribeAccelerationDomainsRequest,
    ) -> Result<DescribeAccelerationDomainsResponse, ApiError> {
        let zone = read_zone_id(&request.zone_id)?;
        let filters = filter::check(request.filters, &FILTERS)?;
        let mut domains = self.parts.store.domains(&zone).await.map_err(refusal::of_config)?;
        domains.retain(|domain| {
            let mut fits = filters.iter().map(|filter| fits(filter, domain));
            match request.matching {
                Match::All => fits.all(|fits| fits),
                Match::Any => filters.is_empty() || fits.any(|fits| fits),
            }
        });
        domains.sort_by(|a, b| {
            let order = match request.order {
                DomainOrder::CreatedOn => a.created_ms.cmp(&b.created_ms),
                DomainOrder::DomainName => a.name.cmp(&b.name),
            };
            match request.direction {
                Direction::Asc => order,
                Direction::Desc => order.reverse(),
            }
        });
        let (total_count, domains) = filter::page(domains, request.offset, request.limit);
        let acceleration_domains = domains.into_iter().map(domain_to_wire).collect();
        Ok(DescribeAccelerationDomainsResponse { total_count, acceleration_domains })
    }

    pub(super) async fn modify_acceleration_domain(
        &self,
        request: ModifyAccelerationDomainRequest,
    ) -> Result<ModifyAccelerationDomainResponse, ApiError> {
        let zone = read_zone_id(&request.zone_id)?;
        let name = read_domain_name(&request.domain_name)?;
        let port = |name: &str, port: Option<i64>| port.map(|port| read_port(name, port)).transpose();
        let change = DomainChange {
            origin: request.origin_info.map(|origin| self.read_origin(origin)).transpose()?,
            protocol: request.origin_protocol.map(protocol_of_wire),
            http_port: port("HttpOriginPort", request.http_origin_port)?,
            https_port: port("HttpsOriginPort", request.https_origin_port)?,
            ipv6: request.ipv6_status.map(ipv6_of_wire),
        };
        let store = &self.parts.store;
        store.modify_domain(&zone, &name, change, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        Ok(ModifyAccelerationDomainResponse {})
    }

    pub(super) async fn modify_acceleration_domain_statuses(
        &self,
        request: ModifyAccelerationDomainStatusesRequest,
    ) -> Result<ModifyAccelerationDomainStatusesResponse, ApiError> {
        let zone = read_zone_id(&request.zone_id)?;
        let names = read_domain_names(&request.domain_names)?;
        let online = match request.status {
            DomainSwitch::Online => true,
            DomainSwitch::Offline => false,
        };
        let store = &self.parts.store;
        store.set_domains_online(&zone, &names, online, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        Ok(ModifyAccelerationDomainStatusesResponse {})
    }

    pub(super) async fn delete_acceleration_domains(
        &self,
        request: DeleteAccelerationDomainsRequest,
    ) -> Result<DeleteAccelerationDomainsResponse, ApiError> {
        let zone = read_zone_id(&request.zone_id)?;
        let names = read_domain_names(&request.domain_names)?;
        let store = &self.parts.store;
        store.delete_domains(&zone, &names, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        info!(%zone, ?names, "domains deleted");
        Ok(DeleteAccelerationDomainsResponse {})
    }

    fn read_origin(&self, info: OriginInfo) -> Result<OriginRecord, ApiError> {
        match info.origin_type {
            OriginType::IpDomain => {}
            OriginType::Cos
            | OriginType::AwsS3
            | OriginType::OriginGroup
            | OriginType::Vod
            | OriginType::Space
            | OriginType::Lb => {
                let text = format!(
                    "OriginInfo.OriginType {} is not supported; use IP_DOMAIN",
                    info.origin_type.as_str()
                );
                return Err(refusal::value(text));
            }
        }
        let backup = info.backup_origin.filter(|text| !text.is_empty());
        let host_header = info.host_header.filter(|text| !text.is_empty());
        if let Some(text) = &host_header {
            HostName::parse(text)
                .map_err(|error| refusal::value(format!("OriginInfo.HostHeader: {error}")))?;
        }
        Ok(OriginRecord {
            address: self.read_origin_address("OriginInfo.Origin", &info.origin)?,
            backup: backup
                .map(|text| self.read_origin_address("OriginInfo.BackupOrigin", &text))
                .transpose()?,
            host_header,
            private_access: info.private_access == Some(Switch::On),
            private_parameters: info
                .private_parameters
                .unwrap_or_default()
                .into_iter()
                .map(|parameter| (parameter.name, parameter.value))
                .collect(),
        })
    }

    fn read_origin_address(&self, name: &str, text: &str) -> Result<HostName, ApiError> {
        let address = match text.parse::<Ipv6Addr>() {
            Ok(address) => HostName::parse(&format!("[{address}]")),
            Err(_) => HostName::parse(text),
        };
        let address = address.map_err(|error| {
            refusal::value(format!("{name}: {error}; give an IPv4 or IPv6 address, or a name"))
        })?;
        let last_label = address.as_str().rsplit('.').next().unwrap_or_default();
        if !address.is_address() && last_label.bytes().all(|byte| byte.is_ascii_digit()) {
            let text = format!("{name} \"{address}\" is no IPv4 address, though it ends like one");
            return Err(refusal::value(text));
        }
        if text.parse::<Ipv6Addr>().is_err() && text.contains(':') && !text.ends_with(']') {
            let text = format!("{name} has a port; give it in HttpOriginPort or HttpsOriginPort");
            return Err(refusal::value(text));
        }
        if self.parts.options.refuse_private_origins && is_private(&address) {
            let text = format!("{name} is a private or loopback address, which this server is set to refuse");
            return Err(ApiError::new(ErrorCode::InvalidOriginIp, text));
        }
        Ok(address)
    }
}

/// Whether an address leads into this machine or the network around it. A name is not looked up.
fn is_private(address: &HostName) -> bool {
    let text = address.as_str();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match inner.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_unspecified()
        }
        Err(_) => text == "localhost" || text.ends_with(".localhost"),
    }
}

fn fits(filter: &Filter, domain: &DomainRecord) -> bool {
    match filter.name {
        "domain-name" => filter.accepts_name(domain.name.as_str()),
        "origin-type" => filter.accepts(OriginType::IpDomain.as_str()),
        "origin" => filter.accepts_name(&bare(&domain.origin.address)),
        "backup-origin" => {
            domain.origin.backup.as_ref().is_some_and(|backup| filter.accepts_name(&bare(backup)))
        }
        // We give out no CNAMEs.
        _ => filter.accepts(""),
    }
}

fn read_domain_name(text: &str) -> Result<HostName, ApiError> {
    let refuse = |why: String| {
        let shown: String = text.chars().take(64).collect();
        ApiError::new(ErrorCode::InvalidDomainName, format!("domain name \"{shown}\": {why}"))
    };
    let name = HostName::parse(text).map_err(|error| refuse(error.to_string()))?;
    if text.contains(':') { Err(refuse("it has a port; leave it out".into())) } else { Ok(name) }
}

/// Each name once.
fn read_domain_names(texts: &[String]) -> Result<Vec<HostName>, ApiError> {
    if texts.is_empty() {
        return Err(ApiError::new(ErrorCode::MissingParameter, "DomainNames is empty; name a domain"));
    }
    let mut names = texts.iter().map(|text| read_domain_name(text)).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

fn read_port(name: &str, port: i64) -> Result<u16, ApiError> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| refusal::value(format!("{name} is a number from 1 to 65535")))
}

fn protocol_of_wire(protocol: wire::OriginProtocol) -> OriginProtocol {
    match protocol {
        wire::OriginProtocol::Follow => OriginProtocol::Follow,
        wire::OriginProtocol::Http => OriginProtocol::Http,
        wire::OriginProtocol::Https => OriginProtocol::Https,
    }
}

fn ipv6_of_wire(status: wire::Ipv6Status) -> Ipv6Status {
    match status {
        wire::Ipv6Status::Follow => Ipv6Status::Follow,
        wire::Ipv6Status::On => Ipv6Status::On,
        wire::Ipv6Status::Off => Ipv6Status::Off,
    }
}

/// An address as the API writes it: IPv6 without brackets.
fn bare(address: &HostName) -> String {
    address.as_str().trim_matches(['[', ']']).to_owned()
}

fn domain_to_wire(domain: DomainRecord) -> AccelerationDomain {
    let origin = domain.origin;
    let parameter = |(name, value)| PrivateParameter { name, value };
    AccelerationDomain {
        zone_id: domain.zone.to_string(),
        domain_status: if domain.online { DomainStatus::Online } else { DomainStatus::Offline },
        cname: String::new(),
        ipv6_status: Some(match domain.ipv6 {
            Ipv6Status::Follow => wire::Ipv6Status::Follow,
            Ipv6Status::On => wire::Ipv6Status::On,
            Ipv6Status::Off => wire::Ipv6Status::Off,
        }),
        identification_status: Some(IdentificationStatus::Finished),
        ownership_verification: None,
        origin_detail: Some(OriginDetail {
            origin_type: OriginType::IpDomain,
            origin: bare(&origin.address),
            backup_origin: origin.backup.as_ref().map(bare).unwrap_or_default(),
            origin_group_name: String::new(),
            back_origin_group_name: String::new(),
            private_access: if origin.private_access { Switch::On } else { Switch::Off },
            private_parameters: origin.private_parameters.into_iter().map(parameter).collect(),
            host_header: origin.host_header.unwrap_or_else(|| domain.name.to_string()),
            vod_origin_scope: String::new(),
            vod_bucket_id: String::new(),
            vodeo_distribution_range: String::new(),
            vodeo_bucket_id: String::new(),
            vodeo_sub_app_id: 0,
        }),
        origin_protocol: Some(match domain.protocol {
            OriginProtocol::Follow => wire::OriginProtocol::Follow,
            OriginProtocol::Http => wire::OriginProtocol::Http,
            OriginProtocol::Https => wire::OriginProtocol::Https,
        }),
        http_origin_port: Some(domain.http_port.into()),
        https_origin_port: Some(domain.https_port.into()),
        certificate: None,
        created_on: time_text::write(domain.created_ms),
        modified_on: time_text::write(domain.modified_ms),
        compliance_restrictions: EmptyList,
        domain_name: domain.name.to_string(),
    }
}
