//! Several control planes on one database.
//!
//! An edge is linked to one of them, which alone hears its signs of life and its acknowledgements. It tells them in the
//! database, where the others look: so any of them completes a job as soon as it can be, and none marks a member leaving
//! that another one hears. What is told is what the edge said of itself, and counts as if it had said it here.

use super::{Heard, Shared};
use parking_lot::Mutex;
use purge::MemberId;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use tokio::sync::watch;
use tracing::error;

/// How long acknowledgements are gathered after some were told.
const TELL_PAUSE: Duration = Duration::from_millis(2);

/// What other instances are yet to be told.
#[derive(Default)]
pub(super) struct Instances {
    untold: Mutex<HashSet<MemberId>>,
    /// Counts up when one of them has acknowledged more than is told.
    woken: watch::Sender<u64>,
}

impl Instances {
    /// Notes a sign of life; with news it is told at once.
    pub(super) fn note(&self, member: MemberId, is_news: bool) {
        self.untold.lock().insert(member);
        if is_news {
            self.woken.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

/// Tells the others for as long as the control plane runs.
pub(super) async fn tell(shared: Arc<Shared>) {
    let mut woken = shared.instances.woken.subscribe();
    loop {
        let hurry = woken.has_changed().unwrap_or(false);
        woken.mark_unchanged();
        let members = std::mem::take(&mut *shared.instances.untold.lock());
        let heard: Vec<_> = {
            let all = shared.heard.lock();
            members.iter().filter_map(|id| Some((*id, all.get(id)?.acknowledged))).collect()
        };
        if let Err(error) = shared.store.tell_heard(&heard, hurry).await {
            error!(error = &error as &dyn std::error::Error, "other control planes were not told of edges");
            shared.instances.untold.lock().extend(members);
        }
        tokio::time::sleep(TELL_PAUSE).await;
        let _ = tokio::time::timeout(shared.settings.lease / 4, woken.changed()).await;
    }
}

/// Is woken by the others for as long as the control plane runs.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut changes = shared.store.changes();
    loop {
        changes.next().await;
        shared.wake();
        shared.prefetches.wake();
    }
}

/// Takes in what others told since the last time.
pub(super) async fn hear(shared: &Shared) -> Result<(), StoreError> {
    let told = shared.store.heard_elsewhere().await?;
    let now = (shared.settings.boot_clock)();
    let mut all = shared.heard.lock();
    for told in told {
        let heard = all.entry(told.member).or_insert(Heard::at(now));
        if heard.beat != Some(told.beat) {
            heard.beat = Some(told.beat);
            heard.note(now, told.acknowledged);
        }
    }
    Ok(())
}
