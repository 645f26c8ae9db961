//! Cache tags (header `Cache-Tag`).

use std::fmt;
use std::sync::Arc;

/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;

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
        let fits = (1..=TAG_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b',') {
            Ok(Self(text.into()))
        } else {
            Err(CacheTagError)
        }
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CacheTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
