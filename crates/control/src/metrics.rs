//! What a control plane tells Prometheus: every metric's name, unit and help, in one place.
//!
//! Counts are kept where things happen; what the database knows is read when the page is asked for. Labels are names of
//! operations, error codes and states, never anything a request brought.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The outcome of a call that was not refused.
pub(crate) const OK: &str = "ok";

/// The operation of a call that could not be read.
pub(crate) const UNKNOWN: &str = "unknown";

/// What has been counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Calls of the API by operation and outcome.
    calls: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// Purges that wait for their commit.
    pub(crate) purges_waiting: AtomicU64,
    pub(crate) purges_turned_away: AtomicU64,
    groups: AtomicU64,
    grouped_purges: AtomicU64,
    commit_micros: AtomicU64,
    pub(crate) pings: AtomicU64,
    pub(crate) grants: AtomicU64,
    pub(crate) not_members: AtomicU64,
}

/// What the page tells beside the counts, as it is now.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) head: u64,
    pub(crate) first_retained: u64,
    pub(crate) config_version: u64,
    pub(crate) jobs_pending: usize,
    pub(crate) members_active: usize,
    pub(crate) members_leaving: usize,
    /// How far the slowest active member is behind the head, in entries.
    pub(crate) lag_entries: u64,
    pub(crate) links: usize,
    pub(crate) prefetches_open: usize,
}

impl Metrics {
    /// A call has its answer.
    pub(crate) fn called(&self, action: &'static str, outcome: &'static str) {
        *self.calls.lock().entry((action, outcome)).or_default() += 1;
    }

    /// A group of purges was committed, or refused, by one transaction.
    pub(crate) fn recorded(&self, purges: usize, took: Duration) {
        self.groups.fetch_add(1, Relaxed);
        self.grouped_purges.fetch_add(purges as u64, Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The page. docs/operating.md says what each metric is good for; a test holds it against this list. Without a
    /// standing the database could not be read.
    pub(crate) fn page(&self, standing: Option<&Standing>) -> String {
        let mut page = Page::default();
        page.one("gauge", "info", "Which version this is; always 1.", None);
        page.sample("info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        page.one(
            "counter",
            "calls_total",
            "Calls of the API, by operation and outcome: ok or the error's code.",
            None,
        );
        for ((action, outcome), count) in &*self.calls.lock() {
            page.sample("calls_total", &format!("{{action=\"{action}\",outcome=\"{outcome}\"}}"), *count);
        }
        let load = |counter: &AtomicU64| Some(counter.load(Relaxed));
        page.one("gauge", "purges_waiting", "Purges that wait for their commit.", load(&self.purges_waiting));
        let help = "Purges refused since as many wait as may.";
        page.one("counter", "purges_turned_away_total", help, load(&self.purges_turned_away));
        let help = "Transactions that recorded purges, each for all that waited.";
        page.one("counter", "record_groups_total", help, load(&self.groups));
        page.one("counter", "recorded_purges_total", "Purges in them.", load(&self.grouped_purges));
        page.one("counter", "record_seconds_total", "How long they took.", None);
        let seconds = Duration::from_micros(self.commit_micros.load(Relaxed)).as_secs_f64();
        let _ = writeln!(page.0, "everfresh_control_record_seconds_total {seconds}");
        page.one("counter", "pings_total", "Pings of edges that were answered.", load(&self.pings));
        page.one("counter", "grants_total", "Leases granted.", load(&self.grants));
        let help = "Pings of edges that were no members.";
        page.one("counter", "not_members_total", help, load(&self.not_members));
        page.one(
            "gauge",
            "database_up",
            "Whether the database could be read for this page.",
            Some(u64::from(standing.is_some())),
        );
        if let Some(standing) = standing {
            standing.tell(&mut page);
        }
        page.0
    }
}

impl Standing {
    fn tell(&self, page: &mut Page) {
        let number = |count: usize| Some(count as u64);
        page.one("gauge", "log_head", "The last position of the purge log.", Some(self.head));
        let help = "The first position that is still kept.";
        page.one("gauge", "log_first_retained", help, Some(self.first_retained));
        let help = "Which version of zones and domains this is.";
        page.one("gauge", "configuration_version", help, Some(self.config_version));
        page.one(
            "gauge",
            "jobs_pending",
            "Purge jobs that have not read success yet.",
            number(self.jobs_pending),
        );
        page.one("gauge", "members", "Edge processes, by whether they are leaving.", None);
        page.sample("members", "{state=\"active\"}", self.members_active as u64);
        page.sample("members", "{state=\"leaving\"}", self.members_leaving as u64);
        let help =
            "Entries that the slowest active member has yet to acknowledge, as far as this process heard.";
        page.one("gauge", "member_lag_entries", help, Some(self.lag_entries));
        page.one("gauge", "links", "Edges linked to this process.", number(self.links));
        let help = "Prefetches in memory that are not finished.";
        page.one("gauge", "prefetches_open", help, number(self.prefetches_open));
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// A metric's lines of help and type, and its one sample if it has no labels.
    fn one(&mut self, kind: &str, name: &str, help: &str, value: Option<u64>) {
        // Writing to a string can't fail.
        let _ = writeln!(
            self.0,
            "# HELP everfresh_control_{name} {help}\n# TYPE everfresh_control_{name} {kind}"
        );
        if let Some(value) = value {
            self.sample(name, "", value);
        }
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "everfresh_control_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_explained() {
        let explained = include_str!("../../../docs/operating.md");
        let explained = explained.lines().filter_map(|line| line.strip_prefix("| `everfresh_control_"));
        let is_name = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let explained: Vec<&str> =
            explained.filter_map(|line| line.split('`').next()).filter(is_name).collect();
        let page = Metrics::default().page(Some(&Standing::default()));
        let told = page.lines().filter_map(|line| line.strip_prefix("# TYPE everfresh_control_"));
        let told: Vec<&str> = told.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(told, explained, "docs/operating.md lists every metric, in the order of the page");
    }

    #[test]
    fn calls_and_groups_are_counted() {
        let metrics = Metrics::default();
        for outcome in [OK, OK, "InvalidParameter"] {
            metrics.called("CreatePurgeTask", outcome);
        }
        metrics.recorded(3, Duration::from_millis(1500));
        let page = metrics.page(None);
        for line in [
            "everfresh_control_calls_total{action=\"CreatePurgeTask\",outcome=\"ok\"} 2",
            "everfresh_control_calls_total{action=\"CreatePurgeTask\",outcome=\"InvalidParameter\"} 1",
            "everfresh_control_recorded_purges_total 3",
            "everfresh_control_record_seconds_total 1.5",
            "everfresh_control_database_up 0",
        ] {
            assert!(page.lines().any(|told| told == line), "{line}:\n{page}");
        }
        assert!(!page.contains("log_head"), "what is not known is not told");
    }
}
