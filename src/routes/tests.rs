//! The rules of every route together, by requests made in memory. What needs a socket is tested from outside.

use crate::jobs::queue::Gate;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http_types::Method;
use serde_json::Value;

use super::*;
use crate::config::{self, Credentials};
use crate::ffmpeg::loopback::Loopback;
use crate::http::Body;
use crate::store::database::Database;

struct House {
    app: App,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let videos = dir.path().join("videos");
        fs::create_dir(&videos).unwrap();
        let config = Config {
            http: config::Http {
                listen: Vec::new(),
                allowed_hosts: vec!["tv.example:9".to_owned(), "*.house.example".to_owned()],
                allowed_origins: vec!["https://app.example".to_owned()],
                max_connections: 8,
            },
            library: config::Library {
                videos: videos.clone(),
                courses: None,
                keep_originals: false,
                posters: false,
            },
            drive: config::Drive {
                credentials: Credentials::None,
                root: None,
                root_key: None,
                endpoint: "https://127.0.0.1:1".to_owned(),
                ca_file: None,
            },
            ffmpeg: config::Ffmpeg {
                ffmpeg: "/nonexistent/ffmpeg".to_owned(),
                ffprobe: "/nonexistent/ffprobe".to_owned(),
                live_streams: 2,
                jobs: 1,
                force_reencode: false,
                stalled: std::time::Duration::from_secs(60),
            },
            limits: config::Limits {
                progress: 64,
                upload: 1 << 20,
                buffers: 1 << 20,
                repaired: 0,
                free_space: 0,
            },
            state: config::State {
                dir: dir.path().join("state"),
                cache: dir.path().join("cache"),
            },
        };
        fs::create_dir(&config.state.dir).unwrap();
        let drive = Drive::new(&config, crate::media::kind::content_type);
        let database = Database::of(&config.state.dir);
        let database_of_uploads = database.clone();
        let (videos, ffmpeg) = (Folder::new(videos), Programs::new(&config.ffmpeg));
        let queue = Queue::new(database.clone(), Events::new(), Gate::open());
        let loopback = Loopback::new();
        let intake = Intake::new(&config, videos.clone(), ffmpeg.clone(), queue.clone());
        let app = App {
            repairs: Repairs::new(
                &config,
                drive.clone(),
                ffmpeg.clone(),
                loopback.clone(),
                queue.clone(),
            ),
            posters: Posters::new(&config, videos.clone(), ffmpeg.clone(), queue.clone()),
            scan: Scanner::new(&config, drive.clone(), database.clone()),
            drive,
            videos,
            catalog: Catalog::new(&config).unwrap(),
            courses: None,
            listener: Arc::new(Listener::new(Vec::new(), 8).unwrap()),
            started: Instant::now(),
            admin: Arc::new(Admin::open(&config.state.dir)),
            ffmpeg,
            loopback,
            prober: Prober::new(Programs::new(&config.ffmpeg), database.clone()),
            live: LiveStreams::new(2),
            videos_json: VideosJson::default(),
            indexes: Indexes::default(),
            subtitles: Subtitles::default(),
            database: database.clone(),
            lacks: Lacks::default(),
            progress: Progress::new(
                database,
                config.state.dir.join("progress.json"),
                config.limits.progress,
            ),
            queue,
            events: Events::new(),
            resumable: Resumable::new(intake.clone(), database_of_uploads),
            intake,
            config,
        };
        app.admin.token().unwrap();
        House { app, _dir: dir }
    }

    fn videos(&self) -> &Path {
        self.app.videos.root()
    }

    fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("host", "localhost:8080")];
        if headers.iter().any(|(name, _)| *name == "host") {
            all.clear();
        }
        all.extend_from_slice(headers);
        let mut request = Request::for_test(method, target, &all);
        let response = smol::block_on(self.app.call(&mut request));
        let body = match response.body {
            Body::Text(bytes) => bytes,
            Body::File(file, range) => {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut bytes, range.start).unwrap();
                bytes
            }
            _ => Vec::new(),
        };
        Reply {
            status: response.status.into(),
            headers: response.headers,
            body,
        }
    }

    fn get(&self, target: &str) -> Reply {
        self.ask(Method::Get, target, &[])
    }

    fn page(&self, target: &str) -> Reply {
        self.ask(Method::Get, target, &[("accept", "text/html,*/*;q=0.8")])
    }
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error"].as_str().unwrap_or_default().to_owned(),
        )
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_name_that_is_not_ours_is_misdirected() {
    let house = House::new();
    for good in [
        "localhost",
        "192.168.1.2:8080",
        "[::1]:8080",
        "anything.local",
        "tv.example",
        "tv.example:1234",
        "a.house.example",
    ] {
        let reply = house.ask(Method::Get, "/robots.txt", &[("host", good)]);
        assert_eq!(reply.status, 200, "{good}");
    }
    for bad in [
        "evil.example",
        "tv.example.evil",
        "house.example",
        "localhost.evil",
    ] {
        let reply = house.ask(Method::Get, "/robots.txt", &[("host", bad)]);
        assert_eq!(reply.error(), refused(421, "unknown_host"), "{bad}");
        assert!(reply.text().contains("http.allowed_hosts"), "{bad}");
    }
}

