//! `settings`: what a zone's edges keep, for how long and under which key.

use clap::{Args, Subcommand};
use teo::Param;
use teo::edgeone::{DescribeL7AccSettingRequest, ModifyL7AccSettingRequest, ZoneConfig};

use crate::caching::{self, CachingFlags};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, input, text, zone};

const EXAMPLES: &str = "\
Examples:
  everfresh settings show
  everfresh settings set --cache follow-origin --default-cache 1h
  everfresh settings set --zone example.com --cache 10m --max-age 1m --query except:utm_source,utm_medium
  everfresh settings set --offline-cache on --prefresh 90%
  everfresh settings show --json > zone.json; everfresh settings set --file zone.json

  What is not named stays as it is. A change of the cache key drops what the
  zone has cached. Files hold a ZoneConfig of EdgeOne's ModifyL7AccSetting,
  for example {\"OfflineCache\": {\"Switch\": \"on\"}}, or what show --json printed.";

/// Arguments of `settings`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct SettingsArgs {
    #[command(flatten)]
    common: Common,
    /// The zone's id or name; may be left out when there is only one
    #[arg(long, global = true)]
    zone: Option<String>,
    #[command(subcommand)]
    command: SettingsCommand,
}

#[derive(Debug, Subcommand)]
enum SettingsCommand {
    /// Show a zone's cache settings
    Show,
    /// Change cache settings of a zone, by flags or from a file
    Set {
        #[command(flatten)]
        flags: Box<CachingFlags>,
        /// Take the settings from this JSON file; - is the standard input
        #[arg(long, value_name = "FILE")]
        file: Option<String>,
    },
}

impl SettingsArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &SettingsArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    match &args.command {
        SettingsCommand::Show => {
            let zone_id = zone::find_id(args.zone.as_deref(), client)?;
            show(zone_id, json, client, world)
        }
        SettingsCommand::Set { flags, file } => {
            let zone_config = wanted(flags, file.as_deref(), world)?;
            let zone_id = zone::find_id(args.zone.as_deref(), client)?;
            let done = client.call(&ModifyL7AccSettingRequest { zone_id: zone_id.clone(), zone_config })?;
            zone::report(json, done.fields(), &format!("changed the cache settings of {zone_id}"), world)
        }
    }
}

fn wanted(flags: &CachingFlags, file: Option<&str>, world: &mut World<'_>) -> Result<ZoneConfig, Failure> {
    match (flags.zone_config()?, file) {
        (Some(config), None) => Ok(config),
        (None, Some(path)) => input::shaped(path, unwrapped(input::read(path, world)?)),
        (Some(_), Some(_)) => {
            Err(Failure::Usage("either --file or flags say what changes, not both".to_owned()))
        }
        (None, None) => {
            let text = "nothing to change: give for example --cache 10m, or --file; see everfresh settings set --help";
            Err(Failure::Usage(text.to_owned()))
        }
    }
}

/// The settings within what `settings show --json` printed; anything else as it is.
fn unwrapped(given: Param) -> Param {
    match given {
        Param::Object(mut fields) if fields.contains_key("ZoneSetting") => {
            match fields.remove("ZoneSetting") {
                Some(Param::Object(mut setting)) => setting.remove("ZoneConfig").unwrap_or(Param::Null),
                other => other.unwrap_or(Param::Null),
            }
        }
        other => other,
    }
}

fn show(zone_id: String, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let told = client.call(&DescribeL7AccSettingRequest { zone_id })?;
    if json {
        text::json(world.out, told.fields())?;
        return Ok(Exit::Done);
    }
    let config = told.answer.zone_setting.and_then(|setting| setting.zone_config);
    let words = config.as_ref().map(caching::zone_words).unwrap_or_default();
    let rows: Vec<_> = words.into_iter().map(|(name, word)| vec![name.to_owned(), word]).collect();
    text::table(world.out, &["SETTING", "VALUE"], &rows)?;
    Ok(Exit::Done)
}
