//! What is kept of a catalog in memory: names, references and places, all in one arena of text.
//!
//! Every level is one flat list in the order of the file; an entry knows the range of what lies below it and the
//! number of what lies above. What a course holds beyond names is read from the file, by the range of its bytes.

mod growing;

use std::ops::Range;

use crate::catalog::text;

pub(crate) use growing::{Growing, Naming};

/// A piece of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    at: u32,
    len: u32,
}

/// What an entry answers to, each as [`text::key`] folds it; empty where it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys {
    pub(crate) id: Text,
    pub(crate) name: Text,
    pub(crate) slug: Text,
    pub(crate) url: Text,
}

/// A category.
#[derive(Clone, Debug)]
pub struct Category {
    /// As the file has it.
    pub name: Text,
    /// As the file has it; empty without one.
    pub id: Text,
    /// Segment of a URL that leads here and nowhere else.
    pub reference: Text,
    /// Its routes.
    pub routes: Range<u32>,
    pub(crate) keys: Keys,
}

/// A route: several courses, or a course by itself.
#[derive(Clone, Debug)]
pub struct Route {
    /// As the file has it.
    pub name: Text,
    /// As the file has it; empty without one.
    pub id: Text,
    /// Last segment of `url`, else the id, else the slug of the name, else the name.
    pub public_id: Text,
    /// Segment of a URL that leads here and nowhere else.
    pub reference: Text,
    /// It is a course: the one in `courses`.
    pub is_course: bool,
    /// Its courses.
    pub courses: Range<u32>,
    /// Number of its category.
    pub category: u32,
    pub(crate) keys: Keys,
}

/// A course.
#[derive(Clone, Debug)]
pub struct Course {
    /// As the file has it.
    pub name: Text,
    /// As the file has it; empty without one.
    pub id: Text,
    /// Last segment of `url`, else the id, else the slug of the name, else the name.
    pub public_id: Text,
    /// Segment of a URL that leads here and nowhere else.
    pub reference: Text,
    /// Its modules.
    pub modules: Range<u32>,
    /// Where it stands in the file.
    pub bytes: Range<u64>,
    /// Number of its route.
    pub route: u32,
    pub(crate) keys: Keys,
}

impl Course {
    /// Whether it has a URL that tells it from others.
    pub fn has_url(&self) -> bool {
        self.keys.url != Text::default()
    }
}

/// A module.
#[derive(Clone, Debug)]
pub struct Module {
    /// As the file has it.
    pub name: Text,
    /// Segment of a URL that leads here and nowhere else.
    pub reference: Text,
    /// Its classes.
    pub classes: Range<u32>,
    /// Number of its course.
    pub course: u32,
}

/// A class.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// As the file has it.
    pub name: Text,
    /// Segment of a URL that leads here and nowhere else.
    pub reference: Text,
    /// Number of its module.
    pub module: u32,
}

/// What is kept of a catalog in memory.
#[derive(Debug, Default)]
pub struct Index {
    pub(crate) arena: String,
    /// In the order of the file, like all that follow.
    pub categories: Vec<Category>,
    /// Of all categories.
    pub routes: Vec<Route>,
    /// Of all routes.
    pub courses: Vec<Course>,
    /// Of all courses.
    pub modules: Vec<Module>,
    /// Of all modules.
    pub classes: Vec<Class>,
    /// Ids of files on Drive and the keys that open them, in the order of the ids.
    pub(crate) resource_keys: Vec<(Text, Text)>,
}

/// Where a course was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Numbers in [`Index`]'s lists.
    pub category: usize,
    /// See above.
    pub route: usize,
    /// See above.
    pub course: usize,
}

impl Index {
    /// A text of the arena.
    pub fn text(&self, text: Text) -> &str {
        self.arena
            .get(text.at as usize..(text.at + text.len) as usize)
            .unwrap_or_default()
    }

    /// The key that a file on Drive asks of those who have nothing but its link.
    pub fn resource_key(&self, id: &str) -> Option<&str> {
        let found = self
            .resource_keys
            .binary_search_by(|(known, _)| self.text(*known).cmp(id));
        Some(self.text(self.resource_keys.get(found.ok()?)?.1))
    }

