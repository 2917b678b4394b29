//! A bounded cache of pieces of remote files on the disk.
//!
//! Every player asks a film's first and last bytes before it plays; kept here, the second time costs no request
//! to the other side of the Internet. It is a cache and no more: each block may vanish at any moment,
//! so nothing is synced, and one that does not check out is removed and was never there. What is kept, and
//! whether it may still be shown, is the business of those who put it here.
//!
//! A block is a file of its own, named for what it holds: a digest of the content's tag, and its index.
//!
//! ```text
//! magic (8) | SHA-256 of tag, index and bytes (32) | bytes
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ring::digest::{Context, Digest, SHA256};
use rustix::fs::OFlags;

use crate::store::atomic;

/// Bytes of a block; the last one of a file may be shorter.
pub const BLOCK: u64 = 128 * 1024;

const MAGIC: &[u8; 8] = b"rillblk1";
const HEAD: usize = MAGIC.len() + 32;
/// What the smallest file takes of a disk.
const SMALLEST: u64 = 4096;
/// How long nothing is kept after a write has failed: a full disk does not empty in a moment.
const RESPITE: Duration = Duration::from_secs(600);
const SUFFIX: &str = ".blk";
const TEMPORARY: &str = ".part";

/// Blocks by the tag of their content and their index.
#[derive(Debug)]
pub struct Blocks {
    folder: PathBuf,
    limit: u64,
    free_space: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// Whether the folder has been looked through.
    loaded: bool,
    /// When a write failed last.
    broken: Option<Instant>,
    blocks: HashMap<String, Entry>,
    bytes: u64,
    /// Counts uses; the smallest is the least recent.
    clock: u64,
    temporary: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
    /// Whether the file has its name; before that its place is only reserved, and nobody is told of it.
    whole: bool,
}

impl Index {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.blocks.remove(name) {
            self.bytes -= entry.bytes;
        }
    }
}

impl Blocks {
    /// A cache of at most `limit` bytes in `folder`, which is made when something is kept. `free_space` bytes of the
    /// disk are left free. Touches nothing yet.
    pub fn new(folder: &Path, limit: u64, free_space: u64) -> Blocks {
        let index = Mutex::new(Index::default());
        Blocks {
            folder: folder.to_owned(),
            limit,
            free_space,
            index,
        }
    }

