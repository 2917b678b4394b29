//! `/api/video-compatible/{ref}`: films for screens that cannot play them, made while they are watched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind};
use crate::support::media;
use crate::support::processes;

const ID: &str = "1CompatibleFilmOnDrive";

/// Longest that a child may be there when nobody reads it.
const GONE: Duration = Duration::from_secs(2);

/// On a machine that does much else, a process that was killed is not gone at once.
const SLACK: Duration = Duration::from_secs(4);

fn url(name: &str) -> String {
    format!("/api/video-compatible/videos/{name}")
}

/// What ffprobe or ffmpeg prints.
fn run(program: &str, arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new(program);
    command.args(["-v", "error"]);
    for argument in arguments {
        match *argument {
            "FILE" => command.arg(file),
            argument => command.arg(argument),
        };
    }
    let output = command.output().expect("ffmpeg is installed");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn kept(daemon: &Daemon, bytes: &[u8]) -> PathBuf {
    let path = daemon.setup().path().join("stream.mp4");
    fs::write(&path, bytes).expect("a file in the temp folder");
    path
}

/// The checksums of all frames of the first video, in order and without their times.
fn frames(file: &Path) -> Vec<String> {
    let text = run(
        "ffmpeg",
        &["-i", "FILE", "-map", "0:v:0", "-f", "framemd5", "-"],
        file,
    );
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit(',').next())
        .map(|sum| sum.trim().to_owned())
        .collect()
}

fn codecs(file: &Path) -> String {
    let entries = "stream=codec_name,channels,sample_rate";
    let text = run(
        "ffprobe",
        &["-show_entries", entries, "-of", "csv=p=0", "FILE"],
        file,
    );
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn duration(file: &Path) -> f64 {
    // A fragmented file says no duration: its last packet does.
    let text = run(
        "ffprobe",
        &["-show_entries", "packet=pts_time", "-of", "csv=p=0", "FILE"],
        file,
    );
    let times = text
        .lines()
        .filter_map(|line| line.trim_matches(',').parse::<f64>().ok());
    times.fold(0.0, f64::max)
}

#[test]
fn every_kind_of_media_becomes_an_mp4_that_every_screen_plays() {
    if !media::available() {
        return;
    }
    let table = [
        ("h264_ac3.mkv", "h264 aac,48000,2"),
        ("h264_aac.mkv", "h264 aac,48000,2"),
        ("h264_aac.mp4", "h264 aac,48000,2"),
        ("h264_aac_last.mp4", "h264 aac,48000,2"),
        ("h264_aac.ts", "h264 aac,48000,2"),
        ("silent.mkv", "h264"),
        ("tone.ac3", "aac,48000,2"),
        ("tone.flac", "aac,48000,2"),
        ("cover.mp3", "aac,48000,2"),
    ];
    let names: Vec<&str> = table.iter().map(|row| row.0).collect();
    let daemon = Setup::new().media(&names).start_with_ffmpeg();
    for (name, wanted) in table {
        let answer = daemon.get(&url(name));
        assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
        assert!(answer.whole, "{name}");
        assert_eq!(answer.header("content-type"), Some("video/mp4"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("accept-ranges"), Some("none"));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-length"), None);
        let file = kept(&daemon, &answer.body);
        assert_eq!(codecs(&file), wanted, "{name}");
        let duration = duration(&file);
        assert!((11.5..12.6).contains(&duration), "{name}: {duration}");
        if wanted.starts_with("h264") {
            assert_eq!(frames(&file), frames(&media::file(name)), "{name}");
        }
    }
    let stats = &daemon.health()["compatStream"];
    assert_eq!(stats["totalRequests"], 9, "{stats}");
    assert_eq!(stats["successfulStreams"], 9, "{stats}");
    assert_eq!(stats["failedStreams"], 0, "{stats}");
    assert_eq!(stats["lastMode"], "copy", "{stats}");
    assert_eq!(stats["lastFileId"], "videos/cover.mp3", "{stats}");
    assert!(stats["totalBytes"].as_u64() > Some(1_000_000), "{stats}");
    assert!(stats["lastSpeedMBps"].as_f64() > Some(0.0), "{stats}");
    assert!(
        stats["lastAt"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{stats}"
    );
    assert_eq!(
        (&stats["active"], &stats["limit"]),
        (&0.into(), &2.into()),
        "{stats}"
    );
    processes::assert_none_left(&daemon, &[], SLACK);
}

#[test]
fn broken_media_play_as_far_as_they_go() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new()
        .media(&["broken.ts", "truncated.mkv", "truncated.mp4"])
        .start_with_ffmpeg();
    for (name, at_least) in [
        ("broken.ts", 11.0),
        ("truncated.mkv", 6.0),
        ("truncated.mp4", 6.0),
    ] {
        let answer = daemon.get(&url(name));
        assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
        let file = kept(&daemon, &answer.body);
        let duration = duration(&file);
        assert!(duration > at_least, "{name}: {duration}");
    }
    // Times only grow, which players need.
    let answer = daemon.get(&url("broken.ts"));
    let file = kept(&daemon, &answer.body);
    let text = run(
        "ffprobe",
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=dts_time",
            "-of",
            "csv=p=0",
            "FILE",
        ],
        &file,
    );
    let times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.trim_matches(',').parse().ok())
        .collect();
    assert!(times.len() > 500, "{}", times.len());
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn head_http_1_0_and_ranges() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new().media(&["h264_ac3.mkv"]).start_with_ffmpeg();
    let head = daemon.client().request("HEAD", &url("h264_ac3.mkv"), &[]);
    assert_eq!(head.status(), 200);
    assert_eq!(head.header("content-type"), Some("video/mp4"));
    assert_eq!(head.header("accept-ranges"), Some("none"));
    assert_eq!(head.header("content-length"), None);
    let ranged = daemon.get_range(&url("h264_ac3.mkv"), "bytes=0-1");
    assert_eq!(
        (ranged.status(), ranged.header("content-range")),
        (200, None)
    );
    let mut old = daemon.client();
    let request = format!("GET {} HTTP/1.0\r\n\r\n", url("h264_ac3.mkv"));
    old.send(request).expect("the daemon reads it");
    let answer = old.response("GET");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.body.len(), ranged.body.len());
    assert!(answer.whole && old.is_over());
}

