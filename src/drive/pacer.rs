//! When the next request to Google may go.
//!
//! Two policies, both pure functions of what happened before, and one place that waits. The first is the
//! delay before a retry: full jitter (a random part of a doubling bound), never less than the server's
//! `Retry-After`. The second is Google's quota: units of work in a second, so that the limit is not met in the
//! first place. Lanes keep apart what must not wait for each other: a scan that Google slows down leaves
//! playback alone.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;

use super::tuning::{Lanes, Policy};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A stream from its beginning, or in its course.
    Playback,
    /// A stream from elsewhere.
    Seek,
    /// What must be known before something can be shown.
    Metadata,
    /// What nobody waits for.
    Scan,
}

/// What a request costs in Google's quota units (cloud projects since May 2026).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// `files.get` without content.
    Get,
    /// `files.list`.
    List,
    /// Content: `alt=media` and `export`.
    Download,
}

impl Cost {
    fn units(self) -> u32 {
        match self {
            Cost::Get => 5,
            Cost::List => 100,
            Cost::Download => 200,
        }
    }
}

/// Units in any second: Google allows 325,000 a minute per user, which is 27 downloads a second.
const LIMIT: u32 = 325_000 / 60;
const SECOND: Duration = Duration::from_secs(1);
/// How long a scan waits before it looks again whether the others leave it room.
const SCAN_AGAIN: Duration = Duration::from_millis(100);

impl Policy {
    /// How long to wait after the `failures`th failure (from 1); `random` is in `0.0..1.0`.
    pub(super) fn delay(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jitter = bound.mul_f64(random.clamp(0.0, 1.0));
        match retry_after {
            // Spread over a little more than was asked, so that not all come back in the same moment.
            Some(asked) => asked + jitter.min(Duration::from_millis(500)),
            None => jitter,
        }
    }
}

/// The requests of the last second, oldest first. A second that began quietly lets its whole quota through at once: a
/// viewer who seeks about waits for nothing.
#[derive(Debug, Default)]
struct Window {
    sent: VecDeque<(Instant, u32)>,
    /// Units of all that `sent` holds.
    units: u32,
}

impl Window {
    /// Counts a request of `units` as sent; when the second has no room for it, how long until it may have.
    fn take(&mut self, now: Instant, units: u32) -> Result<(), Duration> {
        self.forget(now);
        let mut left = self.units + units;
        let mut wait = Duration::ZERO;
        for (sent, theirs) in &self.sent {
            if left <= LIMIT {
                break;
            }
            left -= theirs;
            wait = *sent + SECOND - now;
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        self.sent.push_back((now, units));
        self.units += units;
        Ok(())
    }

    /// Whether at least half of the quota is free.
    fn easy(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.units <= LIMIT / 2
    }

    fn forget(&mut self, now: Instant) {
        while let Some((sent, units)) = self.sent.front() {
            if *sent + SECOND > now {
                break;
            }
            self.units -= units;
            self.sent.pop_front();
        }
    }
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Until when each lane is held back by a `Retry-After`.
    held: [Option<Instant>; 4],
}

/// All requests to Google pass here.
#[derive(Debug)]
pub(super) struct Pacer {
    lanes: Lanes,
    /// Who waits for room in the second waits here, one after the other, and leaves nothing behind when it gives up.
    turn: smol::lock::Mutex<()>,
    state: Mutex<State>,
}

impl Pacer {
    pub(super) fn new(lanes: Lanes) -> Pacer {
        Pacer {
            lanes,
            turn: smol::lock::Mutex::new(()),
            state: Mutex::new(State {
                window: Window::default(),
                held: [None; 4],
            }),
        }
    }

