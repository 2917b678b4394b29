//! What there is to watch: categories, routes, courses, modules, classes. No network.
//!
//! ```text
//! scanner     a JSON text, once, in pieces      build       from text to index and bootstrap
//! escape      what a string of it says          key         which of its keys mean something
//! index       names and places, in memory       search      words and where they stand
//! generation  one catalog as it was, whole      watch       when the next one comes
//! reference   what names a file                 references  all of them, counted
//! text        names as they are compared        course      one course, read for a page
//! scan        from folders to that text
//! ```
//!
//! A request takes the present [`Generation`] once and holds it: whatever changes meanwhile, its answer is of one
//! piece. A reload builds the next one beside it and exchanges the pointer.

mod build;
pub mod course;
mod escape;
mod generation;
pub mod index;
mod key;
pub mod reference;
mod references;
pub mod scan;
mod scanner;
pub mod search;
pub mod text;
mod twin;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::config::Config;
use generation::Refusal;

pub use generation::{Generation, Origin, Source};

/// The file that a scan writes, in the state folder.
pub const FILE: &str = "catalog.json";

/// The file that the seed's tools write; read when there is no [`FILE`].
pub const IMPORTED: &str = "courses_cache.json";

/// The largest file that is read, in bytes; a catalog of 20,000 classes has a tenth of it. A scan writes none beyond
/// this and the two bounds below, so that what it writes is read.
const LARGEST: u64 = 256 << 20;

/// Bytes of one course, which is sent of one piece. One of a thousand classes has one million.
const LONGEST_COURSE: u64 = 16 << 20;

/// Categories, routes, courses, modules and classes together: ten times the largest library, and some 30 MB.
const MOST_ENTRIES: usize = 250_000;

/// Tries to read a file that is being written, and the pause between them. A tool that takes longer tells its end by
/// closing the file, which begins a new round.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// The catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: PathBuf,
    cache: PathBuf,
    /// Bytes that a copy leaves free on its disk.
    spare: u64,
    /// Held for the copy of a pointer. Never together with `state_of_load`.
    current: RwLock<Arc<Generation>>,
    /// Held while a file is read, so that one reload follows the other.
    load: Mutex<Load>,
    /// Why the file that is there is not the catalog that is served. Written by a reload; held for a few
    /// instructions, also within `load`.
    problem: Mutex<Option<String>>,
}

/// What the last reload saw.
#[derive(Debug, Default)]
struct Load {
    /// Whether the loss of the file was said already.
    absent: bool,
}

impl Catalog {
    /// An empty catalog; [`Catalog::reload`] reads the one that is there.
    ///
    /// # Errors
    /// The kernel gives no file in memory.
    pub fn new(config: &Config) -> io::Result<Catalog> {
        Ok(Catalog {
            inner: Arc::new(Inner {
                state: config.state.dir.clone(),
                cache: config.state.cache.clone(),
                spare: config.limits.free_space,
                current: RwLock::new(Arc::new(Generation::empty()?)),
                load: Mutex::default(),
                problem: Mutex::default(),
            }),
        })
    }

    /// The catalog as it is now.
    pub fn current(&self) -> Arc<Generation> {
        let current = self.inner.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the file that is there is not what is served; `None` when it is.
    pub fn problem(&self) -> Option<String> {
        lock(&self.inner.problem).clone()
    }

    /// The folder that holds the file.
    pub fn folder(&self) -> &Path {
        &self.inner.state
    }

    /// Reads the file that is there, and serves it from here on; a file that cannot be used changes nothing but the log
    /// and [`Catalog::problem`]. Blocks, up to a second.
    pub fn reload(&self) {
        let mut load = lock(&self.inner.load);
        let began = std::time::Instant::now();
        // Told twice of one change, by the kernel and by who made it.
        if self.problem().is_none() && self.is_current() {
            load.absent = false;
            return;
        }
        let read = self.read();
        let problem = match read {
            Ok(generation) => {
                load.absent = false;
                log::info!(
                    "the catalog has {} courses and {} classes, read in {} ms from {}",
                    generation.index.courses.len(),
                    generation.index.classes.len(),
                    began.elapsed().as_millis(),
                    generation
                        .origin
                        .path
                        .as_deref()
                        .unwrap_or(Path::new("nowhere"))
                        .display(),
                );
                let generation = Arc::new(generation);
                // First, so that nobody reads of a problem that the new one does not have.
                *lock(&self.inner.problem) = None;
                let before = {
                    let current = self.inner.current.write();
                    let mut current = current.unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *current, Arc::clone(&generation))
                };
                twin::make(&generation, &before, &self.inner.cache, self.inner.spare);
                None
            }
            Err(Refusal::Absent) => {
                let had = self.current().origin.source != Source::None;
                if had && !std::mem::replace(&mut load.absent, true) {
                    log::warn!(
                        "{FILE} is gone from {}; the catalog stays as it was until there is another",
                        self.inner.state.display()
                    );
                }
                None
            }
            Err(Refusal::Changed) => {
                log::debug!("{FILE} is being written; it is read when that is done");
                return;
            }
            Err(Refusal::Unusable(sentence)) => {
                let stays = match self.current().origin.source {
                    Source::None => "there is no catalog until it is mended",
                    _ => "the catalog before it stays",
                };
                let sentence = format!("{sentence}; {stays}");
                let before = lock(&self.inner.problem).replace(sentence.clone());
                // Said once it can be read.
                if before.as_ref() != Some(&sentence) {
                    log::warn!("{sentence}");
                }
                Some(sentence)
            }
        };
        *lock(&self.inner.problem) = problem;
    }

    /// Follows the file for as long as it is polled: reads it now, and whenever it changes. `read` is dropped when the
    /// first read is over.
    pub async fn follow(&self, read: smol::channel::Sender<()>) {
        watch::follow(self, read).await;
    }

    /// Whether what is served is what a reload would read.
    fn is_current(&self) -> bool {
        let (current, state) = (self.current(), &self.inner.state);
        match current.origin.source {
            Source::None => false,
            Source::Import => !state.join(FILE).exists() && current.is_of(&state.join(IMPORTED)),
            Source::Scan | Source::Local => current.is_of(&state.join(FILE)),
        }
    }

    fn read(&self) -> Result<Generation, Refusal> {
        let inner = &self.inner;
        let folders = [inner.cache.as_path(), inner.state.as_path()];
        for last in 1..=TRIES {
            let own = Generation::read(&inner.state.join(FILE), false, &folders, inner.spare);
            let read = match own {
                Err(Refusal::Absent) => {
                    let imported = inner.state.join(IMPORTED);
                    Generation::read(&imported, true, &folders, inner.spare)
                }
                read => read,
            };
            match read {
                Err(Refusal::Changed) if last < TRIES => std::thread::sleep(PAUSE),
                read => return read,
            }
        }
        Err(Refusal::Changed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data that is never left half-written: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
