//! How a viewer comes to a file on Drive: by the start page, by links with keys, past a warning, and how long it takes
//! to hear no.

use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind, Refusal, pattern_mismatch};

const ID: &str = "pattern-file-0001";
const TARGET: &str = "/drive/files/pattern-file-0001";
const KEY: &str = "0-aB_c1";
const MIB: u64 = 1 << 20;

/// A fake with a file that is not found without its key.
fn with_key() -> FakeDrive {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 8 * MIB).with(|file| file.resource_key = Some(KEY.to_owned())));
    fake
}

#[test]
fn a_link_with_a_resource_key_opens_its_file() {
    let fake = with_key();
    let daemon = Daemon::with_drive(&fake);
    for target in [
        TARGET,
        "/watch/drive/pattern-file-0001",
        "/api/video-metadata/pattern-file-0001",
    ] {
        let bare = daemon.get(target);
        assert_eq!(
            (bare.status(), &*bare.code()),
            (404, "drive_not_found"),
            "{target}"
        );
        assert!(bare.text().contains("resourcekey"), "{}", bare.text());
        let wrong = daemon.get(&format!("{target}?resourcekey=0-other"));
        assert_eq!(wrong.status(), 404, "{target}");
        for broken in ["a%2Fb", "a,b", "a%0d%0ab", "%ff", "a%20b"] {
            let broken = daemon.get(&format!("{target}?resourcekey={broken}"));
            assert_eq!(
                (broken.status(), &*broken.code()),
                (400, "invalid_resource_key"),
                "{target}"
            );
        }
    }
    let keyed = format!("{TARGET}?resourcekey={KEY}");
    let part = daemon.get_range(&keyed, "bytes=5000000-5000099");
    assert_eq!(
        (part.status(), pattern_mismatch(5_000_000, &part.body)),
        (206, None)
    );
    // Who was let in once may come back with the id alone: a player's later seek, a job, a bookmark.
    let later = daemon.get_range(TARGET, "bytes=6000000-6000099");
    assert_eq!(
        (later.status(), pattern_mismatch(6_000_000, &later.body)),
        (206, None)
    );
    let whole = daemon.get(&keyed);
    assert!(whole.whole && whole.body.len() as u64 == 8 * MIB);
    let metadata = daemon.get(&format!(
        "/api/video-metadata/pattern-file-0001?resourcekey={KEY}"
    ));
    assert_eq!(metadata.json()["size"], 8 * MIB);
}

#[test]
fn the_page_of_a_keyed_link_plays_and_saves_with_the_key() {
    let fake = with_key();
    let daemon = Daemon::with_drive(&fake);
    let page = daemon.get(&format!(
        "/watch/drive/pattern-file-0001?resourcekey={KEY}&usp=sharing"
    ));
    assert_eq!(page.status(), 200, "{}", page.text());
    let page = page.text();
    let source = format!("{TARGET}?resourcekey={KEY}");
    assert!(
        page.contains(&format!("<source src=\"{source}\"")),
        "{page}"
    );
    let saving = format!("{source}&amp;download=1");
    assert!(page.contains(&saving), "{page}");
    // A daemon that starts anew knows no key but the link's.
    let daemon = daemon.restart();
    let saved = daemon.get(&format!("{source}&download=1"));
    assert_eq!((saved.status(), saved.body.len() as u64), (200, 8 * MIB));
    assert!(saved.header("content-disposition").is_some());
}

#[test]
fn a_shortcut_hands_over_the_key_of_its_target() {
    let fake = with_key();
    fake.add(
        File::shortcut_to("shortcut-0001", "Short.mp4", ID, "video/mp4")
            .with(|file| file.shortcut_key = Some(KEY.to_owned())),
    );
    let daemon = Daemon::with_drive(&fake);
    let part = daemon.get_range("/drive/files/shortcut-0001", "bytes=3-5");
    assert_eq!(
        (part.status(), pattern_mismatch(3, &part.body)),
        (206, None)
    );
    // And by the id of the target, which is known to ask for the key.
    assert_eq!(daemon.get_range(TARGET, "bytes=3-5").status(), 206);
    // Its page, too, leads to what can be played.
    let daemon = daemon.restart();
    let page = daemon.get("/watch/drive/shortcut-0001").text();
    let from = page.find("<source src=\"").expect("a source") + 13;
    let source = page[from..].split('"').next().expect("its end").to_owned();
    fake.forget_requests();
    let part = daemon.get_range(&source, "bytes=3-5");
    assert_eq!(
        (part.status(), pattern_mismatch(3, &part.body)),
        (206, None)
    );
    assert_eq!(fake.requests_of(Kind::Metadata).len(), 0, "known by now");
}

