//! Posters: a small picture of each film, made once and kept in the cache folder.
//!
//! A poster is named for the film's path, length and time, so that a film that was replaced has none, and whatever is
//! not wanted by a name is an orphan. A film of which none can be made leaves an empty mark in its place, and is not
//! tried again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::config::Config;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::probe;
use crate::ffmpeg::source::Source;
use crate::jobs::attempt::{Attempt, Output};
use crate::jobs::job::{Kind, Made};
use crate::jobs::part::{self, Part, There};
use crate::jobs::queue::Queue;
use crate::media::folder::{Folder, Item, Listing};
use crate::media::kind;
use crate::media::path::MediaPath;
use crate::store;

/// The folder's name in the cache folder.
const FOLDER: &str = "posters";

/// How the names of posters end, and those of marks.
const PICTURE: &str = ".jpg";
const MARK: &str = ".none";

/// Where a picture is taken, as parts of the film, until one is not black.
const PLACES: [f64; 7] = [0.10, 0.20, 0.35, 0.50, 0.05, 0.70, 0.90];

/// The same in seconds, of a film that does not tell its length.
const MOMENTS: [f64; 4] = [10.0, 60.0, 3.0, 0.0];

/// How often the programs are looked for while they are missing.
const LOOK: Duration = Duration::from_secs(2);

/// The picture in small, by which it is seen whether it is black: width times height, one byte each.
const SMALL: (u32, u32) = (16, 9);

/// From which brightness on a spot is not black, of 255, and how many spots in a hundred must not be.
const LIGHT: u8 = 40;
const LIGHT_PERCENT: usize = 4;

/// The posters; clones share them.
#[derive(Clone, Debug)]
pub struct Posters {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    videos: Folder,
    free_space: u64,
    /// Whether new ones are made.
    wanted: bool,
    programs: Programs,
    queue: Queue,
    known: Mutex<Known>,
}

/// What is in the folder. Held for a few instructions.
#[derive(Debug, Default)]
struct Known {
    pictures: HashSet<String>,
    marks: HashSet<String>,
    /// Films that a job was begun for in this process.
    tried: HashSet<String>,
}

impl Posters {
    /// The posters of a daemon.
    pub fn new(config: &Config, videos: Folder, programs: Programs, queue: Queue) -> Posters {
        Posters {
            inner: Arc::new(Inner {
                folder: config.state.cache.join(FOLDER),
                videos,
                free_space: config.limits.free_space,
                wanted: config.library.posters,
                programs,
                queue,
                known: Mutex::default(),
            }),
        }
    }

    /// Whether a film of a listing has a poster.
    pub fn has(&self, item: &Item) -> bool {
        self.inner
            .known()
            .pictures
            .contains(&name(&item.path, item.bytes, item.modified))
    }

    /// The poster of a film.
    ///
    /// # Errors
    /// `not_found` when there is no such film; `poster_not_made` when there is none yet, which asks for one.
    pub async fn open(&self, path: &MediaPath) -> Result<Arc<File>> {
        let film = self.inner.videos.open(path).await?;
        let name = film_name(path, film).await?;
        let place = self.inner.folder.join(format!("{name}{PICTURE}"));
        match smol::unblock(move || File::open(place)).await {
            Ok(file) => return Ok(Arc::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(
                    Error::internal("The cache folder cannot be read; check the disk.")
                        .because(error),
                );
            }
        }
        if self.may_be_made(path, &name) {
            self.ask(path, name).await;
        }
        Err(Error::new(
            ErrorKind::NotFound,
            "poster_not_made",
            "There is no poster of this film, or not yet; try again in a minute.",
        ))
    }

    fn may_be_made(&self, path: &MediaPath, name: &str) -> bool {
        let known = self.inner.known();
        kind::of_name(path.name()) == kind::Kind::Video
            && !known.pictures.contains(name)
            && !known.marks.contains(name)
            && !known.tried.contains(name)
            && self.are_possible()
    }

