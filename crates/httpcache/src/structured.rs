//! Structured field values (RFC 9651): dictionaries and lists, read strictly.
//!
//! Parsing is all or nothing, as §4.2 demands: one wrong byte and the whole field counts as absent, whoever reads it.
//! Parameters are checked and dropped, since no field that this cache reads gives them a meaning. Reading takes time
//! linear in the field's length, whatever it holds.

/// A member of a list or dictionary, without its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Member {
    /// One item.
    Item(BareItem),
    /// An inner list (§3.1.1): its items are of no use to us.
    InnerList,
}

/// A bare item (§3.3).
#[derive(Debug, Clone, PartialEq)]
pub enum BareItem {
    /// §3.3.1: at most 15 digits.
    Integer(i64),
    /// §3.3.2, in thousandths.
    Decimal(i64),
    /// §3.3.3: visible ASCII and spaces, unescaped.
    String(String),
    /// §3.3.4.
    Token(String),
    /// §3.3.5, as it was written in base64.
    ByteSequence(String),
    /// §3.3.6.
    Boolean(bool),
    /// §3.3.7: seconds since 1970.
    Date(i64),
    /// §3.3.8, decoded.
    DisplayString(String),
}

/// The members of a dictionary (§3.2) over all lines of its field, in order of their appearance; of a key given several
/// times the last member counts, see [`member`]. `None` when it can't be parsed. No line, or only blank ones: no member.
pub fn parse_dictionary<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<(String, Member)>> {
    let joined = joined(lines);
    Parser::new(&joined).separated(|parser| {
        let key = parser.key()?;
        let member =
            if parser.take(b'=') { parser.bare_member()? } else { Member::Item(BareItem::Boolean(true)) };
        parser.parameters()?;
        Some((key, member))
    })
}

/// The members of a list (§3.1) over all lines of its field. `None` when it can't be parsed.
pub fn parse_list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<Member>> {
    let joined = joined(lines);
    Parser::new(&joined).separated(|parser| {
        let member = parser.bare_member()?;
        parser.parameters()?;
        Some(member)
    })
}

/// The member of a dictionary that counts for `key`: the last one (§4.2.2).
pub fn member<'a>(dictionary: &'a [(String, Member)], key: &str) -> Option<&'a Member> {
    dictionary.iter().rev().find(|(held, _)| held == key).map(|(_, member)| member)
}

