//! Uploads that may go on later, as they survive a restart: a row for each, beside its part in the folder of videos.
//!
//! The row says how many bytes of the part are known to be on the disk; it never runs ahead of them. What is done
//! with an upload that is whole, and who may write to one, is the business of `jobs`.

use rusqlite::{OptionalExtension, params};

use crate::error::Result;
use crate::store::database::{Database, Durability};

/// The table; a step of `migrations`. Times are seconds since 1970.
pub(super) const SCHEMA: &str = "
    CREATE TABLE upload (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        metadata TEXT NOT NULL,
        length INTEGER NOT NULL,
        at INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        result TEXT
    ) STRICT, WITHOUT ROWID;
";

/// An upload as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The id of it and of its part.
    pub id: String,
    /// What the client calls the file.
    pub name: String,
    /// What the client said of it, as it said it.
    pub metadata: String,
    /// How long the file is.
    pub length: u64,
    /// How much of it has come.
    pub at: u64,
    /// When it is forgotten unless more of it comes.
    pub expires: i64,
    /// What became of it, as JSON, when it is whole; there is no part then.
    pub result: Option<String>,
}

/// The kept uploads. Blocks: call it where that is allowed.
#[derive(Clone, Debug)]
pub struct Uploads {
    database: Database,
}

impl Uploads {
    /// The uploads that `database` keeps.
    pub fn of(database: Database) -> Uploads {
        Uploads { database }
    }

    /// The database, to be asked on the blocking pool.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// One of them.
    ///
    /// # Errors
    /// The database's.
    pub fn get(&self, id: &str) -> Result<Option<Row>> {
        self.database.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, name, metadata, length, at, expires, result FROM upload WHERE id = ?1",
            )?;
            Ok(statement.query_row([id], row).optional()?)
        })
    }

    /// All of them.
    ///
    /// # Errors
    /// The database's.
    pub fn all(&self) -> Result<Vec<Row>> {
        self.database.with(|connection| {
            let mut statement = connection
                .prepare("SELECT id, name, metadata, length, at, expires, result FROM upload")?;
            let rows = statement.query_map([], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps one, in place of what was kept under its id.
    ///
    /// # Errors
    /// The database's.
    pub fn put(&self, row: &Row) -> Result<()> {
        self.database.transaction(|transaction| {
            let mut statement = transaction
                .prepare("INSERT OR REPLACE INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            statement.execute(params![
                row.id,
                row.name,
                row.metadata,
                signed(row.length),
                signed(row.at),
                row.expires,
                row.result
            ])?;
            Ok(())
        })
    }

    /// Says how far one has come, which is on the disk already. A power cut may take this back; then less is known to
    /// have come than has.
    ///
    /// # Errors
    /// The database's.
    pub fn advance(&self, id: &str, at: u64, expires: i64) -> Result<()> {
        self.database.commit(|transaction| {
            let mut statement =
                transaction.prepare("UPDATE upload SET at = ?2, expires = ?3 WHERE id = ?1")?;
            statement.execute(params![id, signed(at), expires])?;
            Ok(((), Durability::Later))
        })
    }

    /// Forgets one; whether it was there.
    ///
    /// # Errors
    /// The database's.
    pub fn remove(&self, id: &str) -> Result<bool> {
        self.database.transaction(|transaction| {
            let removed = transaction.execute("DELETE FROM upload WHERE id = ?1", [id])?;
            Ok(removed > 0)
        })
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Row {
        id: row.get(0)?,
        name: row.get(1)?,
        metadata: row.get(2)?,
        length: unsigned(row.get(3)?),
        at: unsigned(row.get(4)?),
        expires: row.get(5)?,
        result: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::of(Database::open(folder.path()).unwrap());
        let mut row = Row {
            id: "a".to_owned(),
            name: "é.mp4".to_owned(),
            metadata: "filename w6kubXA0".to_owned(),
            length: 10,
            at: 0,
            expires: 5,
            result: None,
        };
        uploads.put(&row).unwrap();
        uploads.advance("a", 7, 9).unwrap();
        (row.at, row.expires) = (7, 9);
        assert_eq!(uploads.get("a").unwrap(), Some(row.clone()));
        row.result = Some("{}".to_owned());
        uploads.put(&row).unwrap();
        assert_eq!(uploads.all().unwrap(), [row]);
        assert!(uploads.remove("a").unwrap() && !uploads.remove("a").unwrap());
        assert_eq!(uploads.get("a").unwrap(), None);
    }
}
