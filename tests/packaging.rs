//! What the package brings beside the program: it says what the program does, and does what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rill::args::HELP;

fn file(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a program prints, which must not fail.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    assert_eq!(stderr, "", "{command:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A manual page as `man` shows it, on one line; None where there is no groff to format it.
fn formatted(page: &Path) -> Option<String> {
    let formatted = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-P-cbou", "-rHY=0", "-rLL=2000n"])
        .arg(page)
        .output()
        .ok()?;
    assert_eq!(
        String::from_utf8_lossy(&formatted.stderr),
        "",
        "{}",
        page.display()
    );
    let text = String::from_utf8(formatted.stdout).expect("UTF-8");
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// roff without its requests and escapes, good enough to find words in.
fn plain(page: &str) -> String {
    let text = page
        .replace("\\-", "-")
        .replace("\\fI", "")
        .replace("\\fR", "")
        .replace('"', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Commands, options, exit codes and variables of `rill --help`: the first words of its indented lines.
fn promised() -> Vec<String> {
    let mut words = Vec::new();
    let mut section = "";
    for line in HELP.lines() {
        if !line.starts_with(' ') {
            section = line;
            continue;
        }
        let indented = line.len() - line.trim_start().len();
        let mut own = line.split_whitespace();
        match section {
            "Commands:" | "Exit status:" if indented == 2 => {
                words.extend(own.next().map(str::to_owned));
            }
            "Options:" => words.extend(
                own.filter(|word| word.starts_with('-'))
                    .map(|word| word.trim_end_matches(',').to_owned()),
            ),
            "Environment:" => words.extend(
                own.map(|word| word.trim_end_matches(','))
                    .filter(|word| {
                        word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
                    })
                    .map(str::to_owned),
            ),
            _ => {}
        }
    }
    words
}

#[test]
fn the_manual_says_what_help_says() {
    let page = file("packaging/rill.1");
    let _ = formatted(&root().join("packaging/rill.1"));
    let page = plain(&page);
    let promised = promised();
    assert!(promised.len() > 15, "{promised:?}");
    for word in promised {
        let stands = page
            .split(|c: char| c.is_whitespace() || c == ',')
            .any(|w| w == word);
        assert!(stands, "rill(1) does not mention {word}");
    }
}

#[test]
fn the_manual_has_every_setting_with_its_default() {
    let settings = file("packaging/rill.toml");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rill.toml.5");
    let page = output(
        Command::new(root().join("packaging/settings-page"))
            .stdin(fs::File::open(root().join("packaging/rill.toml")).expect("the file")),
    );
    fs::write(&path, &page).expect("written");
    let page = formatted(&path).unwrap_or_else(|| plain(&page).replace("  ", " "));
    let page: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut section = String::new();
    let mut found = 0;
    let mut explained = false;
    for line in settings.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, default)) =
            line.strip_prefix('#').and_then(|l| l.split_once(" = "))
        {
            if section.is_empty() || key.contains(' ') {
                continue;
            }
            let entry = format!("{section}.{key} = {default}");
            let entry = if page.contains('"') {
                entry
            } else {
                plain(&entry)
            };
            assert!(page.contains(&entry), "rill.toml(5) lacks {entry}\n{page}");
            assert!(explained, "nothing is said of {entry}");
            found += 1;
        }
        explained = line.starts_with("# ");
    }
    assert!(
        found >= rill_settings(),
        "{found} of {} settings",
        rill_settings()
    );
}

/// How many settings README.md tells of.
fn rill_settings() -> usize {
    let readme = file("README.md");
    let table = readme
        .split("\n## Settings\n")
        .nth(1)
        .expect("the settings");
    let table = table.split("\n## ").next().expect("the section");
    table.lines().filter(|line| line.starts_with("| `")).count()
}

/// What bash offers for a line, the cursor behind its last word.
fn completed(line: &str) -> Vec<String> {
    let script = r#"
        source "$1"
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _rill
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = Command::new("bash");
    command
        .args(["--norc", "-c", script, "bash"])
        .arg(root().join("packaging/rill.bash-completion"))
        .args(&words)
        .current_dir(root().join("packaging"));
    let mut offered: Vec<String> = output(&mut command)
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    offered.sort();
    offered
}

#[test]
fn bash_completes_commands_options_and_files() {
    assert_eq!(completed("rill "), ["check", "scan", "serve", "token"]);
    assert_eq!(completed("rill s"), ["scan", "serve"]);
    assert_eq!(completed("rill --v"), ["--version"]);
    assert_eq!(completed("rill token --"), ["--config", "--help", "--new"]);
    assert_eq!(completed("rill scan --f"), ["--full"]);
    assert_eq!(completed("rill serve --config rill.to"), ["rill.toml"]);
    assert_eq!(
        completed("rill serve --config ="),
        completed("rill serve --config ")
    );
    assert_eq!(completed("rill serve --config = rill.to"), ["rill.toml"]);
    assert_eq!(completed("rill --config x ch"), ["check"]);
    assert_eq!(completed("rill --config = x ch"), ["check"]);
    assert!(completed("rill nonsense ").is_empty());
    // Nothing that --help does not know, and everything it does.
    let script = file("packaging/rill.bash-completion");
    for word in promised() {
        let short = word.len() == 2 && word.starts_with('-');
        let typed = word.starts_with("--") || word.chars().all(|c| c.is_ascii_lowercase());
        assert!(short || !typed || script.contains(&word), "{word}");
    }
}

/// Runs a script of the package on a box that is a folder. What it says.
fn maintain(root: &Path, script: &str, action: &str) -> String {
    let mut text = file(&format!("packaging/deb/{script}")).replace("deb-systemd-helper", "true");
    for folder in ["/var/lib/rill", "/var/cache/rill", "/etc/rill"] {
        text = text.replace(folder, &root.join(&folder[1..]).display().to_string());
    }
    let output = Command::new("sh")
        .args(["-c", &text, script, action])
        // Nothing is asked of this machine's own systemd.
        .env("DPKG_ROOT", root)
        .output()
        .expect("sh starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    said
}

/// Runs the purge of the package on a box that is a folder. What it says.
fn purge(root: &Path) -> String {
    maintain(root, "postrm", "purge")
}

/// Makes a file and the folders above it.
fn put(path: PathBuf) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, "x").expect("written");
}

#[test]
fn a_purge_takes_what_rill_made_and_nothing_else() {
    let own = [
        "rill.db",
        "rill.db-wal",
        "rill.db-shm",
        "rill.db.corrupt-17",
        "admin-token",
        "catalog.json",
        "scan.lock",
        "serve.lock",
        ".catalog.json.0011223344556677.rill-tmp",
        "repaired/id.mp4",
        "videos/.rill-upload-1.part",
        "videos/deep/.rill-job-1-2-3.part",
    ];
    let theirs = [
        "notes.txt",
        "routes.md",
        ".hidden",
        "uploads/film.mp4",
        "posters/film.jpg",
        "videos/film.mp4",
        "videos/film.srt",
        "videos/other.part",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("var/lib/rill");
    for name in own.iter().chain(&theirs) {
        put(state.join(name));
    }
    put(folder.path().join("etc/rill/drive.json"));
    put(folder.path().join("var/cache/rill/1.blk"));
    let said = purge(folder.path());
    for name in own {
        assert!(!state.join(name).exists(), "{name} stays");
    }
    for name in theirs {
        assert!(state.join(name).exists(), "{name} is gone");
        let first = name.split('/').next().expect("a name");
        assert!(
            said.contains(&format!("{}/{first}\n", state.display())),
            "{said}"
        );
    }
    assert!(!folder.path().join("etc/rill").exists());
    assert!(!folder.path().join("var/cache/rill").exists());

    fs::remove_dir_all(&state).expect("removed");
    put(state.join("rill.db"));
    fs::create_dir(state.join("videos")).expect("made");
    assert_eq!(purge(folder.path()), "");
    assert!(!state.exists());
}

#[test]
fn a_purge_follows_no_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    put(disk.join(".rill-upload-1.part"));
    let state = folder.path().join("var/lib/rill");
    fs::create_dir_all(&state).expect("made");
    std::os::unix::fs::symlink(&disk, state.join("videos")).expect("linked");
    std::os::unix::fs::symlink(&disk, state.join("repaired")).expect("linked");
    let said = purge(folder.path());
    assert!(said.contains("/videos\n"), "{said}");
    assert!(disk.join(".rill-upload-1.part").exists());
}

/// dpkg deletes rill.toml between the removal and the purge.
#[test]
fn a_purge_tells_of_the_folders_that_the_settings_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let settings = root.join("etc/rill/rill.toml");
    let films = root.join("srv/a disk/films");
    let state = root.join("srv/state");
    put(films.join("film.mp4"));
    put(state.join("rill.db"));
    put(root.join("srv/unnamed/film.mp4"));
    put(root.join("etc/rill/courses/lecture.mp4"));
    put(root.join("etc/rill/drive.json"));
    put(root.join("var/cache/rill/1.blk"));
    fs::write(
        &settings,
        format!(
            "state.cache = \"{root}/var/cache/rill\"\n[library] # films\nvideos = \"{}\" # of the disk\n  \
             courses='courses'\n#videos = \"{root}/srv/unnamed\"\n[state]\ndir = \"{}\"\n[drive]\nroot = \"/srv\"\n",
            films.display(),
            state.display(),
            root = root.display()
        ),
    )
    .expect("written");
    assert_eq!(maintain(root, "postrm", "remove"), "");
    fs::remove_file(&settings).expect("removed");
    let said = purge(root);
    let told: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
    let courses = root.join("etc/rill/courses");
    let stay = [&films, &courses, &state].map(|path| path.display().to_string());
    assert_eq!(told, stay, "{said}");
    for kept in [
        films.join("film.mp4"),
        state.join("rill.db"),
        courses.join("lecture.mp4"),
    ] {
        assert!(kept.exists(), "{} is gone", kept.display());
    }
    assert!(!root.join("etc/rill/drive.json").exists());
    assert!(!root.join("etc/rill/.folders").exists());
    assert!(!root.join("var/cache/rill").exists());
}

