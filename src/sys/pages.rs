//! Whether a file's bytes are in memory already, and bringing them there.
//!
//! `sendfile` waits for the disk inside the kernel, and with it every connection of its thread. So
//! a step is probed first, and read once on the blocking pool when it is not in the page cache.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

/// Distance of two probes, in bytes: the kernel's own read-ahead window, which is what comes and goes
/// together. A page missing between two probes costs a short wait, not a wrong answer.
pub(crate) const DENSE: u64 = 128 * 1024;

/// The same where all was in memory for a while: probing is then most of what is left to save.
pub(crate) const SPARSE: u64 = 1024 * 1024;

/// What a probe says of a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// In memory: sending does not wait.
    Warm,
    /// Some are on the disk.
    Cold,
    /// The file system cannot say (it knows no `RWF_NOWAIT`).
    Unknown,
}

/// Probes `range` of `file` at every `distance` bytes, without waiting for any disk.
pub(crate) fn probe(file: &File, range: Range<u64>, distance: u64) -> Pages {
    let mut at = range.start;
    let mut byte = [0u8; 1];
    while at < range.end {
        let pieces = &mut [IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, pieces, at, ReadWriteFlags::NOWAIT) {
            // At the end of a file that shrank there is nothing to wait for.
            Ok(_) => at += distance,
            Err(Errno::AGAIN) => return Pages::Cold,
            Err(Errno::INTR) => {}
            Err(_) => return Pages::Unknown,
        }
    }
    Pages::Warm
}

/// Reads `range` of `file` into the page cache, and tells the kernel what will be read next. Blocks.
///
/// # Errors
/// What the disk answers.
pub(crate) fn warm(file: &File, range: Range<u64>) -> io::Result<()> {
    let ahead = NonZeroU64::new(range.end - range.start);
    // Advice only: a file system that ignores it costs speed, nothing else.
    let _ = rustix::fs::fadvise(file, range.end, ahead, Advice::WillNeed);
    let mut scratch = vec![0u8; DENSE as usize];
    let mut at = range.start;
    while at < range.end {
        let want = scratch.len().min((range.end - at) as usize);
        match file.read_at(&mut scratch[..want], at) {
            Ok(0) => break,
            Ok(n) => at += n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_warm_and_what_was_dropped_is_read_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        assert_ne!(probe(&file, 0..1 << 20, DENSE), Pages::Cold);
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        warm(&file, 0..1 << 20).unwrap();
        assert_ne!(probe(&file, 0..1 << 20, DENSE), Pages::Cold);
        assert_ne!(probe(&file, 5..6, SPARSE), Pages::Cold);
        assert_eq!(probe(&file, 5..5, DENSE), Pages::Warm);
    }
}
