//! The queue of jobs as it survives a restart: a row for each job, written when its state changes.
//!
//! What a job does, and how far it is at this moment, is the business of `jobs`: a progress that moves every second
//! would wear a card. Kinds and states are words that `jobs` reads; a row with one that it does not know is of another
//! version, and is left alone.

use rusqlite::params;

use crate::error::Result;
use crate::store::database::{Database, Durability};

/// The table; a step of `migrations`.
///
/// Times are milliseconds since 1970. `reference` is what the job works on, in the words of its kind: an id, or a path
/// of any bytes. AUTOINCREMENT, so that the number of a job that was removed never names another one.
pub(super) const SCHEMA: &str = "
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        reference BLOB NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        error TEXT,
        mode TEXT,
        size INTEGER,
        created INTEGER NOT NULL,
        started INTEGER,
        finished INTEGER,
        updated INTEGER NOT NULL
    ) STRICT;
";

/// A later step: what a job must know when it is begun again.
pub(super) const NOTE: &str = "ALTER TABLE job ADD COLUMN note TEXT;";

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number; later jobs have larger ones. 0 of one that has none yet.
    pub id: i64,
    /// What is done.
    pub kind: String,
    /// To what.
    pub reference: Vec<u8>,
    /// How it stands.
    pub state: String,
    /// How often it was begun.
    pub attempts: u32,
    /// Why the last attempt came to nothing.
    pub error: Option<String>,
    /// How it was done.
    pub mode: Option<String>,
    /// Bytes of what came of it.
    pub size: Option<i64>,
    /// When it was asked for.
    pub created: i64,
    /// When the last attempt began.
    pub started: Option<i64>,
    /// When it ended, however it did.
    pub finished: Option<i64>,
    /// When its state changed last.
    pub updated: i64,
    /// What it must know when it is begun again.
    pub note: Option<String>,
}

/// The kept queue. Blocks: call it where that is allowed.
#[derive(Clone, Debug)]
pub struct Jobs {
    database: Database,
}

impl Jobs {
    /// The queue that `database` keeps.
    pub fn of(database: Database) -> Jobs {
        Jobs { database }
    }

    /// Every job, oldest first, and the largest number that any ever had.
    ///
    /// # Errors
    /// The database's.
    pub fn all(&self) -> Result<(Vec<Row>, i64)> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, kind, reference, state, attempts, error, mode, size, created, started, finished, updated,
                 note FROM job ORDER BY id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Row {
                    id: row.get(0)?,
                    kind: row.get(1)?,
                    reference: row.get(2)?,
                    state: row.get(3)?,
                    attempts: row.get(4)?,
                    error: row.get(5)?,
                    mode: row.get(6)?,
                    size: row.get(7)?,
                    created: row.get(8)?,
                    started: row.get(9)?,
                    finished: row.get(10)?,
                    updated: row.get(11)?,
                    note: row.get(12)?,
                })
            })?;
            let rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
            let largest: i64 = connection.query_row(
                "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0)",
                [],
                |row| row.get(0),
            )?;
            Ok((rows, largest))
        })
    }

    /// Keeps jobs as they stand, new or not, and forgets others.
    ///
    /// # Errors
    /// The database's.
    pub fn write(&self, rows: &[Row], gone: &[i64], durability: Durability) -> Result<()> {
        self.database.commit(|transaction| {
            let mut put = transaction.prepare(
                "INSERT OR REPLACE INTO job
                 (id, kind, reference, state, attempts, error, mode, size, created, started, finished, updated,
                  note)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            for row in rows {
                put.execute(params![
                    row.id,
                    row.kind,
                    row.reference,
                    row.state,
                    row.attempts,
                    row.error,
                    row.mode,
                    row.size,
                    row.created,
                    row.started,
                    row.finished,
                    row.updated,
                    row.note,
                ])?;
            }
            let mut forget = transaction.prepare("DELETE FROM job WHERE id = ?")?;
            for id in gone {
                forget.execute([id])?;
            }
            Ok(((), durability))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_kept_and_numbers_are_not_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(Database::open(folder.path()).unwrap());
        assert_eq!(jobs.all().unwrap(), (Vec::new(), 0));
        let row = |id| Row {
            id,
            kind: "convert".to_owned(),
            reference: b"a/\xff.mkv".to_vec(),
            state: "queued".to_owned(),
            attempts: 0,
            error: None,
            mode: None,
            size: None,
            created: 7,
            started: None,
            finished: None,
            updated: 7,
            note: Some("x".to_owned()),
        };
        jobs.write(&[row(1), row(2), row(5)], &[], Durability::Now)
            .unwrap();
        let mut done = row(2);
        done.state = "completed".to_owned();
        done.size = Some(1 << 40);
        jobs.write(std::slice::from_ref(&done), &[5, 99], Durability::Later)
            .unwrap();
        assert_eq!(jobs.all().unwrap(), (vec![row(1), done], 5));
    }
}
