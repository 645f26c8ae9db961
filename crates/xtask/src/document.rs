//! ARCHITECTURE.md as far as rules read it: marked tables, and what stands in backticks.

use crate::Finding;
use crate::tree::{File, Tree};

/// The page.
pub(crate) const PATH: &str = "ARCHITECTURE.md";

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The line it stands on, from 1.
    pub(crate) line: usize,
    /// For each cell what stands in backticks in it.
    pub(crate) cells: Vec<Vec<String>>,
}

/// The page, or a finding that it is not there.
pub(crate) fn page(tree: &Tree) -> Result<&File, Finding> {
    tree.file(PATH)
        .ok_or_else(|| Finding::new(PATH, 1, "the page is missing", "write it: its tables are checked"))
}

/// The rows of the table that follows the comment `<!-- tidy: NAME -->`.
pub(crate) fn table(tree: &Tree, name: &str) -> Result<Vec<Row>, Finding> {
    let page = page(tree)?;
    let marker = format!("<!-- tidy: {name} -->");
    let lines = page.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut lines = lines.skip_while(|(_, line)| *line != marker);
    if lines.next().is_none() {
        let right = format!("put the line {marker} above the table");
        return Err(Finding::new(PATH, 1, format!("no table is marked as \"{name}\""), right));
    }
    let rows = lines.skip_while(|(_, line)| line.is_empty()).take_while(|(_, line)| line.starts_with('|'));
    // The first two lines are the head and its rule.
    Ok(rows.skip(2).map(|(line, text)| Row { line, cells: cells(text) }).collect())
}

fn cells(row: &str) -> Vec<Vec<String>> {
    // A bar within backticks is text.
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in row.trim_matches('|').chars() {
        quoted ^= c == '`';
        match cells.last_mut() {
            Some(cell) if quoted || c != '|' => cell.push(c),
            _ => cells.push(String::new()),
        }
    }
    cells.iter().map(|cell| quoted_texts(cell)).collect()
}

/// What stands in backticks.
pub(crate) fn quoted_texts(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_table_is_read_by_its_backticks() {
        let text = "# x\n\n<!-- tidy: t -->\n| a | b |\n| --- | --- |\n| `x` `y` | none |\n| `p|q` | see `z` |\n\n| `no` |";
        let tree = Tree::of([(PATH, text)]);
        let rows = table(&tree, "t").unwrap();
        let cells: Vec<_> = rows.iter().map(|row| (row.line, row.cells.clone())).collect();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            cells,
            [(6, vec![texts(&["x", "y"]), texts(&[])]), (7, vec![texts(&["p|q"]), texts(&["z"])])]
        );
        assert!(table(&tree, "u").unwrap_err().right.contains("<!-- tidy: u -->"));
    }
}
