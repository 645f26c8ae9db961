//! `cargo xtask`: what developers of this repository run beside cargo itself.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use xtask::{Tree, tidy};

const USAGE: &str = "\
usage: cargo xtask tidy

  tidy   hold the repository's files against ARCHITECTURE.md and the rules of style";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let tree = Tree::read(&root).context("the repository can't be read")?;
            let report = tidy(&tree);
            write!(out, "{report}")?;
            Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["help" | "--help" | "-h"] => {
            writeln!(out, "{USAGE}")?;
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!("no such task; {USAGE}"),
    }
}
