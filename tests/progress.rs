//! Playing positions: the contract of the routes, and what they owe to those who were answered.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup, emulated, eventually};
use crate::support::disk::Disk;

const TARGET: &str = "/api/progress";

fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn send(daemon: &Daemon, method: &str, target: &str, body: &str) -> Response {
    send_with(daemon, method, target, "", body)
}

fn send_with(daemon: &Daemon, method: &str, target: &str, headers: &str, body: &str) -> Response {
    let mut client = daemon.client();
    client.send(request(method, target, headers, body)).unwrap();
    client.response(method)
}

fn saved(reply: &Response) {
    let answer = (reply.status(), reply.text());
    assert_eq!(answer, (200, "{\"status\":\"saved\"}".to_owned()));
}

fn kept(daemon: &Daemon) -> Value {
    daemon.get(TARGET).json()
}

/// A daemon whose state folder is `state`, which outlives it.
fn on(state: &Path) -> Daemon {
    Setup::new()
        .set("state", "dir", &format!("{state:?}"))
        .start()
}

#[test]
fn posted_patched_and_removed() {
    let daemon = Daemon::start();
    let document = r#"{"a":{"watchTime":10,"lastWatched":"2026-01-02T00:00:00Z","speed":1.25},"b":[1, 2.50],"c":null}"#;
    saved(&send(&daemon, "POST", TARGET, document));
    let reply = daemon.get(TARGET);
    assert_eq!(reply.text(), document);
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let tag = reply.header("etag").expect("a validator").to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    let again = |tag: &str| {
        let status = daemon
            .client()
            .request("GET", TARGET, &[("If-None-Match", tag)]);
        status.status()
    };
    assert_eq!(again(&tag), 304);
    let change = r#"{"a":{"watchTime":3,"lastWatched":1767400000000},"b":null,"d":{"status":"complete","completedAt":1}}"#;
    saved(&send(&daemon, "PATCH", TARGET, change));
    assert_eq!(again(&tag), 200);
    // As `sendBeacon` sends it, and in chunks.
    saved(&send_with(
        &daemon,
        "POST",
        "/api/progress?merge=1",
        "Content-Type: text/plain;charset=UTF-8\r\n",
        r#"{"e":{"watchTime":7}}"#,
    ));
    let mut client = daemon.client();
    let chunked =
        "PATCH /api/progress HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client
        .send(format!(
            "{chunked}6\r\n{{\"f\":{{\r\n2\r\n}}}}\r\n0\r\n\r\n"
        ))
        .unwrap();
    saved(&client.response("PATCH"));
    assert_eq!(
        kept(&daemon),
        json!({
            "a": {"watchTime": 10, "lastWatched": 1_767_400_000_000_u64, "speed": 1.25},
            "c": null,
            "d": {"status": "complete", "completedAt": 1},
            "e": {"watchTime": 7},
            "f": {},
        })
    );
    saved(&send(&daemon, "POST", TARGET, "{}"));
    assert_eq!(kept(&daemon), json!({}));
}