#[test]
fn methods_and_preflights() {
    let house = House::new();
    let reply = house.ask(Method::Delete, "/api/health", &[]);
    assert_eq!(reply.error(), refused(405, "method_not_allowed"));
    assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(house.ask(Method::Delete, "/nothing", &[]).status, 404);

    let reply = house.ask(
        Method::Options,
        "/api/progress",
        &[("origin", "https://app.example")],
    );
    assert_eq!(reply.status, 204);
    assert_eq!(
        reply.header("allow"),
        Some("GET, HEAD, POST, PATCH, OPTIONS")
    );
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET, HEAD, POST, PATCH, OPTIONS")
    );
    let reply = house.ask(
        Method::Options,
        "/api/progress",
        &[("origin", "https://evil.example")],
    );
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(reply.header("access-control-allow-methods"), None);
}

#[test]
fn answers_are_shared_with_allowed_origins_alone() {
    let house = House::new();
    for (origin, shared) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("http://127.0.0.1", true),
        ("http://[::1]:8080", true),
        ("https://app.example.evil", false),
        ("http://localhost.evil", false),
        ("null", false),
    ] {
        let reply = house.ask(Method::Get, "/api/videos", &[("origin", origin)]);
        assert_eq!(reply.status, 200);
        assert!(
            reply
                .headers
                .iter()
                .any(|(name, value)| *name == "vary" && value == "Origin")
        );
        assert_eq!(
            reply.header("access-control-allow-origin"),
            shared.then_some(origin),
            "{origin}"
        );
    }
}

#[test]
fn a_foreign_page_changes_nothing() {
    let house = House::new();
    let post = |headers: &[(&str, &str)]| house.ask(Method::Post, "/logout", headers).status;
    assert_eq!(post(&[]), 303);
    assert_eq!(post(&[("origin", "http://localhost:8080")]), 303);
    assert_eq!(
        post(&[
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site")
        ]),
        303
    );
    assert_eq!(
        post(&[("host", "tv.example"), ("origin", "https://tv.example")]),
        303
    );
    assert_eq!(post(&[("sec-fetch-site", "same-origin")]), 303);
    assert_eq!(post(&[("origin", "https://evil.example")]), 403);
    assert_eq!(post(&[("origin", "null")]), 403);
    assert_eq!(
        post(&[("host", "tv.example"), ("origin", "http://tv.example:81")]),
        403
    );
    assert_eq!(post(&[("sec-fetch-site", "cross-site")]), 403);
    let reply = house.ask(
        Method::Post,
        "/logout",
        &[("origin", "https://evil.example")],
    );
    assert_eq!(reply.error(), refused(403, "cross_site"));
}

