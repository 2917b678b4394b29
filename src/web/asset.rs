//! What style sheet and scripts have in common: the hash in their addresses, by which a browser that has kept one need not
//! ask for it again.

use std::fmt::Write;

/// The hash of an asset's text, in hex. Eight bytes tell versions of one file apart.
pub(super) fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hex = String::new();
    for byte in digest.as_ref().iter().take(8) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
