//! Rules of the protocol, broken one after the other in a copy of the sources, to see that the simulation notices.
//!
//! A mutant is a file: what it breaks, in words, then for each change the file, the text that is there once, and the
//! text that takes its place.

use anyhow::{Context as _, bail, ensure};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are, from the root of the repository.
pub const MUTANTS: &str = "crates/sim/mutants";

/// How many seeds may pass before a mutant counts as not caught.
const SEEDS_MAX: &str = "1000";

/// One mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its file's name, without the ending.
    pub name: String,
    /// What it breaks.
    pub what: String,
    /// What it changes.
    pub changes: Vec<Change>,
}

/// One change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which, from the root of the repository.
    pub path: String,
    /// What is there.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

impl Mutant {
    /// Reads a mutant.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split("\n=== ");
        let what = parts.next().unwrap_or_default().trim().to_owned();
        let change = |part: &str| {
            let (path, rest) = part.split_once("\n--- from\n")?;
            let (from, rest) = rest.split_once("\n--- to\n")?;
            let to = rest.strip_suffix("\n--- end\n").or_else(|| rest.strip_suffix("--- end\n"))?;
            Some(Change { path: path.to_owned(), from: from.to_owned(), to: to.to_owned() })
        };
        let changes: Option<Vec<Change>> =
            parts.map(|part| format!("{}\n", part.trim_end())).map(|part| change(&part)).collect();
        let changes = changes.with_context(|| format!("{name}: a change is not written as it should be"))?;
        ensure!(!what.is_empty() && !changes.is_empty(), "{name}: it says or changes nothing");
        Ok(Self { name: name.to_owned(), what, changes })
    }

    /// All mutants of the repository at `root`, by name.
    pub fn read_all(root: &Path) -> anyhow::Result<Vec<Self>> {
        let mut mutants = Vec::new();
        for entry in fs::read_dir(root.join(MUTANTS)).context(MUTANTS)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            mutants.push(Self::parse(&name, &fs::read_to_string(&path)?)?);
        }
        mutants.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(mutants)
    }

    /// The files it changes as they are then. Each text must be there exactly once.
    pub fn apply(&self, root: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let mut files: Vec<(String, String)> = Vec::new();
        for Change { path, from, to } in &self.changes {
            let text = match files.iter().find(|(known, _)| known == path) {
                Some((_, text)) => text.clone(),
                None => fs::read_to_string(root.join(path)).with_context(|| path.clone())?,
            };
            let count = text.matches(from.as_str()).count();
            ensure!(count == 1, "{}: what it changes is in {path} {count} times", self.name);
            files.retain(|(known, _)| known != path);
            files.push((path.clone(), text.replacen(from.as_str(), to, 1)));
        }
        Ok(files)
    }
}

/// Runs those mutants whose names contain one of `wanted`, or all, and tells of each how soon it was caught. How many were
/// not.
pub fn run(root: &Path, wanted: &[&str], out: &mut impl Write) -> anyhow::Result<usize> {
    let root = root.canonicalize()?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => root.join("target"),
    };
    let copy = target.join("mutants");
    copy_sources(&root, &copy)?;
    let mut missed = 0;
    for mutant in Mutant::read_all(&root)? {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| mutant.name.contains(wanted)) {
            continue;
        }
        let changed = mutant.apply(&root)?;
        for (path, text) in &changed {
            fs::write(copy.join(path), text)?;
        }
        let caught = catch(&copy, &target).with_context(|| mutant.name.clone());
        for (path, _) in &changed {
            fs::copy(root.join(path), copy.join(path))?;
        }
        match caught? {
            Some(seeds) => writeln!(out, "{}: caught within {seeds} seeds. {}", mutant.name, mutant.what)?,
            None => {
                missed += 1;
                writeln!(out, "{}: NOT CAUGHT by {SEEDS_MAX} seeds. {}", mutant.name, mutant.what)?;
            }
        }
        out.flush()?;
    }
    Ok(missed)
}

fn copy_sources(root: &Path, copy: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    ensure!(listed.status.success(), "git does not list the sources");
    for path in String::from_utf8(listed.stdout)?.split('\0').filter(|path| !path.is_empty()) {
        let (from, to) = (root.join(path), copy.join(path));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        // What is as it was keeps its time, so that it is not compiled again.
        let text = fs::read(&from)?;
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::write(&to, text)?;
        }
    }
    Ok(())
}

/// Builds the copy and runs seeds. After how many one failed, if any did.
fn catch(copy: &Path, target: &Path) -> anyhow::Result<Option<u64>> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", "sim"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(copy)
        .status()?;
    if !built.success() {
        bail!("it does not compile");
    }
    let ran = Command::new(target.join("debug/sim")).args(["--until-failure", SEEDS_MAX]).output()?;
    let told = String::from_utf8(ran.stdout)?;
    let caught = told.lines().find_map(|line| line.strip_prefix("failed within ")?.strip_suffix(" seeds"));
    match (ran.status.success(), caught) {
        (true, None) => Ok(None),
        (false, Some(seeds)) => Ok(Some(seeds.parse()?)),
        // A panic is no less a failure.
        (false, None) => bail!("the simulation itself failed: {}", String::from_utf8_lossy(&ran.stderr)),
        (true, Some(_)) => bail!("the simulation contradicts itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_changes_what_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mutants = Mutant::read_all(&root).unwrap();
        assert!(mutants.len() > 10);
        for mutant in mutants {
            let changed = mutant.apply(&root).unwrap();
            assert!(!changed.is_empty(), "{}", mutant.name);
        }
    }
}