#[test]
fn failures_are_pages_for_browsers() {
    let house = House::new();
    let reply = house.page("/nothing<script>");
    assert_eq!(reply.status, 404);
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        reply
            .header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(reply.text().contains("<h1>Not Found</h1>") && !reply.text().contains("<script"));
    assert_eq!(
        house.get("/videos/%00").error(),
        refused(400, "malformed_path")
    );
    assert_eq!(
        house.get("/drive/files/x").error(),
        refused(400, "invalid_file_id")
    );
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let house = House::new();
    fs::write(house.videos().join("../secret.mp4"), "secret").unwrap();
    fs::write(house.videos().join("a.mp4"), "inside").unwrap();
    std::os::unix::fs::symlink("../secret.mp4", house.videos().join("link.mp4")).unwrap();
    for url in [
        "/videos/../secret.mp4",
        "/videos/%2e%2e/secret.mp4",
        "/videos/..%2fsecret.mp4",
        "/videos/%2e%2e%2fsecret.mp4",
        "/videos/%252e%252e/secret.mp4",
        "/videos/..%5csecret.mp4",
        "/videos//secret.mp4",
        "/videos/link.mp4",
        "/videos/%2fetc%2fpasswd",
        "/videos/%2e",
        "/videos/..",
    ] {
        assert_eq!(house.get(url).error(), refused(404, "not_found"), "{url}");
        let page = url.replace("/videos/", "/video/");
        assert_eq!(house.get(&page).status, 404, "{page}");
    }
    let reply = house.get("/videos/a.mp4");
    assert_eq!((reply.status, reply.text()), (200, "inside"));
}

#[test]
fn files_bring_their_type_and_run_nothing() {
    let house = House::new();
    for name in ["a.mp4", "b.html", "c.svg", "d"] {
        fs::write(house.videos().join(name), "x").unwrap();
    }
    let reply = house.get("/videos/a.mp4");
    assert_eq!(reply.header("content-type"), Some("video/mp4"));
    assert_eq!(reply.header("content-security-policy"), None);
    assert_eq!(reply.header("content-disposition"), None);
    for active in ["/videos/b.html", "/videos/c.svg"] {
        assert!(
            house
                .get(active)
                .header("content-security-policy")
                .unwrap()
                .starts_with("sandbox;")
        );
    }
    let reply = house.get("/videos/d?download=1");
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    let saved = "attachment; filename=\"d\"; filename*=UTF-8''d";
    assert_eq!(reply.header("content-disposition"), Some(saved));
}

#[test]
fn a_watch_page_has_player_tracks_and_neighbours() {
    let house = House::new();
    let put = |name: &str, text: &str| fs::write(house.videos().join(name), text).unwrap();
    put("Film.mp4", "x");
    put("Film.en.srt", "1\n00:00:01,000 --> 00:00:02,000\nHi\n");
    put("Film.es.vtt", "WEBVTT\n");
    put("Film.es.srt", "");
    put("Tune.mp3", "x");
    let page = house.ask(
        Method::Get,
        "/video/Film.mp4",
        &[("accept-language", "es-ES,en;q=0.5")],
    );
    assert_eq!(page.status, 200);
    for want in [
        "<video controls",
        "<source src=\"/videos/Film.mp4\" type=\"video/mp4\">",
        "<track kind=\"subtitles\" src=\"/videos/Film.en.vtt\" srclang=\"en\" label=\"English\">",
        "src=\"/videos/Film.es.vtt\" srclang=\"es\" label=\"Español\" default>",
        "href=\"/videos/Film.mp4?download=1\"",
        "rel=\"next\" href=\"/video/Tune.mp3\"",
    ] {
        assert!(page.text().contains(want), "{want} in {}", page.text());
    }
    assert_eq!(page.text().matches("<track").count(), 2);
    assert!(
        house
            .get("/video/Tune.mp3")
            .text()
            .contains("<audio controls")
    );
    let vtt = house.get("/videos/Film.en.vtt");
    assert_eq!(vtt.status, 200);
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(vtt.header("etag").is_some());
    assert_eq!(house.get("/videos/Film.fr.vtt").status, 404);
    assert!(house.get("/videos/Film.en.srt").text().starts_with("1\n"));
}

