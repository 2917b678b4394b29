//! What arrives: from the first byte of an upload to a file among the videos, or to nothing.
//!
//! ```text
//! name -> admit -> draft -> pour -> settle
//! ```
//!
//! A file is let in when its name, its length and the disk allow it, arrives as a hidden part (`store::part`), is
//! synced, judged by what is in it, and given a free name in one step. What fails on the way leaves nothing. How the
//! bytes come (a form, PUT, tus) is the business of `routes`.

mod judge;
mod place;
mod pour;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{Algorithm, Digest};
use rustix::fs::AtFlags;
use serde_json::{Value, json};
use smol::future::or;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::ffmpeg::Programs;
use crate::jobs::convert;
use crate::jobs::job::{self, Job};
use crate::jobs::queue::Queue;
use crate::media::folder::Folder;
use crate::media::name::{ALLOWED, Name};
use crate::media::path::MediaPath;
use crate::media::shelf;
use crate::store::part::{self, Part};
use crate::store::sink::{self, Sink};
use crate::store::space::{self, Promise, Space};

pub use pour::{Poured, gather, pour};

/// Uploads at once: each has a MiB of buffers and a descriptor, and a household has one network to fill.
const AT_ONCE: usize = 16;

/// Files that are judged at once: each takes an ffprobe.
const JUDGED_AT_ONCE: usize = 2;

/// How long the programs are waited for that judge files, and how often they are looked for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// Takes files in; clones share it.
#[derive(Clone, Debug)]
pub struct Intake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    videos: Folder,
    space: Space,
    /// `limits.upload`
    limit: u64,
    programs: Programs,
    queue: Queue,
    slots: Arc<Semaphore>,
    judging: Semaphore,
    /// Ids of the parts that are being written.
    active: Mutex<HashSet<String>>,
}

/// One who was let in; dropped, the next may come.
#[derive(Debug)]
pub struct Admission {
    promise: Arc<Promise>,
    _slot: SemaphoreGuardArc,
}

/// A file that is arriving. Dropped, it is gone, unless its part is to be kept.
#[derive(Debug)]
pub struct Draft {
    /// Where its bytes go.
    pub sink: Sink,
    part: Part,
    _active: Active,
}

/// Says of a part that it is being written, so that no sweep takes it away.
#[derive(Debug)]
struct Active {
    id: String,
    inner: Arc<Inner>,
}

/// What to do when a name is another file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Take the next with a number, ` (2)`.
    Number,
    /// Refuse the file.
    Refuse,
}

/// A file that has arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Where it is.
    pub path: MediaPath,
    /// How long it is.
    pub bytes: u64,
    /// The job that makes of it what browsers play, when that is needed.
    pub job: Option<Job>,
    /// Why there is no such job though it is needed: a sentence.
    pub note: Option<String>,
}

impl Intake {
    /// Takes files into `videos`.
    pub fn new(config: &Config, videos: Folder, programs: Programs, queue: Queue) -> Intake {
        let space = Space::of(videos.root(), config.limits.free_space);
        Intake {
            inner: Arc::new(Inner {
                videos,
                space,
                limit: config.limits.upload,
                programs,
                queue,
                slots: Arc::new(Semaphore::new(AT_ONCE)),
                judging: Semaphore::new(JUDGED_AT_ONCE),
                active: Mutex::default(),
            }),
        }
    }

    /// The longest file that is taken.
    pub fn limit(&self) -> u64 {
        self.inner.limit
    }

    /// Where the files go.
    pub fn root(&self) -> &Path {
        self.inner.videos.root()
    }

