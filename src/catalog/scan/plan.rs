//! Which categories, routes and courses there will be, and where the folder of each is: all of the document but
//! its classes, which are read when they are written.

use std::collections::{HashMap, HashSet};

use super::matching::{self, Match};
use super::name;
use super::outline::{self, Outline};
use super::tree::{Place, Tree};
use super::{Folder, Folders};
use crate::error::Result;

/// Holds the courses that lie in no category.
const ALL: &str = "Courses";
/// Holds the courses that no outline names, and those beside categories.
const OTHER: &str = "Other courses";

/// Where courses come from.
pub struct Source<'a> {
    folders: &'a dyn Folders,
    prefix: &'static str,
    pub(super) tree: Tree,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl<'a> Source<'a> {
    /// Reads the folders of a source below `root`. References to its files are `prefix` and their id: nothing for
    /// Drive, `local:` for a folder of this machine.
    ///
    /// # Errors
    /// What `folders` fails with.
    pub fn read(folders: &'a dyn Folders, root: &str, prefix: &'static str) -> Result<Source<'a>> {
        let tree = Tree::read(folders, root)?;
        Ok(Source {
            folders,
            prefix,
            tree,
        })
    }

    pub(super) fn folder(&self, place: Place) -> Result<Folder> {
        Ok(self
            .folders
            .folder(&self.tree.node(place).id)?
            .unwrap_or_default())
    }

    /// What it is called in the document.
    pub(super) fn name(&self) -> &'static str {
        match self.prefix {
            "" => "drive",
            _ => "local",
        }
    }

    /// How a file is referred to.
    pub(super) fn reference(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }
}

/// What will be written.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) sources: Vec<Source<'a>>,
    pub(super) categories: Vec<Category>,
}

#[derive(Debug, Default)]
pub(super) struct Category {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
}

#[derive(Debug)]
pub(super) enum Route {
    Courses {
        id: String,
        name: String,
        url: String,
        courses: Vec<Course>,
    },
    Course(Course),
}

#[derive(Debug)]
pub(super) struct Course {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) how: Match,
    /// Index of the source and place in it.
    pub(super) folder: Option<(usize, Place)>,
}

