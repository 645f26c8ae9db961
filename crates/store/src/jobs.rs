//! Jobs and their tasks: what is pending, what became of each, and the queries of `DescribePurgeTasks`.

use crate::database::{Row, Sql, commit};
use crate::log::{parse_method, parse_zone, seq_of_column, to_column};
use crate::{Store, StoreError};
use purge::{JobId, Method, PurgeSeq, PurgeType, TaskStatus};
use std::ops::RangeInclusive;
use zone::{HostName, ZoneId};

/// Jobs that one call of [`Store::forget_jobs`] removes at most, so that no writer waits long.
pub const FORGET_JOBS_MAX: u32 = 100;

/// A job still processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingJob {
    /// Its id.
    pub job_id: JobId,
    /// The last of its entries: who has applied up to here has applied the job.
    pub last_seq: PurgeSeq,
    /// What its tasks make of the copies.
    pub method: Method,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// One `CreatePurgeTask` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub job_id: JobId,
    /// The first of its entries.
    pub first_seq: PurgeSeq,
    /// The last of its entries.
    pub last_seq: PurgeSeq,
    /// What its targets are.
    pub kind: PurgeType,
    /// What its tasks make of the copies.
    pub method: Method,
    /// How far it is.
    pub status: TaskStatus,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its status last changed, likewise.
    pub updated_ms: i64,
    /// The zones of its tasks.
    pub zones: Vec<ZoneId>,
}

/// Which targets a query is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetFilter {
    /// This one.
    Exact(String),
    /// Every one that contains this.
    Containing(String),
}

/// Which tasks to describe: those that fit every part that is given.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Of these zones; `None` for every zone.
    pub zones: Option<Vec<ZoneId>>,
    /// Taken in these seconds since the Unix epoch.
    pub created_secs: Option<RangeInclusive<i64>>,
    /// Of this job.
    pub job_id: Option<JobId>,
    /// With this target.
    pub target: Option<TargetFilter>,
    /// With any of these hosts; all when empty.
    pub domains: Vec<HostName>,
    /// In any of these states; all when empty.
    pub statuses: Vec<TaskStatus>,
    /// Of this type.
    pub kind: Option<PurgeType>,
    /// How many matches to pass over.
    pub offset: u64,
    /// How many to return at most.
    pub limit: u32,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Its job.
    pub job_id: JobId,
    /// Its zone.
    pub zone: ZoneId,
    /// The target as it was submitted.
    pub target: String,
    /// What the target is.
    pub kind: PurgeType,
    /// What becomes of the copies.
    pub method: Method,
    /// How far it is.
    pub status: TaskStatus,
    /// Why it failed.
    pub fail_message: Option<String>,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its status last changed, likewise.
    pub updated_ms: i64,
}

/// The answer to a [`TaskQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// How many tasks fit, before paging.
    pub total: u64,
    /// The page: newest first, those of one moment in the order they were given.
    pub tasks: Vec<TaskRow>,
}

impl Store {
    /// Every job still processing, oldest first.
    pub async fn pending_jobs(&self) -> Result<Vec<PendingJob>, StoreError> {
        let mut tx = self.glance().await?;
        let rows = tx
            .query(
                "SELECT job_id, last_seq, method, created_ms FROM jobs WHERE status = 'processing' \
             ORDER BY first_seq",
            )
            .all()
            .await?;
        rows.iter()
            .map(|row| {
                Ok(PendingJob {
                    job_id: parse_job_id(row.get("job_id")?)?,
                    last_seq: seq_of_column(row.get("last_seq")?),
                    method: parse_method(row.get("method")?)?,
                    created_ms: row.get("created_ms")?,
                })
            })
            .collect()
    }

    /// Gives jobs that are still processing their final status; others are left alone.
    pub async fn complete_jobs(
        &self,
        jobs: &[JobId],
        status: TaskStatus,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut jobs: Vec<&JobId> = jobs.iter().collect();
        // In one order, whoever completes them: two that do so at once then wait for each other in one direction only.
        jobs.sort_unstable();
        let mut tx = self.write_beside().await?;
        for job in jobs {
            tx.query(
                "UPDATE jobs SET status = $1, updated_ms = CASE WHEN created_ms > $2 THEN \
             created_ms ELSE $2 END WHERE job_id = $3 AND status = 'processing'",
            )
            .bind(status.as_str())
            .bind(now_ms)
            .bind(job.as_str())
            .execute()
            .await?;
        }
        commit(tx).await
    }

    /// One job; `None` when there is none of this id.
    pub async fn job(&self, job_id: &JobId) -> Result<Option<Job>, StoreError> {
        let mut tx = self.read().await?;
        let row = tx.query("SELECT * FROM jobs WHERE job_id = $1").bind(job_id.as_str()).optional().await?;
        let Some(row) = row else { return Ok(None) };
        let zones: Vec<String> = tx
            .query("SELECT DISTINCT zone_id FROM tasks WHERE job_id = $1 ORDER BY zone_id")
            .bind(job_id.as_str())
            .scalars()
            .await?;
        let counts = tx
            .query(
                "SELECT count(*), count(own_status), max(own_updated_ms) FROM tasks WHERE job_id = \
             $1",
            )
            .bind(job_id.as_str())
            .one()
            .await?;
        let (tasks, of_their_own): (i64, i64) = (counts.get(0)?, counts.get(1)?);
        let own_updated_ms: Option<i64> = counts.get(2)?;
        // The only status a task can have of its own; a job of which nothing else is left has it too.
        let (status, updated_ms) = match own_updated_ms {
            Some(own_updated_ms) if tasks == of_their_own => (TaskStatus::Failed, own_updated_ms),
            _ => (parse_status(row.get("status")?)?, row.get("updated_ms")?),
        };
        Ok(Some(Job {
            job_id: job_id.clone(),
            first_seq: seq_of_column(row.get("first_seq")?),
            last_seq: seq_of_column(row.get("last_seq")?),
            kind: parse_kind(row.get("kind")?)?,
            method: parse_method(row.get("method")?)?,
            status,
            created_ms: row.get("created_ms")?,
            updated_ms,
            zones: zones.iter().map(|zone| parse_zone(zone)).collect::<Result<_, _>>()?,
        }))
    }

