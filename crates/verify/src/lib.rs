//! `everfresh verify`: holds a live network to its promise.
//!
//! Owns the whole run: an origin of its own whose answers say when they were fetched, purges of every kind and method, and
//! reads from every edge that never stop; and the verdict. Sees the network from outside only: the public API, through
//! [`cli`], and HTTP to edges. What is promised is decided in `judge`, without any I/O.

mod content;
mod edges;
mod judge;
mod objects;
mod origin;
mod random;
mod report;
mod run;
mod site;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use cli::{Client, Common, Exit, Failure, HELP_TAIL, World};

use edges::{EdgeUrl, Reader};
use objects::Objects;
use origin::Origin;
use run::Run;
use site::Site;

/// How many edges one run reads from.
const EDGES_MAX: usize = 256;

const EXAMPLES: &str = "\
Examples:
  everfresh verify --edges http://127.0.0.1:8080
  everfresh verify --edges http://10.0.1.5,http://10.0.2.5 --zone example.com \\
      --origin-listen 0.0.0.0:9900 --origin-address 10.0.0.9:9900 --duration 10m
  everfresh verify --edges http://10.0.1.5:8080 --host check.example.com --json
      a domain that is there already, whose origin is --origin-address

What it does:
  Adds a domain to the zone, with an origin of its own; reads its objects from
  every edge all the time, purges them by URL, directory, host and tag, and by
  both methods, and looks whether any answer to a request that was sent after a
  task's success was fetched before the task. At the end the domain is deleted.
  It spends quota of the zone's purges, and nothing of other hosts is touched
  unless --purge-all is given.";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct VerifyArgs {
    #[command(flatten)]
    common: Common,
    /// The edges to read from, by address: all there are, or a purge that one of them ignores is not seen
    #[arg(long, required = true, value_delimiter = ',', value_name = "URL", value_parser = EdgeUrl::parse)]
    edges: Vec<EdgeUrl>,
    /// The zone's id or name; may be left out when there is only one
    #[arg(long)]
    zone: Option<String>,
    /// A domain that is there already, and whose origin is this command's [default: one is made, and deleted at the end]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Where the origin of this command listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    origin_listen: SocketAddr,
    /// Where edges reach it [default: the address it listens at]
    #[arg(long, value_name = "ADDR")]
    origin_address: Option<SocketAddr>,
    /// How long to read and purge: a number with s, m or h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    duration: Duration,
    /// Reads a second from all edges together, beside those that follow each purge
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Purges a second
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    purges: u32,
    /// Purge by whole zone, too: drops everything the zone has cached, of all hosts
    #[arg(long)]
    purge_all: bool,
    /// Go on while the API is away or says that it fails; purges that it did not take are counted, and nothing is expected
    /// of them. For runs in which parts of the network are taken away
    #[arg(long)]
    outages: bool,
    /// How many of 100 answers of the origin come late, and how many drip
    #[arg(long, value_name = "PERCENT", default_value_t = 15, value_parser = clap::value_parser!(u8).range(0..=100))]
    slow: u8,
    /// The length of large objects, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 2_500_000, value_parser = clap::value_parser!(u32).range(1000..=50_000_000))]
    large: u32,
    /// How long a task may take until success
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    timeout: Duration,
    /// Decides what is read and purged, and what is slow [default: chance]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// What a run needs of the process around it, beside [`World`].
#[derive(Clone, Debug)]
pub struct Instruments {
    /// A clock that never goes back.
    pub clock: fn() -> Duration,
    /// Set when the run is to end early, and clean up.
    pub interrupted: Arc<AtomicBool>,
}

/// The clock of a run: from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    clock: fn() -> Duration,
    began: Duration,
}

impl Clock {
    fn start(clock: fn() -> Duration) -> Self {
        Self { clock, began: clock() }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)().saturating_sub(self.began)
    }
}

/// Verifies. The exit code tells: done, the promise broken, or why it could not be told.
pub fn run(args: &VerifyArgs, world: &mut World<'_>, instruments: &Instruments) -> Exit {
    let outcome =
        cli::with_client(&args.common, world, |client, world| verify(args, client, world, instruments));
    cli::ended(outcome, world)
}

fn verify(
    args: &VerifyArgs,
    client: &Client<'_>,
    world: &mut World<'_>,
    instruments: &Instruments,
) -> Result<Exit, Failure> {
    if args.edges.len() > EDGES_MAX {
        return Err(Failure::Usage(format!("--edges names more than {EDGES_MAX} edges")));
    }
    let seed = args.seed.unwrap_or_else(random::seed);
    let clock = Clock::start(instruments.clock);
    // A name of its own for each run, whatever the seed: objects of an earlier one may still be cached.
    let objects = Arc::new(Objects::new(random::seed(), args.large as usize));
    let listener = TcpListener::bind(args.origin_listen).map_err(|error| {
        Failure::Usage(format!(
            "the origin cannot listen at {}: {error}; see --origin-listen",
            args.origin_listen
        ))
    })?;
    let listens = listener.local_addr()?;
    let origin = Arc::new(Origin::new(Arc::clone(&objects), clock, args.slow, seed));
    let ended = Arc::new(AtomicBool::new(false));
    origin.serve(listener, Arc::clone(&ended));
    let address = args.origin_address.unwrap_or(listens);
    let site = Site::prepare(args.zone.as_deref(), args.host.as_deref(), address, objects.run, client)?;
    let readers = args.edges.iter().map(|url| Reader::new(url, &site.host, clock)).collect();
    let run = Run::new(args, objects, readers, &site, clock, seed, &instruments.interrupted);
    let outcome = run.carry_out(client, world);
    ended.store(true, Ordering::Relaxed);
    let removed = site.remove(client);
    let findings = outcome?;
    let exit = report::print(args, &run, &findings, &origin.asked, world)?;
    removed.map(|()| exit)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no time: write a number with s, m or h, for example 60s or 10m");
    let unit_at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * unit_secs))
}
