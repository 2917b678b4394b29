//! Folders as what they are to a library: containers, courses, modules.
//!
//! A course is a folder with classes in it, or with a numbered folder of classes (`1. Name`), or with a
//! presentation. What holds courses is a container: a category at the top, a route below. Shortcuts make a folder
//! appear in several places, and could make it appear in itself: no path meets a folder twice.

use std::collections::HashMap;

use super::class;
use super::entry::{Entry, Kind};
use super::{Folders, name};
use crate::error::Result;

/// Folders below the root that are looked into: category, route, course, module, and as many again for what people
/// put inside.
pub const DEEPEST: usize = 8;

/// Places of folders in one tree. A folder that shortcuts lead to counts for each of its places.
const MOST: usize = 50_000;

/// Index of a node.
pub(super) type Place = usize;

/// A folder in one of its places.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Id to list it by.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) parent: Option<Place>,
    pub(super) children: Vec<Place>,
    /// It holds files that are classes.
    classes: bool,
    /// It holds files of any kind.
    files: bool,
    /// Id of its presentation.
    pub(super) presentation: Option<String>,
    pub(super) presentation_key: Option<String>,
    /// Why it could not be listed.
    pub(super) failed: Option<String>,
    /// It, or something below, is worth showing.
    holds: bool,
    /// See the module's documentation.
    course: bool,
    /// A course lies below it.
    container: bool,
}

/// A module of a course: a folder whose own files are classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) place: Place,
    pub(super) name: String,
}

/// The folders of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// There was more than is looked at.
    pub(super) cut_short: bool,
}

