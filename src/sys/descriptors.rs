//! The number of files and sockets this process may hold open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `wanted` as far as the hard limit allows.
///
/// The usual soft limit of 1024 is for programs that use `select`; a stream holds a client's socket
/// and a file or Drive's socket, so that a full house needs more.
pub fn allow(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return };
    let wanted = limit.maximum.map_or(wanted, |hard| wanted.min(hard));
    if wanted <= current {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("no more than {current} files and sockets can be open at once: {error}");
    }
}
