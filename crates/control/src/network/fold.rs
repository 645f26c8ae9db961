//! When a task is done, and which members there are.
//!
//! A job is done as soon as every member, read after the job's commit, has acknowledged its last entry, and at the
//! latest a lease and its drift after this process saw the commit: by then every lease from before it has run out. Of
//! several instances each does so by itself; who comes second changes nothing.

use super::{Heard, Shared, Told, instances, with_drift};
use purge::{JobId, MemberAck, MemberId, PurgeSeq, TaskStatus};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{FORGET_JOBS_MAX, LeaseTime, Member, MemberState, StoreError};
use tracing::{error, info, warn};

/// How often what is past its retention is forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// For how long finished jobs are kept.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// For how long keys are kept that only a process had, once it is no member any more.
const UNUSED_KEYS_KEPT: Duration = Duration::from_secs(3600);

/// For how long entries are kept for edges that fell behind.
const ENTRIES_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What this process has counted so far. All of it is counted anew by the next.
#[derive(Default)]
struct Counted {
    /// When each pending job was first seen committed, on the boot clock.
    seen: HashMap<JobId, Duration>,
    /// When each leaving member was first seen leaving, of those that were marked at that time: one that came back in
    /// between, and leaves again, had leases since.
    leaving: HashMap<MemberId, (i64, Duration)>,
    forgot: Option<Duration>,
    /// The version of the length of leases that is longer to count with than to grant, and when it was first seen.
    longer: Option<(u64, Duration)>,
}

/// Folds for as long as the control plane runs.
pub(super) async fn run(shared: Arc<Shared>) {
    shared.set_lease().await;
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
    // Before the head: what edges have acknowledged by now lies beyond it only if the log has lost entries.
    instances::hear(shared).await?;
    let acks = shared.acknowledgements();
    // After the commits too: a member that could have been granted without these entries has its row by now.
    let basis = shared.store.basis().await?;
    let has_lost = basis.lost.is_some()
        || acks.values().any(|(epoch, applied)| *epoch == basis.epoch && *applied > basis.head);
    // Seqs of a log that lost entries are given anew: what was acknowledged may be others.
    let acked = |member: MemberId| match acks.get(&member) {
        Some((epoch, applied)) if *epoch == basis.epoch && !has_lost => *applied,
        Some(_) | None => PurgeSeq::ZERO,
    };
    // After the rows were seen: whoever is leaving there gets no lease from before this reading on.
    let rows_at = (shared.settings.boot_clock)();
    counted.see_leaving(&basis.members, rows_at);
    // Read after the commits as well: no lease without these entries is longer.
    let lease = basis.lease.counted;
    shared.lease_ms.store(super::millis(lease), Ordering::Relaxed);
    settle(shared, counted, basis.lease, rows_at).await?;
    let over = |member: &Member| counted.lease_is_over(member.id, rows_at, with_drift(lease));
    let leases_over: HashSet<MemberId> =
        basis.members.iter().filter(|member| over(member)).map(|member| member.id).collect();
    let mut wait = basis.lease.granted / 4;
    let mut done: HashMap<TaskStatus, Vec<JobId>> = HashMap::new();
    let mut deadlines = HashMap::new();
    {
        let acks: Vec<MemberAck> = basis
            .members
            .iter()
            .map(|member| MemberAck {
                acked: acked(member.id),
                terms: member.terms,
                lease_over: leases_over.contains(&member.id),
            })
            .collect();
        for job in &pending {
            let deadline = *counted.seen.entry(job.job_id.clone()).or_insert(now) + with_drift(lease);
            deadlines.insert(job.job_id.clone(), deadline);
            match purge::fold(job.last_seq, job.method, acks.iter().copied(), now >= deadline) {
                TaskStatus::Processing => wait = wait.min(deadline.saturating_sub(now)),
                status => done.entry(status).or_default().push(job.job_id.clone()),
            }
        }
    }
    *shared.told.lock() = Told { deadlines, leases_over: leases_over.clone() };
    for (status, jobs) in done {
        shared.store.complete_jobs(&jobs, status, shared.now_ms()).await?;
        info!(count = jobs.len(), status = status.as_str(), head = %basis.head, "jobs completed");
        shared.completed.send_modify(|count| *count = count.wrapping_add(1));
    }
    members(shared, &basis.members, &leases_over, lease, rows_at).await?;
    forget(shared, counted, now).await?;
    Ok(wait.max(Duration::from_millis(1)))
}

