//! `multipart/form-data` as it comes in (RFC 7578, RFC 2046 section 5.1): where each part begins and ends.
//!
//! A pure state machine over a window of bytes that its caller keeps. It copies nothing and holds nothing back: content
//! is told as a length at the beginning of the window, and what may yet turn out to be a boundary stays there
//! until more has come. So a form may be cut anywhere, and files of any size pass at the speed of a search.
//! Reading the socket and writing the disk is left to others.
//!
//! ```text
//! multipart-body := [preamble CRLF] dash-boundary padding CRLF body-part *encapsulation close-delimiter padding [CRLF epilogue]
//! encapsulation  := delimiter padding CRLF body-part
//! delimiter      := CRLF "--" boundary
//! close-delimiter := delimiter "--"
//! ```

use memchr::memmem;

use crate::http::parameters;

/// The head of a part at most, in bytes; browsers need some 200, and a name of 255 letters 3 KiB when each is escaped.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// Bytes before the first boundary at most. No browser sends any.
const PREAMBLE_LIMIT: usize = 16 * 1024;

/// White space behind a boundary at most: gateways of the last century added some.
const PADDING_LIMIT: usize = 128;

/// The longest boundary (RFC 2046 section 5.1.1).
const BOUNDARY_LIMIT: usize = 70;

/// A window of at least so many bytes is always enough for the next step.
pub const WINDOW: usize = HEAD_LIMIT + 4 + BOUNDARY_LIMIT;

/// What stands at the beginning of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// The field of the form.
    pub name: String,
    /// The file's name as the client gives it, folders and all; `None` of a field that is no file.
    pub filename: Option<String>,
}

/// What the window holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing can be told before more has come.
    More,
    /// A part begins.
    Part(PartHead),
    /// So many bytes of the part's content, from the first of the window that is not skipped.
    Content(usize),
    /// The part is whole.
    PartEnd,
    /// The form is whole; what may follow means nothing.
    End,
}

/// Why it is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too much before the first boundary, which is another than was announced, say.
    NoBoundary,
    /// What follows a boundary is neither a line end nor the end.
    BadBoundary,
    /// A part's head is longer than [`HEAD_LIMIT`], or has no end.
    HeadTooLarge,
    /// A part's head says nothing that a form knows.
    BadHead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary, after so many bytes.
    Preamble(usize),
    /// Behind a boundary.
    Delimited,
    Head,
    Content,
    /// The end of a part was found and told; its boundary is still in the window.
    AtDelimiter,
    End,
}

/// Reads one form.
#[derive(Clone, Debug)]
pub struct Form {
    /// Finds CRLF, two dashes, and the boundary.
    delimiter: memmem::Finder<'static>,
    state: State,
}

/// The boundary that a `Content-Type` announces; `None` when it is no form of this kind, or announces none that may be.
pub fn boundary(content_type: &str) -> Option<Vec<u8>> {
    let (essence, rest) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters::read(rest.as_bytes())
        .into_iter()
        .find(|(name, _)| name == "boundary")
        .map(|(_, value)| value)?;
    // bchars := DIGIT / ALPHA / "'" / "(" / ")" / "+" / "_" / "," / "-" / "." / "/" / ":" / "=" / "?" / " "
    let sound = (1..=BOUNDARY_LIMIT).contains(&boundary.len())
        && !boundary.ends_with(b" ")
        && boundary
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b));
    sound.then_some(boundary)
}

impl Form {
    /// A form whose parts are parted by `boundary`.
    pub fn new(boundary: &[u8]) -> Form {
        let delimiter = [b"\r\n--", boundary].concat();
        Form {
            delimiter: memmem::Finder::new(&delimiter).into_owned(),
            state: State::Preamble(0),
        }
    }

    /// Whether the form is whole.
    pub fn is_whole(&self) -> bool {
        self.state == State::End
    }

    /// Looks at the window: how many bytes of its beginning have no further meaning, and what comes behind them.
    /// [`Step::Content`] is behind them too, and is the caller's to take off the window with them.
    ///
    /// # Errors
    /// It is no form. The next call must not be made.
    pub fn step(&mut self, window: &[u8]) -> Result<(usize, Step), Fault> {
        match self.state {
            State::Preamble(before) => self.preamble(before, window),
            State::Delimited => self.delimited(window),
            State::Head => self.head(window),
            State::Content => Ok((0, self.content(window)?)),
            State::AtDelimiter => {
                self.state = State::Delimited;
                let (skip, step) = self.delimited(&window[self.delimiter.needle().len()..])?;
                Ok((self.delimiter.needle().len() + skip, step))
            }
            State::End => Ok((window.len(), Step::End)),
        }
    }

