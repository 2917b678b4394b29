//! A course as its pages show it: read from its piece of the file when a page asks.
//!
//! Every value may be missing or of another type than it should be; then it is not shown.

use serde_json::{Map, Value};

use crate::catalog::reference::Reference;

/// A file that belongs to a class or a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRef {
    /// An id of Drive.
    Drive(String),
    /// A path below `library.courses`.
    Local(String),
}

/// A subtitle file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtitle {
    /// What the catalog says of its language: a tag, a name, or nothing.
    pub language: String,
    /// Where it is.
    pub file: FileRef,
}

/// Something beside the lecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub file: FileRef,
}

/// What a class is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its number in the module, as the catalog has it.
    pub number: Option<String>,
    /// Film or sound.
    pub video: Option<FileRef>,
    /// In all languages.
    pub subtitles: Vec<Subtitle>,
    /// Summary, reading and page, by these words.
    pub texts: Vec<(&'static str, FileRef)>,
    /// Everything else.
    pub resources: Vec<Resource>,
}

/// A course that was read.
#[derive(Clone, Debug)]
pub struct Course {
    value: Value,
}

impl Course {
    /// Reads a course's piece of the file; `None` when it is not as the index says, which it always is.
    pub fn read(bytes: &[u8]) -> Option<Course> {
        let value = serde_json::from_slice(bytes).ok()?;
        Some(Course { value })
    }

    /// Its presentation.
    pub fn presentation(&self) -> Option<FileRef> {
        file(self.value.get("presentationId")?)
    }

    /// A class, by the numbers of places.
    pub fn class(&self, module: usize, class: usize) -> Option<Class> {
        let module = self.value.get("modules")?.get(module)?;
        let class = module.get("classes")?.get(class)?.as_object()?;
        Some(read(class))
    }
}

fn read(class: &Map<String, Value>) -> Class {
    let files = class.get("files").and_then(Value::as_object);
    let named = |key: &str| files.and_then(|files| files.get(key));
    let mut subtitles = Vec::new();
    // One reference, a list, or one for each language; the languages may also stand beside `files`.
    for value in [named("subtitles"), class.get("subtitles")] {
        gather(value, "", &mut subtitles);
    }
    for (key, value) in files.into_iter().flatten() {
        if let Some(rest) = key
            .strip_prefix("subtitles")
            .filter(|rest| !rest.is_empty())
        {
            // `subtitlesByLang`, `subtitles_es`.
            gather(
                Some(value),
                rest.trim_matches(['_', '-', '.']),
                &mut subtitles,
            );
        }
    }
    let texts = [
        ("Summary", "summary"),
        ("Reading", "reading"),
        ("Page", "html"),
    ];
    let resources = class.get("resources").and_then(Value::as_array);
    Class {
        name: text(class.get("name")).unwrap_or_default(),
        number: text(class.get("num")),
        video: named("video").and_then(file),
        subtitles,
        texts: texts
            .into_iter()
            .filter_map(|(label, key)| Some((label, file(named(key)?)?)))
            .collect(),
        resources: resources
            .into_iter()
            .flatten()
            .filter_map(|resource| {
                let file = file(resource.get("file").or(resource.get("id"))?)?;
                let name = text(resource.get("name")).unwrap_or_else(|| "File".to_owned());
                Some(Resource { name, file })
            })
            .collect(),
    }
}

/// Adds the subtitles that `value` names: one, one for each language, or a list. Each file is there once.
fn gather(value: Option<&Value>, language: &str, into: &mut Vec<Subtitle>) {
    match value {
        Some(value @ Value::String(_)) => add(value, language, into),
        Some(Value::Object(object)) => object
            .iter()
            .for_each(|(language, value)| add(value, language, into)),
        Some(Value::Array(list)) => {
            for value in list {
                let keys = ["lang", "language", "srclang", "label", "name"];
                let of_entry = keys.iter().find_map(|key| text(value.get(key)));
                let file = value.get("file").or(value.get("id")).unwrap_or(value);
                add(file, of_entry.as_deref().unwrap_or(language), into);
            }
        }
        _ => {}
    }
}

fn add(value: &Value, language: &str, into: &mut Vec<Subtitle>) {
    let Some(file) = file(value) else { return };
    match into.iter_mut().find(|known| known.file == file) {
        // Named twice, as the first and by its language.
        Some(known) if known.language.is_empty() => known.language = language.to_owned(),
        Some(_) => {}
        None => into.push(Subtitle {
            language: language.to_owned(),
            file,
        }),
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn file(value: &Value) -> Option<FileRef> {
    match Reference::parse(value.as_str()?.trim()).ok()? {
        Reference::Drive(id) => Some(FileRef::Drive(id.to_owned())),
        Reference::Local(path) => Some(FileRef::Local(path.to_owned())),
    }
}
