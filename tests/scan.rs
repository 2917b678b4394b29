//! Scans, from the command line and in the daemon: what they make of a tree, what they cost, and what they survive.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::course_tree::{CourseTree, LARGE, Shape, TINY};
use crate::support::daemon::{Setup, emulated, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind, Refusal};
use crate::support::scan::{
    SOON, begin, catalog, course, courses, of_root, path, scan, scanned, setup, text,
};

fn never_downloads(fake: &FakeDrive) {
    assert_eq!(fake.media_requests().len(), 0, "a scan downloads no media");
}

#[test]
fn a_tiny_tree_becomes_the_golden_document() {
    let fake = FakeDrive::start();
    let mut tree = CourseTree::empty();
    let category = tree.folder(0, "Desarrollo");
    let course = tree.folder(category, "Curso de \"Git\" / GitHub \u{1f600}");
    tree.file(course, "presentation.html");
    let module = tree.folder(course, "1. Introduccio\u{301}n");
    tree.class(module, 1);
    let setup = setup(&fake, &tree);
    let document = tree.find("Desarrollo").id.clone();
    fake.add(
        File::document("1DocumentOfGoogle", "1. Apuntes", "document", "x")
            .within(&tree.nodes[module].id),
    );
    fake.add(
        File::shortcut_to(
            "1ShortcutToTheFile",
            "2. Atajo.mp4",
            "1TargetOfTheShortcut",
            "video/mp4",
        )
        .within(&tree.nodes[module].id),
    );
    fake.add(
        File::folder("1TrashedFolder", "Trashed")
            .within(&document)
            .with(|file| file.trashed = true),
    );
    let (catalog, said) = scanned(&setup, &[]);
    assert!(
        said.contains("the catalog is written: 1 category, 1 course, 2 classes\n4 folders in "),
        "{said}"
    );
    let id = |end: &str| {
        let node = tree
            .nodes
            .iter()
            .find(|node| node.name.ends_with(end))
            .expect("a file");
        node.id.clone()
    };
    let classes = serde_json::json!([
        {
            "num": 1, "name": "Clase 1: \u{bf}qu\u{e9} es?",
            "hasVideo": true, "hasSummary": true, "hasSubtitles": true, "hasReading": true, "hasHtml": false,
            "files": {
                "video": id(".mp4"), "summary": id("_summary.html"), "subtitles": id("?.vtt"),
                "reading": id("recomendadas.txt"), "html": null,
                "subtitlesByLang": { "": id("?.vtt"), "en": id("_en.vtt") },
            },
            "resources": [{ "name": "1. Apuntes", "file": "1DocumentOfGoogle", "ext": "pdf", "viewable": true }],
        },
        {
            "num": 2, "name": "Atajo",
            "hasVideo": true, "hasSummary": false, "hasSubtitles": false, "hasReading": false, "hasHtml": false,
            "files": { "video": "1TargetOfTheShortcut", "summary": null, "subtitles": null, "reading": null, "html": null },
            "resources": [],
        },
    ]);
    let golden = serde_json::json!({
        "categories": [{
            "id": "desarrollo", "name": "Desarrollo", "icon": "", "description": "", "type": "category",
            "routes": [{
                "name": "Curso de \"Git\" / GitHub \u{1f600}", "folderName": "Curso de \"Git\" / GitHub \u{1f600}",
                "url": "", "id": tree.nodes[course].id, "isCourse": true, "moduleCount": 1, "classCount": 2,
                "foundInDrive": true, "matchType": "exact", "matchedFolder": "Curso de \"Git\" / GitHub \u{1f600}",
                "hasPresentation": true, "presentationId": id("presentation.html"),
                "modules": [{
                    "name": "Introduccio\u{301}n", "folderName": "1. Introduccio\u{301}n", "classCount": 2,
                    "classes": classes,
                }],
            }],
        }],
        "stats": { "totalCategories": 1, "totalRoutes": 1, "totalCourses": 1, "totalClasses": 2 },
        "scan": { "sources": ["drive"], "failedFolders": [], "cutShort": false, "by": "rill" },
    });
    assert_eq!(catalog, golden);
    never_downloads(&fake);
    // A second scan asks for changes alone, and writes nothing.
    let before = std::fs::metadata(path(&setup))
        .expect("a file")
        .modified()
        .expect("a time");
    fake.forget_requests();
    let (_, said) = scanned(&setup, &[]);
    assert!(said.starts_with("the catalog was up to date"), "{said}");
    assert_eq!(fake.requests_of(Kind::List).len(), 0);
    assert_eq!(
        std::fs::metadata(path(&setup))
            .expect("a file")
            .modified()
            .expect("a time"),
        before
    );
}

