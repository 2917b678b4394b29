//! Compatible versions that are made while somebody watches: a few at a time, as fast as they are taken, and gone with
//! their viewers.
//!
//! ffmpeg writes into a pipe that is read only when the client has taken what came before, so that a paused
//! player pauses ffmpeg. Whoever drops a [`LiveStream`] ends its ffmpeg. What ends early ends with an error and never
//! like a whole: ffmpeg itself calls a source that broke off an end, so its word alone does not count.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::process::ChildStdout;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use smol::future::{Boxed, or};
use smol::io::AsyncReadExt;
use smol::{Async, Timer};

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::child::{Child, Priority, Stdout};
use crate::ffmpeg::loopback::Grant;
use crate::ffmpeg::no_memory;
pub use crate::ffmpeg::stats::{Last, Mode, Stats};
use crate::http::{ByteStream, Chunk};

/// Bytes that are read at once, and that the pipe holds: what a stream buffers of ffmpeg's output, twice.
const BUFFER: usize = 256 * 1024;

/// How long a piece that is not half full waits for more: ffmpeg writes in small portions, and to pass each of them on
/// by itself costs several changes of thread. Nothing to a viewer, and the first piece does not wait.
const LINGER: Duration = Duration::from_millis(3);

/// How long ffmpeg may say nothing while its reader waits. It has to find its place in a file on Drive first, and a
/// source that stalls is given up by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long ffmpeg may take to end after its last byte.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long a place is waited for.
const CHANGE_OVER: Duration = Duration::from_secs(1);

/// When to come again to a box whose places are all taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is to be streamed.
#[derive(Debug)]
pub struct Order {
    /// ffmpeg.
    pub program: PathBuf,
    /// Its arguments; it writes to stdout.
    pub arguments: Vec<OsString>,
    /// Its leave to read.
    pub grant: Grant,
    /// What it reads, as people know it.
    pub reference: String,
    /// What it does.
    pub mode: Mode,
}

/// The places for live streams, who has them, and what came of those who had; clones share them.
#[derive(Clone, Debug)]
pub struct LiveStreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    patience: Duration,
    /// Bytes of all streams together; written by the streams.
    bytes: AtomicU64,
    /// Written by who takes a place or leaves it, which wakes those who wait.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    active: usize,
    waiting: Vec<Waker>,
    stats: Stats,
}

impl LiveStreams {
    /// Places for `limit` streams.
    pub fn new(limit: usize) -> LiveStreams {
        LiveStreams::with_patience(limit, PATIENCE)
    }

    fn with_patience(limit: usize, patience: Duration) -> LiveStreams {
        LiveStreams(Arc::new(Inner {
            limit,
            patience,
            bytes: AtomicU64::new(0),
            state: Mutex::default(),
        }))
    }

    /// How many there may be at a time.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many there are.
    pub fn active(&self) -> usize {
        self.0.state().active
    }

    /// Resolves once there is one.
    pub async fn busy(&self) {
        self.until(|active| active > 0).await;
    }

    /// Resolves once there is none.
    pub async fn idle(&self) {
        self.until(|active| active == 0).await;
    }

