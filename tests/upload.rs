//! Files that come in one request: by a browser's form, by `curl -F`, by `curl -T`; and what the admin changes.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup, eventually, names};
use crate::support::media;

/// A part of a form: the field, the file's name as it stands in the head, and its content.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// Writes a form with the boundary `XyZ`.
fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut form = Vec::new();
    for (field, file, content) in parts {
        form.extend(format!("--XyZ\r\nContent-Disposition: form-data; name=\"{field}\"").bytes());
        if let Some(file) = file {
            form.extend(format!("; filename=\"{file}\"\r\nContent-Type: video/mp4").bytes());
        }
        form.extend(b"\r\n\r\n");
        form.extend(*content);
        form.extend(b"\r\n");
    }
    form.extend(b"--XyZ--\r\n");
    form
}

/// The head of a request that carries so many bytes.
fn head(daemon: &Daemon, method: &str, target: &str, length: u64, more: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: {length}\r\n{more}\r\n",
        daemon.admin()
    )
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=XyZ\r\n";

fn post(daemon: &Daemon, body: &[u8]) -> Response {
    let mut client = daemon.client();
    let head = head(daemon, "POST", "/upload", body.len() as u64, FORM);
    client.send(head).expect("sent");
    client.send(body).expect("sent");
    client.response("POST")
}

fn put(daemon: &Daemon, name: &str, body: &[u8]) -> Response {
    let mut client = daemon.client();
    let head = head(
        daemon,
        "PUT",
        &format!("/videos/{name}"),
        body.len() as u64,
        "",
    );
    client.send(head).expect("sent");
    client.send(body).expect("sent");
    client.response("PUT")
}

/// Everything in the folder of videos, hidden files too, with its content.
fn files(daemon: &Daemon) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = names(&daemon.setup().videos())
        .into_iter()
        .map(|name| {
            let content = fs::read(daemon.setup().videos().join(&name)).unwrap_or_default();
            (name, content)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_form_of_several_files_answers_each_by_itself() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let film = media::bytes("h264_aac.mp4");
    let last = media::bytes("h264_aac_last.mp4");
    let response = post(
        &daemon,
        &form(&[
            ("note", None, b"hello"),
            ("file", Some("Film.mp4"), &film),
            ("file", Some("Film.mp4"), &last),
            (
                "file",
                Some("text.mp4"),
                b"This is a text, whatever its name says.\n",
            ),
            ("file", Some("virus.exe"), &[7; 100_000]),
            ("file", Some("music.mp3"), &media::bytes("tone.mp3")),
            (
                "file",
                Some("Film.en.srt"),
                b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
            ),
            ("file", Some(""), b""),
        ]),
    );
    assert_eq!(response.status(), 207, "{}", response.text());
    let told = response.json();
    let told = told["files"].as_array().expect("a list");
    let of = |field: &str| -> Vec<Value> { told.iter().map(|file| file[field].clone()).collect() };
    assert_eq!(
        of("status"),
        [201, 202, 415, 415, 201, 201].map(Value::from)
    );
    assert_eq!(
        of("name"),
        [
            "Film.mp4",
            "Film (2).mp4",
            "text.mp4",
            "virus.exe",
            "music.mp3",
            "Film.en.srt"
        ]
        .map(Value::from)
    );
    assert_eq!(told[2]["error"], "not_media");
    assert_eq!(told[3]["error"], "unsupported_type");
    assert_eq!(told[1]["url"], "/videos/Film%20%282%29.mp4");
    // Its index goes to its beginning.
    let job = told[1]["job"]["url"].as_str().expect("a job").to_owned();
    let done = || daemon.get(&job).json()["state"] == "completed";
    assert!(eventually(Duration::from_secs(120), done));
    let files = files(&daemon);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Film (2).mp4",
            "Film.en.srt",
            "Film.en.vtt",
            "Film.mp4",
            "music.mp3"
        ]
    );
    assert!(files[3].1 == film);
    assert!(files[2].1.starts_with(b"WEBVTT\n"));
    // All of it is there at once, in the list too.
    assert_eq!(daemon.get("/videos/Film.mp4").body, film);
    let listed = daemon.get("/api/videos").json();
    assert_eq!(
        listed["videos"].as_array().map(Vec::len),
        Some(3),
        "{listed}"
    );
}

/// What a screen must read to its end before it begins is played by none at once.
#[test]
fn a_film_whose_index_is_at_its_end_becomes_one_whose_index_is_first() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let last = media::bytes("h264_aac_last.mp4");
    let response = put(&daemon, "Film.mp4", &last);
    assert_eq!(response.status(), 202, "{}", response.text());
    let url = response.header("location").expect("a job").to_owned();
    let done = || daemon.get(&url).json()["state"] == "completed";
    assert!(
        eventually(Duration::from_secs(120), done),
        "{}",
        daemon.get(&url).text()
    );
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp4"]);
    let film = daemon.get("/videos/Film.mp4").body;
    let at = |kind: &[u8]| film.windows(4).position(|four| four == kind);
    assert!(at(b"moov") < at(b"mdat"), "{:?}", at(b"moov"));
}

