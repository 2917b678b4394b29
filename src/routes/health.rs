//! `GET /api/health`: what works, what does not, and how much is going on.
//!
//! It waits neither for Google nor for a slow disk: what is not known in time is answered as it was last known.

use std::time::Duration;

use serde_json::{Value, json};
use smol::Timer;
use smol::future::or;

use crate::http::{Response, StatusCode};
use crate::jobs::scan::ScanStatus;
use crate::routes::{App, answer, compatible, repair};
use crate::web::figure;

/// How long a look at the folder is waited for. A warm disk needs some milliseconds; a watchdog that asks here
/// must not take a slow card for a dead daemon.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) async fn health(app: &App) -> Response {
    let fresh = async { Some(app.videos.list().await) };
    let late = async {
        Timer::after(PATIENCE).await;
        app.videos.known()
    };
    let listing = or(fresh, late).await;
    let drive = app.drive.status();
    let (error, detail) = match drive.error {
        Some((code, sentence)) => (Some(code), Some(sentence)),
        None => (None, None),
    };
    let ffmpeg = app.ffmpeg.ffmpeg();
    let streams = app.drive.stats();
    let catalog = app.catalog.current();
    let connections = app.listener.stats();
    let state = app.state_problem();
    answer::json(
        StatusCode::Ok,
        &json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": app.started.elapsed().as_secs(),
            "drive": {
                "available": drive.available,
                "account": drive.account,
                "error": error,
                "detail": detail,
            },
            "ffmpeg": {
                "available": ffmpeg.available,
                "path": ffmpeg.path.map(|path| path.to_string_lossy().into_owned()),
                "version": ffmpeg.version,
                "detail": ffmpeg.error,
            },
            "videos": {
                "count": listing.as_ref().map_or(0, |listing| listing.items.len()),
                "bytes": listing.as_ref().map_or(0, |listing| listing.bytes),
                "free": listing.as_ref().and_then(|listing| listing.free),
                "path": app.videos.root().to_string_lossy(),
                "detail": match &listing {
                    Some(listing) => listing.problem.clone(),
                    None => Some("The video folder is being read for the first time.".to_owned()),
                },
            },
            "state": {
                "available": state.is_none(),
                "path": app.config.state.dir.to_string_lossy(),
                "detail": state,
            },
            "catalog": {
                "courses": catalog.index.courses.len(),
                "classes": catalog.index.classes.len(),
                "source": catalog.origin.source.word(),
                "detail": app.catalog.problem(),
                "scan": scan(&app.scan.status()),
            },
            "streams": {
                "open": streams.open,
                "buffered_bytes": streams.buffered_bytes,
                "upstream_bytes": streams.upstream_bytes,
                "client_bytes": streams.client_bytes,
                "resumed": streams.resumed,
                "refused": streams.refused,
            },
            "connections": {
                "open": connections.open,
                "refused": connections.refused,
                "sent_bytes": connections.sent,
            },
            "compatStream": compatible::health(app),
            "repair": repair::health(app),
        }),
    )
}

/// The scan, as far as it is or as it ended: of health, and of its events.
pub(super) fn scan(status: &ScanStatus) -> Value {
    json!({
        "state": status.state.word(),
        "folders": status.folders,
        "foldersKnown": status.folders_known,
        "classes": status.classes,
        "requests": status.requests,
        "failed": status.failed,
        "secondsLeft": status.seconds_left,
        "lastFinished": status.finished.map(|at| figure::timestamp(figure::seconds(at))),
        "error": status.error,
    })
}
