//! The pages of the course library on real screens' terms: without a script, by keys alone, on a phone of 320 pixels,
//! and beside texts that mean harm.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::client::Response;
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{FakeDrive, File};

fn clip(name: &str) -> Vec<u8> {
    let clips = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/clips");
    std::fs::read(clips.join(name)).expect("the clip is in the repository")
}

fn local(reference: &str) -> String {
    format!("local:{reference}")
}

/// A library of one course with three lectures, on this disk.
fn library(setup: Setup, summary: &str) -> Setup {
    let root = setup.path().join("courses");
    let file = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    };
    let mut classes = Vec::new();
    for n in 1..=3 {
        file(&format!("C/{n}.mp4"), &clip("Clock.mp4"));
        file(&format!("C/{n}_summary.html"), summary.as_bytes());
        file(&format!("C/{n}.txt"), b"Read this.\n");
        for language in ["es", "en", "pt-BR"] {
            file(
                &format!("C/{n}_{language}.vtt"),
                b"WEBVTT\n\n00:00.000 --> 00:01.000\nHi\n",
            );
        }
        let vtt = |language: &str| local(&format!("C/{n}_{language}.vtt"));
        classes.push(json!({
            "num": n, "name": format!("Lecture {n} about a thing with a rather long name that needs several lines"),
            "hasVideo": true,
            "files": {"video": local(&format!("C/{n}.mp4")), "summary": local(&format!("C/{n}_summary.html")),
                "reading": local(&format!("C/{n}.txt")), "subtitles": vtt("es"),
                "subtitlesByLang": {"es": vtt("es"), "en": vtt("en"), "pt-BR": vtt("pt-BR")}},
            "resources": [{"name": "Slides & notes.pdf", "file": local("C/slides.pdf")}],
        }));
    }
    let catalog = json!({"categories": [{"id": "a", "name": "Development", "routes": [{"name": "Git", "isCourse": true,
        "id": "git", "modules": [{"name": "1. First", "classes": classes}]}]}, {"name": "Music", "routes": []}]});
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    setup.set("library", "courses", &format!("{root:?}"))
}

const LECTURE: &str = "/watch/development/git/git/0/1";

fn patch(daemon: &Daemon, target: &str, body: &str) -> Response {
    let mut client = daemon.client();
    let head = format!("PATCH {target} HTTP/1.1\r\nHost: localhost\r\n");
    let sent = client.send(format!(
        "{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    sent.expect("the daemon reads it");
    client.response("PATCH")
}

fn page(daemon: &Daemon, target: &str) -> Response {
    let html = [("Accept", "text/html")];
    daemon.client().request("GET", target, &html)
}

/// Everything that a text can try: to run, to leave, to send, to write on the page around it.
const HARM: &str = r#"<html><head><meta http-equiv="refresh" content="1;url=/courses?q=escaped">
    <base target="_top"><link rel="stylesheet" href="http://evil.example/x.css">
    <script>fetch('/api/progress', {method: 'PATCH', body: '{"evil-script":{}}'}); top.document.title = 'EVIL';
        top.location = '/courses?q=escaped';</script></head>
    <body onload="parent.document.body.innerHTML='EVIL'"><h1 id="harm">Summary</h1>
    <img src=x onerror="fetch('/api/progress', {method: 'PATCH', body: '{&quot;evil-image&quot;:{}}'})">
    <form id=f method=post enctype="text/plain" action="/api/progress?merge=1"><input name='{"evil-form":{}, "a":"' value='"}'>
    <button autofocus>x</button></form><script>document.forms[0].submit()</script>
    <a id=a href="javascript:top.location='/courses?q=escaped'">x</a><iframe src="/courses"></iframe>
    <object data="/courses"></object><video src="/courses/files/C/1.mp4" autoplay></video></body></html>"#;

#[test]
fn texts_stand_on_the_page_and_reach_nothing() {
    let daemon = library(Setup::new(), HARM).start();
    let answer = page(&daemon, LECTURE);
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("frame-src 'self'"), "{policy}");
    let text = answer.text();
    assert_eq!(text.matches("<iframe").count(), 2, "{text}");
    assert_eq!(text.matches(" sandbox=\"\"").count(), 2, "{text}");
    let mut browser = Browser::start();
    browser.open(&daemon.url(LECTURE));
    let looked = browser.evaluate(
        r"(async () => {
            document.querySelectorAll('iframe').forEach(frame => frame.scrollIntoView());
            await new Promise(done => setTimeout(done, 3000));
            return { title: document.title, path: location.pathname + location.search,
                     player: document.querySelectorAll('video').length };
        })()",
    );
    let title = looked["title"].as_str().unwrap_or_default();
    assert!(title.starts_with("Lecture 2"), "{looked}");
    assert_eq!(looked["path"], LECTURE, "it stayed: {looked}");
    assert_eq!(looked["player"], 1, "{looked}");
    // By itself it runs nothing, either; not even a timer of ours.
    let alone = daemon.url("/courses/files/C/2_summary.html");
    browser.call("Page.navigate", json!({ "url": alone }));
    std::thread::sleep(Duration::from_secs(3));
    let heading = browser.evaluate("document.getElementById('harm').textContent");
    assert_eq!(heading, "Summary");
    assert_eq!(daemon.get("/api/progress").json(), json!({}));
}

