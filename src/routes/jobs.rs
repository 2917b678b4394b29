//! `/api/jobs`, `/api/jobs/{n}`, `/api/convert/videos/{path}`: what is done in the background, and ending it.

use std::time::{Duration, SystemTime};

use http_types::Method;
use serde_json::{Value, json};
use smol::future::or;

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::jobs::job::{Job, JobId, Kind};
use crate::jobs::queue::{self, Queue};
use crate::jobs::scan::{ScanState, ScanStatus};
use crate::media::kind;
use crate::media::path::MediaPath;
use crate::routes::{App, answer, see_other};
use crate::web::{figure, url};

/// Jobs that are told at once, unless `?limit=` says otherwise, and at most.
pub(super) const TOLD: usize = 100;
const TOLD_AT_MOST: usize = 1_200;

/// How long the disk is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /api/jobs`: newest first.
pub(super) async fn list(app: &App, request: &Request) -> Result<Response> {
    known(app).await?;
    let limit = match super::query(request, "limit") {
        Some(text) => text.parse().map_err(|_| {
            Error::new(
                ErrorKind::BadRequest,
                "invalid_limit",
                "limit= is how many jobs are wanted, a whole number such as 20.",
            )
        })?,
        None => TOLD,
    };
    let limit = usize::min(limit, TOLD_AT_MOST);
    let jobs = describe_all(&app.queue, &app.scan.status(), limit);
    Ok(answer::json(StatusCode::Ok, &json!({ "jobs": jobs })))
}

/// Waits until the queue was read, which takes a moment after the start: a job that is not known yet is not unknown.
pub(super) async fn known(app: &App) -> Result<()> {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        Err(Error::new(
            ErrorKind::Unavailable,
            "state_unavailable",
            "The jobs have not been read from the disk yet; try again in a moment.",
        )
        .retry_after(PATIENCE))
    };
    or(app.queue.load(), late).await
}

/// The newest jobs, as they are told. The scan of courses, which is in no queue, comes before them.
pub(super) fn describe_all(queue: &Queue, scan: &ScanStatus, limit: usize) -> Vec<Value> {
    let jobs = queue.list();
    let scan = describe_scan(scan);
    let jobs = jobs.iter().map(Job::describe);
    scan.into_iter().chain(jobs).take(limit).collect()
}

/// The scan in the form of a job; `None` before this process has begun one. It has no number, for it cannot be
/// cancelled.
fn describe_scan(scan: &ScanStatus) -> Option<Value> {
    let moment = |at: SystemTime| figure::timestamp(figure::seconds(at));
    let started = scan.started.filter(|_| scan.number > 0)?;
    let running = scan.state == ScanState::Running;
    let state = match (running, &scan.error) {
        (true, _) => "running",
        (false, None) => "completed",
        (false, Some(_)) => "failed",
    };
    let done = match (running, scan.folders_known) {
        (true, 0) => 0.0,
        (true, known) => scan.folders as f64 / known as f64,
        (false, _) => 1.0,
    };
    let finished = scan.finished.filter(|_| !running);
    Some(json!({
        "id": null,
        "kind": "scan",
        "ref": "courses",
        "state": state,
        "progress": (done * 10_000.0).round() / 10_000.0,
        "speed": null,
        "secondsLeft": scan.seconds_left,
        "paused": false,
        "attempts": 1,
        "error": scan.error,
        "mode": null,
        "size": null,
        "createdAt": moment(started),
        "startedAt": moment(started),
        "finishedAt": finished.map(moment),
        "updatedAt": moment(finished.unwrap_or_else(SystemTime::now)),
        "url": "/api/health",
    }))
}

/// `GET /api/jobs/{n}`; `DELETE` cancels.
pub(super) async fn one(app: &App, request: &Request, id: JobId) -> Result<Response> {
    let job = match request.method() {
        Method::Delete => {
            app.access().require_admin(request).await?;
            app.queue.cancel(id).await?
        }
        _ => {
            known(app).await?;
            app.queue.get(id).ok_or_else(queue::no_such_job)?
        }
    };
    Ok(answer::json(StatusCode::Ok, &job.describe()))
}

/// `POST /api/convert/videos/{path}`: makes of a file what browsers play.
pub(super) async fn convert(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    app.access().require_admin(request).await?;
    let of = kind::of_name(path.name());
    if !matches!(of, kind::Kind::Video | kind::Kind::Audio) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "not_media",
            "Only films and music are converted; by its name this is neither.",
        ));
    }
    app.videos.open(path).await?;
    app.ffmpeg.ffmpeg_path()?;
    app.ffmpeg.ffprobe_path()?;
    let job = app.queue.add(Kind::Convert(path.clone())).await?;
    match answer::wants_page(request) {
        true => Ok(see_other(url::video_page(path))),
        false => Ok(accepted(&job, &job.describe())),
    }
}

/// 202: what was asked for is under way, and told at the job's address (RFC 9110 section 15.3.3).
pub(super) fn accepted(job: &Job, value: &Value) -> Response {
    answer::json(StatusCode::Accepted, value).header("location", job.url())
}
