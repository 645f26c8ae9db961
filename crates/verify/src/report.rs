//! What a run found, for people and for programs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cli::{Exit, Failure, World};
use serde_json::{Value, json};
use teo::edgeone::{PurgeMethod, PurgeType};

use crate::VerifyArgs;
use crate::origin::Asked;
use crate::run::{Findings, Run, Tally, Violation};

/// How many violations people are shown.
const VIOLATIONS_SHOWN_MAX: usize = 20;

/// Prints the findings, and says how the command ends.
pub(crate) fn print(
    args: &VerifyArgs,
    run: &Run<'_>,
    findings: &Findings,
    asked: &Asked,
    world: &mut World<'_>,
) -> Result<Exit, Failure> {
    if args.common.is_json() {
        writeln!(world.out, "{:#}", in_json(run, findings, asked))?;
    } else {
        print_text(run, findings, asked, world)?;
    }
    world.out.flush()?;
    if findings.violation_count > 0 {
        let count = findings.violation_count;
        writeln!(world.err, "error: {count} answers break the promise")?;
        return Ok(Exit::PromiseBroken);
    }
    if let Some(job) = findings.unfinished.first() {
        let count = findings.unfinished.len();
        writeln!(
            world.err,
            "error: {count} jobs did not read success in time, the first is {}",
            printable(job)
        )?;
        return Ok(Exit::TaskEndedOtherwise);
    }
    let silent = run.tallies.iter().position(|tally| tally.checks.load(Ordering::Relaxed) == 0);
    if let Some(edge) = silent {
        let why = run.tallies[edge]
            .last_failure
            .lock()
            .clone()
            .unwrap_or_else(|| "no purge was finished".to_owned());
        let url = &run.readers[edge].url;
        return Err(Failure::Unreachable(format!("nothing can be said of the edge {url}: {why}")));
    }
    Ok(Exit::Done)
}

/// The latency below which so many of 1000 tasks stayed.
fn quantile(sorted: &[Duration], per_mille: usize) -> Option<Duration> {
    let at = (sorted.len() * per_mille).div_ceil(1000).max(1) - 1;
    sorted.get(at).copied()
}

struct Latency {
    p50: Option<Duration>,
    p99: Option<Duration>,
    max: Option<Duration>,
}

fn latency(findings: &Findings) -> Latency {
    let mut sorted = findings.latencies.clone();
    sorted.sort_unstable();
    Latency { p50: quantile(&sorted, 500), p99: quantile(&sorted, 990), max: sorted.last().copied() }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// How many purges of each kind and method there were, in the order of the API's list.
fn kinds(findings: &Findings) -> Vec<(&'static str, &'static str, usize)> {
    let of = |kind, method| findings.purges.iter().filter(|purge| **purge == (kind, method)).count();
    let methods = [PurgeMethod::Delete, PurgeMethod::Invalidate];
    let all = PurgeType::ALL.iter().flat_map(|(kind, name)| methods.map(|method| (*kind, *name, method)));
    all.map(|(kind, name, method)| (name, method.as_str(), of(kind, method)))
        .filter(|(.., count)| *count > 0)
        .collect()
}

fn count(tallies: &[Tally], of: impl Fn(&Tally) -> u64) -> u64 {
    tallies.iter().map(of).sum()
}

fn print_text(
    run: &Run<'_>,
    findings: &Findings,
    asked: &Asked,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let tallies = &run.tallies;
    let (reads, hits) =
        (count(tallies, |tally| load(&tally.reads)), count(tallies, |tally| load(&tally.hits)));
    let checks = count(tallies, |tally| load(&tally.checks));
    let failures = count(tallies, |tally| load(&tally.failures));
    let out = &mut *world.out;
    for violation in findings.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        writeln!(out, "{}", printable(&in_words(violation)))?;
    }
    let shown = findings.violations.len().min(VIOLATIONS_SHOWN_MAX) as u64;
    if findings.violation_count > shown {
        writeln!(out, "… and {} more; see --json", findings.violation_count - shown)?;
    }
    writeln!(out, "time        {:.1} s", findings.took.as_secs_f64())?;
    writeln!(
        out,
        "reads       {reads} from {} edges: {hits} from their caches, {failures} failed",
        run.readers.len()
    )?;
    writeln!(
        out,
        "origin      {} answers with content, {} confirmations (304)",
        load(&asked.fetches),
        load(&asked.confirmations)
    )?;
    let kinds: Vec<String> =
        kinds(findings).iter().map(|(kind, method, count)| format!("{kind} {method} {count}")).collect();
    writeln!(out, "purges      {}: {}", findings.purges.len(), kinds.join(", "))?;
    if findings.not_taken > 0 {
        writeln!(out, "outages     {} purges were not taken", findings.not_taken)?;
    }
    if let Latency { p50: Some(p50), p99: Some(p99), max: Some(max) } = latency(findings) {
        let (p50, p99, max) = (millis(p50), millis(p99), millis(max));
        writeln!(
            out,
            "latency     P50 {p50} ms, P99 {p99} ms, max {max} ms from acceptance to the last edge"
        )?;
    }
    for (reader, tally) in run.readers.iter().zip(tallies) {
        let failure = tally.last_failure.lock().clone();
        let failure = failure.map(|why| format!("; last failure: {why}")).unwrap_or_default();
        let line = format!("edge        {}: {} checks{failure}", reader.url, load(&tally.checks));
        writeln!(out, "{}", printable(&line))?;
    }
    writeln!(out, "checks      {checks}")?;
    writeln!(out, "violations  {}", findings.violation_count)?;
    Ok(())
}

