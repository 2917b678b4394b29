//! When the next request to Google may go.
//!
//! Two policies, both pure functions of what happened before, and one place that waits. The first is the
//! delay before a retry: full jitter (a random part of a doubling bound), never less than the server's
//! `Retry-After`. The second is Google's quota: units of work in a bucket, so that the limit is not met in the
//! first place. Lanes keep apart what must not wait for each other: a scan that Google slows down leaves
//! playback alone.

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
    fn units(self) -> f64 {
        match self {
            Cost::Get => 5.0,
            Cost::List => 100.0,
            Cost::Download => 200.0,
        }
    }
}

/// 325,000 units a minute per user are 27 downloads a second. In any second at most the burst and the rate
/// together pass: 7 + 20 downloads.
const RATE: f64 = 20.0 * 200.0;
const BURST: f64 = 7.0 * 200.0;

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

/// A bucket of quota units, by the generic cell rate algorithm: one instant is all its state.
#[derive(Debug)]
struct Bucket {
    /// When the bucket is full again.
    full_at: Instant,
}

impl Bucket {
    /// How long a request of `units` waits, counted as sent.
    fn take(&mut self, now: Instant, units: f64) -> Duration {
        let emission = Duration::from_secs_f64(units / RATE);
        let tolerance = Duration::from_secs_f64(BURST / RATE);
        self.full_at = self.full_at.max(now) + emission;
        (self.full_at - now).saturating_sub(tolerance)
    }

    /// Whether at least half of the burst is there.
    fn easy(&self, now: Instant) -> bool {
        let tolerance = Duration::from_secs_f64(BURST / RATE / 2.0);
        self.full_at.saturating_duration_since(now) <= tolerance
    }
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    /// Until when each lane is held back by a `Retry-After`.
    held: [Option<Instant>; 4],
}

/// When a request may go.
enum Turn {
    /// After this long; its place is kept.
    In(Duration),
    /// Not yet known.
    AskAgain(Duration),
}

/// All requests to Google pass here.
#[derive(Debug)]
pub(super) struct Pacer {
    lanes: Lanes,
    state: Mutex<State>,
}

impl Pacer {
    pub(super) fn new(lanes: Lanes) -> Pacer {
        let bucket = Bucket {
            full_at: Instant::now(),
        };
        Pacer {
            lanes,
            state: Mutex::new(State {
                bucket,
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
        loop {
            match self.turn(lane, cost) {
                Turn::In(wait) if wait.is_zero() => return,
                Turn::In(wait) => {
                    Timer::after(wait).await;
                    return;
                }
                Turn::AskAgain(wait) => Timer::after(wait).await,
            };
        }
    }

    fn turn(&self, lane: Lane, cost: Cost) -> Turn {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.held[lane as usize] {
            if until > now {
                return Turn::AskAgain(until - now);
            }
        }
        if lane == Lane::Scan && !state.bucket.easy(now) {
            return Turn::AskAgain(Duration::from_millis(100));
        }
        Turn::In(state.bucket.take(now, cost.units()))
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
        let start = Instant::now();
        let mut bucket = Bucket { full_at: start };
        let sent: Vec<Duration> = (0..200).map(|_| bucket.take(start, 200.0)).collect();
        for window in sent.iter() {
            let inside = sent
                .iter()
                .filter(|t| *t >= window && **t < *window + Duration::from_secs(1));
            assert!(inside.count() <= 27);
        }
        assert!(sent[6].is_zero() && !sent[7].is_zero());
        assert!(sent[199] < Duration::from_secs(10));
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
