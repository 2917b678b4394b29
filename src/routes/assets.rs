//! `/style.css`, `/player.js`, `/upload.js`, `/favicon.ico`, `/robots.txt`: what every page or browser asks for.

use std::sync::{Arc, LazyLock};

use crate::error::Result;
use crate::http::{Body, Bytes, Entity, Request, Response, StatusCode};
use crate::web;
use crate::web::asset::{self, Asset};

/// For what is named by its content: a year, and never asked again (RFC 8246).
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// For what is not: a day.
const A_DAY: &str = "public, max-age=86400";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The style sheet, which the page of a failure has as well.
///
/// # Errors
/// It cannot be packed as the request asks.
pub async fn style(request: &Request) -> Result<Response> {
    static STYLE: LazyLock<Arc<Bytes>> = LazyLock::new(|| bytes(&asset::STYLE));
    named(request, &asset::STYLE, &STYLE, "text/css; charset=utf-8").await
}

pub(super) async fn player(request: &Request) -> Result<Response> {
    static SCRIPT: LazyLock<Arc<Bytes>> = LazyLock::new(|| bytes(&asset::PLAYER));
    named(request, &asset::PLAYER, &SCRIPT, JAVASCRIPT).await
}

pub(super) async fn upload(request: &Request) -> Result<Response> {
    static SCRIPT: LazyLock<Arc<Bytes>> = LazyLock::new(|| bytes(&asset::UPLOAD));
    named(request, &asset::UPLOAD, &SCRIPT, JAVASCRIPT).await
}

fn bytes(asset: &Asset) -> Arc<Bytes> {
    Arc::new(Bytes::new(asset.text.as_bytes().to_vec()))
}

/// An asset under the address that pages give it. An old page's link to an older one gets the present one, and must not
/// keep it under that name.
async fn named(
    request: &Request,
    asset: &Asset,
    bytes: &Arc<Bytes>,
    media_type: &'static str,
) -> Result<Response> {
    let present = super::query(request, "v").is_some_and(|hash| hash == asset.hash);
    let keep = if present { FOR_EVER } else { "no-cache" };
    Entity::bytes(bytes.clone(), media_type)
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
