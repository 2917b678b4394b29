//! Programs that people use: curl, ffprobe, ffmpeg, VLC; and nginx over the same folder, to be compared with.
//!
//! Whatever a program does with a local file it must be able to do with one on Drive, so most tests go through
//! both. A program that is not installed is left out with a note: `tests/run` installs all but VLC.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Content, FakeDrive, File};

/// Says that a test cannot be made here.
#[allow(clippy::print_stderr, reason = "the harness shows it with --nocapture")]
fn skip(program: &str) {
    eprintln!("left out: {program} is not installed");
}

/// Where a program is, in PATH or where Debian hides servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(program))
        .find(|place| place.is_file());
    if found.is_none() {
        skip(program);
    }
    found
}

/// Runs a program to its end, which a hang would not be: then `timeout` ends it with 124.
fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", "120"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("timeout is part of every system")
}

/// Runs a program that must succeed; its standard output.
fn output(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = run(program, arguments);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn text(program: &Path, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&output(program, arguments)).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A daemon that serves the same files from its disk and from Drive.
struct Stage {
    daemon: Daemon,
    files: Vec<String>,
    _fake: FakeDrive,
}

impl Stage {
    /// `files` are names and contents.
    fn new(files: &[(&str, Vec<u8>)]) -> Stage {
        let fake = FakeDrive::start();
        let mut setup = Setup::new();
        for (name, bytes) in files {
            setup = setup.video(name, bytes);
            let place = setup.videos().join(name);
            let id = format!("drive-{name}").replace('.', "-");
            fake.add(File::new(&id, name, "video/mp4", Content::Path(place)));
        }
        Stage {
            daemon: setup.drive(&fake).start(),
            files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
            _fake: fake,
        }
    }

    /// Where the `n`th file is on the disk.
    fn file(&self, n: usize) -> PathBuf {
        self.daemon.setup().videos().join(&self.files[n])
    }

    /// Its URLs, of the local and of the Drive one.
    fn urls(&self, n: usize) -> [String; 2] {
        let name = &self.files[n];
        [
            self.daemon.url(&format!("/videos/{name}")),
            self.daemon
                .url(&format!("/drive/files/drive-{}", name.replace('.', "-"))),
        ]
    }

    /// A path in the daemon's temporary folder.
    fn scratch(&self, name: &str) -> PathBuf {
        self.daemon.setup().path().join(name)
    }
}

/// Bytes without a pattern that a range could hit twice.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn curl_resumes_what_was_cut() {
    let Some(curl) = find("curl") else { return };
    let bytes = noise(3_000_000);
    let stage = Stage::new(&[("film.mp4", bytes.clone())]);
    for url in stage.urls(0) {
        let part = stage.scratch("part");
        fs::write(&part, &bytes[..1_234_567]).expect("a file in the temp folder");
        let resume = ["-sS", "-C", "-", "-o", path(&part), &url];
        output(&curl, &resume);
        assert!(fs::read(&part).is_ok_and(|got| got == bytes), "{url}");
        // Once more over the whole: 416 with the length, which curl takes for "nothing is left".
        output(&curl, &resume);
        assert!(fs::read(&part).is_ok_and(|got| got == bytes), "{url}");
    }
}

#[test]
fn curl_takes_ranges_in_any_version_of_http() {
    let Some(curl) = find("curl") else { return };
    let bytes = noise(500_000);
    let stage = Stage::new(&[("film.mp4", bytes.clone())]);
    for url in stage.urls(0) {
        for version in ["--http1.1", "--http1.0"] {
            for (range, want) in [
                ("0-0", &bytes[..1]),
                ("0-1", &bytes[..2]),
                ("100000-", &bytes[100_000..]),
                ("-1000", &bytes[499_000..]),
                ("499999-600000", &bytes[499_999..]),
                ("-600000", &bytes[..]),
            ] {
                let got = output(&curl, &["-sSf", version, "-r", range, &url]);
                assert!(got == want, "{url} {version} {range}: {} bytes", got.len());
            }
            assert!(
                output(&curl, &["-sSf", version, &url]) == bytes,
                "{url} {version}"
            );
        }
        let several = output(&curl, &["-sSf", "-r", "0-9,1000-1009,-10", &url]);
        let mut rest = &several[..];
        for want in [&bytes[..10], &bytes[1000..1010], &bytes[499_990..]] {
            let at = rest.windows(10).position(|ten| ten == want);
            rest = &rest[at.expect("each part, in the order asked for") + 10..];
        }
        assert!(
            rest.starts_with(b"\r\n--") && rest.ends_with(b"--\r\n"),
            "{url}"
        );
    }
}

