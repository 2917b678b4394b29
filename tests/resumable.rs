//! Uploads by tus 1.0: the protocol byte by byte, kills and broken connections, and the client that people use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup, eventually, names};
use crate::support::media;

const VERSION: (&str, &str) = ("Tus-Resumable", "1.0.0");
const BYTES: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// `Film.mp3`, `text.mp4` and `../..` in base64.
const SONG: &str = "filename RmlsbS5tcDM=,filetype YXVkaW8vbXBlZw==";
const TEXT: &str = "filename dGV4dC5tcDQ=";

/// A client with the admin's token.
struct Tus<'a> {
    daemon: &'a Daemon,
    admin: String,
}

impl<'a> Tus<'a> {
    fn new(daemon: &'a Daemon) -> Tus<'a> {
        Tus {
            daemon,
            admin: daemon.admin(),
        }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut client = self.begin(method, target, headers, body.len());
        client.send(body).expect("sent");
        client.response(method)
    }

    fn begin(&self, method: &str, target: &str, headers: &[(&str, &str)], length: usize) -> Client {
        let length = length.to_string();
        let mut all = vec![
            ("Authorization", &*self.admin),
            VERSION,
            ("Content-Length", &*length),
        ];
        all.extend(headers);
        let mut client = self.daemon.client();
        client.ask(method, target, &all);
        client
    }

    /// Begins an upload; its URL.
    fn create(&self, length: usize, metadata: &str) -> String {
        let length = length.to_string();
        let headers = [("Upload-Length", &*length), ("Upload-Metadata", metadata)];
        let response = self.ask("POST", "/api/uploads", &headers, b"");
        assert_eq!(response.status(), 201, "{}", response.text());
        assert!(
            response
                .header("upload-expires")
                .is_some_and(|date| date.ends_with("GMT"))
        );
        response.header("location").expect("a URL").to_owned()
    }

    fn patch(&self, url: &str, offset: usize, body: &[u8]) -> Response {
        let offset = offset.to_string();
        self.ask("PATCH", url, &[BYTES, ("Upload-Offset", &offset)], body)
    }

    fn offset(&self, url: &str) -> usize {
        let response = self.ask("HEAD", url, &[], b"");
        assert_eq!(response.status(), 200);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let offset = response.header("upload-offset").expect("an offset");
        offset.parse().expect("a number")
    }
}

/// How an upload stands, as GET tells it.
fn json(daemon: &Daemon, url: &str) -> serde_json::Value {
    Tus::new(daemon).ask("GET", url, &[], b"").json()
}

#[test]
fn what_is_spoken_here() {
    let daemon = Setup::new().set("limits", "upload", "\"1MiB\"").start();
    let tus = Tus::new(&daemon);
    let response = daemon.client().request(
        "OPTIONS",
        "/api/uploads",
        &[("Origin", "http://localhost:3000")],
    );
    assert_eq!(response.status(), 204);
    for (name, want) in [
        ("tus-version", "1.0.0"),
        ("tus-resumable", "1.0.0"),
        (
            "tus-extension",
            "creation,creation-with-upload,expiration,checksum,termination",
        ),
        ("tus-max-size", "1048576"),
        ("tus-checksum-algorithm", "sha1,sha256,sha512"),
    ] {
        assert_eq!(response.header(name), Some(want), "{name}");
    }
    let sendable = response
        .header("access-control-allow-headers")
        .unwrap_or_default()
        .to_owned();
    for name in [
        "Upload-Offset",
        "Upload-Length",
        "Upload-Metadata",
        "Tus-Resumable",
        "Upload-Checksum",
    ] {
        assert!(sendable.contains(name), "{sendable}");
    }
    // Each refusal has its status and the version.
    let admin = ("Authorization", &*tus.admin);
    let refused = |headers: &[(&str, &str)]| {
        let mut all = vec![admin];
        all.extend(headers);
        let response = daemon.client().request("POST", "/api/uploads", &all);
        assert_eq!(response.header("tus-resumable"), Some("1.0.0"));
        (response.status(), response.code())
    };
    let length = ("Upload-Length", "10");
    let named = ("Upload-Metadata", SONG);
    assert_eq!(refused(&[length, named]), (412, "tus_version".to_owned()));
    assert_eq!(
        refused(&[("Tus-Resumable", "0.2.2"), length, named]),
        (412, "tus_version".to_owned())
    );
    assert_eq!(
        refused(&[VERSION, named]),
        (400, "missing_length".to_owned())
    );
    assert_eq!(
        refused(&[VERSION, ("Upload-Length", "-1"), named]),
        (400, "malformed_header".to_owned())
    );
    assert_eq!(
        refused(&[VERSION, length]),
        (400, "missing_name".to_owned())
    );
    assert_eq!(
        refused(&[VERSION, ("Upload-Length", "1048577"), named]),
        (413, "payload_too_large".to_owned())
    );
    assert_eq!(
        refused(&[VERSION, length, ("Upload-Metadata", "filename YS5leGU=")]),
        (415, "unsupported_type".to_owned())
    );
    let unknown = "/api/uploads/00000000000000000000000000000000";
    assert_eq!(tus.ask("HEAD", unknown, &[], b"").status(), 404);
    assert_eq!(tus.patch(unknown, 0, b"x").code(), "upload_not_found");
    assert_eq!(
        tus.ask("DELETE", unknown, &[], b"").code(),
        "upload_not_found"
    );
    assert!(names(&daemon.setup().videos()).is_empty());
}

#[test]
fn a_file_comes_in_pieces_and_is_there() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let tus = Tus::new(&daemon);
    let song = media::bytes("tone.mp3");
    let url = tus.create(song.len(), SONG);
    assert_eq!(tus.offset(&url), 0);
    let head = tus.ask("HEAD", &url, &[], b"");
    assert_eq!(head.header("upload-metadata"), Some(SONG));
    assert_eq!(head.header("upload-length"), Some(&*song.len().to_string()));
    let response = tus.patch(&url, 0, &song[..1000]);
    assert_eq!(
        (response.status(), response.header("upload-offset")),
        (204, Some("1000"))
    );
    let response = tus.patch(&url, 999, &song[999..]);
    assert_eq!(
        (response.status(), response.code()),
        (409, "offset_mismatch".to_owned())
    );
    assert_eq!(response.json()["offset"], 1000);
    let response = tus.ask("PATCH", &url, &[("Upload-Offset", "1000")], &song[1000..]);
    assert_eq!(
        (response.status(), response.code()),
        (415, "not_an_upload".to_owned())
    );
    let response = tus.patch(&url, 1000, &[&song[1000..], b"more"].concat());
    assert_eq!(response.status(), 413);
    assert_eq!(tus.offset(&url), 1000);
    // For whoever may send nothing but POST.
    let headers = [
        BYTES,
        ("Upload-Offset", "1000"),
        ("X-HTTP-Method-Override", "PATCH"),
    ];
    let response = tus.ask("POST", &url, &headers, &song[1000..2000]);
    assert_eq!(
        (response.status(), response.header("upload-offset")),
        (204, Some("2000"))
    );
    assert_eq!(tus.ask("POST", &url, &[], b"").status(), 405);
    let response = tus.patch(&url, 2000, &song[2000..]);
    assert_eq!(response.status(), 204, "{}", response.text());
    assert_eq!(tus.offset(&url), song.len());
    // Once more: its answer was lost, say.
    assert_eq!(tus.patch(&url, song.len(), b"").status(), 204);
    let told = tus.ask("GET", &url, &[], b"").json();
    assert_eq!(
        (&told["file"]["status"], &told["file"]["url"]),
        (&201.into(), &"/videos/Film.mp3".into()),
        "{told}"
    );
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
    assert_eq!(daemon.get("/videos/Film.mp3").body, song);
    // What became of it outlives the upload.
    assert_eq!(tus.ask("DELETE", &url, &[], b"").status(), 204);
    assert_eq!(tus.ask("HEAD", &url, &[], b"").status(), 404);
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
}