#[test]
fn a_text_that_drive_does_not_give_says_so_in_its_place() {
    let fake = FakeDrive::start();
    fake.add(File::bytes(
        "1SummaryOfDrive",
        "1. A_summary.html",
        "text/html",
        &b"<p>Hi"[..],
    ));
    let setup = Setup::new();
    let class =
        json!({"name": "A", "files": {"summary": "1SummaryOfDrive", "html": "1NotOnDriveAtAll"}});
    let catalog = json!({"categories": [{"name": "C", "routes": [{"name": "D", "isCourse": true,
        "modules": [{"name": "M", "classes": [class]}]}]}]});
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    let daemon = setup.drive(&fake).start();
    let text = page(&daemon, "/watch/c/d/d/0/0").text();
    assert!(text.contains("This class has no video."), "{text}");
    assert!(
        text.contains("src=\"/drive/files/1SummaryOfDrive\""),
        "{text}"
    );
    let summary = page(&daemon, "/drive/files/1SummaryOfDrive");
    let policy = summary
        .header("content-security-policy")
        .unwrap_or_default();
    assert!(policy.starts_with("sandbox;"), "{policy}");
    assert_eq!(summary.text(), "<p>Hi");
    let missing = page(&daemon, "/drive/files/1NotOnDriveAtAll");
    assert_eq!(missing.status(), 404);
    let policy = missing
        .header("content-security-policy")
        .unwrap_or_default();
    assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
    assert!(
        missing
            .text()
            .contains("There is no such file on Google Drive")
    );
}

/// Waits until the style sheet is there and something has the focus, which is when a page is drawn.
fn drawn(browser: &mut Browser) {
    let drawn = browser.evaluate(
        r"(async () => {
            const drawn = () => document.activeElement !== document.body && document.styleSheets.length > 0
                && getComputedStyle(document.documentElement).backgroundColor !== 'rgba(0, 0, 0, 0)';
            const end = Date.now() + 30000;
            while (!drawn() && Date.now() < end) await new Promise(done => setTimeout(done, 25));
            return drawn();
        })()",
    );
    assert_eq!(drawn, true);
}

/// Gives the focus to one thing after the other; whether each takes it, and shows it.
const ROUND: &str = r"(async () => {
    const named = element => element.id || element.getAttribute('name') || element.getAttribute('href') || element.tagName;
    // A link within the player is for engines that have none.
    const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), video[tabindex], iframe')]
        .filter(element => element.getBoundingClientRect().height > 0);
    const seen = [];
    for (const element of all) {
        element.focus();
        const style = getComputedStyle(element), box = element.getBoundingClientRect();
        seen.push({ name: named(element), focused: document.activeElement === element, tag: element.tagName,
            marked: style.outlineWidth !== '0px' && style.outlineStyle !== 'none' || style.borderColor === 'rgb(255, 213, 74)',
            height: box.height, index: element.tabIndex });
    }
    return seen;
})()";

#[test]
fn everything_is_reached_by_keys_and_shows_that_it_is() {
    let daemon = library(Setup::new(), "<p>Hi").start();
    let mut browser = Browser::start();
    for target in [
        "/courses",
        "/courses?category=development",
        "/courses?q=lecture",
        "/course/development/git/git",
        LECTURE,
    ] {
        browser.open(&daemon.url(target));
        // Links and forms alone; the player's script comes from a file of its own.
        let text = page(&daemon, target).text();
        assert_eq!(
            text.matches("<script").count(),
            usize::from(target == LECTURE)
        );
        assert!(!text.contains(" onclick") && !text.contains("<script>"));
        drawn(&mut browser);
        let first = browser.evaluate("document.activeElement.tagName");
        assert!(first == "A" || first == "VIDEO", "{target}: {first}");
        let seen = browser.evaluate(ROUND);
        let seen = seen.as_array().expect("a list");
        assert!(seen.len() > 2, "{target}: {seen:?}");
        for one in seen {
            assert_eq!(one["focused"], true, "{target}: {one}");
            assert_eq!(one["index"], 0, "in the order of the page: {target}: {one}");
            if one["tag"] != "IFRAME" {
                assert_eq!(one["marked"], true, "{target}: {one}");
                assert!(one["height"].as_f64() >= Some(40.0), "{target}: {one}");
            }
        }
    }
}

