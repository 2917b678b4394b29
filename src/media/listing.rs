//! What a folder of media holds, as one scan of it found.
//!
//! The scan blocks and is bounded; when to make one, and who waits for it, is `folder`'s business.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::media::kind::{self, Kind};
use crate::media::language;
use crate::media::path::MediaPath;
use crate::media::shelf;
use crate::sys::disk;

/// Folders within folders that are entered: deeper than anyone files films, shallow enough that the
/// scan's own stack stays small.
const DEEPEST: usize = 16;

/// Entries that are looked at; a folder with more is listed in part, and says so. It bounds the listing's
/// memory to some MiB and its time on a slow card to seconds: a thousand films with twenty subtitles each fit well.
const MOST: usize = 50_000;

/// One file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Path below the folder.
    pub path: MediaPath,
    /// Length in bytes.
    pub bytes: u64,
    /// Last change, seconds since 1970.
    pub modified: i64,
}

/// What one scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Every video and audio file, newest first, then by name.
    pub items: Vec<Item>,
    /// Every subtitle file, by path.
    pub subtitles: Vec<Item>,
    /// Lengths of all items together.
    pub bytes: u64,
    /// What is left on the folder's disk for whoever is not root, in bytes.
    pub free: Option<u64>,
    /// Why the listing is empty or not whole, in one sentence with the remedy.
    pub problem: Option<String>,
}

impl Listing {
    /// Subtitles that lie beside `media` and bear its name, by path.
    pub fn subtitles_of<'a>(&'a self, media: &'a MediaPath) -> impl Iterator<Item = &'a Item> {
        // Their paths begin with the media's, but for its extension; so they stand together.
        let whole = media.as_bytes();
        let start = &whole[..whole.len() - media.name().len() + media.stem().len()];
        let first = (self.subtitles).partition_point(|item| item.path.as_bytes() < start);
        self.subtitles[first..]
            .iter()
            .take_while(move |item| item.path.as_bytes().starts_with(start))
            .filter(move |item| {
                item.path.folder() == media.folder()
                    && language::belongs(media.stem(), item.path.stem())
            })
    }

    /// Where `path` stands in [`Listing::items`].
    pub fn position(&self, path: &MediaPath) -> Option<usize> {
        self.items.iter().position(|item| item.path == *path)
    }

    /// Whether two listings say the same but for the space left, which changes all the time.
    pub(crate) fn same_files(&self, other: &Listing) -> bool {
        self.problem == other.problem
            && self.items == other.items
            && self.subtitles == other.subtitles
    }
}

/// Reads the folder `root`. Blocks.
pub(crate) fn scan(root: &Path) -> Listing {
    let mut listing = Listing {
        free: free(root),
        ..Listing::default()
    };
    let canonical = match fs::canonicalize(root) {
        Ok(canonical) => canonical,
        Err(error) => {
            listing.problem = Some(unreadable(root, &error));
            return listing;
        }
    };
    let mut seen = 0;
    // Folders yet to be read, with their depth. Breadth does not matter: everything is sorted.
    let mut folders: Vec<(Option<MediaPath>, usize)> = vec![(None, 0)];
    while let Some((folder, depth)) = folders.pop() {
        let place = folder
            .as_ref()
            .map_or(canonical.clone(), |path| canonical.join(path.as_path()));
        let entries = match entries(&canonical, folder.as_ref()) {
            Ok(entries) => entries,
            Err(error) => {
                // A folder that went away meanwhile is no problem; one that may not be read is.
                if error.kind() != io::ErrorKind::NotFound || folder.is_none() {
                    listing.problem = Some(unreadable(&place, &error));
                }
                continue;
            }
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST {
                folders.clear();
                listing.problem = Some(format!(
                    "Only the first {MOST} files of {} are listed; move some into another folder.",
                    root.display()
                ));
                break;
            }
            let name = entry.file_name();
            let Some(path) = MediaPath::child(folder.as_ref(), name.as_bytes()) else {
                continue;
            };
            if path.is_hidden() {
                continue;
            }
            let Ok(file_type) = entry.file_type() else {
                continue;
            };
            if file_type.is_dir() {
                if depth + 1 < DEEPEST {
                    folders.push((Some(path), depth + 1));
                } else {
                    listing.problem = Some(format!(
                        "Folders {DEEPEST} deep and deeper are not listed, such as {}; move them up.",
                        canonical.join(path.as_path()).display()
                    ));
                }
                continue;
            }
            let kind = kind::of_name(path.name());
            if kind == Kind::Other {
                continue;
            }
            // A link to a file inside is listed under its own name; one that leaves is not, as it
            // would not be served. A link to a folder is not entered: what it shows inside is listed where it
            // lies, and so no circle of links can hold the scan.
            let metadata = if file_type.is_symlink() {
                let target = fs::canonicalize(place.join(&name));
                match target.ok().filter(|target| target.starts_with(&canonical)) {
                    Some(target) => fs::metadata(target),
                    None => continue,
                }
            } else {
                entry.metadata()
            };
            let Ok(metadata) = metadata else { continue };
            if !metadata.is_file() {
                continue;
            }
            let item = Item {
                path,
                bytes: metadata.len(),
                modified: metadata.mtime(),
            };
            match kind {
                Kind::Subtitle => listing.subtitles.push(item),
                _ => listing.items.push(item),
            }
        }
    }
    listing.bytes = listing.items.iter().map(|item| item.bytes).sum();
    listing.items.sort_by(|a, b| {
        b.modified
            .cmp(&a.modified)
            .then_with(|| natural(&a.path, &b.path))
    });
    listing.subtitles.sort_by(|a, b| a.path.cmp(&b.path));
    listing
}

