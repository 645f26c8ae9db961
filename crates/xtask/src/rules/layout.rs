//! How files are laid out: documented, named for a subject, in functions one can read.

use crate::{Finding, Report, Tree};

/// Words that say nothing about what a module owns.
const EMPTY_WORDS: [&str; 10] = [
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "managers",
    "processor",
    "processors",
];

/// Above this many lines a function is mentioned.
const FUNCTION_LINES_NOTED: usize = 70;

/// Above this many lines a function must be split, or have its reason in [`LONG_FUNCTIONS`].
const FUNCTION_LINES_MAX: usize = 90;

/// Functions that may be longer: file, name, most lines, and why a reader is better off with one.
const LONG_FUNCTIONS: [(&str, &str, usize, &str); 0] = [];

/// Every Rust file begins by saying what it owns.
pub(super) fn module_docs(tree: &Tree, report: &mut Report) {
    for (file, _) in tree.sources() {
        if !file.text.starts_with("//!") {
            let wrong = "the file does not begin with `//!`";
            let right = "say first what the module owns, what holds always, and what it does not know";
            report.findings.push(Finding::new(&file.path, 1, wrong, right));
        }
    }
}

/// No module is named for being somewhere to put things.
pub(super) fn module_names(tree: &Tree, report: &mut Report) {
    for (file, _) in tree.sources() {
        let parts = file.path.strip_suffix(".rs").unwrap_or(&file.path).split('/');
        for part in parts.filter(|part| part.split(['_', '-']).any(|word| EMPTY_WORDS.contains(&word))) {
            let wrong = format!("\"{part}\" says nothing about what is in it");
            report.findings.push(Finding::new(&file.path, 1, wrong, "name the module after what it owns"));
        }
    }
}

/// Functions are short enough to be read at once.
pub(super) fn function_lengths(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources() {
        for function in &source.functions {
            let allowed = LONG_FUNCTIONS
                .iter()
                .find(|(path, name, ..)| *path == file.path && *name == function.name)
                .map_or(FUNCTION_LINES_MAX, |(_, _, lines, _)| *lines);
            let finding = || {
                let wrong = format!("`{}` has {} lines", function.name, function.lines);
                let right = format!("up to {FUNCTION_LINES_NOTED}: split it where its subject changes");
                Finding::new(&file.path, function.line, wrong, right)
            };
            if function.lines > allowed {
                report.findings.push(finding());
            } else if function.lines > FUNCTION_LINES_NOTED {
                report.notes.push(finding());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::check;

    #[test]
    fn a_file_without_its_subject_is_found() {
        let files = [("crates/a/src/lib.rs", "//! A.\n"), ("crates/a/src/b.rs", "// B.\n"), ("x.md", "")];
        check(module_docs, &files, &["crates/a/src/b.rs:1: the file does not begin with `//!`"]);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let files = [
            ("crates/a/src/purge_manager.rs", ""),
            ("crates/common/src/lib.rs", ""),
            ("crates/a/src/commoner.rs", ""),
        ];
        check(
            module_names,
            &files,
            &[
                "crates/a/src/purge_manager.rs:1: \"purge_manager\" says nothing about what is in it",
                "crates/common/src/lib.rs:1: \"common\" says nothing about what is in it",
            ],
        );
    }

    #[test]
    fn long_functions_are_noted_and_longer_ones_refused() {
        for (lines, noted, refused) in [(70, 0, 0), (71, 1, 0), (90, 1, 0), (91, 0, 1)] {
            let text = format!("//! A.\nfn f() {{{}}}\n", "\n".repeat(lines - 1));
            let mut report = Report::default();
            function_lengths(&Tree::of([("crates/a/src/lib.rs", text.as_str())]), &mut report);
            assert_eq!((report.notes.len(), report.findings.len()), (noted, refused), "{lines}");
            for finding in report.notes.iter().chain(&report.findings) {
                assert_eq!((finding.line, finding.wrong.as_str()), (2, &*format!("`f` has {lines} lines")));
            }
        }
    }
}
