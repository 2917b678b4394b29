//! From the text of a catalog to its index, in one pass.
//!
//! On the way the bootstrap is written, which is the file with each list of classes become its length, and every
//! reference to a file is counted. The order of keys does not matter. A key that is known here may stand in an object
//! once: which of two lists of courses is meant, nobody could say.

mod class;

use std::io::Read;

use crate::catalog::index::{Category, Course, Growing, Index, Module, Naming, Route, Text};
use crate::catalog::key::Key;
use crate::catalog::references::{Place, References};
use crate::catalog::scanner::{Fault, Scanner};
use crate::catalog::{LONGEST_COURSE, MOST_ENTRIES};

/// The first byte of the mark that some editors put before a text.
const BYTE_ORDER_MARK: u8 = 0xef;

/// Bytes of all names.
const MOST_NAMES: usize = 48 << 20;

type Result<T, E = Fault> = std::result::Result<T, E>;

/// What a catalog's text becomes.
#[derive(Debug)]
pub(crate) struct Built<R> {
    pub(crate) index: Index,
    pub(crate) bootstrap: Vec<u8>,
    /// The value of `stats`, as the file has it, else as counted.
    pub(crate) stats: String,
    pub(crate) references: References,
    pub(crate) source: R,
}

/// Reads a catalog to its end.
///
/// # Errors
/// It is no JSON, or none that describes a catalog; it cannot be read.
pub(crate) fn build<R: Read>(source: R) -> Result<Built<R>> {
    let mut builder = Builder {
        scanner: Scanner::new(source),
        growing: Growing::default(),
        references: References::default(),
    };
    let stats = builder.catalog()?;
    builder.scanner.end()?;
    let (source, bootstrap) = builder.scanner.into_parts();
    Ok(Built {
        index: builder.growing.finish(),
        bootstrap,
        stats,
        references: builder.references,
        source,
    })
}

/// An object that is being read, and copied into the bootstrap.
struct Object {
    first: bool,
    written: bool,
    /// The known keys that were there.
    seen: u32,
}

struct Builder<R> {
    scanner: Scanner<R>,
    growing: Growing,
    references: References,
}

impl<R: Read> Builder<R> {
    /// Begins an object; a value that is none is a fault that names what was wanted.
    fn open(&mut self, what: &str) -> Result<Object> {
        if self.scanner.peek()? != b'{' {
            return Err(self
                .scanner
                .broken(format!("{what} is wanted here, an object")));
        }
        self.scanner.open(b'{')?;
        Ok(Object {
            first: true,
            written: false,
            seen: 0,
        })
    }

    fn key(&mut self, object: &mut Object) -> Result<Option<Key>> {
        if !self.scanner.key(&mut object.first)? {
            self.check_size()?;
            return Ok(None);
        }
        let key = Key::of(self.scanner.decoded());
        let bit = key.bit();
        if object.seen & bit != 0 {
            let name = self.scanner.decoded().to_owned();
            return Err(self
                .scanner
                .broken(format!("the key \"{name}\" stands in one object twice")));
        }
        object.seen |= bit;
        Ok(Some(key))
    }

    /// A file may be larger than the memory of a Pi; what is kept of it is not.
    fn check_size(&self) -> Result<()> {
        let index = &self.growing.index;
        let entries = [
            index.categories.len(),
            index.routes.len(),
            index.courses.len(),
            index.modules.len(),
            index.classes.len(),
        ];
        if entries.iter().sum::<usize>() >= MOST_ENTRIES {
            let what = format!("the catalog has more than {MOST_ENTRIES} courses and lectures");
            return Err(self.scanner.broken(what));
        }
        if index.arena.len() > MOST_NAMES {
            let what = "the names of the catalog are longer than any library's";
            return Err(self.scanner.broken(what));
        }
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.scanner.out.extend_from_slice(bytes);
    }

    /// Writes the key that was just read.
    fn write_key(&mut self, object: &mut Object) {
        if std::mem::replace(&mut object.written, true) {
            self.raw(b",");
        }
        let key = self.scanner.raw().to_vec();
        self.raw(b"\"");
        self.raw(&key);
        self.raw(b"\":");
    }

    fn write_string(&mut self, object: &mut Object, key: &str, value: &str) {
        if std::mem::replace(&mut object.written, true) {
            self.raw(b",");
        }
        let pair = format!("\"{key}\":{}", serde_json::Value::from(value));
        self.raw(pair.as_bytes());
    }

    fn write_number(&mut self, object: &mut Object, key: &str, value: usize) {
        if std::mem::replace(&mut object.written, true) {
            self.raw(b",");
        }
        self.raw(format!("\"{key}\":{value}").as_bytes());
    }

    /// Passes key and value on.
    fn pass(&mut self, object: &mut Object) -> Result<()> {
        self.write_key(object);
        self.scanner.copying = true;
        self.scanner.skip()?;
        self.scanner.copying = false;
        Ok(())
    }

