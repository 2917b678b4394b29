//! The gzip twin of the whole catalog: packed once for each content, in the background, and kept in the cache folder
//! under the hash of what it holds, so that a restart finds it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::catalog::Generation;
use crate::store::atomic;
use crate::sys::disk;

/// How the names of kept twins begin and end; the hash is between them.
const BEGIN: &str = "courses-";
const END: &str = ".json.gz";

/// Below this size a twin is not worth a file.
const SMALLEST: u64 = 4096;

/// Bytes that are packed before the thread looks whether anybody still wants them.
const STEP: usize = 256 * 1024;

/// How much nicer than the streams the packing is (nice(2)).
const NICE: i32 = 10;

/// Gives `generation` its twin: the one of `before` if the content is the same, the kept one, or in some seconds a
/// new one.
pub(super) fn make(generation: &Arc<Generation>, before: &Generation, cache: &Path, spare: u64) {
    if generation.len < SMALLEST {
        return;
    }
    if generation.hash == before.hash {
        if let Some(twin) = before.gzip() {
            let _ = generation.twin.set(twin);
            return;
        }
    }
    let path = path(cache, &generation.hash);
    if let Some(twin) = kept(&path, generation) {
        let _ = generation.twin.set(Arc::new(twin));
        return;
    }
    let (wanted, cache) = (Arc::downgrade(generation), cache.to_owned());
    let spawned = std::thread::Builder::new()
        .name("rill-gzip".to_owned())
        .spawn(move || background(&wanted, &cache, spare));
    if let Err(error) = spawned {
        log::debug!("the catalog is not packed: {error}");
    }
}

fn path(cache: &Path, hash: &str) -> PathBuf {
    cache.join(format!("{BEGIN}{hash}{END}"))
}

/// A twin that was kept, if it is whole: its trailer (RFC 1952 section 2.3.1) has the sum and the length of the catalog.
fn kept(path: &Path, generation: &Generation) -> Option<File> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let mut trailer = [0; 8];
    file.read_exact_at(&mut trailer, len.checked_sub(8)?).ok()?;
    let mut want = [0; 8];
    want[..4].copy_from_slice(&generation.crc.to_le_bytes());
    want[4..].copy_from_slice(&(generation.len as u32).to_le_bytes());
    (trailer == want).then_some(file)
}

fn background(wanted: &Weak<Generation>, cache: &Path, spare: u64) {
    // Of this thread alone. Where it is refused the packing takes its share like any other.
    let _ = rustix::process::setpriority_process(None, NICE);
    match pack(wanted) {
        Ok(None) => {}
        Ok(Some((hash, packed))) => {
            if let Err(error) = keep(wanted, cache, spare, &hash, &packed) {
                log::debug!("the packed catalog is not kept: {error}");
            }
        }
        Err(error) => log::warn!("the catalog cannot be packed, and is sent plain: {error}"),
    }
}

/// Packs the generation as long as it is the present one.
fn pack(wanted: &Weak<Generation>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut piece = vec![0; STEP];
    let mut at = 0;
    loop {
        let Some(generation) = wanted.upgrade() else {
            return Ok(None);
        };
        let left = generation.len - at;
        if left == 0 {
            return Ok(Some((generation.hash.clone(), encoder.finish()?)));
        }
        let step = &mut piece[..left.min(STEP as u64) as usize];
        generation.file.read_exact_at(step, at)?;
        encoder.write_all(step)?;
        at += step.len() as u64;
    }
}

/// Puts the twin into the cache folder, in the place of those of older contents; into memory where that is full or missing.
fn keep(
    wanted: &Weak<Generation>,
    cache: &Path,
    spare: u64,
    hash: &str,
    packed: &[u8],
) -> io::Result<()> {
    let Some(generation) = wanted.upgrade() else {
        return Ok(());
    };
    let path = path(cache, hash);
    let room =
        disk::free(cache).is_ok_and(|free| free > (packed.len() as u64).saturating_add(spare));
    let file = match room {
        true => atomic::replace(&path, packed, 0o640).and_then(|()| File::open(&path)),
        false => Err(io::ErrorKind::StorageFull.into()),
    };
    let (file, on_disk) = match file {
        Ok(file) => (file, Ok(())),
        Err(error) => (crate::sys::memory::file_of(packed)?, Err(error)),
    };
    let _ = generation.twin.set(Arc::new(file));
    on_disk?;
    for entry in fs::read_dir(cache)?.flatten() {
        let name = entry.file_name();
        let old = name.to_str().is_some_and(|name| {
            name.starts_with(BEGIN) && name.ends_with(END) && !name.contains(hash)
        });
        if old {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
