//! The daemon's part: the first scan when there is none, and then whatever changes.
//!
//! Looking costs one request to Drive and the times of the local folders; the lock is taken, and the disk written,
//! only when there is something to do.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use smol::Timer;
use smol::future::or;

use super::lock::Lock;
use super::{CATALOG, DRIVE, Inner, LOCAL, OUTLINE, Scanner, follow, local, publish};
use crate::catalog::IMPORTED;
use crate::error::{Error, Result};

/// Between two looks. A lecture shall show within a minute; half of that is left for the answer.
const EVERY: Duration = Duration::from_secs(25);

/// The longest pause after failures, which doubles with each.
const LONGEST: Duration = Duration::from_secs(600);

/// After this long, folders that could not be listed are tried again.
const RETRY: Duration = Duration::from_secs(600);

/// A variable that shortens [`EVERY`], in milliseconds: for tests, which have no minute.
const TEST_PAUSE: &str = "RILL_TEST_SCAN_PAUSE_MS";

/// Who the lock says we are.
const WHO: &str = "the daemon";

/// What the loop remembers.
struct State {
    /// Change time and length of the outline.
    outline: Option<(SystemTime, u64)>,
    /// The start is behind us.
    settled: bool,
    retried: Instant,
}

pub(super) async fn run(scanner: &Scanner) {
    let inner = &scanner.inner;
    let every = pause(std::env::var(TEST_PAUSE).ok().as_deref());
    let mut state = State {
        outline: None,
        settled: false,
        retried: Instant::now(),
    };
    let mut failures = 0_u32;
    let mut told = String::new();
    let mut elsewhere = false;
    inner.recall_end().await;
    loop {
        let asked = inner.asked.swap(false, Ordering::AcqRel);
        let outcome = turn(scanner, &mut state, asked).await;
        match outcome {
            Ok(()) => {
                if !told.is_empty() {
                    log::info!("the catalog is looked after again");
                }
                (failures, told) = (0, String::new());
                if std::mem::take(&mut elsewhere) {
                    inner.recall_end().await;
                }
                inner.progress.elsewhere(None);
                inner.progress.trouble(None);
            }
            // Whoever scans publishes, too.
            Err(error) if error.code() == "scan_running" => {
                log::debug!("{}", error.sentence());
                elsewhere = true;
                inner.progress.elsewhere(Some(error.sentence().to_owned()));
            }
            Err(error) => {
                failures += 1;
                inner.progress.elsewhere(None);
                inner.progress.trouble(Some(error.sentence().to_owned()));
                let chain = error.chain();
                if chain != told {
                    log::warn!("the catalog stays as it is: {chain}");
                    told = chain;
                }
            }
        }
        let wait = every
            .saturating_mul(1 << failures.min(8))
            .min(LONGEST.max(every));
        let wake = async {
            let _ = inner.woken.recv().await;
        };
        or(wake, async {
            Timer::after(wait).await;
        })
        .await;
    }
}

fn pause(text: Option<&str>) -> Duration {
    let milliseconds = text
        .and_then(|text| text.parse().ok())
        .filter(|n| (10..=60_000).contains(n));
    milliseconds.map_or(EVERY, Duration::from_millis)
}

async fn turn(scanner: &Scanner, state: &mut State, asked: bool) -> Result<()> {
    let inner = &scanner.inner;
    if asked || inner.needs_scan().await? {
        // Both sources, the outline and what could not be listed are looked at in a scan.
        state.outline = outline_stamp(&inner.folder).await;
        (state.settled, state.retried) = (true, Instant::now());
        let summary = scanner.scan(false, WHO).await?;
        log::info!(
            "scanned: {} courses with {} classes, {} folders could not be listed",
            summary.contents.courses,
            summary.contents.classes,
            summary.contents.failed.len()
        );
        return match summary.troubles.into_iter().next() {
            Some(trouble) => Err(Error::new(
                crate::error::Kind::Unavailable,
                "scan_incomplete",
                trouble,
            )),
            None => Ok(()),
        };
    }
    let retry = state.retried.elapsed() >= RETRY;
    if retry {
        state.retried = Instant::now();
    }
    let outline = outline_stamp(&inner.folder).await;
    let mut publish = inner.is_unwritten().await?;
    publish |= match state.settled {
        true => outline != state.outline,
        // What the outline was when the catalog was written, only the times tell.
        false => inner.is_behind(outline).await,
    };
    (state.outline, state.settled) = (outline, true);
    // One source that fails does not keep the other from its changes.
    let mut trouble = None;
    match inner.look_local(retry).await {
        Ok(changed) => publish |= changed,
        Err(error) => trouble = Some(error),
    }
    match inner.look_drive(retry).await {
        Ok(changed) => publish |= changed,
        Err(error) => trouble = trouble.or(Some(error)),
    }
    if publish && inner.has_rows().await? {
        // Should it fail, the times tell again.
        state.settled = false;
        let _lock = inner.take_lock().await?;
        if let Some((contents, written)) = inner.publish().await? {
            inner.progress.published(contents.failed.len());
            if written {
                log::info!(
                    "the catalog has {} courses with {} classes now",
                    contents.courses,
                    contents.classes
                );
            }
        }
        state.settled = true;
    }
    trouble.map_or(Ok(()), Err)
}

