//! Chunked bodies (RFC 9112 §7.1), without chunk extensions.

use super::head::{line_end, split_field};
use super::{FramingRefusal, TRAILER_BYTES_MAX};
use memchr::memchr;

/// How many digits the size of a chunk may have.
const SIZE_DIGITS_MAX: usize = 16;

/// Fields that may not come after the content (RFC 9110 §6.5.1): whoever joins them with the head would read another
/// message.
const NEVER_TRAILING: [&[u8]; 14] = [
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
];

/// Where in a chunked body.
#[derive(Debug, Default)]
pub(super) enum Chunks {
    /// At the line with a size.
    #[default]
    Size,
    /// In a chunk's data, of which so much is left.
    Data(u64),
    /// At the CR LF after it.
    DataEnd,
    /// In the trailer section, of which so many bytes were read.
    Trailers(usize),
}

/// What became of the bytes.
pub(super) enum Progress {
    /// More are needed to say.
    Wait,
    /// So many are good.
    Passed(usize),
    /// So many are good, and the body is over.
    Ended(usize),
}

impl Chunks {
    /// Reads on. `bytes` are not empty.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Progress, FramingRefusal> {
        match self {
            Self::Size => {
                let Some((size, length)) = size_line(bytes)? else { return Ok(Progress::Wait) };
                *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                Ok(Progress::Passed(length))
            }
            Self::Data(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                Ok(Progress::Passed(taken))
            }
            Self::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Progress::Passed(2))
                }
                [b'\r'] => Ok(Progress::Wait),
                _ => Err(FramingRefusal::ChunkEnd),
            },
            Self::Trailers(read) => {
                let Some(end) = memchr(b'\n', bytes) else {
                    let is_large = *read + bytes.len() > TRAILER_BYTES_MAX;
                    return if is_large { Err(FramingRefusal::TrailersTooLarge) } else { Ok(Progress::Wait) };
                };
                *read += end + 1;
                if *read > TRAILER_BYTES_MAX {
                    return Err(FramingRefusal::TrailersTooLarge);
                }
                let line = &bytes[..line_end(&bytes[..end])?];
                if line.is_empty() {
                    return Ok(Progress::Ended(end + 1));
                }
                let (name, _) = split_field(line)?;
                let hyphened: Vec<u8> = name
                    .iter()
                    .map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
                    .collect();
                if NEVER_TRAILING.contains(&&hyphened[..]) {
                    return Err(FramingRefusal::TrailerField);
                }
                Ok(Progress::Passed(end + 1))
            }
        }
    }
}

/// The size that a line gives, and the line's length; `None` while it is not whole.
fn size_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, FramingRefusal> {
    let mut size: i64 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(digit) = char::from(*byte).to_digit(16) {
            if at == SIZE_DIGITS_MAX {
                return Err(FramingRefusal::ChunkSize);
            }
            let grown = size.checked_mul(16).and_then(|size| size.checked_add(i64::from(digit)));
            size = grown.ok_or(FramingRefusal::ChunkSize)?;
            continue;
        }
        return match (byte, bytes.get(at + 1)) {
            _ if at == 0 => Err(FramingRefusal::ChunkSize),
            (b'\r', None) => Ok(None),
            (b'\r', Some(b'\n')) => {
                Ok(Some((u64::try_from(size).map_err(|_| FramingRefusal::ChunkSize)?, at + 2)))
            }
            (b'\r', Some(_)) => Err(FramingRefusal::BareCr),
            (b'\n', _) => Err(FramingRefusal::BareLf),
            (b';', _) => Err(FramingRefusal::ChunkExtension),
            _ => Err(FramingRefusal::ChunkSize),
        };
    }
    Ok(None)
}
