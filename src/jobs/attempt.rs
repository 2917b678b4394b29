//! One run of ffmpeg for a job: watched, paused for those who watch a film, ended when it hangs or fills the disk.
//!
//! Whoever drops the future ends the program and all it started. What ffmpeg is told, and what becomes of the file that
//! it wrote, is the business of the job.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smol::Async;
use smol::future::or;
use smol::io::AsyncReadExt;

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::progress::{Parser, Report};
use crate::ffmpeg::source::Source;
use crate::ffmpeg::{Child, Priority, Stdout, no_memory};
use crate::jobs::job::{JobId, Progress};
use crate::jobs::queue::Queue;
use crate::sys::disk;

/// How often somebody who began to watch is looked for: they must have the machine to themselves within 2 s.
const LOOK: Duration = Duration::from_millis(500);

/// How often the disk is asked how much is left on it.
const LOOK_AT_DISK: Duration = Duration::from_secs(2);

/// What of the bar is left for the end, when the index is moved to the front and the result is checked.
const LAST_PART: f64 = 0.02;

/// What ffmpeg says of a disk that takes no more (ENOSPC, in the words of the C library without a locale).
const FULL: &str = "No space left on device";

/// Whether somebody watches what takes the machine's strength: jobs wait meanwhile.
pub type Watched = Arc<dyn Fn() -> bool + Send + Sync>;

/// What every run of a job has in common.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) queue: Queue,
    pub(crate) id: JobId,
    /// How long it may go without progress while nothing holds it up.
    pub(crate) stall: Duration,
    pub(crate) watched: Watched,
}

/// What a run writes, and how much it may.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The file that grows.
    pub(crate) part: PathBuf,
    /// Bytes that must stay free on its disk.
    pub(crate) free_space: u64,
    /// How long the source plays, in seconds, where that is known.
    pub(crate) duration: Option<f64>,
}

/// What tells a program that goes on from one that hangs: the time it has written, and the file it writes. The index is
/// moved to the front without a report, but not without a write.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trace {
    out_time: Duration,
    file: Option<(u64, SystemTime)>,
}

enum Heard {
    Bytes(usize),
    Nothing,
}

impl Attempt {
    /// Runs ffmpeg to its end; the time that it wrote.
    ///
    /// # Errors
    /// `job_stalled`, `no_space`, `no_memory`, and `conversion_failed` with the end of what it complained about.
    pub(crate) async fn run(
        &self,
        program: &Path,
        arguments: Vec<OsString>,
        source: &Source,
        output: &Output,
    ) -> Result<Duration> {
        let program = program.to_owned();
        let started = smol::unblock(move || {
            Child::start(&program, &arguments, Priority::Background, Stdout::Piped)
        });
        let mut child = started.await.map_err(not_started)?;
        let mut stdout = match child.take_stdout() {
            Some(stdout) => Async::new(stdout).map_err(not_started)?,
            None => return Err(Error::internal("ffmpeg was started without a pipe.")),
        };
        let mut parser = Parser::default();
        let mut last = Report::default();
        let mut buffer = [0; 4096];
        let mut trace = Trace::default();
        let mut idle = Duration::ZERO;
        let mut looked = Instant::now();
        let mut looked_at_disk = Instant::now();
        let mut paused = false;
        loop {
            let hear = async { Ok(Heard::Bytes(stdout.read(&mut buffer).await?)) };
            let tick = async {
                smol::Timer::after(LOOK).await;
                Ok(Heard::Nothing)
            };
            match or(hear, tick).await {
                Ok(Heard::Bytes(0)) => break,
                Ok(Heard::Bytes(n)) => {
                    if let Some(report) = parser.feed(&buffer[..n]) {
                        last = report;
                        self.tell(&last, output.duration, paused);
                    }
                }
                Ok(Heard::Nothing) => {}
                Err(error) => return Err(io_failed(&error)),
            }
            if looked.elapsed() < LOOK {
                continue;
            }
            let passed = looked.elapsed();
            looked = Instant::now();
            let watched = (self.watched)();
            if watched != paused {
                paused = watched;
                match paused {
                    true => child.pause(),
                    false => child.resume(),
                }
                self.tell(&last, output.duration, paused);
            }
            if looked_at_disk.elapsed() >= LOOK_AT_DISK {
                looked_at_disk = Instant::now();
                let now = Trace {
                    out_time: last.out_time,
                    file: self.look_at_disk(output).await?,
                };
                if now != trace {
                    trace = now;
                    idle = Duration::ZERO;
                }
            }
            if !paused {
                // A machine that slept, or a scheduler that forgot us, is no hanging program.
                idle += passed.min(2 * LOOK);
            }
            if idle >= self.stall {
                child.kill();
                child.ended().await;
                return Err(stalled(self.stall));
            }
        }
        self.end(child, last, source, output).await
    }

