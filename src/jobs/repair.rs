//! Local, mended copies of files on Drive: made by jobs, kept below the state folder, the oldest thrown out first.
//!
//! A copy is a faststart MP4 whose timestamps begin at zero and rise. ffmpeg reads the file through the daemon itself,
//! which resumes what Drive cuts off. The disk says what there is: a copy that stands under its name is whole.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::config::Config;
use crate::drive::{Drive, FileId};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::loopback::{Grant, Loopback};
use crate::ffmpeg::probe;
use crate::ffmpeg::source::Source;
use crate::jobs::attempt::{Attempt, Output, require_space};
use crate::jobs::convert::{disk_failed, not_the_same};
use crate::jobs::job::{Job, Kind, Made, State};
use crate::jobs::part::{self, Part, There};
use crate::jobs::plan::{INPUT, Length, Plan, compare};
use crate::jobs::queue::Queue;
use crate::store;

/// The folder's name in the state folder.
const FOLDER: &str = "repaired";

/// How the names of copies end.
const SUFFIX: &str = ".mp4";

/// The copies; clones share them.
#[derive(Clone, Debug)]
pub struct Repairs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Bytes that all copies may have together, and that stay free on their disk.
    limit: u64,
    free_space: u64,
    drive: Drive,
    programs: Programs,
    loopback: Loopback,
    queue: Queue,
    /// Bytes of all copies, as of the last look.
    used: AtomicU64,
}

/// A copy that is there.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its bytes.
    pub file: Arc<File>,
    /// Their number.
    pub bytes: u64,
    /// When it was made.
    pub made: SystemTime,
}

/// How it stands with the repair of a file.
#[derive(Clone, Debug)]
pub enum Standing {
    /// The copy is there; the job that made it, when it is remembered.
    There(Copy, Option<Job>),
    /// A job has it before it, or is at it.
    UnderWay(Job),
    /// The last job came to nothing.
    Failed(Job),
    /// It was made, and thrown out since.
    Evicted(Job),
}

/// Figures for health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Repairs that are remembered.
    pub total: usize,
    /// Those that came to their end.
    pub completed: usize,
    /// Those that did not.
    pub failed: usize,
    /// Those that run.
    pub running: usize,
    /// Those that wait.
    pub queued: usize,
    /// Bytes of the copies.
    pub used: u64,
    /// Bytes that they may have.
    pub limit: u64,
}

impl Repairs {
    /// The copies of a daemon.
    pub fn new(
        config: &Config,
        drive: Drive,
        programs: Programs,
        loopback: Loopback,
        queue: Queue,
    ) -> Repairs {
        Repairs {
            inner: Arc::new(Inner {
                folder: config.state.dir.join(FOLDER),
                limit: config.limits.repaired,
                free_space: config.limits.free_space,
                drive,
                programs,
                loopback,
                queue,
                used: AtomicU64::new(0),
            }),
        }
    }

