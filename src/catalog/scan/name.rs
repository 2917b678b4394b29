//! How people number, order and spell the names of folders and files.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Digits of one number of a name; more are no ordinal but a date or an id.
const DIGITS: usize = 4;

/// Splits the leading number off a name: `N.`, `N)`, `N_`, `N -`, also `N.M`. The numbers, and what follows.
///
/// A number without a mark behind it (`3 ways to win`) is part of the title, and so is a date (`2024-05-01`).
pub(super) fn leading(stem: &str) -> Option<(Vec<u32>, &str)> {
    let mut rest = stem.trim_start();
    let mut numbers = Vec::new();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > DIGITS {
            break;
        }
        numbers.push(rest[..digits].parse().ok()?);
        rest = &rest[digits..];
        match rest.strip_prefix('.') {
            Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) && numbers.len() < 4 => {
                rest = after;
            }
            _ => break,
        }
    }
    let several = match numbers.len() {
        0 => return None,
        n => n > 1,
    };
    if rest.is_empty() {
        return Some((numbers, rest));
    }
    if let Some(after) = rest.strip_prefix(['.', ')', '_', ':']) {
        return Some((numbers, after.trim_start()));
    }
    let spaced = rest.trim_start();
    if let Some(after) = spaced.strip_prefix(['-', '\u{2013}', '\u{2014}']) {
        let dated = spaced.len() == rest.len() && after.starts_with(|c: char| c.is_ascii_digit());
        return (!dated).then(|| (numbers, after.trim_start()));
    }
    (several && spaced.len() < rest.len()).then_some((numbers, spaced))
}

/// Splits a file name into stem and extension (lower case, without its dot; empty when there is none).
pub(super) fn split(name: &str) -> (&str, String) {
    match name.rsplit_once('.') {
        Some((stem, ext))
            if !stem.is_empty()
                && (1..=8).contains(&ext.len())
                && ext.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            (stem, ext.to_ascii_lowercase())
        }
        _ => (name, String::new()),
    }
}

/// The words of a text, as they are compared: without case, accents and punctuation, one space between them.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if c.is_alphanumeric() {
            folded.extend(c.to_lowercase());
        } else if !c.is_control() && !folded.ends_with(' ') && !folded.is_empty() {
            folded.push(' ');
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

/// A name for links: the ASCII of the NFKD form in lower case, everything else becomes one `-`.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for c in text.nfkd().filter(char::is_ascii) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// A key for the order in which people expect names: numbers by their value, letters without case and accents. Each
/// number is preceded by its length, so that bytes compare as values do.
pub(super) fn natural_key(text: &str) -> String {
    let mut key = String::with_capacity(text.len() + 8);
    let mut digits = String::new();
    let end = |digits: &mut String, key: &mut String| {
        if !digits.is_empty() {
            let value = digits.trim_start_matches('0');
            key.push(char::from(b'0' + value.len().min(9) as u8));
            key.push_str(value);
            digits.clear();
        }
    };
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        end(&mut digits, &mut key);
        key.extend(c.to_lowercase());
    }
    end(&mut digits, &mut key);
    key
}

/// Whether a name is the computer's own affair and not a person's: dot files, a folder's picture cache.
pub(super) fn is_hidden(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    name.is_empty()
        || name.starts_with('.')
        || name.starts_with("~$")
        || lower.ends_with(".part")
        || matches!(
            lower.as_str(),
            "desktop.ini" | "thumbs.db" | "icon\r" | "__macosx"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_numbers() {
        for (name, numbers, title) in [
            ("1. Intro", &[1][..], "Intro"),
            ("01 - Intro", &[1], "Intro"),
            ("12_Intro", &[12], "Intro"),
            ("3) Intro", &[3], "Intro"),
            ("1.2. Intro", &[1, 2], "Intro"),
            ("1.2 Intro", &[1, 2], "Intro"),
            ("7.Intro", &[7], "Intro"),
            ("7", &[7], ""),
            ("4 \u{2013} \u{c9}t\u{e9}", &[4], "\u{c9}t\u{e9}"),
            ("1-Intro", &[1], "Intro"),
        ] {
            assert_eq!(leading(name), Some((numbers.to_vec(), title)), "{name}");
        }
        for name in [
            "Intro",
            "3 ways to win",
            "2024-05-01 Intro",
            "20240501. Intro",
            "",
            ". x",
        ] {
            assert_eq!(leading(name), None, "{name}");
        }
    }

    #[test]
    fn natural_order() {
        let mut names = [
            "10. b",
            "2. \u{e9}",
            "2. f",
            "1. z",
            "a10",
            "a9",
            "A1",
            "010. a",
            "Z",
        ];
        names.sort_by_key(|name| (natural_key(name), *name));
        assert_eq!(
            names,
            [
                "1. z",
                "2. \u{e9}",
                "2. f",
                "010. a",
                "10. b",
                "A1",
                "a9",
                "a10",
                "Z"
            ]
        );
    }

    #[test]
    fn spelling() {
        assert_eq!(
            fold("  \u{bf}Qu\u{e9} es C++?  / O\u{2019}Reilly_\u{1f600} "),
            "que es c o reilly"
        );
        assert_eq!(fold("Programacio\u{301}n"), fold("Programaci\u{f3}n"));
        assert_eq!(
            slug("Introducci\u{f3}n a C++ & D\u{1f600}"),
            "introduccion-a-c-d"
        );
        assert_eq!(slug("\u{65e5}\u{672c}"), "");
        assert_eq!(split("a.b.MP4"), ("a.b", "mp4".to_owned()));
        assert_eq!(split(".env"), (".env", String::new()));
        assert_eq!(split("Dr. Who is"), ("Dr. Who is", String::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_name_panics(name in "\\PC{0,40}") {
            let (stem, _) = split(&name);
            let _ = (leading(stem), fold(&name), slug(&name), natural_key(&name));
        }
    }
}
