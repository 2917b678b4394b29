//! `rill check`: one line for each part, whether it works, and what to do where it does not.
//!
//! The configuration has been read by now: what is wrong in it is exit 78. Here the world is asked, as
//! the daemon would: Google for a token and an answer, the programs for their versions, the folders for a
//! file, the ports for themselves.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Credentials, DEFAULT_FILE};
use crate::drive::Drive;
use crate::ffmpeg::{Program, Programs};
use crate::media::kind;
use crate::store::token::{self, Admin};
use crate::sys::{disk, executor, sockets};

use super::{listen, probe};

/// How long a server that holds a port may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long Google may take: its own timeouts are longer than a person at a terminal waits.
const DRIVE_PATIENCE: Duration = Duration::from_secs(30);

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// It works.
    Works(String),
    /// It is not wanted, or not there yet, and nothing is wrong with that.
    Absent(String),
    /// It does not work; the text holds the remedy.
    Fails(String),
}

/// Checks everything and prints a line each to stdout. Whether all works.
pub fn run(config: &Config, file: Option<&Path>) -> bool {
    executor::run(async {
        let mut report = Report { failed: false };
        let source = match file {
            Some(path) => path.display().to_string(),
            None if Path::new(DEFAULT_FILE).exists() => DEFAULT_FILE.to_owned(),
            None => "the defaults; there is no file".to_owned(),
        };
        report.line("configuration", Finding::Works(source));
        if rustix::process::geteuid().is_root() {
            report.line("user", Finding::Absent("this is root, who may do everything; `sudo -u rill rill check` has the service's rights, though not its sandbox (README.Debian)".to_owned()));
        }
        report.line("drive", drive(config).await);
        let programs = Programs::new(&config.ffmpeg);
        programs.look().await;
        report.line("ffmpeg", program(programs.ffmpeg()));
        report.line("ffprobe", program(programs.ffprobe()));
        report.line("state", folder(&config.state.dir, true, config));
        report.line("token", admin_token(&config.state.dir));
        report.line("cache", folder(&config.state.cache, true, config));
        report.line("videos", folder(&config.library.videos, true, config));
        match &config.library.courses {
            Some(path) => report.line("courses", folder(path, false, config)),
            None => report.line(
                "courses",
                Finding::Absent("no local folder is configured (library.courses)".to_owned()),
            ),
        }
        for address in &config.http.listen {
            report.line("listen", port(address).await);
        }
        !report.failed
    })
}

struct Report {
    failed: bool,
}

impl Report {
    fn line(&mut self, part: &str, finding: Finding) {
        let (mark, text) = match &finding {
            Finding::Works(text) => ("ok", text),
            Finding::Absent(text) => ("--", text),
            Finding::Fails(text) => ("FAIL", text),
        };
        self.failed |= matches!(finding, Finding::Fails(_));
        let _ = writeln!(io::stdout(), "{mark:<5} {part:<14} {text}");
    }
}

async fn drive(config: &Config) -> Finding {
    if matches!(config.drive.credentials, Credentials::None) {
        return Finding::Absent(
            "no credentials are configured (drive.credentials); local videos play without"
                .to_owned(),
        );
    }
    let drive = Drive::new(config, kind::content_type);
    let late = async {
        smol::Timer::after(DRIVE_PATIENCE).await;
        None
    };
    match smol::future::or(async { Some(drive.check().await) }, late).await {
        Some(Ok(account)) => Finding::Works(format!("connected as {account}")),
        Some(Err(error)) => Finding::Fails(error.chain()),
        None => Finding::Fails(format!(
            "{} did not answer within {} s; check this machine's network and clock",
            config.drive.endpoint,
            DRIVE_PATIENCE.as_secs()
        )),
    }
}

fn program(program: Program) -> Finding {
    match program {
        Program {
            available: true,
            path: Some(path),
            version: Some(version),
            ..
        } => Finding::Works(format!("{} version {version}", path.display())),
        Program { error, .. } => Finding::Fails(
            error.unwrap_or_else(|| "it is not there; apt install ffmpeg".to_owned()),
        ),
    }
}