    /// As [`Builder::pass`]; the value, when it is a string or a number.
    fn pass_text(&mut self, object: &mut Object) -> Result<String> {
        self.write_key(object);
        self.scanner.copying = true;
        let is_text = self.scanner.text()?;
        self.scanner.copying = false;
        Ok(match is_text {
            true => self.scanner.decoded().to_owned(),
            false => String::new(),
        })
    }

    /// As [`Builder::pass`]; whether the value is true.
    fn pass_truth(&mut self, object: &mut Object) -> Result<bool> {
        self.write_key(object);
        self.scanner.copying = true;
        let truth = self.scanner.truth()?;
        self.scanner.copying = false;
        Ok(truth)
    }

    /// Reads a list whose elements `each` reads, and writes the list of what it writes. `null` is an empty list.
    fn list(&mut self, what: &str, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.scanner.peek()? {
            b'[' => self.scanner.open(b'[')?,
            b'n' => {
                self.raw(b"[]");
                return self.scanner.skip();
            }
            _ => {
                return Err(self
                    .scanner
                    .broken(format!("{what} are wanted here, an array")));
            }
        }
        self.raw(b"[");
        let (mut first, mut written) = (true, false);
        while self.scanner.element(&mut first)? {
            if std::mem::replace(&mut written, true) {
                self.raw(b",");
            }
            each(self)?;
        }
        self.raw(b"]");
        Ok(())
    }

    fn catalog(&mut self) -> Result<String> {
        if self.scanner.peek()? == BYTE_ORDER_MARK {
            let what = "the file begins with a byte order mark; save it as UTF-8 without one";
            return Err(self.scanner.broken(what));
        }
        let mut object = self.open("a catalog")?;
        let mut stats = None;
        self.raw(b"{");
        while let Some(key) = self.key(&mut object)? {
            match key {
                Key::Categories => {
                    self.write_key(&mut object);
                    self.list("categories", Self::category)?;
                }
                // Written last, where they can be counted.
                Key::Stats => {
                    let begin = self.scanner.out.len();
                    let is_object = self.scanner.peek()? == b'{';
                    self.scanner.copying = true;
                    self.scanner.skip()?;
                    self.scanner.copying = false;
                    let value = self.scanner.out.split_off(begin);
                    stats = String::from_utf8(value).ok().filter(|_| is_object);
                }
                _ => self.pass(&mut object)?,
            }
        }
        if object.seen & Key::Categories.bit() == 0 {
            return Err(self
                .scanner
                .broken("there are no \"categories\"; this is no catalog"));
        }
        let stats = stats.unwrap_or_else(|| {
            let index = &self.growing.index;
            stats_of(
                index.categories.len(),
                index.routes.len(),
                index.courses.len(),
                index.classes.len(),
            )
        });
        self.raw(b",\"stats\":");
        self.raw(stats.as_bytes());
        self.raw(b"}");
        Ok(stats)
    }

    fn category(&mut self) -> Result<()> {
        let mut object = self.open("a category")?;
        let mut naming = Naming::default();
        let begin = self.growing.index.routes.len() as u32;
        self.raw(b"{");
        while let Some(key) = self.key(&mut object)? {
            match key {
                Key::Id => naming.id = self.pass_text(&mut object)?,
                Key::Name => naming.name = self.pass_text(&mut object)?,
                Key::Routes => {
                    self.write_key(&mut object);
                    self.list("routes", Self::route)?;
                }
                _ => self.pass(&mut object)?,
            }
        }
        self.raw(b"}");
        let category = Category {
            name: self.growing.keep(&naming.name),
            id: self.growing.keep(&naming.id),
            reference: Text::default(),
            routes: begin..self.growing.index.routes.len() as u32,
            keys: self.growing.keys(&naming),
        };
        self.growing.index.categories.push(category);
        Ok(())
    }

    fn route(&mut self) -> Result<()> {
        self.scanner.peek()?;
        let bytes = self.scanner.offset();
        let mut object = self.open("a route")?;
        let mut naming = Naming::default();
        let mut is_course = false;
        let courses = self.growing.index.courses.len() as u32;
        let modules = self.growing.index.modules.len() as u32;
        self.raw(b"{");
        while let Some(key) = self.key(&mut object)? {
            match key {
                Key::Courses => {
                    self.write_key(&mut object);
                    self.list("courses", Self::course)?;
                }
                Key::IsCourse => is_course = self.pass_truth(&mut object)?,
                key => self.course_key(key, &mut object, &mut naming)?,
            }
        }
        self.write_string(&mut object, "publicId", &naming.public_id());
        self.raw(b"}");
        let below = self.growing.index.courses.len() as u32 - courses;
        let own = object.seen & Key::Modules.bit() != 0;
        is_course = below == 0 && (is_course || own);
        if own && below > 0 {
            return Err(self
                .scanner
                .broken("a route has both courses and modules of its own; leave one of them out"));
        }
        if is_course {
            self.keep_course(&naming, modules, bytes)?;
        }
        let route = Route {
            name: self.growing.keep(&naming.name),
            id: self.growing.keep(&naming.id),
            public_id: self.growing.keep(&naming.public_id()),
            reference: Text::default(),
            is_course,
            courses: courses..self.growing.index.courses.len() as u32,
            category: 0,
            keys: self.growing.keys(&naming),
        };
        self.growing.index.routes.push(route);
        Ok(())
    }

