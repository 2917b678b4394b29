//! The connections that are open: counting them, ending late ones, making room, closing all.
//!
//! One lock around the table, taken when a connection comes or goes and by the sweeper once a second; never
//! by a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smol::channel::{Receiver, Sender};
use smol::{Task, Timer};

use crate::http::Stats;
use crate::http::deadlines::{Deadlines, Phase};
use crate::http::wire::Wire;
use crate::sys::memory;

/// Connections beyond the limit that are being told so at once; further ones are closed without a word.
const TURNED_AWAY_LIMIT: usize = 64;

/// All connections of a listener.
pub(crate) struct Registry {
    pub(crate) deadlines: Deadlines,
    max: usize,
    table: Mutex<Table>,
    closing: AtomicBool,
    turned_away: AtomicUsize,
    refused: AtomicU64,
    sent: Arc<AtomicU64>,
    /// Wakes the sweeper when the first connection comes.
    wake: Sender<()>,
    woken: Receiver<()>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    /// Connections that were told to make room and have not gone yet; they are counted no more.
    leaving: usize,
}

struct Open {
    wire: Arc<Wire>,
    /// Dropping it cancels the connection, whatever it waits for.
    task: Task<()>,
    leaving: bool,
}

/// A connection's place in the table, given back when it is dropped.
pub(crate) struct Place {
    registry: Arc<Registry>,
    key: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = {
            let mut table = self.registry.table();
            let removed = table.open.remove(&self.key);
            if removed.as_ref().is_some_and(|open| open.leaving) {
                table.leaving -= 1;
            }
            removed
        };
        // The task is ending by itself: it is this one.
        if let Some(open) = removed {
            open.task.detach();
        }
    }
}

impl Registry {
    pub(crate) fn new(max: usize, deadlines: Deadlines) -> Registry {
        let (wake, woken) = smol::channel::bounded(1);
        Registry {
            deadlines,
            max,
            table: Mutex::default(),
            closing: AtomicBool::new(false),
            turned_away: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            sent: Arc::default(),
            wake,
            woken,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change to the table is one call; a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task of a connection when there is room for it, making room if need be.
    ///
    /// `start` makes the connection's future of its place; it is called only when there is room.
    pub(crate) fn admit<F>(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        start: impl FnOnce(Place) -> F,
    ) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut table = self.table();
        if table.open.len() - table.leaving >= self.max && !table.reclaim() {
            return false;
        }
        let key = table.next;
        table.next += 1;
        let place = Place {
            registry: self.clone(),
            key,
        };
        // Spawned under the lock, so that the task cannot end before it is in the table.
        let task = wire.home().spawn(start(place));
        table.open.insert(
            key,
            Open {
                wire: wire.clone(),
                task,
                leaving: false,
            },
        );
        drop(table);
        // Full means that the sweeper is already told.
        let _ = self.wake.try_send(());
        true
    }

    /// Counts a connection that is refused; whether it can be told so.
    pub(crate) fn turn_away(self: &Arc<Self>) -> Option<TurnedAway> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let guard = TurnedAway(self.clone());
        (self.turned_away.fetch_add(1, Ordering::Relaxed) < TURNED_AWAY_LIMIT).then_some(guard)
    }

    /// Ends the connection that has waited the longest for its client to send, when one has for long.
    pub(crate) fn make_room(&self) -> bool {
        self.table().reclaim()
    }

    /// Ends late connections, once per tick, while there are any; waits without a timer while there are none, and
    /// with no more memory than that takes.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let tick = self.deadlines.tick();
        while self.woken.recv().await.is_ok() {
            while !self.table().open.is_empty() {
                Timer::after(tick).await;
                for open in self.table().open.values() {
                    if open.wire.clock.check() {
                        open.wire.expire();
                    }
                }
            }
            // Not waited for: a pool that is stuck on a dead disk must not hold up deadlines.
            smol::unblock(memory::give_back).detach();
        }
    }

    /// Begins to close: idle connections end now, the others after their answer.
    pub(crate) fn begin_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for open in self.table().open.values() {
            if open.wire.clock.phase() == Phase::Idle {
                open.wire.cut();
            }
        }
    }

    /// Whether the listener closes. A connection says that it is idle before it asks, so that either it
    /// or [`Registry::begin_closing`] sees the other.
    pub(crate) fn is_closing(&self) -> bool {
        fence(Ordering::SeqCst);
        self.closing.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open, for `grace` at most; then cuts what is left.
    pub(crate) async fn finish(&self, grace: Duration) {
        let began = std::time::Instant::now();
        // Only at the end of the process, so that looking is simpler than being told.
        while !self.table().open.is_empty() && began.elapsed() < grace {
            Timer::after(Duration::from_millis(10)).await;
        }
        // Dropped outside the lock: a cancelled connection gives back its place.
        let left: Vec<Open> = self.table().open.drain().map(|(_, open)| open).collect();
        if !left.is_empty() {
            log::info!("{} connections are cut", left.len());
        }
        for open in &left {
            open.wire.cut();
        }
    }

    pub(crate) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    pub(crate) fn stats(&self) -> Stats {
        let table = self.table();
        Stats {
            open: table.open.len() - table.leaving,
            refused: self.refused.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

impl Table {
    fn reclaim(&mut self) -> bool {
        let oldest = self
            .open
            .values_mut()
            .filter(|open| !open.leaving)
            .filter_map(|open| open.wire.clock.reclaimable().map(|age| (age, open)))
            .max_by_key(|(age, _)| *age);
        let Some((_, open)) = oldest else {
            return false;
        };
        open.leaving = true;
        open.wire.cut();
        self.leaving += 1;
        true
    }
}

/// One connection that is being told that there is no room.
pub(crate) struct TurnedAway(Arc<Registry>);

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.0.turned_away.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("max", &self.max)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