    fn are_possible(&self) -> bool {
        self.inner.wanted
            && self.inner.programs.ffmpeg().available
            && self.inner.programs.ffprobe().available
    }

    /// Waits until the programs are there, when posters are wanted and they are not.
    pub(crate) async fn become_possible(&self) {
        if self.are_possible() || !self.inner.wanted {
            std::future::pending::<()>().await;
        }
        while !self.are_possible() {
            smol::Timer::after(LOOK).await;
        }
    }

    async fn ask(&self, path: &MediaPath, name: String) {
        match self.inner.queue.add(Kind::Poster(path.clone())).await {
            Ok(_) => {
                self.inner.known().tried.insert(name);
            }
            Err(error) => log::debug!("no poster is made: {}", error.chain()),
        }
    }

    /// Asks for the poster of one film that has none, unless one is being made.
    pub(crate) async fn ask_for_next(&self, listing: &Listing) {
        let under_way =
            |job: &crate::jobs::job::Job| !job.state.is_final() && job.kind.is_housekeeping();
        if self.inner.queue.count(under_way) > 0 {
            return;
        }
        for item in &listing.items {
            let name = name(&item.path, item.bytes, item.modified);
            if self.may_be_made(&item.path, &name) {
                self.ask(&item.path, name).await;
                return;
            }
        }
    }

    /// Reads what is in the folder, and takes away what is left of killed jobs. For the start.
    pub(crate) async fn prepare(&self) {
        let inner = Arc::clone(&self.inner);
        smol::unblock(move || {
            part::sweep(&inner.folder);
            let names = names(&inner.folder);
            *inner.known() = names.unwrap_or_default();
        })
        .await;
    }

    /// Lets a film that was renamed keep its poster.
    pub async fn carry(&self, from: &MediaPath, to: &MediaPath) {
        let Ok(film) = self.inner.videos.open(to).await else {
            return;
        };
        let inner = Arc::clone(&self.inner);
        let (from, to) = (from.clone(), to.clone());
        smol::unblock(move || {
            let Ok(metadata) = film.metadata() else {
                return;
            };
            let name = |path| name(path, metadata.len(), metadata.mtime());
            let (old, new) = (name(&from), name(&to));
            let place = |name: &str, suffix| inner.folder.join(format!("{name}{suffix}"));
            for (suffix, picture) in [(PICTURE, true), (MARK, false)] {
                if fs::rename(place(&old, suffix), place(&new, suffix)).is_err() {
                    continue;
                }
                let mut known = inner.known();
                let names = match picture {
                    true => &mut known.pictures,
                    false => &mut known.marks,
                };
                names.remove(&old);
                names.insert(new.clone());
            }
        })
        .await;
    }

    /// Removes posters of films that are no more. `listing` must be whole.
    pub(crate) async fn remove_orphans(&self, listing: &Listing) {
        let wanted: HashSet<String> = listing
            .items
            .iter()
            .map(|item| name(&item.path, item.bytes, item.modified))
            .collect();
        let inner = Arc::clone(&self.inner);
        smol::unblock(move || {
            let orphans: Vec<(String, &str)> = {
                let mut known = inner.known();
                let mut orphans = Vec::new();
                let mut split = |names: &mut HashSet<String>, suffix| {
                    names.retain(|name| {
                        let stays = wanted.contains(name);
                        if !stays {
                            orphans.push((name.clone(), suffix));
                        }
                        stays
                    });
                };
                split(&mut known.pictures, PICTURE);
                split(&mut known.marks, MARK);
                known.tried.retain(|name| wanted.contains(name));
                orphans
            };
            for (name, suffix) in orphans {
                let _ = fs::remove_file(inner.folder.join(format!("{name}{suffix}")));
            }
        })
        .await;
    }

