//! What an edge tells Prometheus: every metric's name, unit and help, in one place.
//!
//! The text is made here and by no library: the counts are this crate's own, so that the hit path stays cheap (see
//! [`crate::counter`]), and what is left for a library would be these few lines. Labels come from closed sets of words
//! in the program, never from a request.

use crate::counter::{NamedCounters, TIME_BOUNDS_SECS, Times};
use crate::disk::Disk;
use crate::outcome::OutcomeKind;
use crate::proxy::Detour;
use crate::state::State;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

/// The type of the page (Prometheus text format 0.0.4).
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. docs/operating.md says what each metric is good for; a test holds it against this list.
pub(crate) fn page(state: &State) -> String {
    let mut page = Page::default();
    answers(state, &mut page);
    connections(state, &mut page);
    origins(state, &mut page);
    purges(state, &mut page);
    store(state, &mut page);
    if let Some(disk) = state.shelf.disk() {
        on_disk(disk, &mut page);
    }
    if let Some(log) = &state.access_log {
        let counts = log.counts();
        page.one(
            Kind::Counter,
            "access_log_lines_total",
            "Lines of the access log written.",
            counts.written.load(Relaxed),
        );
        page.one(
            Kind::Counter,
            "access_log_dropped_total",
            "Lines dropped since the queue to the log was full.",
            counts.dropped.load(Relaxed),
        );
        page.one(
            Kind::Counter,
            "access_log_failed_total",
            "Lines lost since the log could not be written.",
            counts.failed.load(Relaxed),
        );
    }
    page.text
}

fn answers(state: &State, page: &mut Page) {
    let counters = &state.counters;
    let label = format!("{{name=\"{}\",version=\"{}\"}}", state.config.name, env!("CARGO_PKG_VERSION"));
    page.head(Kind::Gauge, "info", "Which edge this is; always 1.");
    page.sample("info", &label, 1);
    page.one(Kind::Counter, "requests_total", "Requests that clients sent.", counters.requests.load(Relaxed));
    page.head(Kind::Counter, "answers_total", "Answers, by how they came about.");
    for kind in OutcomeKind::ALL {
        let label = format!("{{outcome=\"{}\"}}", kind.name());
        page.sample("answers_total", &label, counters.answers(kind).load(Relaxed));
    }
    page.named(
        "not_hit_total",
        "Answers that were no plain hit, by why: a reason to ask the origin, or the name of a refusal or failure.",
        &counters.reasons,
    );
    page.one(
        Kind::Counter,
        "fast_hits_total",
        "Hits over HTTP/1.1 that were answered from the request's bytes, without the library's server.",
        counters.fast_hits.load(Relaxed),
    );
    page.head(
        Kind::Counter,
        "fast_detours_total",
        "Requests over HTTP/1.1 that could have been, and were not, by why.",
    );
    for detour in Detour::ALL {
        let label = format!("{{reason=\"{}\"}}", detour.name());
        page.sample("fast_detours_total", &label, counters.detours(detour).load(Relaxed));
    }
    page.one(
        Kind::Counter,
        "collapsed_total",
        "Answers that came with another request's fetch.",
        counters.collapsed.load(Relaxed),
    );
    page.one(
        Kind::Counter,
        "broken_off_total",
        "Answers whose body did not come to its end, and requests whose client left before.",
        counters.broken_off.load(Relaxed),
    );
    page.one(
        Kind::Counter,
        "requests_refused_total",
        "Requests refused for their framing, or because their head took too long.",
        counters.refused.load(Relaxed),
    );
    page.one(
        Kind::Counter,
        "sent_bytes_total",
        "Bytes of answers' bodies.",
        counters.bytes_sent.load(Relaxed),
    );
}

