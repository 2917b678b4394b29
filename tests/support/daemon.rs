//! The real program as a child process over a temporary folder.
//!
//! A test writes what it wants into a [`Setup`], starts it, and talks to the address that the daemon printed. Whatever
//! happens, the child is killed and the folder removed when the [`Daemon`] goes out of scope.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{self, Client, Response};
use super::drive::FakeDrive;
use super::media;

/// How long the daemon may take to say where it listens; a loaded machine builds beside the tests.
const START: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_rill");

/// What runs programs of the tests' own architecture on a PC, as `.cargo/config.toml` has it for the tests themselves.
const EMULATOR: Option<&str> = if cfg!(target_arch = "aarch64") {
    Some("qemu-aarch64-static")
} else if cfg!(target_arch = "arm") {
    Some("qemu-arm-static")
} else {
    None
};

/// The emulator that runs the program, where the kernel does not run it by itself: tests as ARM programs on a PC
/// without binfmt_misc.
fn emulator() -> Option<&'static str> {
    static FOREIGN: OnceLock<Option<&str>> = OnceLock::new();
    *FOREIGN.get_or_init(|| {
        EMULATOR.filter(|_| {
            // The C library hands to a shell what the kernel does not know.
            let run = Command::new(PROGRAM).arg("--version").output();
            !run.is_ok_and(|output| output.stdout.starts_with(b"rill "))
        })
    })
}

/// Whether an emulator runs the program: its memory and its processor time are the emulator's, and say nothing.
pub fn emulated() -> bool {
    emulator().is_some()
}

/// The command `rill`.
pub fn program() -> Command {
    match emulator() {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(["-L", "/", PROGRAM]);
            command
        }
        None => Command::new(PROGRAM),
    }
}

/// A daemon to be.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    /// Section and line of the configuration.
    lines: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Port 0 of 127.0.0.1, folders of its own for state, cache and videos, and no posters.
    pub fn new() -> Setup {
        let folder = tempfile::Builder::new()
            .prefix("rill-test-")
            .tempdir()
            .expect("a temp folder");
        for name in ["state", "cache", "videos"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder in the temp folder");
        }
        let path = |name: &str| format!("{:?}", folder.path().join(name));
        let (videos, state, cache) = (path("videos"), path("state"), path("cache"));
        Setup {
            folder,
            lines: Vec::new(),
            environment: Vec::new(),
        }
        .set("http", "listen", "[\"127.0.0.1:0\"]")
        .set("library", "videos", &videos)
        .set("state", "dir", &state)
        .set("state", "cache", &cache)
        .set("limits", "free_space", "\"1MiB\"")
        // They would come between what a test measures.
        .set("library", "posters", "false")
    }

    /// Sets a key of a section to a TOML value, in place of what it was.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Setup {
        let begin = format!("{key} = ");
        self.lines
            .retain(|(other, line)| other != section || !line.starts_with(&begin));
        self.lines
            .push((section.to_owned(), format!("{begin}{value}")));
        self
    }

    /// Points it at `fake`, as the service account.
    #[must_use]
    pub fn drive(self, fake: &FakeDrive) -> Setup {
        let account = fake.service_account();
        self.drive_as(fake, &account)
    }

    /// Points it at `fake` with these credentials.
    #[must_use]
    pub fn drive_as(self, fake: &FakeDrive, credentials: &str) -> Setup {
        let (ca, own) = (fake.write_files(self.path())).expect("files in the temp folder");
        std::fs::write(&own, credentials).expect("a file in the temp folder");
        self.set("drive", "endpoint", &format!("{:?}", fake.endpoint()))
            .set("drive", "ca_file", &format!("{ca:?}"))
            .set("drive", "credentials", &format!("{own:?}"))
    }

    /// Sets a variable of its environment, which is otherwise empty.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file below `library.videos`.
    #[must_use]
    pub fn video(self, name: &str, bytes: &[u8]) -> Setup {
        let path = self.videos().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file in the temp folder");
        self
    }

    /// Adds media of [`media`](super::media) to the videos.
    #[must_use]
    pub fn media(self, names: &[&str]) -> Setup {
        names
            .iter()
            .fold(self, |setup, name| setup.video(name, &media::bytes(name)))
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `library.videos`.
    pub fn videos(&self) -> PathBuf {
        self.path().join("videos")
    }

    /// The file that holds the Drive credentials.
    pub fn credentials(&self) -> PathBuf {
        self.path().join("credentials.json")
    }

    /// Writes the configuration; its path.
    pub fn write_config(&self) -> PathBuf {
        let mut sections: Vec<&str> = self.lines.iter().map(|(section, _)| &**section).collect();
        sections.sort_unstable();
        sections.dedup();
        let mut text = String::new();
        for section in sections {
            text.push_str(&format!("[{section}]\n"));
            for (_, line) in self.lines.iter().filter(|(other, _)| other == section) {
                text.push_str(&format!("{line}\n"));
            }
        }
        let path = self.path().join("rill.toml");
        std::fs::write(&path, text).expect("a file in the temp folder");
        path
    }

    /// The command `rill ARGUMENTS --config FILE` in the test's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.write_config())
            .env_clear();
        for name in ["PATH", "HOME", "RUST_BACKTRACE", "RUST_LOG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Daemon {
        let mut child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let errors = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        drain(stderr, errors.clone());
        let (said, listening) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("listening on ") {
                    let _ = said.send(url.trim().to_owned());
                }
            }
        });
        let mut daemon = Daemon {
            child,
            setup: self,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            errors,
        };
        let url = listening.recv_timeout(START).unwrap_or_else(|_| {
            panic!("the daemon did not say where it listens:\n{}", daemon.log())
        });
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        daemon.address = authority
            .and_then(|text| text.to_socket_addrs().ok()?.next())
            .unwrap_or_else(|| panic!("{url:?} names an address"));
        daemon
    }

    /// Starts it and waits until it knows its ffmpeg: before, files are judged without it.
    pub fn start_with_ffmpeg(self) -> Daemon {
        let daemon = self.start();
        daemon.wait_for_ffmpeg();
        daemon
    }
}

