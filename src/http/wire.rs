//! The two ends of one socket: what was read and not yet used, and waiting for either direction.
//!
//! Shared by the connection, the body of its current request, and the sweeper. Everything that touches the
//! reactor is here, so that the rest of the layer only knows "try" and "wait".

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::http::Peer;
use crate::http::body::BodyState;
use crate::http::deadlines::{Clock, Deadlines, Phase};
use crate::http::head::HEAD_LIMIT;
use crate::sys::executor::Home;
use crate::sys::reactor::{PeerState, Source};

/// One connection's socket.
pub(crate) struct Wire {
    socket: Source<TcpStream>,
    /// The thread on which the connection lives.
    home: Home,
    pub(crate) peer: Peer,
    pub(crate) clock: Clock,
    inbound: Mutex<Inbound>,
}

/// What was read from the socket and not yet used, and what it belongs to.
pub(crate) struct Inbound {
    /// As large as a head may be, empty until the first byte; bytes past a request stay in it.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    pub(crate) body: BodyState,
    /// Whether the last read took all there was; only then is there something to wait for.
    drained: bool,
}

impl Inbound {
    /// The bytes that were read and not yet used.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes `n` of [`Inbound::bytes`] as used.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// The bytes and the body they belong to, to be worked on together.
    pub(crate) fn parts(&mut self) -> (&[u8], &mut BodyState) {
        (&self.buffer[self.start..self.end], &mut self.body)
    }

    /// Says of a read that passed the buffer by whether it took all there was.
    pub(crate) fn read_past(&mut self, drained: bool) {
        self.drained = drained;
    }

    /// Reads what fits from the socket. 0 is the end of what the peer sends.
    pub(crate) fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; HEAD_LIMIT].into_boxed_slice();
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match socket.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    self.drained = self.end < self.buffer.len();
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Wire {
    /// # Errors
    /// When the kernel cannot watch one more socket.
    pub(crate) fn new(
        socket: TcpStream,
        home: Home,
        peer: Peer,
        deadlines: Deadlines,
    ) -> io::Result<Wire> {
        Ok(Wire {
            socket: Source::new(socket, home.poller())?,
            home,
            peer,
            clock: Clock::new(deadlines),
            inbound: Mutex::new(Inbound {
                buffer: Box::default(),
                start: 0,
                end: 0,
                body: BodyState::none(0),
                drained: false,
            }),
        })
    }

    /// The thread on which the connection lives.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// What was read. Held for a few instructions or one `read`, never across a wait.
    pub(crate) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        // A panic while it was held leaves offsets that are still in bounds.
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_readable(cx)
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_writable(cx)
    }

    /// Reads more into the buffer, waiting for it; with `wait_first` it does not try before.
    pub(crate) async fn fill(&self, wait_first: bool) -> io::Result<usize> {
        // What the last read left behind would not be told of again.
        let mut wait = wait_first && self.inbound().drained;
        std::future::poll_fn(|cx| {
            loop {
                if wait {
                    ready!(self.poll_readable(cx));
                }
                match self.inbound().fill(self.socket()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait = true,
                    done => return Poll::Ready(done),
                }
            }
        })
        .await
    }

    /// Ends both directions at once; whoever waits on the socket wakes.
    pub(crate) fn cut(&self) {
        // It fails only when the peer was faster.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Ends what the deadline was about, so that the connection wakes and can still answer.
    pub(crate) fn expire(&self) {
        match self.clock.phase() {
            Phase::Head | Phase::Body => {
                let _ = self.socket().shutdown(Shutdown::Read);
            }
            _ => self.cut(),
        }
    }

    /// Resolves when the client is gone.
    ///
    /// A reset says so at once. A FIN does not: `nc` and others send it after their request and still
    /// read the answer, and no TCP without data tells them from a client that closed. With a `patience`
    /// the client then counts as gone when nothing was sent to it for so long (what is sent to one that is
    /// gone comes back as a reset); without, it is waited for.
    pub(crate) async fn gone(&self, patience: Option<Duration>) {
        let change = |known| std::future::poll_fn(move |cx| self.socket.poll_peer(known, cx));
        if change(PeerState::Open).await == PeerState::Gone {
            return;
        }
        let reset = async {
            change(PeerState::Finished).await;
        };
        let Some(patience) = patience else {
            return reset.await;
        };
        let waited = async {
            Timer::after(patience).await;
        };
        reset.or(waited).await;
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("peer", &self.peer)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
