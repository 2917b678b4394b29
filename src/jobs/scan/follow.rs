//! What changed on Drive, applied to what is known: in one transaction with the token behind it, so that an error at
//! any point loses nothing and a second try does no harm.
//!
//! A page that concerns no folder of ours is only remembered: an idle household's card is not worn by somebody
//! else's documents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::walk::{self, Overlay};
use super::{DRIVE, Inner, lock};
use crate::catalog::scan::{self, Entry, Kind};
use crate::drive::{Change, Changes, FolderKeys};
use crate::error::{Error, Result};
use crate::store::scan_state::{Row, Scan};

/// The code of a page token that Google does not know any more.
pub(super) const REFUSED: &str = "drive_token_refused";

/// How often a token is kept that has moved on without changing anything; Google keeps its changes for longer.
const KEEP: Duration = Duration::from_secs(3600);

/// How far changes were looked at that concern nobody, without that being kept.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Scan and token that the database has, and the token that may be gone on with.
    from: Option<(i64, String, String)>,
    kept: Option<Instant>,
}

impl Inner {
    /// The next page of changes of a scan.
    ///
    /// # Errors
    /// [`REFUSED`], and Drive's.
    pub(super) async fn peek(&self, scan: &Scan) -> Result<Changes> {
        let token = lock(&self.ahead).token(scan);
        let page = self
            .drive
            .changes(&token, scan.shared_drive.as_deref())
            .await?;
        self.progress
            .requests
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if page.changes.is_empty() && !page.more {
            lock(&self.ahead).note(scan, &page.next);
        }
        Ok(page)
    }

    /// Applies all changes since the token of `scan`. Whether anything that is known changed.
    ///
    /// # Errors
    /// As [`Inner::peek`], and the database's; the token then stays before what was not applied.
    pub(super) async fn follow(self: &Arc<Self>, mut scan: Scan) -> Result<bool> {
        let mut changed = false;
        loop {
            let page = self.peek(&scan).await?;
            if page.changes.is_empty() && !page.more {
                return Ok(changed);
            }
            changed |= self.apply(&scan, &page).await?;
            // Somebody else may have been at it; what the database says holds.
            match self.known(|state| state.complete(DRIVE)).await? {
                Some(now) if now.generation == scan.generation => scan = now,
                _ => return Ok(changed),
            }
            if !page.more {
                return Ok(changed);
            }
        }
    }

    /// Lists once more what could not be listed.
    ///
    /// # Errors
    /// Drive's, as a whole, and the database's.
    pub(super) async fn retry_failed(self: &Arc<Self>, scan: &Scan) -> Result<()> {
        let generation = scan.generation;
        let stamps = self.known(move |state| state.stamps(generation)).await?;
        let failed: Vec<String> = stamps
            .into_iter()
            .filter(|(_, _, failed)| *failed)
            .map(|(id, _, _)| id)
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        let keys = self.known(move |state| {
            let mut keys = FolderKeys::new();
            state.each(generation, |row| {
                walk::keys_of(&walk::entries_of(&row), &mut keys)
            })?;
            Ok(keys)
        });
        let keys = keys.await?;
        self.list(scan, None, failed, &keys).await?;
        // One that shows itself again may hold folders that nobody has seen.
        let seen = self.walk(scan, None, &Overlay::default()).await?;
        self.known(move |state| state.keep_only(generation, &seen))
            .await
    }

    async fn apply(self: &Arc<Self>, scan: &Scan, page: &Changes) -> Result<bool> {
        let (generation, from, to) = (scan.generation, scan.token.clone(), page.next.clone());
        let ids: HashSet<String> = page
            .changes
            .iter()
            .map(|change| change.id.clone())
            .collect();
        let known = self.known(move |state| {
            let mut known = Known::default();
            state.each(generation, |row| known.add(row, &ids))?;
            Ok(known)
        });
        let mut known = known.await?;
        if let Some(change) = page.changes.iter().find(|change| change.id == scan.top) {
            if change.file.is_none() {
                return Err(Error::new(
                    crate::error::Kind::NotFound,
                    "drive_not_found",
                    "The folder of drive.root was taken away from Google Drive, or is not shared with rill any more; \
                     the catalog stays as it was.",
                ));
            }
        }
        for change in &page.changes {
            self.load_parents(scan, change, &mut known).await?;
            known.change(change);
        }
        if known.edits.is_empty() {
            let due = lock(&self.ahead).note(scan, &to);
            if due {
                self.known(move |state| state.apply(generation, &from, &to, &[], None))
                    .await?;
            }
            return Ok(false);
        }
        let keep = match known.moved_folders {
            true => Some(self.walk(scan, None, &known.edits).await?),
            false => None,
        };
        let rows: Vec<Row> = known
            .edits
            .into_iter()
            .map(|(id, mut entries)| Row {
                children: scan::encode(&mut entries),
                failed: known.failed.remove(&id),
                id,
                stamp: 0,
            })
            .collect();
        self.known(move |state| state.apply(generation, &from, &to, &rows, keep.as_ref()))
            .await?;
        Ok(true)
    }

