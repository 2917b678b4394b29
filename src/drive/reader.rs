//! A file on Drive as a stream that survives what the network does to it.
//!
//! The viewer sees one answer; behind it are many upstream requests. Ranges grow from one that starts at once to
//! some that last, and the next is under way before the current one ends. What breaks, stalls or expires is opened
//! again at its offset; only when several tries bring not one byte does the stream end, cut short
//! and never padded.
//!
//! ```text
//! open: lease -> request -> first bytes            refusals still become statuses here
//! next: the piece read ahead -> hand out -> order the next (upstream)
//! ```
//!
//! No thread belongs to a stream: a paused one is a piece in its channel and a socket that nobody reads.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use smol::channel::{Receiver, Sender};
use smol::future::Boxed;
use smol::{Task, Timer, unblock};

use super::abort::Abort;
use super::budget::{Buffer, Lease};
use super::keep::Gathering;
use super::pacer::Lane;
use super::patience::Patience;
use super::plan::Plan;
use super::reply::{self, About, Fault, Judged, Refusal, Verdict};
use super::service::Service;
use super::upstream::{self, End, Filler, Piece, Target, Upstream};
use crate::error::Result;
use crate::http::{ByteStream, Chunk, RangeSource};
use crate::sys::executor;

/// One file, to be opened at any offset.
pub(super) struct Remote {
    pub(super) service: Arc<Service>,
    pub(super) file: Arc<Target>,
    /// When the first opening must be answered: it belongs to a request that waited for metadata before. Later parts of
    /// a multi-range answer have the whole patience of their lane.
    pub(super) first_by: Mutex<Option<Instant>>,
}

impl RangeSource for Remote {
    fn open(&self, range: Range<u64>) -> Boxed<Result<Box<dyn ByteStream>>> {
        let (service, file) = (self.service.clone(), self.file.clone());
        let by = (self.first_by.lock().unwrap_or_else(PoisonError::into_inner)).take();
        Box::pin(async move {
            let course = Course::open(service, file, range, by).await?;
            Ok(Box::new(Stream(Arc::new(Mutex::new(Some(course))))) as Box<dyn ByteStream>)
        })
    }
}

/// The state is taken out while a piece is waited for; a stream that was abandoned then has none.
struct Stream(Arc<Mutex<Option<Box<Course>>>>);

impl ByteStream for Stream {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        let state = self.0.clone();
        let taken = state.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let Some(mut course) = taken else {
                return Err(io::Error::other("the stream has ended"));
            };
            let piece = course.next().await?;
            *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(course);
            Ok(piece.map(|piece| Box::new(piece) as Chunk))
        })
    }
}