#[test]
fn what_is_refused_changes_nothing() {
    let daemon = Setup::new().set("limits", "progress", "\"8KiB\"").start();
    let first = json!({"a": {"watchTime": 10}});
    saved(&send(&daemon, "POST", TARGET, &first.to_string()));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let long = format!("{{\"{}\":{{}}}}", "k".repeat(513));
    for (body, status, code) in [
        ("", 413, "payload_too_large"),
        (&" ".repeat(8193), 413, "payload_too_large"),
        ("[]", 400, "invalid_progress"),
        ("{\"a\":NaN}", 400, "invalid_progress"),
        (&deep, 400, "invalid_progress"),
        (&long, 400, "invalid_progress"),
    ] {
        for method in ["POST", "PATCH"] {
            let reply = send(&daemon, method, TARGET, body);
            assert_eq!(
                (reply.status(), reply.code().as_str()),
                (status, code),
                "{method} {body}"
            );
        }
    }
    for body in [
        r#"{"b":{},"a":1}"#,
        r#"{"b":{},"a":{"status":"seen"}}"#,
        r#"{"b":{},"a":{"watchTime":"NaN"}}"#,
        r#"{"b":{},"a":{"watchTime":1e400}}"#,
        r#"{"b":{},"a":{"lastWatched":{}}}"#,
    ] {
        assert_eq!(
            send(&daemon, "PATCH", TARGET, body).code(),
            "invalid_progress",
            "{body}"
        );
    }
    let chunked = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        9000,
        " ".repeat(9000)
    );
    let mut client = daemon.client();
    client.send(chunked).unwrap();
    assert_eq!(client.response("POST").status(), 413);
    let foreign = "Origin: https://evil.example\r\nContent-Type: text/plain\r\n";
    let reply = send_with(
        &daemon,
        "POST",
        "/api/progress?merge=1",
        foreign,
        "{\"b\":{}}",
    );
    assert_eq!((reply.status(), reply.code().as_str()), (403, "cross_site"));
    assert_eq!(kept(&daemon), first);
}

#[test]
fn beacons_come_from_our_own_pages_alone() {
    let daemon = Daemon::start();
    let own = format!("http://{}", daemon.address);
    let target = "/api/progress?merge=1&profile=Ana";
    // What a browser sends beside `navigator.sendBeacon(url, text)`, and programs that send none of it.
    for (n, headers) in [
        format!("Origin: {own}\r\nSec-Fetch-Site: same-origin\r\n"),
        "Sec-Fetch-Site: same-origin\r\n".to_owned(),
        "Sec-Fetch-Site: none\r\n".to_owned(),
        String::new(),
    ]
    .iter()
    .enumerate()
    {
        let headers = format!("Content-Type: text/plain;charset=UTF-8\r\n{headers}");
        let body = format!("{{\"k{n}\":{{\"watchTime\":{n}}}}}");
        let mut client = daemon.client();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{headers}",
            daemon.address
        );
        let sent = client.send(format!(
            "{head}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        sent.unwrap();
        saved(&client.response("POST"));
    }
    let before = daemon.get("/api/progress?profile=Ana").json();
    assert_eq!(before.as_object().map(serde_json::Map::len), Some(4));
    for headers in [
        "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: null\r\n",
        "Origin: http://localhost.evil.example\r\n",
        "Origin: http://localhost:1\r\nOrigin: http://localhost\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        for method in ["POST", "PATCH"] {
            let headers = format!("Content-Type: text/plain\r\n{headers}");
            let reply = send_with(&daemon, method, target, &headers, "{\"evil\":{}}");
            assert_eq!(
                (reply.status(), reply.code().as_str()),
                (403, "cross_site"),
                "{method} {headers}"
            );
        }
    }
    assert_eq!(daemon.get("/api/progress?profile=Ana").json(), before);
}

#[test]
fn a_clock_that_was_years_off_freezes_nothing() {
    let daemon = Daemon::start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let years = 2 * 365 * 86_400_000;
    let tell = |date: u64, time: u64| {
        let entry = json!({"a": {"status": "in_progress", "watchTime": time, "lastWatched": date}});
        saved(&send(&daemon, "PATCH", TARGET, &entry.to_string()));
        kept(&daemon)["a"]["watchTime"].as_u64().unwrap()
    };
    assert_eq!(tell(now - 60_000, 50), 50);
    // A television two years ahead, then one in another time zone, then a phone whose clock is right.
    assert_eq!(tell(now + years, 100), 100);
    assert_eq!(tell(now + years + 10_000, 110), 110);
    assert_eq!(tell(now + 7_200_000, 120), 120);
    assert_eq!(tell(now, 130), 130);
    // What is older is older.
    assert_eq!(tell(now - 30_000, 60), 130);
}

