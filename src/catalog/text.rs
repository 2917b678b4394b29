//! Names as they are compared: folded, as slugs, and as words.

use percent_encoding::percent_decode_str;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// A name as a reference to it is compared: without white space around it, in one form of Unicode and in lower case.
pub fn key(name: &str) -> String {
    let name = name.trim();
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    match is_nfkc_quick(name.chars()) {
        IsNormalized::Yes => name.chars().flat_map(char::to_lowercase).collect(),
        _ => name.nfkc().flat_map(char::to_lowercase).collect(),
    }
}

/// The slug of a name: its NFKD form, what of it is ASCII, in lower case; every run of other characters is one `-`, and
/// none is at either end. It is empty when nothing is left.
pub fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    let push = |c: char, slug: &mut String| {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if c.is_ascii() && !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    };
    // Decomposed one by one: the order of marks, which is all that NFKD adds, is of no matter where none is kept.
    for c in name.chars() {
        match c.is_ascii() {
            true => push(c, &mut slug),
            false => decompose_compatible(c, |c| push(c, &mut slug)),
        }
    }
    if slug.ends_with('-') {
        slug.pop();
    }
    slug
}

/// The last segment of a URL's path: the slug by which the site it came from knows the course. `None` when there is
/// none.
pub fn url_slug(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => path,
    };
    let last = path
        .rsplit('/')
        .find(|segment| !segment.trim().is_empty())?;
    let decoded = percent_decode_str(last.trim()).decode_utf8_lossy();
    Some(decoded.into_owned())
}

/// Calls `each` with every word of a text, folded: without marks, in lower case. Scripts that put no space between
/// words give each of their characters.
pub(crate) fn words(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    let mut take = |c: char| {
        if !c.is_ascii() && is_ideograph(c) {
            if !word.is_empty() {
                each(&word);
                word.clear();
            }
            word.push(c);
            each(&word);
            word.clear();
        } else if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        } else if c == 'ß' {
            word.push_str("ss");
        } else if c.is_alphanumeric() {
            word.extend(c.to_lowercase().filter(|c| !is_combining_mark(*c)));
        } else if !word.is_empty()
            && !matches!(c, '\'' | '\u{2019}')
            && (c.is_ascii() || !is_combining_mark(c))
        {
            each(&word);
            word.clear();
        }
    };
    for c in text.chars() {
        match c.is_ascii() {
            true => take(c),
            // As in a slug, the order of marks does not matter.
            false => decompose_compatible(c, &mut take),
        }
    }
    take(' ');
}

/// Han, Hiragana and Katakana.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for (name, want) in [
            (
                "Curso de Programación Básica",
                "curso-de-programacion-basica",
            ),
            ("  C++ / C#  ", "c-c"),
            ("¿Qué es \"Git\"? 🎬", "que-es-git"),
            ("ﬁne Ⅳ ½", "fine-iv-12"),
            ("--a__b--", "a-b"),
            ("日本語", ""),
            ("", ""),
        ] {
            assert_eq!(slug(name), want, "{name}");
            assert_eq!(slug(&slug(name)), want);
        }
    }

    #[test]
    fn last_segments() {
        for (url, want) in [
            ("https://example.com/cursos/python/", Some("python")),
            ("https://example.com/a/b?x=/y#/z", Some("b")),
            ("/cursos/git-github", Some("git-github")),
            ("python", Some("python")),
            ("/a/caf%C3%A9/", Some("café")),
            ("https://example.com", None),
            ("https://example.com/", None),
            ("", None),
        ] {
            assert_eq!(url_slug(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn words_of_a_text() {
        let list = |text: &str| {
            let mut all = Vec::new();
            words(text, |word| all.push(word.to_owned()));
            all
        };
        assert_eq!(
            list("Año nuevo: C++ y Node.js"),
            ["ano", "nuevo", "c", "y", "node", "js"]
        );
        assert_eq!(list("don’t STOP"), ["dont", "stop"]);
        assert_eq!(list("機械learning"), ["機", "械", "learning"]);
        assert_eq!(list("Straße"), ["strasse"]);
        assert!(list(" -- 🎬 ").is_empty());
    }

    #[test]
    fn keys_meet_in_both_forms_of_unicode() {
        assert_eq!(key(" Programacio\u{301}n "), key("PROGRAMACIÓN"));
    }
}
