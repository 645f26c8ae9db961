//! `zone`: what the zones are, and which one a command is about.

use clap::{Args, Subcommand};
use teo::edgeone::{
    Area, CreateZoneRequest, DeleteZoneRequest, DescribeContentQuotaRequest, DescribeZonesRequest,
    DescribeZonesResponse, Direction, ModifyZoneStatusRequest, PurgeType, Zone, ZoneOrder, ZoneType,
};
use teo::everfresh::ModifyContentQuotaRequest;

use crate::choice::choice;
use crate::client::{Answered, Client};
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, text};

/// Zones in one page of a list: the API's own maximum.
const ZONES_PER_PAGE: i64 = 100;
/// The most zones that are listed.
const ZONES_MAX: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  everfresh zone list
  everfresh zone create example.com
  everfresh zone pause example.com
  everfresh zone quota example.com
  everfresh zone quota example.com --type purge_url --daily 200000";

/// Arguments of `zone`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct ZoneArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: ZoneCommand,
}

#[derive(Debug, Subcommand)]
enum ZoneCommand {
    /// List all zones
    List,
    /// Make a zone; it is active at once
    Create {
        /// Its name: a domain name such as example.com
        name: String,
        /// Where it is served
        #[arg(long, value_parser = choice(Area::ALL), default_value = "overseas")]
        area: Area,
        /// Another name for it: letters, digits, dot, hyphen and underscore
        #[arg(long, value_name = "NAME")]
        alias: Option<String>,
    },
    /// Switch a zone off: edges answer 503 for its hosts, what is cached stays
    Pause {
        /// The zone's id or name
        zone: String,
    },
    /// Switch a zone on again
    Resume {
        /// The zone's id or name
        zone: String,
    },
    /// Delete a zone with its domains, cache and tasks; its domains must be offline
    Delete {
        /// The zone's id or name
        zone: String,
    },
    /// Show the purge quotas of a zone, or change that of one type
    Quota {
        /// The zone's id or name; may be left out when there is only one
        zone: Option<String>,
        /// The type of purge whose quota changes
        #[arg(long = "type", value_parser = choice(PurgeType::ALL), value_name = "TYPE")]
        purge_type: Option<PurgeType>,
        /// The most targets in one call
        #[arg(long, requires = "purge_type", value_name = "NUMBER")]
        batch: Option<i64>,
        /// The most targets in one day
        #[arg(long, requires = "purge_type", value_name = "NUMBER")]
        daily: Option<i64>,
    },
}

impl ZoneArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &ZoneArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    match &args.command {
        ZoneCommand::List => list(json, client, world),
        ZoneCommand::Create { name, area, alias } => {
            let made = client.call(&CreateZoneRequest {
                zone_type: ZoneType::Partial,
                zone_name: name.clone(),
                area: *area,
                plan_id: None,
                alias_zone_name: alias.clone(),
                tags: Vec::new(),
                allow_duplicates: None,
                jump_start: None,
            })?;
            if json {
                text::json(world.out, made.fields())?;
            } else {
                writeln!(world.out, "made zone {} ({})", text::printable(name), made.answer.zone_id)?;
            }
            Ok(Exit::Done)
        }
        ZoneCommand::Pause { zone } => switch(zone, true, json, client, world),
        ZoneCommand::Resume { zone } => switch(zone, false, json, client, world),
        ZoneCommand::Delete { zone } => {
            let zone_id = find_id(Some(zone), client)?;
            let done = client.call(&DeleteZoneRequest { zone_id: zone_id.clone() })?;
            report(json, done.fields(), &format!("deleted zone {zone_id}"), world)
        }
        ZoneCommand::Quota { zone, purge_type, batch, daily } => {
            let zone_id = find_id(zone.as_deref(), client)?;
            match purge_type {
                Some(purge_type) => {
                    if batch.is_none() && daily.is_none() {
                        let text = "--type needs --batch or --daily: say what its quota shall be";
                        return Err(Failure::Usage(text.to_owned()));
                    }
                    let request = ModifyContentQuotaRequest {
                        zone_id: zone_id.clone(),
                        purge_type: *purge_type,
                        batch: *batch,
                        daily: *daily,
                    };
                    let done = client.call(&request)?;
                    let line = format!("changed the quota for {} of zone {zone_id}", purge_type.as_str());
                    report(json, done.fields(), &line, world)
                }
                None => quotas(zone_id, json, client, world),
            }
        }
    }
}

/// Prints what a command without an answer of its own did.
pub(crate) fn report(
    json: bool,
    fields: serde_json::Map<String, serde_json::Value>,
    line: &str,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    if json {
        text::json(world.out, fields)?;
    } else {
        writeln!(world.out, "{}", text::printable(line))?;
    }
    Ok(Exit::Done)
}

fn list(json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let zones = fetch_all(client)?;
    if json {
        text::json(world.out, zones.fields())?;
        return Ok(Exit::Done);
    }
    let row = |zone: &Zone| {
        vec![
            zone.zone_id.clone(),
            zone.zone_name.clone(),
            zone.active_status.as_str().to_owned(),
            zone.area.as_str().to_owned(),
            zone.created_on.clone(),
        ]
    };
    let rows: Vec<_> = zones.answer.zones.iter().map(row).collect();
    text::table(world.out, &["ZONE", "NAME", "STATUS", "AREA", "CREATED"], &rows)?;
    Ok(Exit::Done)
}

