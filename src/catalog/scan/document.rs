//! The catalog document, written as it goes: the whole of it is never in memory, only a course at a time.
//!
//! The order of keys, of courses and of classes depends on the tree alone, so that equal trees give equal bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::class::{self, Class, Number};
use super::entry::Entry;
use super::matching::Match;
use super::plan::{Course, Plan, Route, Source};
use super::tree::Place;
use crate::error::Error;

/// How a document ends that a scan has written, and no other tool.
pub const SIGNATURE: &[u8] = b"\"by\":\"rill\"}}\n";

/// Failed folders that the document names; the summary counts them all.
const NAMED: usize = 1000;

/// Bytes of the modules of one course, of all courses, and entries of all levels, beyond which classes are left out and
/// the document says so. Each is some way below the bound of what is served.
const LONGEST_COURSE: usize = 14 << 20;
const LARGEST: usize = 224 << 20;
const MOST_ENTRIES: usize = 240_000;

/// Resources of one class; a folder of photographs has more, and nobody looks for them here.
const MOST_RESOURCES: usize = 1000;

/// What a document holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Categories.
    pub categories: usize,
    /// Routes, and courses that stand for one.
    pub routes: usize,
    /// Courses, those that were not found included.
    pub courses: usize,
    /// Classes.
    pub classes: usize,
    /// Name and reason of each folder that could not be listed.
    pub failed: Vec<(String, String)>,
    /// The tree was deeper or larger than is looked at.
    pub cut_short: bool,
}

