//! The arguments of the roles. Those of the client's subcommands are `cli`'s.

use clap::{Args as ClapArgs, Parser, Subcommand};
use edge::DiskConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An edge-cache network whose purges are kept: when a task reads success, nothing it matched is served any more.
#[derive(Debug, Parser)]
#[command(name = "everfresh", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Role,
}

const AFTER_HELP: &str = "\
Examples:
  everfresh serve --origin http://127.0.0.1:9000
  everfresh serve --listen 127.0.0.1:8080 --api-listen 127.0.0.1:8090 --data ./data \\
      --domain www.example.com --origin http://127.0.0.1:9000
  everfresh purge url http://www.example.com/a.html --wait
  everfresh purge tag news sports --method invalidate --wait

EVERFRESH_LOG sets what is logged, for example debug or info,edge=debug.";

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Run a control plane and one or more edges in one process
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Run a control plane that edges of other processes follow, alone or with others on one PostgreSQL database
    #[command(after_help = CONTROL_HELP)]
    Control(ControlArgs),
    /// Run one edge that follows a control plane elsewhere
    Edge(EdgeArgs),
    /// Show what an edge holds of a URL, as its admin server tells
    Inspect(InspectArgs),
    /// Show what an edge keeps on disk: responses, or those of one URL
    #[command(after_help = STORED_HELP)]
    Stored(StoredArgs),
    /// Show the main job at work: an origin, a control plane, two edges, and purges that hold
    Demo(DemoArgs),
    /// Hold a live network to its promise: purge, read from every edge, and look for what should be gone
    Verify(Box<verify::VerifyArgs>),
    #[command(flatten)]
    Client(cli::Command),
}

impl Role {
    /// What is logged unless EVERFRESH_LOG says otherwise: tools say what they have to say by themselves.
    pub(crate) fn default_log_filter(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Control(_) | Self::Edge(_) => "info",
            Self::Demo(_) | Self::Inspect(_) | Self::Stored(_) | Self::Verify(_) | Self::Client(_) => "error",
        }
    }
}

/// How much a disk tier takes if only its directory is given, in bytes.
const DISK_BYTES: u64 = 1 << 30;

const SERVE_HELP: &str = "\
Keys:
  The first start makes an API key and prints it once. A key given in
  EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY is taken instead. Secret keys
  are stored encrypted under the master key: EVERFRESH_MASTER_KEY (64
  hexadecimal digits or base64), or else the file master.key in the data
  directory, made at the first start.

Examples:
  everfresh serve --origin http://127.0.0.1:9000
      serves the origin at http://127.0.0.1:8080/ under the host name 127.0.0.1
  everfresh serve --domain www.example.com --origin http://127.0.0.1:9000 --data /var/lib/everfresh
  everfresh serve --listen 127.0.0.1:8080 --listen 127.0.0.1:8081 --origin http://127.0.0.1:9000
      two edges in one process
  everfresh serve --origin http://127.0.0.1:9000 --disk-size 20GiB
      keeps its cache over restarts, in the data directory";

const CONTROL_HELP: &str = "\
Control planes that share a database need the same master key
(EVERFRESH_MASTER_KEY, or a copy of master.key in each data directory) and
the same edge token (EVERFRESH_EDGE_TOKEN, or a copy of edge.token).

Examples:
  everfresh control --feed-listen 127.0.0.1:8091
  EVERFRESH_DATABASE=postgres://everfresh:PASSWORD@db.example.com/everfresh \\
      everfresh control --data /var/lib/everfresh --api-listen 10.0.0.1:8090 --feed-listen 10.0.0.1:8091 \\
      --api-tls-cert api.pem --api-tls-key api.key --feed-tls-cert feed.pem --feed-tls-key feed.key";

