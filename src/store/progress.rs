//! How far each lecture was watched, by whom: documents of entries, one per profile, kept in the database.
//!
//! A document is replaced as a whole or merged entry by entry; what becomes of two entries is decided in [`entry`].
//! When a change must be on the disk is decided here: an entry that is new or removed and a status that
//! changes at once, a position that moves on within ten seconds, for it changes every few of them and a card wears.
//! How a document is asked for is the business of `routes`.

mod document;
mod entry;
mod import;
mod moment;
mod profile;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::error::{Error, Kind, Result};
use crate::http::Bytes;
use crate::store::database::{Database, Durability};
use crate::sys::executor;

use document::{Document, MOST_KEYS};
use entry::Entry;
pub use profile::Profile;

/// How long a position may be in the kernel's memory alone: with the sync itself less than ten seconds.
const POSITION_AGE: Duration = Duration::from_secs(8);

/// Documents that are kept as they are sent. A household has few people at a time; the memory is the kernel's.
const KEPT: usize = 4;

/// How many times the largest body a document may grow to by merging.
const GROWTH: u64 = 4;

/// How far a lecture was watched: what a page shows of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// It was watched to its end.
    pub complete: bool,
    /// Where it was left, in seconds.
    pub watch_time: Option<f64>,
    /// How long it is, in seconds, as its player said.
    pub duration: Option<f64>,
}

/// A handle to all progress; cheap to clone.
///
/// Locks are taken in this order: `writing`, `served`, then the database's own.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    /// The file of the system before this one.
    seed: PathBuf,
    /// Largest body, in bytes.
    limit: u64,
    /// Held by whoever reads a whole document or writes, on the blocking pool.
    writing: Mutex<Known>,
    /// Documents as they were last sent; filled and emptied by the holder of `writing`.
    served: Mutex<Served>,
    /// A sync is on its way.
    sync_planned: AtomicBool,
}

#[derive(Debug, Default)]
struct Served {
    /// Which opening of the database they are of.
    generation: u64,
    documents: HashMap<Profile, Arc<Bytes>>,
}

/// What is known of the database without asking it.
#[derive(Debug, Default)]
struct Known {
    /// Which opening of the database it is known of.
    generation: u64,
    sizes: HashMap<Profile, Size>,
}

/// How large a document is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    keys: i64,
    bytes: i64,
}

impl Progress {
    /// The progress kept in `database`; `seed` is the `progress.json` to import, `limit` the largest body in
    /// bytes. Nothing is opened yet.
    pub fn new(database: Database, seed: PathBuf, limit: u64) -> Progress {
        Progress(Arc::new(Inner {
            database,
            seed,
            limit,
            writing: Mutex::default(),
            served: Mutex::default(),
            sync_planned: AtomicBool::new(false),
        }))
    }

    /// Opens the database and imports what is to be imported, ahead of the first who asks.
    ///
    /// # Errors
    /// `state_unavailable`, `no_space`, `database_newer`.
    pub async fn prepare(&self) -> Result<()> {
        self.on_pool(|inner| inner.ready(&mut inner.writing()))
            .await
    }

    /// The document of a profile, as one JSON object.
    ///
    /// # Errors
    /// As [`Progress::prepare`].
    pub async fn document(&self, profile: &Profile) -> Result<Arc<Bytes>> {
        if let Some(bytes) = self.0.kept(profile) {
            return Ok(bytes);
        }
        let profile = profile.clone();
        self.on_pool(move |inner| inner.document(&profile)).await
    }

    /// Replaces the document of a profile by `body`, whose values are kept as they are written.
    ///
    /// # Errors
    /// As [`Progress::prepare`]; `invalid_progress`, `payload_too_large`, `too_many_profiles`.
    pub async fn replace(&self, profile: &Profile, body: Vec<u8>) -> Result<()> {
        let profile = profile.clone();
        self.on_pool(move |inner| inner.replace(&profile, &Document::read(&body)?))
            .await
    }

