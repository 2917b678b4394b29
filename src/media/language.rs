//! The language of a subtitle file, by its name: `Film.en.vtt`, `Film_es.srt`, `Film.pt-BR.vtt`.

/// Languages with the name their speakers read, by their tag (ISO 639-1) and the three letter codes that
/// rippers write (ISO 639-2, both forms).
const NAMES: &[(&str, &[&str], &str)] = &[
    ("ar", &["ara"], "العربية"),
    ("ca", &["cat"], "Català"),
    ("cs", &["ces", "cze"], "Čeština"),
    ("da", &["dan"], "Dansk"),
    ("de", &["deu", "ger"], "Deutsch"),
    ("el", &["ell", "gre"], "Ελληνικά"),
    ("en", &["eng"], "English"),
    ("es", &["spa"], "Español"),
    ("eu", &["eus", "baq"], "Euskara"),
    ("fi", &["fin"], "Suomi"),
    ("fr", &["fra", "fre"], "Français"),
    ("gl", &["glg"], "Galego"),
    ("he", &["heb"], "עברית"),
    ("hi", &["hin"], "हिन्दी"),
    ("hu", &["hun"], "Magyar"),
    ("id", &["ind"], "Bahasa Indonesia"),
    ("it", &["ita"], "Italiano"),
    ("ja", &["jpn"], "日本語"),
    ("ko", &["kor"], "한국어"),
    ("nl", &["nld", "dut"], "Nederlands"),
    ("no", &["nor", "nob", "nb"], "Norsk"),
    ("pl", &["pol"], "Polski"),
    ("pt", &["por"], "Português"),
    ("ro", &["ron", "rum"], "Română"),
    ("ru", &["rus"], "Русский"),
    ("sv", &["swe"], "Svenska"),
    ("tr", &["tur"], "Türkçe"),
    ("uk", &["ukr"], "Українська"),
    ("vi", &["vie"], "Tiếng Việt"),
    ("zh", &["zho", "chi"], "中文"),
];

/// A language as a `<track>` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// BCP 47 tag for `srclang`; empty when the name says none.
    pub tag: String,
    /// What the player's menu shows.
    pub label: String,
}

/// Reads the language of the subtitle file `name` that lies beside the media file `media`.
///
/// What stands between the media's name and the extension is looked up; what is unknown becomes the
/// label as it is, without a tag.
pub fn of_subtitle(media: &str, name: &str) -> Language {
    let media = media.rsplit_once('.').map_or(media, |(stem, _)| stem);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let rest = stem.strip_prefix(media).unwrap_or(stem);
    let rest = rest.trim_matches(['.', '_', '-', ' ', '(', ')', '[', ']']);
    if rest.is_empty() {
        return Language {
            tag: String::new(),
            label: "Subtitles".to_owned(),
        };
    }
    // The last part names the language in `forced.en` and the first in `en.forced` or `en.sdh`.
    let parts = || rest.split(['.', '_', ' ']).filter(|part| !part.is_empty());
    for part in parts().rev().chain(std::iter::once(rest)) {
        if let Some((tag, name)) = known(part) {
            let rest: Vec<&str> = parts().filter(|other| *other != part).collect();
            let label = match rest.is_empty() || part == rest.join(".") {
                true => name,
                false => format!("{name} ({})", rest.join(" ")),
            };
            return Language { tag, label };
        }
    }
    Language {
        tag: String::new(),
        label: rest.to_owned(),
    }
}

/// Whether a subtitle belongs to a media file, by the names of both without their extensions.
///
/// It does when they are equal, when a `.` follows the media's name, or when a language does after some
/// other mark (`Film_es`, `Film [en]`): `Film 2.vtt` is not for `Film.mp4`.
pub fn belongs(media_stem: &[u8], subtitle_stem: &[u8]) -> bool {
    let Some(rest) = subtitle_stem.strip_prefix(media_stem) else {
        return false;
    };
    match rest.first() {
        None | Some(b'.') => true,
        Some(b'_' | b'-' | b' ' | b'(' | b'[') => {
            let rest = String::from_utf8_lossy(rest);
            known(rest.trim_matches(['_', '-', ' ', '(', ')', '[', ']'])).is_some()
        }
        Some(_) => false,
    }
}

