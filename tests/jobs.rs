//! Conversions and posters: what comes of a film, what is left of one that was killed, and what a program that
//! misbehaves can do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, Setup, eventually, names};
use crate::support::disk::Disk;
use crate::support::media;

/// How long a job of a small film may take on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(120);

fn with_film(name: &str, source: &str) -> Setup {
    Setup::new().video(name, &media::bytes(source))
}

/// Asks for a conversion; the job's number.
fn convert(daemon: &Daemon, path: &str) -> u64 {
    let reply = daemon.client().request(
        "POST",
        &format!("/api/convert/videos/{path}"),
        &[("Authorization", &daemon.admin()), ("Content-Length", "0")],
    );
    assert_eq!(reply.status(), 202, "{}", reply.text());
    let job = reply.json();
    assert_eq!(reply.header("location"), job["url"].as_str());
    job["id"].as_u64().expect("a number")
}

fn job(daemon: &Daemon, id: u64) -> Value {
    daemon.get(&format!("/api/jobs/{id}")).json()
}

/// The job when it has ended.
fn ended(daemon: &Daemon, id: u64) -> Value {
    let mut last = Value::Null;
    let over = eventually(PATIENCE, || {
        last = job(daemon, id);
        !matches!(last["state"].as_str(), Some("queued" | "running"))
    });
    assert!(over, "{last}");
    last
}

/// What ffprobe says of one thing in a file, a line for each stream.
fn probed(file: &Path, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-show_entries", entries])
        .arg(file)
        .output()
        .expect("ffprobe");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

/// The kinds of boxes at the top of an MP4, in their order.
fn boxes(file: &Path) -> String {
    let bytes = std::fs::read(file).expect("a file");
    let mut at = 0;
    let mut kinds = Vec::new();
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        kinds.push(String::from_utf8_lossy(&head[4..8]).into_owned());
        at += length.max(8);
    }
    kinds.join(" ")
}

/// An ffmpeg that does something else than ffmpeg, and notes its groups; its ffprobe is the real one.
fn with_fake(setup: Setup, body: &str) -> Setup {
    let path = setup.path().join("ffmpeg");
    let groups = setup.path().join("groups");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -version ] && echo ffmpeg version 9 && exit\necho $$ >> {}\n{body}\n",
        groups.display()
    );
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    setup.set("ffmpeg", "ffmpeg", &format!("{path:?}"))
}

/// Processes that live, with their group, state and command line.
fn processes() -> Vec<(i32, char, String)> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let read = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        Some((
            group,
            state,
            String::from_utf8_lossy(&line).replace('\0', " "),
        ))
    };
    entries
        .filter_map(read)
        .filter(|(_, state, _)| *state != 'Z')
        .collect()
}

/// What of the groups that a fake noted is still there.
fn left_of_groups(daemon: &Daemon) -> Vec<(i32, char, String)> {
    let groups = std::fs::read_to_string(daemon.setup().path().join("groups")).expect("groups");
    let groups: Vec<i32> = groups
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(!groups.is_empty());
    let mut left = processes();
    left.retain(|(group, _, _)| groups.contains(group));
    left
}

fn assert_nothing_left(daemon: &Daemon, name: &str) {
    let none = || left_of_groups(daemon).is_empty();
    assert!(
        eventually(Duration::from_secs(20), none),
        "{name}: {:?}",
        left_of_groups(daemon)
    );
}

/// The real ffmpegs and ffprobes at work below a folder.
fn programs_below(folder: &Path) -> Vec<(i32, char, String)> {
    let folder = folder.to_string_lossy();
    let mut all = processes();
    all.retain(|(_, _, line)| line.contains(&*folder) && line.contains("-hide_banner"));
    all
}

