//! The body of a request: sized or chunked, bounded, read from the connection's own buffer.
//!
//! A body that ends before its length, or whose chunks are malformed, is an error and never a clean
//! end. Bytes of the next request are left in the buffer. What a handler leaves unread is `conn`'s to drain.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use smol::io::AsyncRead;

use crate::http::chunked::Decoder;
use crate::http::deadlines::Phase;
use crate::http::head::Framing;
use crate::http::wire::Wire;
use crate::sys::socket;

/// Reads of at least so many bytes of plain content pass the connection's buffer by.
const DIRECT: usize = 4096;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its chunks are none.
    Malformed,
    /// The client sent less than it said.
    CutShort,
    /// The client sent nothing for too long.
    TimedOut,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        let (kind, text) = match fault {
            Fault::Malformed => (
                io::ErrorKind::InvalidData,
                "the request's chunked body is malformed",
            ),
            Fault::CutShort => (
                io::ErrorKind::UnexpectedEof,
                "the request's body was cut short",
            ),
            Fault::TimedOut => (
                io::ErrorKind::TimedOut,
                "no byte of the request's body came in time",
            ),
        };
        io::Error::new(kind, text)
    }
}

#[derive(Clone, Debug)]
enum Rest {
    Sized(u64),
    Chunked(Decoder),
}

/// How far the body of the current request was read.
#[derive(Clone, Debug)]
pub(crate) struct BodyState {
    /// Which request of the connection it belongs to; a reader of an earlier one gets nothing.
    number: u64,
    rest: Rest,
    fault: Option<Fault>,
    /// What of `100 Continue` is still to be sent before the first byte is waited for.
    continue_left: &'static [u8],
}

impl BodyState {
    /// No body, for request `number`.
    pub(crate) fn none(number: u64) -> BodyState {
        BodyState {
            number,
            rest: Rest::Sized(0),
            fault: None,
            continue_left: &[],
        }
    }

    /// The body of request `number`.
    pub(crate) fn new(number: u64, framing: Framing, expects_continue: bool) -> BodyState {
        let rest = match framing {
            Framing::None => Rest::Sized(0),
            Framing::Sized(length) => Rest::Sized(length),
            Framing::Chunked => Rest::Chunked(Decoder::new()),
        };
        let mut state = BodyState {
            number,
            rest,
            fault: None,
            continue_left: &[],
        };
        // A client that has no body to send does not wait for leave to send it.
        if expects_continue && !state.is_done() {
            state.continue_left = CONTINUE;
        }
        state
    }

    pub(crate) fn is_done(&self) -> bool {
        match &self.rest {
            Rest::Sized(left) => *left == 0,
            Rest::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Whether what is left may be drained: nothing is broken, the client does not wait for leave to
    /// send it, and it is not known to be more than `limit` bytes.
    pub(crate) fn is_drainable(&self, limit: u64) -> bool {
        self.fault.is_none()
            && self.continue_left.is_empty()
            && !matches!(self.rest, Rest::Sized(left) if left > limit)
    }

    /// Content that follows without framing, in bytes.
    fn plain(&self) -> u64 {
        match &self.rest {
            Rest::Sized(left) => *left,
            Rest::Chunked(decoder) => decoder.plain(),
        }
    }

    fn advance(&mut self, n: u64) {
        match &mut self.rest {
            Rest::Sized(left) => *left = left.saturating_sub(n),
            Rest::Chunked(decoder) => decoder.advance(n),
        }
    }

    /// Takes content from `input`; how much of it was used, and how much of `output` was filled.
    fn take(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault> {
        match &mut self.rest {
            Rest::Sized(left) => {
                let n = input
                    .len()
                    .min(output.len())
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                output[..n].copy_from_slice(&input[..n]);
                *left -= n as u64;
                Ok((n, n))
            }
            Rest::Chunked(decoder) => decoder.decode(input, output).map_err(|_| Fault::Malformed),
        }
    }
}

impl Wire {
    /// Reads content of the body of request `number`; 0 is its end.
    pub(crate) fn poll_body(
        &self,
        number: u64,
        cx: &mut Context<'_>,
        output: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if output.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let mut inbound = self.inbound();
            if inbound.body.number != number {
                return Poll::Ready(Err(io::Error::other("the request is answered already")));
            }
            if let Some(fault) = inbound.body.fault {
                return Poll::Ready(Err(fault.into()));
            }
            if inbound.body.is_done() {
                return Poll::Ready(Ok(0));
            }
            if !inbound.bytes().is_empty() {
                // A client that sends without waiting needs no leave.
                let (bytes, body) = inbound.parts();
                body.continue_left = &[];
                match body.take(bytes, output) {
                    Ok((read, written)) => {
                        inbound.consume(read);
                        if written > 0 || inbound.body.is_done() {
                            return Poll::Ready(Ok(written));
                        }
                        continue;
                    }
                    Err(fault) => {
                        inbound.body.fault = Some(fault);
                        return Poll::Ready(Err(fault.into()));
                    }
                }
            }
            while !inbound.body.continue_left.is_empty() {
                let left = inbound.body.continue_left;
                match socket::send(self.socket(), &[io::IoSlice::new(left)], false) {
                    Ok(n) => inbound.body.continue_left = &left[n..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.clock.enter(Phase::Writing);
                        ready!(self.poll_writable(cx));
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            let plain = usize::try_from(inbound.body.plain()).unwrap_or(usize::MAX);
            // Content that follows without framing goes straight to where it is wanted.
            let direct = plain.min(output.len());
            let got = if direct >= DIRECT {
                let got = io::Read::read(&mut self.socket(), &mut output[..direct]);
                if let Ok(n) = got {
                    inbound.body.advance(n as u64);
                    inbound.read_past(n < direct);
                }
                got.map(|n| (n, true))
            } else {
                inbound.fill(self.socket()).map(|n| (n, false))
            };
            match got {
                Ok((0, _)) => {
                    let fault = if self.clock.expired() {
                        Fault::TimedOut
                    } else {
                        Fault::CutShort
                    };
                    inbound.body.fault = Some(fault);
                    return Poll::Ready(Err(fault.into()));
                }
                Ok((n, direct)) => {
                    self.clock.enter(Phase::Answering);
                    if direct {
                        return Poll::Ready(Ok(n));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(inbound);
                    if self.clock.phase() != Phase::Body {
                        self.clock.enter(Phase::Body);
                    }
                    ready!(self.poll_readable(cx));
                }
                Err(error) => {
                    inbound.body.fault = Some(Fault::CutShort);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// Reads a request's body; implements `AsyncRead`.
///
/// Errors: `InvalidData` (malformed), `UnexpectedEof` (cut short), `TimedOut` (nothing came for a minute).
#[derive(Debug)]
pub struct RequestBody(Reader);

#[derive(Debug)]
enum Reader {
    Wire(Arc<Wire>, u64),
    Memory(io::Cursor<Vec<u8>>),
}

impl RequestBody {
    pub(crate) fn of_wire(wire: Arc<Wire>, number: u64) -> RequestBody {
        RequestBody(Reader::Wire(wire, number))
    }

    pub(crate) fn of_memory(bytes: Vec<u8>) -> RequestBody {
        RequestBody(Reader::Memory(io::Cursor::new(bytes)))
    }
}

impl AsyncRead for RequestBody {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        output: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Reader::Wire(wire, number) => wire.poll_body(*number, cx, output),
            Reader::Memory(cursor) => Poll::Ready(io::Read::read(cursor, output)),
        }
    }
}
