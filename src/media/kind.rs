//! The media type of a file, by the extension of its name.
//!
//! Content is never sniffed: answers say `nosniff`, so what is said here is what a browser believes.

/// What kind of page plays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<video>`.
    Video,
    /// `<audio>`.
    Audio,
    /// A WebVTT or SubRip file.
    Subtitle,
    /// Anything else.
    Other,
}

/// The type of what has no better one (RFC 9110 section 8.3).
pub const UNKNOWN: &str = "application/octet-stream";

/// Extensions and their types: IANA's names where there are any, else what browsers recognise.
const TYPES: &[(&str, &str)] = &[
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("mkv", "video/x-matroska"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("avi", "video/x-msvideo"),
    ("ts", "video/mp2t"),
    ("m2ts", "video/mp2t"),
    ("mts", "video/mp2t"),
    ("mpg", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("vob", "video/mpeg"),
    ("ogv", "video/ogg"),
    ("wmv", "video/x-ms-wmv"),
    ("asf", "video/x-ms-asf"),
    ("flv", "video/x-flv"),
    ("3gp", "video/3gpp"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("m4b", "audio/mp4"),
    ("aac", "audio/aac"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("wav", "audio/wav"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("wma", "audio/x-ms-wma"),
    ("mka", "audio/x-matroska"),
    ("weba", "audio/webm"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("srt", "application/x-subrip; charset=utf-8"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("ico", "image/x-icon"),
    ("svg", "image/svg+xml; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("xml", "application/xml; charset=utf-8"),
    ("json", "application/json; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("epub", "application/epub+zip"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("7z", "application/x-7z-compressed"),
    ("rar", "application/vnd.rar"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
];

/// `Content-Type` of a file by its name; `application/octet-stream` when unknown.
pub fn content_type(name: &str) -> &'static str {
    by_name(name.as_bytes())
}

/// [`content_type`] of a name that may not be UTF-8.
pub fn by_name(name: &[u8]) -> &'static str {
    let Some(extension) = extension(name) else {
        return UNKNOWN;
    };
    TYPES
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known.as_bytes()))
        .map_or(UNKNOWN, |(_, content_type)| content_type)
}

/// What kind of media a file is, by its name.
pub fn of(name: &str) -> Kind {
    of_name(name.as_bytes())
}

/// [`of`] a name that may not be UTF-8.
pub fn of_name(name: &[u8]) -> Kind {
    match extension(name) {
        Some(e) if e.eq_ignore_ascii_case(b"vtt") || e.eq_ignore_ascii_case(b"srt") => {
            Kind::Subtitle
        }
        _ => of_type(by_name(name)),
    }
}

/// What kind of media a `Content-Type` promises.
pub fn of_type(content_type: &str) -> Kind {
    let essence = essence(content_type);
    if essence.starts_with("video/") {
        Kind::Video
    } else if essence.starts_with("audio/") || essence == "application/ogg" {
        Kind::Audio
    } else if essence == "text/vtt" || essence == "application/x-subrip" {
        Kind::Subtitle
    } else {
        Kind::Other
    }
}

/// Whether a browser shows content of this type without running anything in it.
///
/// A list of what is harmless rather than of what is not: whatever a stranger put into a shared folder
/// under a type not thought of here is fenced by `Content-Security-Policy: sandbox` (see `routes`).
pub fn is_passive(content_type: &str) -> bool {
    let essence = essence(content_type);
    let image = essence.starts_with("image/") && essence != "image/svg+xml";
    image
        || matches!(
            of_type(&essence),
            Kind::Video | Kind::Audio | Kind::Subtitle
        )
        || matches!(
            essence.as_str(),
            UNKNOWN
                | "text/plain"
                | "text/markdown"
                | "text/csv"
                | "application/json"
                | "application/pdf"
                | "application/zip"
                | "application/gzip"
                | "application/epub+zip"
        )
}

/// The extension of a name, without its dot; a leading dot begins none.
fn extension(name: &[u8]) -> Option<&[u8]> {
    let at = name.iter().rposition(|&byte| byte == b'.')?;
    (at > 0).then(|| &name[at + 1..])
}

/// `type/subtype` of a media type, in lower case, without its parameters.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_extension() {
        for (name, want) in [
            ("a.mp4", "video/mp4"),
            ("A.MP4", "video/mp4"),
            ("a.b.MkV", "video/x-matroska"),
            ("a.vtt", "text/vtt; charset=utf-8"),
            ("a", UNKNOWN),
            (".mp4", UNKNOWN),
            ("a.", UNKNOWN),
            ("a.exe", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(content_type(name), want, "{name}");
        }
        assert_eq!(by_name(b"\xff\xfe.flac"), "audio/flac");
    }

    #[test]
    fn every_text_type_says_its_charset() {
        for (extension, content_type) in TYPES {
            let text = content_type.starts_with("text/");
            assert!(
                !text || content_type.ends_with("charset=utf-8"),
                "{extension}"
            );
        }
    }

    #[test]
    fn kinds() {
        assert_eq!(of("a.webm"), Kind::Video);
        assert_eq!(of("a.opus"), Kind::Audio);
        assert_eq!(of("a.SRT"), Kind::Subtitle);
        assert_eq!(of("a.jpg"), Kind::Other);
        assert_eq!(of_type("Video/MP4; codecs=x"), Kind::Video);
    }

    #[test]
    fn what_may_run_is_not_passive() {
        for active in [
            "text/html",
            "image/svg+xml; charset=utf-8",
            "application/xhtml+xml",
            "text/xml",
            "x",
        ] {
            assert!(!is_passive(active), "{active}");
        }
        for passive in [
            "video/mp4",
            "image/png",
            "text/plain; charset=utf-8",
            UNKNOWN,
        ] {
            assert!(is_passive(passive), "{passive}");
        }
    }
}
