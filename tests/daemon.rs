//! The daemon as systemd sees it: sockets handed over, notifications, the watchdog, signals, log priorities.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{self, Client};
use crate::support::daemon::{Setup, eventually, names};
use crate::support::drive::FakeDrive;

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("it is there");
    }

    fn wait(&mut self, patience: Duration) -> Option<i32> {
        let mut status = None;
        eventually(patience, || {
            status = self.0.try_wait().expect("a child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket behind `NOTIFY_SOCKET`.
struct Systemd {
    socket: UnixDatagram,
    heard: Vec<(Instant, String)>,
}

impl Systemd {
    fn bind(folder: &Path) -> (Systemd, String) {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        (
            Systemd {
                socket,
                heard: Vec::new(),
            },
            path.to_str().expect("UTF-8").to_owned(),
        )
    }

    /// Hears until a datagram has `line`; the lines of that datagram.
    fn hear(&mut self, line: &str, patience: Duration) -> Vec<String> {
        let end = Instant::now() + patience;
        loop {
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let mut buffer = vec![0; 1 << 16];
            let Ok(n) = self.socket.recv(&mut buffer) else {
                panic!("{line} was not heard, but {:?}", self.heard);
            };
            assert!(n <= 4096, "systemd drops a datagram of {n} bytes");
            let text = String::from_utf8(buffer[..n].to_vec()).expect("UTF-8");
            self.heard.push((Instant::now(), text.clone()));
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines
                .iter()
                .any(|l| l == line || (line.ends_with('=') && l.starts_with(line)))
            {
                return lines;
            }
        }
    }
}

/// Runs `rill serve` as systemd does: `socket` as descriptor 3, `extra` (shell redirections) behind it.
fn activated(setup: &Setup, socket: TcpListener, count: usize, extra: &str) -> Command {
    let inner = setup.command(&["serve"]);
    let mut outer = Command::new("/bin/sh");
    let script = format!(
        "exec 3<&0 </dev/null {extra}; LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\" \"$@\""
    );
    outer
        .arg("-c")
        .arg(script)
        .arg(inner.get_program())
        .args(inner.get_args());
    outer.env_clear();
    outer.envs(
        inner
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    outer
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    outer
}

fn listening() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn ready_status_watchdog_stopping() {
    let setup = Setup::new().video("a.mp4", b"x").video("b/c.mp4", b"y");
    let (mut systemd, path) = Systemd::bind(setup.path());
    let mut daemon = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .start();
    let ready = systemd.hear("READY=1", SOON);
    assert!(
        ready
            .iter()
            .any(|line| line.starts_with("STATUS=Drive: not configured, 0 streams")),
        "{ready:?}"
    );
    // Ready is said once it accepts, not before.
    assert_eq!(daemon.get("/api/health").status(), 200);
    let begun = Instant::now();
    for _ in 0..5 {
        systemd.hear("WATCHDOG=1", Duration::from_millis(1000));
    }
    // At half of the interval: neither late nor in a hurry.
    let five = begun.elapsed();
    assert!(
        five > Duration::from_millis(1500) && five < Duration::from_millis(4000),
        "{five:?}"
    );
    let counted = systemd
        .heard
        .iter()
        .any(|(_, text)| text.contains("STATUS=2 videos, Drive: not configured, 0 streams"));
    if !counted {
        let status = systemd.hear("STATUS=", SOON);
        assert!(
            status
                .iter()
                .any(|line| line.starts_with("STATUS=2 videos, ")),
            "{status:?}"
        );
    }
    daemon.sigterm();
    systemd.hear("STOPPING=1", SOON);
    assert_eq!(
        daemon
            .wait_exit(Duration::from_secs(3))
            .and_then(|s| s.code()),
        Some(0)
    );
}

#[test]
fn another_process_watchdog_is_not_ours() {
    let setup = Setup::new();
    let (mut systemd, path) = Systemd::bind(setup.path());
    let _daemon = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .env("WATCHDOG_PID", "1")
        .start();
    systemd.hear("READY=1", SOON);
    systemd
        .socket
        .set_read_timeout(Some(Duration::from_millis(600)))
        .expect("a timeout");
    let mut buffer = [0; 4096];
    while let Ok(n) = systemd.socket.recv(&mut buffer) {
        assert!(!buffer[..n].starts_with(b"WATCHDOG"));
    }
}

#[test]
fn a_stopped_process_feeds_no_watchdog() {
    let setup = Setup::new();
    let (mut systemd, path) = Systemd::bind(setup.path());
    let daemon = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .start();
    systemd.hear("WATCHDOG=1", SOON);
    let pid = rustix::process::Pid::from_raw(daemon.pid() as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it is there");
    std::thread::sleep(Duration::from_millis(100));
    systemd.socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 4096];
    while systemd.socket.recv(&mut buffer).is_ok() {}
    std::thread::sleep(Duration::from_millis(1200));
    assert!(systemd.socket.recv(&mut buffer).is_err());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is there");
    systemd.socket.set_nonblocking(false).expect("a socket");
    systemd.hear("WATCHDOG=1", SOON);
}

#[test]
fn sighup_reads_the_credentials_again() {
    let setup = Setup::new();
    let (mut systemd, path) = Systemd::bind(setup.path());
    let credentials = setup.credentials();
    let daemon = setup
        .set("drive", "credentials", &format!("{credentials:?}"))
        .env("NOTIFY_SOCKET", &path)
        .start();
    systemd.hear("READY=1", SOON);
    std::fs::write(&credentials, "{}").expect("written");
    daemon.sighup();
    let reloading = systemd.hear("RELOADING=1", SOON);
    let usec = reloading
        .iter()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let said: i64 = usec.and_then(|text| text.parse().ok()).expect("a time");
    assert!((now.tv_sec - said / 1_000_000).abs() < 30, "{reloading:?}");
    systemd.hear("READY=1", SOON);
    // The log comes through a pipe of its own.
    let said = || daemon.log().contains("reading the Drive credentials again");
    assert!(eventually(SOON, said));
    assert_eq!(daemon.get("/api/health").status(), 200);
}

#[test]
fn sigterm_lets_a_stream_end() {
    let body = vec![7; 40 << 20];
    let mut daemon = Setup::new().video("a.mp4", &body).start();
    let mut client = daemon.client();
    client.ask("GET", "/videos/a.mp4", &[]);
    let head = client.head();
    assert_eq!(head.status, 200);
    let mut read = client.take(1 << 20).expect("the beginning").len();
    daemon.sigterm();
    // Nobody new is served; whoever is there is, to the end.
    assert!(eventually(Duration::from_secs(3), || !is_answered(
        daemon.address
    )));
    while read < body.len() {
        read += client
            .take((body.len() - read).min(1 << 20) as u64)
            .expect("the rest")
            .len();
    }
    let status = daemon
        .wait_exit(Duration::from_secs(3))
        .expect("it ends with its last stream");
    assert_eq!(status.code(), Some(0));
}

/// Whoever comes while it stops is told at once that nobody is there, and is not taken in and cut.
#[test]
fn a_stopping_daemon_takes_nobody_in() {
    let mut daemon = Setup::new().video("a.mp4", &vec![7; 40 << 20]).start();
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", "/videos/a.mp4", &[]);
    let head = client.head();
    daemon.sigterm();
    let refused = || {
        std::net::TcpStream::connect(daemon.address)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    assert!(eventually(Duration::from_secs(3), refused));
    // The one who was there before is served to the end.
    client.widen();
    let (body, whole) = client.body_of(&head, "GET");
    assert_eq!((body.len(), whole), (40 << 20, true));
    let status = daemon.wait_exit(Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

/// Where systemd holds the socket, too, they wait in its queue for the next daemon.
#[test]
fn whoever_comes_to_an_inherited_socket_waits_for_the_next_daemon() {
    let (socket, address) = listening();
    let setup = Setup::new().video("a.mp4", &vec![7; 40 << 20]);
    let spawn = |socket: TcpListener| {
        let mut command = activated(&setup, socket, 1, "");
        Running(command.spawn().expect("a shell"))
    };
    let mut first = spawn(socket.try_clone().expect("a descriptor"));
    let mut paused = Client::connect_small(address);
    paused.ask("GET", "/videos/a.mp4", &[]);
    assert_eq!(paused.head().status, 200);
    first.signal(rustix::process::Signal::TERM);
    // Until the signal is heard they are answered; the first that is not is the one who waits.
    let end = Instant::now() + SOON;
    let mut waiting = loop {
        assert!(Instant::now() < end, "everyone is answered or cut");
        let mut client = Client::connect(address);
        client.set_patience(Duration::from_millis(700));
        let asked = client.send(format!(
            "GET /robots.txt HTTP/1.1\r\nHost: {address}\r\n\r\n"
        ));
        match asked.and_then(|()| client.try_head()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break client,
            _ => {}
        }
    };
    waiting.set_patience(SOON);
    drop(paused);
    assert!(first.wait(Duration::from_secs(8)).is_some());
    let _second = spawn(socket);
    assert_eq!(waiting.response("GET").status(), 200);
}

/// Whether a new connection gets an answer. The kernel may still take it where systemd holds the socket, too.
fn is_answered(address: SocketAddr) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET /api/health HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    stream.read(&mut [0; 16]).is_ok_and(|n| n > 0)
}

#[test]
fn sigterm_waits_5_s_for_a_paused_reader() {
    let mut daemon = Setup::new().video("a.mp4", &vec![7; 40 << 20]).start();
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", "/videos/a.mp4", &[]);
    assert_eq!(client.head().status, 200);
    let begun = Instant::now();
    daemon.sigterm();
    let status = daemon.wait_exit(Duration::from_secs(10)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_secs(4) && waited < Duration::from_secs(8),
        "{waited:?}"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut daemon = Setup::new().video("a.mp4", &vec![7; 40 << 20]).start();
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", "/videos/a.mp4", &[]);
    assert_eq!(client.head().status, 200);
    daemon.sigterm();
    std::thread::sleep(Duration::from_millis(300));
    daemon.sigterm();
    assert_eq!(
        daemon
            .wait_exit(Duration::from_secs(2))
            .and_then(|s| s.code()),
        Some(0)
    );
}

#[test]
fn inherited_sockets_are_served_and_not_bound_again() {
    let (socket, address) = listening();
    let setup = Setup::new().set("http", "listen", &format!("[\"{address}\"]"));
    // The fourth descriptor is no socket: refused with a line, and the third serves on.
    let log = setup.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let mut command = activated(&setup, socket, 2, "4</dev/null");
    let mut running = Running(command.stderr(Stdio::from(file)).spawn().expect("a shell"));
    assert_eq!(client::get(address, "/api/health").status(), 200);
    // It serves before it says so.
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(SOON, || read().contains("listening on "));
    let said = read();
    assert!(
        said.contains("the inherited descriptor 4 is not used: it is no socket"),
        "{said}"
    );
    assert_eq!(said.matches("listening on ").count(), 1, "{said}");
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON), Some(0));
}

#[test]
fn a_unix_socket_is_refused() {
    let setup = Setup::new();
    let log = setup.path().join("log");
    let unix = std::os::unix::net::UnixListener::bind(setup.path().join("unix")).expect("a socket");
    let file = std::fs::File::create(&log).expect("a file");
    let (placeholder, _) = listening();
    let mut command = activated(&setup, placeholder, 1, "");
    command
        .stdin(Stdio::from(OwnedFd::from(unix)))
        .stderr(Stdio::from(file));
    let _running = Running(command.spawn().expect("a shell"));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(
        eventually(SOON, || read().contains("listening on ")),
        "{}",
        read()
    );
    assert!(
        read().contains("the inherited descriptor 3 is not used: it is no TCP socket"),
        "{}",
        read()
    );
}

#[test]
fn the_watchdog_goes_through_an_inherited_socket_on_an_odd_address() {
    let socket = TcpListener::bind("127.9.8.7:0").expect("loopback is a /8");
    let setup = Setup::new().set("http", "listen", "[]");
    let (mut systemd, path) = Systemd::bind(setup.path());
    let setup = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000");
    let _running = Running(activated(&setup, socket, 1, "").spawn().expect("a shell"));
    systemd.hear("READY=1", SOON);
    systemd.hear("WATCHDOG=1", SOON);
}

#[test]
fn a_broken_file_with_inherited_sockets_answers_503_until_it_is_mended() {
    let (socket, address) = listening();
    let setup = Setup::new().set("http", "max_connections", "0");
    let (mut systemd, path) = Systemd::bind(setup.path());
    let setup = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000");
    let mut running = Running(activated(&setup, socket, 1, "").spawn().expect("a shell"));
    let ready = systemd.hear("READY=1", SOON);
    assert!(
        ready
            .iter()
            .any(|l| l.starts_with("STATUS=")
                && l.contains("http.max_connections: 0 is out of range")),
        "{ready:?}"
    );
    for target in ["/", "/api/health", "/videos/a.mp4", "/nowhere"] {
        let answer = client::get(address, target);
        assert_eq!(
            (answer.status(), answer.code().as_str()),
            (503, "misconfigured"),
            "{target}"
        );
        assert!(
            answer.text().contains("http.max_connections"),
            "{}",
            answer.text()
        );
    }
    // The page that says so is one for a television as well.
    assert_eq!(client::get(address, "/style.css").status(), 200);
    systemd.hear("WATCHDOG=1", SOON);
    // Still wrong, in another way.
    let file = setup.path().join("rill.toml");
    std::fs::write(&file, "[http]\nlisen = []\n").expect("written");
    running.signal(rustix::process::Signal::HUP);
    systemd.hear("RELOADING=1", SOON);
    let ready = systemd.hear("READY=1", SOON);
    assert!(
        ready.iter().any(|l| l.contains("did you mean `listen`")),
        "{ready:?}"
    );
    assert!(client::get(address, "/").text().contains("lisen"));
    // Mended.
    let state = setup.path().join("state");
    std::fs::write(
        &file,
        format!("[http]\nlisten = []\n[state]\ndir = {state:?}\ncache = {state:?}\n"),
    )
    .expect("written");
    running.signal(rustix::process::Signal::HUP);
    systemd.hear("RELOADING=1", SOON);
    systemd.hear("READY=1", SOON);
    assert_eq!(client::get(address, "/api/health").status(), 200);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON), Some(0));
}

#[test]
fn the_journal_gets_priorities_and_nobody_else() {
    for journal in [true, false] {
        let setup = Setup::new().set("state", "dir", "\"/proc/rill\"");
        let log = setup.path().join("log");
        let file = std::fs::File::create(&log).expect("a file");
        let metadata = file.metadata().expect("a file");
        let inode = if journal {
            metadata.ino()
        } else {
            metadata.ino() + 1
        };
        let setup = setup.env("JOURNAL_STREAM", &format!("{}:{inode}", metadata.dev()));
        let mut command = setup.command(&["serve"]);
        let _running = Running(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::from(file))
                .spawn()
                .expect("it starts"),
        );
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let warning = if journal {
            "<4>the state folder"
        } else {
            "warning: the state folder"
        };
        let told = || read().contains(warning) && read().ends_with('\n');
        assert!(eventually(SOON, told), "{}", read());
        for line in read().lines() {
            let priority = line
                .strip_prefix('<')
                .and_then(|l| l.split_once('>'))
                .map(|(n, _)| n);
            match journal {
                true => assert!(matches!(priority, Some("3" | "4" | "6")), "{line}"),
                false => assert_eq!(priority, None, "{line}"),
            }
        }
    }
}

#[test]
fn a_replaced_token_needs_no_restart() {
    let daemon = Setup::new().start();
    let token = || {
        let output = daemon
            .setup()
            .command(&["token"])
            .output()
            .expect("it starts");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    };
    let login = |token: &str| {
        let mut client = daemon.client();
        let body = format!("token={token}");
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            daemon.address,
            body.len()
        );
        client.send(request).expect("sent");
        client.response("POST").status()
    };
    let first = token();
    assert!(login(&first) < 400);
    assert!(
        daemon
            .setup()
            .command(&["token", "--new"])
            .output()
            .expect("it starts")
            .status
            .success()
    );
    assert_eq!(login(&first), 401);
    assert!(login(&token()) < 400);
    assert!(!daemon.log().contains(&first));
}

#[test]
fn an_idle_daemon_is_quiet() {
    let daemon = Setup::new().start();
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, written) = (daemon.cpu(), daemon.write_bytes());
    std::thread::sleep(Duration::from_secs(12));
    assert!(daemon.cpu() - cpu <= Duration::from_millis(20));
    assert_eq!(daemon.write_bytes(), written);
}

#[test]
fn a_closed_stdout_is_survived() {
    let setup = Setup::new();
    let log = setup.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let mut command = setup.command(&["serve"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::from(file))
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let mut running = Running(child);
    let mut said = String::new();
    assert!(eventually(SOON, || {
        said.clear();
        let read = std::fs::File::open(&log).and_then(|mut file| file.read_to_string(&mut said));
        read.is_ok() && said.contains("listening on ")
    }));
    std::thread::sleep(Duration::from_millis(200));
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait(SOON), Some(0), "{said}");
}

#[test]
fn the_status_names_the_drive_account_once_it_is_known() {
    let fake = FakeDrive::start();
    let setup = Setup::new().drive(&fake);
    let (mut systemd, path) = Systemd::bind(setup.path());
    let _daemon = setup.env("NOTIFY_SOCKET", &path).start();
    let ready = systemd.hear("READY=1", SOON);
    assert!(
        ready
            .iter()
            .any(|line| line.contains("Drive: connected as ") && line.contains('@')),
        "{ready:?}"
    );
}

/// A status of more than 4096 bytes took the READY beside it along, and the start never ended.
#[test]
fn a_long_error_in_the_file_is_ready_all_the_same() {
    let (socket, address) = listening();
    let long = format!("\"{}\"", "ü".repeat(6000));
    let setup = Setup::new().set("limits", "upload", &long);
    let (mut systemd, path) = Systemd::bind(setup.path());
    let setup = setup.env("NOTIFY_SOCKET", &path);
    let _running = Running(activated(&setup, socket, 1, "").spawn().expect("a shell"));
    let ready = systemd.hear("READY=1", SOON);
    let told = |line: &String| line.starts_with("STATUS=") && line.contains("limits.upload");
    assert!(ready.iter().any(told), "{ready:?}");
    assert_eq!(client::get(address, "/").status(), 503);
}

#[test]
fn a_notify_socket_without_a_path_is_told() {
    let name = format!("rill-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let mut systemd = Systemd {
        socket: UnixDatagram::bind_addr(&address).expect("a socket"),
        heard: Vec::new(),
    };
    let daemon = Setup::new().env("NOTIFY_SOCKET", &format!("@{name}"));
    let daemon = daemon.start();
    let ready = systemd.hear("READY=1", SOON);
    assert!(
        ready.iter().any(|line| line.starts_with("STATUS=Drive: ")),
        "{ready:?}"
    );
    daemon.sigterm();
    systemd.hear("STOPPING=1", SOON);
}

/// systemd does not read here, so that every reload takes seconds; the signals that wait filled the place of the one
/// that ends it.
#[test]
fn sigterm_is_obeyed_after_a_storm_of_sighup() {
    let setup = Setup::new();
    let (systemd, path) = Systemd::bind(setup.path());
    let mut daemon = setup.env("NOTIFY_SOCKET", &path).start();
    for _ in 0..5000 {
        daemon.sighup();
        std::thread::sleep(Duration::from_micros(100));
    }
    daemon.sigterm();
    let status = daemon.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    drop(systemd);
}

/// As on a disk that hangs: the token cannot be read, and the start waits for it.
#[test]
fn sigterm_is_obeyed_while_the_start_waits_for_a_disk() {
    let setup = Setup::new();
    pipe(&setup.path().join("state/admin-token"));
    let log = setup.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let mut command = setup.command(&["serve"]);
    command.stdout(Stdio::null()).stderr(Stdio::from(file));
    let mut running = Running(command.spawn().expect("it starts"));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(eventually(SOON, || read().contains(" starts")));
    std::thread::sleep(Duration::from_millis(300));
    running.signal(rustix::process::Signal::TERM);
    // The start itself waits for 15 s.
    assert_eq!(running.wait(Duration::from_secs(10)), Some(0), "{}", read());
}

fn pipe(path: &Path) {
    let (kind, mode) = (
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a pipe");
}

#[test]
fn a_pipe_in_place_of_the_credentials_is_refused() {
    let setup = Setup::new();
    let credentials = setup.credentials();
    pipe(&credentials);
    let setup = setup.set("drive", "credentials", &format!("{credentials:?}"));
    let (mut systemd, path) = Systemd::bind(setup.path());
    let mut daemon = setup.env("NOTIFY_SOCKET", &path).start();
    let ready = systemd.hear("READY=1", SOON);
    let told = |line: &String| line.contains("it is not a regular file");
    assert!(ready.iter().any(told), "{ready:?}");
    daemon.sighup();
    systemd.hear("RELOADING=1", SOON);
    systemd.hear("READY=1", SOON);
    daemon.sigterm();
    let status = daemon.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

/// The address belongs to documentation and to no network card; before, the probe asked that very address.
#[test]
fn a_daemon_whose_only_address_is_not_here_feeds_the_watchdog() {
    let setup = Setup::new().set("http", "listen", "[\"192.0.2.77:0\"]");
    let (mut systemd, path) = Systemd::bind(setup.path());
    let daemon = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000")
        .start();
    assert_eq!(daemon.address.ip().to_string(), "192.0.2.77");
    systemd.hear("READY=1", SOON);
    for _ in 0..3 {
        systemd.hear("WATCHDOG=1", SOON);
    }
    assert!(!daemon.log().contains("does not answer itself"));
}

#[test]
fn a_broken_file_and_an_address_that_is_not_here_feed_the_watchdog() {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    sockopt::set_ip_freebind(&socket, true).expect("Linux");
    let address: SocketAddr = "192.0.2.77:0".parse().expect("an address");
    rustix::net::bind(&socket, &address).expect("bound");
    rustix::net::listen(&socket, 8).expect("listening");
    let setup = Setup::new().set("http", "max_connections", "0");
    let (mut systemd, path) = Systemd::bind(setup.path());
    let setup = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000");
    let mut command = activated(&setup, TcpListener::from(socket), 1, "");
    let _running = Running(command.spawn().expect("a shell"));
    systemd.hear("READY=1", SOON);
    for _ in 0..3 {
        systemd.hear("WATCHDOG=1", SOON);
    }
}

/// Ending instead had systemd start it again every second, for ever.
#[test]
fn a_daemon_of_systemd_waits_for_a_port_that_is_taken() {
    let (taken, address) = listening();
    let setup = Setup::new().set("http", "listen", &format!("[\"{address}\"]"));
    let (mut systemd, path) = Systemd::bind(setup.path());
    let setup = setup
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000");
    let log = setup.path().join("log");
    let spawn = || {
        let file = std::fs::File::create(&log).expect("a file");
        let mut command = setup.command(&["serve"]);
        command.stdout(Stdio::null()).stderr(Stdio::from(file));
        Running(command.spawn().expect("it starts"))
    };
    let why = format!("STATUS={address} cannot be listened on; another program listens there");
    let mut running = spawn();
    let ready = systemd.hear("READY=1", SOON);
    assert!(ready.iter().any(|line| line.starts_with(&why)), "{ready:?}");
    systemd.hear("WATCHDOG=1", SOON);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON), Some(0));
    systemd.hear("STOPPING=1", SOON);

    let mut running = spawn();
    systemd.hear("READY=1", SOON);
    std::thread::sleep(Duration::from_secs(11));
    drop(taken);
    let ready = systemd.hear("READY=1", Duration::from_secs(30));
    assert!(ready.iter().any(|line| line.starts_with("STATUS=Drive: ")));
    assert_eq!(client::get(address, "/robots.txt").status(), 200);
    let said = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(said.matches("cannot be listened on").count(), 1, "{said}");
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON), Some(0));
}

