//! The address at which our own programs read: a port of loopback that the kernel picks.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::ffmpeg::loopback::Loopback;
use crate::http::{Deadlines, Listener};

/// Connections at most: a handful for each program, and there is a handful of programs.
const MAX_CONNECTIONS: usize = 64;

/// Bytes that the kernel holds for a program which does not take them; it doubles the figure for its own use.
const SEND_BUFFER: usize = 256 * 1024;

/// How long a program that takes nothing keeps its source: longer than a film for which a job is paused.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Listens, and says so to `loopback`. A box without a loopback network serves on, but for what ffmpeg does.
pub(super) fn listen(loopback: &Loopback) -> Option<Arc<Listener>> {
    let addresses = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ];
    let deadlines = Deadlines {
        write: PATIENCE,
        ..Deadlines::default()
    };
    let listener = TcpListener::bind(&addresses[..]).and_then(|socket| {
        // Accepted sockets inherit it. Programs seek: what waits in the kernel then was fetched for nothing.
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        Listener::with_deadlines(vec![socket], MAX_CONNECTIONS, deadlines)
    });
    match listener {
        Ok(listener) => {
            let address = listener.addresses().first().copied();
            if let Some(address) = address {
                log::debug!("programs read at {address}");
                loopback.serves_at(address);
            }
            Some(Arc::new(listener))
        }
        Err(error) => {
            log::warn!(
                "ffmpeg cannot read from this daemon: no port of loopback is to be had: {error}"
            );
            None
        }
    }
}
