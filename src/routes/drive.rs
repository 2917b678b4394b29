//! `/drive/files/{id}`, `/drive/subtitles/{id}.vtt`, `/api/video-metadata/{id}`: files on Google Drive.

use std::sync::Arc;

use serde_json::json;

use crate::drive::{FileId, Metadata};
use crate::error::{Error, Kind, Result};
use crate::http::{Body, Entity, Request, Response, StatusCode};
use crate::media::subtitle;
use crate::routes::{App, answer, videos};

/// What Google's own documents are of. They have no bytes; what is sent of them is an export.
const GOOGLE: &str = "application/vnd.google-apps.";

/// `GET /drive/files/{id}`: its bytes, or the export of a Google document.
///
/// `?acknowledgeAbuse=true` is for a file's owner who was told that Google takes it for malware, and wants it all
/// the same; nothing else ever asks Google so.
pub(super) async fn file(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    let despite_abuse = super::query(request, "acknowledgeAbuse").is_some_and(|yes| yes == "true");
    let entity = match despite_abuse {
        true => app.drive.entity_despite_abuse(id).await?,
        false => app.drive.entity(id).await?,
    };
    // Known by now: the entity was made of it, so this asks Google nothing.
    let metadata = app.drive.metadata(id).await?;
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
    entity.respond(request).await
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
    let metadata = app.drive.metadata(id).await?;
    if metadata.size.is_some_and(|size| size > subtitle::LARGEST) {
        return Err(too_large());
    }
    let text = whole(app, &metadata).await?;
    let bytes = smol::unblock(
        move || match text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text) {
            vtt if vtt.starts_with(b"WEBVTT") => Ok(crate::http::Bytes::new(text)),
            _ => videos::vtt(&text),
        },
    )
    .await?;
    Entity::bytes(Arc::new(bytes), videos::VTT)
        .respond(request)
        .await
}

/// `GET /api/video-metadata/{id}`. What Drive does not know is null; what it sends as text is a number here.
pub(super) async fn metadata(app: &App, id: &FileId) -> Result<Response> {
    let metadata = app.drive.metadata(id).await?;
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

/// The whole of a small file.
async fn whole(app: &App, metadata: &Metadata) -> Result<Vec<u8>> {
    let entity = app.drive.entity(&metadata.id).await?;
    let everything = Request::for_test(http_types::Method::Get, "/", &[]);
    let response = entity.respond(&everything).await?;
    let broken = |error: std::io::Error| {
        Error::new(
            Kind::BadGateway,
            "drive_cut",
            "Google Drive broke off; try again.",
        )
        .because(error)
    };
    match response.body {
        Body::Stream(mut stream, _) => {
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.next().await.map_err(broken)? {
                bytes.extend_from_slice((*chunk).as_ref());
                if bytes.len() as u64 > subtitle::LARGEST {
                    return Err(too_large());
                }
            }
            Ok(bytes)
        }
        Body::Text(bytes) => Ok(bytes),
        _ => Ok(Vec::new()),
    }
}

fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "subtitle_too_large",
        "Subtitles above 10 MiB are not converted; this file is probably none.",
    )
}