/// Starts on an inherited socket for one family of addresses, with `[::]` of its port configured; the log.
fn beside(address: SocketAddr, reached: fn(u16) -> SocketAddr) -> Option<String> {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let family = match address.is_ipv6() {
        true => AddressFamily::INET6,
        false => AddressFamily::INET,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).ok()?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).ok()?;
    }
    rustix::net::bind(&socket, &address).ok()?;
    rustix::net::listen(&socket, 8).expect("listening");
    let socket = TcpListener::from(socket);
    let port = socket.local_addr().expect("bound").port();
    let setup = Setup::new().set("http", "listen", &format!("[\"[::]:{port}\"]"));
    let log = setup.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let mut command = activated(&setup, socket, 1, "");
    let _running = Running(command.stderr(Stdio::from(file)).spawn().expect("a shell"));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(eventually(SOON, || read().contains("listening on ")));
    assert_eq!(client::get(reached(port), "/robots.txt").status(), 200);
    Some(read())
}

#[test]
fn every_address_is_served_beside_an_inherited_socket_for_ipv6_alone() {
    let every = "[::]:0".parse().expect("an address");
    beside(every, |port| SocketAddr::from(([127, 0, 0, 1], port)));
}

#[test]
fn an_inherited_socket_for_ipv4_is_not_another_program() {
    let every = "0.0.0.0:0".parse().expect("an address");
    let log = beside(every, |port| SocketAddr::from(([127, 0, 0, 1], port)));
    let log = log.expect("IPv4 is everywhere");
    assert!(!log.contains("another program"), "{log}");
}

