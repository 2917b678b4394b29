//! A real browser plays, seeks and reads subtitles: what all the rest is for.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Content, FakeDrive, File, Kind};

fn clip(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("examples/clips")
        .join(name)
}

fn clip_bytes(name: &str) -> Vec<u8> {
    std::fs::read(clip(name)).expect("the clip is in the repository")
}

/// Plays for a second, seeks to 14 s of 20, plays on, seeks back to 3 s; what the element says then.
const PLAY_AND_SEEK: &str = r"(async () => {
    const media = document.querySelector('video, audio');
    if (!media) throw new Error('no player in ' + document.documentElement.outerHTML);
    media.muted = true;
    const until = (what, holds) => new Promise((done, fail) => {
        const end = Date.now() + 30000;
        const look = () => {
            if (media.error) fail(new Error(what + ': ' + media.error.message));
            else if (holds()) done();
            else if (Date.now() > end) fail(new Error(what + ' did not come to pass at ' + media.currentTime));
            else setTimeout(look, 25);
        };
        look();
    });
    await media.play();
    await until('playing', () => media.currentTime > 1);
    const far = media.duration * 0.7, near = media.duration * 0.15;
    media.currentTime = far;
    await until('seeking ahead', () => !media.seeking && media.currentTime > far + 0.3);
    const after = media.currentTime;
    media.currentTime = near;
    await until('seeking back', () => !media.seeking && media.currentTime > near + 0.3 && media.currentTime < far);
    return { after, far, near, now: media.currentTime, duration: media.duration,
             width: media.videoWidth || 0, source: media.currentSrc };
})()";

/// Turns every track on and counts its cues.
const READ_TRACKS: &str = r"(async () => {
    const found = [];
    for (const element of document.querySelectorAll('track')) {
        element.track.mode = 'hidden';
        const end = Date.now() + 10000;
        while (element.readyState < 2 && Date.now() < end) await new Promise(done => setTimeout(done, 25));
        found.push({ state: element.readyState, cues: element.track.cues ? element.track.cues.length : 0,
                     language: element.srclang, first: element.track.cues?.[0]?.text });
    }
    return found;
})()";

/// Checks what [`PLAY_AND_SEEK`] says of a clip of `duration` seconds.
fn assert_played(said: &Value, duration: f64) {
    let number = |name: &str| said[name].as_f64().unwrap_or(f64::NAN);
    assert!((number("duration") - duration).abs() < 0.5, "{said}");
    assert!(
        number("after") > number("far") && number("after") < duration + 0.1,
        "{said}"
    );
    assert!(
        number("now") > number("near") && number("now") < number("far"),
        "{said}"
    );
}

#[test]
fn a_local_clip_plays_seeks_and_shows_its_subtitles() {
    let mut setup = Setup::new();
    for name in [
        "Clock.mp4",
        "Clock.en.vtt",
        "Clock.de.vtt",
        "Game of life.mp4",
        "Game of life.en.srt",
    ] {
        setup = setup.video(name, &clip_bytes(name));
    }
    let daemon = setup.start();
    let mut browser = Browser::start();
    browser.open(&daemon.url("/video/Clock.mp4"));
    let said = browser.evaluate(PLAY_AND_SEEK);
    assert_played(&said, 20.0);
    assert_eq!(said["width"], 640);
    let tracks = browser.evaluate(READ_TRACKS);
    assert_eq!(tracks.as_array().map(Vec::len), Some(2), "{tracks}");
    for track in tracks.as_array().into_iter().flatten() {
        assert_eq!(
            (&track["state"], &track["cues"]),
            (&2.into(), &4.into()),
            "{tracks}"
        );
    }
    // SubRip beside a file becomes WebVTT, and a name with spaces is a name like any other.
    browser.open(&daemon.url("/video/Game%20of%20life.mp4"));
    let tracks = browser.evaluate(READ_TRACKS);
    assert_eq!(tracks[0]["cues"], 3, "{tracks}");
}

#[test]
fn a_drive_clip_plays_seeks_and_shows_its_subtitles() {
    let fake = FakeDrive::start();
    fake.add(File::folder("clips-folder-1", "Clips"));
    for (id, name, mime) in [
        ("clock-video-1", "Clock.mp4", "video/mp4"),
        ("clock-english", "Clock.en.vtt", "text/vtt"),
        ("clock-deutsch", "Clock.de.vtt", "text/vtt"),
    ] {
        fake.add(File::new(id, name, mime, Content::Path(clip(name))).within("clips-folder-1"));
    }
    let daemon = Daemon::with_drive(&fake);
    let mut browser = Browser::start();
    browser.open(&daemon.url("/watch/drive/clock-video-1"));
    let said = browser.evaluate(PLAY_AND_SEEK);
    assert_played(&said, 20.0);
    assert_eq!(said["width"], 640);
    assert!(
        !fake.requests_of(Kind::Media).is_empty(),
        "the bytes came from Drive"
    );
    let tracks = browser.evaluate(READ_TRACKS);
    assert_eq!(tracks.as_array().map(Vec::len), Some(2), "{tracks}");
    for track in tracks.as_array().into_iter().flatten() {
        assert_eq!(
            (&track["state"], &track["cues"]),
            (&2.into(), &4.into()),
            "{tracks}"
        );
    }
}

