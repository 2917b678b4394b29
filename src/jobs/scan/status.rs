//! How a scan stands: counted by whoever scans, read by whoever shows it, and told to whoever waits for news.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use smol::channel::{Receiver, Sender};

use super::{Summary, lock};

/// Those who may wait for news at once; more is a fault of ours.
const MOST_WAITING: usize = 64;

/// How far a scan has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    running: AtomicBool,
    pub(super) folders: AtomicU64,
    pub(super) known: AtomicU64,
    pub(super) classes: AtomicU64,
    pub(super) requests: AtomicU64,
    told: Mutex<Told>,
    /// Who is woken by news.
    waiting: Mutex<Vec<Sender<()>>>,
}

/// What changes seldom. Held for a few instructions, and whole at any time.
#[derive(Debug, Default)]
struct Told {
    /// When the scan began, by both clocks, and how many folders it knew from an earlier one by then.
    began: Option<(Instant, SystemTime, u64)>,
    /// How many scans were begun.
    number: u64,
    finished: Option<SystemTime>,
    failed: u64,
    error: Option<String>,
    last: Option<Result<Summary, String>>,
    /// Who scans instead of this process, in the lock's words.
    elsewhere: Option<String>,
}

/// What a scan is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanState {
    /// There is no source of courses.
    #[default]
    Unconfigured,
    /// Nothing is being scanned; changes are followed.
    Idle,
    /// A scan is under way in this process.
    Running,
    /// Another process scans: `rill scan`.
    Elsewhere,
}

impl ScanState {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            ScanState::Unconfigured => "unconfigured",
            ScanState::Idle => "idle",
            ScanState::Running => "running",
            ScanState::Elsewhere => "elsewhere",
        }
    }
}

/// A scan as others see it.
#[derive(Clone, Debug, Default)]
pub struct ScanStatus {
    /// What it is doing.
    pub state: ScanState,
    /// Scans that this process has begun: the number of the present or last one.
    pub number: u64,
    /// Folders listed.
    pub folders: u64,
    /// Folders known, the listed ones among them; grows as folders are listed.
    pub folders_known: u64,
    /// Videos and other media met.
    pub classes: u64,
    /// Requests answered by Drive.
    pub requests: u64,
    /// Folders that could not be listed, as of the last catalog.
    pub failed: u64,
    /// When the present or last one began.
    pub started: Option<SystemTime>,
    /// Seconds since it began, while it runs.
    pub seconds: u64,
    /// Seconds that it may still take, by its speed so far.
    pub seconds_left: Option<u64>,
    /// When one came to its end last, well or not; of the time before this process, well.
    pub finished: Option<SystemTime>,
    /// Why the catalog is not up to date; `None` once it is again.
    pub error: Option<String>,
    /// How the last one ended: what it found, or why it did not come to its end.
    pub last: Option<Result<Summary, String>>,
    /// Who scans elsewhere.
    pub elsewhere: Option<String>,
}

