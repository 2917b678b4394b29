//! How long a client may keep a connection waiting, and what a connection waits for.
//!
//! A timer per request would wake the reactor for each one. Instead a connection writes its deadline into an
//! atomic, and one sweeper (`registry`) looks at all of them once a second and shuts the sockets that are
//! late; the connection finds its read or write ended, and why.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each wait for a client lasts at most. An answer that is being made has no deadline.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the first byte of a head to its last: then 408.
    pub head: Duration,
    /// Without the first byte of a request: then a silent close.
    pub idle: Duration,
    /// Without a byte of a request's body: then 408.
    pub body: Duration,
    /// Without a byte of an answer taken, as by a paused player: then a cut.
    pub write: Duration,
    /// For a client to read the last answer and close, once we have.
    pub linger: Duration,
    /// How long a connection that waits for its client to send, be it a head or a body, is left in peace when all
    /// are in use.
    pub reclaim: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(60),
            write: Duration::from_secs(600),
            linger: Duration::from_secs(2),
            reclaim: Duration::from_secs(5),
        }
    }
}

impl Deadlines {
    /// How often deadlines are looked at: once a second, more often only where tests have short ones.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [self.head, self.idle, self.body, self.write, self.linger]
            .into_iter()
            .min();
        (shortest.unwrap_or_default() / 2).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What a connection is doing, and so which deadline holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Between requests, without a byte of the next.
    Idle,
    /// In the middle of a head.
    Head,
    /// Waiting for bytes of a body.
    Body,
    /// The answer is being made: no deadline.
    Answering,
    /// Waiting for the client to take bytes.
    Writing,
    /// The last answer is sent; waiting for the client to close.
    Lingering,
}

const PHASES: [Phase; 6] = [
    Phase::Idle,
    Phase::Head,
    Phase::Body,
    Phase::Answering,
    Phase::Writing,
    Phase::Lingering,
];

/// The phase of one connection and when it is over. Written by the connection, read by the sweeper.
#[derive(Debug)]
pub(crate) struct Clock {
    deadlines: Deadlines,
    phase: AtomicU8,
    /// When the phase began, in milliseconds.
    since: AtomicU64,
    /// When it must be over, in milliseconds; `u64::MAX` is never.
    until: AtomicU64,
    expired: AtomicBool,
}

/// Milliseconds since the first call.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Clock {
    pub(crate) fn new(deadlines: Deadlines) -> Clock {
        let clock = Clock {
            deadlines,
            phase: AtomicU8::new(0),
            since: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
            expired: AtomicBool::new(false),
        };
        clock.enter(Phase::Idle);
        clock
    }

    /// Begins a phase, or begins it anew.
    pub(crate) fn enter(&self, phase: Phase) {
        let allowed = match phase {
            Phase::Idle => self.deadlines.idle,
            Phase::Head => self.deadlines.head,
            Phase::Body => self.deadlines.body,
            Phase::Writing => self.deadlines.write,
            Phase::Lingering => self.deadlines.linger,
            Phase::Answering => {
                // The common case on the way through a request takes no look at the clock.
                self.until.store(u64::MAX, Ordering::Relaxed);
                self.phase.store(phase as u8, Ordering::Relaxed);
                return;
            }
        };
        let now = now();
        // In this order a sweeper that looks in between sees no deadline rather than an old one.
        self.until.store(u64::MAX, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        self.until
            .store(now.saturating_add(millis(allowed)), Ordering::Release);
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed)) % PHASES.len()]
    }

    /// Whether the deadline has passed; remembered, so that the connection can tell it from a close.
    pub(crate) fn check(&self) -> bool {
        let late = self.until.load(Ordering::Acquire) <= now();
        if late {
            self.expired.store(true, Ordering::Release);
        }
        late
    }

    /// Whether the sweeper, not the client, ended the connection.
    pub(crate) fn expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// How long a connection has been idle, in its head or without a byte of its body, when that is long enough for
    /// it to make room.
    pub(crate) fn reclaimable(&self) -> Option<u64> {
        if !matches!(self.phase(), Phase::Idle | Phase::Head | Phase::Body) {
            return None;
        }
        let age = now().saturating_sub(self.since.load(Ordering::Relaxed));
        (age >= millis(self.deadlines.reclaim)).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_ends_and_an_answer_does_not() {
        let short = Duration::from_millis(1);
        let clock = Clock::new(Deadlines {
            head: short,
            reclaim: short,
            ..Deadlines::default()
        });
        assert!(!clock.check());
        clock.enter(Phase::Head);
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.reclaimable().is_some());
        assert!(clock.check() && clock.expired());
        clock.enter(Phase::Answering);
        assert!(!clock.check() && clock.reclaimable().is_none());
        assert_eq!(clock.phase(), Phase::Answering);
        assert_eq!(Deadlines::default().tick(), Duration::from_secs(1));
    }
}
