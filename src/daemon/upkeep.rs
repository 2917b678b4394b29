//! What the daemon looks after while it serves: the folders, the token and the programs that were
//! missing and may appear, and the line that `systemctl status` shows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use smol::future::or;

use crate::config::Config;
use crate::daemon::alone::Alone;
use crate::drive::Drive;
use crate::ffmpeg::Programs;
use crate::media::folder::Folder;
use crate::store;
use crate::store::database::Database;
use crate::store::lacks::Lacks;
use crate::store::token::Admin;
use crate::sys::notify;

/// How often everything is looked at. Short enough that a line is true when a person reads it, long
/// enough that an idle Pi sleeps.
const EVERY: Duration = Duration::from_secs(10);

/// How long the start waits for the folders; a disk that spins up takes less.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// How often videos are counted when the folder itself tells of no change; one below it may have changed.
const RECOUNT: Duration = Duration::from_secs(300);

/// Something that is not there: which folder's affair it is, and a sentence.
pub(super) type Missing = (&'static str, String);

/// The folders the daemon wants.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    wanted: Vec<(&'static str, PathBuf)>,
    state: PathBuf,
    alone: Alone,
}

impl Folders {
    /// Those of a daemon that holds its state by `alone`.
    pub(super) fn of(config: &Config, alone: Alone) -> Folders {
        let wanted = vec![
            ("state", config.state.dir.clone()),
            ("cache", config.state.cache.clone()),
            ("videos", config.library.videos.clone()),
        ];
        Folders {
            wanted,
            state: config.state.dir.clone(),
            alone,
        }
    }

    /// As [`Folders::make`] for the start, which a disk that hangs must not hold up; before, the state folder is
    /// taken, and what an interrupted write left in it is taken away.
    pub(super) async fn make_at_start(&self, admin: &Arc<Admin>) -> Vec<Missing> {
        let (state, alone) = (self.state.clone(), self.alone.clone());
        let waiting = Arc::new(AtomicBool::new(true));
        let waited_for = Arc::clone(&waiting);
        let made = async {
            smol::unblock(move || {
                // Later than that, a temporary file may be one of our own.
                if alone.take(&state).is_ok() && waited_for.load(Ordering::SeqCst) {
                    store::atomic::sweep(&state);
                }
            })
            .await;
            self.make(admin).await
        };
        let late = async {
            smol::Timer::after(START_PATIENCE).await;
            waiting.store(false, Ordering::SeqCst);
            let sentence = "the disk of the folders does not answer".to_owned();
            vec![("state", sentence)]
        };
        or(made, late).await
    }

    /// Makes what can be made, and the token; a sentence for each that cannot.
    pub(super) async fn make(&self, admin: &Arc<Admin>) -> Vec<Missing> {
        let (wanted, admin) = (self.wanted.clone(), Arc::clone(admin));
        let (state, alone) = (self.state.clone(), self.alone.clone());
        smol::unblock(move || {
            let mut missing = Vec::new();
            for (name, path) in wanted {
                if let Err(error) = store::folder(&path) {
                    let remedy = match error.kind() {
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                            "; give it to rill's user, and let the service get there (README.Debian has the drop-in)"
                        }
                        _ => "",
                    };
                    let sentence = format!(
                        "the {name} folder {} cannot be made ({error}){remedy}",
                        path.display()
                    );
                    missing.push((name, sentence));
                }
            }
            // Another daemon's, or one that came after the start.
            if let Err(error) = alone.take(&state) {
                missing.push(("state", error.chain()));
            }
            if let Err(error) = admin.token() {
                missing.push(("state", error.chain()));
            }
            for (_, sentence) in &missing {
                log::debug!("{sentence}");
            }
            missing
        })
        .await
    }
}

/// How many videos there were, and when they were counted.
#[derive(Clone, Debug)]
struct Count {
    videos: usize,
    /// Why the count is not all, as the folder says it.
    problem: Option<String>,
    at: Instant,
    modified: Option<SystemTime>,
}

/// Everything that is looked after.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) folders: Folders,
    /// What is missing now; written by [`Upkeep::run`] alone.
    pub(super) missing: Vec<Missing>,
    /// What of it is the state's and the cache's, for health and pages.
    pub(super) lacks: Lacks,
    pub(super) database: Database,
    pub(super) admin: Arc<Admin>,
    pub(super) ffmpeg: Programs,
    pub(super) drive: Drive,
    pub(super) videos: Folder,
}

impl Upkeep {
    /// Looks after everything until dropped; `told` is the line that systemd has.
    pub(super) async fn run(mut self, mut told: String) {
        for (_, sentence) in &self.missing {
            log::warn!("{sentence}");
        }
        let mut count = None;
        loop {
            self.ffmpeg.look().await;
            if notify::wanted() {
                let counted = self.count(count).await;
                let line = self.status_line(Some(&counted));
                count = Some(counted);
                if line != told {
                    notify::send(vec![notify::status(&line)]).await;
                    told = line;
                }
            }
            smol::Timer::after(EVERY).await;
            self.make_again().await;
            // A disk that came back is found by trying it, and not by whoever happens to need it next.
            if self.database.fault().is_some() {
                let tried = self.database.unblocked(|database| {
                    database.try_again();
                    Ok(())
                });
                let _ = tried.await;
            }
        }
    }

