//! How much space a disk has left.

use std::io;
use std::path::Path;

/// Bytes that may still be written below `path`, whose disk may be anywhere.
///
/// # Errors
/// There is nothing at `path`, or its disk does not answer.
pub fn free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    // What is kept for root alone (`f_bfree` beyond `f_bavail`) is not ours.
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