impl Tree {
    /// Reads all folders below `root`.
    ///
    /// # Errors
    /// What `folders` fails with.
    pub(super) fn read(folders: &dyn Folders, root: &str) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.add(folders, root, "", None)?;
        let mut next = 0;
        // Breadth first, so that what is cut short is the deepest.
        while next < tree.nodes.len() {
            let Some(folder) = folders.folder(&tree.nodes[next].id.clone())? else {
                next += 1;
                continue;
            };
            let mut below: Vec<&Entry> = folder
                .entries
                .iter()
                .filter(|entry| entry.kind == Kind::Folder && !name::is_hidden(&entry.name))
                .collect();
            below.sort_by_cached_key(|entry| {
                (
                    name::natural_key(&entry.name),
                    entry.name.clone(),
                    entry.id.clone(),
                )
            });
            let depth = tree.path(next).count();
            for entry in below {
                let met = tree
                    .path(next)
                    .any(|place| tree.nodes[place].id == entry.reference());
                if met {
                    continue;
                }
                if depth > DEEPEST || tree.nodes.len() >= MOST {
                    tree.cut_short = true;
                    break;
                }
                let (id, name) = (entry.reference().to_owned(), entry.name.clone());
                tree.add(folders, &id, &name, Some(next))?;
            }
            next += 1;
        }
        tree.judge();
        Ok(tree)
    }

    fn add(
        &mut self,
        folders: &dyn Folders,
        id: &str,
        name: &str,
        parent: Option<Place>,
    ) -> Result<()> {
        let folder = folders.folder(id)?;
        let failed = folder.as_ref().and_then(|folder| folder.failed.clone());
        // Nobody listed it: a bound was met, or another process is at work.
        self.cut_short |= folder.is_none();
        let entries = folder.map(|folder| folder.entries).unwrap_or_default();
        let files = || {
            entries
                .iter()
                .filter(|entry| entry.kind != Kind::Folder && !name::is_hidden(&entry.name))
        };
        let presentation = files()
            .filter(|entry| class::is_presentation(entry))
            .min_by_key(|entry| entry.reference());
        let place = self.nodes.len();
        self.nodes.push(Node {
            id: id.to_owned(),
            name: name.to_owned(),
            parent,
            children: Vec::new(),
            classes: entries.iter().any(class::makes_a_class),
            files: files().any(|entry| !class::is_presentation(entry)),
            presentation: presentation.map(|entry| entry.reference().to_owned()),
            presentation_key: presentation.and_then(|entry| entry.key.clone()),
            failed,
            holds: false,
            course: false,
            container: false,
        });
        if let Some(parent) = parent {
            self.nodes[parent].children.push(place);
        }
        Ok(())
    }

    /// Decides, from the leaves up, what each folder is.
    fn judge(&mut self) {
        // A child's place comes after its parent's.
        for place in (0..self.nodes.len()).rev() {
            let node = &self.nodes[place];
            let below = || node.children.iter().map(|child| &self.nodes[*child]);
            let holds = node.files
                || node.presentation.is_some()
                || node.failed.is_some()
                || below().any(|child| child.holds);
            let modules =
                below().any(|child| child.classes && name::leading(&child.name).is_some());
            let course = node.presentation.is_some()
                || node.classes
                || modules
                || !below().any(|child| child.course || child.container);
            let container = !course;
            let node = &mut self.nodes[place];
            (node.holds, node.course, node.container) =
                (holds, course && place > 0, container || place == 0);
        }
    }

    pub(super) fn node(&self, place: Place) -> &Node {
        &self.nodes[place]
    }

    /// The place and those above it.
    fn path(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        std::iter::successors(Some(place), |place| self.nodes[*place].parent)
    }

    /// The names down to a place, for people.
    pub(super) fn path_name(&self, place: Place) -> String {
        let mut names: Vec<&str> = self
            .path(place)
            .map(|place| self.nodes[place].name.as_str())
            .collect();
        names.pop();
        names.reverse();
        names.join("/")
    }

    /// Folders that could not be listed, each once.
    pub(super) fn failed(&self) -> Vec<Place> {
        let mut seen = HashMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if node.failed.is_some() {
                seen.entry(&node.id).or_insert(place);
            }
        }
        let mut places: Vec<Place> = seen.into_values().collect();
        places.sort_unstable();
        places
    }

    /// The folders of a folder that are worth showing, in order.
    pub(super) fn shown(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let children = self.nodes.get(place).map_or(&[][..], |node| &node.children);
        children
            .iter()
            .copied()
            .filter(|child| self.nodes[*child].holds)
    }

    /// Whether a folder holds anything worth showing.
    pub(super) fn is_shown(&self, place: Place) -> bool {
        self.nodes[place].holds
    }

    pub(super) fn is_course(&self, place: Place) -> bool {
        self.nodes[place].course
    }

    /// The courses at and below a place, in order; with those that hold nothing yet, when `empty`.
    pub(super) fn courses(&self, place: Place, empty: bool) -> Vec<Place> {
        let mut found = Vec::new();
        let mut left = vec![place];
        while let Some(place) = left.pop() {
            let Some(node) = self.nodes.get(place) else {
                break;
            };
            if node.course {
                if node.holds || empty {
                    found.push(place);
                }
            } else {
                left.extend(node.children.iter().rev());
            }
        }
        found
    }

    /// The modules of a course, in order. Classes straight in its folder are one module, before the others; what is
    /// no class there comes after them.
    pub(super) fn modules(&self, course: Place) -> Vec<Module> {
        let mut modules = Vec::new();
        let node = &self.nodes[course];
        let own = Module {
            place: course,
            name: title(&node.name),
        };
        if node.classes {
            modules.push(own.clone());
        }
        for child in &node.children {
            self.modules_below(*child, "", &mut modules);
        }
        if node.files && !node.classes {
            modules.push(own);
        }
        modules
    }

    fn modules_below(&self, place: Place, above: &str, modules: &mut Vec<Module>) {
        let node = &self.nodes[place];
        let name = match above {
            "" => title(&node.name),
            above => format!("{above} / {}", title(&node.name)),
        };
        let empty = node.children.is_empty() && name::leading(&node.name).is_some();
        if node.files || node.presentation.is_some() || node.failed.is_some() || empty {
            modules.push(Module {
                place,
                name: name.clone(),
            });
        }
        for child in &node.children {
            self.modules_below(*child, &name, modules);
        }
    }
}

