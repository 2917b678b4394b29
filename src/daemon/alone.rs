//! One daemon for a state folder: a second one would take what the first is writing for what a kill has left, and
//! remove it. So it plays and says what is wrong, and leaves tidying and jobs to the other as long as that is there.
//! Commands beside a daemon are welcome.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smol::Timer;

use crate::error::{Error, Kind, Result};
use crate::store::lock::{Lock, Refused};

/// The file's name in the state folder.
const FILE: &str = "serve.lock";

/// How often those who wait for the other daemon's end look for it.
const LOOK: Duration = Duration::from_secs(5);

/// The right to a state folder, once it was taken; held until the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Alone(Arc<State>);

#[derive(Debug, Default)]
struct State {
    lock: Mutex<Option<Lock>>,
    /// Another daemon has it; written by [`Alone::take`].
    others: AtomicBool,
}

impl Alone {
    /// Takes the folder, unless that was done and it is still the same. One that is missing or cannot be written is
    /// left for a later call: the daemon runs without its state. Blocks on the disk.
    ///
    /// # Errors
    /// `state_in_use`, naming the other daemon.
    pub(super) fn take(&self, folder: &Path) -> Result<()> {
        let mut taken = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match &*taken {
            Some(lock) if !lock.is_lost() => return Ok(()),
            // Let go of it, for a disk that failed is rid of its failure only once nobody has a file of it open.
            _ => *taken = None,
        }
        let refused = match Lock::take(folder, FILE, "rill serve") {
            Ok(lock) => {
                *taken = Some(lock);
                None
            }
            Err(Refused::Held(holder)) => Some(holder),
            Err(Refused::Disk(error)) => {
                log::debug!("the state folder is not locked: {error}");
                None
            }
        };
        self.0.others.store(refused.is_some(), Ordering::SeqCst);
        let Some(holder) = refused else {
            return Ok(());
        };
        let sentence = format!(
            "the state folder {} is in use by {holder}, and conversions wait for its end; end one of the two, or name another folder as state.dir",
            folder.display()
        );
        Err(Error::new(Kind::Unavailable, "state_in_use", sentence))
    }

    /// Returns when the folder is no other daemon's.
    pub(super) async fn left_by_others(&self) {
        while self.0.others.load(Ordering::SeqCst) {
            Timer::after(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_daemons() {
        let left = |alone: &Alone| {
            smol::block_on(smol::future::poll_once(alone.left_by_others())).is_some()
        };
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state");
        let (first, second) = (Alone::default(), Alone::default());
        first.take(&folder).unwrap();
        first.take(&folder).unwrap();
        let error = second.take(&folder).unwrap_err();
        assert_eq!(error.code(), "state_in_use");
        assert!(left(&first) && !left(&second));
        let named = format!("rill serve (process {})", std::process::id());
        assert!(error.sentence().contains(&named), "{}", error.sentence());
        let held = first.clone();
        drop(first);
        assert!(second.take(&folder).is_err());
        drop(held);
        second.take(&folder).unwrap();
        assert!(left(&second));
        // Another folder of the same name is taken anew.
        std::fs::rename(&folder, root.path().join("old")).unwrap();
        second.take(&folder).unwrap();
        assert!(Alone::default().take(&folder).is_err());
        Alone::default().take(&root.path().join("old")).unwrap();
        // A folder that cannot be made is nobody's, and no fault of another daemon.
        std::fs::write(root.path().join("file"), b"").unwrap();
        Alone::default()
            .take(&root.path().join("file/state"))
            .unwrap();
    }
}
