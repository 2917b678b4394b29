//! A file that is played, wherever it lies: by its Drive id, as `videos/PATH` or as `courses/PATH`.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::drive::FileId;
use crate::error::{Error, Kind, Result};
use crate::ffmpeg::probe::MediaInfo;
use crate::media::folder::Folder;
use crate::media::kind;
use crate::media::path::MediaPath;
use crate::routes::App;
use crate::web::url;

/// What a URL below `/api/video-compatible/` or `/api/playable/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file on Drive.
    Drive(FileId),
    /// A file below `library.videos`.
    Video(MediaPath),
    /// A file below `library.courses`.
    Course(MediaPath),
}

/// A file that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The type that it is served as.
    pub(super) content_type: String,
    /// Another one when its content is.
    stamp: String,
}

impl Target {
    /// The URL of its bytes, raw.
    pub fn source(&self) -> String {
        match self {
            Target::Drive(id) => url::drive_file(id),
            Target::Video(path) => url::video(path),
            Target::Course(path) => url::below("/courses/files", path),
        }
    }

    /// Its name below the API: the id, `videos/PATH` or `courses/PATH`, percent-encoded.
    pub fn reference(&self) -> String {
        match self {
            Target::Drive(id) => id.as_str().to_owned(),
            Target::Video(path) => url::below("videos", path),
            Target::Course(path) => url::below("courses", path),
        }
    }

    /// The page that plays it; courses have pages by class, not by file.
    pub fn page(&self) -> Option<String> {
        match self {
            Target::Drive(id) => Some(url::drive_page(id)),
            Target::Video(path) => Some(url::video_page(path)),
            Target::Course(_) => None,
        }
    }

    /// The URL of its compatible version.
    pub fn compatible(&self) -> String {
        format!("/api/video-compatible/{}", self.reference())
    }

    /// Where a POST starts the job that makes a version which plays everywhere; courses are left as they are.
    pub fn job(&self) -> Option<String> {
        match self {
            Target::Drive(id) => Some(format!("/api/repair/{}", id.as_str())),
            Target::Video(_) => Some(format!("/api/convert/{}", self.reference())),
            Target::Course(_) => None,
        }
    }

    /// Looks whether it is there.
    ///
    /// # Errors
    /// As a request for its bytes.
    pub(super) async fn find(&self, app: &App) -> Result<Found> {
        match self {
            Target::Drive(id) => {
                let metadata = app.drive.metadata(id).await?;
                let content = metadata.md5.clone().unwrap_or_else(|| {
                    let modified = metadata.modified_text.as_deref().unwrap_or_default();
                    format!("{} {modified}", metadata.size.unwrap_or_default())
                });
                Ok(Found {
                    content_type: metadata.mime_type.clone(),
                    stamp: content,
                })
            }
            Target::Video(path) => local(&app.videos, path).await,
            Target::Course(path) => match &app.courses {
                Some(folder) => local(folder, path).await,
                None => Err(Error::new(
                    Kind::NotFound,
                    "not_found",
                    "No folder of courses is configured; set library.courses in rill.toml.",
                )),
            },
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// As [`crate::media::prober::Prober::info`].
    pub(super) async fn info(&self, app: &App, found: &Found) -> Result<Arc<MediaInfo>> {
        let grant = || app.loopback.grant(&self.source());
        app.prober
            .info(&self.reference(), &found.stamp, grant)
            .await
    }
}

async fn local(folder: &Folder, path: &MediaPath) -> Result<Found> {
    let file = folder.open(path).await?;
    let metadata = file.metadata().map_err(|error| {
        Error::internal("The disk does not tell a file's length; check it.").because(error)
    })?;
    Ok(Found {
        content_type: kind::by_name(path.name()).to_owned(),
        // A file that was replaced within the clock's resolution has another inode.
        stamp: format!(
            "{} {}.{} {}",
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ino()
        ),
    })
}
