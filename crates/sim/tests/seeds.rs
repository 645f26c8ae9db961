//! Some hundred seeds keep the promise; what they are to survive occurs; and each does the same every time.

use sim::{Sweep, Until};

use std::sync::{Mutex, PoisonError};

/// One test at a time: two that share the machine also share what a simulation waits for in real time, its database's
/// threads.
static ALONE: Mutex<()> = Mutex::new(());

/// How many seeds run.
const SEEDS: u64 = 100;

#[test]
fn no_seed_breaks_the_promise_and_all_that_is_to_be_survived_occurs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let swept = Sweep { from: 1, until: Until::Seeds(SEEDS) }.run(|outcome| {
        println!("seed {} again: {}", outcome.seed, sim::replay(outcome.seed));
    });
    println!("{}", swept.report);
    let failed: Vec<_> = swept.failed.iter().map(|outcome| (outcome.seed, &outcome.faults)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(swept.report.absent(), [""; 0], "never occurred");
}

#[test]
fn a_seed_does_the_same_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for seed in 1000..1012 {
        let (first, second) = (sim::run(seed), sim::run(seed));
        assert_eq!(first.trace, second.trace, "{}", sim::replay(seed));
    }
}
