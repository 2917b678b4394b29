//! A folder of media on this disk, and the fence around it.
//!
//! No path leads outside: not by `..` ([`MediaPath`] has none), not by a symbolic link, not by one that is
//! exchanged while it is looked up. The kernel keeps the fence (`openat2` with `RESOLVE_BENEATH`, Linux 5.6); where
//! it cannot, the file is opened as a mere path first and let through by where it turned out to lie.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use smol::channel::Receiver;

use crate::error::{Error, Kind, Result};
use crate::media::contents::{self, Contents};
use crate::media::listing;
pub use crate::media::listing::{Item, Listing};
use crate::media::path::MediaPath;
use crate::media::recent::Recent;

/// How long a listing is taken for true. Long enough that a flood of page views costs one scan,
/// short enough that a copied file is there when its owner looks.
const FRESH: Duration = Duration::from_secs(2);

/// A scan takes at most one part in this many of the time: a large folder on a slow card is read less often.
const SCAN_SHARE: u32 = 10;

/// How a file is opened. Not blocking: opening a pipe would otherwise wait for its other end.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A folder of media. Clones share it.
#[derive(Clone, Debug)]
pub struct Folder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    recent: Recent,
    /// Rung when somebody says that the folder changed.
    news: Event,
    /// What the last scan found. Held for a few instructions, never across a wait.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listing: Option<Arc<Listing>>,
    /// When the listing stops being taken for true.
    stale_at: Option<Instant>,
    /// Present while a scan runs, which holds the sender: its end, however it ends, wakes all who wait.
    scanning: Option<Receiver<()>>,
    /// How often somebody said that the folder changed.
    changes: u64,
}

impl Folder {
    /// Names a folder; it need not exist yet.
    pub fn new(root: PathBuf) -> Folder {
        Folder {
            shared: Arc::new(Shared {
                root,
                recent: Recent::default(),
                news: Event::new(),
                state: Mutex::default(),
            }),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Opens a regular file at `path`, never one outside the folder.
    ///
    /// # Errors
    /// `not_found` (404) for everything that is not a regular file inside, `not_readable` (403) for one that the
    /// daemon's user may not read, `busy` (503) when descriptors are used up.
    pub async fn open(&self, path: &MediaPath) -> Result<Arc<File>> {
        if path.is_hidden() {
            return Err(not_found());
        }
        // What the kernel knows already is opened here and now; what would wait for the disk is opened on the
        // blocking pool, so that a stalled card stalls no other stream.
        let mut opened = open_beneath(&self.shared.root, path, ResolveFlags::CACHED);
        if !matches!(
            opened,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG)
        ) {
            let (shared, path) = (self.shared.clone(), path.clone());
            opened = smol::unblock(move || {
                match open_beneath(&shared.root, &path, ResolveFlags::empty()) {
                    // No such call (qemu's user mode, old kernels), forbidden by a filter that does not know it, or an
                    // absolute link, which may yet lead inside.
                    Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::XDEV | Errno::AGAIN) => {
                        open_checked(&shared.root, &path)
                    }
                    other => other,
                }
            })
            .await;
        }
        opened
            .map(|file| Arc::new(File::from(file)))
            .map_err(refusal)
    }

    /// As [`Folder::open`], or the same descriptor as a moment ago: what reads it says where, for its position is
    /// shared with others. With what the kernel knows of the file now.
    ///
    /// # Errors
    /// As [`Folder::open`]; `internal_error` (500) when a disk does not tell even that.
    pub async fn open_shared(&self, path: &MediaPath) -> Result<(Arc<File>, Metadata)> {
        if let Some(known) = self.shared.recent.get(path) {
            return Ok(known);
        }
        let file = self.open(path).await?;
        let metadata = file.metadata().map_err(|error| {
            Error::internal("The disk does not tell a file's length; check it.").because(error)
        })?;
        self.shared.recent.put(path, &file, &metadata);
        Ok((file, metadata))
    }

