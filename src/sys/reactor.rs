//! Sockets that say when they are ready, for the tasks of one thread.
//!
//! A socket is told to epoll once, edge-triggered, and never again: a request on an open connection costs no
//! call beside its own. What came is remembered in the socket's state, so that an edge is never missed: a
//! task tries first, and waits only after `WouldBlock`.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};

/// The key of the descriptor by which other threads wake this one.
const NOTIFIER: u64 = 0;

/// Events that are taken at once.
const EVENTS: usize = 128;

/// What one thread watches.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    notifier: OwnedFd,
    next: AtomicU64,
    states: Mutex<HashMap<u64, Arc<State>>>,
}

/// What is known of a socket, and who waits for it.
#[derive(Debug, Default)]
struct State(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    readable: bool,
    writable: bool,
    /// The peer sends no more. It stays so: reading never waits again.
    finished: bool,
    /// The connection is over in both directions.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Only flags and wakers are behind it; none is left half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Poller {
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let notifier = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered, so that it need not be read: each write is an event of its own.
        epoll::add(
            &epoll,
            &notifier,
            EventData::new_u64(NOTIFIER),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Poller {
            epoll,
            notifier,
            next: AtomicU64::new(NOTIFIER + 1),
            states: Mutex::default(),
        })
    }

    /// Wakes the thread that is in [`Poller::poll`], or will be.
    pub(crate) fn notify(&self) {
        // It fails only when the counter is full, after 2^64 wakes; it is an event all the same.
        let _ = rustix::io::write(&self.notifier, &1u64.to_ne_bytes());
    }

    /// Takes what happened, and waits for it first when `wait`; wakes whom it concerns.
    pub(crate) fn poll(&self, wait: bool) {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = if wait { None } else { Some(&at_once) };
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS];
        // Interrupted is the only error there is, and then there is nothing to take.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut buffer[..], timeout) else {
            return;
        };
        for event in events {
            let key = event.data.u64();
            let state = self.states().get(&key).cloned();
            if let Some(state) = state {
                state.happened(event.flags);
            }
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<u64, Arc<State>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn happened(&self, flags: EventFlags) {
        let over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let (reader, writer, watcher) = {
            let mut inner = self.lock();
            let finished = over || flags.contains(EventFlags::RDHUP);
            let news = (finished && !inner.finished) || (over && !inner.gone);
            inner.finished |= finished;
            inner.gone |= over;
            let reads = finished || flags.contains(EventFlags::IN);
            let writes = over || flags.contains(EventFlags::OUT);
            inner.readable |= reads;
            inner.writable |= writes;
            (
                if reads { inner.reader.take() } else { None },
                if writes { inner.writer.take() } else { None },
                if news { inner.watcher.take() } else { None },
            )
        };
        for waker in [reader, writer, watcher].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// What the other end did to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Both directions are open.
    Open,
    /// It will send no more (`shutdown(SHUT_WR)`, or it closed and we have not written since).
    Finished,
    /// The connection is reset, broken or shut.
    Gone,
}

/// A socket in non-blocking mode that a thread watches.
#[derive(Debug)]
pub(crate) struct Source<T: AsFd> {
    io: T,
    poller: &'static Poller,
    key: u64,
    state: Arc<State>,
}

impl<T: AsFd> Source<T> {
    /// Has `poller` watch a socket, which must be in non-blocking mode.
    ///
    /// # Errors
    /// When the kernel cannot watch one more.
    pub(crate) fn new(io: T, poller: &'static Poller) -> io::Result<Source<T>> {
        let key = poller.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State::default());
        poller.states().insert(key, state.clone());
        let source = Source {
            io,
            poller,
            key,
            state,
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&poller.epoll, &source.io, EventData::new_u64(key), flags)?;
        Ok(source)
    }

    pub(crate) fn get_ref(&self) -> &T {
        &self.io
    }

    /// Waits for something to read. To be asked after `WouldBlock`, or after a read that filled less
    /// than it could: what was there before does not come again.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.state.lock();
        if inner.finished || std::mem::take(&mut inner.readable) {
            return Poll::Ready(());
        }
        keep(&mut inner.reader, cx);
        Poll::Pending
    }

    /// Waits for room to write. To be asked after `WouldBlock`.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.state.lock();
        if inner.gone || std::mem::take(&mut inner.writable) {
            return Poll::Ready(());
        }
        keep(&mut inner.writer, cx);
        Poll::Pending
    }

    /// Waits until the peer's state is another than `known`.
    pub(crate) fn poll_peer(&self, known: PeerState, cx: &mut Context<'_>) -> Poll<PeerState> {
        let mut inner = self.state.lock();
        let state = match (inner.gone, inner.finished) {
            (true, _) => PeerState::Gone,
            (false, true) => PeerState::Finished,
            (false, false) => PeerState::Open,
        };
        if state != known {
            return Poll::Ready(state);
        }
        keep(&mut inner.watcher, cx);
        Poll::Pending
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        self.poller.states().remove(&self.key);
        // Closing the last descriptor would do it too; a duplicate in another process would not.
        let _ = epoll::delete(&self.poller.epoll, &self.io);
    }
}
