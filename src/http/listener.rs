//! Bound sockets, and the loop that accepts on them.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::yield_now;

use crate::http::deadlines::Deadlines;
use crate::http::registry::Registry;
use crate::http::wire::Wire;
use crate::http::{Peer, Request, Response, conn};
use crate::sys::executor::{self, Home};
use crate::sys::reactor::Source;
use crate::sys::socket;

/// The first wait after `accept` found the machine out of something; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// How long nothing must have been missing before that is said: at the edge, every other connection fails, and a
/// line for each would fill the log.
const CALM: Duration = Duration::from_secs(10);

/// Longest that closing waits for the tasks that accept, which end when they are next polled.
const STOP_ACCEPTING: Duration = Duration::from_secs(1);

/// Connections accepted in a row before those that are open have their turn.
const ACCEPTS: u32 = 16;

/// What answers requests. It returns a response for everything: errors are turned into answers before they
/// get here; a panic is caught by the connection and answered 500.
///
/// A call for a GET or HEAD is dropped when its client resets the connection; other methods run to their end.
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: &mut Request) -> impl Future<Output = Response> + Send;

    /// The answer to a request that was refused before it became a [`Request`] (a malformed head, a
    /// full house): same form as every other error.
    fn refuse(&self, error: crate::error::Error) -> Response;
}

/// Counters of the connection layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections open now.
    pub open: usize,
    /// Connections answered 503 since the start.
    pub refused: u64,
    /// Bytes of bodies written since the start.
    pub sent: u64,
}

/// Sockets that accept connections.
#[derive(Debug)]
pub struct Listener {
    /// Taken by `close`: whoever connects then is refused by the kernel, or waits for the next daemon where systemd
    /// holds the socket, too; neither is accepted and cut.
    sockets: Mutex<Vec<(Home, Arc<Source<TcpListener>>)>>,
    addresses: Vec<SocketAddr>,
    /// Connections are being accepted, or one may be yet.
    accepting: AtomicBool,
    registry: Arc<Registry>,
    /// Dropped by `close`; that is how `serve` learns of it.
    open: Mutex<Option<Sender<()>>>,
    closed: Receiver<()>,
}

impl Listener {
    /// Takes sockets that are bound and listening.
    ///
    /// # Errors
    /// When one cannot be watched.
    pub fn new(sockets: Vec<TcpListener>, max_connections: usize) -> io::Result<Listener> {
        Listener::with_deadlines(sockets, max_connections, Deadlines::default())
    }

    /// The same with other deadlines, for tests.
    ///
    /// # Errors
    /// When a socket cannot be watched.
    pub fn with_deadlines(
        sockets: Vec<TcpListener>,
        max_connections: usize,
        deadlines: Deadlines,
    ) -> io::Result<Listener> {
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok());
        let addresses = addresses.collect();
        let sockets = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            let home = Home::find();
            let source = Source::new(socket, home.poller())?;
            Ok((home, Arc::new(source)))
        });
        let (open, closed) = smol::channel::bounded(1);
        Ok(Listener {
            sockets: Mutex::new(sockets.collect::<io::Result<_>>()?),
            addresses,
            accepting: AtomicBool::new(false),
            registry: Arc::new(Registry::new(max_connections, deadlines)),
            open: Mutex::new(Some(open)),
            closed,
        })
    }

    /// The addresses that are, or were, accepted on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<(Home, Arc<Source<TcpListener>>)>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters, for health.
    pub fn stats(&self) -> Stats {
        self.registry.stats()
    }

    /// Accepts and serves until [`Listener::close`]; then returns.
    pub async fn serve<S: Service>(&self, service: Arc<S>) {
        // The sweeper goes on until the last connection is gone, which may be after this returns.
        executor::spawn(self.registry.clone().sweep()).detach();
        self.accepting.store(true, Ordering::SeqCst);
        let accepting: Vec<_> = self
            .sockets()
            .iter()
            .map(|(home, socket)| {
                home.spawn(accept(
                    socket.clone(),
                    service.clone(),
                    self.registry.clone(),
                ))
            })
            .collect();
        // Nothing is ever sent: it ends when the sender is dropped.
        let _ = self.closed.recv().await;
        for task in accepting {
            task.cancel().await;
        }
        self.accepting.store(false, Ordering::SeqCst);
    }

    /// Stops accepting, closes idle connections, lets answers under way end for `grace`, then cuts them.
    pub async fn close(&self, grace: Duration) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.sockets().clear();
        // One that is accepted after this would be cut as idle. Looking is simpler than being told, and this is the
        // end.
        let began = Instant::now();
        while self.accepting.load(Ordering::SeqCst) && began.elapsed() < STOP_ACCEPTING {
            Timer::after(Duration::from_millis(1)).await;
        }
        self.registry.begin_closing();
        self.registry.finish(grace).await;
    }
}

/// Accepts on one socket for ever.
async fn accept<S: Service>(
    socket: Arc<Source<TcpListener>>,
    service: Arc<S>,
    registry: Arc<Registry>,
) {
    let mut delay = Duration::ZERO;
    let mut failed: Option<Instant> = None;
    let mut in_a_row = 0u32;
    loop {
        match socket.get_ref().accept() {
            Ok((stream, address)) => {
                delay = Duration::ZERO;
                if failed.is_some_and(|at| at.elapsed() >= CALM) {
                    log::info!("connections are accepted again");
                    failed = None;
                }
                if let Err(error) = welcome(stream, address, &service, &registry) {
                    log::warn!("{address}: the connection cannot be watched: {error}");
                }
                in_a_row = in_a_row.wrapping_add(1);
                if in_a_row % ACCEPTS == 0 {
                    yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::future::poll_fn(|cx| socket.poll_readable(cx)).await;
            }
            Err(error) if socket::is_exhaustion(&error) => {
                if failed.replace(Instant::now()).is_none() {
                    log::error!("no connection can be accepted for now: {error}");
                }
                // An idle connection holds what a new one needs.
                registry.make_room();
                delay = (delay * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
                Timer::after(delay).await;
            }
            Err(error) => {
                // The peer was gone before it was accepted, or the like: the next one is not concerned. The
                // pause keeps an error that stays from using up a core.
                log::debug!("accept: {error}");
                Timer::after(Duration::from_millis(1)).await;
            }
        }
    }
}

fn welcome<S: Service>(
    stream: TcpStream,
    address: SocketAddr,
    service: &Arc<S>,
    registry: &Arc<Registry>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    // Heads and bodies are joined by us; waiting for more would only delay the last of each.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("{address}: {error}");
    }
    let peer = Peer::new(address);
    let wire = Arc::new(Wire::new(stream, Home::find(), peer, registry.deadlines)?);
    let admitted = registry.admit(&wire, |place| {
        let serving = conn::serve(wire.clone(), service.clone(), registry.clone());
        async move {
            serving.await;
            drop(place);
        }
    });
    if admitted {
        return Ok(());
    }
    if let Some(guard) = registry.turn_away() {
        let serving = conn::turn_away(wire.clone(), service.clone(), registry.clone());
        let task = wire.home().spawn(async move {
            serving.await;
            drop(guard);
        });
        task.detach();
    }
    Ok(())
}