    /// The routes of a category.
    pub fn routes_of(&self, category: &Category) -> &[Route] {
        slice(&self.routes, &category.routes)
    }

    /// The courses of a route.
    pub fn courses_of(&self, route: &Route) -> &[Course] {
        slice(&self.courses, &route.courses)
    }

    /// The modules of a course.
    pub fn modules_of(&self, course: &Course) -> &[Module] {
        slice(&self.modules, &course.modules)
    }

    /// The classes of a module.
    pub fn classes_of(&self, module: &Module) -> &[Class] {
        slice(&self.classes, &module.classes)
    }

    /// Number of the classes of a course.
    pub fn class_count(&self, course: &Course) -> usize {
        match self.modules_of(course) {
            [first, .., last] => (last.classes.end - first.classes.start) as usize,
            [only] => only.classes.len(),
            [] => 0,
        }
    }

    /// Finds a category.
    pub fn category(&self, reference: &str) -> Option<usize> {
        self.find(&self.categories, reference, |entry| &entry.keys)
    }

    /// Finds a course by three references, each the number of its place (from 0), an id, a name, the slug of a name or
    /// the last segment of a URL, without regard to case. Where several fit, the first kind of these wins, then the
    /// first place. A route that is a course is its own only course: `0`, or whatever names the route.
    pub fn course(&self, category: &str, route: &str, course: &str) -> Option<Found> {
        let at = self.category(category)?;
        let routes = &self.categories[at].routes;
        let route_at = routes.start as usize
            + self.find(slice(&self.routes, routes), route, |entry| &entry.keys)?;
        let courses = &self.routes[route_at].courses;
        let course_at = courses.start as usize
            + self.find(slice(&self.courses, courses), course, |entry| &entry.keys)?;
        Some(Found {
            category: at,
            route: route_at,
            course: course_at,
        })
    }

    /// Where a course stands, by its number.
    pub fn place(&self, course: usize) -> Option<Found> {
        let route = self.courses.get(course)?.route as usize;
        let category = self.routes.get(route)?.category as usize;
        Some(Found {
            category,
            route,
            course,
        })
    }

    /// Finds a class of a course by two references: numbers of places (from 0), names, or slugs of names.
    pub fn class(&self, course: usize, module: &str, class: &str) -> Option<usize> {
        let modules = &self.courses.get(course)?.modules;
        let at = self.find_named(slice(&self.modules, modules), module, |entry| entry.name)?;
        let classes = &self.modules[modules.start as usize + at].classes;
        let at = self.find_named(slice(&self.classes, classes), class, |entry| entry.name)?;
        Some(classes.start as usize + at)
    }

    fn find<T>(&self, entries: &[T], reference: &str, keys: impl Fn(&T) -> &Keys) -> Option<usize> {
        if let Some(at) = place(reference, entries.len()) {
            return Some(at);
        }
        let wanted = text::key(reference);
        if wanted.is_empty() {
            return None;
        }
        KINDS.iter().find_map(|kind| {
            entries
                .iter()
                .position(|entry| self.text(kind(keys(entry))) == wanted)
        })
    }

    fn find_named<T>(
        &self,
        entries: &[T],
        reference: &str,
        name: impl Fn(&T) -> Text,
    ) -> Option<usize> {
        if let Some(at) = place(reference, entries.len()) {
            return Some(at);
        }
        let wanted = text::key(reference);
        let names = || entries.iter().map(|entry| self.text(name(entry)));
        names()
            .position(|name| text::key(name) == wanted)
            .or_else(|| names().position(|name| !wanted.is_empty() && text::slug(name) == wanted))
    }
}

/// What a reference may be beside the number of a place, first come first.
const KINDS: [fn(&Keys) -> Text; 4] = [
    |keys| keys.id,
    |keys| keys.name,
    |keys| keys.slug,
    |keys| keys.url,
];

/// A reference that is the number of a place, written as the number is.
fn place(reference: &str, len: usize) -> Option<usize> {
    let reference = reference.trim();
    let at: usize = reference.parse().ok()?;
    (at < len && at.to_string() == reference).then_some(at)
}

fn slice<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}
