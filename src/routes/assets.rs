//! `/style.css`, `/player.js`, `/upload.js`, `/favicon.ico`, `/robots.txt`: what every page or browser asks for.

use std::sync::{Arc, LazyLock};

use crate::error::Result;
use crate::http::{Body, Bytes, Entity, Request, Response, StatusCode};
use crate::web;

/// For what is named by its content: a year, and never asked again (RFC 8246).
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// For what is not: a day.
const A_DAY: &str = "public, max-age=86400";

pub(super) async fn style(request: &Request) -> Result<Response> {
    static STYLE: LazyLock<Arc<Bytes>> =
        LazyLock::new(|| Arc::new(Bytes::new(web::style::SHEET.as_bytes().to_vec())));
    // An old page's link to an older sheet gets the present one, and must not keep it under that name.
    let named = super::query(request, "v").is_some_and(|hash| hash == web::style::hash());
    let keep = if named { FOR_EVER } else { "no-cache" };
    Entity::bytes(STYLE.clone(), "text/css; charset=utf-8")
        .header("cache-control", keep)
        .respond(request)
        .await
}

pub(super) async fn player(request: &Request) -> Result<Response> {
    static SCRIPT: LazyLock<Arc<Bytes>> =
        LazyLock::new(|| Arc::new(Bytes::new(web::player::SCRIPT.as_bytes().to_vec())));
    let named = super::query(request, "v").is_some_and(|hash| hash == web::player::hash());
    let keep = if named { FOR_EVER } else { "no-cache" };
    Entity::bytes(SCRIPT.clone(), "text/javascript; charset=utf-8")
        .header("cache-control", keep)
        .respond(request)
        .await
}

pub(super) async fn upload(request: &Request) -> Result<Response> {
    static SCRIPT: LazyLock<Arc<Bytes>> =
        LazyLock::new(|| Arc::new(Bytes::new(web::upload::SCRIPT.as_bytes().to_vec())));
    let named = super::query(request, "v").is_some_and(|hash| hash == web::upload::hash());
    let keep = if named { FOR_EVER } else { "no-cache" };
    Entity::bytes(SCRIPT.clone(), "text/javascript; charset=utf-8")
        .header("cache-control", keep)
        .respond(request)
        .await
}

pub(super) async fn icon(request: &Request) -> Result<Response> {
    static ICON: LazyLock<Arc<Bytes>> = LazyLock::new(|| Arc::new(Bytes::new(web::icon::ico())));
    Entity::bytes(ICON.clone(), "image/x-icon")
        .header("cache-control", A_DAY)
        .respond(request)
        .await
}

/// A household's films are in no search engine's interest. wget obeys as well: it may copy the films, and nothing else.
const ROBOTS: &[u8] =
    b"User-agent: Wget\nAllow: /videos/\nDisallow: /\n\nUser-agent: *\nDisallow: /\n";

/// What programs that follow links by themselves may read.
pub(super) fn robots() -> Response {
    Response::new(StatusCode::Ok)
        .header("cache-control", A_DAY)
        .body("text/plain; charset=utf-8", Body::Text(ROBOTS.to_vec()))
}