#[test]
fn hostile_names_are_listed_and_found_again() {
    use std::os::unix::ffi::OsStrExt;
    let house = House::new();
    let names: [&[u8]; 6] = [
        b"a\"><script>x</script>.mp4",
        "50% #1? & \u{202e}\u{1f3ac}.mp4".as_bytes(),
        b"\xff\xfe.mp4",
        b" .mp4",
        b"a\nb.mp4",
        b"+'`.mp4",
    ];
    for name in names {
        // A slash cannot be in a name; what is left of the tag is hostile enough.
        let name: Vec<u8> = name.iter().copied().filter(|byte| *byte != b'/').collect();
        fs::write(house.videos().join(std::ffi::OsStr::from_bytes(&name)), "x").unwrap();
    }
    let page = house.get("/");
    assert!(!page.text().contains("<script"), "{}", page.text());
    let links: Vec<&str> = page
        .text()
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .filter(|link| link.starts_with("/video/"))
        .collect();
    assert_eq!(links.len(), names.len());
    for link in links {
        assert_eq!(house.get(link).status, 200, "{link}");
        assert_eq!(
            house.get(&link.replace("/video/", "/videos/")).status,
            200,
            "{link}"
        );
    }
}

#[test]
fn long_lists_come_in_pages() {
    let house = House::new();
    for n in 0..50 {
        fs::write(house.videos().join(format!("{n}.mp4")), "x").unwrap();
    }
    for (target, items, links) in [
        ("/", 24, &["href=\"/?page=2\""][..]),
        (
            "/?page=2",
            24,
            &["rel=\"prev\" href=\"/\"", "href=\"/?page=3\""],
        ),
        ("/?page=3", 2, &["href=\"/?page=2\""]),
        ("/?page=99", 2, &["href=\"/?page=2\""]),
        ("/?page=x", 24, &["href=\"/?page=2\""]),
    ] {
        let page = house.get(target);
        assert_eq!(
            page.text().matches("class=\"item\"").count(),
            items,
            "{target}"
        );
        assert_eq!(page.text().matches(" autofocus").count(), 1, "{target}");
        for link in links {
            assert!(page.text().contains(link), "{target} {link}");
        }
    }
}

