//! Changing what a folder of media holds: removing and renaming, together with the subtitles that belong to a file.
//!
//! No path leads outside, as in `folder`; and none is followed through a link: what is changed lies where its
//! path says. Everything here blocks.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::media::kind::{self, Kind};
use crate::media::language;
use crate::media::name::Name;
use crate::media::path::{self, MediaPath};
use crate::store::part;

/// Entries of a folder that are looked through for subtitles.
const MOST: usize = 20_000;

/// How a folder is opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens the folder `folder` below `root`; the root itself when it is empty.
///
/// # Errors
/// `folder_not_found` (409), `videos_missing` (503).
pub fn folder(root: &Path, folder: &[u8]) -> Result<OwnedFd> {
    let missing = |error: Errno| {
        Error::new(
            ErrorKind::Unavailable,
            "videos_missing",
            "The video folder is not there; plug its disk in, or set library.videos to another.",
        )
        .because(io::Error::from(error))
    };
    let top = rustix::fs::open(root, FOLDER, Mode::empty()).map_err(missing)?;
    if folder.is_empty() {
        return Ok(top);
    }
    open_below(top, folder).map_err(|error| {
        Error::new(
            ErrorKind::Conflict,
            "folder_not_found",
            "There is no such folder among the videos; name one that is there, or none.",
        )
        .because(io::Error::from(error))
    })
}

/// Opens a folder below `top`, to which no link leads.
pub(super) fn open_below(top: OwnedFd, folder: &[u8]) -> Result<OwnedFd, Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&top, folder, FOLDER, Mode::empty(), beneath) {
        // No such call (qemu's user mode, old kernels), or forbidden by a filter that does not know it: a segment at a
        // time, none of them a link.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut place = top;
            for segment in folder.split(|&b| b == b'/') {
                let flags = FOLDER | OFlags::NOFOLLOW;
                place = rustix::fs::openat(&place, segment, flags, Mode::empty())?;
            }
            Ok(place)
        }
        opened => opened,
    }
}

/// Removes a media or subtitle file, and with a film or a piece of music its subtitles. What went, the file itself
/// first.
///
/// # Errors
/// `not_found`, `not_writable`, `unsupported_type`.
pub fn remove(root: &Path, path: &MediaPath) -> Result<Vec<MediaPath>> {
    let (place, companions) = look(root, path)?;
    let unlink = |name: &[u8]| rustix::fs::unlinkat(&place, name, AtFlags::empty());
    unlink(path.name()).map_err(refusal)?;
    let mut gone = vec![path.clone()];
    for companion in companions {
        if unlink(companion.name()).is_ok() {
            gone.push(companion);
        }
    }
    sync(&place)?;
    Ok(gone)
}

/// Renames a media or subtitle file within its folder, and with a film or a piece of music its subtitles. What was
/// renamed, from and to, the file itself first.
///
/// # Errors
/// `name_taken` (409), and those of [`remove`].
pub fn rename(root: &Path, path: &MediaPath, name: &Name) -> Result<Vec<(MediaPath, MediaPath)>> {
    let (place, companions) = look(root, path)?;
    let sibling = |name: &[u8]| {
        let folder = path.folder();
        match folder.is_empty() {
            true => MediaPath::new(name),
            false => MediaPath::new(&[folder, b"/", name].concat()),
        }
        .ok_or_else(not_found)
    };
    let to = sibling(name.to_string().as_bytes())?;
    if to == *path {
        return Ok(vec![(path.clone(), to)]);
    }
    let as_path = |name: &MediaPath| Path::new(std::ffi::OsStr::from_bytes(name.name())).to_owned();
    part::rename_free(&place, &as_path(path), &place, &as_path(&to)).map_err(
        |error| match error {
            Errno::EXIST => name_taken(&name.to_string()),
            error => refusal(error),
        },
    )?;
    let mut renamed = vec![(path.clone(), to)];
    for companion in companions {
        let rest = &companion.name()[path.stem().len()..];
        let Ok(to) = sibling(&[name.stem().as_bytes(), rest].concat()) else {
            continue;
        };
        // One that lies in the way stays, and so does the one that would have replaced it.
        match part::rename_free(&place, &as_path(&companion), &place, &as_path(&to)) {
            Ok(()) => renamed.push((companion, to)),
            Err(error) => log::warn!("{} keeps its name: {error}", companion.text()),
        }
    }
    sync(&place)?;
    Ok(renamed)
}

/// The name is another file's already.
pub fn name_taken(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "name_taken",
        format!("There is a file {name:?} already; choose another name, or delete that one first."),
    )
}

/// The folder of a file that may be changed, and what goes along with the file.
fn look(root: &Path, path: &MediaPath) -> Result<(OwnedFd, Vec<MediaPath>)> {
    if path.is_hidden() {
        return Err(not_found());
    }
    let kind = kind::of_name(path.name());
    if kind == Kind::Other {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "unsupported_type",
            "Only films, music and subtitles are changed here; look after other files on the box itself.",
        ));
    }
    let place = folder(root, path.folder()).map_err(|error| match error.kind() {
        ErrorKind::Conflict => not_found(),
        _ => error,
    })?;
    let found =
        rustix::fs::statat(&place, path.name(), AtFlags::SYMLINK_NOFOLLOW).map_err(refusal)?;
    let is_file = matches!(
        FileType::from_raw_mode(found.st_mode),
        FileType::RegularFile | FileType::Symlink
    );
    if !is_file {
        return Err(not_found());
    }
    let companions = match kind {
        Kind::Subtitle => Vec::new(),
        _ => companions(&place, path).unwrap_or_default(),
    };
    Ok((place, companions))
}

