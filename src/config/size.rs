//! A number of bytes as people write it: `"64MiB"`, `"5 GB"`, `1048576`.
//!
//! Binary suffixes and decimal ones are both exact and never mixed up; a bare `M` or `G` means one
//! to half the world and the other to the rest, so it is refused with both spellings.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Beyond it no disk or memory of the kind reaches, and sums of a few sizes still fit 64 bits.
const MAX: u64 = 1 << 60;

impl Size {
    /// Reads a size; upper and lower case alike, with or without a space before the suffix.
    ///
    /// # Errors
    /// What is wrong with it, as the second half of a sentence.
    pub fn parse(text: &str) -> Result<Size, String> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(format!("`{text}` is negative"));
        }
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let suffix = suffix.trim().to_ascii_lowercase();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || fraction.contains('.')
            || (number.contains('.') && fraction.is_empty())
        {
            return Err(format!("`{text}` does not begin with a number"));
        }
        let factor = match UNITS.iter().find(|(name, _)| *name == suffix) {
            Some((_, factor)) => *factor,
            None => return Err(format!("`{suffix}` is no unit of size")),
        };
        if fraction.len() > 6 {
            return Err(format!("`{text}` has more digits than a size needs"));
        }
        // 10^6 * 2^60 fits 128 bits with room to spare; longer numbers do not parse.
        let scale = 10_u128.pow(fraction.len() as u32);
        let too_large = || format!("`{text}` is more than any disk holds");
        let value: u128 = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| too_large())?;
        let bytes = value
            .checked_mul(u128::from(factor))
            .ok_or_else(too_large)?
            / scale;
        match u64::try_from(bytes) {
            Ok(bytes) if bytes <= MAX => Ok(Size(bytes)),
            _ => Err(too_large()),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Size, E> {
                Size::parse(&value.to_string()).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Size, E> {
                Size::parse(&value.to_string()).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Size, E> {
                Size::parse(value).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("2MiB", 2 << 20),
            ("64 MiB", 64 << 20),
            ("5GB", 5_000_000_000),
            ("20gib", 20 << 30),
            ("1.5 GiB", 3 << 29),
            ("1TiB", 1 << 40),
            ("1TB", 1_000_000_000_000),
            ("7 B", 7),
            ("1kB", 1000),
            ("0.5KiB", 512),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_none() {
        for text in [
            "",
            " ",
            "MiB",
            "-1",
            "-5GB",
            "5G",
            "5 M",
            "1,5GB",
            "1.2.3MB",
            "1.MB",
            ".5GB",
            "0x10",
            "1e9",
            "99999999999999999999999999999999999999999999",
            "18446744073709551616",
            "9999999999TiB",
            "+5",
            "5MiBs",
        ] {
            assert!(Size::parse(text).is_err(), "{text:?}");
        }
    }
}
