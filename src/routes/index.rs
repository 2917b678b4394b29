//! `/videos/` and `/videos/{path}/`: what lies in a folder, as links that programs follow.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smol::lock::Mutex;

use crate::error::Result;
use crate::http::{Bytes, Entity, Request, Response, StatusCode};
use crate::media::path::MediaPath;
use crate::routes::{App, answer};
use crate::web::{self, url};

/// From so many files on a list is sent again for a while: reading each of them takes a slow card a second.
const MANY: usize = 2000;

/// How long such a list is taken for true, as a multiple of what it took to make.
const SHARE: u32 = 10;

/// Lists that are being sent. One is made at a time, and the same list is in memory once, however many read it.
#[derive(Debug, Default)]
pub struct Indexes {
    /// Held while one is made.
    made: Arc<Mutex<Made>>,
}

#[derive(Debug, Default)]
struct Made {
    sent: HashMap<Option<MediaPath>, Weak<Bytes>>,
    /// The last long list, and until when it is good.
    long: Option<(Option<MediaPath>, Arc<Bytes>, Instant)>,
}

impl Made {
    /// The long list of `path`, while it is good.
    fn long(&mut self, path: Option<&MediaPath>) -> Option<Arc<Bytes>> {
        let now = Instant::now();
        self.long = self.long.take().filter(|(_, _, until)| now < *until);
        let (of, bytes, _) = self.long.as_ref()?;
        (of.as_ref() == path).then(|| bytes.clone())
    }
}

/// The list of a folder.
pub(super) async fn folder(
    app: &App,
    request: &Request,
    path: Option<MediaPath>,
) -> Result<Response> {
    let mut made = app.indexes.made.clone().lock_arc().await;
    let bytes = match made.long(path.as_ref()) {
        Some(bytes) => bytes,
        None => {
            let folder = app.videos.clone();
            // The lock goes along: it is held to the end of the work, also when nobody waits for that any more.
            smol::unblock(move || -> Result<Arc<Bytes>> {
                let began = Instant::now();
                let contents = folder.contents(path.as_ref())?;
                let page = web::index(path.as_ref(), &contents);
                let mut bytes = Arc::new(Bytes::new(page.into_bytes()));
                made.sent.retain(|_, bytes| bytes.strong_count() > 0);
                let before = made.sent.get(&path).and_then(Weak::upgrade);
                match before.filter(|before| before.etag() == bytes.etag()) {
                    Some(before) => bytes = before,
                    None => _ = made.sent.insert(path.clone(), Arc::downgrade(&bytes)),
                }
                if contents.count() > MANY {
                    let until =
                        Instant::now() + (began.elapsed() * SHARE).min(Duration::from_secs(60));
                    made.long = Some((path, bytes.clone(), until));
                }
                Ok(bytes)
            })
            .await?
        }
    };
    Entity::bytes(bytes, answer::HTML)
        .header("cache-control", "no-cache")
        .header("content-security-policy", answer::PAGE_POLICY)
        .respond(request)
        .await
}

/// Leads from the name of a folder to its list: the links there are relative to it.
pub(super) fn to_folder(request: &Request, path: Option<&MediaPath>) -> Response {
    let query = request.query().map(|query| format!("?{query}"));
    let location = url::folder(path) + &query.unwrap_or_default();
    Response::new(StatusCode::MovedPermanently)
        .header("location", location)
        // Some day a file may be there.
        .header("cache-control", "no-store")
}
