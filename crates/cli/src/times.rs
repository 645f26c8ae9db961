//! Times on the command line: `2h`, or ISO 8601.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::exit::Failure;

/// Seconds since 1970; 0 before.
pub(crate) fn unix_secs(time: SystemTime) -> i64 {
    let secs = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    i64::try_from(secs).unwrap_or(i64::MAX)
}

/// A point in time as the API takes it: a span (`90s`, `30m`, `2h`, `7d`) counts back from now; anything else is
/// passed on as it is.
pub(crate) fn point(text: &str, now: SystemTime) -> Result<String, Failure> {
    if text.contains('-') {
        return Ok(text.to_owned());
    }
    let secs = span_secs(text).ok_or_else(|| {
        Failure::Usage(format!(
            "\"{text}\" is no time: write a span such as 90s, 30m, 2h or 7d, or a time such as 2026-11-24T07:00:00Z"
        ))
    })?;
    Ok(iso8601(unix_secs(now).saturating_sub(secs)))
}

/// A span of time in seconds: `90s`, `30m`, `2h` or `7d`.
pub(crate) fn span(text: &str) -> Result<i64, String> {
    span_secs(text)
        .ok_or_else(|| format!("\"{text}\" is no span of time: write for example 90s, 30m, 2h or 7d"))
}

fn span_secs(text: &str) -> Option<i64> {
    let unit_at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?;
    let (number, unit) = text.split_at(unit_at);
    let unit_secs: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(i64::from(number).saturating_mul(unit_secs))
}

/// `2026-11-24T07:00:00Z`, for times from 1970 on.
pub(crate) fn iso8601(unix_secs: i64) -> String {
    let secs = unix_secs.max(0);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that the leap day is a year's last; eras of 400 years have equal lengths.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso8601(secs), text);
        }
    }

    #[test]
    fn spans_count_back_and_times_pass() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(point(text, now).ok().as_deref(), expected, "{text}");
        };
        check("20s", Some("2023-11-14T22:13:00Z"));
        check("13m", Some("2023-11-14T22:00:20Z"));
        check("2h", Some("2023-11-14T20:13:20Z"));
        check("7d", Some("2023-11-07T22:13:20Z"));
        check("2022-02-09T00:00:00+08:00", Some("2022-02-09T00:00:00+08:00"));
        for wrong in ["", "h", "2", "2w", "x", "2é", "99999999999d"] {
            check(wrong, None);
        }
    }
}
