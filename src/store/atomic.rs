//! Files that are, at every instant and after every power cut, the old bytes or the new ones.
//!
//! A temporary file in the same folder is written, synced and renamed over the old one; the folder is
//! synced last, since the new name is what it holds. A file that root writes is given to the owner of its
//! folder, so that `sudo rill token --new` leaves nothing the service cannot read.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, RenameFlags, Uid};
use rustix::io::Errno;

/// How temporary names end; [`sweep`] knows them by it.
const SUFFIX: &str = ".rill-tmp";

/// Writes `bytes` at `path` with the permissions `mode`, over whatever is there.
///
/// # Errors
/// The disk's; the old file is then untouched, and no temporary one is left.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = Temporary::write(path, bytes, mode)?;
    fs::rename(&temporary.path, path)?;
    temporary.renamed()
}

/// As [`replace`], for what is too large to be in memory: `write` is given the new file, buffered.
///
/// # Errors
/// The disk's and those of `write`; the old file is then untouched, and no temporary one is left.
pub fn replace_with<T, E: From<io::Error>>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let (temporary, file) = Temporary::create(path, mode)?;
    let mut buffered = io::BufWriter::with_capacity(64 * 1024, file);
    let value = write(&mut buffered)?;
    let file = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&temporary.path, path)?;
    temporary.renamed()?;
    Ok(value)
}

/// As [`replace`], but leaves a file that is there alone. Says whether it was this call that made it.
///
/// # Errors
/// The disk's.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let temporary = Temporary::write(path, bytes, mode)?;
    match rustix::fs::renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        // A file system without the flag (an old NFS): the race it closes stays open there.
        Err(Errno::INVAL | Errno::NOSYS) if !path.exists() => fs::rename(&temporary.path, path)?,
        Err(error) => return Err(error.into()),
    }
    temporary.renamed().map(|()| true)
}

/// Takes away what a power cut left half-written in `folder`. For the daemon's start, when no write
/// of its own is under way.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX));
        if ours && fs::remove_file(entry.path()).is_ok() {
            log::info!(
                "removed {}, which an interrupted write left",
                entry.path().display()
            );
        }
    }
}

/// Gives a file that root has made to the owner of `folder`; does nothing for anybody else.
///
/// # Errors
/// The disk's.
pub(crate) fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder)?;
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// A file on its way to its name. Dropped before it got there, it is removed.
struct Temporary {
    path: PathBuf,
    folder: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn write(target: &Path, bytes: &[u8], mode: u32) -> io::Result<Temporary> {
        let (temporary, mut file) = Temporary::create(target, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }

    fn create(target: &Path, mode: u32) -> io::Result<(Temporary, File)> {
        let name = target
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_string_lossy();
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let path = folder.join(format!(
            ".{name}.{:016x}{SUFFIX}",
            u64::from_ne_bytes(random)
        ));
        // Nobody else may open it before its permissions are what they shall be.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let temporary = Temporary {
            path,
            folder,
            renamed: false,
        };
        temporary.give_to_owner(&file)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok((temporary, file))
    }

    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        give_to_owner(file, &self.folder)
    }

    fn renamed(mut self) -> io::Result<()> {
        self.renamed = true;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect()
    }

    #[test]
    fn replaces_and_creates() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("thing");
        assert!(create(&path, b"one", 0o640).expect("made"));
        assert!(!create(&path, b"two", 0o640).expect("left alone"));
        assert_eq!(fs::read(&path).expect("read"), b"one");
        replace(&path, b"three", 0o600).expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"three");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(names(folder.path()), ["thing"]);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("thing");
        fs::create_dir(&path).expect("a folder in the way");
        assert!(replace(&path, b"x", 0o600).is_err());
        assert_eq!(names(folder.path()), ["thing"]);
        assert!(replace(&folder.path().join("no/such"), b"x", 0o600).is_err());
    }

    #[test]
    fn a_stream_replaces_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("thing");
        let written = replace_with(&path, 0o640, |out| out.write_all(b"one").map(|()| 7));
        assert_eq!(written.expect("written"), 7);
        let broken: io::Result<()> = replace_with(&path, 0o640, |out| {
            out.write_all(b"two")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(broken.is_err());
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(names(folder.path()), ["thing"]);
    }

    #[test]
    fn sweeps_its_own_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            ".thing.0123456789abcdef.rill-tmp",
            ".hidden",
            "film.rill-tmp",
        ] {
            fs::write(folder.path().join(name), b"").expect("written");
        }
        sweep(folder.path());
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".hidden", "film.rill-tmp"]);
    }
}
