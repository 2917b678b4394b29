//! Mended copies of files on Drive: made once, kept within a limit, and jobs that make room for who watches.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind};
use crate::support::media;
use crate::support::processes;

const PATIENCE: Duration = Duration::from_secs(120);

const BROKEN: &str = "1BrokenFilmOnDrive";
const OTHER: &str = "1OtherFilmOnDrive";

fn fake() -> FakeDrive {
    let fake = FakeDrive::start();
    for (id, name, mime) in [
        (BROKEN, "broken.ts", "video/mp2t"),
        (OTHER, "h264_ac3.mkv", "video/x-matroska"),
        ("1TextOnDriveOnly", "text.mp4", "video/mp4"),
        ("1CutFilmOnDrive", "truncated.mkv", "video/x-matroska"),
    ] {
        fake.add(File::bytes(id, name, mime, media::bytes(name)));
    }
    fake
}

fn ask(daemon: &Daemon, id: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("Content-Length", "0")];
    all.extend_from_slice(headers);
    daemon
        .client()
        .request("POST", &format!("/api/repair/{id}"), &all)
}

fn status(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/api/repair-status/{id}")).json()
}

fn ended(daemon: &Daemon, id: &str) -> Value {
    let mut last = Value::Null;
    let over = eventually(PATIENCE, || {
        last = status(daemon, id);
        !matches!(last["status"].as_str(), Some("pending" | "in_progress"))
    });
    assert!(over, "{last}\n{}", daemon.log());
    last
}

/// The checksums of the frames of the first video.
fn frames(file: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args([
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framemd5",
            "-",
        ])
        .output()
        .expect("ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned()))
        .collect()
}

/// The times of the packets of the first video, in the order of the file.
fn times(file: &Path) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=dts_time",
            "-of",
            "csv=p=0",
        ])
        .arg(file)
        .output()
        .expect("ffprobe");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.trim_matches(',').parse().ok())
        .collect()
}

