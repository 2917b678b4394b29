//! Subtitles that are none, that are far too large, and far too many.

use std::time::{Duration, Instant};

use super::{Before, MIB, Random};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Setup, emulated};
use crate::support::drive::{FakeDrive, File};

/// The processor time that `work` costs the daemon.
fn cost(daemon: &Daemon, work: impl FnOnce()) -> Duration {
    let before = daemon.cpu();
    work();
    daemon.cpu().saturating_sub(before)
}

fn cues(count: usize) -> String {
    let cue = |n: usize| {
        let (minutes, seconds) = (n / 60 % 60, n % 60);
        let hours = n / 3600;
        format!(
            "{n}\r\n{hours:02}:{minutes:02}:{seconds:02},000 --> {hours:02}:{minutes:02}:{seconds:02},900\r\n<i>Line {n}</i> of a long film\r\n\r\n"
        )
    };
    (1..=count).map(cue).collect()
}

/// What one conversion may cost: a daemon that was built without optimisation, on a machine that is busy.
const MOMENT: Duration = Duration::from_secs(15);

#[test]
fn any_file_becomes_webvtt_in_a_moment() {
    if emulated() {
        // It takes an emulator minutes.
        return;
    }
    let mut random = Random(7);
    let large = 9 << 20;
    let timing = "1\n00:00:01,000 --> 00:00:02,500\n";
    let filled = |piece: &str| format!("{timing}{}", piece.repeat(large / piece.len()));
    let daemon = Setup::new()
        .video("film.mp4", b"film")
        .video("film.cues.srt", cues(20_000).as_bytes())
        .video("film.fonts.srt", filled("<font ").as_bytes())
        .video("film.braces.srt", filled("{\\").as_bytes())
        .video("film.tags.srt", filled("<b></i>").as_bytes())
        .video("film.line.srt", filled("a").as_bytes())
        .video("film.ends.srt", filled("\n").as_bytes())
        .video("film.arrows.srt", filled("-->").as_bytes())
        .video(
            "film.times.srt",
            timing.repeat(large / timing.len()).as_bytes(),
        )
        .video("film.binary.srt", &random.bytes(large))
        .video("film.zeros.srt", &vec![0; large])
        .video("film.empty.srt", b"")
        .video("film.huge.srt", &vec![b'a'; 11 << 20])
        .start();
    let before = Before::of(&daemon);
    for name in [
        "cues", "fonts", "braces", "tags", "line", "ends", "arrows", "times", "binary", "zeros",
        "empty",
    ] {
        let begun = Instant::now();
        let spent = cost(&daemon, || {
            let vtt = daemon.get(&format!("/videos/film.{name}.vtt"));
            assert_eq!(vtt.status(), 200, "{name}");
            assert!(vtt.body.starts_with(b"WEBVTT\n") && vtt.whole, "{name}");
            assert!(std::str::from_utf8(&vtt.body).is_ok(), "{name}");
            if name == "cues" {
                let arrows = vtt.text().matches(" --> ").count();
                assert_eq!(arrows, 20_000);
            }
        });
        assert!(spent < MOMENT, "{name}: {spent:?} of the processor");
        assert!(begun.elapsed() < Duration::from_secs(50), "{name}");
    }
    let huge = daemon.get("/videos/film.huge.vtt");
    assert_eq!((huge.status(), &*huge.code()), (413, "subtitle_too_large"));
    // As it is, it is a file like any other.
    assert_eq!(daemon.get("/videos/film.huge.srt").body.len(), 11 << 20);
    before.and_after(&daemon, 16 * MIB);
}

#[test]
fn a_crowd_of_readers_shares_one_conversion() {
    let daemon = Setup::new()
        .video("film.mp4", b"film")
        .video(
            "film.srt",
            format!("1\n00:00:01,000 --> 00:00:02,500\n{}", "& ".repeat(4 << 20)).as_bytes(),
        )
        .start();
    let before = Before::of(&daemon);
    // Some leave at once, some read nothing, and some stay.
    let mut readers: Vec<Client> = Vec::new();
    for round in 0..120 {
        let mut client = Client::connect_small(daemon.address);
        client.ask("GET", "/videos/film.vtt", &[]);
        if round % 2 == 0 {
            client.abort();
        } else {
            readers.push(client);
        }
    }
    for client in readers.iter_mut().take(3) {
        client.widen();
        let vtt = client.response("GET");
        assert!(vtt.whole && vtt.body.starts_with(b"WEBVTT\n"));
    }
    let peak = daemon.peak_rss() - before.rss;
    assert!(peak < 200 * MIB, "at most {peak} more were resident");
    drop(readers);
    before.and_after(&daemon, 16 * MIB);
}