#[test]
fn what_google_calls_malware_is_sent_to_who_insists_and_never_otherwise() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, MIB).with(|file| file.abusive = true));
    let daemon = Daemon::with_drive(&fake);
    let page = "/watch/drive/pattern-file-0001";
    assert!(!daemon.get(page).text().contains("acknowledgeAbuse"));
    let refused = daemon.get(TARGET);
    assert_eq!((refused.status(), &*refused.code()), (451, "drive_abuse"));
    let answer = refused.json();
    let insist = answer["insist"].as_str().expect("a way past it").to_owned();
    assert_eq!(insist, format!("{TARGET}?acknowledgeAbuse=true"));
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("acknowledgeAbuse=true"), "{detail}");
    let shown = daemon
        .client()
        .request("GET", TARGET, &[("Accept", "text/html")]);
    assert_eq!(shown.status(), 451);
    assert!(
        shown.text().contains(&format!("href=\"{insist}\"")),
        "{}",
        shown.text()
    );
    // Known by now, so that the page says so, and leads on.
    let warned = daemon.get(page).text();
    let on = format!("{page}?acknowledgeAbuse=true");
    assert!(warned.contains(&format!("href=\"{on}\"")), "{warned}");
    for value in ["1", "TRUE", "", "false"] {
        let target = format!("{TARGET}?acknowledgeAbuse={value}");
        assert_eq!(daemon.get(&target).status(), 451, "{value:?}");
    }
    let asked = fake.media_requests();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|request| !request.query.contains("acknowledge"))
    );
    let insisting = daemon.get(&on).text();
    assert!(
        insisting.contains(&format!("<source src=\"{insist}\"")),
        "{insisting}"
    );
    let whole = daemon.get(&insist);
    assert_eq!((whole.status(), whole.whole), (200, true));
    assert_eq!(pattern_mismatch(0, &whole.body), None);
    // Nothing of it stays for those who do not insist.
    assert_eq!(daemon.get_range(TARGET, "bytes=0-99").status(), 451);
}

#[test]
fn the_start_page_shows_the_films_of_the_root() {
    let fake = FakeDrive::start();
    let root = "root-folder-0001";
    let film = |id: &str, name: &str| {
        File::pattern(id, 1000)
            .with(|file| file.name = name.to_owned())
            .within(root)
    };
    fake.add(File::folder(root, "Films"))
        .add(film("film-id-00001", "A <Film> & more.mp4"))
        .add(film("film-id-00002", "Unknown to Drive.mkv").with(|file| {
            file.mime = "application/octet-stream".to_owned();
        }))
        .add(film("film-id-00003", "Letter.pdf").with(|file| {
            file.mime = "application/pdf".to_owned();
        }))
        .add(film("film-id-00004", "Binned.mp4").with(|file| file.trashed = true))
        .add(File::folder("folder-in-00001", "A course").within(root))
        .add(File::pattern("film-id-00005", 1000))
        .add(
            File::shortcut_to(
                "shortcut-0001",
                "Elsewhere.mp4",
                "film-id-00005",
                "video/mp4",
            )
            .within(root),
        );
    let daemon = Setup::new()
        .drive(&fake)
        .set("drive", "root", &format!("{root:?}"))
        .start();
    // The first page does not wait long for Drive; the next has it.
    assert!(eventually(Duration::from_secs(20), || {
        daemon.get("/").text().contains("On Google Drive")
    }));
    let page = daemon.get("/").text();
    for (id, title) in [
        ("film-id-00001", "A &lt;Film&gt; &amp; more"),
        ("film-id-00002", "Unknown to Drive"),
        ("film-id-00005", "Elsewhere"),
    ] {
        assert!(page.contains(title), "{title} in {page}");
        let link = format!("href=\"/watch/drive/{id}\"");
        assert!(page.contains(&link), "{link} in {page}");
        assert_eq!(daemon.get(&format!("/watch/drive/{id}")).status(), 200);
    }
    for absent in [
        "Letter",
        "Binned",
        "A course",
        "film-id-00003",
        "film-id-00004",
        "folder-in-00001",
    ] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    // What the Drive part says of itself.
    assert!(page.contains("Google Drive is connected as "), "{page}");
    assert!(page.contains(crate::support::drive::EMAIL), "{page}");
    // It shows what is there without Drive as well, and says what is wrong.
    let alone = Daemon::start();
    let page = alone.get("/").text();
    assert!(
        !page.contains("On Google Drive") && page.contains("No Google Drive is set up"),
        "{page}"
    );
}

