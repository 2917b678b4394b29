//! Who may do what, over the wire: names, methods, other sites, the admin's login.

use std::net::SocketAddr;

use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup};

/// A request with a Host of one's own choice.
fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    host: &str,
    more: &str,
    body: &str,
) -> Response {
    let mut client = Client::connect(address);
    let length = match method {
        "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    client
        .send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}{length}\r\n{body}"
        ))
        .unwrap();
    client.response(method)
}

#[test]
fn a_rebound_name_is_refused() {
    let daemon = Setup::new()
        .set("http", "allowed_hosts", "[\"tv.example\"]")
        .start();
    let name = rustix_hostname();
    for good in [
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "anything.local",
        "tv.example:80",
        &name,
    ] {
        assert_eq!(
            ask(daemon.address, "GET", "/", good, "", "").status(),
            200,
            "{good}"
        );
    }
    for bad in [
        "evil.example",
        "127.0.0.1.evil.example",
        "tv.example.evil",
        "localhost.evil",
    ] {
        let reply = ask(daemon.address, "GET", "/", bad, "", "");
        assert_eq!(reply.status(), 421, "{bad}");
        assert_eq!(reply.code(), "unknown_host", "{bad}");
        assert!(reply.text().contains("allowed_hosts"), "{bad}");
        assert_eq!(
            ask(daemon.address, "OPTIONS", "/", bad, "", "").status(),
            421,
            "{bad}"
        );
    }
    let mut old = daemon.client();
    old.send("GET /robots.txt HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.response("GET").status(), 200);
}

fn rustix_hostname() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let bare = name.split('.').next().unwrap_or_default();
    if bare.is_empty() {
        "localhost".to_owned()
    } else {
        format!("{bare}.fritz.box:8080")
    }
}

#[test]
fn methods_are_named() {
    let daemon = Daemon::start();
    let reply = daemon.client().request("DELETE", "/api/health", &[]);
    assert_eq!(
        (reply.status(), reply.code().as_str()),
        (405, "method_not_allowed")
    );
    assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"));
    let reply = daemon.client().request("OPTIONS", "/login", &[]);
    assert_eq!(reply.status(), 204);
    assert_eq!(reply.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
}

#[test]
fn other_sites_read_only_what_is_shared_and_change_nothing() {
    let daemon = Setup::new()
        .set("http", "allowed_origins", "[\"https://app.example\"]")
        .start();
    let shared = |origin: &str| {
        let reply = daemon
            .client()
            .request("GET", "/api/health", &[("Origin", origin)]);
        assert!(
            reply
                .header("vary")
                .is_some_and(|vary| vary.contains("Origin"))
        );
        reply
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    for origin in [
        "https://app.example",
        "http://localhost:3000",
        "http://127.0.0.1:5173",
    ] {
        assert_eq!(shared(origin).as_deref(), Some(origin));
    }
    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        assert_eq!(shared(origin), None, "{origin}");
    }
    let post = |more: &str| ask(daemon.address, "POST", "/logout", "localhost", more, "").status();
    assert_eq!(post(""), 303);
    assert_eq!(post("Origin: http://localhost\r\n"), 303);
    assert_eq!(
        post("Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n"),
        303
    );
    assert_eq!(post("Origin: https://evil.example\r\n"), 403);
    assert_eq!(post("Origin: null\r\n"), 403);
    assert_eq!(post("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(post("Sec-Fetch-Site: same-origin\r\n"), 303);
}

#[test]
fn login_sets_a_cookie_that_lasts_and_five_slips_lock() {
    let daemon = Daemon::start();
    let shown = daemon.setup().command(&["token"]).output().unwrap();
    let token = String::from_utf8(shown.stdout).unwrap().trim().to_owned();
    let login =
        |body: &str, more: &str| ask(daemon.address, "POST", "/login", "localhost", more, body);
    let page = daemon
        .client()
        .request("GET", "/login?next=/video/a%2520b", &[]);
    assert!(
        page.text().contains("name=\"next\" value=\"/video/a%20b\""),
        "{}",
        page.text()
    );
    assert!(page.text().contains("type=\"password\""));

    let right = login(&format!("token={token}&next=%2Fvideo%2Fa%2520b"), "");
    assert_eq!(right.status(), 303, "{}", right.text());
    assert_eq!(right.header("location"), Some("/video/a%20b"));
    let cookie = right.header("set-cookie").unwrap().to_owned();
    for want in ["HttpOnly", "SameSite=Strict", "Max-Age=31536000", "Path=/"] {
        assert!(cookie.contains(want), "{cookie}");
    }
    assert!(!cookie.contains(&token), "the cookie is not the token");
    for away in [
        "//evil.example",
        "https://evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
    ] {
        let reply = login(&format!("token={token}&next={away}"), "");
        assert_eq!(reply.header("location"), Some("/"), "{away}");
    }

    let html = login("token=wrong", "Accept: text/html\r\n");
    assert_eq!(html.status(), 401);
    assert!(html.text().contains("<form"), "{}", html.text());
    for _ in 0..4 {
        let wrong = login("token=wrong", "");
        assert_eq!(
            (wrong.status(), wrong.code().as_str()),
            (401, "wrong_token")
        );
        assert!(wrong.header("set-cookie").is_none());
    }
    let locked = login("token=wrong", "");
    assert_eq!(
        (locked.status(), locked.code().as_str()),
        (429, "too_many_tries")
    );
    assert!(locked.header("retry-after").is_some());
    assert!(
        !daemon.log().contains(&token),
        "a token never reaches the log"
    );
}

#[test]
fn failures_are_pages_for_people_and_json_for_programs() {
    let daemon = Daemon::start();
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = daemon
        .client()
        .request("GET", "/nothing", &[("Accept", accept)]);
    assert_eq!(page.status(), 404);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(
        page.text().contains("<h1>Not Found</h1>"),
        "{}",
        page.text()
    );
    let json = daemon
        .client()
        .request("GET", "/nothing", &[("Accept", "*/*")]);
    assert_eq!(
        json.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert!(
        json.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.ends_with('.'))
    );
}

/// A request that shows a token must wait for a disk that hangs, and nobody else.
#[test]
fn a_state_disk_that_hangs_takes_no_other_request_with_it() {
    let daemon = Daemon::start();
    let admin = daemon.admin();
    let shown = [("Authorization", &*admin)];
    let target = format!("/api/uploads/{}", "0".repeat(32));
    let known = || daemon.client().request("GET", &target, &shown).status();
    assert_eq!(known(), 404);
    // Whoever opens a pipe that nobody writes to waits as long as for a disk that does not answer.
    let token = daemon.setup().path().join("state/admin-token");
    std::fs::remove_file(&token).expect("a file");
    let made = std::process::Command::new("mkfifo").arg(&token).status();
    assert!(made.is_ok_and(|status| status.success()));
    let mut waiting: Vec<Client> = (0..8).map(|_| daemon.client()).collect();
    for client in &mut waiting {
        client.ask("GET", &target, &shown);
    }
    // On as many connections as the daemon may have threads, and more.
    for _ in 0..16 {
        assert_eq!(daemon.get("/api/health").status(), 200);
    }
    for mut client in waiting {
        // By what was known before.
        assert_eq!(client.response("GET").status(), 404);
    }
}
