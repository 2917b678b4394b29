//! `/api/events`: what happens reaches whoever listens, once, in order, and at little cost.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::events::Events;

/// A daemon whose ffmpeg does nothing for ever, so that jobs can be added and cancelled at will.
fn daemon() -> Daemon {
    let mut setup = Setup::new();
    for n in 0..8 {
        setup = setup.video(&format!("{n}.mkv"), b"no film");
    }
    for name in ["ffmpeg", "ffprobe"] {
        let path = setup.path().join(name);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = -version ] && echo {name} version 9 && exit\nexec sleep 1000\n"
        );
        std::fs::write(&path, script).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        setup = setup.set("ffmpeg", name, &format!("{path:?}"));
    }
    let daemon = setup.start();
    daemon.wait_for_ffmpeg();
    daemon
}

fn convert(daemon: &Daemon, name: &str) -> u64 {
    let mut client = daemon.client();
    let reply = client.request(
        "POST",
        &format!("/api/convert/videos/{name}"),
        &[("Authorization", &daemon.admin()), ("Content-Length", "0")],
    );
    assert_eq!(reply.status(), 202, "{}", reply.text());
    reply.json()["id"].as_u64().expect("a number")
}

fn cancel(daemon: &Daemon, id: u64) {
    let target = format!("/api/jobs/{id}");
    let reply = daemon
        .client()
        .request("DELETE", &target, &[("Authorization", &daemon.admin())]);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.json()["state"], "cancelled");
}

#[test]
fn everything_first_then_what_happens_and_back_after_a_break() {
    let daemon = daemon();
    let first = convert(&daemon, "0.mkv");
    let mut events = Events::listen(daemon.address, None);
    assert!(
        events.head.contains("content-type: text/event-stream\r\n")
            || events.head.contains("Content-Type: text/event-stream\r\n"),
        "{}",
        events.head
    );
    let snapshot = events.next();
    assert_eq!(snapshot.name, "snapshot");
    let jobs = snapshot.data["jobs"].as_array().expect("jobs");
    assert!(jobs.iter().any(|job| job["id"] == first), "{jobs:?}");
    assert!(snapshot.data["scan"]["state"].is_string());

    let second = convert(&daemon, "1.mkv");
    let added = events.until(|event| event.name == "job" && event.data["id"] == second);
    assert_eq!(added.data["state"], "queued");
    drop(events);
    cancel(&daemon, second);
    cancel(&daemon, first);

    // Where it broke off, and not from the beginning.
    let mut events = Events::listen(daemon.address, Some(&added.id));
    let next = events.until(|event| event.data["id"] == second);
    assert_eq!(
        (next.name.as_str(), &next.data["state"]),
        ("job", &"cancelled".into())
    );
    events.until(|event| event.data["id"] == first && event.data["state"] == "cancelled");

    // A number of another process, and one that has left the ring.
    for last in ["1234-5", "nonsense"] {
        let mut events = Events::listen(daemon.address, Some(last));
        assert_eq!(events.next().name, "snapshot");
    }
    for _ in 0..140 {
        let id = convert(&daemon, "2.mkv");
        cancel(&daemon, id);
    }
    let mut late = Events::listen(daemon.address, Some(&added.id));
    assert_eq!(late.next().name, "snapshot");
    let id = convert(&daemon, "3.mkv");
    late.until(|event| event.name == "job" && event.data["id"] == id);
}

#[test]
fn http_1_0_and_head_are_served() {
    let daemon = daemon();
    let mut events = Events::listen_by(daemon.address, "HTTP/1.0", None);
    assert!(
        !events.head.to_lowercase().contains("transfer-encoding"),
        "{}",
        events.head
    );
    assert_eq!(events.next().name, "snapshot");
    let id = convert(&daemon, "0.mkv");
    events.until(|event| event.data["id"] == id);
    let head = daemon.client().request("HEAD", "/api/events", &[]);
    assert_eq!(
        (head.status(), head.header("content-type")),
        (200, Some("text/event-stream"))
    );
}

#[test]
fn a_silent_hour_is_not_silent() {
    let daemon = Daemon::start();
    let mut events = Events::listen(daemon.address, None);
    assert_eq!(events.next().name, "snapshot");
    let began = Instant::now();
    let mut comment = events.any().expect("it goes on");
    // What the daemon does at its start may be told first.
    while comment.name != ":" {
        comment = events.any().expect("it goes on");
    }
    assert!(
        began.elapsed() < Duration::from_secs(45),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn many_listeners_cost_little_and_do_not_hold_up_the_end() {
    const LISTENERS: usize = 64;
    let mut daemon = daemon();
    let before = (daemon.rss(), daemon.fds());
    let mut all: Vec<Events> = (0..LISTENERS)
        .map(|_| Events::listen(daemon.address, None))
        .collect();
    for events in &mut all {
        assert_eq!(events.next().name, "snapshot");
    }
    let grown = daemon.rss().saturating_sub(before.0);
    assert!(grown < 4 << 20, "{grown} bytes for {LISTENERS} listeners");

    let cpu = daemon.cpu();
    let mut last = 0;
    for _ in 0..20 {
        last = convert(&daemon, "1.mkv");
        cancel(&daemon, last);
    }
    for events in &mut all {
        events.until(|event| event.data["id"] == last && event.data["state"] == "cancelled");
    }
    // Forty events and more to 64 listeners: 2560 writes.
    let cost = daemon.cpu() - cpu;
    assert!(cost < Duration::from_secs(2), "{cost:?}");

    // Their leaving is noticed without anything being told.
    all.truncate(3);
    let gone = || daemon.fds() <= before.1 + 3 + 8;
    assert!(
        eventually(Duration::from_secs(30), gone),
        "{} descriptors",
        daemon.fds()
    );

    daemon.sigterm();
    let began = Instant::now();
    let status = daemon.wait_exit(Duration::from_secs(30)).expect("it ends");
    assert!(status.success());
    // Streams have five seconds: those who listen took none of them.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    for events in &mut all {
        while events.any().is_some() {}
    }
}