/// Nobody asks again for a file that is there: its job must be known before it is.
#[test]
fn a_kill_between_a_file_and_its_job_leaves_no_film_unconverted() {
    let setup = Setup::new();
    let videos = setup.videos();
    let database = setup.path().join("state").join("rill.db");
    let mut daemon = setup.start();
    let film = media::bytes("h264_ac3.mkv");
    for blocked in [true, false] {
        daemon.wait_for_ffmpeg();
        let connection = rusqlite::Connection::open(&database).expect("the database");
        if blocked {
            // What is to be written of the job waits for this.
            connection
                .execute_batch("BEGIN IMMEDIATE")
                .expect("nobody writes");
        }
        let mut client = daemon.client();
        let length = film.len() as u64;
        let head = head(&daemon, "PUT", "/videos/Film.mkv", length, "");
        client.send(head).expect("sent");
        client.send(&film).expect("sent");
        let there = || names(&videos).iter().any(|name| name.starts_with("Film"));
        let seen = eventually(Duration::from_secs(if blocked { 4 } else { 60 }), there);
        assert!(seen || blocked, "{:?}", names(&videos));
        drop(connection);
        daemon = daemon.restart();
        drop(client);
        let settled = || {
            let names = names(&videos);
            names.contains(&"Film.mp4".to_owned()) != names.is_empty()
                && !names.contains(&"Film.mkv".to_owned())
        };
        assert!(
            eventually(Duration::from_secs(120), settled),
            "{:?} {}",
            names(&videos),
            daemon.get("/api/jobs").text()
        );
        assert!(blocked || videos.join("Film.mp4").exists());
    }
}

#[test]
fn one_file_is_answered_by_its_own_status() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let film = media::bytes("h264_aac.mp4");
    let response = post(&daemon, &form(&[("file", Some("a.mp4"), &film)]));
    assert_eq!(
        (response.status(), response.header("location")),
        (201, Some("/videos/a.mp4"))
    );
    let response = post(&daemon, &form(&[("file", Some("a.mp4"), b"nonsense")]));
    assert_eq!(
        (response.status(), response.code()),
        (415, "not_media".to_owned())
    );
    for name in ["empty.mp4", "playlist.mp4", "text.mp4"] {
        let response = post(
            &daemon,
            &form(&[("file", Some("b.mp4"), &media::bytes(name))]),
        );
        assert_eq!(response.status(), 415, "{name}: {}", response.text());
    }
    let response = post(&daemon, &form(&[("file", Some("a.vtt"), b"no subtitle")]));
    assert_eq!(response.status(), 415);
    // Chosen was nothing at all.
    let response = post(&daemon, &form(&[("file", Some(""), b"")]));
    assert_eq!(
        (response.status(), response.code()),
        (400, "no_file".to_owned())
    );
    assert_eq!(files(&daemon).len(), 1);
}

#[test]
fn what_browsers_do_not_play_becomes_a_job() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let film = media::bytes("h264_ac3.mkv");
    let response = post(&daemon, &form(&[("file", Some("Film.mkv"), &film)]));
    assert_eq!(response.status(), 202, "{}", response.text());
    let job = response.json()["job"].clone();
    assert_eq!(
        (&job["kind"], &job["ref"]),
        (&"convert".into(), &"Film.mkv".into())
    );
    let url = job["url"].as_str().expect("a URL").to_owned();
    assert_eq!(response.header("location"), Some(&*url));
    let done = || daemon.get(&url).json()["state"] == "completed";
    assert!(
        eventually(Duration::from_secs(120), done),
        "{}",
        daemon.get(&url).text()
    );
    let names = names(&daemon.setup().videos());
    assert_eq!(
        names.first().map(String::as_str),
        Some("Film.en.vtt"),
        "{names:?}"
    );
    assert!(
        names.contains(&"Film.mp4".to_owned()) && !names.contains(&"Film.mkv".to_owned()),
        "{names:?}"
    );
    // The same by PUT.
    let response = put(&daemon, "Other.mkv", &film);
    assert_eq!(
        (response.status(), response.header("location").is_some()),
        (202, true)
    );
}

#[test]
fn without_ffmpeg_what_plays_is_taken_and_the_rest_told_why_not() {
    let daemon = Setup::new()
        .set("ffmpeg", "ffmpeg", "\"/nonexistent/ffmpeg\"")
        .set("ffmpeg", "ffprobe", "\"/nonexistent/ffprobe\"")
        .start();
    for (name, status) in [
        ("h264_aac.mp4", 201),
        ("h264_aac_last.mp4", 201),
        ("vp9_opus.webm", 201),
        ("tone.mp3", 201),
        ("tone.flac", 201),
        ("tone.opus", 201),
        ("tone.ogg", 201),
        ("tone.m4a", 201),
        ("h264_ac3.mkv", 503),
        ("mpeg4_mp3.avi", 503),
        ("text.mp4", 415),
        ("empty.mp4", 415),
        ("truncated.mp4", 201),
    ] {
        let response = put(&daemon, name, &media::bytes(name));
        assert_eq!(response.status(), status, "{name}: {}", response.text());
        if status == 503 {
            assert_eq!(response.code(), "ffmpeg_not_available");
            assert!(
                response.text().contains("/nonexistent/ff"),
                "{}",
                response.text()
            );
        }
    }
}

