//! A progress document on the wire: one JSON object, read within bounds and without being built as a tree.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::store::progress::entry::DEEPEST;

/// Most keys of a profile: a library of 20,000 lectures, and room to spare.
pub(super) const MOST_KEYS: usize = 50_000;

/// Longest key, in bytes.
pub(super) const LONGEST_KEY: usize = 512;

/// The members of a document, each value as it was written. Of a name that comes twice the last one counts, as
/// in every browser.
#[derive(Debug)]
pub(super) struct Document(pub(super) BTreeMap<String, Box<RawValue>>);

impl Document {
    /// Reads a body.
    ///
    /// # Errors
    /// `invalid_progress` (400): it is no JSON object, is nested too deeply, or has a key that is too long;
    /// `payload_too_large` (413): it has too many keys.
    pub(super) fn read(body: &[u8]) -> Result<Document> {
        let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
        // A byte-order mark is what some editors put before the seed's file.
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if depth(text) > DEEPEST {
            return Err(invalid("it is nested too deeply"));
        }
        let members: Members = serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?;
        match members {
            Members::Sound(members) => Ok(Document(members)),
            Members::LongKey => Err(Error::new(
                Kind::BadRequest,
                "invalid_progress",
                format!(
                    "A key of the object is longer than {LONGEST_KEY} bytes; send shorter ones."
                ),
            )),
            Members::TooMany => Err(Error::new(
                Kind::TooLarge,
                "payload_too_large",
                format!("The object has more than {MOST_KEYS} keys; send fewer."),
            )),
        }
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(
        Kind::BadRequest,
        "invalid_progress",
        "The body is no JSON object; send one such as {\"lecture\": {\"watchTime\": 12.5}}.",
    )
    .because(why.into())
}

/// Appends `"name":value` to an object that is being written.
pub(super) fn push_member(text: &mut String, name: &str, value: &str) {
    text.push_str(&serde_json::Value::from(name).to_string());
    text.push(':');
    text.push_str(value);
}

/// The deepest nesting of brackets outside of strings; right for JSON, and harmless for anything else.
fn depth(text: &str) -> usize {
    let (mut deepest, mut depth) = (0, 0usize);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

enum Members {
    Sound(BTreeMap<String, Box<RawValue>>),
    LongKey,
    TooMany,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(Gather)
    }
}

struct Gather;

impl<'de> Visitor<'de> for Gather {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        let mut fault = None;
        // Past a fault the rest is read without being kept: what is no JSON at all is that first.
        while let Some(key) = map.next_key::<String>()? {
            if key.len() > LONGEST_KEY {
                fault = Some(Members::LongKey);
            }
            if fault.is_some() {
                map.next_value::<de::IgnoredAny>()?;
                continue;
            }
            members.insert(key, map.next_value::<Box<RawValue>>()?);
            if members.len() > MOST_KEYS {
                fault = Some(Members::TooMany);
                members.clear();
            }
        }
        Ok(fault.unwrap_or(Members::Sound(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_document() {
        for good in [
            "{}",
            " {\"a\": [1, {}]}\n",
            "\u{feff}{\"a\":1e400,\"b\":\"[[[[\\\"\"}",
            "{\"a\":NaN}".replace("NaN", "null").as_str(),
        ] {
            assert!(Document::read(good.as_bytes()).is_ok(), "{good}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEEPEST), "]".repeat(DEEPEST));
        let long = format!("{{\"{}\":1}}", "k".repeat(LONGEST_KEY + 1));
        for bad in [
            "",
            "[]",
            "null",
            "1",
            "{",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":}",
            &deep,
            &long,
        ] {
            let error = Document::read(bad.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "invalid_progress", "{bad}");
        }
        assert!(Document::read(b"{\"\xff\":1}").is_err());
        assert!(Document::read("[".repeat(1 << 20).as_bytes()).is_err());
        let many: Vec<String> = (0..=MOST_KEYS).map(|n| format!("\"{n}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(
            Document::read(many.as_bytes()).unwrap_err().code(),
            "payload_too_large"
        );
    }

    #[test]
    fn values_stay_as_written() {
        let read = Document::read(
            b"{\"a\":1, \"a\": 1.50e+1 ,\"\\u00e9\\\"\":123456789012345678901234567890}",
        )
        .unwrap();
        let mut text = String::new();
        for (name, value) in &read.0 {
            push_member(&mut text, name, value.get());
        }
        assert_eq!(
            text,
            "\"a\":1.50e+1\"é\\\"\":123456789012345678901234567890"
        );
    }
}
