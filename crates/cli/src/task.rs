//! `task`: what became of purges.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use teo::edgeone::{AdvancedFilter, DescribePurgeTasksRequest, PurgeType, Task, TaskStatus};
use teo::everfresh::{
    DescribeJobProgressRequest, DescribeJobProgressResponse, EdgeProgress, EdgeWait, JobStatus,
};
use teo::wire::Wire as _;

use crate::choice::choice;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::{Common, HELP_TAIL, World, purge, text, times, zone};

/// Tasks in one answer: the API's own maximum.
const TASKS_MAX: i64 = 1000;

const EXAMPLES: &str = "\
Examples:
  everfresh task list                                     (those of the last 24 hours)
  everfresh task list --since 2h --status processing
  everfresh task list --since 2026-11-20T00:00:00Z --until 2026-11-21T00:00:00Z --limit 100
  everfresh task list --job 20ga521cpwch
  everfresh task show 20ga521cpwch";

/// Arguments of `task`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{HELP_TAIL}"))]
pub struct TaskArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// List tasks, newest first
    List(ListArgs),
    /// Show one job: how far it is on each edge, and its tasks
    Show {
        /// The job's id, as purge printed it
        job: String,
    },
}

/// Which tasks a list is about, of purges and of prefetches alike.
#[derive(Debug, Args)]
pub(crate) struct Span {
    /// Only the tasks of this job, whenever it was
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "until"])]
    job: Option<String>,
    /// Accepted since then: a span back from now (90s, 30m, 2h, 7d), or a time such as 2026-11-24T07:00:00Z
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,
    /// Accepted until then; at most 7 days later [default: now]
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true)]
    until: String,
    /// Only this zone, by id or name
    #[arg(long)]
    zone: Option<String>,
    /// Only tasks in this state; may be given several times
    #[arg(long, value_parser = choice(TaskStatus::ALL))]
    status: Vec<TaskStatus>,
    /// Only targets on this host; may be given several times
    #[arg(long, value_name = "HOST")]
    domain: Vec<String>,
    /// The most tasks to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..=TASKS_MAX))]
    pub(crate) limit: i64,
    /// How many to skip
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) offset: i64,
}

impl Span {
    /// From when to when; nothing when one job is meant.
    pub(crate) fn times(&self, now: SystemTime) -> Result<(Option<String>, Option<String>), Failure> {
        if self.job.is_some() {
            return Ok((None, None));
        }
        Ok((Some(times::point(&self.since, now)?), Some(times::point(&self.until, now)?)))
    }

    /// The zone meant, if one is.
    pub(crate) fn zone_id(&self, client: &Client<'_>) -> Result<Option<String>, Failure> {
        self.zone.as_deref().map(|zone| zone::find_id(Some(zone), client)).transpose()
    }

    /// The filters that both lists have.
    pub(crate) fn filters(&self) -> Vec<AdvancedFilter> {
        let statuses = self.status.iter().map(|status| status.as_str().to_owned()).collect();
        let job = filter("job-id", self.job.iter().cloned().collect(), false);
        let others = [filter("statuses", statuses, false), filter("domains", self.domain.clone(), false)];
        job.into_iter().chain(others.into_iter().flatten()).collect()
    }
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    span: Span,
    /// Only purges of this type
    #[arg(long = "type", value_parser = choice(PurgeType::ALL), value_name = "TYPE")]
    purge_type: Option<PurgeType>,
    /// Only targets that contain this text
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
}

/// Arguments of `prefetch list`.
#[derive(Debug, Args)]
pub(crate) struct PrefetchListArgs {
    #[command(flatten)]
    span: Span,
    /// Only this URL, as it was given
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
}

impl PrefetchListArgs {
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }
}