/// Two would take what the other is writing for what a kill has left, and remove it.
#[test]
fn a_state_folder_has_one_daemon_and_any_number_of_commands() {
    let daemon = Setup::new().start();
    let holder = std::fs::read_to_string(daemon.setup().path().join("state/serve.lock"));
    let holder = holder.expect("the lock is there");
    assert!(holder.starts_with("rill serve (process "), "{holder}");
    let mut upload = daemon.client();
    let head = format!(
        "PUT /videos/slow.mp3 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: 5000\r\n\r\nbegun",
        daemon.admin()
    );
    upload.send(head).expect("the daemon reads");
    let part = || {
        let names = names(&daemon.setup().videos());
        names.iter().any(|name| name.starts_with(".rill-upload-"))
    };
    assert!(eventually(SOON, part));
    let log = daemon.setup().path().join("second.log");
    let out = daemon.setup().path().join("second.out");
    let said_line = |path: &Path| -> Option<u16> {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().next()?.trim_end_matches('/');
        line.rsplit(':').next()?.parse().ok()
    };
    let second = daemon
        .setup()
        .command(&["serve"])
        .stdout(std::fs::File::create(&out).expect("a file"))
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn();
    let second = Running(second.expect("the program starts"));
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(
        eventually(SOON, || said().contains(holder.trim())),
        "{}",
        said()
    );
    // What is asked of the second one is answered so, and never taken for done.
    let listening = || said_line(&out);
    assert!(eventually(SOON, || listening().is_some()), "{}", said());
    let port = listening().expect("it listens");
    let health = client::get(SocketAddr::from(([127, 0, 0, 1], port)), "/api/health").json();
    assert!(
        health["state"].to_string().contains("is in use by"),
        "{health}"
    );
    let refused = client::get(SocketAddr::from(([127, 0, 0, 1], port)), "/api/jobs");
    assert_eq!((refused.status(), &*refused.code()), (503, "state_in_use"));
    std::thread::sleep(Duration::from_secs(1));
    assert!(part(), "{}", said());
    drop((second, upload));
    assert_eq!(daemon.get("/robots.txt").status(), 200);
    for command in ["token", "check"] {
        let shown = daemon.setup().command(&[command]).output();
        let shown = String::from_utf8(shown.expect("the program starts").stdout);
        let shown = shown.expect("UTF-8");
        assert!(!shown.is_empty() && !shown.contains("in use"), "{shown}");
    }
    // One that was killed has nothing any more.
    let daemon = daemon.restart();
    assert_eq!(daemon.health()["state"]["available"], true);
}