#[test]
fn a_film_with_broken_timestamps_is_mended_through_twenty_cuts() {
    let fake = fake();
    fake.on(Kind::Media)
        .file(BROKEN)
        .times(20)
        .does(Action::Cut(40_000));
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    let missing = daemon.get(&format!("/api/repair-status/{BROKEN}"));
    assert_eq!(
        (missing.status(), missing.code()),
        (404, "repair_not_found".to_owned())
    );
    assert_eq!(missing.json()["status"], "missing");
    assert_eq!(daemon.get(&format!("/api/repaired/{BROKEN}")).status(), 404);
    let page = format!("/watch/drive/{BROKEN}");
    assert!(!daemon.get(&page).text().contains("/api/repaired/"));

    let asked = ask(&daemon, BROKEN, &[]);
    assert_eq!(asked.status(), 202, "{}", asked.text());
    let entry = asked.json();
    assert_eq!(
        (&entry["fileId"], &entry["status"]),
        (&BROKEN.into(), &"pending".into())
    );
    assert_eq!(asked.header("location"), entry["job"].as_str());
    assert!(entry["requestedAt"].is_string() && entry["completedAt"].is_null());

    let done = ended(&daemon, BROKEN);
    let page = daemon.get(&page).text();
    let source = format!("<source src=\"/api/repaired/{BROKEN}\" type=\"video/mp4\">");
    assert!(page.contains(&source), "{page}");
    assert_eq!(
        (&done["status"], &done["ffmpegMode"]),
        (&"completed".into(), &"copy".into()),
        "{done}\n{}",
        daemon.log()
    );
    assert_eq!(
        (&done["progress"], &done["error"]),
        (&1.0.into(), &Value::Null)
    );
    for time in ["requestedAt", "startedAt", "completedAt", "updatedAt"] {
        assert!(done[time].is_string(), "{time} in {done}");
    }
    assert_eq!(fake.rules_left(), 0, "all cuts happened");

    let target = done["artifactUrl"].as_str().expect("a link").to_owned();
    let whole = daemon.get(&target);
    assert_eq!(
        (whole.status(), whole.header("content-type")),
        (200, Some("video/mp4"))
    );
    assert_eq!(done["artifactSize"], whole.body.len());
    let part = daemon.get_range(&target, "bytes=100-199");
    assert_eq!(
        (part.status(), &part.body[..]),
        (206, &whole.body[100..200])
    );
    let head = daemon.client().request("HEAD", &target, &[]);
    assert_eq!(
        (head.status(), head.header("accept-ranges")),
        (200, Some("bytes"))
    );

    // All frames of it, in a time that rises from zero and does not jump.
    let file = daemon.setup().path().join("copy.mp4");
    std::fs::write(&file, &whole.body).expect("a file");
    assert_eq!(&whole.body[4..8], b"ftyp");
    let moov = whole.body.windows(4).position(|four| four == b"moov");
    let mdat = whole.body.windows(4).position(|four| four == b"mdat");
    assert!(moov < mdat, "its index comes first");
    let (all, mut kept) = (
        frames(&media::file("broken.ts")),
        frames(&file).into_iter().peekable(),
    );
    // One frame lies where the halves were joined, and is broken itself.
    let lost = all
        .iter()
        .filter(|frame| kept.next_if(|kept| kept == *frame).is_none())
        .count();
    assert!(
        lost <= 1 && kept.next().is_none(),
        "{lost} of {} frames are not the same",
        all.len()
    );
    let times = times(&file);
    assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    assert!(
        times.windows(2).all(|two| two[1] - two[0] < 0.5),
        "{times:?}"
    );

    // Once is enough.
    let again = ask(&daemon, BROKEN, &[]);
    assert_eq!(
        (again.status(), &again.json()["status"]),
        (200, &"completed".into())
    );
    let figures = daemon.health()["repair"].clone();
    assert_eq!(
        (&figures["totalRepairs"], &figures["successfulRepairs"]),
        (&1.into(), &1.into()),
        "{figures}"
    );
    assert!(figures["diskUsageMB"].as_f64() > Some(0.0), "{figures}");
    let daemon = daemon.restart();
    assert_eq!(status(&daemon, BROKEN)["status"], "completed");

    let mut browser = Browser::start();
    browser.open(&daemon.url(&target));
    let said = browser.evaluate(
        "(async () => { const m = document.querySelector('video'); m.muted = true; await m.play(); m.currentTime = 18; \
         const end = Date.now() + 30000; while ((m.seeking || m.currentTime < 18.3) && !m.error && Date.now() < end) \
         await new Promise(done => setTimeout(done, 25)); return m.error ? m.error.message : m.currentTime; })()",
    );
    assert!(said.as_f64() > Some(18.2), "{said}");
}

#[test]
fn the_button_of_a_page_leads_back_to_the_page() {
    let fake = fake();
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    for id in [OTHER, "1TextOnDriveOnly"] {
        let page = format!("/watch/drive/{id}");
        let asked = ask(&daemon, id, &[("Accept", "text/html")]);
        assert_eq!(
            (asked.status(), asked.header("location")),
            (303, Some(page.as_str())),
            "{}",
            asked.text()
        );
        let done = ended(&daemon, id)["status"] == "completed";
        let page = daemon.get(&page).text();
        let failed = page.contains("It could not be converted. ")
            && page.contains(&format!("/watch/drive/{id}?compatible=reencode"));
        assert_eq!((done, failed), (id == OTHER, id != OTHER), "{page}");
    }
}