/// What a control plane needs.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ControlPlaneArgs {
    /// Where the API listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    pub(crate) api_listen: SocketAddr,
    /// The certificate chain of the API, PEM: speaks https
    #[arg(long, value_name = "FILE", requires = "api_tls_key")]
    pub(crate) api_tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "api_tls_cert")]
    pub(crate) api_tls_key: Option<PathBuf>,
    /// The certificate chain of the feed, PEM: edges speak TLS to it
    #[arg(long, value_name = "FILE", requires_all = ["feed_tls_key", "feed_listen"])]
    pub(crate) feed_tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "feed_tls_cert")]
    pub(crate) feed_tls_key: Option<PathBuf>,
    /// Let the API (and the feed) be reached from other machines without encryption
    #[arg(long)]
    pub(crate) allow_plain_text: bool,
    /// The directory of the database, the master key and the edge token; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "everfresh-data")]
    pub(crate) data: PathBuf,
    /// Keep everything in this PostgreSQL database instead, which several control planes may share:
    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE. Or set EVERFRESH_DATABASE, which nobody sees in a list of processes
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// Where edges of other processes connect; beyond loopback it needs a certificate or --allow-plain-text
    #[arg(long, value_name = "ADDR")]
    pub(crate) feed_listen: Option<SocketAddr>,
    /// Where the control plane tells of itself: metrics and health [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) control_admin_listen: Option<SocketAddr>,
    /// Let that address be reached from other machines: it asks nobody who they are
    #[arg(long)]
    pub(crate) control_admin_allow_remote: bool,
    /// How long an edge may trust its cache without hearing from the control plane: the longest a purge waits for
    /// an edge that is cut off
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) lease: Duration,
    /// Calls a second of one key and action; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) rate_limit: u32,
    /// When quotas begin anew: how far the local day is ahead of UTC
    #[arg(long, value_name = "±HH:MM", default_value = "+08:00", value_parser = parse_offset, allow_hyphen_values = true)]
    pub(crate) quota_reset: i32,
    /// What a purge by tag does when its call has no Method: invalidate or delete
    #[arg(long, value_name = "METHOD", default_value = "invalidate", value_parser = parse_method)]
    pub(crate) tag_method: purge::Method,
    /// Refuse origins with private or loopback addresses
    #[arg(long)]
    pub(crate) refuse_private_origins: bool,
    /// Print one line of JSON when ready, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is to be served from the first start on.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SiteArgs {
    /// The host name to serve; by default the first listening address
    #[arg(long, value_name = "HOST", requires = "origin")]
    pub(crate) domain: Option<String>,
    /// Where its content comes from: http://HOST[:PORT] or https://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Option<String>,
    /// The zone of the domain; by default the domain without its first label
    #[arg(long, value_name = "NAME", requires = "origin")]
    pub(crate) zone: Option<String>,
}

/// The limits of an edge. What is not given here is the file's, or else has its default.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct EdgeLimitArgs {
    /// A TOML file with the settings of the edge; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Threads of each edge; by default one for each core
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Memory for cached content of each edge: a number with KiB, MiB or GiB [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// The largest content that is cached as one; larger content is in slices if it has a length and a strong
    /// validator, else passed on [default: 32MiB, at most the memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) object_max: Option<u64>,
}

/// Where edges keep content beside memory. Without any of these they keep it in memory only.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct DiskArgs {
    /// Keep cached content in this directory, too, over restarts
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,
    /// How much of it: a number with KiB, MiB or GiB; 1GiB if only a directory is given
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) disk_size: Option<u64>,
}

impl DiskArgs {
    /// What these say, and where they say nothing, what `others` say.
    pub(crate) fn or(self, others: Self) -> Self {
        Self { disk: self.disk.or(others.disk), disk_size: self.disk_size.or(others.disk_size) }
    }

    /// The disk tier of the edge `name`, if there is to be one: in a directory of its own below the one that was given, or
    /// below `fallback`.
    pub(crate) fn of_edge(&self, name: &str, fallback: &Path) -> Option<DiskConfig> {
        if self.disk.is_none() && self.disk_size.is_none() {
            return None;
        }
        let directory = self.disk.as_deref().unwrap_or(fallback).join(name);
        Some(DiskConfig { directory, bytes: self.disk_size.unwrap_or(DISK_BYTES) })
    }
}

/// What an edge tells its operator.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct OperatingArgs {
    /// Where each edge tells of itself (metrics, health, what is stored), in the order of --listen [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Vec<SocketAddr>,
    /// Let the admin address be reached from other machines: it asks nobody who they are
    #[arg(long)]
    pub(crate) admin_allow_remote: bool,
    /// Write a line for each request to this file; - is the standard output [default: no log]
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<String>,
}

/// Which certificates of origins an edge accepts.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct OriginTrustArgs {
    /// Accept certificates of origins from the authorities in this PEM file, too; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) origin_ca: Vec<PathBuf>,
    /// Do not check certificates of origins at all: whoever is on the way there can read and change everything
    #[arg(long, conflicts_with = "origin_ca")]
    pub(crate) dangerously_accept_any_origin_certificate: bool,
}