fn connections(state: &State, page: &mut Page) {
    let counters = &state.counters;
    let (opened, closed) =
        (counters.connections_opened.load(Relaxed), counters.connections_closed.load(Relaxed));
    page.one(Kind::Counter, "connections_total", "Connections that clients opened.", opened);
    page.one(
        Kind::Gauge,
        "connections",
        "Connections of clients that are open.",
        opened.saturating_sub(closed),
    );
    page.one(
        Kind::Counter,
        "clients_stalled_total",
        "Clients let go because they took nothing of their answers.",
        counters.stalled.load(Relaxed),
    );
    for (name, help, counter) in [
        (
            "accepts_failed_total",
            "Connections that could not be accepted, for want of file descriptors or memory.",
            &counters.accepts_failed,
        ),
        (
            "connections_turned_away_total",
            "Connections closed at once because their client had too many.",
            &counters.turned_away,
        ),
        ("handshakes_failed_total", "TLS handshakes that came to nothing.", &counters.handshakes_failed),
        (
            "http2_floods_total",
            "HTTP/2 connections broken off because of too many frames that carry nothing.",
            &counters.flooded,
        ),
        ("child_requests_total", "Requests that child edges sent.", &counters.of_children),
    ] {
        page.one(Kind::Counter, name, help, counter.load(Relaxed));
    }
}

fn origins(state: &State, page: &mut Page) {
    let (config, counters) = (&state.config, &state.counters);
    page.one(Kind::Counter, "fetches_total", "Requests sent to origins.", counters.fetches.load(Relaxed));
    page.one(
        Kind::Counter,
        "fetches_repeated_total",
        "Requests sent to an origin or its backup again, after a failure.",
        counters.repeated.load(Relaxed),
    );
    for (name, help, counter) in [
        (
            "parents_passed_over_total",
            "Requests that a parent edge did not answer, and that went on to the next or to the origin.",
            &counters.parents_passed_over,
        ),
        (
            "upgrades_total",
            "Connections that changed to another protocol, such as WebSocket.",
            &counters.upgrades,
        ),
    ] {
        page.one(Kind::Counter, name, help, counter.load(Relaxed));
    }
    page.times(
        "origin_head_seconds",
        "How long origins took until the heads of their responses.",
        &counters.origin_times,
    );
    page.one(
        Kind::Counter,
        "background_fetches_total",
        "Fetches that validate what is stored while nobody waits for them.",
        counters.background_fetches.load(Relaxed),
    );
    let busy = |all: usize, free: usize| all.saturating_sub(free) as u64;
    page.head(Kind::Gauge, "fetches_under_way", "Requests to origins under way.");
    for (lease, under_way) in [
        ("held", busy(config.fetches_max, state.fetches.available_permits())),
        ("fenced", busy(config.fenced_fetches_max, state.fenced_fetches.available_permits())),
    ] {
        page.sample("fetches_under_way", &format!("{{lease=\"{lease}\"}}"), under_way);
    }
}

fn purges(state: &State, page: &mut Page) {
    let (ledger, counters) = (&state.ledger, &state.counters);
    let (applied, head) = (ledger.applied().number(), state.granted_head.load(Relaxed));
    page.one(
        Kind::Gauge,
        "purge_applied_seq",
        "Up to where in the purge log every entry is applied.",
        applied,
    );
    page.one(
        Kind::Gauge,
        "purge_lag_entries",
        "How many entries the control plane's last grant was ahead of what is applied.",
        head.saturating_sub(applied),
    );
    page.one(
        Kind::Counter,
        "purge_entries_total",
        "Purge entries applied.",
        counters.entries_applied.load(Relaxed),
    );
    page.one(Kind::Gauge, "purge_marks", "Marks of purges that are kept.", ledger.mark_count() as u64);
    page.one(Kind::Gauge, "purge_marks_bytes", "Memory for marks of purges.", ledger.memory_bytes() as u64);
    page.one(Kind::Gauge, "purge_horizon_seq", "Up to where no marks are kept.", ledger.horizon().number());
    page.one(
        Kind::Counter,
        "tags_ignored_total",
        "Responses some of whose tags could not count; each is stored for a short time only.",
        counters.tags_ignored.load(Relaxed),
    );
    page.one(Kind::Counter, "sweeps_total", "Full sweeps of the store.", counters.sweeps.load(Relaxed));
    page.one(
        Kind::Counter,
        "swept_objects_total",
        "Objects that sweeps removed.",
        counters.swept.load(Relaxed),
    );
    let left = state.lease.left((state.clocks.boot)());
    page.head(Kind::Gauge, "lease_seconds", "How long the lease still runs; 0 is fenced.");
    page.sample("lease_seconds", "", left.as_secs_f64());
    page.one(Kind::Gauge, "fenced", "1 while there is no lease.", left.is_zero().into());
    page.one(
        Kind::Counter,
        "fenced_requests_total",
        "Requests that came while there was no lease.",
        counters.fenced.load(Relaxed),
    );
    page.one(
        Kind::Counter,
        "promise_given_up_total",
        "Answers with stored content without a lease, as the edge's policy has it.",
        counters.promise_given_up.load(Relaxed),
    );
    page.one(
        Kind::Gauge,
        "configuration_version",
        "Which version of zones and domains is followed; 0 is none yet.",
        state.zones.read().version(),
    );
}

