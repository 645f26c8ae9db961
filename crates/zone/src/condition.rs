//! The condition language of rules (API field `Condition`), for what a URL says.
//!
//! `${http.request.file_extension} in ['jpg', 'png'] and not ${http.request.uri.path} in ['/private/*']`: tests of
//! variables, joined by `and`, `or`, `not` and parentheses. Only variables of the URL are known: a purge must find the
//! cache key of a URL from the URL alone. Values are compared in the form in which URLs are normalised.

use crate::url_form::{fold_case, with_percents_normalised};
use regex_lite::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The longest condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 8192;

/// The most tests of variables in one condition.
pub const CONDITION_TESTS_MAX: usize = 64;

/// The most values in all lists of one condition.
pub const CONDITION_VALUES_MAX: usize = 512;

/// How deep `not` and parentheses may be nested.
pub const CONDITION_DEPTH_MAX: usize = 16;

/// The longest regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 512;

/// What one compiled regular expression may take, in bytes.
const REGEX_COMPILED_BYTES_MAX: usize = 64 * 1024;

/// The variables that conditions may test.
const VARIABLES: &str = "http.request.host, http.request.scheme, http.request.full_uri, http.request.uri, http.request.uri.path, \
     http.request.uri.query, http.request.uri.args['name'], http.request.filename and http.request.file_extension";

/// How a client speaks to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// Both.
    pub const EVERY: [Self; 2] = [Self::Http, Self::Https];

    /// As it stands in URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a URL says: all that conditions look at.
#[derive(Clone, Copy, Debug)]
pub struct UrlFacts<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The host, lower-case, without port.
    pub host: &'a str,
    /// The normalised path with the query.
    pub path_and_query: &'a str,
}

/// A condition that has been read.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    expression: Arc<Expression>,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Longer than [`CONDITION_BYTES_MAX`].
    #[error("the condition has {0} bytes; at most {CONDITION_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// More tests than [`CONDITION_TESTS_MAX`].
    #[error("the condition tests more than {CONDITION_TESTS_MAX} variables; split the rule")]
    TooManyTests,
    /// More values than [`CONDITION_VALUES_MAX`].
    #[error("the condition lists more than {CONDITION_VALUES_MAX} values; split the rule")]
    TooManyValues,
    /// Nested deeper than [`CONDITION_DEPTH_MAX`].
    #[error("parentheses and \"not\" are nested more than {CONDITION_DEPTH_MAX} deep")]
    TooDeep,
    /// A variable that conditions can't test here.
    #[error("the variable {0:?} is not supported in conditions; those of the URL are: {VARIABLES}")]
    UnknownVariable(String),
    /// Something else stands where the language wants this.
    #[error("at byte {at}: expected {expected}, found {found}")]
    Unexpected {
        /// Where, in bytes from the beginning.
        at: usize,
        /// What could stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A value that its variable can't have.
    #[error("{value:?} is no value of {variable}: {reason}")]
    BadValue {
        /// The value.
        value: String,
        /// The variable.
        variable: &'static str,
        /// What would be right.
        reason: String,
    },
}

