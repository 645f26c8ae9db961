//! `domain`: the domains of a zone and where their content comes from.

use clap::{Args, Subcommand};
use teo::edgeone::{
    AccelerationDomain, CreateAccelerationDomainRequest, DeleteAccelerationDomainsRequest,
    DescribeAccelerationDomainsRequest, DescribeAccelerationDomainsResponse, Direction, DomainOrder,
    DomainSwitch, Ipv6Status, Match, ModifyAccelerationDomainRequest,
    ModifyAccelerationDomainStatusesRequest, OriginInfo, OriginType,
};

use crate::client::{Answered, Client};
use crate::exit::{Exit, Failure};
use crate::origin::Origin;
use crate::{Common, HELP_TAIL, World, text, zone};

/// Domains in one page of a list: the API's own maximum.
const DOMAINS_PER_PAGE: i64 = 200;
/// The most domains that are listed.
const DOMAINS_MAX: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  everfresh domain list
  everfresh domain create www.example.com --origin http://127.0.0.1:9000
  everfresh domain create img.example.com --origin https://a.example.net --backup-origin b.example.net
  everfresh domain modify www.example.com --origin http://origin.example.com --host-header www.example.com
  everfresh domain offline www.example.com
  everfresh domain delete www.example.com";

/// Arguments of `domain`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct DomainArgs {
    #[command(flatten)]
    common: Common,
    /// The zone's id or name; without it, the zone is found by the domain's name
    #[arg(long, global = true)]
    zone: Option<String>,
    #[command(subcommand)]
    command: DomainCommand,
}

