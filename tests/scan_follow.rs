//! What follows the first scan: changes of Drive and of this disk that come late, in pieces, with errors between them,
//! or across a kill; and a disk that is full.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::course_tree::{CourseTree, Shape, TINY};
use crate::support::daemon::{Setup, eventually};
use crate::support::disk::Disk;
use crate::support::drive::{Action, Content, FakeDrive, File, Kind};
use crate::support::scan::{self, SOON, classes};

/// Scans; the bytes of the catalog that came of it.
fn scanned(setup: &Setup) -> Vec<u8> {
    scan::scanned(setup, &[]);
    scan::bytes(setup)
}

/// Twelve changes of every sort: new, renamed, moved, trashed, gone, and a course of three folders.
fn change(fake: &FakeDrive, tree: &CourseTree) {
    let course = "Categoría 1/Curso 1 de Programación";
    let module = tree.find(&format!("{course}/1. Módulo 1")).id.clone();
    let second = tree.find(&format!("{course}/2. Módulo 2")).id.clone();
    let file = |name: &str| {
        tree.find(&format!("{course}/1. Módulo 1/{name}"))
            .id
            .clone()
    };
    fake.add(
        File::pattern("1NewVideoOfAClass", 10)
            .within(&module)
            .with(|file| file.name = "9. Nueva.mp4".to_owned()),
    );
    fake.change(&file("1. Clase 1: ¿qué es?.mp4"), |file| {
        file.name = "1. Otro nombre.mp4".to_owned();
    });
    fake.change(&file("2. Clase 2: ¿qué es?.mp4"), |file| {
        file.parents = vec![second.clone()];
    });
    fake.change(&file("3. Clase 3: ¿qué es?.mp4"), |file| {
        file.trashed = true;
    });
    fake.remove(&file("4. Clase 4: ¿qué es?.mp4"));
    fake.change(&second, |file| file.name = "2. Segundo".to_owned());
    let category = tree.find("Categoría 2").id.clone();
    fake.add(File::folder("1NewCourseFolder", "Curso nuevo").within(&category));
    fake.add(File::folder("1NewModuleFolder", "1. Uno").within("1NewCourseFolder"));
    fake.add(File::pattern("1VideoOfNewCourse", 10).within("1NewModuleFolder"));
    fake.change(&tree.find("Categoría 1").id, |file| {
        file.name = "Categoría uno".to_owned();
    });
    fake.remove(&tree.find("Categoría 2/Curso 2 de Programación").id);
    fake.add(File::pattern("1SomethingElsewhere", 10));
}

/// What a scan from the beginning makes of what is there now.
fn anew(fake: &FakeDrive, tree: &CourseTree) -> Vec<u8> {
    scanned(&scan::of_root(fake, tree.root()))
}

#[test]
fn an_error_amid_the_changes_loses_none() {
    let tree = CourseTree::of(TINY);
    for skip in [0, 2, 5, 8] {
        let fake = FakeDrive::start();
        tree.put(&fake);
        let setup = scan::of_root(&fake, tree.root());
        let before = scanned(&setup);
        change(&fake, &tree);
        // A change a page, and after some of them an error that no patience mends.
        fake.on(Kind::Other).does(Action::PageOf(1));
        let rule = fake
            .on(Kind::Other)
            .skip(skip)
            .refuses(403, "dailyLimitExceeded");
        let failed = scan::scan(&setup, &[]);
        // What came before it may have been enough for another catalog; that something lacks is said.
        let said = [failed.stdout, failed.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.contains("Google") || said.contains("Drive"),
            "{skip}: {said}"
        );
        fake.end(rule);
        let healed = scanned(&setup);
        fake.behave();
        assert!(healed == anew(&fake, &tree), "{skip}");
        assert!(healed != before);
    }
}

#[test]
fn changes_survive_a_kill_at_any_instant() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    let setup = scan::of_root(&fake, tree.root());
    scanned(&setup);
    change(&fake, &tree);
    let golden = anew(&fake, &tree);
    fake.on(Kind::Other).does(Action::PageOf(1));
    fake.on(Kind::Other)
        .does(Action::Latency(Duration::from_millis(20)));
    let mut killed = 0;
    for round in 0..15 {
        let mut child = scan::begin(&setup);
        std::thread::sleep(Duration::from_millis(40 + round * 25));
        killed += usize::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    assert!(killed > 2, "only {killed} were killed in time");
    assert!(scanned(&setup) == golden);
}

