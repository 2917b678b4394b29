//! Moving an answer to the socket: head and small body in one call, files by `sendfile`, streams as they come.
//!
//! Nothing is ever padded: a body that cannot be sent to its end cuts the connection, so that no
//! client takes a part for the whole.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use smol::future::{FutureExt, yield_now};

use crate::http::bytes::{self, Kept};
use crate::http::deadlines::Phase;
use crate::http::multipart::{PartSource, Parts};
use crate::http::respond::Delimiter;
use crate::http::wire::Wire;
use crate::http::{Body, ByteStream, Bytes, Chunk};
use crate::sys::pages::{self, Pages};
use crate::sys::socket;

/// Bytes of a file that are looked for in memory and then sent: small enough that what is probed is still there when
/// it is sent, and that a slow disk is waited for in short pieces.
const STEP: u64 = 1024 * 1024;

/// The same where all was in memory for a while, and the most that one `sendfile` is asked for.
const STRIDE: u64 = 2 * 1024 * 1024;

/// Up to so many bytes of a file are sent in one piece with their head. The kernel hands on 64 KiB at a time: with
/// more, the piece that the head begins would end in the middle of a page, and a range of 64 KiB costs half as much
/// again.
const TOGETHER: u64 = 48 * 1024;

/// Bytes of files in memory, one after the other, from which on fewer probes are taken.
const WARM_FROM: u64 = 4 * STEP;

/// Bytes that one connection sends before it lets the others of its thread go on, when its client never makes it
/// wait.
const TURN: usize = 4 * 1024 * 1024;

/// Bytes that a request counts for in a turn, so that pipelined small ones take turns too.
const REQUEST: usize = 64 * 1024;

/// How long a client that sends no more may receive nothing before it counts as gone, while its stream
/// has nothing to send. Below the second within which a closed reader must end its upstream read.
const PATIENCE: Duration = Duration::from_millis(600);

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was to be sent failed before a byte of the answer went out: another can still be given.
    Unsent(io::Error),
    /// The client, or its network.
    Client(io::Error),
    /// What was to be sent: a file that shrank, a stream that failed.
    Source(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Client(error)
    }
}

/// The sending half of a connection.
pub(crate) struct Sender {
    wire: Arc<Wire>,
    /// Bytes of bodies, of all connections together.
    sent: Arc<AtomicU64>,
    /// Bytes since the connection last waited.
    streak: usize,
    /// Bytes of files that were found in memory since some last were not.
    warm: u64,
}

impl Sender {
    pub(crate) fn new(wire: Arc<Wire>, sent: Arc<AtomicU64>) -> Sender {
        Sender {
            wire,
            sent,
            streak: 0,
            warm: 0,
        }
    }

    /// Sends a head, and the body that follows it unless there is none to send.
    pub(crate) async fn answer(
        &mut self,
        head: &[u8],
        body: Body,
        delimiter: Delimiter,
    ) -> Result<(), Failure> {
        self.rest(REQUEST).await;
        match body {
            Body::Empty => self.send(head, &[], false).await,
            Body::Text(text) => self.head_and(head, &text).await,
            Body::Shared(bytes, gzip, range) => self.shared(head, &bytes, gzip, range).await,
            Body::File(file, range) => self.file(head, &file, range, true, false).await,
            Body::Parts(parts) => self.parts(head, *parts).await,
            Body::Stream(stream, _) => self.stream(head, stream, delimiter).await,
        }
    }

    /// Lets other connections go on when this one has had its turn.
    async fn rest(&mut self, sent: usize) {
        self.streak += sent;
        if self.streak >= TURN {
            self.streak = 0;
            yield_now().await;
        }
    }

    /// Waits until the client takes more.
    async fn writable(&mut self) -> io::Result<()> {
        self.streak = 0;
        self.wire.clock.enter(Phase::Writing);
        std::future::poll_fn(|cx| self.wire.poll_writable(cx)).await;
        self.wire.clock.enter(Phase::Answering);
        Ok(())
    }

    /// Sends two slices one after the other, wholly.
    async fn send(&mut self, first: &[u8], second: &[u8], more: bool) -> Result<(), Failure> {
        self.send_three(first, second, &[], more).await
    }