#[test]
fn put_takes_a_name_once() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    fs::create_dir(daemon.setup().videos().join("shows")).expect("a folder");
    let film = media::bytes("h264_aac.mp4");
    let response = put(&daemon, "F%C3%AAte.mp4", &film);
    assert_eq!(
        (response.status(), response.header("location")),
        (201, Some("/videos/F%C3%AAte.mp4"))
    );
    let response = put(&daemon, "F%C3%AAte.mp4", &film);
    assert_eq!(
        (response.status(), response.code()),
        (409, "name_taken".to_owned())
    );
    assert_eq!(put(&daemon, "shows/a.mp4", &film).status(), 201);
    assert_eq!(put(&daemon, "no/a.mp4", &film).code(), "folder_not_found");
    assert_eq!(put(&daemon, "a.exe", b"x").code(), "unsupported_type");
    assert_eq!(put(&daemon, "noext", b"x").code(), "unsupported_type");
    assert_eq!(
        put(&daemon, "CON.mp4", &film).header("location"),
        Some("/videos/_CON.mp4")
    );
    // Chunked, as curl sends what it reads from a pipe.
    let mut client = daemon.client();
    let admin = daemon.admin();
    let chunked = format!(
        "PUT /videos/piped.mp4 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    client.send(chunked).expect("sent");
    for piece in film.chunks(10_000) {
        client.send(format!("{:x}\r\n", piece.len())).expect("sent");
        client.send([piece, b"\r\n"].concat()).expect("sent");
    }
    client.send("0\r\n\r\n").expect("sent");
    assert_eq!(client.response("PUT").status(), 201);
    assert_eq!(daemon.get("/videos/piped.mp4").body, film);
    let response = {
        let head = head(
            &daemon,
            "PUT",
            "/videos/part.mp4",
            1,
            "Content-Range: bytes 0-0/2\r\n",
        );
        let mut client = daemon.client();
        client.send(head + "x").expect("sent");
        client.response("PUT")
    };
    assert_eq!(response.code(), "partial_put");
}

#[test]
fn two_that_want_one_name_at_once_both_get_one() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let song = media::bytes("tone.mp3");
    let daemon = &daemon;
    let admin = daemon.admin();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|n| {
                let (song, admin) = (&song, &admin);
                scope.spawn(move || {
                    let (method, target, more, body) = match n % 2 {
                        0 => ("PUT", "/videos/same.mp3", "", song.clone()),
                        _ => ("POST", "/upload", FORM, form(&[("f", Some("same.mp3"), song)])),
                    };
                    let mut client = daemon.client();
                    let head = format!(
                        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\n\
                         Content-Length: {}\r\n{more}\r\n",
                        body.len()
                    );
                    client.send(head).expect("sent");
                    client.send(&body).expect("sent");
                    client.response(method).status()
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().expect("an answer"))
            .collect()
    });
    let forms = statuses.iter().skip(1).step_by(2);
    assert!(forms.clone().all(|status| *status == 201), "{statuses:?}");
    let puts: Vec<u16> = statuses.iter().step_by(2).copied().collect();
    assert!(
        puts.iter().all(|status| matches!(status, 201 | 409)),
        "{statuses:?}"
    );
    let taken = statuses.iter().filter(|status| **status == 201).count();
    let files = files(daemon);
    assert_eq!(files.len(), taken, "{statuses:?}");
    assert!(files.iter().all(|(_, content)| *content == song));
}

#[test]
fn who_is_not_the_admin_is_refused_before_a_byte_is_read() {
    let daemon = Setup::new().start();
    let film = media::bytes("h264_aac.mp4");
    for (method, target, more) in [
        ("POST", "/upload", FORM),
        ("PUT", "/videos/a.mp4", ""),
        (
            "POST",
            "/api/uploads",
            "Tus-Resumable: 1.0.0\r\nUpload-Length: 1\r\nUpload-Metadata: filename YS5tcDQ=\r\n",
        ),
        ("DELETE", "/videos/a.mp4", ""),
        ("POST", "/videos/a.mp4/rename", ""),
        ("POST", "/videos/a.mp4/delete", ""),
    ] {
        // The body never comes: what waits for it does not answer.
        let mut client = daemon.client();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nExpect: 100-continue\r\n{more}\r\n",
            film.len()
        );
        client.send(head).expect("sent");
        let response = client.response(method);
        assert_eq!(
            (response.status(), response.code()),
            (401, "admin_required".to_owned()),
            "{method} {target}"
        );
    }
    // Neither does another site's page act with the admin's cookie.
    let mut client = daemon.client();
    client
        .send(
            head(
                &daemon,
                "PUT",
                "/videos/a.mp4",
                1,
                "Origin: https://evil.example\r\n",
            ) + "x",
        )
        .expect("sent");
    assert_eq!(client.response("PUT").code(), "cross_site");
    let page = daemon.get("/upload").text();
    assert!(
        page.contains("name=\"token\"") && page.contains("value=\"/upload\""),
        "{page}"
    );
    assert!(files(&daemon).is_empty());
}