#[test]
fn curl_gets_the_same_head_for_head_and_for_get() {
    let Some(curl) = find("curl") else { return };
    let stage = Stage::new(&[("film.mp4", noise(100_000))]);
    for url in stage.urls(0) {
        for version in ["--http1.1", "--http1.0"] {
            let heads = [
                text(&curl, &["-sS", version, "-I", &url]),
                text(&curl, &["-sS", version, "-D", "-", "-o", "/dev/null", &url]),
            ];
            let [head, get] = heads.map(|head| {
                head.lines()
                    .filter(|line| !line.starts_with("Date:"))
                    .map(|line| format!("{line}\n"))
                    .collect::<String>()
            });
            assert_eq!(head, get, "{url}");
            assert!(
                head.contains("Content-Length: 100000") && head.contains("Accept-Ranges: bytes")
            );
            assert!(!head.contains("Transfer-Encoding"), "{head}");
            assert_eq!(
                head.contains("Connection: close"),
                version == "--http1.0",
                "{head}"
            );
        }
    }
}

#[test]
fn curl_uploads_nothing_without_the_token_or_to_drive() {
    let Some(curl) = find("curl") else { return };
    let stage = Stage::new(&[("film.mp4", noise(5_000_000))]);
    let upload = stage.file(0);
    let stranger = (
        "HTTP/1.1 401 Unauthorized",
        "\r\nWWW-Authenticate: Bearer realm=\"rill\"\r\n",
    );
    let nowhere = (
        "HTTP/1.1 405 Method Not Allowed",
        "\r\nAllow: GET, HEAD, OPTIONS\r\n",
    );
    for (target, (status, header)) in [
        ("/videos/new.mp4", stranger),
        ("/videos/film.mp4", stranger),
        ("/drive/files/drive-film-mp4", nowhere),
    ] {
        let url = stage.daemon.url(target);
        // With `Expect: 100-continue`, as curl does of itself; without; and of unknown length.
        for extra in [
            &[][..],
            &["-H", "Expect:"],
            &["-H", "Transfer-Encoding: chunked"],
        ] {
            let mut arguments = vec!["-sS", "-T", path(&upload), "-o", "/dev/null", "-D", "-"];
            arguments.extend(["-w", "sent=%{size_upload}"]);
            arguments.extend(extra);
            arguments.push(&url);
            let said = text(&curl, &arguments);
            assert!(said.starts_with(status), "{target}: {said}");
            assert!(
                said.to_lowercase().contains(&header.to_lowercase()),
                "{said}"
            );
            if extra.is_empty() {
                assert!(said.ends_with("sent=0"), "it waited to be asked: {said}");
            }
        }
    }
    let left: Vec<_> = fs::read_dir(stage.daemon.setup().videos())
        .expect("the video folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["film.mp4"]);
    assert_eq!(
        fs::metadata(upload).map(|file| file.len()).ok(),
        Some(5_000_000)
    );
}

#[test]
fn curl_compares_what_it_has() {
    let Some(curl) = find("curl") else { return };
    let mut setup = Setup::new();
    for n in 0..200 {
        setup = setup.video(&format!("a film with a long name, number {n}.mp4"), b"x");
    }
    let daemon = setup.start();
    let list = daemon.url("/api/videos");
    let plain = output(&curl, &["-sSf", &list]);
    let small = text(
        &curl,
        &[
            "-sSf",
            "--compressed",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &list,
        ],
    );
    assert!(output(&curl, &["-sSf", "--compressed", &list]) == plain);
    let small: usize = small.parse().expect("a number");
    assert!(small * 4 < plain.len(), "{small} of {}", plain.len());
    // A tag is of one form: what came compressed is not what comes plain.
    let head = |extra: &str| text(&curl, &["-sSI", extra, &list]);
    let tag = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("ETag: "));
        line.expect("a tag").trim().to_owned()
    };
    let (gzip, identity) = (tag(&head("--compressed")), tag(&head("--http1.1")));
    assert_ne!(gzip, identity);
    let status = |extra: &[&str], url: &str| {
        let mut arguments = vec![
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_download}",
        ];
        arguments.extend(extra);
        arguments.push(url);
        text(&curl, &arguments)
    };
    let known = |tag: &str| format!("If-None-Match: {tag}");
    assert_eq!(
        status(&["--compressed", "-H", &known(&gzip)], &list),
        "304 0"
    );
    assert_eq!(status(&["-H", &known(&identity)], &list), "304 0");
    assert!(status(&["-H", &known(&gzip)], &list).starts_with("200 "));
    // The same with a film and curl's own book-keeping.
    let film = daemon.url("/videos/a%20film%20with%20a%20long%20name%2C%20number%207.mp4");
    let (kept, copy) = (
        daemon.setup().path().join("etag"),
        daemon.setup().path().join("copy"),
    );
    output(
        &curl,
        &[
            "-sSf",
            "-R",
            "--etag-save",
            path(&kept),
            "-o",
            path(&copy),
            &film,
        ],
    );
    assert_eq!(status(&["--etag-compare", path(&kept)], &film), "304 0");
    assert_eq!(status(&["-z", path(&copy)], &film), "304 0");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::options()
        .write(true)
        .open(&copy)
        .expect("the copy");
    file.set_modified(old).expect("a time");
    assert_eq!(status(&["-z", path(&copy)], &film), "200 1");
}

