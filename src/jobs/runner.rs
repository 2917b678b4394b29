//! The one that does the jobs: takes them from the queue, a few at a time, and says what came of each.
//!
//! Nothing is begun while somebody watches what takes the machine's strength, and what runs is paused. What hangs is
//! ended and begun once more. A job that is cancelled is dropped, and its program and its unfinished files with it; so
//! is every job at the daemon's end, to be found again at its next start.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use smol::Task;
use smol::channel::Sender;
use smol::future::{FutureExt, or};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::ffmpeg::Programs;
use crate::jobs::attempt::{Attempt, Watched};
use crate::jobs::convert::Converter;
use crate::jobs::job::{JobId, Kind, Made, State};
use crate::jobs::part;
use crate::jobs::poster::Posters;
use crate::jobs::queue::{Queue, Taken};
use crate::jobs::repair::Repairs;
use crate::media::folder::Folder;
use crate::sys::executor;

/// How often a queue that waits for somebody's film to end, or for ffmpeg to be installed, looks whether that is so.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked whether the folder of videos is another one: that of a disk that was mounted.
const DISK: Duration = Duration::from_secs(10);

/// How often the database is tried while it cannot be read.
const TRY: Duration = Duration::from_secs(10);

/// Does the jobs of a queue.
pub struct Runner {
    queue: Queue,
    /// Jobs at once.
    jobs: usize,
    stall: Duration,
    watched: Watched,
    programs: Programs,
    works: Works,
    /// Where unfinished files may have been left.
    videos: PathBuf,
}

/// What does each kind.
#[derive(Clone, Debug)]
struct Works {
    repairs: Repairs,
    converter: Converter,
    posters: Posters,
}

impl Runner {
    /// One for a daemon; `watched` says whether jobs wait.
    pub fn new(
        config: &Config,
        queue: Queue,
        videos: Folder,
        programs: Programs,
        repairs: Repairs,
        posters: Posters,
        watched: Watched,
    ) -> Runner {
        Runner {
            queue,
            jobs: config.ffmpeg.jobs,
            stall: config.ffmpeg.stalled,
            watched,
            videos: videos.root().to_owned(),
            programs: programs.clone(),
            works: Works {
                repairs,
                converter: Converter::new(config, videos, programs),
                posters,
            },
        }
    }

    /// Does jobs until dropped.
    pub async fn run(self) {
        let mut swept = None;
        // Before the jobs: the space that leftovers take is the first job's. A disk that hangs keeps none waiting that
        // needs another.
        let first = async { swept = self.sweep(None).await };
        let late = async {
            smol::Timer::after(DISK).await;
        };
        or(first, late).await;
        let sweeping = async {
            loop {
                smol::Timer::after(DISK).await;
                swept = self.sweep(swept).await;
            }
        };
        or(self.work(), sweeping).await;
    }

    /// Takes away what killed jobs left among the videos, where their folder is another than the one that was `swept`
    /// last. Which it is now.
    async fn sweep(&self, swept: Option<(u64, u64)>) -> Option<(u64, u64)> {
        let videos = self.videos.clone();
        smol::unblock(move || {
            let folder = std::fs::metadata(&videos).ok()?;
            let folder = (folder.dev(), folder.ino());
            if swept != Some(folder) {
                part::sweep(&videos);
            }
            Some(folder)
        })
        .await
    }

    async fn work(&self) {
        self.works.repairs.prepare().await;
        while let Err(error) = self.queue.load().await {
            log::debug!(
                "the queue of jobs waits for its database: {}",
                error.chain()
            );
            smol::Timer::after(TRY).await;
        }
        let (done, ended) = smol::channel::unbounded();
        let mut running: HashMap<JobId, Task<()>> = HashMap::new();
        // Jobs that were begun a second time.
        let mut retried = HashSet::new();
        loop {
            let changed = self.queue.changed();
            while running.len() < self.jobs && self.may_begin() {
                let Some(taken) = self.queue.take().await else {
                    break;
                };
                let id = taken.job.id;
                let last_try = !retried.insert(id);
                running.insert(id, self.begin(taken, last_try, done.clone()));
            }
            let waits = running.len() < self.jobs
                && !self.may_begin()
                && self.queue.count(|job| job.state == State::Queued) > 0;
            let look = async {
                match waits {
                    true => drop(smol::Timer::after(LOOK).await),
                    false => std::future::pending().await,
                }
                None
            };
            let changed = async {
                changed.await;
                None
            };
            let one = async { ended.recv().await.ok() };
            if let Some(id) = or(one, or(changed, look)).await {
                running.remove(&id);
                if self.queue.get(id).is_none_or(|job| job.state.is_final()) {
                    retried.remove(&id);
                }
            }
        }
    }

    /// Whether nobody watches, and the programs are there: a job that waits for them is better than one that failed.
    fn may_begin(&self) -> bool {
        !(self.watched)() && self.programs.ffmpeg().available && self.programs.ffprobe().available
    }

    /// Begins a job, whose end is told to `done`.
    fn begin(&self, taken: Taken, last_try: bool, done: Sender<JobId>) -> Task<()> {
        let attempt = Attempt {
            queue: self.queue.clone(),
            id: taken.job.id,
            stall: self.stall,
            watched: self.watched.clone(),
        };
        let (queue, works) = (self.queue.clone(), self.works.clone());
        executor::spawn(async move {
            let job = &taken.job;
            log::info!(
                "job {} begins: {} {}",
                job.id,
                job.kind.word(),
                job.kind.reference()
            );
            let work = AssertUnwindSafe(works.perform(&attempt, &taken)).catch_unwind();
            let work = async { Some(work.await) };
            let cancelled = async {
                // Nothing is ever sent: it closes when the job is cancelled.
                let _ = taken.cancelled.recv().await;
                None
            };
            match or(work, cancelled).await {
                None => log::info!("job {} was cancelled", job.id),
                Some(Ok(Ok(made))) => {
                    log::info!("job {} is done", job.id);
                    queue.finish(job.id, Ok(made)).await;
                }
                Some(Ok(Err(error))) if !last_try && is_passing(&error) => {
                    log::warn!("job {} is begun again: {}", job.id, error.chain());
                    queue.retry(job.id, &error).await;
                }
                Some(Ok(Err(error))) => {
                    log::warn!("job {} failed: {}", job.id, error.chain());
                    queue.finish(job.id, Err(error)).await;
                }
                Some(Err(_)) => {
                    let error =
                        Error::internal("A fault of rill's own ended it; the log says more.");
                    log::error!("job {} panicked", job.id);
                    queue.finish(job.id, Err(error)).await;
                }
            }
            // It fails when the runner is gone, which wants to know no more.
            let _ = done.try_send(job.id);
        })
    }
}

impl Works {
    async fn perform(&self, attempt: &Attempt, taken: &Taken) -> Result<Made> {
        match &taken.job.kind {
            Kind::Repair(id) => self.repairs.repair(attempt, id).await,
            Kind::Convert(path) => {
                let note = taken.job.note.as_deref();
                self.converter.convert(attempt, path, note).await
            }
            Kind::Poster(path) => self.posters.make(attempt, path).await,
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("jobs", &self.jobs)
            .field("works", &self.works)
            .finish_non_exhaustive()
    }
}

/// Whether the same may go well at once: it hung, or the way to Drive was cut.
fn is_passing(error: &Error) -> bool {
    matches!(
        error.code(),
        "job_stalled" | "drive_unreachable" | "drive_cut" | "drive_changed" | "probe_failed"
    )
}