#[test]
fn what_is_too_large_or_finds_no_space_is_refused_before_its_bytes() {
    let daemon = Setup::new().set("limits", "upload", "\"1MiB\"").start();
    let expect = "Expect: 100-continue\r\n";
    let mut client = daemon.client();
    client
        .send(head(&daemon, "PUT", "/videos/a.mp4", (1 << 20) + 1, expect))
        .expect("sent");
    let response = client.response("PUT");
    assert_eq!(
        (response.status(), response.code()),
        (413, "payload_too_large".to_owned())
    );
    // In a form the length of a file is known when it is there.
    let response = post(
        &daemon,
        &form(&[
            ("f", Some("big.mp3"), &vec![7; (1 << 20) + 1]),
            ("f", Some("a.mp3"), &media::bytes("tone.mp3")),
        ]),
    );
    let told = response.json();
    assert_eq!(
        (&told["files"][0]["status"], &told["files"][1]["status"]),
        (&413.into(), &201.into()),
        "{told}"
    );
    assert_eq!(files(&daemon).len(), 1);

    let daemon = Setup::new()
        .set("limits", "free_space", "\"1000TiB\"")
        .start();
    for (method, target, more) in [("PUT", "/videos/a.mp4", ""), ("POST", "/upload", FORM)] {
        let mut client = daemon.client();
        client
            .send(head(
                &daemon,
                method,
                target,
                1000,
                &format!("{expect}{more}"),
            ))
            .expect("sent");
        let response = client.response(method);
        assert_eq!(
            (response.status(), response.code()),
            (507, "no_space".to_owned()),
            "{target}"
        );
    }
    let daemon = Setup::new()
        .set("library", "videos", "\"/proc/nowhere\"")
        .start();
    let mut client = daemon.client();
    client
        .send(head(&daemon, "PUT", "/videos/a.mp4", 1000, expect))
        .expect("sent");
    assert_eq!(client.response("PUT").code(), "videos_missing");
}

