//! The first line of a head: method, target, version, and what a host may look like.
//!
//! All four forms of a target (RFC 9112 section 3.2) are told apart here; the one of CONNECT is not served.

use std::net::Ipv6Addr;

use http_types::Method;

use super::{Framing, HEAD_LIMIT, Head, Span, is_tchar, malformed, not_implemented};
use crate::error::{Error, Kind, Result};

/// request-line = method SP request-target SP HTTP-version
pub(super) fn parse(line: &[u8]) -> Result<Head> {
    let mut parts = line.split(|b| *b == b' ');
    let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(malformed("the request line is not three words")),
    };
    if method.is_empty() || !method.iter().all(|b| is_tchar(*b)) {
        return Err(malformed("the method is no word"));
    }
    if target.is_empty() || target.iter().any(|b| !b.is_ascii_graphic() || *b == b'#') {
        return Err(malformed("the address holds what no address may hold"));
    }
    let is_http_1_0 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        // A later 1.x is answered as the one we know (RFC 9110 section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Error::new(
                Kind::Version,
                "http_version",
                "This version of HTTP is not served; use HTTP/1.1.",
            ));
        }
        _ => return Err(malformed("the version is none of HTTP")),
    };
    // Methods are case-sensitive (RFC 9110 section 9.1): `get` is another one than GET.
    let method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"OPTIONS" => Method::Options,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"PATCH" => Method::Patch,
        b"DELETE" => Method::Delete,
        _ => {
            return Err(not_implemented(
                "This method is not served; use GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE."
                    .to_owned(),
            ));
        }
    };
    let mut head = Head {
        method,
        text: String::with_capacity(HEAD_LIMIT / 16),
        path: Span { start: 0, end: 0 },
        query: None,
        host: None,
        fields: Vec::with_capacity(16),
        is_http_1_0,
        keep_alive: false,
        expects_continue: false,
        framing: Framing::None,
    };
    let target = std::str::from_utf8(target).map_err(|_| malformed("the address is no text"))?;
    let rest = if target == "*" {
        // asterisk-form
        if method != Method::Options {
            return Err(malformed("the address * is for OPTIONS alone"));
        }
        target
    } else if target.starts_with('/') {
        // origin-form
        target
    } else {
        // absolute-form
        let after = strip_prefix_ignoring_case(target, "http://")
            .or_else(|| strip_prefix_ignoring_case(target, "https://"))
            .ok_or_else(|| malformed("the address has none of the forms that are served"))?;
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        if !is_authority(authority) {
            return Err(malformed("the address names no host"));
        }
        head.host = Some(head.push(|text| text.push_str(authority)));
        rest
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    // An absolute target may lack its path, which then is the root.
    let path = if path.is_empty() { "/" } else { path };
    head.path = head.push(|text| text.push_str(path));
    head.query = query.map(|query| head.push(|text| text.push_str(query)));
    Ok(head)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

/// uri-host [ ":" port ], without user information and without what a file name could smuggle in.
pub(super) fn is_authority(text: &str) -> bool {
    let port = if let Some(literal) = text.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else {
            return false;
        };
        if address.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        port
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (name, port) = text.split_at(end);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if name.is_empty() || name.len() > 255 || !name.bytes().all(is_name) {
            return false;
        }
        port
    };
    // port = *DIGIT: it may be empty.
    match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(digits) => {
            digits.len() <= 5
                && digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok()
        }
    }
}