    /// The folder's index; looked through once, when it is there. Blocks on the disk.
    fn index(&self) -> MutexGuard<'_, Index> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if !index.loaded {
            // A folder that is not there is looked for again the next time.
            let _ = self.load(&mut index);
        }
        index
    }

    /// Fails while the folder cannot be read: its disk may come yet, with all that is on it.
    fn load(&self, index: &mut Index) -> io::Result<()> {
        let mut found: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) else {
                continue;
            };
            if name.ends_with(TEMPORARY) {
                // Left by a daemon that was killed while it wrote.
                let _ = fs::remove_file(entry.path());
            } else if name.ends_with(SUFFIX) && meta.is_file() {
                found.push((
                    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    name,
                    meta.len(),
                ));
            }
        }
        // Reading a block writes nothing, so that after a start its age is that of its writing.
        found.sort();
        for (_, name, bytes) in found {
            let used = index.tick();
            let bytes = bytes.max(SMALLEST);
            index.bytes += bytes;
            let entry = Entry {
                bytes,
                used,
                whole: true,
            };
            index.blocks.insert(name, entry);
        }
        index.loaded = true;
        Ok(())
    }

    /// Whether the block is thought to be there. May block on the disk the first time.
    pub fn has(&self, tag: &str, index: u64) -> bool {
        let known = self.index();
        let entry = known.blocks.get(&name(tag, index));
        entry.is_some_and(|entry| entry.whole)
    }

    /// The block, checked; `None` when it is not there or not whole. Blocks on the disk.
    pub fn get(&self, tag: &str, index: u64) -> Option<Vec<u8>> {
        let name = name(tag, index);
        {
            let mut known = self.index();
            let used = known.tick();
            let entry = known.blocks.get_mut(&name).filter(|entry| entry.whole)?;
            entry.used = used;
        }
        match read(&self.folder.join(&name), tag, index) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                log::debug!("block {name} is thrown away: {error}");
                self.index().remove(&name);
                let _ = fs::remove_file(self.folder.join(&name));
                None
            }
        }
    }

    /// Keeps a block of at most [`BLOCK`] bytes; the least recently used leave for it. What fails is not kept, and
    /// said once. Blocks on the disk.
    pub fn put(&self, tag: &str, index: u64, bytes: &[u8]) {
        let name = name(tag, index);
        let size = SMALLEST.max((HEAD + bytes.len()) as u64);
        if bytes.len() as u64 > BLOCK || size > self.limit {
            return;
        }
        let (leaving, temporary) = {
            let mut known = self.index();
            if known.broken.is_some_and(|since| since.elapsed() < RESPITE)
                || known.blocks.contains_key(&name)
            {
                return;
            }
            if !known.loaded {
                // What is there must be known before something is added to it.
                let made = super::folder(&self.folder);
                if let Err(error) = made.and_then(|()| self.load(&mut known)) {
                    self.rest(&mut known, &error);
                    return;
                }
            }
            let mut leaving = Vec::new();
            while known.bytes + size > self.limit {
                // Those being written have no file yet that could leave; they are few.
                let whole = known.blocks.iter().filter(|(_, entry)| entry.whole);
                let oldest = whole.min_by_key(|(_, entry)| entry.used);
                let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                    break;
                };
                known.remove(&oldest);
                leaving.push(oldest);
            }
            let used = known.tick();
            known.bytes += size;
            let entry = Entry {
                bytes: size,
                used,
                whole: false,
            };
            known.blocks.insert(name.clone(), entry);
            known.temporary += 1;
            (leaving, format!("{}{TEMPORARY}", known.temporary))
        };
        for name in leaving {
            let _ = fs::remove_file(self.folder.join(name));
        }
        let temporary = self.folder.join(temporary);
        let written = self.write(&temporary, tag, index, bytes);
        let named = written.and_then(|()| fs::rename(&temporary, self.folder.join(&name)));
        let mut known = self.index();
        match named {
            Ok(()) => {
                if let Some(entry) = known.blocks.get_mut(&name) {
                    entry.whole = true;
                }
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                known.remove(&name);
                self.rest(&mut known, &error);
            }
        }
    }

    fn rest(&self, index: &mut Index, error: &io::Error) {
        index.broken = Some(Instant::now());
        log::info!(
            "the block cache {} keeps nothing for a while: {error}",
            self.folder.display()
        );
    }

    fn write(&self, path: &Path, tag: &str, index: u64, bytes: &[u8]) -> io::Result<()> {
        super::folder(&self.folder)?;
        let disk = rustix::fs::statvfs(&self.folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.free_space {
            return Err(io::Error::other("the disk is nearly full"));
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)?;
        atomic::give_to_owner(&file, &self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(digest(tag, index, bytes).as_ref())?;
        file.write_all(bytes)
    }
}

fn digest(tag: &str, index: u64, bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&(tag.len() as u64).to_le_bytes());
    context.update(tag.as_bytes());
    context.update(&index.to_le_bytes());
    context.update(bytes);
    context.finish()
}

/// A file name that any tag fits into.
fn name(tag: &str, index: u64) -> String {
    let digest = ring::digest::digest(&SHA256, tag.as_bytes());
    let hex: String = digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{hex}-{index}{SUFFIX}")
}

