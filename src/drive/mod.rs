//! Google Drive: credentials, metadata, and files as streams that survive what the network does to them.
//!
//! The only user of ureq. It knows nothing of routes or pages; it gives [`Entity`]s and [`Metadata`].
//!
//! ```text
//! credentials  who we are            oauth    the token              tls, connector, resolver, spare  the wire
//! client       one exchange          reply    what a failure means   pacer   when to ask (again)
//! service      all of them together  shelf    answers kept           abort   ends a blocked read
//! metadata, folder, export           what is asked for
//! listing, changes                   what a scan asks for
//! reader       a file as a stream    upstream one range of it        plan, budget  how large, how many
//! keep         its ends on the disk   patience how long a request is tried
//! ```
//!
//! Lock order, where one is held across another: `abort` before `connector`'s socket; a lease's pieces
//! before the budget. No lock is held around an exchange but the ones that make others wait for its answer (the token,
//! a place on a shelf).

mod abort;
mod budget;
mod changes;
mod client;
mod connector;
mod credentials;
mod export;
mod folder;
mod keep;
mod listing;
mod metadata;
mod moment;
mod oauth;
mod pacer;
mod patience;
mod plan;
mod reader;
mod reply;
mod resolver;
mod service;
mod shelf;
mod spare;
mod tls;
mod tuning;
mod upstream;

pub use changes::{Change, Changes};
pub use listing::{Children, FOLDER, Listed, Root, batch};
pub use tuning::{Lanes, Policy, Tuning};

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::{Bytes, ETag, Entity};
use crate::store::blocks::Blocks;

use export::Form;
use keep::{Keep, Larder};
use metadata::Known;
use reader::Remote;
use reply::Refusal;
use service::Service;
use shelf::Shelf;
use upstream::Target;

/// An id as Drive makes them: `[A-Za-z0-9_-]{10,}`, 128 at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(String);

impl FileId {
    /// Reads an id.
    ///
    /// # Errors
    /// `invalid_file_id` (400) for anything else.
    pub fn parse(text: &str) -> Result<FileId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (10..=128).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(FileId(text.to_owned()));
        }
        Err(Error::new(
            Kind::BadRequest,
            "invalid_file_id",
            "That is not the id of a Drive file; it is the part of its link between /d/ and the next slash.",
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What Drive says of a file.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Id of the file itself (a shortcut's target).
    pub id: FileId,
    /// Its name.
    pub name: String,
    /// Its type as Drive says; by name where Drive says `application/octet-stream`.
    pub mime_type: String,
    /// Length in bytes; folders and Google's own documents have none.
    pub size: Option<u64>,
    /// MD5 of the content, in hex.
    pub md5: Option<String>,
    /// Last change.
    pub modified: Option<SystemTime>,
    /// `modifiedTime` as Drive wrote it.
    pub modified_text: Option<String>,
    /// Milliseconds, where Drive has looked into the video.
    pub duration_ms: Option<u64>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Folder it lies in, where Drive says so.
    pub parent: Option<String>,
}

/// A file in a folder on Drive.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its id.
    pub id: FileId,
    /// Its name.
    pub name: String,
    /// Its type as Drive says, or by name where Drive does not know.
    pub mime_type: String,
}

/// What the Drive part says of itself. Never asks Google.
#[derive(Clone, Debug)]
pub struct Status {
    /// Credentials are there, and the last exchange with Google (if any) did not fail for good.
    pub available: bool,
    /// E-mail of the service account, once known.
    pub account: Option<String>,
    /// Code and sentence of what is wrong.
    pub error: Option<(&'static str, String)>,
}

/// Counters for health.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamStats {
    /// Streams open now.
    pub open: u64,
    /// Bytes held in their buffers now.
    pub buffered_bytes: u64,
    /// Bytes read from Drive since the start.
    pub upstream_bytes: u64,
    /// Bytes taken by clients since the start.
    pub client_bytes: u64,
    /// Times an upstream read was opened again at its offset.
    pub resumed: u64,
    /// Streams refused for lack of buffers.
    pub refused: u64,
}

/// What Drive says of a file whose type it does not know.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A handle to Drive; clones share everything.
#[derive(Clone)]
pub struct Drive {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<Service>,
    files: Arc<Shelf<FileId, Known>>,
    folders: Shelf<String, Arc<Vec<Child>>>,
    /// Exports that someone is being sent now, so that several viewers share one.
    exports: Shelf<(FileId, Option<String>), Weak<Bytes>>,
    larder: Arc<Larder>,
    type_by_name: fn(&str) -> &'static str,
    /// Id of the folder that the household's films lie in.
    root: Option<String>,
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Drive")
    }
}

