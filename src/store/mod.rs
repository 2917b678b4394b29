//! The disk: files that are whole or not there, and what is kept in them.

pub mod atomic;
pub mod blocks;
pub mod database;
pub mod lacks;
mod migrations;
pub mod part;
pub mod probes;
pub mod progress;
pub mod queue;
pub mod scan_state;
pub mod sink;
pub mod space;
pub mod token;
pub mod uploads;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder and those above it, for the service and its group alone; one that is there stays as it is.
///
/// # Errors
/// It cannot be made, or something else has its name.
pub fn folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
}
