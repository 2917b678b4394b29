//! Scans of course trees on the fake Drive, and the catalogs that they write.

use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::course_tree::CourseTree;
use super::daemon::{Daemon, Setup};
use super::drive::FakeDrive;

/// What a scan of a small tree takes at most, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// A setup whose root is that of `tree`, which is put on the fake; the daemon looks five times a second for what
/// changed.
pub fn setup(fake: &FakeDrive, tree: &CourseTree) -> Setup {
    tree.put(fake);
    of_root(fake, tree.root())
}

/// As [`setup`], for whatever lies below `root` on the fake.
pub fn of_root(fake: &FakeDrive, root: &str) -> Setup {
    Setup::new()
        .drive(fake)
        .set("drive", "root", &format!("{root:?}"))
        .env("RILL_TEST_SCAN_PAUSE_MS", "200")
}

/// `rill scan`.
pub fn scan(setup: &Setup, arguments: &[&str]) -> Output {
    let mut all = vec!["scan"];
    all.extend(arguments);
    setup.command(&all).output().expect("the program starts")
}

/// `rill scan` that goes on by itself, unheard.
pub fn begin(setup: &Setup) -> Child {
    let mut command = setup.command(&["scan"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

/// Scans, and reads what came of it: the catalog, and what was said.
pub fn scanned(setup: &Setup, arguments: &[&str]) -> (Value, String) {
    let output = scan(setup, arguments);
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{log}");
    (catalog(setup).expect("a catalog"), said)
}

/// What a program said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where the catalog is.
pub fn path(setup: &Setup) -> PathBuf {
    setup.path().join("state/catalog.json")
}

/// The bytes of the catalog.
pub fn bytes(setup: &Setup) -> Vec<u8> {
    std::fs::read(path(setup)).expect("a catalog")
}

/// The catalog, when there is one.
pub fn catalog(setup: &Setup) -> Option<Value> {
    let bytes = std::fs::read(path(setup)).ok()?;
    Some(serde_json::from_slice(&bytes).expect("a catalog is JSON at any time"))
}

/// All courses of a catalog, below any category and route.
pub fn courses(catalog: &Value) -> Vec<&Value> {
    let routes = catalog["categories"]
        .as_array()
        .expect("categories")
        .iter()
        .flat_map(|category| category["routes"].as_array().into_iter().flatten());
    routes
        .flat_map(|route| match route["courses"].as_array() {
            Some(courses) => courses.iter().collect(),
            None => vec![route],
        })
        .collect()
}

/// The course of a name.
pub fn course<'a>(catalog: &'a Value, name: &str) -> &'a Value {
    let found = courses(catalog)
        .into_iter()
        .find(|course| course["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {catalog}"))
}

/// Classes that a daemon says it has.
pub fn classes(daemon: &Daemon) -> Option<u64> {
    daemon.health()["catalog"]["classes"].as_u64()
}
