//! What cargo asks before it compiles: how the program is linked.
//!
//! Some eight thousand addresses of the program are put right when it is loaded. Packed (RELR) they take a few hundred
//! bytes in place of 190 KiB. The C library of Debian 12 reads them, and so do the linkers for PCs; those of Debian 12
//! for ARM do not write them.

fn main() {
    println!("cargo::rerun-if-changed=packaging/link.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("ARCH") == "x86_64" && target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
