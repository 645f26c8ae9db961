//! Which crates know which: the arrows, and what a crate must never touch.

use crate::document::{PATH, Row, table};
use crate::source::{line_of, words};
use crate::{Finding, Report, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of dependencies that are built into what ships. Those of tests and benches are free.
const SHIPPED: [&str; 2] = ["dependencies", "build-dependencies"];

/// One crate of the workspace.
struct Crate {
    manifest: String,
    /// Each dependency with the line that names it.
    dependencies: BTreeMap<String, usize>,
}

impl Crate {
    fn among<'a>(&'a self, crates: &'a BTreeMap<String, Crate>) -> BTreeSet<&'a str> {
        self.dependencies.keys().map(String::as_str).filter(|name| crates.contains_key(*name)).collect()
    }
}

fn crates(tree: &Tree, report: &mut Report) -> BTreeMap<String, Crate> {
    let mut crates = BTreeMap::new();
    for file in tree.files() {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let manifest = match file.text.parse::<toml::Table>() {
            Ok(manifest) => manifest,
            Err(error) => {
                let wrong = format!("this is no TOML: {}", error.message());
                report.findings.push(Finding::new(&file.path, 1, wrong, "mend the syntax"));
                continue;
            }
        };
        let for_targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
        let tables = for_targets.filter_map(|(_, target)| target.as_table()).chain([&manifest]);
        let names = tables.flat_map(|table| {
            SHIPPED.iter().filter_map(|kind| table.get(*kind)?.as_table()).flat_map(toml::Table::keys)
        });
        let line = |dependency: &str| {
            let named = file.text.lines().position(|line| {
                line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
            });
            named.map_or(1, |index| index + 1)
        };
        let dependencies = names.map(|name| (name.clone(), line(name))).collect();
        crates.insert(name.to_owned(), Crate { manifest: file.path.clone(), dependencies });
    }
    crates
}

/// The arrows between crates are those that the page lists: no more, no fewer.
pub(super) fn arrows(tree: &Tree, report: &mut Report) {
    let crates = crates(tree, report);
    let rows = match table(tree, "arrows") {
        Ok(rows) => rows,
        Err(finding) => return report.findings.push(finding),
    };
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    for row in &rows {
        let [names, arrows, ..] = &row.cells[..] else { continue };
        for name in names {
            listed.insert(name);
            match crates.get(name) {
                Some(found) => check_arrows(name, found, arrows, &crates, row, report),
                None => report.findings.push(Finding::new(
                    PATH,
                    row.line,
                    format!("there is no crate `{name}`"),
                    "take the row out, or name the crate as its folder is named",
                )),
            }
        }
    }
    for (name, found) in crates.iter().filter(|(name, _)| !listed.contains(name.as_str())) {
        let wrong = format!("the crate `{name}` is not in the table of arrows of {PATH}");
        report.findings.push(Finding::new(
            &found.manifest,
            1,
            wrong,
            "give it a row: what it owns, on whom it depends",
        ));
    }
}

fn check_arrows(
    name: &str,
    found: &Crate,
    arrows: &[String],
    crates: &BTreeMap<String, Crate>,
    row: &Row,
    report: &mut Report,
) {
    let listed: BTreeSet<&str> = arrows.iter().map(String::as_str).collect();
    let built = found.among(crates);
    for extra in built.difference(&listed) {
        let line = found.dependencies.get(*extra).copied().unwrap_or(1);
        let wrong = format!("`{name}` depends on `{extra}`, an arrow that {PATH} does not have");
        let right = "do without it; a new arrow is a decision of its own, with a row in the table";
        report.findings.push(Finding::new(&found.manifest, line, wrong, right));
    }
    for absent in listed.difference(&built) {
        let wrong = format!("the arrow `{name}` → `{absent}` is not in {}", found.manifest);
        report.findings.push(Finding::new(PATH, row.line, wrong, "take it out of the table"));
    }
}

/// What the page says a crate never depends on or writes, it does not; crates of ours that it reaches through others
/// count.
pub(super) fn absence(tree: &Tree, report: &mut Report) {
    let crates = crates(tree, report);
    let rows = match table(tree, "absent") {
        Ok(rows) => rows,
        Err(finding) => return report.findings.push(finding),
    };
    for row in &rows {
        let [names, dependencies, written, ..] = &row.cells[..] else { continue };
        for name in names {
            if name == "*" {
                for (name, found) in &crates {
                    check_dependencies(name, found, dependencies, &crates, report);
                    check_written(name, written, tree, report);
                }
            } else if let Some(found) = crates.get(name) {
                check_dependencies(name, found, dependencies, &crates, report);
                check_written(name, written, tree, report);
            } else {
                let wrong = format!("there is no crate `{name}`");
                report.findings.push(Finding::new(
                    PATH,
                    row.line,
                    wrong,
                    "name crates as their folders are named",
                ));
            }
        }
    }
}

fn check_dependencies(
    name: &str,
    found: &Crate,
    never: &[String],
    crates: &BTreeMap<String, Crate>,
    report: &mut Report,
) {
    let mut waiting = vec![found];
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    while let Some(from) = waiting.pop() {
        for (dependency, line) in &from.dependencies {
            let ours = crates.get(dependency);
            // What another crate of ours needs of foreign ones is that crate's own row.
            if never.contains(dependency) && (ours.is_some() || from.manifest == found.manifest) {
                let wrong = format!("`{name}` reaches `{dependency}`, which {PATH} says it never does");
                let right = "move what needs it to a crate that may, or hand it in as an argument";
                report.findings.push(Finding::new(&from.manifest, *line, wrong, right));
            }
            if let Some(next) = ours
                && reached.insert(dependency)
            {
                waiting.push(next);
            }
        }
    }
}

fn check_written(name: &str, never: &[String], tree: &Tree, report: &mut Report) {
    let under = format!("crates/{name}/src/");
    for (file, source) in tree.sources().filter(|(file, _)| file.path.starts_with(&under)) {
        let shipped = source.shipped();
        for text in never {
            for at in words(&shipped, text) {
                let wrong = format!("`{text}` in `{name}`, which {PATH} says it never writes");
                let right = "let the caller hand in what it gives";
                report.findings.push(Finding::new(&file.path, line_of(&shipped, at), wrong, right));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::check;

    const ARROWS: &str = "<!-- tidy: arrows -->\n| crate | on |\n| - | - |\n| `a` | |\n| `b` | `a` |\n";

    #[test]
    fn arrows_are_those_of_the_page() {
        let a = ("crates/a/Cargo.toml", "[dependencies]\nserde.workspace = true\n");
        let b = "[dependencies]\na.workspace = true\n";
        let b_dev = "[dev-dependencies]\na.workspace = true\n";
        let b_target = "[target.'cfg(unix)'.dependencies]\na.workspace = true\n";
        check(arrows, &[(PATH, ARROWS), a, ("crates/b/Cargo.toml", b)], &[]);
        check(arrows, &[(PATH, ARROWS), a, ("crates/b/Cargo.toml", b_target)], &[]);
        let lost = "ARCHITECTURE.md:5: the arrow `b` → `a` is not in crates/b/Cargo.toml";
        check(arrows, &[(PATH, ARROWS), a, ("crates/b/Cargo.toml", b_dev)], &[lost]);
        check(
            arrows,
            &[
                (PATH, ARROWS),
                ("crates/a/Cargo.toml", "[dependencies]\nb = { path = \"../b\" }"),
                ("crates/b/Cargo.toml", b),
            ],
            &["crates/a/Cargo.toml:2: `a` depends on `b`, an arrow that ARCHITECTURE.md does not have"],
        );
        check(
            arrows,
            &[(PATH, ARROWS), a, ("crates/b/Cargo.toml", b), ("crates/c/Cargo.toml", "")],
            &["crates/c/Cargo.toml:1: the crate `c` is not in the table of arrows of ARCHITECTURE.md"],
        );
        check(
            arrows,
            &[(PATH, ARROWS), ("crates/b/Cargo.toml", "")],
            &[
                "ARCHITECTURE.md:4: there is no crate `a`",
                "ARCHITECTURE.md:5: the arrow `b` → `a` is not in crates/b/Cargo.toml",
            ],
        );
        check(arrows, &[("crates/b/Cargo.toml", "")], &["ARCHITECTURE.md:1: the page is missing"]);
    }

    #[test]
    fn what_a_crate_never_touches_is_not_reached_either() {
        let page = "<!-- tidy: absent -->\n| crate | never on | never writes |\n| - | - | - |\n\
                    | `b` | `tokio` `c` | `std::fs` |\n| `*` | `tool` | |\n";
        let a = "[dependencies]\ntokio = \"1\"\n";
        let b = "[dependencies]\na.workspace = true\n[dev-dependencies]\ntokio = \"1\"\ntool = \"1\"\n";
        let code = "//! std::fs\n#[cfg(test)]\nmod tests { use std::fs; }";
        let at = |a, b, code| {
            let c = ("crates/c/Cargo.toml", "");
            [
                (PATH, page),
                ("crates/a/Cargo.toml", a),
                ("crates/b/Cargo.toml", b),
                c,
                ("crates/b/src/lib.rs", code),
            ]
        };
        check(absence, &at(a, b, code), &[]);
        let never = |what: &str| format!("{what}, which ARCHITECTURE.md says it never does");
        let through_a = "[dependencies]\nc = { path = \"../c\" }\n";
        check(absence, &at(through_a, b, code), &[&never("crates/a/Cargo.toml:2: `b` reaches `c`")]);
        check(absence, &at("", a, code), &[&never("crates/b/Cargo.toml:2: `b` reaches `tokio`")]);
        let tool = "[build-dependencies]\ntool = \"1\"\n";
        check(absence, &at(tool, "", code), &[&never("crates/a/Cargo.toml:2: `a` reaches `tool`")]);
        check(
            absence,
            &at("", "", "//! b\nfn f() { std::fs::read(x); }"),
            &["crates/b/src/lib.rs:2: `std::fs` in `b`, which ARCHITECTURE.md says it never writes"],
        );
        check(absence, &[(PATH, page)], &["ARCHITECTURE.md:4: there is no crate `b`"]);
    }
}
