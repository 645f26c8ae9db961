//! The log's tail and the configuration in memory, for all links to hand on.
//!
//! Read from the database after each wake. A link that is further behind than the tail reads the database itself.

use super::Shared;
use parking_lot::RwLock;
use purge::{Epoch, LogEntry, PurgeSeq};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::{ConfigSnapshot, LogHead, StoreError};
use tokio::sync::watch;
use tracing::error;

/// How many of the newest entries are kept for the links.
const TAIL_ENTRIES_MAX: usize = 16_384;

/// How many entries are read at once.
const READ_ENTRIES_MAX: usize = 1_024;

/// How often the tail is read without being woken.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The newest entries, and what says that there are more.
pub(super) struct Tail {
    entries: RwLock<VecDeque<LogEntry>>,
    pub(super) head: watch::Sender<Option<(Epoch, PurgeSeq)>>,
    pub(super) config: watch::Sender<Option<Arc<ConfigSnapshot>>>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { entries: RwLock::default(), head: watch::Sender::new(None), config: watch::Sender::new(None) }
    }
}

impl Tail {
    /// Up to `limit` entries right after `after`; `None` if they lie further back than the tail.
    pub(super) fn after(&self, after: PurgeSeq, limit: usize) -> Option<Vec<LogEntry>> {
        let entries = self.entries.read();
        let first = entries.front()?.seq;
        let skipped = after.next().number().checked_sub(first.number())?;
        Some(entries.iter().skip(usize::try_from(skipped).ok()?).take(limit).cloned().collect())
    }
}

/// Publishes for as long as the control plane runs.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut woken = shared.wake.subscribe();
    loop {
        woken.mark_unchanged();
        if let Err(error) = read(&shared).await {
            error!(error = &error as &dyn std::error::Error, "the log's tail was not read");
        }
        let _ = tokio::time::timeout(READ_INTERVAL, woken.changed()).await;
    }
}

async fn read(shared: &Shared) -> Result<(), StoreError> {
    let tail = &shared.tail;
    let known = tail.config.borrow().as_ref().map(|config| config.version);
    if known != Some(shared.store.config_version().await?) {
        let snapshot = shared.store.config_snapshot().await?;
        tail.config.send_replace(Some(Arc::new(snapshot)));
    }
    loop {
        let published = *tail.head.borrow();
        let LogHead { epoch, head, .. } = shared.store.log_head().await?;
        let Some((_, after)) = published.filter(|(of, _)| *of == epoch) else {
            // The first read, or another log: nothing before it is handed on from here.
            tail.entries.write().clear();
            tail.head.send_replace(Some((epoch, head)));
            continue;
        };
        if head <= after {
            return Ok(());
        }
        let range = shared.store.entries_after(after, READ_ENTRIES_MAX).await?;
        let Some(last) = range.entries.last().map(|entry| entry.seq) else { return Ok(()) };
        {
            let mut entries = tail.entries.write();
            entries.extend(range.entries);
            while entries.len() > TAIL_ENTRIES_MAX {
                entries.pop_front();
            }
        }
        tail.head.send_replace(Some((epoch, last)));
    }
}
