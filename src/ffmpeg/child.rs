//! A child process that is owned: whoever holds a [`Child`] can wait for it, and whoever drops it ends
//! it and all it started.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// What of our environment is not a child's business: systemd's channels to this very process, and secrets.
const PRIVATE: [&str; 12] = [
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
];

/// What is kept of stderr, its end, in bytes.
const STDERR_TAIL: usize = 8 * 1024;

/// A running program in a process group of its own, without stdin.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    /// Set once the program has been waited for: its number may by then be another's.
    reaped: bool,
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
    /// Starts `program` with `arguments`; no shell is involved.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> io::Result<Child> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in PRIVATE {
            command.env_remove(name);
        }
        Ok(Child {
            inner: command.spawn()?,
            reaped: false,
        })
    }

    /// Reads all it prints and waits for its end. Blocks: call it on the blocking pool.
    ///
    /// # Errors
    /// It printed more than `limit` bytes or took longer than `patience`: it is killed. Or the pipes fail.
    pub fn output(mut self, limit: usize, patience: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + patience;
        let mut stdout = self.inner.stdout.take();
        let mut stderr = self.inner.stderr.take();
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        while stdout.is_some() || stderr.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late(patience));
            }
            let mut fds = Vec::with_capacity(2);
            fds.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            fds.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let second = usize::from(stdout.is_some());
            let stdout_ready = stdout.is_some() && ready.first() == Some(&true);
            let stderr_ready = stderr.is_some() && ready.get(second) == Some(&true);
            if stdout_ready && drain(&mut stdout, &mut printed)? && printed.len() > limit {
                return Err(io::Error::other(format!(
                    "it printed more than {limit} bytes"
                )));
            }
            if stderr_ready && drain(&mut stderr, &mut complained)? {
                let excess = complained.len().saturating_sub(STDERR_TAIL);
                complained.drain(..excess);
            }
        }
        // Both pipes are closed; what is left is its exit, which has no descriptor to wait on.
        loop {
            if let Some(status) = self.inner.try_wait()? {
                self.reaped = true;
                let stderr_tail = String::from_utf8_lossy(&complained).into_owned();
                return Ok(Output {
                    status,
                    stdout: printed,
                    stderr_tail,
                });
            }
            if Instant::now() >= deadline {
                return Err(late(patience));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn late(patience: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it took longer than {} s", patience.as_secs()),
    )
}

/// Reads once what is there; at the end the pipe is closed. Says whether bytes came.
fn drain(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let Some(open) = pipe else { return Ok(false) };
    let mut buffer = [0; 4096];
    match open.read(&mut buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(false)
        }
        Ok(n) => {
            into.extend_from_slice(&buffer[..n]);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Not waited for, so the number is still this child's, and its group's.
        let pid = i32::try_from(self.inner.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if let Err(error) = self.inner.wait() {
            log::debug!("a killed child was not there to wait for: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Child {
        Child::spawn(Path::new("/bin/sh"), &["-c", script]).expect("a shell")
    }

    #[test]
    fn output_and_status() {
        let output = sh("echo out; echo err >&2; exit 3")
            .output(1024, Duration::from_secs(5))
            .expect("ran");
        assert_eq!(
            (output.stdout.as_slice(), output.stderr_tail.as_str()),
            (&b"out\n"[..], "err\n")
        );
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_chatty_or_endless_child_is_killed_with_all_it_started() {
        let flood = sh("while :; do echo 0123456789; done").output(1000, Duration::from_secs(5));
        assert!(
            flood
                .expect_err("too much")
                .to_string()
                .contains("more than 1000")
        );
        let loud = sh("head -c 1000000 /dev/zero >&2")
            .output(10, Duration::from_secs(5))
            .expect("drained");
        assert_eq!(loud.stderr_tail.len(), STDERR_TAIL);
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", mark.display());
        let start = Instant::now();
        let slow = sh(&script).output(1000, Duration::from_millis(500));
        assert_eq!(slow.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5));
        let grandchild = std::fs::read_to_string(mark).expect("written");
        let stat = format!("/proc/{}/stat", grandchild.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
        while !gone() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(gone(), "the grandchild lives on");
    }
}
