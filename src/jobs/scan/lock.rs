//! One scan at a time, whoever starts it.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::store::lock::{self, Refused};

/// The file's name in the state folder.
const FILE: &str = "scan.lock";

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _lock: lock::Lock,
}

impl Lock {
    /// Takes the lock of a state folder, which is made when it is missing. `who` is what others are told.
    ///
    /// # Errors
    /// `scan_running`, naming who holds it; `state_unavailable` when the folder cannot be written.
    pub(super) fn take(folder: &Path, who: &str) -> Result<Lock> {
        match lock::Lock::take(folder, FILE, who) {
            Ok(lock) => Ok(Lock { _lock: lock }),
            Err(Refused::Held(holder)) => Err(Error::new(
                Kind::Conflict,
                "scan_running",
                format!("A scan is under way already, by {holder}; wait for its end."),
            )),
            Err(Refused::Disk(error)) => {
                let sentence = format!(
                    "The state folder {} cannot be written ({error}); make it rill's, or name another one as state.dir.",
                    folder.display()
                );
                Err(Error::new(Kind::Unavailable, "state_unavailable", sentence))
            }
        }
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
