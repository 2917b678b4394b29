//! Log lines for whoever reads them: journald, or a person.
//!
//! Under the journal, which is told by `JOURNAL_STREAM` naming our very stderr, a line begins with its
//! priority as `<N>` (sd-daemon(3)) and carries neither time nor colour, for the journal has both. Elsewhere a
//! line is its text, with a word before it when it is a warning or worse. What a log line must never
//! hold is kept out where it is written; [`redacted`] is the net below that.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;

use log::{Level, Log, Metadata, Record};

use crate::error::Error;

/// Lines are cut beyond this many bytes; journald cuts at 48 KiB, a terminal long before.
const MAX_LINE: usize = 8 * 1024;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Journal,
    Person,
}

/// Starts logging to stderr: `RILL_LOG`, else `RUST_LOG`, else `unless_told`. A second call does nothing.
pub fn start(unless_told: &str) {
    let reader = reader();
    let filter = ["RILL_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| unless_told.to_owned());
    let filtered = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(move |out, record| {
            out.write_all(format(reader, record.level(), &record.args().to_string()).as_bytes())
        })
        .build();
    let most = filtered.filter();
    if log::set_boxed_logger(Box::new(Discreet(filtered))).is_ok() {
        log::set_max_level(most);
        // A panic that is caught (one request's) is a line like others, not a dump.
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.to_string().replace('\n', " ");
            log::error!("{text}; this is a fault of rill, please report it");
        }));
    }
}

/// Lets libraries speak up to `info` only, whatever the filter says: below that they dump what they send and
/// receive, tokens included, in forms that no search for secrets finds.
struct Discreet(env_logger::Logger);

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_discreet(metadata.target(), metadata.level()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_discreet(record.target(), record.level()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn is_discreet(target: &str, level: Level) -> bool {
    level <= Level::Info || target == "rill" || target.starts_with("rill::")
}

/// Writes the error that ends the program, whatever is filtered.
pub fn last_words(error: &Error) {
    let line = format(reader(), Level::Error, &error.chain());
    // Nobody is left to tell when stderr is gone, too.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Who reads our stderr.
fn reader() -> Reader {
    if journal_reads(io::stderr()) {
        Reader::Journal
    } else {
        Reader::Person
    }
}

/// Whether what is written to `stream` goes into the journal.
pub fn journal_reads(stream: impl AsFd) -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(stream).is_ok_and(|stat| same_file(&journal, stat.st_dev, stat.st_ino))
}

/// `JOURNAL_STREAM` is `DEVICE:INODE`, in decimal (systemd.exec(5)).
fn same_file(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

fn format(reader: Reader, level: Level, text: &str) -> String {
    let text = redacted(text);
    let mut line = String::with_capacity(text.len() + 16);
    let (priority, word) = match level {
        Level::Error => ("<3>", "error: "),
        Level::Warn => ("<4>", "warning: "),
        Level::Info => ("<6>", ""),
        Level::Debug => ("<7>", "debug: "),
        Level::Trace => ("<7>", "trace: "),
    };
    line.push_str(if reader == Reader::Journal {
        priority
    } else {
        word
    });
    for c in text.chars() {
        if line.len() >= MAX_LINE {
            line.push_str(" ...");
            break;
        }
        // One record is one line, and no file name moves a terminal's cursor.
        if c.is_control() {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// What a secret follows: the marks of tokens in headers, forms and JSON.
const MARKS: [&str; 11] = [
    "bearer ",
    "ya29.",
    "eyj",
    "1//",
    "access_token",
    "refresh_token",
    "client_secret",
    "private_key",
    "assertion=",
    "id_token",
    "rill_admin=",
];

/// Takes out what looks like a secret: the run of token characters behind a mark, and PEM keys.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("-----begin") && !MARKS.iter().any(|mark| lower.contains(mark)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &lower[at..];
        if rest.starts_with("-----begin") {
            out.push_str("[key]");
            at += rest.rfind("-----").map_or(rest.len(), |end| end + 5);
            continue;
        }
        let boundary = !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        if let Some(mark) = MARKS
            .iter()
            .filter(|_| boundary)
            .find(|mark| rest.starts_with(**mark))
        {
            let value = at + mark.len();
            let names_it = mark.ends_with([' ', '=']) || mark.contains('_');
            // Behind a name come quotes, a colon, a space or an equals sign, then the secret.
            let gap = |c: char| names_it && matches!(c, '"' | '\'' | ':' | '=' | ' ' | '\\');
            let start = value
                + text[value..]
                    .find(|c| !gap(c))
                    .unwrap_or(text.len() - value);
            let token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=%".contains(c);
            let length = text[start..]
                .find(|c| !token(c))
                .unwrap_or(text.len() - start);
            let key = lower[start..].starts_with("-----begin");
            // A word behind a name may be prose; what begins like a token and is short is a word, too.
            if key || length >= if names_it { 8 } else { 12 } {
                out.push_str(if names_it { &text[at..start] } else { "" });
                at = start;
                if !key {
                    out.push_str("[secret]");
                    at += length;
                }
                continue;
            }
        }
        let next = text[at..].chars().next().map_or(1, char::len_utf8);
        out.push_str(&text[at..at + next]);
        at += next;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(format(Reader::Journal, Level::Warn, "a\nb"), "<4>a\\nb\n");
        assert_eq!(format(Reader::Journal, Level::Error, "x"), "<3>x\n");
        assert_eq!(
            format(Reader::Journal, Level::Info, "é \u{1b}[31m"),
            "<6>é \\u{1b}[31m\n"
        );
        assert_eq!(format(Reader::Person, Level::Info, "x"), "x\n");
        assert_eq!(format(Reader::Person, Level::Warn, "x"), "warning: x\n");
        assert!(format(Reader::Person, Level::Info, &"é".repeat(MAX_LINE)).len() < MAX_LINE + 16);
    }

    #[test]
    fn journal_stream() {
        assert!(same_file("7:12345", 7, 12345));
        for other in ["7:1", "8:12345", "", ":", "7", "x:y"] {
            assert!(!same_file(other, 7, 12345), "{other}");
        }
    }

    #[test]
    fn secrets() {
        let secret = "aB3-_x.Yz0123456789";
        for text in [
            format!("Authorization: Bearer {secret} for x"),
            format!("authorization: bearer {secret}"),
            format!("got ya29.{secret} from Google"),
            format!("{{\"access_token\": \"{secret}\", \"expires_in\": 3599}}"),
            format!("refresh_token={secret}&grant_type=refresh_token"),
            format!("assertion=eyJhbGciOi{secret}.x.y"),
            format!("jwt eyJhbGciOi{secret}"),
            format!("cookie rill_admin={secret}; Path=/"),
            format!("\"client_secret\":\"{secret}\""),
            format!("1//0{secret}"),
            format!(
                "\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{secret}\\n-----END PRIVATE KEY-----\\n\""
            ),
        ] {
            let clean = redacted(&text);
            assert!(!clean.contains(secret), "{clean}");
        }
        for text in [
            "the bearer of news",
            "access_token is missing",
            "key 1//2",
            "eyjafjallajökull",
            "ok",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", mark in 0..MARKS.len()) {
            let _ = redacted(&format!("{text}{}{text}-----BEGIN{text}", MARKS[mark]));
            let _ = format(Reader::Person, Level::Info, &text);
        }
    }
}
