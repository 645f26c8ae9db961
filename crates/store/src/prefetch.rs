//! Prefetches: what is to be fetched ahead, what became of it, and the queries of `DescribePrefetchTasks`.
//!
//! A job is recorded in one transaction with the quota it spends and with the log's head at that moment, from which edges
//! know what they must have applied before they begin.

use crate::log::{ROWS_PER_INSERT, parse_zone, read_head, seq_of_column, to_column};
use crate::open::commit;
use crate::quota::{self, Accounts, QuotaKind, quota_day};
use crate::record::{RecordError, charge_zones, unused_ids};
use crate::{Store, StoreError, TargetFilter, snapshot};
use purge::{Epoch, JobId, PrefetchMode, PrefetchTask, PurgeSeq, TaskStatus};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use zone::{HostName, ZoneId};

/// Prefetch jobs that one call of [`Store::forget_prefetches`] removes at most, so that no writer waits long.
pub const FORGET_PREFETCHES_MAX: u32 = 100;

/// One `CreatePrefetchTask` call, checked and planned.
#[derive(Clone, Debug)]
pub struct PrefetchRecording {
    /// Which edges fetch.
    pub mode: PrefetchMode,
    /// The request fields to fetch with.
    pub headers: Vec<(String, String)>,
    /// Its tasks, in the order of its targets; at least one.
    pub tasks: Vec<PrefetchTask>,
    /// When it was taken, milliseconds since the Unix epoch: the tasks' CreateTime and the quota's day.
    pub now_ms: i64,
    /// The version of the configuration by which hosts were found to belong to zones.
    pub config_version: u64,
}

