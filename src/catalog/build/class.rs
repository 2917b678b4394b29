//! One class of a catalog: its name for the index, and the files it names, counted.

use std::io::Read;

use super::{Builder, Result};
use crate::catalog::index::{Class, Text};
use crate::catalog::key::{FILES, Key};

impl<R: Read> Builder<R> {
    /// Nothing of a class reaches the bootstrap.
    pub(super) fn class(&mut self) -> Result<()> {
        let mut object = self.open("a class")?;
        let mut name = Text::default();
        let (mut promised, mut there) = ([false; FILES.len()], [false; FILES.len()]);
        while let Some(key) = self.key(&mut object)? {
            match key {
                Key::Name => {
                    if self.scanner.text()? {
                        let text = self.scanner.decoded().to_owned();
                        name = self.growing.keep(&text);
                    }
                }
                Key::Has(at) => promised[at as usize] = self.scanner.truth()?,
                Key::Files if self.scanner.peek()? == b'{' => {
                    let mut files = self.open("files")?;
                    while self.scanner.key(&mut files.first)? {
                        let kind = self.scanner.decoded();
                        match FILES.iter().position(|(known, _)| *known == kind) {
                            Some(at) => there[at] |= self.file("files.", FILES[at].0)?,
                            None => {
                                let kind = kind.to_owned();
                                self.file("files.", &kind)?;
                            }
                        }
                    }
                }
                Key::Resources if self.scanner.peek()? == b'[' => {
                    self.file("resources", "")?;
                }
                Key::ResourceKeys => self.resource_keys()?,
                _ => self.scanner.skip()?,
            }
        }
        for (at, (file, has)) in FILES.iter().enumerate() {
            if promised[at] && !there[at] {
                let place = self.place();
                self.references.missing(place, file, has);
            }
        }
        self.growing.index.classes.push(Class {
            name,
            reference: Text::default(),
            module: 0,
        });
        Ok(())
    }

    /// Reads what names a file: a reference, one for each language, or a list of references or of objects with one
    /// under `file` or `id`. Whether there was any. Group and kind say what it is to the class.
    fn file(&mut self, group: &'static str, kind: &str) -> Result<bool> {
        match self.scanner.peek()? {
            b'"' => {
                self.scanner.text()?;
                let (place, value) = (self.place(), self.scanner.decoded());
                self.references.check(place, (group, kind), value);
                Ok(true)
            }
            b'n' | b'f' => self.scanner.skip().map(|()| false),
            b'[' => {
                self.scanner.open(b'[')?;
                let (mut first, mut found) = (true, false);
                while self.scanner.element(&mut first)? {
                    found |= match self.scanner.peek()? {
                        b'{' => self.entry(group, kind)?,
                        _ => self.file(group, kind)?,
                    };
                }
                Ok(found)
            }
            b'{' => {
                self.scanner.open(b'{')?;
                let (mut first, mut found) = (true, false);
                while self.scanner.key(&mut first)? {
                    match self.scanner.peek()? {
                        b'"' => found |= self.file(group, kind)?,
                        _ => self.scanner.skip()?,
                    }
                }
                Ok(found)
            }
            _ => {
                self.scanner.text()?;
                let (place, value) = (self.place(), self.scanner.decoded());
                self.references.check(place, (group, kind), value);
                Ok(true)
            }
        }
    }

    /// An object that describes one file.
    fn entry(&mut self, group: &'static str, kind: &str) -> Result<bool> {
        self.scanner.open(b'{')?;
        let (mut first, mut found) = (true, false);
        while self.scanner.key(&mut first)? {
            match self.scanner.decoded() {
                "file" | "id" => found |= self.file(group, kind)?,
                _ => self.scanner.skip()?,
            }
        }
        Ok(found)
    }
}