#[test]
fn an_empty_or_missing_folder_says_what_to_do() {
    let house = House::new();
    let page = house.get("/");
    assert!(
        page.text().contains("Copy videos or music into <code>"),
        "{}",
        page.text()
    );
    fs::remove_dir(house.videos()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(house.get("/").text().contains("does not exist; create it"));
    assert_eq!(house.get("/api/videos").status, 200);
    let health = house.get("/api/health").json();
    assert!(
        health["videos"]["detail"]
            .as_str()
            .unwrap()
            .contains("does not exist")
    );
}

#[test]
fn health_has_its_shape() {
    let house = House::new();
    fs::write(house.videos().join("a.mp4"), "12345").unwrap();
    let health = house.get("/api/health").json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime"].is_u64());
    assert_eq!(health["drive"]["available"], false);
    assert_eq!(health["drive"]["error"], "drive_not_configured");
    assert!(health["drive"]["account"].is_null());
    assert_eq!(health["ffmpeg"]["available"], false);
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
    assert!(health["compatStream"].is_object() && health["repair"].is_object());
}

#[test]
fn drive_without_credentials_says_so_everywhere() {
    let house = House::new();
    for url in [
        "/drive/files/1aB_-cDeFgH",
        "/drive/subtitles/1aB_-cDeFgH.vtt",
        "/watch/drive/1aB_-cDeFgH",
        "/api/video-metadata/1aB_-cDeFgH",
    ] {
        assert_eq!(
            house.get(url).error(),
            refused(503, "drive_not_configured"),
            "{url}"
        );
        let head = house.ask(Method::Head, url, &[]);
        assert_eq!(head.status, 503, "{url}");
    }
    assert_eq!(house.get("/").status, 200);
}

#[test]
fn progress_is_kept_and_refuses_what_it_must() {
    let house = House::new();
    let get = |target: &str| {
        let mut request = Request::for_test(Method::Get, target, &[]);
        let response = smol::block_on(house.app.call(&mut request));
        let Body::Shared(bytes, ..) = &response.body else {
            panic!("no document")
        };
        String::from_utf8(bytes.to_vec().unwrap()).unwrap()
    };
    assert_eq!(get("/api/progress"), "{}");
    let empty = house.ask(Method::Post, "/api/progress", &[]);
    assert_eq!(empty.error(), refused(413, "payload_too_large"));
    for (method, target, body, status, code) in [
        (Method::Post, "", "[]", 400, "invalid_progress"),
        (Method::Post, "", &" ".repeat(65), 413, "payload_too_large"),
        (Method::Post, "", "{\"a\":1}", 200, ""),
        (Method::Patch, "", "{\"a\":1}", 400, "invalid_progress"),
        (
            Method::Post,
            "?merge=1",
            "{\"a\":1}",
            400,
            "invalid_progress",
        ),
        (Method::Post, "?merge=1&profile=Ana", "{\"b\":{}}", 200, ""),
        (
            Method::Patch,
            "?profile=%3C",
            "{\"b\":{}}",
            400,
            "invalid_profile",
        ),
        (
            Method::Patch,
            "?profile=a&profile=b",
            "{\"b\":{}}",
            400,
            "invalid_profile",
        ),
    ] {
        let target = format!("/api/progress{target}");
        let mut request = Request::for_test(method, &target, &[]).with_body(body);
        let response = smol::block_on(house.app.call(&mut request));
        let Body::Text(answer) = &response.body else {
            panic!("no text")
        };
        let answer: Value = serde_json::from_slice(answer).unwrap();
        let got = (
            u16::from(response.status),
            answer["error"].as_str().unwrap_or_default(),
        );
        assert_eq!(got, (status, code), "{method} {target} {body}");
    }
    assert_eq!(get("/api/progress"), "{\"a\":1}");
    assert_eq!(get("/api/progress?profile=Ana"), "{\"b\":{}}");
    let refusal = house.ask(Method::Delete, "/api/profiles/Ana", &[]);
    assert_eq!(refusal.error(), refused(401, "admin_required"));
}

#[test]
fn the_admin_and_this_machine() {
    let house = House::new();
    let access = house.app.access();
    smol::block_on(house.app.admin.refresh());
    let cookie = format!(
        "a=b; rill_admin={}",
        house.app.admin.cookie_value().unwrap()
    );
    let ask = |headers: &[(&str, &str)]| Request::for_test(Method::Delete, "/", headers);
    let admin = |request: Request| smol::block_on(access.require_admin(&request));
    let local = |request: Request| smol::block_on(access.require_loopback_or_admin(&request));
    assert!(admin(ask(&[("cookie", &cookie)])).is_ok());
    let code = |headers: &[(&str, &str)]| admin(ask(headers)).unwrap_err().code();
    assert_eq!(code(&[]), "admin_required");
    assert_eq!(code(&[("cookie", "rill_admin=")]), "admin_required");
    assert_eq!(code(&[("authorization", "Basic x")]), "admin_required");
    assert_eq!(code(&[("authorization", "Bearer wrong")]), "wrong_token");
    let proxied = ask(&[("x-forwarded-for", "192.0.2.1")]);
    assert!(local(proxied).is_err());
    assert!(local(ask(&[("forwarded", "for=192.0.2.1")])).is_err());
    assert!(local(ask(&[])).is_ok());
    let mapped = ask(&[]).with_peer("[::ffff:127.0.0.1]:1".parse().unwrap());
    assert!(local(mapped).is_ok());
    let elsewhere = ask(&[]).with_peer("192.0.2.1:1".parse().unwrap());
    assert!(local(elsewhere).is_err());
}
