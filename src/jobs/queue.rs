//! The queue: what is to be done, what is being done, what came of it.
//!
//! It lives in memory and is written to the database when a state changes, so that `list` and `get` wait for no disk
//! and a progress that moves wears no card. A job is answered for when it is on the disk. Who does the jobs takes them
//! from here (`runner`); here is only the state machine:
//!
//! ```text
//! queued -> running -> completed | failed
//!    ^         |
//!    +--retry--+        queued, running -> cancelled
//! ```
//!
//! A job that ran when the process ended is queued again.

mod gate;
mod held;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::{Event, EventListener};
use smol::channel::Receiver;

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::jobs::events::Events;
use crate::jobs::job::{Job, JobId, Kind, Made, Progress, State};
use crate::store::database::{Database, Durability};
use crate::store::queue::Jobs;
use crate::sys::executor;

pub use gate::Gate;
pub(crate) use held::Held;
use table::{Entry, Table};

/// How often a job that moves is told of.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How often a job is begun again after the process died under it: one that takes the daemon with it each time (out
/// of memory, say) must end some time.
const INTERRUPTIONS: u32 = 25;

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    jobs: Jobs,
    database: Database,
    events: Events,
    /// Held for a few instructions. Never together with another lock.
    table: Mutex<Table>,
    /// Held while what changed is written, so that a later state is never overwritten by an earlier one. Taken before
    /// `table`.
    writing: smol::lock::Mutex<()>,
    /// Rung at each change of a state.
    changed: Event,
    /// Asked before the database is read for the first time: another daemon's jobs are its own.
    gate: Gate,
}

/// A job to be done, as it is given to who does it.
#[derive(Debug)]
pub struct Taken {
    /// The job, running.
    pub job: Job,
    /// Closed when the job is cancelled.
    pub cancelled: Receiver<()>,
}

impl Queue {
    /// The queue that `database` keeps, which tells its changes to `events`. Nothing is read yet, and nothing before
    /// `gate` allows it: what it refuses with is what those hear who ask for a job.
    pub fn new(database: Database, events: Events, gate: Gate) -> Queue {
        Queue {
            inner: Arc::new(Inner {
                jobs: Jobs::of(database.clone()),
                database,
                events,
                table: Mutex::default(),
                writing: smol::lock::Mutex::new(()),
                changed: Event::new(),
                gate,
            }),
        }
    }

    /// Adds a job, and answers when it is on the disk; one that is waiting or running already for the same is
    /// returned instead.
    ///
    /// # Errors
    /// `queue_full`, and the database's.
    pub async fn add(&self, kind: Kind) -> Result<Job> {
        self.load().await?;
        let known = {
            let table = self.inner.table();
            let entry = table.unfinished(&kind);
            entry.map(|entry| (entry.job.clone(), entry.kept))
        };
        if let Some((job, kept)) = known {
            if !kept {
                // Somebody else is adding it at this moment; it is answered for when it is on the disk.
                self.save(durability(&job.kind)).await?;
            }
            return Ok(job);
        }
        let job = self.inner.table().enqueue(kind)?;
        let durability = durability(&job.kind);
        if let Err(error) = self.save(durability).await {
            self.inner.table().entries.remove(&job.id);
            return Err(error);
        }
        self.tell(job.id);
        Ok(job)
    }

    /// Adds a job for a file that is about to be there, and answers when it is on the disk: so nothing comes between
    /// the file and its job. It waits until it is released; the process dying before that releases it too, and `note`
    /// lets whoever does it find out whether the file ever came.
    ///
    /// # Errors
    /// `queue_full`, and the database's.
    pub(crate) async fn hold(&self, kind: Kind, note: String) -> Result<Held> {
        self.load().await?;
        let id = {
            let mut table = self.inner.table();
            table.cancel_waiting(&kind);
            let id = table.enqueue(kind)?.id;
            if let Some(entry) = table.entries.get_mut(&id) {
                entry.held = true;
                entry.job.note = Some(note);
            }
            id
        };
        // Dropped, it is forgotten.
        let held = Held {
            queue: self.clone(),
            id,
            released: false,
        };
        self.save(Durability::Now).await?;
        Ok(held)
    }

    /// A job.
    pub fn get(&self, id: JobId) -> Option<Job> {
        self.inner
            .table()
            .entries
            .get(&id)
            .map(|entry| entry.job.clone())
    }