#[test]
fn a_million_keys_are_too_many() {
    let daemon = Setup::new().set("limits", "progress", "\"16MiB\"").start();
    let many: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(
        send(&daemon, "POST", TARGET, &many).code(),
        "payload_too_large"
    );
    let most: Vec<String> = (0..50_000).map(|n| format!("\"{n}\":{{}}")).collect();
    saved(&send(
        &daemon,
        "PATCH",
        TARGET,
        &format!("{{{}}}", most.join(",")),
    ));
    let one_more = send(&daemon, "PATCH", TARGET, "{\"x\":{}}");
    assert_eq!(
        (one_more.status(), one_more.code().as_str()),
        (409, "progress_full")
    );
    saved(&send(&daemon, "PATCH", TARGET, "{\"1\":null,\"x\":{}}"));
    assert_eq!(
        kept(&daemon).as_object().map(serde_json::Map::len),
        Some(50_000)
    );
}

#[test]
fn people_are_told_apart() {
    let daemon = Daemon::start();
    let of = |name: &str| format!("{TARGET}?profile={name}");
    assert_eq!(daemon.get(&of("Ana")).json(), json!({}));
    assert_eq!(daemon.get("/api/profiles").json(), json!({"profiles": []}));
    saved(&send(&daemon, "PATCH", &of("Ana"), "{\"a\":{}}"));
    saved(&send(
        &daemon,
        "POST",
        &of("%E6%9D%8E%20%E9%9B%B7"),
        "{\"b\":1,\"c\":2}",
    ));
    assert_eq!(kept(&daemon), json!({}));
    assert_eq!(daemon.get(&of("Ana")).json(), json!({"a": {}}));
    assert_eq!(
        daemon.get("/api/profiles").json(),
        json!({"profiles": [{"name": "Ana", "entries": 1}, {"name": "李 雷", "entries": 2}]})
    );
    for n in 2..32 {
        saved(&send(&daemon, "PATCH", &of(&format!("p{n}")), "{\"a\":{}}"));
    }
    let full = send(&daemon, "PATCH", &of("one-more"), "{\"a\":{}}");
    assert_eq!(
        (full.status(), full.code().as_str()),
        (409, "too_many_profiles")
    );
    assert_eq!(daemon.get(&of("one-more")).json(), json!({}));
    for bad in ["%3Cb%3E", "a%2Fb", "a&profile=b", &"x".repeat(65)] {
        assert_eq!(daemon.get(&of(bad)).code(), "invalid_profile", "{bad}");
    }
    let ana = "/api/profiles/Ana";
    assert_eq!(
        daemon.client().request("DELETE", ana, &[]).code(),
        "admin_required"
    );
    let token = std::fs::read_to_string(daemon.setup().path().join("state/admin-token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let remove = || {
        daemon
            .client()
            .request("DELETE", ana, &[("Authorization", &bearer)])
    };
    assert_eq!(remove().status(), 200);
    assert_eq!(remove().code(), "profile_not_found");
    assert_eq!(daemon.get(&of("Ana")).json(), json!({}));
    saved(&send(&daemon, "PATCH", &of("one-more"), "{\"a\":{}}"));
}

#[test]
fn an_accent_is_one_however_a_keyboard_sends_it() {
    let daemon = Daemon::start();
    for name in ["Jos%C3%A9", "Jose%CC%81"] {
        let target = format!("{TARGET}?profile={name}");
        saved(&send(
            &daemon,
            "PATCH",
            &target,
            r#"{"a": {"watchTime": 9}}"#,
        ));
    }
    let profiles = daemon.get("/api/profiles").json();
    assert_eq!(
        profiles["profiles"],
        json!([{ "name": "Jos\u{e9}", "entries": 1 }])
    );
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let mut client = daemon.client();
            scope.spawn(move || {
                for n in 0..50 {
                    let body = format!(
                        r#"{{"w{writer}-{n}":{{"watchTime":{n}}},"shared":{{"lastWatched":{},"watchTime":{}}}}}"#,
                        100 + n * 4 + writer,
                        100 + n * 4 + writer
                    );
                    client.send(request("PATCH", TARGET, "", &body)).unwrap();
                    saved(&client.response("PATCH"));
                }
            });
        }
    });
    let kept = kept(&daemon);
    assert_eq!(kept.as_object().map(serde_json::Map::len), Some(201));
    assert_eq!(kept["shared"]["watchTime"], 100 + 49 * 4 + 3);
}