    pub(super) fn policy(&self, lane: Lane) -> Policy {
        match lane {
            Lane::Playback => self.lanes.playback,
            Lane::Seek => self.lanes.seek,
            Lane::Metadata => self.lanes.metadata,
            Lane::Scan => self.lanes.scan,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a request's turn.
    pub(super) async fn admit(&self, lane: Lane, cost: Cost) {
        while let Some(wait) = self.held_back(lane) {
            Timer::after(wait).await;
        }
        let _turn = self.turn.lock().await;
        while let Err(wait) = self.take(cost) {
            Timer::after(wait).await;
        }
    }

    /// How long a lane waits before it may even queue.
    fn held_back(&self, lane: Lane) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.state();
        match state.held[lane as usize] {
            Some(until) if until > now => Some(until - now),
            _ => (lane == Lane::Scan && !state.window.easy(now)).then_some(SCAN_AGAIN),
        }
    }

    fn take(&self, cost: Cost) -> Result<(), Duration> {
        self.state().window.take(Instant::now(), cost.units())
    }

    /// Google asked this lane to wait.
    pub(super) fn hold(&self, lane: Lane, delay: Duration) {
        // A day's `Retry-After` is an answer for the viewer, not a reason to sleep.
        let until = Instant::now() + delay.min(self.policy(lane).cap);
        let mut state = self.state();
        let held = &mut state.held[lane as usize];
        *held = Some(held.map_or(until, |before| before.max(until)));
    }

    /// Waits before a retry.
    pub(super) async fn back_off(&self, lane: Lane, failures: u32, retry_after: Option<Duration>) {
        Timer::after(self.policy(lane).delay(failures, retry_after, random())).await;
    }
}

/// A number in `0.0..1.0`. The standard library seeds each of its hash keys at random, which is enough to keep
/// clients from marching in step.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_obey_the_server() {
        let policy = Lanes::default().playback;
        let table = [
            (1, 250),
            (2, 500),
            (3, 1000),
            (4, 2000),
            (5, 4000),
            (6, 4000),
            (40, 4000),
        ];
        for (failures, bound) in table {
            assert_eq!(
                policy.delay(failures, None, 1.0),
                Duration::from_millis(bound)
            );
            assert_eq!(policy.delay(failures, None, 0.0), Duration::ZERO);
        }
        let asked = Duration::from_secs(7);
        assert!(policy.delay(1, Some(asked), 0.0) >= asked);
        assert!(policy.delay(9, Some(asked), 1.0) <= asked + Duration::from_millis(500));
    }

    #[test]
    fn no_second_sees_more_than_27_downloads() {
        let mut window = Window::default();
        let mut now = Instant::now();
        let mut sent = Vec::new();
        while sent.len() < 200 {
            match window.take(now, 200) {
                Ok(()) => sent.push(now),
                Err(wait) => now += wait,
            }
            // They come in gusts.
            if sent.len() % 40 == 39 {
                now += Duration::from_millis(300);
            }
            assert!(window.sent.len() <= 27, "what is past is forgotten");
        }
        assert_eq!(sent[26], sent[0], "the first second's come at once");
        assert!(sent[27] >= sent[0] + SECOND);
        assert!(sent[199] - sent[0] < Duration::from_secs(10));
        for (index, first) in sent.iter().enumerate() {
            let inside = sent[index..].iter().take_while(|at| **at < *first + SECOND);
            assert!(inside.count() <= 27);
        }
    }

    #[test]
    fn small_requests_share_the_quota_with_large_ones() {
        let start = Instant::now();
        let mut window = Window::default();
        for units in [[200; 26].as_slice(), &[5; 43]].concat() {
            assert_eq!(window.take(start, units), Ok(()));
        }
        assert!(!window.easy(start));
        assert_eq!(window.take(start + SECOND / 2, 5), Err(SECOND / 2));
        assert_eq!(window.take(start + SECOND, 5), Ok(()));
        assert!(window.easy(start + SECOND));
    }

    #[test]
    fn who_gives_up_waiting_takes_nobodys_turn() {
        let pacer = Pacer::new(Lanes::default());
        smol::block_on(async {
            for _ in 0..27 {
                pacer.admit(Lane::Seek, Cost::Download).await;
            }
            for _ in 0..100 {
                let abandoned = pacer.admit(Lane::Seek, Cost::Download);
                assert!(smol::future::poll_once(abandoned).await.is_none());
            }
            let before = Instant::now();
            pacer.admit(Lane::Playback, Cost::Download).await;
            assert!(before.elapsed() < Duration::from_secs(3));
        });
    }

    #[test]
    fn a_lane_that_is_held_leaves_the_others_alone() {
        let pacer = Pacer::new(Lanes::default());
        pacer.hold(Lane::Scan, Duration::from_secs(5));
        smol::block_on(async {
            let before = Instant::now();
            pacer.admit(Lane::Playback, Cost::Download).await;
            assert!(before.elapsed() < Duration::from_millis(100));
            let scan = smol::future::or(
                async {
                    pacer.admit(Lane::Scan, Cost::List).await;
                    true
                },
                async {
                    Timer::after(Duration::from_millis(100)).await;
                    false
                },
            );
            assert!(!scan.await);
        });
    }

    #[test]
    fn random_numbers_differ() {
        let numbers: Vec<f64> = (0..8).map(|_| random()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        assert!(numbers.iter().any(|n| *n != numbers[0]));
    }
}