    /// Sees to it that the folders that a changed file lies in now can be edited.
    async fn load_parents(&self, scan: &Scan, change: &Change, known: &mut Known) -> Result<()> {
        let Some(file) = &change.file else {
            return Ok(());
        };
        for parent in &file.parents {
            if !known.ids.contains(parent) || known.rows.contains_key(parent) {
                continue;
            }
            let (generation, id) = (scan.generation, parent.clone());
            if let Some(row) = self.known(move |state| state.row(generation, &id)).await? {
                known.load(row);
            }
        }
        Ok(())
    }
}

impl Ahead {
    fn token(&self, scan: &Scan) -> String {
        match &self.from {
            Some((generation, token, ahead))
                if (*generation, token) == (scan.generation, &scan.token) =>
            {
                ahead.clone()
            }
            _ => scan.token.clone(),
        }
    }

    /// Remembers that all up to `next` concerns nobody. Whether it is time to keep that.
    fn note(&mut self, scan: &Scan, next: &str) -> bool {
        self.from = Some((scan.generation, scan.token.clone(), next.to_owned()));
        let due = next != scan.token && self.kept.is_some_and(|kept| kept.elapsed() >= KEEP);
        if due || self.kept.is_none() {
            self.kept = Some(Instant::now());
        }
        due
    }
}

/// What is known of the folders that a page of changes concerns.
#[derive(Debug, Default)]
struct Known {
    /// Ids of all folders.
    ids: HashSet<String>,
    /// Children, as they were, of the folders that hold a changed file, and of those that one was put into.
    rows: HashMap<String, Vec<Entry>>,
    failed: HashMap<String, String>,
    /// Children as they will be.
    edits: Overlay,
    /// A folder came, went or moved.
    moved_folders: bool,
}

impl Known {
    fn add(&mut self, row: Row, changed: &HashSet<String>) {
        self.ids.insert(row.id.clone());
        let entries = walk::entries_of(&row);
        if entries.iter().any(|entry| changed.contains(&entry.id)) {
            self.load(row);
        }
    }

    fn load(&mut self, row: Row) {
        let entries = walk::entries_of(&row);
        if let Some(why) = row.failed {
            self.failed.insert(row.id.clone(), why);
        }
        self.rows.insert(row.id, entries);
    }

    fn entries(&self, folder: &str) -> Option<&Vec<Entry>> {
        self.edits.get(folder).or_else(|| self.rows.get(folder))
    }

    /// Applies one change.
    fn change(&mut self, change: &Change) {
        let homes: Vec<String> = self
            .rows
            .keys()
            .filter(|folder| {
                self.entries(folder)
                    .is_some_and(|entries| entries.iter().any(|entry| entry.id == change.id))
            })
            .cloned()
            .collect();
        let file = change.file.clone();
        let parents: HashSet<String> = match &file {
            None => HashSet::new(),
            // Drive does not always say where a file lies; it then stays where it was.
            Some(file) if file.parents.is_empty() => homes.iter().cloned().collect(),
            Some(file) => file
                .parents
                .iter()
                .filter(|parent| self.ids.contains(*parent))
                .cloned()
                .collect(),
        };
        for folder in homes.iter().filter(|folder| !parents.contains(*folder)) {
            self.edit(folder, &change.id, None);
        }
        if let Some(entry) = file.map(walk::entry) {
            for folder in &parents {
                self.edit(folder, &change.id, Some(&entry));
            }
        }
    }