#[test]
fn what_cannot_be_copied_is_refused_or_encoded_anew() {
    if !media::available() {
        return;
    }
    let names = [
        "hevc_aac.mkv",
        "h264_10bit.mkv",
        "vp9_opus.webm",
        "h264_ac3.mkv",
    ];
    let daemon = Setup::new().media(&names).start_with_ffmpeg();
    for name in &names[..3] {
        let answer = daemon.get(&url(name));
        assert_eq!(
            (answer.status(), answer.code()),
            (415, "needs_conversion".to_owned())
        );
        let said = answer.json();
        assert_eq!(
            said["convert"]["url"],
            format!("/api/convert/videos/{name}")
        );
        let again = said["reencode"].as_str().expect("a URL").to_owned();
        let answer = daemon.get(&again);
        assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
        assert!(answer.whole);
        let file = kept(&daemon, &answer.body);
        assert!(codecs(&file).starts_with("h264 aac,48000,"), "{name}");
        let format = run(
            "ffprobe",
            &[
                "-select_streams",
                "v",
                "-show_entries",
                "stream=pix_fmt",
                "-of",
                "csv=p=0",
                "FILE",
            ],
            &file,
        );
        assert_eq!(format.trim(), "yuv420p", "{name}");
        assert_eq!(daemon.health()["compatStream"]["lastMode"], "reencode");
    }
    for query in ["?mode=x", "?t=x", "?t=-1", "?t=1e9", "?t=nan", "?t=13"] {
        let answer = daemon.get(&format!("{}{query}", url("h264_ac3.mkv")));
        assert_eq!(answer.status(), 400, "{query}");
    }
    let forced = Setup::new()
        .media(&["h264_ac3.mkv"])
        .set("ffmpeg", "force_reencode", "true")
        .start_with_ffmpeg();
    let answer = forced.get(&url("h264_ac3.mkv"));
    let file = kept(&forced, &answer.body);
    assert_eq!(frames(&file).len(), 300);
    assert_ne!(frames(&file), frames(&media::file("h264_ac3.mkv")));
}