impl Default for Setup {
    fn default() -> Setup {
        Setup::new()
    }
}

fn drain(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&buffer[..n]);
        }
    });
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    setup: Setup,
    /// Where it listens.
    pub address: SocketAddr,
    errors: Arc<Mutex<Vec<u8>>>,
}

impl Daemon {
    /// One without Drive.
    pub fn start() -> Daemon {
        Setup::new().start()
    }

    /// One that uses `fake` as the service account.
    pub fn with_drive(fake: &FakeDrive) -> Daemon {
        Setup::new().drive(fake).start()
    }

    /// Its folders and its configuration.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// GET over a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        client::get(self.address, target)
    }

    /// GET of a range over a connection of its own.
    pub fn get_range(&self, target: &str, range: &str) -> Response {
        client::get_range(self.address, target, range)
    }

    /// `/api/health`.
    pub fn health(&self) -> serde_json::Value {
        self.get("/api/health").json()
    }

    /// Waits until it knows its ffmpeg.
    pub fn wait_for_ffmpeg(&self) {
        let known = || self.health()["ffmpeg"]["available"] == true;
        assert!(eventually(Duration::from_secs(60), known), "{}", self.log());
    }

    /// `http://ADDR:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `Authorization` of the admin.
    pub fn admin(&self) -> String {
        let shown = self.setup.command(&["token"]).output();
        let token = shown.expect("the program starts").stdout;
        format!("Bearer {}", String::from_utf8_lossy(&token).trim())
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&errors).into_owned()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn proc_line(&self, file: &str, name: &str) -> u64 {
        let text = self.proc(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        word.and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// Resident memory, in bytes; 0 of one that is [`emulated`].
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS")
    }

    /// The most that was ever resident, in bytes; 0 of one that is [`emulated`].
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM")
    }

    fn memory(&self, name: &str) -> u64 {
        match emulated() {
            true => 0,
            false => self.proc_line("status", name) * 1024,
        }
    }

    /// Threads.
    pub fn threads(&self) -> u64 {
        self.proc_line("status", "Threads")
    }

    /// Processor time used, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name in parentheses may hold spaces; fields 14 and 15 are counted from 1 before it.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks: u64 = fields[11..13]
            .iter()
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // A tick is 10 ms wherever Linux runs rill.
        Duration::from_millis(ticks * 10)
    }

    /// Open descriptors.
    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Bytes that it made the disk write.
    pub fn write_bytes(&self) -> u64 {
        self.proc_line("io", "write_bytes")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the daemon is there");
    }

    /// Asks it to end.
    pub fn sigterm(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Asks it to read its credentials again.
    pub fn sighup(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Ends it at once, as a power cut does, and starts another over the same folder.
    pub fn restart(mut self) -> Daemon {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::take(&mut self.setup).start()
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + timeout;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(
                clippy::print_stderr,
                reason = "the harness shows it beside the failure"
            )]
            let () = eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}

/// The names in a folder, hidden ones too, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Waits until `condition` holds; whether it did in time.
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