    /// Merges the entries of `body` with those that are kept; `null` removes one.
    ///
    /// # Errors
    /// As [`Progress::replace`]; `progress_full`.
    pub async fn merge(&self, profile: &Profile, body: Vec<u8>) -> Result<()> {
        let (profile, progress) = (profile.clone(), self.clone());
        let durability = self
            .on_pool(move |inner| {
                let changes = changes(Document::read(&body)?)?;
                inner.merge(&profile, &changes, milliseconds())
            })
            .await?;
        if durability == Some(Durability::Later) {
            progress.plan_sync();
        }
        Ok(())
    }

    /// The marks of these keys, in their order; `None` where nothing is kept.
    ///
    /// # Errors
    /// As [`Progress::prepare`].
    pub async fn marks(&self, profile: &Profile, keys: Vec<String>) -> Result<Vec<Option<Mark>>> {
        let profile = profile.clone();
        self.on_pool(move |inner| {
            inner.ready(&mut inner.writing())?;
            inner.database.with(|connection| {
                let Some(id) = profile.id(connection)? else {
                    return Ok(vec![None; keys.len()]);
                };
                let mut find = connection
                    .prepare("SELECT value FROM progress WHERE profile = ?1 AND key = ?2")?;
                keys.iter()
                    .map(|key| {
                        let text: Option<String> = find
                            .query_row(params![id, key], |row| row.get(0))
                            .optional()?;
                        Ok(text.as_deref().and_then(Entry::read).map(|entry| Mark {
                            complete: entry.is_complete(),
                            watch_time: entry.watch_time(),
                            duration: entry.duration(),
                        }))
                    })
                    .collect()
            })
        })
        .await
    }

    /// The named profiles in the order of their names, each with the number of its entries.
    ///
    /// # Errors
    /// As [`Progress::prepare`].
    pub async fn profiles(&self) -> Result<Vec<(String, u64)>> {
        self.on_pool(|inner| {
            inner.ready(&mut inner.writing())?;
            inner.database.with(profile::list)
        })
        .await
    }

    /// Removes a named profile with all that it holds. Says whether there was one.
    ///
    /// # Errors
    /// As [`Progress::prepare`].
    pub async fn remove(&self, profile: &Profile) -> Result<bool> {
        let profile = profile.clone();
        self.on_pool(move |inner| {
            let mut known = inner.writing();
            inner.ready(&mut known)?;
            inner.forget(&mut known, &profile);
            inner.database.transaction(|tx| profile.remove(tx))
        })
        .await
    }

    /// Brings what is still in the kernel's memory to the disk, and closes the database.
    pub async fn close(&self) {
        let closed = self.on_pool(|inner| {
            let _turn = inner.writing();
            let synced = inner.database.sync();
            inner.database.close();
            synced
        });
        if let Err(error) = closed.await {
            log::warn!("the last positions may be lost: {}", error.chain());
        }
    }

    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        self.0.database.unblocked(move |_| work(&inner)).await
    }

    /// Syncs in a while, once for all positions that come until then.
    fn plan_sync(&self) {
        if self.0.sync_planned.swap(true, Ordering::Relaxed) {
            return;
        }
        let inner = Arc::clone(&self.0);
        executor::spawn(async move {
            smol::Timer::after(POSITION_AGE).await;
            // Before the sync: a position that comes while it runs may be too late for it.
            inner.sync_planned.store(false, Ordering::Relaxed);
            if let Err(error) = inner.database.unblocked(Database::sync).await {
                log::warn!("positions are not on the disk: {}", error.chain());
            }
        })
        .detach();
    }
}

