//! Access tokens: asked for, kept, shared, replaced.
//!
//! A service account signs a claim (RFC 7523) with its key, a person's account shows its refresh token (RFC 6749
//! section 6). One token serves everyone until shortly before it ends; while it is being replaced, all
//! wait for that one exchange. A token never appears in a log or in `Debug`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::rand::SystemRandom;
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};
use smol::lock::Mutex;

use super::client::Client;
use super::credentials::{Account, ServiceAccount};
use super::reply::{Fault, Refusal};
use crate::error::Kind;

/// Reading is all rill does.
const SCOPE: &str = "https://www.googleapis.com/auth/drive.readonly";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// A claim is dated back by this many seconds, since a clock a moment ahead of Google's makes it invalid.
const BACK_DATED: i64 = 10;
/// Seconds a claim holds; Google allows an hour.
const CLAIM_LIFE: i64 = 3600;
/// Bytes of a token answer; an `id_token` may come along.
const ANSWER: u64 = 64 * 1024;
/// The unreserved characters of RFC 3986 section 2.3.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A token and until when to use it.
#[derive(Clone)]
pub(super) struct Token {
    text: Arc<str>,
    renew_at: Instant,
}

impl Token {
    /// What goes into the `Authorization` header.
    pub(super) fn secret(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The current token of one account.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Held while a token is being asked for, which is what makes everyone else wait.
    state: Mutex<State>,
    /// Seconds that Google's clock is ahead of ours, once we were told.
    ahead: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The last refusal, for those who waited for it.
    refused: Option<(Instant, Refusal)>,
}

impl Tokens {
    /// The current token, or what `ask` brings; asked once for all who wait. A refusal is believed for
    /// `believe_refusal`.
    ///
    /// # Errors
    /// What `ask` refuses with.
    pub(super) async fn get<F>(
        &self,
        believe_refusal: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<Token, Refusal>
    where
        F: Future<Output = Result<Token, Refusal>>,
    {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token {
            if Instant::now() < token.renew_at {
                return Ok(token.clone());
            }
        }
        if let Some((since, refusal)) = &state.refused {
            if since.elapsed() < believe_refusal {
                return Err(refusal.clone());
            }
        }
        state.token = None;
        state.refused = None;
        match ask().await {
            Ok(token) => {
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(refusal) => {
                state.refused = Some((Instant::now(), refusal.clone()));
                Err(refusal)
            }
        }
    }

    /// Google refused `token`: it is not used again. One that has replaced it meanwhile stays.
    pub(super) async fn forget(&self, token: &Token) {
        let mut state = self.state.lock().await;
        if state
            .token
            .as_ref()
            .is_some_and(|current| current.text == token.text)
        {
            state.token = None;
        }
    }

    /// Asks the token endpoint, on this thread.
    ///
    /// # Errors
    /// As the endpoint answers.
    pub(super) fn ask(
        &self,
        client: &Client,
        account: &Account,
        margin: Duration,
    ) -> Result<Token, Fault> {
        let started = Instant::now();
        let answer = match account {
            Account::Service(account) => self.ask_signed(client, account)?,
            Account::User(user) => {
                let form = form(&[
                    ("grant_type", "refresh_token"),
                    ("client_id", &user.client_id),
                    ("client_secret", &user.client_secret),
                    ("refresh_token", &user.refresh_token),
                ]);
                client.post_form(&user.token_uri, &form)?.read(ANSWER)?
            }
        };
        read_token(&answer, started, margin)
    }

    fn ask_signed(&self, client: &Client, account: &ServiceAccount) -> Result<Vec<u8>, Fault> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        match post_claim(client, account, unix(SystemTime::now()) + ahead) {
            // A Pi without a battery for its clock boots in the past; the server's own time tells.
            Err(Fault::Status(status))
                if status.reason == "invalid_grant" && status.date.is_some() =>
            {
                let theirs = unix(status.date.unwrap_or(UNIX_EPOCH));
                let ahead = theirs - unix(SystemTime::now());
                log::info!(
                    "Google refused a claim by our clock, which it sees {ahead} s behind; signed again by its own"
                );
                let answer = post_claim(client, account, theirs)?;
                self.ahead.store(ahead, Ordering::Relaxed);
                Ok(answer)
            }
            other => other,
        }
    }
}

fn unix(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 4),
        Err(_) => 0,
    }
}

fn post_claim(client: &Client, account: &ServiceAccount, now: i64) -> Result<Vec<u8>, Fault> {
    let form = form(&[("grant_type", GRANT), ("assertion", &sign(account, now)?)]);
    client.post_form(&account.token_uri, &form)?.read(ANSWER)
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, FORM)))
        .collect();
    encoded.join("&")
}

