//! Moments as the clients of progress write them, in milliseconds since 1970.

/// Numbers below are seconds, those from it on milliseconds: as milliseconds it is March 1973, as seconds the year
/// 5138.
const FIRST_MILLISECONDS: f64 = 1e11;

/// Reads a number: `Date.now()`, or seconds since 1970.
pub(super) fn of_number(number: f64) -> f64 {
    match number < FIRST_MILLISECONDS {
        true => number * 1000.0,
        false => number,
    }
}

/// Reads ISO 8601 as JavaScript and Python write it: `YYYY-MM-DD`, then perhaps `T` or a space, `HH:MM`, `:SS`, a
/// fraction, and `Z` or an offset. Without an offset it is taken as UTC.
pub(super) fn read(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = digits(parts.next()?, 2).filter(|day| (1..=31).contains(day))?;
    let seconds = days(year, month, day) as f64 * 86_400.0 + time.map_or(Some(0.0), time_of_day)?;
    Some(seconds * 1000.0)
}

/// `HH:MM[:SS[.fraction]][Z|(+|-)HH[:]MM]` as seconds of the day in UTC.
fn time_of_day(text: &str) -> Option<f64> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..at], offset(&text[at..])?),
        None => (text, 0.0),
    };
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) if clock.len() == 8 => {
            let sound = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
            (clock, sound.then(|| format!("0.{fraction}").parse().ok())??)
        }
        Some(_) => return None,
        None => (clock, 0.0),
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour <= 24)?;
    let minute = digits(parts.next()?, 2).filter(|minute| *minute < 60)?;
    // A leap second is one.
    let second = match parts.next() {
        Some(text) => digits(text, 2).filter(|second| *second <= 60)?,
        None => 0,
    };
    match parts.next() {
        None => Some((hour * 3600 + minute * 60 + second) as f64 + fraction - offset),
        Some(_) => None,
    }
}

fn offset(text: &str) -> Option<f64> {
    let sign = match text.as_bytes().first()? {
        b'Z' | b'z' => return (text.len() == 1).then_some(0.0),
        b'-' => -1.0,
        _ => 1.0,
    };
    let text = text[1..].replace(':', "");
    let number = match text.len() {
        2 => digits(&text, 2)? * 100,
        _ => digits(&text, 4)?,
    };
    Some(sign * ((number / 100) * 3600 + (number % 100) * 60) as f64)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01 in the Gregorian calendar: years are counted from March, so that a leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 153 days are the five months from March on, and those from August on.
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, want) in [
            ("1970-01-01", Some(0.0)),
            ("1970-01-01T00:00:01Z", Some(1e3)),
            ("2000-02-29T12:00:00.250Z", Some(951_825_600_250.0)),
            ("2026-11-21T10:33:19.123456", Some(1_795_257_199_123.456)),
            ("2026-11-21 10:33", Some(1_795_257_180_000.0)),
            ("2026-11-21T12:33:19+02:00", Some(1_795_257_199_000.0)),
            ("2026-11-21T05:03:19-0530", Some(1_795_257_199_000.0)),
            ("2026-13-01", None),
            ("2026-1-1", None),
            ("2026-01-01T", None),
            ("2026-01-01T00:00:00Zx", None),
            ("2026-01-01T00:00.5Z", None),
            ("2026-01-01T25:00", None),
            ("é", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
        assert_eq!(of_number(1_795_257_199.0), of_number(1_795_257_199_000.0));
    }
}
