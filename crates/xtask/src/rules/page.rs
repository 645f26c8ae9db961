//! ARCHITECTURE.md held against the code: limits have the values it states, places are there, and every rule of the
//! protocol names what would break without it.

use crate::document::{PATH, page, quoted_texts, table};
use crate::reference;
use crate::source::words;
use crate::tree::File;
use crate::{Finding, Report, Tree};

/// Where the model's mutants are declared.
const MUTANTS: &str = "crates/model/src/mutant.rs";

/// Each limit of the table has, in the file it names, the value it states.
pub(super) fn limits(tree: &Tree, report: &mut Report) {
    let rows = match table(tree, "limits") {
        Ok(rows) => rows,
        Err(finding) => return report.findings.push(finding),
    };
    for row in rows {
        let [name, value, place, ..] = &row.cells[..] else { continue };
        let ([name], [value], [place]) = (&name[..], &value[..], &place[..]) else {
            let wrong = "a row of the limits without one name, one value and one file, each in backticks";
            report.findings.push(Finding::new(
                PATH,
                row.line,
                wrong,
                "| `NAME` | `value` | `crate/src/file.rs` | meaning |",
            ));
            continue;
        };
        let declared = find(tree, place).and_then(|file| declared(&file.text, name));
        match declared {
            Some(declared) if declared == *value => {}
            Some(declared) => {
                let wrong = format!("`{name}` is said to be `{value}`");
                report.findings.push(Finding::new(
                    PATH,
                    row.line,
                    wrong,
                    format!("it is `{declared}` in {place}"),
                ));
            }
            None => {
                let wrong = format!("`{name}` is not declared in {place}");
                let right = "name the file that declares it, or take the row out";
                report.findings.push(Finding::new(PATH, row.line, wrong, right));
            }
        }
    }
}

/// The expression of a constant, or the initial value of a field written as `name: value,`.
fn declared(text: &str, name: &str) -> Option<String> {
    let constant = words(text, name).find_map(|at| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let is_constant = before.ends_with("const ") && after.starts_with(':');
        is_constant.then(|| after.split_once('=').and_then(|(_, value)| value.split_once(";\n"))).flatten()
    });
    let field = || {
        words(text, name).find_map(|at| {
            let line = text[at + name.len()..].lines().next()?.strip_prefix(": ")?;
            let value = line.strip_suffix(',')?;
            value.starts_with(|c: char| c.is_ascii_digit()).then_some((value, ""))
        })
    };
    let (value, _) = constant.or_else(field)?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Places are written `crate/src/file.rs` or `crate/src/file.rs: name`, from `crates/` or from the root.
pub(super) fn places(tree: &Tree, report: &mut Report) {
    let Ok(page) = page(tree) else { return };
    for (index, line) in page.text.lines().enumerate() {
        for text in quoted_texts(line) {
            let (path, name) = match text.split_once(": ") {
                Some((path, name)) => (path, Some(name)),
                None => (text.as_str(), None),
            };
            let is_place =
                path.contains('/') && [".rs", ".sql", ".toml", ".md"].iter().any(|end| path.ends_with(end));
            if !is_place || path.contains(['<', '*', '…']) {
                continue;
            }
            match (find(tree, path), name) {
                (None, _) => report.findings.push(Finding::new(
                    PATH,
                    index + 1,
                    format!("there is no file {path}"),
                    "name a file from the root or from crates/",
                )),
                (Some(file), Some(name)) if words(&file.text, name).next().is_none() => {
                    let wrong = format!("`{name}` is not in {path}");
                    report.findings.push(Finding::new(PATH, index + 1, wrong, "say where it is now"));
                }
                _ => {}
            }
        }
    }
}

/// Every rule of the protocol names a test or a mutant that exists, and every mutant stands beside a rule.
pub(super) fn proofs(tree: &Tree, report: &mut Report) {
    let rows = match table(tree, "rules") {
        Ok(rows) => rows,
        Err(finding) => return report.findings.push(finding),
    };
    let mutants = tree.file(MUTANTS).map(|file| mutants(&file.text)).unwrap_or_default();
    let is_test = |name: &str| {
        tree.sources().any(|(_, source)| source.functions.iter().any(|function| function.name == name))
    };
    let mut named = Vec::new();
    for row in &rows {
        let proofs = row.cells.last().map(Vec::as_slice).unwrap_or_default();
        if proofs.is_empty() {
            let wrong = "a rule that nothing holds";
            report.findings.push(Finding::new(
                PATH,
                row.line,
                wrong,
                "name a mutant or a test in the last column",
            ));
        }
        for proof in proofs {
            named.push(proof.as_str());
            if !mutants.contains(&proof.as_str()) && !is_test(proof) {
                let wrong = format!("`{proof}` is neither a mutant of the model nor a test");
                report.findings.push(Finding::new(PATH, row.line, wrong, "name one that is there"));
            }
        }
    }
    for mutant in mutants.iter().filter(|mutant| !named.contains(mutant)) {
        let line =
            tree.file(MUTANTS).and_then(|file| file.text.lines().position(|line| line.contains(mutant)));
        let wrong = format!("the mutant {mutant} stands beside no rule of {PATH}");
        let right = "name it in the row of the rule that it drops";
        report.findings.push(Finding::new(MUTANTS, line.map_or(1, |index| index + 1), wrong, right));
    }
}

