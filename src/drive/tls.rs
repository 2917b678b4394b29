//! How the connections to Google are encrypted, and whom they trust.
//!
//! ring does the arithmetic. On a processor without AES instructions (every Pi before the fifth)
//! ChaCha20-Poly1305 is 4.5 times as fast as AES-GCM, so it is offered first there; Google's servers follow
//! the client's wish. Trusted are the system's roots and those of `drive.ca_file`.

use std::path::Path;
use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::reply::Refusal;
use crate::error::Kind;

/// A file of roots larger than this is not one.
const CA_FILE: u64 = 4 * 1024 * 1024;

/// Loads the roots and chooses the ciphers; reads files, so it is done once and not before it is needed.
///
/// # Errors
/// `drive_unreachable`: the CA file cannot be used, or there is no root at all.
pub(super) fn config(ca_file: Option<&Path>) -> Result<TlsConfig, Refusal> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        log::warn!("some system certificates are not used: {error}");
    }
    let mut roots: Vec<Certificate<'static>> = system
        .certs
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    if let Some(path) = ca_file {
        roots.extend(own_roots(path)?);
    }
    if roots.is_empty() {
        return Err(Refusal::new(
            Kind::Unavailable,
            "drive_unreachable",
            "No certificate authorities are installed, so Google cannot be told from an impostor; \
             install the package ca-certificates.",
        ));
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(provider(has_aes())))
        .root_certs(RootCerts::from(roots))
        .build())
}

fn own_roots(path: &Path) -> Result<Vec<Certificate<'static>>, Refusal> {
    let refuse = |what: String| {
        Refusal::new(
            Kind::Unavailable,
            "drive_unreachable",
            format!("The file {} of drive.ca_file {what}.", path.display()),
        )
    };
    let text = super::credentials::read_bounded(path, CA_FILE).map_err(|error| {
        refuse(format!(
            "cannot be read ({error}); mend the path or its rights"
        ))
    })?;
    let roots: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .filter_map(Result::ok)
        .map(|root| Certificate::from_der(&root).to_owned())
        .collect();
    if roots.is_empty() {
        return Err(refuse(
            "holds no PEM certificate; put the authority's certificate there".into(),
        ));
    }
    Ok(roots)
}

/// ring's provider, with ChaCha20-Poly1305 first for processors without AES.
fn provider(aes: bool) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if !aes {
        // A stable sort: within the two groups the order of rustls stays, TLS 1.3 before 1.2.
        provider
            .cipher_suites
            .sort_by_key(|suite| (!is_tls13(suite), !is_chacha(suite)));
    }
    provider
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    matches!(suite, SupportedCipherSuite::Tls13(_))
}

fn is_chacha(suite: &SupportedCipherSuite) -> bool {
    format!("{:?}", suite.suite()).contains("CHACHA20")
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

/// On 32-bit ARM the standard library cannot tell; the kernel's list can.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn has_aes() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| lists_aes(&text))
}

/// Whether the `Features` (ARM) or `flags` (x86) of `/proc/cpuinfo` name AES.
#[cfg(any(
    test,
    not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"))
))]
fn lists_aes(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| matches!(name.trim(), "Features" | "flags"))
        .any(|(_, words)| words.split_whitespace().any(|word| word == "aes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chacha_is_first_where_the_processor_has_no_aes() {
        let slow = provider(false).cipher_suites;
        assert!(is_chacha(&slow[0]) && is_tls13(&slow[0]));
        let second = slow.iter().position(|suite| !is_tls13(suite)).unwrap();
        assert!(is_chacha(&slow[second]));
        assert!(!is_chacha(&provider(true).cipher_suites[0]));
        assert_eq!(slow.len(), provider(true).cipher_suites.len());
    }

    #[test]
    fn the_kernels_list_is_read() {
        let pi3 = "model name\t: ARMv7\nFeatures\t: half thumb neon vfpv4 crc32\n";
        let pi5 = "Features\t: fp asimd evtstrm aes pmull sha1\n";
        assert!(!lists_aes(pi3));
        assert!(lists_aes(pi5));
        assert!(!lists_aes("model name\t: aes\n"));
    }
}