#[test]
fn audio_and_webm_play_too() {
    let setup = Setup::new()
        .video("Tune.mp3", &clip_bytes("Tune.mp3"))
        .video("Colours.webm", &clip_bytes("Colours.webm"));
    let daemon = setup.start();
    let mut browser = Browser::start();
    browser.open(&daemon.url("/video/Tune.mp3"));
    assert_played(&browser.evaluate(PLAY_AND_SEEK), 12.0);
    assert_eq!(
        browser.evaluate("document.querySelectorAll('audio').length"),
        1
    );
    browser.open(&daemon.url("/video/Colours.webm"));
    assert_played(&browser.evaluate(PLAY_AND_SEEK), 10.0);
}

/// Plays for a moment, pauses, and says where.
const PLAY_AND_PAUSE: &str = r"(async () => {
    const media = document.getElementById('player');
    media.muted = true;
    media.currentTime = 8;
    await media.play();
    const end = Date.now() + 30000;
    while (media.currentTime < 9.2 && Date.now() < end) await new Promise(done => setTimeout(done, 25));
    media.pause();
    return media.currentTime;
})()";

/// Where the player stands once it knows what it plays.
const STANDS: &str = r"(async () => {
    const media = document.getElementById('player');
    const end = Date.now() + 10000;
    while (media.currentTime < 1 && Date.now() < end) await new Promise(done => setTimeout(done, 25));
    return media.currentTime;
})()";

#[test]
fn a_class_goes_on_where_it_was_left() {
    let setup = Setup::new();
    let courses = setup.path().join("courses");
    std::fs::create_dir(&courses).expect("a folder");
    std::fs::write(courses.join("1. Clock.mp4"), clip_bytes("Clock.mp4")).expect("a clip");
    let class = serde_json::json!({"num": 1, "name": "Clock", "hasVideo": true, "files": {"video": "local:1. Clock.mp4"}});
    let catalog = serde_json::json!({"categories": [{"name": "Time", "routes": [{"name": "Clocks", "isCourse": true,
        "modules": [{"name": "1. All", "classes": [class]}]}]}]});
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    let daemon = setup
        .set("library", "courses", &format!("{courses:?}"))
        .start();
    let target = "/watch/time/clocks/0/1-all/clock?profile=Ana";
    let kept = || daemon.get("/api/progress?profile=Ana").json()["Clocks/1-all/clock"].clone();
    let mut browser = Browser::start();
    browser.open(&daemon.url(target));
    let paused = browser
        .evaluate(PLAY_AND_PAUSE)
        .as_f64()
        .unwrap_or_default();
    assert!(paused > 9.0, "{paused}");
    assert!(
        eventually(Duration::from_secs(10), || kept()["watchTime"]
            == paused.floor()),
        "{}",
        kept()
    );
    assert_eq!(
        (&kept()["status"], &kept()["duration"]),
        (&"in_progress".into(), &20.into())
    );

    // Another page: it goes on from there, and what was played last is told as the page goes.
    browser.open(&daemon.url(target));
    let began = browser.evaluate(STANDS).as_f64().unwrap_or_default();
    assert!((began - paused).abs() < 1.5, "{began} after {paused}");
    browser.evaluate("(async () => { const m = document.getElementById('player'); m.muted = true; m.currentTime = 14; await m.play(); \
        while (m.currentTime < 14.5) await new Promise(done => setTimeout(done, 25)); })()");
    browser.open(&daemon.url("/courses"));
    assert!(
        eventually(Duration::from_secs(10), || kept()["watchTime"]
            .as_f64()
            .unwrap_or_default()
            >= 14.0),
        "{}",
        kept()
    );
    let course = daemon.get("/course/time/clocks/0?profile=Ana").text();
    assert!(course.contains("% watched</span>"), "{course}");
    assert!(
        !daemon
            .get("/course/time/clocks/0")
            .text()
            .contains("watched"),
        "somebody else"
    );
}

#[test]
fn no_word_is_wider_than_a_small_phone() {
    let long = "W".repeat(200);
    let setup = Setup::new().video(&format!("{long}/Clock.mp4"), &clip_bytes("Clock.mp4"));
    let courses = setup.path().join("courses");
    let module = courses.join(&long).join("Course/1. All");
    std::fs::create_dir_all(&module).expect("a folder");
    std::fs::write(module.join("1. Clock.mp4"), clip_bytes("Clock.mp4")).expect("a clip");
    let daemon = setup
        .set("library", "courses", &format!("{courses:?}"))
        .start();
    let found = || daemon.get("/api/search?q=clock").json()["hits"][0]["link"].clone();
    assert!(eventually(Duration::from_secs(30), || found().is_string()));
    let class = found().as_str().unwrap_or_default().to_owned();
    let course = daemon.get("/api/search?q=course").json()["hits"][0]["link"].clone();
    let mut browser = Browser::start();
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        serde_json::json!({"width": 320, "height": 568, "deviceScaleFactor": 1, "mobile": false}),
    );
    for target in [
        "/",
        "/courses",
        "/courses?q=clock",
        course.as_str().unwrap_or_default(),
        &class,
        &format!("/nothing/{long}"),
    ] {
        browser.open(&daemon.url(target));
        let wide = browser.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth, !!document.querySelector('h1')]",
        );
        assert_eq!(
            (&wide[0], &wide[2]),
            (&wide[1], &true.into()),
            "{target}: {wide}"
        );
    }
}
