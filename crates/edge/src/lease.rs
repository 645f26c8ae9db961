//! The lease: until when this edge may trust its cache, and what it does without one.

use purge::{FencePolicy, Method};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Until when, on the boot clock. Only ever extended; it runs out by itself.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    until_nanos: AtomicU64,
}

impl Lease {
    /// Whether the lease holds at `now`, read from the clock after the request arrived.
    pub(crate) fn holds(&self, now: Duration) -> bool {
        nanos(now) < self.until_nanos.load(Ordering::SeqCst)
    }

    /// How long it still runs.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.until_nanos.load(Ordering::SeqCst).saturating_sub(nanos(now)))
    }

    /// Extends the lease to `until`: the moment the granted ping was sent, plus the length of the lease. Called only
    /// once the granted head is applied.
    pub(crate) fn extend(&self, until: Duration) {
        self.until_nanos.fetch_max(nanos(until), Ordering::SeqCst);
    }

    /// Gives the lease up for good.
    pub(crate) fn give_up(&self) {
        self.until_nanos.store(0, Ordering::SeqCst);
    }
}

/// What the edge does without a lease. A policy that gives up the promise counts only while the member row that says so
/// is on record, which a first grant to this member tells: a task must be able to say it, too.
#[derive(Debug)]
pub(crate) struct Fence {
    chosen: FencePolicy,
    on_record: AtomicBool,
}

impl Fence {
    pub(crate) fn new(chosen: FencePolicy) -> Self {
        Self { chosen, on_record: AtomicBool::new(false) }
    }

    pub(crate) fn policy(&self) -> FencePolicy {
        if self.chosen.keeps_promise(Method::Delete) || self.on_record.load(Ordering::SeqCst) {
            self.chosen
        } else {
            FencePolicy::default()
        }
    }

    /// A grant came for a ping of this member: its row is there.
    pub(crate) fn granted(&self) {
        self.on_record.store(true, Ordering::SeqCst);
    }

    /// The member's row is gone, or going.
    pub(crate) fn expelled(&self) {
        self.on_record.store(false, Ordering::SeqCst);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_gives_up_the_promise_counts_only_while_it_is_on_record() {
        use FencePolicy::{Fetch, Refuse, Revalidate, Serve};
        for (chosen, before) in [(Fetch, Fetch), (Refuse, Refuse), (Revalidate, Fetch), (Serve, Fetch)] {
            let fence = Fence::new(chosen);
            assert_eq!(fence.policy(), before);
            fence.granted();
            assert_eq!(fence.policy(), chosen);
            fence.expelled();
            assert_eq!(fence.policy(), before);
        }
    }

    #[test]
    fn a_lease_holds_until_its_end_and_never_shrinks() {
        let lease = Lease::default();
        let at = Duration::from_secs;
        assert!(!lease.holds(at(0)), "a new edge is fenced");
        lease.extend(at(5));
        assert!(lease.holds(at(4)) && !lease.holds(at(5)));
        lease.extend(at(3));
        assert!(lease.holds(at(4)), "a late answer to an earlier ping takes nothing away");
        lease.give_up();
        assert!(!lease.holds(at(1)));
    }
}
