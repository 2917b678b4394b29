//! Bytes in memory that the kernel can send like a file (a memfd), files without a name, and memory that is given
//! back to the kernel.
//!
//! A body kept there is not copied for every answer (`sendfile` hands its pages to the socket), and
//! the process does not map it, so that a large catalog does not count twice.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

/// An anonymous file that holds `bytes`.
///
/// # Errors
/// When the kernel has no memfd, no descriptor or no memory left; the caller keeps the bytes itself.
pub(crate) fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("rill-body", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// An empty anonymous file in memory.
///
/// # Errors
/// As [`file_of`].
pub(crate) fn file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(
        "rill-file",
        MemfdFlags::CLOEXEC,
    )?))
}

/// An empty file without a name on the disk of `folder`: it is gone when it is closed, however the process ends.
///
/// # Errors
/// The disk's.
pub(crate) fn unnamed(folder: &Path) -> io::Result<File> {
    let how = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, how, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // A file system that makes no such files: made with a name, which is taken away at once.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let mut number = [0; 8];
            number.copy_from_slice(&random()?[..8]);
            let path = folder.join(format!(".{:016x}.rill-tmp", u64::from_ne_bytes(number)));
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}

/// Bytes that nobody can guess, for boundaries.
///
/// # Errors
/// When the kernel refuses, which Linux does not once it has booted.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// Has every large piece of memory go back to the kernel when it is freed. Otherwise the allocator learns from the
/// first that large ones are wanted, and keeps up to 64 MiB of them in each of its arenas, where even [`give_back`]
/// leaves the last: 40 MiB for good after some subtitles of 9 MiB. To be called once, before there is much.
pub(crate) fn keep_little() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    {
        /// `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h; setting either ends its growing by itself.
        const THRESHOLDS: [std::ffi::c_int; 2] = [-1, -3];
        /// Above what streams take and give all the time, below what documents are.
        const LARGE: std::ffi::c_int = 512 * 1024;
        unsafe extern "C" {
            fn mallopt(what: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        for threshold in THRESHOLDS {
            // SAFETY: mallopt(3) takes the allocator's own lock and changes two of its numbers.
            unsafe { mallopt(threshold, LARGE) };
        }
    }
}

/// Gives back to the kernel what was freed. Otherwise it stays with the process for as long as anything above it is
/// in use: after 64 streams of Drive, 20 MiB for good. Takes less than a millisecond.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: malloc_trim(3) takes the allocator's own locks, may be called from any thread, and touches only
        // pages that hold nothing.
        unsafe { malloc_trim(0) };
    }
}