/// A folder's name without its number.
fn title(name: &str) -> String {
    match name::leading(name) {
        Some((_, title)) if !title.trim().is_empty() => title.trim().to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Folder;
    use super::*;

    /// Folders from paths of files; a path that ends in `/` is an empty folder, one in `!` a failed one.
    pub(in super::super) struct Fake(HashMap<String, Folder>);

    impl Fake {
        pub(in super::super) fn of(paths: &[&str]) -> Fake {
            let mut folders: HashMap<String, Folder> =
                HashMap::from([(String::new(), Folder::default())]);
            for path in paths {
                let (path, failed) = match path.strip_suffix('!') {
                    Some(path) => (path, true),
                    None => (*path, false),
                };
                let is_folder = failed || path.ends_with('/');
                let path = path.trim_end_matches('/');
                let ends: Vec<usize> = path
                    .match_indices('/')
                    .map(|(at, _)| at)
                    .chain([path.len()])
                    .collect();
                for end in &ends {
                    let id = &path[..*end];
                    let (parent, name) = id.rsplit_once('/').unwrap_or(("", id));
                    let last = *end == path.len();
                    let kind = if last && !is_folder {
                        Kind::File
                    } else {
                        Kind::Folder
                    };
                    let entries = &mut folders.entry(parent.to_owned()).or_default().entries;
                    if !entries.iter().any(|entry| entry.id == id) {
                        entries.push(Entry {
                            id: id.to_owned(),
                            name: name.to_owned(),
                            kind,
                            target: None,
                            key: None,
                        });
                    }
                    if kind == Kind::Folder {
                        let folder = folders.entry(id.to_owned()).or_default();
                        if last && failed {
                            folder.failed = Some("Refused.".to_owned());
                        }
                    }
                }
            }
            Fake(folders)
        }

        pub(in super::super) fn shortcut(&mut self, folder: &str, name: &str, target: &str) {
            self.0.get_mut(folder).unwrap().entries.push(Entry {
                id: format!("{folder}/{name}"),
                name: name.to_owned(),
                kind: Kind::Folder,
                target: Some(target.to_owned()),
                key: None,
            });
        }
    }

    impl Folders for Fake {
        fn folder(&self, id: &str) -> Result<Option<Folder>> {
            Ok(self.0.get(id).cloned())
        }
    }

    fn courses(paths: &[&str]) -> Vec<String> {
        let tree = Tree::read(&Fake::of(paths), "").unwrap();
        let line = |course: Place| {
            let modules = tree.modules(course).into_iter().map(|module| module.name);
            format!(
                "{}: {}",
                tree.path_name(course),
                modules.collect::<Vec<_>>().join(", ")
            )
        };
        tree.courses(0, false).into_iter().map(line).collect()
    }

    #[test]
    fn courses_wherever_they_lie() {
        assert_eq!(
            courses(&[
                "Dev/Web/HTML/2. Forms/1. A.mp4",
                "Dev/Web/HTML/1. Tags/1. A.mp4",
                "Dev/Solo/1. M/1. A.mp4",
                "Flat/1. A.mp4",
                "Flat/slides/x.pdf",
                "Talks/One/film.mp4",
                "Talks/Two/film.mp4",
                "Empty/",
                "Dev/readme.txt",
            ]),
            [
                "Dev/Solo: M",
                "Dev/Web/HTML: Tags, Forms",
                "Flat: Flat, slides",
                "Talks/One: One",
                "Talks/Two: Two",
            ]
        );
    }

    #[test]
    fn modules_of_every_shape() {
        assert_eq!(
            courses(&[
                "C/10. B/1. x.mp4",
                "C/2. A/1. x.mp4",
                "C/2. A/extra/y.pdf",
                "C/3. Soon/",
                "C/presentation.html",
                "C/z.pdf"
            ]),
            ["C: A, A / extra, Soon, B, C"]
        );
        assert_eq!(courses(&["C/1. A/1. x.mp4", "C/2. B!"]), ["C: A, B"]);
        assert_eq!(courses(&["C!"]), ["C: "]);
    }

    #[test]
    fn circles_end() {
        let mut fake = Fake::of(&["A/C/1. M/1. x.mp4", "B/D/1. x.mp4"]);
        fake.shortcut("A", "up", "");
        fake.shortcut("A/C", "self", "A");
        fake.shortcut("A", "other", "B/D");
        let tree = Tree::read(&fake, "").unwrap();
        let names: Vec<String> = tree
            .courses(0, false)
            .iter()
            .map(|place| tree.path_name(*place))
            .collect();
        assert_eq!(names, ["A/C", "A/other", "B/D"]);
        assert!(!tree.cut_short);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}/x.mp4", vec!["d"; 40].join("/"));
        let tree = Tree::read(&Fake::of(&[&deep]), "").unwrap();
        assert!(tree.cut_short && tree.nodes.len() == DEEPEST + 1);
    }
}
