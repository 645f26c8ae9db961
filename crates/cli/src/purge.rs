//! `purge`: sends a purge, and waits until no edge answers with what it purged.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use teo::edgeone::{CacheTag, CreatePurgeTaskRequest, FailReason, PurgeMethod, PurgeType};
use teo::everfresh::{
    DescribeJobProgressRequest, DescribeJobProgressResponse, EdgeState, EdgeWait, JobStatus,
    WAIT_MILLISECONDS_MAX,
};
use teo::wire::Wire as _;

use crate::choice::choice;
use crate::client::{Answered, Client};
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, text, zone};

/// How long one request may ask the API to wait; shorter than what proxies on the way tend to allow.
const POLL_MILLISECONDS_MAX: u64 = 20_000;
const _: () = assert!(POLL_MILLISECONDS_MAX <= WAIT_MILLISECONDS_MAX as u64);
/// How long to pause between two questions how far a job is.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  everfresh purge url https://www.example.com/a.css https://www.example.com/b.css --wait
  everfresh purge prefix https://www.example.com/img/ --method delete
  everfresh purge host www.example.com
  everfresh purge tag news sports --method invalidate --wait
  everfresh purge tag news --domain www.example.com --domain m.example.com
  everfresh purge all --zone example.com --wait --timeout 30

Zone:
  Without --zone, the only zone is meant. With several, URLs, prefixes and
  hosts find theirs by its name; tag and all need --zone.";

/// Arguments of `purge`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct PurgeArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    scope: Scope,
}