fn read(path: &Path, tag: &str, index: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD + BLOCK as usize);
    // One byte more than there may be tells a file that has grown.
    File::open(path)?
        .take(HEAD as u64 + BLOCK + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() < HEAD || bytes.len() as u64 > HEAD as u64 + BLOCK || bytes[..8] != MAGIC[..] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let body = bytes.split_off(HEAD);
    if digest(tag, index, &body).as_ref() != &bytes[MAGIC.len()..] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn what_is_kept_is_found_again_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks");
        let blocks = Blocks::new(&path, 1 << 20, 0);
        assert_eq!(blocks.get("a\"/../b", 0), None);
        blocks.put("a\"/../b", 0, b"first");
        blocks.put("a\"/../b", 7, b"");
        assert!(blocks.has("a\"/../b", 0) && !blocks.has("a", 0));
        fs::write(path.join("9.part"), b"half").unwrap();
        let again = Blocks::new(&path, 1 << 20, 0);
        assert_eq!(again.get("a\"/../b", 0).as_deref(), Some(&b"first"[..]));
        assert_eq!(again.get("a\"/../b", 7).as_deref(), Some(&b""[..]));
        assert_eq!(files(&path).len(), 2);
    }

    #[test]
    fn what_is_kept_is_found_when_its_disk_comes_after_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (away, path) = (folder.path().join("away"), folder.path().join("blocks"));
        Blocks::new(&away, 1 << 20, 0).put("tag", 1, b"bytes");
        let blocks = Blocks::new(&path, 1 << 20, 0);
        assert!(!blocks.has("tag", 1) && blocks.get("tag", 1).is_none());
        fs::rename(&away, &path).unwrap();
        assert!(blocks.has("tag", 1));
        assert_eq!(blocks.get("tag", 1).as_deref(), Some(&b"bytes"[..]));
        // What nobody asked for before is counted too, once.
        let counted = Blocks::new(&path, 1 << 20, 0);
        counted.put("tag", 2, b"more");
        assert_eq!(counted.index().bytes, 2 * SMALLEST);
    }

    #[test]
    fn damage_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let blocks = Blocks::new(folder.path(), 1 << 20, 0);
        for damage in [&b""[..], b"rillblk1", &[0; 400_000]] {
            blocks.put("tag", 1, b"bytes");
            let path = files(folder.path()).remove(0);
            fs::write(&path, damage).unwrap();
            assert_eq!(blocks.get("tag", 1), None);
            assert!(!blocks.has("tag", 1) && files(folder.path()).is_empty());
        }
        blocks.put("tag", 1, b"bytes");
        let path = files(folder.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(blocks.get("tag", 1), None);
        // Another content's block under this one's name is not this one.
        blocks.put("tag", 1, b"bytes");
        fs::copy(
            folder.path().join(name("tag", 1)),
            folder.path().join(name("tag", 2)),
        )
        .unwrap();
        let again = Blocks::new(folder.path(), 1 << 20, 0);
        assert_eq!(
            (again.get("tag", 2), again.get("tag", 1).is_some()),
            (None, true)
        );
    }

    #[test]
    fn the_least_recently_used_leave() {
        let folder = tempfile::tempdir().unwrap();
        let size = (HEAD + 5000) as u64;
        let blocks = Blocks::new(folder.path(), 3 * size, 0);
        for index in 0..3 {
            blocks.put("tag", index, &[0; 5000]);
        }
        assert!(blocks.get("tag", 0).is_some());
        blocks.put("tag", 3, &[0; 5000]);
        let kept: Vec<bool> = (0..4).map(|index| blocks.has("tag", index)).collect();
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(files(folder.path()).len(), 3);
        let smaller = Blocks::new(folder.path(), 2 * size, 0);
        smaller.put("tag", 9, &[0; 5000]);
        assert_eq!(files(folder.path()).len(), 2);
    }

    #[test]
    fn a_block_in_the_making_is_not_said_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let blocks = Blocks::new(folder.path(), 64 << 20, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in 0..300 {
                    blocks.put("tag", index, &[7; 50_000]);
                }
            });
            for index in 0..300 {
                while !blocks.has("tag", index) {
                    // Asking for it early must not lose it either.
                    let _ = blocks.get("tag", index);
                }
                assert!(blocks.get("tag", index).is_some(), "block {index}");
            }
        });
        assert_eq!(files(folder.path()).len(), 300);
    }

    #[test]
    fn a_full_or_forbidden_disk_is_borne() {
        let folder = tempfile::tempdir().unwrap();
        let full = Blocks::new(folder.path(), 1 << 20, u64::MAX);
        full.put("tag", 0, b"x");
        full.put("tag", 0, b"x");
        assert!(!full.has("tag", 0) && files(folder.path()).is_empty());
        let nowhere = Blocks::new(Path::new("/proc/nowhere"), 1 << 20, 0);
        nowhere.put("tag", 0, b"x");
        assert_eq!(nowhere.get("tag", 0), None);
    }
}
