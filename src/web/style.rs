//! The style sheet, and its name.

use std::sync::LazyLock;

use crate::web::asset;

/// The style sheet of every page.
pub const SHEET: &str = include_str!("style.css");

/// The hash of the sheet, in hex: a browser that has kept this one need not ask again.
pub fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| asset::hash(SHEET));
    &HASH
}

/// Where pages find the sheet.
pub fn url() -> String {
    format!("/style.css?v={}", hash())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(!SHEET.contains(word), "{word}");
        }
    }
}
