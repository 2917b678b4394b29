//! Bytes on their way into a part: a large piece is written on the blocking pool while the next is read.
//!
//! One piece is on its way at most; who brings the next one waits for it, and with it the client. Now and then what was
//! written is synced in the background, so that the last sync does not wait for gigabytes, and so that a client
//! that goes on later loses little.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ring::digest::{Algorithm, Context, Digest};
use smol::Task;

use crate::error::{Error, Kind, Result};
use crate::store::space::{self, Promise, Space};

/// Bytes of a piece: few calls for gigabytes, and two of them are no burden to a small Pi.
pub const PIECE: usize = 512 * 1024;

/// Bytes after which what was written is synced in the background.
const SYNC_EVERY: u64 = 32 << 20;

/// Bytes after which the disk's space is looked at again.
const LOOK_EVERY: u64 = 16 << 20;

/// Writes a part, from an offset on.
#[derive(Debug)]
pub struct Sink {
    file: Arc<File>,
    /// Where the next piece goes.
    at: u64,
    /// Where it must end.
    limit: u64,
    space: Space,
    promise: Arc<Promise>,
    looked: u64,
    writing: Option<Task<Written>>,
    syncing: Option<(u64, Task<io::Result<()>>)>,
    /// When the last sync began, this was written.
    sync_from: u64,
    /// This is known to be on the disk.
    synced: u64,
    hash: Option<Hash>,
}

/// A buffer that comes back, the hash, and how the write went.
type Written = (Vec<u8>, Option<Hash>, Result<()>);

/// What is fed with all that is written.
struct Hash(Context);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Sink {
    /// Writes `file` from `at` on, of which `limit` bytes are taken in all. With `hash`, what is written is hashed so.
    pub fn new(
        file: Arc<File>,
        at: u64,
        limit: u64,
        space: Space,
        promise: Arc<Promise>,
        hash: Option<&'static Algorithm>,
    ) -> Sink {
        Sink {
            file,
            at,
            limit,
            space,
            promise,
            looked: at,
            writing: None,
            syncing: None,
            sync_from: at,
            synced: at,
            hash: hash.map(|algorithm| Hash(Context::new(algorithm))),
        }
    }

    /// How far it was written, and will be when the piece that is on its way has arrived.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How far it is on the disk for certain.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Begins to write a range of a buffer when the one before is written; another buffer of [`PIECE`] bytes comes
    /// back.
    ///
    /// # Errors
    /// `payload_too_large` beyond the limit, `no_space`, and what the disk says of the piece before.
    pub async fn write(&mut self, buffer: Vec<u8>, range: Range<usize>) -> Result<Vec<u8>> {
        let spare = self.written().await?;
        let length = range.len() as u64;
        if length > self.limit.saturating_sub(self.at) {
            return Err(too_large(self.limit));
        }
        self.sync_in_background().await?;
        let look = self.at.saturating_sub(self.looked) >= LOOK_EVERY;
        if look {
            self.looked = self.at;
        }
        let (file, at, space) = (self.file.clone(), self.at, self.space.clone());
        let mut hash = self.hash.take();
        self.at += length;
        self.promise.used(length);
        self.writing = Some(smol::unblock(move || {
            let piece = &buffer[range];
            let looked = match look {
                true => space.check(),
                false => Ok(()),
            };
            let written =
                looked.and_then(|()| file.write_all_at(piece, at).map_err(space::write_failed));
            if let (Ok(()), Some(hash)) = (&written, &mut hash) {
                hash.0.update(piece);
            }
            (buffer, hash, written)
        }));
        Ok(spare)
    }

    /// Waits for the piece on its way; its buffer, or a new one.
    async fn written(&mut self) -> Result<Vec<u8>> {
        let Some(writing) = self.writing.take() else {
            return Ok(vec![0; PIECE]);
        };
        let (buffer, hash, written) = writing.await;
        self.hash = hash;
        written.map(|()| buffer)
    }

    async fn sync_in_background(&mut self) -> Result<()> {
        // Known as soon as it is done: whoever goes on after a kill goes on from there.
        if matches!(&self.syncing, Some((_, syncing)) if syncing.is_finished()) {
            self.synchronised().await?;
        }
        if self.at.saturating_sub(self.sync_from) < SYNC_EVERY {
            return Ok(());
        }
        self.synchronised().await?;
        let file = self.file.clone();
        self.sync_from = self.at;
        self.syncing = Some((self.at, smol::unblock(move || file.sync_data())));
        Ok(())
    }

    async fn synchronised(&mut self) -> Result<()> {
        if let Some((to, syncing)) = self.syncing.take() {
            syncing.await.map_err(space::write_failed)?;
            self.synced = to;
        }
        Ok(())
    }

    /// Waits until all is written and on the disk: the hash of what was written, where one was asked for.
    ///
    /// # Errors
    /// The disk's.
    pub async fn finish(&mut self) -> Result<Option<Digest>> {
        self.written().await?;
        self.synchronised().await?;
        let file = self.file.clone();
        smol::unblock(move || file.sync_all())
            .await
            .map_err(space::write_failed)?;
        self.synced = self.at;
        Ok(self.hash.take().map(|hash| hash.0.finish()))
    }
}

fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::TooLarge,
        "payload_too_large",
        format!(
            "The file is larger than the {} MB that are taken; raise limits.upload in rill.toml to take it.",
            limit / 1_000_000
        ),
    )
}

/// Refuses a file that is known to be too large.
///
/// # Errors
/// `payload_too_large` (413).
pub fn check_length(length: u64, limit: u64) -> Result<()> {
    match length <= limit {
        true => Ok(()),
        false => Err(too_large(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::digest::SHA256;

    #[test]
    fn pieces_are_written_in_order_hashed_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path(), 0);
        let promise = Arc::new(space.promise(10).unwrap());
        let path = folder.path().join("x");
        let file = Arc::new(File::create_new(&path).unwrap());
        let hash = Some(&SHA256);
        let mut sink = Sink::new(file, 0, 10, space, promise, hash);
        let digest = smol::block_on(async {
            for piece in [&b"abc"[..], b"defg", b"hij"] {
                let buffer = [b"--", piece].concat();
                sink.write(buffer, 2..2 + piece.len()).await.unwrap();
            }
            let error = sink.write(vec![1], 0..1).await.unwrap_err();
            assert_eq!(error.code(), "payload_too_large");
            sink.finish().await.unwrap().unwrap()
        });
        assert_eq!((sink.at(), sink.synced()), (10, 10));
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdefghij");
        assert_eq!(
            digest.as_ref(),
            ring::digest::digest(&SHA256, b"abcdefghij").as_ref()
        );
    }

    #[test]
    fn a_full_disk_is_told_by_its_name() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path(), 0);
        let promise = Arc::new(space.promise(0).unwrap());
        let mut sink = Sink::new(Arc::new(full), 0, 10, space, promise, None);
        smol::block_on(async {
            sink.write(vec![1, 2, 3], 0..3).await.unwrap();
            assert_eq!(sink.finish().await.unwrap_err().code(), "no_space");
        });
    }
}
