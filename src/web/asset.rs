//! The style sheet and the scripts of the pages, and their addresses. Each carries the hash of what it leads to: a
//! browser that has kept it need not ask again.
//!
//! All are read by engines back to 2014 (webOS 1, Tizen 2.3). Without a script a page does all the same but remember
//! how far, or show how far an upload is.

use std::fmt::Write;
use std::sync::LazyLock;

/// The style sheet of every page.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("/style.css", include_str!("style.css")));

/// The script of the pages that play a class: it keeps how far it was played.
pub static PLAYER: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("/player.js", include_str!("player.js")));

/// The script of the page of uploads: progress, several files, drag and drop, and going on after a break.
pub static UPLOAD: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("/upload.js", include_str!("upload.js")));

/// A text that pages lead to.
#[derive(Debug)]
pub struct Asset {
    /// What browsers get.
    pub text: &'static str,
    /// SHA-256 of it, the first eight bytes in hex: enough to tell versions of one file apart.
    pub hash: String,
    path: &'static str,
}

impl Asset {
    fn new(path: &'static str, text: &'static str) -> Asset {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut hash = String::new();
        for byte in digest.as_ref().iter().take(8) {
            let _ = write!(hash, "{byte:02x}");
        }
        Asset { text, hash, path }
    }

    /// Where pages find it.
    pub fn url(&self) -> String {
        format!("{}?v={}", self.path, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_2014_read_every_line() {
        let words = [
            "=>",
            "`",
            "let ",
            "const ",
            "fetch(",
            "Promise",
            "async ",
            "class ",
            "...",
            "?.",
            "??",
            ".includes(",
            "classList",
            "URLSearchParams",
        ];
        for word in words {
            assert!(!PLAYER.text.contains(word), "{word}");
            assert!(!UPLOAD.text.contains(word), "{word}");
        }
    }

    #[test]
    fn engines_of_2014_read_every_rule() {
        for word in [
            "var(",
            "grid",
            "gap:",
            "clamp(",
            "min(",
            "max(",
            "aspect-ratio",
            "inset",
            ":is(",
            ":where(",
            "focus-visible",
            "focus-within",
            "sticky",
            "@supports",
            "@layer",
            "env(",
        ] {
            assert!(!STYLE.text.contains(word), "{word}");
        }
    }

    #[test]
    fn an_address_names_its_content() {
        assert_eq!(STYLE.url(), format!("/style.css?v={}", STYLE.hash));
        assert_eq!(STYLE.hash.len(), 16);
        assert_ne!(PLAYER.hash, UPLOAD.hash);
    }
}