/// A small disk of its own; `None` where none may be made.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(setup: &Setup, size: &str) -> Option<SmallDisk> {
        let place = setup.videos();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0755"),
                "tmpfs",
            ])
            .arg(&place)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(SmallDisk(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "who runs it must know that it tested nothing"
)]
fn a_disk_that_fills_up_keeps_nothing_of_the_file_and_all_of_the_others() {
    let setup = Setup::new().set("limits", "free_space", "\"2MiB\"");
    let Some(_disk) = SmallDisk::new(&setup, "24m") else {
        eprintln!("no tmpfs may be mounted here: nothing was tested");
        return;
    };
    let daemon = setup.start();
    let song = media::bytes("tone.mp3");
    assert_eq!(put(&daemon, "first.mp3", &song).status(), 201);
    // Of a known length: at once, before its bytes.
    let mut client = daemon.client();
    client
        .send(head(
            &daemon,
            "PUT",
            "/videos/a.mp4",
            30 << 20,
            "Expect: 100-continue\r\n",
        ))
        .expect("sent");
    assert_eq!(client.response("PUT").status(), 507);
    // Of none: when it is full.
    let mut client = daemon.client();
    let head = format!(
        "PUT /videos/b.mp3 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        daemon.admin()
    );
    client.send(head).expect("sent");
    let piece = [b"100000\r\n", &vec![7; 1 << 20][..], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 30 && client.send(&piece).is_ok() {
        sent += 1;
    }
    let response = client.response("PUT");
    assert_eq!(
        (response.status(), response.code()),
        (507, "no_space".to_owned())
    );
    let gone = || files(&daemon).len() == 1;
    assert!(
        eventually(Duration::from_secs(20), gone),
        "{:?}",
        names(&daemon.setup().videos())
    );
    assert_eq!(files(&daemon)[0].1, song);
    assert_eq!(put(&daemon, "after.mp3", &song).status(), 201);
}

#[test]
fn an_upload_that_is_cut_off_leaves_nothing() {
    let daemon = Setup::new().start();
    let film = media::bytes("h264_aac.mp4");
    let whole = form(&[("f", Some("a.mp4"), &film)]);
    for cut in [200, 5000, film.len() / 2, film.len() + 50, whole.len() - 5] {
        let mut client = daemon.client();
        client
            .send(head(&daemon, "POST", "/upload", whole.len() as u64, FORM))
            .expect("sent");
        client.send(&whole[..cut]).expect("sent");
        match cut % 2 {
            0 => client.abort(),
            _ => {
                client.finish();
                assert_eq!(client.response("POST").code(), "body_cut_short", "{cut}");
            }
        }
    }
    let mut client = daemon.client();
    client
        .send(head(&daemon, "PUT", "/videos/b.mp4", film.len() as u64, ""))
        .expect("sent");
    client.send(&film[..film.len() - 1]).expect("sent");
    client.finish();
    assert_eq!(client.response("PUT").code(), "body_cut_short");
    // A form that says that it is whole, and is not.
    let short = &whole[..whole.len() - 8];
    assert_eq!(post(&daemon, short).code(), "body_cut_short");
    let mut broken = whole.clone();
    broken.truncate(whole.len() - 4);
    broken.extend(b"nonsense");
    assert_eq!(post(&daemon, &broken).code(), "malformed_form");
    let empty = || files(&daemon).iter().all(|(name, _)| name == "a.mp4");
    assert!(
        eventually(Duration::from_secs(20), empty),
        "{:?}",
        names(&daemon.setup().videos())
    );
}

#[test]
fn what_a_kill_left_is_swept_at_the_next_start() {
    let daemon = Setup::new().start();
    let mut client = daemon.client();
    client
        .send(head(&daemon, "PUT", "/videos/a.mp4", 10 << 20, ""))
        .expect("sent");
    client.send(vec![7; 5 << 20]).expect("sent");
    let begun = || {
        names(&daemon.setup().videos())
            .iter()
            .any(|name| name.ends_with(".part"))
    };
    assert!(eventually(Duration::from_secs(20), begun));
    fs::write(
        daemon.setup().videos().join(".kept.part"),
        "somebody else's",
    )
    .expect("written");
    let daemon = daemon.restart();
    let swept = || names(&daemon.setup().videos()) == [".kept.part"];
    assert!(
        eventually(Duration::from_secs(20), swept),
        "{:?}",
        names(&daemon.setup().videos())
    );
}

#[test]
fn hostile_names_stay_inside() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let song = media::bytes("tone.mp3");
    let long = format!("{}.mp3", "n".repeat(300));
    let hostile = [
        ("../../escape.mp3", "escape.mp3"),
        ("/etc/cron.d/x.mp3", "x.mp3"),
        ("C:\\\\Windows\\\\y.mp3", "y.mp3"),
        (".hidden.mp3", "hidden.mp3"),
        ("..mp3", "Untitled.mp3"),
        ("a%0D%0AX: y.mp3", "aX: y.mp3"),
        ("nul.mp3", "_nul.mp3"),
        ("a\u{202e}3pm.mp3", "a3pm.mp3"),
        ("e\u{301}.mp3", "é.mp3"),
        ("x.mp3; rm -rf.mp3", "x.mp3; rm -rf.mp3"),
        ("<img src=x>.mp3", "<img src=x>.mp3"),
    ];
    let mut parts: Vec<Part<'_>> = hostile
        .iter()
        .map(|(name, _)| ("f", Some(*name), &song[..]))
        .collect();
    parts.push(("f", Some(&long), &song));
    let response = post(&daemon, &form(&parts));
    let told = response.json();
    for (n, (raw, name)) in hostile.iter().enumerate() {
        assert_eq!(told["files"][n]["name"], **name, "{raw}: {told}");
        let url = told["files"][n]["url"].as_str().expect("a URL").to_owned();
        assert_eq!(daemon.get(&url).body.len(), song.len(), "{url}");
    }
    assert_eq!(names(&daemon.setup().videos()).len(), parts.len());
    let outside = names(daemon.setup().path());
    assert!(
        !outside.iter().any(|name| name.ends_with(".mp3")),
        "{outside:?}"
    );
}

/// Half of it through the form as bytes, so that a boundary is cut at every offset on its way through sockets.
#[test]
fn a_boundary_may_be_cut_at_every_offset() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let content = b"1\n00:00:01,000 --> 00:00:02,000\nHello \r\n--XyZ\r--Xy\r\n--XyY\n";
    let whole = form(&[("f", Some("a.srt"), content), ("g", None, b"x")]);
    let admin = daemon.admin();
    let mut client = daemon.client();
    for cut in 0..=whole.len() {
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\nContent-Length: {}\r\n{FORM}\r\n",
            whole.len()
        );
        client.send(head).expect("sent");
        client.send(&whole[..cut]).expect("sent");
        // Two segments: the first is read before the second is there.
        std::thread::sleep(Duration::from_millis(1));
        client.send(&whole[cut..]).expect("sent");
        let response = client.response("POST");
        // The content holds a boundary: the form breaks there, and alike wherever it is cut.
        assert_eq!(
            response.code(),
            "malformed_form",
            "{cut}: {}",
            response.text()
        );
        client = daemon.client();
    }
    let content = b"1\n00:00:01,000 --> 00:00:02,000\nHello \r\n--Xy\r--Xy\r\n--XyY\n";
    let whole = form(&[("f", Some("a.srt"), content), ("g", None, b"x")]);
    for cut in 0..=whole.len() {
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\nContent-Length: {}\r\n{FORM}\r\n",
            whole.len()
        );
        client.send(head).expect("sent");
        client.send(&whole[..cut]).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
        client.send(&whole[cut..]).expect("sent");
        let response = client.response("POST");
        assert_eq!(response.status(), 201, "{cut}: {}", response.text());
    }
    for (name, bytes) in files(&daemon) {
        match name.ends_with(".srt") {
            true => assert_eq!(bytes, content, "{name}"),
            false => assert!(bytes.starts_with(b"WEBVTT"), "{name}"),
        }
    }
    assert_eq!(files(&daemon).len(), 2 * (whole.len() + 1));
}

