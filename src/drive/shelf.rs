//! Answers kept for a while, and asked for once however many want them.
//!
//! Bounded: the least recently used leaves first. A refusal is kept only as long as those who asked at the same
//! time wait for it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::reply::Refusal;

/// An answer, and since when it is known; held while it is being asked for.
type Slot<V> = Arc<smol::lock::Mutex<Option<(Instant, Result<V, Refusal>)>>>;

struct Place<V> {
    slot: Slot<V>,
    used: u64,
}

struct State<K, V> {
    places: HashMap<K, Place<V>>,
    clock: u64,
}

/// Answers by key.
pub(super) struct Shelf<K, V> {
    state: Mutex<State<K, V>>,
    entries: usize,
    believe: Duration,
    believe_refusal: Duration,
}

impl<K: Clone + Eq + Hash, V: Clone> Shelf<K, V> {
    pub(super) fn new(entries: usize, believe: Duration, believe_refusal: Duration) -> Shelf<K, V> {
        let state = State {
            places: HashMap::new(),
            clock: 0,
        };
        Shelf {
            state: Mutex::new(state),
            entries: entries.max(1),
            believe,
            believe_refusal,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &K) -> Slot<V> {
        let mut state = self.state();
        state.clock += 1;
        let used = state.clock;
        if let Some(place) = state.places.get_mut(key) {
            place.used = used;
            return place.slot.clone();
        }
        if state.places.len() >= self.entries {
            let oldest = state
                .places
                .iter()
                .min_by_key(|(_, place)| place.used)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                state.places.remove(&oldest);
            }
        }
        let slot = Slot::default();
        state.places.insert(
            key.clone(),
            Place {
                slot: slot.clone(),
                used,
            },
        );
        slot
    }

    /// The answer on the shelf, or what `ask` brings.
    ///
    /// # Errors
    /// What `ask` refuses with, or refused with a moment ago.
    pub(super) async fn get<F>(&self, key: &K, ask: impl FnOnce() -> F) -> Result<V, Refusal>
    where
        F: Future<Output = Result<V, Refusal>>,
    {
        let slot = self.slot(key);
        let mut held = slot.lock().await;
        if let Some((since, answer)) = &*held {
            let believe = if answer.is_ok() {
                self.believe
            } else {
                self.believe_refusal
            };
            if since.elapsed() < believe {
                return answer.clone();
            }
        }
        let answer = ask().await;
        *held = Some((Instant::now(), answer.clone()));
        answer
    }

    /// The next one asks anew.
    pub(super) fn forget(&self, key: &K) {
        self.state().places.remove(key);
    }

    /// All ask anew.
    pub(super) fn clear(&self) {
        self.state().places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::cell::Cell;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn concurrent_askers_share_one_answer() {
        smol::block_on(async {
            let shelf: Shelf<u32, u32> = Shelf::new(4, HOUR, HOUR);
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                smol::future::yield_now().await;
                Ok(asked.get())
            };
            let both = smol::future::zip(shelf.get(&1, ask), shelf.get(&1, ask)).await;
            assert_eq!((both.0.unwrap(), both.1.unwrap()), (1, 1));
            shelf.forget(&1);
            assert_eq!(shelf.get(&1, ask).await.unwrap(), 2);
            shelf.clear();
            assert_eq!(shelf.get(&1, ask).await.unwrap(), 3);
        });
    }

    #[test]
    fn the_least_used_leaves_and_refusals_do_not_stay() {
        smol::block_on(async {
            let shelf: Shelf<u32, u32> = Shelf::new(2, HOUR, Duration::ZERO);
            let fresh = || async { Ok(1) };
            let other = || async { Ok(2) };
            for key in [1, 2, 1, 3] {
                shelf.get(&key, fresh).await.unwrap();
            }
            assert_eq!(shelf.get(&1, other).await.unwrap(), 1);
            assert_eq!(shelf.get(&2, other).await.unwrap(), 2);
            let refusal = || async { Err(Refusal::new(Kind::NotFound, "drive_not_found", "No.")) };
            assert!(shelf.get(&9, refusal).await.is_err());
            assert!(shelf.get(&9, fresh).await.is_ok());
        });
    }
}
