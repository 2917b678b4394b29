//! Course trees of any size: for the fake Drive, and as a folder of this disk.
//!
//! The same shape always gives the same tree, ids included; ids are spread as Drive's are, so that their order says
//! nothing of the order of names.

use std::path::Path;

use super::drive::{Content, FakeDrive, File};

/// How many there are of everything, each within the one before.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Categories; 0 puts the courses straight into the root.
    pub categories: usize,
    /// Courses in all.
    pub courses: usize,
    /// Modules of a course.
    pub modules: usize,
    /// Classes of a module.
    pub classes: usize,
}

/// Two categories, four courses, eight classes each.
pub const TINY: Shape = Shape {
    categories: 2,
    courses: 4,
    modules: 2,
    classes: 4,
};

/// 500 courses with 20,000 classes.
pub const LARGE: Shape = Shape {
    categories: 20,
    courses: 500,
    modules: 4,
    classes: 10,
};

/// A file or folder.
#[derive(Clone, Debug)]
pub struct Node {
    /// Drive's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Index of its folder; `None` for the root.
    pub parent: Option<usize>,
    /// It is a folder.
    pub folder: bool,
}

/// A tree, parents before children.
#[derive(Clone, Debug)]
pub struct CourseTree {
    /// The root first.
    pub nodes: Vec<Node>,
    /// Classes in it.
    pub classes: usize,
}

impl CourseTree {
    /// An empty root.
    pub fn empty() -> CourseTree {
        let root = Node {
            id: id(0),
            name: "Courses".to_owned(),
            parent: None,
            folder: true,
        };
        CourseTree {
            nodes: vec![root],
            classes: 0,
        }
    }

    /// A regular tree.
    pub fn of(shape: Shape) -> CourseTree {
        let mut tree = CourseTree::empty();
        let categories: Vec<usize> = match shape.categories {
            0 => vec![0],
            n => (1..=n)
                .map(|n| tree.folder(0, &format!("Categoría {n}")))
                .collect(),
        };
        for course in 0..shape.courses {
            let category = categories[course % categories.len()];
            let folder = tree.folder(category, &format!("Curso {} de Programación", course + 1));
            tree.file(folder, "presentation.html");
            for module in 1..=shape.modules {
                let module = tree.folder(folder, &format!("{module}. Módulo {module}"));
                for class in 1..=shape.classes {
                    tree.class(module, class);
                }
            }
        }
        tree
    }

    /// The root's id.
    pub fn root(&self) -> &str {
        &self.nodes[0].id
    }

    /// Adds a folder; its index.
    pub fn folder(&mut self, parent: usize, name: &str) -> usize {
        self.add(parent, name, true)
    }

    /// Adds a file; its index.
    pub fn file(&mut self, parent: usize, name: &str) -> usize {
        self.add(parent, name, false)
    }

    /// Adds a class of four files, and of a fifth now and then.
    pub fn class(&mut self, module: usize, number: usize) {
        let title = format!("{number}. Clase {number}: ¿qué es?");
        for end in [".mp4", "_summary.html", ".vtt", "_en.vtt"] {
            self.file(module, &format!("{title}{end}"));
        }
        match number % 5 {
            1 => self.file(module, &format!("{title} - Lecturas recomendadas.txt")),
            2 => self.file(module, &format!("{number}. Slides.pdf")),
            _ => module,
        };
        self.classes += 1;
    }

    fn add(&mut self, parent: usize, name: &str, folder: bool) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Node {
            id: id(place),
            name: name.to_owned(),
            parent: Some(parent),
            folder,
        });
        place
    }

    /// The node of a path below the root.
    pub fn find(&self, path: &str) -> &Node {
        let mut place = 0;
        for name in path.split('/') {
            let child = |node: &Node| node.parent == Some(place) && node.name == name;
            place = self
                .nodes
                .iter()
                .position(child)
                .unwrap_or_else(|| panic!("{name} of {path}"));
        }
        &self.nodes[place]
    }

    /// Folders, the root included.
    pub fn folders(&self) -> usize {
        self.nodes.iter().filter(|node| node.folder).count()
    }

    /// What the fake Drive shows of a node.
    pub fn drive_file(&self, node: &Node) -> File {
        let mut file = match node.folder {
            true => File::folder(&node.id, &node.name),
            false => {
                let mime = match node.name.rsplit('.').next() {
                    Some("mp4") => "video/mp4",
                    Some("html") => "text/html",
                    Some("vtt") => "text/vtt",
                    _ => "application/octet-stream",
                };
                File::new(&node.id, &node.name, mime, Content::Pattern(1000))
            }
        };
        file.parents
            .extend(node.parent.map(|parent| self.nodes[parent].id.clone()));
        file
    }

    /// Puts all of it on a fake Drive.
    pub fn put(&self, fake: &FakeDrive) {
        for node in &self.nodes {
            fake.add(self.drive_file(node));
        }
    }

    /// Writes it below `root`, with empty files.
    pub fn write(&self, root: &Path) {
        let mut paths = vec![root.to_owned()];
        std::fs::create_dir_all(root).expect("a folder");
        for node in &self.nodes[1..] {
            let path = paths[node.parent.expect("not the root")].join(&node.name);
            match node.folder {
                true => std::fs::create_dir(&path).expect("a folder"),
                false => std::fs::write(&path, b"").expect("a file"),
            }
            paths.push(path);
        }
    }
}

/// An id as Drive makes them, out of a number.
fn id(number: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = (number as u64)
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut text = String::from("1");
    for _ in 0..32 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(LETTERS[(state >> 58) as usize]));
    }
    text
}