/// The subtitles that belong to a file, and to no other that plays: where a film lies there twice, in two containers,
/// they stay.
fn companions(place: &OwnedFd, path: &MediaPath) -> io::Result<Vec<MediaPath>> {
    let entries = fs::read_dir(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let mut subtitles = Vec::new();
    let mut stems: Vec<Vec<u8>> = Vec::new();
    for entry in entries.flatten().take(MOST) {
        let name = entry.file_name();
        let name = name.as_bytes();
        match kind::of_name(name) {
            Kind::Subtitle if language::belongs(path.stem(), path::stem(name)) => {
                let whole = match path.folder() {
                    b"" => name.to_vec(),
                    folder => [folder, b"/", name].concat(),
                };
                subtitles.extend(MediaPath::new(&whole).filter(|path| !path.is_hidden()));
            }
            Kind::Video | Kind::Audio if name != path.name() && !name.starts_with(b".") => {
                stems.push(path::stem(name).to_vec());
            }
            _ => {}
        }
    }
    subtitles.retain(|subtitle| {
        let mut others = stems.iter();
        // A name that is longer than ours fits better; one that is as long fits as well.
        !others
            .any(|stem| stem.len() >= path.stem().len() && language::belongs(stem, subtitle.stem()))
    });
    subtitles.sort();
    Ok(subtitles)
}

fn sync(place: &impl AsFd) -> Result<()> {
    let synced = File::from(place.as_fd().try_clone_to_owned().map_err(broken)?).sync_all();
    synced.map_err(broken)
}

fn broken(error: io::Error) -> Error {
    Error::internal("The disk of the videos does not take the change; check it and its cable.")
        .because(error)
}

fn not_found() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "not_found",
        "No such file here; the list at / shows what there is.",
    )
}

fn refusal(error: Errno) -> Error {
    match error {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Error::new(
            ErrorKind::Forbidden,
            "not_writable",
            "rill may not change this folder; give it to rill's user, and make its disk writable, for the service as well (ReadWritePaths= in README.Debian).",
        )
        .because(io::Error::from(error)),
        Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG => not_found(),
        error => broken(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> MediaPath {
        MediaPath::new(text.as_bytes()).unwrap()
    }

    fn shelf(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let place = root.path().join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, file).unwrap();
        }
        root
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_film_goes_with_its_subtitles() {
        let root = shelf(&[
            "s/Film.mp4",
            "s/Film.en.vtt",
            "s/Film.srt",
            "s/Film 2.mp4",
            "s/Film 2.vtt",
            "s/Other.mp4",
        ]);
        let gone = remove(root.path(), &path("s/Film.mp4")).unwrap();
        assert_eq!(
            gone,
            ["s/Film.mp4", "s/Film.en.vtt", "s/Film.srt"].map(path)
        );
        assert_eq!(
            names(&root.path().join("s")),
            ["Film 2.mp4", "Film 2.vtt", "Other.mp4"]
        );
        let error = remove(root.path(), &path("s/Film.mp4")).unwrap_err();
        assert_eq!(error.code(), "not_found");
    }

    #[test]
    fn subtitles_stay_with_the_film_that_stays() {
        let root = shelf(&["Film.mkv", "Film.mp4", "Film.vtt"]);
        remove(root.path(), &path("Film.mkv")).unwrap();
        assert_eq!(names(root.path()), ["Film.mp4", "Film.vtt"]);
        remove(root.path(), &path("Film.vtt")).unwrap();
        assert_eq!(names(root.path()), ["Film.mp4"]);
    }

    #[test]
    fn a_film_is_renamed_with_its_subtitles() {
        let root = shelf(&["Film.mp4", "Film.en.vtt", "Taken.mp4"]);
        let name = |text: &str| Name::clean(text).unwrap();
        let error = rename(root.path(), &path("Film.mp4"), &name("Taken.mp4")).unwrap_err();
        assert_eq!((error.code(), error.kind().status()), ("name_taken", 409));
        let renamed = rename(root.path(), &path("Film.mp4"), &name("Né.mp4")).unwrap();
        assert_eq!(renamed[0], (path("Film.mp4"), path("Né.mp4")));
        assert_eq!(names(root.path()), ["Né.en.vtt", "Né.mp4", "Taken.mp4"]);
        assert!(rename(root.path(), &path("Né.mp4"), &name("Né.mp4")).is_ok());
    }

    #[test]
    fn nothing_outside_is_touched() {
        let root = shelf(&[
            "videos/a.mp4",
            "outside/b.mp4",
            "videos/note.txt",
            "videos/.hidden.mp4",
        ]);
        let videos = root.path().join("videos");
        symlink("../outside", videos.join("door")).unwrap();
        symlink("../outside/b.mp4", videos.join("link.mp4")).unwrap();
        fs::create_dir(videos.join("folder.mp4")).unwrap();
        for (bad, code) in [
            ("door/b.mp4", "not_found"),
            ("folder.mp4", "not_found"),
            (".hidden.mp4", "not_found"),
            ("note.txt", "unsupported_type"),
            ("a.mp4/b.mp4", "not_found"),
            ("no/b.mp4", "not_found"),
        ] {
            assert_eq!(
                remove(&videos, &path(bad)).unwrap_err().code(),
                code,
                "{bad}"
            );
            let name = Name::clean("x.mp4").unwrap();
            assert_eq!(
                rename(&videos, &path(bad), &name).unwrap_err().code(),
                code,
                "{bad}"
            );
        }
        // A link goes; what it led to stays.
        remove(&videos, &path("link.mp4")).unwrap();
        assert!(root.path().join("outside/b.mp4").exists());
        assert_eq!(
            folder(&videos, b"door").unwrap_err().code(),
            "folder_not_found"
        );
        assert_eq!(
            folder(&root.path().join("no"), b"").unwrap_err().code(),
            "videos_missing"
        );
    }
}
