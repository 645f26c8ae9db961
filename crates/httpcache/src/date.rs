//! HTTP dates (RFC 9110 §5.6.7): all three forms, and nothing else.
//!
//! Case does not matter, as RFC 9111 §4.2 recommends to caches. Neither does the day of the week, which says nothing that
//! the date does not; it must be one, though. Everything else must be as the grammar has it: what is no date counts as
//! long past where it matters (`Expires`), and a guess could make stale content fresh.

use std::time::{Duration, SystemTime};

const DAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// The longest date there is, in bytes: `Wednesday, 06-Nov-94 08:49:37 GMT`.
const DATE_BYTES_MAX: usize = 33;

/// A time in one of the three forms, not before 1970.
pub(crate) fn parse(text: &[u8]) -> Option<SystemTime> {
    if text.len() > DATE_BYTES_MAX {
        return None;
    }
    let text = text.to_ascii_lowercase();
    fixdate(&text).or_else(|| rfc850(&text)).or_else(|| asctime(&text))
}

/// `sun, 06 nov 1994 08:49:37 gmt`
fn fixdate(text: &[u8]) -> Option<SystemTime> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let shape = is_short_day(&text[..3])
        && text[3..5] == *b", "
        && text[7] == b' '
        && text[11] == b' '
        && text[16] == b' '
        && text[25..] == *b" gmt";
    let year = number(&text[12..16])?;
    shape.then(|| time_of(year, month(&text[8..11])?, number(&text[5..7])?, &text[17..25]))?
}

/// `sunday, 06-nov-94 08:49:37 gmt`
fn rfc850(text: &[u8]) -> Option<SystemTime> {
    let comma = text.iter().position(|&b| b == b',')?;
    let (day_name, rest) = text.split_at(comma);
    let rest: &[u8; 24] = rest.try_into().ok()?;
    let shape = DAYS.contains(&day_name)
        && rest[..2] == *b", "
        && rest[4] == b'-'
        && rest[8] == b'-'
        && rest[11] == b' '
        && rest[20..] == *b" gmt";
    let year = number(&rest[9..11])?;
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    shape.then(|| time_of(year, month(&rest[5..8])?, number(&rest[2..4])?, &rest[12..20]))?
}

/// `sun nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<SystemTime> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let shape = is_short_day(&text[..3])
        && text[3] == b' '
        && text[7] == b' '
        && text[10] == b' '
        && text[19] == b' ';
    let day = if text[8] == b' ' { &text[9..10] } else { &text[8..10] };
    shape.then(|| time_of(number(&text[20..])?, month(&text[4..7])?, number(day)?, &text[11..19]))?
}

fn is_short_day(name: &[u8]) -> bool {
    DAYS.iter().any(|day| day[..3] == *name)
}

/// 0 for January.
fn month(name: &[u8]) -> Option<usize> {
    MONTHS.iter().position(|month| *month == name)
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn time_of(year: u64, month: usize, day: u64, clock: &[u8]) -> Option<SystemTime> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    // A leap second is the first of the next minute, as far as we are concerned.
    let is_time =
        year >= 1970 && (1..=lengths[month]).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_time {
        return None;
    }
    let years_before = (year - 1970) * 365 + leap_years_before(year) - leap_years_before(1970);
    let days = years_before + lengths[..month].iter().sum::<u64>() + day - 1;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn leap_years_before(year: u64) -> u64 {
    let last = year - 1;
    last / 4 - last / 100 + last / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_any_case_and_on_any_day() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 NOV 1994 08:49:37 gmt",
            "Mon, 06 nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "wednesday, 06-nov-94 08:49:37 gmt",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn days_of_the_calendar() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Thu, 29 Feb 2024 23:59:60 GMT", Some(1_709_251_200)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Mon, 29 Feb 2100 00:00:00 GMT", None),
            ("Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("Wed, 31 Apr 2025 00:00:00 GMT", None),
            ("Wed, 00 Apr 2025 00:00:00 GMT", None),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Wed, 01 Apr 2025 24:00:00 GMT", None),
            ("Wed, 01 Apr 2025 00:60:00 GMT", None),
            ("Wed, 01 Apr 2025 00:00:61 GMT", None),
        ];
        for (text, secs) in cases {
            let expected = secs.map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 November 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "06 Nov 1994 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun Nov 6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
