//! Each of Drive's refusals is one status, one stable word and one sentence for the viewer; what lies on Drive is told
//! rightly.

use std::time::{Duration, Instant};

use crate::support::client::Response;
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{
    Action, Content, EMAIL, FakeDrive, File, Kind, Refusal, pattern_mismatch,
};

const ID: &str = "pattern-file-0001";
const TARGET: &str = "/drive/files/pattern-file-0001";

fn with_file() -> (FakeDrive, Daemon) {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 1 << 20));
    let daemon = Daemon::with_drive(&fake);
    (fake, daemon)
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str) {
    assert_eq!(
        (response.status(), &*response.code()),
        (status, code),
        "{}",
        response.text()
    );
    let detail = response.json()["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        detail.ends_with(['.', '!', '?']) && detail.len() > 20,
        "{detail:?} is a sentence"
    );
    assert_eq!(
        response.header("content-type"),
        Some("application/json; charset=utf-8")
    );
}

/// What a viewer gets when Drive refuses the download in this way, for good; and how often it was tried.
fn refused_download(refusal: Refusal) -> (Response, usize) {
    let (fake, daemon) = with_file();
    fake.on(Kind::Media).does(Action::Refuse(refusal));
    let response = daemon.get(TARGET);
    (response, fake.media_requests().len())
}

#[test]
fn a_download_quota_says_when_to_come_back() {
    let (response, tries) = refused_download(Refusal::new(403, "downloadQuotaExceeded"));
    assert_refused(&response, 503, "drive_download_quota");
    let at = response.json()["retry_at"].clone();
    assert!(at.is_string() || at.is_number(), "{}", response.text());
    assert_eq!(tries, 1, "never retried");
}

#[test]
fn a_missing_permission_names_the_account_to_share_with() {
    for reason in ["insufficientFilePermissions", "cannotDownloadFile"] {
        let (response, tries) = refused_download(Refusal::new(403, reason));
        assert_refused(&response, 403, "drive_permission");
        assert!(response.text().contains(EMAIL), "{}", response.text());
        assert_eq!(tries, 1, "{reason}: never retried");
    }
}

#[test]
fn abuse_is_451() {
    let (response, tries) = refused_download(Refusal::new(403, "cannotDownloadAbusiveFile"));
    assert_refused(&response, 451, "drive_abuse");
    assert_eq!(tries, 1, "never retried");
    let (fake, daemon) = with_file();
    fake.change(ID, |file| file.abusive = true);
    assert_refused(&daemon.get(TARGET), 451, "drive_abuse");
}

#[test]
fn what_is_not_there_is_404() {
    let (fake, daemon) = with_file();
    assert_refused(
        &daemon.get("/drive/files/no-such-file-1"),
        404,
        "drive_not_found",
    );
    assert_eq!(fake.requests_of(Kind::Metadata).len(), 1, "never retried");
    let (response, tries) = refused_download(Refusal::new(404, "notFound"));
    assert_refused(&response, 404, "drive_not_found");
    assert_eq!(tries, 1, "never retried");
}

#[test]
fn a_limit_that_lasts_is_503_with_retry_after() {
    for refusal in [
        Refusal::new(429, "rateLimitExceeded").retry_after("30"),
        Refusal::new(403, "rateLimitExceeded"),
        Refusal::new(403, "userRateLimitExceeded"),
    ] {
        let begun = Instant::now();
        let (response, _) = refused_download(refusal.clone());
        assert_refused(&response, 503, "drive_rate_limited");
        let delay = response
            .header("retry-after")
            .and_then(|text| text.parse::<u64>().ok());
        assert!(
            delay.is_some_and(|delay| (1..=3600).contains(&delay)),
            "{delay:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{refusal:?}");
    }
}

#[test]
fn faults_that_last_are_502() {
    for refusal in [
        Refusal::new(500, "internalError"),
        Refusal::html(502),
        Refusal::new(503, "backendError"),
    ] {
        let (response, tries) = refused_download(refusal);
        assert_refused(&response, 502, "drive_failed");
        assert!((2..=8).contains(&tries), "{tries} tries");
    }
}

