//! Numbers that only grow, counted by every worker at once.
//!
//! A counter is a row of parts, each in a cache line of its own, and every thread counts in its own part: counting costs
//! no worker the cache line of another. Reading adds the parts up, which only scrapes and tests do.

use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many parts a counter has. More threads than this share them.
const PARTS: usize = 16;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(AtomicU64);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter {
    parts: [Part; PARTS],
}

thread_local! {
    /// Which part this thread counts in; unset until it first does.
    static OWN_PART: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// How many threads have counted so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

fn own_part() -> usize {
    OWN_PART.with(|own| {
        if own.get() == usize::MAX {
            own.set(THREADS.fetch_add(1, Ordering::Relaxed) % PARTS);
        }
        own.get()
    })
}

impl Counter {
    /// Adds to it.
    pub(crate) fn add(&self, count: u64) {
        self.parts[own_part()].0.fetch_add(count, Ordering::Relaxed);
    }

    /// How much was counted so far. With counting going on, something between before and after.
    pub fn load(&self, order: Ordering) -> u64 {
        self.parts.iter().map(|part| part.0.load(order)).fold(0, u64::wrapping_add)
    }
}

/// Counts by name, for what is rare. The names are texts of the program, never of a request, so that there is no end of
/// them to fear.
#[derive(Debug, Default)]
pub struct NamedCounters {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl NamedCounters {
    pub(crate) fn count(&self, name: &'static str) {
        *self.counts.lock().entry(name).or_default() += 1;
    }

    /// Each name that was counted, in order.
    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }
}

/// The upper bounds of the classes of [`Times`], in seconds.
pub(crate) const TIME_BOUNDS_SECS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How long things took, by class.
#[derive(Debug, Default)]
pub struct Times {
    /// One for each bound, and one for what took longer.
    classes: [Counter; TIME_BOUNDS_SECS.len() + 1],
    micros: Counter,
}

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        let secs = time.as_secs_f64();
        let class = TIME_BOUNDS_SECS.iter().position(|bound| secs <= *bound);
        self.classes[class.unwrap_or(TIME_BOUNDS_SECS.len())].add(1);
        self.micros.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many took at most as long as each bound, and how many there were at all.
    pub(crate) fn cumulated(&self) -> ([u64; TIME_BOUNDS_SECS.len()], u64) {
        let mut sum = 0;
        let mut below = [0; TIME_BOUNDS_SECS.len()];
        for (class, below) in self.classes.iter().zip(&mut below) {
            sum += class.load(Ordering::Relaxed);
            *below = sum;
        }
        (below, sum + self.classes[TIME_BOUNDS_SECS.len()].load(Ordering::Relaxed))
    }

    /// How long all of them took, in seconds.
    pub(crate) fn secs(&self) -> f64 {
        Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let counter = Counter::default();
        let threads = PARTS * 2 + 1;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(2)));
            }
        });
        assert_eq!(counter.load(Ordering::Relaxed), threads as u64 * 2000);
    }

    #[test]
    fn times_are_counted_in_every_class_that_holds_them() {
        let times = Times::default();
        for millis in [0, 1, 2, 30_000, 30_001] {
            times.add(Duration::from_millis(millis));
        }
        let (below, count) = times.cumulated();
        assert_eq!((below[0], below[1], below[10], below[11], count), (2, 3, 3, 4, 5));
        assert!((times.secs() - 60.004).abs() < 1e-9, "{}", times.secs());
    }
}