/// Half a minute of a test card with a tone, with the index of its frames first and last.
fn films(ffmpeg: &Path) -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().expect("a temp folder");
    let (front, back) = (
        folder.path().join("front.mp4"),
        folder.path().join("back.mp4"),
    );
    let card = "testsrc2=size=640x360:rate=25:duration=30";
    let tone = "sine=frequency=440:duration=30";
    let mut make = vec![
        "-v", "error", "-f", "lavfi", "-i", card, "-f", "lavfi", "-i", tone,
    ];
    make.extend(["-c:v", "mpeg4", "-b:v", "4M", "-g", "25", "-c:a", "aac"]);
    make.extend(["-movflags", "+faststart", path(&front)]);
    output(ffmpeg, &make);
    output(
        ffmpeg,
        &["-v", "error", "-i", path(&front), "-c", "copy", path(&back)],
    );
    let films = [front, back].map(|film| fs::read(film).expect("what ffmpeg wrote"));
    let index = |film: &[u8]| film.windows(4).position(|four| four == b"moov");
    let [first, last] = [index(&films[0]), index(&films[1])];
    assert!(
        first < Some(1000) && last > Some(1_000_000),
        "{first:?} {last:?}"
    );
    films
}

#[test]
fn ffmpeg_reads_and_seeks_wherever_the_index_is() {
    let (Some(ffmpeg), Some(ffprobe)) = (find("ffmpeg"), find("ffprobe")) else {
        return;
    };
    let [front, back] = films(&ffmpeg);
    let stage = Stage::new(&[("front.mp4", front), ("back.mp4", back)]);
    let facts = |source: &str| {
        let wanted =
            "format=duration,size,nb_streams:stream=codec_name,width,height,nb_frames,duration";
        text(
            &ffprobe,
            &[
                "-v",
                "error",
                "-show_entries",
                wanted,
                "-of",
                "compact",
                source,
            ],
        )
    };
    // One line for each frame with the MD5 of its pixels or samples.
    let frames = |before: &[&str], source: &str, after: &[&str]| {
        let mut arguments = vec!["-v", "error"];
        arguments.extend(before);
        arguments.extend(["-i", source]);
        arguments.extend(after);
        arguments.extend(["-f", "framemd5", "-"]);
        text(&ffmpeg, &arguments)
    };
    let (seek, three) = (["-ss", "21.3"], ["-frames:v", "3"]);
    for n in 0..2 {
        let file = stage.file(n);
        let file = path(&file);
        let (all, some) = (frames(&[], file, &[]), frames(&seek, file, &three));
        assert!(all.lines().count() > 750 + 1000, "every frame is there");
        for url in stage.urls(n) {
            assert_eq!(facts(&url), facts(file), "{url}");
            assert!(frames(&[], &url, &[]) == all, "{url}");
            assert_eq!(frames(&seek, &url, &three), some, "{url}");
            if n == 0 {
                // As a player that knows no ranges.
                assert!(frames(&["-seekable", "0"], &url, &[]) == all, "{url}");
            }
        }
    }
}

