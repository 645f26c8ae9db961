//! Runs simulations: one seed, or one after the other for a while.

use sim::{Sweep, Until};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: sim --seed N            run one seed, twice, and show what it did; with EVERFRESH_LOG=info what processes
                               logged in the second run, too
       sim --seconds N         run seeds for so long, from a number that nobody chose unless --from says
       sim --seeds N           run so many
       --from N                the first seed of --seconds and --seeds";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's output")]
fn main() -> ExitCode {
    let mut seed = None;
    let mut seconds = None;
    let mut seeds = None;
    let mut from = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number: Option<u64> = arguments.next().and_then(|text| text.parse().ok());
        let place = match argument.as_str() {
            "--seed" => &mut seed,
            "--seconds" => &mut seconds,
            "--seeds" => &mut seeds,
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
    let until = match (seconds, seeds) {
        (Some(seconds), None) => Until::Elapsed(Duration::from_secs(seconds)),
        (None, Some(seeds)) => Until::Seeds(seeds),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let swept = Sweep { from: from.unwrap_or_else(sim::some_seed), until }.run(|outcome| {
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
    ExitCode::FAILURE
}
