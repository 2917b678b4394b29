//! The command line as a shell sees it: exit codes, what goes to which stream, and what it says.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Output;

use crate::support::daemon::{Setup, program};
use crate::support::drive::FakeDrive;

fn rill(arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn help_and_version() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["serve", "--help"]] {
        let output = rill(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let help = text(&output.stdout);
        for word in [
            "serve",
            "check",
            "token",
            "scan",
            "--new",
            "--config",
            "--version",
            "78",
            "RILL_LOG",
        ] {
            assert!(help.contains(word), "{word}");
        }
        assert!(output.stderr.is_empty());
    }
    let version = rill(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        concat!("rill ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_bad_argument_exits_2_with_usage() {
    for arguments in [
        &[][..],
        &["dance"],
        &["serve", "now"],
        &["serve", "--port", "1"],
        &["check", "--new"],
        &["serve", "--config"],
    ] {
        let output = rill(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(
            said.starts_with("rill: ") && said.contains("\nUsage: rill <serve|scan|check>"),
            "{said}"
        );
    }
}

#[test]
fn a_bad_configuration_exits_78() {
    for command in ["serve", "check", "token", "scan"] {
        let setup = Setup::new().set("http", "max_connections", "0");
        let output = setup
            .command(&[command])
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(
            said.contains("rill.toml, line ")
                && said.contains("http.max_connections: 0 is out of range; write a whole number"),
            "{said}"
        );
    }
    let output = rill(&["serve", "--config", "/nonexistent/rill.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nonexistent/rill.toml: there is no such file"));
    let output = Setup::new()
        .env("PORT", "eighty")
        .command(&["serve"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("the variable PORT: `eighty` is no port; set it to"));
}

/// A file that was no TOML at all named the line, and left the setting to be looked for.
#[test]
fn a_line_that_is_no_toml_names_its_setting() {
    let setup = Setup::new();
    let file = setup.path().join("broken.toml");
    for (wrong, want) in [
        (
            "[http]\nlisten = [\"[::]:8080\"]\nlisten = []\n",
            "line 3, http.listen: this is not TOML (duplicate key); it is there twice; take one of the two out",
        ),
        (
            "[drive]\n# a comment\nroot = abc\n",
            "line 3, drive.root: this is not TOML",
        ),
        (
            "[state]\ndir = \"/srv\n",
            "line 2, state.dir: this is not TOML",
        ),
        ("[http\n", "line 1: this is not TOML"),
    ] {
        std::fs::write(&file, wrong).expect("written");
        let output = rill(&["check", "--config", file.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(78), "{wrong}");
        let said = text(&output.stderr);
        assert!(said.contains(want), "{said}");
        assert!(said.contains("broken.toml"), "{said}");
    }
}

#[test]
fn token_is_made_once_and_replaced_whole() {
    let setup = Setup::new();
    let print = |arguments: &[&str]| {
        let output = setup
            .command(arguments)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let state = setup.path().join("state");
    // When the tests run as root, what they write is the folder's owner's all the same.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&state, Some(12345), Some(12346)).expect("root may");
    }
    let first = print(&["token"]);
    assert_eq!(first.len(), 43);
    assert_eq!(print(&["token"]), first);
    let second = print(&["token", "--new"]);
    assert_ne!(second, first);
    assert_eq!(print(&["token"]), second);
    let file = state.join("admin-token");
    let metadata = std::fs::metadata(&file).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    let folder = std::fs::metadata(&state).expect("there");
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (folder.uid(), folder.gid())
    );
    let names: Vec<_> = std::fs::read_dir(&state)
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(names, ["admin-token"]);
}

/// Killed at any instant, `rill token --new` leaves the old token or the new one, never a part.
#[test]
fn a_killed_token_command_leaves_a_whole_token() {
    let setup = Setup::new();
    let file = setup.path().join("state/admin-token");
    assert!(
        setup
            .command(&["token"])
            .output()
            .expect("the program starts")
            .status
            .success()
    );
    for n in 0..40 {
        let mut child = setup
            .command(&["token", "--new"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(std::time::Duration::from_micros(200 * n));
        let _ = child.kill();
        child.wait().expect("it ends");
        let token = std::fs::read_to_string(&file).expect("there");
        assert!(token.len() == 44 && token.ends_with('\n'), "{token:?}");
    }
}

#[test]
fn token_without_a_state_folder_says_what_to_do() {
    let setup = Setup::new().set("state", "dir", "\"/proc/rill\"");
    let output = setup
        .command(&["token"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the admin token /proc/rill/admin-token cannot be made"));
}

#[test]
fn check_without_drive() {
    let setup = Setup::new();
    let output = setup
        .command(&["check"])
        .output()
        .expect("the program starts");
    // The report is all that it says.
    assert_eq!(text(&output.stderr), "");
    let lines = text(&output.stdout);
    let line = |part: &str| {
        let found = lines
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(part));
        found
            .unwrap_or_else(|| panic!("{part} in {lines}"))
            .to_owned()
    };
    assert!(line("configuration").starts_with("ok "));
    assert!(line("drive").starts_with("-- "));
    for part in ["state", "cache", "videos", "listen"] {
        assert!(line(part).starts_with("ok "), "{lines}");
    }
    let all = lines.lines().all(|line| !line.starts_with("FAIL"));
    assert_eq!(
        output.status.code(),
        Some(if all { 0 } else { 1 }),
        "{lines}"
    );

    let broken = Setup::new()
        .set("ffmpeg", "ffmpeg", "\"/nonexistent/ffmpeg\"")
        .set("library", "courses", "\"/nonexistent/courses\"");
    let output = broken
        .command(&["check"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let lines = text(&output.stdout);
    assert!(
        lines.contains("FAIL  ffmpeg         `/nonexistent/ffmpeg` is not there; install it"),
        "{lines}"
    );
    assert!(
        lines.contains("FAIL  courses        /nonexistent/courses is not there"),
        "{lines}"
    );
}

#[test]
fn check_asks_google() {
    let fake = FakeDrive::start();
    let line = |setup: &Setup| {
        let output = setup
            .command(&["check"])
            .output()
            .expect("the program starts");
        let lines = text(&output.stdout);
        let found = lines
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some("drive"));
        (found.expect("a line").to_owned(), output.status.code())
    };
    let setup = Setup::new().drive(&fake);
    let (works, _) = line(&setup);
    assert!(
        works.starts_with("ok    drive          connected as "),
        "{works}"
    );
    std::fs::write(setup.credentials(), "{\"type\":\"service_account\"}").expect("written");
    let (fails, code) = line(&setup);
    assert!(fails.starts_with("FAIL "), "{fails}");
    assert_eq!(code, Some(1));
}
