//! A course as its pages show it: read from its piece of the file when a page asks.
//!
//! Every value may be missing or of another type than it should be; then it is not shown.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
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

/// A course as it stands in the file. Of its classes only the one that is asked for becomes a value: a course may be
/// a whole library.
#[derive(Clone, Debug)]
pub struct Course {
    bytes: Vec<u8>,
}

impl Course {
    /// A course from its piece of the file.
    pub fn of(bytes: Vec<u8>) -> Course {
        Course { bytes }
    }

    /// Its presentation.
    pub fn presentation(&self) -> Option<FileRef> {
        file(&value(member(self.text()?, "presentationId")?)?)
    }

    /// A class, by the numbers of places.
    pub fn class(&self, module: usize, class: usize) -> Option<Class> {
        let module = element(member(self.text()?, "modules")?, module)?;
        let class = element(member(module, "classes")?, class)?;
        Some(read(value(class)?.as_object()?))
    }

    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// The value of a key of an object, as text.
fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut reader = serde_json::Deserializer::from_str(object);
    let found = serde::Deserializer::deserialize_map(&mut reader, Pick::Member(key));
    found.ok()?
}

/// An element of a list, as text.
fn element(list: &str, at: usize) -> Option<&str> {
    let mut reader = serde_json::Deserializer::from_str(list);
    let found = serde::Deserializer::deserialize_seq(&mut reader, Pick::Element(at));
    found.ok()?
}

fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Takes one value out of many, and passes over the others.
enum Pick<'k> {
    Member(&'k str),
    Element(usize),
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self {
                Pick::Member(wanted) if key == wanted => {
                    found = Some(map.next_value::<&'de RawValue>()?.get());
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut at, mut found) = (0, None);
        loop {
            let more = match self {
                Pick::Element(wanted) if wanted == at => {
                    let value = list.next_element::<&'de RawValue>()?;
                    found = value.map(RawValue::get);
                    value.is_some()
                }
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(found);
            }
            at += 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_of_many() {
        let course = |text: &str| Course::of(text.as_bytes().to_vec());
        let text = r#"{"x":[{"classes":1}],"mod\u0075les":[7, {"classes": null}, {"name":"M","classes":[
            {"name":"A","num":1},{"name":"B","files":{"video":"1aB_-cDeFgH"}}, 5]}],"presentationId":"local:p.html"}"#;
        let whole = course(text);
        let presentation = FileRef::Local("p.html".to_owned());
        assert_eq!(whole.presentation(), Some(presentation));
        assert_eq!(whole.class(2, 0).unwrap().name, "A");
        assert!(whole.class(2, 1).unwrap().video.is_some());
        for (module, class) in [(0, 0), (1, 0), (2, 2), (2, 3), (3, 0)] {
            assert_eq!(whole.class(module, class), None);
        }
        for odd in [
            "",
            "[]",
            "{\"modules\":{}}",
            "{\"modules\":[[]]}",
            "x",
            "{\"modules\":7}",
        ] {
            assert_eq!(course(odd).class(0, 0), None, "{odd}");
            assert_eq!(course(odd).presentation(), None, "{odd}");
        }
    }
}
