//! When a task is done, and which members there are.
//!
//! A job is done as soon as every member, read after the job's commit, has acknowledged its last entry, and at the
//! latest a lease and its drift after this process saw the commit: by then every lease from before it has run out. Of
//! several instances each does so by itself; who comes second changes nothing.

use super::{Heard, Shared, acknowledged, instances};
use purge::{JobId, MemberAck, MemberId, TaskStatus};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::{FORGET_JOBS_MAX, Member, MemberState, StoreError};
use tracing::{error, info, warn};

/// How often what is past its retention is forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// For how long finished jobs are kept.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// For how long entries are kept for edges that fell behind.
const ENTRIES_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What this process has counted so far. All of it is counted anew by the next.
#[derive(Default)]
struct Counted {
    /// When each pending job was first seen committed, on the boot clock.
    seen: HashMap<JobId, Duration>,
    /// When each leaving member was first seen leaving.
    leaving: HashMap<MemberId, Duration>,
    forgot: Option<Duration>,
}

/// Folds for as long as the control plane runs.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut woken = shared.wake.subscribe();
    let mut counted = Counted::default();
    loop {
        woken.mark_unchanged();
        let wait = match turn(&shared, &mut counted).await {
            Ok(wait) => wait,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "tasks were not folded");
                shared.settings.lease / 4
            }
        };
        let _ = tokio::time::timeout(wait, woken.changed()).await;
    }
}

/// One turn. Returns how long nothing will change by itself.
async fn turn(shared: &Shared, counted: &mut Counted) -> Result<Duration, StoreError> {
    let pending = shared.store.pending_jobs().await?;
    // After the commits were seen: these readings are the `a` of the protocol.
    let now = (shared.settings.boot_clock)();
    let of_pending: HashSet<&JobId> = pending.iter().map(|job| &job.job_id).collect();
    let known = counted.seen.len();
    counted.seen.retain(|job, _| of_pending.contains(job));
    if counted.seen.len() < known {
        // Perhaps by another instance.
        shared.completed.send_modify(|count| *count = count.wrapping_add(1));
    }
    // After the commits too: a member that could have been granted without these entries has its row by now.
    let basis = shared.store.basis().await?;
    instances::hear(shared).await?;
    let mut wait = shared.settings.lease / 4;
    let mut done: HashMap<TaskStatus, Vec<JobId>> = HashMap::new();
    {
        let heard = shared.heard.lock();
        let acks: Vec<MemberAck> = basis
            .members
            .iter()
            .map(|member| MemberAck {
                acked: acknowledged(&heard, member.id, basis.epoch),
                policy: member.terms.policy,
                acks_only: member.terms.acks_only,
            })
            .collect();
        for job in &pending {
            let deadline = *counted.seen.entry(job.job_id.clone()).or_insert(now) + shared.lease_and_drift();
            match purge::fold(job.last_seq, job.method, acks.iter().copied(), now >= deadline) {
                TaskStatus::Processing => wait = wait.min(deadline.saturating_sub(now)),
                status => done.entry(status).or_default().push(job.job_id.clone()),
            }
        }
    }
    for (status, jobs) in done {
        shared.store.complete_jobs(&jobs, status, shared.now_ms()).await?;
        info!(count = jobs.len(), status = status.as_str(), head = %basis.head, "jobs completed");
        shared.completed.send_modify(|count| *count = count.wrapping_add(1));
    }
    members(shared, counted, &basis.members, now).await?;
    forget(shared, counted, now).await?;
    Ok(wait.max(Duration::from_millis(1)))
}

/// Marks members leaving that were silent for two leases, and removes those whose last lease has run out since.
async fn members(
    shared: &Shared,
    counted: &mut Counted,
    members: &[Member],
    now: Duration,
) -> Result<(), StoreError> {
    let mut silent = Vec::new();
    let mut gone = Vec::new();
    {
        let mut heard = shared.heard.lock();
        let rows: HashSet<MemberId> = members.iter().map(|member| member.id).collect();
        heard.retain(|id, heard| rows.contains(id) || now < heard.at + shared.settings.lease * 2);
        counted.leaving.retain(|id, _| rows.contains(id));
        for member in members {
            let id = member.id;
            match member.state {
                MemberState::Active => {
                    let last = heard.entry(id).or_insert(Heard::at(now)).at;
                    if now > last + shared.settings.lease * 2 {
                        silent.push(member.id);
                    }
                }
                MemberState::Leaving { .. } => {
                    let since = *counted.leaving.entry(id).or_insert(now);
                    if now > since + shared.lease_and_drift() {
                        gone.push(member.id);
                    }
                }
            }
        }
    }
    if !silent.is_empty() {
        warn!(members = ?silent, "silent for two leases, marked leaving");
        shared.store.mark_leaving(&silent, shared.now_ms()).await?;
        shared.wake();
    }
    if !gone.is_empty() {
        info!(members = ?gone, "removed");
        shared.store.remove_member(&gone).await?;
        shared.wake();
    }
    Ok(())
}

async fn forget(shared: &Shared, counted: &mut Counted, now: Duration) -> Result<(), StoreError> {
    if counted.forgot.is_some_and(|forgot| now < forgot + FORGET_INTERVAL) {
        return Ok(());
    }
    counted.forgot = Some(now);
    let now_ms = shared.now_ms();
    let before = |kept: Duration| now_ms - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    // In steps, between which others write.
    while shared.store.forget_jobs(before(JOBS_KEPT)).await? == u64::from(FORGET_JOBS_MAX) {}
    let keep_from = shared.store.first_seq_since(before(ENTRIES_KEPT)).await?;
    let mut first = None;
    loop {
        let now_first = Some(shared.store.trim_log(keep_from).await?);
        if now_first == first {
            break;
        }
        first = now_first;
    }
    shared.store.forget_quota_use(now_ms).await
}