/// The claims of a service account at the time `now` (Unix seconds).
fn claims(account: &ServiceAccount, now: i64) -> Value {
    let issued = now - BACK_DATED;
    json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + CLAIM_LIFE,
    })
}

/// A signed claim: a JSON Web Token with RS256 (RFC 7515, RFC 7518 section 3.3).
fn sign(account: &ServiceAccount, now: i64) -> Result<String, Fault> {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        header["kid"] = id.as_str().into();
    }
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let mut text = format!("{}.{}", part(&header), part(&claims(account, now)));
    let mut signature = vec![0; account.key.public().modulus_len()];
    account
        .key
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| {
            Fault::Refused(Refusal::new(
                Kind::Unavailable,
                "drive_credentials",
                "The service account's key cannot sign; make a new key in the Google Cloud console.",
            ))
        })?;
    text.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

/// Reads a token answer (RFC 6749 section 5.1); `expires_in` may be a string.
fn read_token(answer: &[u8], started: Instant, margin: Duration) -> Result<Token, Fault> {
    let nonsense = |what: &str| Fault::Nonsense(format!("the token endpoint's answer {what}"));
    let value: Value = serde_json::from_slice(answer).map_err(|_| nonsense("is not JSON"))?;
    let text = value["access_token"].as_str().unwrap_or_default();
    if text.is_empty() {
        // What Google answers when it does not know the scope.
        return Err(Fault::Refused(Refusal::new(
            Kind::Unavailable,
            "drive_credentials",
            "Google gave no access to Drive for rill's credentials; make them again for the scope drive.readonly.",
        )));
    }
    if text.len() > 4096 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(nonsense("holds a token that no header can carry"));
    }
    let life = &value["expires_in"];
    let life = life
        .as_u64()
        .or_else(|| life.as_str()?.parse().ok())
        .unwrap_or(3600);
    let life = Duration::from_secs(life.clamp(1, 24 * 3600));
    Ok(Token {
        text: text.into(),
        renew_at: started + life - margin.min(life / 4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const MINUTE: Duration = Duration::from_secs(60);

    fn token(text: &str, life: u64) -> Token {
        let answer =
            format!(r#"{{"access_token":"{text}","expires_in":{life},"token_type":"Bearer"}}"#);
        read_token(answer.as_bytes(), Instant::now(), MINUTE).unwrap()
    }

    #[test]
    fn a_token_is_asked_for_once_and_replaced_early() {
        smol::block_on(async {
            let tokens = Tokens::default();
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                smol::future::yield_now().await;
                Ok(token("a", 3600))
            };
            let get = || tokens.get(MINUTE, ask);
            let (one, two) = smol::future::zip(get(), get()).await;
            assert_eq!((one.unwrap().secret(), two.unwrap().secret()), ("a", "a"));
            assert_eq!(asked.get(), 1);
        });
        let left = token("a", 3600).renew_at - Instant::now();
        assert!(left <= Duration::from_secs(3540) && left > Duration::from_secs(3530));
        // A margin of a minute would make a token of a few seconds useless.
        assert!(token("a", 4).renew_at > Instant::now() + Duration::from_secs(2));
    }

    #[test]
    fn only_the_refused_token_is_forgotten() {
        smol::block_on(async {
            let tokens = Tokens::default();
            let old = tokens
                .get(MINUTE, || async { Ok(token("old", 3600)) })
                .await
                .unwrap();
            tokens.forget(&old).await;
            let new = tokens
                .get(MINUTE, || async { Ok(token("new", 3600)) })
                .await
                .unwrap();
            tokens.forget(&old).await;
            let kept = tokens
                .get(MINUTE, || async { Ok(token("third", 3600)) })
                .await
                .unwrap();
            assert_eq!((new.secret(), kept.secret()), ("new", "new"));
        });
    }

    #[test]
    fn odd_answers_are_refused_or_borne() {
        let read = |text: &str| read_token(text.as_bytes(), Instant::now(), MINUTE);
        assert!(read(r#"{"access_token":"x","expires_in":"3599"}"#).is_ok());
        assert!(read(r#"{"access_token":"x"}"#).is_ok());
        assert!(matches!(
            read(r#"{"id_token":"x"}"#),
            Err(Fault::Refused(_))
        ));
        assert!(matches!(read("<html>"), Err(Fault::Nonsense(_))));
        assert!(matches!(
            read(r#"{"access_token":"x\r\nHost: y"}"#),
            Err(Fault::Nonsense(_))
        ));
    }

    #[test]
    fn nothing_shows_a_token() {
        assert_eq!(format!("{:?}", token("secret", 9)), "Token(..)");
        assert_eq!(
            form(&[("a", "b c&d"), ("e", "urn:f")]),
            "a=b%20c%26d&e=urn%3Af"
        );
    }
}