#[test]
fn a_matroska_film_becomes_an_mp4_with_its_subtitles_beside_it() {
    let daemon = with_film("a film/Film.mkv", "h264_ac3.mkv").start_with_ffmpeg();
    let folder = daemon.setup().videos().join("a film");
    let done = ended(&daemon, convert(&daemon, "a%20film/Film.mkv"));
    assert_eq!(
        (&done["state"], &done["mode"]),
        (&"completed".into(), &"audio".into()),
        "{done}"
    );
    assert_eq!(
        (&done["progress"], &done["attempts"]),
        (&1.0.into(), &1.into())
    );
    // The original is gone, and nothing is left half made; who still looks at its page comes to the new one's.
    assert_eq!(names(&folder), ["Film.en.vtt", "Film.fr.vtt", "Film.mp4"]);
    let led = daemon.get("/video/a%20film/Film.mkv");
    assert_eq!(
        (led.status(), led.header("location")),
        (303, Some("/video/a%20film/Film.mp4"))
    );
    let film = folder.join("Film.mp4");
    assert!(boxes(&film).starts_with("ftyp moov"), "{}", boxes(&film));
    assert_eq!(probed(&film, "stream=codec_name"), ["h264", "aac"]);
    assert_eq!(probed(&film, "stream=channels").concat(), "6");
    assert_eq!(done["size"], std::fs::metadata(&film).expect("there").len());
    let text = std::fs::read_to_string(folder.join("Film.fr.vtt")).expect("subtitles");
    assert!(text.starts_with("WEBVTT") && text.contains("Two"), "{text}");

    let mut browser = Browser::start();
    browser.open(&daemon.url("/video/a%20film/Film.mp4"));
    let said = browser.evaluate(PLAY);
    assert!(
        said["now"].as_f64() > Some(1.0) && said["width"] == 320,
        "{said}"
    );
    assert_eq!(said["tracks"], 2);
}

/// Plays for a second.
const PLAY: &str = r"(async () => {
    const media = document.querySelector('video');
    media.muted = true;
    await media.play();
    const end = Date.now() + 30000;
    while (media.currentTime < 1.2 && !media.error && Date.now() < end) await new Promise(done => setTimeout(done, 25));
    if (media.error) throw new Error(media.error.message);
    return { now: media.currentTime, width: media.videoWidth, duration: media.duration,
             tracks: document.querySelectorAll('track').length };
})()";

#[test]
fn each_film_is_changed_as_little_as_it_must() {
    let mut setup = Setup::new().set("library", "keep_originals", "true");
    for (name, source) in [
        ("hevc.mkv", "hevc_aac.mkv"),
        ("vp9.mkv", "vp9_opus.mkv"),
        ("old.avi", "mpeg4_mp3.avi"),
        ("silent.mkv", "silent.mkv"),
        ("last.mp4", "h264_aac_last.mp4"),
        ("music.ac3", "tone.ac3"),
        ("plays.mp4", "h264_aac.mp4"),
        ("plays.webm", "vp9_opus.webm"),
        ("text.mp4", "text.mp4"),
        ("playlist.mp4", "playlist.mp4"),
        ("cut.mkv", "truncated.mkv"),
    ] {
        setup = setup.video(name, &media::bytes(source));
    }
    // Names that are taken.
    setup = setup
        .video("hevc.mp4", b"another")
        .video("hevc (2).mp4", b"a third");
    let daemon = setup.start_with_ffmpeg();
    let folder = daemon.setup().videos();
    let mut jobs = Vec::new();
    for (name, mode, result, codecs) in [
        ("hevc.mkv", "reencode", "hevc (3).mp4", "h264 aac"),
        ("vp9.mkv", "audio", "vp9.mp4", "vp9 aac"),
        ("old.avi", "reencode", "old.mp4", "h264 mp3"),
        ("silent.mkv", "copy", "silent.mp4", "h264"),
        ("last.mp4", "copy", "last (2).mp4", "h264 aac"),
        ("plays.mp4", "unchanged", "plays.mp4", "h264 aac"),
        ("plays.webm", "unchanged", "plays.webm", "vp9 opus"),
    ] {
        jobs.push((convert(&daemon, name), name, mode, result, codecs));
    }
    let broken: Vec<(u64, &str)> = ["text.mp4", "playlist.mp4", "cut.mkv"]
        .map(|name| (convert(&daemon, name), name))
        .to_vec();
    for (id, name, mode, result, codecs) in jobs {
        let done = ended(&daemon, id);
        assert_eq!(done["mode"], mode, "{name}: {done}");
        assert_eq!(
            probed(&folder.join(result), "stream=codec_name").join(" "),
            codecs,
            "{name}"
        );
        assert!(folder.join(name).exists(), "{name} is kept");
    }
    assert_eq!(
        std::fs::read(folder.join("hevc.mp4")).expect("there"),
        b"another"
    );
    for (id, name) in broken {
        let failed = ended(&daemon, id);
        assert_eq!(failed["state"], "failed", "{name}: {failed}");
        let why = failed["error"].as_str().unwrap_or_default();
        assert!(why.ends_with('.') || why.contains("ffmpeg"), "{why}");
        assert!(!why.contains(&*folder.to_string_lossy()), "{why}");
        assert!(folder.join(name).exists(), "{name} is left as it is");
    }
    assert!(
        names(&folder).iter().all(|name| !name.starts_with('.')),
        "{:?}",
        names(&folder)
    );
}