    /// All jobs, newest first.
    pub fn list(&self) -> Vec<Job> {
        let table = self.inner.table();
        table
            .entries
            .values()
            .rev()
            .map(|entry| entry.job.clone())
            .collect()
    }

    /// The newest job that does `kind`.
    pub fn latest(&self, kind: &Kind) -> Option<Job> {
        let table = self.inner.table();
        let mut newest = table.entries.values().rev().map(|entry| &entry.job);
        newest.find(|job| job.kind == *kind).cloned()
    }

    /// How many jobs there are of which `matches` holds.
    pub fn count(&self, matches: impl Fn(&Job) -> bool) -> usize {
        let table = self.inner.table();
        table
            .entries
            .values()
            .filter(|entry| matches(&entry.job))
            .count()
    }

    /// Ends a job that has not ended.
    ///
    /// # Errors
    /// `job_not_found`, `job_finished`, and the database's.
    pub async fn cancel(&self, id: JobId) -> Result<Job> {
        self.load().await?;
        let job = {
            let mut table = self.inner.table();
            let entry = table.entries.get_mut(&id).ok_or_else(no_such_job)?;
            if entry.job.state.is_final() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "job_finished",
                    format!(
                        "The job is {} already; there is nothing left to cancel.",
                        entry.job.state.word()
                    ),
                ));
            }
            entry.end(State::Cancelled);
            let job = entry.job.clone();
            table.prune();
            job
        };
        self.tell(id);
        self.save(Durability::Now).await?;
        Ok(job)
    }

    /// Done when the state of a job has changed after this call.
    pub fn changed(&self) -> EventListener {
        self.inner.changed.listen()
    }

    /// Reads the database, unless that was done.
    ///
    /// # Errors
    /// The gate's and the database's; another call tries again.
    pub async fn load(&self) -> Result<()> {
        if self.inner.table().loaded {
            return Ok(());
        }
        self.inner.gate.ask()?;
        let turn = self.inner.writing.lock().await;
        if self.inner.table().loaded {
            return Ok(());
        }
        let jobs = self.inner.jobs.clone();
        let (rows, largest) = self.inner.database.unblocked(move |_| jobs.all()).await?;
        {
            let mut table = self.inner.table();
            table.loaded = true;
            table.last = u64::try_from(largest).unwrap_or(0);
            for mut job in rows.into_iter().filter_map(Job::read) {
                table.last = table.last.max(job.id.0);
                let interrupted = job.state == State::Running;
                if interrupted {
                    job.state = State::Queued;
                }
                let mut entry = Entry::of(job, true);
                entry.dirty = interrupted;
                if interrupted && entry.job.attempts >= INTERRUPTIONS {
                    entry.job.error = Some(format!(
                        "The daemon ended {INTERRUPTIONS} times while it was at this; see its log, then start it again."
                    ));
                    entry.end(State::Failed);
                }
                table.entries.insert(entry.job.id, entry);
            }
            table.prune();
        }
        drop(turn);
        self.inner.changed.notify(usize::MAX);
        Ok(())
    }

    /// Takes the job that is next: what somebody asked for before what nobody did, then the oldest.
    pub async fn take(&self) -> Option<Taken> {
        let taken = {
            let mut table = self.inner.table();
            let waiting = table
                .entries
                .values_mut()
                .filter(|entry| entry.kept && !entry.held && entry.job.state == State::Queued);
            let entry =
                waiting.min_by_key(|entry| (entry.job.kind.is_housekeeping(), entry.job.id))?;
            let (cancel, cancelled) = smol::channel::bounded(1);
            let now = now();
            entry.job.state = State::Running;
            entry.job.progress = Progress::default();
            entry.job.attempts += 1;
            entry.job.started = Some(now);
            entry.job.updated = now;
            entry.cancel = Some(cancel);
            entry.dirty = true;
            Taken {
                job: entry.job.clone(),
                cancelled,
            }
        };
        self.tell(taken.job.id);
        // A power cut before it is on the disk finds it queued, which comes to the same but for the count.
        self.try_save(Durability::Later).await;
        Some(taken)
    }

    /// Lays down what runs, for the next start: a stop that was asked for is no fault of the jobs, and does not count
    /// as an attempt.
    pub async fn lay_down(&self) {
        self.inner.table().lay_down();
        self.try_save(Durability::Later).await;
    }

    /// Says how far a running job is.
    pub fn progress(&self, id: JobId, progress: Progress) {
        {
            let mut table = self.inner.table();
            let Some(entry) = table.running(id) else {
                return;
            };
            let turned = entry.job.progress.paused != progress.paused;
            entry.job.progress = progress;
            if !turned && entry.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
                return;
            }
        }
        self.publish(id);
    }

    /// Keeps what a job must know when it is begun again after a power cut; answered when it is on the disk.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn note(&self, id: JobId, note: String) -> Result<()> {
        {
            let mut table = self.inner.table();
            let Some(entry) = table.running(id) else {
                return Ok(());
            };
            entry.job.note = Some(note);
            entry.dirty = true;
        }
        self.save(Durability::Now).await
    }

    /// Queues a running job again after a failure that may not last.
    pub async fn retry(&self, id: JobId, error: &Error) {
        {
            let mut table = self.inner.table();
            let Some(entry) = table.running(id) else {
                return;
            };
            entry.job.error = Some(error.sentence().to_owned());
            entry.end(State::Queued);
        }
        self.tell(id);
        self.try_save(Durability::Later).await;
    }

    /// Ends a running job with what came of it.
    pub async fn finish(&self, id: JobId, outcome: Result<Made>) {
        let durability = {
            let mut table = self.inner.table();
            let Some(entry) = table.running(id) else {
                return;
            };
            match outcome {
                Ok(made) => {
                    entry.job.error = None;
                    entry.job.made = made;
                    entry.end(State::Completed);
                }
                Err(error) => {
                    entry.job.error = Some(error.sentence().to_owned());
                    entry.end(State::Failed);
                }
            }
            let durability = durability(&entry.job.kind);
            table.prune();
            durability
        };
        self.tell(id);
        self.try_save(durability).await;
    }

    fn tell(&self, id: JobId) {
        self.publish(id);
        self.inner.changed.notify(usize::MAX);
    }

    fn publish(&self, id: JobId) {
        let told = {
            let mut table = self.inner.table();
            let Some(entry) = table.entries.get_mut(&id) else {
                return;
            };
            entry.told = Some(Instant::now());
            entry.job.describe()
        };
        self.inner.events.publish("job", &told);
    }

    async fn try_save(&self, durability: Durability) {
        // It is tried again with the next change; until then memory is right, and a restart repeats some work.
        if let Err(error) = self.save(durability).await {
            log::warn!("the queue of jobs was not written: {}", error.chain());
        }
    }

    /// Writes what changed since it was last written. It goes on when nobody waits for it any more, as the note of a
    /// job that is cancelled: what it took along is others' as well, and a later state must come behind it.
    async fn save(&self, durability: Durability) -> Result<()> {
        let (told, outcome) = smol::channel::bounded(1);
        let queue = self.clone();
        let saving = async move {
            // Nobody may be listening.
            let _ = told.try_send(queue.write(durability).await);
        };
        executor::spawn(saving).detach();
        outcome.recv().await.unwrap_or_else(|_| {
            Err(Error::internal(
                "A fault of rill's own kept the queue from the disk; the log says more.",
            ))
        })
    }

    async fn write(&self, durability: Durability) -> Result<()> {
        let inner = &self.inner;
        let _turn = inner.writing.lock().await;
        let (rows, gone) = {
            let mut table = inner.table();
            let dirty = table.entries.values_mut().filter(|entry| entry.dirty);
            let rows: Vec<_> = dirty
                .map(|entry| {
                    entry.dirty = false;
                    entry.job.row()
                })
                .collect();
            (rows, std::mem::take(&mut table.gone))
        };
        if rows.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<JobId> = rows.iter().map(|row| JobId(row.id as u64)).collect();
        let (jobs, numbers) = (
            inner.jobs.clone(),
            gone.iter().map(|id| id.0 as i64).collect::<Vec<_>>(),
        );
        let written = inner
            .database
            .unblocked(move |_| jobs.write(&rows, &numbers, durability))
            .await;
        let mut table = inner.table();
        for id in ids {
            if let Some(entry) = table.entries.get_mut(&id) {
                match written {
                    Ok(()) => entry.kept = true,
                    Err(_) => entry.dirty = true,
                }
            }
        }
        if written.is_err() {
            table.gone.extend(gone);
        }
        written
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change is whole between two calls that can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody asked for is asked for again after a power cut.
fn durability(kind: &Kind) -> Durability {
    match kind.is_housekeeping() {
        true => Durability::Later,
        false => Durability::Now,
    }
}

/// There is no job of that number.
pub fn no_such_job() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "job_not_found",
        "There is no such job; /api/jobs lists those that are remembered.",
    )
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests;
