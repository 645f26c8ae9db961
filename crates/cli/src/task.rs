//! `task`: what became of purges.

use clap::{Args, Subcommand};
use teo::edgeone::{AdvancedFilter, DescribePurgeTasksRequest, PurgeType, Task, TaskStatus};
use teo::everfresh::{DescribeJobProgressRequest, DescribeJobProgressResponse, JobStatus};
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

#[derive(Debug, Args)]
struct ListArgs {
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
    /// Only purges of this type
    #[arg(long = "type", value_parser = choice(PurgeType::ALL), value_name = "TYPE")]
    purge_type: Option<PurgeType>,
    /// Only targets that contain this text
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Only targets on this host; may be given several times
    #[arg(long, value_name = "HOST")]
    domain: Vec<String>,
    /// The most tasks to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..=TASKS_MAX))]
    limit: i64,
    /// How many to skip
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
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

fn filter(name: &str, values: Vec<String>, fuzzy: bool) -> Option<AdvancedFilter> {
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
    let now = (world.now)();
    let mut request = DescribePurgeTasksRequest {
        zone_id: args.zone.as_deref().map(|zone| zone::find_id(Some(zone), client)).transpose()?,
        start_time: None,
        end_time: None,
        offset: args.offset,
        limit: args.limit,
        filters: Vec::new(),
    };
    match &args.job {
        Some(job) => request.filters.extend(filter("job-id", vec![job.clone()], false)),
        None => {
            request.start_time = Some(times::point(&args.since, now)?);
            request.end_time = Some(times::point(&args.until, now)?);
        }
    }
    let statuses = args.status.iter().map(|status| status.as_str().to_owned()).collect();
    let purge_type = args.purge_type.iter().map(|purge_type| purge_type.as_str().to_owned()).collect();
    request.filters.extend(filter("statuses", statuses, false));
    request.filters.extend(filter("type", purge_type, false));
    request.filters.extend(filter("target", args.target.iter().cloned().collect(), true));
    request.filters.extend(filter("domains", args.domain.clone(), false));
    let tasks = client.call(&request)?;
    if json {
        text::json(world.out, tasks.fields())?;
        return Ok(Exit::Done);
    }
    print_tasks(&tasks.answer.tasks, world)?;
    if tasks.answer.total_count == 0 {
        writeln!(
            world.err,
            "no such tasks; without --job, those of the last 24 hours are looked at unless --since says more"
        )?;
    }
    let shown = tasks.answer.tasks.len() as i64 + args.offset;
    if tasks.answer.total_count > shown {
        let more = tasks.answer.total_count - shown;
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
        status => format!("{} for {} ms{seqs}", status.as_str(), progress.elapsed_milliseconds),
    };
    writeln!(world.out, "job {}: {}", text::printable(&progress.job_id), text::printable(&line))?;
    let row = |edge: &teo::everfresh::EdgeProgress| {
        vec![
            edge.edge_name.clone(),
            edge.member_id.clone(),
            edge.applied_seq.to_string(),
            edge.state.as_str().to_owned(),
        ]
    };
    let rows: Vec<_> = progress.edges.iter().map(row).collect();
    if !rows.is_empty() {
        writeln!(world.out)?;
        text::table(world.out, &["EDGE", "MEMBER", "APPLIED", "STATE"], &rows)?;
    }
    Ok(())
}
