//! `/course/..`, `/watch/..`: a course and a lecture as a person sees them. The markup itself is in `web`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smol::future::or;

use crate::catalog::Generation;
use crate::catalog::course::{Course, FileRef};
use crate::catalog::index::{Found, Index};
use crate::drive::FileId;
use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::media::{kind, language};
use crate::routes::route::{ClassRefs, CourseRefs};
use crate::routes::watched::{Person, key, shown_mark};
use crate::routes::{App, answer, catalog, pages};
use crate::web::{self, Card, Mark, PER_PAGE, Pager, Section, url};

/// Classes of a course whose marks are asked for, to say where to go on; the longest course that is served has hardly
/// more.
const MOST_MARKS: usize = 20_000;

/// Links to pages further on.
const MOST_JUMPS: usize = 50;

/// Seconds beyond which no position is.
const LONGEST_FILM: f64 = 1e7;

/// How long a page waits for the type of a file on Drive. A player does without when Google is slow.
const TYPE_PATIENCE: Duration = Duration::from_millis(700);

/// `GET /course/{cat}/{route}/{course}`
pub(super) async fn course(app: &App, request: &Request, refs: &CourseRefs) -> Result<Response> {
    let generation = app.catalog.current();
    let found = catalog::find(&generation, refs)?;
    let index = &generation.index;
    let person = Person::of(request);
    let course = &index.courses[found.course];
    let classes: Vec<usize> = index
        .modules_of(course)
        .iter()
        .flat_map(|module| module.classes.start as usize..module.classes.end as usize)
        .collect();
    let keys = classes
        .iter()
        .take(MOST_MARKS)
        .map(|&class| key(index, found, class));
    let marks = person.marks(app, keys.collect()).await;
    let mark = |at: usize| shown_mark(marks.get(at).and_then(Option::as_ref));
    let title = |class: usize| shown(index.text(index.classes[class].name), "Untitled");
    let link = |class: usize| person.link(&url::class(index, found, class));

    // Where it was left, else the first that is not watched, else the beginning.
    let begun = (0..classes.len()).find(|&at| matches!(mark(at), Mark::Begun(_)));
    let next = (0..classes.len()).find(|&at| mark(at) != Mark::Complete);
    let resume = begun.or(next).unwrap_or(0);
    let resume = classes
        .get(resume)
        .map(|&class| (title(class), link(class)));

    let base = url::course(index, found);
    let (pager, first) = paged(request, classes.len(), &base, &person);
    let mut sections: Vec<Section> = Vec::new();
    let mut of = None;
    for (at, &class) in classes.iter().enumerate().skip(first).take(PER_PAGE) {
        let module = index.classes[class].module as usize;
        if of.replace(module) != Some(module) {
            sections.push(Section {
                title: shown(index.text(index.modules[module].name), ""),
                cards: Vec::new(),
            });
        }
        if let Some(section) = sections.last_mut() {
            section.cards.push(Card {
                title: title(class),
                facts: String::new(),
                url: link(class),
                mark: mark(at),
            });
        }
    }
    let mut jumps = Vec::new();
    if pager.pages > 2 {
        let modules = index.modules_of(course);
        if let [first, _, ..] = modules {
            for module in modules.iter().step_by(modules.len().div_ceil(MOST_JUMPS)) {
                let at = (module.classes.start - first.classes.start) as usize;
                let title = shown(index.text(module.name), "Untitled");
                jumps.push((title, page_link(&base, page_of(at), &person)));
            }
        } else {
            let step = pager.pages.div_ceil(MOST_JUMPS);
            for page in (1..=pager.pages).step_by(step) {
                jumps.push((format!("Page {page}"), page_link(&base, page, &person)));
            }
        }
    }
    let presentation = read(&generation, found.course, Course::presentation).await?;
    let watched = (0..classes.len())
        .filter(|&at| mark(at) == Mark::Complete)
        .count();
    let mut facts = vec![
        above(index, found),
        count(classes.len(), "class", "classes"),
    ];
    if watched > 0 {
        facts.push(format!("{watched} watched"));
    }
    let category = index.text(index.categories[found.category].reference);
    let markup = web::course(&web::CoursePage {
        title: shown(index.text(course.name), "Untitled"),
        facts: facts.join(" \u{b7} "),
        resume,
        presentation: presentation.as_ref().map(url::course_file),
        sections,
        pager,
        jumps,
        back: person.link(&url::category(category, 1)),
    });
    Ok(answer::page(StatusCode::Ok, markup))
}

