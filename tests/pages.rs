//! Pages as a television or a phone gets them: links, players, tracks, and names that mean harm.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{Content, FakeDrive, File};

/// The values of `href` on a page.
fn links(page: &str) -> Vec<String> {
    page.split(" href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|link| link.replace("&amp;", "&"))
        .collect()
}

#[test]
fn the_list_leads_to_players() {
    let daemon = Setup::new()
        .video("Film.mp4", b"x")
        .video("Film.en.srt", b"")
        .video("Film_es.vtt", b"WEBVTT\n")
        .video("Other.en.vtt", b"WEBVTT\n")
        .video("music/Tune.mp3", b"x")
        .video("notes.txt", b"x")
        .start();
    let home = daemon.get("/");
    assert_eq!(
        home.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = home.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!home.text().contains("<script"));
    let found = links(&home.text());
    assert!(found.contains(&"/video/Film.mp4".to_owned()), "{found:?}");
    assert!(
        found.contains(&"/video/music/Tune.mp3".to_owned()),
        "{found:?}"
    );
    assert!(!home.text().contains("notes"));
    assert!(home.text().contains("Google Drive"));
    for link in found {
        assert_eq!(daemon.get(&link).status(), 200, "{link}");
    }

    let page = daemon
        .client()
        .request("GET", "/video/Film.mp4", &[("Accept-Language", "es")])
        .text();
    assert!(page.contains("<video controls"), "{page}");
    assert!(
        page.contains("<source src=\"/videos/Film.mp4\" type=\"video/mp4\">"),
        "{page}"
    );
    assert_eq!(page.matches("<track ").count(), 2, "{page}");
    assert!(
        page.contains("src=\"/videos/Film.en.vtt\" srclang=\"en\" label=\"English\">"),
        "{page}"
    );
    assert!(
        page.contains("src=\"/videos/Film_es.vtt\" srclang=\"es\" label=\"Español\" default>"),
        "{page}"
    );
    assert!(
        links(&page).contains(&"/videos/Film.mp4?download=1".to_owned()),
        "{page}"
    );
    assert!(
        daemon
            .get("/video/music/Tune.mp3")
            .text()
            .contains("<audio controls")
    );
    assert_eq!(daemon.get("/video/missing.mp4").status(), 404);
}

#[test]
fn the_style_sheet_is_kept_by_its_hash() {
    let daemon = Daemon::start();
    let home = daemon.get("/").text();
    let sheet = links(&home)
        .into_iter()
        .find(|link| link.starts_with("/style.css?v="))
        .unwrap();
    let kept = daemon.get(&sheet);
    assert_eq!(kept.header("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(
        kept.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(
        daemon.get("/style.css?v=old").header("cache-control"),
        Some("no-cache")
    );
    let packed = daemon
        .client()
        .request("GET", &sheet, &[("Accept-Encoding", "gzip")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < kept.body.len());
}

#[test]
fn an_empty_house_says_what_to_do() {
    let daemon = Daemon::start();
    let page = daemon.get("/").text();
    let folder = daemon.setup().videos();
    assert!(page.contains("Copy videos or music into"), "{page}");
    assert!(page.contains(folder.to_str().unwrap()), "{page}");
    assert_eq!(page.matches(" autofocus").count(), 1);
}

#[test]
fn names_that_mean_harm_are_only_names() {
    let setup = Setup::new();
    let names: [&[u8]; 7] = [
        b"\"><img src=x onerror=alert(1)>.mp4",
        "50% #1? & \u{202e}\u{1f3ac} \u{5d0}.mp4".as_bytes(),
        b"\xff\xfe.mp4",
        b" .mp4",
        b"line\nend.mp4",
        b"+'`\\.mp4",
        b"%2e%2e%2fsecret.mp4",
    ];
    for name in names {
        std::fs::write(setup.videos().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let daemon = setup.start();
    let home = daemon.get("/").text();
    assert!(!home.contains("<img"), "{home}");
    let watch: Vec<String> = links(&home)
        .into_iter()
        .filter(|link| link.starts_with("/video/"))
        .collect();
    assert_eq!(watch.len(), names.len(), "{watch:?}");
    let mut found = Vec::new();
    for link in &watch {
        let page = daemon.get(link);
        assert_eq!(page.status(), 200, "{link}");
        assert!(!page.text().contains("<img"), "{link}");
        let source = link.replacen("/video/", "/videos/", 1);
        assert!(
            page.text().contains(&format!("<source src=\"{source}\"")),
            "{link}"
        );
        found.push(daemon.get(&source).body);
    }
    for name in names {
        assert!(
            found.iter().any(|body| body == name),
            "{:?}",
            String::from_utf8_lossy(name)
        );
    }
    let listed = daemon.get("/api/videos").json();
    assert_eq!(listed["videos"].as_array().map(Vec::len), Some(names.len()));
}

#[test]
fn a_drive_file_has_the_same_page() {
    let fake = FakeDrive::start();
    let (film, srt) = ("film-0123456789", "srt-0123456789");
    fake.add(File::folder("folder-0123456789", "Course"));
    fake.add(
        File::new(
            film,
            "Film <1>.mp4",
            "video/mp4",
            Content::Bytes(b"0123".to_vec().into()),
        )
        .within("folder-0123456789"),
    );
    fake.add(
        File::bytes(
            srt,
            "Film <1>.en.srt",
            "application/x-subrip",
            &b"1\n0:0:1,0 --> 0:0:2,0\nHi\n"[..],
        )
        .within("folder-0123456789"),
    );
    let daemon = Daemon::with_drive(&fake);
    let page = daemon.get(&format!("/watch/drive/{film}"));
    assert_eq!(page.status(), 200, "{}", page.text());
    let page = page.text();
    assert!(
        page.contains("<h1 dir=\"auto\">Film &lt;1&gt;</h1>"),
        "{page}"
    );
    let source = format!("<source src=\"/drive/files/{film}\" type=\"video/mp4\">");
    assert!(page.contains(&source), "{page}");
    let track =
        format!("src=\"/drive/subtitles/{srt}.vtt\" srclang=\"en\" label=\"English\" default>");
    assert!(page.contains(&track), "{page}");
    let vtt = daemon.get(&format!("/drive/subtitles/{srt}.vtt"));
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert_eq!(vtt.text(), "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHi\n");
    let saved = daemon.get(&format!("/drive/files/{film}?download=1"));
    let want = "attachment; filename=\"Film <1>.mp4\"; filename*=UTF-8''Film%20%3C1%3E.mp4";
    assert_eq!(saved.header("content-disposition"), Some(want));
}
