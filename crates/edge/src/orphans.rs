//! Slices whose head is gone, and heads whose slices are: what nobody can read any more takes no room for long.
//!
//! A slice is found only through its head. So it is lost where neither memory nor disk has the head of its generation, and
//! once all files of the last run are found. A head alone is of use for as long as slices may come: it goes when it has been
//! alone for [`HEAD_ALONE_MAX`]. Whoever reads by a head that goes meanwhile goes on from the origin.

use crate::object::Object;
use crate::shelf::ObjectKey;
use crate::slices::SliceOf;
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a head stays without any slice.
pub(crate) const HEAD_ALONE_MAX: Duration = Duration::from_secs(600);

/// How often lost slices are looked for, beside after each sweep.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// After how many objects the walk lets others run.
const OBJECTS_PER_TURN: usize = 512;

/// What is known of heads that had no slice at the last look.
#[derive(Default)]
pub(crate) struct Orphans {
    /// Since when, by the boot clock.
    alone: BTreeMap<SliceOf, Duration>,
    look_at: Duration,
}

impl Orphans {
    /// Whether it is time to look, if nothing was swept.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        now >= self.look_at
    }

    /// Gives back what is lost. Returns how many objects went.
    pub(crate) async fn give_back(&mut self, state: &State) -> u64 {
        let now = (state.clocks.boot)();
        let shelf = &state.shelf;
        // What is not found yet may be the head of what is.
        if shelf.disk().is_some_and(|disk| !disk.usage().is_recovered) {
            return 0;
        }
        self.look_at = now + LOOK_INTERVAL;
        let (mut heads, mut with_slices) = (BTreeSet::new(), BTreeSet::new());
        let mut removed = 0;
        for (index, (key, object)) in shelf.objects().enumerate() {
            if index % OBJECTS_PER_TURN == OBJECTS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            if let Some(of) = head_of(key, &object) {
                heads.insert(of);
            } else if let Some(of) = object.content.slice_of() {
                if shelf.holds_head(of) {
                    with_slices.insert(of);
                } else {
                    shelf.forget_slice(key, &object);
                    removed += 1;
                }
            }
        }
        let on_disk =
            shelf.disk().into_iter().flat_map(|disk| disk.in_slices().map(move |slot| (disk, slot)));
        for (index, (disk, (key, stored))) in on_disk.enumerate() {
            if index % OBJECTS_PER_TURN == OBJECTS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let Some(of) = stored.response(key) else { continue };
            if !stored.is_slice() {
                heads.insert(of);
            } else if shelf.holds_head(of) {
                with_slices.insert(of);
            } else {
                disk.condemn_file(key, &stored);
                removed += 1;
            }
        }
        heads.retain(|head| !with_slices.contains(head));
        self.alone.retain(|head, _| heads.contains(head));
        for head in heads {
            let since = *self.alone.entry(head).or_insert(now);
            if now.saturating_sub(since) >= HEAD_ALONE_MAX {
                shelf.forget_head(head);
                self.alone.remove(&head);
                removed += 1;
            }
        }
        removed
    }
}

/// The response that this is the head of, if it is one.
fn head_of(key: ObjectKey, object: &Arc<Object>) -> Option<SliceOf> {
    object.content.slices().map(|slices| SliceOf { head: key, generation: slices.generation })
}