/// What all tasks of one prefetch job share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchJob {
    /// Its id.
    pub job_id: JobId,
    /// Which edges fetch.
    pub mode: PrefetchMode,
    /// The request fields to fetch with.
    pub headers: Vec<(String, String)>,
    /// The log, and its head when the job was accepted: an edge begins once it has applied that.
    pub epoch: Epoch,
    /// See `epoch`.
    pub head: PurgeSeq,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A task still processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPrefetch {
    /// Its number: later tasks have higher ones.
    pub task_id: u64,
    /// The URL as submitted.
    pub target: String,
    /// Its job.
    pub job: Arc<PrefetchJob>,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchOutcome {
    /// Which task.
    pub task_id: u64,
    /// Its final status.
    pub status: TaskStatus,
    /// Why it failed (API field `FailMessage`).
    pub fail_message: Option<String>,
}

/// Which tasks to describe: those that fit every part that is given.
#[derive(Clone, Debug, Default)]
pub struct PrefetchQuery {
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
    /// How many matches to pass over.
    pub offset: u64,
    /// How many to return at most.
    pub limit: u32,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchRow {
    /// Its job.
    pub job_id: JobId,
    /// Its zone.
    pub zone: ZoneId,
    /// The URL as submitted.
    pub target: String,
    /// How far it is.
    pub status: TaskStatus,
    /// Why it failed.
    pub fail_message: Option<String>,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its status last changed, likewise.
    pub updated_ms: i64,
}

/// The answer to a [`PrefetchQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefetchPage {
    /// How many tasks fit, before paging.
    pub total: u64,
    /// The page: newest first, those of one moment in the order they were given.
    pub tasks: Vec<PrefetchRow>,
}

impl Store {
    /// Records one job with its tasks and the quota it spends, in one transaction.
    pub async fn record_prefetch(&self, recording: PrefetchRecording) -> Result<JobId, RecordError> {
        match self.try_record_prefetch(&recording).await {
            Ok(outcome) => outcome,
            Err(error @ StoreError::Unconfirmed(_)) => Err(RecordError::Unconfirmed(Arc::new(error))),
            Err(error) => Err(RecordError::Refused(Arc::new(error))),
        }
    }

    async fn try_record_prefetch(
        &self,
        recording: &PrefetchRecording,
    ) -> Result<Result<JobId, RecordError>, StoreError> {
        let mut tx = self.write().await?;
        if snapshot::read_version(&mut tx).await? != recording.config_version {
            return Ok(Err(RecordError::ConfigChanged));
        }
        if recording.tasks.is_empty() {
            return Ok(Err(RecordError::Nothing));
        }
        let day = quota_day(recording.now_ms, self.quota_day_offset_secs);
        let mut asked: BTreeMap<&ZoneId, u32> = BTreeMap::new();
        for task in &recording.tasks {
            *asked.entry(&task.zone).or_default() += 1;
        }
        let mut accounts = Accounts::new();
        let charged = charge_zones(&mut tx, &mut accounts, QuotaKind::PrefetchUrl, &asked, day).await?;
        if let Err(refusal) = charged {
            return Ok(Err(refusal));
        }
        let Some(job_id) = unused_ids(&mut tx, 1).await?.pop() else {
            return Ok(Err(RecordError::Nothing));
        };
        insert(&mut tx, &job_id, recording).await?;
        quota::write_accounts(&mut tx, &accounts).await?;
        commit(tx).await?;
        Ok(Ok(job_id))
    }

    /// Up to `limit` tasks still processing, numbered above `after`, in order.
    pub async fn pending_prefetches(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<PendingPrefetch>, StoreError> {
        let mut tx = self.read().await?;
        let rows = sqlx::query(
            "SELECT t.task_id, t.target, t.job_id FROM prefetch_tasks t \
             WHERE t.status = 'processing' AND t.task_id > ? ORDER BY t.task_id LIMIT ?",
        )
        .bind(to_column(after))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let mut jobs: BTreeMap<String, Arc<PrefetchJob>> = BTreeMap::new();
        let mut pending = Vec::with_capacity(rows.len());
        for row in rows {
            let job_id: String = row.try_get("job_id")?;
            let job = match jobs.get(&job_id) {
                Some(job) => Arc::clone(job),
                None => {
                    let job = Arc::new(read_job(&mut tx, &job_id).await?);
                    jobs.insert(job_id, Arc::clone(&job));
                    job
                }
            };
            let task_id: i64 = row.try_get("task_id")?;
            pending.push(PendingPrefetch {
                task_id: task_id.cast_unsigned(),
                target: row.try_get("target")?,
                job,
            });
        }
        Ok(pending)
    }

    /// Gives tasks that are still processing their final status; others are left alone.
    pub async fn complete_prefetches(
        &self,
        outcomes: &[PrefetchOutcome],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        for outcome in outcomes {
            sqlx::query(
                "UPDATE prefetch_tasks SET status = ?, fail_message = ?, updated_ms = max(?, created_ms) \
                 WHERE task_id = ? AND status = 'processing'",
            )
            .bind(outcome.status.as_str())
            .bind(&outcome.fail_message)
            .bind(now_ms)
            .bind(to_column(outcome.task_id))
            .execute(&mut *tx)
            .await?;
        }
        commit(tx).await
    }

    /// The tasks that fit `query`, newest first.
    pub async fn describe_prefetches(&self, query: &PrefetchQuery) -> Result<PrefetchPage, StoreError> {
        let mut tx = self.read().await?;
        let mut count = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM prefetch_tasks");
        push_matches(&mut count, query);
        let total: i64 = count.build_query_scalar().persistent(false).fetch_one(&mut *tx).await?;
        let mut page = QueryBuilder::<Sqlite>::new("SELECT * FROM prefetch_tasks");
        push_matches(&mut page, query);
        page.push(" ORDER BY created_ms DESC, task_id LIMIT ").push_bind(query.limit);
        page.push(" OFFSET ").push_bind(to_column(query.offset));
        let rows = page.build().persistent(false).fetch_all(&mut *tx).await?;
        let tasks = rows.iter().map(row_of).collect::<Result<_, _>>()?;
        Ok(PrefetchPage { total: total.cast_unsigned(), tasks })
    }

    /// Forgets jobs taken before `before_ms` of which nothing is processing any more, with their tasks; at most
    /// [`FORGET_PREFETCHES_MAX`] a call. Returns how many went.
    pub async fn forget_prefetches(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "DELETE FROM prefetch_jobs WHERE job_id IN (SELECT j.job_id FROM prefetch_jobs j WHERE j.created_ms < ? \
             AND NOT EXISTS (SELECT 1 FROM prefetch_tasks t WHERE t.job_id = j.job_id AND t.status = 'processing') \
             LIMIT ?)",
        )
        .bind(before_ms)
        .bind(FORGET_PREFETCHES_MAX)
        .execute(&mut *tx)
        .await?;
        commit(tx).await?;
        Ok(done.rows_affected())
    }
}

/// The tasks of a zone that is deleted fail, in the transaction that deletes it.
pub(crate) async fn fail_of_zone(
    db: &mut SqliteConnection,
    zone: &ZoneId,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE prefetch_tasks SET status = 'failed', updated_ms = max(?1, created_ms), \
         fail_message = 'the zone was deleted meanwhile' WHERE zone_id = ?2 AND status = 'processing'",
    )
    .bind(now_ms)
    .bind(zone.as_str())
    .execute(db)
    .await?;
    Ok(())
}

