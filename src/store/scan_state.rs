//! What scans know between two moments: the children of every folder, which scan listed them, and from where on
//! changes are followed.
//!
//! A scan writes under a number of its own, its generation, beside the complete one that the catalog was made of; it
//! takes that one's place in one transaction. What the children mean is the scan's business: here they are
//! bytes. A batch that a power cut takes back is listed again, so only the end of a scan is brought to the disk at
//! once.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, Transaction, params};

use crate::error::Result;
use crate::store::database::{Database, Durability};

/// The tables; a step of `migrations`.
///
/// `root` is what the configuration names, `top` the folder that it stands for. `unwritten` says that the catalog file
/// does not have all that is here. A folder's `stamp` is its change time in nanoseconds, for local ones.
pub(super) const SCHEMA: &str = "
    CREATE TABLE scan (
        generation INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        root TEXT NOT NULL,
        top TEXT NOT NULL,
        shared_drive TEXT,
        token TEXT NOT NULL,
        complete INTEGER NOT NULL,
        unwritten INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE scan_folder (
        generation INTEGER NOT NULL,
        id TEXT NOT NULL,
        stamp INTEGER NOT NULL,
        failed TEXT,
        children BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX scan_folder_id ON scan_folder (generation, id);
";

/// The fact that tells when a scan came to its end last.
const ENDED: &str = "scan ended";

/// A scan, complete or under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Its number; later scans have larger ones.
    pub generation: i64,
    /// The root as the configuration has it.
    pub root: String,
    /// Id of the folder that it begins with.
    pub top: String,
    /// The shared drive that it lies on.
    pub shared_drive: Option<String>,
    /// From where on changes are not in it.
    pub token: String,
    /// The catalog file lacks something of it.
    pub unwritten: bool,
}

/// A folder as it was listed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// When it changed, for folders that have such a time; 0 is never right.
    pub stamp: i64,
    /// Why it could not be listed; the children are older then.
    pub failed: Option<String>,
    /// Its children, encoded.
    pub children: Vec<u8>,
}

/// What is kept of scans. Blocks: call it where that is allowed.
#[derive(Clone, Debug)]
pub struct ScanState {
    database: Database,
}

impl ScanState {
    /// What `database` keeps of scans.
    pub fn of(database: Database) -> ScanState {
        ScanState { database }
    }

    /// The scan of a source that is complete.
    ///
    /// # Errors
    /// The database's.
    pub fn complete(&self, source: &str) -> Result<Option<Scan>> {
        self.newest(source, true)
    }

    /// When a scan came to its end last, in seconds since 1970.
    ///
    /// # Errors
    /// The database's.
    pub fn ended(&self) -> Result<Option<u64>> {
        self.database.with(|connection| {
            let mut statement = connection.prepare("SELECT value FROM fact WHERE name = ?")?;
            let text = statement.query_row([ENDED], |row| row.get::<_, String>(0));
            Ok(text.optional()?.and_then(|text| text.parse().ok()))
        })
    }

    /// Keeps that a scan came to its end.
    ///
    /// # Errors
    /// The database's.
    pub fn keep_end(&self, seconds: u64) -> Result<()> {
        self.later(|transaction| {
            transaction.execute(
                "REPLACE INTO fact VALUES (?, ?)",
                params![ENDED, seconds.to_string()],
            )?;
            Ok(())
        })
    }

    /// The scan of a source that is under way, or was when the process ended.
    ///
    /// # Errors
    /// The database's.
    pub fn unfinished(&self, source: &str) -> Result<Option<Scan>> {
        self.newest(source, false)
    }

