//! What is in a file of ours, found out once: by ffprobe over loopback, then from the database.
//!
//! However many pages ask for a file at once, one ffprobe runs for it, and few run at all; when the last of those who
//! asked has gone, so does ffprobe. Without a database files are looked into each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::lock::{OnceCell, Semaphore};

use crate::error::{Error, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::loopback::Grant;
use crate::ffmpeg::probe::{self, MediaInfo};
use crate::store::database::Database;
use crate::store::probes;

/// How many ffprobes run at a time: each may have Drive send some MiB, and a Pi has little memory.
const AT_ONCE: usize = 2;

/// Changes when more is kept of a file than before, so that what older versions kept is found out again.
const VERSION: u32 = 1;

/// Knows what is in files; clones share what is under way.
#[derive(Clone, Debug)]
pub struct Prober(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    programs: Programs,
    database: Database,
    /// Questions under way, by reference and stamp.
    flights: Mutex<HashMap<(String, String), Arc<Flight>>>,
    slots: Semaphore,
}

/// One question and its answer, shared by all who ask it at the same time.
type Flight = OnceCell<Result<Arc<MediaInfo>, Arc<Error>>>;

impl Prober {
    /// Looks into files with the ffprobe of `programs`, and remembers in `database`.
    pub fn new(programs: Programs, database: Database) -> Prober {
        Prober(Arc::new(Inner {
            programs,
            database,
            flights: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
        }))
    }

    /// What is in the file that is called `reference`, whose content is another when `stamp` is; `grant` lets ffprobe
    /// read it, when it must.
    ///
    /// # Errors
    /// `ffmpeg_not_available`, `not_media`, `probe_failed`; what the file could not be read for.
    pub async fn info(
        &self,
        reference: &str,
        stamp: &str,
        grant: impl FnOnce() -> Result<Grant>,
    ) -> Result<Arc<MediaInfo>> {
        let key = (reference.to_owned(), stamp.to_owned());
        let flight = self.flights().entry(key.clone()).or_default().clone();
        // When who began it goes away, the next of those who wait begins it anew.
        let landing = Landing {
            prober: self,
            key: &key,
            flight: &flight,
        };
        let answer = flight
            .get_or_init(|| async {
                let found = self.find(&key.0, &key.1, grant).await;
                found.map_err(Arc::new)
            })
            .await;
        let answer = answer.clone();
        drop(landing);
        answer.map_err(|error| copy(&error))
    }

    async fn find(
        &self,
        reference: &str,
        stamp: &str,
        grant: impl FnOnce() -> Result<Grant>,
    ) -> Result<Arc<MediaInfo>> {
        let stamp = format!("{VERSION} {stamp}");
        if let Some(info) = self.kept(reference, &stamp).await {
            return Ok(Arc::new(info));
        }
        let _slot = self.0.slots.acquire().await;
        let ffprobe = self.0.programs.ffprobe_path()?;
        let grant = grant()?;
        let info = match probe::probe(&ffprobe, &grant.source()).await {
            Ok(info) => info,
            // Drive's own reason says more than what ffprobe made of it.
            Err(error) => return Err(grant.failure().unwrap_or(error)),
        };
        // Of a file that broke off, not all was seen.
        if let Some(error) = grant.failure() {
            return Err(error);
        }
        self.keep(reference, &stamp, &info).await;
        Ok(Arc::new(info))
    }

    async fn kept(&self, reference: &str, stamp: &str) -> Option<MediaInfo> {
        let (reference, stamp) = (reference.to_owned(), stamp.to_owned());
        let database = &self.0.database;
        let text = database
            .unblocked(move |database| probes::get(database, &reference, &stamp))
            .await;
        match text {
            Ok(text) => serde_json::from_str(&text?).ok(),
            Err(error) => {
                log::debug!("what is in files is not remembered: {}", error.chain());
                None
            }
        }
    }

    async fn keep(&self, reference: &str, stamp: &str, info: &MediaInfo) {
        let Ok(text) = serde_json::to_string(info) else {
            return;
        };
        let (reference, stamp) = (reference.to_owned(), stamp.to_owned());
        let database = &self.0.database;
        let kept = database
            .unblocked(move |database| probes::put(database, &reference, &stamp, &text))
            .await;
        if let Err(error) = kept {
            log::debug!("what is in a file is not remembered: {}", error.chain());
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Flight>>> {
        self.0
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a flight when it is over, or when nobody waits for it any more.
struct Landing<'a> {
    prober: &'a Prober,
    key: &'a (String, String),
    flight: &'a Arc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = self.prober.flights();
        let is_ours = flights
            .get(self.key)
            .is_some_and(|known| Arc::ptr_eq(known, self.flight));
        // One count is the map's and one is ours: nobody else waits.
        let is_over = self.flight.is_initialized() || Arc::strong_count(self.flight) <= 2;
        if is_ours && is_over {
            flights.remove(self.key);
        }
    }
}

/// An error for one more of those who asked.
fn copy(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.code(), error.sentence());
    for (name, value) in error.fields() {
        copy = copy.with(name, value.clone());
    }
    match error.retry_delay() {
        Some(delay) => copy.retry_after(delay),
        None => copy,
    }
}