#[test]
fn a_stream_starts_where_it_is_asked_to() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new()
        .media(&["h264_ac3.mkv", "h264_aac.mp4"])
        .start_with_ffmpeg();
    for name in ["h264_ac3.mkv", "h264_aac.mp4"] {
        let whole = frames(&media::file(name));
        let answer = daemon.get(&format!("{}?t=5.5", url(name)));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let file = kept(&daemon, &answer.body);
        let part = frames(&file);
        // There is a key frame at every second: the one at 5 s is the last before.
        assert_eq!(part, whole[125..], "{name}");
        let duration = duration(&file);
        assert!((6.0..7.3).contains(&duration), "{name}: {duration}");
        // Picture and sound begin together.
        for stream in ["v:0", "a:0"] {
            let first = run(
                "ffprobe",
                &[
                    "-select_streams",
                    stream,
                    "-show_entries",
                    "packet=pts_time",
                    "-read_intervals",
                    "%+#1",
                    "-of",
                    "csv=p=0",
                    "FILE",
                ],
                &file,
            );
            let first: f64 = first.trim().trim_matches(',').parse().expect("a time");
            assert!(first < 0.3, "{name} {stream} {first}");
        }
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the harness shows it beside a failure")]
fn a_reader_who_goes_takes_ffmpeg_along() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new()
        .media(&["large.mkv"])
        .set("ffmpeg", "live_streams", "3")
        .start_with_ffmpeg();
    let size = media::bytes("large.mkv").len() as u64;
    // Twenty points of the film, other ones each time; they differ in how the reader goes.
    let seed = std::process::id();
    println!("seed {seed}");
    let mut random = u64::from(seed);
    for i in 0..20_u64 {
        let mut client = daemon.client();
        client.ask("GET", &url("large.mkv"), &[]);
        // Knuth's MMIX; its high bits are good enough.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = ((random >> 33) * (size * 8 / 10)) >> 31;
        if i > 0 {
            assert_eq!(client.head().status, 200);
            client.take(at).expect("so much of the film");
        } else {
            let asked = || !processes::children(&daemon).is_empty();
            assert!(eventually(Duration::from_secs(10), asked));
        }
        let groups: Vec<i32> = processes::children(&daemon)
            .iter()
            .map(|c| c.group)
            .collect();
        match i % 3 {
            0 => client.abort(),
            1 => drop(client),
            _ => {
                // Half closed: it still could read, but does not.
                client.finish();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    drop(client);
                });
            }
        }
        processes::assert_none_left(&daemon, &groups, GONE + SLACK);
    }
    let stats = &daemon.health()["compatStream"];
    assert_eq!(
        (&stats["active"], &stats["failedStreams"]),
        (&0.into(), &0.into()),
        "{stats}"
    );
}

#[test]
fn a_paused_player_pauses_ffmpeg_and_costs_no_memory() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new().media(&["large.mkv"]).start_with_ffmpeg();
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", &url("large.mkv"), &[]);
    assert_eq!(client.head().status, 200);
    client.take(100_000).expect("a beginning");
    let sent = || {
        daemon.health()["compatStream"]["totalBytes"]
            .as_u64()
            .unwrap_or(0)
    };
    let mut before = 0;
    let settled = || {
        let now = sent();
        std::mem::replace(&mut before, now) == now && now > 0
    };
    let mut settled = settled;
    assert!(eventually(Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(300));
        settled()
    }));
    let stopped = sent();
    assert!(stopped < 8 << 20, "{stopped} bytes were read ahead");
    let rss = daemon.rss();
    client.widen();
    let (rest, whole) = {
        let mut body = Vec::new();
        let whole = loop {
            match client.take(1) {
                Ok(byte) => body.extend(byte),
                Err(_) => break true,
            }
            if body.len() > 1_000_000 {
                break true;
            }
        };
        (body, whole)
    };
    assert!(whole && rest.len() > 100_000);
    assert!(daemon.rss() < rss + (8 << 20));
}

#[test]
fn one_too_many_is_told_to_come_again() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new()
        .media(&["large.mkv"])
        .set("ffmpeg", "live_streams", "1")
        .start_with_ffmpeg();
    let mut first = Client::connect_small(daemon.address);
    first.ask("GET", &url("large.mkv"), &[]);
    assert_eq!(first.head().status, 200);
    let second = daemon.get(&url("large.mkv"));
    assert_eq!((second.status(), second.code()), (503, "busy".to_owned()));
    assert_eq!(second.header("retry-after"), Some("5"));
    assert_eq!(daemon.health()["compatStream"]["active"], 1);
    // Who seeks asks anew while the old stream is still being taken down.
    drop(first);
    let third = daemon.get(&format!("{}?t=50", url("large.mkv")));
    assert_eq!(third.status(), 200, "{}", third.text());
}