#[test]
fn vlc_plays_from_the_middle_to_the_end() {
    let (Some(vlc), Some(ffmpeg), Some(ffprobe)) = (find("cvlc"), find("ffmpeg"), find("ffprobe"))
    else {
        return;
    };
    let [front, back] = films(&ffmpeg);
    let stage = Stage::new(&[("front.mp4", front), ("back.mp4", back)]);
    let folder = tempfile::tempdir().expect("a temp folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its mode");
    for n in 0..2 {
        for (m, url) in stage.urls(n).iter().enumerate() {
            // What it would show it writes instead.
            let seen = folder.path().join(format!("{n}{m}.ts"));
            let sink = format!("#std{{access=file,mux=ts,dst={}}}", seen.display());
            let mut command = Command::new("timeout");
            command
                .args(["--kill-after=5", "120"])
                .arg(&vlc)
                .args(["-I", "dummy", "-q", "--sout", &sink, "--start-time", "20"])
                .args(["--play-and-exit", url, "vlc://quit"])
                .env("HOME", folder.path())
                .stdin(Stdio::null());
            // It will not run as root.
            if rustix::process::geteuid().is_root() {
                command.gid(65534).uid(65534);
            }
            let ran = command.output().expect("timeout is part of every system");
            let log = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success() && seen.exists(), "{url}: {log}");
            let said = text(
                &ffprobe,
                &[
                    "-v",
                    "error",
                    "-count_packets",
                    "-select_streams",
                    "v",
                    "-show_entries",
                    "stream=nb_read_packets",
                    "-of",
                    "csv=p=0",
                    path(&seen),
                ],
            );
            // Ten of thirty seconds at 25 frames each, from the key frame before.
            let frames: u32 = said
                .lines()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            assert!(
                (225..=285).contains(&frames),
                "{url}: {frames} frames\n{log}"
            );
        }
    }
}