/// Who has a film repaired wants what can be saved of it.
#[test]
fn of_a_film_that_was_cut_short_all_that_is_there_is_saved() {
    let fake = fake();
    for (id, name) in [
        ("1CutMp4OnDrive", "truncated.mp4"),
        ("1NoIndexOnDrive", "h264_aac_last.mp4"),
    ] {
        let mut bytes = media::bytes(name);
        if name == "h264_aac_last.mp4" {
            bytes.truncate(bytes.len() / 2);
        }
        fake.add(File::bytes(id, name, "video/mp4", bytes));
    }
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    for (id, name) in [
        ("1CutFilmOnDrive", "truncated.mkv"),
        ("1CutMp4OnDrive", "truncated.mp4"),
    ] {
        assert_eq!(ask(&daemon, id, &[]).status(), 202);
        let told = ended(&daemon, id);
        assert_eq!(told["status"], "completed", "{told}");
        let mode = told["ffmpegMode"].as_str().unwrap_or_default();
        assert!(mode.contains("cut short"), "{told}");
        let copy = daemon.setup().path().join("copy.mp4");
        std::fs::write(&copy, daemon.get(&format!("/api/repaired/{id}")).body).expect("a file");
        let (saved, there) = (frames(&copy), frames(&media::file(name)));
        // All but what the cut went through.
        assert!(
            there.len() > 100 && saved.len() + 2 >= there.len(),
            "{} of {}",
            saved.len(),
            there.len()
        );
        assert_eq!(saved[..there.len() - 2], there[..there.len() - 2], "{name}");
    }
    assert_eq!(ask(&daemon, "1NoIndexOnDrive", &[]).status(), 202);
    let told = ended(&daemon, "1NoIndexOnDrive");
    assert_eq!(told["status"], "failed", "{told}");
    assert!(
        told["error"]
            .as_str()
            .is_some_and(|why| why.contains("cut short")),
        "{told}"
    );
}

#[test]
fn who_may_ask_and_what_is_refused() {
    let fake = fake();
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    let from_elsewhere = ask(&daemon, OTHER, &[("X-Forwarded-For", "192.168.1.9")]);
    assert_eq!(
        (from_elsewhere.status(), from_elsewhere.code()),
        (401, "admin_required".to_owned())
    );
    let admin = daemon.admin();
    let known = [
        ("X-Forwarded-For", "192.168.1.9"),
        ("Authorization", admin.as_str()),
    ];
    assert_eq!(ask(&daemon, OTHER, &known).status(), 202);
    assert_eq!(ended(&daemon, OTHER)["ffmpegMode"], "audio");
    assert_eq!(
        ask(&daemon, "1NobodyHasThisFile", &[]).code(),
        "drive_not_found"
    );
    assert_eq!(ask(&daemon, "1TextOnDriveOnly", &[]).status(), 202);
    let failed = ended(&daemon, "1TextOnDriveOnly");
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(
        failed["error"].is_string() && failed["failedAt"].is_string(),
        "{failed}"
    );
    assert_eq!(daemon.health()["repair"]["failedRepairs"], 1);
    let folder = daemon.setup().path().join("state/repaired");
    let names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");

    let without = Daemon::start();
    let looked = || without.health()["ffmpeg"]["available"] == true;
    assert!(eventually(Duration::from_secs(30), looked));
    let refused = ask(&without, OTHER, &[]);
    assert_eq!(
        (refused.status(), refused.code()),
        (503, "drive_not_configured".to_owned())
    );
}

#[test]
fn the_oldest_copies_make_room_and_a_limit_is_a_limit() {
    let fake = fake();
    let size = media::bytes("h264_ac3.mkv").len();
    let limit = format!("\"{}B\"", size + size / 2);
    let limit = limit.replace('B', "");
    let daemon = Setup::new()
        .drive(&fake)
        .set("limits", "repaired", &limit)
        .start_with_ffmpeg();
    assert_eq!(ask(&daemon, OTHER, &[]).status(), 202);
    assert_eq!(ended(&daemon, OTHER)["status"], "completed");
    assert_eq!(ask(&daemon, BROKEN, &[]).status(), 202);
    assert_eq!(
        ended(&daemon, BROKEN)["status"],
        "completed",
        "{}",
        daemon.log()
    );
    let evicted = status(&daemon, OTHER);
    assert_eq!(
        (&evicted["status"], &evicted["artifactUrl"]),
        (&"evicted".into(), &Value::Null)
    );
    assert_eq!(daemon.get(&format!("/api/repaired/{OTHER}")).status(), 404);
    // Asked for again, it comes again.
    assert_eq!(ask(&daemon, OTHER, &[]).status(), 202);
    assert_eq!(ended(&daemon, OTHER)["status"], "completed");

    let small = Setup::new()
        .drive(&fake)
        .set("limits", "repaired", "1000")
        .start_with_ffmpeg();
    let refused = ask(&small, OTHER, &[]);
    assert_eq!(
        (refused.status(), refused.code()),
        (507, "no_space".to_owned())
    );
    let full = Setup::new()
        .drive(&fake)
        .set("limits", "free_space", "\"900000TiB\"")
        .start_with_ffmpeg();
    let refused = ask(&full, OTHER, &[]);
    assert_eq!(
        (refused.status(), refused.code()),
        (507, "no_space".to_owned())
    );
    assert!(
        refused.text().contains("limits.free_space"),
        "{}",
        refused.text()
    );
}

