//! What may still be written to a disk: what is free, less what is never filled, less what others were promised.
//!
//! Two uploads that each fit must not both be let in when together they do not; so each is promised its length, and
//! gives the promise back byte by byte as it turns into used space.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Kind, Result};
use crate::sys::disk;

/// The disk below a folder; clones share what was promised.
#[derive(Clone, Debug)]
pub struct Space(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Never filled, in bytes.
    spare: u64,
    /// Promised and not yet written, in bytes.
    promised: AtomicU64,
}

/// Bytes that are coming. Dropped, what is left of them is free again.
#[derive(Debug)]
pub struct Promise {
    space: Arc<Inner>,
    left: AtomicU64,
}

impl Space {
    /// The disk of `folder`, of which `spare` bytes are never filled.
    pub fn of(folder: &Path, spare: u64) -> Space {
        Space(Arc::new(Inner {
            folder: folder.to_owned(),
            spare,
            promised: AtomicU64::new(0),
        }))
    }

    /// Promises room for so many bytes. Blocks.
    ///
    /// # Errors
    /// `no_space` (507); `videos_missing` (503) when there is no such folder.
    pub fn promise(&self, bytes: u64) -> Result<Promise> {
        let others = self.0.promised.fetch_add(bytes, Ordering::AcqRel);
        let promise = Promise {
            space: self.0.clone(),
            left: AtomicU64::new(bytes),
        };
        let needed = bytes.saturating_add(others);
        match self.room()? {
            room if needed <= room => Ok(promise),
            room => Err(no_space(bytes, room.saturating_sub(others))),
        }
    }

    /// Whether the disk may be written on. Blocks.
    ///
    /// # Errors
    /// As [`Space::promise`].
    pub fn check(&self) -> Result<()> {
        match self.room()? {
            0 => Err(no_space(0, 0)),
            _ => Ok(()),
        }
    }

    fn room(&self) -> Result<u64> {
        let free = disk::free(&self.0.folder).map_err(|error| {
            Error::new(
                Kind::Unavailable,
                "videos_missing",
                format!(
                    "The video folder {} is not there ({error}); plug its disk in, or set library.videos to another.",
                    self.0.folder.display()
                ),
            )
        })?;
        Ok(free.saturating_sub(self.0.spare))
    }
}

/// The disk of the videos is full, or as full as it may be.
fn no_space(needed: u64, room: u64) -> Error {
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    let sentence = match needed {
        0 => "The disk of the videos is full; delete something, or lower limits.free_space."
            .to_owned(),
        _ => format!(
            "This needs {} MB on the disk of the videos, and {} MB may still be filled; delete something, or lower \
             limits.free_space.",
            mb(needed),
            room / 1_000_000
        ),
    };
    Error::new(Kind::NoSpace, "no_space", sentence)
}

/// What a failure to write means.
pub fn write_failed(error: std::io::Error) -> Error {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => no_space(0, 0).because(error),
        ErrorKind::FileTooLarge => Error::new(
            Kind::TooLarge,
            "payload_too_large",
            "The disk of the videos takes no files of this size (FAT32 ends at 4 GiB); use another file system.",
        )
        .because(error),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::new(
            Kind::Unavailable,
            "videos_missing",
            "rill may not write into the video folder; give it to rill's user, and make its disk writable, for the service as well (ReadWritePaths= in README.Debian).",
        )
        .because(error),
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::new(
            Kind::Unavailable,
            "videos_missing",
            "The video folder is not there; plug its disk in, or set library.videos to another.",
        )
        .because(error),
        _ => Error::internal("The disk of the videos does not take what is sent; check it and its cable.")
            .because(error),
    }
}

impl Promise {
    /// Says that so many bytes have become used space.
    pub fn used(&self, bytes: u64) {
        let less = |left: u64| Some(left - bytes.min(left));
        let update = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        let before = update.unwrap_or_else(|before| before);
        let taken = bytes.min(before);
        self.space.promised.fetch_sub(taken, Ordering::AcqRel);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let left = *self.left.get_mut();
        self.space.promised.fetch_sub(left, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_not_promised_twice() {
        let folder = tempfile::tempdir().unwrap();
        let free = disk::free(folder.path()).unwrap();
        let space = Space::of(folder.path(), 0);
        let first = space.promise(free / 3 * 2).unwrap();
        assert_eq!(space.promise(free / 3 * 2).unwrap_err().code(), "no_space");
        first.used(free / 3);
        let second = space.promise(free / 3).unwrap();
        drop((first, second));
        assert_eq!(space.0.promised.load(Ordering::Acquire), 0);
        assert!(space.check().is_ok());
        let full = Space::of(folder.path(), u64::MAX);
        assert_eq!(full.check().unwrap_err().kind().status(), 507);
        assert_eq!(full.promise(1).unwrap_err().code(), "no_space");
        let gone = Space::of(&folder.path().join("gone"), 0);
        assert_eq!(gone.check().unwrap_err().code(), "videos_missing");
    }
}
