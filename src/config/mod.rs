//! The configuration, twice: as a person wrote it, and as the daemon may rely on it.
//!
//! `ConfigFile` is the text of `rill.toml` and nothing else: no environment, no disk. [`Config`] is
//! what it means once systemd's variables, the older systems' variables and the defaults are in; it cannot be
//! wrong. What is missing in the world (a folder, a disk, credentials) is not an error here: the
//! daemon runs and says so.

mod file;
mod resolve;
mod size;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};

pub use file::{KEYS, Key};
pub use size::Size;

use file::ConfigFile;

/// Where the configuration lies when the command line does not say.
pub const DEFAULT_FILE: &str = "/etc/rill/rill.toml";

/// The largest configuration that is read, in bytes; a file beyond it is not a configuration.
const MAX_FILE: u64 = 1024 * 1024;

/// Everything the daemon was told, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the daemon listens on and whom it answers.
    pub http: Http,
    /// Where local media lie.
    pub library: Library,
    /// Google Drive.
    pub drive: Drive,
    /// The programs that mend and convert.
    pub ffmpeg: Ffmpeg,
    /// Bounds on bytes.
    pub limits: Limits,
    /// Where the daemon keeps what it must not lose, and what it may.
    pub state: State,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Addresses to bind, `HOST:PORT`; port 0 picks one.
    pub listen: Vec<String>,
    /// Host names answered beside IP literals, localhost, the machine's own name and the LAN's suffixes.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed by CORS beside loopback ones.
    pub allowed_origins: Vec<String>,
    /// Connections held at once; one more is answered 503 and closed.
    pub max_connections: usize,
}

/// `[library]`
#[derive(Clone, Debug)]
pub struct Library {
    /// What is uploaded and played from this disk.
    pub videos: PathBuf,
    /// A local folder laid out like the course tree.
    pub courses: Option<PathBuf>,
    /// Whether what was converted stays beside what came of it.
    pub keep_originals: bool,
    /// Whether films get posters.
    pub posters: bool,
}

/// `[drive]`
#[derive(Clone, Debug)]
pub struct Drive {
    /// Service-account or authorized-user JSON.
    pub credentials: Credentials,
    /// Id of the folder that holds the courses.
    pub root: Option<String>,
    /// The `resourcekey` of the link that it was given as.
    pub root_key: Option<String>,
    /// Base URL of the Drive API, without a slash at the end.
    pub endpoint: String,
    /// PEM roots beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Where the Drive credentials come from.
#[derive(Clone)]
pub enum Credentials {
    /// None are configured.
    None,
    /// A JSON file, read again on SIGHUP.
    File(PathBuf),
    /// The JSON itself (`GOOGLE_SERVICE_ACCOUNT_JSON`).
    Inline(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::File(path) => f.debug_tuple("File").field(path).finish(),
            // A key never reaches a log.
            Credentials::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

/// `[ffmpeg]`
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    /// Name or path of ffmpeg.
    pub ffmpeg: String,
    /// Name or path of ffprobe.
    pub ffprobe: String,
    /// Live streams at once.
    pub live_streams: usize,
    /// Jobs at once.
    pub jobs: usize,
    /// Re-encode video in live streams instead of copying it.
    pub force_reencode: bool,
    /// How long a job may go without progress before it is begun again.
    pub stalled: Duration,
}

/// `[limits]`, in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body of `POST /api/progress`.
    pub progress: u64,
    /// Largest uploaded file.
    pub upload: u64,
    /// Buffers of all streams together.
    pub buffers: u64,
    /// Kept results of repair jobs.
    pub repaired: u64,
    /// Space on a disk that is never filled.
    pub free_space: u64,
}

/// `[state]`
#[derive(Clone, Debug)]
pub struct State {
    /// What must not be lost: database, token, catalog.
    pub dir: PathBuf,
    /// What may be lost: blocks of Drive files.
    pub cache: PathBuf,
}

impl Config {
    /// The defaults with `text` over them: no environment, no disk.
    ///
    /// # Errors
    /// `misconfigured`, naming line, key and remedy of everything that is wrong in the text.
    pub fn from_toml(text: &str) -> Result<Config> {
        Config::resolve("rill.toml", None, text, &|_| None)
    }

    /// Reads `path`, or [`DEFAULT_FILE`] when there is one, and resolves it against the
    /// environment that `env` looks up.
    ///
    /// # Errors
    /// `misconfigured`: the file cannot be read (a missing one is wrong only when it was asked for), or
    /// what it or a variable says is wrong.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let (path, text) = match path {
            Some(path) => (path, read(path, true)?),
            None => (
                Path::new(DEFAULT_FILE),
                read(Path::new(DEFAULT_FILE), false)?,
            ),
        };
        Config::resolve(&path.display().to_string(), path.parent(), &text, env)
    }

    fn resolve(
        name: &str,
        folder: Option<&Path>,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config> {
        let file = ConfigFile::parse(text)
            .map_err(|wrong| misconfigured(wrong.iter().map(|w| format!("{name}, {w}"))))?;
        resolve::resolve(&file, text, name, folder, env).map_err(misconfigured)
    }
}

/// The error of a configuration that cannot be used: `main` exits 78 with it, and a daemon that was
/// given its sockets answers 503 with it.
fn misconfigured(wrong: impl IntoIterator<Item = String>) -> Error {
    let sentence = wrong.into_iter().collect::<Vec<_>>().join("; ");
    Error::new(Kind::Misconfigured, "misconfigured", sentence)
}

fn read(path: &Path, asked_for: bool) -> Result<String> {
    use std::io::Read;

    let wrong = |what: String| misconfigured([format!("{}: {what}", path.display())]);
    let mut bytes = Vec::new();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => {
            return Ok(String::new());
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong("there is no such file; give --config the path of one, or leave it out for the defaults".to_owned()));
        }
        Err(error) => {
            return Err(wrong(format!(
                "the configuration cannot be opened ({error}); run this as root (sudo), or make it readable for the user rill runs as"
            )));
        }
    };
    match file.take(MAX_FILE + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > MAX_FILE => Err(wrong(
            "this is larger than 1 MiB and no configuration; give --config the path of a rill.toml"
                .to_owned(),
        )),
        Ok(_) => String::from_utf8(bytes).map_err(|error| {
            let before = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..before]
                .iter()
                .filter(|&&b| b == b'\n')
                .count();
            wrong(format!(
                "line {line} is not UTF-8; save the file as UTF-8 text"
            ))
        }),
        Err(error) => Err(wrong(format!(
            "the configuration cannot be read ({error}); give --config the path of a file"
        ))),
    }
}

#[cfg(test)]
mod tests;
