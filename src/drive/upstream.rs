//! One range of a file: asked for, checked, and read piece by piece.
//!
//! What has come already is read where its stream lives, on the thread that sends it, in a tenth of a millisecond a
//! piece on a PC and a few on a Pi: nothing is handed from thread to thread, and the bytes are still in the processor's cache when they are sent.
//! Only what has to be waited for is read on the blocking pool, which a thread leaves with the piece in its hands;
//! while the viewer pauses, the connection waits without one.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::channel::Sender;
use smol::unblock;
use ureq::BodyReader;
use ureq::http::header;

use super::abort::{self, Abort};
use super::budget::Buffer;
use super::client::{Ask, Reply};
use super::keep::Keep;
use super::metadata::Known;
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Judged, Refusal};
use super::service::Service;

/// How long a tiny rest of an abandoned range may take to arrive.
const FAREWELL: Duration = Duration::from_millis(500);

/// What is needed to ask for a file's bytes.
pub(super) struct Target {
    pub(super) known: Known,
    pub(super) size: u64,
    /// The viewer was told that Google takes the file for malware, and wants it all the same.
    pub(super) acknowledge_abuse: bool,
    /// Called with what Drive refuses with for good: it may hold another file than the metadata say.
    pub(super) on_refusal: Box<dyn Fn(&Refusal) + Send + Sync>,
    /// Where its ends are kept.
    pub(super) keep: Option<Keep>,
}

impl Target {
    /// The file's id, for logs.
    pub(super) fn id(&self) -> &str {
        self.known.file.id.as_str()
    }
}

/// The body of one upstream range.
pub(super) struct Upstream {
    body: BodyReader<'static>,
    /// The next byte it yields.
    at: u64,
    end: u64,
    abort: Abort,
    opened: Instant,
}

impl Upstream {
    /// Where the range begins, or goes on.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Lets go of the connection; a tiny rest is read, since that keeps it.
    fn retire(mut self, drain: u64) {
        if self.left() > drain || self.abort.is_aborted() {
            return;
        }
        unblock(move || {
            let _entered = self.abort.enter();
            abort::set_patience(Some(Instant::now() + FAREWELL));
            let _ = io::copy(&mut self.body, &mut io::sink());
        })
        .detach();
    }
}

/// How a piece ended.
pub(super) enum End {
    /// The range goes on.
    More,
    /// The range is at its end, its connection back in the pool.
    Done,
    /// The connection broke, stalled or ended early.
    Broken(String),
}

/// A piece, maybe empty when its connection broke.
pub(super) struct Piece {
    pub(super) buffer: Buffer,
    pub(super) end: End,
}

/// One try at a range; the answer is exactly that range.
///
/// # Errors
/// What went wrong, judged.
pub(super) async fn request(
    service: &Service,
    file: &Target,
    lane: Lane,
    range: Range<u64>,
    abort: &Abort,
) -> Result<Upstream, Judged> {
    let abuse = if file.acknowledge_abuse {
        "&acknowledgeAbuse=true"
    } else {
        ""
    };
    let ask = Ask {
        url: format!(
            "{}/drive/v3/files/{}?alt=media&supportsAllDrives=true{abuse}",
            service.endpoint,
            file.id()
        ),
        range: Some(range.clone()),
        size: file.size,
        resource_key: file.known.resource_key(),
    };
    let reply = service
        .attempt(lane, Cost::Download, &ask, abort, check)
        .await?;
    Ok(Upstream {
        body: reply.body,
        at: range.start,
        end: range.end,
        abort: abort.clone(),
        opened: Instant::now(),
    })
}

/// Lets an answer pass only when it is exactly the range that was asked for.
fn check(reply: Reply, ask: &Ask) -> Result<Reply, Fault> {
    let Some(range) = &ask.range else {
        return Ok(reply);
    };
    verify(
        reply.status,
        reply.header(header::CONTENT_RANGE),
        reply.header(header::CONTENT_LENGTH),
        reply.header(header::CONTENT_ENCODING),
        range,
        ask.size,
    )?;
    Ok(reply)
}

