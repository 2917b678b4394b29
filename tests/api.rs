//! The JSON routes: their shapes, and what they refuse.

use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{FakeDrive, File};

#[test]
fn health_has_every_key() {
    let daemon = Setup::new()
        .video("a.mp4", b"12345")
        .video("b.en.srt", b"")
        .start();
    let reply = daemon.get("/api/health");
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let health = reply.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime"].is_u64());
    assert_eq!(health["drive"]["available"], false);
    assert!(health["drive"]["account"].is_null());
    assert_eq!(health["drive"]["error"], "drive_not_configured");
    assert!(health["ffmpeg"]["available"].is_boolean());
    for key in ["path", "version"] {
        assert!(health["ffmpeg"].get(key).is_some(), "{key}");
    }
    assert_eq!(health["videos"]["count"], 1);
    assert_eq!(health["videos"]["bytes"], 5);
    assert!(health["videos"]["free"].is_u64());
    for key in [
        "open",
        "buffered_bytes",
        "upstream_bytes",
        "client_bytes",
        "resumed",
        "refused",
    ] {
        assert!(health["streams"][key].is_u64(), "{key}");
    }
    assert!(health["compatStream"].is_object());
    assert!(health["repair"].is_object());
}

#[test]
fn videos_are_listed_with_where_to_go() {
    let daemon = Setup::new().video("d/a b.mp4", b"12345").start();
    let reply = daemon.get("/api/videos");
    let videos = reply.json()["videos"].clone();
    assert_eq!(videos.as_array().map(Vec::len), Some(1));
    let video = &videos[0];
    assert_eq!(video["name"], "d/a b.mp4");
    assert_eq!(video["bytes"], 5);
    assert_eq!(video["type"], "video/mp4");
    assert_eq!(video["url"], "/videos/d/a%20b.mp4");
    assert_eq!(video["watch"], "/video/d/a%20b.mp4");
    let modified = video["modified"].as_str().unwrap();
    assert!(
        modified.starts_with("20") && modified.ends_with('Z'),
        "{modified}"
    );
    let tag = reply.header("etag").expect("a validator").to_owned();
    let again = daemon
        .client()
        .request("GET", "/api/videos", &[("If-None-Match", &tag)]);
    assert_eq!(again.status(), 304);
}

#[test]
fn progress_refuses_what_it_cannot_take() {
    let daemon = Setup::new().set("limits", "progress", "\"1KiB\"").start();
    assert_eq!(daemon.get("/api/progress").json(), serde_json::json!({}));
    let post = |method: &str, body: &str| {
        let mut client = daemon.client();
        let head = format!(
            "{method} /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(head).unwrap();
        let reply = client.response(method);
        (reply.status(), reply.code())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(post("POST", ""), refused(413, "payload_too_large"));
    assert_eq!(
        post("POST", &"x".repeat(1025)),
        refused(413, "payload_too_large")
    );
    for bad in ["x", "[1]", "null", "{\"a\":}", "{} x"] {
        assert_eq!(post("POST", bad), refused(400, "invalid_progress"), "{bad}");
        assert_eq!(
            post("PATCH", bad),
            refused(400, "invalid_progress"),
            "{bad}"
        );
    }
    assert_eq!(post("POST", "{\"a\":1}"), refused(200, ""));
    assert_eq!(post("PUT", "{}").0, 405);
}

#[test]
fn drive_without_credentials_says_so_and_all_else_works() {
    let daemon = Daemon::start();
    for target in [
        "/drive/files/abcdefghij",
        "/watch/drive/abcdefghij",
        "/drive/subtitles/abcdefghij.vtt",
        "/api/video-metadata/abcdefghij",
    ] {
        let reply = daemon.get(target);
        assert_eq!(reply.status(), 503, "{target}");
        assert_eq!(reply.code(), "drive_not_configured", "{target}");
        assert_eq!(
            daemon.client().request("HEAD", target, &[]).status(),
            503,
            "{target}"
        );
    }
    for target in [
        "/drive/files/short",
        "/drive/files/abcdefghi%2e",
        "/api/video-metadata/a%20b",
    ] {
        assert_eq!(daemon.get(target).code(), "invalid_file_id", "{target}");
        assert_eq!(daemon.get(target).status(), 400, "{target}");
    }
    assert_eq!(daemon.get("/").status(), 200);
}

#[test]
fn metadata_have_numbers_for_numbers() {
    let fake = FakeDrive::start();
    fake.add(File::pattern("pattern-0123456789", 4321));
    let daemon = Daemon::with_drive(&fake);
    let metadata = daemon.get("/api/video-metadata/pattern-0123456789").json();
    assert_eq!(metadata["id"], "pattern-0123456789");
    assert_eq!(metadata["size"], 4321);
    for key in ["name", "mimeType"] {
        assert!(metadata[key].is_string(), "{key}");
    }
    for key in [
        "md5Checksum",
        "modifiedTime",
        "durationMillis",
        "width",
        "height",
    ] {
        assert!(metadata.get(key).is_some(), "{key}");
    }
}
