//! `/videos/` and below: what programs see that walk a library by its links.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::daemon::{Daemon, Setup};

/// Where a program is; a note when it is not installed.
#[allow(clippy::print_stderr, reason = "the harness shows it with --nocapture")]
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|place| place.is_file());
    if found.is_none() {
        eprintln!("left out: {program} is not installed");
    }
    found
}

/// Names that libraries have, and those that break what is careless.
const NAMES: &[&str] = &[
    "a film.mp4",
    "50% #1? & more.mp4",
    "Lesson 1: \"beginning\".mp4",
    "<script>alert(1)<b>.mp4",
    "it's; a=b+c.mp4",
    "back\\slash.mp4",
    "été 🎬.mp4",
    "%2e%2e.mp4",
    "notes.txt",
    "shows/one/1.mp4",
    "shows/one/1.en.srt",
    "shows/two: more/2.mp4",
    "empty.mp4",
];

fn house() -> Daemon {
    let mut setup = Setup::new()
        .video(".hidden.mp4", b"hidden")
        .video(".trash/gone.mp4", b"hidden")
        .video("coming.mp4.part", b"part");
    for name in NAMES {
        let bytes = match *name {
            "empty.mp4" => &b""[..],
            name => name.as_bytes(),
        };
        setup = setup.video(name, bytes);
    }
    let (videos, outside) = (setup.videos(), setup.path().join("secret.mp4"));
    std::fs::write(&outside, "secret").unwrap();
    symlink(&outside, videos.join("out.mp4")).unwrap();
    symlink(setup.path(), videos.join("door")).unwrap();
    symlink("..", videos.join("shows/circle")).unwrap();
    setup.start()
}

/// The addresses of a page's links, in order.
fn links(page: &str) -> Vec<&str> {
    page.split("<a href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

fn run(program: &PathBuf, arguments: &[&str], home: &Daemon) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", "120"])
        .arg(program)
        .args(arguments)
        .current_dir(home.setup().path())
        .env("HOME", home.setup().path())
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .output()
        .expect("timeout is part of every system")
}

#[test]
fn every_link_of_a_folder_leads_to_what_it_names() {
    let daemon = house();
    let mut folders = vec!["/videos/".to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        let page = daemon.get(&folder);
        assert_eq!(page.status(), 200, "{folder}");
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(page.header("content-security-policy").is_some());
        let text = page.text();
        assert!(!text.contains("<script"), "{text}");
        let mut links = links(&text).into_iter();
        assert_eq!(links.next(), Some("../"), "{folder}");
        for link in links {
            let url = format!("{folder}{link}");
            if link.ends_with('/') {
                folders.push(url);
            } else {
                assert_eq!(daemon.get(&url).status(), 200, "{url}");
                files += 1;
            }
        }
    }
    assert_eq!(
        files,
        NAMES.len(),
        "all of them, and nothing hidden or outside"
    );
}

#[test]
fn a_folder_without_its_slash_leads_to_the_one_with_it() {
    let daemon = house();
    for (asked, want) in [
        ("/videos", "/videos/"),
        ("/videos/shows", "/videos/shows/"),
        (
            "/videos/shows/two%3A%20more?x=1",
            "/videos/shows/two%3A%20more/?x=1",
        ),
    ] {
        let reply = daemon.get(asked);
        assert_eq!(
            (reply.status(), reply.header("location")),
            (301, Some(want))
        );
    }
    for nothing in [
        "/videos/door",
        "/videos/door/",
        "/videos/.trash",
        "/videos/.trash/",
        "/videos/shows/circle/",
        "/videos/a%20film.mp4/",
        "/videos/missing/",
        "/videos/shows//",
        "/videos/shows/../",
        "/videos/%2e%2e/",
    ] {
        assert_eq!(daemon.get(nothing).code(), "not_found", "{nothing}");
    }
    let put = daemon.client().request("DELETE", "/videos/", &[]);
    assert_eq!(
        (put.status(), put.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
}

#[test]
fn a_folder_is_read_anew_and_told_by_its_tag() {
    let daemon = house();
    let before = daemon.get("/videos/shows/");
    let tag = before.header("etag").expect("a tag").to_owned();
    let known = |tag: &str| {
        let mut client = daemon.client();
        client
            .request("GET", "/videos/shows/", &[("If-None-Match", tag)])
            .status()
    };
    assert_eq!(known(&tag), 304);
    std::fs::write(daemon.setup().videos().join("shows/new.mp4"), "new").unwrap();
    assert_eq!(known(&tag), 200);
    let text = daemon.get("/videos/shows/").text();
    assert!(links(&text).contains(&"new.mp4"), "{text}");
    std::fs::remove_dir_all(daemon.setup().videos()).unwrap();
    let gone = daemon.get("/videos/");
    assert_eq!(
        (gone.status(), gone.code().as_str()),
        (503, "videos_missing")
    );
}

/// rclone asks for `/videos/./Lesson 1: x.mp4` where a name has a colon; until `.` was read over it lost such files.
#[test]
fn rclone_finds_the_same_library_as_on_the_disk() {
    let Some(rclone) = find("rclone") else { return };
    let daemon = house();
    let (url, config) = (daemon.url("/videos/"), daemon.setup().path().join("none"));
    let config = config.to_str().unwrap();
    let http = ["--config", config, "--http-url", &url];
    let list = run(
        &rclone,
        &[&["lsf", "-R", "--files-only", ":http:"], &http[..]].concat(),
        &daemon,
    );
    let listed = String::from_utf8_lossy(&list.stdout).into_owned();
    let mut listed: Vec<&str> = listed.lines().collect();
    let mut names = NAMES.to_vec();
    listed.sort_unstable();
    names.sort_unstable();
    assert_eq!(listed, names, "{}", String::from_utf8_lossy(&list.stderr));
    let mut check = vec!["check", "--one-way", "--download", ":http:", "videos"];
    check.extend(http);
    let check = run(&rclone, &check, &daemon);
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(
        check.status.success() && said.contains("0 differences found"),
        "{said}"
    );
    // By the folder's name without its slash, as people write it.
    let url = daemon.url("/videos/shows");
    let cat = [
        "cat",
        ":http:one/1.mp4",
        "--config",
        config,
        "--http-url",
        &url,
    ];
    assert_eq!(run(&rclone, &cat, &daemon).stdout, b"shows/one/1.mp4");
}

#[test]
fn wget_copies_the_library_and_nothing_else() {
    let Some(wget) = find("wget") else { return };
    let daemon = house();
    let url = daemon.url("/videos/");
    run(&wget, &["-q", "-r", "-nH", "-P", "copy", &url], &daemon);
    let copy = daemon.setup().path().join("copy");
    for name in ["a film.mp4", "shows/one/1.mp4", "shows/two: more/2.mp4"] {
        let bytes = std::fs::read(copy.join("videos").join(name));
        assert_eq!(bytes.ok().as_deref(), Some(name.as_bytes()), "{name}");
    }
    let mut top: Vec<_> = std::fs::read_dir(&copy)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    top.sort();
    assert_eq!(top, ["robots.txt", "videos"]);
}
