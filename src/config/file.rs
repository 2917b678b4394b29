//! `rill.toml` as a person wrote it, and where in the text each thing stands.
//!
//! Nothing here looks at the environment or the disk, and nothing is filled in: a setting that was
//! not written is `None`. What the settings mean together is the business of `resolve`.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Size;

/// A setting with its place in the text, or none.
pub(super) type Given<T> = Option<Spanned<T>>;

/// A setting that exists: its name, and how it is written.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// What to write, with an example; the remedy of every error about it.
    pub form: &'static str,
}

/// Every setting, in the order of the example file.
pub const KEYS: &[Key] = &[
    Key {
        name: "http.listen",
        form: "write a list of addresses, such as [\"[::]:8080\"]",
    },
    Key {
        name: "http.allowed_hosts",
        form: "write a list of bare host names, such as [\"media.example.org\"]",
    },
    Key {
        name: "http.allowed_origins",
        form: "write a list of origins, such as [\"https://media.example.org\"]",
    },
    Key {
        name: "http.max_connections",
        form: "write a whole number from 1 to 65535, such as 512",
    },
    Key {
        name: "library.videos",
        form: "write the path of a folder in quotes, such as \"/var/lib/rill/videos\"",
    },
    Key {
        name: "library.courses",
        form: "write the path of a folder in quotes, such as \"/srv/courses\", or \"\" for none",
    },
    Key {
        name: "library.keep_originals",
        form: "write true or false",
    },
    Key {
        name: "library.posters",
        form: "write true or false",
    },
    Key {
        name: "drive.credentials",
        form: "write the path of a JSON key file in quotes, such as \"/etc/rill/drive.json\", or \"\" for none",
    },
    Key {
        name: "drive.root",
        form: "write the id of a Drive folder in quotes, the last part of its address in the browser, or \"\" for none",
    },
    Key {
        name: "drive.endpoint",
        form: "write the base URL of the API, such as \"https://www.googleapis.com\"",
    },
    Key {
        name: "drive.ca_file",
        form: "write the path of a PEM file in quotes, or \"\" for none",
    },
    Key {
        name: "ffmpeg.ffmpeg",
        form: "write a program's name or path in quotes, such as \"ffmpeg\"",
    },
    Key {
        name: "ffmpeg.ffprobe",
        form: "write a program's name or path in quotes, such as \"ffprobe\"",
    },
    Key {
        name: "ffmpeg.live_streams",
        form: "write a whole number from 1 to 64, such as 2",
    },
    Key {
        name: "ffmpeg.jobs",
        form: "write a whole number from 1 to 64, such as 1",
    },
    Key {
        name: "ffmpeg.force_reencode",
        form: "write true or false",
    },
    Key {
        name: "ffmpeg.stalled",
        form: "write a whole number of seconds from 1 to 3600, such as 60",
    },
    Key {
        name: "limits.progress",
        form: "write a size of at least 1 byte, such as \"2MiB\"",
    },
    Key {
        name: "limits.upload",
        form: "write a size of at least 1 byte, such as \"20GiB\" or \"20GB\"",
    },
    Key {
        name: "limits.buffers",
        form: "write a size of at least 1MiB, such as \"64MiB\"",
    },
    Key {
        name: "limits.repaired",
        form: "write a size, such as \"5GB\" or \"5GiB\"",
    },
    Key {
        name: "limits.free_space",
        form: "write a size, such as \"1GiB\" or \"1GB\"",
    },
    Key {
        name: "state.dir",
        form: "write the path of a folder in quotes, such as \"/var/lib/rill\"",
    },
    Key {
        name: "state.cache",
        form: "write the path of a folder in quotes, such as \"/var/cache/rill\"",
    },
];

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    /// What the daemon listens on and whom it answers.
    pub(super) http: Http,
    /// Where local media lie.
    pub(super) library: Library,
    /// Google Drive.
    pub(super) drive: Drive,
    /// The programs that mend and convert.
    pub(super) ffmpeg: Ffmpeg,
    /// Bounds on bytes.
    pub(super) limits: Limits,
    /// Where the daemon keeps things.
    pub(super) state: State,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    /// Addresses to bind, `HOST:PORT`; port 0 picks one. Default `["[::]:8080"]`.
    pub(super) listen: Given<Vec<String>>,
    /// Host names answered beside IP literals, localhost, the machine's own and the LAN's. Default none.
    pub(super) allowed_hosts: Given<Vec<String>>,
    /// CORS origins beside loopback ones. Default none.
    pub(super) allowed_origins: Given<Vec<String>>,
    /// Connections held at once. Default 512.
    pub(super) max_connections: Given<i64>,
}

