//! The scan as something that happens over time: the first one, the changes after it, and the file that comes of both.
//!
//! ```text
//! walk    lists the folders of Drive that nobody has listed yet     follow  applies what changed since
//! local   reads the folders of this machine that changed            publish  rows to catalog.json
//! lock    keeps the daemon's scan and the command's apart           watch    the daemon's loop
//! status  how far it is, for whoever shows it
//! ```
//!
//! Everything found is kept in the database as it comes, under the number of its scan, so that a scan that is killed
//! goes on where it was; the catalog stays what it is until a scan is complete. What the folders mean is the
//! catalog's business (`catalog::scan`).

mod follow;
mod local;
mod lock;
mod publish;
mod status;
mod walk;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::catalog::scan::document::Contents;
use crate::config::Config;
use crate::drive::Drive;
use crate::error::{Error, Kind, Result};
use crate::store::database::Database;
use crate::store::scan_state::{self, Scan};

use lock::Lock;
use status::Progress;
pub use status::{ScanState, ScanStatus};

/// Under which name the database keeps the folders of Drive, and those of this machine.
const DRIVE: &str = "drive";
const LOCAL: &str = "local";

/// The catalog's name in the state folder.
pub const CATALOG: &str = "catalog.json";
/// The outline's.
pub const OUTLINE: &str = "routes.md";

/// A handle to the scan of one state folder; clones share it.
#[derive(Clone, Debug)]
pub struct Scanner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    drive: Drive,
    /// The id of `drive.root`, or what is wrong with it; `None` when there is none.
    root: Option<String>,
    local: Option<PathBuf>,
    folder: PathBuf,
    state: scan_state::ScanState,
    database: Database,
    progress: Arc<Progress>,
    /// Wakes [`Scanner::watch`] before its time.
    wake: smol::channel::Sender<()>,
    woken: smol::channel::Receiver<()>,
    /// Somebody asked for a scan.
    asked: AtomicBool,
    /// What [`follow`] remembers.
    ahead: Mutex<follow::Ahead>,
}

/// What a scan came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What the catalog holds.
    pub contents: Contents,
    /// The file is another one than before.
    pub written: bool,
    /// Folders listed.
    pub folders: u64,
    /// Requests answered by Drive.
    pub requests: u64,
    /// What a whole source failed with; its part of the catalog is as it was.
    pub troubles: Vec<String>,
}

impl Scanner {
    /// Names the scan of a configuration; does nothing yet.
    pub fn new(config: &Config, drive: Drive, database: Database) -> Scanner {
        let (wake, woken) = smol::channel::bounded(1);
        Scanner {
            inner: Arc::new(Inner {
                drive,
                root: config.drive.root.clone(),
                local: config.library.courses.clone(),
                folder: config.state.dir.clone(),
                state: scan_state::ScanState::of(database.clone()),
                database,
                progress: Arc::default(),
                wake,
                woken,
                asked: AtomicBool::new(false),
                ahead: Mutex::default(),
            }),
        }
    }

    /// Asks the daemon's loop for a scan; returns at once. One that runs already is enough.
    ///
    /// # Errors
    /// `scan_not_configured` when there is nothing to scan.
    pub fn start(&self) -> Result<()> {
        if !self.inner.is_configured() {
            return Err(not_configured());
        }
        self.inner.asked.store(true, Ordering::Release);
        // Full means that the loop will look anyway.
        let _ = self.inner.wake.try_send(());
        Ok(())
    }

    /// How it stands.
    pub fn status(&self) -> ScanStatus {
        self.inner.progress.status(self.inner.is_configured())
    }

    /// A receiver that has something whenever [`Scanner::status`] may say something else. Many changes between two
    /// looks are one.
    pub fn changes(&self) -> smol::channel::Receiver<()> {
        self.inner.progress.changes()
    }

    /// Scans: goes on with a scan that did not come to its end, else applies what changed since the last, else begins
    /// one; and writes the catalog. `full` lists everything anew. `who` is what another process is told.
    ///
    /// # Errors
    /// `scan_not_configured`, `scan_running`, what a source fails with when no catalog could be written, and
    /// those of the state folder.
    pub async fn scan(&self, full: bool, who: &str) -> Result<Summary> {
        let inner = &self.inner;
        if !inner.is_configured() {
            return Err(not_configured());
        }
        let (folder, who) = (inner.folder.clone(), who.to_owned());
        let _lock = smol::unblock(move || Lock::take(&folder, &who)).await?;
        let running = inner.progress.begin();
        let outcome = inner.scan(full).await;
        if outcome.is_ok() {
            inner.keep_end().await;
        }
        inner.progress.ended(match &outcome {
            Ok(summary) => Ok(summary.clone()),
            Err(error) => Err(error.sentence().to_owned()),
        });
        drop(running);
        outcome
    }

