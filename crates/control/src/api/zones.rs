//! The operations on zones.

use super::directory::read_zone_id;
use super::filter::{self, Known};
use super::{Api, refusal, time_text};
use store::{Area, NewZone, Tag, ZoneChange, ZoneRecord};
use teo::edgeone::{
    self as wire, ActiveStatus, CnameDetail, CnameStatus, CreateZoneRequest, CreateZoneResponse,
    DeleteZoneRequest, DeleteZoneResponse, DescribeZonesRequest, DescribeZonesResponse, Direction,
    Enablement, LockStatus, ModifyZoneRequest, ModifyZoneResponse, ModifyZoneStatusRequest,
    ModifyZoneStatusResponse, Switch, ZoneOrder, ZoneStatus, ZoneType,
};
use teo::wire::EmptyList;
use teo::{ApiError, ErrorCode};
use tracing::info;
use zone::HostName;

const FILTERS: [Known; 7] = [
    Known { name: "zone-name", several: true, fuzzy: true },
    Known { name: "zone-id", several: true, fuzzy: false },
    Known { name: "zone-type", several: true, fuzzy: false },
    Known { name: "status", several: true, fuzzy: false },
    Known { name: "tag-key", several: true, fuzzy: false },
    Known { name: "tag-value", several: true, fuzzy: false },
    Known { name: "alias-zone-name", several: true, fuzzy: true },
];

impl Api {
    pub(super) async fn create_zone(
        &self,
        request: CreateZoneRequest,
    ) -> Result<CreateZoneResponse, ApiError> {
        check_type(request.zone_type)?;
        let zone = NewZone {
            name: read_zone_name(&request.zone_name)?,
            alias: read_alias(request.alias_zone_name.unwrap_or_default())?,
            area: area_of_wire(request.area),
            tags: request
                .tags
                .into_iter()
                .map(|tag| Tag { key: tag.tag_key, value: tag.tag_value })
                .collect(),
        };
        let name = zone.name.clone();
        let id = self.parts.store.create_zone(zone, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        info!(zone = %id, %name, "zone created");
        Ok(CreateZoneResponse { zone_id: id.to_string(), ownership_verification: None })
    }

    pub(super) async fn describe_zones(
        &self,
        request: DescribeZonesRequest,
    ) -> Result<DescribeZonesResponse, ApiError> {
        let filters = filter::check(request.filters, &FILTERS)?;
        let mut zones = self.parts.store.zones().await.map_err(refusal::of_store)?;
        zones.retain(|zone| {
            filters.iter().all(|filter| match filter.name {
                "zone-name" => filter.accepts_name(zone.name.as_str()),
                "zone-id" => filter.accepts(zone.id.as_str()),
                "zone-type" => filter.accepts(ZoneType::Partial.as_str()),
                "status" => filter.accepts(ZoneStatus::Active.as_str()),
                "tag-key" => zone.tags.iter().any(|tag| filter.accepts(&tag.key)),
                "tag-value" => zone.tags.iter().any(|tag| filter.accepts(&tag.value)),
                _ => filter.accepts(&zone.alias),
            })
        });
        zones.sort_by(|a, b| {
            let order = match request.order {
                // Every zone is of one type.
                ZoneOrder::Type => std::cmp::Ordering::Equal,
                ZoneOrder::Area => a.area.cmp(&b.area),
                ZoneOrder::CreateTime | ZoneOrder::UseTime => a.created_ms.cmp(&b.created_ms),
                ZoneOrder::ZoneName => a.name.cmp(&b.name),
                ZoneOrder::ActiveStatus => a.paused.cmp(&b.paused),
            };
            match request.direction {
                Direction::Asc => order,
                Direction::Desc => order.reverse(),
            }
        });
        let (total_count, zones) = filter::page(zones, request.offset, request.limit);
        Ok(DescribeZonesResponse { total_count, zones: zones.into_iter().map(zone_to_wire).collect() })
    }

    pub(super) async fn modify_zone(
        &self,
        request: ModifyZoneRequest,
    ) -> Result<ModifyZoneResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        if let Some(zone_type) = request.zone_type {
            check_type(zone_type)?;
        }
        if request.vanity_name_servers.is_some_and(|own| own.switch == Switch::On) {
            let text =
                "VanityNameServers.Switch on is not supported: zones have no name servers here; use off";
            return Err(refusal::value(text));
        }
        let change = ZoneChange {
            name: request.zone_name.as_deref().map(read_zone_name).transpose()?,
            alias: request.alias_zone_name.map(read_alias).transpose()?,
            area: request.area.map(area_of_wire),
        };
        let store = &self.parts.store;
        store.modify_zone(&id, change, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        Ok(ModifyZoneResponse {})
    }

    pub(super) async fn modify_zone_status(
        &self,
        request: ModifyZoneStatusRequest,
    ) -> Result<ModifyZoneStatusResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        let store = &self.parts.store;
        store.set_zone_paused(&id, request.paused, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        info!(zone = %id, paused = request.paused, "zone switched");
        Ok(ModifyZoneStatusResponse {})
    }

    pub(super) async fn delete_zone(
        &self,
        request: DeleteZoneRequest,
    ) -> Result<DeleteZoneResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        self.parts.store.delete_zone(&id, self.now_ms()).await.map_err(refusal::of_config)?;
        self.configuration_changed();
        info!(zone = %id, "zone deleted");
        Ok(DeleteZoneResponse {})
    }

