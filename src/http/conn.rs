//! One connection: reads heads, calls the service, has the answers sent, in that order, until it ends.
//!
//! Every request gets an answer, refused ones too; only a client that says nothing is left without. The
//! order of a request: head (bounded in bytes and time), body (read by the service, as it likes), answer, what is left
//! of the body (drained when it is little), and the next.

use std::any::Any;
use std::net::Shutdown;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_types::{Method, StatusCode};
use smol::Timer;
use smol::future::FutureExt;

use crate::error::{Error, Kind};
use crate::http::body::BodyState;
use crate::http::deadlines::Phase;
use crate::http::head::{self, Head, Progress};
use crate::http::registry::Registry;
use crate::http::respond::{self, Delimiter, Persistence};
use crate::http::send::{Failure, Sender};
use crate::http::wire::Wire;
use crate::http::{Body, Request, Response, Service};
use crate::sys::socket;

/// How long a reading request goes on after its client's FIN: below the second within which Drive must
/// learn that nobody waits, and above what a local answer takes.
const PATIENCE: Duration = Duration::from_millis(800);

/// Bytes of an unread request body that are read over to keep the connection; more costs more than a new one.
const DRAIN_LIMIT: u64 = 64 * 1024;

/// Bytes that are read over after the last answer, so that a client which still sends reads it.
const LINGER_LIMIT: u64 = 16 * 1024 * 1024;

/// Empty lines that are skipped before a request (RFC 9112 section 2.2), in bytes.
const BLANK_LIMIT: usize = 64;

/// What reading a head came to.
enum Next {
    Head(Head),
    Refused(Error, bool),
    /// The client closed, or said nothing for too long.
    Ended,
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: Service>(wire: Arc<Wire>, service: Arc<S>, registry: Arc<Registry>) {
    let mut conn = Conn {
        sender: Sender::new(wire.clone(), registry.sent()),
        out: Vec::with_capacity(512),
        number: 0,
        wire,
        service,
        registry,
    };
    while conn.serve_one().await {}
}

struct Conn<S> {
    wire: Arc<Wire>,
    service: Arc<S>,
    registry: Arc<Registry>,
    sender: Sender,
    /// The head of the answer, kept for its allocation.
    out: Vec<u8>,
    number: u64,
}

impl<S: Service> Conn<S> {
    /// One request and its answer; whether there may be another.
    async fn serve_one(&mut self) -> bool {
        let head = match self.read_head().await {
            Next::Head(head) => head,
            Next::Refused(error, is_head) => {
                self.refuse(error, is_head).await;
                return false;
            }
            Next::Ended => return false,
        };
        self.wire.clock.enter(Phase::Answering);
        self.number += 1;
        self.wire.inbound().body = BodyState::new(self.number, head.framing, head.expects_continue);
        let mut request = match Request::new(head, self.wire.clone(), self.number) {
            Ok(request) => request,
            Err(error) => {
                self.refuse(error, false).await;
                return false;
            }
        };
        let (response, panicked) = match self.call(&mut request).await {
            Called::Answered(response) => (response, false),
            Called::Panicked => (
                self.refusal(Error::internal(
                    "The request ran into a fault of the server; the log tells more.",
                )),
                true,
            ),
            Called::Gone => return false,
        };
        if !self.answer(&request, response, panicked).await {
            return false;
        }
        self.drain().await
    }

    /// Gathers a head in the connection's buffer.
    async fn read_head(&mut self) -> Next {
        let mut searched = 0;
        let mut blank = 0;
        // After an answer the client has to read it first: trying to read at once is a call for nothing.
        let mut wait_first = self.number > 0;
        let is_fresh = self.wire.inbound().bytes().is_empty();
        self.wire
            .clock
            .enter(if is_fresh { Phase::Idle } else { Phase::Head });
        loop {
            let looked = {
                let mut inbound = self.wire.inbound();
                let skip = inbound
                    .bytes()
                    .iter()
                    .take_while(|b| matches!(b, b'\r' | b'\n'))
                    .count();
                if searched == 0 && skip > 0 {
                    inbound.consume(skip);
                    blank += skip;
                }
                let bytes = inbound.bytes();
                if blank > BLANK_LIMIT || !head::is_plausible(bytes) {
                    return Next::Refused(not_http(), false);
                }
                let looked = head::progress(bytes, searched);
                searched = bytes.len();
                match looked {
                    Ok(Progress::Whole(end)) => {
                        let is_head = bytes.starts_with(b"HEAD ");
                        let parsed = Head::parse(&bytes[..end]);
                        inbound.consume(end);
                        return match parsed {
                            Ok(head) => Next::Head(head),
                            Err(error) => Next::Refused(error, is_head),
                        };
                    }
                    Ok(Progress::Partial) => Ok(()),
                    Err(error) => Err((error, bytes.starts_with(b"HEAD "))),
                }
            };
            if let Err((error, is_head)) = looked {
                return Next::Refused(error, is_head);
            }
            if self.registry.is_closing() && searched == 0 {
                return Next::Ended;
            }
            let began = searched > 0 || blank > 0;
            match self.wire.fill(wait_first && searched == 0).await {
                Ok(0) if !began => return Next::Ended,
                Ok(0) if self.wire.clock.expired() => return Next::Refused(late(), false),
                // The last line of a body's client, or a probe that closed: nothing to answer.
                Ok(0) if searched == 0 => return Next::Ended,
                Ok(0) => return Next::Refused(cut_short(), false),
                Ok(_) if !began => self.wire.clock.enter(Phase::Head),
                Ok(_) => {}
                Err(_) => return Next::Ended,
            }
            wait_first = false;
        }
    }

