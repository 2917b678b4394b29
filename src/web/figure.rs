//! Numbers and names as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A length in bytes: `734 MB`, `1.4 GB`, in decimal units as disks are sold.
pub fn bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {}", units[unit])
}

/// A duration: `1:02:03`, `4:05`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A day, in UTC: `2026-11-21`.
pub fn day(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment as RFC 3339 writes it: `2026-11-21T09:24:31Z`.
pub fn timestamp(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day(seconds))
}

/// A minute as lists of files show it, in UTC: `21-Nov-2026 09:24`.
pub fn minute(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|at| MONTHS.get(at));
    let (hour, minute) = (of_day / 3600, of_day / 60 % 60);
    let month = month.copied().unwrap_or_default();
    format!("{day:02}-{month}-{year:04} {hour:02}:{minute:02}")
}

/// Seconds since 1970, negative before.
pub fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    }
}

/// Length, duration and day of a file, as far as they are known, in one line.
pub fn facts(size: Option<u64>, modified: Option<i64>, duration_ms: Option<u64>) -> String {
    let parts = [
        duration_ms.map(duration),
        size.map(bytes),
        modified.map(day),
    ];
    parts
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" \u{b7} ")
}

/// A file's name as a title: without its extension. Direction marks that would turn the text around them
/// (Unicode section 23.2) are dropped, and so are controls.
pub fn title(name: &str) -> String {
    let stem = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 => stem,
        _ => name,
    };
    let title = plain(stem);
    if title.trim().is_empty() {
        "Untitled".to_owned()
    } else {
        title
    }
}

/// A text without controls and without marks that would turn the text around it.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect()
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, in eras of 400 years, which are
/// all alike. Dates are clamped to the years 0 to 9999: a file's time may be any number.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.clamp(-719_528, 2_932_896) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (n, want) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_400_000_000, "1.4 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn days() {
        for (n, want) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (4_107_542_399, "2100-02-28"),
            (1_795_253_071, "2026-11-21"),
            (i64::MIN, "0000-01-01"),
            (i64::MAX, "9999-12-31"),
        ] {
            assert_eq!(day(n), want);
        }
        assert_eq!(timestamp(1_795_253_071), "2026-11-21T09:24:31Z");
    }

    #[test]
    fn durations_and_titles() {
        assert_eq!(duration(245_000), "4:05");
        assert_eq!(duration(3_723_999), "1:02:03");
        assert_eq!(title("Film.2.mp4"), "Film.2");
        assert_eq!(title("\u{202e}4pm.exe"), "4pm");
        assert_eq!(title(".mp4"), ".mp4");
        assert_eq!(title("\u{7}.mp4"), "Untitled");
    }
}