#[test]
fn tokens_that_google_refuses_begin_a_new_scan() {
    for (status, reason) in [
        (410, "pageTokenExpired"),
        (400, "invalid"),
        (404, "notFound"),
    ] {
        let fake = FakeDrive::start();
        let tree = CourseTree::of(TINY);
        tree.put(&fake);
        let daemon = scan::of_root(&fake, tree.root())
            .env("RILL_TEST_SCAN_PAUSE_MS", "200")
            .start();
        assert!(
            eventually(SOON, || classes(&daemon) == Some(32)),
            "{status}"
        );
        // What changed while the token was good for nothing is found all the same.
        let rule = fake.on(Kind::Other).once().refuses(status, reason);
        fake.remove(&tree.find("Categoría 2").id);
        assert!(
            eventually(SOON, || classes(&daemon) == Some(16)),
            "{status}: {}",
            daemon.log()
        );
        fake.end(rule);
        assert_eq!(daemon.health()["catalog"]["scan"]["error"], Value::Null);
    }
}

/// A tree of this disk beside the one of Drive.
fn beside(folder: &Path) -> CourseTree {
    let mut other = CourseTree::empty();
    let category = other.folder(0, "Categoría 1");
    let course = other.folder(category, "Curso local");
    let module = other.folder(course, "1. Uno");
    other.class(module, 1);
    other.write(folder);
    other
}

#[test]
fn a_new_lecture_of_either_source_shows_within_a_minute() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    let local = tempfile::tempdir().expect("a folder");
    beside(local.path());
    // Without a shortened pause: this is the promise itself.
    let daemon = scan::of_root(&fake, tree.root())
        .set("library", "courses", &format!("{:?}", local.path()))
        .start();
    assert!(
        eventually(SOON, || classes(&daemon) == Some(33)),
        "{}",
        daemon.log()
    );
    let module = tree.find("Categoría 1/Curso 1 de Programación/1. Módulo 1");
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clips/Clock.mp4");
    let new = File::new(
        "1NewVideoOfAClass",
        "9. Nueva de Drive.mp4",
        "video/mp4",
        Content::Path(clip.clone()),
    );
    fake.add(new.within(&module.id));
    let here = local
        .path()
        .join("Categoría 1/Curso local/1. Uno/9. Nueva de aquí.mp4");
    std::fs::copy(&clip, &here).expect("a clip");
    let began = Instant::now();
    assert!(
        eventually(Duration::from_secs(60), || classes(&daemon) == Some(35)),
        "{}",
        daemon.log()
    );
    assert!(began.elapsed() < Duration::from_secs(60));
    // Each is found, has a page, and its page's source plays.
    for (query, prefix) in [
        ("nueva+drive", "/drive/files/"),
        ("nueva+aqui", "/courses/files/"),
    ] {
        let hits = daemon.get(&format!("/api/search?q={query}")).json();
        let link = hits["hits"][0]["link"]
            .as_str()
            .unwrap_or_else(|| panic!("{query}: {hits}"));
        let page = daemon.get(link).text();
        let source = page
            .split("<source src=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let source = source
            .unwrap_or_else(|| panic!("{query}: {page}"))
            .to_owned();
        assert!(source.starts_with(prefix), "{source}");
        let piece = daemon.get_range(&source, "bytes=0-1023");
        let want = &std::fs::read(&clip).expect("a clip")[..1024];
        assert!(piece.status() == 206 && piece.body == want, "{source}");
    }
    // Categories of one name are one.
    let bootstrap = daemon.get("/api/bootstrap").json();
    assert_eq!(bootstrap["stats"]["totalCategories"], 2);
    assert_eq!(daemon.get("/api/cache-meta").json()["source"], "scan");
}

#[test]
fn one_source_that_is_away_does_not_keep_the_other() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    let home = tempfile::tempdir().expect("a folder");
    let local = home.path().join("disk");
    beside(&local);
    let daemon = scan::of_root(&fake, tree.root())
        .set("library", "courses", &format!("{local:?}"))
        .env("RILL_TEST_SCAN_PAUSE_MS", "200")
        .start();
    assert!(
        eventually(SOON, || classes(&daemon) == Some(33)),
        "{}",
        daemon.log()
    );
    // The disk is unplugged: what is on Drive is followed, and what was on the disk stays.
    let away = home.path().join("away");
    std::fs::rename(&local, &away).expect("moved");
    fake.remove(&tree.find("Categoría 2").id);
    assert!(
        eventually(SOON, || classes(&daemon) == Some(17)),
        "{}",
        daemon.log()
    );
    std::fs::rename(&away, &local).expect("moved back");
    // Google is away: what is on the disk is followed.
    let rule = fake.on(Kind::Other).refuses(403, "dailyLimitExceeded");
    std::fs::write(
        local.join("Categoría 1/Curso local/1. Uno/7. Nueva.mp4"),
        b"x",
    )
    .expect("written");
    assert!(
        eventually(SOON, || classes(&daemon) == Some(18)),
        "{}",
        daemon.log()
    );
    let scan = || daemon.health()["catalog"]["scan"].clone();
    assert!(
        eventually(SOON, || scan()["error"].is_string()),
        "{}",
        scan()
    );
    fake.end(rule);
    fake.add(
        File::pattern("1NewVideoOfAClass", 10)
            .within(
                &tree
                    .find("Categoría 1/Curso 1 de Programación/1. Módulo 1")
                    .id,
            )
            .with(|file| file.name = "8. Nueva.mp4".to_owned()),
    );
    assert!(
        eventually(Duration::from_secs(90), || classes(&daemon) == Some(19)),
        "{}",
        daemon.log()
    );
    assert!(eventually(SOON, || scan()["error"].is_null()), "{}", scan());
}

