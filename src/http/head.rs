//! The head of a request (RFC 9112 sections 2 to 6): from bytes to something that cannot be misread.
//!
//! Pure, and strict where two readers of the same bytes could disagree, for that is how requests are
//! smuggled: what is ambiguous is refused, never repaired. It waits for nothing; `conn` gathers the bytes.
//!
//! The refusals have stable codes: `malformed_request` (400), `target_too_long` (414),
//! `expectation_failed` (417), `head_too_large` (431), `not_implemented` (501), `http_version` (505).

use http_types::Method;

use crate::error::{Error, Kind, Result};

mod request_line;

/// Bytes of a whole head. Browsers on a LAN send below 2 KiB; 8 KiB is what the field allows.
pub(crate) const HEAD_LIMIT: usize = 8 * 1024;

/// Bytes of a request line: three quarters of a head, so that a long target is told from a large head.
pub(crate) const LINE_LIMIT: usize = HEAD_LIMIT / 4 * 3;

/// Fields of a head; more than a browser ever sends.
const FIELD_LIMIT: usize = 100;

/// How the body of a request is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Neither length nor coding: there is none.
    None,
    /// Content-Length.
    Sized(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// A place in the text of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

/// A head that was read whole and found well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// The target and the fields, names in lower case; the spans point into it.
    text: String,
    path: Span,
    query: Option<Span>,
    host: Option<Span>,
    fields: Vec<(Span, Span)>,
    /// HTTP/1.0: nothing is chunked, and the connection closes unless asked otherwise.
    pub(crate) is_http_1_0: bool,
    /// Whether the client expects to send another request after this one.
    pub(crate) keep_alive: bool,
    /// `Expect: 100-continue` in HTTP/1.1.
    pub(crate) expects_continue: bool,
    pub(crate) framing: Framing,
}

/// What the bytes received so far are.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A head ends at this offset.
    Whole(usize),
    /// More bytes are needed.
    Partial,
}

/// Where the head that begins at `bytes[0]` ends. `searched` bytes were looked at before and held no end.
///
/// # Errors
/// 414 or 431 as soon as the head is certain to be larger than is read.
pub(crate) fn progress(bytes: &[u8], searched: usize) -> Result<Progress> {
    let mut from = searched.saturating_sub(3);
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\n') {
        let line_end = from + at + 1;
        // An empty line ends the head. That its CR may be missing is for `parse` to refuse.
        let end = match &bytes[line_end..] {
            [b'\n', ..] => line_end + 1,
            [b'\r', b'\n', ..] => line_end + 2,
            _ => {
                from = line_end;
                continue;
            }
        };
        if end > HEAD_LIMIT {
            return Err(too_large(bytes));
        }
        return Ok(Progress::Whole(end));
    }
    if bytes.len() >= HEAD_LIMIT || !first_line_fits(bytes) {
        return Err(too_large(bytes));
    }
    Ok(Progress::Partial)
}

fn first_line_fits(bytes: &[u8]) -> bool {
    bytes.len() <= LINE_LIMIT || bytes[..LINE_LIMIT].contains(&b'\n')
}

fn too_large(bytes: &[u8]) -> Error {
    if first_line_fits(bytes) {
        Error::new(
            Kind::HeadTooLarge,
            "head_too_large",
            format!(
                "The head of the request is larger than {HEAD_LIMIT} bytes; send fewer or shorter fields."
            ),
        )
    } else {
        target_too_long()
    }
}

fn target_too_long() -> Error {
    Error::new(
        Kind::TargetTooLong,
        "target_too_long",
        format!("The address of the request is longer than {LINE_LIMIT} bytes; use a shorter one."),
    )
}

fn malformed(why: &str) -> Error {
    Error::new(
        Kind::BadRequest,
        "malformed_request",
        format!(
            "The request is not well-formed HTTP/1.1 ({why}); the client that sent it must be mended."
        ),
    )
}

fn not_implemented(what: String) -> Error {
    Error::new(Kind::NotImplemented, "not_implemented", what)
}

/// Whether `bytes` can still become a request: its first byte begins a method. It lets what is not
/// HTTP at all, such as TLS, be refused at once and not after a deadline.
pub(crate) fn is_plausible(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|b| is_tchar(*b))
}

