//! `/api/playable/{ref}`: what is in a file, and how to play it.

use std::fs;

use crate::support::daemon::{Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind, Refusal};
use crate::support::media;
use crate::support::processes;
use std::time::Duration;

const ID: &str = "1PlayableFilmOnDrive";

#[test]
fn every_kind_of_media() {
    if !media::available() {
        return;
    }
    let table = [
        ("h264_aac.mp4", "direct", "h264", "aac"),
        ("h264_aac_last.mp4", "direct", "h264", "aac"),
        ("vp9_opus.webm", "direct", "vp9", "opus"),
        ("tone.mp3", "direct", "", "mp3"),
        ("cover.mp3", "direct", "", "mp3"),
        ("tone.flac", "direct", "", "flac"),
        ("tone.m4a", "direct", "", "aac"),
        ("tone.ogg", "direct", "", "vorbis"),
        ("tone.opus", "direct", "", "opus"),
        ("tone.wav", "direct", "", "pcm_s16le"),
        ("truncated.mp4", "direct", "h264", "aac"),
        ("h264_aac.mkv", "remux", "h264", "aac"),
        ("h264_ac3.mkv", "remux", "h264", "ac3"),
        ("h264_aac.ts", "remux", "h264", "aac"),
        ("broken.ts", "remux", "h264", "aac"),
        ("truncated.mkv", "remux", "h264", "ac3"),
        ("silent.mkv", "remux", "h264", ""),
        ("tone.ac3", "remux", "", "ac3"),
        ("h264_10bit.mkv", "convert", "h264", "aac"),
        ("h264_444.mp4", "convert", "h264", "aac"),
        ("hevc_aac.mkv", "convert", "hevc", "aac"),
        ("vp9_opus.mkv", "convert", "vp9", "opus"),
        ("mpeg4_mp3.avi", "convert", "mpeg4", "mp3"),
    ];
    let names: Vec<&str> = table.iter().map(|row| row.0).collect();
    let daemon = Setup::new().media(&names).start_with_ffmpeg();
    for (name, play, video, audio) in table {
        let said = daemon.get(&format!("/api/playable/videos/{name}")).json();
        let codec = |kind: &str| said[kind]["codec"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (
                said["play"].as_str(),
                codec("video").as_str(),
                codec("audio").as_str()
            ),
            (Some(play), video, audio),
            "{name}: {said}"
        );
        assert_eq!(said["ref"], format!("videos/{name}"), "{said}");
        let duration = said["duration"].as_f64().unwrap_or(12.0);
        assert!((11.0..25.0).contains(&duration), "{said}");
        let url = match play {
            "direct" => format!("/videos/{name}"),
            "remux" => format!("/api/video-compatible/videos/{name}"),
            _ => format!("/api/video-compatible/videos/{name}?mode=reencode"),
        };
        assert_eq!(said["url"], url, "{said}");
        let job = said["convert"]["url"].as_str();
        let wanted = format!("/api/convert/videos/{name}");
        assert_eq!(
            job,
            (play == "convert").then_some(wanted.as_str()),
            "{said}"
        );
        assert!(
            said["why"].as_str().is_some_and(|why| why.ends_with('.')),
            "{said}"
        );
    }
    let said = daemon.get("/api/playable/videos/h264_ac3.mkv").json();
    assert_eq!(said["subtitles"][0]["language"], "eng", "{said}");
    assert_eq!(said["subtitles"][1]["language"], "fre", "{said}");
    assert_eq!(said["audio"]["channels"], 6, "{said}");
    processes::assert_none_left(&daemon, &[], Duration::from_secs(10));
}