/// The rules of [`check`], on the head's parts.
fn verify(
    status: u16,
    content_range: Option<&str>,
    length: Option<&str>,
    encoding: Option<&str>,
    range: &Range<u64>,
    size: u64,
) -> Result<(), Fault> {
    let nonsense = |what: String| Err(Fault::Nonsense(what));
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return nonsense("a compressed answer to a range".to_owned());
    }
    match status {
        206 => match content_range.and_then(span) {
            Some((_, _, total)) if total != size => return Err(Fault::Changed),
            Some((first, last, _))
                if first == range.start && last.checked_add(1) == Some(range.end) => {}
            _ => return nonsense(format!("asked for {range:?}, got {content_range:?}")),
        },
        // The whole file is the answer to a range that is the whole file.
        200 if *range == (0..size) => {}
        200 => return nonsense("a whole file for a range".to_owned()),
        other => return nonsense(format!("status {other} for a range")),
    }
    let wanted = range.end - range.start;
    match length.map(str::parse::<u64>) {
        None => Ok(()),
        Some(Ok(length)) if length == wanted => Ok(()),
        Some(_) => nonsense(format!("{length:?} bytes for a range of {wanted}")),
    }
}

/// `bytes first-last/complete` (RFC 9110 section 14.4).
fn span(text: &str) -> Option<(u64, u64, u64)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let number = |text: &str| text.trim().parse().ok();
    Some((number(first)?, number(last)?, number(total)?))
}

/// Reads the first piece of a stream, on this thread: whatever has come.
pub(super) fn first(
    service: &Service,
    mut upstream: Upstream,
    mut buffer: Buffer,
) -> (Upstream, Piece) {
    let end = waited(service, &mut upstream, &mut buffer, Duration::ZERO);
    (upstream, Piece { buffer, end })
}

/// How long a piece is waited for.
#[derive(Clone, Copy)]
enum Wait {
    /// Not at all: what has come is taken.
    Never,
    /// Until its first byte is there, and so long for more.
    Linger(Duration),
}

impl Wait {
    /// Until when a read may block that continues a piece, or begins one.
    fn until(self, begun: bool) -> Option<Instant> {
        match self {
            Wait::Never => Some(Instant::now()),
            Wait::Linger(linger) => begun.then(|| Instant::now() + linger),
        }
    }
}

/// Reads one piece, or goes on with it: until it is full, its range ends, or waiting does. `None` when there was to be
/// no waiting, and something is to be waited for.
fn fill(
    service: &Service,
    upstream: &mut Upstream,
    buffer: &mut Buffer,
    wait: Wait,
) -> Option<End> {
    let _entered = upstream.abort.enter();
    abort::set_patience(wait.until(buffer.len() > 0));
    while upstream.left() > 0 {
        let space = buffer.space(upstream.left());
        if space.is_empty() {
            return Some(End::More);
        }
        match upstream.body.read(space) {
            Ok(0) => return Some(End::Broken("the body ended early".to_owned())),
            Ok(count) => {
                if buffer.len() == 0 {
                    abort::set_patience(wait.until(true));
                }
                buffer.advance(count);
                upstream.at += count as u64;
                service
                    .counters
                    .upstream_bytes
                    .fetch_add(count as u64, Ordering::Relaxed);
            }
            // Patience ended; the body can be read on.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return match wait {
                    Wait::Never => None,
                    Wait::Linger(_) => Some(End::More),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(End::Broken(error.to_string())),
        }
    }
    // One read more: it finds the end, which is what returns the connection to the pool.
    if let Wait::Linger(_) = wait {
        abort::set_patience(Some(Instant::now() + service.tuning.linger));
    }
    match (upstream.body.read(&mut [0]), wait) {
        (Ok(1..), _) => {
            log::warn!("Drive sent more than it was asked for; the rest is thrown away");
        }
        (Err(error), Wait::Never) if error.kind() == io::ErrorKind::WouldBlock => return None,
        _ => {}
    }
    Some(End::Done)
}

/// Reads one piece, or goes on with it, on a thread that may wait.
fn waited(
    service: &Service,
    upstream: &mut Upstream,
    buffer: &mut Buffer,
    linger: Duration,
) -> End {
    fill(service, upstream, buffer, Wait::Linger(linger)).unwrap_or(End::More)
}

/// A range at work: orders go in, pieces come out.
pub(super) struct Filler {
    shared: Arc<Shared>,
    abort: Abort,
    opened: Instant,
    end: u64,
}