    /// The copy of a file, when it is there.
    pub async fn copy(&self, id: &FileId) -> Option<Copy> {
        let path = self.path(id);
        smol::unblock(move || {
            let file = File::open(path).ok()?;
            let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Copy {
                bytes: metadata.len(),
                made: metadata.modified().ok()?,
                file: Arc::new(file),
            })
        })
        .await
    }

    /// How it stands with a file; `None` when nobody ever asked for it.
    pub async fn standing(&self, id: &FileId) -> Option<Standing> {
        let job = self.inner.queue.latest(&Kind::Repair(id.clone()));
        if let Some(job) = job.as_ref().filter(|job| !job.state.is_final()) {
            return Some(Standing::UnderWay(job.clone()));
        }
        if let Some(copy) = self.copy(id).await {
            return Some(Standing::There(copy, job));
        }
        job.map(|job| match job.state {
            State::Completed => Standing::Evicted(job),
            _ => Standing::Failed(job),
        })
    }

    /// Asks for the repair of a file, unless its copy is there.
    ///
    /// # Errors
    /// `repair_in_progress`, `ffmpeg_not_available`, `no_space`, those of Drive and of the queue.
    pub async fn start(&self, id: &FileId) -> Result<Standing> {
        let inner = &self.inner;
        match self.standing(id).await {
            Some(Standing::UnderWay(job)) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "repair_in_progress",
                    "This file is being repaired already; wait for it, or cancel the job.",
                )
                .with("job", job.url()));
            }
            Some(Standing::There(copy, job)) => {
                // What was replaced on Drive since is another file. When Drive does not answer, the copy is what there
                // is.
                let changed = inner
                    .drive
                    .metadata(id)
                    .await
                    .ok()
                    .and_then(|file| file.modified);
                if changed.is_none_or(|changed| changed <= copy.made) {
                    return Ok(Standing::There(copy, job));
                }
            }
            _ => {}
        }
        inner.programs.ffmpeg_path()?;
        inner.programs.ffprobe_path()?;
        let size = inner.drive.metadata(id).await?.size.unwrap_or(0);
        self.require_room(size).await?;
        let job = inner.queue.add(Kind::Repair(id.clone())).await?;
        Ok(Standing::UnderWay(job))
    }

    /// Figures for health.
    pub fn figures(&self) -> Figures {
        let count = |states: &[State]| {
            self.inner.queue.count(|job| {
                matches!(job.kind, Kind::Repair(_))
                    && (states.is_empty() || states.contains(&job.state))
            })
        };
        Figures {
            total: count(&[]),
            completed: count(&[State::Completed]),
            failed: count(&[State::Failed]),
            running: count(&[State::Running]),
            queued: count(&[State::Queued]),
            used: self.inner.used.load(Ordering::Relaxed),
            limit: self.inner.limit,
        }
    }

    /// Takes away what is left of killed jobs, and counts. For the start.
    pub(crate) async fn prepare(&self) {
        let inner = Arc::clone(&self.inner);
        smol::unblock(move || {
            part::sweep(&inner.folder);
            inner.evict(None);
        })
        .await;
    }

    /// Makes the copy of a file.
    ///
    /// # Errors
    /// Those of Drive and of ffmpeg, `no_space`.
    pub(crate) async fn repair(&self, attempt: &Attempt, id: &FileId) -> Result<Made> {
        let inner = &self.inner;
        let ffmpeg = inner.programs.ffmpeg_path()?;
        let ffprobe = inner.programs.ffprobe_path()?;
        let metadata = inner.drive.metadata(id).await?;
        self.require_room(metadata.size.unwrap_or(0)).await?;
        let folder = inner.folder.clone();
        smol::unblock(move || store::folder(&folder))
            .await
            .map_err(|error| disk_failed(&self.path(id), &error))?;

        let grant = inner
            .loopback
            .grant(&format!("/drive/files/{}", id.as_str()))?;
        let source = grant.source();
        let info = probe::probe(&ffprobe, &source).await;
        let info = info.map_err(|error| because(&grant, error))?;
        let plan = Plan::of(&info).map(Plan::mended).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "not_media",
                "There is no film and no music in this file that ffmpeg can read.",
            )
        })?;
        let mut part = Part::of(&inner.folder, attempt.id, 0);
        let arguments = plan.arguments(&source, &INPUT, part.path(), &[]);
        let output = Output {
            part: part.path().to_owned(),
            free_space: inner.free_space,
            duration: info.duration,
        };
        let written = attempt.run(&ffmpeg, arguments, &source, &output).await;
        let written = written.map_err(|error| because(&grant, error))?;
        // ffmpeg takes a source that breaks off for the end of the film.
        if let Some(error) = grant.failure() {
            return Err(error);
        }
        let result = probe::probe(&ffprobe, &Source::File(part.path().to_owned())).await?;
        // Drive sent all that it has: what is short was cut off before it came there, and what is left of it is what a
        // viewer wants.
        let written = written.as_secs_f64();
        let length = compare(info.duration, result.duration, written, true);
        if length == Length::Wrong || !plan.is_met_by(&result) {
            return Err(not_the_same(&info, &result));
        }
        let mode = match length {
            Length::Short => format!("{}, cut short as its source is", plan.mode()),
            _ => plan.mode().to_owned(),
        };
        let (target, inner) = (self.path(id), Arc::clone(inner));
        let size = smol::unblock(move || -> Result<u64> {
            let bytes = fs::metadata(part.path()).map_or(0, |file| file.len());
            if bytes > inner.limit {
                return Err(larger_than_all(inner.limit));
            }
            part.place(&target, There::Replaced)
                .map_err(|error| disk_failed(&target, &error))?;
            inner.evict(Some(&target));
            Ok(bytes)
        })
        .await?;
        Ok(Made {
            mode: Some(mode),
            size: Some(size),
        })
    }

    fn path(&self, id: &FileId) -> PathBuf {
        self.inner.folder.join(format!("{}{SUFFIX}", id.as_str()))
    }

    /// Whether a copy of about `bytes` may be made.
    async fn require_room(&self, bytes: u64) -> Result<()> {
        if bytes > self.inner.limit {
            return Err(larger_than_all(self.inner.limit));
        }
        let inner = Arc::clone(&self.inner);
        smol::unblock(move || {
            // The folder itself may not have been made yet.
            let disk = inner.folder.parent().unwrap_or(&inner.folder);
            require_space(disk, bytes, inner.free_space)
        })
        .await
    }
}

impl Inner {
    /// Removes the oldest copies until the others are within the limit; never `newest`. Blocks.
    fn evict(&self, newest: Option<&PathBuf>) {
        let mut copies = match copies(&self.folder) {
            Ok(copies) => copies,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("{} cannot be read: {error}", self.folder.display());
                }
                Vec::new()
            }
        };
        copies.sort();
        let mut used: u64 = copies.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, path, bytes) in &copies {
            if used <= self.limit {
                break;
            }
            if newest == Some(path) {
                continue;
            }
            match fs::remove_file(path) {
                Ok(()) => {
                    log::info!("{} makes room (limits.repaired)", path.display());
                    used -= bytes;
                }
                Err(error) => log::warn!("{} stays: {error}", path.display()),
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }
}

/// When each copy was made, where it is, its bytes.
fn copies(folder: &PathBuf) -> io::Result<Vec<(SystemTime, PathBuf, u64)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| {
            name.strip_suffix(SUFFIX)
                .is_some_and(|id| FileId::parse(id).is_ok())
        });
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if ours && metadata.is_file() {
            copies.push((metadata.modified()?, entry.path(), metadata.len()));
        }
    }
    Ok(copies)
}

/// Drive's reason says more than what ffmpeg made of it.
fn because(grant: &Grant, error: Error) -> Error {
    match error.code() {
        "no_space" | "job_stalled" => error,
        _ => grant.failure().unwrap_or(error),
    }
}

fn larger_than_all(limit: u64) -> Error {
    Error::new(
        ErrorKind::NoSpace,
        "no_space",
        format!(
            "The copy would be larger than all copies may be together ({} MB); raise limits.repaired in rill.toml.",
            limit / 1_000_000
        ),
    )
}
