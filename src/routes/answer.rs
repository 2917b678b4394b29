//! How an answer is written: JSON, pages, and every failure as one or the other; and what is logged of it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{Error, Kind};
use crate::http::{Body, Request, Response, StatusCode};
use crate::routes::Route;
use crate::web;

/// The type of every JSON answer.
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// The type of every page.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// What a page may do: show pictures, media and the style sheet of this daemon, and send forms to it. It
/// has no script.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A failure may stand in a frame of a page of ours: of a summary that Drive does not give, its sentence shows there.
const FAILURE_POLICY: &str =
    "default-src 'none'; style-src 'self'; frame-ancestors 'self'; base-uri 'none'";

/// What a page with a script may do beside: run this daemon's own, talk to this daemon, and show files of it in a
/// frame, where [`FILE_POLICY`] holds.
const PLAYER_POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; \
     script-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a file that might run something may do when it is shown by itself: nothing, as nobody (an origin of
/// its own, so that it is a stranger to this daemon's pages and cookies).
pub(super) const FILE_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; \
     img-src data:; media-src data:";

/// The field of an error that names the address to go to for who wants it all the same; a page makes a button of it.
pub(super) const INSIST: &str = "insist";

/// The most of a path that is logged, in bytes.
const LOGGED: usize = 300;

/// JSON that is never kept by a cache.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    Response::new(status)
        .header("cache-control", "no-store")
        .body(JSON, Body::Text(value.to_string().into_bytes()))
}

/// A page. It may hold what changes at any time, so caches ask each time.
pub(super) fn page(status: StatusCode, markup: String) -> Response {
    of_policy(status, PAGE_POLICY, markup)
}

fn of_policy(status: StatusCode, policy: &'static str, markup: String) -> Response {
    Response::new(status)
        .header("cache-control", "no-store")
        .header("content-security-policy", policy)
        .body(HTML, Body::Text(markup.into_bytes()))
}

/// A page with a script of ours: one with a player, and the script that remembers how far it played; or one that sends
/// files.
pub(super) fn player_page(markup: String) -> Response {
    of_policy(StatusCode::Ok, PLAYER_POLICY, markup)
}

/// A failure as an answer: JSON, or a plain page where the request is a browser's navigation.
pub fn error_response(request: Option<&Request>, error: &Error) -> Response {
    let code = error.kind().status();
    let status = StatusCode::try_from(code).unwrap_or(match error.kind() {
        Kind::Checksum => StatusCode::BadRequest,
        _ => StatusCode::InternalServerError,
    });
    let mut response = if request.is_some_and(wants_page) {
        let way = match error.kind() {
            Kind::Unauthorized => Some(("Log in", "/login")),
            _ => insist(error).map(|url| ("Open it all the same", url)),
        };
        let markup = web::failure(code, status.canonical_reason(), error.sentence(), way);
        of_policy(status, FAILURE_POLICY, markup)
    } else {
        let mut fields = Map::new();
        fields.insert("error".to_owned(), error.code().into());
        fields.insert("detail".to_owned(), error.sentence().into());
        for (name, value) in error.fields() {
            fields.insert((*name).to_owned(), value.clone());
        }
        json(status, &Value::Object(fields))
    };
    if error.kind() == Kind::Checksum {
        response = response.spoken(code, "Checksum Mismatch");
    }
    if error.kind() == Kind::Unauthorized {
        // RFC 9110 section 11.6.1: a 401 says how to authenticate.
        response = response.header("www-authenticate", "Bearer realm=\"rill\"");
    }
    if let Some(delay) = error.retry_delay() {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response = response.header("retry-after", seconds.to_string());
    }
    response
}

/// Where the field [`INSIST`] leads.
fn insist(error: &Error) -> Option<&str> {
    let field = error.fields().iter().find(|(name, _)| *name == INSIST)?;
    field.1.as_str()
}

/// 405, with the methods that would do (RFC 9110 section 15.5.6).
pub(super) fn method_not_allowed(request: &Request, route: &Route) -> Response {
    let allow = route.allow();
    let error = Error::new(
        Kind::MethodNotAllowed,
        "method_not_allowed",
        format!(
            "{} does nothing here; this address takes {allow}.",
            request.method()
        ),
    );
    error_response(Some(request), &error).header("allow", allow)
}

/// Whether the client would rather have a page than JSON.
pub(super) fn wants_page(request: &Request) -> bool {
    request.header("accept").is_some_and(prefers_page)
}

/// Reads `Accept` (RFC 9110 section 12.5.1): `text/html` is named, and not below JSON. A bare `*/*`, as
/// curl and media elements send, asks for no page.
fn prefers_page(accept: &str) -> bool {
    let weight = |wanted: &str| {
        accept.split(',').take(32).find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            if !parts.next()?.eq_ignore_ascii_case(wanted) {
                return None;
            }
            let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            Some(q.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0)))
        })
    };
    let html = weight("text/html")
        .or(weight("application/xhtml+xml"))
        .unwrap_or(0.0);
    html > 0.0 && html >= weight("application/json").unwrap_or(0.0)
}

/// One line for each answer. The query is left out: it may hold what is nobody's business.
pub(super) fn log(request: &Request, response: &Response, error: Option<&Error>, took: Duration) {
    let status = u16::from(response.status());
    // What is full or missing says so in its own place; a line for each client would drown it.
    let level = if status >= 500 && !matches!(status, 503 | 507) {
        log::Level::Warn
    } else {
        log::Level::Debug
    };
    if !log::log_enabled!(level) {
        return;
    }
    let path = request.path();
    let path = path.get(..LOGGED).unwrap_or(path);
    let mut line = format!("{} {path} {status}", request.method());
    match response.body.len() {
        Some(bytes) => _ = write!(line, " {bytes} bytes"),
        None => line.push_str(" streamed"),
    }
    let _ = write!(
        line,
        " {} ms {}",
        took.as_millis(),
        request.peer().address.ip()
    );
    if let Some(error) = error {
        let _ = write!(line, " ({}: {})", error.code(), error.chain());
    }
    log::log!(level, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_page() {
        for (accept, page) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("application/json, text/html;q=0.5", false),
            ("application/json;q=0.5, text/html", true),
            ("application/json", false),
            ("*/*", false),
            ("", false),
            ("text/html;q=0", false),
            ("text/html;q=nonsense", false),
        ] {
            assert_eq!(prefers_page(accept), page, "{accept}");
        }
    }

    #[test]
    fn a_failure_says_code_remedy_and_when() {
        let error = Error::new(Kind::Unavailable, "busy", "Full.")
            .with("retry_at", "soon")
            .retry_after(Duration::from_millis(1500));
        let response = error_response(None, &error);
        assert_eq!(u16::from(response.status()), 503);
        let header = |name| {
            response
                .headers
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(header("retry-after"), Some("2"));
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(header("content-type"), Some(JSON));
        let Body::Text(body) = &response.body else {
            panic!("no text")
        };
        let want = r#"{"error":"busy","detail":"Full.","retry_at":"soon"}"#;
        assert_eq!(std::str::from_utf8(body).unwrap(), want);
    }
}
