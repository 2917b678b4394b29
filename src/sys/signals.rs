//! The signals the daemon obeys.

use std::io;

use async_signal::{Signal as Unix, Signals as Stream};
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
#[derive(Debug)]
pub struct Signals(Stream);

impl Signals {
    /// From here on the signals are delivered here, and no longer end the process.
    ///
    /// # Errors
    /// The kernel refused a handler.
    pub fn new() -> io::Result<Signals> {
        Stream::new([Unix::Term, Unix::Int, Unix::Hup]).map(Signals)
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        loop {
            match self.0.next().await {
                Some(Ok(Unix::Hup)) => return Signal::Reload,
                Some(Ok(_)) => return Signal::Stop,
                Some(Err(error)) => log::warn!("a signal was lost: {error}"),
                // The stream has no end; were there one, waiting is all that is left to do.
                None => smol::future::pending().await,
            }
        }
    }
}
