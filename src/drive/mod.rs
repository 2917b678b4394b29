//! Google Drive: credentials, metadata, and files as streams that survive what the network does to them.
//!
//! The only user of ureq. It knows nothing of routes or pages; it gives [`Entity`]s and [`Metadata`].
//!
//! ```text
//! credentials  who we are            oauth    the token              tls, connector, resolver, spare  the wire
//! client       one exchange          reply    what a failure means   pacer   when to ask (again)
//! service      all of them together  shelf    answers kept           abort   ends a blocked read
//! link, metadata, folder, export     what is asked for
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
mod link;
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
mod status;
mod tls;
mod tuning;
mod upstream;

pub use changes::{Change, Changes};
pub use link::{FileId, Link, ResourceKey};
pub use listing::{Children, FOLDER, FolderKeys, Listed, Root, batch};
pub use status::{Status, StreamStats};
pub use tuning::{Lanes, Policy, Tuning};

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use smol::Timer;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::{Bytes, ETag, Entity, RangeSource};
use crate::store::blocks::Blocks;

use budget::Reservation;
use export::Form;
use keep::{Keep, Larder};
use link::{Keys, Withheld};
use metadata::Known;
use reader::Remote;
use reply::Refusal;
use service::Service;
use shelf::Shelf;
use upstream::Target;

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
    /// Its key, when it has one.
    pub key: Option<ResourceKey>,
}

impl Child {
    /// The link to it.
    pub fn link(&self) -> Link {
        Link {
            id: self.id.clone(),
            key: self.key.clone(),
        }
    }
}

/// A file that is to be sent, and what is known of it.
#[derive(Debug)]
pub struct Opened {
    /// What Drive says of it.
    pub metadata: Arc<Metadata>,
    /// Its bytes, or its export.
    pub entity: Entity,
}

/// A small file, read to its end.
#[derive(Debug)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What changes whenever they do.
    pub stamp: String,
    /// Their part of what all streams may hold.
    _room: Reservation,
}

/// What Drive says of a file whose type it does not know.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What a request has beyond its deadline to say why it failed.
const OWN_WORDS: Duration = Duration::from_millis(250);

/// A handle to Drive; clones share everything.
#[derive(Clone)]
pub struct Drive {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<Service>,
    files: Arc<Shelf<Link, Known>>,
    keys: Keys,
    /// What Google was heard to withhold as malware.
    withheld: Arc<Withheld>,
    folders: Shelf<String, Arc<Vec<Child>>>,
    /// Exports that someone is being sent now, so that several viewers share one.
    exports: Shelf<(FileId, Option<String>), Weak<Bytes>>,
    larder: Arc<Larder>,
    type_by_name: fn(&str) -> &'static str,
    /// Id of the folder that the household's films lie in, and the key that opens it.
    root: Option<String>,
    root_key: Option<ResourceKey>,
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
            keys: Keys::default(),
            withheld: Arc::default(),
            folders: Shelf::new(64, believe, refusal),
            exports: Shelf::new(16, believe, refusal),
            type_by_name,
            root: config.drive.root.clone(),
            root_key: config
                .drive
                .root_key
                .clone()
                .and_then(|key| ResourceKey::parse(&key).ok()),
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
        self.inner.keys.clear();
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
    pub async fn metadata(&self, link: impl Into<Link>) -> Result<Arc<Metadata>> {
        let known = self.known(link.into(), Instant::now());
        Ok(known.await?.file)
    }

    /// What is known of a file, or is asked now; answered within the patience of its lane from `begun` on, whoever
    /// else asks for it, too.
    async fn known(&self, link: Link, begun: Instant) -> Result<Known, Refusal> {
        let inner = &self.inner;
        // What the shelf knows is not given to those whose credentials are gone.
        inner.service.session()?;
        let until = begun + inner.service.pacer.policy(pacer::Lane::Metadata).deadline;
        let link = inner.keys.complete(link);
        let ask = || metadata::ask(&inner.service, &link, inner.type_by_name, until);
        let known = inner.files.get(&link, ask);
        // Another may be asking on our behalf, and have begun later; a request of our own says more when it ends.
        let late = async {
            Timer::at(until + OWN_WORDS).await;
            Err(reply::judge_silence())
        };
        let known = smol::future::or(known, late).await?;
        // The file of a shortcut may be asked for by its own id next.
        inner.keys.learn(&link);
        inner.keys.learn(&known.link());
        Ok(known)
    }

