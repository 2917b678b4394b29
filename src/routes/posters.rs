//! `/posters/{path}.jpg`: a small picture of a film.

use crate::error::{Error, Result};
use crate::http::{Entity, Request, Response};
use crate::media::path::MediaPath;
use crate::routes::App;

/// The poster of a film; when there is none yet, one is asked for.
pub(super) async fn poster(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    let file = app.posters.open(path).await?;
    let entity = Entity::file(file, "image/jpeg").map_err(|error| {
        Error::internal("The disk does not tell a file's length; check it.").because(error)
    })?;
    // Of the film that has this name now; another day it may be another one.
    entity
        .header("cache-control", "no-cache")
        .respond(request)
        .await
}