#[test]
fn twenty_thousand_classes_in_150_requests() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(LARGE);
    let setup = setup(&fake, &tree);
    let mut child = setup
        .command(&["scan"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let requests = fake
        .requests()
        .iter()
        .filter(|request| request.kind != Kind::Token)
        .count();
    assert!(requests <= 150, "{requests} requests");
    let catalog = catalog(&setup).expect("a catalog");
    assert_eq!(catalog["stats"]["totalCourses"], 500);
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes);
    assert_eq!(tree.classes, 20_000);
    assert!(peak < 64 * 1024 || emulated(), "{peak} KiB resident");
    never_downloads(&fake);
}

#[test]
fn killed_at_any_instant_and_resumed_to_the_same_file() {
    if emulated() {
        // To start it takes longer than what it is killed in.
        return;
    }
    let fake = FakeDrive::start();
    let tree = CourseTree::of(Shape {
        categories: 4,
        courses: 150,
        modules: 3,
        classes: 5,
    });
    let whole = setup(&fake, &tree);
    let began = Instant::now();
    scanned(&whole, &[]);
    let took = began.elapsed();
    let golden = std::fs::read(path(&whole)).expect("a catalog");

    let setup = of_root(&fake, tree.root());
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let (mut killed, mut round) = (0, 0);
    while killed < 20 {
        round += 1;
        assert!(round < 200, "only {killed} were killed in time");
        let mut child = begin(&setup);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Over the whole course of a scan, the writing of the file included; early ones resume early ones.
        let wait = took.mul_f64((random % 1000) as f64 / 1000.0 * 0.8);
        std::thread::sleep(wait);
        killed += usize::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        child.wait().expect("it ends");
        if let Ok(bytes) = std::fs::read(path(&setup)) {
            assert!(bytes == golden, "round {round} left another file");
            // Begin again, so that every round kills something.
            std::fs::remove_dir_all(setup.path().join("state")).expect("removed");
        }
    }
    scanned(&setup, &[]);
    assert!(std::fs::read(path(&setup)).expect("a catalog") == golden);
    never_downloads(&fake);
}

#[test]
fn faults_on_the_way_change_nothing() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let whole = setup(&fake, &tree);
    scanned(&whole, &[]);
    let golden = std::fs::read(path(&whole)).expect("a catalog");
    for action in [
        Action::Refuse(Refusal::new(403, "rateLimitExceeded")),
        Action::Refuse(Refusal::new(429, "rateLimitExceeded").retry_after("1")),
        Action::Refuse(Refusal::new(500, "backendError")),
        Action::Refuse(Refusal::html(502)),
        Action::Cut(300),
        Action::Hangup,
        Action::Garbage(b"{\"files\": 7}".to_vec()),
        Action::ExpireTokens,
    ] {
        let setup = of_root(&fake, tree.root());
        fake.on(Kind::List).skip(1).once().does(action.clone());
        scanned(&setup, &[]);
        assert!(
            std::fs::read(path(&setup)).expect("a catalog") == golden,
            "{action:?}"
        );
        assert_eq!(fake.rules_left(), 0);
    }
    // Short pages, and empty ones that go on.
    for page in [3, 1] {
        let setup = of_root(&fake, tree.root());
        fake.on(Kind::List).does(Action::PageOf(page));
        scanned(&setup, &[]);
        fake.behave();
        assert!(
            std::fs::read(path(&setup)).expect("a catalog") == golden,
            "pages of {page}"
        );
    }
    // A page token that Google has forgotten.
    let setup = of_root(&fake, tree.root());
    let small = fake.on(Kind::List).does(Action::PageOf(2));
    fake.on(Kind::List).skip(2).once().refuses(400, "invalid");
    scanned(&setup, &[]);
    fake.end(small);
    assert!(std::fs::read(path(&setup)).expect("a catalog") == golden);
    never_downloads(&fake);
}