#[derive(Debug, Subcommand)]
enum Scope {
    /// Purge single URLs, with their query; always deletes
    Url {
        /// URLs, each with http:// or https://
        #[arg(required = true, value_name = "URL")]
        targets: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Purge everything below directories
    Prefix {
        /// Directories: URLs without a query
        #[arg(required = true, value_name = "URL")]
        targets: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Purge whole hosts
    Host {
        /// Host names, without a scheme
        #[arg(required = true, value_name = "HOST")]
        targets: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Purge everything that carries one of these cache tags
    Tag {
        /// Tags, as in the origin's header Cache-Tag
        #[arg(required = true, value_name = "TAG")]
        targets: Vec<String>,
        /// Only on this host; may be given several times
        #[arg(long, value_name = "HOST")]
        domain: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Purge a whole zone
    All {
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// What happens to cached copies: invalidate asks the origin whether they are still good, delete drops them;
    /// without it, URLs are deleted and all else is invalidated
    #[arg(long, value_parser = choice(PurgeMethod::ALL))]
    method: Option<PurgeMethod>,
    /// The zone's id or name; '*' for targets of several zones
    #[arg(long)]
    zone: Option<String>,
    /// Return only when no edge answers with what was purged
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl PurgeArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

impl Scope {
    fn parts(&self) -> (PurgeType, &[String], &Options) {
        match self {
            Scope::Url { targets, options } => (PurgeType::PurgeUrl, targets, options),
            Scope::Prefix { targets, options } => (PurgeType::PurgePrefix, targets, options),
            Scope::Host { targets, options } => (PurgeType::PurgeHost, targets, options),
            Scope::Tag { targets, options, .. } => (PurgeType::PurgeCacheTag, targets, options),
            Scope::All { options } => (PurgeType::PurgeAll, &[], options),
        }
    }

    fn domains(&self) -> &[String] {
        match self {
            Scope::Tag { domain, .. } => domain,
            Scope::Url { .. } | Scope::Prefix { .. } | Scope::Host { .. } | Scope::All { .. } => &[],
        }
    }
}

pub(crate) fn run(args: &PurgeArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let (purge_type, targets, options) = args.scope.parts();
    if purge_type == PurgeType::PurgeUrl && options.method == Some(PurgeMethod::Invalidate) {
        writeln!(world.err, "warning: a purge of URLs always deletes, whatever the method")?;
    }
    let domains = args.scope.domains();
    let request = CreatePurgeTaskRequest {
        zone_id: zone_id(&args.scope, client)?,
        purge_type,
        method: options.method,
        targets: (purge_type != PurgeType::PurgeAll).then(|| targets.to_vec()),
        cache_tag: (!domains.is_empty()).then(|| CacheTag { domains: domains.to_vec() }),
        encode_url: false,
    };
    let deadline = (world.now)() + Duration::from_secs(options.timeout);
    let created = client.call(&request)?;
    let json = args.common.json;
    if !json {
        print_created(targets, &created.answer.job_id, &created.answer.failed_list, world)?;
    }
    let waited = if options.wait { wait(&created.answer.job_id, deadline, client, world)? } else { None };
    if json {
        let mut fields = created.fields();
        if let Some(progress) = &waited {
            fields.insert("Progress".to_owned(), progress.answer.encode());
        }
        text::json(world.out, fields)?;
    }
    let ended = match (&waited, options.wait) {
        (Some(progress), _) => print_ended(&progress.answer, json, world)?,
        (None, true) => {
            let text = "the task had not ended when --timeout ran out; it goes on. See: everfresh task show";
            writeln!(world.err, "error: {text} {}", text::printable(&created.answer.job_id))?;
            Exit::WaitTimedOut
        }
        (None, false) => Exit::Done,
    };
    let some_failed = !created.answer.failed_list.is_empty();
    Ok(if ended == Exit::Done && some_failed { Exit::SomeTargetsFailed } else { ended })
}

/// Which zone a purge is about.
fn zone_id(scope: &Scope, client: &Client<'_>) -> Result<String, Failure> {
    let (_, targets, options) = scope.parts();
    if options.zone.is_some() {
        return zone::find_id(options.zone.as_deref(), client);
    }
    if let Scope::Url { targets, .. } | Scope::Prefix { targets, .. } = scope {
        return zone_of_urls(None, targets, client);
    }
    let zones = zone::fetch_all(client)?.answer.zones;
    let found = match scope {
        Scope::Url { .. } | Scope::Prefix { .. } | Scope::Host { .. } => {
            let hosts: Vec<String> = targets.iter().map(|target| host_of(target)).collect();
            zone::of_hosts(&zones, &hosts)
        }
        Scope::Tag { domain, .. } if !domain.is_empty() => {
            let hosts: Vec<String> = domain.iter().map(|target| host_of(target)).collect();
            zone::of_hosts(&zones, &hosts)
        }
        Scope::Tag { .. } | Scope::All { .. } => zone::only(&zones),
    };
    found.map(|zone| zone.zone_id.clone())
}

/// The zone of URLs: the one given, or the one that their hosts lie in.
pub(crate) fn zone_of_urls(
    given: Option<&str>,
    urls: &[String],
    client: &Client<'_>,
) -> Result<String, Failure> {
    if given.is_some() {
        return zone::find_id(given, client);
    }
    let zones = zone::fetch_all(client)?.answer.zones;
    if let Some(url) = urls.iter().find(|url| !url.contains("://")) {
        // Otherwise it would be looked for, and not found, as a host.
        return Err(Failure::Usage(format!("\"{url}\" is no URL; it begins with http:// or https://")));
    }
    let hosts: Vec<String> = urls.iter().map(|url| host_of(url)).collect();
    zone::of_hosts(&zones, &hosts).map(|zone| zone.zone_id.clone())
}

/// The host of a URL or of a bare host name, in lower case, without port. Good enough to find a zone; whether the
/// target is well formed is for the API to say.
fn host_of(target: &str) -> String {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    authority.split(':').next().unwrap_or("").trim_end_matches('.').to_ascii_lowercase()
}

/// Says what was accepted, and what was not.
pub(crate) fn print_created(
    targets: &[String],
    job_id: &str,
    failed_list: &[FailReason],
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let failed: BTreeSet<&String> = failed_list.iter().flat_map(|reason| &reason.targets).collect();
    // What failed may be a domain of a tag rather than a target, and what is named twice is one target.
    let accepted: BTreeSet<&String> = targets.iter().filter(|target| !failed.contains(target)).collect();
    let accepted = if targets.is_empty() { 1 } else { accepted.len() };
    let accepted = text::counted(accepted, "target");
    writeln!(world.out, "accepted {accepted} as job {}", text::printable(job_id))?;
    for reason in failed_list {
        for target in &reason.targets {
            let line = format!("not accepted: {target} ({})", reason.reason);
            writeln!(world.err, "{}", text::printable(&line))?;
        }
    }
    // A wait may take long; whoever watches should know by now that the purge is under way.
    world.out.flush()?;
    Ok(())
}

/// Waits until the job ends; nothing when the deadline comes first. An endpoint that is away for a while, such as a
/// control plane that restarts, is asked again: what it accepted, it finishes.
fn wait(
    job_id: &str,
    deadline: SystemTime,
    client: &Client<'_>,
    world: &World<'_>,
) -> Result<Option<Answered<DescribeJobProgressResponse>>, Failure> {
    loop {
        let left = deadline.duration_since((world.now)()).unwrap_or(Duration::ZERO);
        let wait_milliseconds =
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(POLL_MILLISECONDS_MAX);
        let request = DescribeJobProgressRequest {
            job_id: job_id.to_owned(),
            wait_milliseconds: i64::try_from(wait_milliseconds).unwrap_or(WAIT_MILLISECONDS_MAX),
        };
        match client.call_waiting(&request, Duration::from_millis(wait_milliseconds)) {
            Ok(progress) if progress.answer.status != JobStatus::Processing => return Ok(Some(progress)),
            Ok(_) if left.is_zero() => return Ok(None),
            // Sooner than asked for, if the API does not wait that long.
            Ok(_) => (world.pause)(RETRY_PAUSE),
            Err(Failure::Unreachable(why)) if left.is_zero() => return Err(Failure::Unreachable(why)),
            Err(Failure::Unreachable(_)) => (world.pause)(RETRY_PAUSE),
            Err(failure) => return Err(failure),
        }
    }
}

fn print_ended(
    progress: &DescribeJobProgressResponse,
    json: bool,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    if progress.status == JobStatus::Success {
        if !json {
            writeln!(world.out, "{}", success_line(progress))?;
        }
        return Ok(Exit::Done);
    }
    let given_up = progress.edges.iter().filter(|edge| edge.reason == EdgeWait::PromiseGivenUp).count();
    let why = match given_up {
        0 => String::new(),
        number => format!(": {} may still answer with what was purged", text::counted(number, "edge")),
    };
    let line = format!(
        "the task ended as {}{why}; see: everfresh task show {}",
        progress.status.as_str(),
        progress.job_id
    );
    writeln!(world.err, "error: {}", text::printable(&line))?;
    Ok(Exit::TaskEndedOtherwise)
}

/// `purged on every edge in 12 ms, up to seq 7`.
pub(crate) fn success_line(progress: &DescribeJobProgressResponse) -> String {
    // A silent edge's lease has run out by now: it asks the origin for everything, so it keeps the promise too.
    let silent = progress.edges.iter().filter(|edge| edge.state != EdgeState::Applied).count();
    let silent = match silent {
        0 => String::new(),
        number => format!(" ({} without a lease)", text::counted(number, "edge")),
    };
    let seq = progress.last_seq.map_or(String::new(), |seq| format!(", up to seq {seq}"));
    format!("purged on every edge in {} ms{seq}{silent}", progress.elapsed_milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_urls_and_names() {
        for (target, host) in [
            ("https://WWW.example.com:8443/a?b", "www.example.com"),
            ("http://www.example.com", "www.example.com"),
            ("www.example.com.", "www.example.com"),
            ("http://a.test?x=://", "a.test"),
            ("", ""),
        ] {
            assert_eq!(host_of(target), host, "{target}");
        }
    }
}
