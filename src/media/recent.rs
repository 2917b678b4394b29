//! Files that were opened a moment ago: who seeks through a film asks for it again and again, and looking its
//! path up anew each time costs as much as sending a small range.
//!
//! An entry lives for a second, so that a disk can be unmounted and a folder above it moved; and it is given out only
//! while the file is the one it was: not removed, not replaced, not renamed, not written to.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::media::path::MediaPath;
use crate::sys::executor;

/// How long a file stays open for the next who asks.
const KEPT: Duration = Duration::from_secs(1);

/// Files kept at once. A household does not watch more.
const MOST: usize = 32;

/// What was opened in the last second. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: HashMap<MediaPath, Kept>,
    /// Whether a task waits to close what is old.
    sweeping: bool,
}

#[derive(Debug)]
struct Kept {
    file: Arc<File>,
    /// When the kernel last saw the file itself or one of its names change: seconds and nanoseconds.
    changed: (i64, i64),
    since: Instant,
}

impl Recent {
    /// The file at `path`, when it was opened a moment ago and is still what it was; and what the kernel knows of it.
    pub(super) fn get(&self, path: &MediaPath) -> Option<(Arc<File>, Metadata)> {
        let (file, time) = {
            let state = self.state();
            let kept = state.files.get(path)?;
            (kept.since.elapsed() < KEPT).then(|| (kept.file.clone(), kept.changed))?
        };
        // The kernel is asked without the lock, for which every other reader would wait.
        let metadata = file.metadata().ok()?;
        (changed(&metadata) == Some(time)).then_some((file, metadata))
    }

    /// Keeps a file that was opened at `path`.
    pub(super) fn put(&self, path: &MediaPath, file: &Arc<File>, metadata: &Metadata) {
        let Some(changed) = changed(metadata) else {
            return;
        };
        let mut state = self.state();
        if state.files.len() >= MOST {
            return;
        }
        let kept = Kept {
            file: file.clone(),
            changed,
            since: Instant::now(),
        };
        state.files.insert(path.clone(), kept);
        if !state.sweeping {
            state.sweeping = true;
            executor::spawn(self.clone().sweep()).detach();
        }
    }

    /// Closes what is old until nothing is left.
    async fn sweep(self) {
        loop {
            smol::Timer::after(KEPT).await;
            let mut state = self.state();
            state.files.retain(|_, kept| kept.since.elapsed() < KEPT);
            if state.files.is_empty() {
                state.sweeping = false;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data that is never left half-written: a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file's time of change; `None` when it has no name any more.
fn changed(metadata: &Metadata) -> Option<(i64, i64)> {
    (metadata.nlink() > 0).then_some((metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn path() -> MediaPath {
        MediaPath::new(b"a.mp4").unwrap()
    }

    #[test]
    fn only_what_is_unchanged_is_given_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.mp4");
        let recent = Recent::default();
        let open = || {
            fs::write(&place, "one").unwrap();
            let file = Arc::new(File::open(&place).unwrap());
            recent.put(&path(), &file, &file.metadata().unwrap());
            file
        };
        // The kernel's clock for these times has ticks of some milliseconds.
        let tick = || std::thread::sleep(Duration::from_millis(20));
        let file = open();
        assert!(
            recent
                .get(&path())
                .is_some_and(|(again, _)| Arc::ptr_eq(&again, &file))
        );
        tick();
        fs::write(&place, "another").unwrap();
        assert!(recent.get(&path()).is_none(), "written to");
        open();
        tick();
        fs::rename(&place, folder.path().join("b.mp4")).unwrap();
        assert!(recent.get(&path()).is_none(), "renamed");
        open();
        fs::remove_file(&place).unwrap();
        assert!(recent.get(&path()).is_none(), "removed");
        open();
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &place).unwrap();
        assert!(recent.get(&path()).is_none(), "replaced");
    }

    #[test]
    fn nothing_stays_open_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.mp4");
        fs::write(&place, "one").unwrap();
        let recent = Recent::default();
        let file = Arc::new(File::open(&place).unwrap());
        recent.put(&path(), &file, &file.metadata().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&file) > 1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
