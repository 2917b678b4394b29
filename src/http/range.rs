//! The Range field (RFC 9110 section 14): from its text and a length to the bytes that are sent.
//!
//! Pure. Malformed and unsatisfiable are different outcomes: the first is as if the field were not
//! there, the second is 416.

use std::ops::Range;

/// More ranges than this are answered with the whole: no player asks for them, attackers do.
const MAX_RANGES: usize = 16;

/// Bytes that a part of a multipart answer costs beside its content, roughly.
const PART_OVERHEAD: u64 = 80;

/// What a Range field means for a representation of a certain length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResolvedRanges {
    /// To be ignored: the whole is sent with 200.
    None,
    /// Well-formed, and nothing of it lies within: 416.
    NotSatisfiable,
    /// At least one, none of them empty, all within the length, in the order asked for.
    Satisfiable(Vec<Range<u64>>),
}

/// Resolves the value of a Range field against `len` bytes.
pub(crate) fn resolve(field: &str, len: u64) -> ResolvedRanges {
    // ranges-specifier = range-unit "=" range-set
    let Some((unit, set)) = field.split_once('=') else {
        return ResolvedRanges::None;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return ResolvedRanges::None;
    }
    let mut asked = 0;
    let mut ranges = Vec::new();
    // range-set = 1#range-spec, and a list may have empty elements (section 5.6.1.2).
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        if spec.is_empty() {
            continue;
        }
        asked += 1;
        if asked > MAX_RANGES {
            return ResolvedRanges::None;
        }
        match resolve_one(spec, len) {
            None => return ResolvedRanges::None,
            Some(range) if range.is_empty() => {}
            Some(range) => ranges.push(range),
        }
    }
    if asked == 0 {
        return ResolvedRanges::None;
    }
    if ranges.is_empty() {
        return ResolvedRanges::NotSatisfiable;
    }
    if ranges.len() > 1 && is_wasteful(&ranges, len) {
        return ResolvedRanges::None;
    }
    ResolvedRanges::Satisfiable(ranges)
}

/// One range, empty when it is unsatisfiable; `None` when it is malformed.
fn resolve_one(spec: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        // suffix-range = "-" suffix-length; one longer than the representation is all of it.
        let suffix = number(last)?;
        return Some(len.saturating_sub(suffix)..len);
    }
    // int-range = first-pos "-" [ last-pos ]; an end beyond the representation is its end.
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    Some(first.min(len)..last.saturating_add(1).min(len))
}

/// 1*DIGIT; what no 64 bits hold is beyond every representation all the same.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0u64, |value, digit| {
        digit.is_ascii_digit().then(|| {
            value
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// Section 14.2: many small or overlapping ranges may be ignored, for the whole is cheaper.
fn is_wasteful(ranges: &[Range<u64>], len: u64) -> bool {
    let total = ranges.iter().fold(0u64, |sum, range| {
        sum.saturating_add(range.end - range.start)
            .saturating_add(PART_OVERHEAD)
    });
    let overlapping = ranges
        .iter()
        .enumerate()
        .filter(|(n, range)| {
            ranges[..*n]
                .iter()
                .any(|other| other.start < range.end && range.start < other.end)
        })
        .count();
    total >= len || overlapping > 1
}

#[cfg(test)]
mod tests {
    use super::ResolvedRanges::{None as Whole, NotSatisfiable, Satisfiable};
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn the_table_of_500_bytes() {
        let one = |range: Range<u64>| Satisfiable(vec![range]);
        for (field, want) in [
            ("bytes=0-499", one(0..500)),
            ("bytes=0-500", one(0..500)),
            ("bytes=0-1048575", one(0..500)),
            ("bytes=0-", one(0..500)),
            ("bytes=0-1", one(0..2)),
            ("bytes=499-", one(499..500)),
            ("bytes=-100", one(400..500)),
            ("bytes=-500", one(0..500)),
            ("bytes=-501", one(0..500)),
            ("bytes=-99999999999999999999999", one(0..500)),
            ("bytes=-0", NotSatisfiable),
            ("bytes=500-", NotSatisfiable),
            ("bytes=500-600", NotSatisfiable),
            ("bytes=99999999999999999999-", NotSatisfiable),
            ("bytes=0-18446744073709551615", one(0..500)),
            ("bytes=0-99999999999999999999", one(0..500)),
            ("bytes=0-0,-1", Satisfiable(vec![0..1, 499..500])),
            ("bytes= 0-0 ,\t-1 ,", Satisfiable(vec![0..1, 499..500])),
            ("bytes=600-700,1-2", one(1..3)),
            ("BYTES=0-0", one(0..1)),
            ("bytes=5-2", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 -2", Whole),
            ("bytes 0-1", Whole),
            ("items=0-1", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=0-300,200-499", Whole),
            ("bytes=0-1,0-1", Satisfiable(vec![0..2, 0..2])),
            ("bytes=0-1,0-1,0-1", Whole),
        ] {
            assert_eq!(resolve(field, 500), want, "{field}");
        }
        let many = |n| format!("bytes={}", vec!["0-0"; n].join(","));
        assert_eq!(resolve(&many(17), 1 << 20), Whole);
        for field in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(resolve(field, 0), NotSatisfiable, "{field} of nothing");
        }
    }

    /// The slow and obvious model: which of the first bytes of a representation does a range hold?
    fn model(first: Option<u128>, last: Option<u128>, len: u128) -> Vec<u128> {
        (0..len)
            .filter(|at| match (first, last) {
                (Some(first), Some(last)) => first <= *at && *at <= last,
                (Some(first), None) => first <= *at,
                (None, Some(suffix)) => len - at <= suffix,
                (None, None) => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn a_length_at_the_edge_of_numbers() {
        // Found by the fuzzer: the sum of the parts and of what frames them passed the largest number.
        assert_eq!(resolve("bytes=56-,77-,3-,7-8", u64::MAX), Whole);
        assert_eq!(resolve("bytes=0-,-1", u64::MAX), Whole);
    }

    proptest! {
        #[test]
        fn one_range_is_what_the_model_says(
            first in proptest::option::of(prop_oneof![0u128..40, Just(u128::MAX / 3)]),
            last in proptest::option::of(prop_oneof![0u128..40, Just(u128::MAX / 3)]),
            len in 0u64..40,
        ) {
            prop_assume!(first.is_some() || last.is_some());
            let text = |n: Option<u128>| n.map_or(String::new(), |n| n.to_string());
            let field = format!("bytes={}-{}", text(first), text(last));
            let got = resolve(&field, len);
            if let (Some(first), Some(last)) = (first, last) {
                if last < first {
                    prop_assert_eq!(got, Whole);
                    return Ok(());
                }
            }
            let bytes = model(first, last, u128::from(len));
            let got = match got {
                Satisfiable(ranges) => ranges.into_iter().flatten().map(u128::from).collect(),
                NotSatisfiable => Vec::new(),
                Whole => panic!("{field} was ignored"),
            };
            prop_assert_eq!(got, bytes);
        }

        #[test]
        fn every_range_is_within_and_not_empty(field in "(bytes=)?[0-9, \\-]{0,60}", len: u64) {
            if let Satisfiable(ranges) = resolve(&field, len) {
                prop_assert!(!ranges.is_empty() && ranges.len() <= MAX_RANGES);
                for range in ranges {
                    prop_assert!(range.start < range.end && range.end <= len);
                }
            }
        }
    }
}
