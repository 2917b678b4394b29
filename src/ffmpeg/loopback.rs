//! The address at which our own programs read what we serve, and who may.
//!
//! ffmpeg reads files through the daemon rather than by itself: it speaks no Drive, and a stream that was cut is
//! resumed behind its back. It comes by a socket of its own on loopback, which exists whatever addresses are
//! configured, counts against no viewer's limit and never hurries a reader; and it brings a token that
//! names one path for as long as the program runs. The token stands in the program's arguments, where any user of
//! the box can read it: it opens nothing that the public address does not.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use smol::lock::OnceCell;

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::source::Source;

/// The header that carries the token, in lower case.
pub const HEADER: &str = "x-rill-reader";

/// The address, and what may be read there; clones share both.
#[derive(Clone, Default)]
pub struct Loopback(Arc<Inner>);

#[derive(Default)]
struct Inner {
    address: OnceLock<SocketAddr>,
    /// By token. As long as there are programs: a handful.
    readings: Mutex<HashMap<String, Arc<Reading>>>,
}

/// What a token allows, and what became of it.
#[derive(Debug)]
pub struct Reading {
    path: String,
    /// Why the last answer was none, or ended early. Written by the server of the address, read by who waits for
    /// the program: ffmpeg would call either an end of file.
    failure: Mutex<Option<Error>>,
    /// The first bytes of a file that is far away; written by the server of the address.
    head: OnceCell<Arc<Vec<u8>>>,
}

impl Reading {
    /// Where the first bytes of what is read are kept as long as the program runs: it begins there, looks at the
    /// end, and comes back.
    pub fn head(&self) -> &OnceCell<Arc<Vec<u8>>> {
        &self.head
    }

    /// Notes why the program cannot have what it asked for.
    pub fn failed(&self, error: Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Loopback {
    /// One that has no address yet.
    pub fn new() -> Loopback {
        Loopback::default()
    }

    /// Says where it is served. The first word counts.
    pub fn serves_at(&self, address: SocketAddr) {
        let _ = self.0.address.set(address);
    }

    /// Allows a program to read `path`, raw as in a request, until the grant is dropped.
    ///
    /// # Errors
    /// `loopback_unavailable` (503).
    pub fn grant(&self, path: &str) -> Result<Grant> {
        let unavailable = || {
            Error::new(
                Kind::Unavailable,
                "loopback_unavailable",
                "The daemon cannot be reached over the loopback network by its own programs; check that the \
                 interface lo is up, then restart it.",
            )
        };
        let address = self.0.address.get().ok_or_else(unavailable)?;
        let mut random = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
            .map_err(|_| Error::internal("The kernel gives no random numbers; restart the box."))?;
        let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let reading = Arc::new(Reading {
            path: path.to_owned(),
            failure: Mutex::new(None),
            head: OnceCell::new(),
        });
        let grant = Grant {
            loopback: self.clone(),
            token,
            url: format!("http://{address}{path}"),
            reading: reading.clone(),
        };
        self.readings().insert(grant.token.clone(), reading);
        Ok(grant)
    }

    /// What a token allows, when it is for this path.
    pub fn admits(&self, token: Option<&str>, path: &str) -> Option<Arc<Reading>> {
        let readings = self.readings();
        let reading = readings.get(token?)?;
        (reading.path == path).then(|| reading.clone())
    }

    fn readings(&self) -> MutexGuard<'_, HashMap<String, Arc<Reading>>> {
        self.0
            .readings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loopback")
            .field(&self.0.address.get())
            .finish()
    }
}

/// Leave for a program to read one path. Lives as long as the program.
pub struct Grant {
    loopback: Loopback,
    token: String,
    url: String,
    reading: Arc<Reading>,
}

impl Grant {
    /// What the program is told to read.
    pub fn source(&self) -> Source {
        Source::Url {
            url: self.url.clone(),
            header: format!("{HEADER}: {}", self.token),
        }
    }

    /// Why the program did not get what it asked for, when it did not: what it says of that itself is no help.
    pub fn failure(&self) -> Option<Error> {
        self.reading.take()
    }

    #[cfg(test)]
    pub(super) fn fail(&self, error: Error) {
        self.reading.failed(error);
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.loopback.readings().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_path_and_one_program() {
        let loopback = Loopback::new();
        assert_eq!(
            loopback.grant("/videos/a").unwrap_err().code(),
            "loopback_unavailable"
        );
        loopback.serves_at(SocketAddr::from(([127, 0, 0, 1], 4711)));
        let grant = loopback.grant("/videos/a").unwrap();
        let Source::Url { url, header } = grant.source() else {
            panic!("a URL");
        };
        assert_eq!(url, "http://127.0.0.1:4711/videos/a");
        let token = header.strip_prefix("x-rill-reader: ").unwrap().to_owned();
        assert_eq!(token.len(), 32);
        let reading = loopback.admits(Some(&token), "/videos/a").unwrap();
        assert!(loopback.admits(Some(&token), "/videos/b").is_none());
        assert!(loopback.admits(None, "/videos/a").is_none());
        assert!(loopback.admits(Some("x"), "/videos/a").is_none());
        reading.failed(Error::internal("Broken."));
        assert_eq!(grant.failure().unwrap().sentence(), "Broken.");
        assert!(grant.failure().is_none());
        assert!(!format!("{grant:?} {loopback:?}").contains(&token));
        drop(grant);
        assert!(loopback.admits(Some(&token), "/videos/a").is_none());
    }
}