    /// Makes the poster of a film.
    ///
    /// # Errors
    /// `poster_impossible` when it has no picture that is not black; what ffmpeg fails with.
    pub(crate) async fn make(&self, attempt: &Attempt, path: &MediaPath) -> Result<Made> {
        let made = self.make_of(attempt, path).await;
        // Converted, renamed or deleted meanwhile: whatever has its place gets a poster of its own.
        let gone = |error: &Error| error.kind() == ErrorKind::NotFound;
        match made {
            Err(_) if self.inner.videos.open(path).await.is_err_and(|e| gone(&e)) => Ok(Made {
                mode: Some("gone".to_owned()),
                size: None,
            }),
            made => made,
        }
    }

    async fn make_of(&self, attempt: &Attempt, path: &MediaPath) -> Result<Made> {
        let film = self.inner.videos.open(path).await?;
        let name = film_name(path, film).await?;
        let folder = self.inner.folder.clone();
        smol::unblock(move || store::folder(&folder))
            .await
            .map_err(cache_failed)?;
        match self.take(attempt, path, &name).await {
            Ok(bytes) => {
                self.inner.known().pictures.insert(name);
                Ok(Made {
                    mode: None,
                    size: Some(bytes),
                })
            }
            Err(error) => {
                // What the film is to blame for is so the next time as well.
                if matches!(
                    error.code(),
                    "poster_impossible" | "not_media" | "conversion_failed"
                ) {
                    let mark = self.inner.folder.join(format!("{name}{MARK}"));
                    let _ = smol::unblock(move || File::create(mark)).await;
                    self.inner.known().marks.insert(name);
                }
                Err(error)
            }
        }
    }