#[derive(Debug, Subcommand)]
enum DomainCommand {
    /// List the domains of a zone
    List,
    /// Add a domain to a zone
    Create {
        /// The domain's name
        name: String,
        /// Where its content comes from: [http://|https://]HOST[:PORT]; without a scheme, edges speak to it as their
        /// clients speak to them
        #[arg(long, value_parser = Origin::parse)]
        origin: Origin,
        /// Another host to ask when the first fails, with the same protocol and port
        #[arg(long, value_name = "HOST")]
        backup_origin: Option<String>,
        /// The Host header towards the origin, which its certificate must name [default: the domain's name]
        #[arg(long, value_name = "HOST")]
        host_header: Option<String>,
    },
    /// Change where a domain's content comes from
    Modify {
        /// The domain's name
        name: String,
        /// The new origin: [http://|https://]HOST[:PORT]
        #[arg(long, value_parser = Origin::parse)]
        origin: Origin,
        /// Another host to ask when the first fails [default: none]
        #[arg(long, value_name = "HOST")]
        backup_origin: Option<String>,
        /// The Host header towards the origin, which its certificate must name [default: the domain's name]
        #[arg(long, value_name = "HOST")]
        host_header: Option<String>,
    },
    /// Switch domains on
    Online {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Switch domains off
    Offline {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Delete domains; all of them or none
    Delete {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

impl DomainArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    fn zone_of(&self, names: &[String], client: &Client<'_>) -> Result<String, Failure> {
        if self.zone.is_some() {
            return zone::find_id(self.zone.as_deref(), client);
        }
        let zones = zone::fetch_all(client)?.answer.zones;
        let hosts: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        zone::of_hosts(&zones, &hosts).map(|zone| zone.zone_id.clone())
    }
}

pub(crate) fn run(args: &DomainArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    match &args.command {
        DomainCommand::List => list(zone::find_id(args.zone.as_deref(), client)?, json, client, world),
        DomainCommand::Create { name, origin, backup_origin, host_header } => {
            let done = client.call(&CreateAccelerationDomainRequest {
                zone_id: args.zone_of(std::slice::from_ref(name), client)?,
                domain_name: name.clone(),
                origin_info: origin_info(origin, backup_origin, host_header),
                origin_protocol: origin.protocol,
                http_origin_port: origin.http_port().unwrap_or(80),
                https_origin_port: origin.https_port().unwrap_or(443),
                ipv6_status: Ipv6Status::Follow,
                shared_cname: None,
            })?;
            zone::report(json, done.fields(), &format!("added domain {name}"), world)
        }
        DomainCommand::Modify { name, origin, backup_origin, host_header } => {
            let done = client.call(&ModifyAccelerationDomainRequest {
                zone_id: args.zone_of(std::slice::from_ref(name), client)?,
                domain_name: name.clone(),
                origin_info: Some(origin_info(origin, backup_origin, host_header)),
                origin_protocol: Some(origin.protocol),
                // The new origin is meant whole: a port left over from the old one would surprise.
                http_origin_port: Some(origin.http_port().unwrap_or(80)),
                https_origin_port: Some(origin.https_port().unwrap_or(443)),
                ipv6_status: None,
            })?;
            zone::report(json, done.fields(), &format!("changed domain {name}"), world)
        }
        DomainCommand::Online { names } => switch(args, names, DomainSwitch::Online, client, world),
        DomainCommand::Offline { names } => switch(args, names, DomainSwitch::Offline, client, world),
        DomainCommand::Delete { names } => {
            let done = client.call(&DeleteAccelerationDomainsRequest {
                zone_id: args.zone_of(names, client)?,
                domain_names: names.clone(),
                force: false,
            })?;
            zone::report(json, done.fields(), &format!("deleted {}", names.join(", ")), world)
        }
    }
}

fn origin_info(origin: &Origin, backup_origin: &Option<String>, host_header: &Option<String>) -> OriginInfo {
    OriginInfo {
        origin_type: OriginType::IpDomain,
        origin: origin.host.clone(),
        backup_origin: backup_origin.clone(),
        private_access: None,
        private_parameters: None,
        host_header: host_header.clone(),
        vod_origin_scope: None,
        vod_bucket_id: None,
        vodeo_distribution_range: None,
        vodeo_bucket_id: None,
        vodeo_sub_app_id: None,
    }
}

fn switch(
    args: &DomainArgs,
    names: &[String],
    status: DomainSwitch,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    let done = client.call(&ModifyAccelerationDomainStatusesRequest {
        zone_id: args.zone_of(names, client)?,
        domain_names: names.to_vec(),
        status,
        force: false,
    })?;
    let line = format!("{} now {}", names.join(", "), status.as_str());
    zone::report(args.common.json, done.fields(), &line, world)
}

fn fetch_all(
    zone_id: String,
    client: &Client<'_>,
) -> Result<Answered<DescribeAccelerationDomainsResponse>, Failure> {
    let page = |offset: usize| {
        client.call(&DescribeAccelerationDomainsRequest {
            zone_id: zone_id.clone(),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            limit: DOMAINS_PER_PAGE,
            filters: Vec::new(),
            order: DomainOrder::DomainName,
            direction: Direction::Asc,
            matching: Match::All,
        })
    };
    let mut all = page(0)?;
    while (all.answer.acceleration_domains.len() as i64) < all.answer.total_count {
        let next = page(all.answer.acceleration_domains.len())?.answer.acceleration_domains;
        if next.is_empty() {
            break;
        }
        // A list cut short would look complete.
        if all.answer.acceleration_domains.len() + next.len() > DOMAINS_MAX {
            let text = format!("the zone has more than {DOMAINS_MAX} domains, too many to list");
            return Err(Failure::Usage(text));
        }
        all.answer.acceleration_domains.extend(next);
    }
    Ok(all)
}

fn list(zone_id: String, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let domains = fetch_all(zone_id, client)?;
    if json {
        text::json(world.out, domains.fields())?;
        return Ok(Exit::Done);
    }
    let row = |domain: &AccelerationDomain| {
        let number = |port: Option<i64>| port.map_or(String::new(), |port| port.to_string());
        vec![
            domain.domain_name.clone(),
            domain.domain_status.as_str().to_owned(),
            domain.origin_detail.as_ref().map_or(String::new(), |origin| origin.origin.clone()),
            domain.origin_protocol.map_or("", |protocol| protocol.as_str()).to_owned(),
            number(domain.http_origin_port),
            number(domain.https_origin_port),
            domain.modified_on.clone(),
        ]
    };
    let rows: Vec<_> = domains.answer.acceleration_domains.iter().map(row).collect();
    let header = ["DOMAIN", "STATUS", "ORIGIN", "PROTOCOL", "HTTP", "HTTPS", "CHANGED"];
    text::table(world.out, &header, &rows)?;
    if rows.is_empty() {
        writeln!(world.err, "no domains yet: everfresh domain create NAME --origin URL")?;
    }
    Ok(Exit::Done)
}
