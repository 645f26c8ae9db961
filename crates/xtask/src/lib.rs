//! Checks that read the repository's files and nothing else.
//!
//! [`tidy`] runs every rule of [`rules`]. What a rule can't know by itself it reads from the tables of
//! ARCHITECTURE.md, so that the page and the code can't drift apart.

mod document;
pub mod mutants;
pub mod reference;
pub mod rules;
mod source;
mod tree;

pub use tree::Tree;

use std::fmt;

/// Something that breaks a rule, and what would keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file, from the root of the repository.
    pub path: String,
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Finding {
    pub(crate) fn new(
        path: impl Into<String>,
        line: usize,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), line, wrong: wrong.into(), right: right.into() }
    }
}

/// What all rules found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What must be mended.
    pub findings: Vec<Finding>,
    /// What is worth a look.
    pub notes: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, findings) in [("note", &self.notes), ("error", &self.findings)] {
            for Finding { path, line, wrong, right } in findings {
                writeln!(f, "{path}:{line}: {kind}: {wrong}\n    right: {right}")?;
            }
        }
        writeln!(f, "tidy: {} to mend, {} worth a look", self.findings.len(), self.notes.len())
    }
}

/// Runs every rule.
pub fn tidy(tree: &Tree) -> Report {
    let mut report = Report::default();
    for rule in rules::EVERY {
        rule(tree, &mut report);
    }
    for findings in [&mut report.findings, &mut report.notes] {
        findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    }
    report
}
