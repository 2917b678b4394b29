//! Courses that were shared by link before September 2021, whose files and folders open with a key alone; and the
//! account's own Drive as the root.

use serde_json::{Value, json};

use crate::support::course_tree::{CourseTree, TINY};
use crate::support::daemon::{Daemon, eventually};
use crate::support::drive::{FakeDrive, File, Kind, pattern_mismatch};
use crate::support::scan::{self, SOON};

/// A tree of which nothing is found without its key.
fn keyed(fake: &FakeDrive) -> CourseTree {
    let tree = CourseTree::of(TINY);
    for node in &tree.nodes {
        let key = key(&node.id);
        fake.add(
            tree.drive_file(node)
                .with(|file| file.resource_key = Some(key)),
        );
    }
    tree
}

fn key(id: &str) -> String {
    format!("0-key_of-{}", &id[..6])
}

fn link(tree: &CourseTree) -> String {
    format!(
        "https://drive.google.com/drive/folders/{0}?usp=sharing&resourcekey={1}",
        tree.root(),
        key(tree.root())
    )
}

/// All that the first class of the first course names.
fn files(daemon: &Daemon) -> Vec<String> {
    let course = daemon.get("/api/course-detail/0/0/0").json()["course"].clone();
    let class = &course["modules"][0]["classes"][0];
    let named = ["video", "summary", "subtitles", "reading"].map(|kind| &class["files"][kind]);
    let files = named.into_iter().chain([
        &class["files"]["subtitlesByLang"]["en"],
        &course["presentationId"],
    ]);
    files
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect()
}

fn plays(daemon: &Daemon, id: &str) -> bool {
    let part = daemon.get_range(&format!("/drive/files/{id}"), "bytes=500-599");
    (part.status(), pattern_mismatch(500, &part.body)) == (206, None)
}

#[test]
fn a_course_that_was_shared_by_link_plays_from_the_catalog() {
    let fake = FakeDrive::start();
    let tree = keyed(&fake);
    let setup = scan::of_root(&fake, &link(&tree));
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes);
    assert_eq!(catalog["scan"]["failedFolders"], json!([]));
    let daemon = setup.start();
    let files = files(&daemon);
    for id in &files {
        assert!(plays(&daemon, id), "{id}");
    }
    // As a player asks that knows nothing of keys, and as the page does.
    let page = daemon.get("/watch/0/0/0/0/0").text();
    assert!(
        page.contains(&format!("/drive/files/{}", files[0])),
        "{page}"
    );
    // The bootstrap is for everybody; it names no key.
    assert!(!daemon.get("/api/bootstrap").text().contains("resourceKeys"));
    // A key that is wrong is the asker's, who may have a better one.
    let wrong = daemon.get(&format!("/drive/files/{}?resourcekey=0-other", files[1]));
    assert_eq!(wrong.status(), 404);

    // A lecture that comes later; and again after a restart.
    let module = tree.find("Categoría 1/Curso 1 de Programación/1. Módulo 1");
    let add = |id: &str, name: &str| {
        let file = File::pattern(id, 1000).within(&module.id);
        fake.add(file.with(|file| {
            file.name = name.to_owned();
            file.resource_key = Some(key(id));
        }));
    };
    add("1LaterLectureWithKey", "8. Later.mp4");
    let all = tree.classes as u64 + 1;
    assert!(eventually(SOON, || scan::classes(&daemon) == Some(all)));
    assert!(plays(&daemon, "1LaterLectureWithKey"));
    let daemon = daemon.restart();
    assert!(plays(&daemon, "1LaterLectureWithKey") && plays(&daemon, &files[0]));
}

#[test]
fn a_key_that_google_gives_later_is_taken_and_one_that_goes_is_forgotten() {
    let fake = FakeDrive::start();
    let tree = keyed(&fake);
    let setup = scan::of_root(&fake, &link(&tree));
    scan::scanned(&setup, &[]);
    let video =
        tree.find("Categoría 1/Curso 1 de Programación/1. Módulo 1/1. Clase 1: ¿qué es?.mp4");
    let keys = || -> Value {
        let (catalog, _) = scan::scanned(&setup, &[]);
        let course = scan::course(&catalog, "Curso 1 de Programación");
        course["modules"][0]["classes"][0]["resourceKeys"][&video.id].clone()
    };
    assert_eq!(keys(), key(&video.id));
    fake.change(&video.id, |file| {
        file.resource_key = Some("0-another".to_owned())
    });
    assert_eq!(keys(), "0-another");
    fake.change(&video.id, |file| file.resource_key = None);
    assert_eq!(keys(), Value::Null);
}

#[test]
fn a_folder_of_a_link_that_failed_is_listed_with_its_key_later() {
    let fake = FakeDrive::start();
    let tree = keyed(&fake);
    let module = tree.find("Categoría 1/Curso 1 de Programación/1. Módulo 1");
    let setup = scan::of_root(&fake, &link(&tree));
    let refused = fake
        .on(Kind::List)
        .file(&module.id)
        .refuses(403, "insufficientFilePermissions");
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(
        catalog["scan"]["failedFolders"][0]["id"],
        module.id.as_str()
    );
    fake.end(refused);
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(catalog["scan"]["failedFolders"], json!([]));
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes);
}

#[test]
fn a_shortcut_to_a_file_and_to_a_root_of_a_link() {
    let fake = FakeDrive::start();
    let tree = keyed(&fake);
    fake.add(
        File::shortcut_to(
            "1ShortcutToTheRoot",
            "Ours",
            tree.root(),
            "application/vnd.google-apps.folder",
        )
        .with(|file| file.shortcut_key = Some(key(tree.root()))),
    );
    let course = tree.find("Categoría 1/Curso 1 de Programación/2. Módulo 2");
    let elsewhere = "1FileOfSomebodyElse";
    fake.add(File::pattern(elsewhere, 1000).with(|file| file.resource_key = Some(key(elsewhere))));
    fake.add(
        File::shortcut_to("1ShortcutToAFile", "9. Ajeno.mp4", elsewhere, "video/mp4")
            .within(&course.id)
            .with(|file| file.shortcut_key = Some(key(elsewhere))),
    );
    let setup = scan::of_root(&fake, "1ShortcutToTheRoot");
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes + 1);
    // A second scan looks at everything from the shortcut on, too.
    let (catalog, _) = scan::scanned(&setup, &["--full"]);
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes + 1);
    assert!(plays(&setup.start(), elsewhere));
}

#[test]
fn many_folders_of_links_fit_into_their_requests() {
    let fake = FakeDrive::start();
    let mut tree = CourseTree::empty();
    for n in 1..=150 {
        let course = tree.folder(0, &format!("Curso {n}"));
        tree.file(course, "1. Clase.mp4");
    }
    for node in &tree.nodes {
        let key = format!("0-{}", node.id.repeat(2));
        fake.add(
            tree.drive_file(node)
                .with(|file| file.resource_key = (node.parent.is_some()).then_some(key)),
        );
    }
    let setup = scan::of_root(&fake, tree.root());
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(catalog["stats"]["totalClasses"], 150);
    let asked = fake.requests_of(Kind::List).len();
    assert!(asked < 10, "{asked} requests");
}

#[test]
fn the_accounts_own_drive_is_a_root() {
    let fake = FakeDrive::start();
    let tree = CourseTree::of(TINY);
    tree.put(&fake);
    fake.my_drive(tree.root());
    let setup = scan::of_root(&fake, "root");
    let (catalog, _) = scan::scanned(&setup, &[]);
    assert_eq!(catalog["stats"]["totalClasses"], tree.classes);
}