#[test]
fn a_file_comes_with_its_creation_and_is_judged_by_content() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let tus = Tus::new(&daemon);
    let song = media::bytes("tone.mp3");
    let length = song.len().to_string();
    let headers = [
        BYTES,
        ("Upload-Length", &*length),
        ("Upload-Metadata", SONG),
    ];
    let response = tus.ask("POST", "/api/uploads", &headers, &song);
    assert_eq!(
        (response.status(), response.header("upload-offset")),
        (201, Some(&*length))
    );
    let headers = [BYTES, ("Upload-Length", "4"), ("Upload-Metadata", TEXT)];
    let response = tus.ask("POST", "/api/uploads", &headers, b"text");
    assert_eq!(
        (response.status(), response.code()),
        (415, "not_media".to_owned())
    );
    let headers = [("Upload-Length", "0"), ("Upload-Metadata", TEXT)];
    assert_eq!(tus.ask("POST", "/api/uploads", &headers, b"").status(), 415);
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
    // One that waits, and is given up.
    let url = tus.create(100, SONG);
    assert_eq!(names(&daemon.setup().videos()).len(), 2);
    assert_eq!(tus.ask("DELETE", &url, &[], b"").status(), 204);
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
}

#[test]
fn checksums_keep_out_what_was_garbled() {
    let daemon = Setup::new().start();
    let tus = Tus::new(&daemon);
    let url = tus.create(100, SONG);
    let patch = |offset: &str, sum: &str, body: &[u8]| {
        tus.ask(
            "PATCH",
            &url,
            &[BYTES, ("Upload-Offset", offset), ("Upload-Checksum", sum)],
            body,
        )
    };
    let right = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="; // of "hello world"
    let response = patch("0", right, b"hello WORLD");
    assert_eq!(
        (response.status(), response.code()),
        (460, "checksum_mismatch".to_owned())
    );
    assert_eq!(tus.offset(&url), 0);
    assert_eq!(
        patch("0", "crc32 AAAA", b"hello world").code(),
        "checksum_algorithm"
    );
    let response = patch("0", right, b"hello world");
    assert_eq!(
        (response.status(), response.header("upload-offset")),
        (204, Some("11"))
    );
    let sha256 = "sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
    assert_eq!(patch("11", sha256, b"hello world").status(), 204);
    // Half of it says nothing about its checksum: none of it counts.
    let headers = [BYTES, ("Upload-Offset", "22"), ("Upload-Checksum", right)];
    let mut client = tus.begin("PATCH", &url, &headers, 11);
    client.send("hello").expect("sent");
    client.finish();
    assert_eq!(client.response("PATCH").code(), "body_cut_short");
    assert_eq!(tus.offset(&url), 22);
}

