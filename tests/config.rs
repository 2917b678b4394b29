//! The configuration as the running program takes it: systemd's variables, the older systems', and what is
//! missing in the world.

use std::time::Duration;

use crate::support::daemon::{Daemon, Setup, eventually, program};

#[test]
fn port_and_host_variables_win() {
    let daemon = Setup::new()
        .set("http", "listen", "[\"127.0.0.1:1\"]")
        .env("HOST", "127.0.0.2")
        .env("PORT", "0")
        .start();
    assert_eq!(daemon.address.ip().to_string(), "127.0.0.2");
    assert_eq!(daemon.get("/api/health").status(), 200);
}

#[test]
fn every_ip_version_on_one_port() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let daemon = Setup::new().set("http", "listen", "[\"[::]:0\"]").start();
    let port = daemon.address.port();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let address = address.parse().expect("an address");
        assert_eq!(
            crate::support::client::get(address, "/api/health").status(),
            200,
            "{address}"
        );
    }
}

#[test]
fn a_taken_port_names_it_and_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let setup = Setup::new().set("http", "listen", &format!("[\"{address}\"]"));
    let output = setup
        .command(&["serve"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        said.contains(&format!("{address} cannot be listened on"))
            && said.contains("choose another port"),
        "{said}"
    );
}

#[test]
fn systemd_folders_are_used_and_made() {
    let setup = Setup::new();
    let state = setup.path().join("sys/state");
    let cache = setup.path().join("sys/cache");
    let config = setup.path().join("small.toml");
    std::fs::write(&config, "[http]\nlisten = [\"127.0.0.1:0\"]\n").expect("written");
    // The environment decides what the file leaves out.
    let mut child = program()
        .args(["serve", "--config"])
        .arg(&config)
        .env_clear()
        .env(
            "STATE_DIRECTORY",
            format!("{}:/nonexistent", state.display()),
        )
        .env("CACHE_DIRECTORY", &cache)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let made = eventually(Duration::from_secs(20), || {
        state.join("videos").is_dir() && cache.is_dir() && state.join("admin-token").is_file()
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(made);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&state)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[test]
fn a_missing_disk_is_a_daemon_that_runs_and_recovers() {
    let setup = Setup::new();
    // A file where the disk would be mounted.
    let place = setup.path().join("disk");
    std::fs::write(&place, b"").expect("written");
    let state = format!("{:?}", place.join("state"));
    let videos = format!("{:?}", place.join("videos"));
    let daemon: Daemon = setup
        .set("state", "dir", &state)
        .set("library", "videos", &videos)
        .start();
    assert_eq!(daemon.get("/api/health").status(), 200);
    assert!(
        eventually(Duration::from_secs(5), || daemon
            .log()
            .contains("the state folder")),
        "{}",
        daemon.log()
    );
    std::fs::remove_file(&place).expect("removed");
    std::fs::create_dir(&place).expect("mounted");
    assert!(eventually(Duration::from_secs(15), || place
        .join("state/admin-token")
        .is_file()));
    assert!(place.join("videos").is_dir());
}

/// Health said `ok` and nothing else, and whoever presented a token was told that it was the wrong one.
#[test]
fn a_missing_state_folder_is_told_where_people_look() {
    let setup = Setup::new().video("a.mp4", b"0123456789");
    // A file where the disk would be mounted.
    let place = setup.path().join("disk");
    std::fs::write(&place, b"").expect("written");
    let state = place.join("state");
    let daemon = setup.set("state", "dir", &format!("{state:?}")).start();
    let health = daemon.health();
    assert_eq!(health["state"]["available"], false, "{health}");
    assert_eq!(health["state"]["path"], state.to_str().expect("text"));
    let detail = health["state"]["detail"].as_str().expect("a sentence");
    assert!(detail.contains("the state folder"), "{detail}");
    let page = daemon.get("/").text();
    assert!(page.contains("the state folder"), "{page}");
    assert_eq!(daemon.get("/videos/a.mp4").text(), "0123456789");
    for _ in 0..7 {
        let token = [("Authorization", "Bearer guess")];
        let reply = daemon.client().request("DELETE", "/videos/a.mp4", &token);
        assert_eq!((reply.status(), reply.code().as_str()), (503, "no_token"));
    }
    std::fs::remove_file(&place).expect("removed");
    std::fs::create_dir(&place).expect("mounted");
    assert!(eventually(Duration::from_secs(30), || {
        daemon.health()["state"]["available"] == true
    }));
    assert!(!daemon.get("/").text().contains("the state folder"));
    assert!(daemon.log().contains("the database works again"));
}
