//! Recording jobs in groups, so that the log's one row is no bottleneck.
//!
//! Owns the queue in front of the store. Invariant: a call is answered with a job only after the commit that holds it.

use crate::metrics::Metrics;
use crate::network::Network;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{RecordError, Recorded, Recording, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Jobs that wait for the store at most.
pub const QUEUED_JOBS_MAX: usize = 1024;

/// Log entries that jobs waiting for the store hold at most, together: what bounds memory and a transaction's length.
pub const QUEUED_ENTRIES_MAX: usize = 50_000;

const _: () = assert!(QUEUED_ENTRIES_MAX >= purge::ENTRIES_PER_JOB_MAX, "the largest job fits");

/// Hands jobs to the task that records them.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Queued>,
    entries: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Queued {
    recording: Recording,
    answer: oneshot::Sender<Result<Recorded, RecordError>>,
    /// Held until the job is answered.
    _entries: OwnedSemaphorePermit,
}

/// Why a job has not been recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// As many jobs wait as may.
    #[error("too many purges wait to be recorded")]
    Busy,
    /// The recording task has ended, with or without having recorded the job.
    #[error("the recording task has ended")]
    Stopped,
    /// The store said no.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The queue's other end: [`RecorderTask::run`] it.
pub struct RecorderTask {
    jobs: mpsc::Receiver<Queued>,
    store: Store,
    network: Network,
}

impl Recorder {
    /// A recorder in front of `store`, which wakes `network` after each commit.
    pub fn new(store: Store, network: Network) -> (Self, RecorderTask) {
        let (queue, jobs) = mpsc::channel(QUEUED_JOBS_MAX);
        let entries = Arc::new(Semaphore::new(QUEUED_ENTRIES_MAX));
        let metrics = Arc::clone(network.metrics());
        (Self { queue, entries, metrics }, RecorderTask { jobs, store, network })
    }

    /// Records one job, together with those that arrive at the same time.
    pub async fn record(&self, recording: Recording) -> Result<Recorded, RecorderError> {
        self.metrics.purges_waiting.fetch_add(1, Ordering::Relaxed);
        // Also when the call is given up while it waits.
        let _waiting = Waiting(&self.metrics);
        let recorded = self.queue_up(recording).await;
        if matches!(recorded, Err(RecorderError::Busy)) {
            self.metrics.purges_turned_away.fetch_add(1, Ordering::Relaxed);
        }
        recorded
    }

    async fn queue_up(&self, recording: Recording) -> Result<Recorded, RecorderError> {
        let entries: usize = recording.tasks.iter().map(|task| task.entries.len()).sum();
        let entries = u32::try_from(entries).map_err(|_| RecorderError::Busy)?;
        let permit =
            Arc::clone(&self.entries).try_acquire_many_owned(entries).map_err(|_| RecorderError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let queued = Queued { recording, answer, _entries: permit };
        self.queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RecorderError::Busy,
            mpsc::error::TrySendError::Closed(_) => RecorderError::Stopped,
        })?;
        Ok(answered.await.map_err(|_| RecorderError::Stopped)??)
    }
}

/// A purge that waits for its commit, counted as long as it does.
struct Waiting<'m>(&'m Metrics);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.purges_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RecorderTask {
    /// Records until every [`Recorder`] is gone. Must not be dropped while a commit is under way.
    pub async fn run(mut self) {
        let mut jobs = Vec::new();
        while self.jobs.recv_many(&mut jobs, QUEUED_JOBS_MAX).await > 0 {
            let (recordings, waiting): (Vec<_>, Vec<_>) =
                jobs.drain(..).map(|job| (job.recording, (job.answer, job._entries))).unzip();
            let (count, began) = (recordings.len(), tokio::time::Instant::now());
            let outcomes = self.store.record(recordings).await;
            self.network.metrics().recorded(count, began.elapsed());
            self.network.wake();
            for (outcome, (answer, _entries)) in outcomes.into_iter().zip(waiting) {
                // A client that has gone away does not hear of its job.
                drop(answer.send(outcome));
            }
        }
    }
}
