//! How the database came to its shape: steps that are appended and never changed once released.
//!
//! `user_version` counts the steps that a file has behind it. Each runs in a transaction of its own together
//! with that count, so that a kill between two of them leaves a shape that the next start goes on from.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, Kind, Result};

/// Name (for the log) and SQL of each step, oldest first. A room that needs tables appends a step.
const STEPS: &[(&str, &str)] = &[
    ("progress", PROGRESS),
    ("scan", super::scan_state::SCHEMA),
    ("jobs", super::queue::SCHEMA),
    ("probes", super::probes::SCHEMA),
    ("notes of jobs", super::queue::NOTE),
    ("uploads", super::uploads::SCHEMA),
];

/// Facts are what a room remembers of itself in a line of text, under a name that begins with the room's.
///
/// Progress is clustered by profile and key, so that a playing position that moves on rewrites one page; the
/// default profile is 0 and has no row among the names.
const PROGRESS: &str = "
    CREATE TABLE fact (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE profile (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE progress (
        profile INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (profile, key)
    ) STRICT, WITHOUT ROWID;
";

/// Brings a database to the shape of this version.
///
/// # Errors
/// `database_newer` when a later version of rill made it; SQLite's.
pub(super) fn run(connection: &mut Connection) -> Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let done: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let done = usize::try_from(done).unwrap_or(usize::MAX);
        if done > STEPS.len() {
            return Err(Error::new(
                Kind::Unavailable,
                "database_newer",
                format!(
                    "The database rill.db in the state folder is of a newer rill (shape {done}, this one knows {}); \
                     install that version again, or move the file away.",
                    STEPS.len()
                ),
            ));
        }
        if done == STEPS.len() {
            return Ok(());
        }
        drop(transaction);
        // Another process may be at it; who comes second finds the count moved on.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some((name, sql)) = STEPS
            .get(done)
            .filter(|_| usize::try_from(now).ok() == Some(done))
        else {
            continue;
        };
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", now + 1)?;
        transaction.commit()?;
        log::debug!("the database took the step {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_the_future_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection).unwrap();
        run(&mut connection).unwrap();
        let version = |connection: &Connection| -> i64 {
            connection
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .unwrap()
        };
        assert_eq!(version(&connection), STEPS.len() as i64);
        connection
            .pragma_update(None, "user_version", 9999)
            .unwrap();
        assert_eq!(run(&mut connection).unwrap_err().code(), "database_newer");
        assert_eq!(version(&connection), 9999);
    }
}
