//! ffmpeg and ffprobe: where they are, which versions, and how they are run.
//!
//! The only room that starts processes. Both programs are looked for without asking anything of the disk that a
//! missing program would make fail; whoever wants them asks [`Programs`], which never blocks.

pub mod arguments;
mod child;
pub mod live;
pub mod loopback;
pub mod probe;
pub mod progress;
pub mod source;
mod stats;
mod supervisor;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::config::Ffmpeg;
use crate::error::{Error, Kind, Result};
use crate::sys::process;

pub use child::{Child, Exit, Output, Priority, Stdout};

/// How long `-version` may take; a Pi that just booted reads the program and its hundred libraries from a slow card,
/// while everything else that starts with it does the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// `-version` prints some 2 KiB.
const MAX_OUTPUT: usize = 64 * 1024;

/// A program that did not run is asked again after so long, twice as long each time, up to the longest: an installation
/// that brings ffmpeg and rill together takes a Pi some minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(8);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// It is there, and told its version.
    pub available: bool,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Its version, as it calls it.
    pub version: Option<String>,
    /// Why it is not available: a sentence with the remedy.
    pub error: Option<String>,
}

/// What is said of a program that ended for want of memory ([`Child::starved`]).
pub(crate) fn no_memory() -> Error {
    Error::new(
        Kind::Unavailable,
        "no_memory",
        format!(
            "ffmpeg needs more memory for this file than this machine gives it ({} MB at most). Try again when nothing \
             else runs, or convert the file on a larger machine.",
            process::memory_for_one() / 1_000_000
        ),
    )
}

/// ffmpeg and ffprobe; clones share what is known.
#[derive(Clone, Debug)]
pub struct Programs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Ffmpeg,
    /// Written by [`Programs::look`] alone.
    known: RwLock<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    ffmpeg: Asked,
    ffprobe: Asked,
}

/// A program, and when it was asked without success.
#[derive(Clone, Debug, Default)]
struct Asked {
    program: Program,
    refused: Option<Refused>,
}

/// A program that is there and did not run. It may do so without another byte of its own: apt unpacks a program before
/// it sets up the libraries that this needs.
#[derive(Clone, Debug)]
struct Refused {
    /// The file that was asked.
    file: Option<Stamp>,
    at: Instant,
    /// How long it is left alone, unless it becomes another file.
    pause: Duration,
}

/// Device, number, bytes and time of the last change: what tells one file from another of its name.
type Stamp = (u64, u64, u64, i64, i64);

impl Refused {
    fn is_due(&self, path: &Path) -> bool {
        self.file != stamp(path) || self.at.elapsed() >= self.pause
    }
}

impl Programs {
    /// Names the programs; nothing is started before [`Programs::look`].
    pub fn new(config: &Ffmpeg) -> Programs {
        let unasked = |name: &str| Program {
            error: Some(format!(
                "`{name}` has not been asked for its version yet; try again in a moment"
            )),
            ..Program::default()
        };
        let asked = |name: &str| Asked {
            program: unasked(name),
            refused: None,
        };
        let known = Known {
            ffmpeg: asked(&config.ffmpeg),
            ffprobe: asked(&config.ffprobe),
        };
        Programs {
            shared: Arc::new(Shared {
                config: config.clone(),
                known: RwLock::new(known),
            }),
        }
    }

    /// What is known of ffmpeg.
    pub fn ffmpeg(&self) -> Program {
        self.shared
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .ffmpeg
            .program
            .clone()
    }

    /// What is known of ffprobe.
    pub fn ffprobe(&self) -> Program {
        self.shared
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .ffprobe
            .program
            .clone()
    }

    /// Where ffmpeg is.
    ///
    /// # Errors
    /// `ffmpeg_not_available` (503), with what to do.
    pub fn ffmpeg_path(&self) -> Result<PathBuf> {
        let program = self.ffmpeg();
        available(program.available, program.path, program.error)
    }

    /// Where ffprobe is.
    ///
    /// # Errors
    /// `ffmpeg_not_available` (503), with what to do.
    pub fn ffprobe_path(&self) -> Result<PathBuf> {
        let program = self.ffprobe();
        available(program.available, program.path, program.error)
    }

    /// Looks for those that are not known to be there, and asks each its version: once when it tells it, time and again
    /// while it does not.
    pub async fn look(&self) {
        let shared = Arc::clone(&self.shared);
        smol::unblock(move || shared.look()).await;
    }
}

fn available(available: bool, path: Option<PathBuf>, error: Option<String>) -> Result<PathBuf> {
    path.filter(|_| available).ok_or_else(|| {
        let why = error.unwrap_or_else(|| "ffmpeg is not there".to_owned());
        Error::new(
            Kind::Unavailable,
            "ffmpeg_not_available",
            format!("This needs ffmpeg, and {why}."),
        )
    })
}

impl Shared {
    fn look(&self) {
        let before = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let ffmpeg = ask_again(before.ffmpeg, &self.config.ffmpeg, None);
        // A build unpacked somewhere has its ffprobe beside its ffmpeg.
        let beside = ffmpeg.program.path.as_deref().and_then(Path::parent);
        let ffprobe = ask_again(before.ffprobe, &self.config.ffprobe, beside);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { ffmpeg, ffprobe };
    }
}