/// `[library]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Library {
    /// What is uploaded and played from this disk. Default `videos` in the state folder.
    pub(super) videos: Given<String>,
    /// A local folder laid out like the course tree. Default none.
    pub(super) courses: Given<String>,
    /// Whether what was converted stays beside what came of it. Default false.
    pub(super) keep_originals: Given<bool>,
    /// Whether films get posters. Default true.
    pub(super) posters: Given<bool>,
}

/// `[drive]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Drive {
    /// Path of a service-account or authorized-user JSON. Default none.
    pub(super) credentials: Given<String>,
    /// Id of the folder that holds the courses, or its address in the browser. Default none.
    pub(super) root: Given<String>,
    /// Base URL of the API. Default `https://www.googleapis.com`.
    pub(super) endpoint: Given<String>,
    /// PEM roots beside the system's. Default none.
    pub(super) ca_file: Given<String>,
}

/// `[ffmpeg]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ffmpeg {
    /// Name or path. Default `ffmpeg`.
    pub(super) ffmpeg: Given<String>,
    /// Name or path. Default `ffprobe`.
    pub(super) ffprobe: Given<String>,
    /// Live streams at once. Default 2.
    pub(super) live_streams: Given<i64>,
    /// Jobs at once. Default 1.
    pub(super) jobs: Given<i64>,
    /// Whether live streams encode the video anew. Default false.
    pub(super) force_reencode: Given<bool>,
    /// Seconds without progress after which a job is begun again. Default 60.
    pub(super) stalled: Given<i64>,
}

/// `[limits]`, sizes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Largest body of `POST /api/progress`. Default 2 MiB.
    pub(super) progress: Given<Size>,
    /// Largest uploaded file. Default 20 GiB.
    pub(super) upload: Given<Size>,
    /// Buffers of all streams together. Default 64 MiB.
    pub(super) buffers: Given<Size>,
    /// Kept results of repair jobs. Default 5 GB.
    pub(super) repaired: Given<Size>,
    /// Space that is never filled. Default 1 GiB.
    pub(super) free_space: Given<Size>,
}

/// `[state]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct State {
    /// What must not be lost. Default systemd's `STATE_DIRECTORY`, else `/var/lib/rill`.
    pub(super) dir: Given<String>,
    /// What may be lost. Default systemd's `CACHE_DIRECTORY`, else `/var/cache/rill`.
    pub(super) cache: Given<String>,
}

impl ConfigFile {
    /// Reads the text.
    ///
    /// # Errors
    /// Everything that is no TOML, no known key, or not of the key's type: a sentence each, which
    /// begins with the line.
    pub(super) fn parse(text: &str) -> Result<ConfigFile, Vec<String>> {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let line = line_of(text, error.span().map_or(0, |span| span.start));
                let what = one_line(error.message());
                let remedy = match what.as_str() {
                    "duplicate key" => "it is there twice; take one of the two out",
                    _ => "write `key = value` below a [section], text in quotes",
                };
                let place = match key_of_line(text, line) {
                    Some(key) => format!("line {line}, {key}"),
                    None => format!("line {line}"),
                };
                return Err(vec![format!(
                    "{place}: this is not TOML ({what}); {remedy}"
                )]);
            }
        };
        let mut wrong = Vec::new();
        find_unknown(text, table.get_ref(), "", &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let what = one_line(error.message());
            let place = match key_at(table.get_ref(), at, "") {
                Some(key) => place(text, at..at, &key),
                None => format!("line {}", line_of(text, at)),
            };
            vec![format!("{place}: {what}; {}", form_at(table.get_ref(), at))]
        })
    }
}

