//! One catalog as it was at one moment: its index, its ready answers, and a file of its own that nobody writes to.
//!
//! The file in the state folder may be overwritten in place by whoever made it; what is served is a copy without
//! a name, made while it is read. Everything that a request needs hangs on one `Arc` of this.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::SystemTime;

use flate2::Crc;

use crate::catalog::LARGEST;
use crate::catalog::build;
use crate::catalog::index::Index;
use crate::catalog::scanner::Fault;
use crate::catalog::search::Search;
use crate::http::{Bytes, ETag};
use crate::sys::{disk, memory};

/// What is served while there is no catalog.
const EMPTY: &[u8] = b"{\"categories\":[],\"stats\":{\"totalCategories\":0,\"totalRoutes\":0,\"totalCourses\":0,\"totalClasses\":0}}";

/// Where a catalog came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// rill's own scan of Drive.
    Scan,
    /// rill's own scan of the local folder alone.
    Local,
    /// A file of the seed's tools.
    Import,
    /// There is none.
    None,
}

impl Source {
    /// The word for it in `/api/cache-meta`.
    pub fn word(self) -> &'static str {
        match self {
            Source::Scan => "scan",
            Source::Local => "local",
            Source::Import => "import",
            Source::None => "none",
        }
    }
}

/// What was read, and when it was written.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it came from.
    pub source: Source,
    /// The file in the state folder.
    pub path: Option<PathBuf>,
    /// When that was last written.
    pub modified: Option<SystemTime>,
    /// Which file it was, as [`identity`] says.
    file: Option<Identity>,
}

/// What tells a file that was written from what it was, but for a write within the same tick of the kernel's clock.
type Identity = (u64, u64, u64, i64, i64);

/// One catalog as it was at one moment.
#[derive(Debug)]
pub struct Generation {
    /// What is in it.
    pub index: Index,
    /// What is found in it.
    pub search: Search,
    /// `GET /api/bootstrap`.
    pub bootstrap: Arc<Bytes>,
    /// `GET /api/self-check-drive`.
    pub check: Arc<Bytes>,
    /// Where it came from.
    pub origin: Origin,
    /// The value of `stats`, as JSON.
    pub stats: String,
    /// The whole of it.
    pub file: Arc<File>,
    /// Length of the whole, in bytes.
    pub len: u64,
    /// SHA-256 of the whole, cut to 128 bits, in hex.
    pub hash: String,
    /// CRC-32 of the whole, as gzip reckons it.
    pub(crate) crc: u32,
    /// The whole, packed; made in the background.
    pub(crate) twin: OnceLock<Arc<File>>,
    /// Tags of courses that were asked for.
    tags: Vec<OnceLock<ETag>>,
    /// Answers about large courses that somebody is reading, plain or packed. Held for a few instructions.
    large: Mutex<HashMap<(usize, bool), Weak<Bytes>>>,
}

/// Why a file became no generation.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is being written; what was read is neither the old nor the new.
    Changed,
    /// There is nothing to read.
    Absent,
    /// It cannot be used: the sentence says why.
    Unusable(String),
}