#[test]
fn cuts_upstream_are_not_seen() {
    if !media::available() {
        return;
    }
    let fake = FakeDrive::start();
    fake.add(File::bytes(
        ID,
        "large.mkv",
        "video/x-matroska",
        media::bytes("large.mkv"),
    ));
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    // Looked into beforehand, so that the cuts meet the film and not the probe.
    assert_eq!(daemon.get(&format!("/api/playable/{ID}")).status(), 200);
    for i in 0..20_u64 {
        let at = 200_000 + i * 77_777;
        fake.on(Kind::Media)
            .skip(u32::from(i > 0))
            .once()
            .does(Action::Cut(at));
    }
    let answer = daemon.get(&format!("/api/video-compatible/{ID}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.whole, "{}", daemon.log());
    assert_eq!(fake.rules_left(), 0, "not all cuts were made");
    let file = kept(&daemon, &answer.body);
    assert_eq!(frames(&file), frames(&media::file("large.mkv")));
}

#[test]
fn a_source_that_stays_away_cuts_the_stream() {
    if !media::available() {
        return;
    }
    let fake = FakeDrive::start();
    fake.add(File::bytes(
        ID,
        "large.mkv",
        "video/x-matroska",
        media::bytes("large.mkv"),
    ));
    let daemon = Setup::new().drive(&fake).start_with_ffmpeg();
    assert_eq!(daemon.get(&format!("/api/playable/{ID}")).status(), 200);
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", &format!("/api/video-compatible/{ID}"), &[]);
    let head = client.head();
    assert_eq!(head.status, 200);
    fake.on(Kind::Media).refuses(404, "notFound");
    fake.close_connections();
    let (_, whole) = client.body_of(&head, "GET");
    assert!(!whole, "a part was passed off as the whole");
    let stats = &daemon.health()["compatStream"];
    assert_eq!(stats["failedStreams"], 1, "{stats}");
    assert!(
        stats["lastError"].as_str().is_some_and(|e| !e.is_empty()),
        "{stats}"
    );
    processes::assert_none_left(&daemon, &[], SLACK);
}

/// A script in place of ffmpeg; `-version` is answered as ffmpeg does.
fn fake_ffmpeg(setup: Setup, body: &str) -> Setup {
    let path = setup.path().join("fake-ffmpeg");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = -version ] && {{ echo 'ffmpeg version 5.1-fake Copyright'; exit 0; }}\n{body}\n"
    );
    fs::write(&path, text).expect("a file in the temp folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    setup.set("ffmpeg", "ffmpeg", &format!("{path:?}"))
}

/// A Pi that just booted reads ffmpeg and its libraries from a slow card: that is slow, and not missing.
#[test]
fn an_ffmpeg_that_takes_long_to_load_is_waited_for() {
    let setup = Setup::new();
    let path = setup.path().join("slow-ffmpeg");
    let text = "#!/bin/sh\nsleep 12\necho 'ffmpeg version 5.1-slow Copyright'\n";
    fs::write(&path, text).expect("a file in the temp folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    let daemon = setup
        .set("ffmpeg", "ffmpeg", &format!("{path:?}"))
        .set("ffmpeg", "ffprobe", &format!("{path:?}"))
        .start();
    let available = || daemon.health()["ffmpeg"]["available"] == true;
    assert!(
        eventually(Duration::from_secs(60), available),
        "{}",
        daemon.log()
    );
}

#[test]
fn an_ffmpeg_that_misbehaves_is_contained() {
    if !media::available() {
        return;
    }
    // What it does, and what the viewer sees of it: a status, and whether the body is whole.
    let table = [
        ("echo 'it is all wrong' >&2; exit 1", 502, false),
        ("exit 0", 502, false),
        (
            "head -c 4000000 /dev/zero >&2; echo film; exit 0",
            200,
            true,
        ),
        (
            "echo film; sleep 0.3; echo 'late failure' >&2; exit 1",
            200,
            false,
        ),
        ("head -c 300000 /dev/zero; kill -9 $$", 200, false),
        ("(trap '' TERM; sleep 1000) & echo film; exit 0", 200, true),
        ("exec 1>&-; sleep 1000", 502, false),
        (
            "echo 'film.mkv: Cannot allocate memory' >&2; exit 1",
            503,
            false,
        ),
        ("kill -9 $$", 503, false),
    ];
    for (script, status, whole) in table {
        let daemon = fake_ffmpeg(Setup::new().media(&["h264_ac3.mkv"]), script).start_with_ffmpeg();
        let answer = daemon.get(&url("h264_ac3.mkv"));
        assert_eq!(answer.status(), status, "{script}: {}", answer.text());
        if status == 502 {
            assert_eq!(answer.code(), "ffmpeg_failed", "{script}");
            assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
        } else if status == 503 {
            assert_eq!(answer.code(), "no_memory", "{script}");
        } else {
            assert_eq!(answer.whole, whole, "{script}");
        }
        if script.contains("all wrong") {
            assert_eq!(answer.json()["ffmpeg"], "it is all wrong");
        }
        processes::assert_none_left(&daemon, &[], SLACK);
    }
}

#[test]
fn an_ffmpeg_that_hangs_goes_with_its_reader() {
    if !media::available() {
        return;
    }
    for script in [
        "sleep 1000",
        "trap '' TERM INT HUP; (trap '' TERM INT HUP; sleep 1000) & while :; do sleep 1; done",
        "echo film; sleep 1000",
        "echo film; trap '' TERM; while :; do echo complaint >&2; done",
    ] {
        let daemon = fake_ffmpeg(Setup::new().media(&["h264_ac3.mkv"]), script).start_with_ffmpeg();
        // Once it has been looked into: the reader shall meet ffmpeg, not ffprobe.
        assert_eq!(
            daemon.get("/api/playable/videos/h264_ac3.mkv").status(),
            200
        );
        for aborts in [true, false] {
            let mut client = daemon.client();
            client.ask("GET", &url("h264_ac3.mkv"), &[]);
            let started = || {
                daemon.health()["compatStream"]["active"] == 1
                    && !processes::children(&daemon).is_empty()
            };
            assert!(eventually(Duration::from_secs(20), started), "{script}");
            if script.starts_with("echo") {
                assert_eq!(client.head().status, 200);
            }
            let groups: Vec<i32> = processes::children(&daemon)
                .iter()
                .map(|c| c.group)
                .collect();
            let left = Instant::now();
            match aborts {
                true => client.abort(),
                false => drop(client),
            }
            processes::assert_none_left(&daemon, &groups, GONE + SLACK);
            assert!(left.elapsed() < GONE + SLACK);
        }
    }
}

#[test]
fn a_daemon_that_dies_leaves_no_ffmpeg() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new().media(&["large.mkv"]).start_with_ffmpeg();
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", &url("large.mkv"), &[]);
    assert_eq!(client.head().status, 200);
    let groups: Vec<i32> = processes::children(&daemon)
        .iter()
        .map(|c| c.group)
        .collect();
    assert_eq!(groups.len(), 1);
    drop(daemon);
    assert!(eventually(SLACK, || processes::group(groups[0]).is_empty()));
}

#[test]
fn the_readers_address_answers_nobody_else() {
    if !media::available() {
        return;
    }
    // The daemon listens on one address that is not ffmpeg's: it reads all the same.
    let daemon = Setup::new()
        .media(&["h264_ac3.mkv", "large.mkv"])
        .set("http", "listen", "[\"127.0.0.2:0\"]")
        .start_with_ffmpeg();
    assert_eq!(daemon.get(&url("h264_ac3.mkv")).status(), 200);
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", &url("large.mkv"), &[]);
    assert_eq!(client.head().status, 200);
    let child = processes::children(&daemon)[0].pid;
    let line = fs::read(format!("/proc/{child}/cmdline")).expect("procfs");
    let words: Vec<String> = line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let after = |name: &str| {
        let at = words
            .iter()
            .position(|word| word == name)
            .expect("an argument");
        words[at + 1].clone()
    };
    let header = after("-headers");
    let (name, token) = header.trim().split_once(": ").expect("a header");
    let source = after("-i");
    let rest = source.strip_prefix("http://").expect("a URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let address = address.parse().expect("an address");
    let ask = |path: &str, token: Option<&str>, method: &str| {
        let headers: Vec<(&str, &str)> = token.iter().map(|token| (name, *token)).collect();
        Client::connect(address)
            .request(method, path, &headers)
            .status()
    };
    let path = format!("/{path}");
    assert_eq!(ask(&path, None, "GET"), 403);
    assert_eq!(
        ask(&path, Some("0123456789abcdef0123456789abcdef"), "GET"),
        403
    );
    assert_eq!(ask(&path, Some(token), "HEAD"), 200);
    assert_eq!(ask(&path, Some(token), "POST"), 403);
    for other in [
        "/",
        "/api/health",
        "/videos/h264_ac3.mkv",
        "/api/playable/videos/large.mkv",
    ] {
        assert_eq!(ask(other, Some(token), "GET"), 403, "{other}");
    }
    let token = token.to_owned();
    drop(client);
    processes::assert_none_left(&daemon, &[], GONE + SLACK);
    let over = || ask(&path, Some(&token), "GET") == 403;
    assert!(eventually(SLACK, over), "a token outlives its program");
}

#[test]
fn pages_lead_to_a_version_that_plays() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new()
        .media(&["h264_ac3.mkv", "h264_aac.mp4", "hevc_aac.mkv"])
        .start_with_ffmpeg();
    let page = |name: &str, query: &str| daemon.get(&format!("/video/{name}{query}")).text();
    let source = |name: &str| format!("<source src=\"{}\" type=\"video/mp4\">", url(name));
    let first = page("h264_ac3.mkv", "");
    assert!(
        first.contains("href=\"/video/h264_ac3.mkv?compatible=1\""),
        "{first}"
    );
    let (file, compatible) = (
        first.find("src=\"/videos/"),
        first.find(&source("h264_ac3.mkv")),
    );
    assert!(file.is_some() && file < compatible, "{first}");
    assert!(!page("h264_aac.mp4", "").contains(&source("h264_aac.mp4")));
    let chosen = page("h264_ac3.mkv", "?compatible=1");
    assert!(chosen.contains(&source("h264_ac3.mkv")), "{chosen}");
    assert!(!chosen.contains("src=\"/videos/h264_ac3.mkv\""), "{chosen}");
    let converts = page("hevc_aac.mkv", "?compatible=1");
    assert!(converts.contains("HEVC"), "{converts}");
    assert!(
        converts.contains("action=\"/api/convert/videos/hevc_aac.mkv\""),
        "{converts}"
    );
    // Nothing plays there: the first thing to do has the focus, and none leads to where one is.
    assert!(
        converts.contains("<button type=\"submit\" autofocus>Convert it</button>"),
        "{converts}"
    );
    assert_eq!(converts.matches(" autofocus").count(), 1, "{converts}");
    assert!(
        !converts.contains("href=\"/video/hevc_aac.mkv?compatible=1\""),
        "{converts}"
    );
    let reencodes = page("hevc_aac.mkv", "?compatible=reencode");
    assert!(
        reencodes.contains(&format!("{}?mode=reencode", url("hevc_aac.mkv"))),
        "{reencodes}"
    );
}

/// Plays the URL that the page has as its own, and says what came of it.
const PLAY: &str = r"(async () => {
    const video = document.createElement('video');
    video.muted = true;
    video.src = 'URL';
    document.body.appendChild(video);
    const failed = new Promise(done => video.addEventListener('error', () => done(video.error.message)));
    const played = new Promise(done => video.addEventListener('timeupdate', () => video.currentTime > 1 && done('')));
    video.play().catch(() => {});
    const why = await Promise.race([failed, played, new Promise(done => setTimeout(() => done('late'), 25000))]);
    return { why, width: video.videoWidth, sound: video.webkitAudioDecodedByteCount, at: video.currentTime };
})()";

