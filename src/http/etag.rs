//! Entity tags (RFC 9110 section 8.8.3): making them, and finding one in a list.

use std::fmt;

/// An entity tag (RFC 9110 section 8.8.3), always a strong one: ours name bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// A strong tag; characters of `opaque` outside `etagc` are replaced.
    pub fn strong(opaque: &str) -> ETag {
        let mut text = String::with_capacity(opaque.len() + 2);
        text.push('"');
        // etagc = %x21 / %x23-7E / obs-text; obs-text is left out, for it is no ASCII.
        text.extend(opaque.chars().map(|c| match c {
            '!' | '#'..='~' => c,
            _ => '_',
        }));
        text.push('"');
        ETag(text)
    }

    /// The tag of another coding of the same representation.
    pub(crate) fn with_suffix(&self, suffix: &str) -> ETag {
        ETag::strong(&format!("{}{suffix}", &self.0[1..self.0.len() - 1]))
    }

    /// The tag as it stands in a header, with its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How two tags are compared (section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Neither may be weak: the bytes are the same.
    Strong,
    /// Weakness does not matter: good enough for a cache.
    Weak,
}

/// Whether `list` (`"*" / 1#entity-tag`) holds `tag`. A malformed list holds what stands before its fault.
pub(crate) fn list_matches(list: &str, tag: &ETag, comparison: Comparison) -> bool {
    let mut rest = list.trim_matches([' ', '\t']);
    if rest == "*" {
        return true;
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((one, after)) = take(rest) else {
            return false;
        };
        if one.matches(tag, comparison) {
            return true;
        }
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.starts_with(',') {
            return false;
        }
    }
}

/// Whether `field`, which is one tag, is `tag` by strong comparison.
pub(crate) fn is_exactly(field: &str, tag: &ETag) -> bool {
    matches!(take(field), Some((one, "")) if one.matches(tag, Comparison::Strong))
}

/// A tag as a client wrote it.
struct Received<'a> {
    weak: bool,
    quoted: &'a str,
}

impl Received<'_> {
    fn matches(&self, tag: &ETag, comparison: Comparison) -> bool {
        (comparison == Comparison::Weak || !self.weak) && self.quoted == tag.0
    }
}

/// entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE
fn take(text: &str) -> Option<(Received<'_>, &str)> {
    let (weak, text) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let end = text.strip_prefix('"')?.find('"')? + 2;
    let (quoted, rest) = text.split_at(end);
    let well_formed = quoted[1..end - 1]
        .bytes()
        .all(|b| b == b'!' || (b >= b'#' && b != 0x7f));
    well_formed.then_some((Received { weak, quoted }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_table_of_the_rfc() {
        let tag = ETag::strong("1");
        for (field, strong, weak) in [
            ("W/\"1\"", false, true),
            ("W/\"2\"", false, false),
            ("\"1\"", true, true),
        ] {
            assert_eq!(
                list_matches(field, &tag, Comparison::Strong),
                strong,
                "{field}"
            );
            assert_eq!(list_matches(field, &tag, Comparison::Weak), weak, "{field}");
        }
    }

    #[test]
    fn lists_and_nonsense() {
        let tag = ETag::strong("a,b");
        assert_eq!(tag.as_str(), "\"a,b\"");
        for list in [
            "*",
            "\"x\", \"a,b\"",
            ",\"a,b\" , \"y\"",
            "\"\",\"a,b\"",
            " \"a,b\"",
        ] {
            assert!(list_matches(list, &tag, Comparison::Strong), "{list}");
        }
        for list in [
            "",
            "a,b",
            "\"a,b",
            "\"x\" \"a,b\"",
            "w/\"a,b\"",
            "* , \"x\"",
            "\"x\"\u{7f}",
        ] {
            assert!(!list_matches(list, &tag, Comparison::Weak), "{list}");
        }
        assert!(is_exactly("\"a,b\"", &tag));
        assert!(!is_exactly("\"a,b\", \"c\"", &tag));
        assert!(!is_exactly("W/\"a,b\"", &tag));
        assert_eq!(ETag::strong("a\"b\r\n\u{e9}").as_str(), "\"a_b___\"");
    }
}
