//! A file that a job is writing, beside the place where it will stand.
//!
//! Its name begins with a dot and ends in `.part`, so that no list shows it; it is removed when the job is dropped, and
//! what a kill or a power cut left is swept at the next start, or when its disk comes later. It gets its own name when
//! all of it is on the disk.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use crate::jobs::job::JobId;
use crate::store::atomic;
use crate::store::part::rename_free;

/// How the names begin and end; [`sweep`] knows them by it. Uploads under way have names of their own.
const PREFIX: &str = ".rill-job-";
const SUFFIX: &str = ".part";

/// Folders within folders that are swept, and entries that are looked at.
const DEEPEST: usize = 16;
const MOST: usize = 200_000;

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    kept: bool,
}

/// The names of those under way in this process, which no sweep takes away.
static UNDER_WAY: Mutex<Option<HashSet<OsString>>> = Mutex::new(None);

/// What stands where a file is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// It is replaced.
    Replaced,
    /// It is left alone, and the file goes nowhere.
    Spared,
}

impl Part {
    /// The `number`th file of a job, in `folder`, under a name that no other attempt has: one that failed may still be
    /// having its files removed. Nothing is made yet.
    pub(crate) fn of(folder: &Path, job: JobId, number: usize) -> Part {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let name = format!("{PREFIX}{job}-{process}-{made}-{number}{SUFFIX}");
        let path = folder.join(&name);
        under_way().get_or_insert_default().insert(name.into());
        Part { path, kept: false }
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it to the owner of its folder, brings it to the disk, then to its name, then the name to the disk; false
    /// when something stands there that is to be spared. Blocks.
    pub(crate) fn place(&mut self, target: &Path, there: There) -> io::Result<bool> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&self.path)?;
        if let Some(folder) = target.parent() {
            atomic::give_to_owner(&file, folder)?;
        }
        file.sync_all()?;
        match there {
            There::Replaced => fs::rename(&self.path, target)?,
            There::Spared => match rename_free(CWD, &self.path, CWD, target) {
                Err(Errno::EXIST) => return Ok(false),
                renamed => renamed?,
            },
        }
        self.kept = true;
        sync_folder(target)?;
        Ok(true)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        if let (Some(names), Some(name)) = (&mut *under_way(), path.file_name()) {
            names.remove(name);
        }
        if self.kept {
            return;
        }
        // Gigabytes take a while to be given back.
        smol::unblock(move || {
            if let Err(error) = fs::remove_file(&path) {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("{} stays behind: {error}", path.display());
                }
            }
        })
        .detach();
    }
}

/// Brings the names of the folder that holds `path` to the disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn under_way() -> MutexGuard<'static, Option<HashSet<OsString>>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what jobs that were killed left below `folder`; what this process is writing stays. Blocks.
pub(crate) fn sweep(folder: &Path) {
    let mut seen = 0;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST {
                return;
            }
            let name = entry.file_name();
            let bytes = name.as_bytes();
            let ours = bytes.starts_with(PREFIX.as_bytes())
                && bytes.ends_with(SUFFIX.as_bytes())
                && !under_way()
                    .as_ref()
                    .is_some_and(|names| names.contains(&name));
            // Of the entry itself: a link is neither followed nor removed.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEEPEST => {
                    folders.push((entry.path(), depth + 1));
                }
                Ok(kind) if kind.is_file() && ours && fs::remove_file(entry.path()).is_ok() => {
                    log::info!(
                        "removed {}, which an interrupted job left",
                        entry.path().display()
                    );
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_placed_spare_and_vanish() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("film.mp4");
        let mut part = Part::of(folder.path(), JobId(7), 0);
        fs::write(part.path(), b"one").unwrap();
        assert!(part.place(&target, There::Spared).unwrap());
        drop(part);
        assert_eq!(fs::read(&target).unwrap(), b"one");

        let mut part = Part::of(folder.path(), JobId(7), 0);
        fs::write(part.path(), b"two").unwrap();
        assert!(!part.place(&target, There::Spared).unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert!(part.place(&target, There::Replaced).unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"two");

        let part = Part::of(folder.path(), JobId(8), 1);
        fs::write(part.path(), b"three").unwrap();
        let path = part.path().to_owned();
        drop(part);
        for _ in 0..1000 {
            if !path.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!path.exists());
    }

    #[test]
    fn what_root_made_is_given_to_the_owner_of_its_folder() {
        use std::os::unix::fs::{MetadataExt, chown};

        let folder = tempfile::tempdir().unwrap();
        // Only root may give files away.
        if chown(folder.path(), Some(12345), Some(23456)).is_err() {
            return;
        }
        let target = folder.path().join("film.mp4");
        let mut part = Part::of(folder.path(), JobId(9), 0);
        fs::write(part.path(), b"one").unwrap();
        assert!(part.place(&target, There::Spared).unwrap());
        let placed = fs::metadata(&target).unwrap();
        assert_eq!((placed.uid(), placed.gid()), (12345, 23456));
    }

    #[test]
    fn only_what_is_ours_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let ours = [
            folder.path().join(".rill-job-1-0.part"),
            deep.join(".rill-job-23-4.part"),
        ];
        let others = [
            deep.join("film.part"),
            deep.join(".upload.part"),
            folder.path().join("film.mp4"),
        ];
        for path in ours.iter().chain(&others) {
            fs::write(path, b"").unwrap();
        }
        std::os::unix::fs::symlink("film.mp4", folder.path().join(".rill-job-9-0.part")).unwrap();
        let being_written = Part::of(&deep, JobId(5), 0);
        fs::write(being_written.path(), b"").unwrap();
        sweep(folder.path());
        assert!(being_written.path().exists());
        assert!(ours.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()));
    }
}
