//! Trees and catalogs that nobody would make on purpose, or only to do harm: what is kept of them, and at what cost.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::catalog::TINY as SMALL;
use crate::support::course_tree::{CourseTree, TINY};
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind};
use crate::support::scan::{self, SOON, catalog};

const LATE: Duration = Duration::from_secs(120);

/// Resident memory that nothing here may pass; the program is built for debugging.
const MEMORY: u64 = 200 << 20;

fn bytes(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

#[test]
fn a_folder_of_this_disk_that_means_harm() {
    let setup = Setup::new().env("RILL_TEST_SCAN_PAUSE_MS", "200");
    let root = setup.path().join("courses");
    let write = |path: &Path| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, b"x").expect("a file");
    };
    // Names of 255 bytes, with line ends, quotes, marks that turn text, escapes for a terminal, and no UTF-8.
    let longest = format!("1. {}.mp4", "ñ".repeat(124));
    assert_eq!(longest.len(), 255);
    let names = [
        longest.as_str(),
        "2. line\nend\r\t.mp4",
        "3. \u{202e}\u{1f600} \"quoted\" 'x' \\ <b>&amp;.mp4",
        "4. \x1b[2J\x07.mp4",
        "5. ?#%2e%2e%00.mp4",
    ];
    for name in names {
        write(&Path::new("Odd \u{1f600} names").join(name));
    }
    write(&bytes(b"Odd \xf0\x9f\x98\x80 names").join(bytes(b"6. \xff\xfe.mp4")));
    // Fifty folders deep, and circles.
    write(&Path::new(&["d"; 50].join("/")).join("1. x.mp4"));
    std::os::unix::fs::symlink("..", root.join("d/d/up")).expect("a link");
    std::os::unix::fs::symlink("self", root.join("d/self")).expect("a link");
    std::os::unix::fs::symlink("nowhere", root.join("d/nowhere")).expect("a link");
    std::os::unix::fs::symlink("/", root.join("d/root")).expect("a link");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        root.join("d/1. pipe.mp4"),
        rustix::fs::Mode::RUSR,
    )
    .expect("a pipe");
    let pit = root.join("Pit");
    std::fs::create_dir(&pit).expect("a folder");
    for n in 0..100_000 {
        std::fs::write(pit.join(format!("clip {n}.mp4")), b"").expect("a file");
    }
    let daemon = setup
        .set(
            "library",
            "courses",
            &format!("{:?}", root.to_string_lossy()),
        )
        .start();
    let began = Instant::now();
    let courses = || daemon.health()["catalog"]["courses"].as_u64();
    assert!(
        eventually(LATE, || courses() >= Some(2)),
        "{}",
        daemon.log()
    );
    let found = catalog(daemon.setup()).expect("a catalog");
    let odd = scan::course(&found, "Odd \u{1f600} names");
    let classes = odd["modules"][0]["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), names.len(), "{classes:?}");
    assert!(daemon.log().contains("1 names in"), "{}", daemon.log());
    let escape = daemon.log().contains('\x1b');
    assert!(!escape, "{}", daemon.log());
    let pit = scan::course(&found, "Pit");
    let kept = pit["classCount"].as_u64();
    assert!(kept > Some(10_000), "{kept:?}");
    assert_eq!(found["scan"]["cutShort"], true);
    // Each can be asked for, and its file played.
    for class in classes {
        let reference = class["files"]["video"].as_str().expect("a reference");
        let path = reference.strip_prefix("local:").expect("a local one");
        let url = path
            .bytes()
            .fold(String::from("/courses/files/"), |url, byte| match byte {
                b'/' => url + "/",
                byte => format!("{url}%{byte:02x}"),
            });
        assert_eq!(daemon.get(&url).text(), "x", "{url}");
    }
    assert_eq!(daemon.get("/api/course-detail/0/pit/0").status(), 200);
    assert_eq!(daemon.get("/course/0/pit/0?page=99999").status(), 200);
    let page = daemon.get("/watch/0/pit/0/0/9999");
    assert_eq!(page.status(), 200);
    assert!(daemon.get("/api/search?q=clip+77").status() == 200);
    assert!(
        daemon.peak_rss() < MEMORY,
        "{} MiB",
        daemon.peak_rss() >> 20
    );
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

#[test]
fn a_folder_of_drive_that_means_harm() {
    let fake = FakeDrive::start();
    let mut tree = CourseTree::of(TINY);
    let mut deep = 0;
    for n in 0..50 {
        deep = tree.folder(deep, &format!("deep {n}"));
    }
    tree.class(deep, 1);
    let odd = tree.folder(0, "a/b \u{1f600}\n'or' 'x' in parents");
    for name in [
        "1. a/b.mp4",
        "1. a/b.mp4",
        "2. line\nend.mp4",
        "3. .mp4",
        "4. \"q\" \\ 'q'.mp4",
        "..",
        "",
    ] {
        tree.file(odd, name);
    }
    tree.file(odd, &format!("5. {}.mp4", "é".repeat(4000)));
    let pit = tree.folder(0, "Pit");
    for n in 0..20_000 {
        tree.file(pit, &format!("{}. clip {n}.mp4", n % 3));
    }
    tree.put(&fake);
    let category = tree.find("Categoría 1").id.clone();
    let folder = "application/vnd.google-apps.folder";
    for (id, to) in [
        ("1ShortcutToTheRoot", tree.root()),
        ("1ShortcutToItself0", "1ShortcutToItself0"),
        ("1ShortcutToNowhere", "1NowhereAtAll12"),
        ("1ShortcutToSibling", &tree.find("Categoría 2").id),
    ] {
        fake.add(File::shortcut_to(id, id, to, folder).within(&category));
    }
    // One that goes while it is listed.
    let trashed = tree.find("Categoría 2/Curso 2 de Programación/1. Módulo 1");
    fake.on(Kind::List)
        .file(&trashed.id)
        .refuses(404, "notFound");
    let setup = scan::of_root(&fake, tree.root());
    let daemon = setup.start();
    let courses = || daemon.health()["catalog"]["courses"].as_u64();
    assert!(
        eventually(LATE, || courses() >= Some(6)),
        "{}",
        daemon.log()
    );
    let found = catalog(daemon.setup()).expect("a catalog");
    let odd = scan::course(&found, "a/b \u{1f600}\n'or' 'x' in parents");
    assert!(odd["classCount"].as_u64() >= Some(5), "{odd}");
    assert_eq!(scan::course(&found, "Pit")["classCount"], 20_000);
    assert_eq!(found["scan"]["cutShort"], true, "the fifty folders");
    let failed = found["scan"]["failedFolders"].to_string();
    assert!(failed.contains(&trashed.id), "{failed}");
    assert!(
        daemon.peak_rss() < MEMORY,
        "{} MiB",
        daemon.peak_rss() >> 20
    );
    assert_eq!(fake.media_requests().len(), 0);
    // Whatever it is called, it has a page.
    let hits = daemon.get("/api/search?q=end&limit=100").json();
    for hit in hits["hits"].as_array().expect("hits") {
        let link = hit["link"].as_str().expect("a link");
        assert_eq!(daemon.get(link).status(), 200, "{link}");
    }
}

#[test]
fn answers_of_google_without_an_end() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    fake.on(Kind::List).skip(1).does(Action::Garbage(
        b"{\"files\":[],\"nextPageToken\":\"~page-0\"}".to_vec(),
    ));
    let setup = scan::of_root(&fake, tree.root());
    let began = Instant::now();
    let output = scan::scan(&setup, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(began.elapsed() < LATE, "{said}");
    // The categories could not be listed; that they are there is known.
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("2 folders could not be listed") && said.contains("without an end"),
        "{said}"
    );
    assert!(fake.requests_of(Kind::List).len() < 100);
}

