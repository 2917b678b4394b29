//! A JSON text read once, from the front, in pieces: every byte is checked, few are kept.
//!
//! A catalog of 20 MB becomes an index of three, so no tree of values is built on the way. The reader asks
//! for what it wants ([`Scanner::key`], [`Scanner::element`], [`Scanner::text`]), the rest is checked and passed
//! over ([`Scanner::skip`]). While [`Scanner::copying`] is set, what passes is also written to [`Scanner::out`],
//! without the white space around it. The grammar is that of RFC 8259, strictly; what it leaves open is bounded:
//! depth, and the length of a key.

use std::io::{self, Read};

use crate::catalog::escape;

/// Bytes read at once: enough that calls cost nothing, few enough to stay in the processor's cache.
const PIECE: usize = 64 * 1024;

/// Arrays and objects within each other. A catalog has ten.
const DEEPEST: u32 = 64;

/// Bytes of a key, as written. The longest known one has thirteen.
const LONGEST_KEY: usize = 1024;

/// Bytes of a string that are kept for the index, as written; names are cut there, never refused.
const LONGEST_TEXT: usize = 4096;

/// Bytes of any string, as written: what is longer is no name, and was put there by a fault.
const LONGEST_STRING: u64 = 4 << 20;

/// Bytes that are written along, give or take a piece. The bootstrap of 20,000 classes has one million.
const MOST_OUT: usize = 24 << 20;

/// Why a text could not be read to its end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is no JSON, or not the JSON that was wanted.
    Broken {
        /// From 1.
        line: u64,
        /// From 1, in bytes.
        column: u64,
        /// What is wrong there.
        what: String,
    },
    /// It cannot be read.
    Read(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Read(error)
    }
}

type Result<T, E = Fault> = std::result::Result<T, E>;

/// A JSON text on its way through.
#[derive(Debug)]
pub(crate) struct Scanner<R> {
    source: R,
    buffer: Box<[u8]>,
    /// The next byte, and the end of those that are sound UTF-8.
    at: usize,
    sound: usize,
    /// The end of those that were read: up to three bytes of a character that is cut behind `sound`.
    read: usize,
    /// Where in the text the buffer begins.
    base: u64,
    line: u64,
    /// Where in the text its line begins.
    line_start: u64,
    depth: u32,
    over: bool,
    /// The last string or number as written, without quotes, cut at [`LONGEST_TEXT`]; only when it was asked for.
    raw: Vec<u8>,
    escaped: bool,
    decoded: String,
    /// What is written along.
    pub(crate) out: Vec<u8>,
    /// Whether it is.
    pub(crate) copying: bool,
}

impl<R: Read> Scanner<R> {
    pub(crate) fn new(source: R) -> Scanner<R> {
        Scanner {
            source,
            buffer: vec![0; PIECE].into_boxed_slice(),
            at: 0,
            sound: 0,
            read: 0,
            base: 0,
            line: 1,
            line_start: 0,
            depth: 0,
            over: false,
            raw: Vec::new(),
            escaped: false,
            decoded: String::new(),
            out: Vec::new(),
            copying: false,
        }
    }

    /// How far it is, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What was read from, back.
    pub(crate) fn into_parts(self) -> (R, Vec<u8>) {
        (self.source, self.out)
    }

    /// A fault at the present place.
    pub(crate) fn broken(&self, what: impl Into<String>) -> Fault {
        Fault::Broken {
            line: self.line,
            column: (self.base + self.at as u64)
                .saturating_sub(self.line_start)
                .saturating_add(1),
            what: what.into(),
        }
    }

