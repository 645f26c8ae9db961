//! Times as the API writes and reads them: ISO 8601, out in UTC and seconds, in with any offset.

use teo::{ApiError, ErrorCode};
use time::OffsetDateTime;
use time::format_description::well_known::{Iso8601, Rfc3339};

/// Writes a time: `2022-02-09T02:28:43Z`.
pub(super) fn write(unix_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000));
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    // A clock that is off by thousands of years is no reason to answer nothing.
    text.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// Reads a time, in seconds since the Unix epoch; parts of a second are dropped.
pub(super) fn read(name: &str, text: &str) -> Result<i64, ApiError> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Iso8601::PARSING))
        .map_err(|_| {
            let text = format!(
                "{name} is no ISO 8601 time with an offset; write 2022-02-09T02:28:43Z or 2022-02-09T10:28:43+08:00"
            );
            ApiError::new(ErrorCode::InvalidParameter, text)
        })?;
    Ok(time.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        for (text, expected) in [
            ("2022-02-09T00:00:00+08:00", Some("2022-02-08T16:00:00Z")),
            ("2022-02-09T00:00:00Z", Some("2022-02-09T00:00:00Z")),
            ("2022-02-09T00:00:00.999Z", Some("2022-02-09T00:00:00Z")),
            ("2022-02-09T00:00:00-05:30", Some("2022-02-09T05:30:00Z")),
            ("20220209T000000Z", Some("2022-02-09T00:00:00Z")),
            ("2022-02-09T00:00:00", None),
            ("2022-02-09", None),
            ("2022-02-30T00:00:00Z", None),
            ("", None),
            ("yesterday", None),
        ] {
            let found = read("StartTime", text).ok().map(|secs| write(secs * 1000 + 999));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(write(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