#[test]
fn what_is_no_film_of_ours_is_refused() {
    let daemon = Setup::new()
        .video("a.mkv", b"x")
        .video("a.txt", b"x")
        .start_with_ffmpeg();
    let admin = daemon.admin();
    let post = |target: &str, headers: &[(&str, &str)]| {
        let reply = daemon.client().request("POST", target, headers);
        (reply.status(), reply.code())
    };
    let known: &[(&str, &str)] = &[("Authorization", &admin), ("Content-Length", "0")];
    let anybody: &[(&str, &str)] = &[("Content-Length", "0")];
    for (target, headers, status, code) in [
        ("/api/convert/videos/a.mkv", anybody, 401, "admin_required"),
        ("/api/convert/videos/b.mkv", known, 404, "not_found"),
        ("/api/convert/videos/a.txt", known, 415, "not_media"),
    ] {
        assert_eq!(post(target, headers), (status, code.to_owned()), "{target}");
    }
    let delete = |target: &str, headers: &[(&str, &str)]| {
        let reply = daemon.client().request("DELETE", target, headers);
        (reply.status(), reply.code())
    };
    assert_eq!(
        delete("/api/jobs/1", anybody),
        (401, "admin_required".to_owned())
    );
    assert_eq!(
        delete("/api/jobs/99", known),
        (404, "job_not_found".to_owned())
    );
    let id = convert(&daemon, "a.mkv");
    ended(&daemon, id);
    assert_eq!(
        delete(&format!("/api/jobs/{id}"), known),
        (409, "job_finished".to_owned())
    );
    let listed = daemon.get("/api/jobs?limit=1").json();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.get("/api/jobs?limit=x").code(), "invalid_limit");

    let without = Setup::new()
        .video("a.mkv", b"x")
        .set("ffmpeg", "ffmpeg", "\"rill-has-no-such-ffmpeg\"")
        .start();
    let reply = without.client().request(
        "POST",
        "/api/convert/videos/a.mkv",
        &[("Authorization", &without.admin()), ("Content-Length", "0")],
    );
    assert_eq!(
        (reply.status(), reply.code()),
        (503, "ffmpeg_not_available".to_owned())
    );
}

