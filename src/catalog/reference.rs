//! References: how a class names the files it is made of.
//!
//! An id of Google Drive, or `local:PATH` for a file below `library.courses`. Whether the file is there is not known
//! here; whether it could be, is.

/// How local references begin.
const LOCAL: &str = "local:";

/// The longest path of a local reference, in bytes: the kernel's PATH_MAX.
const LONGEST_PATH: usize = 4096;

/// The bytes of an id. A catalog has a hundred thousand of them, so that looking up is worth a table.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_');
        byte += 1;
    }
    plain
};

/// A reference of sound form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// An id of Drive.
    Drive(&'a str),
    /// A path below `library.courses`.
    Local(&'a str),
}

impl<'a> Reference<'a> {
    /// Reads a reference.
    ///
    /// # Errors
    /// What is wrong with its form, as half a sentence.
    pub fn parse(text: &'a str) -> Result<Reference<'a>, &'static str> {
        if let Some(path) = text.strip_prefix(LOCAL) {
            let segments = || path.split('/');
            return if path.is_empty() {
                Err("local: without a path")
            } else if path.len() >= LONGEST_PATH || path.contains('\0') {
                Err("a path that no file can have")
            } else if segments().any(|segment| matches!(segment, "" | "." | "..")) {
                Err("a path that is absolute or leads elsewhere; write it below library.courses")
            } else {
                Ok(Reference::Local(path))
            };
        }
        // As Drive makes them (design section 4).
        let plain = |byte: u8| PLAIN[usize::from(byte)];
        match (10..=128).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Reference::Drive(text)),
            false => Err("neither an id of Drive nor local:PATH"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, good) in [
            ("1aB_-cDeFgH", true),
            ("local:a/b c/ñ.mp4", true),
            ("local:", false),
            ("local:/etc/passwd", false),
            ("local:a/../b", false),
            ("local:a\0b", false),
            ("local:a//b", false),
            ("short", false),
            ("https://drive.google.com/file/d/1aB_-cDeFgH", false),
            ("", false),
        ] {
            assert_eq!(Reference::parse(text).is_ok(), good, "{text}");
        }
    }
}