    fn course(&mut self) -> Result<()> {
        self.scanner.peek()?;
        let bytes = self.scanner.offset();
        let mut object = self.open("a course")?;
        let mut naming = Naming::default();
        let modules = self.growing.index.modules.len() as u32;
        self.raw(b"{");
        while let Some(key) = self.key(&mut object)? {
            self.course_key(key, &mut object, &mut naming)?;
        }
        self.write_string(&mut object, "publicId", &naming.public_id());
        self.raw(b"}");
        self.keep_course(&naming, modules, bytes)
    }

    fn course_key(&mut self, key: Key, object: &mut Object, naming: &mut Naming) -> Result<()> {
        match key {
            Key::Id => naming.id = self.pass_text(object)?,
            Key::Name => naming.name = self.pass_text(object)?,
            Key::Url => naming.url = self.pass_text(object)?,
            // Ours is written instead.
            Key::PublicId => self.scanner.skip()?,
            Key::Presentation => {
                let id = self.pass_text(object)?;
                if !id.is_empty() {
                    self.references
                        .check(self.place(), ("presentationId", ""), &id);
                }
            }
            Key::Modules => {
                self.write_key(object);
                self.list("modules", Self::module)?;
            }
            Key::ResourceKeys => self.resource_keys()?,
            _ => self.pass(object)?,
        }
        Ok(())
    }

    /// Reads `resourceKeys`: keys of files on Drive, by their ids. They open files here, and are in no answer but the
    /// course's own.
    fn resource_keys(&mut self) -> Result<()> {
        if self.scanner.peek()? != b'{' {
            return self.scanner.skip();
        }
        let mut object = self.open("keys")?;
        while self.scanner.key(&mut object.first)? {
            let id = self.scanner.decoded().to_owned();
            if self.scanner.text()? {
                self.growing.resource_key(&id, self.scanner.decoded());
            }
        }
        Ok(())
    }

    fn keep_course(&mut self, naming: &Naming, modules: u32, begin: u64) -> Result<()> {
        if self.scanner.offset() - begin > LONGEST_COURSE {
            let what = format!("a course has more than {} MiB", LONGEST_COURSE >> 20);
            return Err(self.scanner.broken(what));
        }
        let course = Course {
            name: self.growing.keep(&naming.name),
            id: self.growing.keep(&naming.id),
            public_id: self.growing.keep(&naming.public_id()),
            reference: Text::default(),
            modules: modules..self.growing.index.modules.len() as u32,
            bytes: begin..self.scanner.offset(),
            route: 0,
            keys: self.growing.keys(naming),
        };
        self.growing.index.courses.push(course);
        Ok(())
    }

    /// The bootstrap says how many classes a module has, also where the file does not; its folder nobody asks for
    /// there.
    fn module(&mut self) -> Result<()> {
        let mut object = self.open("a module")?;
        let mut name = String::new();
        let classes = self.growing.index.classes.len();
        self.raw(b"{");
        while let Some(key) = self.key(&mut object)? {
            match key {
                Key::Name => name = self.pass_text(&mut object)?,
                Key::FolderName => self.scanner.skip()?,
                Key::Classes if matches!(self.scanner.peek()?, b'[' | b'n') => {
                    self.write_key(&mut object);
                    let begin = self.scanner.out.len();
                    self.list("classes", Self::class)?;
                    self.scanner.out.truncate(begin);
                    let count = self.growing.index.classes.len() - classes;
                    self.raw(count.to_string().as_bytes());
                }
                _ => self.pass(&mut object)?,
            }
        }
        let count = self.growing.index.classes.len() - classes;
        for (key, name) in [(Key::ClassCount, "classCount"), (Key::Classes, "classes")] {
            if object.seen & key.bit() == 0 {
                self.write_number(&mut object, name, count);
            }
        }
        self.raw(b"}");
        let module = Module {
            name: self.growing.keep(&name),
            reference: Text::default(),
            classes: classes as u32..self.growing.index.classes.len() as u32,
            course: 0,
        };
        self.growing.index.modules.push(module);
        Ok(())
    }

    /// Where the reader is, as numbers from 0; what is not begun yet is the one that comes next.
    fn place(&self) -> Place {
        let index = &self.growing.index;
        Place {
            category: index.categories.len() as u32,
            route: index.routes.len() as u32,
            course: index.courses.len() as u32,
            module: index.modules.len() as u32,
            class: index.classes.len() as u32,
        }
    }
}

/// `stats`, counted.
pub(crate) fn stats_of(categories: usize, routes: usize, courses: usize, classes: usize) -> String {
    format!(
        "{{\"totalCategories\":{categories},\"totalRoutes\":{routes},\"totalCourses\":{courses},\
         \"totalClasses\":{classes}}}"
    )
}
