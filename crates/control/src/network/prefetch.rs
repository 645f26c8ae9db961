//! Prefetches: which edges are still to fetch what, and when a task is done.
//!
//! The board holds the tasks that are processing, as the database has them, with what each edge has told. Links hand
//! tasks on from it; a task is done once every edge that it asks has told, and at the latest after [`TASK_TIME_MAX`].
//! What edges told is not durable: after a restart they are asked again, and find what they fetched in their caches.
//! Several instances have boards of their own with the same tasks, each asks the edges that are linked to it, and they
//! tell each other what they were told.

use super::Shared;
use feed::{ControlLink, LinkBroken, PREFETCHES_PER_MESSAGE_MAX, Prefetch, Prefetched, ToEdge};
use parking_lot::Mutex;
use purge::{MemberId, PrefetchMode, TaskStatus};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::{FORGET_PREFETCHES_MAX, MemberState, PendingPrefetch, PrefetchOutcome, PrefetchTold, StoreError};
use tokio::sync::watch;
use tracing::{error, info};

/// How many tasks are on the board; later ones wait in the database.
pub(super) const BOARD_TASKS_MAX: usize = 20_000;

/// How many tasks one edge is asked for before it tells what became of them.
const UNDER_WAY_MAX: usize = 256;

/// How long a task may take.
const TASK_TIME_MAX: Duration = Duration::from_secs(3600);

/// For how long finished jobs are kept.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often everything is looked at, and the database for more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long what edges tell is gathered where other instances are told of it.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// The longest `FailMessage`, in characters.
const FAIL_MESSAGE_CHARS_MAX: usize = 512;

/// The tasks that are processing.
pub(super) struct Board {
    open: Mutex<Open>,
    /// Counts up when the loop has something to look at.
    woken: watch::Sender<u64>,
    /// Counts up when links may have something to hand on.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    tasks: BTreeMap<u64, OpenTask>,
    /// Tasks of which an edge has told since they were last looked at.
    told: BTreeSet<u64>,
    /// What this process was told and other instances were not yet.
    untold: Vec<PrefetchTold>,
    /// The active members, and whether each asks a parent.
    members: BTreeMap<MemberId, (String, bool)>,
    /// Counts up when the members changed: a task may ask others then.
    generation: u64,
}

struct OpenTask {
    task: PendingPrefetch,
    told: HashMap<MemberId, Option<String>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { open: Mutex::default(), woken: watch::Sender::new(0), changed: watch::Sender::new(0) }
    }
}

impl Board {
    /// How many prefetches are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.lock().tasks.len()
    }

    /// Says that there may be tasks to load.
    pub(super) fn wake(&self) {
        bump(&self.woken);
    }

    fn tell(&self, member: MemberId, outcomes: Vec<Prefetched>) {
        let mut open = self.open.lock();
        for Prefetched { task, failure } in outcomes {
            if let Some(there) = open.tasks.get_mut(&task) {
                there.told.insert(member, failure.clone());
                open.told.insert(task);
                open.untold.push(PrefetchTold { task_id: task, member, failure });
            }
        }
        drop(open);
        self.wake();
    }
}

impl Open {
    /// Whether a task of this mode asks this member: the default asks those without a parent, or all if none is.
    fn asks(&self, mode: PrefetchMode, member: MemberId) -> bool {
        let has_parent = |(_, has_parent): &(String, bool)| *has_parent;
        let Some(asked) = self.members.get(&member) else { return false };
        match mode {
            PrefetchMode::Edge => true,
            PrefetchMode::Default => !has_parent(asked) || self.members.values().all(has_parent),
        }
    }

