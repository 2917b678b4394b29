//! Preconditions (RFC 9110 section 13): whether the answer is the thing, 304 or 412.
//!
//! Pure: the clock and the fields come in as values, so that a slow model can be held against it.

use crate::http::date;
use crate::http::etag::{self, Comparison, ETag};

/// The fields that put a condition, as received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preconditions<'a> {
    pub(crate) if_match: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
    pub(crate) if_modified_since: Option<&'a str>,
    pub(crate) if_unmodified_since: Option<&'a str>,
    pub(crate) if_range: Option<&'a str>,
}

/// What is known of the representation that would be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    pub(crate) etag: &'a ETag,
    /// Seconds since 1970, as sent in Last-Modified.
    pub(crate) modified: Option<u64>,
}

/// What the preconditions decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They hold, or there are none.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412.
    Failed,
}

impl Preconditions<'_> {
    /// Section 13.2.2, in its order, for a GET or HEAD of something that exists. `now` is in seconds since 1970.
    pub(crate) fn evaluate(&self, validators: Validators<'_>, now: u64) -> Outcome {
        // Steps 1 and 2: the date counts only where no tag was given.
        if let Some(list) = self.if_match {
            if !etag::list_matches(list, validators.etag, Comparison::Strong) {
                return Outcome::Failed;
            }
        } else if let (Some(field), Some(modified)) =
            (self.if_unmodified_since, validators.modified)
        {
            // Section 13.1.4: what is no date is ignored.
            if date::parse(field).is_some_and(|since| modified > since) {
                return Outcome::Failed;
            }
        }
        // Steps 3 and 4.
        if let Some(list) = self.if_none_match {
            if etag::list_matches(list, validators.etag, Comparison::Weak) {
                return Outcome::NotModified;
            }
        } else if let (Some(field), Some(modified)) = (self.if_modified_since, validators.modified)
        {
            // A date that is still to come was made by a wrong clock and says nothing.
            if date::parse(field).is_some_and(|since| since <= now && modified <= since) {
                return Outcome::NotModified;
            }
        }
        Outcome::Proceed
    }

    /// Section 13.1.5, step 5: whether a Range field counts. Without If-Range it does.
    pub(crate) fn range_applies(&self, validators: Validators<'_>) -> bool {
        let Some(field) = self.if_range else {
            return true;
        };
        if field.starts_with('"') || field.starts_with("W/") {
            return etag::is_exactly(field, validators.etag);
        }
        // An exact match: a later date is another representation as much as an earlier one.
        validators.modified.is_some() && date::parse(field) == validators.modified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000;
    const MODIFIED: u64 = 1_600_000_000;

    fn validators(etag: &ETag) -> Validators<'_> {
        Validators {
            etag,
            modified: Some(MODIFIED),
        }
    }

    #[test]
    fn one_field_at_a_time() {
        let tag = ETag::strong("a");
        let at = |offset: i64| date::format(MODIFIED.checked_add_signed(offset).unwrap());
        let (older, same, newer) = (at(-1), at(0), at(1));
        let future = date::format(NOW + 100);
        let none = Preconditions::default();
        for (case, fields, want) in [
            ("nothing", none, Outcome::Proceed),
            (
                "match",
                Preconditions {
                    if_match: Some("\"a\""),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "match any",
                Preconditions {
                    if_match: Some("*"),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "match weak",
                Preconditions {
                    if_match: Some("W/\"a\""),
                    ..none
                },
                Outcome::Failed,
            ),
            (
                "match other",
                Preconditions {
                    if_match: Some("\"b\""),
                    ..none
                },
                Outcome::Failed,
            ),
            (
                "none",
                Preconditions {
                    if_none_match: Some("\"b\""),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "none weak",
                Preconditions {
                    if_none_match: Some("W/\"a\""),
                    ..none
                },
                Outcome::NotModified,
            ),
            (
                "none any",
                Preconditions {
                    if_none_match: Some("*"),
                    ..none
                },
                Outcome::NotModified,
            ),
            (
                "since older",
                Preconditions {
                    if_modified_since: Some(&older),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "since same",
                Preconditions {
                    if_modified_since: Some(&same),
                    ..none
                },
                Outcome::NotModified,
            ),
            (
                "since newer",
                Preconditions {
                    if_modified_since: Some(&newer),
                    ..none
                },
                Outcome::NotModified,
            ),
            (
                "since future",
                Preconditions {
                    if_modified_since: Some(&future),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "since nonsense",
                Preconditions {
                    if_modified_since: Some("x"),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "unmodified older",
                Preconditions {
                    if_unmodified_since: Some(&older),
                    ..none
                },
                Outcome::Failed,
            ),
            (
                "unmodified same",
                Preconditions {
                    if_unmodified_since: Some(&same),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "unmodified nonsense",
                Preconditions {
                    if_unmodified_since: Some("x"),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "the tag wins over the date",
                Preconditions {
                    if_none_match: Some("\"b\""),
                    if_modified_since: Some(&same),
                    ..none
                },
                Outcome::Proceed,
            ),
            (
                "the tag wins over the older date",
                Preconditions {
                    if_match: Some("\"a\""),
                    if_unmodified_since: Some(&older),
                    ..none
                },
                Outcome::Proceed,
            ),
        ] {
            assert_eq!(fields.evaluate(validators(&tag), NOW), want, "{case}");
        }
        for (field, want) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            ("\"a\",\"b\"", false),
            (same.as_str(), true),
            (older.as_str(), false),
            (newer.as_str(), false),
            ("nonsense", false),
        ] {
            let fields = Preconditions {
                if_range: Some(field),
                ..none
            };
            assert_eq!(fields.range_applies(validators(&tag)), want, "{field}");
        }
    }

    /// The decision table of section 13.2.2, written over booleans.
    #[derive(Clone, Copy, Debug)]
    enum Tags {
        Absent,
        Any,
        Same,
        Weak,
        Other,
    }

    fn tags() -> impl Strategy<Value = Tags> {
        prop_oneof![
            Just(Tags::Absent),
            Just(Tags::Any),
            Just(Tags::Same),
            Just(Tags::Weak),
            Just(Tags::Other)
        ]
    }

    fn text(tags: Tags) -> Option<&'static str> {
        match tags {
            Tags::Absent => None,
            Tags::Any => Some("*"),
            Tags::Same => Some("\"x\" , \"a\""),
            Tags::Weak => Some("W/\"a\""),
            Tags::Other => Some("\"b\", W/\"c\""),
        }
    }

    proptest! {
        #[test]
        fn the_slow_model_agrees(
            m in tags(),
            n in tags(),
            since in proptest::option::of(-2i64..3),
            unmodified in proptest::option::of(-2i64..3),
        ) {
            let tag = ETag::strong("a");
            let at = |offset: i64| date::format(MODIFIED.checked_add_signed(offset).unwrap());
            let (since_text, unmodified_text) = (since.map(at), unmodified.map(at));
            let fields = Preconditions {
                if_match: text(m),
                if_none_match: text(n),
                if_modified_since: since_text.as_deref(),
                if_unmodified_since: unmodified_text.as_deref(),
                if_range: None,
            };
            let first_holds = match m {
                Tags::Any | Tags::Same => true,
                Tags::Weak | Tags::Other => false,
                Tags::Absent => unmodified.is_none_or(|offset| offset >= 0),
            };
            let has_it = match n {
                Tags::Any | Tags::Same | Tags::Weak => true,
                Tags::Other => false,
                Tags::Absent => since.is_some_and(|offset| offset >= 0),
            };
            let want = match (first_holds, has_it) {
                (false, _) => Outcome::Failed,
                (true, true) => Outcome::NotModified,
                (true, false) => Outcome::Proceed,
            };
            prop_assert_eq!(fields.evaluate(validators(&tag), NOW), want);
        }

        #[test]
        fn nothing_panics(a in "\\PC{0,30}", b in "[\"W/*, a-z]{0,30}") {
            let tag = ETag::strong("a");
            let fields = Preconditions {
                if_match: Some(&b),
                if_none_match: Some(&a),
                if_modified_since: Some(&a),
                if_unmodified_since: Some(&b),
                if_range: Some(&b),
            };
            fields.evaluate(validators(&tag), NOW);
            fields.range_applies(validators(&tag));
        }
    }
}
