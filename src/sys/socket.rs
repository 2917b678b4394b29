//! The socket calls that the standard library does not offer.
//!
//! All of them return at once: sockets here are in non-blocking mode, and `WouldBlock` is an answer.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::TcpStream;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendFlags};

/// Sends what fits of `pieces`; with `more`, the kernel waits for what follows before it sends a
/// segment that is not full.
///
/// # Errors
/// `WouldBlock` when nothing fits; what the peer did to the connection.
pub(crate) fn send(socket: &TcpStream, pieces: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL;
    if more {
        flags |= SendFlags::MORE;
    }
    let mut control = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(socket, pieces, &mut control, flags)?)
}

/// Moves up to `count` bytes of `file`, from `offset`, to the socket. 0 means that the file ends there.
///
/// # Errors
/// `WouldBlock` when nothing fits; what the disk or the peer did.
pub(crate) fn sendfile(
    socket: &TcpStream,
    file: &File,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let mut offset = offset;
    Ok(rustix::fs::sendfile(
        socket,
        file,
        Some(&mut offset),
        count,
    )?)
}

/// Whether the socket takes more at once. When it does not, the kernel tells as soon as it does: what waits for room
/// misses nothing.
pub(crate) fn has_room(socket: &TcpStream) -> bool {
    let mut asked = [PollFd::new(socket, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A failure is the next call's to report.
    !matches!(rustix::event::poll(&mut asked, Some(&at_once)), Ok(0))
}

/// Makes the coming close a reset, so that what was sent is not taken for a whole.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // When it fails the connection ends with FIN instead; there is nothing else to do about it.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// Whether an error of `accept` means that the machine is out of something, which passes.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .contains(&Errno::from_raw_os_error(code))
}