fn switch(
    zone: &str,
    paused: bool,
    json: bool,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    let zone_id = find_id(Some(zone), client)?;
    let done = client.call(&ModifyZoneStatusRequest { zone_id: zone_id.clone(), paused })?;
    let what = if paused { "paused" } else { "resumed" };
    report(json, done.fields(), &format!("{what} zone {zone_id}"), world)
}

fn quotas(zone_id: String, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let quotas = client.call(&DescribeContentQuotaRequest { zone_id })?;
    if json {
        text::json(world.out, quotas.fields())?;
        return Ok(Exit::Done);
    }
    let purge = quotas.answer.purge_quota.iter().flatten();
    let row = |quota: &teo::edgeone::Quota| {
        vec![
            quota.quota_type.as_str().to_owned(),
            quota.batch.to_string(),
            quota.daily.to_string(),
            quota.daily_available.to_string(),
        ]
    };
    let rows: Vec<_> = purge.chain(quotas.answer.prefetch_quota.iter().flatten()).map(row).collect();
    text::table(world.out, &["TYPE", "PER CALL", "PER DAY", "LEFT TODAY"], &rows)?;
    Ok(Exit::Done)
}

/// All zones, page by page, as one answer.
pub(crate) fn fetch_all(client: &Client<'_>) -> Result<Answered<DescribeZonesResponse>, Failure> {
    let page = |offset: usize| {
        client.call(&DescribeZonesRequest {
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            limit: ZONES_PER_PAGE,
            filters: Vec::new(),
            order: ZoneOrder::ZoneName,
            direction: Direction::Asc,
        })
    };
    let mut all = page(0)?;
    while (all.answer.zones.len() as i64) < all.answer.total_count {
        let next = page(all.answer.zones.len())?;
        if next.answer.zones.is_empty() {
            break;
        }
        // A list cut short would look complete, and a zone missing from it as if it did not exist.
        if all.answer.zones.len() + next.answer.zones.len() > ZONES_MAX {
            let text = format!("there are more than {ZONES_MAX} zones; name the one you mean by its id");
            return Err(Failure::Usage(text));
        }
        all.answer.zones.extend(next.answer.zones);
    }
    Ok(all)
}

/// The id of the zone that the user names by id or name; without one, of the only zone.
pub(crate) fn find_id(given: Option<&str>, client: &Client<'_>) -> Result<String, Failure> {
    match given {
        // What looks like an id goes to the API as it is: it may be one that this key cannot list.
        Some(id) if id == "*" || id.starts_with("zone-") && !id.contains('.') => Ok(id.to_owned()),
        Some(name) => {
            let zones = fetch_all(client)?.answer.zones;
            match zones.iter().find(|zone| zone.zone_name.eq_ignore_ascii_case(name)) {
                Some(zone) => Ok(zone.zone_id.clone()),
                None => Err(Failure::Usage(format!("there is no zone \"{name}\"; {}", listed(&zones)))),
            }
        }
        None => {
            let zones = fetch_all(client)?.answer.zones;
            only(&zones).map(|zone| zone.zone_id.clone())
        }
    }
}

/// The only zone.
pub(crate) fn only(zones: &[Zone]) -> Result<&Zone, Failure> {
    match zones {
        [zone] => Ok(zone),
        zones => Err(Failure::Usage(format!("say which zone; {}", listed(zones)))),
    }
}

/// The zone whose name is the longest suffix, by labels, of each of these hosts. With a single zone that one: the API
/// knows better than we do why a host is not in it.
pub(crate) fn of_hosts<'z>(zones: &'z [Zone], hosts: &[String]) -> Result<&'z Zone, Failure> {
    if let [zone] = zones {
        return Ok(zone);
    }
    let mut found: Option<(&Zone, &str)> = None;
    for host in hosts {
        let covers = |zone: &&Zone| {
            let name = zone.zone_name.to_ascii_lowercase();
            *host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'))
        };
        let zone =
            zones.iter().filter(covers).max_by_key(|zone| zone.zone_name.len()).ok_or_else(|| {
                Failure::Usage(format!("no zone has the host \"{host}\"; {}", listed(zones)))
            })?;
        match found {
            Some((first, first_host)) if first.zone_id != zone.zone_id => {
                return Err(Failure::Usage(format!(
                    "the targets lie in several zones ({first_host} in {}, {host} in {}): purge them one zone at a \
                     time, or with --zone '*'",
                    first.zone_name, zone.zone_name
                )));
            }
            Some(_) => {}
            None => found = Some((zone, host)),
        }
    }
    found.map(|(zone, _)| zone).ok_or_else(|| Failure::Usage(format!("say which zone; {}", listed(zones))))
}

fn listed(zones: &[Zone]) -> String {
    if zones.is_empty() {
        return "there is none yet: everfresh zone create NAME".to_owned();
    }
    const SHOWN_MAX: usize = 20;
    let mut names: Vec<String> =
        zones.iter().take(SHOWN_MAX).map(|zone| format!("{} ({})", zone.zone_id, zone.zone_name)).collect();
    if zones.len() > SHOWN_MAX {
        names.push(format!("and {} more", zones.len() - SHOWN_MAX));
    }
    format!("there are: {}", names.join(", "))
}