impl Counted {
    /// Notes who is leaving, at a time read after the rows.
    fn see_leaving(&mut self, members: &[Member], at: Duration) {
        let marked: HashMap<MemberId, i64> = members
            .iter()
            .filter_map(|member| match member.state {
                MemberState::Active => None,
                MemberState::Leaving { since_ms } => Some((member.id, since_ms)),
            })
            .collect();
        self.leaving.retain(|id, (since_ms, _)| marked.get(id) == Some(since_ms));
        for (id, since_ms) in marked {
            self.leaving.entry(id).or_insert((since_ms, at));
        }
    }

    /// Whether the last lease of a member has run out for certain, by a clock that can be trusted.
    fn lease_is_over(&self, member: MemberId, now: Duration, lease_and_drift: Duration) -> bool {
        self.leaving.get(&member).is_some_and(|(_, since)| now > *since + lease_and_drift)
    }
}

/// Has a shorter lease count once those of the longer one have run out, counted from when this process saw it.
async fn settle(
    shared: &Shared,
    counted: &mut Counted,
    lease: LeaseTime,
    now: Duration,
) -> Result<(), StoreError> {
    if lease.counted == lease.granted {
        counted.longer = None;
        return Ok(());
    }
    let since = match counted.longer {
        Some((version, since)) if version == lease.version => since,
        _ => now,
    };
    counted.longer = Some((lease.version, since));
    if now > since + with_drift(lease.counted) {
        shared.store.settle_lease(lease.version).await?;
        shared.wake();
    }
    Ok(())
}

/// Marks members leaving that were silent for two leases, and removes those whose last lease has run out since. Members
/// whose terms forbid it stay until they leave or are removed: tasks wait for them, or say what they may answer with.
async fn members(
    shared: &Shared,
    members: &[Member],
    leases_over: &HashSet<MemberId>,
    lease: Duration,
    now: Duration,
) -> Result<(), StoreError> {
    let mut silent = Vec::new();
    let mut gone = Vec::new();
    {
        let mut heard = shared.heard.lock();
        let rows: HashSet<MemberId> = members.iter().map(|member| member.id).collect();
        heard.retain(|id, heard| rows.contains(id) || now < heard.at + lease * 2);
        for member in members {
            let id = member.id;
            match member.state {
                MemberState::Active => {
                    let last = heard.entry(id).or_insert(Heard::at(now)).at;
                    // Without a clock to trust, that nobody grants it any more would say nothing about its lease.
                    if now > last + lease * 2 && !member.terms.acks_only {
                        silent.push(member.id);
                    }
                }
                MemberState::Leaving { .. } => {
                    if leases_over.contains(&id) && member.terms.may_lapse() {
                        gone.push(member.id);
                    }
                }
            }
        }
    }
    tell_leaving(shared, members);
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

/// Lets links know which of their members are to leave.
fn tell_leaving(shared: &Shared, members: &[Member]) {
    let leaving = members.iter().filter(|member| member.state != MemberState::Active);
    let leaving: HashSet<MemberId> = leaving.map(|member| member.id).collect();
    shared.leaving.send_if_modified(|known| {
        let differs = *known != leaving;
        if differs {
            *known = leaving;
        }
        differs
    });
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
    shared.store.forget_edge_keys(before(UNUSED_KEYS_KEPT)).await?;
    shared.store.forget_quota_use(now_ms).await
}
