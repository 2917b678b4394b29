//! How long one request is tried before its failure becomes an answer.
//!
//! A viewer is never left hanging: tries are counted, and all of them together have a deadline. Pure but for the clock;
//! who tries and waits is `service`'s business.

use std::time::{Duration, Instant};

use super::reply::{self, Judged, Refusal, Verdict};
use super::tuning::Policy;

/// How long and how often one request is tried; pure.
#[derive(Debug)]
pub(super) struct Patience {
    policy: Policy,
    until: Instant,
    failures: u32,
    last: Option<Refusal>,
}

/// What comes after a failure.
#[derive(Debug)]
pub(super) enum Next {
    /// Try again after a back-off for so many failures, and not before the server's delay.
    Again(u32, Option<Duration>),
    /// Say this.
    Give(Refusal),
}

impl Patience {
    pub(super) fn new(policy: Policy) -> Patience {
        Patience {
            until: Instant::now() + policy.deadline,
            policy,
            failures: 0,
            last: None,
        }
    }

    /// The same, and no longer than until then.
    pub(super) fn by(mut self, until: Instant) -> Patience {
        self.until = self.until.min(until);
        self
    }

    /// The moment after which nothing is waited for.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Decides after a failure, or after the deadline (`None`).
    pub(super) fn next(&mut self, judged: Option<Judged>) -> Next {
        let Some(judged) = judged else {
            return Next::Give(self.last.take().unwrap_or_else(reply::judge_silence));
        };
        let Verdict::Retry(delay) = judged.verdict else {
            return Next::Give(judged.refusal);
        };
        self.failures += 1;
        // A delay beyond what a viewer sits through is passed on as `Retry-After`.
        let hopeless = delay
            .is_some_and(|delay| delay > self.policy.cap || Instant::now() + delay >= self.until);
        if hopeless || self.failures >= self.policy.attempts || Instant::now() >= self.until {
            return Next::Give(judged.refusal);
        }
        self.last = Some(judged.refusal);
        Next::Again(self.failures, delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn judged(verdict: Verdict) -> Option<Judged> {
        let refusal = Refusal::new(Kind::BadGateway, "drive_failed", "No.");
        Some(Judged { verdict, refusal })
    }

    fn policy() -> Policy {
        super::super::tuning::Lanes::default().playback
    }

    #[test]
    fn tries_are_counted() {
        let mut patience = Patience::new(policy());
        for n in 1..policy().attempts {
            match patience.next(judged(Verdict::Retry(None))) {
                Next::Again(failures, None) => assert_eq!(failures, n),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            patience.next(judged(Verdict::Retry(None))),
            Next::Give(_)
        ));
    }

    #[test]
    fn what_is_final_or_far_away_is_said_at_once() {
        for verdict in [
            Verdict::Final,
            Verdict::Retry(Some(Duration::from_secs(86_400))),
        ] {
            assert!(matches!(
                Patience::new(policy()).next(judged(verdict)),
                Next::Give(_)
            ));
        }
        let soon = Verdict::Retry(Some(Duration::from_secs(2)));
        assert!(matches!(
            Patience::new(policy()).next(judged(soon)),
            Next::Again(1, Some(_))
        ));
    }

    #[test]
    fn the_deadline_gives_the_last_refusal() {
        let mut patience = Patience::new(policy());
        assert!(matches!(patience.next(None), Next::Give(_)));
        let mut over = Patience::new(policy()).by(Instant::now());
        assert!(matches!(
            over.next(judged(Verdict::Retry(None))),
            Next::Give(_)
        ));
    }
}
