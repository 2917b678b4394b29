//! The `progress.json` of the system before this one: taken over once, and left where it is.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{OptionalExtension, params};

use crate::error::Result;
use crate::store::database::Database;
use crate::store::progress::document::Document;
use crate::store::progress::entry::Entry;
use crate::store::progress::milliseconds;

/// The fact that tells what became of the file.
const FACT: &str = "progress.import";

/// A larger file is none of the seed's, whose limit was 2 MiB unless it was raised.
const LARGEST: u64 = 16 << 20;

/// Imports the file into the default profile, unless that was done before. What is kept already is
/// merged with it; values that are no entries yield to what is kept.
///
/// A file that cannot be read as progress is logged, and tried again when it has become another one.
///
/// # Errors
/// The database's.
pub(super) fn run(database: &Database, path: &Path, limit: u64) -> Result<()> {
    let before: Option<String> = database.with(|connection| {
        Ok(connection
            .query_row("SELECT value FROM fact WHERE name = ?1", [FACT], |row| {
                row.get(0)
            })
            .optional()?)
    })?;
    if before.as_deref() == Some("done") {
        return Ok(());
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                log::error!(
                    "{} cannot be read and is not imported: {error}",
                    path.display()
                );
            }
            return Ok(());
        }
    };
    let Ok(metadata) = file.metadata() else {
        return Ok(());
    };
    let broken = format!(
        "broken {} {}.{:09} {}",
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len()
    );
    if before.as_ref() == Some(&broken) {
        return Ok(());
    }
    let document = match read(&mut file, LARGEST.max(limit)) {
        Ok(document) => document,
        Err(why) => {
            log::error!(
                "{} is not imported: {why}; mend the file and restart rill, or remove it",
                path.display()
            );
            return remember(database, &broken);
        }
    };
    let entries = document.0.len();
    database.transaction(|tx| {
        let mut find = tx.prepare("SELECT value FROM progress WHERE profile = 0 AND key = ?1")?;
        let mut put = tx.prepare("REPLACE INTO progress VALUES (0, ?1, ?2)")?;
        for (key, value) in &document.0 {
            let kept: Option<String> = find.query_row([key], |row| row.get(0)).optional()?;
            let text = match kept {
                None => value.get().to_owned(),
                Some(kept) => match (Entry::read(&kept), Entry::read(value.get())) {
                    (Some(kept), Some(old)) => Entry::merge(&old, &kept, milliseconds()).text(),
                    _ => continue,
                },
            };
            put.execute(params![key, text])?;
        }
        tx.execute("REPLACE INTO fact VALUES (?1, 'done')", [FACT])?;
        Ok(())
    })?;
    log::info!("imported {entries} entries of {}", path.display());
    Ok(())
}

fn read(file: &mut File, largest: u64) -> Result<Document, String> {
    let mut bytes = Vec::new();
    file.take(largest + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > largest {
        return Err(format!("it is larger than {largest} bytes"));
    }
    Document::read(&bytes).map_err(|error| error.chain())
}

fn remember(database: &Database, what: &str) -> Result<()> {
    database.transaction(|tx| {
        tx.execute("REPLACE INTO fact VALUES (?1, ?2)", params![FACT, what])?;
        Ok(())
    })
}