#[test]
fn a_start_page_does_not_wait_for_a_drive_that_hangs() {
    let fake = FakeDrive::start();
    let root = "root-folder-0001";
    fake.add(File::folder(root, "Films"));
    fake.on(Kind::List)
        .does(Action::Latency(Duration::from_secs(60)));
    let daemon = Setup::new()
        .drive(&fake)
        .set("drive", "root", &format!("{root:?}"))
        .start();
    let begun = Instant::now();
    assert_eq!(daemon.get("/").status(), 200);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

/// Metadata that come late, and bytes that never do: the viewer hears so within 25 s, and not after the patience of
/// both.
#[test]
fn a_no_comes_within_25_s_wherever_it_fails() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 8 * MIB));
    let daemon = Daemon::with_drive(&fake);
    fake.on(Kind::Metadata)
        .does(Action::Latency(Duration::from_secs(8)));
    fake.on(Kind::Metadata)
        .once()
        .does(Action::Refuse(Refusal::html(502)));
    fake.on(Kind::Media).does(Action::Stall(0));
    let begun = Instant::now();
    let response = daemon.get_range(TARGET, "bytes=3000000-3000099");
    let took = begun.elapsed();
    assert_eq!(
        (response.status(), &*response.code()),
        (502, "drive_failed")
    );
    assert!(
        took > Duration::from_secs(20),
        "{took:?}: both were waited for"
    );
    assert!(took < Duration::from_secs(27), "{took:?}");
    assert!(
        fake.wait_until(Duration::from_secs(2), |fake| fake.open_transfers() == 0),
        "nothing is read on"
    );
}

/// A shortcut whose target hangs, asked for by two at the same time: one patience for both, and for both steps.
#[test]
fn a_shortcut_and_a_second_viewer_share_one_patience() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, MIB)).add(File::shortcut_to(
        "shortcut-0001",
        "Short.mp4",
        ID,
        "video/mp4",
    ));
    let daemon = Daemon::with_drive(&fake);
    fake.on(Kind::Metadata)
        .file("shortcut-0001")
        .does(Action::Latency(Duration::from_secs(7)));
    fake.on(Kind::Metadata)
        .file(ID)
        .does(Action::Latency(Duration::from_secs(60)));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let response = daemon.get("/drive/files/shortcut-0001");
                assert_eq!(
                    (response.status(), &*response.code()),
                    (502, "drive_failed")
                );
            });
        }
    });
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(24), "{took:?}");
}

/// The token endpoint accepts and says nothing: the sentence is about Google, well before the request gives up.
#[test]
fn a_token_that_never_comes_is_heard_of_in_time() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, MIB));
    fake.on(Kind::Token)
        .does(Action::Latency(Duration::from_secs(60)));
    let daemon = Daemon::with_drive(&fake);
    let begun = Instant::now();
    let response = daemon.get(TARGET);
    assert_eq!(
        (response.status(), &*response.code()),
        (502, "drive_failed")
    );
    assert!(
        begun.elapsed() < Duration::from_secs(19),
        "{:?}",
        begun.elapsed()
    );
}