#[test]
fn what_is_no_media_is_refused_and_reads_nothing_else() {
    if !media::available() {
        return;
    }
    let names = ["empty.mp4", "text.mp4", "playlist.mp4"];
    let daemon = Setup::new().media(&names).start_with_ffmpeg();
    fs::write(daemon.setup().videos().join("secret.txt"), "secret").expect("a file");
    for name in names {
        for route in ["playable", "video-compatible"] {
            let answer = daemon.get(&format!("/api/{route}/videos/{name}"));
            assert_eq!(
                (answer.status(), answer.code()),
                (415, "not_media".to_owned()),
                "{name}"
            );
            let text = answer.text();
            let ours = ["127.0.0.1", "x-rill-reader", "secret"];
            assert!(ours.iter().all(|word| !text.contains(word)), "{text}");
        }
    }
    let answer = daemon.get("/api/playable/videos/nothing.mp4");
    assert_eq!(
        (answer.status(), answer.code()),
        (404, "not_found".to_owned())
    );
    let answer = daemon.get("/api/playable/courses/nothing.mp4");
    assert_eq!(
        (answer.status(), answer.code()),
        (404, "not_found".to_owned())
    );
}

#[test]
fn a_film_on_drive_is_looked_into_once_and_cheaply() {
    if !media::available() {
        return;
    }
    // Twelve seconds and much that is never looked at, as with a film.
    for (name, mime) in [
        ("h264_aac.mp4", "video/mp4"),
        ("h264_aac_last.mp4", "video/mp4"),
        ("large.mkv", "video/x-matroska"),
    ] {
        let fake = FakeDrive::start();
        fake.add(File::bytes(ID, name, mime, media::bytes(name)));
        let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
        let url = format!("/api/playable/{ID}");
        let askers: Vec<_> = (0..8)
            .map(|_| {
                let (address, url) = (daemon.address, url.clone());
                std::thread::spawn(move || crate::support::client::get(address, &url))
            })
            .collect();
        for asker in askers {
            let answer = asker.join().expect("an answer");
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
        let requests = fake.media_requests();
        let ranges: Vec<_> = requests.iter().map(|r| (r.range.clone(), r.sent)).collect();
        assert!(requests.len() <= 2, "{name}: {ranges:?}");
        let sent: u64 = requests.iter().map(|request| request.sent).sum();
        assert!(sent <= 4 << 20, "{name}: {ranges:?}");
        // Remembered, also by the next daemon over the same folder.
        fake.forget_requests();
        let said = daemon.get(&url).json();
        assert_eq!(said["convert"], serde_json::Value::Null, "{said}");
        let daemon = daemon.restart();
        daemon.wait_for_ffmpeg();
        let again = daemon.get(&url).json();
        assert_eq!(again, said);
        assert_eq!(fake.media_requests().len(), 0, "{name}");
        // Another content is looked into.
        fake.change(ID, |file| {
            *file = File::bytes(ID, name, mime, media::bytes("h264_10bit.mkv"))
        });
        let daemon = daemon.restart();
        daemon.wait_for_ffmpeg();
        let changed = daemon.get(&url).json();
        assert_eq!(changed["play"], "convert", "{changed}");
        processes::assert_none_left(&daemon, &[], Duration::from_secs(10));
    }
}

#[test]
fn what_drive_refuses_is_said_in_its_words() {
    if !media::available() {
        return;
    }
    let fake = FakeDrive::start();
    fake.add(File::bytes(
        ID,
        "a.mkv",
        "video/x-matroska",
        media::bytes("h264_ac3.mkv"),
    ));
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    fake.on(Kind::Media)
        .does(Action::Refuse(Refusal::new(403, "downloadQuotaExceeded")));
    for route in ["playable", "video-compatible"] {
        let answer = daemon.get(&format!("/api/{route}/{ID}"));
        let direct = daemon.get(&format!("/drive/files/{ID}"));
        assert_eq!(
            (answer.status(), answer.code()),
            (direct.status(), direct.code()),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn without_ffmpeg_the_remedy_is_said() {
    let daemon = Setup::new()
        .set("ffmpeg", "ffmpeg", "\"/nonexistent/ffmpeg\"")
        .set("ffmpeg", "ffprobe", "\"/nonexistent/ffprobe\"")
        .video("a.mkv", b"x")
        .start();
    for route in ["playable", "video-compatible"] {
        let answer = daemon.get(&format!("/api/{route}/videos/a.mkv"));
        assert_eq!(
            (answer.status(), answer.code()),
            (503, "ffmpeg_not_available".to_owned())
        );
    }
    let known = || {
        daemon
            .get("/api/video-compatible/videos/a.mkv")
            .text()
            .contains("install")
    };
    assert!(eventually(Duration::from_secs(30), known));
}
