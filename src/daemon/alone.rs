//! One daemon for a state folder: a second one would take what the first is writing for what a kill has left, and remove
//! it. So it plays and says what is wrong, and leaves jobs, uploads and tidying to the other as long as that is there.
//! Commands beside a daemon are welcome.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Lock order: `lock` before `standing`.
#[derive(Debug, Default)]
struct State {
    /// Held while the disk is asked, which may be for long.
    lock: Mutex<Option<Lock>>,
    /// Held for a few instructions; written by [`Alone::take`].
    standing: Mutex<Standing>,
}

#[derive(Clone, Debug, Default)]
enum Standing {
    /// The disk has not said yet.
    #[default]
    Unknown,
    /// No other daemon has it.
    Ours,
    /// Another has it: a sentence.
    Others(String),
}

impl Alone {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the folder, unless that was done and it is still the same. One that is missing or cannot be written is left
    /// for a later call: the daemon runs without its state. Blocks on the disk.
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
        let standing = match Lock::take(folder, FILE, "rill serve") {
            Ok(lock) => {
                *taken = Some(lock);
                Standing::Ours
            }
            Err(Refused::Held(holder)) => Standing::Others(format!(
                "the state folder {} is in use by {holder}; end one of the two, or name another folder as state.dir",
                folder.display()
            )),
            Err(Refused::Disk(error)) => {
                log::debug!("the state folder is not locked: {error}");
                Standing::Ours
            }
        };
        *self.standing() = standing;
        self.refusal()
    }

    /// Whether what only one daemon may do can be done here. Waits for no disk.
    ///
    /// # Errors
    /// `state_in_use`; `state_unavailable` as long as the disk has not said whose it is.
    pub(super) fn refusal(&self) -> Result<()> {
        match &*self.standing() {
            Standing::Ours => Ok(()),
            Standing::Others(sentence) => Err(Error::new(
                Kind::Unavailable,
                "state_in_use",
                sentence.clone(),
            )),
            Standing::Unknown => Err(Error::new(
                Kind::Unavailable,
                "state_unavailable",
                "The disk of the state folder does not answer; look after it.",
            )),
        }
    }

    /// Does `work` once the folder is known to be no other daemon's.
    pub(super) async fn first(self, work: impl Future<Output = ()>) {
        self.left_by_others().await;
        work.await;
    }

    async fn left_by_others(&self) {
        while self.refusal().is_err() {
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
        // Until the disk has said whose it is, nobody tidies up.
        assert!(!left(&first));
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
