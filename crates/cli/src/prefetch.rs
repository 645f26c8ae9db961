//! `prefetch`: URLs fetched ahead of their readers.

use std::time::Duration;

use clap::{Args, Subcommand};
use teo::edgeone::{
    CreatePrefetchTaskRequest, DescribePrefetchTasksRequest, DescribePrefetchTasksResponse, Header,
    PrefetchMediaSegments, PrefetchMode, Task, TaskStatus,
};

use crate::choice::choice;
use crate::client::{Answered, Client};
use crate::exit::{Exit, Failure};
use crate::purge::{print_created, zone_of_urls};
use crate::task::{PrefetchListArgs, filter, print_list};
use crate::{Common, HELP_TAIL, World, text};

/// Tasks in one answer: the API's own maximum.
const TASKS_PER_PAGE: i64 = 1000;
/// The most tasks of one job: as many URLs as one call may have.
const TASKS_MAX: usize = 10_000;
/// How long to pause between two questions how far a job is.
const PAUSE: Duration = Duration::from_millis(500);
/// How many failures are told one by one.
const SHOWN_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  everfresh prefetch https://www.example.com/big.iso --wait
  everfresh prefetch https://www.example.com/ https://www.example.com/a.css --mode edge
  everfresh prefetch https://www.example.com/ --header 'Accept-Encoding: gzip' --header 'Accept-Language: de'
  everfresh prefetch list --since 2h --status failed
  everfresh prefetch list --job 20ga521cpwch

  An edge begins once it has applied every purge that was accepted before.";

/// Arguments of `prefetch`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"), subcommand_negates_reqs = true)]
pub struct PrefetchArgs {
    #[command(flatten)]
    common: Common,
    /// URLs to fetch, each with http:// or https://
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Which edges fetch: default is those that ask origins themselves, edge is all
    #[arg(long, value_parser = choice(PrefetchMode::ALL), default_value = "default", value_name = "MODE")]
    mode: PrefetchMode,
    /// A request field to fetch with, for example 'Accept-Encoding: gzip'; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// The zone's id or name; '*' for URLs of several zones
    #[arg(long)]
    zone: Option<String>,
    /// Return only when every URL has been fetched or has failed
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    #[command(subcommand)]
    command: Option<PrefetchCommand>,
}

#[derive(Debug, Subcommand)]
enum PrefetchCommand {
    /// List prefetch tasks, newest first
    List(PrefetchListArgs),
}

impl PrefetchArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("\"{text}\" is no request field: write NAME: VALUE");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), value.to_owned())) }
}

pub(crate) fn run(args: &PrefetchArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    match &args.command {
        Some(PrefetchCommand::List(_)) if !args.urls.is_empty() => {
            Err(Failure::Usage("prefetch list takes no URLs before it".to_owned()))
        }
        Some(PrefetchCommand::List(list_args)) => list(list_args, args.common.json, client, world),
        None => create(args, client, world),
    }
}

fn create(args: &PrefetchArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let header = |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
    let request = CreatePrefetchTaskRequest {
        zone_id: zone_of_urls(args.zone.as_deref(), &args.urls, client)?,
        targets: Some(args.urls.clone()),
        mode: args.mode,
        encode_url: false,
        headers: args.header.iter().map(header).collect(),
        prefetch_media_segments: PrefetchMediaSegments::Off,
    };
    let deadline = (world.now)() + Duration::from_secs(args.timeout);
    let created = client.call(&request)?;
    let json = args.common.json;
    let (job_id, failed) = (&created.answer.job_id, &created.answer.failed_list);
    if !json {
        print_created(&args.urls, job_id, failed, world)?;
    }
    let mut fields = created.fields();
    let mut exit = if failed.is_empty() { Exit::Done } else { Exit::SomeTargetsFailed };
    if args.wait {
        let (tasks, has_ended) = wait(job_id, deadline, client, world)?;
        let ended = print_ended(job_id, &tasks.answer.tasks, has_ended, json, world)?;
        exit = if ended == Exit::Done { exit } else { ended };
        fields.insert("Tasks".to_owned(), tasks.fields().remove("Tasks").unwrap_or_default());
    }
    if json {
        text::json(world.out, fields)?;
    }
    Ok(exit)
}