/// `line 3, http.listen`: what every message about a setting begins with.
pub(super) fn place(text: &str, span: Range<usize>, key: &str) -> String {
    format!("line {}, {key}", line_of(text, span.start))
}

/// What to write for a setting.
pub(super) fn form(key: &str) -> &'static str {
    KEYS.iter()
        .find(|k| k.name == key)
        .map_or("see the example file rill.toml", |k| k.form)
}

fn form_at(table: &DeTable<'_>, at: usize) -> String {
    match key_at(table, at, "") {
        Some(key) if KEYS.iter().any(|k| k.name == key) => form(&key).to_owned(),
        Some(key) => format!("write a section [{key}] with its settings below it"),
        None => form("").to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// The setting that a line is about, in a text that is no TOML, as far as it can be seen.
fn key_of_line(text: &str, line: usize) -> Option<String> {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        !name.is_empty()
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let lines = || text.lines().take(line).map(str::trim);
    let section = lines()
        .filter_map(|line| line.strip_prefix('[')?.split(']').next())
        .filter(|name| is_name(name))
        .last()
        .unwrap_or_default();
    let (key, _) = lines().last()?.split_once('=')?;
    is_name(key.trim()).then(|| join(section, key.trim()))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// The full name of the setting whose key or value covers `at`.
fn key_at(table: &DeTable<'_>, at: usize, prefix: &str) -> Option<String> {
    for (key, value) in table {
        let name = join(prefix, key.get_ref());
        // A table's own span may be its header alone: what lies in it comes first.
        if let DeValue::Table(inner) = value.get_ref() {
            if let Some(found) = key_at(inner, at, &name) {
                return Some(found);
            }
        }
        if key.span().contains(&at) || value.span().contains(&at) {
            return Some(name);
        }
    }
    None
}

fn find_unknown(text: &str, table: &DeTable<'_>, prefix: &str, wrong: &mut Vec<String>) {
    for (key, value) in table {
        let name = join(prefix, key.get_ref());
        let section = KEYS
            .iter()
            .any(|k| k.name.split_once('.').is_some_and(|(s, _)| s == name));
        match value.get_ref() {
            DeValue::Table(inner) if section => find_unknown(text, inner, &name, wrong),
            // A section that is no table is a wrong type, and said so by the types.
            _ if section || KEYS.iter().any(|k| k.name == name) => {}
            _ => {
                let remedy = match nearest(&name) {
                    Some(near) => format!("did you mean {near}?"),
                    None => {
                        "take it out; the example file rill.toml lists every setting".to_owned()
                    }
                };
                let place = place(text, key.span(), &name);
                wrong.push(format!("{place}: there is no such setting; {remedy}"));
            }
        }
    }
}

/// The setting or section that was probably meant.
fn nearest(name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let sections = KEYS
        .iter()
        .filter_map(|k| k.name.split_once('.'))
        .map(|(section, _)| section);
    let known = KEYS.iter().map(|k| k.name).chain(sections);
    let (distance, near) = known
        .map(|known| {
            let whole = distance(name, known);
            // The right name below the wrong section is one step away, a near one two more.
            let tail = known
                .rsplit('.')
                .next()
                .map_or(whole, |tail| 1 + 2 * distance(last, tail));
            (whole.min(tail), known)
        })
        .min_by_key(|(distance, _)| *distance)?;
    if distance > 3.min(last.len().div_ceil(2)) {
        return None;
    }
    Some(match near.split_once('.') {
        Some((section, key)) => format!("`{key}` below [{section}]"),
        None => format!("[{near}]"),
    })
}

/// Levenshtein's distance, over bytes; the names compared are short.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX / 4;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
