//! One entry of a progress document, and what becomes of two that tell of the same lecture.
//!
//! Pure. A value stays the text that its writer sent ([`RawValue`]): numbers of any length, dates in either
//! notation and fields that nobody here knows come out as they went in.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::store::progress::moment;

/// Deepest nesting of a document, counted with the document itself. A client that reads it may recurse.
pub(super) const DEEPEST: usize = 32;

/// Longest entry that is merged, in bytes. Ten times what a player has to say.
const LONGEST: usize = 16 * 1024;

/// A position below so many seconds is what a player reports before it has found the old one again.
const GOOD_SECONDS: f64 = 5.0;

/// How far ahead of our clock a `lastWatched` may be, in milliseconds. A device whose clock is ahead (a wrong time
/// zone, a television that believes it is 2050) keeps the writes of others out for no longer than this; nor does our
/// own clock, once it was ahead and is set back.
const AHEAD: f64 = 120_000.0;

/// An entry: its fields by name, each as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry(BTreeMap<String, Box<RawValue>>);

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|((name, value), (name2, value2))| {
                    name == name2 && value.get() == value2.get()
                })
    }
}

impl Entry {
    /// Reads an entry; `None` when it is no object.
    pub(super) fn read(text: &str) -> Option<Entry> {
        text.starts_with('{')
            .then(|| serde_json::from_str(text).ok().map(Entry))?
    }

    /// Reads an entry that is to be merged.
    ///
    /// # Errors
    /// `invalid_progress`: it is no object, is too long, or has a known field of another type.
    pub(super) fn read_strictly(key: &str, text: &str) -> Result<Entry> {
        let refuse = |why: &str| {
            let shown: String = key.chars().take(80).collect();
            Error::new(
                Kind::BadRequest,
                "invalid_progress",
                format!(
                    "The entry {shown:?} {why}; send {{\"status\": \"in_progress\" or \"complete\", \"watchTime\": \
                     seconds, \"duration\": seconds, \"lastWatched\": time}}, or null to remove it."
                ),
            )
        };
        if text.len() > LONGEST {
            return Err(refuse("is longer than 16 KiB"));
        }
        let entry = Entry::read(text).ok_or_else(|| refuse("is no object"))?;
        for (name, value) in &entry.0 {
            let value = value.get();
            let sound = value == "null"
                || match name.as_str() {
                    "status" => {
                        matches!(string(value).as_deref(), Some("in_progress" | "complete"))
                    }
                    "watchTime" | "duration" => number(value).is_some(),
                    "lastWatched" | "completedAt" => stamp(value).is_some(),
                    _ => true,
                };
            if !sound {
                let name: String = name.chars().take(80).collect();
                return Err(refuse(&format!("has a {name} that is none")));
            }
        }
        Ok(entry)
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::from("{");
        for (name, value) in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            super::document::push_member(&mut text, name, value.get());
        }
        text.push('}');
        text
    }

    /// Merges `new`, which arrives now, with `old`, which is kept. `now` is in milliseconds since 1970.
    ///
    /// The entry that was watched later wins, field by field; what only the earlier one has, stays. Beyond that:
    /// - An entry is *dated* when its `lastWatched` can be read and is at most two minutes ahead of `now`. Of two
    ///   dated ones the one with the larger date is the later (the arriving one, when they are equal); else the
    ///   arriving one is.
    /// - `complete` is undone by nothing but a dated entry that is the later.
    /// - A position of 5 s or more is not replaced by a smaller one, nor by none.
    /// - `null` in `status`, `watchTime`, `duration` and `lastWatched` is as if it were not there.
    ///
    /// Thus merging the same entry twice changes nothing the second time; and of dated entries that have all
    /// the fields any order gives the same result, but where three of them disagree and the latest is below 5 s.
    pub(super) fn merge(old: &Entry, new: &Entry, now: f64) -> Entry {
        let (old_date, new_date) = (old.dated(now), new.dated(now));
        let new_is_later = match (old_date, new_date) {
            (Some(old), Some(new)) => new >= old,
            _ => true,
        };
        let (later, earlier) = if new_is_later { (new, old) } else { (old, new) };
        let mut merged = earlier.clone();
        merged.0.extend(later.0.clone());

        for name in ["status", "duration"] {
            let said = |entry: &&Entry| entry.get(name).is_some_and(|value| value != "null");
            merged.take(name, [later, earlier].into_iter().find(said));
        }
        if new_is_later && new_date.is_none() && old.is_complete() && !new.is_complete() {
            for name in ["status", "completedAt"] {
                merged.take(name, Some(old));
            }
        }

        let good = |entry: &&Entry| entry.watch_time().is_some_and(|time| time >= GOOD_SECONDS);
        let any = |entry: &&Entry| entry.watch_time().is_some();
        let both = [later, earlier];
        let position = both.iter().copied().find(good);
        merged.take("watchTime", position.or(both.iter().copied().find(any)));

        let readable = |entry: &&Entry| entry.get("lastWatched").and_then(stamp).is_some();
        let dated = both
            .iter()
            .copied()
            .find(|entry| entry.dated(now).is_some());
        merged.take("lastWatched", dated.or(both.iter().copied().find(readable)));
        merged
    }

    /// Whether it says `complete`.
    pub(super) fn is_complete(&self) -> bool {
        self.status().as_deref() == Some("complete")
    }

    pub(super) fn status(&self) -> Option<String> {
        string(self.get("status")?)
    }

    /// The position in seconds, when it is one.
    pub(super) fn watch_time(&self) -> Option<f64> {
        number(self.get("watchTime")?)
    }

    /// The length in seconds, when it is one.
    pub(super) fn duration(&self) -> Option<f64> {
        number(self.get("duration")?)
    }

    /// When it was watched, in milliseconds since 1970, when that can be read and believed.
    fn dated(&self, now: f64) -> Option<f64> {
        stamp(self.get("lastWatched")?).filter(|date| *date <= now + AHEAD)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// Takes the field of another entry, when there is one.
    fn take(&mut self, name: &str, of: Option<&Entry>) {
        if let Some(value) = of.and_then(|of| of.0.get(name)) {
            self.0.insert(name.to_owned(), value.clone());
        }
    }
}

