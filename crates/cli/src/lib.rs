//! The command line client: signs one request of the public API and prints the answer.
//!
//! Owns the subcommands `purge`, `task`, `prefetch`, `zone`, `domain`, `settings`, `rules`, `key` and `edges` of
//! `everfresh`. Knows the API through `teo` and nothing else: whatever it can do, any client can. Reads no clock and no
//! environment by itself; both come with [`World`].
//!
//! ```no_run
//! # use clap::Parser as _;
//! #[derive(clap::Parser)]
//! struct Everfresh {
//!     #[command(subcommand)]
//!     command: cli::Command,
//! }
//!
//! # fn clock() -> std::time::SystemTime { std::time::UNIX_EPOCH }
//! let mut world = cli::World {
//!     input: &mut std::io::stdin(),
//!     out: &mut std::io::stdout(),
//!     err: &mut std::io::stderr(),
//!     environment: &|name| std::env::var(name).ok(),
//!     now: &clock,
//!     pause: &std::thread::sleep,
//! };
//! let exit: std::process::ExitCode = cli::run(Everfresh::parse().command, &mut world).into();
//! ```

mod caching;
mod choice;
mod client;
mod connection;
mod domain;
mod edges;
mod exit;
mod input;
mod key;
mod origin;
mod prefetch;
mod purge;
mod rules;
mod settings;
mod task;
mod text;
mod times;
mod zone;

pub use client::{Answered, Client};
pub use domain::DomainArgs;
pub use edges::EdgesArgs;
pub use exit::{Exit, Failure};
pub use key::KeyArgs;
pub use prefetch::PrefetchArgs;
pub use purge::PurgeArgs;
pub use rules::RulesArgs;
pub use settings::SettingsArgs;
pub use task::TaskArgs;
pub use zone::ZoneArgs;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

/// What the client needs of the process around it.
pub struct World<'w> {
    /// What is typed or piped in, for `--file -`.
    pub input: &'w mut dyn Read,
    /// Where answers go.
    pub out: &'w mut dyn Write,
    /// Where errors and warnings go.
    pub err: &'w mut dyn Write,
    /// Reads an environment variable.
    pub environment: &'w dyn Fn(&str) -> Option<String>,
    /// The wall clock: requests carry their time.
    pub now: &'w dyn Fn() -> SystemTime,
    /// Waits before an endpoint that could not be reached is tried again.
    pub pause: &'w dyn Fn(Duration),
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// The subcommands of this crate, to be flattened into those of a binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Purge cached content: URLs, prefixes, hosts, cache tags or everything
    Purge(PurgeArgs),
    /// Look at purge tasks
    Task(TaskArgs),
    /// Fetch URLs into the caches ahead of their readers, and look at such tasks
    Prefetch(PrefetchArgs),
    /// List, make, pause, resume and delete zones, and see or set their quotas
    Zone(ZoneArgs),
    /// List, make, change, switch and delete the domains of a zone
    Domain(DomainArgs),
    /// Show or change what a zone's edges keep, for how long and under which key
    Settings(SettingsArgs),
    /// List, make, change, order and delete rules: cache settings for some URLs of a zone
    Rules(RulesArgs),
    /// Make, list, enable, disable and delete API keys
    Key(KeyArgs),
    /// List, drain and remove edges, and make the tokens that they join with
    Edges(EdgesArgs),
}

/// How to reach the API, and how to print.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Where the API is: http://HOST[:PORT] or https://HOST[:PORT] [env: EVERFRESH_ENDPOINT] [default:
    /// http://127.0.0.1:8090]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    endpoint: Option<String>,
    /// The profile to take endpoint and key from, in EVERFRESH_PROFILE_FILE or ~/.config/everfresh/profiles.json
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    profile: Option<String>,
    /// Trust only the certificates in this PEM file, for an API behind a private certificate authority
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    ca_cert: Option<PathBuf>,
    /// Print the API's answer as JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    /// Whether the answer is to be JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }
}

/// The id of the zone that is named by id or name; of the only one if none is.
///
/// # Errors
/// There is no such zone, or there are several; or the API could not be asked.
pub fn find_zone_id(given: Option<&str>, client: &Client<'_>) -> Result<String, Failure> {
    zone::find_id(given, client)
}

/// The part of each help text on connections and exit codes.
pub const HELP_TAIL: &str = "\
Connection:
  The key comes from EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY, or from a
  profile. The profile file is JSON:
    {\"default\": {\"endpoint\": \"https://api.example.com\",
                 \"secret_id\": \"AKID…\", \"secret_key\": \"…\",
                 \"ca_cert\": \"/etc/everfresh/ca.pem\"}}
  Without --profile a key in the environment counts, and the file is not
  read; without such a key, the profile \"default\".

Exit codes:
  0  done
  1  the API refused (printed as \"code: message (request id)\")
  2  wrong usage
  3  the endpoint cannot be reached, or is not this API
  4  --wait ran out of time
  5  the task ended other than success
  6  some targets were not accepted
  7  the output could not be written
  8  verify saw the promise broken";

/// Runs one command. Says what went wrong on `world.err`; the exit code tells scripts.
pub fn run(command: Command, world: &mut World<'_>) -> Exit {
    let outcome = match command {
        Command::Purge(args) => with_client(args.common(), world, |c, w| purge::run(&args, c, w)),
        Command::Task(args) => with_client(args.common(), world, |c, w| task::run(&args, c, w)),
        Command::Prefetch(args) => with_client(args.common(), world, |c, w| prefetch::run(&args, c, w)),
        Command::Zone(args) => with_client(args.common(), world, |c, w| zone::run(&args, c, w)),
        Command::Domain(args) => with_client(args.common(), world, |c, w| domain::run(&args, c, w)),
        Command::Settings(args) => with_client(args.common(), world, |c, w| settings::run(&args, c, w)),
        Command::Rules(args) => with_client(args.common(), world, |c, w| rules::run(&args, c, w)),
        Command::Key(args) => with_client(args.common(), world, |c, w| key::run(&args, c, w)),
        Command::Edges(args) => with_client(args.common(), world, |c, w| edges::run(&args, c, w)),
    };
    ended(outcome, world)
}

/// The exit code of an outcome; says on `world.err` what went wrong.
pub fn ended(outcome: Result<Exit, Failure>, world: &mut World<'_>) -> Exit {
    match outcome {
        Ok(exit) => exit,
        // Whoever reads our output has seen enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(failure) => {
            // Nothing is left to say when even the error cannot be written; the exit code still tells.
            let _ = writeln!(world.err, "error: {}", text::printable(&failure.to_string()));
            failure.exit()
        }
    }
}

/// Does something with the API that `connection` and the environment name, for commands of other crates.
///
/// # Errors
/// What the command answers, or what is wrong with the connection.
pub fn with_client(
    common: &Common,
    world: &mut World<'_>,
    command: impl FnOnce(&Client<'_>, &mut World<'_>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let connection = connection::resolve(common, world)?;
    let now = world.now;
    let client = Client::new(connection, now)?;
    command(&client, world)
}
