//! What is known of all references of a catalog: how many of which kind, and what is wrong with the first of them.

use serde_json::{Value, json};

use crate::catalog::index::Index;
use crate::catalog::reference::Reference;

/// Issues that are named; the counts hold all.
const NAMED: usize = 30;

/// Characters of a wrong value that are shown.
const SHOWN: usize = 100;

/// Where a reference stands: numbers in the lists of [`Index`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) category: u32,
    pub(crate) route: u32,
    pub(crate) course: u32,
    pub(crate) module: u32,
    pub(crate) class: u32,
}

#[derive(Debug)]
struct Issue {
    place: Place,
    /// The file in the class, or of the course.
    what: String,
    value: Option<String>,
    reason: String,
}

/// The references of a catalog, counted.
#[derive(Debug, Default)]
pub(crate) struct References {
    drive: u64,
    local: u64,
    invalid: u64,
    empty: u64,
    /// Files that a class says it has and that nothing names.
    missing: u64,
    issues: Vec<Issue>,
}

impl References {
    /// Counts a reference; `what` is put together only when something is wrong with it.
    pub(crate) fn check(&mut self, place: Place, what: (&str, &str), value: &str) {
        let value = value.trim();
        if value.is_empty() {
            self.empty += 1;
            return;
        }
        match Reference::parse(value) {
            Ok(Reference::Drive(_)) => self.drive += 1,
            Ok(Reference::Local(_)) => self.local += 1,
            Err(reason) => {
                self.invalid += 1;
                let value = value.chars().take(SHOWN).collect();
                let what = format!("{}{}", what.0, what.1);
                self.issue(place, &what, Some(value), reason.to_owned());
            }
        }
    }

    /// Counts a file that `has` promises and that is not named.
    pub(crate) fn missing(&mut self, place: Place, what: &str, has: &str) {
        self.empty += 1;
        self.missing += 1;
        let what = format!("files.{what}");
        self.issue(
            place,
            &what,
            None,
            format!("{has} is true, but no file is named"),
        );
    }

    fn issue(&mut self, place: Place, what: &str, value: Option<String>, reason: String) {
        if self.issues.len() < NAMED {
            let what = what.chars().take(SHOWN).collect();
            self.issues.push(Issue {
                place,
                what,
                value,
                reason,
            });
        }
    }

    /// Whether everything that is referred to lies on this disk.
    pub(crate) fn local_only(&self) -> bool {
        self.local > 0 && self.drive == 0
    }

    /// The answer to `/api/self-check-drive`.
    pub(crate) fn report(&self, index: &Index) -> Value {
        let total = self.drive + self.local + self.invalid + self.empty;
        let ok = self.invalid == 0 && self.missing == 0;
        let message = match (total, ok) {
            (0, _) => "The catalog names no files yet.".to_owned(),
            (_, true) => format!("All {total} references have a sound form."),
            _ => format!(
                "{} of {total} references cannot be right, and {} files that a class promises are not named; \
                 mend the catalog, or scan again.",
                self.invalid, self.missing
            ),
        };
        let issues: Vec<Value> = self
            .issues
            .iter()
            .map(|issue| {
                json!({
                    "location": location(index, issue),
                    "value": issue.value,
                    "reason": issue.reason,
                })
            })
            .collect();
        json!({
            "totalRefs": total,
            "validDriveRefs": self.drive,
            "localRefs": self.local,
            "invalidRefs": self.invalid,
            "emptyRefs": self.empty,
            "issues": issues,
            "ok": ok,
            "message": message,
        })
    }
}

/// The names that lead to an issue, and its key.
fn location(index: &Index, issue: &Issue) -> String {
    let place = issue.place;
    let mut names = Vec::new();
    let mut push = |text| names.push(index.text(text));
    if let Some(category) = index.categories.get(place.category as usize) {
        push(category.name);
    }
    if let Some(route) = index.routes.get(place.route as usize) {
        push(route.name);
        if let Some(course) = index.courses.get(place.course as usize) {
            if !route.is_course {
                push(course.name);
            }
        }
    }
    if issue.what != "presentationId" {
        if let Some(module) = index.modules.get(place.module as usize) {
            push(module.name);
        }
        if let Some(class) = index.classes.get(place.class as usize) {
            push(class.name);
        }
    }
    format!("{}: {}", names.join(" / "), issue.what)
}