#[test]
fn a_purge_spares_a_library_below_the_cache_however_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let cache = root.join("var/cache/rill");
    put(root.join("etc/rill/rill.toml"));
    put(cache.join("films/film.mp4"));
    for (text, spared) in [
        ("library = { videos = \"CACHE/films\" }\n", true),
        (
            "[state]\ncache = \"CACHE\"\n#videos = \"CACHE/films\"\n",
            false,
        ),
    ] {
        put(root.join("etc/rill/rill.toml"));
        let text = text.replace("CACHE", &cache.display().to_string());
        fs::write(root.join("etc/rill/rill.toml"), text).expect("written");
        maintain(root, "postrm", "remove");
        purge(root);
        assert_eq!(cache.join("films/film.mp4").exists(), spared);
    }
}

#[test]
fn an_armv6_board_is_told_before_anything_is_unpacked() {
    let folder = tempfile::tempdir().expect("a folder");
    let uname = folder.path().join("uname");
    let preinst = |machine: &str| {
        fs::write(&uname, format!("#!/bin/sh\necho {machine}\n")).expect("written");
        fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).expect("executable");
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("sh")
            .arg(root().join("packaging/deb/preinst"))
            .arg("install")
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .output()
            .expect("sh starts")
    };
    for machine in ["armv7l", "armv8l", "aarch64", "x86_64"] {
        assert!(preinst(machine).status.success(), "{machine}");
    }
    let refused = preinst("armv6l");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("Pi 2"), "{said}");
}