    async fn take(&self, attempt: &Attempt, path: &MediaPath, name: &str) -> Result<u64> {
        let inner = &self.inner;
        let ffmpeg = inner.programs.ffmpeg_path()?;
        let source = Source::File(inner.videos.root().join(path.as_path()));
        let info = probe::probe(&inner.programs.ffprobe_path()?, &source).await?;
        let video = info
            .video()
            .ok_or_else(|| impossible("there is no picture in it"))?;
        let moments: Vec<f64> = match info.duration {
            Some(duration) => PLACES.iter().map(|place| place * duration).collect(),
            None => MOMENTS.to_vec(),
        };
        let mut picture = Part::of(&inner.folder, attempt.id, 0);
        let small = Part::of(&inner.folder, attempt.id, 1);
        let output = Output {
            part: picture.path().to_owned(),
            free_space: inner.free_space,
            duration: None,
        };
        let mut failure = None;
        for moment in moments {
            let arguments = arguments(&source, video.index, moment, picture.path(), small.path());
            match attempt.run(&ffmpeg, arguments, &source, &output).await {
                Ok(_) => {}
                // The rest of a damaged film may do.
                Err(error) if error.code() == "conversion_failed" => {
                    failure = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (seen, place) = (
                small.path().to_owned(),
                inner.folder.join(format!("{name}{PICTURE}")),
            );
            let taken = smol::unblock(move || {
                let light = fs::read(&seen).is_ok_and(|spots| is_light(&spots));
                // A moment beyond the end has no picture, and must not be judged by this one.
                let _ = fs::remove_file(&seen);
                let bytes = fs::metadata(picture.path()).map_or(0, |file| file.len());
                let placed = light && bytes > 0 && picture.place(&place, There::Replaced)?;
                Ok::<_, io::Error>((picture, placed.then_some(bytes)))
            });
            let bytes;
            (picture, bytes) = taken.await.map_err(cache_failed)?;
            if let Some(bytes) = bytes {
                return Ok(bytes);
            }
        }
        Err(failure.unwrap_or_else(|| impossible("it is black from beginning to end")))
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Sets that are whole between two calls.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arguments that take the picture of a moment: as a JPEG at `picture`, and in small at `small`.
fn arguments(
    source: &Source,
    index: u32,
    moment: f64,
    picture: &Path,
    small: &Path,
) -> Vec<std::ffi::OsString> {
    let file = |path: &Path| {
        let mut name = std::ffi::OsString::from("file:");
        name.push(path);
        name
    };
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    let mut push = |new: &[&str]| words.extend(new.iter().map(std::ffi::OsString::from));
    push(&[
        "-hide_banner",
        "-nostdin",
        "-y",
        "-loglevel",
        "error",
        "-progress",
        "pipe:1",
    ]);
    push(&["-ss", &format!("{moment:.3}")]);
    words.extend(source.arguments());
    let (width, height) = SMALL;
    // By the shape that is seen, not by that of the samples.
    let graph = format!(
        "[0:{index}]scale=w=320:h='max(2,min(640,trunc(320/dar/2)*2))',setsar=1,format=yuvj420p,split[picture][copy];\
         [copy]scale={width}:{height}:flags=area,format=gray[small]"
    );
    let mut push = |new: &[&str]| words.extend(new.iter().map(std::ffi::OsString::from));
    push(&[
        "-filter_complex",
        &graph,
        "-map",
        "[picture]",
        "-frames:v",
        "1",
    ]);
    push(&["-c:v", "mjpeg", "-q:v", "4", "-f", "mjpeg"]);
    words.push(file(picture));
    let mut push = |new: &[&str]| words.extend(new.iter().map(std::ffi::OsString::from));
    push(&[
        "-map",
        "[small]",
        "-frames:v",
        "1",
        "-c:v",
        "rawvideo",
        "-f",
        "rawvideo",
    ]);
    words.push(file(small));
    words
}

/// Whether enough of a picture is not black.
fn is_light(spots: &[u8]) -> bool {
    let whole = (SMALL.0 * SMALL.1) as usize;
    let light = spots.iter().filter(|&&spot| spot >= LIGHT).count();
    spots.len() == whole && light * 100 >= whole * LIGHT_PERCENT
}

/// Under which name the poster of a film is kept, without its extension.
fn name(path: &MediaPath, bytes: u64, modified: i64) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(path.as_bytes());
    digest.update(b"\0");
    digest.update(&bytes.to_be_bytes());
    digest.update(&modified.to_be_bytes());
    let digest = digest.finish();
    digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn film_name(path: &MediaPath, film: Arc<File>) -> Result<String> {
    let metadata = smol::unblock(move || film.metadata()).await;
    let metadata = metadata.map_err(|error| {
        Error::internal("The film cannot be read; check the disk.").because(error)
    })?;
    Ok(name(path, metadata.len(), metadata.mtime()))
}

/// What is in the folder.
fn names(folder: &Path) -> io::Result<Known> {
    let mut known = Known::default();
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if let Some(name) = name.strip_suffix(PICTURE) {
            known.pictures.insert(name.to_owned());
        } else if let Some(name) = name.strip_suffix(MARK) {
            known.marks.insert(name.to_owned());
        }
    }
    Ok(known)
}

fn impossible(why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "poster_impossible",
        format!("No poster can be made of this film: {why}."),
    )
}

fn cache_failed(error: io::Error) -> Error {
    Error::internal(format!(
        "The cache folder cannot be written ({error}); look after its disk."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_is_black() {
        let whole = (SMALL.0 * SMALL.1) as usize;
        assert!(!is_light(&vec![16; whole]) && !is_light(&[]) && !is_light(&[255; 3]));
        assert!(is_light(&vec![120; whole]));
        // The names of actors, white on black.
        let mut credits = vec![0; whole];
        credits[..8].fill(200);
        assert!(is_light(&credits));
    }

    #[test]
    fn another_film_has_another_name() {
        let path = |text: &str| MediaPath::new(text.as_bytes()).unwrap();
        let all = [
            name(&path("a"), 1, 1),
            name(&path("b"), 1, 1),
            name(&path("a"), 2, 1),
            name(&path("a"), 1, 2),
        ];
        let different: HashSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|name| name.len() == 32));
    }
}
