//! One scan at a time, whoever starts it: a lock that the kernel takes back from a process that dies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::error::{Error, Kind, Result};
use crate::store::{self, atomic};

/// The file's name in the state folder.
const FILE: &str = "scan.lock";

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a state folder, which is made when it is missing. `who` is what others are told.
    ///
    /// # Errors
    /// `scan_running`, naming who holds it; `state_unavailable` when the folder cannot be written.
    pub(super) fn take(folder: &Path, who: &str) -> Result<Lock> {
        let path = folder.join(FILE);
        let opened = store::folder(folder).and_then(|()| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o640)
                .open(&path)?;
            atomic::give_to_owner(&file, folder)?;
            Ok(file)
        });
        let mut file = opened.map_err(|error| {
            let sentence = format!(
                "The state folder {} cannot be written ({error}); make it rill's, or name another one as state.dir.",
                folder.display()
            );
            Error::new(Kind::Unavailable, "state_unavailable", sentence)
        })?;
        let mut holder = String::new();
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Half a name is a name.
            let _ = (&file).take(200).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process",
                holder => holder,
            };
            return Err(Error::new(
                Kind::Conflict,
                "scan_running",
                format!("A scan is under way already, by {holder}; wait for its end."),
            ));
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
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path(), "rill scan").unwrap();
        let error = Lock::take(folder.path(), "the daemon").unwrap_err();
        assert_eq!(error.code(), "scan_running");
        let named = format!("by rill scan (process {})", std::process::id());
        assert!(error.sentence().contains(&named), "{}", error.sentence());
        drop(held);
        drop(Lock::take(folder.path(), "x").unwrap());
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text, format!("x (process {})\n", std::process::id()));
    }
}
