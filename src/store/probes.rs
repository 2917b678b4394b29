//! What was found in files, so that a file is looked into once: a row for each reference, good as long as the file's
//! stamp is the same.
//!
//! The text of a row is its owner's business. Nothing here is worth waiting for a disk: what a power cut takes is found
//! again.

use rusqlite::{OptionalExtension, params};

use crate::error::Result;
use crate::store::database::{Database, Durability};

/// Rows that are kept; the oldest go first.
const LIMIT: i64 = 20_000;

/// The tables.
pub(super) const SCHEMA: &str = "
    CREATE TABLE probe (
        reference TEXT NOT NULL PRIMARY KEY,
        stamp TEXT NOT NULL,
        info TEXT NOT NULL,
        made INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX probe_made ON probe (made);
";

/// What is kept of a file, when it is of this stamp. Blocks.
///
/// # Errors
/// The database's.
pub fn get(database: &Database, reference: &str, stamp: &str) -> Result<Option<String>> {
    database.with(|connection| {
        let mut statement =
            connection.prepare("SELECT info FROM probe WHERE reference = ? AND stamp = ?")?;
        Ok(statement
            .query_row(params![reference, stamp], |row| row.get(0))
            .optional()?)
    })
}

/// Keeps what was found in a file, in place of what was kept of it before. Blocks.
///
/// # Errors
/// The database's.
pub fn put(database: &Database, reference: &str, stamp: &str, info: &str) -> Result<()> {
    database.commit(|transaction| {
        // Numbered and not dated: a Pi's clock begins anew with every start.
        transaction.execute(
            "INSERT OR REPLACE INTO probe (reference, stamp, info, made)
             VALUES (?1, ?2, ?3, (SELECT coalesce(max(made), 0) + 1 FROM probe))",
            params![reference, stamp, info],
        )?;
        transaction.execute(
            "DELETE FROM probe WHERE made <= (SELECT max(made) FROM probe) - ?",
            params![LIMIT],
        )?;
        Ok(((), Durability::Later))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_good_for_its_stamp_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        put(&database, "videos/a.mkv", "1", "{}").unwrap();
        let found = |stamp| get(&database, "videos/a.mkv", stamp).unwrap();
        assert_eq!((found("1").as_deref(), found("2")), (Some("{}"), None));
        put(&database, "videos/a.mkv", "2", "[]").unwrap();
        assert_eq!((found("1"), found("2").as_deref()), (None, Some("[]")));
        database
            .transaction(|transaction| {
                transaction.execute("UPDATE probe SET made = made - ?", [LIMIT])?;
                Ok(())
            })
            .unwrap();
        put(&database, "b", "1", "{}").unwrap();
        put(&database, "c", "1", "{}").unwrap();
        assert!(found("2").is_some());
        database
            .transaction(|transaction| {
                transaction.execute(
                    "UPDATE probe SET made = made + ? WHERE reference = 'c'",
                    [LIMIT],
                )?;
                Ok(())
            })
            .unwrap();
        put(&database, "d", "1", "{}").unwrap();
        assert!(found("2").is_none());
        assert!(get(&database, "c", "1").unwrap().is_some());
    }
}