    async fn make_again(&mut self) {
        let missing = self.folders.make(&self.admin).await;
        for (_, sentence) in missing.iter().filter(|lack| !self.missing.contains(lack)) {
            log::warn!("{sentence}");
        }
        for name in mended(&self.missing, &missing) {
            log::info!("the {name} folder is in order now");
        }
        self.missing = missing;
        self.publish();
    }

    /// Tells health and pages what the state and the cache lack; of the videos their own list says it.
    pub(super) fn publish(&self) {
        let lacks = self.missing.iter().filter(|(whose, _)| *whose != "videos");
        self.lacks
            .set(lacks.map(|(_, sentence)| sentence.clone()).collect());
    }

    async fn count(&self, last: Option<Count>) -> Count {
        let root = self.videos.root().to_owned();
        let modified =
            smol::unblock(move || std::fs::metadata(root).and_then(|m| m.modified()).ok()).await;
        if let Some(last) = last {
            let same = last.modified == modified && last.problem.is_none();
            if same && last.at.elapsed() < RECOUNT {
                return last;
            }
        }
        let listing = self.videos.list().await;
        let (videos, problem) = (listing.items.len(), listing.problem.clone());
        Count {
            videos,
            problem,
            at: Instant::now(),
            modified,
        }
    }

    /// The line: `12 videos, Drive: connected as x@y, 2 streams`, and behind it what is missing.
    fn status_line(&self, count: Option<&Count>) -> String {
        let drive = self.drive.status();
        let drive = match (&drive.error, &drive.account) {
            (Some(("drive_not_configured", _)), _) => "Drive: not configured".to_owned(),
            (Some((_, sentence)), _) => format!("Drive: {sentence}"),
            (None, Some(account)) => format!("Drive: connected as {account}"),
            (None, None) => "Drive: ready".to_owned(),
        };
        let fault = self.database.fault();
        let mut missing: Vec<&str> = self
            .missing
            .iter()
            .map(|(_, sentence)| sentence.as_str())
            .collect();
        // A folder of the state's that is missing is why the database is.
        let stateless = self.missing.iter().any(|(whose, _)| *whose == "state");
        missing.extend(fault.as_deref().filter(|_| !stateless));
        if let Some(count) = count {
            // A folder that could not be made is among the missing already.
            missing.extend(count.problem.as_deref().filter(|_| self.missing.is_empty()));
            // Before the first count nobody has looked for the programs either.
            if !self.ffmpeg.ffmpeg().available {
                missing.push("ffmpeg is missing");
            }
        }
        line(
            count.map(|count| count.videos),
            &drive,
            self.drive.stats().open,
            &missing,
        )
    }

    /// The line before anything has been counted.
    pub(super) fn first_status(&self) -> String {
        self.status_line(None)
    }
}

/// The folders of `before` that lack nothing `now`. One of which another sentence is said is not mended.
fn mended(before: &[Missing], now: &[Missing]) -> Vec<&'static str> {
    let mut names: Vec<_> = before.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| now.iter().all(|(other, _)| other != name));
    names
}

fn line(videos: Option<usize>, drive: &str, streams: u64, missing: &[&str]) -> String {
    let mut parts = Vec::new();
    parts.extend(videos.map(|n| plural(n as u64, "video")));
    parts.push(drive.to_owned());
    parts.push(plural(streams, "stream"));
    parts.extend(missing.iter().map(|sentence| (*sentence).to_owned()));
    parts.join(", ")
}

fn plural(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(
            line(Some(12), "Drive: connected as x@y", 2, &[]),
            "12 videos, Drive: connected as x@y, 2 streams"
        );
        assert_eq!(
            line(None, "Drive: not configured", 1, &["ffmpeg is missing"]),
            "Drive: not configured, 1 stream, ffmpeg is missing"
        );
    }

    #[test]
    fn a_lack_in_other_words_is_not_mended() {
        let lack = |name, sentence: &str| (name, sentence.to_owned());
        let before = [
            lack("videos", "no such file"),
            lack("state", "not made"),
            lack("state", "no token"),
        ];
        let now = [lack("videos", "a loop of links")];
        assert_eq!(mended(&before, &now), ["state"]);
        assert!(mended(&before, &before).is_empty());
    }

    #[test]
    fn what_is_missing_is_made_or_said() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("file"), b"").expect("written");
        let path = |name: &str| root.path().join(name);
        let folders = Folders {
            wanted: vec![
                ("state", path("state")),
                ("videos", path("file/videos")),
                ("cache", path("a/b")),
            ],
            state: path("state"),
            alone: Alone::default(),
        };
        let admin = Arc::new(Admin::open(&path("state")));
        let missing = smol::block_on(folders.make(&admin));
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].1.starts_with("the videos folder"));
        assert!(path("a/b").is_dir() && path("state").join(store::token::FILE).is_file());
    }
}
