//! A child process that is owned: whoever holds a [`Child`] can read it, pause it and wait for it, and whoever
//! drops it ends it and all it started.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use smol::future::or;
use smol::io::AsyncReadExt;
use smol::{Async, Timer};

use crate::ffmpeg::supervisor::{self, Shared, Started};
pub use crate::sys::process::Priority;

/// What of our environment is not a child's business: systemd's channels to this very process, secrets, and
/// proxies, through which no program reaches our own address.
const PRIVATE: [&str; 18] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "GOOGLE_SERVICE_ACCOUNT_JSON",
    "GOOGLE_SERVICE_ACCOUNT_FILE",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "FFREPORT",
];

/// What ffmpeg and its encoders say when they are given no more memory (ENOMEM, in the words of the C library without
/// a locale; x264).
const NO_MEMORY: [&str; 2] = ["Cannot allocate memory", "malloc of size"];

/// How long a program may take to end by itself once it was asked to.
const FAREWELL: Duration = Duration::from_secs(1);

/// What happens to what a program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdout {
    /// It is read, by [`Child::take_stdout`] or [`Child::output`].
    Piped,
    /// It is thrown away.
    Null,
}

/// A program in a process group of its own, without stdin. Its stderr is always read, and the end of it kept.
///
/// Dropping it kills the group at once and waits for nothing; the program is reaped behind it.
#[derive(Debug)]
pub struct Child {
    shared: Arc<Shared>,
    stdout: Option<ChildStdout>,
    ended: smol::channel::Receiver<()>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// The end of what it complained about.
    pub stderr_tail: String,
}

impl Exit {
    /// It had no memory left: it said so, or the system ended it, as nobody does here who asks then how it ended.
    pub fn starved(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
            || (!self.status.success()
                && NO_MEMORY.iter().any(|said| self.stderr_tail.contains(said)))
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The end of what it complained about.
    pub stderr_tail: String,
}

impl Child {
    /// [`Child::start`] for whoever waits for what it prints.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> io::Result<Child> {
        Child::start(program, arguments, Priority::Live, Stdout::Piped)
    }

