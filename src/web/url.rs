//! How what is served is written as a URL: the other direction of `routes::Route::decode`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::catalog::course::FileRef;
use crate::catalog::index::{Found, Index};
use crate::drive::Link;
use crate::media::path::MediaPath;

/// Everything but `unreserved` (RFC 3986 section 2.3) is escaped: no reader can take a name for anything else.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Escapes one segment of a path, or a value of a query.
pub fn escape(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// The list, at a page of it.
pub fn home(page: usize) -> String {
    match page {
        0 | 1 => "/".to_owned(),
        page => format!("/?page={page}"),
    }
}

/// The bytes of a local file.
pub fn video(path: &MediaPath) -> String {
    below("/videos", path)
}

/// The picture of a local film.
pub fn poster(path: &MediaPath) -> String {
    format!("{}.jpg", below("/posters", path))
}

/// The list of a folder of local files; of all of them without one.
pub fn folder(path: Option<&MediaPath>) -> String {
    match path {
        Some(path) => format!("{}/", video(path)),
        None => "/videos/".to_owned(),
    }
}

/// The page that plays a local file.
pub fn video_page(path: &MediaPath) -> String {
    below("/video", path)
}

/// Where a file is deleted.
pub fn delete(path: &MediaPath) -> String {
    format!("{}/delete", video(path))
}

/// Where a file is renamed.
pub fn rename(path: &MediaPath) -> String {
    format!("{}/rename", video(path))
}

/// What a request for a file on Drive has in its query that insists on one Google takes for malware.
pub const DESPITE_ABUSE: &str = "acknowledgeAbuse=true";

/// The page that plays a file on Drive.
pub fn drive_page(link: impl Into<Link>) -> String {
    keyed("/watch/drive/", link.into(), "")
}

/// The bytes of a file on Drive.
pub fn drive_file(link: impl Into<Link>) -> String {
    keyed("/drive/files/", link.into(), "")
}

/// A subtitle file on Drive, as WebVTT.
pub fn drive_subtitle(link: impl Into<Link>) -> String {
    keyed("/drive/subtitles/", link.into(), ".vtt")
}

/// Ids and keys need no escaping: see their types.
fn keyed(before: &str, link: Link, after: &str) -> String {
    let url = format!("{before}{}{after}", link.id.as_str());
    match link.key {
        Some(key) => format!("{url}?resourcekey={}", key.as_str()),
        None => url,
    }
}

/// A URL of this file with one more pair in its query.
pub fn with(url: &str, pair: &str) -> String {
    // A path has no question mark: it would be escaped.
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{pair}")
}

/// The list of a category's courses, at a page of it.
pub fn category(reference: &str, page: usize) -> String {
    let mut url = format!("/courses?category={}", escape(reference.as_bytes()));
    if page > 1 {
        url.push_str(&format!("&page={page}"));
    }
    url
}

/// The page of a course.
pub fn course(index: &Index, found: Found) -> String {
    format!("/course/{}", course_segments(index, found))
}

/// The page that plays a class of a course, by the number of the class.
pub fn class(index: &Index, found: Found, class: usize) -> String {
    let class = index.classes.get(class);
    let module = class.and_then(|class| index.modules.get(class.module as usize));
    let module = module.map_or("", |module| index.text(module.reference));
    let class = class.map_or("", |class| index.text(class.reference));
    format!(
        "/watch/{}/{}/{}",
        course_segments(index, found),
        escape(module.as_bytes()),
        escape(class.as_bytes())
    )
}

fn course_segments(index: &Index, found: Found) -> String {
    let references = [
        index.categories.get(found.category).map(|c| c.reference),
        index.routes.get(found.route).map(|r| r.reference),
        index.courses.get(found.course).map(|c| c.reference),
    ];
    let segments = references.map(|reference| {
        let text = index.text(reference.unwrap_or_default());
        escape(text.as_bytes())
    });
    segments.join("/")
}

/// The bytes of a file of a course.
pub fn course_file(file: &FileRef) -> String {
    match file {
        FileRef::Drive(id) => format!("/drive/files/{}", escape(id.as_bytes())),
        FileRef::Local(path) => local("/courses/files", path),
    }
}

/// What plays a file of a course on screens that cannot play the file itself: its page, or its bytes where it has none.
pub fn course_compatible(file: &FileRef) -> String {
    match file {
        FileRef::Drive(id) => format!("/watch/drive/{}?compatible=1", escape(id.as_bytes())),
        FileRef::Local(path) => local("/api/video-compatible/courses", path),
    }
}

/// The bytes that a player of such a screen comes to by itself.
pub fn course_stream(file: &FileRef) -> String {
    match file {
        FileRef::Drive(id) => format!("/api/video-compatible/{}", escape(id.as_bytes())),
        FileRef::Local(path) => local("/api/video-compatible/courses", path),
    }
}

/// A subtitle of a course, as WebVTT.
pub fn course_subtitle(file: &FileRef) -> String {
    match file {
        FileRef::Drive(id) => format!("/drive/subtitles/{}.vtt", escape(id.as_bytes())),
        FileRef::Local(path) => match path
            .len()
            .checked_sub(4)
            .and_then(|at| path.split_at_checked(at))
        {
            Some((stem, end)) if end.eq_ignore_ascii_case(".srt") => {
                local("/courses/files", &format!("{stem}.vtt"))
            }
            _ => local("/courses/files", path),
        },
    }
}

fn local(prefix: &str, path: &str) -> String {
    path.split('/').fold(prefix.to_owned(), |mut url, segment| {
        url.push('/');
        url.push_str(&escape(segment.as_bytes()));
        url
    })
}

/// A path below a prefix.
pub fn below(prefix: &str, path: &MediaPath) -> String {
    let mut url = prefix.to_owned();
    for segment in path.as_bytes().split(|&byte| byte == b'/') {
        url.push('/');
        url.push_str(&escape(segment));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::{FileId, ResourceKey};

    #[test]
    fn keys_go_along() {
        let mut link = Link::from(&FileId::parse("0123456789").unwrap());
        assert_eq!(drive_page(&link), "/watch/drive/0123456789");
        link.key = ResourceKey::parse("0-k").ok();
        let url = drive_subtitle(&link);
        assert_eq!(url, "/drive/subtitles/0123456789.vtt?resourcekey=0-k");
        assert_eq!(with(&url, "a=b"), format!("{url}&a=b"));
        assert_eq!(with("/videos/x", "a=b"), "/videos/x?a=b");
    }

    #[test]
    fn hostile_names() {
        for (name, want) in [
            ("a b.mp4", "/videos/a%20b.mp4"),
            ("50%#?&.mp4", "/videos/50%25%23%3F%26.mp4"),
            ("a\"<>'.mp4", "/videos/a%22%3C%3E%27.mp4"),
            ("d/🎬.mp4", "/videos/d/%F0%9F%8E%AC.mp4"),
        ] {
            assert_eq!(video(&MediaPath::new(name.as_bytes()).unwrap()), want);
        }
    }
}