fn ask_again(before: Asked, name: &str, beside: Option<&Path>) -> Asked {
    if let Some(path) = before
        .program
        .path
        .as_deref()
        .filter(|path| executable(path))
    {
        let rests = |refused: &Refused| !refused.is_due(path);
        if before.program.available || before.refused.as_ref().is_some_and(rests) {
            return before;
        }
    }
    let begun = Instant::now();
    let program = ask(name, beside);
    let took = begun.elapsed();
    match (&program.path, &program.version, &program.error) {
        (Some(path), Some(version), _) => log::info!("{} is version {version}", path.display()),
        (_, _, Some(error)) if before.program.error.as_ref() != Some(error) => {
            log::warn!("{error}")
        }
        _ => {}
    }
    let refused = (program.path.as_deref().filter(|_| !program.available)).map(|path| {
        let file = stamp(path);
        let pause = match before.refused {
            Some(last) if last.file == file => (last.pause * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        // One that hangs holds up whoever asks, and is asked seldom.
        let pause = pause.max(took * 10);
        Refused {
            file,
            at: Instant::now(),
            pause,
        }
    });
    Asked { program, refused }
}

fn ask(name: &str, beside: Option<&Path>) -> Program {
    let search =
        std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&search).collect();
    folders.extend(beside.map(Path::to_owned));
    let Some(path) = find(name, &folders) else {
        let error = format!(
            "`{name}` is not there; install it (apt install ffmpeg), or name its path in the section [ffmpeg]"
        );
        return Program {
            error: Some(error),
            ..Program::default()
        };
    };
    let failed = |what: String| Program {
        path: Some(path.clone()),
        error: Some(format!(
            "`{} -version` {what}; install ffmpeg anew (apt install --reinstall ffmpeg)",
            path.display()
        )),
        ..Program::default()
    };
    match Child::spawn(&path, &["-version"]).and_then(|child| child.output(MAX_OUTPUT, PATIENCE)) {
        Ok(output) if !output.status.success() => {
            let last = output.stderr_tail.lines().last().unwrap_or("").to_owned();
            failed(
                format!("failed ({}) {last}", output.status)
                    .trim_end()
                    .to_owned(),
            )
        }
        Ok(output) => match version(&output.stdout) {
            Some(version) => Program {
                available: true,
                path: Some(path),
                version: Some(version),
                error: None,
            },
            None => failed("did not tell a version".to_owned()),
        },
        Err(error) => failed(format!("failed ({error})")),
    }
}

/// The file that `name` means: a path, the program of that name in a folder, or the first of `folders` that
/// has it.
fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        let inside = path.join("ffmpeg");
        let path = if path.is_dir() { inside } else { path };
        return executable(&path).then_some(path);
    }
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_absolute() && executable(path))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        file.ctime(),
        file.ctime_nsec(),
    ))
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// `ffmpeg version 5.1.6-0+deb12u1 Copyright (c) ...`: the third word.
fn version(stdout: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stdout);
    let mut words = text.lines().next()?.split_whitespace();
    words.next()?;
    words.next().filter(|word| *word == "version")?;
    let version = words.next()?;
    let plain: String = version
        .chars()
        .filter(char::is_ascii_graphic)
        .take(80)
        .collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
        path
    }

    #[test]
    fn versions() {
        assert_eq!(
            version(b"ffmpeg version 5.1.6-0+deb12u1 Copyright (c)\nx").as_deref(),
            Some("5.1.6-0+deb12u1")
        );
        assert_eq!(
            version(b"ffprobe version n7.1 \xff"),
            Some("n7.1".to_owned())
        );
        for bytes in [&b""[..], b"\n", b"hello world 1", b"ffmpeg version"] {
            assert_eq!(version(bytes), None);
        }
    }

    #[test]
    fn asked_once_and_found_when_it_appears() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("ffmpeg");
        let config = Ffmpeg {
            ffmpeg: name.to_str().expect("UTF-8").to_owned(),
            ffprobe: "rill-has-no-such-ffprobe".to_owned(),
            live_streams: 1,
            jobs: 1,
            force_reencode: false,
            stalled: Duration::from_secs(60),
        };
        let programs = Programs::new(&config);
        assert!(!programs.ffmpeg().available && programs.ffmpeg().error.is_some());
        smol::block_on(programs.look());
        assert!(
            programs
                .ffmpeg()
                .error
                .expect("missing")
                .contains("apt install ffmpeg")
        );
        script(
            folder.path(),
            "ffmpeg",
            "echo $1 >> \"$0.asked\"; echo ffmpeg version 9.9 etc",
        );
        script(
            folder.path(),
            "rill-has-no-such-ffprobe",
            "echo broken library >&2; exit 127",
        );
        smol::block_on(programs.look());
        smol::block_on(programs.look());
        let found = programs.ffmpeg();
        assert_eq!(
            (found.available, found.version.as_deref(), found.path),
            (true, Some("9.9"), Some(name))
        );
        assert_eq!(
            fs::read_to_string(folder.path().join("ffmpeg.asked")).expect("asked"),
            "-version\n"
        );
        let probe = programs.ffprobe();
        assert!(!probe.available && probe.error.expect("broken").contains("broken library"));
        // Another file of the name is asked at once.
        fs::remove_file(folder.path().join("rill-has-no-such-ffprobe")).expect("removed");
        script(
            folder.path(),
            "rill-has-no-such-ffprobe",
            "echo ffprobe version 9.8",
        );
        smol::block_on(programs.look());
        assert_eq!(programs.ffprobe().version.as_deref(), Some("9.8"));
    }
}