#[test]
fn nonsense_from_drive_is_502() {
    let nonsense: [&[u8]; 5] = [
        b"",
        b"not JSON",
        b"{}",
        b"[]",
        b"{\"id\":\"pattern-file-0001\",\"name\":7,\"size\":\"many\"}",
    ];
    for bytes in nonsense {
        let (fake, daemon) = with_file();
        fake.on(Kind::Metadata)
            .does(Action::Garbage(bytes.to_vec()));
        let response = daemon.get(TARGET);
        assert_refused(&response, 502, "drive_failed");
    }
}

#[test]
fn no_network_is_503_and_all_else_works() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 1 << 20));
    let daemon = Setup::new()
        .drive(&fake)
        .video("Here.mp4", b"local bytes")
        .start();
    fake.refuse_connections();
    let begun = Instant::now();
    assert_refused(&daemon.get(TARGET), 503, "drive_unreachable");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    assert_eq!(daemon.get("/videos/Here.mp4").body, b"local bytes");
    assert_eq!(daemon.get("/").status(), 200);
    let health = daemon.health();
    assert_eq!(health["drive"]["error"], "drive_unreachable", "{health}");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "nothing waits for Drive"
    );
    fake.accept_connections();
    std::thread::sleep(Duration::from_secs(3));
    let response = daemon.get_range(TARGET, "bytes=0-9");
    assert_eq!(response.status(), 206, "it recovers: {}", response.text());
    assert_eq!(daemon.health()["drive"]["available"], true);
}

#[test]
fn without_credentials_every_drive_route_says_how_to_get_them() {
    let daemon = Setup::new().video("Here.mp4", b"local bytes").start();
    for target in [
        TARGET,
        "/api/video-metadata/pattern-file-0001",
        "/watch/drive/pattern-file-0001",
    ] {
        assert_refused(&daemon.get(target), 503, "drive_not_configured");
    }
    assert_eq!(daemon.get("/videos/Here.mp4").body, b"local bytes");
    assert_eq!(daemon.get("/").status(), 200);
    assert_eq!(daemon.health()["status"], "ok");
    let page = daemon
        .client()
        .request("GET", TARGET, &[("Accept", "text/html")]);
    assert_eq!(page.status(), 503);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
}

#[test]
fn ids_are_checked_before_google_is_asked() {
    let (fake, daemon) = with_file();
    for id in [
        "short",
        "has%20space0",
        "dots..dots..",
        "caf%C3%A9-caf%C3%A9",
        "semi;colon-id",
    ] {
        assert_refused(
            &daemon.get(&format!("/drive/files/{id}")),
            400,
            "invalid_file_id",
        );
    }
    // An encoded slash makes no id, and no way out of the path that Google is asked for.
    let status = daemon.get("/drive/files/%2e%2e%2f%2e%2e%2fabout").status();
    assert!(matches!(status, 400 | 404), "{status}");
    let long = "a".repeat(129);
    assert_refused(
        &daemon.get(&format!("/drive/files/{long}")),
        400,
        "invalid_file_id",
    );
    assert!(fake.requests().is_empty(), "{:?}", fake.requests());
}

#[test]
fn folders_are_not_downloadable_and_documents_export_or_say_so() {
    let (fake, daemon) = with_file();
    fake.add(File::folder("folder-00001", "Folder"))
        .add(File::document(
            "document-001",
            "Notes",
            "document",
            "Read me.",
        ))
        .add(File::document("form-000001", "Form", "form", "x"));
    assert_refused(
        &daemon.get("/drive/files/folder-00001"),
        415,
        "drive_not_downloadable",
    );
    assert_refused(
        &daemon.get("/drive/files/form-000001"),
        415,
        "drive_not_downloadable",
    );
    let response = daemon.get("/drive/files/document-001");
    if response.status() == 200 {
        let text = response.text();
        assert!(text.contains("Read me.") && response.whole, "{text}");
    } else {
        assert_refused(&response, 415, "drive_not_downloadable");
    }
}