#[test]
fn an_unchanged_value_writes_nothing() {
    let daemon = Daemon::start();
    let body = r#"{"a":{"status":"in_progress","watchTime":50,"lastWatched":1000}}"#;
    saved(&send(&daemon, "PATCH", TARGET, body));
    let older = r#"{"a":{"status":"in_progress","watchTime":9,"lastWatched":900},"none":null}"#;
    let document = daemon.get(TARGET).text();
    let state = daemon.setup().path().join("state");
    let times = || {
        let of = |name| {
            std::fs::metadata(state.join(name))
                .and_then(|m| m.modified())
                .unwrap()
        };
        (of("rill.db"), of("rill.db-wal"))
    };
    let before = (daemon.write_bytes(), times());
    for _ in 0..20 {
        saved(&send(&daemon, "PATCH", TARGET, body));
        saved(&send(&daemon, "PATCH", TARGET, older));
        saved(&send(&daemon, "POST", TARGET, &document));
        saved(&send(
            &daemon,
            "PATCH",
            "/api/progress?profile=nobody",
            "{\"a\":null}",
        ));
    }
    assert_eq!((daemon.write_bytes(), times()), before);
}

#[test]
fn what_was_answered_survives_kill_9() {
    if emulated() {
        // To start it takes longer than it is given to answer.
        return;
    }
    const ROUNDS: usize = 100;
    let state = tempfile::tempdir().unwrap();
    let began = Instant::now();
    // What each key was last answered for.
    let mut answered: BTreeMap<String, u64> = BTreeMap::new();
    let mut date = 1_000_u64;
    for round in 0..=ROUNDS {
        let daemon = on(state.path());
        let kept = kept(&daemon);
        for (key, want) in &answered {
            let is = kept[key]["watchTime"].as_u64();
            assert!(
                is >= Some(*want),
                "round {round}: {key} is {is:?}, answered {want}"
            );
        }
        if round == ROUNDS {
            break;
        }
        let killed = AtomicBool::new(false);
        let reached = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (mut client, killed) = (daemon.client(), &killed);
                    scope.spawn(move || {
                        let mut answered = BTreeMap::new();
                        for n in date.. {
                            // A position that moves on, and now and then a lecture that is new.
                            let key = match n % 5 {
                                0 => format!("r{round}w{writer}n{n}"),
                                _ => format!("w{writer}"),
                            };
                            let body = format!(
                                r#"{{"{key}":{{"status":"in_progress","watchTime":{n},"lastWatched":{n}}}}}"#
                            );
                            let sent = client.send(request("PATCH", TARGET, "", &body));
                            match sent.and_then(|()| client.try_head()) {
                                Ok(head) => {
                                    assert_eq!(head.status, 200);
                                    if client.body_of(&head, "PATCH").1 {
                                        answered.insert(key, n);
                                    }
                                }
                                Err(error) => {
                                    assert!(killed.load(Ordering::SeqCst), "{error}");
                                    break;
                                }
                            }
                        }
                        answered
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(10 + (round as u64 * 7) % 40));
            killed.store(true, Ordering::SeqCst);
            // Dropped is killed.
            drop(daemon);
            let reached: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
            reached
        });
        for writer in reached {
            date = date.max(writer.values().max().copied().unwrap_or(0));
            answered.extend(writer);
        }
        date += 5;
    }
    assert!(answered.len() > ROUNDS, "{} keys", answered.len());
    assert_eq!(broken(state.path()), 0);
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
}