    async fn until(&self, holds: impl Fn(usize) -> bool) {
        poll_fn(|cx| {
            let mut state = self.0.state();
            if holds(state.active) {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// What came of them.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.state().stats.clone();
        stats.bytes = self.0.bytes.load(Ordering::Relaxed);
        stats
    }

    /// Counts a request, whatever comes of it.
    pub fn asked(&self) {
        self.0.state().stats.requests += 1;
    }

    /// Takes a place, starts ffmpeg, and waits for its first bytes. Dropping it ends ffmpeg.
    ///
    /// # Errors
    /// `busy` (503) when all places are taken; `ffmpeg_failed` (502) when ffmpeg ended or fell silent before its
    /// first byte; what the source could not be read for.
    pub async fn open(&self, order: Order) -> Result<LiveStream> {
        let place = match Place::take(&self.0) {
            Ok(place) => place,
            Err(error) => {
                // A viewer who seeks asks anew before the old stream has heard that nobody reads it.
                let free = self.until(|active| active < self.0.limit);
                let late = async { _ = Timer::after(CHANGE_OVER).await };
                or(free, late).await;
                Place::take(&self.0).map_err(|_| error)?
            }
        };
        let Order {
            program,
            arguments,
            grant,
            reference,
            mode,
        } = order;
        let started = smol::unblock(move || {
            Child::start(&program, &arguments, Priority::Live, Stdout::Piped)
        })
        .await
        .and_then(|mut child| {
            let stdout = child
                .take_stdout()
                .ok_or_else(|| io::Error::other("there is no pipe"))?;
            // A box that gives no more than usual gives enough.
            let _ = rustix::pipe::fcntl_setpipe_size(&stdout, BUFFER);
            Ok((child, Async::new(stdout)?))
        });
        let mut reader = match started {
            Ok((child, stdout)) => Reader {
                child: Some(child),
                stdout,
                grant,
                place,
                reference,
                mode,
                began: Instant::now(),
                bytes: 0,
                spare: Spare::default(),
                outcome: Outcome::Left,
            },
            Err(error) => {
                let mut state = self.0.state();
                state.stats.failed += 1;
                state.stats.last_error = Some(format!("ffmpeg could not be started: {error}"));
                drop(state);
                return Err(
                    failed("ffmpeg could not be started; try again in a moment.").because(error),
                );
            }
        };
        match reader.read().await {
            Ok(Some(first)) => Ok(LiveStream {
                first: Some(first),
                reader: Arc::new(smol::lock::Mutex::new(reader)),
            }),
            Ok(None) => Err(reader.refused("it printed nothing")),
            Err(error) => Err(reader.refused(&error.to_string())),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(sentence: &str) -> Error {
    Error::new(Kind::BadGateway, "ffmpeg_failed", sentence)
}

/// One of the places.
#[derive(Debug)]
struct Place(Arc<Inner>);

impl Place {
    fn take(inner: &Arc<Inner>) -> Result<Place> {
        let mut state = inner.state();
        if state.active >= inner.limit {
            return Err(Error::new(
                Kind::Unavailable,
                "busy",
                "As many compatible versions are being made as the box can bear; try again when somebody has stopped \
                 watching, or raise ffmpeg.live_streams.",
            )
            .retry_after(RETRY_AFTER));
        }
        state.active += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Ok(Place(inner.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.active -= 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// What ffmpeg sends.
#[derive(Debug)]
pub struct LiveStream {
    first: Option<Piece>,
    reader: Arc<smol::lock::Mutex<Reader>>,
}

impl ByteStream for LiveStream {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        let first = self.first.take();
        let reader = self.reader.clone();
        Box::pin(async move {
            let piece = match first {
                Some(first) => Some(first),
                None => reader.lock().await.read().await?,
            };
            Ok(piece.map(|piece| Box::new(piece) as Chunk))
        })
    }
}

/// A buffer between two pieces.
type Spare = Arc<Mutex<Option<Vec<u8>>>>;

/// A piece of what ffmpeg sent; its buffer serves the next one.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    length: usize,
    spare: Spare,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

#[derive(Debug)]
enum Outcome {
    /// The reader went while there was more.
    Left,
    Whole,
    Failed(String),
}

/// A running ffmpeg, and what is told of it when it has ended.
#[derive(Debug)]
struct Reader {
    /// Taken when it has ended.
    child: Option<Child>,
    stdout: Async<ChildStdout>,
    grant: Grant,
    place: Place,
    reference: String,
    mode: Mode,
    began: Instant,
    bytes: u64,
    spare: Spare,
    outcome: Outcome,
}

impl Reader {
    /// The next piece; `None` when ffmpeg and its source both say that this was all.
    async fn read(&mut self) -> io::Result<Option<Piece>> {
        let patience = self.place.0.patience;
        let late = async {
            Timer::after(patience).await;
            let text = format!("ffmpeg sent nothing for {} s", patience.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        };
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut bytes = spare.unwrap_or_else(|| vec![0; BUFFER]);
        let read = or(self.stdout.read(&mut bytes), late).await;
        let mut length = match read {
            Ok(length) => length,
            Err(error) => return Err(self.fail(error)),
        };
        if self.bytes > 0 && (1..BUFFER / 2).contains(&length) {
            Timer::after(LINGER).await;
            // Nothing more, the end and a failure are all found again by the next read.
            length += rustix::io::read(self.stdout.get_ref(), &mut bytes[length..]).unwrap_or(0);
        }
        if length == 0 {
            return match self.end().await {
                Ok(()) => {
                    self.outcome = Outcome::Whole;
                    Ok(None)
                }
                Err(error) => Err(self.fail(error)),
            };
        }
        self.bytes += length as u64;
        self.place
            .0
            .bytes
            .fetch_add(length as u64, Ordering::Relaxed);
        let spare = self.spare.clone();
        Ok(Some(Piece {
            bytes,
            length,
            spare,
        }))
    }

    /// How ffmpeg ended, after its last byte.
    async fn end(&mut self) -> io::Result<()> {
        let Some(child) = &self.child else {
            return Ok(());
        };
        let late = async {
            Timer::after(FAREWELL).await;
            None
        };
        let exit = or(async { Some(child.ended().await) }, late).await;
        match exit {
            None => Err(io::Error::other("ffmpeg does not end")),
            Some(exit) if !exit.status.success() => {
                Err(io::Error::other(format!("ffmpeg failed ({})", exit.status)))
            }
            Some(_) => match self.grant.failure() {
                Some(error) => Err(io::Error::other(error.chain())),
                None => Ok(()),
            },
        }
    }

    /// Notes a failure, for the statistics and the log.
    fn fail(&mut self, error: io::Error) -> io::Error {
        let complaint = self.complaint();
        let last = complaint.lines().last().unwrap_or_default();
        let text = match last.is_empty() {
            true => error.to_string(),
            false => format!("{error}: {last}"),
        };
        self.outcome = Outcome::Failed(text.clone());
        io::Error::new(error.kind(), text)
    }

    fn complaint(&self) -> String {
        let stderr = self.child.as_ref().map(Child::stderr_tail);
        self.grant.source().shown(&stderr.unwrap_or_default())
    }

    /// The answer when not a byte came.
    fn refused(&mut self, why: &str) -> Error {
        if let Some(error) = self.grant.failure() {
            self.outcome = Outcome::Failed(error.sentence().to_owned());
            return error;
        }
        if !matches!(self.outcome, Outcome::Failed(_)) {
            self.outcome = Outcome::Failed(why.to_owned());
        }
        log::warn!("ffmpeg made nothing of {}: {why}", self.reference);
        if self.child.as_ref().is_some_and(Child::starved) {
            return no_memory();
        }
        failed("ffmpeg could not make a compatible version of this file; it may be damaged. Try to play or download the file itself.")
            .with("ffmpeg", self.complaint())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // First of all: nobody waits for it any more.
        self.child = None;
        let mut state = self.place.0.state();
        let stats = &mut state.stats;
        match &self.outcome {
            Outcome::Left | Outcome::Whole => stats.successful += 1,
            Outcome::Failed(why) => {
                stats.failed += 1;
                stats.last_error = Some(why.clone());
            }
        }
        stats.last = Some(Last {
            reference: self.reference.clone(),
            mode: self.mode,
            duration: self.began.elapsed(),
            bytes: self.bytes,
            at: SystemTime::now(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::loopback::Loopback;

    fn order(script: &str) -> Order {
        let loopback = Loopback::new();
        loopback.serves_at(([127, 0, 0, 1], 1).into());
        Order {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            grant: loopback.grant("/videos/a").unwrap(),
            reference: "videos/a".to_owned(),
            mode: Mode::Copy,
        }
    }

    fn gather(mut stream: LiveStream) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        loop {
            match smol::block_on(stream.next()) {
                Ok(Some(chunk)) => bytes.extend_from_slice((*chunk).as_ref()),
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    #[test]
    fn a_whole_stream_and_one_that_fails_late() {
        let live = LiveStreams::new(1);
        let stream = smol::block_on(live.open(order("head -c 1000000 /dev/zero"))).unwrap();
        assert_eq!(live.active(), 1);
        let second = smol::block_on(live.open(order("true"))).unwrap_err();
        assert_eq!(
            (second.code(), second.retry_delay()),
            ("busy", Some(RETRY_AFTER))
        );
        let (bytes, end) = gather(stream);
        assert_eq!(
            (bytes.len(), end.is_ok(), live.active()),
            (1_000_000, true, 0)
        );
        let script = "head -c 100000 /dev/zero; echo '[mp4 @ 0x1234] out of luck' >&2; exit 1";
        let (bytes, end) = gather(smol::block_on(live.open(order(script))).unwrap());
        assert_eq!(bytes.len(), 100_000);
        assert!(
            end.unwrap_err()
                .to_string()
                .ends_with(": [mp4] out of luck")
        );
        let stats = live.stats();
        assert_eq!(
            (stats.successful, stats.failed, stats.bytes),
            (1, 1, 1_100_000)
        );
        assert!(stats.last_error.unwrap().contains("out of luck"));
        assert_eq!(stats.last.unwrap().bytes, 100_000);
    }

    #[test]
    fn a_source_that_broke_off_is_no_end() {
        let live = LiveStreams::new(1);
        let order = order("echo film");
        order.grant.fail(Error::internal("Drive broke off."));
        let (bytes, end) = gather(smol::block_on(live.open(order)).unwrap());
        assert_eq!(bytes, b"film\n");
        assert!(end.unwrap_err().to_string().contains("Drive broke off."));
    }

    #[test]
    fn nothing_at_all_is_refused_with_the_reason() {
        let live = LiveStreams::with_patience(1, Duration::from_millis(300));
        let error = smol::block_on(live.open(order("echo no such codec >&2; exit 1"))).unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            ("ffmpeg_failed", Kind::BadGateway)
        );
        assert_eq!(error.fields()[0].1, "no such codec");
        let error = smol::block_on(live.open(order("exit 0"))).unwrap_err();
        assert_eq!(error.code(), "ffmpeg_failed");
        let error = smol::block_on(live.open(order("sleep 1000"))).unwrap_err();
        assert_eq!(error.code(), "ffmpeg_failed");
        assert!(live.stats().last_error.unwrap().contains("sent nothing"));
        let (bytes, end) = gather(smol::block_on(live.open(order("echo a; sleep 1000"))).unwrap());
        assert_eq!((bytes.as_slice(), end.is_err()), (&b"a\n"[..], true));
        assert_eq!((live.active(), live.stats().failed), (0, 4));
    }

    #[test]
    fn who_waits_hears_of_the_first_and_of_the_last() {
        let live = LiveStreams::new(2);
        smol::block_on(live.idle());
        let waiter = std::thread::spawn({
            let live = live.clone();
            move || {
                smol::block_on(live.busy());
                smol::block_on(live.idle());
            }
        });
        let stream = smol::block_on(live.open(order("echo a; sleep 1000"))).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiter.is_finished());
        drop(stream);
        waiter.join().unwrap();
        assert_eq!(live.stats().successful, 1);
    }
}