impl Head {
    /// Reads a head, from its first byte to the empty line that ends it.
    ///
    /// # Errors
    /// As the module says.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Head> {
        if bytes.len() > HEAD_LIMIT || !first_line_fits(bytes) {
            return Err(too_large(bytes));
        }
        let mut lines = Lines { rest: bytes };
        let mut head = request_line::parse(lines.next()?)?;
        let mut seen = Seen::default();
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            head.add_field(line, &mut seen)?;
        }
        if !lines.rest.is_empty() {
            return Err(malformed("bytes follow the head"));
        }
        head.settle(&seen)?;
        Ok(head)
    }

    /// field-line = field-name ":" OWS field-value OWS
    fn add_field(&mut self, line: &[u8], seen: &mut Seen) -> Result<()> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(malformed("a field is folded over two lines"));
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return Err(malformed("a field has no colon"));
        };
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if name.is_empty() || !name.iter().all(|b| is_tchar(*b)) {
            return Err(malformed("the name of a field holds what no name may hold"));
        }
        if value.iter().any(|b| is_control(*b)) {
            return Err(malformed("the value of a field holds a control character"));
        }
        if self.fields.len() == FIELD_LIMIT {
            return Err(Error::new(
                Kind::HeadTooLarge,
                "head_too_large",
                format!("The request has more than {FIELD_LIMIT} fields; send fewer."),
            ));
        }
        let name = self.push(|text| {
            text.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
        });
        let value = self.push(|text| match std::str::from_utf8(value) {
            Ok(value) => text.push_str(value),
            Err(_) => text.push_str(&String::from_utf8_lossy(value)),
        });
        self.fields.push((name, value));
        let value = &self.text[value.start as usize..value.end as usize];
        match &self.text[name.start as usize..name.end as usize] {
            "host" => {
                if seen.host {
                    return Err(malformed("there are two Host fields"));
                }
                seen.host = true;
                if !request_line::is_authority(value) {
                    return Err(malformed("the Host field is no host"));
                }
                // The authority of an absolute target wins (RFC 9112 section 3.2.2).
                if self.host.is_none() {
                    self.host = self.fields.last().map(|(_, value)| *value);
                }
            }
            "content-length" => {
                if seen.length.is_some() {
                    return Err(malformed("there are two Content-Length fields"));
                }
                // Content-Length = 1*DIGIT: no sign, no list, no more than 64 bits.
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                seen.length = match value.parse() {
                    Ok(length) if digits => Some(length),
                    _ => return Err(malformed("Content-Length is no number")),
                };
            }
            "transfer-encoding" => {
                if seen.has_codings {
                    seen.codings.push(',');
                }
                seen.codings.push_str(value);
                seen.has_codings = true;
            }
            "connection" => {
                for option in value
                    .split(',')
                    .map(|option| option.trim_matches([' ', '\t']))
                {
                    seen.close |= option.eq_ignore_ascii_case("close");
                    seen.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
            }
            "expect" => {
                seen.expects = true;
                seen.expects_other |= !value.eq_ignore_ascii_case("100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    /// What only the whole of the fields tells.
    fn settle(&mut self, seen: &Seen) -> Result<()> {
        if !self.is_http_1_0 && !seen.host {
            return Err(malformed("there is no Host field"));
        }
        self.framing = match (seen.has_codings, seen.length) {
            (true, Some(_)) => {
                return Err(malformed(
                    "Content-Length and Transfer-Encoding are both there",
                ));
            }
            (true, None) if self.is_http_1_0 => {
                return Err(malformed("HTTP/1.0 knows no Transfer-Encoding"));
            }
            (true, None) => chunked(&seen.codings)?,
            (false, Some(length)) => Framing::Sized(length),
            (false, None) => Framing::None,
        };
        if seen.expects && !self.is_http_1_0 {
            if seen.expects_other {
                return Err(Error::new(
                    Kind::ExpectationFailed,
                    "expectation_failed",
                    "Nothing but 100-continue can be expected of this server; send the request without Expect.",
                ));
            }
            self.expects_continue = true;
        }
        self.keep_alive = !seen.close && (!self.is_http_1_0 || seen.keep_alive);
        Ok(())
    }

    /// Adds to the text, and says where.
    fn push(&mut self, add: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        add(&mut self.text);
        // A head of 8 KiB whose every byte is replaced by U+FFFD stays below 64 KiB.
        Span {
            start: start as u16,
            end: self.text.len() as u16,
        }
    }

    fn at(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    pub(crate) fn path(&self) -> &str {
        self.at(self.path)
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.query.map(|span| self.at(span))
    }

    pub(crate) fn host(&self) -> Option<&str> {
        self.host.map(|span| self.at(span))
    }

    /// The value of a field that came once; of one that came several times `None`, unless `join` made it one.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .fields
            .iter()
            .filter(|(span, _)| self.at(*span) == name);
        let (_, value) = found.next()?;
        found.next().is_none().then(|| self.at(*value))
    }

    /// Whether a field of that name came.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(span, _)| self.at(*span) == name)
    }

    /// Makes one field of several lines of the same list (RFC 9110 section 5.3). What is no list stays apart.
    pub(crate) fn join_lists(&mut self) {
        let mut n = 0;
        while n < self.fields.len() {
            let name = self.fields[n].0;
            let same = |head: &Head, at: usize| head.at(head.fields[at].0) == head.at(name);
            let again = (n + 1..self.fields.len()).any(|at| same(self, at));
            if again && is_list(self.at(name)) {
                let separator = if self.at(name) == "cookie" {
                    "; "
                } else {
                    ", "
                };
                let values: Vec<&str> = (n..self.fields.len())
                    .filter(|at| same(self, *at))
                    .map(|at| self.at(self.fields[at].1))
                    .collect();
                let joined = values.join(separator);
                // The spans end at 64 KiB; a list that does not fit stays several fields, and unread.
                if self.text.len() + joined.len() <= usize::from(u16::MAX) {
                    let value = self.push(|text| text.push_str(&joined));
                    let mut at = self.fields.len() - 1;
                    while at > n {
                        if same(self, at) {
                            self.fields.remove(at);
                        }
                        at -= 1;
                    }
                    self.fields[n].1 = value;
                }
            }
            n += 1;
        }
    }
}

/// What was seen among the fields.
#[derive(Default)]
struct Seen {
    host: bool,
    length: Option<u64>,
    has_codings: bool,
    codings: String,
    close: bool,
    keep_alive: bool,
    expects: bool,
    expects_other: bool,
}

/// Lines that end with CRLF and hold neither CR nor LF.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8]> {
        let Some(at) = self.rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            return Err(malformed("a line has no end"));
        };
        let (line, end) = self.rest.split_at(at);
        match end {
            [b'\r', b'\n', rest @ ..] => {
                self.rest = rest;
                Ok(line)
            }
            [b'\n', ..] => Err(malformed("a line ends without CR")),
            _ => Err(malformed("a CR stands alone")),
        }
    }
}

