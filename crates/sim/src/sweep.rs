//! Many seeds, on all processors.

use crate::report::{Outcome, Report};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many seeds.
    Seeds(u64),
    /// After so long.
    Elapsed(Duration),
    /// After the first that fails, and at most so many.
    Failure(u64),
}

/// Seeds in a row.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The first.
    pub from: u64,
    /// How many.
    pub until: Until,
}

/// What they came to.
#[derive(Debug)]
pub struct Swept {
    /// The first seed.
    pub from: u64,
    /// All of them, added up.
    pub report: Report,
    /// Those that broke the promise.
    pub failed: Vec<Outcome>,
}

/// The time of the kernel's clock that runs on in sleep.
fn elapsed() -> Duration {
    (edge::Clocks::with_wall(|| std::time::SystemTime::UNIX_EPOCH).boot)()
}

/// A seed that nobody chose.
pub fn some_seed() -> u64 {
    let mut bytes = [0; 4];
    // Without randomness any number does.
    let _ = (edge::Randomness::system().0)(&mut bytes);
    u64::from(u32::from_be_bytes(bytes))
}

impl Sweep {
    /// Runs them, and tells of each that fails.
    pub fn run(self, failed: impl Fn(&Outcome) + Sync) -> Swept {
        let next = AtomicU64::new(self.from);
        let has_failed = AtomicBool::new(false);
        let begun = elapsed();
        let all = Mutex::new(Swept { from: self.from, report: Report::default(), failed: Vec::new() });
        let work = || loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_over = match self.until {
                Until::Seeds(count) => seed - self.from >= count,
                Until::Elapsed(time) => elapsed() - begun >= time,
                Until::Failure(most) => seed - self.from >= most || has_failed.load(Ordering::Relaxed),
            };
            if is_over {
                return;
            }
            let outcome = crate::run(seed);
            if !outcome.faults.is_empty() {
                has_failed.store(true, Ordering::Relaxed);
                failed(&outcome);
            }
            let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.report.add(outcome.report.clone());
            if !outcome.faults.is_empty() {
                all.failed.push(outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