#[test]
fn shortcuts_lead_to_their_targets_or_nowhere() {
    let (fake, daemon) = with_file();
    fake.add(File::shortcut_to(
        "shortcut-0001",
        "Short.mp4",
        ID,
        "video/mp4",
    ))
    .add(File::shortcut_to(
        "shortcut-0002",
        "Gone.mp4",
        "gone-file-0001",
        "video/mp4",
    ))
    .add(File::shortcut_to(
        "shortcut-0003",
        "Loop.mp4",
        "shortcut-0003",
        "video/mp4",
    ));
    let response = daemon.get_range("/drive/files/shortcut-0001", "bytes=3-5");
    assert_eq!(
        (response.status(), pattern_mismatch(3, &response.body)),
        (206, None)
    );
    assert_eq!(response.header("content-type"), Some("video/mp4"));
    assert_refused(
        &daemon.get("/drive/files/shortcut-0002"),
        404,
        "drive_not_found",
    );
    let looped = daemon.get("/drive/files/shortcut-0003").status();
    assert!((400..=503).contains(&looped), "a loop ends: {looped}");
    assert!(
        fake.requests().len() < 12,
        "{} requests",
        fake.requests().len()
    );
}

#[test]
fn shared_drives_work_like_any_folder() {
    let (fake, daemon) = with_file();
    fake.add(File::pattern("shared-file-1", 1000).with(|file| {
        file.shared_drive = Some("0ADriveDriveDrive".to_owned());
    }));
    let response = daemon.get("/drive/files/shared-file-1");
    assert_eq!((response.status(), response.body.len()), (200, 1000));
}

#[test]
fn types_come_by_name_when_drive_knows_none() {
    let (fake, daemon) = with_file();
    for (id, name, given, wanted) in [
        (
            "octet-file-01",
            "Lesson 1 \u{2013} it's/\"here\" \u{1f3ac}.MP4",
            "application/octet-stream",
            "video/mp4",
        ),
        (
            "octet-file-02",
            "song.mp3",
            "application/octet-stream",
            "audio/mpeg",
        ),
        (
            "octet-file-03",
            "unknown.zzz",
            "application/octet-stream",
            "application/octet-stream",
        ),
        ("typed-file-01", "clip.webm", "video/webm", "video/webm"),
    ] {
        fake.add(File::new(id, name, given, Content::Pattern(10)));
        let response = daemon.get(&format!("/drive/files/{id}"));
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(response.header("content-type"), Some(wanted), "{name}");
    }
}

#[test]
fn entity_tags_follow_the_content() {
    let (fake, daemon) = with_file();
    fake.add(File::pattern("other-file-01", 1 << 20));
    fake.add(File::pattern("plain-file-01", 1 << 20).with(|file| file.md5 = None));
    let tag = |id: &str| {
        let head = daemon
            .client()
            .request("HEAD", &format!("/drive/files/{id}"), &[]);
        head.header("etag").expect("an entity tag").to_owned()
    };
    let (one, other, plain) = (tag(ID), tag("other-file-01"), tag("plain-file-01"));
    assert!(one != other && one != plain && other != plain);
    assert!(
        [&one, &other, &plain]
            .iter()
            .all(|tag| tag.starts_with('"')),
        "all are strong"
    );
    assert_eq!(one, tag(ID));
    let part =
        daemon
            .client()
            .request("GET", TARGET, &[("Range", "bytes=5-9"), ("If-Range", &one)]);
    assert_eq!((part.status(), part.header("etag")), (206, Some(&*one)));
    let whole = daemon.client().request(
        "GET",
        TARGET,
        &[("Range", "bytes=5-9"), ("If-Range", &other)],
    );
    assert_eq!((whole.status(), whole.body.len()), (200, 1 << 20));
}

