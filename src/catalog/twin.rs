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

/// Below this size a twin is not worth a file, nor a thread: it is made at once, in memory.
const SMALLEST: u64 = 4096;

/// Bytes that are packed before the thread looks whether anybody still wants them.
const STEP: usize = 256 * 1024;

/// How much nicer than the streams the packing is (nice(2)).
const NICE: i32 = 10;

/// Gives `generation` its twin: the one of `before` if the content is the same, the kept one, or in some seconds a
/// new one.
pub(super) fn make(generation: &Arc<Generation>, before: &Generation, cache: &Path, spare: u64) {
    if generation.len < SMALLEST {
        let pack = || -> io::Result<File> {
            let mut file = crate::sys::memory::file()?;
            pack_into(&Arc::downgrade(generation), &mut file)?;
            Ok(file)
        };
        if let Ok(twin) = pack() {
            let _ = generation.twin.set(Arc::new(twin));
        }
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

/// A twin that was kept, if it is whole: its trailer (RFC 1952 section 2.3.1) has the sum and the length of the
/// catalog.
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
    match pack(wanted, cache, spare) {
        Ok(Some((twin, hash))) => {
            if let Some(generation) = wanted.upgrade() {
                let _ = generation.twin.set(Arc::new(twin));
            }
            if let Err(error) = tidy(cache, &hash) {
                log::debug!("old packed catalogs stay: {error}");
            }
        }
        Ok(None) => {}
        Err(error) => log::warn!("the catalog cannot be packed, and is sent plain: {error}"),
    }
}

/// Packs the generation as long as it is the present one: into the cache folder, or into memory where that is full or
/// missing.
fn pack(wanted: &Weak<Generation>, cache: &Path, spare: u64) -> io::Result<Option<(File, String)>> {
    let Some((hash, len)) = wanted
        .upgrade()
        .map(|generation| (generation.hash.clone(), generation.len))
    else {
        return Ok(None);
    };
    // Packed it is smaller, but nobody knows yet by how much.
    if disk::free(cache).is_ok_and(|free| free > len.saturating_add(spare)) {
        let path = path(cache, &hash);
        match atomic::replace_with(&path, 0o640, |out| pack_into(wanted, out)) {
            Ok(()) => return Ok(Some((File::open(&path)?, hash))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => log::debug!("the packed catalog is not kept: {error}"),
        }
    }
    let mut file = crate::sys::memory::file()?;
    match pack_into(wanted, &mut file) {
        Ok(()) => Ok(Some((file, hash))),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Packs the generation; `Interrupted` when another took its place.
fn pack_into(wanted: &Weak<Generation>, out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    let mut piece = vec![0; STEP];
    let mut at = 0;
    loop {
        let Some(generation) = wanted.upgrade() else {
            return Err(io::ErrorKind::Interrupted.into());
        };
        let left = generation.len - at;
        if left == 0 {
            encoder.finish()?;
            return Ok(());
        }
        let step = &mut piece[..left.min(STEP as u64) as usize];
        generation.file.read_exact_at(step, at)?;
        encoder.write_all(step)?;
        at += step.len() as u64;
    }
}

/// Takes away the twins of older contents, and what a kill left of their making.
fn tidy(cache: &Path, hash: &str) -> io::Result<()> {
    for entry in fs::read_dir(cache)?.flatten() {
        let name = entry.file_name();
        let old = name.to_str().is_some_and(|name| {
            name.trim_start_matches('.').starts_with(BEGIN) && !name.contains(hash)
        });
        if old {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