#[test]
fn no_page_is_wider_than_a_phone() {
    let daemon = library(Setup::new(), "<p>Hi").start();
    let mut browser = Browser::start();
    for (width, height) in [(320, 480), (360, 640), (1280, 720), (1920, 1080)] {
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}),
        );
        for target in [
            "/courses",
            "/courses?q=lecture",
            "/course/development/git/git",
            LECTURE,
        ] {
            browser.open(&daemon.url(target));
            drawn(&mut browser);
            let looked = browser.evaluate(
                "({ wide: document.documentElement.scrollWidth, view: window.innerWidth, \
                    font: parseFloat(getComputedStyle(document.body).fontSize), \
                    dark: getComputedStyle(document.documentElement).backgroundColor })",
            );
            assert_eq!(looked["view"], width, "{target}: {looked}");
            assert!(looked["wide"].as_u64() <= Some(width), "{target}: {looked}");
            let least = if width >= 1920 { 27.0 } else { 16.0 };
            assert!(looked["font"].as_f64() >= Some(least), "{target}: {looked}");
            assert_eq!(looked["dark"], "rgb(16, 20, 24)", "{target}");
        }
    }
}

#[test]
fn a_lecture_shows_how_far_it_was_watched_and_in_which_languages() {
    let daemon = library(Setup::new(), "<p>Hi").start();
    let text = page(&daemon, LECTURE).text();
    for track in [
        "srclang=\"es\" label=\"Español\"",
        "srclang=\"en\" label=\"English\"",
        "srclang=\"pt-BR\"",
    ] {
        assert!(text.contains(track), "{track} in {text}");
    }
    assert!(!text.contains("Watched"), "{text}");
    let key = text
        .split("data-key=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a key");
    let tell = |entry: Value| {
        let body = json!({ key: entry }).to_string();
        assert_eq!(patch(&daemon, "/api/progress", &body).status(), 200);
    };
    tell(json!({"status": "in_progress", "watchTime": 754.9, "duration": 1000}));
    let text = page(&daemon, LECTURE).text();
    assert!(
        text.contains("Watched to 12:34") && text.contains("data-start=\"754\""),
        "{text}"
    );
    let course = page(&daemon, "/course/development/git/git").text();
    assert!(
        course.contains("75 % watched") && course.contains("Play: <bdi>Lecture 2"),
        "{course}"
    );
    tell(json!({"status": "complete"}));
    let text = page(&daemon, LECTURE).text();
    assert!(
        text.contains("\u{2713} Watched") && text.contains("data-start=\"0\""),
        "{text}"
    );
    let course = page(&daemon, "/course/development/git/git").text();
    assert!(
        course.contains("\u{2713} Watched") && course.contains("1 watched"),
        "{course}"
    );
    // A position that no film has.
    tell(
        json!({"status": "in_progress", "watchTime": 1e300, "lastWatched": 2_000_000_000_000_u64}),
    );
    assert_eq!(page(&daemon, LECTURE).status(), 200);
    assert_eq!(page(&daemon, "/course/development/git/git").status(), 200);
}