    /// What became of a task, if that is decided.
    fn outcome(&self, task_id: u64, now_ms: i64) -> Option<PrefetchOutcome> {
        let OpenTask { task, told } = self.tasks.get(&task_id)?;
        let asked = || self.members.iter().filter(|(member, _)| self.asks(task.job.mode, **member));
        let all_told = !self.members.is_empty() && asked().all(|(member, _)| told.contains_key(member));
        if !all_told {
            let age = now_ms.saturating_sub(task.job.created_ms);
            let is_late = u128::try_from(age).is_ok_and(|age| age > TASK_TIME_MAX.as_millis());
            let late = || {
                let names = asked()
                    .filter(|(member, _)| !told.contains_key(member))
                    .map(|(_, (name, _))| name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                let text = if names.is_empty() {
                    "no edge is there".to_owned()
                } else {
                    format!("not told: {names}")
                };
                PrefetchOutcome { task_id, status: TaskStatus::Timeout, fail_message: Some(shorten(text)) }
            };
            return is_late.then(late);
        }
        let mut failures: Vec<String> = asked()
            .filter_map(|(member, (name, _))| told[member].as_ref().map(|why| format!("{name}: {why}")))
            .collect();
        failures.sort_unstable();
        let (status, fail_message) = match failures.is_empty() {
            true => (TaskStatus::Success, None),
            false => (TaskStatus::Failed, Some(shorten(failures.join("; ")))),
        };
        Some(PrefetchOutcome { task_id, status, fail_message })
    }
}

fn shorten(text: String) -> String {
    if text.chars().count() <= FAIL_MESSAGE_CHARS_MAX {
        return text;
    }
    text.chars().take(FAIL_MESSAGE_CHARS_MAX - 1).chain(['…']).collect()
}

fn bump(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.wrapping_add(1));
}

/// Loads, decides and records for as long as the control plane runs.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut woken = shared.prefetches.woken.subscribe();
    let mut read = Read::default();
    let mut looked_at = Duration::ZERO;
    loop {
        woken.mark_unchanged();
        let now = (shared.settings.boot_clock)();
        let is_due = now >= looked_at + LOOK_INTERVAL;
        if is_due {
            looked_at = now;
        }
        if let Err(error) = turn(&shared, &mut read, is_due).await {
            error!(error = &error as &dyn std::error::Error, "prefetches were not looked at");
        }
        if shared.store.is_shared() {
            tokio::time::sleep(TURN_PAUSE).await;
        }
        let _ = tokio::time::timeout(LOOK_INTERVAL, woken.changed()).await;
    }
}

/// How far the database was read.
#[derive(Default)]
struct Read {
    /// The number of the last task on the board.
    tasks: u64,
    /// The number of what was last told elsewhere.
    told: i64,
}

/// Tells other instances what edges told here.
async fn tell(shared: &Shared) -> Result<(), StoreError> {
    let untold = std::mem::take(&mut shared.prefetches.open.lock().untold);
    let told = shared.store.tell_prefetched(&untold).await;
    if told.is_err() {
        shared.prefetches.open.lock().untold.splice(0..0, untold);
    }
    told
}

/// Takes off the board what another instance completed, or the deletion of a zone.
async fn drop_completed(shared: &Shared) -> Result<(), StoreError> {
    let range = {
        let open = shared.prefetches.open.lock();
        let (Some((&first, _)), Some((&last, _))) =
            (open.tasks.first_key_value(), open.tasks.last_key_value())
        else {
            return Ok(());
        };
        first..=last
    };
    let pending = shared.store.still_pending_prefetches(range).await?;
    shared.prefetches.open.lock().tasks.retain(|task, _| pending.binary_search(task).is_ok());
    Ok(())
}