#[test]
fn a_catalog_larger_than_memory_is_refused_where_it_is() {
    let setup = Setup::new();
    let path = setup.path().join("state/catalog.json");
    std::fs::write(&path, SMALL.json()).expect("a file");
    let daemon: Daemon = setup.start();
    let before = daemon.get("/api/courses").body;
    let mut said = 0;
    let long = "x".repeat(200 << 20);
    for (text, sentence) in [
        (
            format!("{{\"categories\":[],\n\"a\":\"{long}\"}}"),
            "catalog.json, line 2, column 42",
        ),
        (
            format!("{{\"categories\":[{{\"name\":{}", "[".repeat(10 << 20)),
            "more than 64 arrays",
        ),
        (format!("{{\"{long}\":1}}"), "line 1, column 42"),
        (" ".repeat(257 << 20), "more than 256 MiB"),
        ("{\"a\":NaN}".to_owned(), "line 1, column 6"),
    ] {
        std::fs::write(&path, text).expect("a file");
        let told = || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| line.contains("stays"));
            lines.clone().count() > said
                && lines
                    .next_back()
                    .is_some_and(|line| line.contains(sentence))
        };
        assert!(eventually(LATE, told), "{sentence}: {}", daemon.log());
        said = daemon.log().matches("stays").count();
        assert!(daemon.get("/api/courses").body == before, "{sentence}");
    }
    assert!(
        daemon.peak_rss() < MEMORY,
        "{} MiB",
        daemon.peak_rss() >> 20
    );
    std::fs::write(&path, SMALL.json().replace("generator 0", "generator 1")).expect("a file");
    assert!(eventually(SOON, || daemon
        .get("/api/bootstrap")
        .text()
        .contains("generator 1")));
}