    /// Makes the next byte readable; `false` at the end of the text.
    fn fill(&mut self) -> Result<bool> {
        if self.at < self.sound {
            return Ok(true);
        }
        if self.over {
            // What is left over is a character that is cut or none at all.
            if self.sound < self.read {
                return Err(self.broken("this is not UTF-8; save the file as UTF-8 text"));
            }
            return Ok(false);
        }
        if self.out.len() > MOST_OUT {
            return Err(self
                .broken("what the catalog says beside its lectures is larger than any library's"));
        }
        self.buffer.copy_within(self.sound..self.read, 0);
        self.base += self.sound as u64;
        self.read -= self.sound;
        (self.at, self.sound) = (0, 0);
        loop {
            match self.source.read(&mut self.buffer[self.read..]) {
                Ok(0) => self.over = true,
                Ok(n) => self.read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            match std::str::from_utf8(&self.buffer[..self.read]) {
                Ok(_) => self.sound = self.read,
                Err(error) => {
                    self.sound = error.valid_up_to();
                    // Nothing that follows makes it sound: the reader is told when it gets there.
                    self.over |= error.error_len().is_some();
                }
            }
            if self.sound > 0 || self.over {
                return self.fill();
            }
        }
    }

    /// The next byte, without taking it; `None` at the end.
    fn next(&mut self) -> Result<Option<u8>> {
        Ok(self.fill()?.then(|| self.buffer[self.at]))
    }

    fn take(&mut self) {
        if self.copying {
            self.out.push(self.buffer[self.at]);
        }
        self.at += 1;
    }

    /// The first byte of the next token, without taking it.
    pub(crate) fn peek(&mut self) -> Result<u8> {
        // ws = *( %x20 / %x09 / %x0A / %x0D )
        loop {
            match self.next()? {
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.offset();
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Ok(byte),
                None => {
                    return Err(
                        self.broken("the file ends in the middle; it was not written whole")
                    );
                }
            }
        }
    }

    fn want(&mut self, wanted: u8, what: &str) -> Result<()> {
        if self.peek()? == wanted {
            self.take();
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    fn unexpected(&mut self, wanted: &str) -> Fault {
        let rest = &self.buffer[self.at..self.sound];
        let found = std::str::from_utf8(rest)
            .ok()
            .and_then(|rest| rest.chars().next());
        match found {
            Some(c) => self.broken(format!("{wanted} is wanted here, not {c:?}")),
            None => self.broken(format!("{wanted} is wanted here")),
        }
    }

    /// Begins an object or an array: takes its bracket.
    pub(crate) fn open(&mut self, bracket: u8) -> Result<()> {
        let what = match bracket {
            b'{' => "an object, {",
            _ => "an array, [",
        };
        self.want(bracket, what)?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.broken(format!(
                "more than {DEEPEST} arrays and objects are within each other"
            )));
        }
        Ok(())
    }

    /// The next key of an object, up to and with its colon; `false` once the object is closed. `first` is true for
    /// the first call of each object.
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<bool> {
        if !self.follows(b'}', first)? {
            return Ok(false);
        }
        if self.peek()? != b'"' {
            return Err(self.unexpected("a key in double quotes"));
        }
        self.string(true)?;
        if self.raw.len() > LONGEST_KEY {
            return Err(self.broken(format!("a key has more than {LONGEST_KEY} bytes")));
        }
        self.want(b':', "a colon")?;
        Ok(true)
    }

    /// Whether an array has one more element; `false` once it is closed.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool> {
        self.follows(b']', first)
    }

    fn follows(&mut self, close: u8, first: &mut bool) -> Result<bool> {
        let next = self.peek()?;
        if next == close {
            self.take();
            self.depth -= 1;
            return Ok(false);
        }
        if std::mem::take(first) {
            return Ok(true);
        }
        match close {
            b'}' => self.want(b',', "a comma or }")?,
            _ => self.want(b',', "a comma or ]")?,
        }
        Ok(true)
    }

    /// The last key or text, decoded. What has no meaning as Unicode (half of a pair) is replaced.
    pub(crate) fn decoded(&mut self) -> &str {
        self.decoded.clear();
        let whole = self.raw.len().min(LONGEST_TEXT);
        escape::decode(&self.raw[..whole], self.escaped, &mut self.decoded);
        &self.decoded
    }

    /// The last key as written, without its quotes.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Takes a value; whether it was a string or a number, to be had from [`Scanner::decoded`].
    pub(crate) fn text(&mut self) -> Result<bool> {
        match self.peek()? {
            b'"' => self.string(true).map(|()| true),
            b'-' | b'0'..=b'9' => self.number(true).map(|()| true),
            _ => self.skip().map(|()| false),
        }
    }

