//! `DELETE /videos/{path}`, `/videos/{path}/delete` and `/videos/{path}/rename`: the admin's, by programs and by forms.

use http_types::Method;
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::jobs::job;
use crate::media::name::Name;
use crate::media::path::MediaPath;
use crate::media::shelf;
use crate::routes::{App, answer, login, see_other};
use crate::web::{self, figure, url};

/// The largest body that is read, in bytes: a name.
const FORM: u64 = 8 << 10;

/// `DELETE /videos/{path}`, and `POST /videos/{path}/delete` of a form.
pub(super) async fn delete(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    app.access().require_admin(request).await?;
    let (root, of) = (app.videos.root().to_owned(), path.clone());
    let gone = smol::unblock(move || shelf::remove(&root, &of)).await?;
    app.videos.changed();
    // What was being made of it is of no use any more.
    for kind in [
        job::Kind::Convert(path.clone()),
        job::Kind::Poster(path.clone()),
    ] {
        if let Some(job) = app.queue.latest(&kind).filter(|job| !job.state.is_final()) {
            if let Err(error) = app.queue.cancel(job.id).await {
                log::debug!("job {} goes on: {}", job.id, error.chain());
            }
        }
    }
    if answer::wants_page(request) {
        return Ok(see_other("/".to_owned()));
    }
    let files: Vec<Value> = gone.iter().map(|path| path.text().into()).collect();
    Ok(answer::json(
        StatusCode::Ok,
        &json!({ "status": "removed", "files": files }),
    ))
}

/// `GET /videos/{path}/delete`: asks whether it is meant. `POST` does it.
pub(super) async fn delete_page(
    app: &App,
    request: &Request,
    path: &MediaPath,
) -> Result<Response> {
    if request.method() == Method::Post {
        return delete(app, request, path).await;
    }
    if let Some(login) = ask_to_log_in(app, request, &url::delete(path)).await? {
        return Ok(login);
    }
    app.videos.open(path).await?;
    let title = figure::title(&path.name_text());
    let markup = web::delete(&title, &url::delete(path), &url::video_page(path));
    Ok(answer::page(StatusCode::Ok, markup))
}

/// `POST /videos/{path}/rename` with `name`, as a form or as JSON; `GET` asks for it.
pub(super) async fn rename(app: &App, request: &mut Request, path: &MediaPath) -> Result<Response> {
    if request.method() != Method::Post {
        if let Some(login) = ask_to_log_in(app, request, &url::rename(path)).await? {
            return Ok(login);
        }
        app.videos.open(path).await?;
        let stem = String::from_utf8_lossy(path.stem()).into_owned();
        let markup = web::rename(&stem, &url::rename(path), &url::video_page(path));
        return Ok(answer::page(StatusCode::Ok, markup));
    }
    app.access().require_admin(request).await?;
    let wanted = wanted(request).await?;
    let name = Name::in_place_of(&path.name_text(), &wanted);
    let converting = app.queue.latest(&job::Kind::Convert(path.clone()));
    if converting.is_some_and(|job| !job.state.is_final()) {
        return Err(Error::new(
            Kind::Conflict,
            "being_converted",
            "It is being converted at this moment; rename it when that is done, or cancel the job first.",
        ));
    }
    let (root, of) = (app.videos.root().to_owned(), path.clone());
    let renamed = smol::unblock(move || shelf::rename(&root, &of, &name)).await?;
    let to = renamed.first().map_or(path, |(_, to)| to);
    // Before the list is made anew, by which posters of films that are no more are removed.
    app.posters.carry(path, to).await;
    app.videos.changed();
    if answer::wants_page(request) {
        return Ok(see_other(url::video_page(to)));
    }
    let told = json!({
        "status": "renamed",
        "name": to.text(),
        "url": url::video(to),
        "watch": url::video_page(to),
    });
    Ok(answer::json(StatusCode::Ok, &told).header("content-location", url::video(to)))
}

/// The name that the body of a request asks for.
async fn wanted(request: &mut Request) -> Result<String> {
    let body = request.read_body(FORM).await?;
    let text = String::from_utf8_lossy(&body);
    let by_json = serde_json::from_str::<Value>(&text).ok();
    let name = match by_json.as_ref().and_then(|value| value["name"].as_str()) {
        Some(name) => Some(name.to_owned()),
        None => login::fields(&text)
            .find(|(key, _)| key == "name")
            .map(|(_, value)| value),
    };
    name.filter(|name| !name.trim().is_empty()).ok_or_else(|| {
        Error::new(
            Kind::BadRequest,
            "missing_name",
            "Say the new name as `name`, in a form or in JSON.",
        )
    })
}

/// Where a browser that is not the admin's is sent; refuses everybody else who is not.
async fn ask_to_log_in(app: &App, request: &Request, next: &str) -> Result<Option<Response>> {
    match app.access().require_admin(request).await {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == Kind::Unauthorized && answer::wants_page(request) => {
            let next = url::escape(next.as_bytes());
            Ok(Some(see_other(format!("/login?next={next}"))))
        }
        Err(error) => Err(error),
    }
}