impl Inner {
    fn document(&self, profile: &Profile) -> Result<Arc<Bytes>> {
        let mut known = self.writing();
        self.ready(&mut known)?;
        // Another may have made it while this one waited.
        if let Some(bytes) = self.kept(profile) {
            return Ok(bytes);
        }
        let text = self.database.with(|connection| {
            let mut text = String::from("{");
            if let Some(id) = profile.id(connection)? {
                each(connection, id, |key, value| {
                    if text.len() > 1 {
                        text.push(',');
                    }
                    document::push_member(&mut text, key, value);
                })?;
            }
            text.push('}');
            Ok(text)
        })?;
        let bytes = Arc::new(Bytes::new(text.into_bytes()));
        let mut served = self.served();
        if served.documents.len() >= KEPT || served.generation != known.generation {
            served.documents.clear();
        }
        served.generation = known.generation;
        served.documents.insert(profile.clone(), Arc::clone(&bytes));
        Ok(bytes)
    }

    fn replace(&self, profile: &Profile, new: &Document) -> Result<()> {
        let mut known = self.writing();
        self.ready(&mut known)?;
        self.forget(&mut known, profile);
        self.database.transaction(|tx| {
            let id = match profile.id(tx)? {
                Some(id) => id,
                None if new.0.is_empty() => return Ok(()),
                None => profile.create(tx)?,
            };
            // Only what differs is written, though a client sends all of it for each lecture.
            let mut gone = Vec::new();
            let mut same = Vec::new();
            each(tx, id, |key, value| match new.0.get(key) {
                Some(new) if new.get() == value => same.push(key.to_owned()),
                Some(_) => {}
                None => gone.push(key.to_owned()),
            })?;
            let mut delete = tx.prepare("DELETE FROM progress WHERE profile = ?1 AND key = ?2")?;
            for key in gone {
                delete.execute(params![id, key])?;
            }
            let mut same = same.iter().peekable();
            let mut put = tx.prepare("REPLACE INTO progress VALUES (?1, ?2, ?3)")?;
            for (key, value) in &new.0 {
                // Both are in the order of their bytes.
                if same.next_if(|unchanged| *unchanged == key).is_none() {
                    put.execute(params![id, key, value.get()])?;
                }
            }
            Ok(())
        })
    }

    /// Says how urgent what changed is; `None` when nothing did.
    fn merge(
        &self,
        profile: &Profile,
        changes: &BTreeMap<String, Option<Entry>>,
        now: f64,
    ) -> Result<Option<Durability>> {
        let mut known = self.writing();
        self.ready(&mut known)?;
        let size = match known.sizes.get(profile) {
            Some(size) => *size,
            None => self.database.with(|connection| size(connection, profile))?,
        };
        // Forgotten first and told again at the end: after a failure nothing is known.
        known.sizes.remove(profile);
        let merged = self.database.commit(|tx| {
            let merged = self.merge_in(tx, profile, changes, now, size)?;
            let durability = merged.0.unwrap_or(Durability::Later);
            Ok((merged, durability))
        });
        if !matches!(merged, Ok((None, _))) {
            self.served().documents.remove(profile);
        }
        let (changed, size) = merged?;
        known.sizes.insert(profile.clone(), size);
        Ok(changed)
    }

