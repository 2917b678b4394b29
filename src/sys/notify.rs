//! What systemd is told: sd_notify(3), through the crate of that name; a socket without a path, which the crate does
//! not know, is written to here.
//!
//! Without `NOTIFY_SOCKET` every function does nothing. The socket may be full (systemd reads ten
//! datagrams behind), and a send then waits; so each goes through the blocking pool, and is given up after
//! some seconds. `NOTIFY_SOCKET` stays in our own environment; `ffmpeg::child` takes it out of the
//! children's, so that none of them speaks for the service.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use smol::future::or;

/// How long one message may wait for systemd to read. It has less than its own watchdog's patience.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of a status at most. systemd drops a datagram of more than 4096 bytes whole, and with it the READY beside the
/// status.
const MAX_STATUS: usize = 2048;

/// Something to tell systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Connections are accepted (again, after [`Message::Reloading`]).
    Ready,
    /// The credentials are being read again.
    Reloading,
    /// The daemon ends.
    Stopping,
    /// It is alive.
    Watchdog,
    /// One line for `systemctl status`.
    Status(String),
}

/// Whether somebody listens.
pub fn wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Sends the messages in one datagram. A failure is logged and nothing else: the service works on.
pub async fn send(messages: Vec<Message>) {
    if !wanted() {
        return;
    }
    let sent = smol::unblock(move || send_now(&messages));
    let late = async {
        smol::Timer::after(PATIENCE).await;
        Err(io::Error::from(io::ErrorKind::TimedOut))
    };
    if let Err(error) = or(sent, late).await {
        log::warn!("systemd did not take a notification: {error}");
    }
}

fn send_now(messages: &[Message]) -> io::Result<()> {
    let mut states = Vec::with_capacity(messages.len() + 1);
    for message in messages {
        match message {
            Message::Ready => states.push(NotifyState::Ready),
            Message::Reloading => {
                // systemd 253 and later pairs the end of a reload with its beginning by this time.
                states.push(NotifyState::Reloading);
                states.push(NotifyState::MonotonicUsec(monotonic_usec()));
            }
            Message::Stopping => states.push(NotifyState::Stopping),
            Message::Watchdog => states.push(NotifyState::Watchdog),
            Message::Status(line) => states.push(NotifyState::Status(line)),
        }
    }
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match abstract_name(&socket) {
        Some(name) => {
            let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
            let address = SocketAddr::from_abstract_name(name)?;
            UnixDatagram::unbound()?
                .send_to_addr(lines.as_bytes(), &address)
                .map(|_| ())
        }
        None => sd_notify::notify(false, &states),
    }
}

/// The name of a socket that has no path.
fn abstract_name(socket: &OsStr) -> Option<&[u8]> {
    socket.as_bytes().strip_prefix(b"@")
}

/// The crate's own reading multiplies seconds in a `time_t`, which overflows on 32 bits after 36 minutes of uptime.
fn monotonic_usec() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000
}

/// A status as one line of a length that systemd takes: what cannot stand in a datagram of lines becomes a space.
pub fn status(text: &str) -> Message {
    let mut line = text.split(char::is_control).collect::<Vec<_>>().join(" ");
    if line.len() > MAX_STATUS {
        let end = (0..=MAX_STATUS).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
        line.push('…');
    }
    Message::Status(line)
}

/// How often systemd wants to hear [`Message::Watchdog`] at the latest, when it does
/// (sd_watchdog_enabled(3)).
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    interval(
        variable("WATCHDOG_USEC").as_deref(),
        variable("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

/// `WATCHDOG_PID` may be missing, and then every process is meant.
fn interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    // Below this there is no half to speak of.
    (usec >= 1000).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(
            status("a\nREADY=1\u{7}b"),
            Message::Status("a READY=1 b".to_owned())
        );
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        for text in ["ü".repeat(5000), format!("x{}", "ü".repeat(5000))] {
            let Message::Status(line) = status(&text) else {
                panic!("a status");
            };
            assert!(line.len() <= MAX_STATUS + 3 && line.len() > MAX_STATUS - 3);
            let begin = line.strip_suffix('…').expect("it says that it was cut");
            assert!(text.starts_with(begin));
        }
        let short = "ü".repeat(MAX_STATUS / 2);
        assert_eq!(status(&short), Message::Status(short));
    }

    #[test]
    fn watchdog_intervals() {
        let ten = Some(Duration::from_secs(10));
        assert_eq!(interval(Some("10000000"), Some("7"), 7), ten);
        assert_eq!(interval(Some("10000000"), None, 7), ten);
        for (usec, pid) in [
            (None, None),
            (Some("10000000"), Some("8")),
            (Some("10000000"), Some("")),
            (Some("0"), None),
            (Some("-1"), None),
        ] {
            assert_eq!(interval(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }
}