#[test]
fn ranges_of_drive_files_follow_the_rfc() {
    let (fake, daemon) = with_file();
    let size = 1_u64 << 20;
    for (range, first, last) in [
        ("bytes=0-1", 0, 1),
        ("bytes=0-", 0, size - 1),
        ("bytes=-5", size - 5, size - 1),
        ("bytes=-99999999", 0, size - 1),
        ("bytes=1048575-", size - 1, size - 1),
        ("bytes=10-18446744073709551615", 10, size - 1),
    ] {
        let response = daemon.get_range(TARGET, range);
        assert_eq!(response.status(), 206, "{range}");
        let wanted = format!("bytes {first}-{last}/{size}");
        assert_eq!(response.header("content-range"), Some(&*wanted), "{range}");
        assert_eq!(response.body.len() as u64, last + 1 - first, "{range}");
        assert_eq!(pattern_mismatch(first, &response.body), None, "{range}");
    }
    for range in ["bytes=-0", "bytes=1048576-", "bytes=99999999999999999999-"] {
        let response = daemon.get_range(TARGET, range);
        assert_eq!(
            (response.status(), response.header("content-range")),
            (416, Some("bytes */1048576")),
            "{range}"
        );
    }
    for range in ["bytes=5-4", "octets=0-1", "bytes=", "bytes=a-b"] {
        assert_eq!(daemon.get_range(TARGET, range).status(), 200, "{range}");
    }
    // Drive answers 416 to any range of an empty file; ours is empty and whole without asking.
    fake.add(File::pattern("empty-file-01", 0));
    let empty = daemon.get("/drive/files/empty-file-01");
    assert_eq!(
        (empty.status(), empty.head.length(), empty.whole),
        (200, Some(0), true)
    );
    let several = daemon.get_range(TARGET, "bytes=0-9,100-109");
    assert!(
        several
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("multipart/byteranges"))
    );
    assert_eq!(several.status(), 206);
}

#[test]
fn metadata_are_numbers_and_names() {
    let (fake, daemon) = with_file();
    let name = "L'\u{e9}t\u{e9} / \"eins\" \u{1f3ac}.mp4";
    fake.add(
        File::new("video-file-01", name, "video/mp4", Content::Pattern(12_345)).with(|file| {
            file.video = Some((1920, 1080, 61_500));
        }),
    );
    let response = daemon.get("/api/video-metadata/video-file-01");
    assert_eq!(response.status(), 200, "{}", response.text());
    let value = response.json();
    assert_eq!(value["name"], name);
    assert_eq!(value["mimeType"], "video/mp4");
    assert_eq!(value["size"], 12_345, "a number, though Drive sends text");
    assert!(
        value["md5Checksum"].is_string() && value["modifiedTime"].is_string(),
        "{value}"
    );
    let text = value.to_string();
    assert!(
        text.contains("61500") && text.contains("1920") && text.contains("1080"),
        "{text}"
    );
    assert_refused(
        &daemon.get("/api/video-metadata/no-such-file-1"),
        404,
        "drive_not_found",
    );
    assert_refused(
        &daemon.get("/api/video-metadata/short"),
        400,
        "invalid_file_id",
    );
}

#[test]
fn a_watch_page_names_the_video_and_finds_its_subtitles() {
    let (fake, daemon) = with_file();
    fake.add(File::folder("course-folder", "It's a \"course\""));
    fake.add(
        File::pattern("lesson-file-1", 1000)
            .within("course-folder")
            .with(|file| {
                file.name = "Lesson <1> & more.mp4".to_owned();
            }),
    );
    for (id, name) in [
        ("lesson-subs-1", "Lesson <1> & more.en.vtt"),
        ("lesson-subs-2", "Lesson <1> & more.srt"),
        ("lesson-subs-3", "Another.vtt"),
    ] {
        fake.add(File::bytes(id, name, "text/vtt", "WEBVTT\n\n").within("course-folder"));
    }
    // Pages of the listing may be short, or empty, and not the last.
    fake.on(Kind::List).once().does(Action::PageOf(0));
    fake.on(Kind::List).skip(1).does(Action::PageOf(2));
    let page = daemon.get("/watch/drive/lesson-file-1");
    assert_eq!(page.status(), 200, "{}", page.text());
    let text = page.text();
    assert!(
        text.contains("<video") && text.contains("controls"),
        "{text}"
    );
    assert!(text.contains("/drive/files/lesson-file-1"), "{text}");
    assert!(
        text.contains("Lesson &lt;1&gt; &amp; more"),
        "names are escaped: {text}"
    );
    assert!(
        text.contains("lesson-subs-1") && text.contains("lesson-subs-2"),
        "{text}"
    );
    assert!(!text.contains("lesson-subs-3"), "{text}");
    // Without a listing the page still plays.
    fake.behave();
    fake.on(Kind::List)
        .refuses(403, "insufficientFilePermissions");
    assert_eq!(daemon.get("/watch/drive/pattern-file-0001").status(), 200);
}
