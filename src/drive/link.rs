//! How a file on Drive is named: by its id, and by the key that some links carry beside it.
//!
//! Both end up in URLs and headers that Google is sent, so both are read into types that can hold nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::Drive;
use crate::error::{Error, Kind, Result};

/// Keys that are remembered; one is a hundred bytes.
const KEYS: usize = 1024;

/// An id as Drive makes them: `[A-Za-z0-9_-]{10,}`, 128 at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(String);

impl FileId {
    /// Reads an id.
    ///
    /// # Errors
    /// `invalid_file_id` (400) for anything else.
    pub fn parse(text: &str) -> Result<FileId> {
        if text.len() >= 10 && is_plain(text) {
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

/// The key in the links of files that were shared by link before September 2021: what Google calls a resource key.
/// `[A-Za-z0-9_-]`, 128 at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceKey(String);

impl ResourceKey {
    /// Reads a key.
    ///
    /// # Errors
    /// `invalid_resource_key` (400) for anything else.
    pub fn parse(text: &str) -> Result<ResourceKey> {
        if !text.is_empty() && is_plain(text) {
            return Ok(ResourceKey(text.to_owned()));
        }
        Err(Error::new(
            Kind::BadRequest,
            "invalid_resource_key",
            "That is not the resource key of a Drive file; it is what follows resourcekey= in its link.",
        ))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the header `X-Goog-Drive-Resource-Keys` says of the file `id` that this key opens: `ID/KEY`. Several are
    /// joined by commas.
    pub(super) fn header(&self, id: &str) -> String {
        format!("{id}/{}", self.0)
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() <= 128 && text.bytes().all(plain)
}

/// A file as a link names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its id.
    pub id: FileId,
    /// Its key, when the link has one.
    pub key: Option<ResourceKey>,
}

impl From<&FileId> for Link {
    fn from(id: &FileId) -> Link {
        Link {
            id: id.clone(),
            key: None,
        }
    }
}

impl From<&Link> for Link {
    fn from(link: &Link) -> Link {
        link.clone()
    }
}

/// Whom to ask for the key of a file.
pub(super) type Whose = Box<dyn Fn(&FileId) -> Option<ResourceKey> + Send + Sync>;

/// The keys that opened a file once, for those who come back with its id alone.
#[derive(Default)]
pub(super) struct Keys {
    known: Mutex<Known>,
    /// Who knows keys beyond these.
    whose: OnceLock<Whose>,
}

#[derive(Debug, Default)]
struct Known {
    /// Grows with each key that is learnt.
    clock: u64,
    /// Keys, and when they were learnt.
    keys: HashMap<FileId, (u64, ResourceKey)>,
}

impl Keys {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Plain data, whole after every call.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(&self, whose: Whose) {
        let _ = self.whose.set(whose);
    }

    /// The link with the key that its file is known to ask for.
    pub(super) fn complete(&self, link: Link) -> Link {
        let known = || Some(self.known().keys.get(&link.id)?.1.clone());
        let elsewhere = || self.whose.get()?(&link.id);
        Link {
            key: link.key.clone().or_else(known).or_else(elsewhere),
            id: link.id,
        }
    }

    /// The link led to its file.
    pub(super) fn learn(&self, link: &Link) {
        let Some(key) = &link.key else { return };
        let mut known = self.known();
        known.clock += 1;
        let now = known.clock;
        if known.keys.len() >= KEYS && !known.keys.contains_key(&link.id) {
            let oldest = known.keys.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                known.keys.remove(&oldest);
            }
        }
        known.keys.insert(link.id.clone(), (now, key.clone()));
    }

    /// All are forgotten.
    pub(super) fn clear(&self) {
        self.known().keys.clear();
    }
}

impl Drive {
    /// Asks `whose` for the key of a file that nobody gave one for: the catalog knows those that a scan has met. The
    /// first one asked stays.
    pub fn ask_for_keys(
        &self,
        whose: impl Fn(&FileId) -> Option<ResourceKey> + Send + Sync + 'static,
    ) {
        self.inner.keys.ask(Box::new(whose));
    }
}

/// Files that Google was heard to withhold; the pages of those offer a way past it.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    ids: Mutex<HashSet<FileId>>,
}

impl Withheld {
    fn ids(&self) -> MutexGuard<'_, HashSet<FileId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learn(&self, id: &FileId) {
        let mut ids = self.ids();
        // A household has a handful of them; a crowd of them is nobody's library.
        if ids.len() >= KEYS {
            ids.clear();
        }
        ids.insert(id.clone());
    }

    pub(super) fn has(&self, id: &FileId) -> bool {
        self.ids().contains(id)
    }
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

    #[test]
    fn keys_can_stand_in_a_header() {
        for (text, good) in [
            ("0-AbC_d1", true),
            ("k", true),
            ("", false),
            ("a/b", false),
            ("a,b", false),
            ("a\r\nb", false),
            ("a b", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(ResourceKey::parse(text).is_ok(), good, "{text:?}");
        }
        assert!(ResourceKey::parse(&"k".repeat(129)).is_err());
    }

    #[test]
    fn keys_that_opened_are_remembered_and_bounded() {
        let link = |n: usize, key: Option<&str>| Link {
            id: FileId::parse(&format!("file-{n:06}")).unwrap(),
            key: key.map(|key| ResourceKey::parse(key).unwrap()),
        };
        let keys = Keys::default();
        for n in 0..=KEYS {
            keys.learn(&link(n, Some("old")));
        }
        keys.learn(&link(1, Some("new")));
        assert_eq!(keys.complete(link(0, None)), link(0, None));
        assert_eq!(keys.complete(link(1, None)), link(1, Some("new")));
        assert_eq!(keys.complete(link(1, Some("x"))), link(1, Some("x")));
        assert_eq!(keys.known().keys.len(), KEYS);
    }
}
