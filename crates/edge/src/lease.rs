//! The lease: until when this edge may trust its cache.

use std::sync::atomic::{AtomicU64, Ordering};
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

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
