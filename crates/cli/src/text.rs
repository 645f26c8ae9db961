//! Text for people, and JSON for programs.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// Rows under a header, in aligned columns.
pub(crate) fn table(out: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The text without control characters: what others wrote must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An answer for programs.
pub(crate) fn json(out: &mut dyn Write, fields: Map<String, Value>) -> io::Result<()> {
    writeln!(out, "{:#}", Value::Object(fields))
}

/// `1 target`, `2 targets`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("{number} {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_do_not_get_through() {
        let mut out = Vec::new();
        let rows = vec![vec!["图片".into(), "a".into()], vec!["x\x1b[2J".into(), String::new()]];
        table(&mut out, &["ONE", "TWO"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ONE    TWO\n图片     a\nx\u{fffd}[2J\n");
    }
}
