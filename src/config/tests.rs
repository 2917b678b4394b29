//! The configuration as a table of what may be written and what is said about the rest.

use super::*;

fn with_env(text: &str, pairs: &[(&str, &str)]) -> Result<Config> {
    Config::resolve("rill.toml", None, text, &|name| {
        pairs
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn sentence(text: &str) -> String {
    let error = Config::from_toml(text).expect_err(text);
    assert_eq!(
        (error.kind(), error.code()),
        (Kind::Misconfigured, "misconfigured")
    );
    error.sentence().to_owned()
}

#[test]
fn defaults() {
    let config = Config::from_toml("").expect("the empty file is right");
    assert_eq!(config.http.listen, ["[::]:8080"]);
    assert_eq!(config.http.max_connections, 512);
    assert_eq!(config.library.videos, Path::new("/var/lib/rill/videos"));
    assert_eq!(config.library.courses, None);
    assert!(matches!(config.drive.credentials, Credentials::None));
    assert_eq!(config.drive.endpoint, "https://www.googleapis.com");
    assert_eq!((config.ffmpeg.live_streams, config.ffmpeg.jobs), (2, 1));
    assert_eq!(config.limits.progress, 2 << 20);
    assert_eq!(config.limits.upload, 20 << 30);
    assert_eq!(config.limits.buffers, 64 << 20);
    assert_eq!(config.limits.repaired, 5_000_000_000);
    assert_eq!(config.limits.free_space, 1 << 30);
    assert_eq!(config.state.cache, Path::new("/var/cache/rill"));
}

/// The example file says of every setting what its default is: read as it stands, and with every
/// setting uncommented, it means the defaults.
#[test]
fn the_example_file_is_the_defaults() {
    let text = include_str!("../../packaging/rill.toml");
    let defaults = format!("{:?}", Config::from_toml("").expect("defaults"));
    assert_eq!(
        format!("{:?}", Config::from_toml(text).expect("as shipped")),
        defaults
    );
    let uncommented: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("#")
                .filter(|l| !l.starts_with([' ', '#']))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::from_toml(&uncommented).unwrap_or_else(|e| panic!("{}", e.sentence()));
    assert_eq!(format!("{config:?}"), defaults);
    for key in KEYS {
        let (_, name) = key.name.split_once('.').expect("a section");
        assert!(
            text.lines().any(|l| l.starts_with(&format!("#{name} = "))),
            "{}",
            key.name
        );
    }
}

#[test]
fn file_then_systemd_then_default() {
    let systemd = [
        ("STATE_DIRECTORY", "/srv/state:/srv/other"),
        ("CACHE_DIRECTORY", "/srv/cache"),
    ];
    let config = with_env("", &systemd).expect("systemd's");
    assert_eq!(config.state.dir, Path::new("/srv/state"));
    assert_eq!(config.state.cache, Path::new("/srv/cache"));
    assert_eq!(config.library.videos, Path::new("/srv/state/videos"));
    let config = with_env(
        "[state]\ndir = \"/mine\"\n[library]\nvideos = \"/v\"",
        &systemd,
    )
    .expect("the file's");
    assert_eq!(config.state.dir, Path::new("/mine"));
    assert_eq!(config.library.videos, Path::new("/v"));
    assert_eq!(config.state.cache, Path::new("/srv/cache"));
}

#[test]
fn the_older_variables_win() {
    let file = "[http]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\n[ffmpeg]\nffmpeg = \"/a\"\n[drive]\ncredentials = \"/c\"";
    let listen = |pairs: &[(&str, &str)]| with_env(file, pairs).expect("right").http.listen;
    assert_eq!(listen(&[("HOST", "::")]), ["[::]:1"]);
    assert_eq!(listen(&[("HOST", "[::1]"), ("PORT", "9")]), ["[::1]:9"]);
    assert_eq!(listen(&[("PORT", "0")]), ["127.0.0.1:0"]);
    assert_eq!(listen(&[("HOST", "")]), ["127.0.0.1:1", "[::1]:2"]);
    let config = with_env(
        file,
        &[
            ("FFMPEG_PATH", "/b"),
            ("MAX_PROGRESS_BYTES", "99"),
            ("GOOGLE_SERVICE_ACCOUNT_FILE", "/d"),
        ],
    )
    .expect("right");
    assert_eq!(
        (config.ffmpeg.ffmpeg.as_str(), config.limits.progress),
        ("/b", 99)
    );
    assert!(matches!(config.drive.credentials, Credentials::File(path) if path == Path::new("/d")));
    let config = with_env(
        file,
        &[
            ("GOOGLE_SERVICE_ACCOUNT_JSON", "{}"),
            ("GOOGLE_SERVICE_ACCOUNT_FILE", "/d"),
        ],
    )
    .expect("right");
    assert!(matches!(&config.drive.credentials, Credentials::Inline(json) if json == "{}"));
    assert!(!format!("{config:?}").contains("{}"));
    for (name, value) in [
        ("PORT", "80x"),
        ("PORT", "70000"),
        ("HOST", "a b"),
        ("MAX_PROGRESS_BYTES", "lots"),
        ("MAX_PROGRESS_BYTES", "0"),
    ] {
        let error = with_env("", &[(name, value)]).expect_err(value);
        assert!(
            error
                .sentence()
                .starts_with(&format!("the variable {name}: ")),
            "{}",
            error.sentence()
        );
        assert!(error.sentence().contains("; set it to"));
    }
}

#[test]
fn a_credential_of_systemd() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = [(
        "CREDENTIALS_DIRECTORY",
        folder.path().to_str().expect("UTF-8"),
    )];
    assert!(matches!(
        with_env("", &env).expect("right").drive.credentials,
        Credentials::None
    ));
    std::fs::write(folder.path().join("drive.json"), "{}").expect("written");
    assert!(matches!(
        with_env("", &env).expect("right").drive.credentials,
        Credentials::File(_)
    ));
    let mine = with_env("[drive]\ncredentials = \"/mine\"", &env).expect("right");
    assert!(
        matches!(mine.drive.credentials, Credentials::File(path) if path == Path::new("/mine"))
    );
}

#[test]
fn listening_addresses() {
    let listen = |text: &str| {
        Config::from_toml(&format!("[http]\nlisten = [\"{text}\"]")).map(|c| c.http.listen)
    };
    for (text, meant) in [
        ("[::]:8080", "[::]:8080"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        (":8080", "[::]:8080"),
        ("*:80", "[::]:80"),
        ("Localhost:80", "localhost:80"),
        ("media.lan.:80", "media.lan:80"),
        ("[fe80::1%2]:80", "[fe80::1%2]:80"),
    ] {
        assert_eq!(
            listen(text).unwrap_or_else(|e| panic!("{text}: {e}")),
            [meant]
        );
    }
    for text in [
        "",
        "8080",
        "::1:80",
        "a:b",
        "host:65536",
        "1.2.3:80",
        "300.1.1.1:80",
        "a b:80",
        "http://x:80",
        "-x:80",
    ] {
        assert!(listen(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_wrong_names_line_key_and_remedy() {
    for (text, parts) in [
        (
            "[http]\n\nlisten = \"[::]:80\"",
            ["line 3, http.listen:", "write a list"],
        ),
        (
            "[http]\nlisten = [\"nowhere\"]",
            [
                "line 2, http.listen: `nowhere` has no port",
                "such as [\"[::]:8080\"]",
            ],
        ),
        (
            "[http]\nlisten = [\n  \"[::]:80\",\n  8080,\n]",
            ["line 4, http.listen", "write a list of addresses"],
        ),
        (
            "[http]\nlisen = []",
            [
                "line 2, http.lisen: there is no such setting",
                "did you mean `listen` below [http]?",
            ],
        ),
        (
            "listen = []",
            ["line 1, listen", "did you mean `listen` below [http]?"],
        ),
        (
            "[htp]\nlisten = []",
            ["line 1, htp", "did you mean [http]?"],
        ),
        (
            "[weather]\nsunny = true",
            ["line 1, weather", "lists every setting"],
        ),
        (
            "[drive]\ncredential = \"x\"",
            ["line 2, drive.credential", "`credentials` below [drive]"],
        ),
        (
            "[http]\nmax_connections = 0",
            [
                "line 2, http.max_connections: 0 is out of range",
                "1 to 65535",
            ],
        ),
        ("[http]\nmax_connections = -5", ["line 2", "out of range"]),
        (
            "[http]\nmax_connections = \"512\"",
            ["line 2, http.max_connections", "write a whole number"],
        ),
        (
            "[ffmpeg]\njobs = 99999999999",
            ["line 2, ffmpeg.jobs", "1 to 64"],
        ),
        (
            "[limits]\nupload = -1",
            [
                "line 2, limits.upload: `-1` is negative",
                "such as \"20GiB\"",
            ],
        ),
        (
            "[limits]\nupload = \"5G\"",
            ["line 2, limits.upload: `g` is no unit of size", "\"20GB\""],
        ),
        (
            "[limits]\nbuffers = 5",
            [
                "line 2, limits.buffers: 5 bytes are too few",
                "at least 1MiB",
            ],
        ),
        (
            "[drive]\nroot = \"x y\"",
            ["line 2, drive.root", "id of a Drive folder"],
        ),
        (
            "[drive]\nendpoint = \"http://example.org\"",
            ["in the clear", "https://www.googleapis.com"],
        ),
        (
            "[drive]\nendpoint = \"ftp://example.org\"",
            ["no base URL", "such as"],
        ),
        (
            "[http]\nallowed_hosts = [\"a.example:80\"]",
            ["names a port", "bare host names"],
        ),
        (
            "[http]\nallowed_origins = [\"https://a.example/x\"]",
            ["no origin", "such as"],
        ),
        (
            "[http]\nallowed_origins = [\"*\"]",
            ["no origin", "such as"],
        ),
        ("http = 5", ["line 1, http", "write a section [http]"]),
        ("[http\n", ["line 1", "not TOML"]),
        ("[http]\nlisten = []\nlisten = []", ["line 3", "not TOML"]),
    ] {
        let said = sentence(text);
        assert!(said.starts_with("rill.toml, line"), "{said}");
        for part in parts {
            assert!(said.contains(part), "{text:?}: {said}");
        }
        assert!(!said.contains('\n'), "{said}");
    }
    // Everything at once, in one go.
    let said = sentence("[http]\nmax_connections = 0\n[ffmpeg]\njobs = 0");
    assert!(
        said.contains("http.max_connections") && said.contains("ffmpeg.jobs"),
        "{said}"
    );
}

#[test]
fn drive_settings() {
    let drive = |text: &str| {
        Config::from_toml(&format!("[drive]\n{text}"))
            .expect(text)
            .drive
    };
    assert_eq!(drive("root = \"\"").root, None);
    assert_eq!(
        drive("root = \"1AbC-dEf_0123\"").root.as_deref(),
        Some("1AbC-dEf_0123")
    );
    assert_eq!(
        drive("root = \"https://drive.google.com/drive/folders/1AbC-dEf_0123?usp=sharing\"")
            .root
            .as_deref(),
        Some("1AbC-dEf_0123")
    );
    let link = "root = \"https://drive.google.com/drive/folders/1AbC-dEf_0123?usp=sharing&resourcekey=0-a_B\"";
    assert_eq!(drive(link).root.as_deref(), Some("1AbC-dEf_0123"));
    assert_eq!(drive(link).root_key.as_deref(), Some("0-a_B"));
    assert_eq!(drive("root = \"1AbC-dEf_0123\"").root_key, None);
    assert_eq!(
        drive("endpoint = \"https://127.0.0.1:4433/\"").endpoint,
        "https://127.0.0.1:4433"
    );
    assert_eq!(
        drive("endpoint = \"http://[::1]:80/base/\"").endpoint,
        "http://[::1]:80/base"
    );
}

#[test]
fn files_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rill.toml");
    let load = || Config::load(Some(&path), &|_| None);
    assert!(
        load()
            .expect_err("missing")
            .sentence()
            .contains("there is no such file")
    );
    std::fs::write(&path, b"[http]\n# \xff\n").expect("written");
    assert!(
        load()
            .expect_err("binary")
            .sentence()
            .contains("line 2 is not UTF-8")
    );
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("written");
    assert!(load().expect_err("large").sentence().contains("1 MiB"));
    std::fs::write(
        &path,
        "[state]\ndir = \"state\"\n[library]\nvideos = \"/abs\"",
    )
    .expect("written");
    let config = load().expect("right");
    assert_eq!(config.state.dir, folder.path().join("state"));
    assert_eq!(config.library.videos, Path::new("/abs"));
    assert!(Config::load(Some(folder.path()), &|_| None).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z\\[\\]\"=.\n 0-9{}#:-]{0,80}") {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_value_panics(text in "\\PC{0,40}") {
        let quoted = toml_string(&text);
        let _ = Config::from_toml(&format!(
            "[http]\nlisten = [{quoted}]\nallowed_hosts = [{quoted}]\nallowed_origins = [{quoted}]\n\
             [drive]\nroot = {quoted}\nendpoint = {quoted}\n[limits]\nupload = {quoted}"
        ));
    }
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