    fn merge_in(
        &self,
        tx: &Transaction<'_>,
        profile: &Profile,
        changes: &BTreeMap<String, Option<Entry>>,
        now: f64,
        mut size: Size,
    ) -> Result<(Option<Durability>, Size)> {
        let id = match profile.id(tx)? {
            Some(id) => id,
            None if changes.values().all(Option::is_none) => return Ok((None, size)),
            None => profile.create(tx)?,
        };
        let before = size;
        let mut changed = None;
        let mut find = tx.prepare("SELECT value FROM progress WHERE profile = ?1 AND key = ?2")?;
        let mut put = tx.prepare("REPLACE INTO progress VALUES (?1, ?2, ?3)")?;
        let mut delete = tx.prepare("DELETE FROM progress WHERE profile = ?1 AND key = ?2")?;
        for (key, new) in changes {
            let old: Option<String> = find
                .query_row(params![id, key], |row| row.get(0))
                .optional()?;
            let (urgency, text) = match (&old, new) {
                (None, None) => continue,
                (Some(_), None) => (Durability::Now, None),
                (old, Some(new)) => {
                    let kept = old.as_deref().and_then(Entry::read);
                    let merged = Entry::merge(&kept.clone().unwrap_or_default(), new, now);
                    if kept.as_ref() == Some(&merged) {
                        continue;
                    }
                    let same_status = kept.is_some_and(|old| old.status() == merged.status());
                    let urgency = match same_status {
                        true => Durability::Later,
                        false => Durability::Now,
                    };
                    (urgency, Some(merged.text()))
                }
            };
            changed = changed.max(Some(urgency));
            let length = |text: &Option<String>| match text {
                Some(text) => (1, (key.len() + text.len()) as i64),
                None => (0, 0),
            };
            let ((was, was_bytes), (is, is_bytes)) = (length(&old), length(&text));
            size.keys += is - was;
            size.bytes += is_bytes - was_bytes;
            match text {
                Some(text) => put.execute(params![id, key, text])?,
                None => delete.execute(params![id, key])?,
            };
        }
        let most_bytes = i64::try_from(self.limit.saturating_mul(GROWTH)).unwrap_or(i64::MAX);
        let beyond = |size: i64, before: i64, most: i64| size > most && size > before;
        if beyond(size.keys, before.keys, MOST_KEYS as i64)
            || beyond(size.bytes, before.bytes, most_bytes)
        {
            return Err(Error::new(
                Kind::Conflict,
                "progress_full",
                format!(
                    "The profile would hold more than {MOST_KEYS} entries or {most_bytes} bytes; remove old entries, \
                     or raise limits.progress."
                ),
            ));
        }
        Ok((changed, size))
    }

    /// Makes sure that the database is open, and that what is known is known of it.
    fn ready(&self, known: &mut Known) -> Result<()> {
        self.database.with(|_| Ok(()))?;
        let generation = self.database.generation();
        if known.generation != generation {
            known.sizes.clear();
            import::run(&self.database, &self.seed, self.limit)?;
            known.generation = generation;
        }
        Ok(())
    }

    fn forget(&self, known: &mut Known, profile: &Profile) {
        known.sizes.remove(profile);
        self.served().documents.remove(profile);
    }

    fn kept(&self, profile: &Profile) -> Option<Arc<Bytes>> {
        let served = self.served();
        let fresh = served.generation == self.database.generation();
        served.documents.get(profile).filter(|_| fresh).cloned()
    }

    fn writing(&self) -> MutexGuard<'_, Known> {
        // What is known is forgotten before it may become untrue.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of a body that is merged; `None` for those to remove.
fn changes(body: Document) -> Result<BTreeMap<String, Option<Entry>>> {
    body.0
        .into_iter()
        .map(|(key, value)| {
            let entry = match value.get() {
                "null" => None,
                text => Some(Entry::read_strictly(&key, text)?),
            };
            Ok((key, entry))
        })
        .collect()
}

/// Calls `with` for each key and value of a profile, in the order of the keys' bytes.
fn each(connection: &Connection, id: i64, mut with: impl FnMut(&str, &str)) -> Result<()> {
    let mut all =
        connection.prepare("SELECT key, value FROM progress WHERE profile = ?1 ORDER BY key")?;
    let mut rows = all.query([id])?;
    while let Some(row) = rows.next()? {
        let text = |n| row.get_ref(n)?.as_str().map_err(rusqlite::Error::from);
        with(text(0)?, text(1)?);
    }
    Ok(())
}

fn size(connection: &Connection, profile: &Profile) -> Result<Size> {
    let Some(id) = profile.id(connection)? else {
        return Ok(Size::default());
    };
    let sum =
        "SELECT count(*), ifnull(sum(octet_length(key) + octet_length(value)), 0) FROM progress
               WHERE profile = ?1";
    Ok(connection.query_row(sum, [id], |row| {
        Ok(Size {
            keys: row.get(0)?,
            bytes: row.get(1)?,
        })
    })?)
}

/// The time of now, in milliseconds since 1970.
fn milliseconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests;
