//! HTTP dates (RFC 9110 section 5.6.7), in whole seconds since 1970.
//!
//! Written in the one preferred form; read in all three that the RFC asks for. The date of the
//! answers is made once per second and thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const LONG_DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: u64 = 24 * 60 * 60;
/// The last second of the year 9999; no four digits tell a later one.
const LAST: u64 = 253_402_300_799;

/// Whole seconds since 1970, or `None` before it: such a time is no validator.
pub fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs().min(LAST))
}

/// Now, in seconds since 1970; a clock set before 1970 counts as 1970.
pub fn now() -> u64 {
    seconds(SystemTime::now()).unwrap_or(0)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub fn format(seconds: u64) -> String {
    String::from_utf8_lossy(&imf_fixdate(seconds)).into_owned()
}

/// `1994-11-06T08:49:37Z`, as RFC 3339 writes it.
pub fn rfc3339(seconds: u64) -> String {
    let seconds = seconds.min(LAST);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z",
        month + 1
    )
}

/// The current date as it stands in an answer, made once per second.
pub(crate) fn current() -> [u8; 29] {
    thread_local! {
        static CACHED: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
    }
    let now = now();
    CACHED.with(|cached| {
        let (second, text) = cached.get();
        if second == now {
            return text;
        }
        let text = imf_fixdate(now);
        cached.set((now, text));
        text
    })
}

fn imf_fixdate(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(LAST);
    let (year, month, day) = civil(seconds / DAY);
    let clock = seconds % DAY;
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(seconds / DAY % 7) as usize].as_bytes());
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[month as usize].as_bytes());
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], clock / 3600);
    two_digits(&mut text[20..22], clock / 60 % 60);
    two_digits(&mut text[23..25], clock % 60);
    text
}

fn two_digits(place: &mut [u8], number: u64) {
    place[0] = b'0' + (number / 10 % 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

/// Year, month from 0, day from 1, of a day counted from 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 2 } else { month - 10 };
    (year + era * 400 + u64::from(month < 2), month, day)
}

/// The day, counted from 1970, of a date; `None` when there is no such day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || day == 0 {
        return None;
    }
    let (from_march, year) = if month >= 2 {
        (month - 2, year)
    } else {
        (month + 10, year - 1)
    };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let count = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let count = count.checked_sub(719_468)?;
    // The thirtieth of February becomes a day of March on the way back, and is refused so.
    let (_, back_month, back_day) = civil(count);
    (back_month == month && back_day == day).then_some(count)
}

/// Reads a date in any of the three forms; `None` for anything else, and before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim_matches([' ', '\t']);
    if !text.is_ascii() {
        return None;
    }
    if let Some((name, rest)) = text.split_once(", ") {
        if DAYS.contains(&name) {
            // IMF-fixdate = day-name "," SP 2DIGIT SP month SP 4DIGIT SP time-of-day SP GMT
            let (day, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix(' ')?);
            let (month, rest) = (rest.get(..3)?, rest.get(3..)?.strip_prefix(' ')?);
            let (year, rest) = (rest.get(..4)?, rest.get(4..)?.strip_prefix(' ')?);
            let clock = rest.strip_suffix(" GMT")?;
            return assemble(number(year)?, month, number(day)?, clock);
        }
        if LONG_DAYS.contains(&name) {
            // rfc850-date = day-name-l "," SP 2DIGIT "-" month "-" 2DIGIT SP time-of-day SP GMT
            let (day, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix('-')?);
            let (month, rest) = (rest.get(..3)?, rest.get(3..)?.strip_prefix('-')?);
            let (year, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix(' ')?);
            let clock = rest.strip_suffix(" GMT")?;
            // A year that appears to be more than 50 years ahead is the past one of those digits.
            let (this_year, _, _) = civil(now() / DAY);
            let mut year = this_year / 100 * 100 + number(year)?;
            if year > this_year + 50 {
                year -= 100;
            }
            return assemble(year, month, number(day)?, clock);
        }
        return None;
    }
    // asctime-date = day-name SP month SP ( 2DIGIT / ( SP DIGIT ) ) SP time-of-day SP 4DIGIT
    let (name, rest) = (text.get(..3)?, text.get(3..)?.strip_prefix(' ')?);
    if !DAYS.contains(&name) {
        return None;
    }
    let (month, rest) = (rest.get(..3)?, rest.get(3..)?.strip_prefix(' ')?);
    let (day, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix(' ')?);
    let (clock, rest) = (rest.get(..8)?, rest.get(8..)?.strip_prefix(' ')?);
    if rest.len() != 4 {
        return None;
    }
    assemble(number(rest)?, month, number(day.trim_start())?, clock)
}

fn assemble(year: u64, month: &str, day: u64, clock: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let clock = clock.as_bytes();
    if clock.len() != 8 || clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let pair = |at: usize| number(std::str::from_utf8(&clock[at..at + 2]).ok()?);
    let (hour, minute, second) = (pair(0)?, pair(3)?, pair(6)?);
    // 60 is a leap second, which the clock does not have: it is the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second)
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_of_the_rfc_are_one_date() {
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    }

    #[test]
    fn dates_of_json() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 30 Feb 2020 00:00:00 GMT",
            "Sun, 00 Feb 2020 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Dim, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 06 08:49:37 94",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(second in 0..=LAST) {
            prop_assert_eq!(parse(&format(second)), Some(second));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            parse(&text);
        }
    }
}