/// One turn. `whole` looks at every task, not only at those of which edges told.
async fn turn(shared: &Shared, read: &mut Read, whole: bool) -> Result<(), StoreError> {
    let board = &shared.prefetches;
    tell(shared).await?;
    if whole {
        drop_completed(shared).await?;
    }
    let room = BOARD_TASKS_MAX.saturating_sub(board.open.lock().tasks.len());
    let loaded = shared.store.pending_prefetches(read.tasks, room).await?;
    let has_more = !loaded.is_empty();
    read.tasks = loaded.last().map_or(read.tasks, |task| task.task_id);
    if whole {
        forget(shared).await?;
    }
    if !has_more && board.open.lock().tasks.is_empty() {
        return Ok(());
    }
    let members = shared.store.members().await?;
    // Of tasks that came onto the board just now all of it.
    let (elsewhere, told) = shared.store.prefetched_elsewhere(if has_more { 0 } else { read.told }).await?;
    read.told = told;
    let now_ms = shared.now_ms();
    let (outcomes, members_changed) = {
        let mut open = board.open.lock();
        let active = members.into_iter().filter(|member| member.state == MemberState::Active);
        let members: BTreeMap<_, _> =
            active.map(|member| (member.id, (member.edge_name, member.terms.has_parent))).collect();
        let members_changed = open.members != members;
        open.members = members;
        if members_changed {
            open.generation += 1;
        }
        // Not before the members are known: links ask whom a task asks.
        let open_task = |task: PendingPrefetch| (task.task_id, OpenTask { task, told: HashMap::new() });
        open.tasks.extend(loaded.into_iter().map(open_task));
        for PrefetchTold { task_id, member, failure } in elsewhere {
            if let Some(there) = open.tasks.get_mut(&task_id) {
                there.told.insert(member, failure);
                open.told.insert(task_id);
            }
        }
        let told = std::mem::take(&mut open.told);
        let looked_at: Vec<u64> = if whole || members_changed {
            open.tasks.keys().copied().collect()
        } else {
            told.into_iter().collect()
        };
        let outcomes: Vec<PrefetchOutcome> =
            looked_at.into_iter().filter_map(|task| open.outcome(task, now_ms)).collect();
        (outcomes, members_changed)
    };
    if has_more || members_changed {
        bump(&board.changed);
    }
    shared.store.complete_prefetches(&outcomes, now_ms).await?;
    if !outcomes.is_empty() {
        info!(count = outcomes.len(), "prefetches completed");
        let mut open = board.open.lock();
        for outcome in &outcomes {
            open.tasks.remove(&outcome.task_id);
        }
    }
    Ok(())
}

async fn forget(shared: &Shared) -> Result<(), StoreError> {
    let kept = i64::try_from(JOBS_KEPT.as_millis()).unwrap_or(i64::MAX);
    // In steps, between which others write.
    while shared.store.forget_prefetches(shared.now_ms() - kept).await? == u64::from(FORGET_PREFETCHES_MAX) {}
    Ok(())
}

/// What one link has handed on.
pub(super) struct Handing {
    shared: Arc<Shared>,
    member: MemberId,
    handed_to: u64,
    under_way: HashSet<u64>,
    generation: u64,
    changed: watch::Receiver<u64>,
}

impl Handing {
    /// Begins for a link of `member`.
    pub(super) fn new(shared: &Arc<Shared>, member: MemberId) -> Self {
        let mut changed = shared.prefetches.changed.subscribe();
        changed.mark_changed();
        shared.prefetches.wake();
        let shared = Arc::clone(shared);
        Self { shared, member, handed_to: 0, under_way: HashSet::new(), generation: 0, changed }
    }

    /// Completes when there may be something to hand on.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes what the edge tells.
    pub(super) fn told(&mut self, outcomes: Vec<Prefetched>) {
        for outcome in &outcomes {
            self.under_way.remove(&outcome.task);
        }
        self.shared.prefetches.tell(self.member, outcomes);
    }

    /// Hands on as much as may be under way.
    pub(super) async fn hand_on(&mut self, link: &ControlLink) -> Result<(), LinkBroken> {
        while let Some(message) = self.next() {
            link.send(message).await?;
        }
        Ok(())
    }