#[test]
fn one_writes_at_a_time_and_who_says_nothing_must_let_go() {
    let daemon = Setup::new().start();
    let tus = Tus::new(&daemon);
    let url = tus.create(1 << 20, SONG);
    let mut first = tus.begin("PATCH", &url, &[BYTES, ("Upload-Offset", "0")], 1 << 20);
    first.send(vec![7; 1000]).expect("sent");
    // At an offset that is wrong: when nobody holds it, nothing is written.
    let locked = || tus.patch(&url, 5, b"x").status() == 423;
    assert!(eventually(Duration::from_secs(20), locked));
    assert_eq!(tus.ask("DELETE", &url, &[], b"").code(), "upload_locked");
    // The first has gone away without a word; whoever comes back gets what it had sent.
    let began = Instant::now();
    let came = || tus.offset(&url) == 1000;
    assert!(
        eventually(Duration::from_secs(40), came),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(tus.patch(&url, 1000, &[8; 24]).status(), 204);
    assert_eq!(tus.offset(&url), 1024);
}

#[test]
fn what_a_broken_connection_brought_is_kept() {
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let tus = Tus::new(&daemon);
    let song = media::bytes("tone.mp3");
    let url = tus.create(song.len(), SONG);
    let mut at = 0;
    while at + 20_000 < song.len() {
        let offset = at.to_string();
        let mut client = tus.begin(
            "PATCH",
            &url,
            &[BYTES, ("Upload-Offset", &offset)],
            song.len() - at,
        );
        client.send(&song[at..at + 20_000]).expect("sent");
        client.finish();
        assert_eq!(client.response("PATCH").code(), "body_cut_short");
        at += 20_000;
        assert_eq!(tus.offset(&url), at);
    }
    assert_eq!(tus.patch(&url, at, &song[at..]).status(), 204);
    assert_eq!(daemon.get("/videos/Film.mp3").body, song);
}

#[test]
fn an_upload_survives_a_kill_of_the_daemon() {
    let mut daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    // Large enough that some of it is synced on the way; behind the music is nothing that matters.
    let mut song = media::bytes("tone.mp3");
    song.resize(song.len() + (80 << 20), 0);
    let url = Tus::new(&daemon).create(song.len(), SONG);
    let mut at = 0;
    for kill in 0..3 {
        let tus = Tus::new(&daemon);
        let offset = at.to_string();
        let mut client = tus.begin(
            "PATCH",
            &url,
            &[BYTES, ("Upload-Offset", &offset)],
            song.len() - at,
        );
        let end = (at + (39 << 20)).min(song.len() - 1);
        client.send(&song[at..end]).expect("sent");
        if kill == 1 {
            // Once all of that is acknowledged, none of it may be lost.
            client.finish();
            assert_eq!(client.response("PATCH").code(), "body_cut_short");
            assert_eq!(tus.offset(&url), end);
        }
        daemon = daemon.restart();
        let tus = Tus::new(&daemon);
        let known = tus.offset(&url);
        assert!(known >= at && known <= end, "{at} <= {known} <= {end}");
        assert!(kill != 1 || known == end, "{known} of {end}");
        at = known;
    }
    assert!(at > 32 << 20, "{at}: nothing was noted on the way");
    daemon.wait_for_ffmpeg();
    let tus = Tus::new(&daemon);
    let response = tus.patch(&url, at, &song[at..]);
    assert_eq!(response.status(), 204, "{}", response.text());
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
    assert!(daemon.get("/videos/Film.mp3").body == song);
}

/// Whoever sent all of it asks no more, and HEAD says that nothing is missing.
#[test]
fn an_upload_that_was_whole_at_a_kill_is_there_after_it() {
    let setup = Setup::new();
    let (probe, hangs) = (setup.path().join("ffprobe"), setup.path().join("hangs"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -version ] || while [ -e {} ]; do sleep 0.1; done\nexec ffprobe \"$@\"\n",
        hangs.display()
    );
    fs::write(&probe, script).expect("a script");
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(&hangs, "").expect("a file");
    let daemon = setup
        .set("ffmpeg", "ffprobe", &format!("{probe:?}"))
        .start();
    daemon.wait_for_ffmpeg();
    let song = media::bytes("tone.mp3");
    let tus = Tus::new(&daemon);
    let url = tus.create(song.len(), SONG);
    let mut client = tus.begin("PATCH", &url, &[BYTES, ("Upload-Offset", "0")], song.len());
    client.send(&song).expect("sent");
    let whole = || json(&daemon, &url)["offset"] == song.len();
    assert!(eventually(Duration::from_secs(60), whole));
    // Where there is no clock, it is another year after a restart.
    set_expiry(&daemon, &url, 1);
    let daemon = daemon.restart();
    fs::remove_file(hangs).expect("a file");
    let there = || names(&daemon.setup().videos()) == ["Film.mp3"];
    assert!(
        eventually(Duration::from_secs(60), there),
        "{:?}",
        names(&daemon.setup().videos())
    );
    let told = json(&daemon, &url);
    assert_eq!(told["file"]["url"], "/videos/Film.mp3", "{told}");
}

/// Has an upload end at a time in seconds since 1970: as if the clock had been set.
fn set_expiry(daemon: &Daemon, url: &str, expires: i64) {
    let database = daemon.setup().path().join("state/rill.db");
    let connection = rusqlite::Connection::open(database).expect("the database");
    let change = "UPDATE upload SET expires = ?2 WHERE id = ?1";
    let changed = connection.execute(change, rusqlite::params![id(url), expires]);
    assert_eq!(changed, Ok(1));
}

fn id(url: &str) -> String {
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A Pi has no clock while it is off: it boots with a wrong one, which is set when the network is there.
#[test]
fn a_clock_that_jumps_loses_no_upload() {
    let daemon = Setup::new().start();
    let tus = Tus::new(&daemon);
    let song = media::bytes("tone.mp3");
    let url = tus.create(song.len(), SONG);
    assert_eq!(tus.patch(&url, 0, &song[..500]).status(), 204);
    set_expiry(&daemon, &url, 1);
    assert_eq!(tus.offset(&url), 500);
    assert_eq!(tus.patch(&url, 500, &song[500..900]).status(), 204);
    let mut daemon = daemon;
    let ten_years = std::time::SystemTime::now() + Duration::from_secs(10 * 365 * 24 * 60 * 60);
    let ten_years = ten_years
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    for expires in [1, i64::try_from(ten_years.as_secs()).expect("it fits")] {
        set_expiry(&daemon, &url, expires);
        // What belongs to no upload tells when the parts have been looked through.
        let stray = daemon
            .setup()
            .videos()
            .join(format!(".rill-upload-{}.part", "a".repeat(32)));
        fs::write(&stray, b"x").expect("a file");
        daemon = daemon.restart();
        assert!(
            eventually(Duration::from_secs(60), || !stray.exists()),
            "{}",
            daemon.log()
        );
        assert_eq!(Tus::new(&daemon).offset(&url), 900);
    }
    daemon.wait_for_ffmpeg();
    let response = Tus::new(&daemon).patch(&url, 900, &song[900..]);
    assert_eq!(response.status(), 204, "{}", response.text());
    assert_eq!(names(&daemon.setup().videos()), ["Film.mp3"]);
}

/// What nobody can go on with leaves nothing on the disk.
#[test]
fn an_upload_that_is_forgotten_leaves_no_bytes() {
    let daemon = Setup::new().start();
    let tus = Tus::new(&daemon);
    let (left, kept) = (tus.create(1000, SONG), tus.create(1000, SONG));
    assert_eq!(tus.patch(&left, 0, &[0; 500]).status(), 204);
    assert_eq!(tus.patch(&kept, 0, &[0; 400]).status(), 204);
    let database = daemon.setup().path().join("state/rill.db");
    let connection = rusqlite::Connection::open(database).expect("the database");
    let forgotten = connection.execute("DELETE FROM upload WHERE id = ?1", [id(&left)]);
    assert_eq!(forgotten, Ok(1));
    drop(connection);
    assert_eq!(tus.ask("HEAD", &left, &[], b"").status(), 404);
    assert_eq!(tus.patch(&left, 500, &[0; 500]).status(), 404);
    let daemon = daemon.restart();
    let alone = format!(".rill-upload-{}.part", id(&kept));
    assert!(
        eventually(Duration::from_secs(30), || names(&daemon.setup().videos())
            == [&*alone]),
        "{:?}",
        names(&daemon.setup().videos())
    );
    assert_eq!(Tus::new(&daemon).offset(&kept), 400);
}

#[test]
fn open_uploads_are_bounded_and_promised_their_space() {
    let daemon = Setup::new()
        .set("limits", "free_space", "\"1000TiB\"")
        .start();
    let tus = Tus::new(&daemon);
    let headers = [("Upload-Length", "10"), ("Upload-Metadata", SONG)];
    assert_eq!(tus.ask("POST", "/api/uploads", &headers, b"").status(), 507);
    let daemon = Setup::new().start();
    let tus = Tus::new(&daemon);
    for _ in 0..64 {
        tus.create(10, SONG);
    }
    let response = tus.ask("POST", "/api/uploads", &headers, b"");
    assert_eq!(
        (response.status(), response.code()),
        (503, "too_many_uploads".to_owned())
    );
    assert_eq!(names(&daemon.setup().videos()).len(), 64);
}

/// A Python with `tuspy`, in the target folder, so that it is made once.
fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuspy");
    let python = place.join("bin/python");
    let has_it = |python: &Path| {
        Command::new(python)
            .args(["-c", "import tusclient.client"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    // Each test is a process of its own: one makes it, the others wait for it.
    let lock = fs::File::create(place.with_extension("lock")).expect("the target folder is ours");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    if has_it(&python) {
        return python;
    }
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| {
            panic!(
                "{}: {error}; install python3-venv and python3-pip, as `tests/run` does",
                program.display()
            )
        });
        assert!(
            output.status.success(),
            "{} {arguments:?} failed; install python3-venv and python3-pip, as `tests/run` does: {}{}",
            program.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let target = place.to_str().expect("a path in UTF-8");
    run(Path::new("python3"), &["-m", "venv", "--clear", target]);
    run(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "tuspy==1.1.0",
        ],
    );
    assert!(
        has_it(&python),
        "tuspy was installed and cannot be imported"
    );
    python
}

/// Uploads a file in pieces of 256 KiB; killed, it goes on where it was, by the URL that it kept in a file.
const UPLOAD: &str = r#"
import sys
from tusclient import client
from tusclient.storage import filestorage
url, token, path, kept = sys.argv[1:5]
tus = client.TusClient(url, headers={"Authorization": token})
storage = filestorage.FileStorage(kept)
uploader = tus.uploader(path, chunk_size=256 * 1024, metadata={"filename": "Film \u00e9.mp3"},
                        store_url=True, url_storage=storage, retries=10, retry_delay=1, upload_checksum=len(sys.argv) > 5)
print(uploader.offset, flush=True)
while uploader.offset < uploader.get_file_size():
    uploader.upload_chunk()
    print(uploader.offset, flush=True)
"#;

#[test]
fn tuspy_is_killed_and_goes_on() {
    use std::io::{BufRead, BufReader};

    let python = python();
    let mut daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let folder = tempfile::tempdir().expect("a folder");
    let mut song = media::bytes("tone.mp3");
    song.resize(song.len() + (12 << 20), 0);
    let path = folder.path().join("song.mp3");
    fs::write(&path, &song).expect("written");
    let upload = |daemon: &Daemon| {
        Command::new(&python)
            .args(["-c", UPLOAD, &daemon.url("/api/uploads"), &daemon.admin()])
            .arg(&path)
            .arg(folder.path().join("urls.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts")
    };
    // The client, killed twice; what it goes on from is what it had sent, but for the piece that was under way.
    let mut before = 0;
    for _ in 0..2 {
        let mut child = upload(&daemon);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut next = || -> u64 {
            let line = lines.next().expect("a line").expect("text");
            line.parse().expect("an offset")
        };
        let begin = next();
        assert!(begin >= before, "{begin} after {before}");
        for _ in 0..12 {
            before = next();
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    assert!(before > 5 << 20);
    // The daemon, killed under the client. Its port is another then, and the URL that the client keeps with it.
    let port = daemon.address.port().to_string();
    daemon = daemon.restart();
    daemon.wait_for_ffmpeg();
    let kept = folder.path().join("urls.json");
    let urls = fs::read_to_string(&kept).expect("the URLs");
    let moved = urls.replace(
        &format!(":{port}/"),
        &format!(":{}/", daemon.address.port()),
    );
    fs::write(&kept, moved).expect("written");
    let output = upload(&daemon).wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin: u64 = said
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("an offset");
    assert!(begin >= before, "{begin} after {before}");
    assert_eq!(names(&daemon.setup().videos()), ["Film é.mp3"]);
    assert!(daemon.get("/videos/Film%20%C3%A9.mp3").body == song);
}

#[test]
fn tuspy_sends_checksums() {
    let python = python();
    let daemon = Setup::new().start();
    daemon.wait_for_ffmpeg();
    let folder = tempfile::tempdir().expect("a folder");
    let mut song = media::bytes("tone.mp3");
    song.resize(song.len() + (1 << 20), 0);
    let path = folder.path().join("song.mp3");
    fs::write(&path, &song).expect("written");
    let output = Command::new(&python)
        .args(["-c", UPLOAD, &daemon.url("/api/uploads"), &daemon.admin()])
        .arg(&path)
        .arg(folder.path().join("urls.json"))
        .arg("checksums")
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(daemon.get("/videos/Film%20%C3%A9.mp3").body == song);
}
