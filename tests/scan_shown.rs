//! How a scan shows: in `/api/health`, on the page of an empty library, on a terminal, and where there is none.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde_json::Value;

use crate::support::course_tree::{CourseTree, Shape, TINY};
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, Kind};
use crate::support::scan::{SOON, begin, scanned, setup};

#[test]
fn health_and_the_empty_shelf_tell_of_a_scan() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    // Folders and courses are listed; the modules keep everybody waiting.
    let slow = fake
        .on(Kind::List)
        .skip(2)
        .does(Action::Latency(Duration::from_secs(5)));
    let daemon = setup.start();
    let scan = || daemon.health()["catalog"]["scan"].clone();
    assert!(eventually(SOON, || scan()["state"] == "running"
        && scan()["folders"].as_u64() > Some(1)));
    let running = scan();
    assert!(running["foldersKnown"].as_u64() >= running["folders"].as_u64());
    assert!(running["requests"].as_u64() > Some(1));
    assert_eq!(
        (&running["lastFinished"], &running["error"]),
        (&Value::Null, &Value::Null)
    );
    // The list of jobs has it, too.
    let job = || daemon.get("/api/jobs").json()["jobs"][0].clone();
    assert_eq!(
        (&job()["kind"], &job()["state"]),
        (&"scan".into(), &"running".into())
    );
    let page = daemon.get("/courses").text();
    assert!(page.contains("The courses are being scanned: "), "{page}");
    assert!(
        page.contains("<meta http-equiv=\"refresh\" content=\"10\">"),
        "{page}"
    );
    assert!(!page.contains("rill scan"), "{page}");
    fake.end(slow);
    assert!(eventually(SOON, || scan()["state"] == "idle"));
    let done = scan();
    assert_eq!(
        (&job()["kind"], &job()["state"]),
        (&"scan".into(), &"completed".into())
    );
    assert_eq!(done["folders"], tree.folders());
    assert_eq!(done["failed"], 0);
    assert!(
        done["lastFinished"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{done}"
    );
    assert!(eventually(SOON, || {
        let page = daemon.get("/courses").text();
        page.contains("Categoría 1") && !page.contains("refresh")
    }));
    // What went wrong is said until it goes well.
    let rule = fake.on(Kind::Other).refuses(403, "dailyLimitExceeded");
    let refused = daemon.client().request("POST", "/api/refresh?scan=1", &[]);
    assert_eq!(refused.status(), 200);
    assert!(eventually(SOON, || scan()["error"].is_string()));
    fake.end(rule);
    assert!(eventually(SOON, || scan()["error"].is_null()));
}

#[test]
fn when_the_last_scan_ended_is_known_after_a_restart() {
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    scanned(&setup, &[]);
    let daemon = setup.start();
    let ended = |daemon: &Daemon| daemon.health()["catalog"]["scan"]["lastFinished"].clone();
    assert!(eventually(SOON, || ended(&daemon).is_string()));
    let first = ended(&daemon);
    assert_eq!(daemon.health()["catalog"]["scan"]["state"], "idle");
    let daemon = daemon.restart();
    assert!(eventually(SOON, || ended(&daemon) == first));
}

#[test]
fn a_library_that_cannot_be_scanned_says_why() {
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    let rule = fake.on(Kind::Metadata).refuses(404, "notFound");
    let daemon = setup.start();
    assert!(eventually(SOON, || daemon.get("/courses").text().contains(
        "No courses were found, because the last scan failed: "
    )));
    let failed = daemon.health()["catalog"]["scan"].clone();
    assert_eq!(failed["state"], "idle");
    assert!(failed["error"].is_string() && failed["lastFinished"].is_string());
    // It recovers by itself.
    fake.end(rule);
    assert!(eventually(Duration::from_secs(60), || {
        daemon.health()["catalog"]["scan"]["error"].is_null()
    }));
    let shows = || daemon.get("/courses").text().contains("Categoría 1");
    assert!(eventually(SOON, shows));
}

#[test]
fn a_box_without_courses_scans_nothing() {
    let daemon = Setup::new().start();
    let scan = daemon.health()["catalog"]["scan"].clone();
    assert_eq!(
        (&scan["state"], &scan["lastFinished"], &scan["error"]),
        (&"unconfigured".into(), &Value::Null, &Value::Null)
    );
}

