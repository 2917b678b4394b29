//! Locks between processes: files of the state folder that one at a time holds, and that the kernel takes back from a
//! process that dies, however it does. Programs that the holder starts do not hold them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, OFlags};
use rustix::io::Errno;

use crate::store::{self, atomic};

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum Refused {
    /// Another process has it: what that one is called.
    Held(String),
    /// The folder cannot be written.
    Disk(io::Error),
}

impl Lock {
    /// Takes the lock `name` of a state folder, which is made when it is missing. `who` is what others are told. Blocks
    /// on the disk, but for nobody who holds it.
    ///
    /// # Errors
    /// Another process holds it; the disk's.
    pub fn take(folder: &Path, name: &str, who: &str) -> Result<Lock, Refused> {
        let mut file = open(folder, name).map_err(Refused::Disk)?;
        let mut holder = String::new();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                // Half a name is a name.
                let _ = (&file).take(200).read_to_string(&mut holder);
                return Err(Refused::Held(match holder.trim() {
                    "" => "another process".to_owned(),
                    holder => holder.to_owned(),
                }));
            }
            // A file system that knows no locks.
            Err(error) => return Err(Refused::Disk(error.into())),
        }
        let me = format!("{who} (process {})\n", std::process::id());
        // Nothing is written when the last holder was ourselves. The name is a courtesy; the lock holds without.
        let _ = file.read_to_string(&mut holder);
        if holder != me {
            let _ = file
                .write_all_at(me.as_bytes(), 0)
                .and_then(|()| file.set_len(me.len() as u64));
            let _ = file.flush();
        }
        let path = folder.join(name);
        Ok(Lock { file, path })
    }

    /// Whether it is worth nothing any more: others find another file by its name or none, as its folder was removed or
    /// its disk taken away; or its disk cannot be written by anybody. Blocks on the disk.
    pub fn is_lost(&self) -> bool {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = rustix::fs::access(&self.path, Access::WRITE_OK)
            .map_err(io::Error::from)
            .and_then(|()| fs::metadata(&self.path));
        match (there, self.file.metadata()) {
            (Ok(there), Ok(held)) => id(there) != id(held),
            (Err(error), _) => {
                let broken = error.raw_os_error() == Some(Errno::IO.raw_os_error());
                broken
                    || matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem
                    )
            }
            _ => false,
        }
    }
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    store::folder(folder)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        // Root is led by no link that the folder's owner laid.
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(folder.join(name))?;
    atomic::give_to_owner(&file, folder)?;
    Ok(file)
}