    /// Waits for a program that has closed its output; one that does not end then hangs as well.
    async fn end(
        &self,
        child: Child,
        last: Report,
        source: &Source,
        output: &Output,
    ) -> Result<Duration> {
        let late = async {
            smol::Timer::after(self.stall).await;
            None
        };
        let Some(exit) = or(async { Some(child.ended().await) }, late).await else {
            child.kill();
            child.ended().await;
            return Err(stalled(self.stall));
        };
        // It may call a file done whose end it could not write.
        if exit.stderr_tail.contains(FULL) {
            let folder = output.part.parent().unwrap_or(&output.part);
            return Err(no_space(folder, output.free_space));
        }
        if exit.starved() {
            return Err(no_memory());
        }
        if exit.status.success() {
            return Ok(last.out_time);
        }
        let shown = source.shown(&exit.stderr_tail);
        Err(failed(&shown))
    }

    fn tell(&self, report: &Report, duration: Option<f64>, paused: bool) {
        let at = report.out_time.as_secs_f64();
        let duration = duration.filter(|duration| *duration > 0.0);
        let done = duration.map_or(0.0, |duration| (at / duration).clamp(0.0, 1.0));
        let left = match (duration, report.speed) {
            (Some(duration), Some(speed)) => Some(((duration - at).max(0.0) / speed).ceil() as u64),
            _ => None,
        };
        self.queue.progress(
            self.id,
            Progress {
                done: done * (1.0 - LAST_PART),
                speed: report.speed,
                seconds_left: left,
                paused,
            },
        );
    }

    /// How far the file has come; an error when its disk is full.
    async fn look_at_disk(&self, output: &Output) -> Result<Option<(u64, SystemTime)>> {
        let (part, keep) = (output.part.clone(), output.free_space);
        smol::unblock(move || {
            let folder = part.parent().unwrap_or(&part);
            if disk::free(folder).is_ok_and(|free| free < keep) {
                return Err(no_space(folder, keep));
            }
            let metadata = std::fs::metadata(&part).ok();
            Ok(metadata.and_then(|file| Some((file.len(), file.modified().ok()?))))
        })
        .await
    }
}

/// Refuses what would leave less than `keep` bytes on the disk of `folder` when `wanted` more are written. Blocks.
pub(crate) fn require_space(folder: &Path, wanted: u64, keep: u64) -> Result<()> {
    match disk::free(folder) {
        Ok(free) if free < wanted.saturating_add(keep) => Err(no_space(folder, keep)),
        Ok(_) => Ok(()),
        Err(error) => Err(Error::new(
            Kind::Unavailable,
            "state_unavailable",
            format!(
                "The disk of {} does not answer; look after it.",
                folder.display()
            ),
        )
        .because(error)),
    }
}

fn no_space(folder: &Path, keep: u64) -> Error {
    Error::new(
        Kind::NoSpace,
        "no_space",
        format!(
            "The disk of {} is too full: {} MB must stay free (limits.free_space), and the result needs its own. Remove \
             some files, then try again.",
            folder.display(),
            keep / 1_000_000
        ),
    )
}

fn stalled(after: Duration) -> Error {
    Error::new(
        Kind::Unavailable,
        "job_stalled",
        format!(
            "ffmpeg came no further for {} s and was ended; look at the disk and the network, then try again.",
            after.as_secs()
        ),
    )
}

fn failed(shown: &str) -> Error {
    let sentence = match shown.trim() {
        "" => "ffmpeg failed without a word; the file may be damaged.".to_owned(),
        shown => format!("ffmpeg failed; the file may be damaged. It said: {shown}"),
    };
    Error::new(Kind::BadGateway, "conversion_failed", sentence)
}

fn not_started(error: io::Error) -> Error {
    Error::new(
        Kind::Unavailable,
        "conversion_failed",
        format!(
            "ffmpeg could not be started ({error}); install it anew, or try again in a moment."
        ),
    )
}

fn io_failed(error: &io::Error) -> Error {
    Error::internal(format!("ffmpeg's progress could not be read: {error}"))
}
