//! Jobs and their tasks: what is pending, what became of each, and the queries of `DescribePurgeTasks`.

use crate::log::{parse_method, parse_zone, seq_of_column, to_column};
use crate::open::commit;
use crate::{Store, StoreError};
use purge::{JobId, Method, PurgeSeq, PurgeType, TaskStatus};
use sqlx::{QueryBuilder, Row, Sqlite};
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
        let mut tx = self.read().await?;
        let rows: Vec<(String, i64, String, i64)> = sqlx::query_as(
            "SELECT job_id, last_seq, method, created_ms FROM jobs WHERE status = 'processing' ORDER BY first_seq",
        )
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter()
            .map(|(id, last_seq, method, created_ms)| {
                Ok(PendingJob {
                    job_id: parse_job_id(&id)?,
                    last_seq: seq_of_column(last_seq),
                    method: parse_method(&method)?,
                    created_ms,
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
        let mut tx = self.write().await?;
        for job in jobs {
            sqlx::query(
                "UPDATE jobs SET status = ?, updated_ms = max(?, created_ms) \
                 WHERE job_id = ? AND status = 'processing'",
            )
            .bind(status.as_str())
            .bind(now_ms)
            .bind(job.as_str())
            .execute(&mut *tx)
            .await?;
        }
        commit(tx).await
    }

    /// One job; `None` when there is none of this id.
    pub async fn job(&self, job_id: &JobId) -> Result<Option<Job>, StoreError> {
        let mut tx = self.read().await?;
        let row = sqlx::query("SELECT * FROM jobs WHERE job_id = ?")
            .bind(job_id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let zones: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT zone_id FROM tasks WHERE job_id = ? ORDER BY zone_id")
                .bind(job_id.as_str())
                .fetch_all(&mut *tx)
                .await?;
        let (tasks, of_their_own, own_updated_ms): (i64, i64, Option<i64>) = sqlx::query_as(
            "SELECT count(*), count(own_status), max(own_updated_ms) FROM tasks WHERE job_id = ?",
        )
        .bind(job_id.as_str())
        .fetch_one(&mut *tx)
        .await?;
        // The only status a task can have of its own; a job of which nothing else is left has it too.
        let (status, updated_ms) = match own_updated_ms {
            Some(own_updated_ms) if tasks == of_their_own => (TaskStatus::Failed, own_updated_ms),
            _ => (parse_status(row.try_get("status")?)?, row.try_get("updated_ms")?),
        };
        Ok(Some(Job {
            job_id: job_id.clone(),
            first_seq: seq_of_column(row.try_get("first_seq")?),
            last_seq: seq_of_column(row.try_get("last_seq")?),
            kind: parse_kind(row.try_get("kind")?)?,
            method: parse_method(row.try_get("method")?)?,
            status,
            created_ms: row.try_get("created_ms")?,
            updated_ms,
            zones: zones.iter().map(|zone| parse_zone(zone)).collect::<Result<_, _>>()?,
        }))
    }

    /// The tasks that fit `query`, newest first.
    pub async fn describe_tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let mut tx = self.read().await?;
        let mut count = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM tasks t");
        // Every task has its job; it is only looked up where the query asks about it.
        if query.kind.is_some() || !query.statuses.is_empty() {
            count.push(" JOIN jobs j ON j.job_id = t.job_id");
        }
        push_matches(&mut count, query);
        let total: i64 = count.build_query_scalar().persistent(false).fetch_one(&mut *tx).await?;
        let mut page = QueryBuilder::<Sqlite>::new(
            "SELECT t.job_id, t.zone_id, t.target, j.kind, j.method, t.fail_message, t.created_ms, \
             coalesce(t.own_status, j.status) AS status, coalesce(t.own_updated_ms, j.updated_ms) AS updated_ms \
             FROM tasks t JOIN jobs j ON j.job_id = t.job_id",
        );
        push_matches(&mut page, query);
        page.push(" ORDER BY t.created_ms DESC, t.task_id LIMIT ");
        page.push_bind(query.limit);
        page.push(" OFFSET ");
        page.push_bind(to_column(query.offset));
        let rows = page.build().persistent(false).fetch_all(&mut *tx).await?;
        let tasks = rows.iter().map(task_of_row).collect::<Result<_, _>>()?;
        Ok(TaskPage { total: total.cast_unsigned(), tasks })
    }

    /// Forgets finished jobs taken before `before_ms`, with their tasks; at most [`FORGET_JOBS_MAX`] a call. Returns
    /// how many went.
    pub async fn forget_jobs(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "DELETE FROM jobs WHERE job_id IN \
             (SELECT job_id FROM jobs WHERE created_ms < ? AND status <> 'processing' LIMIT ?)",
        )
        .bind(before_ms)
        .bind(FORGET_JOBS_MAX)
        .execute(&mut *tx)
        .await?;
        commit(tx).await?;
        Ok(done.rows_affected())
    }
}

fn push_matches(sql: &mut QueryBuilder<Sqlite>, query: &TaskQuery) {
    sql.push(" WHERE TRUE");
    if let Some(zones) = &query.zones {
        push_any(sql, " AND t.zone_id IN (", zones.iter().map(|zone| zone.as_str().to_owned()));
    }
    if let Some(range) = &query.created_secs {
        sql.push(" AND t.created_ms >= ").push_bind(range.start().saturating_mul(1000));
        sql.push(" AND t.created_ms < ").push_bind(range.end().saturating_add(1).saturating_mul(1000));
    }
    if let Some(job_id) = &query.job_id {
        sql.push(" AND t.job_id = ").push_bind(job_id.as_str().to_owned());
    }
    match &query.target {
        None => {}
        Some(TargetFilter::Exact(target)) => {
            sql.push(" AND t.target = ").push_bind(target.clone());
        }
        Some(TargetFilter::Containing(part)) => {
            sql.push(" AND instr(t.target, ").push_bind(part.clone()).push(") > 0");
        }
    }
    if !query.domains.is_empty() {
        sql.push(" AND (FALSE");
        for domain in &query.domains {
            sql.push(" OR instr(t.domains, ").push_bind(format!("\n{domain}\n")).push(") > 0");
        }
        sql.push(")");
    }
    if !query.statuses.is_empty() {
        let statuses = query.statuses.iter().map(|status| status.as_str().to_owned());
        push_any(sql, " AND coalesce(t.own_status, j.status) IN (", statuses);
    }
    if let Some(kind) = query.kind {
        sql.push(" AND j.kind = ").push_bind(kind.as_str());
    }
}

fn push_any(sql: &mut QueryBuilder<Sqlite>, begin: &'static str, values: impl Iterator<Item = String>) {
    let mut list = sql.push(begin).separated(", ");
    for value in values {
        list.push_bind(value);
    }
    sql.push(")");
}

fn task_of_row(row: &sqlx::sqlite::SqliteRow) -> Result<TaskRow, StoreError> {
    Ok(TaskRow {
        job_id: parse_job_id(row.try_get("job_id")?)?,
        zone: parse_zone(row.try_get("zone_id")?)?,
        target: row.try_get("target")?,
        kind: parse_kind(row.try_get("kind")?)?,
        method: parse_method(row.try_get("method")?)?,
        status: parse_status(row.try_get("status")?)?,
        fail_message: row.try_get("fail_message")?,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
    })
}

fn parse_status(text: &str) -> Result<TaskStatus, StoreError> {
    TaskStatus::parse(text).ok_or_else(|| StoreError::corrupt("task status", text))
}

fn parse_kind(text: &str) -> Result<PurgeType, StoreError> {
    PurgeType::parse(text).ok_or_else(|| StoreError::corrupt("purge type", text))
}

fn parse_job_id(text: &str) -> Result<JobId, StoreError> {
    JobId::parse(text).map_err(|_| StoreError::corrupt("job id", text))
}
