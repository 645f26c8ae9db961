//! `edges`: which edges there are, which of them are to rest or to go, and what lets new ones in.

use clap::{Args, Subcommand};
use teo::everfresh::{
    CreateEdgeTokenRequest, DescribeEdgeTokensRequest, DescribeEdgesRequest, DrainEdgeRequest, Edge,
    EdgeToken, RemoveEdgeRequest, ResumeEdgeRequest, RevokeEdgeTokenRequest,
};

use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, text, times, zone};

const EXAMPLES: &str = "\
Examples:
  everfresh edges
  everfresh edges drain edge-fra        (serves nothing from its cache, nothing waits for it)
  everfresh edges resume edge-fra
  everfresh edges remove edge-fra       (takes its key away)
  everfresh edges token create --comment \"new host\" --expires 1h
  everfresh edges token list
  everfresh edges token revoke jt-…";

/// Arguments of `edges`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"), args_conflicts_with_subcommands = false)]
pub struct EdgesArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<EdgesCommand>,
}

#[derive(Debug, Subcommand)]
enum EdgesCommand {
    /// List edges, their processes and how far each is (also without a subcommand)
    List,
    /// Let an edge have no lease any more: it serves nothing from its cache, and no task waits for it
    Drain {
        /// The edge's name
        name: String,
    },
    /// Let a drained edge have leases again
    Resume {
        /// The edge's name
        name: String,
    },
    /// Take an edge's key away: it is let in no more, unless it joins anew with a token
    Remove {
        /// The edge's name
        name: String,
    },
    /// Make, list and revoke the tokens that edges join with
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token; it is printed now and never again
    Create {
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
        /// For how long it lets edges in, for example 1h; for good, if this is left out
        #[arg(long, value_name = "TIME", value_parser = times::span)]
        expires: Option<i64>,
    },
    /// List all tokens, without the tokens themselves
    List,
    /// Let a token let nobody in any more; edges that joined with it stay
    Revoke {
        /// The token's TokenId
        token_id: String,
    },
}

impl EdgesArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &EdgesArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let json = args.common.json;
    match &args.command {
        None | Some(EdgesCommand::List) => list(json, client, world),
        Some(EdgesCommand::Drain { name }) => {
            let done = client.call(&DrainEdgeRequest { edge_name: name.clone() })?;
            zone::report(json, done.fields(), &format!("drained edge {name}"), world)
        }
        Some(EdgesCommand::Resume { name }) => {
            let done = client.call(&ResumeEdgeRequest { edge_name: name.clone() })?;
            zone::report(json, done.fields(), &format!("resumed edge {name}"), world)
        }
        Some(EdgesCommand::Remove { name }) => {
            let done = client.call(&RemoveEdgeRequest { edge_name: name.clone() })?;
            zone::report(json, done.fields(), &format!("removed edge {name}"), world)
        }
        Some(EdgesCommand::Token { command }) => token(command, json, client, world),
    }
}

fn list(json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let edges = client.call(&DescribeEdgesRequest {})?;
    if json {
        text::json(world.out, edges.fields())?;
        return Ok(Exit::Done);
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row = |edge: &Edge| {
        vec![
            edge.edge_name.clone(),
            or_none(&edge.member_id),
            number(edge.applied_seq),
            number(edge.lag),
            edge.state.as_str().to_owned(),
            or_none(&edge.address),
            or_none(&edge.version),
            edge.join_time.clone(),
        ]
    };
    let rows: Vec<_> = edges.answer.edges.iter().map(row).collect();
    let head = ["EDGE", "MEMBER", "APPLIED", "LAG", "STATE", "ADDRESS", "VERSION", "JOINED"];
    text::table(world.out, &head, &rows)?;
    Ok(Exit::Done)
}

fn token(
    command: &TokenCommand,
    json: bool,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create { comment, expires } => {
            let request = CreateEdgeTokenRequest { comment: comment.clone(), expire_seconds: *expires };
            let made = client.call(&request)?;
            if json {
                text::json(world.out, made.fields())?;
            } else {
                // In a form that a shell can take over as it is.
                writeln!(world.out, "EVERFRESH_EDGE_TOKEN={}", text::printable(&made.answer.token.0))?;
                writeln!(
                    world.err,
                    "keep the token {}: it is not shown again",
                    text::printable(&made.answer.token_id)
                )?;
            }
            Ok(Exit::Done)
        }
        TokenCommand::List => {
            let tokens = client.call(&DescribeEdgeTokensRequest {})?;
            if json {
                text::json(world.out, tokens.fields())?;
                return Ok(Exit::Done);
            }
            let row = |token: &EdgeToken| {
                vec![
                    token.token_id.clone(),
                    token.status.as_str().to_owned(),
                    token.create_time.clone(),
                    token.expire_time.clone().unwrap_or_else(|| "never".to_owned()),
                    token.comment.clone(),
                ]
            };
            let rows: Vec<_> = tokens.answer.tokens.iter().map(row).collect();
            text::table(world.out, &["TOKEN ID", "STATUS", "CREATED", "EXPIRES", "COMMENT"], &rows)?;
            Ok(Exit::Done)
        }
        TokenCommand::Revoke { token_id } => {
            let done = client.call(&RevokeEdgeTokenRequest { token_id: token_id.clone() })?;
            zone::report(json, done.fields(), &format!("revoked token {token_id}"), world)
        }
    }
}
