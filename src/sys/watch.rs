//! Changes to files of a folder, as the kernel tells them (inotify(7)); asleep until it does.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use smol::Async;

/// What may mean a new or another content: a file was written and closed, or moved here, or went; or the
/// folder itself went.
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// A folder that is watched.
#[derive(Debug)]
pub struct Watch {
    events: Async<OwnedFd>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One of the files may have another content.
    Files,
    /// The folder is not the one that was watched any more: it went, or its disk did.
    Folder,
}

impl Watch {
    /// Watches a folder from here on.
    ///
    /// # Errors
    /// There is no folder, or the kernel has no watches (left).
    pub fn new(folder: &Path) -> io::Result<Watch> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, folder, EVENTS)?;
        Ok(Watch {
            events: Async::new(events)?,
        })
    }

    /// Waits for a change of one of `names`, or of the folder.
    ///
    /// # Errors
    /// The kernel's; the watch is then of no more use.
    pub async fn changed(&self, names: &[&str]) -> io::Result<Change> {
        loop {
            let change = self
                .events
                .read_with(|events| read(events, names).map_err(io::Error::from))
                .await?;
            if let Some(change) = change {
                return Ok(change);
            }
        }
    }
}

/// Reads the events that are there; `WouldBlock` when there are none.
fn read(events: &OwnedFd, names: &[&str]) -> Result<Option<Change>, Errno> {
    // An event has 16 bytes and a name of up to 256.
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(events, &mut buffer);
    let mut change = None;
    let mut first = true;
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::WOULDBLOCK) if !first => return Ok(change),
            Err(error) => return Err(error),
        };
        first = false;
        let flags = event.events();
        let gone =
            ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if flags.intersects(gone) {
            return Ok(Some(Change::Folder));
        }
        let named = event
            .file_name()
            .and_then(|name| name.to_str().ok())
            .is_some_and(|name| names.contains(&name));
        // When events were lost, any may have been ours.
        if named || flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            change = Some(Change::Files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wait(watch: &Watch, time: u64) -> Option<Change> {
        let change = async { watch.changed(&["a.json"]).await.ok() };
        let late = async {
            smol::Timer::after(Duration::from_millis(time)).await;
            None
        };
        smol::block_on(smol::future::or(change, late))
    }

    #[test]
    fn only_what_was_asked_for_wakes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        assert!(Watch::new(&root).is_err());
        std::fs::create_dir(&root).unwrap();
        let watch = Watch::new(&root).unwrap();
        std::fs::write(root.join("b.json"), "x").unwrap();
        assert_eq!(wait(&watch, 50), None);
        std::fs::write(root.join("a.json"), "x").unwrap();
        assert_eq!(wait(&watch, 5000), Some(Change::Files));
        std::fs::rename(root.join("b.json"), root.join("a.json")).unwrap();
        assert_eq!(wait(&watch, 5000), Some(Change::Files));
        std::fs::remove_dir_all(&root).unwrap();
        while wait(&watch, 5000) != Some(Change::Folder) {}
    }
}
