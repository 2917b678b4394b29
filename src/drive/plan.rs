//! How large the next upstream range of a stream is; pure.
//!
//! Small at first, since most openings are probes and an abandoned range costs its connection; larger as the stream
//! goes on, since every range counts against Google's quota. A stream that empties its ranges in no time (a download on
//! a fast line) gets larger ones still.

use std::ops::Range;
use std::time::Duration;

use super::tuning::Tuning;

/// A rest of up to so many bytes is asked for at once. A film's index at its end is such a rest: a player, and a probe,
/// have it with one request.
const REST: u64 = 8 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Bytes of the next range.
    next: u64,
    /// Bytes of a rest that is not divided.
    rest: u64,
    usual: u64,
    largest: u64,
    hurried: Duration,
}

impl Plan {
    pub(super) fn new(tuning: &Tuning) -> Plan {
        Plan {
            next: tuning.first_range.max(1),
            rest: REST.min(tuning.usual_range / 2),
            usual: tuning.usual_range,
            largest: tuning.largest_range,
            hurried: tuning.hurried,
        }
    }

    /// The range from `at` on, never past `end`; `lasted` is how long the one before took.
    pub(super) fn next(&mut self, at: u64, end: u64, lasted: Option<Duration>) -> Range<u64> {
        let left = end - at;
        let size = self.next;
        let bound = match lasted {
            Some(lasted) if lasted < self.hurried => self.largest,
            _ => self.usual,
        };
        self.next = (size * 4).min(bound);
        // A last range that would be tiny is taken along.
        if left <= (size + size / 4).max(self.rest) {
            at..end
        } else {
            at..at + size
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn sizes(lasted: Duration, end: u64) -> Vec<u64> {
        let mut plan = Plan::new(&Tuning::default());
        let (mut at, mut sizes) = (0, Vec::new());
        while at < end {
            let range = plan.next(at, end, (at > 0).then_some(lasted));
            assert_eq!(range.start, at);
            assert!(range.end > at && range.end <= end);
            at = range.end;
            sizes.push((range.end - range.start) / MIB);
        }
        sizes
    }

    #[test]
    fn ranges_grow_and_never_pass_the_end() {
        let slow = Duration::from_secs(30);
        assert_eq!(sizes(slow, 53 * MIB), [1, 4, 16, 16, 16]);
        assert_eq!(sizes(slow, MIB / 2), [0]);
        assert_eq!(sizes(slow, 22 * MIB), [1, 4, 17]);
        assert_eq!(sizes(slow, 9 * MIB), [1, 8]);
        assert_eq!(sizes(slow, 8 * MIB), [8], "the index at a film's end");
        let fast = Duration::from_millis(20);
        assert_eq!(sizes(fast, 213 * MIB), [1, 4, 16, 64, 64, 64]);
    }
}
