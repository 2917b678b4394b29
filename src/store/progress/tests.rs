//! Documents in a database of their own; what needs the daemon is tested from outside.

use super::*;

struct House {
    progress: Progress,
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        House::with(|_| {})
    }

    fn with(prepare: impl FnOnce(&std::path::Path)) -> House {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let progress = House::open(folder.path());
        House { progress, folder }
    }

    fn open(folder: &std::path::Path) -> Progress {
        Progress::new(
            Database::of(folder),
            folder.join("progress.json"),
            64 * 1024,
        )
    }

    fn get(&self) -> String {
        let bytes = smol::block_on(self.progress.document(&Profile::default())).unwrap();
        String::from_utf8(bytes.to_vec().unwrap()).unwrap()
    }

    fn put(&self, body: &str) -> Result<()> {
        smol::block_on(self.progress.replace(&Profile::default(), body.into()))
    }

    fn patch(&self, body: &str) -> Result<()> {
        smol::block_on(self.progress.merge(&Profile::default(), body.into()))
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("rill.db-wal")).map_or(0, |m| m.len())
    }
}

#[test]
fn replaced_and_merged() {
    let house = House::new();
    assert_eq!(house.get(), "{}");
    house
        .put(r#"{"b": 1.50, "a": {"x" : [1]}, "gone": null}"#)
        .unwrap();
    assert_eq!(house.get(), r#"{"a":{"x" : [1]},"b":1.50,"gone":null}"#);
    house
        .patch(r#"{"a": {"watchTime": 9}, "gone": null, "none": null}"#)
        .unwrap();
    assert_eq!(house.get(), r#"{"a":{"watchTime":9,"x":[1]},"b":1.50}"#);
    house.put(r#"{"b":2}"#).unwrap();
    assert_eq!(house.get(), r#"{"b":2}"#);
    assert_eq!(
        house
            .patch(r#"{"c":{"watchTime":1},"b":3}"#)
            .unwrap_err()
            .code(),
        "invalid_progress"
    );
    assert_eq!(house.get(), r#"{"b":2}"#);
    let other = House::open(house.folder.path());
    let kept = smol::block_on(other.document(&Profile::default())).unwrap();
    assert_eq!(kept.to_vec().unwrap(), br#"{"b":2}"#);
}

#[test]
fn what_is_unchanged_is_not_written() {
    let house = House::new();
    let body = r#"{"a":{"status":"complete","lastWatched":5},"b":{"watchTime":7}}"#;
    house.patch(body).unwrap();
    let before = house.log_bytes();
    house.patch(body).unwrap();
    house.put(body).unwrap();
    house
        .patch(r#"{"a":{"status":"in_progress","lastWatched":4}}"#)
        .unwrap();
    house.patch("{}").unwrap();
    let changed = house.log_bytes() - before;
    // The replacement writes `a` in the order of its own fields.
    assert!(changed <= 4120, "{changed}");
    let before = house.log_bytes();
    house.put(body).unwrap();
    assert_eq!(house.log_bytes(), before);
}

#[test]
fn a_profile_does_not_grow_without_end() {
    let house = House::new();
    let filler = "x".repeat(15_000);
    let mut refused = None;
    for n in 0..40 {
        if let Err(error) = house.patch(&format!("{{\"k{n}\":{{\"note\":\"{filler}\"}}}}")) {
            refused = Some((n, error.code()));
            break;
        }
    }
    // Four times the largest body.
    assert_eq!(refused, Some((17, "progress_full")));
    house.patch(r#"{"k0":null}"#).unwrap();
    house
        .patch(&format!("{{\"k17\":{{\"note\":\"{filler}\"}}}}"))
        .unwrap();
}

#[test]
fn the_file_of_the_seed_is_imported_once() {
    let file = r#"{"a":{"watchTime":9},"b":"kept"}"#;
    let house = House::with(|folder| std::fs::write(folder.join("progress.json"), file).unwrap());
    assert_eq!(house.get(), r#"{"a":{"watchTime":9},"b":"kept"}"#);
    house.put("{}").unwrap();
    let again = House::open(house.folder.path());
    let kept = smol::block_on(again.document(&Profile::default())).unwrap();
    assert_eq!(kept.to_vec().unwrap(), b"{}");
    let left = std::fs::read_to_string(house.folder.path().join("progress.json"));
    assert_eq!(left.unwrap(), file);
}

#[test]
fn a_broken_file_waits_until_it_is_mended() {
    let house = House::with(|folder| std::fs::write(folder.join("progress.json"), "{").unwrap());
    assert_eq!(house.get(), "{}");
    house
        .patch(r#"{"a":{"watchTime":50,"lastWatched":9}}"#)
        .unwrap();
    let mended = r#"{"a":{"watchTime":70,"lastWatched":8},"b":1}"#;
    std::fs::write(house.folder.path().join("progress.json"), mended).unwrap();
    let again = House::open(house.folder.path());
    let kept = smol::block_on(again.document(&Profile::default())).unwrap();
    let want = r#"{"a":{"lastWatched":9,"watchTime":50},"b":1}"#;
    assert_eq!(String::from_utf8(kept.to_vec().unwrap()).unwrap(), want);
}

#[test]
fn marks_and_profiles() {
    let house = House::new();
    let ana = Profile::named("Ana").unwrap();
    let body = r#"{"a":{"status":"complete","watchTime":9.5,"duration":"x"}}"#;
    smol::block_on(house.progress.replace(&ana, body.into())).unwrap();
    let keys = || vec!["b".to_owned(), "a".to_owned()];
    let marks = smol::block_on(house.progress.marks(&ana, keys())).unwrap();
    let want = Mark {
        complete: true,
        watch_time: Some(9.5),
        duration: None,
    };
    assert_eq!(marks, [None, Some(want)]);
    let none = Profile::named("Nobody").unwrap();
    assert_eq!(
        smol::block_on(house.progress.marks(&none, keys())).unwrap(),
        [None, None]
    );
    smol::block_on(house.progress.merge(&none, b"{\"a\":null}".to_vec())).unwrap();
    assert_eq!(
        smol::block_on(house.progress.profiles()).unwrap(),
        [("Ana".to_owned(), 1)]
    );
    assert!(smol::block_on(house.progress.remove(&ana)).unwrap());
    assert!(!smol::block_on(house.progress.remove(&ana)).unwrap());
    assert!(!smol::block_on(house.progress.remove(&Profile::default())).unwrap());
    assert_eq!(
        smol::block_on(house.progress.marks(&ana, keys())).unwrap(),
        [None, None]
    );
}