    /// Takes a value; whether it is `true`.
    pub(crate) fn truth(&mut self) -> Result<bool> {
        let truth = self.peek()? == b't';
        self.skip()?;
        Ok(truth)
    }

    /// Takes a value whatever it is, and checks it.
    pub(crate) fn skip(&mut self) -> Result<()> {
        // value = false / null / true / object / array / number / string
        match self.peek()? {
            b'"' => self.string(false),
            b'-' | b'0'..=b'9' => self.number(false),
            b'{' => {
                self.open(b'{')?;
                let mut first = true;
                while self.key(&mut first)? {
                    self.skip()?;
                }
                Ok(())
            }
            b'[' => {
                self.open(b'[')?;
                let mut first = true;
                while self.element(&mut first)? {
                    self.skip()?;
                }
                Ok(())
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.peek() {
            Ok(_) => Err(self.broken("something follows the end of the catalog")),
            Err(fault) => match self.over && self.at >= self.read {
                true => Ok(()),
                false => Err(fault),
            },
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<()> {
        for &byte in word {
            match self.next()? {
                Some(next) if next == byte => self.take(),
                _ => return Err(self.unexpected("true, false or null")),
            }
        }
        Ok(())
    }

    /// string = quotation-mark *char quotation-mark
    fn string(&mut self, keep: bool) -> Result<()> {
        self.take();
        self.raw.clear();
        self.escaped = false;
        let begin = self.offset();
        loop {
            if self.offset() - begin > LONGEST_STRING {
                return Err(self.broken(format!(
                    "a string has more than {} MiB",
                    LONGEST_STRING >> 20
                )));
            }
            if !self.fill()? {
                return Err(self.broken("the file ends within a string; it was not written whole"));
            }
            let rest = &self.buffer[self.at..self.sound];
            let plain = rest
                .iter()
                .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .unwrap_or(rest.len());
            let run = &rest[..plain];
            if keep && self.raw.len() <= LONGEST_TEXT {
                self.raw.extend_from_slice(run);
            }
            if self.copying {
                self.out.extend_from_slice(run);
            }
            self.at += plain;
            match self.next()? {
                Some(b'"') => {
                    self.take();
                    return Ok(());
                }
                Some(b'\\') => self.escape(keep)?,
                Some(byte) if byte < 0x20 => {
                    return Err(self.broken(
                        "a string holds a control character or a line end; write it as an escape",
                    ));
                }
                _ => {}
            }
        }
    }

    /// escape ( %x22 / %x5C / %x2F / %x62 / %x66 / %x6E / %x72 / %x74 / %x75 4HEXDIG )
    fn escape(&mut self, keep: bool) -> Result<()> {
        self.escaped = true;
        let mut sequence = [b'\\', 0, 0, 0, 0, 0];
        self.take();
        sequence[1] = match self.next()? {
            Some(byte @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) => byte,
            _ => return Err(self.unexpected("one of \"\\/bfnrtu after a backslash")),
        };
        self.take();
        let mut len = 2;
        if sequence[1] == b'u' {
            while len < 6 {
                match self.next()? {
                    Some(byte) if byte.is_ascii_hexdigit() => sequence[len] = byte,
                    _ => return Err(self.unexpected("a hexadecimal digit")),
                }
                self.take();
                len += 1;
            }
        }
        if keep && self.raw.len() <= LONGEST_TEXT {
            self.raw.extend_from_slice(&sequence[..len]);
        }
        Ok(())
    }

    /// `number = [ minus ] int [ frac ] [ exp ]`
    fn number(&mut self, keep: bool) -> Result<()> {
        self.raw.clear();
        self.escaped = false;
        self.one_of(b"-", keep)?;
        // int = zero / ( digit1-9 *DIGIT )
        if !self.one_of(b"0", keep)? {
            self.digits(keep)?;
        }
        if self.one_of(b".", keep)? {
            self.digits(keep)?;
        }
        if self.one_of(b"eE", keep)? {
            self.one_of(b"+-", keep)?;
            self.digits(keep)?;
        }
        Ok(())
    }

    fn one_of(&mut self, bytes: &[u8], keep: bool) -> Result<bool> {
        match self.next()? {
            Some(byte) if bytes.contains(&byte) => {
                if keep && self.raw.len() <= LONGEST_TEXT {
                    self.raw.push(byte);
                }
                self.take();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn digits(&mut self, keep: bool) -> Result<()> {
        if !self.one_of(b"0123456789", keep)? {
            return Err(self.unexpected("a digit"));
        }
        let begin = self.offset();
        while self.one_of(b"0123456789", keep)? {
            if self.offset() - begin > LONGEST_KEY as u64 {
                return Err(self.broken(format!("a number has more than {LONGEST_KEY} digits")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that gives one byte at a time, so that every token is cut everywhere.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn whole(source: impl Read) -> Result<Vec<u8>> {
        let mut scanner = Scanner::new(source);
        scanner.copying = true;
        scanner.skip()?;
        scanner.end()?;
        Ok(scanner.into_parts().1)
    }

    fn place(text: &[u8]) -> (u64, u64) {
        match whole(text) {
            Err(Fault::Broken { line, column, .. }) => (line, column),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_are_where_they_are_said_to_be() {
        for (text, line, column) in [
            ("", 1, 1),
            ("{\"a\": 1,\n \"b\" 2}", 2, 6),
            ("[1,\n\n  x]", 3, 3),
            ("[1] 2", 1, 5),
            ("[01]", 1, 3),
            ("[1.]", 1, 4),
            ("[-]", 1, 3),
            ("[1e]", 1, 4),
            ("[\"\\x\"]", 1, 4),
            ("[\"\\u12g4\"]", 1, 7),
            ("[\"a\nb\"]", 1, 4),
            ("[tru]", 1, 5),
            ("[1,]", 1, 4),
            ("{\"a\":1,}", 1, 8),
            ("{a:1}", 1, 2),
            ("[\"abc", 1, 6),
            ("\u{feff}[]", 1, 1),
        ] {
            assert_eq!(place(text.as_bytes()), (line, column), "{text:?}");
            assert!(whole(Drip(text.as_bytes())).is_err(), "{text:?}");
        }
        assert_eq!(place(b"[\n\"a\xffb\"]"), (2, 3));
        assert_eq!(place(b"[\"\xe2\x82"), (1, 3));
        assert_eq!(place("[".repeat(1000).as_bytes()).0, 1);
        assert_eq!(place("{\"a\":".repeat(1000).as_bytes()).0, 1);
    }

    #[test]
    fn texts_are_decoded() {
        for (text, want) in [
            (
                r#""plain \u00e9 \ud83c\udfac \"\\\/ é🎬""#,
                "plain é 🎬 \"\\/ é🎬",
            ),
            (r#""\ud83c x""#, "\u{fffd} x"),
            (r#""\udfac""#, "\u{fffd}"),
            (r#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"),
            ("-12.5e+3", "-12.5e+3"),
        ] {
            let mut scanner = Scanner::new(Drip(text.as_bytes()));
            assert!(scanner.text().unwrap());
            assert_eq!(scanner.decoded(), want);
        }
        let long = format!("\"{}\"", "é".repeat(LONGEST_TEXT));
        let mut scanner = Scanner::new(long.as_bytes());
        assert!(scanner.text().unwrap());
        assert!(scanner.decoded().len() <= LONGEST_TEXT);
        scanner.end().unwrap();
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(bytes in prop::collection::vec(prop::sample::select(
            b"{}[]\",:\\u0019eE+-. \nantrufls\xc3\xa9".to_vec()), 0..40)) {
            let ours = whole(&bytes[..]);
            let drip = whole(Drip(&bytes));
            prop_assert_eq!(ours.is_ok(), drip.is_ok());
            // serde_json passes over strings without looking at their encoding.
            let theirs = std::str::from_utf8(&bytes)
                .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
            prop_assert_eq!(ours.is_ok(), theirs, "{:?}", String::from_utf8_lossy(&bytes));
            if let Ok(out) = ours {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = whole(&bytes[..]);
        }
    }
}
