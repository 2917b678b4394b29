//! The threads that run tasks.
//!
//! A thread per core, four at most, each with a queue and an epoll of its own (`reactor`). A connection
//! lives on one of them from its first byte to its last: nothing wakes another thread for it, and what it
//! touches stays in that core's cache. With smol's shared executor and one reactor for all, every other
//! request crossed threads and was armed in epoll anew, which cost a fifth of the throughput of small answers.
//!
//! The price is that a task which does not yield holds up its thread's others: what computes for
//! long or waits (files, ureq) goes to `smol::unblock`. Timers and all else of smol work as everywhere;
//! its own reactor runs on the thread of [`run`].

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use async_task::{Builder, Runnable};
use smol::Task;

use crate::sys::reactor::Poller;

/// Threads at most: a household's box serves from fewer.
const MAX_THREADS: usize = 4;

/// Tasks that a thread runs before it looks for news of its sockets.
const BATCH: usize = 32;

/// Exit code for "the operating system gave no thread" (`EX_OSERR`).
const EX_OSERR: i32 = 71;

/// One thread: what it is to run, and how it is woken.
struct Worker {
    queue: Mutex<VecDeque<Runnable>>,
    poller: Poller,
    /// Set by the thread before it looks into its queue for the last time and waits; who queues something and
    /// finds it set wakes the thread.
    waits: AtomicBool,
    /// Connections that live here.
    guests: AtomicUsize,
}

thread_local! {
    /// Which worker this thread is.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Starts a task on the daemon's threads; dropping the handle cancels it, `detach` lets it run.
///
/// A task that is started by another stays on its thread.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let count = workers().len();
    let index = CURRENT
        .with(Cell::get)
        .unwrap_or_else(|| TURN.fetch_add(1, Ordering::Relaxed) % count);
    spawn_on(index, future)
}

/// Returns when each of the threads has run a task: not while one of them hangs.
pub async fn everywhere() {
    let tasks: Vec<Task<()>> = (0..workers().len())
        .map(|index| spawn_on(index, async {}))
        .collect();
    for task in tasks {
        task.await;
    }
}

/// Runs `main` on this thread, and tasks on as many others as the machine has cores, four at most.
/// Returns when `main` does; the tasks go on until the process ends.
pub fn run<T>(main: impl Future<Output = T>) -> T {
    workers();
    smol::block_on(main)
}

/// A place on one thread for something that lives there with its sockets, such as a connection.
#[derive(Debug)]
pub(crate) struct Home(usize);

impl Home {
    /// A place on the thread that has the fewest.
    pub(crate) fn find() -> Home {
        let fewest = workers()
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| worker.guests.load(Ordering::Relaxed));
        let index = fewest.map_or(0, |(index, _)| index);
        workers()[index].guests.fetch_add(1, Ordering::Relaxed);
        Home(index)
    }

    /// What watches sockets there.
    pub(crate) fn poller(&self) -> &'static Poller {
        &workers()[self.0].poller
    }

    /// Starts a task there.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        spawn_on(self.0, future)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        workers()[self.0].guests.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn_on<T: Send + 'static>(
    index: usize,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let schedule = move |runnable| workers()[index].schedule(index, runnable);
    // A panic is handed to who waits for the task; it does not end the thread.
    let (runnable, task) = Builder::new()
        .propagate_panic(true)
        .spawn(move |()| future, schedule);
    runnable.schedule();
    task
}

/// The threads, started at the first call.
fn workers() -> &'static [Worker] {
    static WORKERS: OnceLock<Vec<Worker>> = OnceLock::new();
    static STARTED: OnceLock<()> = OnceLock::new();
    let workers = WORKERS.get_or_init(|| {
        let count = std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(MAX_THREADS);
        (0..count).filter_map(|_| Worker::new()).collect()
    });
    STARTED.get_or_init(|| {
        for (index, worker) in workers.iter().enumerate() {
            let started = std::thread::Builder::new()
                .name(format!("rill-{index}"))
                .spawn(move || worker.work(index));
            if let Err(error) = started {
                fail(&error);
            }
        }
        if workers.is_empty() {
            fail(&"no epoll could be made");
        }
    });
    workers
}

/// Without its threads nothing can run, and nothing could be answered either.
fn fail(error: &dyn std::fmt::Display) -> ! {
    log::error!("the threads that serve requests could not be started: {error}");
    std::process::exit(EX_OSERR)
}

impl Worker {
    fn new() -> Option<Worker> {
        let poller = Poller::new()
            .map_err(|error| log::error!("epoll: {error}"))
            .ok()?;
        Some(Worker {
            queue: Mutex::default(),
            poller,
            waits: AtomicBool::new(false),
            guests: AtomicUsize::new(0),
        })
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Runnable>> {
        // Held for one push or pop, which leave it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schedule(&self, index: usize, runnable: Runnable) {
        self.queue().push_back(runnable);
        // The thread itself looks into its queue before it waits. The lock orders this after the push.
        if CURRENT.with(Cell::get) != Some(index) && self.waits.swap(false, Ordering::SeqCst) {
            self.poller.notify();
        }
    }

    /// What the thread does until the process ends.
    fn work(&self, index: usize) {
        CURRENT.with(|current| current.set(Some(index)));
        loop {
            for _ in 0..BATCH {
                let Some(runnable) = self.queue().pop_front() else {
                    break;
                };
                runnable.run();
            }
            self.waits.store(true, Ordering::SeqCst);
            let idle = self.queue().is_empty();
            self.poller.poll(idle);
            self.waits.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tasks_run_wake_each_other_and_are_cancelled() {
        let value = run(async {
            let (send, receive) = smol::channel::bounded::<u32>(1);
            let sum = spawn(async move {
                let mut sum = 0;
                while let Ok(n) = receive.recv().await {
                    sum += n;
                    smol::future::yield_now().await;
                }
                sum
            });
            let sender = spawn(async move {
                for n in 0..1000 {
                    if send.send(n).await.is_err() {
                        break;
                    }
                }
            });
            sender.await;
            let forever = spawn(std::future::pending::<()>());
            assert!(forever.cancel().await.is_none());
            spawn(async { smol::Timer::after(Duration::from_millis(1)).await }).await;
            sum.await
        });
        assert_eq!(value, 499_500);
    }

    #[test]
    fn a_panic_does_not_end_the_thread() {
        for _ in 0..8 {
            spawn(async { panic!("as asked") }).detach();
        }
        assert_eq!(smol::block_on(async { spawn(async { 5 }).await }), 5);
    }
}