struct Shared {
    service: Arc<Service>,
    pieces: Sender<Piece>,
    desk: Mutex<Desk>,
}

/// Where the stream and the thread meet.
#[derive(Default)]
struct Desk {
    /// The range while no thread has it.
    parked: Option<Upstream>,
    /// The stream is gone.
    closed: bool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does with the range: it waits for the rest of one piece.
    fn wait(&self, mut upstream: Upstream, mut buffer: Buffer) {
        let linger = self.service.tuning.linger;
        let end = waited(&self.service, &mut upstream, &mut buffer, linger);
        self.put(upstream, Piece { buffer, end });
    }

    /// Parks a range that goes on, and hands out its piece.
    fn put(&self, upstream: Upstream, piece: Piece) {
        if matches!(piece.end, End::More) {
            // Parked before the piece is out, since the next order may follow it at once.
            let mut desk = self.desk();
            if desk.closed {
                drop(desk);
                upstream.retire(self.service.tuning.drain);
                return;
            }
            desk.parked = Some(upstream);
        }
        // There is room: one order at a time. A closed channel drops the piece, as it should.
        let _ = self.pieces.try_send(piece);
    }
}

impl Filler {
    /// Takes over a range; its pieces go to `pieces`, one for each order.
    pub(super) fn new(service: Arc<Service>, upstream: Upstream, pieces: Sender<Piece>) -> Filler {
        let (abort, opened, end) = (upstream.abort.clone(), upstream.opened, upstream.end);
        let desk = Mutex::new(Desk {
            parked: Some(upstream),
            ..Desk::default()
        });
        let shared = Shared {
            service,
            pieces,
            desk,
        };
        Filler {
            shared: Arc::new(shared),
            abort,
            opened,
            end,
        }
    }

    /// Where the range ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How long ago its head came.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Orders a piece; only when the one before has come, and was not the last.
    pub(super) fn order(&self, mut buffer: Buffer) {
        let Some(mut upstream) = self.shared.desk().parked.take() else {
            return;
        };
        let shared = self.shared.clone();
        match fill(&shared.service, &mut upstream, &mut buffer, Wait::Never) {
            Some(end) => shared.put(upstream, Piece { buffer, end }),
            None => unblock(move || shared.wait(upstream, buffer)).detach(),
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        desk.closed = true;
        let parked = desk.parked.take();
        drop(desk);
        match parked {
            Some(upstream) => upstream.retire(self.shared.service.tuning.drain),
            // In the middle of a read, or at the end, where this does nothing.
            None => self.abort.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_range_passes() {
        let ok = |status, range: Option<&str>, length: Option<&str>, wanted: Range<u64>| {
            verify(status, range, length, None, &wanted, 1000)
        };
        assert!(ok(206, Some("bytes 10-19/1000"), Some("10"), 10..20).is_ok());
        assert!(ok(206, Some("bytes 10-19/1000"), None, 10..20).is_ok());
        assert!(ok(200, None, Some("1000"), 0..1000).is_ok());
        for (status, range, length, wanted) in [
            (206, Some("bytes 11-20/1000"), Some("10"), 10..20),
            (206, Some("bytes 10-19/*"), Some("10"), 10..20),
            (206, Some("bytes 10-18/1000"), Some("9"), 10..20),
            (206, Some("bytes 10-19/1000"), Some("11"), 10..20),
            (206, Some("bytes 10-19/1000"), Some("9"), 10..20),
            (206, Some("bytes 10-19/1000"), Some("many"), 10..20),
            (206, None, Some("10"), 10..20),
            (200, None, Some("1000"), 10..20),
            (200, None, Some("999"), 0..1000),
            (204, None, None, 10..20),
            (
                206,
                Some("bytes 10-18446744073709551615/1000"),
                None,
                10..20,
            ),
        ] {
            let result = ok(status, range, length, wanted);
            assert!(
                matches!(result, Err(Fault::Nonsense(_))),
                "{status} {range:?} {length:?}"
            );
        }
        assert!(matches!(
            ok(206, Some("bytes 10-19/999"), None, 10..20),
            Err(Fault::Changed)
        ));
        let zipped = verify(
            206,
            Some("bytes 0-9/1000"),
            None,
            Some("gzip"),
            &(0..10),
            1000,
        );
        assert!(matches!(zipped, Err(Fault::Nonsense(_))));
    }
}