async fn insert(
    db: &mut SqliteConnection,
    job_id: &JobId,
    recording: &PrefetchRecording,
) -> Result<(), StoreError> {
    let log = read_head(&mut *db).await?;
    sqlx::query(
        "INSERT INTO prefetch_jobs (job_id, mode, headers, epoch, head, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(job_id.as_str())
    .bind(recording.mode.as_str())
    .bind(serde_json::to_string(&recording.headers).unwrap_or_else(|_| "[]".into()))
    .bind(log.epoch.number().cast_signed())
    .bind(to_column(log.head.number()))
    .bind(recording.now_ms)
    .execute(&mut *db)
    .await?;
    for tasks in recording.tasks.chunks(ROWS_PER_INSERT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO prefetch_tasks (job_id, zone_id, target, host, status, created_ms, updated_ms) ",
        );
        insert.push_values(tasks, |mut row, task| {
            row.push_bind(job_id.as_str().to_owned())
                .push_bind(task.zone.as_str().to_owned())
                .push_bind(task.target.clone())
                .push_bind(task.host.as_str().to_owned())
                .push_bind(TaskStatus::Processing.as_str())
                .push_bind(recording.now_ms)
                .push_bind(recording.now_ms);
        });
        insert.build().persistent(tasks.len() == ROWS_PER_INSERT).execute(&mut *db).await?;
    }
    Ok(())
}

async fn read_job(db: &mut SqliteConnection, job_id: &str) -> Result<PrefetchJob, StoreError> {
    let row = sqlx::query("SELECT * FROM prefetch_jobs WHERE job_id = ?").bind(job_id).fetch_one(db).await?;
    let (mode, headers): (String, String) = (row.try_get("mode")?, row.try_get("headers")?);
    let epoch: i64 = row.try_get("epoch")?;
    Ok(PrefetchJob {
        job_id: parse_job_id(job_id)?,
        mode: PrefetchMode::parse(&mode).ok_or_else(|| StoreError::corrupt("prefetch mode", &mode))?,
        headers: serde_json::from_str(&headers)
            .map_err(|_| StoreError::corrupt("prefetch headers", &headers))?,
        epoch: Epoch::new(epoch.cast_unsigned()),
        head: seq_of_column(row.try_get("head")?),
        created_ms: row.try_get("created_ms")?,
    })
}

fn push_matches(sql: &mut QueryBuilder<Sqlite>, query: &PrefetchQuery) {
    sql.push(" WHERE TRUE");
    let push_any = |sql: &mut QueryBuilder<Sqlite>, begin: &str, values: Vec<String>| {
        let mut list = sql.push(begin.to_owned()).separated(", ");
        for value in values {
            list.push_bind(value);
        }
        sql.push(")");
    };
    if let Some(zones) = &query.zones {
        push_any(sql, " AND zone_id IN (", zones.iter().map(|zone| zone.as_str().to_owned()).collect());
    }
    if let Some(range) = &query.created_secs {
        sql.push(" AND created_ms >= ").push_bind(range.start().saturating_mul(1000));
        sql.push(" AND created_ms < ").push_bind(range.end().saturating_add(1).saturating_mul(1000));
    }
    if let Some(job_id) = &query.job_id {
        sql.push(" AND job_id = ").push_bind(job_id.as_str().to_owned());
    }
    match &query.target {
        None => {}
        Some(TargetFilter::Exact(target)) => {
            sql.push(" AND target = ").push_bind(target.clone());
        }
        Some(TargetFilter::Containing(part)) => {
            sql.push(" AND instr(target, ").push_bind(part.clone()).push(") > 0");
        }
    }
    if !query.domains.is_empty() {
        push_any(sql, " AND host IN (", query.domains.iter().map(|host| host.as_str().to_owned()).collect());
    }
    if !query.statuses.is_empty() {
        let statuses = query.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        push_any(sql, " AND status IN (", statuses);
    }
}

fn row_of(row: &sqlx::sqlite::SqliteRow) -> Result<PrefetchRow, StoreError> {
    let status: String = row.try_get("status")?;
    Ok(PrefetchRow {
        job_id: parse_job_id(row.try_get("job_id")?)?,
        zone: parse_zone(row.try_get("zone_id")?)?,
        target: row.try_get("target")?,
        status: TaskStatus::parse(&status).ok_or_else(|| StoreError::corrupt("task status", &status))?,
        fail_message: row.try_get("fail_message")?,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
    })
}

fn parse_job_id(text: &str) -> Result<JobId, StoreError> {
    JobId::parse(text).map_err(|_| StoreError::corrupt("job id", text))
}
