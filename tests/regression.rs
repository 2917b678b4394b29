//! What was wrong once and must not be again, each under the name of what its user saw.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::daemon::{Setup, eventually};

#[test]
fn a_304_says_that_nothing_was_modified() {
    let daemon = Setup::new().video("a.mp4", b"abc").start();
    let mut client = daemon.client();
    let etag = client
        .get("/videos/a.mp4")
        .header("etag")
        .map(str::to_owned);
    let tag = etag.expect("a tag");
    client.ask("GET", "/videos/a.mp4", &[("If-None-Match", &tag)]);
    let want = b"HTTP/1.1 304 Not Modified\r\n";
    let line = client.take(want.len() as u64).expect("a status line");
    assert_eq!(line, want);
}

#[test]
fn bodies_that_stall_do_not_keep_everyone_else_out() {
    let daemon = Setup::new().set("http", "max_connections", "8").start();
    let mut stalled: Vec<_> = (0..8).map(|_| daemon.client()).collect();
    for client in &mut stalled {
        client
            .send("POST /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
            .expect("the daemon reads");
    }
    let served = || daemon.client().request("GET", "/robots.txt", &[]).status() == 200;
    assert!(eventually(Duration::from_secs(20), served));
}

#[test]
fn a_folder_that_is_too_deep_to_be_listed_is_told_of() {
    let shallow = "a/".repeat(15) + "shown.mp4";
    let deep = "b/".repeat(16) + "hidden.mp4";
    let daemon = Setup::new()
        .video(&shallow, b"x")
        .video(&deep, b"x")
        .start();
    let listed = daemon.get("/api/videos").json();
    assert_eq!(
        listed["videos"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    let problem = listed["problem"].as_str().unwrap_or_default();
    assert!(
        problem.starts_with("Folders 16 deep and deeper are not listed"),
        "{problem}"
    );
    // It plays all the same, for who knows its address.
    assert_eq!(daemon.get(&format!("/videos/{deep}")).status(), 200);
}

#[test]
fn memory_is_given_back_when_the_last_client_goes() {
    let daemon = Setup::new().start();
    let mut clients: Vec<_> = (0..400).map(|_| daemon.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
    let busy = daemon.rss();
    drop(clients);
    let idle = || daemon.rss() <= busy * 2 / 3;
    assert!(
        eventually(Duration::from_secs(10), idle),
        "{busy} became {}",
        daemon.rss()
    );
}

/// apt unpacks ffmpeg, starts rill, and sets up ffmpeg's libraries afterwards: the same file runs then that did not.
#[test]
fn an_ffmpeg_whose_libraries_come_later_is_taken_up_without_a_restart() {
    let setup = Setup::new();
    let folder = setup.path().to_owned();
    for name in ["ffmpeg", "ffprobe"] {
        let script = folder.join(name);
        let body = format!(
            "#!/bin/sh\n[ -e {}/library ] || {{ echo 'cannot open shared object file' >&2; exit 127; }}\necho {name} version 9.9\n",
            folder.display()
        );
        fs::write(&script, body).expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let named = |name: &str| format!("\"{}\"", folder.join(name).display());
    let daemon = setup
        .set("ffmpeg", "ffmpeg", &named("ffmpeg"))
        .set("ffmpeg", "ffprobe", &named("ffprobe"))
        .start();
    let said = |word: &str| daemon.health()["ffmpeg"].to_string().contains(word);
    assert!(
        eventually(Duration::from_secs(20), || said("shared object")),
        "{}",
        daemon.health()
    );
    fs::write(folder.join("library"), "").expect("written");
    assert!(
        eventually(Duration::from_secs(60), || said("\"available\":true")),
        "{}",
        daemon.health()
    );
}

#[test]
fn a_check_refuses_the_token_that_the_daemon_refuses() {
    let setup = Setup::new();
    let token = setup.path().join("state/admin-token");
    std::fs::write(&token, "a token with spaces in it\n").expect("written");
    let line = || {
        let output = setup.command(&["check"]).output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = text.lines().find(|line| line.contains(" token "));
        line.map(str::to_owned).expect("a line for the token")
    };
    let refused = line();
    assert!(refused.starts_with("FAIL"), "{refused}");
    assert!(refused.contains("rill token --new"), "{refused}");
    std::fs::remove_file(&token).expect("removed");
    assert!(line().starts_with("--"));
    // It makes none.
    assert!(!token.exists());
}
