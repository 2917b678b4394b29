//! Doors for the fuzzer of `fuzz/`: each takes any bytes and must come back.

use crate::http::chunked::Decoder;
use crate::http::conditional::{Preconditions, Validators};
use crate::http::form::{Form, Step, WINDOW};
use crate::http::head::{self, Head};
use crate::http::{ETag, encoding, range};

/// A head, and the same bytes as a chunked body.
pub fn head(bytes: &[u8]) {
    let _ = head::progress(bytes, 0);
    let whole = Head::parse(bytes).map(|mut head| {
        head.join_lists();
        assert!(head.path().starts_with('/') || head.path() == "*");
    });
    let _ = whole;
    let mut output = [0; 64];
    let mut decoder = Decoder::new();
    let mut at = 0;
    while at < bytes.len() && !decoder.is_done() {
        match decoder.decode(&bytes[at..], &mut output) {
            Ok((0, 0)) | Err(_) => break,
            Ok((read, _)) => at += read,
        }
    }
}

/// A Range field: what it resolves to lies within.
pub fn range(bytes: &[u8]) {
    let (Some(len), Ok(field)) = (
        bytes.first_chunk::<8>(),
        std::str::from_utf8(bytes.get(8..).unwrap_or(&[])),
    ) else {
        return;
    };
    let len = u64::from_le_bytes(*len);
    if let range::ResolvedRanges::Satisfiable(ranges) = range::resolve(field, len) {
        assert!(
            ranges
                .iter()
                .all(|range| range.start < range.end && range.end <= len)
        );
    }
}

/// Preconditions and Accept-Encoding, one field a line.
pub fn conditional(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.lines();
    let fields = Preconditions {
        if_match: lines.next(),
        if_none_match: lines.next(),
        if_modified_since: lines.next(),
        if_unmodified_since: lines.next(),
        if_range: lines.next(),
    };
    let tag = ETag::strong("a");
    let validators = Validators {
        etag: &tag,
        modified: Some(1_600_000_000),
    };
    let _ = fields.evaluate(validators, 1_700_000_000);
    let _ = fields.range_applies(validators);
    let _ = encoding::accepts_gzip(text);
}

/// A form, cut where its first byte says.
pub fn form(bytes: &[u8]) {
    let Some((&step, form)) = bytes.split_first() else {
        return;
    };
    let mut reader = Form::new(b"b");
    let mut window = Vec::new();
    for piece in form.chunks(usize::from(step) + 1) {
        window.extend_from_slice(piece);
        loop {
            let Ok((skip, step)) = reader.step(&window) else {
                return;
            };
            window.drain(..skip);
            match step {
                Step::More | Step::End => break,
                Step::Content(length) => drop(window.drain(..length)),
                Step::Part(_) | Step::PartEnd => {}
            }
        }
        assert!(window.len() < WINDOW);
    }
}