#[test]
fn twenty_thousand_subtitles_beside_a_thousand_films() {
    let setup = Setup::new();
    let videos = setup.videos();
    for film in 0..1000 {
        std::fs::write(videos.join(format!("Film {film}.mp4")), b"film").expect("a file");
        for at in 0..19 {
            let name = format!(
                "Film {film}.{}{}.srt",
                b"abcdefghijklmnopqrst"[at] as char, at
            );
            std::fs::write(videos.join(name), b"").expect("a file");
        }
    }
    for at in 0..1000 {
        std::fs::write(videos.join(format!("Film 7.part {at}.srt")), b"").expect("a file");
    }
    let daemon = setup.start();
    let spent = cost(&daemon, || assert_eq!(daemon.get("/").status(), 200));
    // The scan of 21,000 names, without optimisation.
    assert!(spent < Duration::from_secs(4), "the list: {spent:?}");
    let before = Before::of(&daemon);
    let listed = daemon.get("/api/videos").json();
    assert_eq!(listed["videos"].as_array().map(Vec::len), Some(1000));
    assert!(listed["problem"].is_null(), "{}", listed["problem"]);
    let begun = Instant::now();
    let spent = cost(&daemon, || {
        for film in (0..1000).step_by(50) {
            let page = daemon.get(&format!("/video/Film%20{film}.mp4"));
            assert_eq!(page.status(), 200);
            assert_eq!(page.text().matches("<track ").count(), 19, "film {film}");
        }
    });
    // Twenty pages, and the scans that fall into their time: one second of each ten at most.
    let scans = begun.elapsed() / 4 + Duration::from_secs(2);
    assert!(spent < scans, "twenty pages: {spent:?}");
    // The one with a thousand more offers what a menu can hold.
    let page = daemon.get("/video/Film%207.mp4").text();
    assert_eq!(page.matches("<track ").count(), 100);
    before.and_after(&daemon, 16 * MIB);
}

#[test]
fn subtitles_on_drive_are_no_better() {
    let fake = FakeDrive::start();
    let (folder, film) = ("folder-id-0001", "film-id-000001");
    fake.add(File::folder(folder, "Films"));
    fake.add(
        File::pattern(film, 1000)
            .with(|file| file.name = "Film.mp4".to_owned())
            .within(folder),
    );
    for at in 0..3000 {
        let id = format!("srt-id-{at:06}");
        let name = format!("Film.part {at}.srt");
        fake.add(File::bytes(&id, &name, "application/x-subrip", Vec::new()).within(folder));
    }
    let mut random = Random(9);
    let text = |id: &str, bytes: Vec<u8>| File::bytes(id, id, "application/x-subrip", bytes);
    fake.add(text("binary-srt-01", random.bytes(2 << 20)))
        .add(text(
            "fonts-srt-001",
            "0:0:1 --> 0:0:2\n<font ".repeat(100).into_bytes(),
        ))
        .add(text("huge-srt-0001", vec![b'a'; 11 << 20]))
        .add(File::document("document-0001", "Film.srt", "document", "1"));
    let daemon = Daemon::with_drive(&fake);
    let before = Before::of(&daemon);
    let spent = cost(&daemon, || {
        let page = daemon.get(&format!("/watch/drive/{film}"));
        assert_eq!(page.text().matches("<track ").count(), 100);
    });
    assert!(spent < Duration::from_secs(4), "{spent:?}");
    for id in ["binary-srt-01", "fonts-srt-001", "srt-id-000001"] {
        let vtt = daemon.get(&format!("/drive/subtitles/{id}.vtt"));
        assert_eq!(vtt.status(), 200, "{id}");
        assert!(vtt.body.starts_with(b"WEBVTT\n"), "{id}");
    }
    let huge = daemon.get("/drive/subtitles/huge-srt-0001.vtt");
    assert_eq!((huge.status(), &*huge.code()), (413, "subtitle_too_large"));
    let document = daemon.get("/drive/subtitles/document-0001.vtt");
    assert_eq!(
        (document.status(), &*document.code()),
        (415, "drive_not_downloadable")
    );
    assert!(
        fake.media_requests()
            .iter()
            .all(|request| request.id.as_deref() != Some("huge-srt-0001")),
        "what is too large is not fetched"
    );
    before.and_after(&daemon, 16 * MIB);
}