#[test]
fn programs_that_misbehave_are_ended_and_leave_nothing() {
    for (name, body, seconds, sentence, attempts) in [
        ("hangs", "exec sleep 1000", 1, "came no further", 2),
        (
            "floods stderr and hangs",
            "while :; do echo nonsense nonsense nonsense >&2; done",
            1,
            "came no further",
            2,
        ),
        (
            "ignores SIGTERM",
            "trap '' TERM; while :; do sleep 1; done",
            1,
            "came no further",
            2,
        ),
        (
            "forks and hangs",
            "(trap '' TERM; sleep 1000) & (sleep 1000) & wait",
            1,
            "came no further",
            2,
        ),
        (
            "closes its output and hangs",
            "exec >&-; exec sleep 1000",
            1,
            "came no further",
            2,
        ),
        (
            "exits 1 late",
            "sleep 2; echo 'Invalid data found' >&2; exit 1",
            60,
            "Invalid data found",
            1,
        ),
        ("dies", "kill -SEGV $$", 60, "without a word", 1),
        ("is ended", "kill -9 $$", 60, "more memory", 1),
        ("does nothing", "exit 0", 60, "", 1),
    ] {
        let setup =
            with_film("a.mkv", "h264_aac.mkv").set("ffmpeg", "stalled", &seconds.to_string());
        let daemon = with_fake(setup, body).start_with_ffmpeg();
        let id = convert(&daemon, "a.mkv");
        let failed = ended(&daemon, id);
        assert_eq!(failed["state"], "failed", "{name}: {failed}");
        let why = failed["error"].as_str().unwrap_or_default();
        assert!(why.contains(sentence), "{name}: {why}");
        assert_eq!(failed["attempts"], attempts, "{name}");
        assert_eq!(names(&daemon.setup().videos()), ["a.mkv"], "{name}");
        assert_nothing_left(&daemon, name);
    }
}

#[test]
fn the_page_of_a_film_says_how_its_conversion_stands() {
    let setup = with_film("a.mkv", "hevc_aac.mkv").video("b.mkv", &media::bytes("silent.mkv"));
    let stop = setup.path().join("stop");
    let body = format!(
        "while [ ! -e {} ]; do sleep 0.1; done; exit 1",
        stop.display()
    );
    let daemon = with_fake(setup, &body).start_with_ffmpeg();
    let page = |of: &str| daemon.get(&format!("/video/{of}")).text();
    let button = "action=\"/api/convert/videos/a.mkv\"";
    let before = page("a.mkv?compatible=1");
    assert!(
        before.contains(button) && !before.contains("Look again"),
        "{before}"
    );
    let first = convert(&daemon, "a.mkv");
    let second = convert(&daemon, "b.mkv");
    assert!(eventually(PATIENCE, || job(&daemon, first)["state"] == "running"));
    let (runs, waits) = (page("a.mkv?compatible=1"), page("b.mkv"));
    assert!(
        runs.contains("It is being converted") && runs.contains("href=\"/video/a.mkv\""),
        "{runs}"
    );
    assert!(!runs.contains(button), "asked for twice: {runs}");
    assert!(waits.contains("It waits to be converted"), "{waits}");
    std::fs::write(&stop, "").expect("a file");
    ended(&daemon, first);
    ended(&daemon, second);
    let failed = page("a.mkv");
    assert!(
        failed.contains("It could not be converted. ")
            && failed.contains("href=\"/video/a.mkv?compatible=reencode\""),
        "{failed}"
    );
    // Another film of that name has not failed.
    let film = std::fs::File::options()
        .append(true)
        .open(daemon.setup().videos().join("a.mkv"))
        .expect("a film");
    film.set_modified(std::time::SystemTime::now() + Duration::from_secs(60))
        .expect("its moment");
    assert!(eventually(PATIENCE, || !page("a.mkv").contains("converted.")));
}

#[test]
fn cancelling_ends_the_program_and_the_queue_goes_on() {
    let setup = with_film("a.mkv", "h264_aac.mkv").video("b.mkv", &media::bytes("silent.mkv"));
    let body = "case \"$*\" in */a.mkv*) exec sleep 1000;; *) exec ffmpeg \"$@\";; esac";
    let daemon = with_fake(setup, body).start_with_ffmpeg();
    let hangs = convert(&daemon, "a.mkv");
    let waits = convert(&daemon, "b.mkv");
    assert!(eventually(PATIENCE, || job(&daemon, hangs)["state"] == "running"));
    assert_eq!(job(&daemon, waits)["state"], "queued");
    let target = format!("/api/jobs/{hangs}");
    let reply = daemon
        .client()
        .request("DELETE", &target, &[("Authorization", &daemon.admin())]);
    assert_eq!(
        (reply.status(), &reply.json()["state"]),
        (200, &"cancelled".into())
    );
    assert_eq!(ended(&daemon, waits)["state"], "completed");
    assert_eq!(job(&daemon, hangs)["state"], "cancelled");
    let folder = daemon.setup().videos();
    assert!(
        eventually(PATIENCE, || names(&folder) == ["a.mkv", "b.mp4"]),
        "{:?}",
        names(&folder)
    );
    assert_nothing_left(&daemon, "cancelled");
}