#[test]
fn chromium_plays_what_it_could_not() {
    if !media::available() {
        return;
    }
    let daemon = Setup::new().media(&["h264_ac3.mkv"]).start_with_ffmpeg();
    let mut browser = Browser::start();
    for query in ["", "?t=4"] {
        browser.open(&daemon.url("/"));
        let address = format!("{}{query}", url("h264_ac3.mkv"));
        let said = browser.evaluate(&PLAY.replace("URL", &address));
        assert_eq!(said["why"], "", "{said}");
        assert_eq!(said["width"], 320, "{said}");
        assert!(said["sound"].as_u64() > Some(0), "{said}");
    }
    // The page itself: it has no script, so the player is asked.
    browser.open(&daemon.url("/video/h264_ac3.mkv?compatible=1"));
    let said = browser.evaluate(PLAY_PAGE);
    assert_eq!(said["why"], "", "{said}");
    assert!(said["sound"].as_u64() > Some(0), "{said}");
}

/// Plays what the page has.
const PLAY_PAGE: &str = r"(async () => {
    const video = document.querySelector('video');
    video.muted = true;
    const played = new Promise(done => video.addEventListener('timeupdate', () => video.currentTime > 1 && done('')));
    video.play().catch(() => {});
    const why = await Promise.race([played, new Promise(done => setTimeout(() => done('late'), 25000))]);
    return { why, sound: video.webkitAudioDecodedByteCount, source: video.currentSrc };
})()";

