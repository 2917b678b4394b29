//! The signals the daemon obeys.

use std::io;

use async_signal::{Signal as Unix, Signals as Stream};
use smol::future::{or, poll_once};
use smol::stream::StreamExt;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end, after what is under way.
    Stop,
    /// SIGHUP: read the credentials again.
    Reload,
}

/// The signals that have arrived and not been asked for yet.
///
/// Each kind has a stream of its own: one holds some hundreds and drops what comes then, and no flood of SIGHUP may
/// drown a SIGTERM.
#[derive(Debug)]
pub struct Signals {
    stop: Stream,
    reload: Stream,
}

impl Signals {
    /// From here on the signals are delivered here, and no longer end the process.
    ///
    /// # Errors
    /// The kernel refused a handler.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            stop: Stream::new([Unix::Term, Unix::Int])?,
            reload: Stream::new([Unix::Hup])?,
        })
    }

    /// The next signal; a stop goes before a reload, and reloads that wait together are one.
    pub async fn next(&mut self) -> Signal {
        let Signals { stop, reload } = self;
        let stopped = async {
            arrived(stop).await;
            Signal::Stop
        };
        let reloaded = async {
            arrived(reload).await;
            while matches!(poll_once(reload.next()).await, Some(Some(Ok(_)))) {}
            Signal::Reload
        };
        or(stopped, reloaded).await
    }

    /// The next stop; what else arrives waits.
    pub async fn stop(&mut self) {
        arrived(&mut self.stop).await;
    }

    /// What `work` gives, or nothing when a stop is asked for before.
    pub async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            self.stop().await;
            None
        };
        or(async { Some(work.await) }, stopped).await
    }
}

async fn arrived(stream: &mut Stream) {
    loop {
        match stream.next().await {
            Some(Ok(_)) => return,
            Some(Err(error)) => log::warn!("a signal was lost: {error}"),
            // The stream has no end; were there one, waiting is all that is left to do.
            None => smol::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Raw, getpid, kill_process};

    #[test]
    fn a_stop_is_heard_after_any_number_of_reloads() {
        smol::block_on(async {
            let mut signals = Signals::new().expect("handlers");
            for _ in 0..5000 {
                kill_process(getpid(), Raw::HUP).expect("sent");
            }
            kill_process(getpid(), Raw::TERM).expect("sent");
            let work = std::future::pending::<()>();
            assert_eq!(signals.unless_stopped(work).await, None);
            let mut reloads = 0;
            while let Some(signal) = poll_once(signals.next()).await {
                assert_eq!(signal, Signal::Reload);
                reloads += 1;
            }
            assert!(reloads < 100, "{reloads} were obeyed one by one");
            kill_process(getpid(), Raw::INT).expect("sent");
            assert_eq!(signals.next().await, Signal::Stop);
        });
    }
}
