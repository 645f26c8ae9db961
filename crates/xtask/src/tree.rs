//! The repository's text files.

use crate::source::Source;
use std::path::Path;
use std::{fs, io};

/// Endings of the files that rules look at.
const ENDINGS: [&str; 8] = [".rs", ".toml", ".md", ".sql", ".py", ".sh", ".yml", ".conf"];

/// Files without an ending that rules look at too.
const NAMES: [&str; 2] = ["Makefile", ".ci/run"];

/// One text file.
#[derive(Clone, Debug)]
pub struct File {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
    /// The same as Rust reads it, for `.rs` files.
    pub(crate) source: Option<Source>,
}

/// All files that rules look at.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads the repository at `root`, but for what its `.gitignore` names there.
    pub fn read(root: &Path) -> io::Result<Self> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let mut skipped: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
        skipped.push(".git");
        let mut tree = Self::default();
        tree.walk(root, "", &skipped)?;
        Ok(tree)
    }

    /// A tree of given paths and texts.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path.to_owned(), text.to_owned());
        }
        tree
    }

    fn add(&mut self, path: String, text: String) {
        let source = path.ends_with(".rs").then(|| Source::read(&text));
        self.files.push(File { path, text, source });
    }

    fn walk(&mut self, root: &Path, under: &str, skipped: &[&str]) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(root.join(under))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push((name, entry.file_type()?));
            }
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in names {
            let path = if under.is_empty() { name } else { format!("{under}/{name}") };
            if skipped.iter().any(|skipped| skipped.trim_end_matches('/') == path) {
                continue;
            }
            if kind.is_dir() {
                self.walk(root, &path, skipped)?;
            } else if kind.is_file()
                && (ENDINGS.iter().any(|ending| path.ends_with(ending)) || NAMES.contains(&path.as_str()))
            {
                // A file that is no text is no concern of these rules.
                if let Ok(text) = fs::read_to_string(root.join(&path)) {
                    self.add(path, text);
                }
            }
        }
        Ok(())
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// Every Rust file.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| Some((file, file.source.as_ref()?)))
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}