/// The tag of a language given as `en`, `eng`, `EN`, `pt-BR` or `English`, when it is known.
pub fn tag(language: &str) -> Option<String> {
    known(language).map(|(tag, _)| tag)
}

/// The tag and name of a language given as `en`, `eng`, `EN`, `pt-BR` or `English`.
fn known(part: &str) -> Option<(String, String)> {
    let (primary, region) = match part.split_once('-') {
        Some((primary, region)) => (primary, Some(region)),
        None => (part, None),
    };
    let region = match region {
        // A region or a script, of letters and digits alone (BCP 47 section 2.1).
        Some(region)
            if (2..=4).contains(&region.len())
                && region.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Some(region)
        }
        Some(_) => return None,
        None => None,
    };
    let primary = primary.to_lowercase();
    let (tag, _, name) = NAMES.iter().find(|(tag, codes, name)| {
        *tag == primary || codes.contains(&primary.as_str()) || name.to_lowercase() == primary
    })?;
    Some(match region {
        None => ((*tag).to_owned(), (*name).to_owned()),
        Some(region) => (
            format!("{tag}-{region}"),
            format!("{name} ({})", region.to_uppercase()),
        ),
    })
}

/// Which of `tags` suits best the `Accept-Language` header (RFC 9110 section 12.5.4): the first
/// of the client's languages, by their weight, that one of the tags has. The index into `tags`.
pub fn best(tags: &[&str], accept_language: &str) -> Option<usize> {
    let mut wanted: Vec<(f32, &str)> = accept_language
        .split(',')
        .take(16)
        .filter_map(|item| {
            let mut parts = item.split(';');
            let tag = parts.next()?.trim();
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
            (weight > 0.0 && !tag.is_empty()).then_some((weight, tag))
        })
        .collect();
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let primary = |tag: &str| {
        tag.split('-')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    wanted.iter().find_map(|(_, want)| {
        let exact = tags.iter().position(|tag| tag.eq_ignore_ascii_case(want));
        let want = primary(want);
        exact.or_else(|| {
            tags.iter()
                .position(|tag| !tag.is_empty() && primary(tag) == want)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_by_name() {
        for (name, tag, label) in [
            ("Film.en.vtt", "en", "English"),
            ("Film_es.srt", "es", "Español"),
            ("Film.eng.srt", "en", "English"),
            ("Film.pt-BR.vtt", "pt-BR", "Português (BR)"),
            ("Film.English.srt", "en", "English"),
            ("Film.en.forced.srt", "en", "English (forced)"),
            ("Film.vtt", "", "Subtitles"),
            ("Film.klingon.vtt", "", "klingon"),
            ("Other.vtt", "", "Other"),
        ] {
            let language = of_subtitle("Film.mp4", name);
            assert_eq!(
                (language.tag.as_str(), language.label.as_str()),
                (tag, label),
                "{name}"
            );
        }
    }

    #[test]
    fn which_file_belongs_to_which() {
        assert!(belongs(b"Film", b"Film"));
        assert!(belongs(b"Film", b"Film.en"));
        assert!(belongs(b"Film", b"Film_en"));
        assert!(belongs(b"Film", b"Film (English)"));
        assert!(!belongs(b"Film", b"Film2"));
        assert!(!belongs(b"Film", b"Film 2"));
        assert!(!belongs(b"Film 2", b"Film"));
    }

    #[test]
    fn best_language_by_weight() {
        let tags = ["", "es", "en", "pt-BR"];
        assert_eq!(best(&tags, "de, en;q=0.5, es;q=0.9"), Some(1));
        assert_eq!(best(&tags, "en-GB"), Some(2));
        assert_eq!(best(&tags, "pt"), Some(3));
        assert_eq!(best(&tags, "de"), None);
        assert_eq!(best(&tags, "en;q=0"), None);
        assert_eq!(best(&tags, ",;,q=,;;"), None);
    }
}