/// Asks until no task of the job is under way, or the time is over. An endpoint that is away for a while is asked again.
fn wait(
    job_id: &str,
    deadline: std::time::SystemTime,
    client: &Client<'_>,
    world: &World<'_>,
) -> Result<(Answered<DescribePrefetchTasksResponse>, bool), Failure> {
    loop {
        let is_late = (world.now)() >= deadline;
        match of_job(job_id, client) {
            Ok(told) => {
                let goes_on = told.answer.tasks.iter().any(|task| task.status == TaskStatus::Processing);
                if !goes_on || is_late {
                    return Ok((told, !goes_on));
                }
            }
            Err(Failure::Unreachable(_)) if !is_late => {}
            Err(failure) => return Err(failure),
        }
        (world.pause)(PAUSE);
    }
}

fn of_job(job_id: &str, client: &Client<'_>) -> Result<Answered<DescribePrefetchTasksResponse>, Failure> {
    let page = |offset: usize| {
        client.call(&DescribePrefetchTasksRequest {
            zone_id: None,
            start_time: None,
            end_time: None,
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            limit: TASKS_PER_PAGE,
            filters: filter("job-id", vec![job_id.to_owned()], false).into_iter().collect(),
        })
    };
    let mut all = page(0)?;
    while (all.answer.tasks.len() as i64) < all.answer.total_count && all.answer.tasks.len() < TASKS_MAX {
        let next = page(all.answer.tasks.len())?.answer.tasks;
        if next.is_empty() {
            break;
        }
        all.answer.tasks.extend(next);
    }
    Ok(all)
}

fn print_ended(
    job_id: &str,
    tasks: &[Task],
    has_ended: bool,
    json: bool,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    let fetched = tasks.iter().filter(|task| task.status == TaskStatus::Success).count();
    let failed: Vec<&Task> = tasks
        .iter()
        .filter(|task| !matches!(task.status, TaskStatus::Success | TaskStatus::Processing))
        .collect();
    if !json {
        writeln!(world.out, "fetched {fetched} of {}", text::counted(tasks.len(), "URL"))?;
    }
    for task in failed.iter().take(SHOWN_MAX) {
        let why = task.fail_message.as_deref().unwrap_or(task.status.as_str());
        writeln!(world.err, "not fetched: {} ({})", text::printable(&task.target), text::printable(why))?;
    }
    if failed.len() > SHOWN_MAX {
        let job_id = text::printable(job_id);
        writeln!(
            world.err,
            "{} more; see: everfresh prefetch list --job {job_id}",
            failed.len() - SHOWN_MAX
        )?;
    }
    if !has_ended {
        let see = format!("everfresh prefetch list --job {}", text::printable(job_id));
        writeln!(world.err, "error: not all had ended when --timeout ran out; they go on. See: {see}")?;
        return Ok(Exit::WaitTimedOut);
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::TaskEndedOtherwise })
}

fn list(
    args: &PrefetchListArgs,
    json: bool,
    client: &Client<'_>,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    let span = args.span();
    let (start_time, end_time) = span.times((world.now)())?;
    let mut filters = span.filters();
    filters.extend(filter("target", args.target.iter().cloned().collect(), false));
    let request = DescribePrefetchTasksRequest {
        zone_id: span.zone_id(client)?,
        start_time,
        end_time,
        offset: span.offset,
        limit: span.limit,
        filters,
    };
    let tasks = client.call(&request)?;
    if json {
        text::json(world.out, tasks.fields())?;
        return Ok(Exit::Done);
    }
    print_list(&tasks.answer.tasks, tasks.answer.total_count, span.offset, world)
}
