//! Prefetches: what is to be fetched ahead, what became of it, and the queries of `DescribePrefetchTasks`.
//!
//! A job is recorded in one transaction with the quota it spends and with the log's head at that moment, from which edges
//! know what they must have applied before they begin.

use crate::database::{Column, Row, Session, Sql, Value, commit};
use crate::jobs::{parse_job_id, parse_status, push_common};
use crate::log::{parse_zone, read_head, seq_of_column, to_column};
use crate::quota::{self, Accounts, QuotaKind, quota_day};
use crate::record::{RecordError, charge_zones, unused_ids};
use crate::{Store, StoreError, TargetFilter, snapshot, to_json};
use purge::{Epoch, JobId, MemberId, PrefetchMode, PrefetchTask, PurgeSeq, TaskStatus};
use std::borrow::Cow;
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

/// What an edge told of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchTold {
    /// Which task.
    pub task_id: u64,
    /// Which edge process.
    pub member: MemberId,
    /// Why it is not in its cache; `None` if it is.
    pub failure: Option<String>,
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
        let rows = tx
            .query(
                "SELECT t.task_id, t.target, t.job_id FROM prefetch_tasks t WHERE t.status = \
             'processing' AND t.task_id > $1 ORDER BY t.task_id LIMIT $2",
            )
            .bind(to_column(after))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all()
            .await?;
        let mut jobs: BTreeMap<String, Arc<PrefetchJob>> = BTreeMap::new();
        let mut pending = Vec::with_capacity(rows.len());
        for row in rows {
            let job_id: String = row.get("job_id")?;
            let job = match jobs.get(&job_id) {
                Some(job) => Arc::clone(job),
                None => {
                    let job = Arc::new(read_job(&mut tx, &job_id).await?);
                    jobs.insert(job_id, Arc::clone(&job));
                    job
                }
            };
            let task_id: i64 = row.get("task_id")?;
            pending.push(PendingPrefetch {
                task_id: task_id.cast_unsigned(),
                target: row.get("target")?,
                job,
            });
        }
        Ok(pending)
    }

    /// Which of the tasks numbered `range` are still processing, in order.
    pub async fn still_pending_prefetches(&self, range: RangeInclusive<u64>) -> Result<Vec<u64>, StoreError> {
        let mut db = self.glance().await?;
        let ids: Vec<i64> = db
            .query(
                "SELECT task_id FROM prefetch_tasks \
                 WHERE status = 'processing' AND task_id >= $1 AND task_id <= $2 ORDER BY task_id",
            )
            .bind(to_column(*range.start()))
            .bind(to_column(*range.end()))
            .scalars()
            .await?;
        Ok(ids.into_iter().map(i64::cast_unsigned).collect())
    }

    /// Tells the other instances what edges told this one. Does nothing where there are no others.
    pub async fn tell_prefetched(&self, told: &[PrefetchTold]) -> Result<(), StoreError> {
        if !self.is_shared() || told.is_empty() {
            return Ok(());
        }
        // Alone, so that rows are numbered in the order in which others come to see them.
        let mut tx = self.write().await?;
        let columns = [("task_id", Column::Int), ("member_id", Column::Text), ("failure", Column::Text)];
        let row = |told: &PrefetchTold| -> Vec<Value<'_>> {
            let failure = told.failure.clone().map(Cow::Owned);
            vec![to_column(told.task_id).into(), told.member.to_string().into(), failure.into()]
        };
        tx.insert("prefetch_told", &columns, &told.iter().map(row).collect::<Vec<_>>()).await?;
        commit(tx).await
    }

    /// What instances told of tasks that are still processing, after the `after`th, and the last one's number.
    pub async fn prefetched_elsewhere(&self, after: i64) -> Result<(Vec<PrefetchTold>, i64), StoreError> {
        if !self.is_shared() {
            return Ok((Vec::new(), after));
        }
        let rows = self
            .glance()
            .await?
            .query(
                "SELECT told_no, task_id, member_id, failure FROM prefetch_told \
                 WHERE told_no > $1 ORDER BY told_no",
            )
            .bind(after)
            .all()
            .await?;
        let last = rows.last().map_or(Ok(after), |row| row.get("told_no"))?;
        let told = rows.iter().map(|row| {
            let member: &str = row.get("member_id")?;
            Ok(PrefetchTold {
                task_id: row.get::<i64, _>("task_id")?.cast_unsigned(),
                member: MemberId::parse(member).map_err(|_| StoreError::corrupt("member id", member))?,
                failure: row.get("failure")?,
            })
        });
        Ok((told.collect::<Result<_, StoreError>>()?, last))
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
            tx.query(
                "UPDATE prefetch_tasks SET status = $1, fail_message = $2, updated_ms = CASE WHEN \
             created_ms > $3 THEN created_ms ELSE $3 END WHERE task_id = $4 AND status = \
             'processing'",
            )
            .bind(outcome.status.as_str())
            .bind(outcome.fail_message.as_deref())
            .bind(now_ms)
            .bind(to_column(outcome.task_id))
            .execute()
            .await?;
            if tx.is_shared() {
                tx.query("DELETE FROM prefetch_told WHERE task_id = $1")
                    .bind(to_column(outcome.task_id))
                    .execute()
                    .await?;
            }
        }
        commit(tx).await
    }

    /// The tasks that fit `query`, newest first.
    pub async fn describe_prefetches(&self, query: &PrefetchQuery) -> Result<PrefetchPage, StoreError> {
        let mut tx = self.read().await?;
        let mut count = Sql::new("SELECT count(*) FROM prefetch_tasks t");
        push_matches(&mut count, query);
        let total: i64 = tx.run(count).scalar().await?;
        let mut page = Sql::new("SELECT * FROM prefetch_tasks t");
        push_matches(&mut page, query);
        page.push(" ORDER BY t.created_ms DESC, t.task_id LIMIT ").bind(query.limit);
        page.push(" OFFSET ").bind(to_column(query.offset));
        let rows = tx.run(page).all().await?;
        let tasks = rows.iter().map(row_of).collect::<Result<_, _>>()?;
        Ok(PrefetchPage { total: total.cast_unsigned(), tasks })
    }

    /// Forgets jobs taken before `before_ms` of which nothing is processing any more, with their tasks; at most
    /// [`FORGET_PREFETCHES_MAX`] a call. Returns how many went.
    pub async fn forget_prefetches(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = tx
            .query(
                "DELETE FROM prefetch_jobs WHERE job_id IN (SELECT j.job_id FROM prefetch_jobs j \
             WHERE j.created_ms < $1 AND NOT EXISTS (SELECT 1 FROM prefetch_tasks t WHERE \
             t.job_id = j.job_id AND t.status = 'processing') LIMIT $2)",
            )
            .bind(before_ms)
            .bind(FORGET_PREFETCHES_MAX)
            .execute()
            .await?;
        commit(tx).await?;
        Ok(done)
    }
}