/// Looks into a folder and, where the daemon writes, writes a file that is gone again at once.
fn folder(path: &Path, written: bool, config: &Config) -> Finding {
    let name = path.display();
    match fs::read_dir(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && written => {
            let above = path
                .ancestors()
                .skip(1)
                .find(|p| p.exists())
                .unwrap_or(Path::new("/"));
            return match rustix::fs::access(above, rustix::fs::Access::WRITE_OK) {
                Ok(()) => {
                    Finding::Absent(format!("{name} is not there yet; `rill serve` makes it"))
                }
                Err(_) => Finding::Fails(format!(
                    "{name} is not there and cannot be made; sudo install -d -o rill -g rill -m 0750 {name}"
                )),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::Fails(format!(
                "{name} is not there; plug its disk in, or name another folder"
            ));
        }
        Err(error) => {
            return Finding::Fails(format!(
                "{name} cannot be read ({error}); sudo chown rill: {name}"
            ));
        }
    }
    if written {
        if let Err(error) = tryout(path) {
            return Finding::Fails(format!(
                "{name} cannot be written ({error}); sudo chown rill: {name}, or free its disk"
            ));
        }
    }
    match disk::free(path) {
        Ok(free) if written && free < config.limits.free_space => Finding::Fails(format!(
            "{name} has {} free, less than limits.free_space; take something away",
            human(free)
        )),
        Ok(free) => Finding::Works(format!("{name}, {} free", human(free))),
        Err(error) => Finding::Fails(format!(
            "the disk of {name} does not answer ({error}); look after it"
        )),
    }
}

fn tryout(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".rill-check-{}", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"x"));
    match fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

/// Reads the token as the daemon does, but makes none: a check changes nothing.
fn admin_token(state: &Path) -> Finding {
    let path = state.join(token::FILE);
    if let Err(error) = fs::metadata(&path) {
        if error.kind() == io::ErrorKind::NotFound {
            return Finding::Absent(
                "there is none yet; `rill serve` or `rill token` makes it".to_owned(),
            );
        }
    }
    match Admin::open(state).token() {
        Ok(_) => Finding::Works(format!("{} (`rill token` prints it)", path.display())),
        Err(error) => Finding::Fails(error.chain()),
    }
}

async fn port(text: &str) -> Finding {
    let address = match listen::resolve(text).await {
        Ok(address) => address,
        Err(error) => return Finding::Fails(error.chain()),
    };
    match sockets::bind(address) {
        Ok(_) => Finding::Works(format!("{text} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match probe::ask(address, "GET", "/api/health", PATIENCE).await {
                Ok((_, answer))
                    if answer.contains("\"compatStream\"")
                        || answer.contains("\"misconfigured\"") =>
                {
                    Finding::Works(format!("{text} is served by a running rill"))
                }
                _ => Finding::Fails(listen::refused(text, address.port(), error).chain()),
            }
        }
        Err(error) => Finding::Fails(listen::refused(text, address.port(), error).chain()),
    }
}

/// Bytes for people, rounded down.
fn human(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let root = tempfile::tempdir().expect("a folder");
        let mut config = Config::from_toml("").expect("defaults");
        config.limits.free_space = 0;
        assert!(matches!(
            folder(root.path(), true, &config),
            Finding::Works(_)
        ));
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0);
        assert!(matches!(
            folder(&root.path().join("new"), true, &config),
            Finding::Absent(_)
        ));
        assert!(matches!(
            folder(&root.path().join("new"), false, &config),
            Finding::Fails(_)
        ));
        fs::write(root.path().join("file"), b"").expect("written");
        assert!(matches!(
            folder(&root.path().join("file"), true, &config),
            Finding::Fails(_)
        ));
        config.limits.free_space = u64::MAX;
        assert!(matches!(
            folder(root.path(), true, &config),
            Finding::Fails(_)
        ));
    }

    #[test]
    fn ports() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = taken.local_addr().expect("bound").to_string();
        drop(taken);
        assert!(matches!(smol::block_on(port(&address)), Finding::Works(_)));
        assert!(matches!(
            smol::block_on(port("no.such.name.invalid:80")),
            Finding::Fails(_)
        ));
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