/// §4.2: the lines of a list or dictionary are joined with commas before they are parsed.
fn joined<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line);
    }
    joined
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn new(mut text: &'a [u8]) -> Self {
        while let [b' ', rest @ ..] = text {
            text = rest;
        }
        while let [rest @ .., b' '] = text {
            text = rest;
        }
        Self { rest: text }
    }

    /// Members with commas between them (§4.2.1, §4.2.2).
    fn separated<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut members = Vec::new();
        while !self.rest.is_empty() {
            members.push(one(self)?);
            self.skip(|b| matches!(b, b' ' | b'\t'));
            if self.rest.is_empty() {
                break;
            }
            if !self.take(b',') {
                return None;
            }
            self.skip(|b| matches!(b, b' ' | b'\t'));
            if self.rest.is_empty() {
                return None;
            }
        }
        Some(members)
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.rest.first() == Some(&wanted);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        self.take_while(is_skipped);
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&b| !belongs(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// §4.2.3.3.
    fn key(&mut self) -> Option<String> {
        if !self.rest.first().is_some_and(|b| b.is_ascii_lowercase() || *b == b'*') {
            return None;
        }
        let key = self.take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
        text(key)
    }

    /// §4.2.3.2.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(|b| b == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// §4.2.1.1, without the parameters behind it.
    fn bare_member(&mut self) -> Option<Member> {
        if !self.take(b'(') {
            return self.bare_item().map(Member::Item);
        }
        loop {
            self.skip(|b| b == b' ');
            if self.take(b')') {
                return Some(Member::InnerList);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// §4.2.3.1.
    fn bare_item(&mut self) -> Option<BareItem> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(BareItem::String),
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                let token = self.take_while(|b| crate::field::is_token(&[b]) || matches!(b, b':' | b'/'));
                text(token).map(BareItem::Token)
            }
            _ => None,
        }
    }

    /// §4.2.4: an integer of at most 15 digits, or a decimal of at most 12 and 3.
    fn number(&mut self) -> Option<BareItem> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        let whole = self.take_while(|b| b.is_ascii_digit());
        if !self.take(b'.') {
            return (1..=15).contains(&whole.len()).then(|| BareItem::Integer(sign * value_of(whole)));
        }
        let fraction = self.take_while(|b| b.is_ascii_digit());
        let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&fraction.len());
        let scale = [100, 10, 1].get(fraction.len().wrapping_sub(1))?;
        fits.then(|| BareItem::Decimal(sign * (value_of(whole) * 1000 + value_of(fraction) * scale)))
    }

    /// §4.2.5.
    fn string(&mut self) -> Option<String> {
        self.take(b'"');
        let mut string = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(string),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => string.push(char::from(escaped)),
                    _ => return None,
                },
                plain @ 0x20..=0x7e => string.push(char::from(plain)),
                _ => return None,
            }
        }
    }

    /// §4.2.7. What base64 stands for is of no use to us; that it is base64 is checked.
    fn byte_sequence(&mut self) -> Option<BareItem> {
        self.take(b':');
        let encoded = self.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
        let padding = self.take_while(|b| b == b'=');
        let fits =
            encoded.len() % 4 != 1 && padding.len() <= 2 && (padding.is_empty() || !encoded.is_empty());
        if !fits || !self.take(b':') {
            return None;
        }
        text(encoded).map(BareItem::ByteSequence)
    }

    /// §4.2.8.
    fn boolean(&mut self) -> Option<BareItem> {
        self.take(b'?');
        match self.next()? {
            b'1' => Some(BareItem::Boolean(true)),
            b'0' => Some(BareItem::Boolean(false)),
            _ => None,
        }
    }

    /// §4.2.9.
    fn date(&mut self) -> Option<BareItem> {
        self.take(b'@');
        match self.number()? {
            BareItem::Integer(seconds) => Some(BareItem::Date(seconds)),
            _ => None,
        }
    }

    /// §4.2.10: UTF-8 with lower-case percent escapes.
    fn display_string(&mut self) -> Option<BareItem> {
        self.take(b'%');
        if !self.take(b'"') {
            return None;
        }
        let mut decoded = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(decoded).ok().map(BareItem::DisplayString),
                b'%' => {
                    let (high, low) = (hex(self.next()?)?, hex(self.next()?)?);
                    decoded.push(high << 4 | low);
                }
                plain @ 0x20..=0x7e => decoded.push(plain),
                _ => return None,
            }
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// At most 15 digits: no overflow.
fn value_of(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BareItem::*;

    fn items(text: &str) -> Option<Vec<BareItem>> {
        let members = parse_list([text.as_bytes()])?;
        members
            .into_iter()
            .map(|member| match member {
                Member::Item(item) => Some(item),
                Member::InnerList => None,
            })
            .collect()
    }

    #[test]
    fn items_of_every_type() {
        let string = |text: &str| String(text.into());
        let cases = [
            ("1", Integer(1)),
            ("-0", Integer(0)),
            ("007", Integer(7)),
            ("999999999999999", Integer(999_999_999_999_999)),
            ("-999999999999999", Integer(-999_999_999_999_999)),
            ("1.5", Decimal(1500)),
            ("-0.125", Decimal(-125)),
            ("999999999999.999", Decimal(999_999_999_999_999)),
            ("\"\"", string("")),
            (r#""a \"b\" \\""#, string(r#"a "b" \"#)),
            ("*a/b:c", Token("*a/b:c".into())),
            ("A", Token("A".into())),
            (":aGk=:", ByteSequence("aGk".into())),
            ("::", ByteSequence("".into())),
            ("?1", Boolean(true)),
            ("?0", Boolean(false)),
            ("@-17", Date(-17)),
            ("%\"f%c3%bc \"", DisplayString("fü ".into())),
        ];
        for (text, expected) in cases {
            for around in [text.to_owned(), format!("  {text} "), format!("{text};a;b=1;  c=\"x\"")] {
                assert_eq!(items(&around), Some(vec![expected.clone()]), "{around:?}");
            }
        }
    }

    #[test]
    fn what_is_no_item() {
        let cases = [
            "-",
            "--1",
            "+1",
            "1.",
            ".5",
            "1.2345",
            "1234567890123456",
            "1234567890123.1",
            "1e3",
            "\"a",
            "\"\\a\"",
            "\"\u{e9}\"",
            "'a'",
            "&",
            "a b",
            ":a:",
            ":aGk==:x",
            ":aGk",
            ":=:",
            ":a-_a:",
            "?2",
            "?",
            "?true",
            "@1.5",
            "@",
            "%a",
            "%\"%C3%BC\"",
            "%\"%ff\"",
            "%\"%c\"",
            "a;",
            "a;A",
            "a;b=",
            "a ;b",
            "a,",
            ",a",
            "a,,b",
            "\t1",
        ];
        for text in cases {
            assert_eq!(items(text), None, "{text:?}");
        }
    }

    #[test]
    fn inner_lists_are_checked_and_opaque() {
        for text in ["()", "(a)", "( a  b;c \"d\" );e=1"] {
            assert_eq!(parse_list([text.as_bytes()]), Some(vec![Member::InnerList]), "{text:?}");
        }
        for text in ["(", "(a", "(a,b)", "((a))", "(a)b", "(a\tb)"] {
            assert_eq!(parse_list([text.as_bytes()]), None, "{text:?}");
        }
    }

    #[test]
    fn dictionaries() {
        let parse = |lines: &[&str]| parse_dictionary(lines.iter().map(|line| line.as_bytes()));
        let flag = |key: &str| (key.to_owned(), Member::Item(Boolean(true)));
        assert_eq!(parse(&[]), Some(vec![]));
        assert_eq!(parse(&["  "]), Some(vec![]));
        assert_eq!(parse(&["a, b;x=1", "*c.d_e-1"]), Some(vec![flag("a"), flag("b"), flag("*c.d_e-1")]));
        let twice = parse(&["a=1,\ta=2"]).unwrap();
        assert_eq!(member(&twice, "a"), Some(&Member::Item(Integer(2))));
        assert_eq!(member(&twice, "b"), None);
        assert_eq!(member(&parse(&["a=(1 2)"]).unwrap(), "a"), Some(&Member::InnerList));
        for bad in
            ["A", "MaX-aGe=1", "a =1", "a= 1", "a=", "a=,b", "1=a", "a,", "a b", "max-age=1, &&&&&", "=1"]
        {
            assert_eq!(parse(&[bad]), None, "{bad:?}");
        }
        assert_eq!(parse(&["a", ""]), None, "a line without members leaves a comma without one");
    }
}
