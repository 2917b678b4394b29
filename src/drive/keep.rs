//! Which bytes of a file are kept on the disk: the first and the last MiB of films and music, where players look first.
//!
//! Bytes are kept when a stream passes them anyway; nothing is fetched for the cache. A range is answered from it
//! only when all of it is there: of anything longer Drive must say first whether it may be had.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smol::unblock;

use super::Metadata;
use crate::store::blocks::{BLOCK, Blocks};

/// Bytes kept at either end of a file.
const ENDS: u64 = 1024 * 1024;

/// Blocks in the making at once: a MiB in all, beside what streams may hold. Streams beyond that leave nothing behind.
const GATHERED: usize = 8;

/// The cache and who adds to it.
#[derive(Debug)]
pub(super) struct Larder {
    blocks: Blocks,
    gathering: AtomicUsize,
}

impl Larder {
    pub(super) fn new(blocks: Blocks) -> Larder {
        Larder {
            blocks,
            gathering: AtomicUsize::new(0),
        }
    }
}

/// A file's place in the cache.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    larder: Arc<Larder>,
    tag: Arc<str>,
    size: u64,
}

/// A block in the making.
#[derive(Debug)]
pub(super) struct Gathering {
    index: u64,
    bytes: Vec<u8>,
    larder: Arc<Larder>,
}

impl Gathering {
    fn new(larder: &Arc<Larder>, index: u64, len: u64) -> Option<Gathering> {
        if larder.gathering.fetch_add(1, Ordering::Relaxed) >= GATHERED {
            larder.gathering.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        Some(Gathering {
            index,
            bytes,
            larder: larder.clone(),
        })
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.larder.gathering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Keep {
    /// The place of a file under `tag`; only of media, since nothing else is opened over and over.
    pub(super) fn of(larder: &Arc<Larder>, file: &Metadata, tag: &str, size: u64) -> Option<Keep> {
        let media = ["video/", "audio/"]
            .iter()
            .any(|kind| file.mime_type.starts_with(kind));
        media.then(|| Keep {
            larder: larder.clone(),
            tag: tag.into(),
            size,
        })
    }

    /// Whether the block at `index` belongs to an end of the file.
    fn wanted(&self, index: u64) -> bool {
        index < ENDS / BLOCK || index >= self.size.saturating_sub(ENDS) / BLOCK
    }

    /// Bytes of the block at `index`.
    fn len(&self, index: u64) -> u64 {
        BLOCK.min(self.size - index * BLOCK)
    }

    /// Whether all of `range` is thought to be on the disk.
    pub(super) async fn covers(&self, range: &Range<u64>) -> bool {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        // Longer than both ends together, it cannot be; and the check stays short.
        if range.is_empty() || blocks.end - blocks.start > 2 * (ENDS / BLOCK) + 2 {
            return false;
        }
        if !blocks.clone().all(|index| self.wanted(index)) {
            return false;
        }
        let this = self.clone();
        unblock(move || {
            blocks
                .into_iter()
                .all(|index| this.larder.blocks.has(&this.tag, index))
        })
        .await
    }

    /// The bytes from `position` to the end of its block.
    pub(super) async fn read(&self, position: u64) -> Option<Vec<u8>> {
        let (this, index) = (self.clone(), position / BLOCK);
        let mut block = unblock(move || this.larder.blocks.get(&this.tag, index)).await?;
        if block.len() as u64 != self.len(index) {
            return None;
        }
        block.drain(..usize::try_from(position % BLOCK).ok()?);
        Some(block)
    }

    /// A stream passes `bytes` at `position`: whole blocks of them are kept.
    pub(super) fn pass(
        &self,
        gathering: &mut Option<Gathering>,
        mut position: u64,
        mut bytes: &[u8],
    ) {
        while !bytes.is_empty() {
            let index = position / BLOCK;
            let rest = (index + 1) * BLOCK - position;
            let (now, later) = bytes.split_at((rest as usize).min(bytes.len()));
            if position % BLOCK == 0 && self.wanted(index) {
                // The one before is whole, or it was left.
                *gathering = None;
                *gathering = Gathering::new(&self.larder, index, self.len(index));
            }
            if let Some(block) = gathering.as_mut().filter(|block| block.index == index) {
                block.bytes.extend_from_slice(now);
                if block.bytes.len() as u64 == self.len(index) {
                    self.put(gathering.take());
                }
            } else {
                *gathering = None;
            }
            position += now.len() as u64;
            bytes = later;
        }
    }

    fn put(&self, block: Option<Gathering>) {
        let Some(block) = block else { return };
        let this = self.clone();
        unblock(move || this.larder.blocks.put(&this.tag, block.index, &block.bytes)).detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn keep(folder: &std::path::Path, size: u64) -> Keep {
        let larder = Arc::new(Larder::new(Blocks::new(folder, 64 << 20, 0)));
        Keep {
            larder,
            tag: "tag".into(),
            size,
        }
    }

    fn byte(offset: u64) -> u8 {
        (offset / 7 % 251) as u8
    }

    /// What a stream of `range` in pieces of `step` bytes leaves.
    fn stream(keep: &Keep, range: Range<u64>, step: u64) {
        let (mut gathering, mut at) = (None, range.start);
        while at < range.end {
            let end = (at + step).min(range.end);
            let bytes: Vec<u8> = (at..end).map(byte).collect();
            keep.pass(&mut gathering, at, &bytes);
            at = end;
        }
    }

    async fn soon(keep: &Keep, range: Range<u64>) -> bool {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if keep.covers(&range).await {
                return true;
            }
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        false
    }

    #[test]
    fn both_ends_are_kept_and_the_middle_is_not() {
        smol::block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let size = 3 * ENDS + 12_345;
            let keep = keep(folder.path(), size);
            stream(&keep, 5..size, 100_001);
            assert!(soon(&keep, BLOCK..ENDS).await);
            assert!(soon(&keep, size - ENDS..size).await);
            assert!(!keep.covers(&(0..10)).await, "its block did not pass whole");
            assert!(!keep.covers(&(ENDS..ENDS + 1)).await);
            assert!(!keep.covers(&(0..size)).await);
            assert!(!keep.covers(&(7..7)).await);
            let at = size - 777;
            let tail = keep.read(at).await.unwrap();
            assert_eq!(tail, (at..size).map(byte).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_small_file_is_all_ends() {
        smol::block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let keep = keep(folder.path(), 300_000);
            stream(&keep, 0..300_000, 4096);
            assert!(soon(&keep, 0..300_000).await);
            assert_eq!(keep.read(299_999).await.unwrap(), [byte(299_999)]);
        });
    }
}