    /// Calls the service, and catches what it throws.
    async fn call(&self, request: &mut Request) -> Called {
        // What only reads may be given up when its reader is gone; what acts runs to its end. A reader that said
        // goodbye and hears nothing for a while counts as gone, as with nginx: behind the call there may be a
        // server that answers never.
        let only_reads = matches!(request.method(), Method::Get | Method::Head);
        let call = AssertUnwindSafe(async { self.service.call(request).await }).catch_unwind();
        let mut call = std::pin::pin!(call);
        let mut gone = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = call.as_mut().poll(cx) {
                return Poll::Ready(match result {
                    Ok(response) => Called::Answered(response),
                    Err(panic) => {
                        log::error!("a request panicked: {}", panic_text(&*panic));
                        Called::Panicked
                    }
                });
            }
            if !only_reads {
                return Poll::Pending;
            }
            let gone = gone.get_or_insert_with(|| Box::pin(self.wire.gone(Some(PATIENCE))));
            gone.as_mut().poll(cx).map(|()| Called::Gone)
        })
        .await
    }

    /// The service's answer to a refused request, or one of ours when even that panics.
    fn refusal(&self, error: Error) -> Response {
        let kind = error.kind();
        std::panic::catch_unwind(AssertUnwindSafe(|| self.service.refuse(error)))
            .unwrap_or_else(|_| plain_refusal(kind))
    }

    /// Sends an answer; whether the connection goes on after it.
    async fn answer(&mut self, request: &Request, response: Response, panicked: bool) -> bool {
        let head = request.head();
        let (is_done, is_drainable) = {
            let inbound = self.wire.inbound();
            (
                inbound.body.is_done(),
                inbound.body.is_drainable(DRAIN_LIMIT),
            )
        };
        let mut goes_on = head.keep_alive
            && !panicked
            && (is_done || is_drainable)
            && !self.registry.is_closing()
            && !self.wire.clock.expired();
        let is_head = request.method() == Method::Head;
        let sends_body = !is_head && !response.is_bodiless();
        let delimiter = if response.is_bodiless() {
            Delimiter::Unsaid
        } else {
            match (response.length.filter(|_| is_head), response.body.len()) {
                (Some(length), _) => Delimiter::Length(length),
                (None, Some(0)) if is_head => Delimiter::Unsaid,
                (None, Some(length)) => Delimiter::Length(length),
                (None, None) if head.is_http_1_0 => Delimiter::Close,
                (None, None) => Delimiter::Chunked,
            }
        };
        if delimiter == Delimiter::Close && sends_body {
            goes_on = false;
        }
        let persistence = match (goes_on, head.is_http_1_0) {
            (true, false) => Persistence::Implied,
            (true, true) => Persistence::KeepAlive,
            (false, _) => Persistence::Close,
        };
        self.out.clear();
        respond::write_head(&mut self.out, &response, delimiter, persistence);
        let body = if sends_body {
            response.body
        } else {
            Body::Empty
        };
        match self.sender.answer(&self.out, body, delimiter).await {
            Ok(()) => {}
            Err(Failure::Client(error)) => {
                log::debug!("{}: the client went: {error}", self.wire.peer.address);
                return false;
            }
            Err(Failure::Unsent(error)) => {
                log::warn!("{} {}: {error}", request.method(), request.path());
                let refused = Error::new(
                    Kind::BadGateway,
                    "source_failed",
                    "What was asked for could not be read; try again, and look at the disk or the log.",
                );
                self.refuse(refused.because(error), false).await;
                return false;
            }
            Err(Failure::Source(error)) => {
                log::warn!(
                    "{} {}: the body was cut: {error}",
                    request.method(),
                    request.path()
                );
                // Where only the end of the connection ends the body, an orderly end would look like the whole.
                if delimiter == Delimiter::Close {
                    socket::reset_on_close(self.wire.socket());
                }
                return false;
            }
        }
        if !goes_on {
            self.part(!is_done).await;
        }
        goes_on
    }

    /// Reads over what the service left of a request's body; whether the next request can follow.
    async fn drain(&mut self) -> bool {
        if self.wire.inbound().body.is_done() {
            return true;
        }
        let mut left = DRAIN_LIMIT;
        let mut scratch = [0; 4096];
        loop {
            let read =
                std::future::poll_fn(|cx| self.wire.poll_body(self.number, cx, &mut scratch)).await;
            match read {
                Ok(0) => return true,
                Ok(n) if (n as u64) <= left => left -= n as u64,
                _ => {
                    self.part(true).await;
                    return false;
                }
            }
        }
    }

    /// Answers a request that never became one, and ends the connection.
    async fn refuse(&mut self, error: Error, is_head: bool) {
        log::debug!("{}: refused: {error:?}", self.wire.peer.address);
        self.wire.clock.enter(Phase::Answering);
        let response = self.refusal(error);
        if send_last(&mut self.sender, &mut self.out, response, is_head)
            .await
            .is_ok()
        {
            self.part(true).await;
        }
    }

    /// Ends the connection so that the client can read the last answer: closing while bytes of its
    /// are unread would reset it, and the answer with it.
    async fn part(&mut self, expects_more: bool) {
        let _ = self.wire.socket().shutdown(Shutdown::Write);
        if !expects_more && self.wire.inbound().bytes().is_empty() && !has_unread(&self.wire) {
            return;
        }
        self.wire.clock.enter(Phase::Lingering);
        linger(&self.wire).await;
    }
}

