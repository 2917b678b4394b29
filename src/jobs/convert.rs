//! Making of an uploaded file what every screen plays: a faststart MP4 in its place, its subtitles as WebVTT beside it.
//!
//! The original goes only when the result was looked into and is on the disk under its name. In this order a kill at
//! any instruction loses nothing and leaves nothing twice:
//!
//! 1. the film and the subtitles are written under names of the job ([`Part`]), and looked into
//! 2. the subtitles get their names; what is there already with the same words is enough
//! 3. the queue notes which file (inode) the film is
//! 4. the film gets its name, the original is removed
//!
//! A job that is begun again and finds the noted file under a name of its own goes on with the last step.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::probe::{self, MediaInfo};
use crate::ffmpeg::source::Source;
use crate::jobs::attempt::{Attempt, Output, require_space};
use crate::jobs::job::Made;
use crate::jobs::part::{self, Part, There};
use crate::jobs::plan::{Container, INPUT, Length, Plan, Subtitle, compare};
use crate::media::folder::Folder;
use crate::media::path::MediaPath;
use crate::media::{kind, language, playable, sniff};

/// Names that are tried for a result: ` (2)`, ` (3)` and so on.
const NAMES: u32 = 100;

/// Bytes of subtitles that are read; a season's worth.
const TEXT: u64 = 32 * 1024 * 1024;

/// What converts files below `library.videos`.
#[derive(Clone, Debug)]
pub(crate) struct Converter {
    folder: Folder,
    keep_originals: bool,
    free_space: u64,
    programs: Programs,
}

/// What ffmpeg wrote.
struct Written {
    film: Part,
    texts: Vec<Part>,
    /// The subtitles could not be had.
    lost: bool,
    /// The time that it wrote, in seconds.
    time: f64,
}

impl Converter {
    pub(crate) fn new(config: &Config, folder: Folder, programs: Programs) -> Converter {
        Converter {
            folder,
            keep_originals: config.library.keep_originals,
            free_space: config.limits.free_space,
            programs,
        }
    }

    /// Converts a file. `note` is what an earlier attempt left.
    ///
    /// # Errors
    /// What keeps it from being read, looked into, converted or placed: a sentence each. The original is there then.
    pub(crate) async fn convert(
        &self,
        attempt: &Attempt,
        path: &MediaPath,
        note: Option<&str>,
    ) -> Result<Made> {
        let ffmpeg = self.programs.ffmpeg_path()?;
        let ffprobe = self.programs.ffprobe_path()?;
        let place = self.folder.root().join(path.as_path());
        if let Some(note) = note.and_then(Note::read) {
            let place = place.clone();
            if let Some(made) = smol::unblock(move || note.finish(&place)).await? {
                return Ok(made);
            }
        }
        // The fence of the folder: what it does not open is not converted.
        let file = self.folder.open(path).await;
        let arrived = note.and_then(arrived);
        if arrived.is_some()
            && file
                .as_ref()
                .is_err_and(|error| error.kind() == Kind::NotFound)
        {
            return Err(never_came());
        }
        let (before, ready) = look(file?).await?;
        if arrived.is_some_and(|bytes| bytes != before.len()) {
            return Err(never_came());
        }
        let source = Source::File(place.clone());
        let info = probe::probe(&ffprobe, &source).await?;
        let verdict = playable::judge(&info, kind::by_name(path.name()));
        if verdict.plan == playable::Plan::Direct && ready {
            return Ok(Made {
                mode: Some("unchanged".to_owned()),
                size: Some(before.len()),
            });
        }
        let plan = Plan::of(&info).ok_or_else(nothing_to_convert)?;
        let folder = place.parent().unwrap_or(self.folder.root()).to_owned();
        let (disk, wanted, keep) = (folder.clone(), before.len(), self.free_space);
        smol::unblock(move || require_space(&disk, wanted, keep)).await?;

        let written = self
            .write(attempt, &ffmpeg, &source, &info, &plan, &folder)
            .await?;
        let result = probe::probe(&ffprobe, &Source::File(written.film.path().to_owned())).await?;
        let length = compare(info.duration, result.duration, written.time, false);
        if length != Length::Same || !plan.is_met_by(&result) {
            return Err(not_the_same(&info, &result));
        }
        let keeps = self.keep_originals || written.lost;
        let lost = written.lost;
        let size = self
            .place(attempt, written, &plan, &before, &place, keeps)
            .await?;
        Ok(Made {
            mode: Some(match lost {
                true => format!("{}, without the subtitles", plan.mode()),
                false => plan.mode().to_owned(),
            }),
            size: Some(size),
        })
    }

