//! `/drive/files/{id}`, `/drive/subtitles/{id}.vtt`, `/api/video-metadata/{id}`: files on Google Drive.

use serde_json::json;

use crate::drive::{FileId, Link, Metadata, Opened, ResourceKey};
use crate::error::Result;
use crate::http::{Request, Response, StatusCode};
use crate::media::subtitle;
use crate::routes::{App, answer, subtitles, videos};
use crate::web::url;

/// What Google's own documents are of. They have no bytes; what is sent of them is an export.
const GOOGLE: &str = "application/vnd.google-apps.";

/// The link that a request's URL makes of an id: with the `resourcekey` that links of files shared before September
/// 2021 have, as Google spells it.
pub(super) fn link(request: &Request, id: &FileId) -> Result<Link> {
    let key = super::query(request, "resourcekey").or_else(|| super::query(request, "resourceKey"));
    let key = key.filter(|key| !key.is_empty());
    Ok(Link {
        id: id.clone(),
        key: key.map(|key| ResourceKey::parse(&key)).transpose()?,
    })
}

/// Whether the viewer was told that Google takes the file for malware, and wants it all the same.
pub(super) fn despite_abuse(request: &Request) -> bool {
    super::query(request, "acknowledgeAbuse").is_some_and(|yes| yes == "true")
}

/// `GET /drive/files/{id}`: its bytes, or the export of a Google document.
///
/// `?acknowledgeAbuse=true` is for a file's owner who was told that Google takes it for malware, and wants it all
/// the same; nothing else ever asks Google so.
pub(super) async fn file(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    let link = link(request, id)?;
    let Opened { metadata, entity } = app.drive.open(&link, despite_abuse(request)).await?;
    // Exports are PDF, PNG and JSON, which run nothing; a sandbox would keep browsers from showing a PDF.
    let entity = match metadata.mime_type.starts_with(GOOGLE) {
        true => entity,
        false => videos::guarded(entity, &metadata.mime_type),
    };
    let entity = match super::query(request, "download") {
        Some(_) => entity.header(
            "content-disposition",
            videos::attachment(&saved_as(&metadata)),
        ),
        None => entity,
    };
    entity
        .respond(request)
        .await
        .map_err(|error| match error.code() {
            "drive_abuse" => error.with(
                answer::INSIST,
                url::with(&url::drive_file(&link), url::DESPITE_ABUSE),
            ),
            _ => error,
        })
}

/// The name to save a file under: an export's says what it is.
fn saved_as(metadata: &Metadata) -> String {
    let extension = match metadata.mime_type.strip_prefix(GOOGLE) {
        Some("document" | "spreadsheet" | "presentation") => ".pdf",
        Some("drawing") => ".png",
        Some("script") => ".json",
        _ => "",
    };
    format!("{}{extension}", metadata.name)
}

/// `GET /drive/subtitles/{id}.vtt`: a subtitle file as WebVTT, whichever of the two it is.
pub(super) async fn subtitle(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    let whole = app
        .drive
        .read(&link(request, id)?, subtitle::LARGEST)
        .await?;
    let whole = whole.ok_or_else(subtitles::too_large)?;
    let entity = app
        .subtitles
        .entity(whole.stamp, move || Ok(whole.bytes))
        .await?;
    entity.respond(request).await
}

/// `GET /api/video-metadata/{id}`. What Drive does not know is null; what it sends as text is a number here.
pub(super) async fn metadata(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    let metadata = app.drive.metadata(&link(request, id)?).await?;
    Ok(answer::json(
        StatusCode::Ok,
        &json!({
            "id": metadata.id.as_str(),
            "name": metadata.name,
            "mimeType": metadata.mime_type,
            "size": metadata.size,
            "md5Checksum": metadata.md5,
            "modifiedTime": metadata.modified_text,
            "durationMillis": metadata.duration_ms,
            "width": metadata.width,
            "height": metadata.height,
        }),
    ))
}