/// The next range, asked for while the current one ends.
struct Ahead {
    range: Range<u64>,
    abort: Abort,
    task: Task<std::result::Result<Upstream, Judged>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// A stream on its way through the file.
struct Course {
    service: Arc<Service>,
    file: Arc<Target>,
    /// The next byte for the viewer.
    position: u64,
    end: u64,
    plan: Plan,
    /// The range being read.
    body: Option<Filler>,
    /// The rest of the range is thought to lie on the disk.
    kept: bool,
    gathering: Option<Gathering>,
    ahead: Option<Ahead>,
    sender: Sender<Piece>,
    receiver: Receiver<Piece>,
    /// A piece is ordered, or waits in the channel.
    pending: bool,
    /// Tries since the last byte.
    failures: u32,
    lease: Lease,
}

impl Course {
    /// Opens a stream; returns when its first bytes are there.
    async fn open(
        service: Arc<Service>,
        file: Arc<Target>,
        range: Range<u64>,
        by: Option<Instant>,
    ) -> std::result::Result<Box<Course>, Refusal> {
        let lease = service.budget.lease().inspect_err(|_| {
            service.counters.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        let (sender, receiver) = smol::channel::bounded(1);
        let mut course = Box::new(Course {
            position: range.start,
            end: range.end,
            plan: Plan::new(&service.tuning),
            service,
            file,
            body: None,
            kept: false,
            gathering: None,
            ahead: None,
            sender,
            receiver,
            pending: false,
            failures: 0,
            lease,
        });
        if course.position < course.end && !course.begin_kept().await {
            course.begin(by).await?;
        }
        Ok(course)
    }

    /// The first piece from the disk, when the whole range is there.
    async fn begin_kept(&mut self) -> bool {
        let Some(keep) = &self.file.keep else {
            return false;
        };
        if !keep.covers(&(self.position..self.end)).await {
            return false;
        }
        let Some(buffer) = self.read_kept().await else {
            return false;
        };
        self.kept = true;
        self.pending = self
            .sender
            .try_send(Piece {
                buffer,
                end: End::Done,
            })
            .is_ok();
        true
    }

    /// The piece at the position from the disk.
    async fn read_kept(&self) -> Option<Buffer> {
        let bytes = self.file.keep.as_ref()?.read(self.position).await?;
        let mut buffer = self.lease.buffer(true)?;
        let space = buffer.space(self.end - self.position);
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        buffer.advance(count);
        Some(buffer)
    }

    /// The first request and its first bytes, tried within the lane's patience.
    async fn begin(&mut self, by: Option<Instant>) -> std::result::Result<(), Refusal> {
        let lane = if self.position == 0 {
            Lane::Playback
        } else {
            Lane::Seek
        };
        let range = self.plan.next(self.position, self.end, None);
        let this = (self.service.clone(), self.file.clone(), self.lease.clone());
        let patience = Patience::new(self.service.pacer.policy(lane));
        let patience = match by {
            Some(by) => patience.by(by),
            None => patience,
        };
        let tried = self
            .service
            .persist(lane, patience, move |abort| {
                let ((service, file, lease), range) = (this.clone(), range.clone());
                async move {
                    let opened = upstream::request(&service, &file, lane, range, &abort).await?;
                    let Some(buffer) = lease.buffer(true) else {
                        return Err(broken("no buffer"));
                    };
                    let (opened, piece) =
                        unblock(move || upstream::first(&service, opened, buffer)).await;
                    match piece.end {
                        End::Broken(cause) if piece.buffer.len() == 0 => Err(broken(&cause)),
                        _ => Ok((opened, piece)),
                    }
                }
            })
            .await;
        let (opened, piece) = tried.inspect_err(|refusal| (self.file.on_refusal)(refusal))?;
        if matches!(piece.end, End::More) {
            self.adopt(opened);
            // What is read to its end leaves its own connection for the next request.
            self.service.keep_spare();
        }
        self.pending = self.sender.try_send(piece).is_ok();
        Ok(())
    }

    fn adopt(&mut self, upstream: Upstream) {
        self.body = Some(Filler::new(
            self.service.clone(),
            upstream,
            self.sender.clone(),
        ));
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Buffer>> {
        loop {
            if !self.pending {
                if self.position == self.end {
                    return Ok(None);
                }
                if self.kept {
                    if let Some(buffer) = self.read_kept().await {
                        return Ok(Some(self.hand_out(buffer)));
                    }
                    // Evicted or damaged meanwhile; Drive has it.
                    self.kept = false;
                }
                if self.body.is_none() {
                    self.reopen().await?;
                }
                self.order(true);
            }
            let Piece { buffer, end } = self.receiver.recv().await.map_err(io::Error::other)?;
            self.pending = false;
            if !matches!(end, End::More) {
                self.body = None;
            }
            if let End::Broken(cause) = &end {
                self.service
                    .counters
                    .resumed
                    .fetch_add(1, Ordering::Relaxed);
                log::debug!(
                    "reading {} broke off near {}: {cause}",
                    self.file.id(),
                    self.position
                );
                if buffer.len() == 0 {
                    self.count_failure(cause)?;
                }
            }
            if buffer.len() == 0 {
                continue;
            }
            self.failures = 0;
            if let (Some(keep), false) = (&self.file.keep, self.kept) {
                keep.pass(&mut self.gathering, self.position, buffer.as_ref());
            }
            let buffer = self.hand_out(buffer);
            self.read_ahead().await;
            return Ok(Some(buffer));
        }
    }

    fn hand_out(&mut self, buffer: Buffer) -> Buffer {
        let bytes = buffer.len() as u64;
        self.position += bytes;
        self.service
            .counters
            .client_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        buffer
    }

    /// Orders a piece of the range at hand, if there is one; without `must` only within the stream's share.
    fn order(&mut self, must: bool) {
        self.ask_ahead();
        let Some(body) = &self.body else { return };
        if let Some(buffer) = self.lease.buffer(must) {
            body.order(buffer);
            self.pending = true;
        }
    }

    /// After a piece was handed out: the one after it, without waiting for the network.
    async fn read_ahead(&mut self) {
        if self.position == self.end {
            return;
        }
        if self.body.is_none() {
            // Between two ranges: the next one is taken over if its head has come; else `next` waits for it.
            if let Some(mut ahead) = self.ahead.take_if(|ahead| ahead.task.is_finished()) {
                if let Ok(upstream) = (&mut ahead.task).await {
                    self.adopt_ahead(ahead, upstream);
                }
            }
        }
        self.order(false);
    }

    fn adopt_ahead(&mut self, mut ahead: Ahead, upstream: Upstream) {
        // Its right to abort goes with the body.
        ahead.abort = Abort::new();
        if upstream.at() == self.position {
            self.adopt(upstream);
        }
    }

    /// Asks for the next range while the last of the current one is read, so that there is no gap; the
    /// connection it leaves idle is the one a seek finds.
    fn ask_ahead(&mut self) {
        let Some(body) = &self.body else { return };
        let near = body.end().saturating_sub(self.position) <= self.service.tuning.overlap;
        if self.ahead.is_some() || !near || body.end() >= self.end {
            return;
        }
        let range = self.plan.next(body.end(), self.end, Some(body.age()));
        let abort = Abort::new();
        let (service, file) = (self.service.clone(), self.file.clone());
        let (theirs, wanted) = (abort.clone(), range.clone());
        let task = executor::spawn(async move {
            upstream::request(&service, &file, Lane::Playback, wanted, &theirs).await
        });
        self.ahead = Some(Ahead { range, abort, task });
    }

    /// Has a range at the position: the one asked for ahead, or a new one.
    async fn reopen(&mut self) -> io::Result<()> {
        // What was asked ahead of a break is of no use before it, and is kept for later.
        let ahead = self
            .ahead
            .take_if(|ahead| ahead.range.start == self.position);
        if let Some(mut ahead) = ahead {
            // The refusal of a request made ahead of need says little; the one made now is believed.
            if let Ok(upstream) = (&mut ahead.task).await {
                self.adopt_ahead(ahead, upstream);
                return Ok(());
            }
        }
        let end = self
            .ahead
            .as_ref()
            .map_or(self.end, |ahead| ahead.range.start);
        let range = self.plan.next(self.position, end, None);
        loop {
            if self.failures > 0 {
                self.service
                    .pacer
                    .back_off(Lane::Playback, self.failures, None)
                    .await;
            }
            let abort = Abort::new();
            let guard = abort.guard();
            let tried = upstream::request(
                &self.service,
                &self.file,
                Lane::Playback,
                range.clone(),
                &abort,
            )
            .await;
            guard.disarm();
            match tried {
                Ok(upstream) => {
                    self.adopt(upstream);
                    return Ok(());
                }
                Err(Judged {
                    verdict: Verdict::Retry(delay),
                    refusal,
                }) => {
                    let cause = refusal.cause.as_deref().unwrap_or_default();
                    if let Err(error) = self.count_failure(cause) {
                        self.service.note(Some(&refusal));
                        return Err(error);
                    }
                    let cap = self.service.pacer.policy(Lane::Playback).cap;
                    Timer::after(delay.unwrap_or_default().min(cap)).await;
                }
                Err(Judged { refusal, .. }) => {
                    (self.file.on_refusal)(&refusal);
                    self.service.note(Some(&refusal));
                    log::warn!(
                        "a stream of {} ends at {} of {}: {}",
                        self.file.id(),
                        self.position,
                        self.end,
                        refusal.sentence
                    );
                    return Err(io::Error::other(refusal.sentence));
                }
            }
        }
    }

    /// Another try without a byte.
    fn count_failure(&mut self, cause: &str) -> io::Result<()> {
        self.failures += 1;
        if self.failures < self.service.pacer.policy(Lane::Playback).attempts {
            return Ok(());
        }
        log::warn!(
            "a stream of {} ends at {} of {}: {} tries brought nothing ({cause})",
            self.file.id(),
            self.position,
            self.end,
            self.failures
        );
        Err(io::Error::other(format!(
            "Drive gave nothing more: {cause}"
        )))
    }
}

fn broken(cause: &str) -> Judged {
    let about = About {
        account: None,
        now: SystemTime::UNIX_EPOCH,
    };
    reply::judge(&Fault::Broken(cause.to_owned()), about)
}