#[test]
fn two_gigabytes_pass_in_a_few_megabytes_of_memory() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    // An MP3 in front, then bytes that are none: the disk takes what it is given.
    let song = media::bytes("tone.mp3");
    let begin = &form(&[("f", Some("big.mp3"), &song)]);
    let (begin, end) = begin.split_at(begin.len() - b"\r\n--XyZ--\r\n".len());
    let length: u64 = 2 << 30;
    let mut client = daemon.client();
    client
        .send(head(
            &daemon,
            "POST",
            "/upload",
            begin.len() as u64 + length + end.len() as u64,
            FORM,
        ))
        .expect("sent");
    client.send(begin).expect("sent");
    let before = daemon.rss();
    let piece = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        client.send(&piece).expect("sent");
    }
    let after = daemon.peak_rss();
    client.send(end).expect("sent");
    client.set_patience(Duration::from_secs(150));
    let response = client.response("POST");
    assert_eq!(response.status(), 201, "{}", response.text());
    assert_eq!(
        response.json()["files"][0]["bytes"],
        song.len() as u64 + length
    );
    let grown = after.saturating_sub(before) >> 10;
    assert!(grown < 8 << 10, "{grown} KiB more");
}

#[test]
fn curl_sends_files_both_ways() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-w", "\n%{http_code}", "-H"])
            .arg(format!("Authorization: {}", daemon.admin()))
            .args(arguments)
            .output()
            .expect("curl is installed (`tests/run` sees to it)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.rsplit('\n').next().unwrap_or_default().to_owned()
    };
    let film = media::file("h264_aac.mp4");
    let film = film.to_str().expect("a path in UTF-8");
    assert_eq!(curl(&["-T", film, &daemon.url("/videos/put.mp4")]), "201");
    assert_eq!(curl(&["-T", film, &daemon.url("/videos/put.mp4")]), "409");
    let one = format!("a=@{film};filename=\"a \\\"quoted\\\" \\\\ name.mp4\"");
    let two = format!("b=@{film};filename=ünï.mp4");
    assert_eq!(
        curl(&[
            "-F",
            "field=value",
            "-F",
            &one,
            "-F",
            &two,
            &daemon.url("/upload")
        ]),
        "207"
    );
    let names = names(&daemon.setup().videos());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names.contains(&"ünï.mp4".to_owned()) && names.contains(&"put.mp4".to_owned()),
        "{names:?}"
    );
}

#[test]
fn files_are_renamed_and_deleted_with_their_subtitles() {
    let film = media::bytes("h264_aac.mp4");
    let daemon = Setup::new()
        .video("Film.mp4", &film)
        .video("Film.en.vtt", b"WEBVTT\n")
        .video("Other.mp4", &film)
        .video("s/x.mp4", &film)
        .start();
    let admin = daemon.admin();
    let admin = ("Authorization", &*admin);
    let mut client = daemon.client();
    let mut rename = |target: &str, body: &str| {
        let length = body.len().to_string();
        client.ask("POST", target, &[admin, ("Content-Length", &length)]);
        client.send(body).expect("sent");
        client.response("POST")
    };
    let response = rename("/videos/Film.mp4/rename", "name=Other");
    assert_eq!(
        (response.status(), response.code()),
        (409, "name_taken".to_owned())
    );
    let response = rename("/videos/Film.mp4/rename", "{\"name\": \"Été.mp4\"}");
    assert_eq!(
        response.json()["watch"],
        "/video/%C3%89t%C3%A9.mp4",
        "{}",
        response.text()
    );
    assert_eq!(
        rename("/videos/s/x.mp4/rename", "name=..%2F..%2Fy").json()["name"],
        "s/y.mp4"
    );
    assert_eq!(
        rename("/videos/Other.mp4/rename", "").code(),
        "missing_name"
    );
    assert_eq!(
        rename("/videos/Gone.mp4/rename", "name=a").code(),
        "not_found"
    );
    let here = names(&daemon.setup().videos());
    assert_eq!(here, ["Other.mp4", "s", "Été.en.vtt", "Été.mp4"]);
    // The list knows at once.
    assert!(daemon.get("/api/videos").text().contains("Été.mp4"));
    let page = daemon.client().request(
        "GET",
        "/videos/Other.mp4/delete",
        &[admin, ("Accept", "text/html")],
    );
    assert!(
        page.text()
            .contains("method=\"post\" action=\"/videos/Other.mp4/delete\""),
        "{}",
        page.text()
    );
    let response = daemon
        .client()
        .request("DELETE", "/videos/%C3%89t%C3%A9.mp4", &[admin]);
    assert_eq!(
        response.json()["files"].as_array().map(Vec::len),
        Some(2),
        "{}",
        response.text()
    );
    assert_eq!(
        daemon
            .client()
            .request("DELETE", "/videos/%C3%89t%C3%A9.mp4", &[admin])
            .status(),
        404
    );
    let response = daemon.client().request(
        "POST",
        "/videos/Other.mp4/delete",
        &[admin, ("Accept", "text/html")],
    );
    assert_eq!(
        (response.status(), response.header("location")),
        (303, Some("/"))
    );
    assert_eq!(names(&daemon.setup().videos()), ["s"]);
}

