//! systemd's watchdog, told that we live only while we are seen to.
//!
//! A daemon that accepts and never answers, or whose pool of blocking threads is stuck on a dead disk, is up by
//! every count of systemd and down for everybody else. So before each `WATCHDOG=1` a request goes through a
//! real socket, the real connection layer and the real routes, and a piece of nothing through the pool. Any
//! answer in HTTP is life: a house that is full says 503, and is not to be restarted for it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smol::future::or;

use super::probe;
use crate::sys::notify::{self, Message};

/// What is asked. OPTIONS is answered from nothing: neither a slow disk nor Drive stands behind it.
const METHOD: &str = "OPTIONS";
const PATH: &str = "/api/health";

/// The longest that either half of the probe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells systemd at half of `interval`, for as long as the probe passes. After one that failed it
/// tries again soon: one late answer must not end the streams of a whole house.
pub(super) async fn run(interval: Duration, addresses: Vec<SocketAddr>) {
    let half = interval / 2;
    let patience = PATIENCE.min(half / 2);
    loop {
        let begun = Instant::now();
        let pause = match alive(&addresses, patience).await {
            Ok(()) => {
                notify::send(vec![Message::Watchdog]).await;
                half.saturating_sub(begun.elapsed())
            }
            Err(error) => {
                log::error!(
                    "rill does not answer itself ({error}); systemd restarts it unless that changes"
                );
                Duration::from_secs(1).min(half / 2)
            }
        };
        smol::Timer::after(pause).await;
    }
}

async fn alive(addresses: &[SocketAddr], patience: Duration) -> io::Result<()> {
    answers(addresses, patience).await?;
    let pool = async {
        smol::unblock(|| ()).await;
        Ok(())
    };
    let late = async {
        smol::Timer::after(patience).await;
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the blocking pool is stuck",
        ))
    };
    or(pool, late).await
}

/// One address that answers is enough: another may belong to a network card that is gone.
async fn answers(addresses: &[SocketAddr], patience: Duration) -> io::Result<()> {
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match probe::ask(*address, METHOD, PATH, share).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
