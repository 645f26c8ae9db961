//! `cargo xtask`: what developers of this repository run beside cargo itself.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use xtask::{Tree, mutants, reference, tidy};

const USAGE: &str = "\
usage: cargo xtask tidy | docs | mutants [NAME..]

  mutants   break rules of the protocol in a copy of the sources, and see that the simulation notices
  docs   write docs/configuration.md from the doc comments of what mirrors the configuration file
  tidy   hold the repository's files against ARCHITECTURE.md and the rules of style";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = || Tree::read(&root).context("the repository can't be read");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => {
            let report = tidy(&tree()?);
            write!(out, "{report}")?;
            Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["docs"] => {
            let page = reference::configuration(&tree()?).context("what mirrors the file is not there")?;
            std::fs::write(root.join(reference::PAGE), page)
                .with_context(|| format!("{} can't be written", reference::PAGE))?;
            writeln!(out, "{} is written", reference::PAGE)?;
            Ok(ExitCode::SUCCESS)
        }
        ["mutants", ref wanted @ ..] => {
            let missed = mutants::run(&root, wanted, &mut out)?;
            Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["help" | "--help" | "-h"] => {
            writeln!(out, "{USAGE}")?;
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!("no such task; {USAGE}"),
    }
}