    /// Has ffmpeg write the film and the subtitles; the film alone when the subtitles are what it fails at.
    async fn write(
        &self,
        attempt: &Attempt,
        ffmpeg: &Path,
        source: &Source,
        info: &MediaInfo,
        plan: &Plan,
        folder: &Path,
    ) -> Result<Written> {
        let film = Part::of(folder, attempt.id, 0);
        let output = Output {
            part: film.path().to_owned(),
            free_space: self.free_space,
            duration: info.duration,
        };
        let count = plan.subtitles.len();
        let texts: Vec<Part> = (1..=count)
            .map(|n| Part::of(folder, attempt.id, n))
            .collect();
        let paths: Vec<&Path> = texts.iter().map(Part::path).collect();
        let arguments = plan.arguments(source, &INPUT, film.path(), &paths);
        let (time, texts, lost) = match attempt.run(ffmpeg, arguments, source, &output).await {
            Ok(time) => (time, texts, false),
            Err(error) if count > 0 && error.code() == "conversion_failed" => {
                log::warn!("converting without the subtitles: {}", error.sentence());
                let arguments = plan.arguments(source, &INPUT, film.path(), &[]);
                let time = attempt.run(ffmpeg, arguments, source, &output).await?;
                (time, Vec::new(), true)
            }
            Err(error) => return Err(error),
        };
        Ok(Written {
            film,
            texts,
            lost,
            time: time.as_secs_f64(),
        })
    }

    /// Steps 2 to 4; the bytes of the film.
    async fn place(
        &self,
        attempt: &Attempt,
        written: Written,
        plan: &Plan,
        before: &Metadata,
        place: &Path,
        keeps: bool,
    ) -> Result<u64> {
        let (container, subtitles) = (plan.container, plan.subtitles.clone());
        let (from, mut film, texts) = (place.to_owned(), written.film, written.texts);
        let prepared = smol::unblock(move || -> Result<_> {
            let target = target(&from, container, keeps)?;
            place_texts(texts, &subtitles, &target)
                .map_err(|error| disk_failed(&target, &error))?;
            // From here on nothing changes it, so that what is noted stays true.
            let file = File::open(film.path()).and_then(|file| {
                file.sync_all()?;
                file.metadata()
            });
            let file = file.map_err(|error| disk_failed(&target, &error))?;
            Ok((film, target, file))
        });
        let target;
        let file;
        (film, target, file) = prepared.await?;
        let note = Note {
            film: Identity::of(&file),
            original: Identity::of(before),
            keeps,
        };
        attempt.queue.note(attempt.id, note.write()).await?;
        let from = place.to_owned();
        smol::unblock(move || {
            let there = match target == from {
                true => There::Replaced,
                false => There::Spared,
            };
            match film.place(&target, there) {
                Ok(true) => {}
                Ok(false) => return Err(name_taken(&target)),
                Err(error) => return Err(disk_failed(&target, &error)),
            }
            note.remove_original(&from, &target)
        })
        .await?;
        Ok(file.len())
    }
}

/// What the queue remembers of a job for a file that is about to be there.
pub(crate) fn arriving(bytes: u64) -> String {
    format!("{ARRIVING} {bytes}")
}

/// How long the file is that a job was added for before it was there.
fn arrived(note: &str) -> Option<u64> {
    note.strip_prefix(ARRIVING)?.trim_start().parse().ok()
}

const ARRIVING: &str = "arriving";

fn never_came() -> Error {
    Error::new(
        Kind::NotFound,
        "not_found",
        "The file that was being uploaded is not there: the daemon was stopped before all of it was, or it was moved \
         since. If it is missing, send it again.",
    )
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity {
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn is_at(self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == self)
    }
}

/// What the queue remembers between the result's being whole and the original's being gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    film: Identity,
    original: Identity,
    keeps: bool,
}

impl Note {
    fn write(self) -> String {
        let one = |identity: Identity| {
            let (seconds, nanoseconds) = identity.changed;
            format!(
                "{} {} {seconds} {nanoseconds}",
                identity.inode, identity.bytes
            )
        };
        format!(
            "{} {} {}",
            one(self.film),
            one(self.original),
            u8::from(self.keeps)
        )
    }