    fn newest(&self, source: &str, complete: bool) -> Result<Option<Scan>> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT generation, root, top, shared_drive, token, unwritten FROM scan
                 WHERE source = ? AND complete = ? ORDER BY generation DESC LIMIT 1",
            )?;
            let scan = statement.query_row(params![source, complete], |row| {
                Ok(Scan {
                    generation: row.get(0)?,
                    root: row.get(1)?,
                    top: row.get(2)?,
                    shared_drive: row.get(3)?,
                    token: row.get(4)?,
                    unwritten: row.get(5)?,
                })
            });
            Ok(scan.optional()?)
        })
    }

    /// Begins a scan of a source; one that was under way is forgotten.
    ///
    /// # Errors
    /// The database's.
    pub fn begin(
        &self,
        source: &str,
        root: &str,
        top: &str,
        shared_drive: Option<&str>,
        token: &str,
    ) -> Result<Scan> {
        self.later(|transaction| {
            forget(transaction, source, "complete = 0")?;
            transaction.execute(
                "INSERT INTO scan (source, root, top, shared_drive, token, complete, unwritten)
                 VALUES (?, ?, ?, ?, ?, 0, 0)",
                params![source, root, top, shared_drive, token],
            )?;
            Ok(Scan {
                generation: transaction.last_insert_rowid(),
                root: root.to_owned(),
                top: top.to_owned(),
                shared_drive: shared_drive.map(str::to_owned),
                token: token.to_owned(),
                unwritten: false,
            })
        })
    }

    /// Makes a scan the complete one of its source; the one before is forgotten in the same instant.
    ///
    /// # Errors
    /// The database's.
    pub fn finish(&self, source: &str, generation: i64) -> Result<()> {
        self.database.transaction(|transaction| {
            transaction.execute(
                "UPDATE scan SET complete = 1, unwritten = 1 WHERE generation = ?",
                [generation],
            )?;
            forget(transaction, source, &format!("generation <> {generation}"))?;
            Ok(())
        })
    }

    /// A folder of a scan.
    ///
    /// # Errors
    /// The database's.
    pub fn row(&self, generation: i64, id: &str) -> Result<Option<Row>> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, stamp, failed, children FROM scan_folder WHERE generation = ? AND id = ?",
            )?;
            Ok(statement.query_row(params![generation, id], row_of).optional()?)
        })
    }

    /// Calls `look` with every folder of a scan, in no order. Nothing of this database may be asked meanwhile.
    ///
    /// # Errors
    /// The database's.
    pub fn each(&self, generation: i64, mut look: impl FnMut(Row)) -> Result<()> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, stamp, failed, children FROM scan_folder WHERE generation = ?",
            )?;
            for row in statement.query_map([generation], row_of)? {
                look(row?);
            }
            Ok(())
        })
    }

    /// Id, stamp and failure of every folder of a scan, without the children.
    ///
    /// # Errors
    /// The database's.
    pub fn stamps(&self, generation: i64) -> Result<Vec<(String, i64, bool)>> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, stamp, failed IS NOT NULL FROM scan_folder WHERE generation = ?",
            )?;
            let rows = statement.query_map([generation], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Those of `ids` that a scan has not listed yet.
    ///
    /// # Errors
    /// The database's.
    pub fn missing(&self, generation: i64, ids: &[String]) -> Result<Vec<String>> {
        self.database.with(|connection| {
            let mut statement =
                connection.prepare("SELECT 1 FROM scan_folder WHERE generation = ? AND id = ?")?;
            let mut missing = Vec::new();
            for id in ids {
                if !statement.exists(params![generation, id])? {
                    missing.push(id.clone());
                }
            }
            Ok(missing)
        })
    }

    /// Keeps folders, all or none. Writes nothing when they were kept like that before.
    ///
    /// # Errors
    /// The database's.
    pub fn put(&self, generation: i64, rows: &[Row]) -> Result<()> {
        self.later(|transaction| put(transaction, generation, rows))
    }

    /// Applies changes to a scan, all or none: new folders, the ones that are gone, and the token behind them.
    /// `false`, and nothing done, when `from` is not its token any more: somebody else applied them.
    ///
    /// # Errors
    /// The database's.
    pub fn apply(
        &self,
        generation: i64,
        from: &str,
        to: &str,
        rows: &[Row],
        keep: Option<&HashSet<String>>,
    ) -> Result<bool> {
        self.later(|transaction| {
            let moved = transaction.execute(
                "UPDATE scan SET token = ? WHERE generation = ? AND token = ?",
                params![to, generation, from],
            )?;
            if moved == 0 {
                return Ok(false);
            }
            put(transaction, generation, rows)?;
            if let Some(keep) = keep {
                keep_only(transaction, generation, keep)?;
            }
            Ok(true)
        })
    }

    /// Forgets the folders of a scan that are not among `keep`.
    ///
    /// # Errors
    /// The database's.
    pub fn keep_only(&self, generation: i64, keep: &HashSet<String>) -> Result<()> {
        self.later(|transaction| keep_only(transaction, generation, keep))
    }

    /// The catalog file has all of these scans now.
    ///
    /// # Errors
    /// The database's.
    pub fn written(&self, generations: &[i64]) -> Result<()> {
        self.later(|transaction| {
            for generation in generations {
                transaction.execute(
                    "UPDATE scan SET unwritten = 0 WHERE generation = ? AND unwritten = 1",
                    [generation],
                )?;
            }
            Ok(())
        })
    }

    fn later<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.database
            .commit(|transaction| Ok((work(transaction)?, Durability::Later)))
    }
}

fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        stamp: row.get(1)?,
        failed: row.get(2)?,
        children: row.get(3)?,
    })
}