impl Condition {
    /// Reads a condition. `*` holds for every request.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(ConditionError::TooLong(text.len()));
        }
        let expression = if text.trim() == "*" {
            Expression::Always
        } else {
            let mut parser = Parser { text, at: 0, tests: 0, values: 0 };
            let expression = parser.any_of(0)?;
            match parser.peek() {
                None => expression,
                Some(_) => return Err(parser.unexpected("\"and\", \"or\" or the end")),
            }
        };
        Ok(Self { text: text.into(), expression: Arc::new(expression) })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds for a URL.
    pub fn holds(&self, url: &UrlFacts<'_>) -> bool {
        self.expression.holds(url)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

enum Expression {
    Always,
    Test { variable: Variable, ignores_case: bool, operator: Operator },
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

#[derive(Clone, Debug)]
enum Variable {
    Host,
    Scheme,
    FullUri,
    Uri,
    Path,
    Query,
    Argument(String),
    Filename,
    Extension,
}

enum Operator {
    /// Equal to one of these texts, in which a star stands for any text.
    In(Vec<String>),
    /// Holds one of these texts.
    Contain(Vec<String>),
    Matches(Box<Regex>),
    Exists,
}

impl Expression {
    fn holds(&self, url: &UrlFacts<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Not(inner) => !inner.holds(url),
            Self::All(parts) => parts.iter().all(|part| part.holds(url)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(url)),
            Self::Test { variable, ignores_case, operator } => {
                let Some(value) = variable.of(url) else { return false };
                let value = if *ignores_case { Cow::Owned(fold_case(&value).into_owned()) } else { value };
                match operator {
                    Operator::In(texts) => texts.iter().any(|text| matches_wildcard(text, &value)),
                    Operator::Contain(texts) => texts.iter().any(|text| value.contains(text.as_str())),
                    Operator::Matches(regex) => regex.is_match(&value),
                    Operator::Exists => true,
                }
            }
        }
    }
}

impl Variable {
    /// Its value for a URL; `None` if the URL has none.
    fn of<'a>(&self, url: &UrlFacts<'a>) -> Option<Cow<'a, str>> {
        let (path, query) = match url.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (url.path_and_query, None),
        };
        let filename = path.rsplit('/').next().unwrap_or("");
        Some(Cow::Borrowed(match self {
            Self::Host => url.host,
            Self::Scheme => url.scheme.as_str(),
            Self::FullUri => {
                return Some(Cow::Owned(format!(
                    "{}://{}{}",
                    url.scheme.as_str(),
                    url.host,
                    url.path_and_query
                )));
            }
            Self::Uri => url.path_and_query,
            Self::Path => path,
            Self::Query => query?,
            Self::Argument(name) => {
                let argument = query?.split('&').find(|argument| name_of(argument) == name)?;
                argument.split_once('=').map_or("", |(_, value)| value)
            }
            Self::Filename if filename.is_empty() => return None,
            Self::Filename => filename,
            Self::Extension => filename.rsplit_once('.').filter(|(_, extension)| !extension.is_empty())?.1,
        }))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Host => "http.request.host",
            Self::Scheme => "http.request.scheme",
            Self::FullUri => "http.request.full_uri",
            Self::Uri => "http.request.uri",
            Self::Path => "http.request.uri.path",
            Self::Query => "http.request.uri.query",
            Self::Argument(_) => "http.request.uri.args",
            Self::Filename => "http.request.filename",
            Self::Extension => "http.request.file_extension",
        }
    }

    fn parse(text: &str) -> Result<Self, ConditionError> {
        let text = text.trim();
        Ok(match text {
            "http.request.host" => Self::Host,
            "http.request.scheme" => Self::Scheme,
            "http.request.full_uri" => Self::FullUri,
            "http.request.uri" => Self::Uri,
            "http.request.uri.path" => Self::Path,
            "http.request.uri.query" => Self::Query,
            "http.request.filename" => Self::Filename,
            "http.request.file_extension" => Self::Extension,
            _ => match argument_name(text) {
                Some(name) => Self::Argument(with_percents_normalised(name)),
                None => return Err(ConditionError::UnknownVariable(text.chars().take(80).collect())),
            },
        })
    }

    /// A value as it is compared with this variable's.
    fn value(&self, given: &str) -> Result<String, ConditionError> {
        let refuse = |reason: &str| ConditionError::BadValue {
            value: given.chars().take(80).collect(),
            variable: self.name(),
            reason: reason.to_owned(),
        };
        match self {
            Self::Host if given.contains(['/', ':']) => {
                Err(refuse("write a host name without scheme, port and path"))
            }
            Self::Host => Ok(given.to_ascii_lowercase()),
            Self::Scheme if given != "http" && given != "https" => Err(refuse("write http or https")),
            Self::Path | Self::Uri if !given.starts_with(['/', '*']) => {
                Err(refuse("a path begins with \"/\""))
            }
            Self::FullUri => {
                full_uri(given).ok_or_else(|| refuse("a URL begins with \"http://\" or \"https://\""))
            }
            Self::Extension => Ok(with_percents_normalised(given.strip_prefix('.').unwrap_or(given))),
            Self::Scheme | Self::Path | Self::Uri | Self::Query | Self::Argument(_) | Self::Filename => {
                Ok(with_percents_normalised(given))
            }
        }
    }
}

/// The parameter's name in `http.request.uri.args['name']`.
fn argument_name(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix("http.request.uri.args[")?.strip_suffix(']')?.trim();
    let name = ['\'', '"'].iter().find_map(|quote| quoted.strip_prefix(*quote)?.strip_suffix(*quote))?;
    (!name.is_empty()).then_some(name)
}

fn name_of(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(name, _)| name)
}

