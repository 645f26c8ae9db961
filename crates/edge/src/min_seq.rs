//! Read your purge: a request may name the position in the purge log that its answer must be at or above.
//!
//! `Everfresh-Min-Seq: 17` is position 17 of the log that the edge follows; `Everfresh-Min-Seq: 00f1e2d3c4b5a697:17` names
//! the log by its epoch, too. An edge answers from its cache, or lets the request join a fetch, only once it has applied
//! that much; it waits a short bounded time for it, and else passes the request on without its cache, as it does for a
//! child whose floor it does not reach. Parents are told the same. Knows neither sockets nor objects.

use crate::tier::Part;
use http::{HeaderMap, HeaderName, HeaderValue};
use purge::{Epoch, PurgeSeq};

/// Where a request names the position.
pub(crate) const MIN_SEQ: HeaderName = HeaderName::from_static("everfresh-min-seq");

/// The position that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinSeq {
    /// Which log it is in; `None` for the one that the edge follows.
    epoch: Option<Epoch>,
    seq: PurgeSeq,
}

/// What a request names is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Everfresh-Min-Seq is one position of the purge log, at most 18446744073709551615: write 17, or with the log's epoch, \
     16 hexadecimal digits, 00f1e2d3c4b5a697:17"
)]
pub(crate) struct MinSeqError;

impl MinSeq {
    /// Takes the field out of a request, so that nothing of it reaches the origin or is in a cache key.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Option<Self>, MinSeqError> {
        if !headers.contains_key(&MIN_SEQ) {
            return Ok(None);
        }
        let mut lines = headers.get_all(&MIN_SEQ).iter();
        let named = match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().and_then(Self::parse).ok_or(MinSeqError),
            _ => Err(MinSeqError),
        };
        headers.remove(&MIN_SEQ);
        named.map(Some)
    }

    fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = match text.split_once(':') {
            None => (None, text),
            Some((epoch, seq)) => {
                let is_epoch = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
                (Some(Epoch::new(u64::from_str_radix(epoch, 16).ok().filter(|_| is_epoch)?)), seq)
            }
        };
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = PurgeSeq::new(seq.parse().ok().filter(|_| is_number)?);
        Some(Self { epoch, seq })
    }

    /// The field's value, for a parent.
    pub(crate) fn to_value(self) -> Option<HeaderValue> {
        let text = match self.epoch {
            Some(epoch) => format!("{epoch}:{}", self.seq),
            None => self.seq.to_string(),
        };
        HeaderValue::from_str(&text).ok()
    }

    /// What the cache of an edge at `position` may do for the request.
    pub(crate) fn part(self, position: Option<(Epoch, PurgeSeq)>) -> Part {
        match position {
            Some((epoch, seen)) if self.epoch.is_none_or(|named| named == epoch) => {
                if seen >= self.seq {
                    Part::Cache
                } else {
                    Part::Wait
                }
            }
            // A position of another log is out of reach.
            Some(_) | None => Part::PassOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&str]) -> Result<Option<MinSeq>, MinSeqError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(MIN_SEQ, HeaderValue::from_str(line).unwrap());
        }
        let taken = MinSeq::take(&mut headers);
        assert!(headers.is_empty());
        taken
    }

    #[test]
    fn a_position_is_read_as_it_is_written_and_in_no_other_form() {
        assert_eq!(taken(&[]), Ok(None));
        for text in ["0", "17", "18446744073709551615", "00f1e2d3c4b5a697:17"] {
            let named = taken(&[text]).unwrap().unwrap();
            assert_eq!(named.to_value().unwrap(), text);
        }
        for bad in [
            "",
            " 17 18",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "0x11",
            "seventeen",
            "18446744073709551616",
            ":17",
            "f1:17",
            "00f1e2d3c4b5a697:",
            "00f1e2d3c4b5a697:+1",
            "+0f1e2d3c4b5a697:1",
            "00f1e2d3c4b5a697:1:2",
            "17, 18",
        ] {
            assert_eq!(taken(&[bad]), Err(MinSeqError), "{bad}");
        }
        assert_eq!(taken(&["17", "17"]), Err(MinSeqError));
    }

    #[test]
    fn the_cache_has_a_part_only_at_or_above_the_position_in_the_same_log() {
        let at = |epoch, seq| Some((Epoch::new(epoch), PurgeSeq::new(seq)));
        let here = |text| taken(&[text]).unwrap().unwrap();
        for (named, position, part) in [
            ("5", at(1, 5), Part::Cache),
            ("5", at(1, 4), Part::Wait),
            ("5", None, Part::PassOn),
            ("0", at(1, 0), Part::Cache),
            ("0000000000000001:5", at(1, 9), Part::Cache),
            ("0000000000000001:5", at(1, 4), Part::Wait),
            ("0000000000000001:5", at(2, 9), Part::PassOn),
        ] {
            assert_eq!(here(named).part(position), part, "{named} {position:?}");
        }
    }
}
