//! The script of the pages that play a class, and its name. Without it they play all the same, and forget how far.

use std::sync::LazyLock;

use crate::web::asset;

/// The script.
pub const SCRIPT: &str = include_str!("player.js");

/// The hash of the script, in hex: a browser that has kept this one need not ask again.
pub fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| asset::hash(SCRIPT));
    &HASH
}

/// Where pages find the script.
pub fn url() -> String {
    format!("/player.js?v={}", hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_2014_read_every_line() {
        for word in [
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
        ] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }
}