/// How many databases were set aside in a folder.
fn broken(state: &Path) -> usize {
    let names = std::fs::read_dir(state)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| {
            name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .count()
}

#[test]
fn a_broken_database_is_set_aside_and_the_rest_plays_on() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("rill.db");
    std::fs::write(&file, "no database ".repeat(2000)).unwrap();
    let daemon = on(state.path());
    saved(&send(&daemon, "PATCH", TARGET, "{\"a\":{}}"));
    assert_eq!(broken(state.path()), 1);
    assert!(
        eventually(Duration::from_secs(5), || daemon
            .log()
            .contains("is broken")),
        "{}",
        daemon.log()
    );
    drop(daemon);
    // Torn in the middle by a power cut.
    let daemon = on(state.path());
    assert_eq!(kept(&daemon), json!({"a": {}}));
    drop(daemon);
    let log = state.path().join("rill.db-wal");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0x5a; bytes.len().max(8192)]).unwrap();
    std::fs::write(&log, "torn").unwrap();
    let daemon = on(state.path());
    saved(&send(&daemon, "PATCH", TARGET, "{\"b\":{}}"));
    assert_eq!(kept(&daemon), json!({"b": {}}));
    assert_eq!(broken(state.path()), 2);
}

#[test]
fn the_state_folder_goes_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("file/state");
    std::fs::write(root.path().join("file"), "in the way").unwrap();
    let daemon = on(&state);
    let refused = send(&daemon, "PATCH", TARGET, "{\"a\":{}}");
    assert_eq!(
        (refused.status(), refused.code().as_str()),
        (503, "state_unavailable")
    );
    assert_eq!(daemon.get(TARGET).code(), "state_unavailable");
    assert_eq!(daemon.get("/").status(), 200);
    std::fs::remove_file(root.path().join("file")).unwrap();
    std::fs::create_dir_all(&state).unwrap();
    saved(&send(&daemon, "PATCH", TARGET, "{\"a\":{}}"));
    // Removed while it is open: the next write is to a file that is there.
    std::fs::remove_file(state.join("rill.db")).unwrap();
    saved(&send(&daemon, "PATCH", TARGET, "{\"b\":{}}"));
    assert!(state.join("rill.db").is_file());
    assert_eq!(kept(&daemon), json!({"b": {}}));
}

#[test]
fn the_seeds_file_is_imported_once() {
    let state = tempfile::tempdir().unwrap();
    let seed = state.path().join("progress.json");
    let text = r#"{"x":{"status":"complete","watchTime":61.5,"custom":[1]}, "y":12}"#;
    std::fs::write(&seed, text).unwrap();
    let daemon = on(state.path());
    assert_eq!(kept(&daemon), serde_json::from_str::<Value>(text).unwrap());
    saved(&send(&daemon, "PATCH", TARGET, "{\"x\":null}"));
    drop(daemon);
    let daemon = on(state.path());
    assert_eq!(kept(&daemon), json!({"y": 12}));
    assert_eq!(std::fs::read_to_string(&seed).unwrap(), text);
    drop(daemon);

    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("progress.json"), "{\"x\":").unwrap();
    for told in [true, false] {
        let daemon = on(state.path());
        assert_eq!(kept(&daemon), json!({}));
        assert_eq!(
            daemon.log().contains("is not imported"),
            told,
            "{}",
            daemon.log()
        );
    }
}

#[test]
fn a_clean_stop_leaves_one_file() {
    let state = tempfile::tempdir().unwrap();
    let mut daemon = on(state.path());
    saved(&send(&daemon, "PATCH", TARGET, "{\"a\":{\"watchTime\":9}}"));
    saved(&send(
        &daemon,
        "PATCH",
        TARGET,
        "{\"a\":{\"watchTime\":10}}",
    ));
    daemon.sigterm();
    assert!(
        daemon
            .wait_exit(Duration::from_secs(10))
            .is_some_and(|status| status.success())
    );
    assert!(!state.path().join("rill.db-wal").exists());
    drop(daemon);
    assert_eq!(kept(&on(state.path())), json!({"a": {"watchTime": 10}}));
}

