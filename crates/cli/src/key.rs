//! `key`: who may sign requests.

use clap::{Args, Subcommand};
use teo::everfresh::{
    CreateKeyRequest, DeleteKeyRequest, DescribeKeysRequest, Key, KeyStatus, ModifyKeyStatusRequest,
};

use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, text, zone};

const KEY_EXAMPLES: &str = "\
Examples:
  everfresh key create --comment \"deploy pipeline\"         (prints the secret, once)
  everfresh key list
  everfresh key disable AKID…
  everfresh key delete AKID…";

/// Arguments of `key`.
#[derive(Debug, Args)]
#[command(after_help = format!("{KEY_EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct KeyArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key; its secret is printed now and never again
    Create {
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// List all keys, without their secrets
    List,
    /// Let a key be used again
    Enable {
        /// The key's SecretId
        secret_id: String,
    },
    /// Refuse requests signed with a key
    Disable {
        /// The key's SecretId
        secret_id: String,
    },
    /// Delete a key for good
    Delete {
        /// The key's SecretId
        secret_id: String,
    },
}

impl KeyArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &KeyArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    match &args.command {
        KeyCommand::Create { comment } => {
            let made = client.call(&CreateKeyRequest { comment: comment.clone() })?;
            if json {
                text::json(world.out, made.fields())?;
            } else {
                // In a form that a shell can take over as it is.
                writeln!(world.out, "EVERFRESH_SECRET_ID={}", text::printable(&made.answer.secret_id))?;
                writeln!(world.out, "EVERFRESH_SECRET_KEY={}", text::printable(&made.answer.secret_key.0))?;
                writeln!(world.err, "keep the secret: it is not shown again")?;
            }
            Ok(Exit::Done)
        }
        KeyCommand::List => list(json, client, world),
        KeyCommand::Enable { secret_id } => switch(secret_id, KeyStatus::Enabled, json, client, world),
        KeyCommand::Disable { secret_id } => switch(secret_id, KeyStatus::Disabled, json, client, world),
        KeyCommand::Delete { secret_id } => {
            let done = client.call(&DeleteKeyRequest { secret_id: secret_id.clone() })?;
            zone::report(json, done.fields(), &format!("deleted key {secret_id}"), world)
        }
    }
}

fn list(json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let keys = client.call(&DescribeKeysRequest {})?;
    if json {
        text::json(world.out, keys.fields())?;
        return Ok(Exit::Done);
    }
    let row = |key: &Key| {
        vec![
            key.secret_id.clone(),
            key.status.as_str().to_owned(),
            key.create_time.clone(),
            key.comment.clone(),
        ]
    };
    let rows: Vec<_> = keys.answer.keys.iter().map(row).collect();
    text::table(world.out, &["SECRET ID", "STATUS", "CREATED", "COMMENT"], &rows)?;
    Ok(Exit::Done)
}

fn switch(
    secret_id: &str,
    status: KeyStatus,
    json: bool,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    let done = client.call(&ModifyKeyStatusRequest { secret_id: secret_id.to_owned(), status })?;
    zone::report(json, done.fields(), &format!("{} key {secret_id}", status.as_str()), world)
}
