//! `/videos/{path}` and `/api/videos`: local files, and their list.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use serde_json::{Value, json};
use smol::lock::Mutex;

use crate::error::{Error, Kind, Result};
use crate::http::{Bytes, Entity, Request, Response};
use crate::media::folder::{Folder, Listing};
use crate::media::path::MediaPath;
use crate::media::{kind, subtitle};
use crate::routes::subtitles::Subtitles;
use crate::routes::{App, answer, index};
use crate::web::{figure, url};

/// `/api/videos` as it was last written. Sent again, with its gzip twin, until the folder changes.
#[derive(Debug, Default)]
pub struct VideosJson {
    /// Held while it is written anew, so that a crowd of readers has it written once.
    written: Mutex<Option<(Arc<Listing>, Arc<Bytes>)>>,
}

impl VideosJson {
    async fn of(&self, listing: Arc<Listing>) -> Arc<Bytes> {
        let mut written = self.written.lock().await;
        if let Some((of, bytes)) = &mut *written {
            if Arc::ptr_eq(of, &listing) || of.same_files(&listing) {
                *of = listing;
                return bytes.clone();
            }
        }
        // Thousands of files are milliseconds of writing and compressing: not on a thread that serves streams.
        let of = listing.clone();
        let bytes = smol::unblock(move || Arc::new(Bytes::new(describe(&of)))).await;
        *written = Some((listing, bytes.clone()));
        bytes
    }
}

/// A file below the folder, the list of a folder, or a `.vtt` made of the `.srt` that lies there instead.
pub(super) async fn file(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    match below(app, &app.videos, request, path).await {
        Err(error) if error.code() == "not_found" && app.videos.has_folder(path).await => {
            Ok(index::to_folder(request, Some(path)))
        }
        answer => answer,
    }
}

/// As [`file()`], below any folder.
pub(super) async fn below(
    app: &App,
    folder: &Folder,
    request: &Request,
    path: &MediaPath,
) -> Result<Response> {
    let content_type = kind::by_name(path.name());
    let entity = match folder.open_shared(path).await {
        Ok((file, metadata)) => Entity::known_file(file, &metadata, content_type),
        Err(error) if error.kind() == Kind::NotFound => match srt_beside(folder, path).await {
            Some(srt) => converted(&app.subtitles, srt).await?,
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let entity = guarded(entity, content_type);
    let entity = match super::query(request, "download") {
        Some(_) => entity.header("content-disposition", attachment(&path.name_text())),
        None => entity,
    };
    entity.respond(request).await
}

/// `GET /api/videos`
pub(super) async fn list(app: &App, request: &Request) -> Result<Response> {
    let bytes = app.videos_json.of(app.videos.list().await).await;
    Entity::bytes(bytes, answer::JSON)
        .header("cache-control", "no-cache")
        .respond(request)
        .await
}

fn describe(listing: &Listing) -> Vec<u8> {
    let videos: Vec<Value> = listing
        .items
        .iter()
        .map(|item| {
            json!({
                "name": item.path.text(),
                "bytes": item.bytes,
                "modified": figure::timestamp(item.modified),
                "type": kind::by_name(item.path.name()),
                "url": url::video(&item.path),
                "watch": url::video_page(&item.path),
            })
        })
        .collect();
    json!({ "videos": videos, "problem": listing.problem })
        .to_string()
        .into_bytes()
}

/// The SubRip file that `path`, a `.vtt` that does not exist, can be made of.
async fn srt_beside(folder: &Folder, path: &MediaPath) -> Option<Arc<File>> {
    let extension = path.name().get(path.stem().len()..)?;
    if !extension.eq_ignore_ascii_case(b".vtt") {
        return None;
    }
    for extension in ["srt", "SRT"] {
        if let Ok(file) = folder.open(&path.with_extension(extension)).await {
            return Some(file);
        }
    }
    None
}

/// A SubRip file as WebVTT.
async fn converted(subtitles: &Subtitles, srt: Arc<File>) -> Result<Entity> {
    let unreadable =
        |error| Error::internal("The subtitle file cannot be read; check the disk.").because(error);
    let told = srt.metadata().map_err(unreadable)?;
    let stamp = format!(
        "{:x}-{:x}-{:x}-{:x}.{:x}",
        told.dev(),
        told.ino(),
        told.len(),
        told.mtime(),
        told.mtime_nsec()
    );
    let read = move || {
        let mut text = Vec::new();
        (&*srt)
            .take(subtitle::LARGEST + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        Ok(text)
    };
    subtitles.entity(stamp, read).await
}

/// Keeps a file from running anything in this daemon's name.
pub(super) fn guarded(entity: Entity, content_type: &str) -> Entity {
    match kind::is_passive(content_type) {
        true => entity,
        false => entity.header("content-security-policy", answer::FILE_POLICY),
    }
}

/// `Content-Disposition` that saves under `name` (RFC 6266 section 4.3 and appendix D): in ASCII for
/// what knows no better, and whole.
pub(super) fn attachment(name: &str) -> String {
    let ascii: String = name
        .chars()
        .map(|c| match c {
            // A percent sign is decoded by some browsers, a backslash read as a folder by others.
            '"' | '\\' | '%' | '/' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
        url::escape(name.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_to_save_under() {
        assert_eq!(
            attachment("a \"b\".mp4"),
            "attachment; filename=\"a _b_.mp4\"; filename*=UTF-8''a%20%22b%22.mp4"
        );
        assert_eq!(
            attachment("é\r\nx"),
            "attachment; filename=\"___x\"; filename*=UTF-8''%C3%A9%0D%0Ax"
        );
    }
}
