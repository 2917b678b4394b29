//! The course tree of this machine's disk, kept like the one of Drive.
//!
//! A folder whose change time is the one that is known is not read again, so that a look at a library costs some
//! thousand calls and no reading. A folder is its path below the root, and so is a file.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Inner, LOCAL, walk};
use crate::catalog::scan::{self, DEEPEST, Entry, Kind};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::store::scan_state::{Row, Scan, ScanState};

/// A folder that changed so recently may change again without its time moving on: file systems count in steps, FAT
/// in steps of two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Rows written in one transaction.
const ROWS: usize = 256;

/// Children of one folder, as for Drive.
const MOST_ENTRIES: usize = 100_000;

/// Folders of one tree, as for Drive.
const MOST: usize = 50_000;

/// Brings what is known of the local tree up to date; everything is read again when `full`, or when
/// another folder is configured than before. Blocks.
///
/// # Errors
/// `courses_missing` when the root is not there; the database's.
pub(super) fn scan(inner: &Inner, root: &Path, full: bool) -> Result<()> {
    let state = &inner.state;
    let name = root.to_string_lossy().into_owned();
    let complete = state.complete(LOCAL)?;
    let under_way = state
        .unfinished(LOCAL)?
        .filter(|scan| !full && scan.root == name);
    let (scan, before) = match (&complete, under_way) {
        (_, Some(scan)) => (scan, complete.map(|scan| scan.generation)),
        (Some(scan), None) if !full && scan.root == name => (scan.clone(), None),
        _ => {
            // Nothing is begun below a root that is not there.
            metadata(root)?;
            (
                state.begin(LOCAL, &name, "", None, "")?,
                complete.map(|scan| scan.generation),
            )
        }
    };
    let generation = scan.generation;
    let mut reader = Reader {
        inner,
        root,
        canonical: fs::canonicalize(root).map_err(|error| missing(root, &error))?,
        generation,
        before,
        full,
        rows: Vec::new(),
    };
    let seen = reader.read()?;
    state.keep_only(generation, &seen)?;
    if state
        .complete(LOCAL)?
        .is_none_or(|complete| complete.generation != generation)
    {
        state.finish(LOCAL, generation)?;
    }
    Ok(())
}