/// What lies in a folder below the root, and never in one that a link has put in its place since it was seen.
pub(super) fn entries(root: &Path, folder: Option<&MediaPath>) -> io::Result<fs::ReadDir> {
    let Some(folder) = folder else {
        return fs::read_dir(root);
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty())?;
    match shelf::open_below(top, folder.as_bytes()) {
        Ok(found) => fs::read_dir(format!("/proc/self/fd/{}", found.as_raw_fd())),
        // It was a folder when it was seen: whoever made it a link, or a file, took it away.
        Err(Errno::LOOP | Errno::NOTDIR) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error.into()),
    }
}

/// Bytes left for an unprivileged user on the disk of `root`, or of the nearest folder above it.
fn free(root: &Path) -> Option<u64> {
    root.ancestors()
        .find_map(|place| match place.as_os_str().is_empty() {
            true => disk::free(Path::new(".")).ok(),
            false => disk::free(place).ok(),
        })
}

/// Why a folder cannot be listed.
fn unreadable(place: &Path, error: &io::Error) -> String {
    let place = place.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "The video folder {place} does not exist; create it, or set library.videos to another."
        ),
        io::ErrorKind::PermissionDenied => {
            format!("rill may not read {place}; give its user read access to it.")
        }
        _ => format!("The folder {place} cannot be read ({error}); look at its disk."),
    }
}

/// Orders names as people do: without regard to case, and `2` before `10`.
pub(super) fn natural(a: &MediaPath, b: &MediaPath) -> std::cmp::Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (n, m) = (number(&mut left), number(&mut right));
            // Without leading zeros the longer number is the larger.
            let order = n.len().cmp(&m.len()).then_with(|| n.cmp(m));
            if order.is_ne() {
                return order;
            }
        } else {
            let order = x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase());
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the digits that begin `text`, without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits
        .iter()
        .position(|&byte| byte != b'0')
        .unwrap_or(digits.len());
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_order_of_people() {
        let mut names: Vec<MediaPath> = ["b 10", "B 2", "a", "b 02", "b 2x", "b"]
            .iter()
            .map(|name| MediaPath::new(name.as_bytes()).unwrap())
            .collect();
        names.sort_by(natural);
        let names: Vec<_> = names.iter().map(|name| name.text().into_owned()).collect();
        assert_eq!(names, ["a", "b", "B 2", "b 02", "b 2x", "b 10"]);
    }

    #[test]
    fn a_scan_lists_media_and_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        let root = dir.path();
        fs::create_dir(root.join("sub")).unwrap();
        for name in [
            "a.mp4",
            "sub/b.mp3",
            "sub/b.en.srt",
            ".hidden.mp4",
            "c.mp4.part",
            "d.txt",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, root.join(to)).unwrap();
        link(outside.path(), "out.mp4");
        link(Path::new("a.mp4"), "in.mp4");
        link(root, "sub/loop");
        link(Path::new("nowhere.mp4"), "dangling.mp4");
        let listing = scan(root);
        let mut names: Vec<_> = listing.items.iter().map(|item| item.path.text()).collect();
        names.sort();
        assert_eq!(names, ["a.mp4", "in.mp4", "sub/b.mp3"]);
        assert_eq!(listing.problem, None);
        let media = MediaPath::new(b"sub/b.mp3").unwrap();
        assert_eq!(listing.subtitles_of(&media).count(), 1);
        assert!(listing.free.is_some());
    }

    #[test]
    fn a_folder_that_became_a_link_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let folder = MediaPath::new(b"sub").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(entries(dir.path(), Some(&folder)).is_ok());
        fs::remove_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("sub")).unwrap();
        let error = entries(dir.path(), Some(&folder)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_missing_folder_says_what_to_do() {
        let listing = scan(Path::new("/nonexistent/videos"));
        assert!(listing.items.is_empty() && listing.free.is_some());
        assert!(
            listing
                .problem
                .unwrap()
                .contains("/nonexistent/videos does not exist; create it")
        );
    }
}
