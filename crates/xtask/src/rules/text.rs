//! What no file says: SQL outside the store, work left undone, paths of one machine.

use crate::source::{line_of, words};
use crate::{Finding, Report, Tree};

/// With what a statement begins. A space must follow, so that these are none themselves.
const STATEMENTS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE FROM", "CREATE TABLE"];

/// The crate whose files may hold SQL.
const SQL_HOME: &str = "crates/store/";

/// Words for work left undone. Put together here so that this file does not hold them.
const UNDONE_WORDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// The same as code.
const UNDONE_CODE: [&str; 4] = ["#[ignore", "todo!(", "unimplemented!(", "#![allow("];

/// Where machines keep things of their own. Put together for the same reason.
const MACHINE_FOLDERS: [&str; 5] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "tmp/"),
    concat!("/", "work/"),
    concat!("/", "Users/"),
];

/// SQL is written in the store and nowhere else.
pub(super) fn sql(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources().filter(|(file, _)| !file.path.starts_with(SQL_HOME)) {
        for literal in &source.literals {
            let text = literal.text.trim_start();
            let statement = STATEMENTS.iter().find(|statement| {
                text.strip_prefix(**statement).is_some_and(|rest| rest.starts_with(char::is_whitespace))
            });
            if let Some(statement) = statement {
                let wrong = format!("a string that begins with {statement}");
                let right = "ask the store: SQL is written in crates/store only";
                report.findings.push(Finding::new(&file.path, literal.line, wrong, right));
            }
        }
    }
}

/// Nothing is left undone.
pub(super) fn unfinished(tree: &Tree, report: &mut Report) {
    for file in tree.files().filter(|file| !file.path.ends_with(".md")) {
        for word in UNDONE_WORDS {
            for at in words(&file.text, word) {
                let wrong = format!("{word} in what is committed");
                report.findings.push(Finding::new(
                    &file.path,
                    line_of(&file.text, at),
                    wrong,
                    "do it, or file an issue",
                ));
            }
        }
    }
    for (file, source) in tree.sources() {
        for text in UNDONE_CODE {
            for (at, _) in source.code.match_indices(text) {
                let wrong = format!("`{text}…`");
                let right = "finish the code, assert a known fault as it is, or give a lint its #[expect] with a reason";
                report.findings.push(Finding::new(&file.path, line_of(&source.code, at), wrong, right));
            }
        }
    }
}

/// No file knows the machine on which it was written.
pub(super) fn machine_paths(tree: &Tree, report: &mut Report) {
    for file in tree.files() {
        for folder in MACHINE_FOLDERS {
            let found = file.text.match_indices(folder).filter(|(at, _)| {
                // Within a longer path or a URL it is somebody else's.
                let before = file.text[..*at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-~}$/".contains(c))
            });
            for (at, _) in found {
                let wrong = format!("a path of one machine: {folder}…");
                let right = "a path from the repository's root, a temporary directory that the test asks for, or a flag";
                report.findings.push(Finding::new(&file.path, line_of(&file.text, at), wrong, right));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::check;

    #[test]
    fn sql_outside_the_store_is_found() {
        let bad =
            "//! A.\nfn f() { q(\"\n  SELECT a FROM b\"); q(r#\"DELETE FROM b\"#); say(\"DELETE this\"); }";
        check(
            sql,
            &[("crates/control/src/a.rs", bad), ("crates/store/src/a.rs", bad)],
            &[
                "crates/control/src/a.rs:2: a string that begins with SELECT",
                "crates/control/src/a.rs:3: a string that begins with DELETE FROM",
            ],
        );
    }

    #[test]
    fn what_is_left_undone_is_found() {
        let [first, second] = UNDONE_WORDS;
        let text = format!(
            "//! A.\n// {first}: later\nfn f() {{ todo!() }} // {second}\n#[ignore]\nlet {first}S = \"todo!()\";"
        );
        check(
            unfinished,
            &[("crates/a/src/lib.rs", &text), ("notes.md", &text)],
            &[
                &format!("crates/a/src/lib.rs:2: {first} in what is committed"),
                &format!("crates/a/src/lib.rs:3: {second} in what is committed"),
                "crates/a/src/lib.rs:4: `#[ignore…`",
                "crates/a/src/lib.rs:3: `todo!(…`",
            ],
        );
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let [home, _, _, work, _] = MACHINE_FOLDERS;
        let text = format!("a = \"{home}me\"\nb = \"https://a.test{work}x\"\nc = {work}y\nd = .{work}");
        check(
            machine_paths,
            &[("Makefile", &text)],
            &[
                &format!("Makefile:1: a path of one machine: {home}…"),
                &format!("Makefile:3: a path of one machine: {work}…"),
            ],
        );
    }
}