#[test]
fn a_full_disk_is_refused_before_and_noticed_meanwhile() {
    // What must stay free is more than any disk has.
    let setup = with_film("a.mkv", "h264_aac.mkv").set("limits", "free_space", "\"900000TiB\"");
    let daemon = setup.start_with_ffmpeg();
    let failed = ended(&daemon, convert(&daemon, "a.mkv"));
    assert_eq!(failed["state"], "failed");
    assert!(
        failed["error"]
            .as_str()
            .is_some_and(|why| why.contains("limits.free_space")),
        "{failed}"
    );
    assert_eq!(names(&daemon.setup().videos()), ["a.mkv"]);
}

/// A disk that fills up under ffmpeg makes no damaged film of a good one.
#[test]
fn a_disk_that_fills_up_under_a_conversion_costs_nothing_and_is_named() {
    let Some(disk) = Disk::new("66m") else { return };
    let film = media::bytes("large.mkv");
    std::fs::write(disk.path().join("a.mkv"), &film).expect("a file");
    let setup = Setup::new().set("library", "videos", &format!("{:?}", disk.path()));
    // There is room when it begins, and somebody else takes it.
    let other = disk.path().join("other");
    let fills = format!(
        "head -c 8000000 /dev/zero > {}; exec ffmpeg \"$@\"",
        other.display()
    );
    let daemon = with_fake(setup, &fills).start_with_ffmpeg();
    let told = ended(&daemon, convert(&daemon, "a.mkv"));
    assert_eq!(
        (&told["state"], &told["attempts"]),
        (&"failed".into(), &1.into()),
        "{told}"
    );
    let why = told["error"].as_str().expect("a sentence");
    assert!(
        why.contains("too full") && why.contains("Remove some files"),
        "{why}"
    );
    let alone = || names(disk.path()) == ["a.mkv", "other"];
    assert!(eventually(PATIENCE, alone), "{:?}", names(disk.path()));
    assert!(std::fs::read(disk.path().join("a.mkv")).expect("a film") == film);
    // With room, the same works.
    disk.grow("90m");
    let told = ended(&daemon, convert(&daemon, "a.mkv"));
    assert_eq!(told["state"], "completed", "{told}");
    assert_eq!(names(disk.path()), ["a.mp4", "other"]);
}

#[test]
fn killed_at_any_moment_a_conversion_ends_with_a_film_that_plays() {
    killed_at((0..20).step_by(2));
}

#[test]
fn killed_at_any_other_moment_it_does_so_too() {
    killed_at((1..20).step_by(2));
}

fn killed_at(moments: impl Iterator<Item = u64> + Clone) {
    let mut setup = Setup::new();
    setup = setup.video("film.mkv", &media::bytes("h264_ac3.mkv"));
    let mut daemon = setup.start_with_ffmpeg();
    let folder = daemon.setup().videos();
    for n in moments.clone() {
        // Each time another film; the moments are spread over the second or so that one takes.
        let name = format!("{n}.mkv");
        std::fs::copy(folder.join("film.mkv"), folder.join(&name)).expect("a copy");
        let id = convert(&daemon, &name);
        if n % 4 != 0 {
            eventually(PATIENCE, || job(&daemon, id)["state"] != "queued");
        }
        std::thread::sleep(Duration::from_millis(n * 45));
        let before = programs_below(&folder);
        daemon = daemon.restart();
        let outlived = || {
            let now = programs_below(&folder);
            before
                .iter()
                .any(|old| now.iter().any(|new| new.0 == old.0))
        };
        assert!(
            eventually(Duration::from_secs(20), || !outlived()),
            "programs outlive the daemon"
        );
        let done = ended(&daemon, id);
        assert_eq!(done["state"], "completed", "{n}: {done}");
        let mut left: Vec<String> = names(&folder);
        left.retain(|left| left.starts_with(&format!("{n}.")) || left.starts_with('.'));
        let whole = [".en.vtt", ".fr.vtt", ".mp4"].map(|end| format!("{n}{end}"));
        assert_eq!(left, whole, "killed after {} ms", n * 45);
        assert_eq!(probed(&folder.join(&whole[2]), "format=duration").len(), 1);
    }
    let mut browser = Browser::start();
    for n in moments.step_by(5) {
        browser.open(&daemon.url(&format!("/video/{n}.mp4")));
        let said = browser.evaluate(PLAY);
        assert!(
            said["now"].as_f64() > Some(1.0) && said["width"] == 320,
            "{said}"
        );
    }
}

