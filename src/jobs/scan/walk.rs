//! Lists every folder of Drive below a root that the database does not have yet: level by level, many folders per
//! query, a few queries at once.
//!
//! A query that is refused is cut in halves until the folder is alone that Google does not show; it then keeps what
//! an earlier scan knew of it. What concerns Google as a whole ends the walk, to be gone on with later.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Inner, lock};
use crate::catalog::scan::{self, DEEPEST, Entry, Kind};
use crate::drive::{FolderKeys, Listed, ResourceKey, batch};
use crate::error::{Error, Result};
use crate::store::scan_state::{Row, Scan};
use crate::sys::executor;

/// Queries at once. More would only wait for the pacer, and for a Pi's processor.
const WORKERS: usize = 3;

/// Folders of one tree. A library has some thousands; beyond this a shortcut leads to somebody's whole drive.
const MOST: usize = 50_000;

/// Failures in a row, among them no answer, after which it is Google that fails and not a folder: cutting a full
/// query down to its first folder takes eight.
const HOPELESS: usize = 12;

/// Rows that are about to be written: they count as listed, and are looked at before those of the database.
pub(super) type Overlay = HashMap<String, Vec<Entry>>;

/// What the workers share.
struct Work {
    inner: Arc<Inner>,
    generation: i64,
    before: Option<i64>,
    /// Whole batches to be listed.
    batches: Mutex<Vec<Vec<String>>>,
    /// Failures since the last answer.
    failures: AtomicUsize,
    keys: FolderKeys,
    /// The top folder: its failure is the scan's.
    top: String,
}

impl Inner {
    /// Lists what is missing below the top of `scan`; the ids of all its folders. Folders that cannot be listed keep
    /// what the scan `before` knew.
    ///
    /// # Errors
    /// What concerns Drive, the top folder or the database as a whole.
    pub(super) async fn walk(
        self: &Arc<Self>,
        scan: &Scan,
        before: Option<i64>,
        overlay: &Overlay,
    ) -> Result<HashSet<String>> {
        let mut seen = HashSet::from([scan.top.clone()]);
        let mut level = vec![scan.top.clone()];
        let mut keys = self.key_of_top(scan).await?;
        self.progress.known.fetch_add(1, Ordering::Relaxed);
        for _ in 0..=DEEPEST {
            let unlisted: Vec<String> = level
                .iter()
                .filter(|id| !overlay.contains_key(*id))
                .cloned()
                .collect();
            let generation = scan.generation;
            let missing = self
                .known(move |state| state.missing(generation, &unlisted))
                .await?;
            self.progress.skip((level.len() - missing.len()) as u64);
            self.list(scan, before, missing, &keys).await?;
            (level, keys) = self
                .below(scan.generation, level, overlay, &mut seen)
                .await?;
            if level.is_empty() {
                break;
            }
        }
        Ok(seen)
    }

    /// The key of the folder that a scan begins with. Should a shortcut lead to it, Google is asked.
    async fn key_of_top(&self, scan: &Scan) -> Result<FolderKeys> {
        let key = match scan.top == scan.root {
            true => self.drive.root_key(),
            false => self.drive.root(&scan.root).await?.key,
        };
        Ok(key.map(|key| (scan.top.clone(), key)).into_iter().collect())
    }

    /// The folders in the folders of `level` that nobody has met yet, and the keys that open some of them.
    async fn below(
        &self,
        generation: i64,
        level: Vec<String>,
        overlay: &Overlay,
        seen: &mut HashSet<String>,
    ) -> Result<(Vec<String>, FolderKeys)> {
        let (mut next, mut keys) = (Vec::new(), FolderKeys::new());
        // A part at a time, so that those who write to the database meanwhile need not wait for all of it.
        for part in level.chunks(256) {
            let (known, stored): (Vec<&String>, Vec<&String>) =
                part.iter().partition(|id| overlay.contains_key(*id));
            let stored: Vec<String> = stored.into_iter().cloned().collect();
            let found = self.known(move |state| {
                let (mut folders, mut keys) = (Vec::new(), FolderKeys::new());
                for id in &stored {
                    if let Some(row) = state.row(generation, id)? {
                        let entries = entries_of(&row);
                        folders.extend(folders_of(&entries));
                        keys_of(&entries, &mut keys);
                    }
                }
                Ok((folders, keys))
            });
            let (mut folders, of_folders) = found.await?;
            keys.extend(of_folders);
            for entries in known.into_iter().filter_map(|id| overlay.get(id)) {
                folders.extend(folders_of(entries));
                keys_of(entries, &mut keys);
            }
            for id in folders {
                if seen.len() < MOST && seen.insert(id.clone()) {
                    next.push(id);
                }
            }
        }
        self.progress
            .known
            .fetch_add(next.len() as u64, Ordering::Relaxed);
        Ok((next, keys))
    }

    /// Lists these folders and keeps what they hold.
    ///
    /// # Errors
    /// As [`Inner::walk`].
    pub(super) async fn list(
        self: &Arc<Self>,
        scan: &Scan,
        before: Option<i64>,
        folders: Vec<String>,
        keys: &FolderKeys,
    ) -> Result<()> {
        let mut batches = Vec::new();
        let mut rest = &folders[..];
        while !rest.is_empty() {
            let (first, after) = rest.split_at(batch(rest, keys));
            batches.push(first.to_vec());
            rest = after;
        }
        batches.reverse();
        let workers = WORKERS.min(batches.len());
        let work = Arc::new(Work {
            inner: self.clone(),
            generation: scan.generation,
            before,
            batches: Mutex::new(batches),
            failures: AtomicUsize::new(0),
            keys: keys.clone(),
            top: scan.top.clone(),
        });
        let tasks: Vec<_> = (0..workers)
            .map(|_| executor::spawn(work.clone().run()))
            .collect();
        for task in tasks {
            // An error drops the other tasks, which ends them.
            task.await?;
        }
        Ok(())
    }
}