#[test]
fn a_job_waits_while_somebody_watches() {
    let fake = fake();
    let setup = Setup::new().video("watched.mkv", &media::bytes("large.mkv"));
    let path = setup.path().join("ffmpeg");
    // Jobs are told apart by the progress that they tell; this one goes on for ever.
    let script = "#!/bin/sh\n[ \"$1\" = -version ] && echo ffmpeg version 9 && exit\n\
                  case \"$*\" in *-progress*drive*) ;; *) exec ffmpeg \"$@\";; esac\n\
                  n=0\nwhile :; do n=$((n + 100000)); echo out_time_us=$n; echo progress=continue; sleep 0.1; done\n";
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let setup = setup.set("ffmpeg", "ffmpeg", &format!("{path:?}"));
    // Four seconds: a pause is longer, and must not be taken for a program that hangs.
    let setup = setup.set("ffmpeg", "stalled", "4").drive(&fake);
    let daemon = setup.start_with_ffmpeg();
    assert_eq!(ask(&daemon, OTHER, &[]).status(), 202);
    assert!(
        eventually(PATIENCE, || status(&daemon, OTHER)["progress"].as_f64()
            > Some(0.0)),
        "{}",
        daemon.log()
    );
    let busy = ask(&daemon, OTHER, &[]);
    assert_eq!(
        (busy.status(), busy.code()),
        (409, "repair_in_progress".to_owned())
    );

    let job = || daemon.get("/api/jobs?limit=1").json()["jobs"][0].clone();
    let leader = processes::children(&daemon);
    let group = leader
        .iter()
        .find(|p| p.name == "ffmpeg")
        .expect("ffmpeg runs")
        .group;
    // A shell that is stopped while it starts a program waits in the kernel for one that is stopped.
    let stopped = || {
        processes::group(group)
            .iter()
            .all(|process| matches!(process.state, 'T' | 'D'))
    };
    assert!(!stopped());

    let mut viewer = Client::connect_small(daemon.address);
    let began = Instant::now();
    viewer.ask("GET", "/api/video-compatible/videos/watched.mkv", &[]);
    assert_eq!(viewer.head().status, 200);
    assert!(
        eventually(Duration::from_secs(20), stopped),
        "{:?}",
        processes::group(group)
    );
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "{took:?}: two seconds, and what a busy machine takes"
    );
    assert!(eventually(PATIENCE, || job()["paused"] == true));
    assert_eq!(job()["state"], "running");
    // Longer than it may go without progress.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(
        (&job()["paused"], &job()["attempts"]),
        (&true.into(), &1.into())
    );
    assert!(stopped());

    viewer.abort();
    assert!(eventually(PATIENCE, || !stopped()));
    assert!(eventually(PATIENCE, || job()["paused"] == false));
    let target = job()["url"].as_str().expect("a link").to_owned();
    let cancelled =
        daemon
            .client()
            .request("DELETE", &target, &[("Authorization", &daemon.admin())]);
    assert_eq!(cancelled.status(), 200);
    assert!(eventually(PATIENCE, || processes::group(group).is_empty()));
    let failed = status(&daemon, OTHER);
    assert_eq!(
        (&failed["status"], &failed["error"]),
        (&"failed".into(), &"It was cancelled.".into())
    );
}
