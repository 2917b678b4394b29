//! A path below a folder of media: relative, without a way out, and of bytes.
//!
//! Names on a Linux disk are bytes, not text, so a file whose name is not UTF-8 can be listed, linked
//! and played like any other. How such a path is written in a URL is the business of `routes`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest path that is looked up, in bytes: the kernel's PATH_MAX.
const LONGEST: usize = 4096;

/// A relative path: one or more segments joined by `/`, none of them empty, `.` or `..`, no NUL.
///
/// It cannot name anything above its folder by itself; what symbolic links do is `folder`'s business.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaPath(Vec<u8>);

impl MediaPath {
    /// Reads a path; `None` when it is not as the type promises.
    pub fn new(bytes: &[u8]) -> Option<MediaPath> {
        let sound = bytes.len() < LONGEST
            && bytes
                .split(|&byte| byte == b'/')
                .all(|segment| !matches!(segment, b"" | b"." | b"..") && !segment.contains(&0));
        sound.then(|| MediaPath(bytes.to_vec()))
    }

    /// The path as bytes, with `/` between segments.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the system's calls.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last segment.
    pub fn name(&self) -> &[u8] {
        self.0
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// What comes before the last segment, without its `/`; empty at the top.
    pub fn folder(&self) -> &[u8] {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(at) => &self.0[..at],
            None => b"",
        }
    }

    /// The last segment without its extension.
    pub fn stem(&self) -> &[u8] {
        stem(self.name())
    }

    /// The path as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The last segment as text; bytes that are not UTF-8 become U+FFFD.
    pub fn name_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.name())
    }

    /// Whether a segment begins with a dot, or the last is a file still being written (`.part`).
    ///
    /// Both are kept from listings and from clients: dot files are the folder's own affairs, and a
    /// part is not yet what its name says.
    pub fn is_hidden(&self) -> bool {
        self.0
            .split(|&byte| byte == b'/')
            .any(|segment| segment.starts_with(b"."))
            || self.0.to_ascii_lowercase().ends_with(b".part")
    }

    /// The same path with another extension (given without its dot).
    #[must_use]
    pub fn with_extension(&self, extension: &str) -> MediaPath {
        let stem = self.0.len() - self.name().len() + self.stem().len();
        let mut bytes = self.0[..stem].to_vec();
        bytes.push(b'.');
        bytes.extend_from_slice(extension.as_bytes());
        MediaPath(bytes)
    }

    /// The path of `name` in this path taken as a folder; `None` when `name` is no segment.
    pub(crate) fn child(folder: Option<&MediaPath>, name: &[u8]) -> Option<MediaPath> {
        match folder {
            None => MediaPath::new(name),
            Some(folder) => MediaPath::new(&[folder.as_bytes(), b"/", name].concat()),
        }
    }
}

/// A file name without its extension; a leading dot begins no extension.
pub fn stem(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_below_are_paths() {
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b",
        ] {
            assert_eq!(MediaPath::new(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(MediaPath::new(&[b'a'; LONGEST]), None);
        for good in [
            &b"a"[..],
            b"a/b.mp4",
            b"...",
            b"a/..b",
            b"\xff.mp4",
            b"a\\..\\b",
        ] {
            assert!(MediaPath::new(good).is_some(), "{good:?}");
        }
    }

    #[test]
    fn parts_of_a_path() {
        let path = MediaPath::new(b"shows/Film.en.mp4").unwrap();
        assert_eq!(path.name(), b"Film.en.mp4");
        assert_eq!(path.folder(), b"shows");
        assert_eq!(path.stem(), b"Film.en");
        assert_eq!(path.with_extension("srt").as_bytes(), b"shows/Film.en.srt");
        assert_eq!(
            MediaPath::new(b"noext")
                .unwrap()
                .with_extension("vtt")
                .as_bytes(),
            b"noext.vtt"
        );
    }

    #[test]
    fn hidden_names() {
        for (path, hidden) in [
            ("a.mp4", false),
            (".a.mp4", true),
            (".d/a.mp4", true),
            ("a.mp4.PART", true),
        ] {
            assert_eq!(
                MediaPath::new(path.as_bytes()).unwrap().is_hidden(),
                hidden,
                "{path}"
            );
        }
    }
}
