//! What the origin serves: each answer says of itself which version it is and when its fetch reached the origin.
//!
//! Owns the form of contents and of the field [`STAMP`], both ways: writing them, and reading them back from whatever an
//! edge makes of them. Knows no sockets.

use std::fmt;
use std::time::Duration;

/// The field that an answer of the origin carries, a 304 too: caches renew their stored fields by a 304.
pub(crate) const STAMP: &str = "everfresh-verify";

/// One line of large content, in bytes.
pub(crate) const LINE_BYTES: usize = 64;

/// What one exchange with the origin brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run: other runs' content is none of ours.
    pub(crate) run: u64,
    /// Which object.
    pub(crate) object: usize,
    /// Its version then.
    pub(crate) version: u64,
    /// When the request was read at the origin, since the run began.
    pub(crate) fetched: Duration,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, object, version, fetched } = self;
        write!(f, "{run:016x} {object} {version} {}", fetched.as_micros())
    }
}

impl Stamp {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().split(' ');
        let run = u64::from_str_radix(words.next()?, 16).ok()?;
        let (object, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let fetched = Duration::from_micros(words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { run, object, version, fetched })
    }

    /// Small content: the stamp, line by line.
    pub(crate) fn content(&self, lines: usize) -> String {
        format!("{self}\n").repeat(lines.max(1))
    }

    /// Reads small content back. `None` if it is no such content, or of two fetches.
    pub(crate) fn of_content(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let first = text.lines().next()?;
        (text.ends_with('\n') && text.lines().all(|line| line == first)).then(|| Self::parse(first))?
    }
}

/// Part of large content, which depends on its version alone, so that its parts may come by several fetches.
pub(crate) fn large(run: u64, object: usize, version: u64, from: usize, to: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(to.saturating_sub(from) + 2 * LINE_BYTES);
    let first_line = from / LINE_BYTES;
    for index in first_line..to.div_ceil(LINE_BYTES) {
        let line = format!("{run:016x} {object:04} {version:016} {index:016}");
        bytes.extend_from_slice(format!("{line:.<63}\n").as_bytes());
    }
    let skipped = from - first_line * LINE_BYTES;
    bytes.drain(..skipped.min(bytes.len()));
    bytes.truncate(to.saturating_sub(from));
    bytes
}

/// The validator of a version.
pub(crate) fn etag(run: u64, version: u64, is_strong: bool) -> String {
    format!("{}\"{run:016x}-{version}\"", if is_strong { "" } else { "W/" })
}

/// The version that a validator names.
pub(crate) fn version_of(etag: &str, run: u64) -> Option<u64> {
    let text = etag.strip_prefix("W/").unwrap_or(etag).strip_prefix('"')?.strip_suffix('"')?;
    let (of, version) = text.split_once('-')?;
    (u64::from_str_radix(of, 16).ok()? == run).then(|| version.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_say_what_they_are_and_mixtures_say_nothing() {
        let stamp = Stamp { run: 7, object: 3, version: 9, fetched: Duration::from_micros(1_234_567) };
        for lines in [0, 1, 50] {
            assert_eq!(Stamp::of_content(stamp.content(lines).as_bytes()), Some(stamp));
        }
        let other = Stamp { fetched: Duration::from_micros(8), ..stamp };
        assert_eq!(Stamp::of_content((stamp.content(2) + &other.content(1)).as_bytes()), None);
        let cut = stamp.content(2);
        assert_eq!(Stamp::of_content(&cut.as_bytes()[..cut.len() - 1]), None);
        assert_eq!(Stamp::of_content(b""), None);
        for strong in [true, false] {
            assert_eq!(version_of(&etag(7, 9, strong), 7), Some(9));
            assert_eq!(version_of(&etag(7, 9, strong), 8), None);
        }
    }

    #[test]
    fn any_part_of_large_content_is_what_the_whole_has_there() {
        let whole = large(7, 3, 9, 0, 1000);
        assert_eq!(whole.len(), 1000);
        for (from, to) in [(0, 1), (63, 65), (64, 128), (100, 999), (999, 1000), (0, 1000)] {
            assert_eq!(large(7, 3, 9, from, to), whole[from..to], "{from} {to}");
        }
        assert_ne!(large(7, 3, 10, 0, 1000), whole);
    }
}