    /// The next tasks, all of one job.
    fn next(&mut self) -> Option<ToEdge> {
        let room = UNDER_WAY_MAX.saturating_sub(self.under_way.len()).min(PREFETCHES_PER_MESSAGE_MAX);
        let open = self.shared.prefetches.open.lock();
        if open.generation != self.generation {
            // A task that passed this edge over may ask it now.
            self.generation = open.generation;
            self.handed_to = 0;
        }
        let mut job = None;
        let mut urls = Vec::new();
        for (&task_id, OpenTask { task, told }) in open.tasks.range(self.handed_to + 1..) {
            if urls.len() == room || job.as_ref().is_some_and(|job| !Arc::ptr_eq(job, &task.job)) {
                break;
            }
            self.handed_to = task_id;
            let is_asked = open.asks(task.job.mode, self.member)
                && !told.contains_key(&self.member)
                && self.under_way.insert(task_id);
            if is_asked {
                job = Some(Arc::clone(&task.job));
                urls.push(Prefetch { task: task_id, url: task.target.clone() });
            }
        }
        let job = job?;
        Some(ToEdge::Prefetch { epoch: job.epoch, head: job.head, headers: job.headers.clone(), urls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purge::{Epoch, JobId, PurgeSeq};
    use store::PrefetchJob;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn member(number: u8) -> MemberId {
        MemberId::from_random([number; 16])
    }

    /// Task 1 of this mode, and members: number, whether it has a parent, what it told (`Some("")`: success).
    fn open(mode: PrefetchMode, members: &[(u8, bool, Option<&str>)]) -> Open {
        let job = PrefetchJob {
            job_id: JobId::parse("000000000000").unwrap(),
            mode,
            headers: Vec::new(),
            epoch: Epoch::new(1),
            head: PurgeSeq::ZERO,
            created_ms: NOW_MS,
        };
        let task = PendingPrefetch { task_id: 1, target: "http://a.test/".into(), job: Arc::new(job) };
        let mut open = Open::default();
        let mut told = HashMap::new();
        for &(number, has_parent, outcome) in members {
            open.members.insert(member(number), (format!("edge-{number}"), has_parent));
            if let Some(outcome) = outcome {
                told.insert(member(number), (!outcome.is_empty()).then(|| outcome.to_owned()));
            }
        }
        open.tasks.insert(1, OpenTask { task, told });
        open
    }

    #[track_caller]
    fn check(open: &Open, age_ms: i64, expected: Option<(TaskStatus, Option<&str>)>) {
        let outcome = open.outcome(1, NOW_MS + age_ms);
        let outcome = outcome.as_ref().map(|outcome| (outcome.status, outcome.fail_message.as_deref()));
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_task_is_done_when_every_edge_that_it_asks_has_told() {
        use PrefetchMode::{Default, Edge};
        let success = Some((TaskStatus::Success, None));
        check(&open(Edge, &[]), 0, None);
        check(&open(Edge, &[(1, false, Some("")), (2, false, None)]), 0, None);
        check(&open(Edge, &[(1, false, Some("")), (2, true, Some(""))]), 0, success);
        let failed = Some((TaskStatus::Failed, Some("edge-2: 404")));
        check(&open(Edge, &[(1, false, Some("")), (2, false, Some("404"))]), 0, failed);
        // The default asks those without a parent, or all if there is none.
        check(&open(Default, &[(1, false, Some("")), (2, true, None)]), 0, success);
        check(&open(Default, &[(1, false, None), (2, true, Some(""))]), 0, None);
        check(&open(Default, &[(1, true, Some("")), (2, true, None)]), 0, None);
        check(&open(Default, &[(1, true, Some("")), (2, true, Some(""))]), 0, success);
    }

    #[test]
    fn a_task_does_not_wait_for_ever() {
        let late_ms = i64::try_from(TASK_TIME_MAX.as_millis()).unwrap() + 1;
        let waits = open(PrefetchMode::Edge, &[(1, false, Some("")), (2, false, None)]);
        check(&waits, late_ms - 1, None);
        check(&waits, late_ms, Some((TaskStatus::Timeout, Some("not told: edge-2"))));
        let alone = open(PrefetchMode::Edge, &[]);
        check(&alone, late_ms, Some((TaskStatus::Timeout, Some("no edge is there"))));
    }

    #[test]
    fn a_fail_message_has_a_limit() {
        let long = "é".repeat(FAIL_MESSAGE_CHARS_MAX + 1);
        assert_eq!(shorten(long).chars().count(), FAIL_MESSAGE_CHARS_MAX);
        assert_eq!(shorten("é".repeat(FAIL_MESSAGE_CHARS_MAX)).chars().last(), Some('é'));
    }
}
