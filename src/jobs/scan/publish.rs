//! The catalog file, made of what is known and replaced when it would be another.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::walk::entries_of;
use super::{CATALOG, DRIVE, Inner, LOCAL, OUTLINE};
use crate::catalog::scan::document::{self, Broken, Contents};
use crate::catalog::scan::{Folder, Folders, Outline, Plan, Source};
use crate::error::{Error, Kind, Result};
use crate::store::atomic;
use crate::store::scan_state::ScanState;

/// Read and written by the service, read by its group.
const MODE: u32 = 0o640;

/// Bytes of an outline that are read.
const LARGEST_OUTLINE: u64 = 4 * 1024 * 1024;

/// The folders of one complete scan.
struct Rows<'a> {
    state: &'a ScanState,
    generation: i64,
}

impl Folders for Rows<'_> {
    fn folder(&self, id: &str) -> Result<Option<Folder>> {
        let row = self.state.row(self.generation, id)?;
        Ok(row.map(|row| Folder {
            entries: entries_of(&row),
            failed: row.failed,
        }))
    }
}

impl Inner {
    /// Writes the catalog of what is complete: what it holds, and whether it is another one than before. `None` while a
    /// configured source has never been scanned and there is a catalog, which may know more.
    ///
    /// # Errors
    /// `catalog_not_written`, and the database's; the old file stays.
    pub(super) async fn publish(self: &Arc<Self>) -> Result<Option<(Contents, bool)>> {
        let inner = self.clone();
        smol::unblock(move || inner.publish_now()).await
    }

    fn publish_now(&self) -> Result<Option<(Contents, bool)>> {
        let state = &self.state;
        let path = self.folder.join(CATALOG);
        let complete = |wanted: bool, source| {
            if wanted {
                state.complete(source)
            } else {
                Ok(None)
            }
        };
        let drive = complete(self.root.is_some(), DRIVE)?
            .filter(|scan| Some(&scan.root) == self.root.as_ref());
        let local = complete(self.local.is_some(), LOCAL)?;
        let whole =
            drive.is_some() == self.root.is_some() && local.is_some() == self.local.is_some();
        if (drive.is_none() && local.is_none()) || (!whole && path.exists()) {
            return Ok(None);
        }
        let rows = |generation| Rows { state, generation };
        let of_drive = drive
            .as_ref()
            .map(|scan| (rows(scan.generation), scan.top.clone()));
        let of_local = local.as_ref().map(|scan| rows(scan.generation));
        let mut sources = Vec::new();
        if let Some((rows, top)) = &of_drive {
            sources.push(Source::read(rows, top, "")?);
        }
        if let Some(rows) = &of_local {
            sources.push(Source::read(rows, "", "local:")?);
        }
        let outline = outline(&self.folder.join(OUTLINE));
        let plan = Plan::new(sources, outline.as_ref());
        let refused = |error: io::Error| {
            let (kind, remedy) = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    (Kind::NoSpace, "free some space on its disk")
                }
                _ => (
                    Kind::Unavailable,
                    "look after the state folder and its disk",
                ),
            };
            let sentence = format!(
                "The catalog {} cannot be written ({error}); {remedy}.",
                path.display()
            );
            Error::new(kind, "catalog_not_written", sentence)
        };
        let written = |broken: Broken| match broken {
            Broken::Read(error) => error,
            Broken::Write(error) => refused(error),
        };
        let (contents, changed) = match same(&path, &plan).map_err(written)? {
            Some(contents) => (contents, false),
            None => {
                let contents =
                    match atomic::replace_with(&path, MODE, |out| document::write(&plan, out)) {
                        // A daemon that starts takes away unfinished files, and cannot tell this one from those.
                        Err(Broken::Write(error)) if error.kind() == io::ErrorKind::NotFound => {
                            atomic::replace_with(&path, MODE, |out| document::write(&plan, out))
                        }
                        other => other,
                    };
                (contents.map_err(written)?, true)
            }
        };
        let unwritten = drive.iter().chain(&local).filter(|scan| scan.unwritten);
        let generations: Vec<i64> = unwritten.map(|scan| scan.generation).collect();
        if !generations.is_empty() {
            state.written(&generations)?;
        }
        Ok(Some((contents, changed)))
    }
}

/// Whether the catalog of a state folder was written by a scan.
pub(super) fn is_ours(path: &Path) -> bool {
    let read = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        let length = document::SIGNATURE.len();
        file.seek(SeekFrom::End(-i64::try_from(length).unwrap_or(i64::MAX)))?;
        let mut end = vec![0; length];
        file.read_exact(&mut end)?;
        Ok(end == document::SIGNATURE)
    };
    read().unwrap_or(false)
}

/// The outline, when there is one. What cannot be read is said and does without.
fn outline(path: &Path) -> Option<Outline> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::warn!(
                "the outline {} cannot be read ({error}); courses are arranged by their folders",
                path.display()
            );
            return None;
        }
    };
    let mut bytes = Vec::new();
    match file.take(LARGEST_OUTLINE).read_to_end(&mut bytes) {
        Ok(_) => Some(Outline::parse(&String::from_utf8_lossy(&bytes))),
        Err(error) => {
            log::warn!(
                "the outline {} cannot be read ({error}); courses are arranged by their folders",
                path.display()
            );
            None
        }
    }
}

/// What the document holds, when the file already is that document.
fn same(path: &Path, plan: &Plan<'_>) -> Result<Option<Contents>, Broken> {
    let Ok(old) = File::open(path) else {
        return Ok(None);
    };
    let mut comparison = Comparison {
        old: BufReader::with_capacity(64 * 1024, old),
        buffer: Vec::new(),
        differs: false,
    };
    let written = document::write(plan, &mut comparison);
    if comparison.differs {
        return Ok(None);
    }
    let contents = written?;
    let more = comparison.old.read(&mut [0])? > 0;
    Ok((!more).then_some(contents))
}

/// Takes bytes as long as they are those of a file.
struct Comparison {
    old: BufReader<File>,
    buffer: Vec<u8>,
    differs: bool,
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        if self.old.read_exact(&mut self.buffer).is_err() || self.buffer != bytes {
            self.differs = true;
            return Err(io::Error::other("it differs"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
