//! Until when uploads are waited for, by the clock that nobody sets: the other one jumps by years on a box that has
//! none of its own until it has found the network's.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::KEPT;

/// The uploads of which it is known; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines(Arc<Mutex<HashMap<String, Instant>>>);

impl Deadlines {
    /// Something came of an upload: it is waited for as long as any.
    pub(super) fn renew(&self, id: &str) {
        self.set(id, KEPT);
    }

    /// An upload is waited for so many seconds more.
    pub(super) fn set(&self, id: &str, seconds: i64) {
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.table().insert(id.to_owned(), Instant::now() + seconds);
    }

    /// How many seconds an upload has left; `None` when nobody has said it.
    pub(super) fn left(&self, id: &str) -> Option<i64> {
        let deadline = *self.table().get(id)?;
        let left = deadline.saturating_duration_since(Instant::now());
        // The last second counts as one.
        Some(i64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(i64::MAX))
    }

    /// Forgets the others.
    pub(super) fn retain(&self, ids: &HashSet<String>) {
        self.table().retain(|id, _| ids.contains(id));
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