    fn read(text: &str) -> Option<Note> {
        let mut words = text.split(' ');
        let mut one = || {
            Some(Identity {
                inode: words.next()?.parse().ok()?,
                bytes: words.next()?.parse().ok()?,
                changed: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            })
        };
        let (film, original) = (one()?, one()?);
        Some(Note {
            film,
            original,
            keeps: words.next()? == "1",
        })
    }

    /// Goes on after the film got its name, when it did.
    fn finish(self, place: &Path) -> Result<Option<Made>> {
        let containers = [Container::Mp4, Container::M4a];
        let mut names = containers
            .into_iter()
            .flat_map(|container| names(place, container));
        let Some(target) = names.find(|name| self.film.is_at(name)) else {
            return Ok(None);
        };
        self.remove_original(place, &target)?;
        Ok(Some(Made {
            mode: None,
            size: Some(self.film.bytes),
        }))
    }

    /// Removes the original, unless it is to stay, or is another file by now.
    fn remove_original(self, place: &Path, target: &Path) -> Result<()> {
        if self.keeps || place == target || !self.original.is_at(place) {
            return Ok(());
        }
        let removed = fs::remove_file(place).and_then(|()| part::sync_folder(place));
        removed.map_err(|error| {
            Error::internal(format!(
                "It was converted, but {} cannot be removed ({error}); give its folder to rill's user.",
                place.display()
            ))
        })
    }
}

/// What a file is, and whether it needs no copying to be read from its beginning. The length of an MP4 is told by its
/// index; with the index at the end, players ask three times before they begin.
async fn look(file: Arc<File>) -> Result<(Metadata, bool)> {
    let looked =
        smol::unblock(move || Ok::<_, io::Error>((file.metadata()?, sniff::is_ready(&file)?)));
    looked
        .await
        .map_err(|error| Error::internal("The file cannot be read; check the disk.").because(error))
}

/// The names that a result may have, in the order in which they are tried.
fn names(place: &Path, container: Container) -> impl Iterator<Item = PathBuf> {
    let place = place.to_owned();
    (1..=NAMES).map(move |n| {
        let mut name = OsString::from(place.file_stem().unwrap_or_default());
        if n > 1 {
            name.push(format!(" ({n})"));
        }
        name.push(format!(".{}", container.extension()));
        place.with_file_name(name)
    })
}

/// Where a result goes: to the original's place where it has its name and the original is not kept, else to the first
/// name that nobody has.
fn target(place: &Path, container: Container, keeps: bool) -> Result<PathBuf> {
    let free = |name: &PathBuf| (name == place && !keeps) || name.symlink_metadata().is_err();
    let mut names = names(place, container);
    names.find(free).ok_or_else(|| name_taken(place))
}