/// `GET /watch/{cat}/{route}/{course}/{module}/{class}`
pub(super) async fn class(
    app: &App,
    request: &Request,
    refs: &CourseRefs,
    class: &ClassRefs,
) -> Result<Response> {
    let generation = app.catalog.current();
    let found = catalog::find(&generation, refs)?;
    let index = &generation.index;
    let at = index
        .class(found.course, &class.module, &class.class)
        .ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "class_not_found",
                "The course has no such class; its page lists all it has.",
            )
        })?;
    let person = Person::of(request);
    let course = &index.courses[found.course];
    let module_at = index.classes[at].module as usize;
    let module = &index.modules[module_at];
    let (in_course, in_module) = (
        module_at - course.modules.start as usize,
        at - module.classes.start as usize,
    );
    let before = course.modules.start as usize;
    let of_course = at - index.modules[before].classes.start as usize;
    let lesson = read(&generation, found.course, move |course| {
        course.class(in_course, in_module).unwrap_or_default()
    })
    .await?;

    let key = key(index, found, at);
    let marks = person.marks(app, vec![key.clone()]).await;
    let mark = marks.into_iter().flatten().next().unwrap_or_default();
    let neighbour = |to: Option<usize>| {
        let to = to.filter(|&to| {
            let module = index.classes.get(to).map(|class| class.module);
            module.is_some_and(|module| course.modules.contains(&module))
        })?;
        let title = shown(index.text(index.classes[to].name), "Untitled");
        Some((title, person.link(&url::class(index, found, to))))
    };
    let media = match &lesson.video {
        Some(file) => Some((url::course_file(file), media_type(app, file).await)),
        None => None,
    };
    let texts = (lesson.texts.iter())
        .map(|(label, file)| ((*label).to_owned(), url::course_file(file)))
        .collect();
    let resources = lesson.resources.iter();
    let mut links: Vec<(String, String)> = resources
        .map(|resource| {
            let name = shown(&resource.name, "File");
            (name, url::course_file(&resource.file))
        })
        .collect();
    let converted = lesson.video.as_ref();
    let converted = converted.filter(|_| app.ffmpeg.ffmpeg().available);
    if let Some(file) = converted {
        let label = "No picture or no sound? Play a compatible version";
        links.push((label.to_owned(), url::course_compatible(file)));
    }
    let names = [above(index, found), index.text(course.name).to_owned()];
    let module_name = index.text(module.name).to_owned();
    let path = names.into_iter().chain([module_name]);
    let markup = web::lesson(&web::Lesson {
        title: shown(index.text(index.classes[at].name), "Untitled"),
        path: path
            .map(|name| shown(&name, ""))
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>()
            .join(" / "),
        media,
        compatible: converted.map(url::course_stream),
        tracks: tracks(&lesson.subtitles, request),
        key,
        progress: person.link("/api/progress"),
        // One that was watched begins again.
        start: match (mark.complete, mark.watch_time) {
            (false, Some(time)) => time.min(LONGEST_FILM) as u64,
            _ => 0,
        },
        complete: mark.complete,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        texts,
        links,
        previous: neighbour(at.checked_sub(1)),
        next: neighbour(Some(at + 1)),
        back: page_link(&url::course(index, found), page_of(of_course), &person),
    });
    Ok(answer::player_page(markup))
}

