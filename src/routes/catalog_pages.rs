//! `/courses`, `/course/..`, `/watch/..`: the course library as a person sees it. The markup itself is in `web`.

use std::time::Duration;

use smol::future::or;

use crate::catalog::course::{Course, FileRef};
use crate::catalog::index::{Found, Index};
use crate::catalog::search::Hit;
use crate::catalog::{Generation, Source};
use crate::drive::FileId;
use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::jobs::scan::{ScanState, ScanStatus};
use crate::media::{kind, language};
use crate::routes::route::{ClassRefs, CourseRefs};
use crate::routes::watched::{Person, key, shown_mark};
use crate::routes::{App, answer, catalog, pages};
use crate::web::{self, Card, Mark, PER_PAGE, Pager, Section, url};

/// Hits that a search leads to: ten pages, which is more than anybody turns.
const MOST_HITS: usize = 10 * PER_PAGE;

/// Classes of a course whose marks are asked for, to say where to go on.
const MOST_MARKS: usize = 2000;

/// How long a page waits for the type of a file on Drive. A player does without when Google is slow.
const TYPE_PATIENCE: Duration = Duration::from_millis(700);

/// `GET /courses`
pub(super) async fn courses(app: &App, request: &Request) -> Result<Response> {
    let generation = app.catalog.current();
    let index = &generation.index;
    let person = Person::of(request);
    let query = super::query(request, "q").unwrap_or_default();
    let wanted = super::query(request, "category");
    let only = (index.categories.len() == 1).then_some(0);
    let (title, all, base, back) = if !query.trim().is_empty() {
        let base = format!("/courses?q={}", url::escape(query.as_bytes()));
        let (_, hits) = generation.search.find(index, &query, MOST_HITS);
        let hits = hits.into_iter().filter_map(|hit| found(&generation, hit));
        let title = format!("Search: {}", query.trim());
        let back = ("All courses".to_owned(), "/courses".to_owned());
        (title, hits.collect(), base, back)
    } else if let Some(at) = wanted
        .as_deref()
        .map_or(only, |wanted| index.category(wanted))
    {
        let category = &index.categories[at];
        let back = match only {
            Some(_) => ("Videos of this box".to_owned(), "/".to_owned()),
            None => ("All categories".to_owned(), "/courses".to_owned()),
        };
        let base = url::category(index.text(category.reference), 1);
        let title = shown(index.text(category.name), "Courses");
        (title, courses_of(index, at), base, back)
    } else if wanted.is_some() {
        return Err(Error::new(
            Kind::NotFound,
            "not_found",
            "There is no such category; /courses lists all there are.",
        ));
    } else {
        let back = ("Videos of this box".to_owned(), "/".to_owned());
        let title = "Courses".to_owned();
        (title, categories(index), "/courses".to_owned(), back)
    };
    let (pager, first) = paged(request, all.len(), &base, &person);
    let mut cards: Vec<Card> = all.into_iter().skip(first).take(PER_PAGE).collect();
    for card in &mut cards {
        card.url = person.link(&card.url);
    }
    let status = app.scan.status();
    let scan = scanning(&status, &generation);
    let advice = match (cards.is_empty(), query.trim().is_empty()) {
        (true, false) => {
            Some("Nothing has all of these words; try fewer or shorter ones.".to_owned())
        }
        (true, true) if scan.is_none() => Some(what_to_do(app, &generation, &status)),
        _ => None,
    };
    // Courses appear by themselves where there are none to lose the place among.
    let waits = scan.is_some() && index.courses.is_empty() && query.trim().is_empty();
    let markup = web::library(&web::Library {
        title,
        problem: app.catalog.problem(),
        scan,
        waits,
        advice,
        query: query.trim().to_owned(),
        profile: person.name.clone(),
        cards,
        pager,
        back: (back.0, person.link(&back.1)),
    });
    Ok(answer::page(StatusCode::Ok, markup))
}

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
    let mut links: Vec<(String, String)> = lesson
        .texts
        .iter()
        .map(|(label, file)| ((*label).to_owned(), url::course_file(file)))
        .collect();
    let resources = lesson.resources.iter();
    links.extend(resources.map(|resource| {
        let name = shown(&resource.name, "File");
        (name, url::course_file(&resource.file))
    }));
    if let Some(file) = lesson
        .video
        .as_ref()
        .filter(|_| app.ffmpeg.ffmpeg().available)
    {
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
        tracks: tracks(&lesson.subtitles, request),
        key,
        progress: person.link("/api/progress"),
        // One that was watched begins again.
        start: match (mark.complete, mark.watch_time) {
            (false, Some(time)) => time as u64,
            _ => 0,
        },
        complete: mark.complete,
        links,
        previous: neighbour(at.checked_sub(1)),
        next: neighbour(Some(at + 1)),
        back: person.link(&url::course(index, found)),
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

/// The type of a class's film: of a local file by its name, of one on Drive as Google says, if it says so soon. Asking costs
/// nothing, for the player needs the answer next.
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

fn categories(index: &Index) -> Vec<Card> {
    let card = |category: &crate::catalog::index::Category| {
        let routes = index.routes_of(category);
        let courses: usize = routes.iter().map(|route| route.courses.len()).sum();
        Card {
            title: shown(index.text(category.name), "Untitled"),
            facts: count(courses, "course", "courses"),
            url: url::category(index.text(category.reference), 1),
            mark: Mark::None,
        }
    };
    index.categories.iter().map(card).collect()
}

fn courses_of(index: &Index, category: usize) -> Vec<Card> {
    let routes = index.categories[category].routes.clone();
    let routes = routes.map(|route| route as usize);
    let courses = routes.flat_map(|route| {
        let courses = index.routes[route].courses.clone();
        courses.map(move |course| Found {
            category,
            route,
            course: course as usize,
        })
    });
    courses
        .map(|found| course_card(index, found, false))
        .collect()
}

fn course_card(index: &Index, found: Found, whole: bool) -> Card {
    let (route, course) = (&index.routes[found.route], &index.courses[found.course]);
    let classes = count(index.class_count(course), "class", "classes");
    let route_name = shown(index.text(route.name), "");
    let above = match (whole, route.is_course) {
        (true, _) => above(index, found),
        (false, true) => String::new(),
        (false, false) => route_name,
    };
    let facts = [above, classes];
    let facts: Vec<&str> = facts
        .iter()
        .map(String::as_str)
        .filter(|fact| !fact.is_empty())
        .collect();
    Card {
        title: shown(index.text(course.name), "Untitled"),
        facts: facts.join(" \u{b7} "),
        url: url::course(index, found),
        mark: Mark::None,
    }
}

fn found(generation: &Generation, hit: Hit) -> Option<Card> {
    let index = &generation.index;
    match hit {
        Hit::Course(course) => Some(course_card(index, index.place(course)?, true)),
        Hit::Class(at) => {
            let class = index.classes.get(at)?;
            let course = index.modules.get(class.module as usize)?.course as usize;
            let found = index.place(course)?;
            let course = shown(index.text(index.courses[course].name), "Untitled");
            Some(Card {
                title: shown(index.text(class.name), "Untitled"),
                facts: format!("{} / {course}", above(index, found)),
                url: url::class(index, found, at),
                mark: Mark::None,
            })
        }
    }
}

/// Category and route of a course, in a line.
fn above(index: &Index, found: Found) -> String {
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

/// The page of a list that is asked for, and the place of its first entry.
fn paged(request: &Request, entries: usize, base: &str, person: &Person) -> (Pager, usize) {
    let pages = entries.div_ceil(PER_PAGE).max(1);
    let page = super::query(request, "page")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .clamp(1, pages);
    let link = |page: usize| {
        let mark = if base.contains('?') { '&' } else { '?' };
        person.link(&match page {
            1 => base.to_owned(),
            page => format!("{base}{mark}page={page}"),
        })
    };
    let pager = Pager {
        page,
        pages,
        previous: (page > 1).then(|| link(page - 1)),
        next: (page < pages).then(|| link(page + 1)),
    };
    (pager, (page - 1) * PER_PAGE)
}

/// A scan that is under way, in a sentence.
fn scanning(status: &ScanStatus, generation: &Generation) -> Option<String> {
    match status.state {
        ScanState::Running => {
            let mut sentence = format!(
                "The courses are being scanned: {} of {} so far, {}",
                status.folders,
                count(status.folders_known as usize, "folder", "folders"),
                count(status.classes as usize, "lecture", "lectures"),
            );
            match status.seconds_left.map(|seconds| seconds.div_ceil(60)) {
                None => sentence.push('.'),
                Some(0 | 1) => sentence.push_str("; less than a minute is left."),
                Some(minutes) => {
                    sentence.push_str(&format!("; about {minutes} minutes are left."));
                }
            }
            Some(sentence)
        }
        ScanState::Elsewhere => {
            Some("The courses are being scanned by `rill scan` on the box.".to_owned())
        }
        ScanState::Idle
            if matches!(status.last, Some(Ok(_))) && generation.origin.source == Source::None =>
        {
            Some("The courses were scanned, and are being read.".to_owned())
        }
        ScanState::Idle | ScanState::Unconfigured => None,
    }
}

/// What an empty library wants.
fn what_to_do(app: &App, generation: &Generation, status: &ScanStatus) -> String {
    if let Some(error) = &status.error {
        return format!("No courses were found, because the last scan failed: {error}");
    }
    if generation.origin.source != Source::None {
        return "The catalog holds no courses; put some into the course folder. New ones show here within a minute."
            .to_owned();
    }
    if status.state != ScanState::Unconfigured {
        return "No catalog was made yet; run `sudo rill scan` on the box, and open this page again.".to_owned();
    }
    format!(
        "There are no courses yet. Set drive.root (a folder on Google Drive) or library.courses (a folder of this box) in \
         rill.toml and run `sudo rill scan`, or copy a {} into {}.",
        crate::catalog::IMPORTED,
        app.catalog.folder().display()
    )
}

fn count(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// A name as it is shown: without what would turn the text around it.
fn shown(name: &str, otherwise: &str) -> String {
    let name = web::figure::plain(name);
    match name.trim() {
        "" => otherwise.to_owned(),
        name => name.to_owned(),
    }
}
