//! Whose progress the pages of the course library show, and under which keys it is kept.

use std::time::Duration;

use smol::future::or;

use crate::catalog::index::{Found, Index};
use crate::http::Request;
use crate::routes::App;
use crate::store::progress::{self, Profile};
use crate::web::{Mark, url};

/// How long a page waits for what was watched.
const MARKS_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a key, of which progress takes 512; one of longer names is the sum of it.
const LONGEST_KEY: usize = 400;

/// Whose progress is shown and told: `?profile=NAME`, carried from page to page.
pub(super) struct Person {
    pub(super) name: Option<String>,
}

impl Person {
    pub(super) fn of(request: &Request) -> Person {
        let name = super::query(request, "profile").filter(|name| !name.is_empty());
        Person { name }
    }

    /// A link of ours that keeps the person.
    pub(super) fn link(&self, url: &str) -> String {
        match &self.name {
            None => url.to_owned(),
            Some(name) => {
                let mark = if url.contains('?') { '&' } else { '?' };
                format!("{url}{mark}profile={}", url::escape(name.as_bytes()))
            }
        }
    }

    /// How far classes were watched, in the order of their keys. A page is shown without when nobody can say, be it for
    /// a name that is none or for a disk that fails.
    pub(super) async fn marks(&self, app: &App, keys: Vec<String>) -> Vec<Option<progress::Mark>> {
        let asked = async {
            let profile = Profile::named(self.name.as_deref().unwrap_or_default())?;
            app.progress.marks(&profile, keys).await
        };
        let late = async {
            smol::Timer::after(MARKS_PATIENCE).await;
            Ok(Vec::new())
        };
        or(asked, late).await.unwrap_or_else(|error| {
            log::debug!("a page without progress: {}", error.chain());
            Vec::new()
        })
    }
}

/// A mark as a page shows it.
pub(super) fn shown_mark(mark: Option<&progress::Mark>) -> Mark {
    match mark {
        None => Mark::None,
        Some(mark) if mark.complete => Mark::Complete,
        Some(mark) => {
            let part = match (mark.watch_time, mark.duration) {
                (Some(time), Some(duration)) if duration > 0.0 => {
                    Some((time / duration * 100.0).clamp(0.0, 100.0) as u8)
                }
                _ => None,
            };
            Mark::Begun(part)
        }
    }
}

/// The key under which the progress of a class is kept: `COURSE/MODULE/CLASS`.
///
/// COURSE is the course's public id (or its name, where neither a URL nor an id gives one), the others are slugs of
/// names, or places where a slug names nothing or several. So a lecture that is put in between moves no other's
/// position, and a course that stands in two categories is watched once.
pub(super) fn key(index: &Index, found: Found, class: usize) -> String {
    let course = &index.courses[found.course];
    let course = match index.text(course.id).is_empty() && !course.has_url() {
        true => index.text(course.name),
        false => index.text(course.public_id),
    };
    let class = &index.classes[class];
    let module = &index.modules[class.module as usize];
    let key = format!(
        "{course}/{}/{}",
        index.text(module.reference),
        index.text(class.reference)
    );
    if key.len() <= LONGEST_KEY {
        return key;
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
