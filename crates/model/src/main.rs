//! `make model`: explores what `make test` explores, and larger scenarios to a cap; or tells how a mutant is caught.

use model::suite::{self, Case};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
usage: model [whole | mutants | large [STATES] | trace MUTANT]

  whole    every scenario with all rules, to its end
  mutants  every rule dropped, each until the promise breaks
  large    larger scenarios, each to its end or to so many million states (5)
  trace    the shortest way to break the promise without that rule
  Without an argument: whole, mutants, large.";

/// To no end: what `make test` explores is small enough.
const NO_CAP: usize = usize::MAX;

const MILLION: usize = 1_000_000;

fn main() -> std::io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let millions = |text: &str| text.parse::<usize>().ok().map(|millions| millions.saturating_mul(MILLION));
    let is_right = match arguments[..] {
        [] => whole()? & mutants()? & large(5 * MILLION)?,
        ["whole"] => whole()?,
        ["mutants"] => mutants()?,
        ["large"] => large(5 * MILLION)?,
        ["large", states] if millions(states).is_some() => large(millions(states).unwrap_or(NO_CAP))?,
        ["trace", mutant] => trace(mutant)?,
        _ => {
            writeln!(std::io::stderr(), "{USAGE}")?;
            false
        }
    };
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn whole() -> std::io::Result<bool> {
    explore_all(&suite::whole(), NO_CAP)
}

fn large(states_max: usize) -> std::io::Result<bool> {
    explore_all(&suite::large(), states_max)
}

fn explore_all(cases: &[Case], states_max: usize) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut total = 0;
    let mut is_right = true;
    for case in cases {
        let began = now();
        let outcome = case.explore(states_max);
        total += outcome.states;
        let how = if outcome.complete { "all there are" } else { "stopped" };
        let seconds = began.elapsed().as_secs_f64();
        writeln!(
            out,
            "{case}: {} states, {how}, {} steps, depth {}, {seconds:.1} s",
            outcome.states, outcome.steps, outcome.depth
        )?;
        let happened = outcome.events.iter().filter(|(_, count)| *count > 0);
        let happened: Vec<String> = happened.map(|(event, count)| format!("{event:?} {count}")).collect();
        writeln!(out, "    {}", happened.join(", "))?;
        for line in outcome.violation.iter().flatten() {
            is_right = false;
            writeln!(out, "    {line}")?;
        }
    }
    writeln!(out, "{total} states, {}", if is_right { "no violation" } else { "the promise is broken" })?;
    Ok(is_right)
}

fn mutants() -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut is_right = true;
    for case in suite::mutants() {
        let outcome = case.explore(NO_CAP);
        let found = outcome.violation.is_some();
        is_right &= found;
        writeln!(
            out,
            "{case}: {} after {} states",
            if found { "caught" } else { "NOT CAUGHT" },
            outcome.states
        )?;
    }
    Ok(is_right)
}

fn trace(name: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    let Some(case) = suite::mutants().into_iter().find(|case| case.mutant.as_deref() == Some(name)) else {
        writeln!(out, "no mutant {name}; `model mutants` lists them")?;
        return Ok(false);
    };
    let outcome = case.explore(NO_CAP);
    writeln!(out, "{case}: {} states", outcome.states)?;
    for line in outcome.violation.iter().flatten() {
        writeln!(out, "    {line}")?;
    }
    Ok(outcome.violation.is_some())
}

#[expect(clippy::disallowed_methods, reason = "only how long it took is told")]
fn now() -> Instant {
    Instant::now()
}
