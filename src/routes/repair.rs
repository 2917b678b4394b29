//! `/api/repair/{id}`, `/api/repair-status/{id}`, `/api/repaired/{id}`: local, mended copies of files on Drive.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::drive::FileId;
use crate::error::{Error, Kind, Result};
use crate::http::{Entity, Request, Response, StatusCode};
use crate::jobs::job::{Job, State, moment};
use crate::jobs::repair::{Copy, Standing};
use crate::routes::{App, answer, jobs, see_other, videos};
use crate::web::{figure, url};

/// The type of every copy.
pub(super) const MP4: &str = "video/mp4";

/// `POST /api/repair/{id}`: 202 when a job was added, 200 when the copy is there.
pub(super) async fn start(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    app.access().require_loopback_or_admin(request).await?;
    jobs::known(app).await?;
    let standing = app.repairs.start(id).await?;
    // The button of a page sends it; its answer is a page as well.
    if answer::wants_page(request) {
        return Ok(see_other(url::drive_page(id)));
    }
    let entry = describe(id, &standing);
    Ok(match &standing {
        Standing::UnderWay(job) => jobs::accepted(job, &entry),
        _ => answer::json(StatusCode::Ok, &entry),
    })
}

/// `GET /api/repair-status/{id}`
pub(super) async fn status(app: &App, id: &FileId) -> Result<Response> {
    jobs::known(app).await?;
    let standing = app.repairs.standing(id).await.ok_or_else(not_found)?;
    Ok(answer::json(StatusCode::Ok, &describe(id, &standing)))
}

/// `GET /api/repaired/{id}`: the copy, ranges and all.
pub(super) async fn copy(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    let copy = app.repairs.copy(id).await.ok_or_else(not_found)?;
    let entity = Entity::file(copy.file, MP4).map_err(|error| {
        Error::internal("The disk does not tell a file's length; check it.").because(error)
    })?;
    let entity = match super::query(request, "download") {
        Some(_) => {
            let name = format!("{}.mp4", id.as_str());
            entity.header("content-disposition", videos::attachment(&name))
        }
        None => entity,
    };
    entity.respond(request).await
}

/// Figures for health.
pub(super) fn health(app: &App) -> Value {
    let figures = app.repairs.figures();
    // Binary, as the seed counted: to a tenth, so that a small copy is not nothing.
    let megabytes = |bytes: u64| (bytes as f64 / 1024.0 / 102.4).round() / 10.0;
    json!({
        "totalRepairs": figures.total,
        "successfulRepairs": figures.completed,
        "failedRepairs": figures.failed,
        "inProgress": figures.running,
        "pending": figures.queued,
        "diskUsageMB": megabytes(figures.used),
        "diskLimitMB": megabytes(figures.limit),
    })
}

/// Where the mended copy of a file plays, when there is one that is as new as the file.
pub(super) async fn mended(app: &App, id: &FileId, modified: Option<SystemTime>) -> Option<String> {
    let copy = app.repairs.copy(id).await?;
    modified
        .is_none_or(|modified| modified <= copy.made)
        .then(|| address(id))
}

/// Where the copy of a file is.
fn address(id: &FileId) -> String {
    format!("/api/repaired/{}", id.as_str())
}

fn describe(id: &FileId, standing: &Standing) -> Value {
    let (status, job, copy) = match standing {
        Standing::There(copy, job) => ("completed", job.as_ref(), Some(copy)),
        Standing::UnderWay(job) if job.state == State::Running => ("in_progress", Some(job), None),
        Standing::UnderWay(job) => ("pending", Some(job), None),
        Standing::Failed(job) => ("failed", Some(job), None),
        Standing::Evicted(job) => ("evicted", Some(job), None),
    };
    let made = |copy: &Copy| figure::timestamp(figure::seconds(copy.made));
    let finished = job.and_then(|job| job.finished).map(moment);
    let progress = match status {
        "completed" => json!(1.0),
        _ => job.map_or(json!(0.0), |job| job.describe()["progress"].clone()),
    };
    let of = |wanted: bool| finished.clone().filter(|_| wanted);
    json!({
        "fileId": id.as_str(),
        "status": status,
        "progress": progress,
        "requestedAt": job.map(|job| moment(job.created)),
        "startedAt": job.and_then(|job| job.started).map(moment),
        "completedAt": copy.map(made).or_else(|| of(status == "evicted")),
        "failedAt": of(status == "failed"),
        "updatedAt": job.map(|job| moment(job.updated)).or_else(|| copy.map(made)),
        "error": job.and_then(|job| why(job, status)),
        "artifactUrl": copy.map(|_| address(id)),
        "artifactSize": copy.map(|copy| copy.bytes),
        "ffmpegMode": job.and_then(|job| job.made.mode.clone()),
        "job": job.map(Job::url),
    })
}

fn why(job: &Job, status: &str) -> Option<String> {
    match status {
        "completed" => None,
        "evicted" => {
            Some("It made room for others (limits.repaired); ask for it again.".to_owned())
        }
        "failed" if job.state == State::Cancelled => Some("It was cancelled.".to_owned()),
        _ => job.error.clone(),
    }
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "repair_not_found",
        "There is no repaired copy of this file; POST /api/repair/ID makes one.",
    )
    .with("status", "missing")
}
