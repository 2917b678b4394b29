//! `/courses`: the shelf of the course library: categories, the courses of one, and what a search finds; and what to do
//! where it is empty.

use crate::catalog::index::{Category, Found, Index};
use crate::catalog::search::Hit;
use crate::catalog::{Generation, Source};
use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::jobs::scan::{ScanState, ScanStatus};
use crate::routes::catalog_pages::{above, count, paged, shown};
use crate::routes::watched::Person;
use crate::routes::{App, answer};
use crate::web::{self, Card, Mark, PER_PAGE, url};

/// Hits that a search leads to: ten pages, which is more than anybody turns.
const MOST_HITS: usize = 10 * PER_PAGE;

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

fn categories(index: &Index) -> Vec<Card> {
    let card = |category: &Category| {
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
            let module = index.modules.get(class.module as usize)?;
            let found = index.place(module.course as usize)?;
            let course = shown(index.text(index.courses[found.course].name), "Untitled");
            let mut facts = format!("{} / {course}", above(index, found));
            match shown(index.text(module.name), "") {
                // Classes straight in a course have a module of its name.
                module if module.is_empty() || module == course => {}
                module => facts.push_str(&format!(" / {module}")),
            }
            Some(Card {
                title: shown(index.text(class.name), "Untitled"),
                facts,
                url: url::class(index, found, at),
                mark: Mark::None,
            })
        }
    }
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
