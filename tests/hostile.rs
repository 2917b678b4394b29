//! Whoever means harm: bytes that are no requests, names that are no names, files that are no subtitles.
//!
//! Each test takes the real daemon, does its worst, and then asks whether it is well: it answers, its memory is what it
//! was, its descriptors have come back, and nothing in it has panicked.

mod names;
mod subtitles;
mod wire;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::daemon::{Daemon, eventually};

const MIB: u64 = 1 << 20;

/// How the daemon was before.
struct Before {
    rss: u64,
    fds: usize,
}

impl Before {
    fn of(daemon: &Daemon) -> Before {
        // What is made at the first request belongs to the time before.
        assert_eq!(daemon.get("/").status(), 200);
        assert_eq!(daemon.health()["status"], "ok");
        Before {
            rss: daemon.rss(),
            fds: daemon.fds(),
        }
    }

    /// It answers, has grown by no more than `growth`, has its descriptors back, and has not panicked.
    #[track_caller]
    fn and_after(&self, daemon: &Daemon, growth: u64) {
        assert_eq!(daemon.health()["status"], "ok");
        let small = || daemon.rss() <= self.rss + growth;
        assert!(
            eventually(Duration::from_secs(15), small),
            "resident memory grew from {} to {}",
            self.rss,
            daemon.rss()
        );
        // Some stay for a while: a thread's, a timer's.
        let closed = || daemon.fds() <= self.fds + 8;
        assert!(
            eventually(Duration::from_secs(30), closed),
            "{} descriptors became {}",
            self.fds,
            daemon.fds()
        );
        let log = daemon.log();
        assert!(!log.contains("panic"), "{log}");
    }
}

/// Sends bytes as far as they are taken, says that it was all, and reads what comes until the end.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the daemon accepts");
    let patience = Some(Duration::from_secs(40));
    socket.set_read_timeout(patience).expect("a socket option");
    socket.set_write_timeout(patience).expect("a socket option");
    let mut sending = socket.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Refused half-way, the rest is nobody's.
            let _ = sending.write_all(bytes);
            let _ = sending.shutdown(Shutdown::Write);
        });
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end of the answer: {error}"),
        }
        answer
    })
}

/// The statuses of the answers in `bytes`, which are without bodies that look like answers.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    // A sentence may name the version, too, and goes on with a word.
    let after = text.split("HTTP/1.1 ").skip(1);
    after
        .filter_map(|line| line.get(..4)?.trim_end().parse().ok())
        .collect()
}

/// Numbers that are the same at every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}
