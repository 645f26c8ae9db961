//! The reference page of the edge's configuration file, written from the doc comments of what mirrors the file.

use crate::Tree;
use crate::tree::File;
use std::fmt::Write as _;

/// What mirrors the file.
pub(crate) const SOURCE: &str = "crates/everfresh/src/edge_file.rs";

/// The page.
pub const PAGE: &str = "docs/configuration.md";

/// The struct of the whole file.
const ROOT: &str = "RawEdge";

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from the doc comments in crates/everfresh/src/edge_file.rs: change them, not this. -->

# The configuration file of edges

`everfresh edge --config FILE` and `everfresh serve --config FILE` read one TOML file. Every key may be left out; a flag
wins over its key. A key that is not on this page is refused, and so is a value out of its range: all that is wrong is
said at once, with key and line. Secrets have no keys: they are environment variables, or files that a key names.

A size is a text with KiB, MiB or GiB (`\"256MiB\"`), a time one with ms, s or m (`\"30s\"`).

```toml
name = \"edge-hk-1\"
listen = \"0.0.0.0:80\"
control = \"control.example:8091\"
token_file = \"/etc/everfresh/edge.token\"

[cache]
memory = \"8GiB\"

[origins]
head_timeout = \"10s\"
```
";

/// One key of a struct.
#[derive(Debug, PartialEq, Eq)]
struct Field<'t> {
    name: &'t str,
    /// The type without `Option`, `Vec` and what it is generic over.
    kind: &'t str,
    is_list: bool,
    doc: String,
}

/// The page as it should be. `None` where the source is not there, or says nothing of the root.
pub fn configuration(tree: &Tree) -> Option<String> {
    let source = tree.file(SOURCE)?;
    let mut page = HEAD.to_owned();
    section(source, ROOT, "", "What belongs to no section.", &mut page)?;
    Some(page)
}

fn section(source: &File, of: &str, path: &str, doc: &str, page: &mut String) -> Option<()> {
    let fields = fields(&source.text, of)?;
    let (sections, keys): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.kind.starts_with("Raw"));
    if path.is_empty() {
        let _ = write!(page, "\n## Above all sections\n\n{doc}\n");
    } else {
        let _ = write!(page, "\n## `{path}`\n\n{doc}\n");
    }
    if !keys.is_empty() {
        page.push_str("\n| key | value | meaning |\n| --- | --- | --- |\n");
    }
    for Field { name, kind, doc, .. } in keys {
        let _ = writeln!(page, "| `{name}` | {} | {} |", kind_in_words(kind), doc.replace('|', "\\|"));
    }
    for Field { name, kind, is_list, doc } in sections {
        let inner = path.trim_matches(['[', ']']);
        let whole = if inner.is_empty() { (*name).to_owned() } else { format!("{inner}.{name}") };
        let heading = if *is_list { format!("[[{whole}]]") } else { format!("[{whole}]") };
        section(source, kind, &heading, doc, page)?;
    }
    Some(())
}

/// `OneThing` → `one thing`.
fn kind_in_words(kind: &str) -> String {
    let mut words = String::new();
    for c in kind.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// The fields of a struct, in order.
fn fields<'t>(text: &'t str, of: &str) -> Option<Vec<Field<'t>>> {
    let head = format!("struct {of} {{");
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.ends_with(&head));
    lines.next()?;
    let mut fields = Vec::new();
    let mut doc = String::new();
    for line in lines.take_while(|line| *line != "}") {
        if let Some(more) = line.strip_prefix("///") {
            if !doc.is_empty() {
                doc.push(' ');
            }
            doc.push_str(more.trim());
        } else if let Some((name, kind)) = line.strip_suffix(',').and_then(|field| field.split_once(": ")) {
            let is_list = kind.contains("Vec<");
            let mut kind = kind;
            for wrapper in ["Option<", "Vec<"] {
                kind = kind.strip_prefix(wrapper).unwrap_or(kind);
            }
            let end = kind.find(['<', '>']).unwrap_or(kind.len());
            let name = name.trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
            fields.push(Field { name, kind: &kind[..end], is_list, doc: std::mem::take(&mut doc) });
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! A file.
#[derive(Deserialize)]
struct RawEdge {
    /// What it
    /// is called. Default `\"a|b\"`.
    name: Option<Text>,
    /// The inner ones.
    inner: RawInner,
    /// Several.
    several: Vec<RawSeveral>,
}
struct RawInner {
    /// How many.
    count: Option<Count<usize>>,
}
struct RawSeveral {
    /// Where.
    #[serde(rename = \"at\")]
    place: Option<FilePath>,
}
";

    #[test]
    fn the_page_has_every_key_with_its_section() {
        let page = configuration(&Tree::of([(SOURCE, TEXT)])).unwrap();
        let body = page.strip_prefix(HEAD).unwrap();
        let table = "| key | value | meaning |\n| --- | --- | --- |\n";
        let expected = format!(
            "\n## Above all sections\n\nWhat belongs to no section.\n\n{table}\
             | `name` | text | What it is called. Default `\"a\\|b\"`. |\n\
             \n## `[inner]`\n\nThe inner ones.\n\n{table}| `count` | count | How many. |\n\
             \n## `[[several]]`\n\nSeveral.\n\n{table}| `place` | file path | Where. |\n"
        );
        assert_eq!(body, expected);
        assert_eq!(configuration(&Tree::of([(SOURCE, "//! Nothing.")])), None);
    }
}