impl Work {
    async fn run(self: Arc<Self>) -> Result<()> {
        loop {
            let Some(whole) = lock(&self.batches).pop() else {
                return Ok(());
            };
            let mut pieces = vec![whole];
            while let Some(piece) = pieces.pop() {
                self.piece(piece, &mut pieces).await?;
            }
        }
    }

    /// Lists one query's folders, or adds the halves that are to be listed instead.
    async fn piece(&self, folders: Vec<String>, pieces: &mut Vec<Vec<String>>) -> Result<()> {
        let halve = |folders: &[String], pieces: &mut Vec<Vec<String>>| {
            let (first, second) = folders.split_at(folders.len() / 2);
            pieces.extend([second.to_vec(), first.to_vec()]);
        };
        let listed = self
            .inner
            .drive
            .children(&folders, &self.keys, &self.inner.progress.requests)
            .await;
        match listed {
            Ok(found) => {
                self.failures.store(0, Ordering::Relaxed);
                // Drive is known to answer a query of many folders with nothing at all although they hold something.
                let silent = found.of.iter().all(Vec::is_empty);
                if folders.len() > 1 && (found.strays || silent) {
                    halve(&folders, pieces);
                    return Ok(());
                }
                let rows = folders.into_iter().zip(found.of);
                let rows: Vec<Row> = rows.map(|(id, listed)| row(id, listed)).collect();
                self.keep(rows).await
            }
            Err(error) if concerns_a_folder(&error) && folders[0] != self.top => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if error.code() == "drive_failed" && failures >= HOPELESS {
                    return Err(error);
                }
                match &folders[..] {
                    [_] => {
                        self.failures.store(0, Ordering::Relaxed);
                        let id = folders.into_iter().next().unwrap_or_default();
                        self.keep_old(id, error.sentence()).await
                    }
                    _ => {
                        halve(&folders, pieces);
                        Ok(())
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn keep(&self, rows: Vec<Row>) -> Result<()> {
        let generation = self.generation;
        let count = rows.len() as u64;
        let media = rows.iter().map(|row| media(&entries_of(row))).sum();
        self.inner
            .known(move |state| state.put(generation, &rows))
            .await?;
        self.inner.progress.add(count, media);
        Ok(())
    }

    /// Keeps a folder that Google does not show as it was known before.
    async fn keep_old(&self, id: String, why: &str) -> Result<()> {
        let (generation, before) = (self.generation, self.before);
        let why = why.to_owned();
        let row = self
            .inner
            .known(move |state| {
                let mut old = state.row(generation, &id)?;
                if let (None, Some(before)) = (&old, before) {
                    old = state.row(before, &id)?;
                }
                let mut row = old.unwrap_or_default();
                (row.id, row.failed) = (id, Some(why));
                Ok(row)
            })
            .await?;
        log::warn!(
            "the folder {} is kept as it was: {}",
            row.id,
            row.failed.as_deref().unwrap_or_default()
        );
        self.keep(vec![row]).await
    }
}

/// Whether the refusal may be about one folder of the query; what is not is about Google, or about us.
fn concerns_a_folder(error: &Error) -> bool {
    matches!(
        error.code(),
        "drive_permission" | "drive_not_found" | "drive_failed"
    )
}

fn row(id: String, listed: Vec<Listed>) -> Row {
    let mut entries: Vec<Entry> = listed.into_iter().map(entry).collect();
    Row {
        id,
        children: scan::encode(&mut entries),
        ..Row::default()
    }
}

/// A child as it is kept.
pub(super) fn entry(listed: Listed) -> Entry {
    let (kind, target) = match listed.target {
        Some((target, mime)) => (Kind::of_mime(&mime), Some(target)),
        None => (Kind::of_mime(&listed.mime_type), None),
    };
    Entry {
        id: listed.id,
        name: listed.name,
        kind,
        target,
        key: listed.key.map(|key| key.as_str().to_owned()),
    }
}

/// The children of a row. One that cannot be read is another version's, and counts as empty.
pub(super) fn entries_of(row: &Row) -> Vec<Entry> {
    scan::decode(&row.children).unwrap_or_default()
}

/// Ids of the folders among children.
pub(super) fn folders_of(entries: &[Entry]) -> Vec<String> {
    let folders = entries.iter().filter(|entry| entry.kind == Kind::Folder);
    folders.map(|entry| entry.reference().to_owned()).collect()
}

/// Adds the keys of the folders among children.
pub(super) fn keys_of(entries: &[Entry], keys: &mut FolderKeys) {
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Folder) {
        let key = entry.key.as_deref().map(ResourceKey::parse);
        if let Some(Ok(key)) = key {
            keys.insert(entry.reference().to_owned(), key);
        }
    }
}

/// How many of them are played.
pub(super) fn media(entries: &[Entry]) -> u64 {
    let media = |entry: &&Entry| entry.kind == Kind::File && scan::is_media(&entry.name);
    entries.iter().filter(media).count() as u64
}