    /// The file as something to send: bytes by range, or the export of a Google document. Its first bytes, or a
    /// refusal, come within [`Tuning::opening`].
    ///
    /// `despite_abuse` is for a viewer who was told that Google takes the file for malware and wants it all the same;
    /// Google grants that to the file's owner alone.
    ///
    /// # Errors
    /// As [`Drive::metadata`]; `drive_not_downloadable` (415) for a folder or a document without an export.
    pub async fn open(&self, link: impl Into<Link>, despite_abuse: bool) -> Result<Opened> {
        let (link, begun) = (link.into(), Instant::now());
        let known = self.known(link.clone(), begun).await?;
        let metadata = known.file.clone();
        let entity = match export::form(&metadata) {
            Form::Bytes(size) => {
                let source = self.source(link, known, size, begun, despite_abuse);
                Entity::remote(
                    Arc::new(source),
                    size,
                    etag(&metadata),
                    metadata.modified,
                    &metadata.mime_type,
                )
            }
            Form::Export(to) => Entity::bytes(self.export(&known, to).await?, to),
            Form::Nothing => return Err(export::nothing(&metadata).into()),
        };
        Ok(Opened { metadata, entity })
    }

    /// The whole of a small file; `None` when it has more bytes than `most`.
    ///
    /// # Errors
    /// As [`Drive::open`]; `drive_not_downloadable` (415) also for a document that could only be exported; `busy` (503)
    /// when there is no memory for it.
    pub async fn read(&self, link: impl Into<Link>, most: u64) -> Result<Option<Whole>> {
        let (link, begun) = (link.into(), Instant::now());
        let known = self.known(link.clone(), begun).await?;
        let size = match export::form(&known.file) {
            Form::Bytes(size) if size > most => return Ok(None),
            Form::Bytes(size) => size,
            Form::Export(_) | Form::Nothing => return Err(export::nothing(&known.file).into()),
        };
        let room = self.inner.service.budget.reserve(size)?;
        let stamp = tag(&known.file);
        let source = self.source(link, known, size, begun, false);
        let mut stream = source.open(0..size).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let cut = |error: io::Error| {
            let sentence = "Google Drive broke off; try again.";
            Error::new(Kind::BadGateway, "drive_cut", sentence).because(error)
        };
        while let Some(chunk) = stream.next().await.map_err(cut)? {
            bytes.extend_from_slice((*chunk).as_ref());
        }
        Ok(Some(Whole {
            bytes,
            stamp,
            _room: room,
        }))
    }

    /// Whether Google was heard to withhold the file as malware or spam.
    pub fn is_withheld(&self, id: &FileId) -> bool {
        self.inner.withheld.has(id)
    }

    fn source(
        &self,
        link: Link,
        known: Known,
        size: u64,
        begun: Instant,
        acknowledge_abuse: bool,
    ) -> Remote {
        let inner = &self.inner;
        let link = inner.keys.complete(link);
        let (files, withheld) = (Arc::downgrade(&inner.files), inner.withheld.clone());
        let id = known.file.id.clone();
        let on_refusal = Box::new(move |refusal: &Refusal| match refusal.code {
            "drive_changed" => {
                if let Some(files) = files.upgrade() {
                    files.forget(&link);
                }
            }
            "drive_abuse" => withheld.learn(&id),
            _ => {}
        });
        let keep = Keep::of(&inner.larder, &known.file, &tag(&known.file), size)
            // What Google withholds is shown once, to the one who asked for it.
            .filter(|_| !acknowledge_abuse);
        let file = Arc::new(Target {
            known,
            size,
            acknowledge_abuse,
            on_refusal,
            keep,
        });
        Remote {
            service: inner.service.clone(),
            file,
            first_by: Mutex::new(Some(begun + inner.service.tuning.opening)),
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
