//! Recording jobs: quota, job, tasks and entries in one transaction for a whole group of calls.

use crate::database::{Column, Session, Sql, Value, commit};
use crate::log::{self, to_column};
use crate::quota::{self, Accounts, ChargeRefusal, QuotaKind, quota_day};
use crate::{Store, StoreError, random, snapshot};
use purge::{JobId, Method, PlannedTask, PurgeSeq, PurgeType, TaskStatus};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use zone::{HostName, ZoneId};

/// One `CreatePurgeTask` call, checked and planned.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What its targets are.
    pub kind: PurgeType,
    /// What becomes of the copies.
    pub method: Method,
    /// Its tasks, in the order of its targets; at least one.
    pub tasks: Vec<PlannedTask>,
    /// When it was taken, milliseconds since the Unix epoch: the tasks' CreateTime and the quota's day.
    pub now_ms: i64,
    /// The version of the configuration by which hosts were found to belong to zones. A host that changed its zone
    /// since would be purged where its content no longer is.
    pub config_version: u64,
}

/// A job whose transaction has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub job_id: JobId,
    /// The first of its entries.
    pub first_seq: PurgeSeq,
    /// The last of its entries.
    pub last_seq: PurgeSeq,
    /// The log's head after the group it was in.
    pub head: PurgeSeq,
}

/// Why a job was not recorded. Nothing of it was written, and no quota spent, except perhaps when
/// [`RecordError::Unconfirmed`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordError {
    /// It holds no task, or a task without entries.
    #[error("nothing is left to purge")]
    Nothing,
    /// More targets than one call may have.
    #[error("{asked} targets of type {} in one call; zone {zone} allows {limit}", kind.as_str())]
    QuotaBatch {
        /// The zone.
        zone: ZoneId,
        /// What the targets are counted as.
        kind: QuotaKind,
        /// How many one call may have.
        limit: u32,
        /// How many this one has.
        asked: u32,
    },
    /// More targets than are left today.
    #[error("{asked} targets of type {}; zone {zone} has {left} of {limit} left today", kind.as_str())]
    QuotaDaily {
        /// The zone.
        zone: ZoneId,
        /// What the targets are counted as.
        kind: QuotaKind,
        /// How many are left.
        left: u32,
        /// How many a day has.
        limit: u32,
        /// How many the call has.
        asked: u32,
    },
    /// The configuration is a newer one than the job was planned by: plan it again.
    #[error("the configuration has changed since the job was planned")]
    ConfigChanged,
    /// A task's zone is gone, or never was.
    #[error("there is no zone {0}")]
    ZoneNotFound(ZoneId),
    /// The store failed before the commit.
    #[error("the store refused the job")]
    Refused(#[source] Arc<StoreError>),
    /// The commit was not confirmed: the job may or may not have been recorded, under an id nobody was told.
    #[error("the store did not confirm the job")]
    Unconfirmed(#[source] Arc<StoreError>),
}

impl Store {
    /// Records a group of jobs in one transaction and answers each, in the same order. A job that is refused takes no
    /// other with it; a failure of the store refuses all.
    pub async fn record(&self, group: Vec<Recording>) -> Vec<Result<Recorded, RecordError>> {
        match self.record_group(&group).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let unconfirmed = matches!(error, StoreError::Unconfirmed(_));
                let error = Arc::new(error);
                let refusal = || match unconfirmed {
                    true => RecordError::Unconfirmed(Arc::clone(&error)),
                    false => RecordError::Refused(Arc::clone(&error)),
                };
                group.iter().map(|_| Err(refusal())).collect()
            }
        }
    }

    async fn record_group(
        &self,
        group: &[Recording],
    ) -> Result<Vec<Result<Recorded, RecordError>>, StoreError> {
        let mut tx = self.write().await?;
        // Everything is decided before anything is written, so a refused job has nothing to undo.
        let version = snapshot::read_version(&mut tx).await?;
        let mut accounts = Accounts::new();
        let mut verdicts = Vec::with_capacity(group.len());
        for recording in group {
            if recording.config_version != version {
                verdicts.push(Err(RecordError::ConfigChanged));
                continue;
            }
            verdicts.push(charge(&mut tx, &mut accounts, recording, self.quota_day_offset_secs).await?);
        }
        let accepted: Vec<&Recording> =
            group.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()).map(|(job, _)| job).collect();
        let ids = unused_ids(&mut tx, accepted.len()).await?;
        let jobs: Vec<(&JobId, &Recording)> = ids.iter().zip(accepted).collect();
        let recorded = if jobs.is_empty() { Vec::new() } else { write(&mut tx, &jobs).await? };
        if !jobs.is_empty() {
            quota::write_accounts(&mut tx, &accounts).await?;
            commit(tx).await?;
        }
        let mut recorded = recorded.into_iter();
        Ok(verdicts.into_iter().filter_map(|verdict| verdict.map(|()| recorded.next()).transpose()).collect())
    }
}

/// Charges one job to the accounts, all of it or nothing.
async fn charge(
    db: &mut Session,
    accounts: &mut Accounts,
    recording: &Recording,
    offset_secs: i32,
) -> Result<Result<(), RecordError>, StoreError> {
    if recording.tasks.is_empty() || recording.tasks.iter().any(|task| task.entries.is_empty()) {
        return Ok(Err(RecordError::Nothing));
    }
    let day = quota_day(recording.now_ms, offset_secs);
    let mut asked: BTreeMap<&ZoneId, u32> = BTreeMap::new();
    for task in &recording.tasks {
        *asked.entry(&task.zone).or_default() += 1;
    }
    charge_zones(db, accounts, QuotaKind::Purge(recording.kind), &asked, day).await
}