fn string(raw: &str) -> Option<String> {
    raw.starts_with('"')
        .then(|| serde_json::from_str(raw).ok())?
}

/// A number of seconds: neither negative nor beyond what a double holds.
fn number(raw: &str) -> Option<f64> {
    let number: f64 = serde_json::from_str(raw).ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// A moment as clients write it: `Date.now()` (milliseconds), seconds since 1970, or ISO 8601.
fn stamp(raw: &str) -> Option<f64> {
    match string(raw) {
        Some(text) => moment::read(&text),
        None => number(raw).map(moment::of_number),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: f64 = 1_000_000.0;

    fn entry(text: &str) -> Entry {
        Entry::read(text).unwrap()
    }

    /// `lastWatched` in the table is in seconds of its own; as milliseconds they would be read as seconds.
    fn merged(old: &str, new: &str) -> String {
        Entry::merge(&entry(old), &entry(new), 1_800_000_000_000.0).text()
    }

    #[test]
    fn what_becomes_of_two() {
        let table = [
            // A later one wins; what it does not say stays.
            (
                r#"{"duration":9,"lastWatched":100,"watchTime":10}"#,
                r#"{"lastWatched":200,"watchTime":20}"#,
                r#"{"duration":9,"lastWatched":200,"watchTime":20}"#,
            ),
            // An older one changes nothing that is said, and adds what is not.
            (
                r#"{"lastWatched":200,"watchTime":20}"#,
                r#"{"lastWatched":100,"watchTime":10,"note":"x"}"#,
                r#"{"lastWatched":200,"note":"x","watchTime":20}"#,
            ),
            // Equal dates: who comes last.
            (
                r#"{"lastWatched":200,"watchTime":20}"#,
                r#"{"lastWatched":200,"watchTime":21}"#,
                r#"{"lastWatched":200,"watchTime":21}"#,
            ),
            // `complete` stays against an older write, and goes with a later one.
            (
                r#"{"lastWatched":200,"status":"complete"}"#,
                r#"{"lastWatched":100,"status":"in_progress"}"#,
                r#"{"lastWatched":200,"status":"complete"}"#,
            ),
            (
                r#"{"lastWatched":100,"status":"complete"}"#,
                r#"{"lastWatched":200,"status":"in_progress"}"#,
                r#"{"lastWatched":200,"status":"in_progress"}"#,
            ),
            // A write without a date is the later one, but does not undo `complete`.
            (
                r#"{"completedAt":5,"lastWatched":100,"status":"complete","watchTime":50}"#,
                r#"{"completedAt":null,"status":"in_progress","watchTime":7}"#,
                r#"{"completedAt":5,"lastWatched":100,"status":"complete","watchTime":7}"#,
            ),
            // A good position stays, whichever comes first.
            (
                r#"{"lastWatched":100,"watchTime":50}"#,
                r#"{"lastWatched":200,"watchTime":4.9}"#,
                r#"{"lastWatched":200,"watchTime":50}"#,
            ),
            (
                r#"{"lastWatched":200,"watchTime":4.9}"#,
                r#"{"lastWatched":100,"watchTime":50}"#,
                r#"{"lastWatched":200,"watchTime":50}"#,
            ),
            (
                r#"{"lastWatched":100,"watchTime":50}"#,
                r#"{"lastWatched":200,"watchTime":5}"#,
                r#"{"lastWatched":200,"watchTime":5}"#,
            ),
            (
                r#"{"lastWatched":100,"watchTime":3}"#,
                r#"{"lastWatched":200,"watchTime":2}"#,
                r#"{"lastWatched":200,"watchTime":2}"#,
            ),
            (
                r#"{"watchTime":50}"#,
                r#"{"watchTime":null,"status":null}"#,
                r#"{"status":null,"watchTime":50}"#,
            ),
            // Notations are compared by what they mean, and kept as written.
            (
                r#"{"lastWatched":"2026-01-01T00:00:00Z","watchTime":9}"#,
                r#"{"lastWatched":1767225599000,"watchTime":8}"#,
                r#"{"lastWatched":"2026-01-01T00:00:00Z","watchTime":9}"#,
            ),
            (
                r#"{"lastWatched":1767225600000,"watchTime":9}"#,
                r#"{"lastWatched":"2026-01-01T01:00:00.001+01:00","watchTime":8}"#,
                r#"{"lastWatched":"2026-01-01T01:00:00.001+01:00","watchTime":8}"#,
            ),
            // A clock of 2050 keeps nobody out, and does not date what it writes.
            (
                r#"{"lastWatched":2524608000000,"watchTime":9}"#,
                r#"{"lastWatched":100,"watchTime":8}"#,
                r#"{"lastWatched":100,"watchTime":8}"#,
            ),
            (
                r#"{"lastWatched":100,"status":"complete"}"#,
                r#"{"lastWatched":2524608000000,"status":"in_progress"}"#,
                r#"{"lastWatched":100,"status":"complete"}"#,
            ),
            // Nor does one in the wrong time zone: it is taken as it comes, and the next one, too.
            (
                r#"{"lastWatched":1799999990000,"watchTime":9}"#,
                r#"{"lastWatched":1800003600000,"watchTime":8}"#,
                r#"{"lastWatched":1799999990000,"watchTime":8}"#,
            ),
            (
                r#"{"lastWatched":1800003600000,"watchTime":9}"#,
                r#"{"lastWatched":1800000000000,"watchTime":8}"#,
                r#"{"lastWatched":1800000000000,"watchTime":8}"#,
            ),
            // What was stored before anything was checked.
            (
                r#"{"lastWatched":{},"watchTime":"NaN","status":7}"#,
                r#"{"lastWatched":100,"watchTime":3,"status":"complete"}"#,
                r#"{"lastWatched":100,"status":"complete","watchTime":3}"#,
            ),
            (
                r#"{"watchTime":1e400,"big":1e400}"#,
                r#"{"watchTime":3}"#,
                r#"{"big":1e400,"watchTime":3}"#,
            ),
            ("{}", r#"{"b":[1, 2],"a":""}"#, r#"{"a":"","b":[1, 2]}"#),
        ];
        for (old, new, want) in table {
            assert_eq!(merged(old, new), want, "{old} + {new}");
        }
    }

    /// `lastWatched` and `watchTime` after one write follows the other; `now` is our clock at each, in seconds.
    fn over_time(writes: &[(u64, u64, u64)]) -> Vec<u64> {
        let mut kept = Entry::default();
        let mut positions = Vec::new();
        for (now, date, time) in writes {
            let text = format!(r#"{{"lastWatched":{},"watchTime":{time}}}"#, date * 1000);
            kept = Entry::merge(&kept, &entry(&text), *now as f64 * 1000.0);
            positions.push(kept.watch_time().unwrap() as u64);
        }
        positions
    }

    #[test]
    fn clocks_that_jump_freeze_nothing() {
        const NOW: u64 = 1_800_000_000;
        const YEARS: u64 = 2 * 365 * 86_400;
        // Ours and the player's two years ahead, then both right; the player's alone; ours alone, ahead and behind.
        for jump in [
            [(NOW + YEARS, NOW + YEARS), (NOW, NOW)],
            [(NOW, NOW + YEARS), (NOW, NOW)],
            [(NOW + YEARS, NOW), (NOW, NOW)],
            [(NOW - YEARS, NOW), (NOW, NOW)],
            [(NOW - YEARS, NOW - YEARS), (NOW, NOW)],
            [(NOW, NOW), (NOW - YEARS, NOW)],
            [(NOW, NOW), (NOW - YEARS, NOW - YEARS)],
        ] {
            let [(now, date), (now_after, date_after)] = jump;
            let before = (0..3).map(|n| (now + 10 * n, date + 10 * n, 100 + n));
            let after = (1..9).map(|n| (now_after + 60 * n, date_after + 60 * n, 200 + n));
            let kept = over_time(&before.chain(after).collect::<Vec<_>>());
            assert_eq!(kept[..3], [100, 101, 102], "{jump:?}");
            assert_eq!(kept[10], 208, "{jump:?}");
        }
        // A summer's end at midnight, an hour back, is no jump: moments have no hours of the day.
        assert_eq!(
            over_time(&[(NOW, NOW, 50), (NOW + 5, NOW - 3600, 60)]),
            [50, 50]
        );
    }

    #[test]
    fn what_is_no_entry() {
        for good in [
            "{}",
            r#"{"status":"complete","watchTime":0,"duration":1e3,"lastWatched":"2026-01-01","completedAt":null,"x":[[]]}"#,
        ] {
            assert!(Entry::read_strictly("k", good).is_ok(), "{good}");
        }
        for bad in [
            "1",
            "[]",
            "null",
            r#"{"status":"done"}"#,
            r#"{"status":1}"#,
            r#"{"watchTime":"NaN"}"#,
            r#"{"watchTime":-1}"#,
            r#"{"watchTime":1e400}"#,
            r#"{"duration":{}}"#,
            r#"{"lastWatched":"yesterday"}"#,
            r#"{"lastWatched":[]}"#,
            r#"{"completedAt":true}"#,
        ] {
            assert!(Entry::read_strictly("k", bad).is_err(), "{bad}");
        }
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(LONGEST));
        assert!(Entry::read_strictly("k", &long).is_err());
    }

    /// An entry as a player sends it, all fields said.
    fn full() -> impl Strategy<Value = Entry> {
        (1..900u32, 0..20u32, any::<bool>()).prop_map(|(date, time, complete)| {
            let status = if complete { "complete" } else { "in_progress" };
            entry(&format!(
                r#"{{"status":"{status}","watchTime":{time},"duration":{date},"lastWatched":{date},"completedAt":{date}}}"#
            ))
        })
    }

    /// Anything that may be stored or sent.
    fn any_entry() -> impl Strategy<Value = Entry> {
        let value = prop_oneof![
            Just("null"),
            Just("7"),
            Just("3"),
            Just("900"),
            Just("\"complete\""),
            Just("\"in_progress\""),
            Just("\"1970-01-01T00:05:00Z\""),
            Just("9e12"),
            Just("{}"),
            Just("\"NaN\""),
        ];
        let name = prop_oneof![
            Just("status"),
            Just("watchTime"),
            Just("duration"),
            Just("lastWatched"),
            Just("completedAt"),
            Just("x"),
        ];
        prop::collection::btree_map(name, value, 0..6).prop_map(|fields| {
            let fields: Vec<String> = fields.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
            entry(&format!("{{{}}}", fields.join(",")))
        })
    }

    proptest! {
        #[test]
        fn either_order_of_two_is_the_same(a in full(), b in full()) {
            prop_assume!(a.dated(NOW) != b.dated(NOW));
            prop_assert_eq!(Entry::merge(&a, &b, NOW), Entry::merge(&b, &a, NOW));
        }

        #[test]
        fn any_order_of_three_is_the_same(a in full(), b in full(), c in full()) {
            let all = [&a, &b, &c];
            prop_assume!(all.iter().all(|e| e.watch_time() >= Some(GOOD_SECONDS)));
            prop_assume!(a.dated(NOW) != b.dated(NOW) && b.dated(NOW) != c.dated(NOW) && a.dated(NOW) != c.dated(NOW));
            let merge = |x: &Entry, y: &Entry, z: &Entry| Entry::merge(&Entry::merge(x, y, NOW), z, NOW);
            let first = merge(&a, &b, &c);
            for (x, y, z) in [(&a, &c, &b), (&b, &a, &c), (&b, &c, &a), (&c, &a, &b), (&c, &b, &a)] {
                prop_assert_eq!(&merge(x, y, z), &first);
            }
        }

        #[test]
        fn twice_is_once(a in any_entry(), b in any_entry()) {
            let once = Entry::merge(&a, &b, NOW);
            prop_assert_eq!(&Entry::merge(&once, &b, NOW), &once);
        }

        #[test]
        fn never_back(a in any_entry(), b in any_entry()) {
            let merged = Entry::merge(&a, &b, NOW);
            let known = |entry: &Entry| entry.dated(NOW).unwrap_or(0.0);
            prop_assert!(known(&merged) >= known(&a).max(known(&b)));
            if a.watch_time() >= Some(GOOD_SECONDS) {
                prop_assert!(merged.watch_time() >= Some(GOOD_SECONDS));
            }
            if a.is_complete() && b.dated(NOW).is_none() {
                prop_assert!(merged.is_complete());
            }
        }
    }
}