#[test]
fn names_too_long_for_a_key_still_play_and_are_remembered() {
    let setup = Setup::new();
    let long = |what: &str| format!("{what} {}", "ñ日 ".repeat(1000));
    let class = |n: u32| json!({"name": long(&format!("{n}")), "hasVideo": true, "files": {"video": local("x.mp4")}});
    let course = json!({"name": long("Course"), "id": long("id"), "url": format!("https://x.org/{}", "a/b".repeat(2000)),
        "modules": [{"name": long("M"), "classes": [class(1), class(2)]}]});
    let catalog = json!({"categories": [{"name": long("Cat"), "routes": [{"name": long("Route"), "courses": [course]}]}]});
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    let daemon = setup.start();
    let mut keys = Vec::new();
    for n in 0..2 {
        let target = format!("/watch/0/0/0/0/{n}");
        let text = page(&daemon, &target);
        assert_eq!(text.status(), 200);
        let text = text.text();
        let key = text
            .split("data-key=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let key = key.expect("a key").to_owned();
        assert!(key.len() <= 512, "{} bytes", key.len());
        let body = json!({ &key: {"status": "complete"} }).to_string();
        let told = patch(&daemon, "/api/progress?profile=Ana", &body);
        assert_eq!(told.status(), 200);
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    let course = page(&daemon, "/course/0/0/0?profile=Ana");
    assert_eq!(course.text().matches("\u{2713} Watched").count(), 2);
    assert_eq!(page(&daemon, "/courses").status(), 200);
    assert_eq!(page(&daemon, "/courses?q=course").status(), 200);
    assert_eq!(daemon.get("/api/search?q=course").status(), 200);
}

#[test]
fn profiles_and_queries_that_mean_harm() {
    let daemon = library(Setup::new(), "<p>Hi").start();
    let long = "x".repeat(5000);
    let words = "%F0%9F%8E%AC+".repeat(400);
    for query in [
        "profile=%22%3E%3Cscript%3E",
        "profile=%00",
        "profile=%ff%fe",
        "profile=a&profile=b",
        "profile=..%2F..%2Fetc",
        &format!("profile={long}"),
        &format!("q={long}"),
        &format!("q={words}"),
        "q=%00%01%1b",
        "page=-1",
        "page=99999999999999999999",
        "page=1e3",
        "category=%ff",
        "&&&==&q",
        "q=%",
    ] {
        for target in ["/courses", "/course/0/0/0", LECTURE] {
            let answer = page(&daemon, &format!("{target}?{query}"));
            let status = answer.status();
            assert!(
                matches!(status, 200 | 400 | 404),
                "{target}?{query}: {status}"
            );
            assert!(!answer.text().contains("<script>"), "{target}?{query}");
        }
    }
    // What the page would tell its position to is refused there, too, and makes no profile.
    for profile in ["%22%3E", "%00", &long] {
        let target = format!("/api/progress?profile={profile}");
        assert_eq!(
            patch(&daemon, &target, "{\"a\":{}}").code(),
            "invalid_profile"
        );
    }
    assert_eq!(daemon.get("/api/profiles").json(), json!({"profiles": []}));
}

#[test]
fn a_course_of_five_thousand_is_a_few_steps_deep() {
    let classes = |from: usize| -> Vec<Value> {
        (from..from + 100)
            .map(|n| json!({ "name": format!("Lecture {n}") }))
            .collect()
    };
    let modules: Vec<Value> = (0..50)
        .map(|n| json!({ "name": format!("Part {n}"), "classes": classes(100 * n) }))
        .collect();
    let whole: Vec<Value> = modules
        .iter()
        .flat_map(|module| module["classes"].as_array().expect("classes").clone())
        .collect();
    let alone = json!([{ "name": "All", "classes": whole }]);
    let catalog = json!({ "categories": [{ "name": "C", "routes": [
        { "name": "Parts", "id": "parts", "isCourse": true, "modules": modules },
        { "name": "Alone", "id": "alone", "isCourse": true, "modules": alone },
    ] }] });
    let setup = Setup::new();
    std::fs::write(setup.path().join("state/catalog.json"), catalog.to_string()).expect("a file");
    let daemon = setup.start();
    let key = |course: &str, part: &str, n: usize| format!("{course}/{part}/lecture-{n}");
    let watched = json!({
        key("parts", "part-41", 4123): { "status": "complete" },
        key("alone", "all", 4123): { "status": "complete" },
    });
    assert_eq!(
        patch(&daemon, "/api/progress", &watched.to_string()).status(),
        200
    );

    for (course, part, jumps) in [("parts", "part-41", 50), ("alone", "all", 42)] {
        let base = format!("/course/c/{course}/{course}");
        let first = page(&daemon, &base).text();
        let links = first.split("<h2>Go to</h2>").nth(1).expect("jumps");
        let links = links.split("</p>").next().expect("an end");
        assert_eq!(links.matches("<a ").count(), jumps, "{links}");
        // Each leads to where it says.
        if course == "parts" {
            let to = format!("href=\"{base}?page=171\"><bdi>Part 41</bdi>");
            assert!(links.contains(&to), "{links}");
        }
        // A class that was watched is marked wherever it stands, and its page leads back to it.
        let lecture = page(
            &daemon,
            &format!("/watch/c/{course}/{course}/{part}/lecture-4123"),
        )
        .text();
        let back = format!("href=\"{base}?page=172\"");
        assert!(lecture.contains(&back), "{lecture}");
        let around = page(&daemon, &format!("{base}?page=172")).text();
        let card = around
            .split("<li>")
            .find(|card| card.contains(">Lecture 4123<"));
        assert!(
            card.is_some_and(|card| card.contains("Watched")),
            "{around}"
        );
        assert!(around.contains("5000 classes \u{b7} 1 watched"), "{around}");
        // Who pages on stands on the first class of the page.
        let focused = around.split("autofocus").next().expect("a focus");
        assert!(focused.ends_with("lecture-4104\" "), "{around}");
    }
    // A course of two pages needs none of it.
    assert!(!page(&daemon, "/courses").text().contains("Go to"));
}