#[test]
fn films_get_posters_that_are_not_black() {
    let dark =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dark-{}.mp4", std::process::id()));
    let light_at_end = "color=black:size=320x180:rate=5:duration=20[a];testsrc2=size=320x180:rate=5:duration=10[b];[a][b]concat";
    for (graph, name) in [
        (light_at_end, "dark"),
        ("color=black:size=320x180:rate=5:duration=8", "black"),
    ] {
        let path = dark.with_file_name(format!("{name}-{}.mp4", std::process::id()));
        let made = Command::new("ffmpeg")
            .args([
                "-v", "error", "-y", "-f", "lavfi", "-i", graph, "-pix_fmt", "yuv420p",
            ])
            .arg(&path)
            .status()
            .expect("ffmpeg");
        assert!(made.success());
    }
    let black = dark.with_file_name(format!("black-{}.mp4", std::process::id()));
    let setup = with_film("a b/film.mkv", "h264_ac3.mkv")
        .set("library", "posters", "true")
        .video("dark.mp4", &std::fs::read(&dark).expect("made"))
        .video("black.mp4", &std::fs::read(&black).expect("made"))
        .video("text.mp4", &media::bytes("text.mp4"))
        .video("music.mp3", &media::bytes("tone.mp3"));
    let _ = (std::fs::remove_file(&dark), std::fs::remove_file(&black));
    let daemon = setup.start_with_ffmpeg();
    let poster = |path: &str| daemon.get(&format!("/posters/{path}.jpg"));
    for path in ["a%20b/film.mkv", "dark.mp4"] {
        assert!(
            eventually(PATIENCE, || poster(path).status() == 200),
            "{path}: {}",
            daemon.log()
        );
        let reply = poster(path);
        assert_eq!(reply.header("content-type"), Some("image/jpeg"));
        let etag = reply.header("etag").expect("a tag").to_owned();
        let again = daemon.client().request(
            "GET",
            &format!("/posters/{path}.jpg"),
            &[("If-None-Match", &etag)],
        );
        assert_eq!(again.status(), 304);
        let file = daemon.setup().path().join("poster.jpg");
        std::fs::write(&file, &reply.body).expect("a file");
        assert_eq!(probed(&file, "stream=codec_name,width"), ["mjpeg,320"]);
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&file)
            .args([
                "-vf",
                "scale=1:1",
                "-pix_fmt",
                "gray",
                "-f",
                "rawvideo",
                "-",
            ])
            .output()
            .expect("ffmpeg");
        assert!(output.stdout[0] > 30, "{path} is dark: {:?}", output.stdout);
    }
    // None of what has no picture; tried once, and not again by asking or by a restart.
    let posters = daemon.setup().path().join("cache/posters");
    let marks = || {
        names(&posters)
            .iter()
            .filter(|name| name.ends_with(".none"))
            .count()
    };
    assert!(
        eventually(PATIENCE, || marks() == 2),
        "{:?}",
        names(&posters)
    );
    let jobs = |daemon: &Daemon| {
        let all = daemon.get("/api/jobs").json();
        let all = all["jobs"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|job| job["kind"] == "poster").count()
    };
    let before = jobs(&daemon);
    assert_eq!(before, 4);
    for path in ["black.mp4", "text.mp4", "music.mp3"] {
        let reply = poster(path);
        assert_eq!(
            (reply.status(), reply.code()),
            (404, "poster_not_made".to_owned()),
            "{path}"
        );
    }
    assert_eq!(poster("nowhere.mp4").code(), "not_found");
    let page = daemon.get("/").text();
    assert!(page.contains("<img class=\"poster\" src=\"/posters/dark.mp4.jpg\" alt=\"\""));
    assert!(page.contains("src=\"/posters/a%20b/film.mkv.jpg\""));
    assert_eq!(page.matches("<img").count(), 2, "{page}");
    let page = daemon.get("/video/dark.mp4").text();
    assert!(page.contains("poster=\"/posters/dark.mp4.jpg\""), "{page}");
    assert!(!daemon.get("/video/black.mp4").text().contains("poster="));
    let daemon = daemon.restart();
    assert_eq!(daemon.get("/posters/dark.mp4.jpg").status(), 200);
    assert_eq!(daemon.get("/posters/black.mp4.jpg").status(), 404);

    // One that is renamed keeps it, and is without one at no moment.
    let before_it = daemon.get("/posters/dark.mp4.jpg");
    let rename = |from: &str, to: &str| {
        let body = format!("name={to}");
        let mut client = daemon.client();
        let length = body.len().to_string();
        let headers = [
            ("Authorization", &*daemon.admin()),
            ("Content-Length", &length),
        ];
        client.ask("POST", &format!("/videos/{from}/rename"), &headers);
        client.send(body).expect("sent");
        assert_eq!(client.response("POST").status(), 200);
    };
    rename("dark.mp4", "night.mp4");
    let carried = daemon.get("/posters/night.mp4.jpg");
    assert_eq!(
        (carried.status(), carried.header("etag"), &carried.body),
        (200, before_it.header("etag"), &before_it.body)
    );
    rename("night.mp4", "dark.mp4");
    assert_eq!(daemon.get("/posters/dark.mp4.jpg").status(), 200);

    // A film that goes takes its poster with it.
    std::fs::remove_file(daemon.setup().videos().join("dark.mp4")).expect("removed");
    let mut events = crate::support::events::Events::listen(daemon.address, None);
    let gone = || {
        names(&posters)
            .iter()
            .filter(|name| name.ends_with(".jpg"))
            .count()
            == 1
    };
    assert!(eventually(PATIENCE, gone), "{:?}", names(&posters));
    std::fs::copy(
        media::file("silent.mkv"),
        daemon.setup().videos().join("new.mkv"),
    )
    .expect("a copy");
    let began = Instant::now();
    // The names that the other film had meanwhile may be told of, too.
    events.until(|event| {
        event.name == "video" && event.data["action"] == "added" && event.data["path"] == "new.mkv"
    });
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(eventually(PATIENCE, || daemon
        .get("/posters/new.mkv.jpg")
        .status()
        == 200));
    assert_eq!(jobs(&daemon), before + 1, "nothing is tried twice");
}

/// A kill leaves the unfinished file of a job; its disk may be mounted long after the next start.
#[test]
fn what_a_killed_job_left_goes_when_its_disk_comes() {
    let setup = Setup::new();
    let disk = setup.path().join("disk");
    std::fs::write(&disk, b"no folder").unwrap();
    let videos = disk.join("videos");
    let daemon = setup
        .set("library", "videos", &format!("{videos:?}"))
        .start();
    let lacks = || daemon.health()["videos"]["detail"].is_string();
    assert!(eventually(Duration::from_secs(30), lacks));
    let come = daemon.setup().path().join("come");
    std::fs::create_dir_all(come.join("videos/deep")).unwrap();
    let (left, film) = (
        videos.join("deep/.rill-job-3-0-0.part"),
        videos.join("deep/film.mp4"),
    );
    for name in [&left, &film] {
        let name = come.join(name.strip_prefix(&disk).unwrap());
        std::fs::write(name, b"half").unwrap();
    }
    std::fs::remove_file(&disk).unwrap();
    std::fs::rename(&come, &disk).unwrap();
    assert!(
        eventually(Duration::from_secs(60), || !left.exists()),
        "{}",
        daemon.log()
    );
    assert!(film.exists());
}
