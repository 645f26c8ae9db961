//! Runs simulations: one seed, or one after the other for a while.

use sim::{Sweep, Until};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: sim --seed N            run one seed, twice, and show what it did; with EVERFRESH_LOG=info what processes
                               logged in the second run, too
       sim --seconds N         run seeds for so long, from a number that nobody chose unless --from says
       sim --seeds N           run so many
       sim --until-failure N   run until one fails, and at most so many, from 1 unless --from says
       --from N                the first seed";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's output")]
fn main() -> ExitCode {
    let mut seed = None;
    let mut seconds = None;
    let mut seeds = None;
    let mut until_failure = None;
    let mut from = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number: Option<u64> = arguments.next().and_then(|text| text.parse().ok());
        let place = match argument.as_str() {
            "--seed" => &mut seed,
            "--seconds" => &mut seconds,
            "--seeds" => &mut seeds,
            "--until-failure" => &mut until_failure,
            "--from" => &mut from,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        };
        if number.is_none() {
            eprintln!("{argument} wants a number\n{USAGE}");
            return ExitCode::FAILURE;
        }
        *place = number;
    }
    if let Some(seed) = seed {
        let again = sim::run(seed);
        if let Ok(filter) = std::env::var("EVERFRESH_LOG") {
            sim::show_log(&filter);
        }
        let outcome = sim::run(seed);
        println!("seed {seed}, trace {:016x}\n{}", outcome.trace, outcome.report);
        for fault in &outcome.faults {
            println!("  FAULT {fault}");
        }
        if outcome.trace != again.trace {
            println!("  FAULT a second run did something else: {:016x}", again.trace);
        }
        let is_well = outcome.faults.is_empty() && outcome.trace == again.trace;
        return if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let until = match (seconds, seeds, until_failure) {
        (Some(seconds), None, None) => Until::Elapsed(Duration::from_secs(seconds)),
        (None, Some(seeds), None) => Until::Seeds(seeds),
        (None, None, Some(most)) => Until::Failure(most),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let first = if seconds.is_some() { sim::some_seed } else { || 1 };
    let swept = Sweep { from: from.unwrap_or_else(first), until }.run(|outcome| {
        for fault in &outcome.faults {
            println!("seed {}: {fault}", outcome.seed);
        }
        println!("  again: {}", sim::replay(outcome.seed));
    });
    println!("from seed {}: {}", swept.from, swept.report);
    for name in swept.report.absent() {
        println!("never occurred: {name}");
    }
    if swept.failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} seeds failed", swept.failed.len());
    if let Some(first) = swept.failed.iter().map(|outcome| outcome.seed).min() {
        println!("failed within {} seeds", first - swept.from + 1);
    }
    ExitCode::FAILURE
}