impl Progress {
    /// From now until the answer is dropped a scan is under way.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        for counter in [&self.folders, &self.known, &self.classes, &self.requests] {
            counter.store(0, Ordering::Relaxed);
        }
        {
            let mut told = lock(&self.told);
            told.began = Some((Instant::now(), SystemTime::now(), 0));
            told.number += 1;
            told.elsewhere = None;
        }
        self.running.store(true, Ordering::Release);
        self.news();
        Running(Arc::clone(self))
    }

    /// Counts folders that need no listing, which say nothing of the speed.
    pub(super) fn skip(&self, folders: u64) {
        self.folders.fetch_add(folders, Ordering::Relaxed);
        if let Some((_, _, before)) = &mut lock(&self.told).began {
            *before += folders;
        }
    }

    /// Counts what a piece of a scan has brought.
    pub(super) fn add(&self, folders: u64, classes: u64) {
        self.folders.fetch_add(folders, Ordering::Relaxed);
        self.classes.fetch_add(classes, Ordering::Relaxed);
        self.news();
    }

    /// Keeps how a scan ended.
    pub(super) fn ended(&self, outcome: Result<Summary, String>) {
        let mut told = lock(&self.told);
        told.finished = Some(SystemTime::now());
        told.error = match &outcome {
            Ok(summary) => {
                told.failed = summary.contents.failed.len() as u64;
                summary.troubles.first().cloned()
            }
            Err(error) => Some(error.clone()),
        };
        told.last = Some(outcome);
    }

    /// Keeps when a scan ended that nobody here has seen.
    pub(super) fn ended_at(&self, at: SystemTime) {
        {
            let mut told = lock(&self.told);
            told.finished = told.finished.max(Some(at));
        }
        self.news();
    }

    /// Keeps how many folders could not be listed, of a catalog that no whole scan has written.
    pub(super) fn published(&self, failed: usize) {
        lock(&self.told).failed = failed as u64;
        self.news();
    }

    /// Keeps why the catalog is not up to date, or that it is.
    pub(super) fn trouble(&self, error: Option<String>) {
        let changed = {
            let mut told = lock(&self.told);
            let changed = told.error != error;
            told.error = error;
            changed
        };
        if changed {
            self.news();
        }
    }

    /// Keeps who scans instead, or that nobody does.
    pub(super) fn elsewhere(&self, who: Option<String>) {
        let changed = {
            let mut told = lock(&self.told);
            let changed = told.elsewhere != who;
            told.elsewhere = who;
            changed
        };
        if changed {
            self.news();
        }
    }

    /// A receiver that has something whenever the status may be another one: many changes are one, none is lost.
    pub(super) fn changes(&self) -> Receiver<()> {
        let (news, changed) = smol::channel::bounded(1);
        let mut waiting = lock(&self.waiting);
        waiting.retain(|other| !other.is_closed());
        if waiting.len() < MOST_WAITING {
            waiting.push(news);
        }
        changed
    }

    fn news(&self) {
        for one in lock(&self.waiting).iter() {
            // Full: who waits will look anyway.
            let _ = one.try_send(());
        }
    }

    pub(super) fn status(&self, configured: bool) -> ScanStatus {
        let running = self.running.load(Ordering::Acquire);
        let folders = self.folders.load(Ordering::Relaxed);
        let folders_known = self.known.load(Ordering::Relaxed).max(folders);
        let told = lock(&self.told);
        let (seconds, seconds_left) = match told.began {
            Some((began, _, before)) if running => {
                let seconds = began.elapsed().as_secs_f64();
                let (done, left) = (folders.saturating_sub(before), folders_known - folders);
                let guess = (done > 0).then(|| (seconds / done as f64 * left as f64).ceil() as u64);
                (seconds as u64, guess)
            }
            _ => (0, None),
        };
        let state = match (running, configured, &told.elsewhere) {
            (true, _, _) => ScanState::Running,
            (false, false, _) => ScanState::Unconfigured,
            (false, true, Some(_)) => ScanState::Elsewhere,
            (false, true, None) => ScanState::Idle,
        };
        ScanStatus {
            state,
            number: told.number,
            folders,
            folders_known,
            classes: self.classes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            failed: told.failed,
            started: told.began.map(|(_, began, _)| began),
            seconds,
            seconds_left,
            finished: told.finished,
            error: told.error.clone(),
            last: told.last.clone(),
            elsewhere: told.elsewhere.clone(),
        }
    }
}

/// A scan under way.
pub(super) struct Running(Arc<Progress>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.news();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_of_a_scan() {
        let progress = Arc::new(Progress::default());
        let changes = progress.changes();
        assert_eq!(progress.status(false).state.word(), "unconfigured");
        let running = progress.begin();
        assert!(changes.try_recv().is_ok() && changes.try_recv().is_err());
        progress.known.fetch_add(10, Ordering::Relaxed);
        progress.skip(5);
        progress.add(1, 4);
        progress.add(1, 4);
        let status = progress.status(true);
        assert_eq!((status.state, status.number), (ScanState::Running, 1));
        assert_eq!(
            (status.folders, status.folders_known, status.classes),
            (7, 10, 8)
        );
        assert!(status.seconds_left.is_some() && status.started.is_some());
        assert!(changes.try_recv().is_ok() && changes.try_recv().is_err());
        progress.ended(Err("No.".to_owned()));
        drop(running);
        assert!(changes.try_recv().is_ok());
        let status = progress.status(true);
        assert_eq!(
            (status.state, status.error.as_deref()),
            (ScanState::Idle, Some("No."))
        );
        assert!(status.finished.is_some() && status.seconds_left.is_none());
        progress.elsewhere(Some("rill scan".to_owned()));
        assert_eq!(progress.status(true).state.word(), "elsewhere");
        progress.trouble(None);
        assert_eq!(progress.status(true).error, None);
        drop(changes);
        drop(progress.changes());
        assert_eq!(lock(&progress.waiting).len(), 1);
    }

    #[test]
    fn a_scan_of_many_pieces_wakes_once() {
        let progress = Progress::default();
        let changes: Vec<_> = (0..3).map(|_| progress.changes()).collect();
        (0..100).for_each(|_| progress.add(1, 1));
        for one in changes {
            assert_eq!(one.len(), 1);
        }
    }
}