#[test]
fn a_scan_of_the_command_shows_in_the_daemon() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    let slow = fake
        .on(Kind::List)
        .does(Action::Latency(Duration::from_secs(5)));
    let mut child = begin(&setup);
    assert!(fake.wait_until(SOON, |fake| !fake.requests_of(Kind::List).is_empty()));
    let daemon = setup.start();
    let state = || daemon.health()["catalog"]["scan"]["state"].clone();
    assert!(eventually(SOON, || state() == "elsewhere"));
    let page = daemon.get("/courses").text();
    assert!(
        page.contains("being scanned by `rill scan`") && page.contains("refresh"),
        "{page}"
    );
    fake.end(slow);
    assert!(child.wait().expect("it ends").success());
    assert!(eventually(SOON, || state() == "idle"
        && daemon.get("/courses").text().contains("Categoría 1")));
}

/// What `rill scan` writes to a terminal of so many columns, and how it ends.
fn on_a_terminal(setup: &Setup, columns: u16) -> (String, bool) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = rustix::pty::openpt(flags).expect("a terminal");
    rustix::pty::grantpt(&ours).expect("a terminal");
    rustix::pty::unlockpt(&ours).expect("a terminal");
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&ours, size).expect("a size");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("a name");
    let name = name.into_string().expect("a name");
    let theirs = || -> Stdio {
        let end = File::options().read(true).write(true).open(&name);
        end.expect("the other end").into()
    };
    let mut child = setup
        .command(&["scan"])
        .stdin(theirs())
        .stdout(theirs())
        .stderr(theirs())
        .spawn()
        .expect("the program starts");
    let (mut shown, mut ours, mut buffer) = (Vec::new(), File::from(ours), [0; 4096]);
    loop {
        match ours.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => shown.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // EIO: the other end is closed by all who had it.
            Err(_) => break,
        }
    }
    let status = child.wait().expect("it ends");
    (String::from_utf8(shown).expect("text"), status.success())
}

#[test]
fn a_terminal_sees_a_bar_and_a_summary() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(Shape {
        courses: 40,
        ..TINY
    });
    for columns in [120, 40] {
        let setup = setup(&fake, &tree);
        fake.on(Kind::List)
            .skip(1)
            .times(2)
            .does(Action::Latency(Duration::from_millis(700)));
        let (shown, success) = on_a_terminal(&setup, columns);
        assert!(success, "{shown}");
        let frames: Vec<&str> = shown
            .split('\r')
            .filter(|frame| frame.contains(" folders, ") && frame.ends_with("\x1b[K"))
            .collect();
        assert!(frames.len() >= 2, "{shown:?}");
        for frame in &frames {
            let width = frame.trim_end_matches("\x1b[K").chars().count();
            assert!(width < usize::from(columns), "{frame:?}");
            assert_eq!(columns == 120, frame.starts_with('['), "{frame:?}");
        }
        // It grows, is wiped, and the summary stands in its place.
        let first = frames.first().expect("a frame");
        assert!(frames.iter().any(|frame| frame != first), "{frames:?}");
        let (_, after) = shown.rsplit_once("\r\x1b[K").expect("it is wiped");
        assert!(
            after.starts_with("the catalog is written: 2 categories, 40 courses, 320 classes"),
            "{after:?}"
        );
        assert!(!after.contains('\x1b'), "{after:?}");
    }
}

#[test]
fn a_failed_scan_leaves_the_terminal_clean() {
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    fake.on(Kind::List)
        .does(Action::Latency(Duration::from_millis(500)));
    fake.on(Kind::List)
        .skip(2)
        .refuses(403, "dailyLimitExceeded");
    let (shown, success) = on_a_terminal(&setup, 100);
    assert!(!success, "{shown:?}");
    let (bar, after) = shown.rsplit_once("\r\x1b[K").expect("the bar is wiped");
    assert!(
        bar.contains(" folders, ") && !after.contains('['),
        "{shown:?}"
    );
}

#[test]
fn a_pipe_sees_no_escapes() {
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    let output = setup.command(&["scan"]).output().expect("it runs");
    assert!(output.status.success());
    for said in [output.stdout, output.stderr] {
        assert!(
            !said.contains(&0x1b) && !said.contains(&b'\r'),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
}
