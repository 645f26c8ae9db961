//! Cache tags (header `Cache-Tag`).
//!
//! Owns [`CacheTag`], one tag, and [`Tags`], those of one object. Invariant: every tag in either is well formed, and
//! an object has each once.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;

/// How many different tags of one response count (teo-api §5.6).
pub const TAGS_PER_RESPONSE_MAX: usize = 128;

/// How many bytes of one response's `Cache-Tag` lines, joined with commas, count (teo-api §5.6).
pub const TAG_HEADER_BYTES_MAX: usize = 16 * 1024;

/// How many tags one object may gather from its responses.
pub const TAGS_PER_OBJECT_MAX: usize = 256;

const _: () = assert!(TAGS_PER_RESPONSE_MAX <= TAGS_PER_OBJECT_MAX);

/// A cache tag: 1 to 128 bytes of printable ASCII other than comma, compared case-sensitively.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheTag(Arc<str>);

/// Why a text is no cache tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cache tag has 1 to {TAG_BYTES_MAX} bytes of printable ASCII other than space and comma")]
pub struct CacheTagError;

impl CacheTag {
    /// Parses one tag.
    pub fn parse(text: &str) -> Result<Self, CacheTagError> {
        if is_tag(text.as_bytes()) { Ok(Self(text.into())) } else { Err(CacheTagError) }
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether these bytes are a cache tag.
pub fn is_tag(bytes: &[u8]) -> bool {
    (1..=TAG_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|b| (0x21..=0x7e).contains(b) && *b != b',')
}

impl fmt::Debug for CacheTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tags of one object, each once, in the order in which they came. Cloning shares them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// Joined with commas, as a header would hold them; `None` for no tag.
    joined: Option<Arc<str>>,
}

/// Two objects' tags together are more than [`TAGS_PER_OBJECT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object would have {0} tags; at most {TAGS_PER_OBJECT_MAX} are kept")]
pub struct TooManyTags(pub usize);

impl Tags {
    /// No tags.
    pub const NONE: Self = Self { joined: None };

    /// Reads the values of a response's `Cache-Tag` lines, and says how many tags in them were ignored: malformed,
    /// beyond the first [`TAGS_PER_RESPONSE_MAX`], or not wholly within the first [`TAG_HEADER_BYTES_MAX`] bytes.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> (Self, usize) {
        Self::collect(lines.into_iter().flat_map(|line| line.split(|byte| *byte == b',')))
    }

    /// The same of pieces, each a tag or empty, that other fields hold and separate in their own ways.
    pub fn collect<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Self, usize) {
        let mut seen = HashSet::new();
        let mut joined = String::new();
        let mut ignored = 0;
        let mut end = 0;
        for piece in pieces {
            end += piece.len();
            let within = end <= TAG_HEADER_BYTES_MAX;
            end += 1;
            let tag = trim(piece);
            if tag.is_empty() || seen.contains(tag) {
                continue;
            }
            match std::str::from_utf8(tag) {
                Ok(text) if within && is_tag(tag) && seen.len() < TAGS_PER_RESPONSE_MAX => {
                    seen.insert(tag);
                    push(&mut joined, text);
                }
                _ => ignored += 1,
            }
        }
        (Self::of_joined(joined), ignored)
    }

    /// Takes back tags as [`Tags::as_header_value`] gave them, at a boundary (disk). `None` if it can't have given them.
    pub fn from_header_value(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::NONE);
        }
        let mut seen = HashSet::new();
        let well_formed = text.split(',').all(|tag| is_tag(tag.as_bytes()) && seen.insert(tag));
        (well_formed && seen.len() <= TAGS_PER_OBJECT_MAX).then(|| Self::of_joined(text.to_owned()))
    }

    /// The tags that `self` or `other` has.
    pub fn union(&self, other: &Self) -> Result<Self, TooManyTags> {
        let held: HashSet<&str> = self.iter().collect();
        let mut added = other.iter().filter(|tag| !held.contains(tag)).peekable();
        if added.peek().is_none() {
            return Ok(self.clone());
        }
        let mut joined = self.as_header_value().to_owned();
        let mut count = held.len();
        for tag in added {
            push(&mut joined, tag);
            count += 1;
        }
        if count > TAGS_PER_OBJECT_MAX { Err(TooManyTags(count)) } else { Ok(Self::of_joined(joined)) }
    }

    /// Each tag's text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.joined.iter().flat_map(|joined| joined.split(','))
    }

    /// The tags as one `Cache-Tag` value; empty for no tag.
    pub fn as_header_value(&self) -> &str {
        self.joined.as_deref().unwrap_or("")
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.joined.is_none()
    }

    /// Whether `tag` is among them.
    pub fn contains(&self, tag: &CacheTag) -> bool {
        self.iter().any(|held| held == tag.as_str())
    }

    fn of_joined(joined: String) -> Self {
        Self { joined: if joined.is_empty() { None } else { Some(joined.into()) } }
    }
}

