//! What stands between the quotes of a JSON string, decoded (RFC 8259 section 7).

/// Appends what `raw` says, which may be cut anywhere; `escaped` tells that it holds a backslash.
pub(super) fn decode(raw: &[u8], escaped: bool, into: &mut String) {
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text,
        // Cut within a character.
        Err(error) => std::str::from_utf8(&raw[..error.valid_up_to()]).unwrap_or_default(),
    };
    if !escaped {
        into.push_str(text);
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        into.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            return;
        };
        rest = &rest[kind.len_utf8()..];
        match kind {
            'b' => into.push('\u{8}'),
            'f' => into.push('\u{c}'),
            'n' => into.push('\n'),
            'r' => into.push('\r'),
            't' => into.push('\t'),
            'u' => {
                let Some(unit) = hex(rest) else { return };
                rest = &rest[4..];
                let low = match unit {
                    0xd800..=0xdbff => rest.strip_prefix("\\u").and_then(hex),
                    _ => None,
                };
                match low {
                    Some(low @ 0xdc00..=0xdfff) => {
                        rest = &rest[6..];
                        let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        into.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    _ => into.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            other => into.push(other),
        }
    }
    into.push_str(rest);
}

fn hex(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}