/// How clients connect.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct EntranceArgs {
    /// Where clients connect with TLS (HTTP/2 and HTTP/1.1); for one edge only
    #[arg(long, value_name = "ADDR")]
    pub(crate) tls_listen: Option<SocketAddr>,
    /// A certificate chain, PEM; the first one given answers names that none holds. May be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Vec<PathBuf>,
    /// The private key of each certificate, PEM, in the same order
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Vec<PathBuf>,
    /// A directory of certificates: NAME.crt with NAME.key, or NAME/fullchain.pem with NAME/privkey.pem. Changes are
    /// noticed, at once after SIGHUP
    #[arg(long, value_name = "DIR")]
    pub(crate) tls_dir: Option<PathBuf>,
    /// Speak HTTP/2 without TLS, too, to clients that begin with it
    #[arg(long)]
    pub(crate) plain_http2: bool,
    /// Expect a header of the PROXY protocol from balancers at this address or network; may be given several times
    #[arg(long, value_name = "NETWORK")]
    pub(crate) proxy_protocol_from: Vec<edge::Network>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// Where clients connect; each address given is an edge of its own [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) control: ControlPlaneArgs,
    #[command(flatten)]
    pub(crate) site: SiteArgs,
    #[command(flatten)]
    pub(crate) limits: EdgeLimitArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    #[command(flatten)]
    pub(crate) trust: OriginTrustArgs,
    #[command(flatten)]
    pub(crate) entrance: EntranceArgs,
    #[command(flatten)]
    pub(crate) operating: OperatingArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ControlArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ControlCommand>,
    #[command(flatten)]
    pub(crate) control: ControlPlaneArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Begin another epoch of the purge log: every edge counts all it holds as deleted
    #[command(after_help = NEW_EPOCH_HELP)]
    NewEpoch(NewEpochArgs),
}

const NEW_EPOCH_HELP: &str = "\
For a database that was restored from a backup, or replaced by a copy, and may
lack purges that were answered: edges that applied them would be ahead of the
log. Run it before a control plane starts on that database. A control plane
that meets such an edge grants no leases until this was done.

Examples:
  everfresh control new-epoch --data /var/lib/everfresh
  everfresh control new-epoch --database postgres://everfresh@db.example.com/everfresh";

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct NewEpochArgs {
    /// The directory of the database and the master key
    #[arg(long, value_name = "DIR", default_value = "everfresh-data")]
    pub(crate) data: PathBuf,
    /// The PostgreSQL database; or set EVERFRESH_DATABASE
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
}

/// Which control plane, and where to listen.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct EdgeArgs {
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// The control plane's --feed-listen address, HOST:PORT or https://HOST:PORT; of several control planes all, with
    /// commas between. Here or in the file
    #[arg(long, value_name = "ADDR,…")]
    pub(crate) control: Option<String>,
    /// Speak TLS to control planes, and accept only certificates from the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) control_ca: Option<PathBuf>,
    /// The file with a join token: edge.token of the control plane's data directory, or what `everfresh edges token
    /// create` printed. Or set EVERFRESH_EDGE_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// An edge to ask instead of origins, http://HOST[:PORT] or https://HOST[:PORT]; may be repeated, best first. It must
    /// have the same edge token
    #[arg(long, value_name = "URL")]
    pub(crate) parent: Vec<String>,
    /// Let the edge token go to parents on other machines over plain http
    #[arg(long)]
    pub(crate) allow_plain_text: bool,
    /// Where this edge keeps the key that its join token became and its last configuration, in a directory of its own name
    /// [default: beside what it keeps on disk; without that it joins with the token at each start]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// What to call this edge [default: edge-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What to do when cut off from the control plane: fetch everything from the origin; refuse with 503; revalidate (ask the
    /// origin about what is cached: gives up the promise for purges with delete) or serve (what is cached: gives up the
    /// promise) [default: fetch]
    #[arg(long, value_name = "POLICY", value_parser = parse_fence_policy)]
    pub(crate) fence_policy: Option<purge::FencePolicy>,
    /// Have purge tasks wait for this edge without bound when it is away, since the clock of this machine may stop
    #[arg(long)]
    pub(crate) acks_only: bool,
    #[command(flatten)]
    pub(crate) limits: EdgeLimitArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    #[command(flatten)]
    pub(crate) trust: OriginTrustArgs,
    #[command(flatten)]
    pub(crate) entrance: EntranceArgs,
    /// A Unix socket for upgrades without a gap: takes over from the edge that waits there, then waits there for the
    /// next one
    #[arg(long, value_name = "FILE")]
    pub(crate) hand_over: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) operating: OperatingArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// Which URL, with its scheme
    pub(crate) url: String,
    /// The edge's --admin-listen address
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: SocketAddr,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const STORED_HELP: &str = "\
The edge may run or not. Of a purged URL nothing is left once the edge has swept,
some seconds after the purge: its files are removed, and their space is free.

Content that is stored in slices has one line for all of them: slices=12/300 says
how many of the whole are there. lost-slices are those whose head is gone; they
are never served, and go within a minute or two.