fn put(connection: &Connection, generation: i64, rows: &[Row]) -> Result<()> {
    let mut statement = connection.prepare(
        "INSERT INTO scan_folder (generation, id, stamp, failed, children) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (generation, id) DO UPDATE
         SET stamp = excluded.stamp, failed = excluded.failed, children = excluded.children
         WHERE stamp <> excluded.stamp OR failed IS NOT excluded.failed OR children <> excluded.children",
    )?;
    let mut changed = 0;
    for row in rows {
        changed += statement.execute(params![
            generation,
            row.id,
            row.stamp,
            row.failed,
            row.children
        ])?;
    }
    if changed > 0 {
        touch(connection, generation)?;
    }
    Ok(())
}

fn keep_only(connection: &Connection, generation: i64, keep: &HashSet<String>) -> Result<()> {
    let mut statement = connection.prepare("SELECT id FROM scan_folder WHERE generation = ?")?;
    let ids = statement.query_map([generation], |row| row.get::<_, String>(0))?;
    let mut gone = Vec::new();
    for id in ids {
        let id = id?;
        if !keep.contains(&id) {
            gone.push(id);
        }
    }
    let mut statement =
        connection.prepare("DELETE FROM scan_folder WHERE generation = ? AND id = ?")?;
    for id in &gone {
        statement.execute(params![generation, id])?;
    }
    if !gone.is_empty() {
        touch(connection, generation)?;
    }
    Ok(())
}

fn touch(connection: &Connection, generation: i64) -> Result<()> {
    let mut statement = connection.prepare(
        "UPDATE scan SET unwritten = 1 WHERE generation = ? AND complete = 1 AND unwritten = 0",
    )?;
    statement.execute([generation])?;
    Ok(())
}

/// Forgets scans of a source; `which` is a condition of ours.
fn forget(connection: &Connection, source: &str, which: &str) -> Result<()> {
    connection.execute(
        &format!("DELETE FROM scan_folder WHERE generation IN (SELECT generation FROM scan WHERE source = ? AND {which})"),
        [source],
    )?;
    connection.execute(
        &format!("DELETE FROM scan WHERE source = ? AND {which}"),
        [source],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, children: &[u8]) -> Row {
        Row {
            id: id.to_owned(),
            children: children.to_vec(),
            ..Row::default()
        }
    }

    #[test]
    fn one_scan_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let state = ScanState::of(Database::open(folder.path()).unwrap());
        let first = state.begin("drive", "root", "top", None, "1").unwrap();
        let other = state.begin("local", "/x", "", None, "").unwrap();
        state
            .put(first.generation, &[row("a", b"1"), row("b", b"2")])
            .unwrap();
        assert_eq!(state.complete("drive").unwrap(), None);
        assert_eq!(state.unfinished("drive").unwrap().as_ref(), Some(&first));
        state.finish("drive", first.generation).unwrap();
        assert!(state.complete("drive").unwrap().unwrap().unwritten);
        state.written(&[first.generation]).unwrap();
        let ids = ["a", "c"].map(str::to_owned);
        assert_eq!(state.missing(first.generation, &ids).unwrap(), ["c"]);

        let second = state.begin("drive", "root", "top", Some("d"), "7").unwrap();
        assert!(second.generation > other.generation);
        state.put(second.generation, &[row("a", b"3")]).unwrap();
        assert_eq!(
            state.row(first.generation, "a").unwrap().unwrap().children,
            b"1"
        );
        state.finish("drive", second.generation).unwrap();
        assert_eq!(state.row(first.generation, "a").unwrap(), None);
        assert_eq!(state.complete("drive").unwrap().unwrap().token, "7");
        assert_eq!(state.unfinished("local").unwrap(), Some(other));
    }

    #[test]
    fn changes_are_applied_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = ScanState::of(Database::open(folder.path()).unwrap());
        let scan = state.begin("drive", "root", "top", None, "1").unwrap();
        state
            .put(scan.generation, &[row("a", b"1"), row("b", b"2")])
            .unwrap();
        state.finish("drive", scan.generation).unwrap();
        state.written(&[scan.generation]).unwrap();
        state.put(scan.generation, &[row("a", b"1")]).unwrap();
        assert!(!state.complete("drive").unwrap().unwrap().unwritten);
        let keep = HashSet::from(["a".to_owned()]);
        assert!(
            state
                .apply(scan.generation, "1", "2", &[row("a", b"9")], Some(&keep))
                .unwrap()
        );
        assert!(
            !state
                .apply(scan.generation, "1", "2", &[row("a", b"0")], None)
                .unwrap()
        );
        let mut rows = Vec::new();
        state.each(scan.generation, |row| rows.push(row)).unwrap();
        assert_eq!(rows, [row("a", b"9")]);
        let scan = state.complete("drive").unwrap().unwrap();
        assert!(scan.unwritten && scan.token == "2");
    }
}
