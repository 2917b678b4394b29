//! The token endpoint: two grants, checked in the order in which Google's own checks them.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, EMAIL, REFRESH_TOKEN, State};

const PUBLIC_KEY: &str = include_str!("../keys/service-account.pub.pem");

/// A token that was given out.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) until: Instant,
}

/// Answers `POST /token`: status and JSON.
pub(super) fn grant(state: &mut State, form: &[(String, String)], endpoint: &str) -> (u16, Value) {
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let granted = match field("grant_type") {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            check_assertion(field("assertion"), endpoint, state.now())
        }
        "refresh_token" => check_refresh(
            field("client_id"),
            field("client_secret"),
            field("refresh_token"),
            state.refresh_revoked,
        ),
        "" => Err((
            400,
            "invalid_request",
            "Required parameter is missing: grant_type",
        )),
        _ => Err((400, "unsupported_grant_type", "Invalid grant_type: ")),
    };
    match granted {
        Ok(true) => {
            state.tokens_made += 1;
            let text = format!("ya29.test-{}-{}", state.tokens_made, std::process::id());
            let until = Instant::now() + state.token_lifetime;
            state.tokens.push(Token {
                text: text.clone(),
                until,
            });
            // Google's are good for a little longer than it says.
            let seconds = state.token_lifetime.as_secs().min(3599);
            let answer = json!({
                "access_token": text,
                "expires_in": seconds,
                "token_type": "Bearer",
            });
            (200, answer)
        }
        // A scope that Google does not know still proves who one is, and no more.
        Ok(false) => (200, json!({ "id_token": "e30.e30.e30" })),
        Err((status, error, description)) => (
            status,
            json!({ "error": error, "error_description": description }),
        ),
    }
}

type Refused = (u16, &'static str, &'static str);

/// Whether the assertion earns an access token (`true`) or only an identity.
fn check_assertion(assertion: &str, endpoint: &str, now: i64) -> Result<bool, Refused> {
    let malformed: Refused = (400, "invalid_grant", "Bad Request");
    let json_of = |part: &str| -> Result<Value, Refused> {
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed)?;
        serde_json::from_slice(&bytes).map_err(|_| malformed)
    };
    let (signed, signature) = assertion.rsplit_once('.').ok_or(malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
    let (header, claims) = (json_of(header)?, json_of(claims)?);
    if header["alg"] != "RS256" || header.get("typ").is_some_and(|typ| typ != "JWT") {
        return Err((400, "invalid_grant", "Invalid JWT: Failed to parse token."));
    }
    if claims["iss"] != EMAIL {
        return Err((400, "invalid_grant", "Invalid grant: account not found"));
    }
    let algorithm = &ring::signature::RSA_PKCS1_2048_8192_SHA256;
    ring::signature::UnparsedPublicKey::new(algorithm, public_key())
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| (400, "invalid_grant", "Invalid JWT Signature."))?;
    // A string of digits passes for a number here.
    let time = |name: &str| {
        let value = &claims[name];
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    };
    let untimely: Refused = (
        400,
        "invalid_grant",
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
         Check your iat and exp values in the JWT claim.",
    );
    let (Some(iat), Some(exp)) = (time("iat"), time("exp")) else {
        return Err(untimely);
    };
    if iat > now + 300 || exp <= now || exp > iat + 3600 {
        return Err(untimely);
    }
    let scope = claims["scope"].as_str().unwrap_or("");
    if scope.is_empty() {
        let sentence = "Invalid OAuth scope or ID token audience provided.";
        return Err((400, "invalid_scope", sentence));
    }
    // Google's own Python client names the public endpoint whatever `token_uri` says.
    let audience = claims["aud"].as_str().unwrap_or("");
    if audience != format!("{endpoint}/token") && audience != "https://oauth2.googleapis.com/token"
    {
        return Err((400, "invalid_grant", "Invalid JWT: Failed audience check."));
    }
    Ok(scope.split(' ').any(|scope| {
        let name = scope.strip_prefix("https://www.googleapis.com/auth/");
        matches!(name, Some("drive" | "drive.readonly"))
    }))
}

fn check_refresh(id: &str, secret: &str, token: &str, revoked: bool) -> Result<bool, Refused> {
    if id != CLIENT_ID {
        return Err((401, "invalid_client", "The OAuth client was not found."));
    }
    if secret != CLIENT_SECRET {
        return Err((401, "invalid_client", "Unauthorized"));
    }
    if revoked {
        return Err((400, "invalid_grant", "Token has been expired or revoked."));
    }
    if token != REFRESH_TOKEN {
        return Err((400, "invalid_grant", "Bad Request"));
    }
    Ok(true)
}

/// The account's public key, as PKCS#1.
fn public_key() -> Vec<u8> {
    let lines = PUBLIC_KEY.lines().filter(|line| !line.starts_with('-'));
    STANDARD
        .decode(lines.collect::<String>())
        .expect("the test key is PEM")
}

/// Whether a `Bearer` header names a token that still holds.
pub(super) fn holds(state: &State, authorization: &str) -> bool {
    let Some(text) = authorization.strip_prefix("Bearer ") else {
        return false;
    };
    let now = Instant::now();
    state
        .tokens
        .iter()
        .any(|token| token.text == text && token.until > now)
}

/// The lifetime Google gives.
pub(super) const LIFETIME: Duration = Duration::from_secs(3599);
