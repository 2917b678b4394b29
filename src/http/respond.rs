//! An answer, and how its head is written. Bodies are moved by `send`.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use http_types::StatusCode;

use crate::http::multipart::Parts;
use crate::http::{ByteStream, Bytes, date};

/// The headers of every answer (design section 8): what a browser must not do with it.
const SECURITY: &[u8] = b"X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-site\r\n";

/// The bytes of an answer.
pub enum Body {
    /// None at all.
    Empty,
    /// A small body that was made for this answer.
    Text(Vec<u8>),
    /// A slice of bytes in memory that many answers share; `true` is of their gzip twin.
    Shared(Arc<Bytes>, bool, Range<u64>),
    /// A slice of a file, sent by `sendfile`.
    File(Arc<File>, Range<u64>),
    /// Several slices of a file or of bytes in memory, as `multipart/byteranges`.
    Parts(Box<Parts>),
    /// A stream: of `Some` length, else chunked (HTTP/1.1) or until close (HTTP/1.0).
    Stream(Box<dyn ByteStream>, Option<u64>),
}

impl Body {
    /// How many bytes it is, when that is known before it is sent.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Text(bytes) => Some(bytes.len() as u64),
            Body::Shared(_, _, range) | Body::File(_, range) => {
                Some(range.end.saturating_sub(range.start))
            }
            Body::Parts(parts) => Some(parts.len()),
            Body::Stream(_, length) => *length,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Body::Empty => "Empty",
            Body::Text(_) => "Text",
            Body::Shared(..) => "Shared",
            Body::File(..) => "File",
            Body::Parts(_) => "Parts",
            Body::Stream(..) => "Stream",
        };
        write!(f, "{name}({:?})", self.len())
    }
}

/// An answer: a status, headers, a body.
///
/// `Content-Length`, `Transfer-Encoding`, `Connection`, `Date` and the security headers of every
/// answer are written by the connection, not given here.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    /// What is said instead of a status that http-types does not know.
    pub(crate) spoken: Option<(u16, &'static str)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
    /// What a HEAD says of the body that it does not make.
    pub(crate) length: Option<u64>,
}

impl Response {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Response {
        Response {
            status,
            spoken: None,
            headers: Vec::new(),
            body: Body::Empty,
            length: None,
        }
    }

    /// Sets a header (a second one of the same name is added, not replaced). A value with a control
    /// character is dropped, so that no input can split a head.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Says another status than the one it is: one of an extension of HTTP, of three digits, in the class of the other.
    #[must_use]
    pub fn spoken(mut self, code: u16, reason: &'static str) -> Response {
        self.spoken = Some((code, reason));
        self
    }

    /// Sets the body and its `Content-Type`.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: Body) -> Response {
        self.headers.push(("content-type", content_type.to_owned()));
        self.body = body;
        self
    }

    /// Says how long the body of a GET would be, in an answer to HEAD that makes none.
    #[must_use]
    pub fn length(mut self, length: u64) -> Response {
        self.length = Some(length);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of the first header `name` (lower case) that was set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the status allows no body (RFC 9110 section 6.4.1).
    pub(crate) fn is_bodiless(&self) -> bool {
        matches!(self.status, StatusCode::NoContent | StatusCode::NotModified)
            || self.status.is_informational()
    }
}

/// How the end of a body is told (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// Nothing is said: there is no body, or a HEAD that does not know its length.
    Unsaid,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The end of the connection.
    Close,
}

/// What stands in the Connection field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// The default of HTTP/1.1: nothing is said.
    Implied,
    /// Said, to a client of HTTP/1.0 that asked.
    KeepAlive,
    /// Said: this is the last answer.
    Close,
}

/// Writes the head of an answer.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    response: &Response,
    delimiter: Delimiter,
    persistence: Persistence,
) {
    let (code, phrase) = response
        .spoken
        .unwrap_or((response.status as u16, reason(response.status)));
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[
        b'0' + (code / 100) as u8,
        b'0' + (code / 10 % 10) as u8,
        b'0' + (code % 10) as u8,
        b' ',
    ]);
    out.extend_from_slice(phrase.as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(&date::current());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &response.headers {
        if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            log::warn!("a header {name} with a control character is not sent");
            continue;
        }
        write_name(out, name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    match delimiter {
        Delimiter::Unsaid | Delimiter::Close => {}
        Delimiter::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            // Writing to memory does not fail.
            let _ = write!(out, "{length}");
            out.extend_from_slice(b"\r\n");
        }
        Delimiter::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    match persistence {
        Persistence::Implied => {}
        Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(SECURITY);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase (RFC 9110 section 15). http-types 2.12 says of a 304 that it was modified.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NotModified => "Not Modified",
        other => other.canonical_reason(),
    }
}

/// Writes `content-type` as `Content-Type`: names have no case, but old televisions look for this one.
fn write_name(out: &mut Vec<u8>, name: &str) {
    if name.eq_ignore_ascii_case("etag") {
        out.extend_from_slice(b"ETag");
        return;
    }
    let mut first = true;
    out.extend(name.bytes().map(|b| {
        let b = if first { b.to_ascii_uppercase() } else { b };
        first = b == b'-';
        b
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_and_cannot_be_split() {
        let response = Response::new(StatusCode::PartialContent)
            .header("etag", "\"a\"")
            .header("x-evil", "a\r\nSet-Cookie: b")
            .header("content-disposition", "attachment; filename*=UTF-8''%C3%A9");
        let mut out = Vec::new();
        write_head(
            &mut out,
            &response,
            Delimiter::Length(1_234),
            Persistence::Close,
        );
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 206 Partial Content\r\nDate: "),
            "{text}"
        );
        assert!(text.contains(
            "\r\nETag: \"a\"\r\nContent-Disposition: attachment; filename*=UTF-8''%C3%A9\r\n"
        ));
        assert!(text.contains(
            "\r\nContent-Length: 1234\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
        ));
        assert!(!text.contains("Set-Cookie") && text.ends_with("same-site\r\n\r\n"));
    }
}