impl<'a> Plan<'a> {
    /// Arranges what the sources hold, as the outline says or else as the folders lie.
    pub fn new(sources: Vec<Source<'a>>, outline: Option<&Outline>) -> Plan<'a> {
        let mut plan = Plan {
            sources,
            categories: Vec::new(),
        };
        match outline.filter(|outline| !outline.is_empty()) {
            Some(outline) => plan.by_outline(outline),
            None => plan.by_folders(),
        }
        plan.name_ids();
        plan
    }

    fn by_folders(&mut self) {
        let mut categories: Vec<Category> = Vec::new();
        let mut alone = Vec::new();
        for (source, Source { tree, .. }) in self.sources.iter().enumerate() {
            for top in tree.shown(0) {
                if tree.is_course(top) {
                    alone.push(Route::Course(self.course((source, top))));
                    continue;
                }
                let mut routes = Vec::new();
                // Below a category a folder without anything in it is a course that somebody has begun.
                for place in tree.node(top).children.iter().copied() {
                    if tree.is_course(place) {
                        routes.push(Route::Course(self.course((source, place))));
                        continue;
                    }
                    let node = tree.node(place);
                    let courses = tree.courses(place, true).into_iter();
                    routes.push(Route::Courses {
                        id: String::new(),
                        name: node.name.clone(),
                        url: String::new(),
                        courses: courses.map(|place| self.course((source, place))).collect(),
                    });
                }
                let name = &tree.node(top).name;
                let folded = name::fold(name);
                match categories
                    .iter_mut()
                    .find(|known| name::fold(&known.name) == folded && !folded.is_empty())
                {
                    // Both sources may have it.
                    Some(known) => known.routes.append(&mut routes),
                    None => categories.push(Category {
                        id: String::new(),
                        name: name.clone(),
                        routes,
                    }),
                }
            }
        }
        categories.sort_by_cached_key(|category| name::natural_key(&category.name));
        if !alone.is_empty() {
            let name = if categories.is_empty() { ALL } else { OTHER };
            categories.push(Category {
                id: String::new(),
                name: name.to_owned(),
                routes: alone,
            });
        }
        self.categories = categories;
    }

    /// A course as its folder says.
    fn course(&self, (source, place): (usize, Place)) -> Course {
        Course {
            id: String::new(),
            name: self.sources[source].tree.node(place).name.clone(),
            url: String::new(),
            how: Match::Exact,
            folder: Some((source, place)),
        }
    }

    fn by_outline(&mut self, outline: &Outline) {
        let mut places = Vec::new();
        for (source, Source { tree, .. }) in self.sources.iter().enumerate() {
            places.extend(
                tree.courses(0, true)
                    .into_iter()
                    .map(|place| (source, place)),
            );
        }
        let node = |(source, place): (usize, Place)| self.sources[source].tree.node(place);
        let names: Vec<&str> = places
            .iter()
            .map(|place| node(*place).name.as_str())
            .collect();
        let titles: Vec<&str> = outline
            .categories
            .iter()
            .flat_map(|category| &category.routes)
            .flat_map(titles)
            .collect();
        let mut found = matching::find(&titles, &names).into_iter();
        let mut matched = HashSet::new();
        let mut course = |course: &outline::Course| {
            let (folder, how) = found.next().unwrap_or((None, Match::None));
            matched.extend(folder);
            Course {
                id: String::new(),
                name: course.name.clone(),
                url: course.url.clone(),
                how,
                folder: folder.map(|i| places[i]),
            }
        };
        let mut categories: Vec<Category> = Vec::new();
        for category in &outline.categories {
            let routes = category.routes.iter().map(|route| match route {
                outline::Route::Course(one) => Route::Course(course(one)),
                outline::Route::Courses { name, url, courses } => Route::Courses {
                    id: String::new(),
                    name: name.clone(),
                    url: url.clone(),
                    courses: courses.iter().map(&mut course).collect(),
                },
            });
            categories.push(Category {
                id: String::new(),
                name: category.name.clone(),
                routes: routes.collect(),
            });
        }
        let left: Vec<Route> = (0..places.len())
            .filter(|i| {
                !matched.contains(i) && self.sources[places[*i].0].tree.is_shown(places[*i].1)
            })
            .map(|i| Route::Course(self.course(places[i])))
            .collect();
        if !left.is_empty() {
            categories.push(Category {
                id: String::new(),
                name: OTHER.to_owned(),
                routes: left,
            });
        }
        self.categories = categories;
    }

    /// Gives everything an id that is unique among its own, and the same as long as the names are.
    fn name_ids(&mut self) {
        let mut used = Used::new();
        for category in &mut self.categories {
            category.id = unique(name::slug(&category.name), "category", &mut used);
        }
        for category in &mut self.categories {
            let mut used = Used::new();
            for route in &mut category.routes {
                match route {
                    Route::Courses {
                        id,
                        name,
                        url,
                        courses,
                    } => {
                        let own = match last_segment(url) {
                            "" => name::slug(name),
                            segment => segment.to_owned(),
                        };
                        *id = unique(own, "route", &mut used);
                        let mut used = Used::new();
                        for course in courses {
                            name_course(&self.sources, course, &mut used);
                        }
                    }
                    Route::Course(course) => name_course(&self.sources, course, &mut used),
                }
            }
        }
    }
}

/// A course's id: the last segment of its address, else its folder's on Drive, which outlives renaming, else the
/// slug of its path.
fn name_course(sources: &[Source<'_>], course: &mut Course, used: &mut Used) {
    let own = match (last_segment(&course.url), course.folder) {
        ("", Some((source, place))) => {
            let source = &sources[source];
            match source.prefix {
                "" => source.tree.node(place).id.clone(),
                _ => name::slug(&source.tree.path_name(place)),
            }
        }
        ("", None) => name::slug(&course.name),
        (segment, _) => segment.to_owned(),
    };
    course.id = unique(own, "course", used);
}

fn last_segment(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
}

/// Ids that were given, each with the number that was last put behind it.
type Used = HashMap<String, u32>;

fn unique(wanted: String, otherwise: &str, used: &mut Used) -> String {
    let base = if wanted.is_empty() {
        otherwise.to_owned()
    } else {
        wanted
    };
    let Some(last) = used.get(&base) else {
        used.insert(base.clone(), 1);
        return base;
    };
    let mut n = *last;
    let id = loop {
        n += 1;
        let id = format!("{base}-{n}");
        if !used.contains_key(&id) {
            break id;
        }
    };
    used.insert(base, n);
    used.insert(id.clone(), 1);
    id
}

fn titles(route: &outline::Route) -> Vec<&str> {
    match route {
        outline::Route::Course(course) => vec![&course.name],
        outline::Route::Courses { courses, .. } => {
            courses.iter().map(|course| course.name.as_str()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Fake;
    use super::*;

    /// A line per category: `id(route(course how) course)`.
    fn arranged(paths: &[&str], local: &[&str], outline: Option<&str>) -> Vec<String> {
        let (fake, local) = (Fake::of(paths), Fake::of(local));
        let sources = vec![
            Source::read(&fake, "", "").unwrap(),
            Source::read(&local, "", "local:").unwrap(),
        ];
        let outline = outline.map(Outline::parse);
        let plan = Plan::new(sources, outline.as_ref());
        let course = |course: &Course| format!("{} {}", course.id, course.how.as_str());
        let route = |route: &Route| match route {
            Route::Course(one) => course(one),
            Route::Courses { id, courses, .. } => {
                format!(
                    "{id}({})",
                    courses.iter().map(course).collect::<Vec<_>>().join(", ")
                )
            }
        };
        let line = |category: &Category| {
            format!(
                "{}: {}",
                category.id,
                category
                    .routes
                    .iter()
                    .map(route)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        plan.categories.iter().map(line).collect()
    }

    #[test]
    fn folders_without_an_outline() {
        assert_eq!(
            arranged(&["B/1. M/1. x.mp4", "A/1. x.mp4"], &[], None),
            ["courses: A exact, B exact"]
        );
        assert_eq!(
            arranged(
                &[
                    "Dev/Web/HTML/1. x.mp4",
                    "Dev/Web/CSS/1. x.mp4",
                    "Dev/Git/1. x.mp4",
                    "Solo/1. x.mp4",
                    "Dev/New/"
                ],
                &["D\u{e9}v/Rust/1. x.mp4", "Art/Ink/1. x.mp4"],
                None
            ),
            [
                "art: art-ink exact",
                "dev: Dev/Git exact, Dev/New exact, web(Dev/Web/CSS exact, Dev/Web/HTML exact), dev-rust exact",
                "other-courses: Solo exact"
            ]
        );
    }

    #[test]
    fn an_outline_arranges_them() {
        assert_eq!(
            arranged(
                &["x/Git/1. x.mp4", "CSS/1. x.mp4", "Kept/1. x.mp4", "Empty/"],
                &["git too/1. x.mp4"],
                Some(
                    "# Dev\n- [GIT!](https://x.org/cursos/git/?a=b)\n## [Web](w/web-1)\n- CSS\n- Missing\n- CSS\n# Dev\n- Empty"
                )
            ),
            [
                "dev: git exact, web-1(CSS exact, missing none, CSS-2 exact)",
                "dev-2: Empty exact",
                "other-courses: Kept exact, git-too exact",
            ]
        );
    }

    #[test]
    fn ids_of_many_that_have_none() {
        let mut used = Used::new();
        let began = std::time::Instant::now();
        let ids: HashSet<String> = (0..50_000)
            .map(|n| unique(["", "x", "x-3"][n % 3].to_owned(), "course", &mut used))
            .collect();
        assert_eq!(ids.len(), 50_000);
        assert!(ids.contains("x") && ids.contains("x-2") && ids.contains("x-3-2"));
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}