Examples:
  everfresh stored everfresh-data/cache/edge-1
  everfresh stored /var/cache/everfresh/edge-1 --url http://www.example.com/a.html";

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct StoredArgs {
    /// The cache directory of one edge: DIR/NAME of its --disk DIR and --name
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Only this URL, as it is in the cache key; with or without its scheme, which is no part of that
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Print JSON, one object a line, the last one about the whole directory
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// The official client, tccli; without it the purges are sent by everfresh itself
    #[arg(long, value_name = "FILE")]
    pub(crate) tccli: Option<PathBuf>,
    /// Keep the network running after the story, until interrupted
    #[arg(long)]
    pub(crate) stay: bool,
}

pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write a whole number with ms, s or m, for example 5s");
    let (number, unit_ms) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1_000),
        _ if text.ends_with('m') => (&text[..text.len() - 1], 60_000),
        _ => return Err(wrong()),
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(count.checked_mul(unit_ms).ok_or_else(wrong)?))
}

pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no size: write a whole number with KiB, MiB or GiB, for example 256MiB");
    let (number, unit) = match text {
        _ if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        _ if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        _ if text.ends_with("GiB") => (&text[..text.len() - 3], 1 << 30),
        _ => return Err(wrong()),
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).ok_or_else(wrong)
}

fn parse_offset(text: &str) -> Result<i32, String> {
    let wrong = || format!("{text:?} is no offset from UTC: write for example +08:00 or -05:30");
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(wrong()),
    };
    let (hours, minutes) = text[1..].split_once(':').ok_or_else(wrong)?;
    let part = |digits: &str, most: i32| {
        let number: i32 = digits.parse().ok()?;
        (digits.len() == 2 && (0..=most).contains(&number)).then_some(number)
    };
    let (hours, minutes) = part(hours, 14).zip(part(minutes, 59)).ok_or_else(wrong)?;
    Ok(sign * (hours * 3600 + minutes * 60))
}

fn parse_fence_policy(text: &str) -> Result<purge::FencePolicy, String> {
    let wrong = || format!("{text:?} is no policy: write fetch, revalidate, refuse or serve");
    purge::FencePolicy::parse(text).ok_or_else(wrong)
}

fn parse_method(text: &str) -> Result<purge::Method, String> {
    purge::Method::parse(text).ok_or_else(|| format!("{text:?} is no method: write invalidate or delete"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Args::command().debug_assert();
    }

    /// Parses a command as the shell, systemd or a container would hand it over.
    fn takes(command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        if let Err(error) = Args::try_parse_from(&words) {
            panic!("{command}: {error}");
        }
    }

    #[test]
    fn what_is_deployed_are_commands_that_there_are() {
        let unit = include_str!("../../../deploy/systemd/everfresh-control.service");
        let flags = include_str!("../../../deploy/control.env.example");
        let (_, flags) = flags.split_once("EVERFRESH_CONTROL_FLAGS=\"").expect("the flags are set");
        let (flags, _) = flags.split_once('"').expect("in quotes");
        let started = |unit: &'static str| unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        takes(&started(unit).expect("it starts").replace("$EVERFRESH_CONTROL_FLAGS", flags));
        takes(started(include_str!("../../../deploy/systemd/everfresh-edge@.service")).expect("it starts"));
        let compose = include_str!("../../../deploy/compose.yaml");
        let commands: Vec<&str> = compose.split("command:\n").skip(1).collect();
        assert_eq!(commands.len(), 4, "control planes, a parent and two edges");
        for command in commands {
            let words: Vec<&str> =
                command.lines().map_while(|line| line.trim_start().strip_prefix("- ")).collect();
            takes(&format!("everfresh {}", words.join(" ")));
        }
    }

    #[test]
    fn each_edge_has_a_directory_of_its_own_or_none() {
        let args = |disk: Option<&str>, disk_size| DiskArgs { disk: disk.map(Into::into), disk_size };
        let of = |args: DiskArgs| args.of_edge("edge-2", Path::new("data/cache"));
        let config = |directory: &str, bytes| Some(DiskConfig { directory: directory.into(), bytes });
        assert_eq!(of(args(None, None)), None);
        assert_eq!(of(args(Some("d"), None)), config("d/edge-2", 1 << 30));
        assert_eq!(of(args(None, Some(5))), config("data/cache/edge-2", 5));
        assert_eq!(of(args(Some("d"), Some(5))), config("d/edge-2", 5));
    }

    #[test]
    fn times_sizes_and_offsets_are_read_and_refused() {
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_offset("+08:00"), Ok(28_800));
        assert_eq!(parse_offset("-05:30"), Ok(-19_800));
        for bad in ["", "5", "s", "5h", "-5s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
        for bad in ["", "64", "64MB", "MiB", "18446744073709551615GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        for bad in ["", "08:00", "+8:00", "+15:00", "+08:60", "+08", "+é:00"] {
            assert!(parse_offset(bad).is_err(), "{bad}");
        }
    }
}
