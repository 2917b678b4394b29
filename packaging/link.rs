//! What cargo asks before it compiles: how the program is linked.
//!
//! Some eight thousand addresses of the program are put right when it is loaded. Packed (RELR) they take 2 KiB in place
//! of 190. The C library reads them from its version 2.36 on, that of Debian 12; the linkers of Debian 12 for ARM do not
//! write them. So they are packed for a PC, on a PC that reads them.
#![allow(clippy::print_stdout)]

use std::env::var;
use std::process::Command;

/// The first version of the C library that reads packed addresses.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=packaging/link.rs");
    let of = |name: &str| var(name).unwrap_or_default();
    let here = of("TARGET") == of("HOST") && of("TARGET") == "x86_64-unknown-linux-gnu";
    if here && library().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library: `glibc 2.36`.
fn library() -> Option<(u32, u32)> {
    let said = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