/// Transfer-Encoding = #transfer-coding, of which `chunked` alone is served.
fn chunked(codings: &str) -> Result<Framing> {
    let mut codings = codings
        .split(',')
        .map(|coding| coding.trim_matches([' ', '\t']));
    let is_chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
    let last = codings.next_back().unwrap_or("");
    let mut before = codings.peekable();
    if is_chunked(last) && before.peek().is_none() {
        return Ok(Framing::Chunked);
    }
    if before.any(|coding| coding.is_empty() || is_chunked(coding)) || last.is_empty() {
        return Err(malformed(
            "chunked is not the last and only Transfer-Encoding",
        ));
    }
    Err(not_implemented(
        "No Transfer-Encoding but chunked is served; send the body without another.".to_owned(),
    ))
}

/// Fields whose lines may be joined, of those that something here reads.
fn is_list(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-charset"
            | "accept-encoding"
            | "accept-language"
            | "access-control-request-headers"
            | "cache-control"
            | "connection"
            | "cookie"
            | "forwarded"
            | "if-match"
            | "if-none-match"
            | "pragma"
            | "te"
            | "upgrade"
            | "via"
            | "x-forwarded-for"
    )
}

/// tchar (RFC 9110 section 5.6.2)
fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn is_control(b: u8) -> bool {
    (b < b' ' && b != b'\t') || b == 0x7f
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests;