/// Logs the browser in, and opens the form.
fn browse(daemon: &Daemon) -> Browser {
    let mut browser = Browser::start();
    browser.open(&daemon.url("/upload"));
    // What is not the admin's is sent to the login, and back.
    let token = daemon.admin().trim_start_matches("Bearer ").to_owned();
    browser.evaluate(&format!(
        "document.querySelector('input[name=token]').value = '{token}'; document.querySelector('form').submit()"
    ));
    let mut arrived = || {
        browser.evaluate("location.pathname + (document.querySelector('#files') ? '!' : '')")
            == "/upload!"
    };
    assert!(
        eventually(Duration::from_secs(30), &mut arrived),
        "{}",
        browser.evaluate("location.href + document.documentElement.outerHTML")
    );
    browser
}

/// Puts files into the form's input.
fn choose(browser: &mut Browser, files: &[(&str, &[u8])]) {
    let mut script = String::from(
        "(() => { const chosen = new DataTransfer(); const add = (name, text) => \
         chosen.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));\n",
    );
    for (name, bytes) in files {
        let text = base64(bytes);
        script.push_str(&format!("add({}, '{text}');\n", Value::from(*name)));
    }
    script.push_str(
        "document.querySelector('#files').files = chosen.files; return chosen.files.length })()",
    );
    assert_eq!(browser.evaluate(&script), files.len());
}

fn base64(bytes: &[u8]) -> String {
    let mut child = Command::new("base64")
        .arg("-w0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64 is everywhere");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes));
        child.wait_with_output().expect("it ends").stdout
    });
    String::from_utf8(text).expect("base64 is ASCII")
}

#[test]
fn a_browser_sends_files_by_script() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let mut browser = browse(&daemon);
    let film = media::bytes("h264_aac.mp4");
    choose(
        &mut browser,
        &[
            ("Ein Füllhorn \"1\".mp4", &film),
            ("text.mp4", b"no film"),
            ("b.mp3", &media::bytes("tone.mp3")),
        ],
    );
    browser.evaluate("document.querySelector('#upload button').click()");
    let statuses = "[...document.querySelectorAll('#sending [data-status]')].map(box => box.getAttribute('data-status')).join()";
    let mut done = || browser.evaluate(statuses) == "201,415,201";
    assert!(
        eventually(Duration::from_secs(60), &mut done),
        "{}",
        browser.evaluate("document.body.innerText")
    );
    assert_eq!(
        daemon.get("/videos/Ein%20F%C3%BCllhorn%20%221%22.mp4").body,
        film
    );
    let watch = browser.evaluate("document.querySelector('#sending a').getAttribute('href')");
    assert_eq!(watch, "/video/Ein%20F%C3%BCllhorn%20%221%22.mp4");
    // A thumb hits the link, and a screen reader says whose bar it is.
    let tall = browser.evaluate("document.querySelector('#sending a').offsetHeight");
    assert!(tall.as_u64() >= Some(44), "{tall}");
    let bar =
        browser.evaluate("document.querySelector('#sending progress').getAttribute('aria-label')");
    assert_eq!(bar, "Ein Füllhorn \"1\".mp4");
    assert_eq!(files(&daemon).len(), 2);
}

/// Drops a file on the page, the same each time, and notes where each request says that its bytes belong.
const DROP: &str = r"(() => {
    window.offsets = window.offsets || [];
    const set = XMLHttpRequest.prototype.setRequestHeader;
    XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
        if (name == 'Upload-Offset') window.offsets.push(Number(value));
        return set.call(this, name, value);
    };
    const song = Uint8Array.from(atob('SONG'), c => c.charCodeAt(0));
    const file = new File([song, new Uint8Array(SIZE)], 'One.mp3', { lastModified: 1 });
    const dropped = new DataTransfer();
    dropped.items.add(file);
    document.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }));
})()";

/// Bytes of silence behind the song that is dropped: more than is kept between two syncs.
const SILENCE: u64 = 72 << 20;

fn drop_song(browser: &mut Browser) {
    let script = DROP
        .replace("SONG", &base64(&media::bytes("tone.mp3")))
        .replace("SIZE", &SILENCE.to_string());
    browser.evaluate(&script);
}

