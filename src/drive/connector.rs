//! TCP for ureq, with what its own connector lacks: a handle to end a blocked read, a reading deadline
//! that passes without harm, a bound on what the kernel buffers, and buffers that idle
//! connections do not keep.
//!
//! `ureq::unversioned` promises no stability; that is why Cargo.toml pins its exact version.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::abort::{self, Socket, Stage};

/// Bytes read from the kernel at once: four TLS records, beyond which the system call no longer shows.
const INPUT: usize = 64 * 1024;
/// Bytes written at once: a request's head.
const OUTPUT: usize = 8 * 1024;
/// A connection attempt looks this often whether anyone still waits for it.
const CONNECT_STEP: Duration = Duration::from_millis(250);
/// Of several addresses each but the last gets at most this long, since a broken IPv6 route
/// swallows packets without a word.
const PER_ADDRESS: Duration = Duration::from_millis(2500);

/// Opens TCP connections.
#[derive(Debug)]
pub(super) struct Tcp {
    receive_buffer: usize,
    write_timeout: Duration,
    /// The address that answered last, tried first.
    good: Mutex<Option<SocketAddr>>,
    /// Connections that lie in the pool.
    idle: Arc<AtomicUsize>,
}

impl Tcp {
    /// `idle` counts the connections that lie in the pool, for others to look at.
    pub(super) fn new(
        receive_buffer: usize,
        write_timeout: Duration,
        idle: Arc<AtomicUsize>,
    ) -> Tcp {
        Tcp {
            receive_buffer,
            write_timeout,
            good: Mutex::new(None),
            idle,
        }
    }

    fn open(&self, address: SocketAddr, until: Instant) -> io::Result<TcpStream> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // Before the handshake, which is when the window's scale is agreed.
        sockopt::set_socket_recv_buffer_size(&socket, self.receive_buffer)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(self.write_timeout))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => connected(&socket, until)?,
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    fn open_any(&self, addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
        let good = *self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<SocketAddr> = addresses.to_vec();
        order.sort_by_key(|address| Some(*address) != good);
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for (n, address) in order.iter().enumerate() {
            let last = n + 1 == order.len();
            let turn = if last {
                until
            } else {
                until.min(Instant::now() + PER_ADDRESS)
            };
            match self.open(*address, turn) {
                Ok(stream) => {
                    *self.good.lock().unwrap_or_else(PoisonError::into_inner) = Some(*address);
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
            abort::checkpoint()?;
            if Instant::now() >= until {
                break;
            }
        }
        Err(failure)
    }
}

/// Waits until a connection stands.
fn connected(socket: &OwnedFd, until: Instant) -> io::Result<()> {
    loop {
        abort::checkpoint()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if wait(socket, PollFlags::OUT, Some(left.min(CONNECT_STEP)))? {
            return Ok(sockopt::socket_error(socket)??);
        }
    }
}

/// Waits until `fd` is ready; false when the time passed first.
fn wait(fd: impl std::os::fd::AsFd, flags: PollFlags, limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        // A rest below a millisecond must not turn into a busy loop.
        tv_nsec: limit.subsec_nanos().max(1).into(),
    });
    match poll(&mut [PollFd::new(&fd, flags)], limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        // A proxy's tunnel, which runs over a connection made here before.
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        abort::set_stage(Stage::Connecting);
        let limit = details
            .timeout
            .not_zero()
            .map_or(Duration::from_secs(10), |limit| *limit);
        let stream = match self.open_any(&details.addrs, Instant::now() + limit) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(ureq::Error::Timeout(ureq::Timeout::Connect));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Either::B(TcpTransport {
            socket: Arc::new(Socket::new(stream)),
            buffers: LazyBuffers::new(INPUT, OUTPUT),
            pooled: Pooled {
                idle: self.idle.clone(),
                counted: false,
            },
        })))
    }
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct TcpTransport {
    socket: Arc<Socket>,
    buffers: LazyBuffers,
    pooled: Pooled,
}

/// Whether a connection lies in the pool, counted.
#[derive(Debug)]
struct Pooled {
    idle: Arc<AtomicUsize>,
    counted: bool,
}

impl Pooled {
    fn set(&mut self, pooled: bool) {
        match (self.counted, pooled) {
            (false, true) => self.idle.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.idle.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        self.counted = pooled;
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.pooled.set(false);
        abort::attach(&self.socket)?;
        let output = self.buffers.output();
        match io::Write::write_all(&mut &self.socket.stream, &output[..amount]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ureq::Error::Timeout(timeout.for_write().reason))
            }
            other => Ok(other?),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        let started = Instant::now();
        loop {
            abort::attach(&self.socket)?;
            // Reading first and waiting only when nothing is there saves a system call per read.
            let input = self.buffers.input_append_buf();
            match rustix::net::recv(&self.socket.stream, input, RecvFlags::DONTWAIT) {
                Ok((_, amount)) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            let now = Instant::now();
            let stalled = timeout.not_zero().map(|limit| started + *limit);
            let patience = abort::patience();
            if patience.is_some_and(|until| now >= until) {
                return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
            }
            if stalled.is_some_and(|until| now >= until) {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let until = stalled.into_iter().chain(patience).min();
            wait(
                &self.socket.stream,
                PollFlags::IN,
                until.map(|until| until - now),
            )?;
        }
    }

    /// Asked when a connection goes to the pool and when it leaves it.
    fn is_open(&mut self) -> bool {
        self.socket.release();
        if self.buffers.input().is_empty() {
            self.buffers = LazyBuffers::new(INPUT, OUTPUT);
        }
        // Session tickets come before the first answer, so nothing may wait here: bytes are a body longer
        // than it said, or the peer's farewell.
        let mut byte = [0u8];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let open = rustix::net::recv(&self.socket.stream, &mut byte, flags) == Err(Errno::AGAIN);
        self.pooled.set(open);
        open
    }
}

/// The last link: notes that a connection stands, TLS included.
#[derive(Debug)]
pub(super) struct Arrived;

impl<In: Transport> Connector<In> for Arrived {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
        abort::set_stage(Stage::Fresh);
        Ok(chained.map(Transport::boxed))
    }
}
