//! Points in time as Drive and HTTP write them. Calendar arithmetic only; reads no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn moment(date: (i64, i64, i64), time: (i64, i64, i64), nanos: u32) -> Option<SystemTime> {
    let (year, month, day) = date;
    let (hour, minute, second) = time;
    let sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !sane {
        return None;
    }
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

fn clock(text: &str) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(':');
    let time = (
        number(parts.next()?)?,
        number(parts.next()?)?,
        number(parts.next()?)?,
    );
    parts.next().is_none().then_some(time)
}

/// Reads `2026-01-31T10:20:30.123Z` or with an offset (RFC 3339 section 5.6); years from 1970 on.
pub(super) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let (day, rest) = text.split_once(['T', 't'])?;
    let mut parts = day.splitn(3, '-');
    let day = (
        number(parts.next()?)?,
        number(parts.next()?)?,
        number(parts.next()?)?,
    );
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let nanos = match fraction {
        "" => 0,
        digits => {
            let digits = digits.get(..9).unwrap_or(digits);
            number(digits)? as u32 * 10u32.pow(9 - digits.len() as u32)
        }
    };
    let local = moment(day, clock(time)?, nanos)?;
    let sign = zone.as_bytes()[0];
    if sign.eq_ignore_ascii_case(&b'Z') {
        return (zone.len() == 1).then_some(local);
    }
    let (hours, minutes) = zone[1..].split_once(':')?;
    let offset = Duration::from_secs((number(hours)? * 3600 + number(minutes)? * 60) as u64);
    if sign == b'+' {
        local.checked_sub(offset)
    } else {
        local.checked_add(offset)
    }
}

/// Writes whole seconds as `2026-01-31T10:20:30Z`.
pub(super) fn format_rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) as i64;
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let of_day = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads the one form of date that is still generated, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110
/// section 5.6.7).
pub(super) fn parse_http(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.trim().split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = number(parts.next()?)?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|m| *m == name)? as i64 + 1;
    let year = number(parts.next()?)?;
    let time = clock(parts.next()?)?;
    (parts.next()? == "GMT" && parts.next().is_none()).then_some(())?;
    moment((year, month, day), time, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn reads_what_drive_and_rfc_9110_write() {
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 GMT"), at(784_111_777));
        assert_eq!(parse_rfc3339("1994-11-06T08:49:37Z"), at(784_111_777));
        assert_eq!(parse_rfc3339("1994-11-06T09:49:37+01:00"), at(784_111_777));
        assert_eq!(parse_rfc3339("2024-02-29T00:00:00.000Z"), at(1_709_164_800));
        let millis = parse_rfc3339("1970-01-01T00:00:01.250Z").unwrap();
        assert_eq!(
            millis.duration_since(UNIX_EPOCH).unwrap(),
            Duration::from_millis(1250)
        );
    }

    #[test]
    fn writes_what_it_reads() {
        for seconds in [0, 951_782_400, 1_709_164_799, 1_709_164_800, 4_102_444_800] {
            let time = at(seconds).unwrap();
            assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
        }
    }

    #[test]
    fn nonsense_is_none() {
        for text in [
            "",
            "T",
            "2024-13-01T00:00:00Z",
            "2024-01-01",
            "1-1-1T1:1:1",
            "\u{e9}T",
            "2024-01-01T00:00:00+x",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
            assert_eq!(parse_http(text), None, "{text}");
        }
    }
}