/// Scheme and host in lower case, the rest as URLs are normalised. Without a path it is that of the root.
fn full_uri(given: &str) -> Option<String> {
    if given.starts_with('*') {
        return Some(with_percents_normalised(given));
    }
    let (scheme, rest) = given.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "*") {
        return None;
    }
    let (host, path) = rest.split_at(rest.find(['/', '?', '*']).unwrap_or(rest.len()));
    let slash = if path.is_empty() || path.starts_with('?') { "/" } else { "" };
    Some(format!("{scheme}://{}{slash}{}", host.to_ascii_lowercase(), with_percents_normalised(path)))
}

/// Whether `text` is `pattern`, in which each star stands for any text.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(front) else { return false };
    let (middle, back) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The leftmost place of each part leaves the most for those after it.
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(back)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    tests: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn any_of(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        let mut parts = vec![self.all_of(depth)?];
        while self.take_word("or") {
            parts.push(self.all_of(depth)?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all_of(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        let mut parts = vec![self.part(depth)?];
        while self.take_word("and") {
            parts.push(self.part(depth)?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn part(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        if depth > CONDITION_DEPTH_MAX {
            return Err(ConditionError::TooDeep);
        }
        if self.take_word("not") {
            return Ok(Expression::Not(Box::new(self.part(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any_of(depth + 1)?;
            self.expect(")", "\")\"")?;
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, ConditionError> {
        self.tests += 1;
        if self.tests > CONDITION_TESTS_MAX {
            return Err(ConditionError::TooManyTests);
        }
        let ignores_case = self.take("lower(");
        let variable = self.variable()?;
        if ignores_case {
            self.expect(")", "\")\" after the variable in lower(…)")?;
        }
        let is_negated = self.take_word("not");
        let fold = |text: String| if ignores_case { fold_case(&text).into_owned() } else { text };
        let operator = if self.take_word("in") || self.take_word("like") {
            let texts = self.texts()?.into_iter().map(|text| variable.value(&text).map(fold));
            Operator::In(texts.collect::<Result<_, _>>()?)
        } else if self.take_word("contain") {
            Operator::Contain(
                self.texts()?.into_iter().map(|text| fold(with_percents_normalised(&text))).collect(),
            )
        } else if self.take_word("matches") {
            let text = self.string()?;
            Operator::Matches(Box::new(regex(&variable, &text)?))
        } else if self.take_word("exists") || self.take_word("exist") {
            Operator::Exists
        } else {
            return Err(self.unexpected(
                "\"in\", \"like\", \"contain\", \"matches\" or \"exists\", or \"not\" before it",
            ));
        };
        let test = Expression::Test { variable, ignores_case, operator };
        Ok(if is_negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn variable(&mut self) -> Result<Variable, ConditionError> {
        self.expect("${", "\"${\" and a variable")?;
        let rest = &self.text[self.at..];
        let Some(end) = rest.find('}') else {
            return Err(self.unexpected("\"}\" after the variable's name"));
        };
        self.at += end + 1;
        Variable::parse(&rest[..end])
    }

    /// A list of strings, or one string alone.
    fn texts(&mut self) -> Result<Vec<String>, ConditionError> {
        if !self.take("[") {
            self.values += 1;
            return Ok(vec![self.string()?]);
        }
        let mut texts = Vec::new();
        loop {
            self.values += 1;
            if self.values > CONDITION_VALUES_MAX {
                return Err(ConditionError::TooManyValues);
            }
            texts.push(self.string()?);
            if !self.take(",") {
                self.expect("]", "\",\" or \"]\" after a value")?;
                return Ok(texts);
            }
        }
    }

    /// A string in single or double quotes; a backslash takes the special meaning of the quote after it.
    fn string(&mut self) -> Result<String, ConditionError> {
        let quote = match self.peek() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err(self.unexpected("a value in quotes")),
        };
        let start = self.at + 1;
        let mut text = String::new();
        let mut characters = self.text[start..].char_indices().peekable();
        while let Some((offset, character)) = characters.next() {
            if character == quote {
                self.at = start + offset + 1;
                return Ok(text);
            }
            match characters.peek() {
                Some((_, next)) if character == '\\' && *next == quote => {
                    text.push(quote);
                    characters.next();
                }
                _ => text.push(character),
            }
        }
        Err(self.unexpected("a value with a quote at both ends"))
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.peek();
        let after = self.text[self.at..].strip_prefix(word);
        let found =
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, token: &str, expected: &'static str) -> Result<(), ConditionError> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&mut self, expected: &'static str) -> ConditionError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(_) => format!("{:?}", self.text[self.at..].chars().take(20).collect::<String>()),
        };
        ConditionError::Unexpected { at: self.at, expected, found }
    }
}

fn one_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => join(parts.into_iter().chain(last).collect()),
    }
}

fn regex(variable: &Variable, text: &str) -> Result<Regex, ConditionError> {
    let refuse = |reason: String| ConditionError::BadValue {
        value: text.chars().take(80).collect(),
        variable: variable.name(),
        reason,
    };
    if text.len() > REGEX_BYTES_MAX {
        return Err(refuse(format!("a regular expression may have at most {REGEX_BYTES_MAX} bytes")));
    }
    let built = RegexBuilder::new(text).size_limit(REGEX_COMPILED_BYTES_MAX).build();
    built.map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(condition: &str, url: &str, expected: bool) {
        let parsed = Condition::parse(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let (scheme, rest) = url.split_once("://").unwrap();
        let at = rest.find('/').unwrap();
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let path_and_query = crate::normalise(&rest[at..]).unwrap();
        let facts = UrlFacts { scheme, host: &rest[..at], path_and_query: &path_and_query };
        assert_eq!(parsed.holds(&facts), expected, "{condition} {url}");
    }

    #[test]
    fn variables_and_operators() {
        let cases = [
            ("*", "http://a.test/", true),
            ("${http.request.host} in ['a.test']", "http://a.test/", true),
            ("${http.request.host} in [\"A.test\",'b.test']", "http://b.test/", true),
            ("${http.request.host} in ['a.test']", "http://www.a.test/", false),
            ("${http.request.host} in ['*.a.test']", "http://www.a.test/", true),
            ("${http.request.scheme} in ['https']", "https://a.test/", true),
            ("${http.request.uri.path} in ['/a']", "http://a.test/a?q", true),
            ("${http.request.uri.path} in ['/a']", "http://a.test/a/", false),
            ("${http.request.uri.path} in ['/a/*']", "http://a.test/a/b/c", true),
            ("${http.request.uri.path} in ['/foo/*/bar']", "http://a.test/foo/x/y/bar", true),
            ("${http.request.uri.path} in ['/foo/*/bar']", "http://a.test/foo/bar", false),
            ("${http.request.uri.path} in ['/图/*']", "http://a.test/%e5%9b%be/x", true),
            ("${http.request.uri.path} in ['/%7Ea']", "http://a.test/~a", true),
            ("${http.request.uri.path} like '/prod*'", "http://a.test/production/x", true),
            ("${http.request.uri.path} contain ['api', 'login']", "http://a.test/x/login", true),
            ("${http.request.uri.path} contain ['api', 'login']", "http://a.test/x", false),
            ("${http.request.uri.path} matches \"^/admin/\"", "http://a.test/admin/x", true),
            ("${http.request.uri.path} matches \"^/admin/\"", "http://a.test/x/admin/x", false),
            ("${http.request.full_uri} in ['https://A.test/foo.jpg']", "https://a.test/foo.jpg", true),
            ("${http.request.full_uri} in ['https://a.test/foo.jpg']", "http://a.test/foo.jpg", false),
            ("${http.request.full_uri} in ['http://a.test']", "http://a.test/", true),
            ("${http.request.full_uri} matches 'foo\\.jpg($|\\?)'", "http://a.test/foo.jpg?x", true),
            ("${http.request.uri} in ['/a?b=1']", "http://a.test/a?b=1", true),
            ("${http.request.uri.query} in ['b=1']", "http://a.test/a?b=1", true),
            ("${http.request.uri.query} exists", "http://a.test/a", false),
            ("${http.request.uri.query} exist", "http://a.test/a?", true),
            ("${http.request.uri.args['v']} in ['2']", "http://a.test/a?u=1&v=2", true),
            ("${http.request.uri.args[\"v\"]} exists", "http://a.test/a?v", true),
            ("${http.request.uri.args['v']} not exists", "http://a.test/a?V=1", true),
            ("${http.request.file_extension} in ['jpg']", "http://a.test/x/a.jpg", true),
            ("${http.request.file_extension} in ['.jpg']", "http://a.test/a.b.jpg?x.png", true),
            ("${http.request.file_extension} in ['jpg']", "http://a.test/a.JPG", false),
            ("lower(${http.request.file_extension}) in ['jpg','PNG']", "http://a.test/a.Png", true),
            ("${http.request.file_extension} exists", "http://a.test/a.d/b", false),
            ("${http.request.filename} in ['a.jpg']", "http://a.test/x/a.jpg", true),
            ("${http.request.file_extension} not in ['jpg']", "http://a.test/a", true),
            ("not ${http.request.file_extension} in ['jpg']", "http://a.test/a.jpg", false),
        ];
        for (condition, url, expected) in cases {
            check(condition, url, expected);
        }
    }

    #[test]
    fn and_binds_closer_than_or() {
        let (a, b, c) = (
            "${http.request.uri.path} contain 'a'",
            "${http.request.uri.path} contain 'b'",
            "${http.request.uri.path} contain 'c'",
        );
        for (path, expected) in [("a", true), ("b", false), ("bc", true), ("c", false), ("", false)] {
            let url = format!("http://x.test/{path}");
            check(&format!("{a} or {b} and {c}"), &url, expected);
            check(&format!("({a} or\n{b}) and {c}"), &url, path == "bc");
            check(&format!("not ({a} or ({b} and {c}))"), &url, !expected);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_by_name() {
        let cases = [
            ("", "at byte 0: expected \"${\" and a variable, found the end"),
            ("http.request.host in ['a']", "at byte 0: expected \"${\""),
            ("${http.request.method} in ['GET']", "the variable \"http.request.method\" is not supported"),
            ("${http.request.headers['x']} exists", "not supported in conditions; those of the URL are"),
            ("${http.request.uri.args['']} exists", "not supported"),
            ("${http.request.host", "expected \"}\""),
            ("${http.request.host} == 'a'", "expected \"in\", \"like\""),
            ("${http.request.host} in []", "expected a value in quotes"),
            ("${http.request.host} in ['a'", "expected \",\" or \"]\""),
            ("${http.request.host} in ['a]", "a quote at both ends"),
            ("${http.request.host} in ['a'] xor", "\"and\", \"or\" or the end"),
            ("${http.request.host} in ['a'] and", "expected \"${\""),
            ("(${http.request.host} in ['a']", "expected \")\""),
            ("lower(${http.request.host} in ['a']", "expected \")\""),
            ("${http.request.host} in ['http://a']", "without scheme, port and path"),
            ("${http.request.scheme} in ['ftp']", "write http or https"),
            ("${http.request.uri.path} in ['a']", "a path begins with"),
            ("${http.request.full_uri} in ['a.test/x']", "a URL begins with"),
            ("${http.request.uri.path} matches '('", "is no value of http.request.uri.path"),
        ];
        for (text, expected) in cases {
            let error = Condition::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn conditions_are_bounded() {
        let refusal = |text: &str| Condition::parse(text).unwrap_err();
        assert_eq!(refusal(&" ".repeat(8193)), ConditionError::TooLong(8193));
        let test = "${http.request.host} in ['a']";
        let many = |count: usize| vec![test; count].join(" or ");
        assert!(Condition::parse(&many(CONDITION_TESTS_MAX)).is_ok());
        assert_eq!(refusal(&many(CONDITION_TESTS_MAX + 1)), ConditionError::TooManyTests);
        let values = |count: usize| format!("${{http.request.host}} in [{}'a']", "'a',".repeat(count - 1));
        assert!(Condition::parse(&values(CONDITION_VALUES_MAX)).is_ok());
        assert_eq!(refusal(&values(CONDITION_VALUES_MAX + 1)), ConditionError::TooManyValues);
        let deep = |depth: usize| format!("{}{test}{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Condition::parse(&deep(CONDITION_DEPTH_MAX)).is_ok());
        assert_eq!(refusal(&deep(CONDITION_DEPTH_MAX + 1)), ConditionError::TooDeep);
        assert_eq!(refusal(&"not ".repeat(2000)), ConditionError::TooDeep);
        let regex = |bytes: usize| format!("${{http.request.uri.path}} matches '{}'", "a".repeat(bytes));
        assert!(Condition::parse(&regex(REGEX_BYTES_MAX)).is_ok());
        assert!(refusal(&regex(REGEX_BYTES_MAX + 1)).to_string().contains("at most 512 bytes"));
        assert!(matches!(
            refusal("${http.request.uri.path} matches '((a{50}){50}){50}'"),
            ConditionError::BadValue { .. }
        ));
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
            ("*b*", "abc", true),
            ("a*b*c", "acbbc", true),
            ("a*bb*b", "abb", false),
            ("a", "ab", false),
        ] {
            assert_eq!(matches_wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