/// The daemon names its files where it makes them; a new one is the purge's business, too.
#[test]
fn a_purge_knows_the_names_of_the_state() {
    let script = file("packaging/deb/postrm");
    for (source, name) in [
        ("src/store/database.rs", "\"rill.db\""),
        ("src/store/database.rs", "{FILE}.corrupt-"),
        ("src/store/token.rs", "\"admin-token\""),
        ("src/store/atomic.rs", "\".rill-tmp\""),
        ("src/catalog/mod.rs", "\"catalog.json\""),
        ("src/jobs/scan/lock.rs", "\"scan.lock\""),
        ("src/daemon/alone.rs", "\"serve.lock\""),
        ("src/jobs/repair.rs", "\"repaired\""),
        ("src/store/part.rs", "\".rill-upload-\""),
        ("src/jobs/part.rs", "\".rill-job-\""),
        ("src/daemon/check.rs", "\".rill-check-"),
    ] {
        assert!(file(source).contains(name), "{source}: {name}");
        let bare = name.trim_matches('"').replace("{FILE}", "");
        assert!(script.contains(&bare), "a purge leaves {bare}");
    }
}

/// Whether these programs are there.
fn are_there(programs: &[&str]) -> bool {
    let there = |program: &&str| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$1\"", "sh", program])
            .output();
        found.is_ok_and(|output| output.status.success())
    };
    programs.iter().all(there)
}

/// Every file of a folder, in order.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    files.sort();
    files
}

/// What makes and signs a repository, and a package to put there. None where the tools are not there.
struct Publisher {
    folder: tempfile::TempDir,
}