#[test]
fn a_failed_folder_keeps_what_it_held() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    let (before, _) = scanned(&setup, &[]);
    let module = tree.find("Categoría 1/Curso 1 de Programación/2. Módulo 2");
    let rule = fake
        .on(Kind::List)
        .file(&module.id)
        .refuses(403, "insufficientFilePermissions");
    let (after, said) = scanned(&setup, &["--full"]);
    assert_eq!(after["categories"], before["categories"]);
    assert_eq!(after["stats"], before["stats"]);
    let failed = &after["scan"]["failedFolders"];
    assert_eq!(failed[0]["id"], module.id.as_str());
    assert_eq!(
        failed[0]["name"],
        "Categoría 1/Curso 1 de Programación/2. Módulo 2"
    );
    assert_eq!(failed.as_array().map(Vec::len), Some(1));
    assert!(
        said.contains("1 folder could not be listed and stay as they were:\n  Categoría 1/Curso 1"),
        "{said}"
    );
    // Once it shows itself again, the next scan lists it.
    fake.end(rule);
    let (healed, _) = scanned(&setup, &[]);
    assert_eq!(healed, before);

    // On a first scan there is nothing to keep; the folder stands there empty.
    let fresh = of_root(&fake, tree.root());
    fake.on(Kind::List)
        .file(&module.id)
        .refuses(404, "notFound");
    let (first, _) = scanned(&fresh, &[]);
    let modules = course(&first, "Curso 1 de Programación")["modules"].clone();
    assert_eq!(
        (
            modules[0]["classCount"].as_u64(),
            modules[1]["classCount"].as_u64()
        ),
        (Some(4), Some(0))
    );
}

