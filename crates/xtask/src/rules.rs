//! The rules, one function each.

mod crates;
mod layout;
mod page;
mod text;

use crate::{Report, Tree};

/// A rule: adds what it finds.
pub type Rule = fn(&Tree, &mut Report);

/// Every rule.
pub const EVERY: [Rule; 12] = [
    crates::arrows,
    crates::absence,
    layout::module_docs,
    layout::module_names,
    layout::function_lengths,
    text::sql,
    text::unfinished,
    text::machine_paths,
    page::limits,
    page::places,
    page::proofs,
    page::reference,
];

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Runs one rule on given files. Each finding as `path:line: wrong`.
    pub(crate) fn findings(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
        let mut report = Report::default();
        rule(&Tree::of(files.iter().copied()), &mut report);
        report.findings.iter().map(|f| format!("{}:{}: {}", f.path, f.line, f.wrong)).collect()
    }

    /// Asserts that a rule finds just these.
    #[track_caller]
    pub(crate) fn check(rule: Rule, files: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(findings(rule, files), expected);
    }
}