    /// Puts a child into a folder, in place of itself, or takes it away.
    fn edit(&mut self, folder: &str, id: &str, entry: Option<&Entry>) {
        let Some(entries) = self.entries(folder) else {
            return;
        };
        let old = entries.iter().find(|known| known.id == id);
        if old == entry {
            return;
        }
        let is_folder = |entry: Option<&Entry>| {
            entry
                .filter(|entry| entry.kind == Kind::Folder)
                .map(|entry| entry.reference().to_owned())
        };
        let moved = is_folder(old) != is_folder(entry);
        let mut entries = entries.clone();
        entries.retain(|known| known.id != id);
        entries.extend(entry.cloned());
        self.moved_folders |= moved;
        self.edits.insert(folder.to_owned(), entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::{FOLDER, Listed};

    fn file(id: &str, name: &str, mime: &str, parents: &[&str]) -> Listed {
        Listed {
            id: id.to_owned(),
            name: name.to_owned(),
            mime_type: mime.to_owned(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
            target: None,
            key: None,
            trashed: false,
        }
    }

    fn row(id: &str, files: &[Listed]) -> Row {
        let mut entries: Vec<Entry> = files.iter().cloned().map(walk::entry).collect();
        Row {
            id: id.to_owned(),
            children: scan::encode(&mut entries),
            ..Row::default()
        }
    }

    /// The names in each edited folder after `files` changed (`None`: is gone).
    fn after(changes: &[(&str, Option<Listed>)]) -> (Vec<(String, Vec<String>)>, bool) {
        let rows = [
            row(
                "top",
                &[file("a", "A", FOLDER, &[]), file("b", "B", FOLDER, &[])],
            ),
            row(
                "a",
                &[
                    file("v1", "1.mp4", "video/mp4", &[]),
                    file("v2", "2.mp4", "video/mp4", &[]),
                ],
            ),
            row("b", &[file("v2", "2.mp4", "video/mp4", &[])]),
        ];
        let mut known = Known::default();
        for row in rows {
            known.add(row.clone(), &HashSet::new());
            known.load(row);
        }
        for (id, file) in changes {
            known.change(&Change {
                id: (*id).to_owned(),
                file: file.clone(),
            });
        }
        let mut edits: Vec<(String, Vec<String>)> = known
            .edits
            .iter()
            .map(|(id, entries)| {
                (
                    id.clone(),
                    entries.iter().map(|entry| entry.name.clone()).collect(),
                )
            })
            .collect();
        edits.sort();
        (edits, known.moved_folders)
    }

    #[test]
    fn changes_of_every_sort() {
        let strings = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let v = |id: &str, name: &str, parents: &[&str]| Some(file(id, name, "video/mp4", parents));
        // New, renamed, unchanged, elsewhere.
        assert_eq!(
            after(&[("n1", v("n1", "n.mp4", &["b"]))]),
            (vec![("b".into(), strings(&["2.mp4", "n.mp4"]))], false)
        );
        assert_eq!(
            after(&[("v1", v("v1", "x.mp4", &["a"]))]).0,
            [("a".into(), strings(&["2.mp4", "x.mp4"]))]
        );
        assert_eq!(after(&[("v1", v("v1", "1.mp4", &["a"]))]).0, []);
        assert_eq!(after(&[("n1", v("n1", "n.mp4", &["elsewhere"]))]).0, []);
        assert_eq!(after(&[("n1", None)]).0, []);
        // Moved, out of one of two, away, and without a word of where.
        assert_eq!(
            after(&[("v1", v("v1", "1.mp4", &["b"]))]).0,
            [
                ("a".into(), strings(&["2.mp4"])),
                ("b".into(), strings(&["2.mp4", "1.mp4"]))
            ]
        );
        assert_eq!(
            after(&[("v2", v("v2", "2.mp4", &["a"]))]).0,
            [("b".into(), strings(&[]))]
        );
        assert_eq!(
            after(&[("v1", v("v1", "1.mp4", &["elsewhere"]))]).0,
            [("a".into(), strings(&["2.mp4"]))]
        );
        assert_eq!(
            after(&[("v1", v("v1", "y.mp4", &[]))]).0,
            [("a".into(), strings(&["2.mp4", "y.mp4"]))]
        );
        // Folders.
        assert!(after(&[("b", None)]).1);
        assert!(!after(&[("b", Some(file("b", "Renamed", FOLDER, &["top"])))]).1);
        assert!(after(&[("c", Some(file("c", "C", FOLDER, &["top"])))]).1);
    }
}