/// A house whose network is IPv6 alone sees the same.
#[test]
fn over_ipv6_alone_a_class_streams_too() {
    if !media::available() || std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let setup = Setup::new();
    let module = setup.path().join("courses/Curso Uno/1. Módulo");
    std::fs::create_dir_all(&module).expect("folders");
    let name = "1. ¿Qué es #?.mkv";
    std::fs::copy(media::file("h264_ac3.mkv"), module.join(name)).expect("a copy");
    let courses = setup.path().join("courses");
    let setup = setup.set("http", "listen", "[\"[::1]:0\"]").set(
        "library",
        "courses",
        &format!("{courses:?}"),
    );
    let daemon = setup.start_with_ffmpeg();
    assert!(daemon.address.is_ipv6(), "{}", daemon.address);
    let path = "courses/Curso%20Uno/1.%20M%C3%B3dulo/1.%20%C2%BFQu%C3%A9%20es%20%23%3F.mkv";
    let said = daemon.get(&format!("/api/playable/{path}")).json();
    assert_eq!(
        (&said["play"], &said["ref"]),
        (&"remux".into(), &path.into()),
        "{said}"
    );
    let answer = daemon.get(&format!("/api/video-compatible/{path}?t=4"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let file = kept(&daemon, &answer.body);
    assert_eq!(codecs(&file), "h264 aac,48000,2");
    assert!((6.0..9.5).contains(&duration(&file)), "{}", duration(&file));
    processes::assert_none_left(&daemon, &[], GONE + SLACK);
}

/// Who opens a class wants to see it, and no choice to make.
#[test]
fn a_class_that_a_browser_declines_plays_all_the_same_and_keeps_its_place() {
    if !media::available() {
        return;
    }
    let setup = Setup::new();
    let courses = setup.path().join("courses");
    std::fs::create_dir(&courses).expect("a folder");
    std::fs::copy(media::file("h264_aac.ts"), courses.join("1.ts")).expect("a copy");
    let class =
        json!({"num": 1, "name": "Clock", "hasVideo": true, "files": {"video": "local:1.ts"}});
    let catalog = json!({"categories": [{"name": "Time", "routes": [{"name": "Clocks", "isCourse": true,
        "modules": [{"name": "1. All", "classes": [class]}]}]}]});
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    let daemon = setup
        .set("library", "courses", &format!("{courses:?}"))
        .start_with_ffmpeg();
    let page = "/watch/time/clocks/0/1-all/clock?profile=";
    // Without script there is the same, and the way to it by hand.
    let markup = daemon.get(&format!("{page}Ana")).text();
    let versions = markup.matches("/api/video-compatible/courses/1.ts");
    assert_eq!(versions.count(), 2, "{markup}");
    let mut browser = Browser::start();
    for (profile, from, query) in [("Ana", 0.0, ""), ("Eva", 6.0, "?t=6")] {
        let progress = format!("/api/progress?profile={profile}");
        if from > 0.0 {
            let entry = json!({"status": "in_progress", "watchTime": from, "lastWatched": "2020-01-01T00:00:00Z"});
            let body = json!({ "Clocks/1-all/clock": entry }).to_string();
            let mut client = daemon.client();
            let length = body.len().to_string();
            client.ask("PATCH", &progress, &[("Content-Length", &length)]);
            client.send(body).expect("sent");
            assert_eq!(client.response("PATCH").status(), 200);
        }
        browser.open(&daemon.url(&format!("{page}{profile}")));
        let said = browser.evaluate(PLAY_PAGE);
        assert_eq!(said["why"], "", "{said}");
        let source = said["source"].as_str().unwrap_or_default();
        let wanted = format!("/api/video-compatible/courses/1.ts{query}");
        assert!(source.ends_with(&wanted), "{said}");
        browser.evaluate("document.getElementById('player').pause()");
        let kept = || daemon.get(&progress).json()["Clocks/1-all/clock"].clone();
        let place = || kept()["watchTime"].as_f64().unwrap_or_default();
        assert!(
            eventually(Duration::from_secs(20), || place() >= from + 1.0
                && place() < from + 6.0),
            "{}",
            kept()
        );
    }
}