    /// Looks after the catalog until dropped: the daemon's part. Does nothing where there is nothing to scan.
    pub async fn watch(&self) {
        if self.inner.is_configured() {
            watch::run(self).await;
        }
    }
}

impl Inner {
    fn is_configured(&self) -> bool {
        self.root.is_some() || self.local.is_some()
    }

    async fn scan(self: &Arc<Self>, full: bool) -> Result<Summary> {
        let mut troubles = Vec::new();
        let mut first = None;
        if let Some(root) = &self.local {
            let (inner, root) = (self.clone(), root.clone());
            if let Err(error) = smol::unblock(move || local::scan(&inner, &root, full)).await {
                troubles.push(error.chain());
                first = Some(error);
            }
        }
        if let Some(root) = &self.root {
            if let Err(error) = self.scan_drive(root, full).await {
                troubles.push(error.chain());
                first = first.or(Some(error));
            }
        }
        let published = self.publish().await?;
        match (published, first) {
            (Some((contents, written)), None) => Ok(self.summary(contents, written, troubles)),
            // A part is better than nothing, and the other part is as it was.
            (Some((contents, true)), Some(_)) => Ok(self.summary(contents, true, troubles)),
            (_, Some(error)) => Err(error),
            (None, None) => Err(Error::internal("the scan ended without a catalog")),
        }
    }

    fn summary(&self, contents: Contents, written: bool, troubles: Vec<String>) -> Summary {
        Summary {
            contents,
            written,
            folders: self.progress.folders.load(Ordering::Relaxed),
            requests: self.progress.requests.load(Ordering::Relaxed),
            troubles,
        }
    }

    /// Keeps that a scan came to its end now, for those who ask after a restart.
    async fn keep_end(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let kept = self.known(move |state| state.keep_end(now.as_secs())).await;
        if let Err(error) = kept {
            log::debug!(
                "when the scan ended is forgotten at a restart: {}",
                error.chain()
            );
        }
    }

    /// Learns when a scan came to its end last, also one of another process.
    async fn recall_end(&self) {
        if let Ok(Some(seconds)) = self.known(scan_state::ScanState::ended).await {
            self.progress
                .ended_at(UNIX_EPOCH + Duration::from_secs(seconds));
        }
    }

    /// Brings what is known of Drive up to date.
    async fn scan_drive(self: &Arc<Self>, root: &str, full: bool) -> Result<()> {
        let complete = self.known(|state| state.complete(DRIVE)).await?;
        let mut under_way = self.known(|state| state.unfinished(DRIVE)).await?;
        // What was found below another root is of no use.
        under_way = under_way.filter(|scan| !full && scan.root == root);
        if let (false, None, Some(scan)) = (full, &under_way, &complete) {
            if scan.root == root {
                match self.follow(scan.clone()).await {
                    Err(error) if error.code() == follow::REFUSED => {
                        log::warn!("{}", error.sentence())
                    }
                    Err(error) => return Err(error),
                    Ok(_) => return self.retry_failed(scan).await,
                }
            }
        }
        let scan = match under_way {
            Some(scan) => scan,
            None => self.begin_drive(root).await?,
        };
        let before = complete.map(|scan| scan.generation);
        let seen = self.walk(&scan, before, &walk::Overlay::default()).await?;
        let generation = scan.generation;
        self.known(move |state| {
            state.keep_only(generation, &seen)?;
            state.finish(DRIVE, generation)
        })
        .await?;
        // What changed while it went on. Should it fail, the next poll tries again.
        if let Err(error) = self.follow(scan).await {
            log::warn!("changes during the scan come later: {}", error.chain());
        }
        Ok(())
    }

    /// Begins a scan of Drive. The token comes first: what changes while folders are listed is told again.
    async fn begin_drive(&self, root: &str) -> Result<Scan> {
        let top = self.drive.root(root).await?;
        let token = self
            .drive
            .start_page_token(top.shared_drive.as_deref())
            .await?;
        self.progress.requests.fetch_add(2, Ordering::Relaxed);
        let root = root.to_owned();
        self.known(move |state| {
            state.begin(DRIVE, &root, &top.id, top.shared_drive.as_deref(), &token)
        })
        .await
    }

    /// Asks the database on the blocking pool.
    async fn known<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&scan_state::ScanState) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = self.state.clone();
        self.database.unblocked(move |_| ask(&state)).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain values, each whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_configured() -> Error {
    Error::new(
        Kind::Conflict,
        "scan_not_configured",
        "There is no course tree to scan: set drive.root to the id of a Google Drive folder, or library.courses to a \
         folder of this machine, in rill.toml.",
    )
}