fn in_words(violation: &Violation) -> String {
    let Violation { breach, edge, url, answer, purge } = violation;
    let mut line = format!(
        "VIOLATION {}: {edge} answered {} for {url} (request {}), sent at {:.3} s",
        breach.name(),
        answer.status,
        answer.request_id,
        answer.started.as_secs_f64()
    );
    if let Some(seen) = &answer.seen {
        line.push_str(&format!(", with version {}", seen.version));
        for (what, time) in [("fetched", seen.bytes_fetched), ("confirmed", seen.confirmed)] {
            if let Some(time) = time {
                line.push_str(&format!(", {what} at {:.3} s", time.as_secs_f64()));
            }
        }
    }
    if let Some(purge) = purge {
        line.push_str(&format!(
            "; job {} ({} {} {}) was called at {:.3} s, accepted by {:.3} s, success at {:.3} s",
            purge.job,
            purge.kind.as_str(),
            purge.method.as_str(),
            purge.target,
            purge.called.as_secs_f64(),
            purge.accepted.as_secs_f64(),
            purge.succeeded.as_secs_f64()
        ));
    }
    line.push_str(&format!("; {}", answer.cache_status));
    line
}

fn violation_in_json(violation: &Violation) -> Value {
    let Violation { breach, edge, url, answer, purge } = violation;
    let purge = purge.as_ref().map(|purge| {
        json!({
            "JobId": purge.job, "Type": purge.kind.as_str(), "Method": purge.method.as_str(),
            "Target": purge.target, "CalledMs": millis(purge.called), "AcceptedMs": millis(purge.accepted),
            "SuccessMs": millis(purge.succeeded),
        })
    });
    json!({
        "Breach": breach.name(), "Edge": edge, "Url": url, "Status": answer.status, "LogUuid": answer.request_id,
        "CacheStatus": answer.cache_status, "StartedMs": millis(answer.started), "EndedMs": millis(answer.ended),
        "Version": answer.seen.map(|seen| seen.version),
        "FetchedMs": answer.seen.and_then(|seen| seen.bytes_fetched).map(millis),
        "ConfirmedMs": answer.seen.and_then(|seen| seen.confirmed).map(millis),
        "Task": purge,
    })
}

fn in_json(run: &Run<'_>, findings: &Findings, asked: &Asked) -> Value {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let edges = run.readers.iter().zip(&run.tallies).map(|(reader, tally)| {
        json!({
            "Url": reader.url.to_string(), "Reads": load(&tally.reads), "Hits": load(&tally.hits),
            "Checks": load(&tally.checks), "Failures": load(&tally.failures),
            "LastFailure": *tally.last_failure.lock(),
        })
    });
    let kinds = kinds(findings)
        .into_iter()
        .map(|(kind, method, count)| json!({ "Type": kind, "Method": method, "Count": count }));
    let latency = latency(findings);
    json!({
        "Seconds": findings.took.as_secs_f64(),
        "Seed": run.seed,
        "Reads": count(&run.tallies, |tally| load(&tally.reads)),
        "Hits": count(&run.tallies, |tally| load(&tally.hits)),
        "Checks": count(&run.tallies, |tally| load(&tally.checks)),
        "Failures": count(&run.tallies, |tally| load(&tally.failures)),
        "OriginFetches": load(&asked.fetches),
        "OriginConfirmations": load(&asked.confirmations),
        "PurgesNotTaken": findings.not_taken,
        "Purges": kinds.collect::<Vec<_>>(),
        "LatencyMs": {
            "P50": latency.p50.map(millis), "P99": latency.p99.map(millis), "Max": latency.max.map(millis),
        },
        "Unfinished": findings.unfinished,
        "Edges": edges.collect::<Vec<_>>(),
        "ViolationCount": findings.violation_count,
        "Violations": findings.violations.iter().map(violation_in_json).collect::<Vec<_>>(),
    })
}

/// Nothing that an edge sent commands the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 500), Some(Duration::from_millis(100)));
        assert_eq!(quantile(&sorted, 990), Some(Duration::from_millis(198)));
        assert_eq!(quantile(&sorted[..1], 990), Some(Duration::from_millis(1)));
        assert_eq!(quantile(&[], 500), None);
    }
}
