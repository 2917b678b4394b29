//! Ends a read that blocks another thread.
//!
//! ureq reads on a thread of the blocking pool where it has to wait, and knows no cancellation. Each upstream exchange
//! therefore carries an [`Abort`]; the thread that works on it is inside [`Abort::enter`], and the
//! transport ([`super::connector`]) notes its socket there before it blocks. Dropping a stream shuts
//! that socket down, which wakes the read in less than a millisecond.
//!
//! A connection outlives the exchange: it goes back to the pool and serves another. So a socket
//! remembers who uses it, and an abort touches it only while that is still the same exchange.

use std::cell::RefCell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// A TCP connection and the exchange that uses it; 0 is nobody.
///
/// Lock order: [`Inner::socket`] before `owner`.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    owner: Mutex<u64>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            owner: Mutex::new(0),
        }
    }

    /// The exchange is over; no abort of it touches this socket any more.
    pub(super) fn release(&self) {
        *lock(&self.owner) = 0;
    }
}

/// The right to end one upstream exchange. Clones are the same right.
#[derive(Clone, Debug)]
pub(super) struct Abort(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    aborted: AtomicBool,
    socket: Mutex<Weak<Socket>>,
}

/// What the transport learns from the thread it runs on, and tells it.
struct Context {
    abort: Abort,
    attached: *const Socket,
    patience: Option<Instant>,
    stage: Stage,
}

/// How far an exchange came, for telling a dead pooled connection from a dead network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection was opened: a pooled one was used, or none was reached.
    Pooled,
    /// A connection is being opened.
    Connecting,
    /// A connection was opened for this exchange.
    Fresh,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Abort {
    pub(super) fn new() -> Abort {
        Abort(Arc::new(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            aborted: AtomicBool::new(false),
            socket: Mutex::new(Weak::new()),
        }))
    }

    /// Ends the exchange: a blocked read returns at once, later ones fail.
    pub(super) fn abort(&self) {
        self.0.aborted.store(true, Ordering::SeqCst);
        if let Some(socket) = lock(&self.0.socket).upgrade() {
            let owner = lock(&socket.owner);
            if *owner == self.0.id {
                // An error means that it is closed already.
                let _ = socket.stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Ends the exchange unless the guard is told that all went well.
    pub(super) fn guard(&self) -> Guard {
        Guard(Some(self.clone()))
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.0.aborted.load(Ordering::SeqCst)
    }

    /// Marks this thread as working on the exchange until the guard is dropped.
    pub(super) fn enter(&self) -> Entered {
        let context = Context {
            abort: self.clone(),
            attached: std::ptr::null(),
            patience: None,
            stage: Stage::Pooled,
        };
        Entered(CURRENT.with(|current| current.replace(Some(context))))
    }
}

/// Aborts when dropped: whoever awaited the exchange is gone.
#[derive(Debug)]
pub(super) struct Guard(Option<Abort>);

impl Guard {
    /// The exchange ended by itself.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(abort) = &self.0 {
            abort.abort();
        }
    }
}

/// Ends the mark of [`Abort::enter`] when dropped.
pub(super) struct Entered(Option<Context>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

fn with<T>(default: T, f: impl FnOnce(&mut Context) -> T) -> T {
    CURRENT.with(|current| match current.borrow_mut().as_mut() {
        Some(context) => f(context),
        None => default,
    })
}

/// Until when reads on this thread wait; after that they fail with `WouldBlock`, and may be tried again.
pub(super) fn set_patience(until: Option<Instant>) {
    with((), |context| context.patience = until);
}

pub(super) fn patience() -> Option<Instant> {
    with(None, |context| context.patience)
}

pub(super) fn set_stage(stage: Stage) {
    with((), |context| context.stage = stage);
}

pub(super) fn stage() -> Stage {
    with(Stage::Pooled, |context| context.stage)
}

/// Tells the exchange of this thread that it is about to use `socket`.
///
/// # Errors
/// The exchange was aborted.
pub(super) fn attach(socket: &Arc<Socket>) -> io::Result<()> {
    with(Ok(()), |context| {
        if context.attached != Arc::as_ptr(socket) {
            let mut slot = lock(&context.abort.0.socket);
            *lock(&socket.owner) = context.abort.0.id;
            *slot = Arc::downgrade(socket);
            context.attached = Arc::as_ptr(socket);
        }
        check(&context.abort)
    })
}

/// Fails when the exchange of this thread was aborted.
pub(super) fn checkpoint() -> io::Result<()> {
    with(Ok(()), |context| check(&context.abort))
}

fn check(abort: &Abort) -> io::Result<()> {
    if abort.is_aborted() {
        // Not an `ErrorKind` that ureq takes for the end of a body.
        return Err(io::Error::other("the reader is gone"));
    }
    Ok(())
}

/// Whether any exchange is marked on this thread; for tests.
#[cfg(test)]
fn marked() -> bool {
    let found = std::cell::Cell::new(false);
    with((), |_| found.set(true));
    found.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    fn pair() -> (Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Arc::new(Socket::new(near)), far)
    }

    #[test]
    fn a_blocked_read_ends_at_once() {
        let (socket, _far) = pair();
        let abort = Abort::new();
        let theirs = abort.clone();
        let reader = std::thread::spawn(move || {
            let _entered = theirs.enter();
            attach(&socket).unwrap();
            let read = (&socket.stream).read(&mut [0]);
            (read, attach(&socket).is_err(), Instant::now())
        });
        std::thread::sleep(Duration::from_millis(50));
        let before = Instant::now();
        abort.abort();
        let (read, refused, woke) = reader.join().unwrap();
        assert!(matches!(read, Ok(0) | Err(_)) && refused);
        assert!(woke - before < Duration::from_millis(500));
    }

    #[test]
    fn a_connection_that_moved_on_is_left_alone() {
        let (socket, mut far) = pair();
        let first = Abort::new();
        {
            let _entered = first.enter();
            assert!(marked());
            attach(&socket).unwrap();
            socket.release();
        }
        assert!(!marked());
        let second = Abort::new();
        let _entered = second.enter();
        attach(&socket).unwrap();
        first.abort();
        std::io::Write::write_all(&mut far, b"x").unwrap();
        assert_eq!((&socket.stream).read(&mut [0]).unwrap(), 1);
    }
}