    /// Wakes whoever brings configuration and log to the edges.
    pub(super) fn configuration_changed(&self) {
        self.parts.network.wake();
    }
}

fn check_type(zone_type: ZoneType) -> Result<(), ApiError> {
    match zone_type {
        ZoneType::Partial => Ok(()),
        ZoneType::Full
        | ZoneType::NoDomainAccess
        | ZoneType::DnsPodAccess
        | ZoneType::Pages
        | ZoneType::Ai => {
            Err(refusal::value(format!("Type {} is not supported; use partial", zone_type.as_str())))
        }
    }
}

fn read_zone_name(text: &str) -> Result<HostName, ApiError> {
    let refuse = |why: String| {
        let shown: String = text.chars().take(64).collect();
        let text = format!("ZoneName \"{shown}\": {why}; give a domain name such as example.com");
        ApiError::new(ErrorCode::ZoneNameInvalid, text)
    };
    let name = HostName::parse(text).map_err(|error| refuse(error.to_string()))?;
    if text.contains(':') || name.is_address() {
        return Err(refuse("it is an address or has a port".into()));
    }
    if name.label_count() < 2 {
        return Err(refuse("it has only one label".into()));
    }
    Ok(name)
}

fn read_alias(text: String) -> Result<String, ApiError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(refusal::value("AliasZoneName may have letters, digits, \".\", \"_\" and \"-\" only"))
    }
}

fn area_of_wire(area: wire::Area) -> Area {
    match area {
        wire::Area::Global => Area::Global,
        wire::Area::Mainland => Area::Mainland,
        wire::Area::Overseas => Area::Overseas,
    }
}

fn zone_to_wire(zone: ZoneRecord) -> wire::Zone {
    let tag = |tag: Tag| wire::Tag { tag_key: tag.key, tag_value: tag.value };
    wire::Zone {
        zone_id: zone.id.to_string(),
        zone_name: zone.name.to_string(),
        alias_zone_name: zone.alias,
        area: match zone.area {
            Area::Global => wire::Area::Global,
            Area::Mainland => wire::Area::Mainland,
            Area::Overseas => wire::Area::Overseas,
        },
        zone_type: ZoneType::Partial,
        tags: zone.tags.into_iter().map(tag).collect(),
        resources: EmptyList,
        cname_detail: Some(CnameDetail { is_fake: 0, ownership_verification: None }),
        created_on: time_text::write(zone.created_ms),
        modified_on: time_text::write(zone.modified_ms),
        status: ZoneStatus::Active,
        cname_status: CnameStatus::Finished,
        active_status: if zone.paused { ActiveStatus::Paused } else { ActiveStatus::Active },
        lock_status: LockStatus::Enable,
        paused: zone.paused,
        is_fake: 0,
        cname_speed_up: Enablement::Disabled,
        ownership_verification: None,
        original_name_servers: Vec::new(),
        name_servers: Vec::new(),
        vanity_name_servers: None,
        vanity_name_servers_ips: None,
        work_mode_infos: EmptyList,
    }
}
