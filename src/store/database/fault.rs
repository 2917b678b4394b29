//! What is said of a database that fails: the words of SQLite, of the disk and of the kernel, as errors with a remedy.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::error::{Error, Kind};
use crate::sys::disk;

/// Below so much free space a failed write is put down to the full disk, whatever the kernel called it: a
/// quota and some file systems have words of their own for it.
pub(super) const FULL: u64 = 256 * 1024;

/// A failure of the disk that SQLite had no part in.
pub(super) fn of_disk(database: &Path, error: &io::Error) -> Error {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    if full {
        return no_space().because(error.to_string());
    }
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make the state folder, or name another one as state.dir",
        io::ErrorKind::PermissionDenied => "give the folder to rill's user",
        io::ErrorKind::ReadOnlyFilesystem => {
            "make its disk writable, for the service as well (ReadWritePaths= in README.Debian)"
        }
        _ => "look after its disk",
    };
    unavailable(&format!(
        "The database {} cannot be opened ({error}); {remedy}.",
        database.display()
    ))
}

/// Calls a failed write by the name of its likely cause.
pub(super) fn put_down_to_space(folder: &Path, error: Error) -> Error {
    let failed_io =
        sqlite_error(&error).is_some_and(|cause| cause.code == ErrorCode::SystemIoFailure);
    match failed_io && disk::free(folder).is_ok_and(|free| free < FULL) {
        true => no_space().because(error.chain()),
        false => error,
    }
}

impl From<rusqlite::Error> for Error {
    /// What SQLite's refusals mean; with it `?` works inside of [`super::Database::transaction`].
    fn from(error: rusqlite::Error) -> Error {
        let made = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => no_space(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                unavailable("Another process holds the database rill.db; try again in a moment.")
                    .retry_after(Duration::from_secs(1))
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => unavailable(
                "The database rill.db in the state folder cannot be written; make its disk writable and rill's \
                 user its owner.",
            ),
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => unavailable(
                "The disk of the state folder fails under the database rill.db; look after it.",
            ),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                unavailable("The database rill.db is broken; a new one is begun, try again.")
            }
            _ => Error::internal("The database refused a statement; the log says more."),
        };
        made.because(error)
    }
}

fn unavailable(sentence: &str) -> Error {
    Error::new(Kind::Unavailable, "state_unavailable", sentence)
}

fn no_space() -> Error {
    Error::new(
        Kind::NoSpace,
        "no_space",
        "The disk of the state folder is full; free some space, then try again.",
    )
}

/// What SQLite itself said.
pub(super) fn sqlite_error(error: &Error) -> Option<rusqlite::ffi::Error> {
    match std::error::Error::source(error)?.downcast_ref()? {
        rusqlite::Error::SqliteFailure(cause, _) => Some(*cause),
        _ => None,
    }
}

/// Whether it is the file that is broken, and not its disk.
pub(super) fn is_broken(error: &Error) -> bool {
    sqlite_error(error).is_some_and(|cause| {
        matches!(
            cause.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
        )
    })
}