fn store(state: &State, page: &mut Page) {
    page.one(Kind::Gauge, "stored_objects", "Entries of the memory store.", state.shelf.entry_count() as u64);
    page.one(Kind::Gauge, "stored_bytes", "What they weigh.", state.shelf.weight_bytes());
    page.one(Kind::Gauge, "store_capacity_bytes", "What they may weigh.", state.config.memory_bytes);
    page.one(
        Kind::Gauge,
        "storing_bytes",
        "Content that is being stored right now.",
        state.storing_bytes.load(Relaxed),
    );
}

fn on_disk(disk: &Disk, page: &mut Page) {
    let (usage, counts) = (disk.usage(), disk.counts());
    for (name, help, value) in [
        ("disk_files", "Files of the disk tier.", usage.files as u64),
        ("disk_bytes", "What they take of its budget.", usage.bytes),
        ("disk_capacity_bytes", "The budget of the disk tier.", disk.budget_bytes()),
        ("disk_recovered", "1 once all files of the last run have been found.", usage.is_recovered.into()),
        (
            "disk_failing",
            "1 while nothing is written, since the disk is full or fails.",
            usage.is_failing.into(),
        ),
    ] {
        page.one(Kind::Gauge, name, help, value);
    }
    for (name, help, counter) in [
        ("disk_hits_total", "Objects that were read from disk for a request.", &counts.hits),
        ("disk_written_total", "Files written.", &counts.written),
        (
            "disk_not_written_total",
            "Files that were to be written and were not: too many waited, or the disk failed.",
            &counts.not_written,
        ),
        ("disk_write_errors_total", "Writes that failed.", &counts.write_errors),
        (
            "disk_read_errors_total",
            "Reads that failed or took too long, and files that were damaged.",
            &counts.read_errors,
        ),
        ("disk_evicted_total", "Files that went because the budget was used up.", &counts.evicted),
    ] {
        page.one(Kind::Counter, name, help, counter.load(Relaxed));
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, kind: Kind, name: &str, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String does not fail, here and below.
        let _ =
            writeln!(self.text, "# HELP everfresh_edge_{name} {help}\n# TYPE everfresh_edge_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "everfresh_edge_{name}{labels} {value}");
    }

    fn one(&mut self, kind: Kind, name: &str, help: &str, value: u64) {
        self.head(kind, name, help);
        self.sample(name, "", value);
    }

    fn named(&mut self, name: &str, help: &str, counters: &NamedCounters) {
        self.head(Kind::Counter, name, help);
        for (reason, count) in counters.read() {
            self.sample(name, &format!("{{reason=\"{reason}\"}}"), count);
        }
    }

    fn times(&mut self, name: &str, help: &str, times: &Times) {
        self.head(Kind::Histogram, name, help);
        let (below, count) = times.cumulated();
        let bucket = format!("{name}_bucket");
        for (bound, below) in TIME_BOUNDS_SECS.iter().zip(below) {
            self.sample(&bucket, &format!("{{le=\"{bound}\"}}"), below);
        }
        self.sample(&bucket, "{le=\"+Inf\"}", count);
        self.sample(&format!("{name}_sum"), "", times.secs());
        self.sample(&format!("{name}_count"), "", count);
    }
}