/// Something of a course's piece of the catalog. Its size is whatever a file says: not on a thread that serves streams.
async fn read<T: Send + 'static>(
    generation: &std::sync::Arc<Generation>,
    course: usize,
    pick: impl FnOnce(&Course) -> T + Send + 'static,
) -> Result<T> {
    let _turn = catalog::turn(generation, course).await;
    let generation = std::sync::Arc::clone(generation);
    let picked = smol::unblock(move || {
        let course = Course::of(generation.course(course)?);
        Ok(pick(&course))
    });
    picked.await.map_err(catalog::unreadable)
}

/// The type of a class's film: of a local file by its name, of one on Drive as Google says, if it says so soon. Asking
/// costs nothing, for the player needs the answer next.
async fn media_type(app: &App, file: &FileRef) -> String {
    match file {
        FileRef::Local(path) => match kind::content_type(path) {
            kind::UNKNOWN => String::new(),
            // QuickTime and M4V are MP4 to every browser; what is unsure is offered without a type.
            "video/quicktime" => "video/mp4".to_owned(),
            known @ ("video/mp4" | "video/webm" | "audio/mpeg" | "audio/mp4") => known.to_owned(),
            _ => String::new(),
        },
        FileRef::Drive(id) => {
            let Ok(id) = FileId::parse(id) else {
                return String::new();
            };
            let asked = async { app.drive.metadata(&id).await.ok() };
            let late = async {
                smol::Timer::after(TYPE_PATIENCE).await;
                None
            };
            match or(asked, late).await {
                Some(metadata)
                    if matches!(
                        metadata.mime_type.as_str(),
                        "video/mp4" | "video/webm" | "audio/mpeg" | "audio/mp4"
                    ) =>
                {
                    metadata.mime_type.clone()
                }
                _ => String::new(),
            }
        }
    }
}

fn tracks(subtitles: &[crate::catalog::course::Subtitle], request: &Request) -> Vec<web::Track> {
    let tracks = subtitles.iter().map(|subtitle| {
        // As the end of a file's name, which is where languages are read from.
        let name = shown(&subtitle.language, "");
        let language = language::of_subtitle("", &format!("{name}.vtt"));
        (language, url::course_subtitle(&subtitle.file))
    });
    pages::with_default(tracks.collect(), request)
}

/// Category and route of a course, in a line.
pub(super) fn above(index: &Index, found: Found) -> String {
    let category = shown(
        index.text(index.categories[found.category].name),
        "Untitled",
    );
    let route = &index.routes[found.route];
    match route.is_course {
        true => category,
        false => format!("{category} / {}", shown(index.text(route.name), "Untitled")),
    }
}

/// The page that an entry of a list stands on, from 1.
fn page_of(at: usize) -> usize {
    at / PER_PAGE + 1
}

/// The URL of a page of the list at `base`.
fn page_link(base: &str, page: usize, person: &Person) -> String {
    let mark = if base.contains('?') { '&' } else { '?' };
    person.link(&match page {
        1 => base.to_owned(),
        page => format!("{base}{mark}page={page}"),
    })
}

/// The page of a list that is asked for, and the place of its first entry.
pub(super) fn paged(
    request: &Request,
    entries: usize,
    base: &str,
    person: &Person,
) -> (Pager, usize) {
    let pages = entries.div_ceil(PER_PAGE).max(1);
    let page = super::query(request, "page")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .clamp(1, pages);
    let link = |page: usize| page_link(base, page, person);
    let pager = Pager {
        page,
        pages,
        previous: (page > 1).then(|| link(page - 1)),
        next: (page < pages).then(|| link(page + 1)),
    };
    (pager, (page - 1) * PER_PAGE)
}

pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// A name as it is shown: without what would turn the text around it.
pub(super) fn shown(name: &str, otherwise: &str) -> String {
    let name = web::figure::plain(name);
    match name.trim() {
        "" => otherwise.to_owned(),
        name => name.to_owned(),
    }
}