    /// The tasks that fit `query`, newest first.
    pub async fn describe_tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let mut tx = self.read().await?;
        let mut count = Sql::new("SELECT count(*) FROM tasks t");
        // Every task has its job; it is only looked up where the query asks about it.
        if query.kind.is_some() || !query.statuses.is_empty() {
            count.push(" JOIN jobs j ON j.job_id = t.job_id");
        }
        push_matches(&mut count, query);
        let total: i64 = tx.run(count).scalar().await?;
        let mut page = Sql::new(
            "SELECT t.job_id, t.zone_id, t.target, j.kind, j.method, t.fail_message, t.created_ms, \
             coalesce(t.own_status, j.status) AS status, coalesce(t.own_updated_ms, j.updated_ms) AS updated_ms \
             FROM tasks t JOIN jobs j ON j.job_id = t.job_id",
        );
        push_matches(&mut page, query);
        page.push(" ORDER BY t.created_ms DESC, t.task_id LIMIT ");
        page.bind(query.limit);
        page.push(" OFFSET ");
        page.bind(to_column(query.offset));
        let rows = tx.run(page).all().await?;
        let tasks = rows.iter().map(task_of_row).collect::<Result<_, _>>()?;
        Ok(TaskPage { total: total.cast_unsigned(), tasks })
    }

    /// Forgets finished jobs taken before `before_ms`, with their tasks; at most [`FORGET_JOBS_MAX`] a call. Returns
    /// how many went.
    pub async fn forget_jobs(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut tx = self.write_beside().await?;
        tx.be_patient();
        let done = tx
            .query(
                "DELETE FROM jobs WHERE job_id IN (SELECT job_id FROM jobs WHERE created_ms < $1 \
             AND status <> 'processing' LIMIT $2)",
            )
            .bind(before_ms)
            .bind(FORGET_JOBS_MAX)
            .execute()
            .await?;
        commit(tx).await?;
        Ok(done)
    }
}

fn push_matches<'q>(sql: &mut Sql<'q>, query: &'q TaskQuery) {
    let TaskQuery { zones, created_secs, job_id, target, domains, statuses, kind, .. } = query;
    sql.push(" WHERE TRUE");
    push_common(sql, zones.as_deref(), created_secs.as_ref(), job_id.as_ref(), target.as_ref());
    if !domains.is_empty() {
        sql.push(" AND (FALSE");
        for domain in domains {
            sql.push(" OR instr(t.domains, ").bind(format!("\n{domain}\n")).push(") > 0");
        }
        sql.push(")");
    }
    if !statuses.is_empty() {
        sql.push(" AND coalesce(t.own_status, j.status) IN ");
        sql.bind_list(statuses.iter().map(|status| status.as_str()));
    }
    if let Some(kind) = kind {
        sql.push(" AND j.kind = ").bind(kind.as_str());
    }
}

/// The filters that tasks of purges and of prefetches share. Their table is `t`.
pub(crate) fn push_common<'q>(
    sql: &mut Sql<'q>,
    zones: Option<&'q [ZoneId]>,
    created_secs: Option<&RangeInclusive<i64>>,
    job_id: Option<&'q JobId>,
    target: Option<&'q TargetFilter>,
) {
    match zones {
        None => {}
        Some([]) => {
            sql.push(" AND FALSE");
        }
        Some(zones) => {
            sql.push(" AND t.zone_id IN ").bind_list(zones.iter().map(ZoneId::as_str));
        }
    }
    if let Some(range) = created_secs {
        sql.push(" AND t.created_ms >= ").bind(range.start().saturating_mul(1000));
        sql.push(" AND t.created_ms < ").bind(range.end().saturating_add(1).saturating_mul(1000));
    }
    if let Some(job_id) = job_id {
        sql.push(" AND t.job_id = ").bind(job_id.as_str());
    }
    match target {
        None => {}
        Some(TargetFilter::Exact(target)) => {
            sql.push(" AND t.target = ").bind(target.as_str());
        }
        Some(TargetFilter::Containing(part)) => {
            sql.push(" AND instr(t.target, ").bind(part.as_str()).push(") > 0");
        }
    }
}

fn task_of_row(row: &Row) -> Result<TaskRow, StoreError> {
    Ok(TaskRow {
        job_id: parse_job_id(row.get("job_id")?)?,
        zone: parse_zone(row.get("zone_id")?)?,
        target: row.get("target")?,
        kind: parse_kind(row.get("kind")?)?,
        method: parse_method(row.get("method")?)?,
        status: parse_status(row.get("status")?)?,
        fail_message: row.get("fail_message")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
    })
}

pub(crate) fn parse_status(text: &str) -> Result<TaskStatus, StoreError> {
    TaskStatus::parse(text).ok_or_else(|| StoreError::corrupt("task status", text))
}

fn parse_kind(text: &str) -> Result<PurgeType, StoreError> {
    PurgeType::parse(text).ok_or_else(|| StoreError::corrupt("purge type", text))
}

pub(crate) fn parse_job_id(text: &str) -> Result<JobId, StoreError> {
    JobId::parse(text).map_err(|_| StoreError::corrupt("job id", text))
}