    /// Starts `program` with `arguments`; no shell is involved. Blocks for the milliseconds of a fork: call it on
    /// the blocking pool.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        priority: Priority,
        stdout: Stdout,
    ) -> io::Result<Child> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(match stdout {
                Stdout::Piped => Stdio::piped(),
                Stdout::Null => Stdio::null(),
            })
            .stderr(Stdio::piped());
        for name in PRIVATE {
            command.env_remove(name);
        }
        let Started {
            shared,
            stdout,
            ended,
        } = supervisor::start(command, priority)?;
        Ok(Child {
            shared,
            stdout,
            ended,
        })
    }

    /// Its number, which is its group's too.
    pub fn id(&self) -> i32 {
        self.shared.pid().as_raw_nonzero().get()
    }

    /// What it prints, to be read piece by piece; it waits while nobody reads. `None` the second time.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// The end of what it has complained about so far.
    pub fn stderr_tail(&self) -> String {
        self.shared.stderr()
    }

    /// Stops it and all it started (SIGSTOP), until [`Child::resume`].
    pub fn pause(&self) {
        self.shared.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.shared.signal(Signal::CONT);
    }

    /// Asks it and all it started to end (SIGTERM).
    pub fn terminate(&self) {
        self.shared.signal(Signal::TERM);
        // One that is paused hears nothing.
        self.shared.signal(Signal::CONT);
    }

    /// Ends it and all it started, at once.
    pub fn kill(&self) {
        self.shared.signal(Signal::KILL);
    }

    /// How it ended, when it has.
    pub fn exit(&self) -> Option<ExitStatus> {
        self.shared.exit()
    }

    /// It has ended, for want of memory ([`Exit::starved`]).
    pub fn starved(&self) -> bool {
        self.exit().is_some() && self.report().starved()
    }

    /// Waits for its end, which may be never.
    pub async fn ended(&self) -> Exit {
        // Nothing is ever sent: the channel closes when it ends.
        let _ = self.ended.recv().await;
        self.report()
    }

    /// Waits for its end for at most `patience`. Blocks.
    pub fn wait(&self, patience: Duration) -> Option<Exit> {
        self.shared
            .wait(Instant::now() + patience)
            .map(|_| self.report())
    }

    /// Asks it to end, kills it when it does not within a second, and tells how it ended.
    pub async fn close(self) -> Exit {
        self.terminate();
        let late = async {
            Timer::after(FAREWELL).await;
        };
        or(
            async {
                let _ = self.ended.recv().await;
            },
            late,
        )
        .await;
        self.kill();
        self.ended().await
    }

    fn report(&self) -> Exit {
        Exit {
            // Without one the supervisor is gone, and the program with it.
            status: self.exit().unwrap_or_default(),
            stderr_tail: self.stderr_tail(),
        }
    }

    /// Reads all it prints and waits for its end. Dropping it kills the child.
    ///
    /// # Errors
    /// As [`Child::output`].
    pub async fn output_async(mut self, limit: usize, patience: Duration) -> io::Result<Output> {
        let reading = async {
            let mut printed = Vec::new();
            if let Some(stdout) = self.take_stdout() {
                let mut stdout = Async::new(stdout)?;
                let mut buffer = vec![0; 16 * 1024];
                loop {
                    match stdout.read(&mut buffer).await? {
                        0 => break,
                        n if printed.len() + n > limit => return Err(too_much(limit)),
                        n => printed.extend_from_slice(&buffer[..n]),
                    }
                }
            }
            let exit = self.ended().await;
            Ok(Output {
                status: exit.status,
                stdout: printed,
                stderr_tail: exit.stderr_tail,
            })
        };
        let late = async {
            Timer::after(patience).await;
            Err(late(patience))
        };
        or(reading, late).await
    }

    /// Reads all it prints and waits for its end. Blocks: call it on the blocking pool.
    ///
    /// # Errors
    /// It printed more than `limit` bytes or took longer than `patience`: it is killed. Or the pipe fails.
    pub fn output(mut self, limit: usize, patience: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + patience;
        let mut printed = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while let Some(stdout) = &mut self.stdout {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late(patience));
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(stdout, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match stdout.read(&mut buffer) {
                Ok(0) => self.stdout = None,
                Ok(n) if printed.len() + n > limit => {
                    return Err(too_much(limit));
                }
                Ok(n) => printed.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let Some(status) = self.shared.wait(deadline) else {
            return Err(late(patience));
        };
        Ok(Output {
            status,
            stdout: printed,
            stderr_tail: self.stderr_tail(),
        })
    }
}

fn too_much(limit: usize) -> io::Error {
    io::Error::other(format!("it printed more than {limit} bytes"))
}

fn late(patience: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it took longer than {} s", patience.as_secs()),
    )
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::supervisor::STDERR_TAIL;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Child {
        Child::spawn(Path::new("/bin/sh"), &["-c", script]).expect("a shell")
    }

    /// The processes of a group that are not zombies.
    fn group(leader: i32) -> Vec<String> {
        let processes = std::fs::read_dir("/proc").expect("procfs");
        let stats = processes
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        stats
            .filter(|stat| {
                let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
                let fields: Vec<&str> = after.split_whitespace().collect();
                fields.get(2) == Some(&leader.to_string().as_str()) && fields[0] != "Z"
            })
            .collect()
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A child that has said its first line.
    fn ready(script: &str) -> Child {
        let mut child = sh(script);
        let mut stdout = child.take_stdout().expect("piped");
        let mut first = [0; 6];
        stdout.read_exact(&mut first).expect("a line");
        assert_eq!(&first, b"ready\n");
        // Held open by nobody else: what it prints later ends it only if it cares.
        child.stdout = Some(stdout);
        child
    }

    #[test]
    fn output_and_status() {
        let output = sh("echo out; echo err >&2; exit 3")
            .output(1024, PATIENCE)
            .expect("ran");
        assert_eq!(
            (output.stdout.as_slice(), output.stderr_tail.as_str()),
            (&b"out\n"[..], "err\n")
        );
        assert_eq!(output.status.code(), Some(3));
        let missing = Child::spawn(Path::new("/nonexistent/program"), &["x"]);
        assert_eq!(missing.expect_err("none").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn too_much_or_too_long_is_killed() {
        let flood = sh("while :; do echo 0123456789; done").output(1000, PATIENCE);
        assert!(
            flood
                .expect_err("too much")
                .to_string()
                .contains("more than 1000")
        );
        let child = sh("sleep 1000");
        let group_of = child.id();
        let slow = child.output(1000, Duration::from_millis(300));
        assert_eq!(slow.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        eventually("the group lives on", || group(group_of).is_empty());
    }

    #[test]
    fn a_flood_of_complaints_holds_nothing_up_and_its_end_is_kept() {
        let loud = sh("head -c 3000000 /dev/zero >&2; echo last words >&2; echo done")
            .output(10, PATIENCE)
            .expect("drained");
        assert_eq!(loud.stderr_tail.len(), STDERR_TAIL);
        assert!(loud.stderr_tail.ends_with("last words\n"));
        assert_eq!(loud.stdout, b"done\n");
    }

    #[test]
    fn drop_ends_grandchildren_and_what_ignores_sigterm() {
        let child =
            ready("trap '' TERM; (trap '' TERM; sleep 1000; sleep 1000) & echo ready; wait");
        let leader = child.id();
        assert!(group(leader).len() >= 2);
        drop(child);
        eventually("the group lives on", || group(leader).is_empty());
    }

    #[test]
    fn what_a_leader_leaves_behind_ends_with_it() {
        let child = sh("(sleep 1000 & echo left); exit 7");
        let leader = child.id();
        // The grandchild holds stdout and stderr open.
        let output = child.output(100, PATIENCE).expect("ends");
        assert_eq!(output.status.code(), Some(7));
        eventually("the group lives on", || group(leader).is_empty());
    }

    #[test]
    fn close_asks_first_and_insists_then() {
        let polite =
            ready("trap 'echo bye >&2; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
        let exit = smol::block_on(polite.close());
        assert_eq!(exit.status.code(), Some(5));
        assert!(exit.stderr_tail.ends_with("bye\n"), "{exit:?}");
        let deaf = ready("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        let leader = deaf.id();
        let exit = smol::block_on(deaf.close());
        assert_eq!(exit.status.signal(), Some(9));
        eventually("the group lives on", || group(leader).is_empty());
        // One that is paused can be asked as well.
        let paused = ready("trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done");
        paused.pause();
        assert_eq!(smol::block_on(paused.close()).status.code(), Some(6));
    }

    #[test]
    fn pause_stops_the_whole_group() {
        let child = ready("sleep 1000 & echo ready; wait");
        child.pause();
        eventually("it goes on", || {
            let group = group(child.id());
            group.len() >= 2 && group.iter().all(|stat| stat.contains(") T "))
        });
        child.resume();
        eventually("it stays paused", || {
            group(child.id()).iter().all(|stat| !stat.contains(") T "))
        });
        assert!(child.wait(Duration::from_millis(1)).is_none());
    }

    #[test]
    fn an_end_is_heard_of_without_asking() {
        let child = sh("sleep 0.2; exit 4");
        let exit = smol::block_on(child.ended());
        assert_eq!(exit.status.code(), Some(4));
        assert_eq!(
            child.wait(Duration::ZERO).map(|e| e.status.code()),
            Some(Some(4))
        );
        // Its number may be another's by now: nothing is sent to it.
        child.kill();
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let child = std::thread::spawn(|| ready("echo ready; sleep 1000"))
            .join()
            .expect("a thread");
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.exit().is_none(), "it died with the thread");
        let status = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", child.id()));
        assert_eq!(status.expect("procfs").trim(), "500");
    }

    #[test]
    fn no_program_takes_all_memory() {
        // An emulator of programs takes such limits for its own and ignores them: one that bounds nobody shows it.
        let petabyte = rustix::process::Rlimit {
            current: Some(1 << 50),
            maximum: None,
        };
        let resource = rustix::process::Resource::Data;
        let _ = rustix::process::setrlimit(resource, petabyte);
        if rustix::process::getrlimit(resource).current.is_none() {
            return;
        }
        let given = |file: &str| std::fs::read_to_string(file).expect("procfs");
        let total: u64 = given("/proc/meminfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .expect("a number of kB");
        let child = ready("echo ready; sleep 1000");
        let limits = given(&format!("/proc/{}/limits", child.id()));
        let limit = |name: &str| -> u64 {
            let line = limits
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("limit");
            line.split_whitespace()
                .next()
                .expect("value")
                .parse()
                .expect("bounded")
        };
        let share = limit("Max data size") as f64 / (total * 1024) as f64;
        assert!((0.70..0.76).contains(&share), "{share}");
        assert!(limit("Max stack size") <= 2 * 1024 * 1024);
    }

    #[test]
    fn want_of_memory_is_known() {
        let exit = |script: &str| smol::block_on(sh(script).ended());
        assert!(exit("kill -KILL $$").starved());
        assert!(exit("echo 'x264 [error]: malloc of size 7332480 failed' >&2; exit 1").starved());
        assert!(exit("echo 'Conversion failed: Cannot allocate memory' >&2; exit 1").starved());
        assert!(!exit("echo 'Cannot allocate memory' >&2").starved());
        assert!(!exit("kill -SEGV $$").starved());
        assert!(!exit("echo 'Invalid data' >&2; exit 1").starved());
    }

    #[test]
    fn a_background_child_is_nice() {
        let script = ["-c", "cut -d ' ' -f 19 /proc/self/stat; ionice"];
        let child = Child::start(
            Path::new("/bin/sh"),
            &script,
            Priority::Background,
            Stdout::Piped,
        );
        let output = child.expect("a shell").output(100, PATIENCE).expect("ran");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "10\nidle\n");
    }
}