#[test]
fn a_full_disk_keeps_what_was() {
    // Where nothing may be mounted, the unit test with a bounded database stands for it.
    let Some(disk) = Disk::new("1m") else { return };
    let daemon = on(disk.path());
    saved(&send(&daemon, "POST", TARGET, "{\"a\":{\"watchTime\":9}}"));
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 2 << 20]);
    let large = format!("{{\"b\":{{\"note\":\"{}\"}}}}", "x".repeat(15_000));
    for method in ["PATCH", "POST"] {
        let refused = send(&daemon, method, TARGET, &large);
        assert_eq!(
            (refused.status(), refused.code().as_str()),
            (507, "no_space"),
            "{method}"
        );
        assert_eq!(kept(&daemon), json!({"a": {"watchTime": 9}}));
    }
    std::fs::remove_file(&filler).unwrap();
    saved(&send(&daemon, "PATCH", TARGET, &large));
    assert_eq!(kept(&daemon).as_object().map(serde_json::Map::len), Some(2));
    // Full already at the start, and later not.
    drop(daemon);
    for name in ["rill.db", "rill.db-wal", "rill.db-shm"] {
        let _ = std::fs::remove_file(disk.path().join(name));
    }
    let _ = std::fs::write(&filler, vec![0; 2 << 20]);
    let daemon = on(disk.path());
    assert_eq!(
        send(&daemon, "PATCH", TARGET, "{\"a\":{}}").code(),
        "no_space"
    );
    std::fs::remove_file(&filler).unwrap();
    saved(&send(&daemon, "PATCH", TARGET, "{\"a\":{}}"));
}

/// That what is kept can still be read does not mean that the disk works again.
#[test]
fn a_full_disk_is_told_of_once_and_until_something_is_written() {
    let Some(disk) = Disk::new("1m") else { return };
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    let daemon = Setup::new()
        .set("state", "dir", &format!("{:?}", disk.path()))
        .env("NOTIFY_SOCKET", notify.to_str().unwrap())
        .start();
    saved(&send(&daemon, "POST", TARGET, "{\"a\":{\"watchTime\":9}}"));
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 2 << 20]);
    let large = format!("{{\"b\":{{\"note\":\"{}\"}}}}", "x".repeat(15_000));
    for _ in 0..4 {
        assert_eq!(send(&daemon, "PATCH", TARGET, &large).status(), 507);
        assert_eq!(kept(&daemon), json!({"a": {"watchTime": 9}}));
        let state = &daemon.health()["state"];
        assert_eq!(state["available"], false, "{state}");
        assert!(
            state["detail"].as_str().unwrap().contains("full"),
            "{state}"
        );
    }
    systemd
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut line = [0; 4096];
    loop {
        let n = systemd.recv(&mut line).expect("STATUS tells it");
        if String::from_utf8_lossy(&line[..n]).contains("is full") {
            break;
        }
    }
    std::fs::remove_file(&filler).unwrap();
    // The daemon finds out by itself.
    let works = || daemon.health()["state"]["available"] == true;
    assert!(
        eventually(Duration::from_secs(60), works),
        "{}",
        daemon.log()
    );
    saved(&send(&daemon, "PATCH", TARGET, &large));
    let log = daemon.log();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("is full"), 1, "{log}");
    assert_eq!(lines("works again"), 1, "{log}");
}

/// How fast positions are taken; run by hand: `cargo test --release -- --ignored --nocapture positions_a_second`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stderr, reason = "a measurement")]
fn positions_a_second() {
    let daemon = Daemon::start();
    let mut client: Client = daemon.client();
    for (name, new) in [("positions", false), ("new lectures", true)] {
        let began = Instant::now();
        let mut count = 0_u32;
        while began.elapsed() < Duration::from_secs(2) {
            count += 1;
            let key = if new { count } else { 0 };
            let body = format!(r#"{{"k{key}":{{"watchTime":{count},"lastWatched":{count}}}}}"#);
            client.send(request("PATCH", TARGET, "", &body)).unwrap();
            saved(&client.response("PATCH"));
        }
        eprintln!(
            "{name}: {} a second, {} KiB resident",
            count / 2,
            daemon.rss() / 1024
        );
    }
}