impl Drive {
    /// Reads what is configured. Missing or broken credentials are a [`Status`], not an error. Asks
    /// nothing of the network. `type_by_name` gives the media type of a file name, for what Drive calls
    /// `application/octet-stream`.
    pub fn new(config: &Config, type_by_name: fn(&str) -> &'static str) -> Drive {
        Drive::with_tuning(config, type_by_name, Tuning::default())
    }

    /// As [`Drive::new`], with other limits and times.
    pub fn with_tuning(
        config: &Config,
        type_by_name: fn(&str) -> &'static str,
        tuning: Tuning,
    ) -> Drive {
        let (entries, believe, refusal) = (tuning.entries, tuning.believe, tuning.believe_refusal);
        let folder = config.state.cache.join("blocks");
        let blocks = Blocks::new(&folder, tuning.blocks, config.limits.free_space);
        let inner = Inner {
            larder: Arc::new(Larder::new(blocks)),
            files: Arc::new(Shelf::new(entries, believe, refusal)),
            folders: Shelf::new(64, believe, refusal),
            exports: Shelf::new(16, believe, refusal),
            type_by_name,
            root: config.drive.root.clone(),
            service: Arc::new(Service::new(config, tuning)),
        };
        Drive {
            inner: Arc::new(inner),
        }
    }

    /// What to say in health and on pages; never blocks on the network. A credentials file that has appeared or
    /// changed is noticed here, too.
    pub fn status(&self) -> Status {
        let (trouble, account) = self.inner.service.health();
        Status {
            available: trouble.is_none(),
            account,
            error: trouble.map(|refusal| (refusal.code, refusal.sentence)),
        }
    }

    /// Counters, for health.
    pub fn stats(&self) -> StreamStats {
        let counters = &self.inner.service.counters;
        let (open, buffered_bytes) = self.inner.service.budget.usage();
        StreamStats {
            open,
            buffered_bytes,
            upstream_bytes: counters.upstream_bytes.load(Ordering::Relaxed),
            client_bytes: counters.client_bytes.load(Ordering::Relaxed),
            resumed: counters.resumed.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
        }
    }

    /// Reads the credentials again (SIGHUP) and forgets what was learnt with the old ones. Streams that are open
    /// go on.
    pub fn reload(&self) {
        self.inner.service.reload();
        self.inner.files.clear();
        self.inner.folders.clear();
        self.inner.exports.clear();
    }

    /// Gets a token and asks `about` for the user, for `rill check`: the account it speaks for.
    ///
    /// # Errors
    /// Whatever Drive refuses with.
    pub async fn check(&self) -> Result<String> {
        let service = &self.inner.service;
        let ask = client::Ask {
            url: format!(
                "{}/drive/v3/about?fields=user(emailAddress)",
                service.endpoint
            ),
            ..client::Ask::default()
        };
        let about = service
            .insist(
                pacer::Lane::Metadata,
                pacer::Cost::Get,
                &ask,
                metadata::read_json,
            )
            .await?;
        let email = about["user"]["emailAddress"]
            .as_str()
            .unwrap_or("an account without an address");
        service.learn_account(email);
        Ok(email.to_owned())
    }

    /// Metadata of a file, cached, asked once for concurrent callers; a shortcut's target's.
    ///
    /// # Errors
    /// `drive_not_configured`, and Drive's refusals as the README lists them.
    pub async fn metadata(&self, id: &FileId) -> Result<Arc<Metadata>> {
        Ok(self.known(id).await?.file)
    }

    async fn known(&self, id: &FileId) -> Result<Known, Refusal> {
        let inner = &self.inner;
        // What the shelf knows is not given to those whose credentials are gone.
        inner.service.session()?;
        let ask = || metadata::ask(&inner.service, id, inner.type_by_name);
        inner.files.get(id, ask).await
    }

    /// The file as something to send: bytes by range, or the export of a Google document.
    ///
    /// # Errors
    /// As [`Drive::metadata`]; `drive_not_downloadable` (415) for a folder or a document without an export.
    pub async fn entity(&self, id: &FileId) -> Result<Entity> {
        self.entity_of(id, false).await
    }

    /// As [`Drive::entity`], for a viewer who was told that Google takes the file for malware and wants it all the
    /// same. Google grants that to the file's owner alone.
    ///
    /// # Errors
    /// As [`Drive::entity`].
    pub async fn entity_despite_abuse(&self, id: &FileId) -> Result<Entity> {
        self.entity_of(id, true).await
    }

