//! What simulations did, added up, so that one sees that what is to be survived did occur.

use edge::Embedded;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What broke the promise, in words; nothing, if all held.
    pub faults: Vec<String>,
    /// What happened.
    pub report: Report,
    /// A number that is equal for two runs which did the same.
    pub trace: u64,
}

/// Numbers of one simulation, or of many.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many seeds ran.
    pub seeds: u64,
    /// How much time they simulated.
    pub simulated: Duration,
    /// Requests that clients sent.
    pub requests: u64,
    /// Answers they got.
    pub answers: u64,
    /// Purge tasks recorded.
    pub purges: u64,
    /// Purge calls refused.
    pub refused: u64,
    /// Pairs of an answer and a task that read `success` before its request started.
    pub checks: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Answers, and tasks, by how they came about.
    pub answers_by: BTreeMap<&'static str, u64>,
    /// What edges counted.
    pub edges: EdgeCounts,
}

/// What edges counted.
#[derive(Clone, Debug, Default)]
pub struct EdgeCounts(pub BTreeMap<&'static str, u64>);

impl EdgeCounts {
    pub(crate) fn of(edge: &Embedded) -> Self {
        let counters = edge.counters();
        let all = [
            ("hits", &counters.hits),
            ("stale answers", &counters.stale),
            ("background fetches", &counters.background_fetches),
            ("fetches", &counters.fetches),
            ("collapsed", &counters.collapsed),
            ("fenced answers", &counters.fenced),
            ("requests of children", &counters.of_children),
            ("parents passed over", &counters.parents_passed_over),
            ("entries applied", &counters.entries_applied),
            ("sweeps", &counters.sweeps),
            ("swept objects", &counters.swept),
        ];
        let mut counts: BTreeMap<_, _> =
            all.into_iter().map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).collect();
        if let Some((_, disk)) = edge.disk() {
            counts.insert("hits from disk", disk.hits.load(Ordering::Relaxed));
            counts.insert("objects written to disk", disk.written.load(Ordering::Relaxed));
        }
        Self(counts)
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }
}

impl Report {
    /// Adds another's numbers.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.requests += other.requests;
        self.answers += other.answers;
        self.purges += other.purges;
        self.refused += other.refused;
        self.checks += other.checks;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in other.answers_by {
            *self.answers_by.entry(name).or_default() += count;
        }
        self.edges.add(other.edges);
    }

    /// What never occurred, of all that is counted.
    pub fn absent(&self) -> Vec<&'static str> {
        let all = self.faults.iter().chain(&self.answers_by).chain(&self.edges.0);
        let mut absent: Vec<&'static str> =
            all.filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        absent.extend(EXPECTED_FAULTS.iter().filter(|name| !self.faults.contains_key(*name)));
        absent
    }
}

/// Faults that are not counted before they occur.
const EXPECTED_FAULTS: [&str; 12] = [
    "feed cut off",
    "origin cut off",
    "parent cut off",
    "link broken",
    "edge stopped and continued",
    "edge killed",
    "edge without power",
    "edge ended and started",
    "disk failing",
    "control plane stopped and continued",
    "control plane killed",
    "log trimmed",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {} s simulated: {} requests, {} answers, {} purges, {} pairs of an answer and a task before it",
            self.seeds,
            self.simulated.as_secs(),
            self.requests,
            self.answers,
            self.purges,
            self.checks
        )?;
        for (title, counts) in
            [("faults", &self.faults), ("answers", &self.answers_by), ("edges", &self.edges.0)]
        {
            let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(f, "  {title}: {}", counts.join(", "))?;
        }
        Ok(())
    }
}