/// What calling the service came to.
enum Called {
    Answered(Response),
    Panicked,
    /// The client reset the connection.
    Gone,
}

/// Answers one connection too many, within a second, and closes it.
pub(crate) async fn turn_away<S: Service>(
    wire: Arc<Wire>,
    service: Arc<S>,
    registry: Arc<Registry>,
) {
    let error = Error::new(
        Kind::Unavailable,
        "busy",
        "As many connections are open as are served at once; try again in a few seconds.",
    )
    .retry_after(Duration::from_secs(5));
    let kind = error.kind();
    let work = async {
        let response = std::panic::catch_unwind(AssertUnwindSafe(|| service.refuse(error)))
            .unwrap_or_else(|_| plain_refusal(kind));
        let response = match response.get("retry-after") {
            Some(_) => response,
            None => response.header("retry-after", "5"),
        };
        let mut sender = Sender::new(wire.clone(), registry.sent());
        if send_last(&mut sender, &mut Vec::new(), response, false)
            .await
            .is_ok()
        {
            let _ = wire.socket().shutdown(Shutdown::Write);
            linger(&wire).await;
        }
    };
    let limit = async {
        Timer::after(Duration::from_secs(1)).await;
    };
    work.or(limit).await;
}

/// Sends an answer that ends its connection.
async fn send_last(
    sender: &mut Sender,
    out: &mut Vec<u8>,
    response: Response,
    is_head: bool,
) -> Result<(), Failure> {
    let delimiter = match response.body.len() {
        _ if response.is_bodiless() => Delimiter::Unsaid,
        Some(length) => Delimiter::Length(length),
        None => Delimiter::Close,
    };
    out.clear();
    respond::write_head(out, &response, delimiter, Persistence::Close);
    let body = if is_head || response.is_bodiless() {
        Body::Empty
    } else {
        response.body
    };
    sender.answer(out, body, delimiter).await
}

/// Reads over what the client still sends, until it closes; the phase's deadline bounds it.
async fn linger(wire: &Wire) {
    let mut read = 0;
    loop {
        {
            let mut inbound = wire.inbound();
            let n = inbound.bytes().len();
            inbound.consume(n);
        }
        match wire.fill(false).await {
            Ok(0) | Err(_) => return,
            Ok(n) => read += n as u64,
        }
        if read > LINGER_LIMIT {
            return;
        }
    }
}

/// Whether bytes wait in the kernel, which a close would turn into a reset.
fn has_unread(wire: &Wire) -> bool {
    !matches!(wire.inbound().fill(wire.socket()), Ok(0) | Err(_))
}

fn plain_refusal(kind: Kind) -> Response {
    Response::new(StatusCode::try_from(kind.status()).unwrap_or(StatusCode::InternalServerError))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

fn not_http() -> Error {
    Error::new(
        Kind::BadRequest,
        "malformed_request",
        "This is not HTTP; open the address with http://, for there is no TLS here.",
    )
}

fn late() -> Error {
    Error::new(
        Kind::Timeout,
        "request_timeout",
        "The head of the request did not come in time; send it again.",
    )
}

fn cut_short() -> Error {
    Error::new(
        Kind::BadRequest,
        "malformed_request",
        "The request ended within its head; send it again.",
    )
}