/// How many bytes a second the browser may send; all it can when that is -1.
fn throttle(browser: &mut Browser, bytes: i64) {
    browser.call(
        "Network.emulateNetworkConditions",
        serde_json::json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes}),
    );
}

/// Drops the song, and waits until most of it is sent.
fn send_most(browser: &mut Browser) {
    browser.call("Network.enable", serde_json::json!({}));
    throttle(browser, 12 << 20);
    drop_song(browser);
    let mut seen = Vec::new();
    let mut far = || {
        let at = browser.evaluate("(document.querySelector('#sending progress') || {}).value || 0");
        let at = at.as_f64().unwrap_or_default();
        if seen.last() != Some(&at) {
            seen.push(at);
        }
        at > 0.7
    };
    assert!(eventually(Duration::from_secs(60), &mut far), "{seen:?}");
    assert!(
        seen.len() > 3 && seen.is_sorted(),
        "the bar does not move: {seen:?}"
    );
}

/// Waits until the song is there, whole; where each request to it said that its bytes belong.
fn sent(browser: &mut Browser, daemon: &Daemon) -> Vec<u64> {
    throttle(browser, -1);
    let status = "(document.querySelector('#sending [data-status]') || document.body).getAttribute('data-status')";
    assert!(
        eventually(Duration::from_secs(120), || browser.evaluate(status)
            == "201"),
        "{}",
        browser.evaluate("document.body.innerText")
    );
    assert_eq!(names(&daemon.setup().videos()), ["One.mp3"]);
    let length = fs::metadata(daemon.setup().videos().join("One.mp3")).map_or(0, |file| file.len());
    assert_eq!(length, media::bytes("tone.mp3").len() as u64 + SILENCE);
    serde_json::from_value(browser.evaluate("window.offsets")).expect("numbers")
}

#[test]
fn a_browser_goes_on_after_the_daemon_was_killed() {
    // The page stays, so the address must.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let daemon = Setup::new()
        .set("http", "listen", &format!("[\"{address}\"]"))
        .start_with_ffmpeg();
    let mut browser = browse(&daemon);
    send_most(&mut browser);
    let daemon = daemon.restart();
    let offsets = sent(&mut browser, &daemon);
    let last = offsets.last().copied().unwrap_or_default();
    assert!(last > 16 << 20, "it began anew: {offsets:?}");
}

#[test]
fn a_page_that_was_closed_goes_on_where_it_was_when_the_file_is_chosen_again() {
    let daemon = Setup::new().start_with_ffmpeg();
    let mut browser = browse(&daemon);
    send_most(&mut browser);
    browser.call("Page.enable", serde_json::json!({}));
    browser.open(&daemon.url("/"));
    browser.open(&daemon.url("/upload"));
    drop_song(&mut browser);
    let offsets = sent(&mut browser, &daemon);
    assert!(offsets[0] > 16 << 20, "it began anew: {offsets:?}");
}

#[test]
fn a_browser_sends_files_by_the_bare_form() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let mut browser = browse(&daemon);
    let film = media::bytes("h264_aac.mp4");
    choose(
        &mut browser,
        &[("a \"b\" %41.mp4", &film), ("text.mp4", b"no film")],
    );
    // `submit()` asks no script.
    browser.evaluate("document.querySelector('#upload').submit()");
    let mut done = || browser.evaluate("document.title") == "Uploaded - rill";
    assert!(
        eventually(Duration::from_secs(60), &mut done),
        "{}",
        browser.evaluate("document.body.innerText")
    );
    assert_eq!(daemon.get("/videos/a%20%22b%22%20%2541.mp4").body, film);
    let text = browser.evaluate("document.body.innerText");
    assert!(
        text.as_str()
            .is_some_and(|text| text.contains("Not taken: ")),
        "{text}"
    );
    // The admin's page of the film leads to its end.
    browser.open(&daemon.url("/video/a%20%22b%22%20%2541.mp4"));
    browser.evaluate(
        "[...document.querySelectorAll('a')].find(a => a.textContent == 'Delete').click()",
    );
    let mut asked = || browser.evaluate("document.title") == "Delete - rill";
    assert!(eventually(Duration::from_secs(30), &mut asked));
    browser.evaluate("document.querySelector('button').click()");
    let gone = || files(&daemon).is_empty();
    assert!(eventually(Duration::from_secs(30), gone));
}

#[test]
fn a_reader_of_events_learns_of_a_new_video() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let mut client: Client = daemon.client();
    client.ask("GET", "/api/events", &[]);
    assert_eq!(client.head().status, 200);
    assert_eq!(
        put(&daemon, "new.mp3", &media::bytes("tone.mp3")).status(),
        201
    );
    let mut seen = String::new();
    let mut news = || {
        let mut piece = Vec::new();
        if client.read_into(&mut piece, 1).is_ok() {
            seen.push_str(&String::from_utf8_lossy(&piece));
        }
        seen.contains("event: video") && seen.contains("new.mp3\"}")
    };
    assert!(eventually(Duration::from_secs(30), &mut news));
}