    fn preamble(&mut self, before: usize, window: &[u8]) -> Result<(usize, Step), Fault> {
        let needle = self.delimiter.needle();
        // The very first line needs no line end before it.
        if before == 0 {
            let dashed = &needle[2..];
            if window.len() < dashed.len() && dashed.starts_with(window) {
                return Ok((0, Step::More));
            }
            if window.starts_with(dashed) {
                let length = dashed.len();
                self.state = State::Delimited;
                let (skip, step) = self.delimited(&window[length..])?;
                return Ok((length + skip, step));
            }
        }
        if let Some(at) = self.delimiter.find(window) {
            let end = at + needle.len();
            if before + at > PREAMBLE_LIMIT {
                return Err(Fault::NoBoundary);
            }
            self.state = State::Delimited;
            let (skip, step) = self.delimited(&window[end..])?;
            return Ok((end + skip, step));
        }
        let skip = window.len() - tail(window, needle);
        if before + skip > PREAMBLE_LIMIT {
            return Err(Fault::NoBoundary);
        }
        self.state = State::Preamble(before + skip);
        Ok((skip, Step::More))
    }

    /// Behind a boundary: two dashes end the form, white space and a line end begin a part.
    fn delimited(&mut self, window: &[u8]) -> Result<(usize, Step), Fault> {
        if window.starts_with(b"--") {
            self.state = State::End;
            return Ok((window.len(), Step::End));
        }
        match line_end(window)? {
            Some(line) => {
                self.state = State::Head;
                let (skip, step) = self.head(&window[line..])?;
                Ok((line + skip, step))
            }
            None => Ok((0, Step::More)),
        }
    }

    fn head(&mut self, window: &[u8]) -> Result<(usize, Step), Fault> {
        let end = if window.starts_with(b"\r\n") {
            2
        } else {
            let looked = &window[..window.len().min(HEAD_LIMIT)];
            match memmem::find(looked, b"\r\n\r\n") {
                Some(at) => at + 4,
                None if window.len() >= HEAD_LIMIT => return Err(Fault::HeadTooLarge),
                None => return Ok((0, Step::More)),
            }
        };
        let head = read_head(&window[..end]).ok_or(Fault::BadHead)?;
        self.state = State::Content;
        Ok((end, Step::Part(head)))
    }

    fn content(&mut self, window: &[u8]) -> Result<Step, Fault> {
        Ok(match self.delimiter.find(window) {
            // A part is whole when all of its boundary is there: what breaks off in it is no boundary yet.
            Some(0) => {
                let behind = &window[self.delimiter.needle().len()..];
                if !behind.starts_with(b"--") && line_end(behind)?.is_none() {
                    return Ok(Step::More);
                }
                self.state = State::AtDelimiter;
                Step::PartEnd
            }
            Some(at) => Step::Content(at),
            None => match window.len() - tail(window, self.delimiter.needle()) {
                0 => Step::More,
                length => Step::Content(length),
            },
        })
    }
}

/// Where the line of a boundary ends, behind white space alone; `None` when that has not come yet, or the first of
/// two dashes has.
fn line_end(window: &[u8]) -> Result<Option<usize>, Fault> {
    let padding = window
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    match &window[padding..] {
        _ if padding > PADDING_LIMIT => Err(Fault::BadBoundary),
        [b'\r', b'\n', ..] => Ok(Some(padding + 2)),
        [] | [b'\r'] => Ok(None),
        [b'-'] if padding == 0 => Ok(None),
        _ => Err(Fault::BadBoundary),
    }
}

/// How many bytes at the end of `window`, which does not hold `needle`, may be the beginning of it.
fn tail(window: &[u8], needle: &[u8]) -> usize {
    let longest = window.len().min(needle.len() - 1);
    let last = &window[window.len() - longest..];
    // A needle has its only CR first: behind the last one of the window it begins, or nowhere.
    memchr::memrchr(b'\r', last)
        .map(|at| &last[at..])
        .filter(|end| needle.starts_with(end))
        .map_or(0, <[u8]>::len)
}

/// Reads the lines of a part's head. Of all its fields only `Content-Disposition` means something here: types are
/// judged by content.
fn read_head(head: &[u8]) -> Option<PartHead> {
    let mut found = None;
    for line in head.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            if line.is_empty() {
                continue;
            }
            return None;
        };
        if line[..colon].eq_ignore_ascii_case(b"content-disposition") {
            if found.is_some() {
                return None;
            }
            found = Some(&line[colon + 1..]);
        }
    }
    let value = found?;
    let end = value.iter().position(|&b| b == b';')?;
    if !value[..end].trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return None;
    }
    let mut part = PartHead::default();
    let mut extended = None;
    let mut named = false;
    for (name, value) in parameters::read(&value[end + 1..]) {
        match name.as_str() {
            "name" => {
                part.name = parameters::form_text(&value);
                named = true;
            }
            "filename" => part.filename = Some(parameters::form_text(&value)),
            "filename*" => extended = parameters::extended(&value),
            _ => {}
        }
    }
    // RFC 7578 section 4.2 forbids it, and some clients send it all the same; it is never the worse one.
    if extended.is_some() {
        part.filename = extended;
    }
    (named || part.filename.is_some()).then_some(part)
}

#[cfg(test)]
mod tests;
