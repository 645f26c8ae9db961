//! The sweep: space comes back, and marks don't pile up.
//!
//! Walks the whole store in the background, the disk first. What deletes matched goes, what invalidates matched is set stale in its
//! header, all that stays counts as checked. Then the horizon rises and the marks up to it are forgotten. The horizon
//! keeps the promise: whatever the sweep missed costs a fetch.

use crate::disk::SweepOutcome;
use crate::object::{Object, Standing};
use crate::orphans::Orphans;
use crate::state::{Counters, State};
use purge::{Epoch, Ledger, PurgeSeq};
use std::sync::Arc;
use std::time::Duration;

/// After how many objects the sweep lets others run.
const OBJECTS_PER_TURN: usize = 512;

/// How long fetches that began before the sweep may take before it goes on without them: they are then stored in
/// vain, and fetched again.
const FETCHES_WAIT_MAX: Duration = Duration::from_secs(60);

/// How often the sweep looks whether they have ended.
const FETCHES_POLL: Duration = Duration::from_millis(250);

/// Sweeps for as long as the edge lives.
pub(crate) async fn run(state: Arc<State>) {
    let (mut swept_under, mut orphans) = (None, Orphans::default());
    loop {
        tokio::time::sleep(state.config.sweep_interval).await;
        // Without a mark there still is something to sweep after a jump, which puts all that is held out of reach.
        let horizon = || Some((state.ledger.epoch(), state.ledger.horizon()));
        let has_work = state.ledger.mark_count() > 0 || horizon() != swept_under;
        let has_swept = has_work && sweep(&state).await;
        if has_swept {
            swept_under = horizon();
        }
        // A purge by a tag that only the head of a large response had has left its slices.
        if has_swept || orphans.is_due((state.clocks.boot)()) {
            state.counters.swept.add(orphans.give_back(&state).await);
        }
    }
}

/// One full sweep. Whether it took place.
async fn sweep(state: &State) -> bool {
    let Some((epoch, swept_to)) = state.ledger.position() else { return false };
    let mut removed = 0;
    // The disk first: what is read into memory later counts as checked by then. It reads `applied` for itself, later than
    // this did, so that what it vouches for is not below what is forgotten.
    if let Some(disk) = state.shelf.disk() {
        match disk.sweep().await {
            Some(SweepOutcome::Swept(from_disk)) => removed += from_disk,
            // Files that are not found yet could not be swept, and would be beyond the horizon.
            Some(SweepOutcome::Recovering) | None => return false,
        }
    }
    for (index, (key, object)) in state.shelf.objects().enumerate() {
        if index % OBJECTS_PER_TURN == OBJECTS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let standing = hold_up_to(&state.ledger, epoch, swept_to, &object);
        if matches!(standing, Standing::Deleted(_) | Standing::BeyondHorizon) {
            state.shelf.remove_object(key, &object);
            removed += 1;
        }
    }
    let mut waited = Duration::ZERO;
    while state.flights.lowest_born().is_some_and(|born| born < swept_to) && waited < FETCHES_WAIT_MAX {
        tokio::time::sleep(FETCHES_POLL).await;
        waited += FETCHES_POLL;
    }
    state.counters.swept.add(removed);
    Counters::count(&state.counters.sweeps);
    match state.ledger.forget(epoch, swept_to) {
        Ok(forgotten) => tracing::debug!(%swept_to, removed, forgotten, "swept"),
        Err(error) => tracing::debug!(%error, "swept in vain"),
    }
    if let Some(disk) = state.shelf.disk() {
        disk.save();
    }
    true
}

/// Holds an object against the marks, which counts up to `swept_to` if the object is of the sweep's log: in another log
/// that has begun meanwhile, the number stands for entries that are yet to come.
fn hold_up_to(ledger: &Ledger, epoch: Epoch, swept_to: PurgeSeq, object: &Object) -> Standing {
    match ledger.epoch_of(&object.birth.clock) == Some(epoch) {
        true => object.sweep(ledger, swept_to),
        false => object.standing(ledger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Content;
    use crate::object::{Birth, NewObject};
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use httpcache::{Freshness, Policy};
    use purge::{Entry, LogEntry, Method, Scope, Tags, UrlKey};
    use std::time::SystemTime;
    use zone::{HostName, ZoneId};

    #[test]
    fn a_sweep_vouches_for_nothing_of_a_log_that_began_meanwhile() {
        let (old, new) = (Epoch::new(1), Epoch::new(2));
        let zone = ZoneId::parse("zone-aaaaaaaaaaaa").unwrap();
        let ledger = Ledger::new([1; 16]);
        ledger.jump(old, PurgeSeq::new(1000)).unwrap();
        let (epoch, swept_to) = ledger.position().unwrap();
        ledger.jump(new, PurgeSeq::new(50)).unwrap();
        let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        let object = Object::new(NewObject {
            url: UrlKey::of_request(HostName::parse("a.test").unwrap(), "/").unwrap(),
            birth: Birth { clock: ledger.clock(&zone), born: ledger.applied() },
            tags: Tags::read([&b""[..]]).0,
            tags_ignored: 0,
            grouping: None,
            status: StatusCode::OK,
            freshness: Freshness::of_response(StatusCode::OK, &headers, now, now, &Policy::default()),
            headers,
            declared_length: None,
            content: Content::of_whole(Bytes::new()),
        });
        assert_eq!(hold_up_to(&ledger, epoch, swept_to, &object), Standing::Clear);
        let seq = PurgeSeq::new(51);
        let entry = Entry { zone, scope: Scope::All, method: Method::Delete };
        ledger.apply(new, &[LogEntry { seq, entry }]).unwrap();
        assert_eq!(object.standing(&ledger), Standing::Deleted(seq));
    }
}