/// Gives subtitles their names beside `film`: `NAME.es.vtt`, a second one in a language `NAME.es.2.vtt`. One that is
/// there already with the same words is enough; one without a word is none.
fn place_texts(texts: Vec<Part>, subtitles: &[Subtitle], film: &Path) -> io::Result<()> {
    for (mut text, subtitle) in texts.into_iter().zip(subtitles) {
        let words = read_text(text.path())?;
        if !words.windows(3).any(|three| three == b"-->") {
            continue;
        }
        let mut n = 1;
        loop {
            let mut name = OsString::from(film.file_stem().unwrap_or_default());
            if let Some(language) = &subtitle.language {
                name.push(format!(".{}", tag(language)));
            }
            if subtitle.forced {
                name.push(".forced");
            }
            if n > 1 {
                name.push(format!(".{n}"));
            }
            name.push(".vtt");
            let path = film.with_file_name(name);
            let same = read_text(&path).is_ok_and(|there| there == words);
            if same || text.place(&path, There::Spared)? {
                break;
            }
            n += 1;
            if n > NAMES {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
    }
    Ok(())
}

/// A language as it stands in a name: its tag, or what the file calls it, without what a name must not hold.
fn tag(language: &str) -> String {
    language::tag(language).unwrap_or_else(|| {
        let plain = language
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-');
        let plain: String = plain.take(20).collect();
        match plain.is_empty() {
            true => "unknown".to_owned(),
            false => plain,
        }
    })
}

fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn nothing_to_convert() -> Error {
    Error::new(
        Kind::Unsupported,
        "not_media",
        "There is no film and no music in this file that ffmpeg can read.",
    )
}

/// The result is not what it was made of.
pub(crate) fn not_the_same(source: &MediaInfo, result: &MediaInfo) -> Error {
    let seconds = |info: &MediaInfo| {
        info.duration
            .map_or("an unknown time".to_owned(), |s| format!("{s:.0} s"))
    };
    Error::new(
        Kind::BadGateway,
        "conversion_failed",
        format!(
            "What came of it is not the same: {} with {} streams, of a file of {} with {}. The file may be damaged or cut short: it was \
             left as it is, and its compatible version plays as far as it goes.",
            seconds(result),
            result.streams.len(),
            seconds(source),
            source.streams.len()
        ),
    )
}

fn name_taken(place: &Path) -> Error {
    Error::new(
        Kind::Conflict,
        "name_taken",
        format!(
            "Another file took the name {}; rename it, then convert again.",
            place.file_name().unwrap_or_default().to_string_lossy()
        ),
    )
}

/// The disk refused a result its name.
pub(crate) fn disk_failed(place: &Path, error: &io::Error) -> Error {
    let folder = place.parent().unwrap_or(place).display();
    let (kind, code) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (Kind::NoSpace, "no_space"),
        _ => (Kind::Internal, "internal"),
    };
    Error::new(
        kind,
        code,
        format!(
            "The result could not be kept in {folder} ({error}); look after that disk, then try again."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::job::JobId;

    #[test]
    fn notes_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"12345").unwrap();
        let identity = Identity::of(&fs::metadata(folder.path().join("a")).unwrap());
        for keeps in [true, false] {
            let note = Note {
                film: identity,
                original: Identity {
                    inode: 7,
                    ..identity
                },
                keeps,
            };
            assert_eq!(Note::read(&note.write()), Some(note));
        }
        for strange in ["", "1 2 3", "a b c d e f g h i", "1 2 3 4 5 6 7 8"] {
            assert_eq!(Note::read(strange), None);
        }
    }

    #[test]
    fn an_interrupted_end_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("film.mkv");
        fs::write(&place, b"old").unwrap();
        fs::write(folder.path().join("film.mp4"), b"another film").unwrap();
        fs::write(folder.path().join("film (2).mp4"), b"new").unwrap();
        let identity = |name: &str| Identity::of(&fs::metadata(folder.path().join(name)).unwrap());
        let note = Note {
            film: identity("film (2).mp4"),
            original: identity("film.mkv"),
            keeps: false,
        };
        assert!(note.finish(&place).unwrap().is_some());
        assert!(!place.exists());
        // A second time, and when another file has the original's name.
        assert!(note.finish(&place).unwrap().is_some());
        fs::write(&place, b"uploaded again").unwrap();
        assert!(note.finish(&place).unwrap().is_some());
        assert!(place.exists());
        fs::remove_file(folder.path().join("film (2).mp4")).unwrap();
        assert!(note.finish(&place).unwrap().is_none());
        assert!(folder.path().join("film.mp4").exists());
    }

    #[test]
    fn names_of_results() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.b.mkv");
        let name = |place: &Path, keeps| {
            let target = target(place, Container::Mp4, keeps).unwrap();
            target.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name(&place, false), "a.b.mp4");
        let taken = folder.path().join("a.b.mp4");
        fs::write(&taken, b"").unwrap();
        assert_eq!(name(&place, false), "a.b (2).mp4");
        assert_eq!(name(&taken, false), "a.b.mp4");
        assert_eq!(name(&taken, true), "a.b (2).mp4");
    }

    #[test]
    fn subtitles_get_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("Film (2).mp4");
        let subtitle = |language: Option<&str>, forced| Subtitle {
            index: 0,
            language: language.map(str::to_owned),
            forced,
        };
        let subtitles = [
            subtitle(Some("spa"), false),
            subtitle(Some("spa"), false),
            subtitle(None, false),
            subtitle(Some("../../x"), true),
            subtitle(Some("fre"), false),
        ];
        let place = || {
            let texts = (0..5).map(|n| {
                let text = Part::of(folder.path(), JobId(1), n);
                let words = match n {
                    4 => "WEBVTT\n\n".to_owned(),
                    n => format!("WEBVTT\n\n00:01.000 --> 00:02.000\n{n}\n\n"),
                };
                fs::write(text.path(), words).unwrap();
                text
            });
            place_texts(texts.collect(), &subtitles, &film).unwrap();
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !name.starts_with('.'))
                .collect();
            names.sort();
            names
        };
        let names = [
            "Film (2).es.2.vtt",
            "Film (2).es.vtt",
            "Film (2).vtt",
            "Film (2).x.forced.vtt",
        ];
        assert_eq!(place(), names);
        assert_eq!(place(), names, "the same again is nothing new");
    }
}