/// The reference page of the configuration file is what its source says.
pub(super) fn reference(tree: &Tree, report: &mut Report) {
    let right = "run cargo xtask docs";
    let Some(page) = reference::configuration(tree) else {
        let wrong = "what mirrors the configuration file is not there";
        report.findings.push(Finding::new(reference::SOURCE, 1, wrong, "say where it is, in reference.rs"));
        return;
    };
    let written = tree.file(reference::PAGE).map(|file| file.text.as_str()).unwrap_or_default();
    if written != page {
        let differs = written.lines().zip(page.lines()).take_while(|(is, should)| is == should).count();
        let wrong = "the page is not what its source says";
        report.findings.push(Finding::new(reference::PAGE, differs + 1, wrong, right));
    }
}

/// Names declared as `Name in scenario,`.
fn mutants(text: &str) -> Vec<&str> {
    let declared = text.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" in "));
    declared
        .filter(|(name, scenario)| {
            let is_word =
                |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
            is_word(name) && is_word(scenario)
        })
        .map(|(name, _)| name)
        .collect()
}

fn find<'t>(tree: &'t Tree, path: &str) -> Option<&'t File> {
    tree.file(path).or_else(|| tree.file(&format!("crates/{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::check;

    #[test]
    fn limits_are_those_of_the_code() {
        let code = (
            "crates/a/src/b.rs",
            "//! B.\n/// Why.\npub const X_MAX: usize =\n    2 * 3;\nconst S: u64 = 4;\nSelf {\n    y_max: 5,\n}\n",
        );
        let rows = |rows: &str| format!("<!-- tidy: limits -->\n| n | v | f |\n| - | - | - |\n{rows}");
        let good = rows("| `S` | `4` | `a/src/b.rs` |\n| `y_max` | `5` | `a/src/b.rs` |\n");
        check(limits, &[(PATH, &good), code], &[]);
        let wrapped = rows("| `X_MAX` | `2 * 3` | `a/src/b.rs` |\n");
        check(limits, &[(PATH, &wrapped), code], &[]);
        let bad = rows("| `S` | `5` | `a/src/b.rs` |\n| `T` | `5` | `a/src/b.rs` |\n| U | 5 | b |\n");
        check(
            limits,
            &[(PATH, &bad), code],
            &[
                "ARCHITECTURE.md:4: `S` is said to be `5`",
                "ARCHITECTURE.md:5: `T` is not declared in a/src/b.rs",
                "ARCHITECTURE.md:6: a row of the limits without one name, one value and one file, each in backticks",
            ],
        );
    }

    #[test]
    fn the_reference_is_what_its_source_says() {
        let source =
            (reference::SOURCE, "//! A.\nstruct RawEdge {\n    /// What.\n    key: Option<Text>,\n}\n");
        let page = reference::configuration(&crate::Tree::of([source])).unwrap();
        check(super::reference, &[source, (reference::PAGE, &page)], &[]);
        let old = page.replace("What.", "Who.");
        let line = page.lines().count();
        check(
            super::reference,
            &[source, (reference::PAGE, &old)],
            &[&format!("docs/configuration.md:{line}: the page is not what its source says")],
        );
        check(
            super::reference,
            &[source],
            &["docs/configuration.md:1: the page is not what its source says"],
        );
        check(
            super::reference,
            &[],
            &["crates/everfresh/src/edge_file.rs:1: what mirrors the configuration file is not there"],
        );
    }

    #[test]
    fn places_are_there() {
        let code = ("crates/a/src/b.rs", "//! B.\nfn here() {}\n");
        let page =
            "`a/src/b.rs: here` `crates/a/src/b.rs` `0001-….md` `a: b`\n`a/src/b.rs: there` `a/src/c.rs`\n";
        check(
            places,
            &[(PATH, page), code],
            &[
                "ARCHITECTURE.md:2: `there` is not in a/src/b.rs",
                "ARCHITECTURE.md:2: there is no file a/src/c.rs",
            ],
        );
    }

    #[test]
    fn rules_name_what_holds_them() {
        let code = ("crates/a/src/b.rs", "//! B.\nfn a_test() {}\n");
        let model = (
            MUTANTS,
            "//! M.\nmutants! {\n    /// Doc in doc,\n    Dropped in lease,\n    Lost in lease,\n}\n",
        );
        let page = "<!-- tidy: rules -->\n| rule | proof |\n| - | - |\n| r | `a_test` `Dropped` |\n| s | |\n| t | `nothing` |\n";
        check(
            proofs,
            &[(PATH, page), code, model],
            &[
                "ARCHITECTURE.md:5: a rule that nothing holds",
                "ARCHITECTURE.md:6: `nothing` is neither a mutant of the model nor a test",
                "crates/model/src/mutant.rs:5: the mutant Lost stands beside no rule of ARCHITECTURE.md",
            ],
        );
    }
}