impl TaskArgs {
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

pub(crate) fn run(args: &TaskArgs, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    match &args.command {
        TaskCommand::List(list_args) => list(list_args, args.common.json, client, world),
        TaskCommand::Show { job } => show(job, args.common.json, client, world),
    }
}

/// A filter by these values; nothing without any.
pub(crate) fn filter(name: &str, values: Vec<String>, fuzzy: bool) -> Option<AdvancedFilter> {
    let fuzzy = fuzzy.then_some(true);
    (!values.is_empty()).then(|| AdvancedFilter { name: name.to_owned(), values, fuzzy })
}

fn of_job(job: &str) -> DescribePurgeTasksRequest {
    DescribePurgeTasksRequest {
        zone_id: None,
        start_time: None,
        end_time: None,
        offset: 0,
        limit: TASKS_MAX,
        filters: filter("job-id", vec![job.to_owned()], false).into_iter().collect(),
    }
}

fn list(args: &ListArgs, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let (start_time, end_time) = args.span.times((world.now)())?;
    let purge_type = args.purge_type.iter().map(|purge_type| purge_type.as_str().to_owned()).collect();
    let mut filters = args.span.filters();
    filters.extend(filter("type", purge_type, false));
    filters.extend(filter("target", args.target.iter().cloned().collect(), true));
    let request = DescribePurgeTasksRequest {
        zone_id: args.span.zone_id(client)?,
        start_time,
        end_time,
        offset: args.span.offset,
        limit: args.span.limit,
        filters,
    };
    let tasks = client.call(&request)?;
    if json {
        text::json(world.out, tasks.fields())?;
        return Ok(Exit::Done);
    }
    print_list(&tasks.answer.tasks, tasks.answer.total_count, args.span.offset, world)
}

/// Prints one page of tasks, and what there is beyond it.
pub(crate) fn print_list(
    tasks: &[Task],
    total_count: i64,
    offset: i64,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    print_tasks(tasks, world)?;
    if total_count == 0 {
        writeln!(
            world.err,
            "no such tasks; without --job, those of the last 24 hours are looked at unless --since says more"
        )?;
    }
    let shown = tasks.len() as i64 + offset;
    if total_count > shown {
        let more = total_count - shown;
        writeln!(world.err, "{more} more; see --limit and --offset")?;
    }
    Ok(Exit::Done)
}

fn print_tasks(tasks: &[Task], world: &mut World<'_>) -> Result<(), Failure> {
    let row = |task: &Task| {
        let status = match &task.fail_message {
            Some(message) if !message.is_empty() => format!("{} ({message})", task.status.as_str()),
            _ => task.status.as_str().to_owned(),
        };
        vec![
            task.job_id.clone(),
            task.create_time.clone(),
            task.task_type.as_str().to_owned(),
            task.method.map_or("", |method| method.as_str()).to_owned(),
            status,
            task.target.clone(),
        ]
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    text::table(world.out, &["JOB", "ACCEPTED", "TYPE", "METHOD", "STATUS", "TARGET"], &rows)?;
    Ok(())
}

fn show(job: &str, json: bool, client: &Client<'_>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let request = DescribeJobProgressRequest { job_id: job.to_owned(), wait_milliseconds: 0 };
    let progress = client.call(&request)?;
    let tasks = client.call(&of_job(job))?;
    if json {
        let mut fields = tasks.fields();
        fields.insert("Progress".to_owned(), progress.answer.encode());
        text::json(world.out, fields)?;
        return Ok(Exit::Done);
    }
    print_progress(&progress.answer, world)?;
    writeln!(world.out)?;
    print_tasks(&tasks.answer.tasks, world)?;
    Ok(Exit::Done)
}

fn print_progress(progress: &DescribeJobProgressResponse, world: &mut World<'_>) -> Result<(), Failure> {
    let seqs = match (progress.first_seq, progress.last_seq) {
        (Some(first), Some(last)) => format!(", seq {first} to {last}"),
        _ => String::new(),
    };
    let line = match progress.status {
        JobStatus::Success => purge::success_line(progress),
        status => {
            format!("{} for {} ms{seqs}{}", status.as_str(), progress.elapsed_milliseconds, end(progress))
        }
    };
    writeln!(world.out, "job {}: {}", text::printable(&progress.job_id), text::printable(&line))?;
    let row = |edge: &EdgeProgress| {
        vec![
            edge.edge_name.clone(),
            edge.member_id.clone(),
            edge.applied_seq.to_string(),
            edge.lag_entries.to_string(),
            edge.state.as_str().to_owned(),
            if edge.waited_for { "yes".to_owned() } else { "no".to_owned() },
            reason(edge),
        ]
    };
    let rows: Vec<_> = progress.edges.iter().map(row).collect();
    if !rows.is_empty() {
        writeln!(world.out)?;
        let header = ["EDGE", "MEMBER", "APPLIED", "LAG", "STATE", "WAITED FOR", "WHY"];
        text::table(world.out, &header, &rows)?;
    }
    Ok(())
}

/// By when a job ends, as far as that is known.
fn end(progress: &DescribeJobProgressResponse) -> String {
    let without_bound =
        progress.edges.iter().filter(|edge| edge.waited_for && edge.reason == EdgeWait::AcksOnly).count();
    match (progress.deadline_milliseconds, without_bound) {
        (_, 1..) => format!(
            "; it waits without bound for {} with acks-only: until it acknowledges, or is removed",
            text::counted(without_bound, "edge")
        ),
        (Some(0), _) => "; it ends now".to_owned(),
        (Some(left), _) => format!("; it ends in {left} ms at the latest, whichever edge is silent"),
        (None, _) => String::new(),
    }
}

/// Why an edge is waited for or not, as `silent, heard of 2600 ms ago`.
fn reason(edge: &EdgeProgress) -> String {
    let heard = |reason: &str| match edge.silent_milliseconds {
        Some(silent) => format!("{reason}, heard of {silent} ms ago"),
        None => format!("{reason}, not heard of"),
    };
    match edge.reason {
        EdgeWait::Silent | EdgeWait::AcksOnly => heard(edge.reason.as_str()),
        EdgeWait::PromiseGivenUp => {
            format!("{}: policy {}", edge.reason.as_str(), edge.fence_policy.as_str())
        }
        EdgeWait::Acknowledged | EdgeWait::NotAcknowledged | EdgeWait::LeaseOver => {
            edge.reason.as_str().to_owned()
        }
    }
}
