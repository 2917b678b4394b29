//! Parameters of a header field, `; name=value; name="value"`, as clients really write them.
//!
//! Quoted strings have two dialects. RFC 9110 escapes by a backslash. The forms of browsers (WHATWG HTML, section
//! "multipart/form-data encoding algorithm") write `%22` for a quote and `%0D`, `%0A` for line ends, and a
//! backslash is one; older browsers and curl wrote `\"`. Both are read here.

use percent_encoding::percent_decode;

/// Parameters that are read at most; a form's part has three.
const MOST: usize = 16;

/// Reads parameters: names in lower case, values without their quotes. What is malformed ends the reading.
pub(crate) fn read(mut text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while found.len() < MOST {
        let begin = text
            .iter()
            .position(|b| !matches!(b, b';' | b' ' | b'\t'))
            .unwrap_or(text.len());
        text = &text[begin..];
        let Some(equals) = text.iter().position(|&b| b == b'=') else {
            break;
        };
        let name = String::from_utf8_lossy(text[..equals].trim_ascii()).to_ascii_lowercase();
        text = text[equals + 1..].trim_ascii_start();
        let (value, rest) = match text.strip_prefix(b"\"") {
            Some(inside) => match quoted(inside) {
                Some(read) => read,
                None => break,
            },
            None => {
                let end = text.iter().position(|&b| b == b';').unwrap_or(text.len());
                (text[..end].trim_ascii().to_vec(), &text[end..])
            }
        };
        found.push((name, value));
        // Whatever stands between a closing quote and the next semicolon means nothing.
        let end = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
        text = &rest[end..];
    }
    found
}

/// Reads a quoted string behind its opening quote: the value, and what follows the closing one.
///
/// `\"` is a quote, unless no other follows: then it is the end of a value that ends in a backslash. A backslash
/// before anything else is itself: browsers send `C:\films\a.mp4`.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' if text.get(at + 1) == Some(&b'"') && text[at + 2..].contains(&b'"') => {
                value.push(b'"');
                at += 2;
            }
            &byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

/// A value of a form's part as text: the three escapes of browsers undone, bytes that are not UTF-8 replaced.
pub(crate) fn form_text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let escaped = rest.get(1..3).map(str::to_ascii_uppercase);
        let plain = match escaped.as_deref() {
            Some("22") => '"',
            Some("0D") => '\r',
            Some("0A") => '\n',
            _ => {
                out.push('%');
                rest = &rest[1..];
                continue;
            }
        };
        out.push(plain);
        rest = &rest[3..];
    }
    out.push_str(rest);
    out
}

/// Reads an extended value (RFC 8187 section 3.2: `charset'language'percent-encoded`); `None` when it is none, or in
/// another charset than UTF-8 and Latin-1.
pub(crate) fn extended(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(3, '\'');
    let (charset, _language, escaped) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes: Vec<u8> = percent_decode(escaped.as_bytes()).collect();
    if charset.eq_ignore_ascii_case("utf-8") {
        return String::from_utf8(bytes).ok();
    }
    charset
        .eq_ignore_ascii_case("iso-8859-1")
        .then(|| bytes.into_iter().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(String, String)> {
        let text_of = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        let read = read(text.as_bytes()).into_iter();
        read.map(|(name, value)| (name, text_of(value))).collect()
    }

    fn one(text: &str) -> String {
        let mut read = all(text);
        assert_eq!(read.len(), 1, "{text}: {read:?}");
        read.remove(0).1
    }

    #[test]
    fn both_dialects_of_quotes() {
        for (text, want) in [
            (r#"; a=b"#, "b"),
            (r#" A = b "#, "b"),
            (r#"a="b c;d""#, "b c;d"),
            (r#"a="b\"c""#, "b\"c"),
            (r#"a="b\c""#, r"b\c"),
            (r#"a="C:\films\x.mp4""#, r"C:\films\x.mp4"),
            (r#"a="ends\""#, r"ends\"),
            (r#"a="""#, ""),
            (r#"a="x" junk"#, "x"),
            ("a=", ""),
        ] {
            assert_eq!(one(text), want, "{text}");
        }
        assert_eq!(
            all(r#"; a="1;2"; ;b=3"#),
            [("a", "1;2"), ("b", "3")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        for none in ["", ";", "a", r#"a="b"#, "\"x\""] {
            assert_eq!(all(none), [], "{none}");
        }
        assert_eq!(all(&"a=b;".repeat(1000)).len(), MOST);
    }

    #[test]
    fn escapes_of_browsers_and_charsets() {
        assert_eq!(form_text(b"a%22b%0d%0Ac%20d%2%"), "a\"b\r\nc%20d%2%");
        assert_eq!(form_text("%é%22".as_bytes()), "%é\"");
        assert_eq!(form_text(b"\xff"), "\u{fffd}");
        assert_eq!(extended(b"UTF-8''%C3%A9%20a"), Some("é a".to_owned()));
        assert_eq!(extended(b"iso-8859-1'en'%E9"), Some("é".to_owned()));
        for bad in [
            &b"utf-8''%ff"[..],
            b"koi8-r''a",
            b"utf-8",
            b"a'b",
            b"\xff''a",
        ] {
            assert_eq!(extended(bad), None);
        }
    }
}
