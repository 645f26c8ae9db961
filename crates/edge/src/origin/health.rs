//! Which of two origins to ask first, judged by what became of the requests before; and how many requests may be
//! repeated, so that an outage is not made worse by asking twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// After how many failures in a row an origin counts as unhealthy.
pub(super) const FAILURES_MAX: u32 = 3;

/// How long an unhealthy origin is left alone before a single request tries it again.
pub(super) const OUT_FOR: Duration = Duration::from_secs(10);

/// How many requests of one worker may be repeated in a row; each [`REQUESTS_PER_RETRY`] requests allow one more.
const RETRIES_MAX: u32 = 10;

/// How many requests earn one repetition: an outage adds a tenth to the load, once the ten are spent.
const REQUESTS_PER_RETRY: u32 = 10;

/// What is known of one origin.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    /// Set while it is unhealthy: when the next request may try it.
    out_until: Option<Instant>,
}

impl Health {
    /// Whether an origin that has another beside it is to be asked first. One request of each [`OUT_FOR`] is told yes
    /// while it is unhealthy.
    pub(super) fn may_be_asked(&mut self, now: Instant) -> bool {
        match self.out_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // This request is the probe. Whatever becomes of it, the next one is at least as far away.
                self.out_until = Some(now + OUT_FOR);
                true
            }
        }
    }

    /// Whether it counts as unhealthy.
    pub(super) fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    /// It answered as an origin should.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It could not be reached, did not answer, or said itself that it can't.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.out_until = Some(now + OUT_FOR);
        }
    }
}

/// How many requests may be repeated.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// In units of which a request earns one and a repetition costs [`REQUESTS_PER_RETRY`].
    credit: AtomicU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { credit: AtomicU32::new(RETRIES_MAX * REQUESTS_PER_RETRY) }
    }
}

impl RetryBudget {
    /// A request is sent for the first time.
    pub(super) fn earn(&self) {
        let more = |credit: u32| (credit < RETRIES_MAX * REQUESTS_PER_RETRY).then_some(credit + 1);
        // An error means that it is full.
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a request may be repeated; counts it.
    pub(super) fn spend(&self) -> bool {
        let less = |credit: u32| credit.checked_sub(REQUESTS_PER_RETRY);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_origin_goes_out_after_failures_in_a_row_and_comes_back_by_a_probe() {
        let mut health = Health::default();
        let start = Instant::now();
        for _ in 1..FAILURES_MAX {
            health.failed(start);
        }
        health.answered();
        for _ in 1..FAILURES_MAX {
            health.failed(start);
        }
        assert!(health.may_be_asked(start), "not in a row");
        health.failed(start);
        assert!(!health.may_be_asked(start));
        assert!(!health.may_be_asked(start + OUT_FOR - Duration::from_millis(1)));
        let later = start + OUT_FOR;
        assert!(health.may_be_asked(later), "the probe");
        assert!(!health.may_be_asked(later), "only one");
        health.failed(later);
        assert!(!health.may_be_asked(later + OUT_FOR - Duration::from_millis(1)));
        // A probe that never reports back does not keep it out for ever.
        assert!(health.may_be_asked(later + OUT_FOR));
        assert!(health.may_be_asked(later + OUT_FOR * 2));
        health.answered();
        assert!(health.may_be_asked(start) && !health.is_out());
    }

    #[test]
    fn repetitions_are_earned() {
        let budget = RetryBudget::default();
        budget.earn();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), RETRIES_MAX as usize);
        for _ in 0..25 {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 2);
    }
}