    /// What the folder holds, as of some seconds ago at most; waits for a scan when that is not known.
    pub async fn list(&self) -> Arc<Listing> {
        let scan = {
            let mut state = self.shared.state();
            match &state.listing {
                Some(listing) if state.stale_at.is_some_and(|at| Instant::now() < at) => {
                    return listing.clone();
                }
                _ => self.scanning(&mut state),
            }
        };
        // Nothing is ever sent: the wait ends when the scan drops its sender.
        let _ = scan.recv().await;
        self.known().unwrap_or_default()
    }

    /// What lies in the folder at `path` now, in the whole folder when there is none. Blocks.
    ///
    /// # Errors
    /// `not_found` (404), `not_readable` (403), `busy` (503), and `videos_missing` (503) when the whole is not there.
    pub fn contents(&self, path: Option<&MediaPath>) -> Result<Contents> {
        if path.is_some_and(MediaPath::is_hidden) {
            return Err(not_found());
        }
        contents::read(self.root(), path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && !self.root().is_dir() {
                return Error::new(
                    Kind::Unavailable,
                    "videos_missing",
                    "The video folder is not there; plug its disk in, or set library.videos to another.",
                );
            }
            refusal(Errno::from_io_error(&error).unwrap_or(Errno::NOENT))
        })
    }

    /// Whether a folder lies at `path`.
    pub async fn has_folder(&self, path: &MediaPath) -> bool {
        if path.is_hidden() {
            return false;
        }
        let (shared, path) = (self.shared.clone(), path.clone());
        smol::unblock(move || listing::entries(&shared.root, Some(&path)).is_ok()).await
    }

    /// What the last scan found, however old; `None` before the first.
    pub fn known(&self) -> Option<Arc<Listing>> {
        self.shared.state().listing.clone()
    }

    /// Says that the folder was changed: the next listing is read anew.
    pub fn changed(&self) {
        let mut state = self.shared.state();
        state.changes += 1;
        state.stale_at = None;
        drop(state);
        self.shared.news.notify(usize::MAX);
    }

    /// Resolves when somebody says that the folder changed, after this call.
    pub fn touched(&self) -> EventListener {
        self.shared.news.listen()
    }

    /// The scan that runs, or else one that is started. It goes on when those who wait for it leave, so that a
    /// slow disk is read by one scan at a time and not by one for each of them.
    fn scanning(&self, state: &mut State) -> Receiver<()> {
        if let Some(scan) = &state.scanning {
            if !scan.is_closed() {
                return scan.clone();
            }
        }
        let (running, scan) = smol::channel::bounded(1);
        state.scanning = Some(scan.clone());
        let shared = self.shared.clone();
        smol::unblock(move || {
            let began = Instant::now();
            let changes = shared.state().changes;
            let found = listing::scan(&shared.root);
            let now = Instant::now();
            let mut state = shared.state();
            // Unchanged files keep their listing, so that what was made of it stays valid.
            state.listing = match state.listing.take() {
                Some(old) if old.same_files(&found) && old.free == found.free => Some(old),
                _ => Some(Arc::new(found)),
            };
            // What changed meanwhile may have been passed by already.
            let fresh = now + FRESH.max((now - began) * SCAN_SHARE);
            state.stale_at = (state.changes == changes).then_some(fresh);
            state.scanning = None;
            drop(state);
            drop(running);
        })
        .detach();
        scan
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data that is never left half-written: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens by `openat2`: links are followed as long as they stay below the root, `/proc`'s magic ones never.
fn open_beneath(root: &Path, path: &MediaPath, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let folder = rustix::fs::openat2(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        how,
    )?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | how;
    let file = rustix::fs::openat2(folder, path.as_path(), READ, Mode::empty(), beneath)?;
    regular(file)
}

/// Opens without `openat2`: as a mere path, which touches no device, then for reading once it is known to be a
/// regular file and to lie below the root. The descriptor is what is checked and what is opened again, so
/// that exchanging names meanwhile changes nothing.
fn open_checked(root: &Path, path: &MediaPath) -> Result<OwnedFd, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let root = std::fs::canonicalize(root).map_err(errno)?;
    let place = OFlags::PATH | OFlags::CLOEXEC;
    // Whatever hides what lies outside is answered alike.
    let found = rustix::fs::open(root.join(path.as_path()), place, Mode::empty())
        .map_err(|_| Errno::NOENT)
        .and_then(regular)?;
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let lies = std::fs::read_link(&link).map_err(errno)?;
    if !lies.starts_with(&root) {
        return Err(Errno::NOENT);
    }
    rustix::fs::open(link, READ, Mode::empty()).and_then(regular)
}