impl Publisher {
    fn new() -> Option<Publisher> {
        if !are_there(&["gpg", "gpg-agent", "apt-ftparchive", "dpkg-deb"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let publisher = Publisher { folder };
        publisher.package("1");
        Some(publisher)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a package of this version.
    fn package(&self, version: &str) {
        put(self.path("tree/DEBIAN/control"));
        let control = format!(
            "Package: rill\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@rill.invalid>\nDescription: x\n"
        );
        fs::write(self.path("tree/DEBIAN/control"), control).expect("written");
        output(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "--build", "tree"])
                .arg(format!("rill_{version}_all.deb"))
                .current_dir(self.folder.path()),
        );
    }

    /// Where the key is kept; a path that is too long for a socket.
    fn key(&self) -> PathBuf {
        self.path("home")
            .join("long".repeat(40))
            .join("rill-repository.key")
    }

    /// Publishes in `web space/debian`; whether that succeeded, and what was said.
    fn publish(&self, key: &[&str]) -> (bool, String) {
        let output = Command::new(root().join("packaging/repository"))
            .arg("web space/debian")
            .args(key)
            .env("RILL_PACKAGES", self.folder.path())
            .env("XDG_DATA_HOME", self.key().parent().expect("a folder"))
            .current_dir(self.folder.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    /// Every published file.
    fn published(&self) -> Vec<(PathBuf, Vec<u8>)> {
        contents(&self.path("web space/debian"))
    }
}

#[test]
fn a_repository_stays_whole_when_its_key_is_not_there() {
    let Some(publisher) = Publisher::new() else {
        return;
    };
    let (made, said) = publisher.publish(&[]);
    assert!(made, "{said}");
    let before = publisher.published();
    assert_eq!(before.len(), 7, "{before:?}");
    publisher.package("1");
    fs::write(publisher.path("rill_2_all.deb"), "x").expect("written");
    let (made, said) = publisher.publish(&["nobody@rill.invalid"]);
    assert!(!made);
    assert!(said.contains("no secret key nobody@rill.invalid"), "{said}");
    assert_eq!(publisher.published(), before);
    let beside = fs::read_dir(publisher.path("web space")).expect("a folder");
    assert_eq!(beside.count(), 1);
}

#[test]
fn the_key_of_a_repository_is_kept_where_nobody_publishes_it() {
    use std::os::unix::fs::PermissionsExt;
    let Some(publisher) = Publisher::new() else {
        return;
    };
    // A folder for the key is no key yet.
    fs::create_dir_all(publisher.key()).expect("made");
    let other = publisher.path("web space/debian/other");
    fs::create_dir_all(&other).expect("made");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o750)).expect("changed");
    let (made, said) = publisher.publish(&[]);
    assert!(made, "{said}");
    assert!(said.contains("made the key in "), "{said}");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&publisher.key()), 0o700);
    assert_eq!(mode(&other), 0o750, "another's folder");
    let exported = fs::read(publisher.path("web space/debian/rill.gpg")).expect("a key");
    // Packages of before stay, and so does the key.
    fs::remove_file(publisher.path("rill_1_all.deb")).expect("removed");
    publisher.package("2");
    let (made, said) = publisher.publish(&[]);
    assert!(made, "{said}");
    let index = fs::read_to_string(publisher.path("web space/debian/Packages")).expect("an index");
    assert!(index.contains("./rill_1_all.deb") && index.contains("./rill_2_all.deb"));
    // That of a repository whose key lies beside it.
    fs::rename(publisher.key(), publisher.path("web space/debian.key")).expect("moved");
    let (made, said) = publisher.publish(&[]);
    assert!(made, "{said}");
    assert!(said.contains("keep it off the web"), "{said}");
    assert!(!publisher.key().join("pubring.kbx").exists());
    let now = fs::read(publisher.path("web space/debian/rill.gpg")).expect("a key");
    assert_eq!(now, exported);
}

/// The service wants both its sockets, so that one which failed is tried again; that of port 80 until it is disabled.
#[test]
fn the_service_wants_its_sockets() {
    let service = file("systemd/rill.service");
    assert!(service.contains("\nWants=rill.socket\n"));
    assert!(file("systemd/rill-http.socket").contains("\nWantedBy=rill.service\n"));
}

/// A boot reaches the sockets before the services: that of port 80 waits for the web servers.
#[test]
fn a_boot_gives_port_80_to_a_web_server_first() {
    let socket = file("systemd/rill-http.socket");
    assert!(!socket.contains("sockets.target "));
    assert!(socket.contains("\nDefaultDependencies=no\n"));
    let behind: Vec<&str> = socket
        .lines()
        .filter_map(|line| line.strip_prefix("After="))
        .flat_map(str::split_whitespace)
        .collect();
    for server in ["nginx", "apache2", "lighttpd", "caddy", "pihole-FTL"] {
        let unit = format!("{server}.service");
        assert!(behind.contains(&unit.as_str()), "{unit}: {behind:?}");
    }
}

/// What systemd says of the service's exposure, offline; the score that the README states.
#[test]
fn the_sandbox_scores_well() {
    let mut command = Command::new("systemd-analyze");
    command
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(root().join("systemd/rill.service"));
    match command.output() {
        Ok(output) => assert!(
            output.status.success(),
            "above 1.5:\n{}",
            String::from_utf8_lossy(&output.stdout)
        ),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[test]
fn the_maintainer_scripts_are_sh() {
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        output(
            Command::new("sh")
                .arg("-n")
                .arg(root().join("packaging/deb").join(script)),
        );
    }
    for script in [
        "packaging/build",
        "packaging/repository",
        "tests/appliance/run",
        "tests/appliance/inside",
        "tests/appliance/smoke",
    ] {
        output(Command::new("bash").arg("-n").arg(root().join(script)));
    }
}