#[test]
fn another_tools_catalog_is_left_alone_until_somebody_scans() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    let setup = scan::of_root(&fake, tree.root());
    let theirs = crate::support::catalog::TINY.json();
    let state = setup.path().join("state");
    std::fs::write(state.join("courses_cache.json"), &theirs).expect("a file");
    let daemon = setup.start();
    assert_eq!(daemon.get("/api/courses").text(), theirs);
    std::thread::sleep(Duration::from_secs(2));
    assert!(fake.requests_of(Kind::List).is_empty());
    let meta = daemon.get("/api/cache-meta").json();
    assert_eq!(
        (&meta["source"], &meta["file"]),
        (&"import".into(), &"courses_cache.json".into())
    );
    // What it says beyond what rill knows comes through.
    let bootstrap = daemon.get("/api/bootstrap").json();
    assert_eq!(bootstrap["generatedBy"], "generator 0");
    assert_eq!(bootstrap["categories"][0]["colour"], "#120");
    let detail = daemon.get("/api/course-detail/0/0/0").json();
    assert_eq!(
        detail["course"]["level"],
        serde_json::json!(["a", 1500.0, null])
    );
    let asked = daemon
        .client()
        .request("POST", "/api/refresh?scan=1", &[("Content-Length", "0")]);
    assert_eq!(asked.status(), 200);
    assert!(
        eventually(SOON, || classes(&daemon) == Some(32)),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.get("/api/cache-meta").json()["source"], "scan");
    let kept = std::fs::read_to_string(state.join("courses_cache.json")).expect("a file");
    assert_eq!(kept, theirs);
}

#[test]
fn a_full_disk_leaves_the_old_catalog_and_nothing_half_written() {
    // Where nothing may be mounted this cannot be shown.
    let Some(disk) = Disk::new("3m") else { return };
    let fake = FakeDrive::start();
    let small = CourseTree::of(TINY);
    small.put(&fake);
    let on_disk = |tree: &CourseTree| {
        scan::of_root(&fake, tree.root()).set("state", "dir", &format!("{:?}", disk.path()))
    };
    let setup = on_disk(&small);
    assert!(scan::scan(&setup, &[]).status.success());
    let path = disk.path().join("catalog.json");
    let before = std::fs::read(&path).expect("a catalog");
    let mut large = small.clone();
    for n in 0..60 {
        let course = large.folder(0, &format!("Curso grande {n}"));
        for m in 0..4 {
            let module = large.folder(course, &format!("{m}. Módulo"));
            (0..20).for_each(|n| large.class(module, n));
        }
    }
    large.put(&fake);
    let failed = scan::scan(&setup, &[]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("free some space") || said.contains("full"),
        "{said}"
    );
    assert!(std::fs::read(&path).expect("a catalog") == before);
    for entry in std::fs::read_dir(disk.path()).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        assert!(!name.contains("rill-tmp"), "{name}");
    }
    // With room it goes on where it was.
    disk.grow("64m");
    assert!(scan::scan(&setup, &[]).status.success());
    let after: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a catalog")).expect("JSON");
    assert_eq!(after["stats"]["totalClasses"], 32 + 60 * 4 * 20);
}

#[test]
fn a_large_library_follows_a_change_by_one_request_and_little_work() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(Shape {
        categories: 4,
        courses: 100,
        modules: 3,
        classes: 5,
    });
    tree.put(&fake);
    let setup = scan::of_root(&fake, tree.root());
    scanned(&setup);
    let module = tree
        .find("Categoría 1/Curso 1 de Programación/1. Módulo 1")
        .id
        .clone();
    fake.add(
        File::pattern("1NewVideoOfAClass", 10)
            .within(&module)
            .with(|file| file.name = "9. Nueva.mp4".to_owned()),
    );
    fake.forget_requests();
    let found: Value = serde_json::from_slice(&scanned(&setup)).expect("JSON");
    assert_eq!(found["stats"]["totalClasses"], 100 * 3 * 5 + 1);
    assert!(fake.requests_of(Kind::List).is_empty());
    assert!(
        fake.requests_of(Kind::Other).len() <= 2,
        "{}",
        fake.requests_of(Kind::Other).len()
    );
    assert!(fake.media_requests().is_empty());
}
