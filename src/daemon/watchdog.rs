//! systemd's watchdog, told that we live only while we are seen to.
//!
//! A daemon that accepts and never answers, that has a thread which hangs, or whose pool of blocking threads is
//! stuck on a dead disk, is up by every count of systemd and down for everybody else. So before each `WATCHDOG=1` a
//! request goes through a real socket and the real connection layer, and a piece of nothing through each thread and
//! through the pool. Any answer in HTTP is life: a house that is full says 503, and is not to be restarted for it.
//!
//! The request comes by a door of our own on loopback and by no configured address: a network card may be gone, and a
//! crowd before a full house is turned away without a word. A restart mends neither. The loops that accept at the
//! configured addresses live on the same threads as those of the door, and do nothing that can fail otherwise.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smol::Task;
use smol::future::{or, try_zip};

use super::probe;
use crate::sys::executor;
use crate::sys::notify::{self, Message};

/// What is asked. OPTIONS is answered from nothing: neither a slow disk nor Drive stands behind it.
const METHOD: &str = "OPTIONS";
const PATH: &str = "/api/health";

/// The longest that any part of the probe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells systemd until the task is dropped, where it wants to be told. Without a `door`, on a machine that has no
/// loopback network, nobody is asked over HTTP.
pub(super) fn start(door: Option<SocketAddr>) -> Option<Task<()>> {
    notify::watchdog_interval().map(|interval| executor::spawn(run(interval, door)))
}

/// Tells systemd at half of `interval`, for as long as the probe passes. After one that failed it
/// tries again soon: one late answer must not end the streams of a whole house.
async fn run(interval: Duration, door: Option<SocketAddr>) {
    let half = interval / 2;
    let patience = PATIENCE.min(half / 2);
    loop {
        let begun = Instant::now();
        let pause = match alive(door, patience).await {
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

async fn alive(door: Option<SocketAddr>, patience: Duration) -> io::Result<()> {
    let pool = within(patience, "the blocking pool is stuck", smol::unblock(|| ()));
    let threads = within(patience, "a thread hangs", executor::everywhere());
    let answer = async {
        match door {
            Some(door) => answers(door, patience).await,
            None => Ok(()),
        }
    };
    try_zip(answer, try_zip(threads, pool)).await.map(|_| ())
}

/// Waits for `work`, and calls what it takes too long `fault`.
async fn within(
    patience: Duration,
    fault: &'static str,
    work: impl Future<Output = ()>,
) -> io::Result<()> {
    let late = async {
        smol::Timer::after(patience).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, fault))
    };
    let done = async {
        work.await;
        Ok(())
    };
    or(done, late).await
}

async fn answers(door: SocketAddr, patience: Duration) -> io::Result<()> {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable};

    match probe::ask(door, METHOD, PATH, patience).await {
        Ok(_) => Ok(()),
        // The machine has no loopback any more, or no port left for us: nobody was asked.
        Err(error)
            if matches!(
                error.kind(),
                AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable
            ) =>
        {
            log::debug!("the watchdog's probe: {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_hangs_is_no_life() {
        let alive = || smol::block_on(alive(None, Duration::from_millis(300)));
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel();
        let hung = executor::spawn(async move {
            let _ = began.send(());
            let _ = released.recv();
        });
        begun.recv().expect("it runs");
        let error = alive().expect_err("one of them hangs");
        assert_eq!(error.to_string(), "a thread hangs");
        drop(release);
        smol::block_on(hung);
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = alive() {
            assert!(Instant::now() < end, "{error}");
        }
    }

    #[test]
    fn a_daemon_that_is_deaf_is_no_life() {
        // The kernel takes the connection; nobody answers it.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let door = deaf.local_addr().expect("bound");
        let alive = smol::block_on(alive(Some(door), Duration::from_millis(300)));
        assert_eq!(alive.expect_err("silence").kind(), io::ErrorKind::TimedOut);
    }
}
