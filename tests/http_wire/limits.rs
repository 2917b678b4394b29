//! More connections than are served, connections that only wait, and the end of it all.

use std::time::{Duration, Instant};

use rill::http::Deadlines;

use crate::support::daemon::emulated;

use super::client::Client;
use super::server::{FILE_LEN, Server};

#[test]
fn one_connection_too_many_is_told_so() {
    let server = Server::with(2, Deadlines::default());
    let mut first = Client::new(server.address);
    first.request("GET /", "").answer();
    let mut second = Client::new(server.address);
    second.request("GET /", "").answer();
    let mut third = Client::new(server.address);
    let answer = third.request("GET /", "").answer();
    assert_eq!(
        (answer.status, answer.text()),
        (503, "{\"error\":\"busy\"}")
    );
    assert_eq!(
        (answer.header("retry-after"), answer.header("connection")),
        (Some("5"), Some("close"))
    );
    assert_eq!(
        (
            server.listener.stats().open,
            server.listener.stats().refused
        ),
        (2, 1)
    );
    drop(first);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        Client::new(server.address)
            .request("GET /", "")
            .answer()
            .status,
        200
    );
    second.request("GET /", "").answer();
}

#[test]
fn a_slow_loris_of_500_does_not_stop_a_video() {
    let reclaim = Duration::from_millis(500);
    let server = Server::with(
        512,
        Deadlines {
            reclaim,
            ..Deadlines::default()
        },
    );
    let mut video = Client::new(server.address);
    video.request("GET /endless", "").head().unwrap();
    let mut loris: Vec<Client> = (0..500).map(|_| Client::new(server.address)).collect();
    for client in &mut loris {
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX: ");
    }
    let began = Instant::now();
    video.take(50_000_000);
    let mut other = Client::new(server.address);
    assert_eq!(
        other.request("GET /file", "").answer().body.len() as u64,
        FILE_LEN
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    // The house is full, and who waits for nothing makes room.
    let mut more: Vec<Client> = Vec::new();
    while server.listener.stats().open < 512 {
        more.push(Client::new(server.address));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(600));
    for _ in 0..20 {
        let mut late = Client::new(server.address);
        assert_eq!(late.request("GET /", "").answer().status, 200);
        more.push(late);
    }
    video.take(50_000_000);
}

#[test]
fn closing_ends_what_is_idle_and_lets_the_rest_end() {
    let server = Server::start();
    let mut idle = Client::new(server.address);
    idle.request("GET /", "").answer();
    let mut slow = Client::new(server.address);
    slow.request("GET /slow", "");
    let mut video = Client::new(server.address);
    video.request("GET /endless", "").head().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let listener = server.listener.clone();
    let closing = std::thread::spawn(move || {
        let began = Instant::now();
        smol::block_on(listener.close(Duration::from_secs(1)));
        began.elapsed()
    });
    let began = Instant::now();
    assert!(idle.is_closed() && began.elapsed() < Duration::from_millis(300));
    let answer = slow.answer();
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("slow", Some("close"))
    );
    let took = closing.join().unwrap();
    assert!(
        took >= Duration::from_millis(990) && took < Duration::from_secs(2),
        "{took:?}"
    );
    video.rest();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        server
            .service
            .streams
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[test]
fn a_fast_client_does_not_starve_the_others() {
    let server = Server::start();
    let address = server.address;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    client.request("GET /file", "").answer();
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut client = Client::new(address);
    for _ in 0..100 {
        let began = Instant::now();
        client.request("GET /", "").answer();
        slowest = slowest.max(began.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for thread in busy {
        thread.join().unwrap();
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Runs in a process of its own, for the limit on descriptors is one of the process.
#[test]
fn out_of_descriptors_is_survived() {
    const CHILD: &str = "RILL_TEST_OUT_OF_DESCRIPTORS";
    if emulated() {
        // The kernel starts no second program of this architecture.
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "http_wire::limits::out_of_descriptors_is_survived",
            ])
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    use rustix::process::{Resource, getrlimit, setrlimit};
    let server = Server::start();
    let mut open = Client::new(server.address);
    open.request("GET /", "").answer();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(100);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    // One for the client, none for the server.
    hoard.pop();
    let mut waiting = Client::new(server.address);
    waiting.request("GET /late", "");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(open.request("GET /", "").answer().status, 200);
    drop(hoard);
    assert_eq!(waiting.answer().text(), "GET /late - localhost");
    assert_eq!(open.request("GET /", "").answer().status, 200);
}