impl Inner {
    /// Whether there is something to scan and nothing to begin with. A catalog that another tool has made is left
    /// alone until somebody asks for a scan.
    async fn needs_scan(&self) -> Result<bool> {
        let (root, local) = (self.root.clone(), self.local.clone());
        let catalog = self.folder.join(CATALOG);
        let imported = self.folder.join(IMPORTED);
        self.known(move |state| {
            let mut needed = false;
            let mut begun = false;
            if let Some(root) = root {
                let complete = state.complete(DRIVE)?;
                let unfinished = state.unfinished(DRIVE)?;
                begun |= unfinished.is_some() || complete.is_some();
                needed |= unfinished.is_some_and(|scan| scan.root == root)
                    || complete.is_none_or(|scan| scan.root != root);
            }
            if let Some(local) = local {
                let name = local.to_string_lossy();
                let complete = state.complete(LOCAL)?;
                begun |= complete.is_some();
                needed |= complete.is_none_or(|scan| scan.root != name);
            }
            let none = !catalog.exists() && !imported.exists();
            Ok(needed && (begun || none || publish::is_ours(&catalog)))
        })
        .await
    }

    /// Whether there is no catalog, or one that is older than the outline.
    async fn is_behind(&self, outline: Option<(SystemTime, u64)>) -> bool {
        let catalog = self.folder.join(CATALOG);
        smol::unblock(move || {
            let written = std::fs::metadata(catalog).and_then(|metadata| metadata.modified());
            match (written, outline) {
                (Ok(written), Some((changed, _))) => changed > written,
                (Ok(_), None) => false,
                (Err(_), _) => true,
            }
        })
        .await
    }

    async fn is_unwritten(&self) -> Result<bool> {
        self.known(|state| {
            let scans = [state.complete(DRIVE)?, state.complete(LOCAL)?];
            Ok(scans.iter().flatten().any(|scan| scan.unwritten))
        })
        .await
    }

    async fn has_rows(&self) -> Result<bool> {
        self.known(|state| Ok(state.complete(DRIVE)?.is_some() || state.complete(LOCAL)?.is_some()))
            .await
    }

    /// Reads the local folders that changed. Whether any did.
    async fn look_local(self: &std::sync::Arc<Self>, retry: bool) -> Result<bool> {
        let Some(root) = self.local.clone() else {
            return Ok(false);
        };
        let inner = self.clone();
        let changed = smol::unblock({
            let root = root.clone();
            move || match inner.state.complete(LOCAL)? {
                Some(scan) => local::changed(&inner.state, &scan, &root, retry),
                None => Ok(false),
            }
        });
        if !changed.await? {
            return Ok(false);
        }
        let _lock = self.take_lock().await?;
        let inner = self.clone();
        smol::unblock(move || local::scan(&inner, &root, false)).await?;
        self.is_unwritten().await
    }

    /// Applies what changed on Drive. Whether anything did.
    async fn look_drive(self: &std::sync::Arc<Self>, retry: bool) -> Result<bool> {
        let Some(root) = self.root.clone() else {
            return Ok(false);
        };
        let Some(scan) = self
            .known(|state| state.complete(DRIVE))
            .await?
            .filter(|scan| scan.root == root)
        else {
            return Ok(false);
        };
        let page = match self.peek(&scan).await {
            Err(error) if error.code() == follow::REFUSED => {
                // A scan meets the same refusal, and begins anew.
                self.asked.store(true, Ordering::Release);
                let _ = self.wake.try_send(());
                return Ok(false);
            }
            page => page?,
        };
        if page.changes.is_empty() && !page.more && !retry {
            return Ok(false);
        }
        let _lock = self.take_lock().await?;
        self.follow(scan.clone()).await?;
        if retry {
            self.retry_failed(&scan).await?;
        }
        self.is_unwritten().await
    }

    async fn take_lock(&self) -> Result<Lock> {
        let folder = self.folder.clone();
        smol::unblock(move || Lock::take(&folder, WHO)).await
    }
}

async fn outline_stamp(folder: &Path) -> Option<(SystemTime, u64)> {
    let path = folder.join(OUTLINE);
    smol::unblock(move || {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses() {
        assert_eq!(pause(None), EVERY);
        assert_eq!(pause(Some("100")), Duration::from_millis(100));
        for wrong in ["", "0", "x", "999999999"] {
            assert_eq!(pause(Some(wrong)), EVERY);
        }
    }
}
