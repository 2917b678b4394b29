//! The course catalog as clients get it: every route, every way to name a course, and files that are torn or mean harm.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::catalog::{HOUSEHOLD, Shape, TINY};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Setup, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon over `text` as its catalog.
fn over(text: &str) -> Daemon {
    let setup = Setup::new();
    std::fs::write(setup.path().join("state/catalog.json"), text).unwrap();
    setup.start()
}

/// Writes as a tool should: beside, then renamed.
fn replace(daemon: &Daemon, text: &str) {
    let state = daemon.setup().path().join("state");
    std::fs::write(state.join("catalog.new"), text).unwrap();
    std::fs::rename(state.join("catalog.new"), state.join("catalog.json")).unwrap();
}

fn version(daemon: &Daemon) -> String {
    let bootstrap = daemon.get("/api/bootstrap").json();
    bootstrap["generatedBy"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

#[test]
fn bootstrap_is_the_catalog_without_classes() {
    let text = HOUSEHOLD_CUT.json();
    let daemon = over(&text);
    let bootstrap = daemon.get("/api/bootstrap");
    assert_eq!(
        bootstrap.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let mut want: Value = serde_json::from_str(&text).unwrap();
    for category in want["categories"].as_array_mut().unwrap() {
        for route in category["routes"].as_array_mut().unwrap() {
            if route["isCourse"] == json!(true) {
                shorten(route);
            } else {
                let id = last(&route["url"]);
                for course in route["courses"].as_array_mut().unwrap() {
                    shorten(course);
                }
                route["publicId"] = id;
            }
        }
    }
    assert_eq!(bootstrap.json(), want);
}

const HOUSEHOLD_CUT: Shape = Shape {
    categories: 2,
    routes: 6,
    courses: 2,
    ..HOUSEHOLD
};

fn last(url: &Value) -> Value {
    let url = url.as_str().unwrap().trim_end_matches('/');
    url.rsplit('/').next().into()
}

fn shorten(course: &mut Value) {
    for module in course["modules"].as_array_mut().unwrap() {
        let count = module["classes"].as_array().unwrap().len();
        module["classes"] = count.into();
        module.as_object_mut().unwrap().remove("folderName");
    }
    course["publicId"] = last(&course["url"]);
}

#[test]
fn a_module_of_the_bootstrap_has_a_name_and_two_counts() {
    let text = json!({ "categories": [{ "name": "C", "routes": [{ "name": "R", "courses": [{
        "name": "K",
        "modules": [
            { "name": "A", "folderName": "1. A", "classCount": 2, "classes": [{}, {}] },
            { "name": "B", "classes": null },
            { "name": "D", "folderName": null, "colour": "red" },
        ],
    }] }] }] });
    let daemon = over(&text.to_string());
    let bootstrap = daemon.get("/api/bootstrap").json();
    assert_eq!(
        bootstrap["categories"][0]["routes"][0]["courses"][0]["modules"],
        json!([
            { "name": "A", "classCount": 2, "classes": 2 },
            { "name": "B", "classCount": 0, "classes": 0 },
            { "name": "D", "classCount": 0, "classes": 0, "colour": "red" },
        ])
    );
    // The course itself is as it was.
    let course = daemon.get("/api/course-detail/0/0/0").json()["course"].clone();
    assert_eq!(course, text["categories"][0]["routes"][0]["courses"][0]);
}

#[test]
fn a_small_catalog_is_packed_at_once_for_those_who_ask() {
    let text = TINY.json();
    let small = r#"{"categories":[{"name":"Uno","routes":[]}]}"#;
    for text in [small, &text] {
        let daemon = over(text);
        assert!(eventually(PATIENCE, || {
            daemon.get("/api/courses").body == text.as_bytes()
        }));
        let packed = || {
            let headers = [("Accept-Encoding", "gzip")];
            daemon.client().request("GET", "/api/courses", &headers)
        };
        assert!(eventually(PATIENCE, || {
            packed().header("content-encoding") == Some("gzip")
        }));
        assert_eq!(unpack(&packed().body), text.as_bytes());
        assert_ne!(
            packed().header("etag"),
            daemon.get("/api/courses").header("etag")
        );
    }
}

#[test]
fn a_mark_before_the_text_is_named() {
    let daemon = over(&format!("\u{feff}{}", TINY.json()));
    assert!(eventually(PATIENCE, || {
        let problem = daemon.get("/api/cache-meta").json()["problem"].clone();
        problem.as_str().is_some_and(|problem| {
            problem.contains("line 1, column 1: ") && problem.contains("byte order mark")
        })
    }));
}

#[test]
fn the_whole_is_sent_as_it_is_with_its_twin() {
    let text = HOUSEHOLD_CUT.json();
    let daemon = over(&text);
    let plain = daemon.get("/api/courses");
    assert_eq!(plain.text(), text);
    assert_eq!(plain.header("vary"), Some("Accept-Encoding, Origin"));
    let ask = |daemon: &Daemon| {
        daemon
            .client()
            .request("GET", "/api/courses", &[("Accept-Encoding", "gzip")])
    };
    let packed = || ask(&daemon).header("content-encoding") == Some("gzip");
    assert!(eventually(PATIENCE, packed), "the twin is made");
    let packed = ask(&daemon);
    assert_eq!(unpack(&packed.body), text.as_bytes());
    assert_ne!(packed.header("etag"), plain.header("etag"));
    let cache = daemon.setup().path().join("cache");
    let kept = |cache: &Path| std::fs::read_dir(cache).unwrap().count();
    assert!(eventually(PATIENCE, || kept(&cache) == 1));

    // A range is of the plain form, whatever else is accepted.
    let some = daemon.client().request(
        "GET",
        "/api/courses",
        &[("Accept-Encoding", "gzip"), ("Range", "bytes=2-11")],
    );
    assert_eq!((some.status(), some.text()), (206, text[2..12].to_owned()));
}

#[test]
fn every_answer_has_a_tag_a_304_a_head_and_gzip_when_asked() {
    let daemon = over(&HOUSEHOLD_CUT.json());
    let watched: Vec<String> = (0..100)
        .map(|n| format!("\"course/{n}\":{{\"watchTime\":{n}}}"))
        .collect();
    let watched = format!("{{{}}}", watched.join(","));
    let mut client = daemon.client();
    let head = "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Length:";
    client
        .send(format!("{head} {}\r\n\r\n{watched}", watched.len()))
        .unwrap();
    assert_eq!(client.response("POST").status(), 200);
    for target in [
        "/api/bootstrap",
        "/api/courses",
        "/api/course-detail/0/0/0",
        "/api/cache-meta",
        "/api/search?q=python",
        "/api/self-check-drive",
        "/api/progress",
    ] {
        let mut client = daemon.client();
        let plain = client.get(target);
        assert_eq!(plain.status(), 200, "{target}");
        assert_eq!(plain.header("content-encoding"), None, "{target}");
        assert!(
            plain
                .header("vary")
                .unwrap_or_default()
                .contains("Accept-Encoding"),
            "{target}"
        );
        let tag = plain.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"'), "{target}");
        let same = client.request("GET", target, &[("If-None-Match", &tag)]);
        assert_eq!((same.status(), same.body.len()), (304, 0), "{target}");
        let head = client.request("HEAD", target, &[]);
        assert_eq!(head.status(), 200, "{target}");
        assert_eq!(
            head.head.length(),
            Some(plain.body.len() as u64),
            "{target}"
        );
        assert_eq!(head.header("etag"), Some(&*tag), "{target}");
        let ask = |client: &mut Client, method| {
            client.request(method, target, &[("Accept-Encoding", "gzip")])
        };
        assert!(
            eventually(PATIENCE, || ask(&mut client, "GET")
                .header("content-encoding")
                == Some("gzip")),
            "{target}"
        );
        let packed = ask(&mut client, "GET");
        assert_eq!(unpack(&packed.body), plain.body, "{target}");
        let packed_tag = packed.header("etag").unwrap().to_owned();
        assert_ne!(packed_tag, tag, "{target}");
        let same = client.request(
            "GET",
            target,
            &[("Accept-Encoding", "gzip"), ("If-None-Match", &packed_tag)],
        );
        assert_eq!(same.status(), 304, "{target}");
        let head = ask(&mut client, "HEAD");
        assert_eq!(
            head.head.length(),
            Some(packed.body.len() as u64),
            "{target}"
        );
        let refused = client.request("GET", target, &[("Accept-Encoding", "gzip;q=0")]);
        assert_eq!(refused.header("content-encoding"), None, "{target}");
    }
}

#[test]
fn every_route_says_what_it_takes() {
    let setup = Setup::new();
    let courses = setup.path().join("courses");
    std::fs::create_dir(&courses).unwrap();
    std::fs::write(courses.join("1. A.mp4"), "film").unwrap();
    std::fs::write(setup.path().join("state/catalog.json"), TINY.json()).unwrap();
    let daemon = setup
        .set("library", "courses", &format!("{courses:?}"))
        .start();
    let look = ["GET", "HEAD"];
    let act = ["GET", "HEAD", "POST"];
    let table: [(&str, &[&str]); 12] = [
        ("/api/bootstrap", &look),
        ("/api/courses", &look),
        ("/api/course-detail/0/0/0", &look),
        ("/api/course-detail/0/0", &look),
        ("/api/cache-meta", &look),
        ("/api/search?q=x", &look),
        ("/api/self-check-drive", &look),
        ("/api/refresh", &act),
        ("/courses", &look),
        ("/course/0/0/0", &look),
        ("/watch/0/0/0/0/0", &look),
        ("/courses/files/1.%20A.mp4", &look),
    ];
    for (target, takes) in table {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = daemon
                .client()
                .request(method, target, &[("Content-Length", "0")]);
            let allowed = takes.contains(&method);
            assert_eq!(answer.status() == 405, !allowed, "{method} {target}");
            if !allowed {
                assert_eq!(answer.code(), "method_not_allowed", "{method} {target}");
                let allow = answer.header("allow").unwrap_or_default().to_owned();
                assert_eq!(allow, format!("{}, OPTIONS", takes.join(", ")), "{target}");
            }
        }
        let options = daemon.client().request("OPTIONS", target, &[]);
        assert_eq!(options.status(), 204, "{target}");
    }
    // HEAD asks, and starts nothing.
    assert_eq!(
        daemon
            .client()
            .request("HEAD", "/api/refresh?scan=1", &[])
            .status(),
        200
    );
}

/// A library whose entries can be named in every way, and some that get in each other's way.
fn named() -> String {
    let class = |name: &str| json!({"num": 1, "name": name, "hasVideo": true, "files": {"video": "1aB_-cDeFgH"}});
    let course = |id: Value, name: &str, url: &str| {
        json!({
            "name": name, "id": id, "url": url,
            "modules": [{"name": "1. Uno", "classes": [class("A/B"), class("Ñ"), class("ñ"), class("日本")]}],
        })
    };
    let mut alone = course(
        json!("solo-id"),
        "Curso Único",
        "https://example.com/cursos/solo/?x=1",
    );
    alone["isCourse"] = json!(true);
    json!({"categories": [
        {"id": "desarrollo", "name": "Desarrollo & Más", "routes": [
            {"id": "r1", "name": "Ruta de \"Python\"", "url": "https://example.com/ruta/py/", "isCourse": false, "courses": [
                course(json!("c-1"), "Programación Básica", "https://example.com/cursos/basica/"),
                course(json!(77), "C++", ""),
                course(Value::Null, "C#", ""),
                course(json!(""), "日本語", ""),
                course(json!("c-5"), "AC/DC 🎸 50%", "/x/50%25-rock"),
            ]},
            alone,
        ]},
        {"id": "", "name": "desarrollo", "routes": []},
    ]})
    .to_string()
}

#[test]
fn every_way_to_name_a_course() {
    let daemon = over(&named());
    let table = [
        ("0/0/0", 0, 0, 0),
        ("desarrollo/r1/c-1", 0, 0, 0),
        ("DESARROLLO/R1/C-1", 0, 0, 0),
        (
            "Desarrollo%20%26%20M%C3%A1s/Ruta%20de%20%22Python%22/Programaci%C3%B3n%20B%C3%A1sica",
            0,
            0,
            0,
        ),
        (
            "desarrollo%20%26%20M%C3%81S/ruta%20DE%20%22python%22/PROGRAMACI%C3%93N%20b%C3%A1sica",
            0,
            0,
            0,
        ),
        // The same name with its accents apart, as a Mac writes it.
        ("0/0/Programacio%CC%81n%20Ba%CC%81sica", 0, 0, 0),
        ("desarrollo-mas/ruta-de-python/programacion-basica", 0, 0, 0),
        ("0/py/basica", 0, 0, 0),
        ("0/0/77", 0, 0, 1),
        ("0/0/1", 0, 0, 1),
        ("0/0/C%2B%2B", 0, 0, 1),
        ("0/0/c++", 0, 0, 1),
        // Two have this slug: the first.
        ("0/0/c", 0, 0, 1),
        ("0/0/c%23", 0, 0, 2),
        ("0/0/%E6%97%A5%E6%9C%AC%E8%AA%9E", 0, 0, 3),
        ("0/0/AC%2FDC%20%F0%9F%8E%B8%2050%25", 0, 0, 4),
        ("0/0/ac-dc-50", 0, 0, 4),
        ("0/0/50%25-rock", 0, 0, 4),
        ("0/1/0", 0, 1, 0),
        ("0/solo-id/0", 0, 1, 0),
        ("0/solo/solo", 0, 1, 0),
        ("0/curso-unico/Curso%20%C3%9Anico", 0, 1, 0),
        ("%200%20/0/%20c-1%20", 0, 0, 0),
    ];
    for (refs, category, route, course) in table {
        let answer = daemon.get(&format!("/api/course-detail/{refs}"));
        assert_eq!(answer.status(), 200, "{refs}: {}", answer.text());
        let answer = answer.json();
        let want = json!({"catIdx": category, "routeIdx": route, "courseIdx": course});
        assert_eq!(answer["indices"], want, "{refs}");
        assert_eq!(answer["isCourseRoute"], json!(route == 1), "{refs}");
        assert!(
            answer["course"]["modules"][0]["classes"][0]["files"].is_object(),
            "{refs}"
        );
    }
    let first = daemon.get("/api/course-detail/0/0/0").json();
    let source: Value = serde_json::from_str(&named()).unwrap();
    assert_eq!(
        first["course"],
        source["categories"][0]["routes"][0]["courses"][0]
    );
    assert_eq!(
        (&first["catId"], &first["routeId"], &first["courseId"]),
        (&json!("desarrollo"), &json!("r1"), &json!("c-1"))
    );

    for refs in [
        "9/0/0", "0/9/0", "0/0/9", "0/1/1", "0/0/00", "0/0/%20", "0/0/..x", "1/0/0", "0/0/%ff",
    ] {
        let answer = daemon.get(&format!("/api/course-detail/{refs}"));
        assert_eq!(
            (answer.status(), &*answer.code()),
            (404, "course_not_found"),
            "{refs}"
        );
    }
    let missing = daemon.get("/api/course-detail/a%2Fb/%C3%B1/c").json();
    assert_eq!(
        (
            &missing["catRef"],
            &missing["routeRef"],
            &missing["courseRef"]
        ),
        (&json!("a/b"), &json!("ñ"), &json!("c"))
    );
    for path in ["", "/", "/a", "/a/b", "/a/b/", "/a/b/c/d", "/a//c"] {
        let answer = daemon.get(&format!("/api/course-detail{path}"));
        assert_eq!(
            (answer.status(), &*answer.code()),
            (400, "invalid_course_detail_path"),
            "{path}"
        );
        assert_eq!(
            answer.json()["expected"],
            "/api/course-detail/{cat}/{route}/{course}"
        );
    }
}

#[test]
fn ids_of_the_public() {
    let daemon = over(&named());
    let bootstrap = daemon.get("/api/bootstrap").json();
    let routes = &bootstrap["categories"][0]["routes"];
    let ids: Vec<&Value> = (0..5)
        .map(|at| &routes[0]["courses"][at]["publicId"])
        .collect();
    assert_eq!(ids, ["basica", "77", "c", "日本語", "50%-rock"]);
    assert_eq!(routes[1]["publicId"], "solo");
    assert_eq!(
        routes[1]["modules"],
        json!([{"name": "1. Uno", "classes": 4, "classCount": 4}])
    );
    assert_eq!(
        bootstrap["stats"],
        json!({"totalCategories": 2, "totalRoutes": 2, "totalCourses": 6, "totalClasses": 24})
    );
}

#[test]
fn an_empty_library_is_an_answer() {
    let daemon = Daemon::start();
    let bootstrap = daemon.get("/api/bootstrap");
    assert_eq!(bootstrap.status(), 200);
    let empty =
        json!({"totalCategories": 0, "totalRoutes": 0, "totalCourses": 0, "totalClasses": 0});
    assert_eq!(bootstrap.json(), json!({"categories": [], "stats": empty}));
    assert_eq!(daemon.get("/api/courses").json()["categories"], json!([]));
    assert_eq!(daemon.get("/api/search?q=x").json()["hits"], json!([]));
    let meta = daemon.get("/api/cache-meta").json();
    assert_eq!(
        (&meta["source"], &meta["file"]),
        (&json!("none"), &Value::Null)
    );
    assert_eq!(daemon.get("/api/course-detail/0/0/0").status(), 404);
    let check = daemon.get("/api/self-check-drive").json();
    assert_eq!(
        (&check["ok"], &check["totalRefs"]),
        (&json!(true), &json!(0))
    );
    let page = daemon.get("/courses");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("rill scan"), "{}", page.text());
}

#[test]
fn a_file_of_the_seeds_tools_is_read_until_there_is_a_scan() {
    let setup = Setup::new();
    let imported = setup.path().join("state/courses_cache.json");
    std::fs::write(&imported, TINY.json()).unwrap();
    let daemon = setup.start();
    let meta = daemon.get("/api/cache-meta").json();
    assert_eq!(
        (&meta["source"], &meta["file"]),
        (&json!("import"), &json!("courses_cache.json"))
    );
    assert_eq!(meta["stats"]["totalClasses"], 8);
    assert_eq!(meta["payloadBytes"]["full"], TINY.json().len());
    let bootstrap = daemon.get("/api/bootstrap").body.len();
    assert_eq!(meta["payloadBytes"]["bootstrap"], bootstrap);
    let epoch = std::fs::metadata(&imported).unwrap().modified().unwrap();
    let epoch = epoch
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(meta["mtimeEpoch"], epoch);
    assert!(meta["mtimeIso"].as_str().unwrap().ends_with('Z'));
    replace(&daemon, &TINY.json().replace("generator 0", "generator 7"));
    assert!(eventually(PATIENCE, || version(&daemon) == "generator 7"));
    assert_eq!(daemon.get("/api/cache-meta").json()["source"], "scan");
}

#[test]
fn references_are_checked_for_their_form() {
    let class = |files: Value, resources: Value| json!({"num": 1, "name": "Class", "hasVideo": true, "files": files, "resources": resources});
    let text = json!({"categories": [{"name": "Cat", "routes": [{
        "name": "Course", "isCourse": true, "presentationId": "bad id",
        "modules": [{"name": "Mod", "classes": [
            class(json!({"video": "1aB_-cDeFgH", "summary": null, "html": "", "subtitles": "local:a/b.vtt",
                "subtitlesByLang": {"en": "local:a/b.en.vtt", "id": "local:../x"}}), json!([])),
            class(json!({"video": null}), json!([{"name": "x", "file": "https://x"}, {"name": "y", "file": 5}])),
        ]}],
    }]}]});
    let daemon = over(&text.to_string());
    let check = daemon.get("/api/self-check-drive").json();
    assert_eq!(check["validDriveRefs"], 1);
    assert_eq!(check["localRefs"], 2);
    assert_eq!(check["invalidRefs"], 4);
    assert_eq!(check["emptyRefs"], 2);
    assert_eq!(check["totalRefs"], 9);
    assert_eq!(check["ok"], false);
    let issues = check["issues"].as_array().unwrap();
    assert_eq!(issues.len(), 5);
    assert_eq!(issues[0]["location"], "Cat / Course: presentationId");
    assert_eq!(issues[0]["value"], "bad id");
    assert_eq!(
        issues[1]["location"],
        "Cat / Course / Mod / Class: files.subtitlesByLang"
    );
    assert!(check["message"].as_str().unwrap().contains("4 of 9"));
}

#[test]
fn search_finds_by_every_word() {
    let daemon = over(&named());
    let titles = |query: &str| -> Vec<String> {
        let hits = daemon.get(&format!("/api/search?q={query}")).json();
        let hits = hits["hits"].as_array().unwrap().clone();
        hits.iter()
            .map(|hit| {
                format!(
                    "{}:{}",
                    hit["kind"].as_str().unwrap(),
                    hit["title"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(titles("programacion")[0], "course:Programación Básica");
    assert_eq!(titles("PROG%20bas")[0], "course:Programación Básica");
    assert_eq!(titles("nope"), Vec::<String>::new());
    assert_eq!(titles(""), Vec::<String>::new());
    // A class by its own name and its course's.
    assert_eq!(titles("basica%20b")[0], "course:Programación Básica");
    assert!(titles("b%20basica").contains(&"class:A/B".to_owned()));
    // Whatever is in the category, after what is named so.
    assert_eq!(daemon.get("/api/search?q=desarrollo").json()["total"], 30);
    assert_eq!(
        daemon.get("/api/search?q=desarrollo&limit=3").json()["hits"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(titles("%E6%97%A5")[0], "course:日本語");
    let hits = daemon.get("/api/search?q=desarrollo&limit=100").json();
    for hit in hits["hits"].as_array().unwrap() {
        let link = hit["link"].as_str().unwrap();
        let page = daemon.get(link);
        assert_eq!(page.status(), 200, "{link}");
        let title = hit["title"].as_str().unwrap();
        assert!(
            page.text()
                .contains(&format!("<h1 dir=\"auto\">{title}</h1>")),
            "{link} is {title}"
        );
    }
    let long = "x".repeat(257);
    assert_eq!(
        daemon.get(&format!("/api/search?q={long}")).code(),
        "query_too_long"
    );
    assert_eq!(
        daemon
            .get(&format!("/api/search?q={}", "x+".repeat(100)))
            .code(),
        "query_too_long"
    );
}

#[test]
fn refresh_is_for_this_machine_and_the_admin() {
    let daemon = over(&TINY.json());
    for method in ["GET", "POST"] {
        let answer = daemon
            .client()
            .request(method, "/api/refresh", &[("Content-Length", "0")]);
        assert_eq!(
            (answer.status(), answer.json()),
            (200, json!({"status": "refreshing"}))
        );
        let proxied =
            daemon
                .client()
                .request(method, "/api/refresh", &[("X-Forwarded-For", "1.2.3.4")]);
        assert_eq!(
            (proxied.status(), &*proxied.code()),
            (401, "admin_required")
        );
        let other =
            daemon
                .client()
                .request(method, "/api/refresh", &[("Sec-Fetch-Site", "cross-site")]);
        assert_eq!((other.status(), &*other.code()), (403, "cross_site"));
    }
    assert_eq!(
        daemon.get("/api/refresh?scan=1").code(),
        "scan_not_configured"
    );
}

#[test]
fn local_files_of_courses_are_served_within_their_fence() {
    let setup = Setup::new();
    let courses = setup.path().join("courses");
    std::fs::create_dir_all(courses.join("Cürso")).unwrap();
    std::fs::write(courses.join("Cürso/1. A.mp4"), "film").unwrap();
    std::fs::write(
        courses.join("Cürso/1. A_es.srt"),
        "1\n0:0:1,0 --> 0:0:2,0\nHola\n",
    )
    .unwrap();
    std::fs::write(courses.join("Cürso/1. A_summary.html"), "<script>").unwrap();
    std::fs::write(setup.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", courses.join("out.mp4")).unwrap();
    let daemon = setup
        .set("library", "courses", &format!("{courses:?}"))
        .start();
    let film = daemon.get_range("/courses/files/C%C3%BCrso/1.%20A.mp4", "bytes=1-2");
    assert_eq!((film.status(), film.text()), (206, "il".to_owned()));
    let vtt = daemon.get("/courses/files/C%C3%BCrso/1.%20A_es.vtt");
    assert!(vtt.text().starts_with("WEBVTT"));
    let page = daemon.get("/courses/files/C%C3%BCrso/1.%20A_summary.html");
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
    for bad in [
        "out.mp4",
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "C%C3%BCrso",
        "",
    ] {
        assert_eq!(
            daemon.get(&format!("/courses/files/{bad}")).status(),
            404,
            "{bad}"
        );
    }
    assert_eq!(Daemon::start().get("/courses/files/a.mp4").status(), 404);
}

#[test]
fn a_broken_file_changes_nothing_but_the_log() {
    let good = TINY.json();
    let daemon = over(&good);
    let before = daemon.get("/api/bootstrap");
    let mut said = 0;
    let twice = good.replacen("\"routes\":", "\"routes\":[],\"routes\":", 1);
    let bad_utf8 = {
        let mut bytes = good.clone().into_bytes();
        let at = good.find("generator").unwrap();
        bytes[at] = 0xff;
        bytes
    };
    let table: [(&str, Vec<u8>, &str); 9] = [
        (
            "torn",
            good.as_bytes()[..good.len() / 2].to_vec(),
            "line 1, column ",
        ),
        ("empty", Vec::new(), "line 1, column 1: the file ends"),
        ("no JSON", b"\n\n  nonsense".to_vec(), "line 3, column 3"),
        ("deep", "[".repeat(100_000).into_bytes(), "there are no"),
        (
            "deep inside",
            good.replacen("[\"a\",", &"[".repeat(100_000), 1)
                .into_bytes(),
            "line 1",
        ),
        (
            "something behind",
            format!("{good}{{}}").into_bytes(),
            "something follows",
        ),
        (
            "a key twice",
            twice.into_bytes(),
            "\"routes\" stands in one object twice",
        ),
        (
            "no catalog",
            b"{\"a\": 1}".to_vec(),
            "there are no \"categories\"",
        ),
        ("not UTF-8", bad_utf8, "not UTF-8"),
    ];
    for (name, bytes, sentence) in table {
        let sentence = if name == "deep" {
            "a catalog is wanted here"
        } else {
            sentence
        };
        std::fs::write(daemon.setup().path().join("state/catalog.json"), bytes).unwrap();
        // A file that is being written may be seen torn first; what is said of it at last counts.
        let told = || {
            let log = daemon.log();
            log.matches("the catalog before it stays").count() > said
                && log
                    .lines()
                    .rfind(|line| line.contains("stays"))
                    .is_some_and(|line| line.contains(sentence))
        };
        assert!(eventually(PATIENCE, told), "{name}: {}", daemon.log());
        said = daemon.log().matches("the catalog before it stays").count();
        let log = daemon.log();
        let line = log.lines().rfind(|line| line.contains("stays")).unwrap();
        assert!(
            line.contains(sentence) && line.contains("catalog.json, line"),
            "{name}: {line}"
        );
        let now = daemon.get("/api/bootstrap");
        assert_eq!(
            (now.header("etag"), &now.body),
            (before.header("etag"), &before.body),
            "{name}"
        );
        let problem = daemon.get("/api/cache-meta").json();
        assert!(
            problem["problem"].as_str().unwrap().contains(sentence),
            "{name}"
        );
        assert!(
            daemon
                .get("/courses")
                .text()
                .contains("the catalog before it stays"),
            "{name}"
        );
    }
    replace(&daemon, &good.replace("generator 0", "generator 9"));
    assert!(eventually(Duration::from_secs(2), || version(&daemon) == "generator 9"));
    assert_eq!(daemon.get("/api/cache-meta").json()["problem"], Value::Null);

    // Gone: the last one stays, as the system before this one had it.
    std::fs::remove_file(daemon.setup().path().join("state/catalog.json")).unwrap();
    assert!(eventually(PATIENCE, || daemon.log().contains("is gone")));
    assert_eq!(version(&daemon), "generator 9");
    replace(&daemon, &good);
    assert!(eventually(PATIENCE, || version(&daemon) == "generator 0"));
}

#[test]
fn a_file_that_is_overwritten_in_place_is_taken_when_it_is_whole() {
    use std::io::{Seek, Write};
    let (old, new) = (TINY.json(), Shape { version: 3, ..TINY }.json());
    let daemon = over(&old);
    let mut file = std::fs::File::options()
        .write(true)
        .open(daemon.setup().path().join("state/catalog.json"))
        .unwrap();
    for part in new.as_bytes().chunks(new.len() / 4) {
        file.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(
            daemon.get("/api/courses").text(),
            old,
            "the copy is nobody else's to write"
        );
    }
    let end = file.stream_position().unwrap();
    file.set_len(end).unwrap();
    drop(file);
    assert!(eventually(Duration::from_secs(2), || daemon
        .get("/api/courses")
        .text()
        == new));
}

#[test]
fn a_state_folder_that_appears_is_watched() {
    let setup = Setup::new();
    let state = setup.path().join("state");
    std::fs::write(state.join("catalog.json"), TINY.json()).unwrap();
    let daemon = setup.start();
    std::fs::rename(&state, daemon.setup().path().join("away")).unwrap();
    std::fs::create_dir(&state).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    replace(&daemon, &Shape { version: 2, ..TINY }.json());
    assert!(eventually(PATIENCE, || version(&daemon) == "generator 2"));
    replace(&daemon, &Shape { version: 4, ..TINY }.json());
    assert!(eventually(Duration::from_secs(2), || version(&daemon) == "generator 4"));
}

#[test]
fn sixty_four_readers_through_a_hundred_reloads() {
    let shape = Shape {
        categories: 2,
        routes: 3,
        courses: 2,
        ..HOUSEHOLD
    };
    let texts: Vec<String> = (0..4u64)
        .map(|version| Shape { version, ..shape }.json())
        .collect();
    let daemon = over(&texts[0]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let answers = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..64 {
            let (daemon, texts, stop, answers) = (&daemon, &texts, &stop, &answers);
            scope.spawn(move || {
                use std::sync::atomic::Ordering::Relaxed;
                let mut client = daemon.client();
                while !stop.load(Relaxed) {
                    match reader % 4 {
                        0 => {
                            let whole = client.get("/api/courses");
                            assert_eq!(whole.status(), 200);
                            assert!(
                                texts.iter().any(|text| text.as_bytes() == whole.body),
                                "of one piece"
                            );
                        }
                        1 => {
                            let bootstrap = client.get("/api/bootstrap");
                            assert!(bootstrap.whole && bootstrap.json()["categories"].is_array());
                        }
                        2 => {
                            let detail = client.get("/api/course-detail/0/1/0").json();
                            assert_eq!(detail["course"]["moduleCount"], 5);
                        }
                        _ => {
                            assert!(client.get("/api/search?q=python").json()["total"].is_number())
                        }
                    }
                    answers.fetch_add(1, Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for round in 0..100 {
            replace(&daemon, &texts[round % 4]);
            let answer =
                daemon
                    .client()
                    .request("POST", "/api/refresh", &[("Content-Length", "0")]);
            assert_eq!(answer.status(), 200);
            std::thread::sleep(Duration::from_millis(20));
        }
        let last = format!("generator {}", 99 % 4);
        let settled = eventually(PATIENCE, || version(&daemon) == last);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(settled);
    });
    assert!(answers.into_inner() > 64);
    assert!(daemon.fds() < 64 + 40, "{} descriptors", daemon.fds());
}

#[test]
fn a_restart_finds_the_twin_that_was_made() {
    let setup = Setup::new();
    let text = HOUSEHOLD_CUT.json();
    std::fs::write(setup.path().join("state/catalog.json"), &text).unwrap();
    let cache = setup.path().join("cache");
    let names = |cache: &Path| -> Vec<_> {
        std::fs::read_dir(cache)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "gz"))
            .collect()
    };
    let daemon = setup.start();
    assert!(eventually(PATIENCE, || names(&cache).len() == 1));
    let made = names(&cache)[0].clone();
    let stamp = std::fs::metadata(&made).unwrap().modified().unwrap();
    let again = daemon.restart();
    let packed = again
        .client()
        .request("GET", "/api/courses", &[("Accept-Encoding", "gzip")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(unpack(&packed.body), text.as_bytes());
    assert_eq!(std::fs::metadata(&made).unwrap().modified().unwrap(), stamp);
    // What was made of another content goes with it, and a broken one is not believed.
    replace(
        &again,
        &Shape {
            version: 5,
            ..HOUSEHOLD_CUT
        }
        .json(),
    );
    assert!(eventually(PATIENCE, || names(&cache).len() == 1
        && names(&cache)[0] != made));
    let kept = names(&cache)[0].clone();
    std::fs::write(&kept, "torn").unwrap();
    let third = again.restart();
    let ask = || {
        third
            .client()
            .request("GET", "/api/courses", &[("Accept-Encoding", "gzip")])
    };
    assert!(eventually(PATIENCE, || ask().header("content-encoding")
        == Some("gzip")));
    assert!(unpack(&ask().body).ends_with(b"\"generator 5\"}"));
}

#[test]
fn the_pages_lead_from_the_shelf_to_a_player_and_back() {
    let id = |n: u32| format!("1aB_-cDeFgH{n}");
    let class = |n: u32, name: &str| {
        json!({"num": n, "name": name, "hasVideo": true, "files": {"video": format!("local:C/{n}.mp4"),
            "summary": id(1), "reading": id(2), "html": null, "subtitles": format!("local:C/{n}_es.srt"),
            "subtitlesByLang": {"es": format!("local:C/{n}_es.srt"), "en": id(3)}},
            "resources": [{"name": "Notes & more.pdf", "file": id(4)}]})
    };
    let classes: Vec<Value> = (1..=30)
        .map(|n| class(n, &format!("Lecture {n}")))
        .collect();
    let course = |name: &str, url: &str, classes: &[Value]| json!({"name": name, "url": url, "presentationId": id(9), "modules": [{"name": "1. First", "classes": classes}]});
    let text = json!({"categories": [
        {"id": "a", "name": "Development", "routes": [{"name": "Basics", "courses": [
            course("Git", "https://example.com/git/", &classes), course("Empty", "", &[])]}]},
        {"id": "b", "name": "Music", "routes": []},
    ]});
    let daemon = over(&text.to_string());
    let page = |target: &str| {
        let page = daemon.get(target);
        assert_eq!(page.status(), 200, "{target}: {}", page.text());
        let page = page.text();
        assert_eq!(page.matches(" autofocus").count(), 1, "{target}: {page}");
        page
    };
    assert!(page("/").contains("href=\"/courses\""));
    let shelf = page("/courses");
    assert!(
        shelf.contains("href=\"/courses?category=development\"") && shelf.contains("2 courses"),
        "{shelf}"
    );
    assert!(shelf.contains("name=\"q\""));
    let category = page("/courses?category=development");
    assert!(
        category.contains("href=\"/course/development/basics/git\""),
        "{category}"
    );
    assert!(category.contains("30 classes"));
    page("/courses?category=music");
    assert_eq!(daemon.get("/courses?category=none").status(), 404);
    let first = page("/course/development/basics/git");
    assert!(first.contains("<h2 dir=\"auto\">1. First</h2>"));
    assert_eq!(first.matches("class=\"item\"").count(), 24);
    assert!(
        first.contains("Play: <bdi>Lecture 1</bdi>")
            && first.contains(&format!("/drive/files/{}", id(9)))
    );
    let second = page("/course/development/basics/git?page=2");
    assert_eq!(second.matches("class=\"item\"").count(), 6);
    page("/course/development/basics/empty");
    let found = page("/courses?q=lecture+7");
    assert!(
        found.contains("/watch/development/basics/git/1-first/lecture-7\""),
        "{found}"
    );
    page("/courses?q=nothing+like+it");

    let target = "/watch/development/basics/git/1-first/lecture-2";
    let answer = daemon
        .client()
        .request("GET", target, &[("Accept-Language", "en")]);
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.contains("script-src 'self'") && policy.contains("connect-src 'self'"),
        "{policy}"
    );
    let player = answer.text();
    for part in [
        "<source src=\"/courses/files/C/2.mp4\" type=\"video/mp4\">",
        "src=\"/courses/files/C/2_es.vtt\" srclang=\"es\" label=\"Español\">",
        "srclang=\"en\" label=\"English\" default>",
        "data-key=\"git/1-first/lecture-2\"",
        "data-progress=\"/api/progress\"",
        "rel=\"prev\" href=\"/watch/development/basics/git/1-first/lecture-1\"",
        "rel=\"next\" href=\"/watch/development/basics/git/1-first/lecture-3\"",
        "<bdi>Summary</bdi>",
        "<bdi>Reading</bdi>",
        "<bdi>Notes &amp; more.pdf</bdi>",
        "href=\"/course/development/basics/git\"",
    ] {
        assert!(player.contains(part), "{part} in {player}");
    }
    let script = player
        .split("<script src=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    let script = daemon.get(script);
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert!(
        script
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
    // The same class by the numbers of places, and a person who is carried along.
    let numbers = page("/watch/0/0/0/0/1?profile=Ana%20B");
    assert!(
        numbers.contains("data-progress=\"/api/progress?profile=Ana%20B\""),
        "{numbers}"
    );
    assert!(numbers.contains("lecture-3?profile=Ana%20B\""));
    assert_eq!(daemon.get("/watch/0/0/0/0/99").code(), "class_not_found");
    assert_eq!(daemon.get("/course/0/0/9").code(), "course_not_found");
}

#[test]
fn names_of_courses_that_mean_harm_are_only_names() {
    let evil = "\"><img src=x onerror=alert(1)></script><script>alert(2)</script>\u{202e}'`{{";
    let class = json!({"num": evil, "name": evil, "hasVideo": true, "files": {"video": "1aB_-cDeFgH", "summary": evil,
        "subtitlesByLang": {evil: "1aB_-cDeFgI"}}, "resources": [
            {"name": evil, "file": "javascript:alert(1)"}, {"name": evil, "file": "local:a/\"><img src=x>/b.pdf"}]});
    let text = json!({"categories": [
        {"id": evil, "name": evil, "routes": [{"id": evil, "name": evil, "url": format!("/{evil}"), "courses": [{
            "id": evil, "name": evil, "url": format!("javascript:{evil}"), "presentationId": "javascript:alert(1)",
            "modules": [{"name": evil, "classes": [class]}]}]}]},
        {"name": "javascript:alert(1)", "routes": []},
    ]});
    let daemon = over(&text.to_string());
    let hits = daemon.get("/api/search?q=alert&limit=100").json();
    let links = hits["hits"].as_array().unwrap().iter();
    let links: Vec<String> = links
        .map(|hit| hit["link"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(links.len(), 2);
    let more = [
        "/courses",
        "/courses?category=0",
        "/courses?q=alert",
        "/courses?q=%22%3E%3Cimg%20x%3E&profile=%22%3E%3Cimg%3E",
    ];
    for target in links.iter().map(String::as_str).chain(more) {
        let page = daemon.get(target);
        assert_eq!(page.status(), 200, "{target}");
        let page = page.text();
        // The key is nothing that anybody sees.
        let (before, after) = page.split_once("data-key=").unwrap_or((&page, ""));
        let seen = format!(
            "{before}{}",
            after
                .split_once(" data-progress")
                .map_or("", |(_, after)| after)
        );
        assert!(
            !page.contains("<img") && !seen.contains('\u{202e}'),
            "{target}: {page}"
        );
        assert!(
            !page.contains("<script>") && !page.contains("\"javascript:"),
            "{target}: {page}"
        );
    }
}