impl Generation {
    /// The catalog of a library that has none.
    pub(crate) fn empty() -> io::Result<Generation> {
        let reader = Copying::new(EMPTY, memory::file()?);
        match build::build(reader) {
            Ok(built) => Ok(Generation::of(built, Origin::none())),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads `path`, copies it to the first of `folders` that takes it (else to memory), and never leaves less than
    /// `spare` bytes free on their disks. Blocks.
    pub(crate) fn read(
        path: &Path,
        imported: bool,
        folders: &[&Path],
        spare: u64,
    ) -> Result<Generation, Refusal> {
        let name = path.display();
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::Absent,
            _ => Refusal::Unusable(format!("{name} cannot be read ({error})")),
        };
        let open = || -> io::Result<(File, Metadata)> {
            let file = File::options()
                .read(true)
                .custom_flags_nonblock()
                .open(path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        };
        let (_, before) = open().map_err(unusable)?;
        if !before.is_file() {
            return Err(Refusal::Unusable(format!("{name} is no file")));
        }
        if before.len() > LARGEST {
            return Err(Refusal::Unusable(format!(
                "{name} has more than {} MiB and is not read",
                LARGEST >> 20
            )));
        }
        let disks = folders.iter().filter(|folder| {
            disk::free(folder).is_ok_and(|free| free > before.len().saturating_add(spare))
        });
        let mut copies = disks
            .map(|folder| memory::unnamed(folder))
            .chain([memory::file()])
            .flatten();
        loop {
            let Some(copy) = copies.next() else {
                return Err(Refusal::Unusable(format!(
                    "{name} cannot be copied: no disk and no memory takes it"
                )));
            };
            let (file, _) = open().map_err(unusable)?;
            let built = build::build(Copying::new(file.take(LARGEST), copy));
            // Whatever was read is worth something only if nobody wrote meanwhile.
            let (_, after) = open().map_err(unusable)?;
            if !same(&before, &after) {
                return Err(Refusal::Changed);
            }
            match built {
                Ok(built) => {
                    if built.source.len != before.len() {
                        return Err(Refusal::Changed);
                    }
                    let source = match (imported, built.references.local_only()) {
                        (true, _) => Source::Import,
                        (false, true) => Source::Local,
                        (false, false) => Source::Scan,
                    };
                    let origin = Origin {
                        source,
                        path: Some(path.to_owned()),
                        modified: before.modified().ok(),
                        file: Some(identity(&before)),
                    };
                    return Ok(Generation::of(built, origin));
                }
                Err(Fault::Broken { line, column, what }) => {
                    return Err(Refusal::Unusable(format!(
                        "{name}, line {line}, column {column}: {what}"
                    )));
                }
                Err(Fault::Read(error)) if is_full(&error) => {
                    log::debug!("the catalog is copied elsewhere: {error}");
                }
                Err(Fault::Read(error)) => return Err(unusable(error)),
            }
        }
    }

    fn of<R: Read>(built: build::Built<Copying<R>>, origin: Origin) -> Generation {
        let Copying {
            copy,
            len,
            hash,
            crc,
            ..
        } = built.source;
        let hash = hex(hash);
        let report = built.references.report(&built.index).to_string();
        Generation {
            search: Search::of(&built.index),
            bootstrap: Arc::new(Bytes::new(built.bootstrap)),
            check: Arc::new(Bytes::new(report.into_bytes())),
            origin,
            stats: built.stats,
            file: Arc::new(copy),
            len,
            hash,
            crc: crc.sum(),
            twin: OnceLock::new(),
            tags: built
                .index
                .courses
                .iter()
                .map(|_| OnceLock::new())
                .collect(),
            large: Mutex::default(),
            index: built.index,
        }
    }

    /// The tag of the whole.
    pub fn etag(&self) -> ETag {
        ETag::strong(&self.hash)
    }

    /// The whole, packed, once that is made.
    pub fn gzip(&self) -> Option<Arc<File>> {
        self.twin.get().cloned()
    }

    /// A course as it stands in the file. Reads the disk, or what the kernel remembers of it.
    ///
    /// # Errors
    /// The disk's.
    pub fn course(&self, course: usize) -> io::Result<Vec<u8>> {
        let Some(course) = self.index.courses.get(course) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let len = course.bytes.end.saturating_sub(course.bytes.start);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, course.bytes.start)?;
        Ok(bytes)
    }

    /// The tag of the answer about a course, once [`Generation::keep_tag`] was told it.
    pub fn tag(&self, course: usize) -> Option<ETag> {
        self.tags.get(course)?.get().cloned()
    }

    /// The answer about a large course, while somebody reads it.
    pub fn large(&self, course: usize, packed: bool) -> Option<Arc<Bytes>> {
        super::lock(&self.large).get(&(course, packed))?.upgrade()
    }

    /// Lends the answer about a large course to those who ask while somebody reads it.
    pub fn keep_large(&self, course: usize, packed: bool, bytes: &Arc<Bytes>) {
        let mut large = super::lock(&self.large);
        large.retain(|_, bytes| bytes.strong_count() > 0);
        large.insert((course, packed), Arc::downgrade(bytes));
    }

    /// Keeps the tag of the answer about a course, so that it is made once.
    pub fn keep_tag(&self, course: usize, tag: &ETag) {
        if let Some(kept) = self.tags.get(course) {
            let _ = kept.set(tag.clone());
        }
    }
}

impl Origin {
    fn none() -> Origin {
        Origin {
            source: Source::None,
            path: None,
            modified: None,
            file: None,
        }
    }
}

impl Generation {
    /// Whether `path` is still the file that this was read from, byte for byte. Reads it when it looks so.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        let of_path = || -> io::Result<bool> {
            if self.origin.path.as_deref() != Some(path) {
                return Ok(false);
            }
            let mut file = File::open(path)?;
            if Some(identity(&file.metadata()?)) != self.origin.file {
                return Ok(false);
            }
            let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
            let mut piece = vec![0; 64 * 1024];
            loop {
                match file.read(&mut piece)? {
                    0 => return Ok(hex(hash) == self.hash),
                    n => hash.update(&piece[..n]),
                }
            }
        };
        of_path().unwrap_or(false)
    }
}

/// A SHA-256, cut to 128 bits, in hex.
fn hex(hash: ring::digest::Context) -> String {
    let hash = hash.finish();
    let mut text = String::new();
    for byte in &hash.as_ref()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether nothing was written between two looks at a file.
fn same(a: &Metadata, b: &Metadata) -> bool {
    identity(a) == identity(b)
}

fn identity(m: &Metadata) -> Identity {
    (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec())
}

/// Whether a copy failed for its own sake.
fn is_full(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<CopyFailed>())
}

/// A copy that its disk did not take.
#[derive(Debug)]
struct CopyFailed(io::Error);

impl std::fmt::Display for CopyFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the copy cannot be written: {}", self.0)
    }
}

impl std::error::Error for CopyFailed {}

/// A reader that writes what it reads to a copy, and sums it up.
pub(crate) struct Copying<R> {
    from: R,
    copy: File,
    len: u64,
    hash: ring::digest::Context,
    crc: Crc,
}

impl<R> Copying<R> {
    fn new(from: R, copy: File) -> Copying<R> {
        Copying {
            from,
            copy,
            len: 0,
            hash: ring::digest::Context::new(&ring::digest::SHA256),
            crc: Crc::new(),
        }
    }
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        let bytes = &into[..n];
        self.copy
            .write_all(bytes)
            .map_err(|error| io::Error::other(CopyFailed(error)))?;
        self.hash.update(bytes);
        self.crc.update(bytes);
        self.len += n as u64;
        Ok(n)
    }
}

/// Opening must not wait for the other end of a pipe that someone put in the place of a catalog.
trait NonBlocking {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}

impl NonBlocking for std::fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
    }
}
