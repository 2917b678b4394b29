//! Who writes an upload: one at a time, and for no longer than something comes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};
use smol::future::or;
use smol::io::{AsyncRead, AsyncReadExt};

use crate::error::{Error, Kind, Result};

/// After how long without a byte whoever holds an upload must let the next one have it: a phone that changes networks
/// leaves a connection behind that says nothing.
const STALE: Duration = Duration::from_secs(5);

/// How long one who was asked to let go may take, which is as long as a sync does.
const LETTING_GO: Duration = Duration::from_secs(15);

/// Who holds which upload; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<HashMap<String, Arc<Held>>>>);

/// Somebody writes an upload.
#[derive(Debug)]
struct Held {
    /// When its last bytes came.
    touched: Mutex<Instant>,
    /// Closed to ask for it.
    ask: Sender<()>,
    asked: Receiver<()>,
    /// Closed when it is let go.
    gone: Receiver<()>,
}

/// The right to write an upload.
#[derive(Debug)]
pub(super) struct Hold {
    id: String,
    held: Arc<Held>,
    holds: Holds,
    /// Its end tells that it was let go.
    _going: Sender<()>,
}

impl Holds {
    /// Asks whoever holds an upload and has nothing to say to let it go, and waits until that is done.
    pub(super) async fn free(&self, id: &str) {
        let held = self.table().get(id).cloned();
        if let Some(held) = held.filter(|held| held.is_stale()) {
            held.let_go().await;
        }
    }

    /// Whether somebody writes an upload.
    pub(super) fn is_held(&self, id: &str) -> bool {
        self.table().contains_key(id)
    }

    /// The right to write an upload, asked of a holder that has nothing to say.
    pub(super) async fn hold(&self, id: &str) -> Result<Hold> {
        if let Some(hold) = self.try_hold(id) {
            return Ok(hold);
        }
        self.free(id).await;
        self.try_hold(id).ok_or_else(|| {
            Error::new(
                Kind::Locked,
                "upload_locked",
                "Another request is writing this upload; wait until it is done, then ask how far it came.",
            )
        })
    }

    fn try_hold(&self, id: &str) -> Option<Hold> {
        let mut table = self.table();
        if table.contains_key(id) {
            return None;
        }
        let (ask, asked) = smol::channel::bounded(1);
        let (going, gone) = smol::channel::bounded(1);
        let held = Arc::new(Held {
            touched: Mutex::new(Instant::now()),
            ask,
            asked,
            gone,
        });
        table.insert(id.to_owned(), held.clone());
        Some(Hold {
            id: id.to_owned(),
            held,
            holds: self.clone(),
            _going: going,
        })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_stale(&self) -> bool {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed() > STALE
    }

    async fn let_go(&self) {
        self.ask.close();
        let gone = async {
            let _ = self.gone.recv().await;
        };
        let late = async {
            smol::Timer::after(LETTING_GO).await;
        };
        or(gone, late).await;
    }
}

impl Hold {
    /// Reads a body; `None` when somebody else asks for the upload.
    pub(super) async fn read<R: AsyncRead + Unpin>(
        &self,
        body: &mut R,
        buffer: &mut [u8],
    ) -> Option<io::Result<usize>> {
        let mut touched = Touched {
            body,
            held: &self.held,
        };
        let read = async { Some(touched.read(buffer).await) };
        let asked = async {
            // Nothing is ever sent: it ends when somebody asks.
            let _ = self.held.asked.recv().await;
            None
        };
        or(read, asked).await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.table().remove(&self.id);
    }
}

/// A body that notes when its bytes came.
struct Touched<'a, R> {
    body: &'a mut R,
    held: &'a Held,
}

impl<R: AsyncRead + Unpin> AsyncRead for Touched<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.body).poll_read(cx, buffer);
        if polled.is_ready() {
            *self
                .held
                .touched
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        polled
    }
}

/// Whoever writes an upload without a byte to show is asked to let the next one.
pub(super) fn released() -> Error {
    Error::new(
        Kind::Conflict,
        "upload_locked",
        "Another request went on with this upload, as nothing came here; ask how far it is.",
    )
}