/// Lets regular files through: no folder, device, pipe or socket.
fn regular(file: OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = rustix::fs::fstat(&file)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::NOENT),
    }
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "not_found",
        "No such file here; the list at / shows what there is.",
    )
}

/// The answer to a file that could not be opened.
fn refusal(errno: Errno) -> Error {
    match errno {
        Errno::ACCESS => Error::new(
            Kind::Forbidden,
            "not_readable",
            "The file is there, but rill may not read it; give its user read access.",
        ),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Error::new(
            Kind::Unavailable,
            "busy",
            "Too many files are open at this moment; try again in some seconds.",
        )
        .retry_after(Duration::from_secs(5))
        .because(io::Error::from(errno)),
        Errno::IO => Error::internal("The disk cannot read this file; check it and its cable.")
            .because(io::Error::from(errno)),
        _ => not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> MediaPath {
        MediaPath::new(text.as_bytes()).unwrap()
    }

    fn read(file: impl Into<File>) -> String {
        let mut text = String::new();
        file.into().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_fence_holds_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let outer = dir.path();
        let root = outer.join("videos");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(outer.join("secret"), "secret").unwrap();
        fs::create_dir(outer.join("videos-too")).unwrap();
        fs::write(outer.join("videos-too/secret"), "secret").unwrap();
        fs::write(root.join("a.mp4"), "inside").unwrap();
        fs::write(root.join(".hidden"), "hidden").unwrap();
        symlink("../a.mp4", root.join("sub/up.mp4")).unwrap();
        symlink(root.join("a.mp4"), root.join("absolute.mp4")).unwrap();
        symlink("../secret", root.join("out.mp4")).unwrap();
        symlink(outer.join("secret"), root.join("absolute-out.mp4")).unwrap();
        symlink(outer, root.join("door")).unwrap();
        symlink("/proc/self", root.join("proc")).unwrap();
        symlink("/dev/zero", root.join("zero.mp4")).unwrap();
        symlink("self.mp4", root.join("self.mp4")).unwrap();
        rustix::fs::mknodat(CWD, root.join("pipe.mp4"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.mp4")).unwrap();

        let folder = Folder::new(root.clone());
        for good in ["a.mp4", "sub/up.mp4", "absolute.mp4"] {
            let file = smol::block_on(folder.open(&path(good))).unwrap();
            assert_eq!(read(Arc::into_inner(file).unwrap()), "inside", "{good}");
            assert_eq!(
                read(open_checked(&root, &path(good)).unwrap()),
                "inside",
                "{good}"
            );
        }
        for bad in [
            "out.mp4",
            "absolute-out.mp4",
            "door/secret",
            "door/videos-too/secret",
            "proc/cwd/Cargo.toml",
            "proc/environ",
            "zero.mp4",
            "self.mp4",
            "pipe.mp4",
            "socket.mp4",
            "sub",
            "a.mp4/x",
            "missing",
            &"n".repeat(300),
        ] {
            let error = smol::block_on(folder.open(&path(bad))).unwrap_err();
            assert_eq!(error.code(), "not_found", "{bad}");
            assert!(open_checked(&root, &path(bad)).is_err(), "{bad}");
        }
        assert!(smol::block_on(folder.open(&path(".hidden"))).is_err());
    }

    #[test]
    fn listings_are_shared_and_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("videos"));
        assert!(smol::block_on(folder.list()).problem.is_some());
        fs::create_dir(folder.root()).unwrap();
        fs::write(folder.root().join("a.mp4"), "x").unwrap();
        let old = smol::block_on(folder.list());
        assert!(old.items.is_empty(), "still fresh");
        std::thread::sleep(FRESH);
        assert_eq!(smol::block_on(folder.list()).items.len(), 1);
    }
}
