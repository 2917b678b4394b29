//! Local files over the wire: the fence, types, subtitles, and HEAD beside GET.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode};

use crate::support::daemon::{Daemon, Setup};

const SRT: &[u8] = b"1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Se\xf1or</i> & co\r\n";

fn house() -> Daemon {
    let setup = Setup::new()
        .video("film.mp4", b"0123456789")
        .video("shows/50% #1 é.mp4", b"named")
        .video("film.en.srt", SRT)
        .video("film.es.vtt", b"WEBVTT\n")
        .video(".hidden.mp4", b"hidden")
        .video("film2.mp4.part", b"part")
        .video("page.html", b"<script>alert(1)</script>");
    let (videos, outside) = (setup.videos(), setup.path().join("secret.mp4"));
    std::fs::write(&outside, "secret").unwrap();
    symlink(&outside, videos.join("out.mp4")).unwrap();
    symlink("../secret.mp4", videos.join("up.mp4")).unwrap();
    symlink(setup.path(), videos.join("door")).unwrap();
    symlink("../film.mp4", videos.join("shows/in.mp4")).unwrap();
    symlink(videos.join("film.mp4"), videos.join("absolute.mp4")).unwrap();
    symlink("/dev/zero", videos.join("zero.mp4")).unwrap();
    symlink("/proc/self/environ", videos.join("environ.mp4")).unwrap();
    rustix::fs::mknodat(CWD, videos.join("pipe.mp4"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    setup.start()
}

#[test]
fn nothing_outside_is_served_by_any_spelling() {
    let daemon = house();
    for target in [
        "/videos/../secret.mp4",
        "/videos/shows/../../secret.mp4",
        "/videos/%2e%2e/secret.mp4",
        "/videos/%2E./secret.mp4",
        "/videos/..%2fsecret.mp4",
        "/videos/%2e%2e%2fsecret.mp4",
        "/videos/%252e%252e%252fsecret.mp4",
        "/videos/..%5csecret.mp4",
        "/videos/..%c0%afsecret.mp4",
        "/videos/%2fetc%2fpasswd",
        "/videos//etc/passwd",
        "/videos/out.mp4",
        "/videos/up.mp4",
        "/videos/door/secret.mp4",
        "/videos/zero.mp4",
        "/videos/environ.mp4",
        "/videos/pipe.mp4",
        "/videos/%2e/film.mp4",
        "/videos/.hidden.mp4",
        "/videos/film2.mp4.part",
        "/videos/film.mp4/",
        "/videos/missing.mp4",
    ] {
        let reply = daemon.get(target);
        assert_eq!(reply.status(), 404, "{target}");
        assert_eq!(reply.code(), "not_found", "{target}");
    }
    for target in [
        "/videos/film.mp4%00.txt",
        "/videos/%",
        "/videos/%f",
        "/videos/%zz",
    ] {
        assert_eq!(daemon.get(target).status(), 400, "{target}");
    }
}

#[test]
fn what_lies_inside_is_served() {
    let daemon = house();
    for target in [
        "/videos/film.mp4",
        "/videos/shows/in.mp4",
        "/videos/absolute.mp4",
    ] {
        let reply = daemon.get(target);
        assert_eq!(reply.text(), "0123456789", "{target}");
        assert_eq!(reply.header("content-type"), Some("video/mp4"), "{target}");
    }
    let named = daemon.get("/videos/shows/50%25%20%231%20%C3%A9.mp4");
    assert_eq!(named.text(), "named");
    let part = daemon.get_range("/videos/film.mp4", "bytes=2-4");
    assert_eq!((part.status(), part.text().as_str()), (206, "234"));
}

#[test]
fn an_uploaded_page_runs_nothing() {
    let daemon = house();
    let reply = daemon.get("/videos/page.html");
    assert_eq!(reply.status(), 200);
    let policy = reply.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("sandbox;"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn subrip_becomes_webvtt_at_its_own_address() {
    let daemon = house();
    let vtt = daemon.get("/videos/film.en.vtt");
    assert_eq!(vtt.status(), 200);
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    let want = "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n<i>Señor</i> &amp; co\n";
    assert_eq!(vtt.text(), want);
    let tag = vtt.header("etag").expect("a validator").to_owned();
    let again = daemon
        .client()
        .request("GET", "/videos/film.en.vtt", &[("If-None-Match", &tag)]);
    assert_eq!(again.status(), 304);
    assert_eq!(daemon.get("/videos/film.en.srt").body, SRT);
    assert_eq!(daemon.get("/videos/film.es.vtt").text(), "WEBVTT\n");
    assert_eq!(daemon.get("/videos/film.fr.vtt").status(), 404);
}

#[test]
fn head_says_what_get_says() {
    let daemon = house();
    for target in [
        "/",
        "/videos/film.mp4",
        "/videos/film.en.vtt",
        "/videos/missing.mp4",
        "/video/film.mp4",
        "/api/videos",
        "/api/progress",
        "/login",
        "/style.css",
        "/favicon.ico",
        "/robots.txt",
        "/nothing",
    ] {
        let mut client = daemon.client();
        let get = client.get(target);
        let head = client.request("HEAD", target, &[]);
        assert_eq!(head.status(), get.status(), "{target}");
        assert!(head.body.is_empty(), "{target}");
        for name in [
            "content-type",
            "content-length",
            "etag",
            "cache-control",
            "accept-ranges",
        ] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
    }
}

#[test]
fn a_download_is_saved_under_its_name() {
    let daemon = house();
    let reply = daemon.get("/videos/shows/50%25%20%231%20%C3%A9.mp4?download=1");
    let want = "attachment; filename=\"50_ #1 _.mp4\"; filename*=UTF-8''50%25%20%231%20%C3%A9.mp4";
    assert_eq!(reply.header("content-disposition"), Some(want));
    assert_eq!(
        daemon
            .get("/videos/film.mp4?x=1")
            .header("content-disposition"),
        None
    );
}