    async fn entity_of(&self, id: &FileId, acknowledge_abuse: bool) -> Result<Entity> {
        let known = self.known(id).await?;
        let file = known.file.clone();
        match export::form(&file) {
            Form::Bytes(size) => {
                let source = self.source(id, known, size, acknowledge_abuse);
                Ok(Entity::remote(
                    Arc::new(source),
                    size,
                    etag(&file),
                    file.modified,
                    &file.mime_type,
                ))
            }
            Form::Export(to) => Ok(Entity::bytes(self.export(&known, to).await?, to)),
            Form::Nothing => Err(export::nothing(&file).into()),
        }
    }

    fn source(&self, id: &FileId, known: Known, size: u64, acknowledge_abuse: bool) -> Remote {
        let (files, id) = (Arc::downgrade(&self.inner.files), id.clone());
        let on_change = Box::new(move || {
            if let Some(files) = files.upgrade() {
                files.forget(&id);
            }
        });
        let keep = Keep::of(&self.inner.larder, &known.file, &tag(&known.file), size)
            // What Google withholds is shown once, to the one who asked for it.
            .filter(|_| !acknowledge_abuse);
        let file = Arc::new(Target {
            known,
            size,
            acknowledge_abuse,
            on_change,
            keep,
        });
        Remote {
            service: self.inner.service.clone(),
            file,
        }
    }

    /// A document's export; one that is being sent to somebody is shared.
    async fn export(&self, known: &Known, to: &'static str) -> Result<Arc<Bytes>, Refusal> {
        let key = (known.file.id.clone(), known.file.modified_text.clone());
        // Keeps the bytes alive between the shelf, which does not, and us.
        let made: Mutex<Option<Arc<Bytes>>> = Mutex::new(None);
        for _ in 0..2 {
            let ask = || async {
                let bytes = export::fetch(&self.inner.service, known, to).await?;
                let bytes = Arc::new(Bytes::new(bytes));
                *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.clone());
                Ok(Arc::downgrade(&bytes))
            };
            if let Some(bytes) = self.inner.exports.get(&key, ask).await?.upgrade() {
                return Ok(bytes);
            }
            self.inner.exports.forget(&key);
        }
        Err(reply::judge_silence())
    }

    /// Subtitles that lie beside a video and begin with its name; empty when its folder is unknown.
    ///
    /// # Errors
    /// As [`Drive::metadata`].
    pub async fn tracks(&self, video: &Metadata) -> Result<Vec<Child>> {
        let Some(folder) = &video.parent else {
            return Ok(Vec::new());
        };
        let belongs = |child: &&Child| {
            folder::is_subtitle(&child.name) && folder::belongs(&child.name, &video.name)
        };
        let beside = self.in_folder(folder).await?;
        Ok(beside.iter().filter(belongs).cloned().collect())
    }

    /// Videos and music that lie in the configured root folder itself, by name; empty without one.
    ///
    /// # Errors
    /// As [`Drive::metadata`].
    pub async fn films(&self) -> Result<Vec<Child>> {
        let Some(root) = &self.inner.root else {
            return Ok(Vec::new());
        };
        let children = self.in_folder(root).await?;
        let films = children.iter().filter_map(|child| {
            let mut child = child.clone();
            if child.mime_type == UNKNOWN_TYPE {
                child.mime_type = (self.inner.type_by_name)(&child.name).to_owned();
            }
            let plays = ["video/", "audio/"];
            plays
                .iter()
                .any(|kind| child.mime_type.starts_with(kind))
                .then_some(child)
        });
        Ok(films.collect())
    }

    async fn in_folder(&self, folder: &String) -> Result<Arc<Vec<Child>>, Refusal> {
        let inner = &self.inner;
        inner.service.session()?;
        let ask = || async { folder::list(&inner.service, folder).await.map(Arc::new) };
        inner.folders.get(folder, ask).await
    }
}

/// Drive sends no tag, so one is made of what identifies the bytes: their sum, else what changes with them.
fn tag(file: &Metadata) -> String {
    match &file.md5 {
        Some(md5) => md5.clone(),
        None => {
            let size = file.size.unwrap_or_default();
            let modified = file.modified_text.as_deref().unwrap_or_default();
            format!("{}-{size}-{modified}", file.id.as_str())
        }
    }
}

fn etag(file: &Metadata) -> ETag {
    ETag::strong(&tag(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_drive_makes() {
        for (text, good) in [
            ("1A2b3C4d5E", true),
            ("1A2b3C4d5_-", true),
            ("short", false),
            ("123456789/", false),
            ("..........", false),
            ("123456789\u{e9}0", false),
            ("", false),
        ] {
            assert_eq!(FileId::parse(text).is_ok(), good, "{text}");
        }
        assert!(FileId::parse(&"a".repeat(128)).is_ok());
        assert!(FileId::parse(&"a".repeat(129)).is_err());
    }
}
