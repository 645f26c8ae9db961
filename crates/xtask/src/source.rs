//! Rust source as far as rules need to understand it: what is code, what is text, what is a test.
//!
//! A small lexer, not a parser: it knows comments, strings, characters and braces, so that no rule takes a comment
//! for code or a brace within a string for the end of a function.

use std::ops::Range;

/// One file's source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The text with comments and the content of literals blanked; line breaks and offsets stay.
    pub(crate) code: String,
    /// The string literals, in order.
    pub(crate) literals: Vec<Literal>,
    /// The functions that have a body, in order of their beginnings.
    pub(crate) functions: Vec<Function>,
}

/// A string literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// The line it begins on, from 1.
    pub(crate) line: usize,
    /// As written between its quotes.
    pub(crate) text: String,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// How many lines from there to its closing brace, both counted.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut masking = Masking { text, masked: text.as_bytes().to_vec(), literals: Vec::new() };
        masking.run();
        let Masking { masked, literals, .. } = masking;
        let code: String =
            masked.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
        let functions = functions(&code);
        Self { code, literals, functions }
    }

    /// The code without what is compiled for tests only.
    pub(crate) fn shipped(&self) -> String {
        const TEST_ONLY: &str = "#[cfg(test)]";
        let mut shipped = self.code.clone().into_bytes();
        let mut from = 0;
        while let Some(found) = self.code[from..].find(TEST_ONLY) {
            let start = from + found;
            let after = start + TEST_ONLY.len();
            let end = end_of_item(&self.code, after);
            blank(&mut shipped, start..end);
            from = end.max(after);
        }
        String::from_utf8_lossy(&shipped).into_owned()
    }
}

/// The line of an offset, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Offsets at which `word` stands in `code`, not within a longer name.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let ends = |of: Option<char>, edge: Option<char>| {
            !(of.is_some_and(is_name_char) && edge.is_some_and(is_name_char))
        };
        ends(before, word.chars().next()) && ends(after, word.chars().next_back())
    })
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Blanks comments and literals.
struct Masking<'t> {
    text: &'t str,
    masked: Vec<u8>,
    literals: Vec<Literal>,
}

impl Masking<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &self.text.as_bytes()[at..];
            at = if rest.starts_with(b"//") {
                self.comment(at, self.text[at..].find('\n').map_or(bytes.len(), |length| at + length))
            } else if rest.starts_with(b"/*") {
                self.comment(at, self.end_of_block_comment(at))
            } else if rest[0] == b'"' {
                let end = self.end_of_string(at + 1);
                self.literal(at + 1..end, end + 1)
            } else if let Some(hashes) = self.raw_string(at) {
                let start = at + rest.iter().position(|byte| *byte == b'"').map_or(0, |quote| quote + 1);
                let closing = format!("\"{}", "#".repeat(hashes));
                let end = self.text[start..].find(&closing).map_or(bytes.len(), |length| start + length);
                self.literal(start..end, end + closing.len())
            } else if rest[0] == b'\'' {
                self.character(at)
            } else {
                at + self.text[at..].chars().next().map_or(1, char::len_utf8)
            };
        }
    }

    fn comment(&mut self, start: usize, end: usize) -> usize {
        blank(&mut self.masked, start..end);
        end
    }

    fn end_of_block_comment(&self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let (mut depth, mut at) = (0, start);
        while at < bytes.len() {
            if bytes[at..].starts_with(b"/*") {
                depth += 1;
                at += 2;
            } else if bytes[at..].starts_with(b"*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                at += 1;
            }
        }
        at.min(bytes.len())
    }

    fn end_of_string(&self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start;
        while at < bytes.len() && bytes[at] != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        at.min(bytes.len())
    }

    /// Keeps a literal's text and blanks it. Returns where to go on.
    fn literal(&mut self, content: Range<usize>, after: usize) -> usize {
        let line = line_of(self.text, content.start);
        self.literals.push(Literal { line, text: self.text[content.clone()].to_owned() });
        blank(&mut self.masked, content);
        after.min(self.text.len())
    }

    /// How many `#` a raw string that begins here has.
    fn raw_string(&self, at: usize) -> Option<usize> {
        if self.text[..at].chars().next_back().is_some_and(is_name_char) {
            return None;
        }
        let rest = &self.text[at..];
        let rest =
            rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
        let quoted = rest.trim_start_matches('#');
        quoted.starts_with('"').then(|| rest.len() - quoted.len())
    }

    /// A character, blanked, or a lifetime, which stays.
    fn character(&mut self, at: usize) -> usize {
        let rest = &self.text[at + 1..];
        let mut chars = rest.chars();
        let length = match chars.next() {
            Some('\\') => rest.get(2..).and_then(|after| after.find('\'')).map(|length| length + 2),
            Some(c) if chars.next() == Some('\'') => Some(c.len_utf8()),
            _ => None,
        };
        match length {
            None => at + 1,
            Some(length) => {
                blank(&mut self.masked, at + 1..at + 1 + length);
                at + length + 2
            }
        }
    }
}

/// Where the item that begins at `from` ends: after its braces, or after its `;` if it has none.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut nested = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested = nested.saturating_sub(1),
            b';' if nested == 0 => return offset + 1,
            b'{' if nested == 0 => return closing_brace(code, offset).map_or(code.len(), |end| end + 1),
            _ => {}
        }
    }
    code.len()
}

fn closing_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(offset);
        }
    }
    None
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for start in words(code, "fn") {
        let after = code[start + 2..].trim_start();
        let name: String = after.chars().take_while(|c| is_name_char(*c)).collect();
        // A function pointer's type, or a macro's `fn $name`.
        if name.is_empty() {
            continue;
        }
        let end = end_of_item(code, start);
        if !code[..end].ends_with('}') {
            continue;
        }
        let line = line_of(code, start);
        found.push(Function { name, line, lines: line_of(code, end - 1) - line + 1 });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("b\"{", 'c', '\'', 'x')"#, r#"f("    ", ' ', '  ', ' ')"#),
            ("r#\"x\"y\"# z", "r#\"   \"# z"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("bar\"x\"", "bar\" \""),
        ];
        for (text, code) in cases {
            assert_eq!(Source::read(text).code, code);
        }
    }

    #[test]
    fn literals_know_their_lines() {
        let source = Source::read("x\n(\"one\",\n r\"two\")");
        let found: Vec<_> =
            source.literals.iter().map(|literal| (literal.line, literal.text.as_str())).collect();
        assert_eq!(found, [(2, "one"), (3, "two")]);
    }

    #[test]
    fn functions_are_measured_with_their_braces() {
        let text = "trait T { fn bare(&self); }\n\nfn outer(x: [u8; 2]) -> fn(u8) {\n    fn inner() {}\n    let s = \"}\";\n}\n";
        let source = Source::read(text);
        let found: Vec<_> = source.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("outer", 3, 4), ("inner", 4, 1)]);
    }

    #[test]
    fn tests_are_not_shipped() {
        let text =
            "#[cfg(test)]\nuse a::b;\nfn kept() {}\n#[cfg(test)]\nmod tests { fn gone() {} }\nfn also() {}";
        let shipped = Source::read(text).shipped();
        assert!(shipped.contains("kept") && shipped.contains("also"));
        assert!(!shipped.contains("gone") && !shipped.contains("use"));
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("fnord fn, self::fn", "fn").collect::<Vec<_>>(), [6, 16]);
        assert_eq!(words("std::fs::read xstd::fs", "std::fs").collect::<Vec<_>>(), [0]);
    }
}
