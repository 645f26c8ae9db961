//! The repository keeps its own rules.

use std::path::Path;
use xtask::{Tree, tidy};

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).expect("the repository is there");
    assert!(tree.files().count() > 50, "the whole repository was read");
    let report = tidy(&tree);
    assert!(report.findings.is_empty(), "\n{report}");
}