/// Charges what is asked of each zone to the accounts, all of it or nothing.
pub(crate) async fn charge_zones(
    db: &mut Session,
    accounts: &mut Accounts,
    kind: QuotaKind,
    asked: &BTreeMap<&ZoneId, u32>,
    day: i64,
) -> Result<Result<(), RecordError>, StoreError> {
    for (&zone, &count) in asked {
        let key = (zone.clone(), kind, day);
        if !accounts.contains_key(&key) {
            let Some(account) = quota::read_account(db, zone, key.1, day).await? else {
                return Ok(Err(RecordError::ZoneNotFound(zone.clone())));
            };
            accounts.insert(key.clone(), account);
        }
        let limits = accounts[&key].limits;
        match accounts[&key].check(count) {
            Ok(()) => {}
            Err(ChargeRefusal::Batch) => {
                let zone = zone.clone();
                return Ok(Err(RecordError::QuotaBatch { zone, kind, limit: limits.batch, asked: count }));
            }
            Err(ChargeRefusal::Daily { left }) => {
                let (zone, limit) = (zone.clone(), limits.daily);
                return Ok(Err(RecordError::QuotaDaily { zone, kind, left, limit, asked: count }));
            }
        }
    }
    for (&zone, &count) in asked {
        if let Some(account) = accounts.get_mut(&(zone.clone(), kind, day)) {
            account.used += count;
        }
    }
    Ok(Ok(()))
}

/// Draws `count` ids that no job has.
pub(crate) async fn unused_ids(db: &mut Session, count: usize) -> Result<Vec<JobId>, StoreError> {
    let mut ids: Vec<JobId> = Vec::with_capacity(count);
    while ids.len() < count {
        let drawn: Vec<JobId> = (ids.len()..count)
            .map(|_| Ok(JobId::from_random(random()?)))
            .collect::<Result<_, StoreError>>()?;
        let mut taken = Sql::new("SELECT job_id FROM jobs WHERE job_id IN ");
        taken.bind_list(drawn.iter().map(JobId::as_str));
        taken.push(" UNION ALL SELECT job_id FROM prefetch_jobs WHERE job_id IN ");
        taken.bind_list(drawn.iter().map(JobId::as_str));
        let mut taken: HashSet<String> = db.run(taken).scalars().await?.into_iter().collect();
        taken.extend(ids.iter().map(|id| id.as_str().to_owned()));
        ids.extend(drawn.into_iter().filter(|id| taken.insert(id.as_str().to_owned())));
    }
    Ok(ids)
}

async fn write(db: &mut Session, jobs: &[(&JobId, &Recording)]) -> Result<Vec<Recorded>, StoreError> {
    // Entries carry the time of the group's last call: their times then never run against their seqs within it.
    let now_ms = jobs.iter().map(|(_, recording)| recording.now_ms).max().unwrap_or(0);
    let mut entries = Vec::new();
    for (id, recording) in jobs {
        entries.extend(recording.tasks.iter().flat_map(|task| &task.entries).map(|entry| (entry, Some(*id))));
    }
    let mut last = log::append(db, &entries, now_ms).await?;
    let mut recorded: Vec<Recorded> = jobs
        .iter()
        .map(|&(id, recording)| {
            let entries: usize = recording.tasks.iter().map(|task| task.entries.len()).sum();
            let first_seq = last.next();
            last = PurgeSeq::new(last.number() + u64::try_from(entries).unwrap_or(u64::MAX));
            Recorded { job_id: id.clone(), first_seq, last_seq: last, head: last }
        })
        .collect();
    recorded.iter_mut().for_each(|job| job.head = last);
    insert_jobs(db, &recorded, jobs).await?;
    insert_tasks(db, jobs).await?;
    Ok(recorded)
}

async fn insert_jobs(
    db: &mut Session,
    recorded: &[Recorded],
    jobs: &[(&JobId, &Recording)],
) -> Result<(), StoreError> {
    let columns = [
        ("job_id", Column::Text),
        ("first_seq", Column::Int),
        ("last_seq", Column::Int),
        ("kind", Column::Text),
        ("method", Column::Text),
        ("status", Column::Text),
        ("created_ms", Column::Int),
        ("updated_ms", Column::Int),
    ];
    let rows: Vec<Vec<Value<'_>>> = recorded
        .iter()
        .zip(jobs)
        .map(|(recorded, (_, job))| {
            vec![
                recorded.job_id.as_str().into(),
                to_column(recorded.first_seq.number()).into(),
                to_column(recorded.last_seq.number()).into(),
                job.kind.as_str().into(),
                job.method.as_str().into(),
                TaskStatus::Processing.as_str().into(),
                job.now_ms.into(),
                job.now_ms.into(),
            ]
        })
        .collect();
    db.insert("jobs", &columns, &rows).await
}

async fn insert_tasks(db: &mut Session, jobs: &[(&JobId, &Recording)]) -> Result<(), StoreError> {
    let columns = [
        ("job_id", Column::Text),
        ("zone_id", Column::Text),
        ("target", Column::Text),
        ("domains", Column::Text),
        ("created_ms", Column::Int),
    ];
    let rows: Vec<Vec<Value<'_>>> = jobs
        .iter()
        .flat_map(|&(id, job)| job.tasks.iter().map(move |task| (id, task, job.now_ms)))
        .map(|(id, task, now_ms)| {
            vec![
                id.as_str().into(),
                task.zone.as_str().into(),
                task.target.as_str().into(),
                domains_column(&task.hosts).into(),
                now_ms.into(),
            ]
        })
        .collect();
    db.insert("tasks", &columns, &rows).await
}

fn domains_column(domains: &[HostName]) -> String {
    let mut column = String::new();
    for domain in domains {
        column.push('\n');
        column.push_str(domain.as_str());
    }
    column.push('\n');
    column
}
