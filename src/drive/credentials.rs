//! The two kinds of JSON file with which one speaks for a Google account.
//!
//! Reading only: what is done with them is `oauth`'s business. Each way in which such a file can be wrong has a
//! sentence that names the file and the remedy; the key itself is never shown, not even in `Debug`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::signature::RsaKeyPair;
use rustix::fs::{Mode, OFlags};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::reply::Refusal;
use crate::error::Kind;

/// A credentials file is 2 to 3 KiB.
const LARGEST: u64 = 64 * 1024;
/// Where a file that names no token endpoint is taken to.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Whom rill speaks for, and how it proves that.
pub(super) enum Account {
    /// A service account, which signs its own claims.
    Service(Box<ServiceAccount>),
    /// A person's account, by a refresh token.
    User(UserAccount),
}

/// What a service account's key file says.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key: RsaKeyPair,
    pub(super) key_id: Option<String>,
    pub(super) token_uri: String,
}

/// What `gcloud auth application-default login` and its like write.
pub(super) struct UserAccount {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) refresh_token: String,
    pub(super) token_uri: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Service(account) => write!(f, "Service({})", account.email),
            Account::User(_) => f.write_str("User(..)"),
        }
    }
}

impl Account {
    /// Where tokens are asked for.
    #[cfg(test)]
    pub(super) fn token_uri(&self) -> &str {
        match self {
            Account::Service(account) => &account.token_uri,
            Account::User(account) => &account.token_uri,
        }
    }

    /// The address to share files with, where the credentials tell it.
    pub(super) fn email(&self) -> Option<&str> {
        match self {
            Account::Service(account) => Some(&account.email),
            Account::User(_) => None,
        }
    }
}

/// Reads a whole file of at most `largest` bytes.
///
/// # Errors
/// As `File::open`; `InvalidData` for a larger one.
pub(super) fn read_bounded(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    // A pipe that nobody writes to would otherwise be waited for before it can be refused.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(largest + 1).read_to_end(&mut text)?;
    if text.len() as u64 > largest {
        return Err(io::Error::other(format!(
            "it is larger than {largest} bytes"
        )));
    }
    Ok(text)
}

/// Reads the credentials file.
///
/// # Errors
/// `drive_not_configured` when there is none, `drive_credentials` when it cannot be used.
pub(super) fn load(path: &Path) -> Result<Account, Refusal> {
    let name = format!("the file {}", path.display());
    match read_bounded(path, LARGEST) {
        Ok(text) => parse(&text, &name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::new(
            Kind::Unavailable,
            "drive_not_configured",
            format!(
                "The Drive credentials {} do not exist; put the service account's JSON key there, \
                 readable by rill.",
                path.display()
            ),
        )),
        Err(error) => Err(broken(
            &name,
            &format!("cannot be read ({error})"),
            "Mend its rights or its path",
        )),
    }
}

fn broken(name: &str, what: &str, remedy: &str) -> Refusal {
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Refusal::new(
        Kind::Unavailable,
        "drive_credentials",
        format!("{name} with the Drive credentials {what}. {remedy}."),
    )
}

/// Reads credentials; `name` says where they come from, for the sentence.
///
/// # Errors
/// `drive_credentials`, with what is wrong and the remedy.
pub(super) fn parse(text: &[u8], name: &str) -> Result<Account, Refusal> {
    const AGAIN: &str = "Download the JSON key again from the Google Cloud console";
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        // The error gives line and column, never the text.
        let place = format!(
            "is not JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        broken(name, &place, AGAIN)
    })?;
    let field = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let need = |key: &str| {
        field(key)
            .map(str::to_owned)
            .ok_or_else(|| broken(name, &format!("has no {key}"), AGAIN))
    };
    let token_uri = field("token_uri").unwrap_or(TOKEN_URI).to_owned();
    if !super::client::may_carry_secrets(&token_uri) {
        return Err(broken(name, "names a token_uri that is not https", AGAIN));
    }
    match field("type") {
        Some("service_account") => {
            let key = need("private_key")?;
            let key = rsa_key(key.as_bytes()).map_err(|what| broken(name, &what, AGAIN))?;
            Ok(Account::Service(Box::new(ServiceAccount {
                email: need("client_email")?,
                key,
                key_id: field("private_key_id").map(str::to_owned),
                token_uri,
            })))
        }
        Some("authorized_user") => Ok(Account::User(UserAccount {
            client_id: need("client_id")?,
            client_secret: need("client_secret")?,
            refresh_token: need("refresh_token")?,
            token_uri,
        })),
        Some(_) => Err(broken(
            name,
            "are of another type than service_account and authorized_user",
            "Make a JSON key of a service account in the Google Cloud console",
        )),
        None if value.get("installed").is_some() || value.get("web").is_some() => Err(broken(
            name,
            "hold an OAuth client, not an account",
            "Sign in with it once and give rill the authorized_user file, or use a service account's key",
        )),
        None => Err(broken(name, "has no type", AGAIN)),
    }
}

/// A PEM private key, PKCS#8 as Google writes it or PKCS#1, as ring takes it (2048 to 4096 bits).
fn rsa_key(pem: &[u8]) -> Result<RsaKeyPair, String> {
    let der = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "holds a private_key that is not PEM".to_owned())?;
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("holds a private_key that is not RSA".to_owned()),
    };
    key.map_err(|error| format!("holds a private_key that cannot be used ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(text: &str) -> String {
        let refusal = parse(text.as_bytes(), "the file /etc/rill/key.json").unwrap_err();
        assert_eq!(refusal.code, "drive_credentials");
        refusal.sentence
    }

    #[test]
    fn each_fault_names_the_file_and_the_remedy() {
        for (text, what) in [
            ("", "is not JSON"),
            ("[1,2]", "has no type"),
            (r#"{"type":7}"#, "has no type"),
            (r#"{"type":"external_account"}"#, "another type"),
            (r#"{"installed":{"client_id":"x"}}"#, "OAuth client"),
            (r#"{"type":"service_account"}"#, "private_key"),
            (r#"{"type":"service_account","private_key":"x"}"#, "not PEM"),
            (
                r#"{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}"#,
                "cannot be used",
            ),
            (
                r#"{"type":"authorized_user","client_id":"a","client_secret":"b"}"#,
                "refresh_token",
            ),
            (
                r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c","token_uri":"http://example.com/"}"#,
                "not https",
            ),
        ] {
            let sentence = sentence(text);
            assert!(sentence.contains("/etc/rill/key.json"), "{sentence}");
            assert!(sentence.contains(what), "{sentence}");
        }
    }

    #[test]
    fn a_users_file_is_read() {
        let text =
            r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}"#;
        let account = parse(text.as_bytes(), "the file x").unwrap();
        assert_eq!(account.token_uri(), TOKEN_URI);
        assert_eq!(account.email(), None);
        assert_eq!(format!("{account:?}"), "User(..)");
    }

    #[test]
    fn a_missing_file_is_not_configured() {
        let refusal = load(Path::new("/nonexistent/key.json")).unwrap_err();
        assert_eq!(refusal.code, "drive_not_configured");
    }
}