/// Whether any folder of a complete scan is another one than it was. Blocks; reads nothing but times.
///
/// # Errors
/// The database's.
pub(super) fn changed(state: &ScanState, scan: &Scan, root: &Path, retry: bool) -> Result<bool> {
    for (id, stamp, failed) in state.stamps(scan.generation)? {
        if failed && retry {
            return Ok(true);
        }
        let now = fs::metadata(root.join(&id)).map_or(0, |metadata| stamp_of(&metadata));
        // A root that went away is a disk that was unplugged, and no change.
        if now == 0 && id.is_empty() {
            return Ok(false);
        }
        if now != stamp && !failed {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Reader<'a> {
    inner: &'a Inner,
    root: &'a Path,
    canonical: std::path::PathBuf,
    generation: i64,
    before: Option<i64>,
    full: bool,
    /// Read, and not yet written.
    rows: Vec<Row>,
}

impl Reader<'_> {
    /// Reads all folders; their ids.
    fn read(&mut self) -> Result<HashSet<String>> {
        let progress = &self.inner.progress;
        let mut seen = HashSet::from([String::new()]);
        let mut left = VecDeque::from([(String::new(), 0)]);
        progress.known.fetch_add(1, Ordering::Relaxed);
        while let Some((id, depth)) = left.pop_front() {
            let row = self.folder(&id)?;
            let entries = walk::entries_of(&row);
            if depth < DEEPEST {
                for folder in walk::folders_of(&entries) {
                    if seen.len() < MOST && seen.insert(folder.clone()) {
                        progress.known.fetch_add(1, Ordering::Relaxed);
                        left.push_back((folder, depth + 1));
                    }
                }
            }
            progress.add(1, walk::media(&entries));
            self.rows.push(row);
            if self.rows.len() >= ROWS {
                self.write()?;
            }
        }
        self.write()?;
        Ok(seen)
    }

    fn write(&mut self) -> Result<()> {
        self.inner.state.put(self.generation, &self.rows)?;
        self.rows.clear();
        Ok(())
    }

    /// A folder as it is now, or as it was when it cannot be read.
    fn folder(&self, id: &str) -> Result<Row> {
        let state = &self.inner.state;
        let path = self.root.join(id);
        let mut old = state.row(self.generation, id)?;
        let found = fs::metadata(&path).and_then(|metadata| {
            let stamp = settled(&metadata, SystemTime::now());
            if let Some(old) = &old {
                if !self.full && old.failed.is_none() && old.stamp == stamp && stamp != 0 {
                    return Ok(old.clone());
                }
            }
            let mut entries = self.entries(id, &path)?;
            Ok(Row {
                id: id.to_owned(),
                stamp,
                failed: None,
                children: scan::encode(&mut entries),
            })
        });
        if let (None, Some(before)) = (&old, self.before) {
            old = state.row(before, id)?;
        }
        match found {
            Ok(row) if id.is_empty() && row.children.is_empty() => match old {
                // An empty mount point looks just like that.
                Some(old) if !old.children.is_empty() => {
                    Err(missing(self.root, &io::Error::other("it is empty")))
                }
                _ => Ok(row),
            },
            Ok(row) => Ok(row),
            Err(error) if id.is_empty() => Err(missing(self.root, &error)),
            Err(error) => Ok(Row {
                id: id.to_owned(),
                failed: Some(format!(
                    "The folder cannot be read ({error}); give rill's user access to it."
                )),
                ..old.unwrap_or_default()
            }),
        }
    }

    fn entries(&self, id: &str, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut unnamed = 0;
        for found in fs::read_dir(path)? {
            let found = found?;
            let name = found.file_name();
            let Some(name) = name.to_str() else {
                unnamed += 1;
                continue;
            };
            if entries.len() == MOST_ENTRIES {
                return Err(io::Error::other(format!(
                    "it holds more than {MOST_ENTRIES} files; sort them into several folders"
                )));
            }
            let child = match id {
                "" => name.to_owned(),
                id => format!("{id}/{name}"),
            };
            // One that went away in this moment, or a link to nowhere.
            let Ok(metadata) = fs::metadata(found.path()) else {
                continue;
            };
            let link = found.file_type().is_ok_and(|kind| kind.is_symlink());
            if link && !self.leads_inside(&found.path(), path, &metadata) {
                continue;
            }
            let kind = match (metadata.is_dir(), metadata.is_file()) {
                (true, _) => Kind::Folder,
                (_, true) => Kind::File,
                _ => continue,
            };
            entries.push(Entry {
                id: child,
                name: name.to_owned(),
                kind,
                target: None,
                key: None,
            });
        }
        if unnamed > 0 {
            log::warn!("{unnamed} names in {path:?} are not UTF-8 and left out; rename them",);
        }
        Ok(entries)
    }

    /// Whether a link stays in the tree, as what is served must, and does not lead to a folder that it lies in.
    fn leads_inside(&self, link: &Path, folder: &Path, metadata: &Metadata) -> bool {
        let inside = fs::canonicalize(link).is_ok_and(|target| target.starts_with(&self.canonical));
        let same = |above: &Path| {
            fs::metadata(above)
                .is_ok_and(|above| (above.dev(), above.ino()) == (metadata.dev(), metadata.ino()))
        };
        let around = folder
            .ancestors()
            .take_while(|above| above.starts_with(self.root));
        inside && !(metadata.is_dir() && around.into_iter().any(same))
    }
}

/// The change time in nanoseconds; 0 when it may be the time of another change still to come.
fn settled(metadata: &Metadata, now: SystemTime) -> i64 {
    let stamp = stamp_of(metadata);
    let now = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let age = i128::try_from(now).unwrap_or_default() - i128::from(stamp);
    // A time in the future is a clock that was wrong.
    if (0..SETTLED.as_nanos() as i128).contains(&age) {
        0
    } else {
        stamp
    }
}

fn stamp_of(metadata: &Metadata) -> i64 {
    let nanoseconds = metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec());
    if nanoseconds == 0 { 1 } else { nanoseconds }
}

fn metadata(root: &Path) -> Result<Metadata> {
    fs::metadata(root).map_err(|error| missing(root, &error))
}

fn missing(root: &Path, error: &io::Error) -> Error {
    let sentence = format!(
        "The folder {} of library.courses cannot be read ({error}); plug its disk in, or name another folder.",
        root.display()
    );
    Error::new(ErrorKind::Unavailable, "courses_missing", sentence)
}