    /// The name under which a file is kept that its client calls `raw`.
    ///
    /// # Errors
    /// `unsupported_type` (415).
    pub fn name(&self, raw: &str) -> Result<Name> {
        Name::clean(raw).ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "unsupported_type",
                format!(
                    "Files of this kind are not taken, by their name; what is: {}.",
                    ALLOWED.join(", ")
                ),
            )
        })
    }

    /// Lets an upload of so many bytes in; `None` when nobody knows how many are coming.
    ///
    /// # Errors
    /// `busy` (503), `no_space` (507), `videos_missing` (503).
    pub async fn admit(&self, bytes: Option<u64>) -> Result<Admission> {
        let slot = self.inner.slots.try_acquire_arc().ok_or_else(|| {
            Error::new(
                Kind::Unavailable,
                "busy",
                "As many files are arriving as are taken at once; try again when one of them is done.",
            )
            .retry_after(Duration::from_secs(10))
        })?;
        let space = self.inner.space.clone();
        // Of a length that nobody knows, at least the first piece must find room.
        let promise = smol::unblock(move || space.promise(bytes.unwrap_or(1))).await?;
        Ok(Admission {
            promise: Arc::new(promise),
            _slot: slot,
        })
    }

    /// Refuses a file of a known length that is longer than any may be.
    ///
    /// # Errors
    /// `payload_too_large` (413).
    pub fn check_length(&self, length: u64) -> Result<()> {
        sink::check_length(length, self.inner.limit)
    }

    /// Refuses a name that is another file's, before its bytes come.
    ///
    /// # Errors
    /// `name_taken` (409), `folder_not_found` (409), `not_found`, `videos_missing` (503).
    pub async fn check_free(&self, folder: &[u8], name: &Name) -> Result<()> {
        let (root, folder, name) = (self.root().to_owned(), folder.to_owned(), name.to_string());
        smol::unblock(move || {
            let place = shelf::folder(&root, &folder)?;
            match rustix::fs::statat(&place, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(shelf::name_taken(&name)),
                Err(_) => Ok(()),
            }
        })
        .await
    }

    /// Begins a file.
    ///
    /// # Errors
    /// The disk's.
    pub async fn draft(&self, admission: &Admission) -> Result<Draft> {
        let id = part::new_id().map_err(no_random)?;
        self.create(admission, id).await
    }

    /// Begins the file whose part is called `id`.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn create(&self, admission: &Admission, id: String) -> Result<Draft> {
        let active = self.active(id);
        let (root, id) = (self.root().to_owned(), active.id.clone());
        let part = smol::unblock(move || Part::create(&root, &id))
            .await
            .map_err(space::write_failed)?;
        Ok(self.begin(admission, active, part, 0, self.inner.limit, None))
    }

    /// Goes on with the file whose part is called `id`, of which `at` bytes are good and `length` will come in all.
    ///
    /// # Errors
    /// The disk's; `upload_gone` (410) when it is not there.
    pub(crate) async fn resume(
        &self,
        admission: &Admission,
        id: &str,
        at: u64,
        length: u64,
        hash: Option<&'static Algorithm>,
    ) -> Result<Draft> {
        let active = self.active(id.to_owned());
        let (root, id) = (self.root().to_owned(), active.id.clone());
        let opened = smol::unblock(move || Part::open(&root, &id, at)).await;
        let part = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => Error::new(
                Kind::Gone,
                "upload_gone",
                "What had come of this file is not on the disk any more; begin it anew.",
            ),
            _ => space::write_failed(error),
        })?;
        Ok(self.begin(admission, active, part, at, length, hash))
    }

    fn begin(
        &self,
        admission: &Admission,
        active: Active,
        part: Part,
        at: u64,
        limit: u64,
        hash: Option<&'static Algorithm>,
    ) -> Draft {
        let (space, promise) = (self.inner.space.clone(), admission.promise.clone());
        Draft {
            sink: Sink::new(part.file().clone(), at, limit, space, promise, hash),
            part,
            _active: active,
        }
    }

    fn active(&self, id: String) -> Active {
        self.inner.active().insert(id.clone());
        Active {
            id,
            inner: self.inner.clone(),
        }
    }

    /// Makes a file of the videos of a draft whose bytes are all there: judges it, and gives it a name in `folder`.
    /// What is refused goes with its draft, but for a part that is kept.
    ///
    /// # Errors
    /// `not_media` (415), `ffmpeg_not_available` (503), `name_taken` (409), `folder_not_found` (409), and the disk's.
    pub async fn settle(
        &self,
        mut draft: Draft,
        folder: &[u8],
        name: &Name,
        taken: Taken,
    ) -> Result<Arrived> {
        // Judged by what is on the disk, and in the end: a name that is free now may not be when all is there.
        draft.sink.finish().await?;
        let verdict = {
            let _turn = self.inner.judging.acquire().await;
            judge::judge(&self.inner.programs, &draft.part, name).await?
        };
        let bytes = draft.sink.at();
        let (path, job, note) = match verdict.convert {
            true => self.shelve_and_convert(draft, folder, name, taken).await?,
            false => {
                let path = self.shelve(draft, folder, name, taken, verdict.vtt).await?;
                (path, None, None)
            }
        };
        self.inner.videos.changed();
        Ok(Arrived {
            path,
            bytes,
            job,
            note,
        })
    }

    /// Finds a free name, and gives it.
    async fn shelve(
        &self,
        draft: Draft,
        folder: &[u8],
        name: &Name,
        taken: Taken,
        vtt: Option<Vec<u8>>,
    ) -> Result<MediaPath> {
        let root = self.root().to_owned();
        let (folder, name) = (folder.to_owned(), name.clone());
        smol::unblock(move || {
            let mut draft = draft;
            let part = &mut draft.part;
            place::shelve(&root, part, &folder, &name, taken, vtt.as_deref())
        })
        .await
    }

    /// The same of a file that is to be converted: the job is in the queue before the file has its name, so that no
    /// kill and no power cut leaves a file that nobody plays and nobody converts. The job, or why there is none: the
    /// file is there all the same, and its page asks for another.
    async fn shelve_and_convert(
        &self,
        draft: Draft,
        folder: &[u8],
        name: &Name,
        taken: Taken,
    ) -> Result<(MediaPath, Option<Job>, Option<String>)> {
        let bytes = draft.sink.at();
        let mut draft = draft;
        for n in place::numbers(taken) {
            let text = name.numbered(n);
            if !place::is_free(self.root(), folder, &text).await? {
                continue;
            }
            let path = place::path(folder, &text)?;
            let kind = job::Kind::Convert(path.clone());
            let held = self.inner.queue.hold(kind, convert::arriving(bytes)).await;
            let (root, folder) = (self.root().to_owned(), folder.to_owned());
            let named = smol::unblock(move || {
                let named = place::name(&root, &mut draft.part, &folder, &text)?;
                Ok::<_, Error>((draft, named))
            });
            let has_name;
            (draft, has_name) = named.await?;
            if has_name {
                return Ok(match held {
                    Ok(held) => (path, held.release(), None),
                    Err(error) => (path, None, Some(error.sentence().to_owned())),
                });
            }
        }
        Err(shelf::name_taken(&name.to_string()))
    }

    /// Waits until files can be judged by what is in them; a while at most, for ffprobe may be missing.
    pub(crate) async fn can_judge(&self) {
        let programs = &self.inner.programs;
        let there = async {
            while !(programs.ffprobe().available && programs.ffmpeg().available) {
                smol::Timer::after(LOOK).await;
            }
        };
        let late = async {
            smol::Timer::after(PATIENCE).await;
        };
        or(there, late).await;
    }

    /// Takes away the parts that nobody writes and nobody will go on with: those of uploads that a kill or a power cut
    /// ended. `kept` tells the ids of those that may go on later. Blocks.
    pub(crate) fn sweep(&self, kept: impl FnOnce() -> Result<HashSet<String>>) -> Result<()> {
        // In this order none that begins meanwhile is mistaken: it is not among the parts yet, or it is active, or it
        // was kept before it stopped being so.
        let Ok(parts) = part::strays(self.root()) else {
            return Ok(());
        };
        let active = self.inner.active().clone();
        let kept = kept()?;
        for id in parts {
            if !active.contains(&id) && !kept.contains(&id) {
                log::info!("what had come of an upload that was cut off is removed ({id})");
                part::remove(self.root(), &id);
            }
        }
        Ok(())
    }
}

impl Draft {
    /// Leaves what has come for a later request.
    pub(crate) fn keep(&mut self) {
        self.part.keep();
    }

    /// The bytes themselves.
    pub(crate) fn file(&self) -> &Arc<File> {
        self.part.file()
    }

    /// The hash of what came through the sink, when one was asked for, once all of it is on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn finish(&mut self) -> Result<Option<Digest>> {
        self.sink.finish().await
    }
}

impl Arrived {
    /// As it is kept: what `routes` makes an answer of.
    pub fn record(&self) -> Value {
        json!({
            "path": self.path.text(),
            "bytes": self.bytes,
            "job": self.job.as_ref().map(|job| job.id.0),
            "note": self.note,
        })
    }
}

impl Inner {
    fn active(&self) -> MutexGuard<'_, HashSet<String>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.inner.active().remove(&self.id);
    }
}

fn no_random(error: std::io::Error) -> Error {
    Error::internal("The kernel gives no random numbers.").because(error)
}
