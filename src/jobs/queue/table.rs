//! The jobs that the queue holds in memory, and what it has yet to tell the database of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use smol::channel::Sender;

use super::now;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::jobs::job::{Job, JobId, Kind, Progress, State};

/// Jobs that wait at most: more than a household adds in an evening, few enough to keep in memory.
pub(super) const WAITING: usize = 1_000;

/// Jobs that ended and are remembered, and those of them that nobody asked for.
pub(super) const REMEMBERED: usize = 200;
pub(super) const REMEMBERED_HOUSEKEEPING: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Whether the database has been read.
    pub(super) loaded: bool,
    pub(super) last: u64,
    pub(super) entries: BTreeMap<JobId, Entry>,
    /// Jobs that are forgotten, and are to be so in the database.
    pub(super) gone: Vec<JobId>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    /// The database has it, though perhaps not as it stands.
    pub(super) kept: bool,
    /// The database does not have it as it stands.
    pub(super) dirty: bool,
    /// It is not begun yet: what it is to be done to is not there.
    pub(super) held: bool,
    /// Dropped to end it; present while it runs.
    pub(super) cancel: Option<Sender<()>>,
    pub(super) told: Option<Instant>,
}

impl Table {
    pub(super) fn unfinished(&self, kind: &Kind) -> Option<&Entry> {
        let mut unfinished = self
            .entries
            .values()
            .filter(|entry| !entry.job.state.is_final());
        unfinished.find(|entry| entry.job.kind == *kind)
    }

    /// Adds a job.
    pub(super) fn enqueue(&mut self, kind: Kind) -> Result<Job> {
        let entries = self.entries.values();
        let waiting = entries.filter(|entry| entry.job.state == State::Queued);
        if waiting.count() >= WAITING {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "queue_full",
                format!("{WAITING} jobs are waiting already; try again when some are done."),
            )
            .retry_after(Duration::from_secs(60)));
        }
        self.last += 1;
        let job = Job::new(JobId(self.last), kind, now());
        self.entries.insert(job.id, Entry::of(job.clone(), false));
        Ok(job)
    }

    /// Ends what waits to be done to a file that has gone, as another is about to have its name.
    pub(super) fn cancel_waiting(&mut self, kind: &Kind) {
        for entry in self.entries.values_mut() {
            if entry.job.kind == *kind && entry.job.state == State::Queued && !entry.held {
                entry.end(State::Cancelled);
            }
        }
    }

    pub(super) fn running(&mut self, id: JobId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&id);
        entry.filter(|entry| entry.job.state == State::Running)
    }

    /// Has what runs wait again, as if it had not been begun.
    pub(super) fn lay_down(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.job.state == State::Running {
                entry.job.state = State::Queued;
                entry.job.attempts = entry.job.attempts.saturating_sub(1);
                entry.dirty = true;
            }
        }
    }

    /// Forgets the oldest of those that ended.
    pub(super) fn prune(&mut self) {
        for (housekeeping, most) in [(false, REMEMBERED), (true, REMEMBERED_HOUSEKEEPING)] {
            let ended: Vec<JobId> = self
                .entries
                .values()
                .filter(|entry| {
                    entry.job.state.is_final() && entry.job.kind.is_housekeeping() == housekeeping
                })
                .map(|entry| entry.job.id)
                .collect();
            for id in &ended[..ended.len().saturating_sub(most)] {
                self.entries.remove(id);
                self.gone.push(*id);
            }
        }
    }
}

impl Entry {
    pub(super) fn of(job: Job, kept: bool) -> Entry {
        Entry {
            job,
            kept,
            dirty: !kept,
            held: false,
            cancel: None,
            told: None,
        }
    }

    /// Leaves the state of running, or of waiting.
    pub(super) fn end(&mut self, state: State) {
        let now = now();
        self.job.state = state;
        self.job.progress = Progress::default();
        self.job.updated = now;
        self.job.finished = state.is_final().then_some(now);
        self.cancel = None;
        self.dirty = true;
    }
}