#[test]
fn without_google_there_is_no_catalog_and_an_old_one_stays() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    fake.on(Kind::Metadata).refuses(404, "notFound");
    let output = scan(&setup, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(catalog(&setup).is_none());
    fake.behave();
    let (before, _) = scanned(&setup, &[]);
    fake.refuse_connections();
    let output = scan(&setup, &["--full"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(
        text(&output.stderr).contains("Google Drive cannot be reached"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(catalog(&setup), Some(before));

    let output = scan(&Setup::new(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("set drive.root to the id"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_daemon_scans_and_follows_across_a_restart() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let daemon = setup(&fake, &tree).start();
    let read =
        |setup: &Setup| catalog(setup).map(|catalog| catalog["stats"]["totalClasses"].clone());
    assert!(eventually(SOON, || read(daemon.setup()) == Some(16.into())
        || read(daemon.setup()) == Some(32.into())));
    let module = tree
        .find("Categoría 1/Curso 1 de Programación/1. Módulo 1")
        .id
        .clone();
    let classes = |setup: &Setup| {
        let catalog = catalog(setup).expect("a catalog");
        course(&catalog, "Curso 1 de Programación")["modules"][0]["classCount"].as_u64()
    };
    assert_eq!(classes(daemon.setup()), Some(4));
    // New, renamed, trashed.
    fake.add(
        File::pattern("1NewVideoOfAClass", 10)
            .within(&module)
            .with(|file| file.name = "9. Nueva.mp4".to_owned()),
    );
    assert!(eventually(SOON, || classes(daemon.setup()) == Some(5)));
    fake.change("1NewVideoOfAClass", |file| file.trashed = true);
    assert!(eventually(SOON, || classes(daemon.setup()) == Some(4)));
    fake.change("1NewVideoOfAClass", |file| file.trashed = false);
    assert!(eventually(SOON, || classes(daemon.setup()) == Some(5)));
    // A whole course at once, listed because nobody has seen its folders.
    let category = tree.find("Categoría 2").id.clone();
    fake.add(File::folder("1NewCourseFolder", "Curso nuevo").within(&category));
    fake.add(File::folder("1NewModuleFolder", "1. Uno").within("1NewCourseFolder"));
    fake.add(File::pattern("1VideoOfNewCourse", 10).within("1NewModuleFolder"));
    let new = |setup: &Setup| {
        let catalog = catalog(setup).expect("a catalog");
        courses(&catalog)
            .iter()
            .any(|course| course["name"] == "Curso nuevo" && course["classCount"] == 1)
    };
    assert!(eventually(SOON, || new(daemon.setup())));
    // Nothing happens, nothing is written.
    std::thread::sleep(Duration::from_secs(1));
    let before = daemon.write_bytes();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(daemon.write_bytes(), before);

    // What changes while nobody follows is not lost, nor by an error on the way.
    let config = daemon.setup().write_config();
    let state = daemon.setup().path().join("state");
    fake.on(Kind::Other).times(3).refuses(500, "backendError");
    let folder = tempfile::tempdir().expect("a folder");
    drop_keeping(daemon, &config, &state, folder.path());
    fake.remove("1NewVideoOfAClass");
    fake.change("1VideoOfNewCourse", |file| {
        file.name = "1. Renombrada.mp4".to_owned()
    });
    fake.remove("1NewModuleFolder");
    let again = of_root(&fake, tree.root());
    for name in std::fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
    {
        std::fs::copy(
            name.path(),
            again.path().join("state").join(name.file_name()),
        )
        .expect("copied");
    }
    let daemon = again.start();
    assert!(eventually(Duration::from_secs(60), || classes(
        daemon.setup()
    ) == Some(4)
        && !new(daemon.setup())));
    never_downloads(&fake);
}

/// Kills a daemon and keeps a copy of its state folder.
fn drop_keeping(
    daemon: crate::support::daemon::Daemon,
    _: &std::path::Path,
    state: &std::path::Path,
    to: &std::path::Path,
) {
    let pid = rustix::process::Pid::from_raw(daemon.pid() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    std::thread::sleep(Duration::from_millis(200));
    for name in std::fs::read_dir(state).expect("a folder").flatten() {
        std::fs::copy(name.path(), to.join(name.file_name())).expect("copied");
    }
    drop(daemon);
}

#[test]
fn a_token_that_google_forgot_means_a_new_scan() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    let (before, _) = scanned(&setup, &[]);
    fake.on(Kind::Other).once().refuses(410, "pageTokenExpired");
    fake.forget_requests();
    let (after, _) = scanned(&setup, &[]);
    assert_eq!(after, before);
    assert!(fake.requests_of(Kind::List).len() > 2);
}

#[test]
fn one_scan_at_a_time() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    let slow = fake
        .on(Kind::List)
        .does(Action::Latency(Duration::from_secs(2)));
    let mut first = begin(&setup);
    assert!(fake.wait_until(SOON, |fake| !fake.requests_of(Kind::List).is_empty()));
    let output = scan(&setup, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("by rill scan (process {})", first.id())),
        "{said}"
    );
    fake.end(slow);
    assert!(first.wait().expect("it ends").success());
    scanned(&setup, &[]);
}

#[test]
fn a_local_tree_is_scanned_and_followed() {
    let tree = CourseTree::of(TINY);
    let fake = FakeDrive::start();
    let courses_folder = tempfile::tempdir().expect("a folder");
    let root = courses_folder.path().join("Cursos ñ 'x'");
    tree.write(&root);
    std::os::unix::fs::symlink("..", root.join("Categoría 1/up")).expect("a link");
    std::os::unix::fs::symlink("/etc", root.join("Categoría 1/etc")).expect("a link");
    let daemon = Setup::new()
        .set(
            "library",
            "courses",
            &format!("{:?}", root.to_string_lossy()),
        )
        .env("RILL_TEST_SCAN_PAUSE_MS", "200")
        .start();
    assert!(eventually(SOON, || catalog(daemon.setup()).is_some()));
    let found = catalog(daemon.setup()).expect("a catalog");
    assert_eq!(found["stats"]["totalClasses"], tree.classes);
    let video =
        &course(&found, "Curso 1 de Programación")["modules"][0]["classes"][0]["files"]["video"];
    assert_eq!(
        *video,
        "local:Categoría 1/Curso 1 de Programación/1. Módulo 1/1. Clase 1: ¿qué es?.mp4"
    );
    std::fs::write(
        root.join("Categoría 2/Curso 2 de Programación/2. Módulo 2/9. Nueva.mp4"),
        b"",
    )
    .expect("written");
    let total = || catalog(daemon.setup()).map(|catalog| catalog["stats"]["totalClasses"].clone());
    assert!(eventually(SOON, || total() == Some((tree.classes + 1).into())));
    // The disk is unplugged: the catalog stays.
    let aside = courses_folder.path().join("aside");
    std::fs::rename(&root, &aside).expect("moved");
    std::thread::sleep(Duration::from_secs(1));
    std::fs::create_dir(&root).expect("an empty mount point");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(total(), Some((tree.classes + 1).into()));
    assert!(fake.requests().is_empty());
}

#[test]
fn both_sources_and_an_outline_in_one_catalog() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let local = tempfile::tempdir().expect("a folder");
    let mut other = CourseTree::empty();
    let rust = other.folder(0, "Curso de Rust desde cero, segunda edición");
    other.class(rust, 1);
    other.write(local.path());
    let setup = setup(&fake, &tree).set("library", "courses", &format!("{:?}", local.path()));
    let outline = "# Escuela\n## [Ruta](https://x.org/rutas/web/)\n- [CURSO 1 DE PROGRAMACION](https://x.org/cursos/uno/)\n\
                   - [Curso de Rust desde cero](r)\n- Curso que no existe\n";
    std::fs::write(setup.path().join("state/routes.md"), outline).expect("written");
    let (found, _) = scanned(&setup, &[]);
    let school = &found["categories"][0];
    assert_eq!(
        (&school["name"], &school["routes"][0]["id"]),
        (&"Escuela".into(), &"web".into())
    );
    let listed: Vec<(&str, &str, u64)> = school["routes"][0]["courses"]
        .as_array()
        .expect("courses")
        .iter()
        .map(|course| {
            let text = |key: &str| course[key].as_str().unwrap_or_default();
            (
                text("id"),
                text("matchType"),
                course["classCount"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            ("uno", "exact", 8),
            ("r", "prefix", 1),
            ("curso-que-no-existe", "none", 0)
        ]
    );
    assert_eq!(found["categories"][1]["name"], "Other courses");
    assert_eq!(
        found["categories"][1]["routes"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(
        found["scan"]["sources"],
        serde_json::json!(["drive", "local"])
    );
}

#[test]
fn what_root_writes_is_the_owners() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    let state = setup.path().join("state");
    std::os::unix::fs::chown(&state, Some(12345), Some(12346)).expect("root may");
    scanned(&setup, &[]);
    for entry in std::fs::read_dir(&state).expect("a folder").flatten() {
        let metadata = entry.metadata().expect("there");
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (12345, 12346),
            "{:?}",
            entry.file_name()
        );
    }
}

#[test]
fn children_without_parents_and_circles() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    let setup = setup(&fake, &tree);
    let module = tree
        .find("Categoría 1/Curso 1 de Programación/1. Módulo 1")
        .id
        .clone();
    let course_folder = tree.find("Categoría 1/Curso 1 de Programación").id.clone();
    // One file in two modules, and a folder that holds itself by a shortcut.
    let second = tree
        .find("Categoría 1/Curso 1 de Programación/2. Módulo 2")
        .id
        .clone();
    fake.add(
        File::pattern("1VideoInTwoModules", 10)
            .within(&module)
            .within(&second)
            .with(|file| file.name = "8. Dos.mp4".to_owned()),
    );
    fake.add(
        File::shortcut_to(
            "1ShortcutUpwards",
            "3. Circle",
            tree.root(),
            "application/vnd.google-apps.folder",
        )
        .within(&course_folder),
    );
    let (found, _) = scanned(&setup, &[]);
    let modules = course(&found, "Curso 1 de Programación")["modules"].clone();
    assert_eq!(
        (
            modules[0]["classCount"].as_u64(),
            modules[1]["classCount"].as_u64()
        ),
        (Some(5), Some(5))
    );
    // Without a word of where they lie, files are still found in their folders.
    for node in tree.nodes.iter().filter(|node| node.name.ends_with(".mp4")) {
        fake.change(&node.id, |file| file.parents_hidden = true);
    }
    let again = of_root(&fake, tree.root());
    assert_eq!(scanned(&again, &[]).0, found);
    never_downloads(&fake);
}

#[test]
fn a_line_now_and_then_where_there_is_no_terminal() {
    let fake = FakeDrive::start();
    let setup = setup(&fake, &CourseTree::of(TINY));
    fake.on(Kind::List)
        .skip(1)
        .once()
        .does(Action::Latency(Duration::from_millis(9500)));
    fake.on(Kind::List)
        .skip(2)
        .once()
        .does(Action::Latency(Duration::from_millis(3000)));
    let output: Output =
        Command::output(&mut setup.command(&["scan"])).expect("the program starts");
    assert!(output.status.success());
    let log = text(&output.stderr);
    assert!(log.contains(" folders, ") && !log.contains('\r'), "{log}");
}
