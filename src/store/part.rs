//! A file that is still arriving: hidden beside what is whole, and gone unless it is given a name.
//!
//! It lies in the folder of its destination, since only within one disk a rename is one step. Its name tells
//! everybody, also the next start of the daemon, that nobody plays it: [`strays`] finds what a kill or a power cut
//! left.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use crate::store::atomic;

/// How the names of parts begin and end; between stands their id.
const PREFIX: &str = ".rill-upload-";
const SUFFIX: &str = ".part";

/// Read by everybody who may enter the folder, such as the share that it is also reached by.
const MODE: u32 = 0o644;

/// A file on its way. Dropped before it was placed or kept, it is removed.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: Arc<File>,
    stays: bool,
}

impl Part {
    /// Makes the part `id` in `folder`. Blocks.
    ///
    /// # Errors
    /// The disk's; there is one with this id already.
    pub fn create(folder: &Path, id: &str) -> io::Result<Part> {
        let path = place(folder, id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let part = Part {
            path,
            file: Arc::new(file),
            stays: false,
        };
        atomic::give_to_owner(&part.file, folder)?;
        Ok(part)
    }

    /// Opens the part `id` that an earlier request kept, of which `length` bytes are good; what is beyond is cut off.
    /// Blocks.
    ///
    /// # Errors
    /// The disk's; `UnexpectedEof` when it is shorter.
    pub fn open(folder: &Path, id: &str, length: u64) -> io::Result<Part> {
        let path = place(folder, id);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let part = Part {
            path,
            file: Arc::new(file),
            stays: true,
        };
        match part.file.metadata()?.len() {
            has if has < length => Err(io::ErrorKind::UnexpectedEof.into()),
            has if has == length => Ok(part),
            _ => part.file.set_len(length).map(|()| part),
        }
    }

    /// Where it is, for a program that looks into it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Leaves it for a later request.
    pub fn keep(&mut self) {
        self.stays = true;
    }

    /// Gives it the name `name` in `folder`, unless that is taken; whether it has it now. The folder is then synced.
    /// The bytes must have been, before. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn name(&mut self, folder: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
        self.file.set_permissions(Permissions::from_mode(MODE))?;
        let named = match rename_free(CWD, &self.path, folder, Path::new(name)) {
            Err(Errno::EXIST) => return Ok(false),
            named => named,
        };
        named?;
        self.stays = true;
        rustix::fs::fsync(folder)?;
        Ok(true)
    }
}

/// Renames, unless the new name is taken (`EXIST`): in one step wherever the file system has such a one.
///
/// # Errors
/// The disk's.
pub fn rename_free(
    from_folder: impl AsFd,
    from: &Path,
    to_folder: impl AsFd,
    to: &Path,
) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&from_folder, from, &to_folder, to, RenameFlags::NOREPLACE) {
        // A file system without the flag (NFS, ntfs3). A second link is refused in one step as well.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::linkat(&from_folder, from, &to_folder, to, AtFlags::empty()) {
                Ok(()) => rustix::fs::unlinkat(&from_folder, from, AtFlags::empty()),
                // One without links either (FAT): the race stays open there.
                Err(Errno::PERM | Errno::OPNOTSUPP) => {
                    match rustix::fs::statat(&to_folder, to, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => Err(Errno::EXIST),
                        Err(_) => rustix::fs::renameat(&from_folder, from, &to_folder, to),
                    }
                }
                Err(error) => Err(error),
            }
        }
        renamed => renamed,
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.stays {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the part `id` is.
fn place(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{PREFIX}{id}{SUFFIX}"))
}

/// Takes the part `id` away. Blocks.
pub fn remove(folder: &Path, id: &str) {
    let _ = fs::remove_file(place(folder, id));
}

/// The ids of all parts in `folder`. Blocks.
///
/// # Errors
/// The folder cannot be read.
pub fn strays(folder: &Path) -> io::Result<Vec<String>> {
    let names =
        fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ids = names.filter_map(|name| {
        let id = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        Some(id.to_owned())
    });
    Ok(ids.collect())
}

/// An id that nobody guesses and no two parts have.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_id() -> io::Result<String> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_part_gets_a_free_name_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let place = File::open(folder.path()).unwrap();
        fs::write(folder.path().join("a.mp4"), "old").unwrap();
        let id = new_id().unwrap();
        let mut part = Part::create(folder.path(), &id).unwrap();
        assert!(Part::create(folder.path(), &id).is_err());
        part.file().write_all_at(b"new", 0).unwrap();
        assert!(!part.name(place.as_fd(), "a.mp4").unwrap());
        assert!(part.name(place.as_fd(), "a (2).mp4").unwrap());
        drop(part);
        assert_eq!(fs::read(folder.path().join("a.mp4")).unwrap(), b"old");
        assert_eq!(fs::read(folder.path().join("a (2).mp4")).unwrap(), b"new");
        drop(Part::create(folder.path(), "x").unwrap());
        assert_eq!(strays(folder.path()).unwrap(), [""; 0]);
    }

    #[test]
    fn a_kept_part_is_opened_as_far_as_it_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::create(folder.path(), "x").unwrap();
        part.file().write_all_at(b"12345", 0).unwrap();
        part.keep();
        drop(part);
        assert_eq!(strays(folder.path()).unwrap(), ["x"]);
        let error = Part::open(folder.path(), "x", 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut part = Part::open(folder.path(), "x", 3).unwrap();
        assert_eq!(part.file().metadata().unwrap().len(), 3);
        part.keep();
        drop(part);
        remove(folder.path(), "x");
        assert!(Part::open(folder.path(), "x", 0).is_err());
    }
}