    async fn send_three(
        &mut self,
        a: &[u8],
        b: &[u8],
        c: &[u8],
        more: bool,
    ) -> Result<(), Failure> {
        let mut pieces = [IoSlice::new(a), IoSlice::new(b), IoSlice::new(c)];
        let mut left = &mut pieces[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match socket::send(self.wire.socket(), left, more) {
                Ok(n) => {
                    IoSlice::advance_slices(&mut left, n);
                    if !left.is_empty() {
                        self.rest(n).await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn count(&self, n: usize) {
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
    }

    async fn head_and(&mut self, head: &[u8], body: &[u8]) -> Result<(), Failure> {
        self.send(head, body, false).await?;
        self.count(body.len());
        Ok(())
    }

    async fn shared(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        gzip: bool,
        range: Range<u64>,
    ) -> Result<(), Failure> {
        self.kept(head, bytes.form(gzip), range, false).await
    }

    async fn kept(
        &mut self,
        head: &[u8],
        kept: &Kept,
        range: Range<u64>,
        more: bool,
    ) -> Result<(), Failure> {
        match kept {
            Kept::Heap(heap) => {
                let body = bytes::slice(heap, &range);
                self.send(head, body, more).await?;
                self.count(body.len());
                Ok(())
            }
            // It is memory: there are no cold pages to look for.
            Kept::Memfd(file, _) => self.pages(head, file, range, more).await,
        }
    }

    /// A slice of memory in a file.
    async fn pages(
        &mut self,
        head: &[u8],
        file: &File,
        range: Range<u64>,
        more: bool,
    ) -> Result<(), Failure> {
        self.send(head, &[], more || !range.is_empty()).await?;
        let mut at = range.start;
        while at < range.end {
            at += self.step(file, at, range.end).await?;
        }
        Ok(())
    }

    /// A slice of a file on a disk.
    async fn file(
        &mut self,
        head: &[u8],
        file: &Arc<File>,
        range: Range<u64>,
        first: bool,
        more: bool,
    ) -> Result<(), Failure> {
        // Pages are sought before the head is sent, for the head waits in the socket for what follows it.
        let mut sought = match self.seek(file, range.start, range.end).await {
            Err(Failure::Source(error)) if first => return Err(Failure::Unsent(error)),
            sought => sought?,
        };
        if first || !head.is_empty() {
            let together = more || (!range.is_empty() && range.end - range.start <= TOGETHER);
            self.send(head, &[], together).await?;
        }
        let mut at = range.start;
        while at < range.end {
            if at >= sought {
                sought = self.seek(file, at, range.end).await?;
            }
            at += self.step(file, at, sought).await?;
        }
        Ok(())
    }

    /// Makes sure that the next step is in memory; returns its end.
    async fn seek(&mut self, file: &Arc<File>, at: u64, end: u64) -> Result<u64, Failure> {
        let (length, distance) = if self.warm >= WARM_FROM {
            (STRIDE, pages::SPARSE)
        } else {
            (STEP, pages::DENSE)
        };
        let step = at..end.min(at.saturating_add(length));
        let to = step.end;
        if pages::probe(file, step.clone(), distance) == Pages::Warm {
            self.warm += step.end - step.start;
        } else {
            // A file system that cannot say is read each time: a card reader's is among them.
            self.warm = 0;
            let file = file.clone();
            smol::unblock(move || pages::warm(&file, step))
                .await
                .map_err(Failure::Source)?;
            self.streak = 0;
        }
        Ok(to)
    }

    /// One `sendfile`; waits when nothing fits.
    async fn step(&mut self, file: &File, at: u64, end: u64) -> Result<u64, Failure> {
        loop {
            let count = (end - at).min(STRIDE) as usize;
            match socket::sendfile(self.wire.socket(), file, at, count) {
                Ok(0) => {
                    let text = "the file became shorter while it was sent";
                    return Err(Failure::Source(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        text,
                    )));
                }
                Ok(n) => {
                    self.count(n);
                    // A part means nearly always that the socket is full. To ask is cheaper than another try, which
                    // gathers pages first.
                    if n < count && !socket::has_room(self.wire.socket()) {
                        self.writable().await?;
                    } else {
                        self.rest(n).await;
                    }
                    return Ok(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A failing disk is EIO; all else is the socket's.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    return Err(Failure::Source(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn parts(&mut self, head: &[u8], parts: Parts) -> Result<(), Failure> {
        self.send(head, &[], true).await?;
        for (before, range) in parts.parts() {
            match &parts.source {
                PartSource::File(file) => {
                    self.file(before, file, range.clone(), false, true).await?
                }
                PartSource::Bytes(bytes) => {
                    self.kept(before, bytes.form(false), range.clone(), true)
                        .await?
                }
            }
        }
        self.send(parts.tail(), &[], false).await
    }

    /// A stream, to its end or to the first that fails: the stream, the client, the length.
    async fn stream(
        &mut self,
        head: &[u8],
        mut stream: Box<dyn ByteStream>,
        delimiter: Delimiter,
    ) -> Result<(), Failure> {
        let mut head = head;
        let mut left = match delimiter {
            Delimiter::Length(length) => Some(length),
            _ => None,
        };
        if left == Some(0) {
            return self.send(head, &[], false).await;
        }
        loop {
            // A first piece that is there already goes out with the head; one that is not does not delay it.
            let mut next = catch(&mut *stream);
            let early = std::future::poll_fn(|cx| Poll::Ready(next.poll(cx))).await;
            let chunk = match early {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    if !head.is_empty() {
                        self.send(head, &[], false).await?;
                        head = &[];
                    }
                    self.streak = 0;
                    self.or_gone(next).await?
                }
            };
            let chunk = match chunk {
                Err(error) if !head.is_empty() => return Err(Failure::Unsent(error)),
                chunk => chunk.map_err(Failure::Source)?,
            };
            let Some(chunk) = chunk else {
                break;
            };
            let bytes: &[u8] = (*chunk).as_ref();
            if bytes.is_empty() {
                self.rest(REQUEST).await;
                continue;
            }
            if let Some(left) = &mut left {
                let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                    let text = "the stream is longer than it said";
                    return Err(Failure::Source(io::Error::new(
                        io::ErrorKind::InvalidData,
                        text,
                    )));
                };
                *left = rest;
            }
            if delimiter == Delimiter::Chunked {
                let mut before = head.to_vec();
                before.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                self.send_three(&before, bytes, b"\r\n", false).await?;
            } else {
                self.send(head, bytes, false).await?;
            }
            head = &[];
            self.count(bytes.len());
            self.rest(bytes.len()).await;
            // A body is whole with its last byte; whether the stream knows its end is not waited for.
            if left == Some(0) {
                return Ok(());
            }
        }
        match delimiter {
            Delimiter::Length(_) => {
                let text = "the stream is shorter than it said";
                Err(Failure::Source(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    text,
                )))
            }
            Delimiter::Chunked => self.send(head, b"0\r\n\r\n", false).await,
            _ => self.send(head, &[], false).await,
        }
    }

    /// Waits for the next piece, or for the client to go.
    async fn or_gone(&self, mut next: NextPiece) -> Result<io::Result<Option<Chunk>>, Failure> {
        let mut gone = Box::pin(self.wire.gone(Some(PATIENCE)));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(chunk) = next.as_mut().poll(cx) {
                return Poll::Ready(Ok(chunk));
            }
            gone.as_mut().poll(cx).map(|()| {
                let text = "the client went away while its stream had nothing to send";
                Err(Failure::Client(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    text,
                )))
            })
        })
        .await
    }
}

type NextPiece = Pin<Box<dyn Future<Output = io::Result<Option<Chunk>>> + Send>>;

/// Asks a stream for its next piece; a panic in it is an error of the stream.
fn catch(stream: &mut dyn ByteStream) -> NextPiece {
    let panicked = || io::Error::other("the stream panicked");
    let next = std::panic::catch_unwind(AssertUnwindSafe(|| stream.next()));
    Box::pin(async move {
        let next = next.map_err(|_| panicked())?;
        AssertUnwindSafe(next)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(panicked()))
    })
}