/// nginx over a folder, as Debian ships it.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(program: &Path, videos: &Path) -> Nginx {
        let folder = tempfile::tempdir().expect("a temp folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        // A port that was free a moment ago; nginx cannot choose one.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = address.expect("a free port");
        let user = match rustix::process::geteuid().is_root() {
            true => "user root;",
            false => "",
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", at(name)))
            .concat();
        let config = format!(
            "{user} daemon off; pid {}; error_log {} crit;\nevents {{}}\nhttp {{ access_log off; sendfile on;\n\
             types {{ video/mp4 mp4; }}\n{temporary}\
             server {{ listen {address}; location /videos/ {{ alias {}/; }} }} }}\n",
            at("pid"),
            at("error"),
            videos.display(),
        );
        fs::write(folder.path().join("conf"), config).expect("a file in the temp folder");
        let child = Command::new(program)
            .args(["-e", &at("error"), "-c", &at("conf")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let up = || std::net::TcpStream::connect(address).is_ok();
        assert!(eventually(Duration::from_secs(10), up), "nginx listens");
        Nginx {
            child,
            address,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with their master only when that is asked nicely.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Method, target, headers.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn nginx_would_have_said_the_same() {
    let Some(nginx) = find("nginx") else { return };
    let daemon = Setup::new()
        .video("a.mp4", &noise(300_000))
        .video("empty.mp4", b"")
        .video("a name, (with) 'all' sorts & é.mp4", b"0123456789")
        .start();
    let nginx = Nginx::start(&nginx, &daemon.setup().videos());
    let when = daemon.get("/videos/a.mp4");
    let when = when.header("last-modified").expect("a time").to_owned();
    let odd = "/videos/a%20name%2c%20%28with%29%20%27all%27%20sorts%20%26%20%C3%A9.mp4";
    let old = "Sat, 01 Jan 2000 00:00:00 GMT";
    let cases: &[Case<'_>] = &[
        ("GET", "/videos/a.mp4", &[]),
        ("HEAD", "/videos/a.mp4", &[]),
        ("GET", "/videos/empty.mp4", &[]),
        ("HEAD", "/videos/empty.mp4", &[]),
        ("GET", odd, &[]),
        ("GET", "/videos/a.mp4?anything=1&t=2", &[]),
        ("GET", "/videos/%61.mp4", &[]),
        ("GET", "/videos/none.mp4", &[]),
        ("GET", "/videos/a.mp4/", &[]),
        ("GET", "/videos/A.mp4", &[]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=0-")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=0-1")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=299999-")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=299999-900000")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=-1")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=-900000")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=-0")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=300000-")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=300000-300001")]),
        ("GET", "/videos/a.mp4", &[("Range", "bytes=0-0, 300000-")]),
        ("GET", "/videos/a.mp4", &[("Range", "items=0-1")]),
        (
            "GET",
            "/videos/a.mp4",
            &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")],
        ),
        (
            "GET",
            "/videos/a.mp4",
            &[("Range", "bytes=0-1"), ("If-Range", &when)],
        ),
        (
            "GET",
            "/videos/a.mp4",
            &[("Range", "bytes=0-1"), ("If-Range", old)],
        ),
        ("GET", "/videos/a.mp4", &[("If-Modified-Since", &when)]),
        ("HEAD", "/videos/a.mp4", &[("If-Modified-Since", &when)]),
        ("GET", "/videos/a.mp4", &[("If-Modified-Since", old)]),
        ("GET", "/videos/a.mp4", &[("If-Unmodified-Since", old)]),
        ("GET", "/videos/a.mp4", &[("If-Unmodified-Since", &when)]),
        (
            "GET",
            "/videos/a.mp4",
            &[("If-None-Match", "\"other\", W/\"more\"")],
        ),
        ("GET", "/videos/a.mp4", &[("If-None-Match", "*")]),
        ("GET", "/videos/a.mp4", &[("If-Match", "*")]),
        ("GET", "/videos/a.mp4", &[("If-Match", "\"other\"")]),
        ("PATCH", "/videos/a.mp4", &[("Content-Length", "0")]),
    ];
    let mut ours = daemon.client();
    for (method, target, headers) in cases {
        let got = ours.request(method, target, headers);
        let want = Client::connect(nginx.address).request(method, target, headers);
        let case = format!(
            "{method} {target} {headers:?}\n{:?}\n{:?}",
            got.head, want.head
        );
        assert_eq!(got.status(), want.status(), "{case}");
        for name in ["Content-Range", "Last-Modified"] {
            // nginx leaves the validators of a refusal out.
            if want.header(name).is_some() {
                assert_eq!(got.header(name), want.header(name), "{case}");
            }
        }
        if got.status() < 300 {
            assert_eq!(
                got.header("content-length"),
                want.header("content-length"),
                "{case}"
            );
            assert_eq!(
                got.header("content-type"),
                want.header("content-type"),
                "{case}"
            );
            assert!(got.body == want.body, "{case}");
        }
        // It stays open for the next, as all these leave it.
        assert_eq!(got.header("connection"), None, "{case}");
    }
    // Two parts and more: the same but for the boundary, and for the line that nginx puts before the first.
    for range in [
        "bytes=0-0,-1",
        "bytes=0-9,100-109,299990-",
        "bytes=10-19,0-9",
    ] {
        let inner = |response: &crate::support::client::Response| {
            let kind = response
                .header("content-type")
                .unwrap_or_default()
                .to_owned();
            let boundary = kind
                .split_once("boundary=")
                .map(|(_, boundary)| boundary.to_owned());
            let boundary = boundary.expect("a boundary");
            let body = String::from_utf8_lossy(&response.body).replace(&boundary, "BOUNDARY");
            body.trim_start().to_owned()
        };
        let got = ours.request("GET", "/videos/a.mp4", &[("Range", range)]);
        let want = Client::connect(nginx.address).get_range("/videos/a.mp4", range);
        assert_eq!((got.status(), want.status()), (206, 206), "{range}");
        assert_eq!(inner(&got), inner(&want), "{range}");
    }
}