fn push(joined: &mut String, tag: &str) {
    if !joined.is_empty() {
        joined.push(',');
    }
    joined.push_str(tag);
}

/// Drops spaces and tabs at both ends.
fn trim(mut piece: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = piece {
        piece = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = piece {
        piece = rest;
    }
    piece
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_header_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Tags, usize) {
        Tags::read(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn one_tag_is_printable_ascii() {
        for good in ["a", "News-1", "a/b;c=\"d\"", &"x".repeat(128)] {
            assert_eq!(CacheTag::parse(good).as_ref().map(CacheTag::as_str), Ok(good));
        }
        for bad in ["", "a b", "a,b", " a", "é", "a\t", &"x".repeat(129)] {
            assert_eq!(CacheTag::parse(bad), Err(CacheTagError), "{bad}");
        }
    }

    #[test]
    fn header_lines_become_tags_and_nothing_is_lost_silently() {
        let long = "x".repeat(129);
        let cases: &[(&[&str], &str, usize)] = &[
            (&[], "", 0),
            (&["", " , ,\t"], "", 0),
            (&["a,b", "c"], "a,b,c", 0),
            (&[" a ,\tb\t, a"], "a,b", 0),
            (&["A,a"], "A,a", 0),
            (&["a b,c,é,d\u{7f}"], "c", 3),
            (&[&long, "ok"], "ok", 1),
        ];
        for (lines, expected, ignored) in cases {
            let (tags, counted) = read(lines);
            assert_eq!((tags.as_header_value(), counted), (*expected, *ignored), "{lines:?}");
            assert_eq!(tags.is_empty(), expected.is_empty());
            assert_eq!(tags.iter().collect::<Vec<_>>().join(","), *expected);
        }
        assert_eq!(Tags::read([b"a,\xff\xfe".as_slice()]).1, 1);
    }

    #[test]
    fn tags_have_limits() {
        let numbered =
            |from: usize, to: usize| (from..to).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        let (tags, ignored) = read(&[&numbered(0, 130), "t0"]);
        assert_eq!((tags.len(), ignored), (TAGS_PER_RESPONSE_MAX, 2));

        let filler = (0..126).map(|n| format!("{n:0128}")).collect::<Vec<_>>().join(",");
        let pad = TAG_HEADER_BYTES_MAX - filler.len() - ",last".len();
        let fits = format!("{filler},{}last", " ".repeat(pad));
        assert_eq!(fits.len(), TAG_HEADER_BYTES_MAX);
        assert_eq!(read(&[&fits]), (read(&[&format!("{filler},last")]).0, 0));
        assert_eq!(read(&[&format!(" {fits}")]).1, 1);
    }

    #[test]
    fn tags_unite_up_to_a_limit() {
        let of = |from: usize, to: usize| {
            let value = (from..to).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
            read(&[&value]).0
        };
        assert_eq!(of(0, 3).union(&of(2, 5)), Ok(of(0, 5)));
        assert_eq!(of(0, 3).union(&Tags::NONE), Ok(of(0, 3)));
        assert_eq!(Tags::NONE.union(&of(0, 3)), Ok(of(0, 3)));
        let full = of(0, 128).union(&of(128, 256)).unwrap();
        assert_eq!(full.len(), TAGS_PER_OBJECT_MAX);
        assert_eq!(full.union(&of(256, 257)), Err(TooManyTags(257)));
        assert_eq!(Tags::from_header_value(full.as_header_value()), Some(full.clone()));
        assert_eq!(Tags::from_header_value(""), Some(Tags::NONE));
        let too_many = (0..257).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        for bad in [",", "a,", "a,,b", "a b", "a,a", &too_many] {
            assert_eq!(Tags::from_header_value(bad), None, "{bad}");
        }
        assert!(full.contains(&CacheTag::parse("t255").unwrap()));
        assert!(!full.contains(&CacheTag::parse("t256").unwrap()));
    }
}