/// Why a document was not written.
#[derive(Debug)]
pub enum Broken {
    /// A folder could not be read.
    Read(Error),
    /// The document could not be written.
    Write(io::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Read(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Write(error)
    }
}

/// Writes the document.
///
/// # Errors
/// A folder cannot be read any more, or `out` takes no more.
pub fn write(plan: &Plan<'_>, out: &mut dyn Write) -> Result<Contents, Broken> {
    let mut contents = Contents::default();
    // Each course has at most a route and a category of its own.
    let courses = plan.categories.iter().flat_map(|category| &category.routes);
    let courses: usize = courses
        .map(|route| match route {
            Route::Course(_) => 1,
            Route::Courses { courses, .. } => 1 + courses.len(),
        })
        .sum();
    let mut room = Room {
        bytes: LARGEST,
        entries: MOST_ENTRIES.saturating_sub(2 * courses + plan.categories.len()),
        full: false,
    };
    out.write_all(b"{\"categories\":[")?;
    for (i, category) in plan.categories.iter().enumerate() {
        comma(out, i)?;
        out.write_all(b"{\"id\":")?;
        text(out, &category.id)?;
        out.write_all(b",\"name\":")?;
        text(out, &category.name)?;
        out.write_all(b",\"icon\":\"\",\"description\":\"\",\"type\":\"category\",\"routes\":[")?;
        for (i, route) in category.routes.iter().enumerate() {
            comma(out, i)?;
            match route {
                Route::Course(one) => course(plan, one, true, (&mut contents, &mut room), out)?,
                Route::Courses {
                    id,
                    name,
                    url,
                    courses,
                } => {
                    out.write_all(b"{\"id\":")?;
                    text(out, id)?;
                    out.write_all(b",\"name\":")?;
                    text(out, name)?;
                    out.write_all(b",\"url\":")?;
                    text(out, url)?;
                    out.write_all(b",\"isCourse\":false,\"courses\":[")?;
                    for (i, one) in courses.iter().enumerate() {
                        comma(out, i)?;
                        course(plan, one, false, (&mut contents, &mut room), out)?;
                    }
                    out.write_all(b"]}")?;
                }
            }
            contents.routes += 1;
        }
        out.write_all(b"]}")?;
        contents.categories += 1;
    }
    contents.cut_short |= room.full;
    write!(
        out,
        "],\"stats\":{{\"totalCategories\":{},\"totalRoutes\":{},\"totalCourses\":{},\"totalClasses\":{}}},\"scan\":{{",
        contents.categories, contents.routes, contents.courses, contents.classes
    )?;
    failures(plan, &mut contents, out)?;
    out.write_all(SIGNATURE)?;
    Ok(contents)
}

/// What a reader should know of the scan behind the document.
fn failures(plan: &Plan<'_>, contents: &mut Contents, out: &mut dyn Write) -> Result<(), Broken> {
    let names: Vec<&str> = plan.sources.iter().map(Source::name).collect();
    let mut named = Vec::new();
    for source in &plan.sources {
        contents.cut_short |= source.tree.cut_short;
        for place in source.tree.failed() {
            let node = source.tree.node(place);
            let (name, reason) = (
                source.tree.path_name(place),
                node.failed.clone().unwrap_or_default(),
            );
            if named.len() < NAMED {
                named.push(
                    json!({ "name": name, "id": source.reference(&node.id), "reason": reason }),
                );
            }
            contents.failed.push((name, reason));
        }
    }
    out.write_all(b"\"sources\":")?;
    value(out, &json!(names))?;
    out.write_all(b",\"failedFolders\":")?;
    value(out, &Value::Array(named))?;
    write!(out, ",\"cutShort\":{},", contents.cut_short)?;
    Ok(())
}

fn course(
    plan: &Plan<'_>,
    course: &Course,
    alone: bool,
    (contents, room): (&mut Contents, &mut Room),
    out: &mut dyn Write,
) -> Result<(), Broken> {
    let mut modules = Vec::new();
    let mut counts = (0, 0);
    if let Some((source, place)) = course.folder {
        counts = write_modules(&plan.sources[source], place, room, &mut modules)?;
    }
    room.bytes = room.bytes.saturating_sub(modules.len());
    let node = course
        .folder
        .map(|(source, place)| (&plan.sources[source], plan.sources[source].tree.node(place)));
    let folder = node.map(|(_, node)| node.name.as_str());
    out.write_all(b"{\"name\":")?;
    text(out, &course.name)?;
    out.write_all(b",\"folderName\":")?;
    option(out, folder)?;
    out.write_all(b",\"url\":")?;
    text(out, &course.url)?;
    out.write_all(b",\"id\":")?;
    text(out, &course.id)?;
    if alone {
        out.write_all(b",\"isCourse\":true")?;
    }
    let presentation =
        node.and_then(|(source, node)| Some(source.reference(node.presentation.as_deref()?)));
    write!(
        out,
        ",\"moduleCount\":{},\"classCount\":{},\"foundInDrive\":{},\"matchType\":\"{}\",\"matchedFolder\":",
        counts.0,
        counts.1,
        course.how != Match::None,
        course.how.as_str()
    )?;
    option(out, folder)?;
    write!(
        out,
        ",\"hasPresentation\":{},\"presentationId\":",
        presentation.is_some()
    )?;
    option(out, presentation.as_deref())?;
    if let Some((_, node)) = node {
        let key = node.presentation_key.as_deref();
        keys(out, node.presentation.as_deref().zip(key).into_iter())?;
    }
    out.write_all(b",\"modules\":[")?;
    out.write_all(&modules)?;
    out.write_all(b"]}")?;
    contents.courses += 1;
    contents.classes += counts.1;
    Ok(())
}

/// What may still be written of modules and classes.
struct Room {
    bytes: usize,
    entries: usize,
    /// Something was left out.
    full: bool,
}

impl Room {
    /// Whether one more fits into a course that has `course` bytes.
    fn take(&mut self, course: usize) -> bool {
        let fits = self.entries > 0 && course < LONGEST_COURSE.min(self.bytes);
        match fits {
            true => self.entries -= 1,
            false => self.full = true,
        }
        fits
    }
}

/// Writes the modules of a course, as far as there is room; how many modules and classes there are.
fn write_modules(
    source: &Source<'_>,
    course: Place,
    room: &mut Room,
    out: &mut Vec<u8>,
) -> Result<(usize, usize), Broken> {
    let modules = source.tree.modules(course);
    let mut counts = (0, 0);
    for module in &modules {
        if !room.take(out.len()) {
            break;
        }
        let folder = source.folder(module.place)?;
        let mut classes = class::group(&folder.entries, module.place == course);
        comma(out, counts.0)?;
        out.write_all(b"{\"name\":")?;
        text(out, &module.name)?;
        out.write_all(b",\"folderName\":")?;
        text(out, &source.tree.node(module.place).name)?;
        // The count comes first, so what fits is known before it is written.
        let mut pieces = Vec::new();
        let mut written = 0;
        for class in &mut classes {
            if !room.take(out.len() + pieces.len()) {
                break;
            }
            if class.resources.len() > MOST_RESOURCES {
                class.resources.truncate(MOST_RESOURCES);
                room.full = true;
            }
            comma(&mut pieces, written)?;
            write_class(source, class, &mut pieces)?;
            written += 1;
        }
        write!(out, ",\"classCount\":{written},\"classes\":[")?;
        out.append(&mut pieces);
        out.write_all(b"]}")?;
        counts = (counts.0 + 1, counts.1 + written);
    }
    Ok(counts)
}

fn write_class(source: &Source<'_>, class: &Class<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{\"num\":")?;
    match &class.number {
        Number::Whole(number) => write!(out, "{number}")?,
        Number::Dotted(number) => text(out, number)?,
    }
    out.write_all(b",\"name\":")?;
    text(out, &class.name)?;
    let subtitles = class.subtitles.first().map(|(_, entry)| *entry);
    let files = [
        ("video", class.media),
        ("summary", class.summary),
        ("subtitles", subtitles),
        ("reading", class.reading),
        ("html", class.html),
    ];
    for (name, (_, file)) in [
        "hasVideo",
        "hasSummary",
        "hasSubtitles",
        "hasReading",
        "hasHtml",
    ]
    .iter()
    .zip(files)
    {
        write!(out, ",\"{name}\":{}", file.is_some())?;
    }
    out.write_all(b",\"files\":{")?;
    for (i, (name, file)) in files.iter().enumerate() {
        comma(out, i)?;
        write!(out, "\"{name}\":")?;
        reference(source, *file, out)?;
    }
    // All languages, where there is more to say than the one above does.
    if class
        .subtitles
        .iter()
        .any(|(language, _)| !language.is_empty())
    {
        out.write_all(b",\"subtitlesByLang\":{")?;
        for (i, (language, entry)) in class.subtitles.iter().enumerate() {
            comma(out, i)?;
            text(out, language)?;
            out.write_all(b":")?;
            reference(source, Some(entry), out)?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"},\"resources\":[")?;
    for (i, entry) in class.resources.iter().enumerate() {
        comma(out, i)?;
        let (ext, viewable) = class::extension(entry);
        out.write_all(b"{\"name\":")?;
        text(out, &entry.name)?;
        out.write_all(b",\"file\":")?;
        reference(source, Some(entry), out)?;
        out.write_all(b",\"ext\":")?;
        text(out, &ext)?;
        write!(out, ",\"viewable\":{viewable}}}")?;
    }
    out.write_all(b"]")?;
    let named = files.iter().filter_map(|(_, file)| *file);
    let all = named
        .chain(class.subtitles.iter().map(|(_, entry)| *entry))
        .chain(class.resources.iter().copied());
    keys(
        out,
        all.filter_map(|entry| Some((entry.reference(), entry.key.as_deref()?))),
    )?;
    out.write_all(b"}")
}

/// Writes the keys of files that were shared by link, by their ids; nothing where there are none.
fn keys<'a>(out: &mut dyn Write, keys: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
    let keys: BTreeMap<&str, &str> = keys.collect();
    if keys.is_empty() {
        return Ok(());
    }
    out.write_all(b",\"resourceKeys\":")?;
    serde_json::to_writer(out, &keys).map_err(io::Error::from)
}

fn reference(source: &Source<'_>, entry: Option<&Entry>, out: &mut dyn Write) -> io::Result<()> {
    match entry {
        Some(entry) => text(out, &source.reference(entry.reference())),
        None => out.write_all(b"null"),
    }
}

fn comma(out: &mut dyn Write, index: usize) -> io::Result<()> {
    if index > 0 {
        out.write_all(b",")
    } else {
        Ok(())
    }
}

fn text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn option(out: &mut dyn Write, value: Option<&str>) -> io::Result<()> {
    match value {
        Some(value) => text(out, value),
        None => out.write_all(b"null"),
    }
}

fn value(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Fake;
    use super::*;

    #[test]
    fn the_keys_and_their_order() {
        let fake = Fake::of(&[
            "C/1. M/1. A.mp4",
            "C/1. M/1. A_en.vtt",
            "C/1. M/1. A.pdf",
            "C/presentation.html",
            "C/2. \"Quoted\"!",
        ]);
        let plan = Plan::new(vec![Source::read(&fake, "", "local:").unwrap()], None);
        let mut out = Vec::new();
        let contents = write(&plan, &mut out).unwrap();
        assert_eq!(
            (
                contents.categories,
                contents.routes,
                contents.courses,
                contents.classes
            ),
            (1, 1, 1, 1)
        );
        let expected = concat!(
            r#"{"categories":[{"id":"courses","name":"Courses","icon":"","description":"","type":"category","routes":["#,
            r#"{"name":"C","folderName":"C","url":"","id":"c","isCourse":true,"moduleCount":2,"classCount":1,"#,
            r#""foundInDrive":true,"matchType":"exact","matchedFolder":"C","hasPresentation":true,"#,
            r#""presentationId":"local:C/presentation.html","modules":[{"name":"M","folderName":"1. M","classCount":1,"#,
            r#""classes":[{"num":1,"name":"A","hasVideo":true,"hasSummary":false,"hasSubtitles":true,"hasReading":false,"#,
            r#""hasHtml":false,"files":{"video":"local:C/1. M/1. A.mp4","summary":null,"#,
            r#""subtitles":"local:C/1. M/1. A_en.vtt","reading":null,"html":null,"#,
            r#""subtitlesByLang":{"en":"local:C/1. M/1. A_en.vtt"}},"resources":[{"name":"1. A.pdf","#,
            r#""file":"local:C/1. M/1. A.pdf","ext":"pdf","viewable":true}]}]},"#,
            r#"{"name":"\"Quoted\"","folderName":"2. \"Quoted\"","classCount":0,"classes":[]}]}]}],"#,
            r#""stats":{"totalCategories":1,"totalRoutes":1,"totalCourses":1,"totalClasses":1},"#,
            r#""scan":{"sources":["local"],"failedFolders":[{"name":"C/2. \"Quoted\"","id":"local:C/2. \"Quoted\"","#,
            r#""reason":"Refused."}],"cutShort":false,"by":"rill"}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