/// The tasks of a zone that is deleted fail, in the transaction that deletes it.
pub(crate) async fn fail_of_zone(db: &mut Session, zone: &ZoneId, now_ms: i64) -> Result<(), StoreError> {
    db.query(
        "UPDATE prefetch_tasks SET status = 'failed', updated_ms = CASE WHEN created_ms > \
             $1 THEN created_ms ELSE $1 END, fail_message = 'the zone was deleted meanwhile' \
             WHERE zone_id = $2 AND status = 'processing'",
    )
    .bind(now_ms)
    .bind(zone.as_str())
    .execute()
    .await?;
    Ok(())
}

async fn insert<'r>(
    db: &mut Session,
    job_id: &'r JobId,
    recording: &'r PrefetchRecording,
) -> Result<(), StoreError> {
    let log = read_head(&mut *db).await?;
    db.query(
        "INSERT INTO prefetch_jobs (job_id, mode, headers, epoch, head, created_ms) VALUES \
             ($1, $2, $3, $4, $5, $6)",
    )
    .bind(job_id.as_str())
    .bind(recording.mode.as_str())
    .bind(to_json(&recording.headers)?)
    .bind(log.epoch.number().cast_signed())
    .bind(to_column(log.head.number()))
    .bind(recording.now_ms)
    .execute()
    .await?;
    let columns = [
        ("job_id", Column::Text),
        ("zone_id", Column::Text),
        ("target", Column::Text),
        ("host", Column::Text),
        ("status", Column::Text),
        ("created_ms", Column::Int),
        ("updated_ms", Column::Int),
    ];
    let row = |task: &'r PrefetchTask| -> Vec<Value<'r>> {
        vec![
            job_id.as_str().into(),
            task.zone.as_str().into(),
            task.target.as_str().into(),
            task.host.as_str().into(),
            TaskStatus::Processing.as_str().into(),
            recording.now_ms.into(),
            recording.now_ms.into(),
        ]
    };
    let rows: Vec<_> = recording.tasks.iter().map(row).collect();
    db.insert("prefetch_tasks", &columns, &rows).await
}

async fn read_job(db: &mut Session, job_id: &str) -> Result<PrefetchJob, StoreError> {
    let row = db.query("SELECT * FROM prefetch_jobs WHERE job_id = $1").bind(job_id).one().await?;
    let (mode, headers): (String, String) = (row.get("mode")?, row.get("headers")?);
    let epoch: i64 = row.get("epoch")?;
    Ok(PrefetchJob {
        job_id: parse_job_id(job_id)?,
        mode: PrefetchMode::parse(&mode).ok_or_else(|| StoreError::corrupt("prefetch mode", &mode))?,
        headers: serde_json::from_str(&headers)
            .map_err(|_| StoreError::corrupt("prefetch headers", &headers))?,
        epoch: Epoch::new(epoch.cast_unsigned()),
        head: seq_of_column(row.get("head")?),
        created_ms: row.get("created_ms")?,
    })
}

fn push_matches<'q>(sql: &mut Sql<'q>, query: &'q PrefetchQuery) {
    let PrefetchQuery { zones, created_secs, job_id, target, domains, statuses, .. } = query;
    sql.push(" WHERE TRUE");
    push_common(sql, zones.as_deref(), created_secs.as_ref(), job_id.as_ref(), target.as_ref());
    if !domains.is_empty() {
        sql.push(" AND t.host IN ").bind_list(domains.iter().map(HostName::as_str));
    }
    if !statuses.is_empty() {
        sql.push(" AND t.status IN ").bind_list(statuses.iter().map(|status| status.as_str()));
    }
}

fn row_of(row: &Row) -> Result<PrefetchRow, StoreError> {
    Ok(PrefetchRow {
        job_id: parse_job_id(row.get("job_id")?)?,
        zone: parse_zone(row.get("zone_id")?)?,
        target: row.get("target")?,
        status: parse_status(row.get("status")?)?,
        fail_message: row.get("fail_message")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
    })
}
