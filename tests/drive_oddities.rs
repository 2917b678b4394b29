//! Files on Drive that are out of the ordinary: empty, without a length, with names that break heads.

use crate::support::daemon::Daemon;
use crate::support::drive::{Action, Content, FakeDrive, File, Kind, Refusal, pattern_mismatch};

const ID: &str = "file-id-0001";

#[test]
fn an_empty_file_is_empty_and_not_an_error() {
    let fake = FakeDrive::start();
    fake.add(File::bytes(ID, "empty.mp4", "video/mp4", b""));
    let daemon = Daemon::with_drive(&fake);
    let url = format!("/drive/files/{ID}");
    for method in ["GET", "HEAD"] {
        let whole = daemon.client().request(method, &url, &[]);
        assert_eq!(
            (whole.status(), whole.header("content-length")),
            (200, Some("0"))
        );
        assert!(whole.body.is_empty());
    }
    let part = daemon.get_range(&url, "bytes=0-");
    assert_eq!(
        (part.status(), part.header("content-range")),
        (416, Some("bytes */0"))
    );
    assert_eq!(fake.media_requests().len(), 0, "Google has nothing to send");
    assert_eq!(daemon.get(&format!("/watch/drive/{ID}")).status(), 200);
}

#[test]
fn a_length_is_read_as_text_and_as_a_number_and_missed_with_a_sentence() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 5000));
    let daemon = Daemon::with_drive(&fake);
    let told = |size: &str| {
        let text = format!(
            "{{\"id\":\"{ID}\",\"name\":\"a.mp4\",\"mimeType\":\"video/mp4\",\"md5Checksum\":\"{size:x>32.32}\"{size}}}"
        );
        Action::Garbage(text.into_bytes())
    };
    fake.on(Kind::Metadata)
        .times(1)
        .does(told(",\"size\":5000"));
    let reply = daemon.get(&format!("/drive/files/{ID}"));
    assert_eq!((reply.status(), reply.body.len()), (200, 5000));
    assert_eq!(pattern_mismatch(0, &reply.body), None);
    drop(daemon);
    let daemon = Daemon::with_drive(&fake);
    fake.on(Kind::Metadata).does(told(""));
    let reply = daemon.get(&format!("/drive/files/{ID}"));
    assert_eq!(
        (reply.status(), reply.code().as_str()),
        (415, "drive_not_downloadable")
    );
}

#[test]
fn names_from_drive_break_no_head_and_no_page() {
    let fake = FakeDrive::start();
    let name = "a \"b\"\r\nSet-Cookie: x=y\u{202e}; ñ'<script>%41/..\\.mp4";
    fake.add(File::new(ID, name, "video/mp4", Content::Pattern(100)));
    fake.add(File::new(
        "file-id-0002",
        "b.mp4",
        "video/mp4\r\nX: y; \"<b>",
        Content::Pattern(100),
    ));
    let daemon = Daemon::with_drive(&fake);
    let reply = daemon.get(&format!("/drive/files/{ID}?download=1"));
    assert_eq!(reply.header("set-cookie"), None);
    let saved = reply.header("content-disposition").expect("a name");
    assert!(
        saved.is_ascii() && saved.starts_with("attachment; filename=\"a _b___Set-Cookie"),
        "{saved}"
    );
    assert!(saved.ends_with("%5C.mp4"), "{saved}");
    let page = daemon.get(&format!("/watch/drive/{ID}")).text();
    assert!(!page.contains("<script"), "{page}");
    let odd = daemon.get("/drive/files/file-id-0002");
    assert_eq!(odd.header("x"), None);
    let page = daemon.get("/watch/drive/file-id-0002").text();
    assert!(!page.contains("<b>"), "{page}");
}

#[test]
fn a_shortcut_to_a_shortcut_ends() {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 100));
    fake.add(File::shortcut_to("shortcut-0001", "One", ID, "video/mp4"));
    fake.add(File::shortcut_to(
        "shortcut-0002",
        "Two",
        "shortcut-0001",
        "application/vnd.google-apps.shortcut",
    ));
    let daemon = Daemon::with_drive(&fake);
    let reply = daemon.get("/drive/files/shortcut-0002");
    assert_eq!(
        (reply.status(), reply.code().as_str()),
        (404, "drive_not_found")
    );
}

#[test]
fn every_reason_of_a_403_is_told_apart() {
    for (reason, status, code) in [
        ("downloadQuotaExceeded", 503, "drive_download_quota"),
        ("insufficientFilePermissions", 403, "drive_permission"),
        ("cannotDownloadFile", 403, "drive_permission"),
        ("cannotDownloadAbusiveFile", 451, "drive_abuse"),
        ("accessNotConfigured", 503, "drive_credentials"),
        ("fileNotDownloadable", 415, "drive_not_downloadable"),
        ("dailyLimitExceeded", 503, "drive_download_quota"),
        ("somethingNew", 403, "drive_permission"),
    ] {
        let fake = FakeDrive::start();
        fake.add(File::pattern(ID, 100));
        fake.on(Kind::Media)
            .does(Action::Refuse(Refusal::new(403, reason)));
        let daemon = Daemon::with_drive(&fake);
        let reply = daemon.get(&format!("/drive/files/{ID}"));
        assert_eq!(
            (reply.status(), reply.code().as_str()),
            (status, code),
            "{reason}"
        );
        // A copy of the file helps against its own lock, and not against the account's.
        assert_eq!(
            reply.text().contains("copy of the file"),
            reason == "downloadQuotaExceeded",
            "{reason}"
        );
    }
}
