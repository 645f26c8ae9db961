//! `make bench`: Everfresh beside nginx, Varnish and HAProxy, on this machine, in one run.
//!
//! Every server stands before the same origin and is asked by the same load generator, one after the other: numbers of one
//! run can be compared with each other, and with nothing else. The server under test has one core, everything else has
//! the others.

#![expect(clippy::disallowed_methods, reason = "it measures time, and decides nothing by it")]

mod api;
mod configs;
mod control;
mod load;
mod machine;
mod origin;
#[path = "../../store/tests/postgres_server/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the store's tests own it; a server that does not start ends the run"
)]
mod postgres_server;
mod process;
mod purges;
mod report;
mod runs;
mod servers;
mod watch;

use anyhow::{Context, bail};
use std::io::Write;
use std::path::PathBuf;

const USAGE: &str = "\
usage: bench [--quick] [--objects-max N] [--binary FILE] [--json FILE] [--table FILE]
       bench control [--quick] [--binary FILE]

  control    how many purges a second a control plane takes, on SQLite and on PostgreSQL
  --quick    about a minute, at most five: fewer objects, kinds and rates. Without it a quarter of an hour, at most
             three quarters. What has not begun in time is left out, and named
  --objects-max   the most objects of purges that are timed [default: 1000000]
  --binary   the everfresh to measure [default: target/release/everfresh]
  --json     where the numbers go [default: target/bench.json]
  --table    where the table goes, as Markdown, beside standard output";

struct Args {
    /// Only the control plane.
    control: bool,
    quick: bool,
    objects_max: u64,
    binary: PathBuf,
    json: PathBuf,
    table: Option<PathBuf>,
}

fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Option<Args>> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut args = Args {
        control: false,
        quick: false,
        objects_max: u64::MAX,
        binary: target.join("release/everfresh"),
        json: target.join("bench.json"),
        table: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().map(PathBuf::from).with_context(|| format!("{word} names no file"));
        match word.as_str() {
            "control" => args.control = true,
            "--quick" => args.quick = true,
            "--objects-max" => {
                let value = value()?;
                let number = value.to_str().and_then(|text| text.parse().ok());
                args.objects_max = number.context("--objects-max is no number")?;
            }
            "--binary" => args.binary = value()?,
            "--json" => args.json = value()?,
            "--table" => args.table = Some(value()?),
            "--help" | "-h" => return Ok(None),
            _ => bail!("{word:?} is not understood\n{USAGE}"),
        }
    }
    Ok(Some(args))
}

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let Some(args) = parse(std::env::args().skip(1))? else {
        writeln!(out, "{USAGE}")?;
        return Ok(());
    };
    if !args.binary.exists() {
        bail!("{} is not there: build it with `cargo build --release -p everfresh`", args.binary.display());
    }
    if args.control {
        let table = control::run(&args.binary, if args.quick { 3 } else { 20 })?;
        writeln!(out, "{table}")?;
        return Ok(());
    }
    let plan = if args.quick { runs::Plan::quick() } else { runs::Plan::full() };
    let plan = plan.with_objects_max(args.objects_max);
    let results = runs::all(&args.binary, &plan)?;
    let table = report::table(&results);
    writeln!(out, "{table}")?;
    if let Some(path) = &args.table {
        std::fs::write(path, &table).with_context(|| format!("{} can't be written", path.display()))?;
    }
    let json = serde_json::to_string_pretty(&report::json(&results))?;
    std::fs::write(&args.json, json).with_context(|| format!("{} can't be written", args.json.display()))?;
    writeln!(out, "numbers: {}", args.json.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_refused() {
        let parse = |text: &str| parse(text.split_whitespace().map(str::to_owned));
        let args = parse("--quick --objects-max 7 --binary a --json b --table c").unwrap().unwrap();
        assert_eq!(args.objects_max, 7);
        assert!(args.quick && args.binary.ends_with("a") && args.json.ends_with("b") && !args.control);
        assert!(parse("control --binary a").unwrap().unwrap().control);
        assert!(parse("--help").unwrap().is_none());
        assert!(parse("--objects-max x").is_err() && parse("--binary").is_err() && parse("--slow").is_err());
    }
}
