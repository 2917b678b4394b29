//! `/api/bootstrap`, `/api/courses`, `/api/course-detail/..`, `/api/search` and their like: the catalog as JSON.
//!
//! Each answer is of one generation, taken once. What is the same for everybody was made when the catalog was read.

use std::io;
use std::sync::Arc;

use http_types::Method;
use serde_json::{Value, json};
use smol::lock::{Semaphore, SemaphoreGuard};

use crate::catalog::Generation;
use crate::catalog::index::Found;
use crate::catalog::search::{Hit, MOST_CHARACTERS, MOST_WORDS};
use crate::error::{Error, Kind, Result};
use crate::http::{Bytes, ETag, Entity, Request, Response, StatusCode};
use crate::media::path::MediaPath;
use crate::routes::route::CourseRefs;
use crate::routes::{App, answer, videos};
use crate::sys::pages::{self, Pages};
use crate::web::{figure, url};

/// Answers up to so many bytes are made on the thread that serves, if what they are made of is in memory.
const QUICK: u64 = 256 * 1024;

/// Hits of a search when the request does not say, and at most.
const HITS: usize = 20;
const MOST_HITS: usize = 100;

/// `GET /api/bootstrap`
pub(super) async fn bootstrap(app: &App, request: &Request) -> Result<Response> {
    shared(request, &app.catalog.current().bootstrap).await
}

/// `GET /api/self-check-drive`
pub(super) async fn self_check(app: &App, request: &Request) -> Result<Response> {
    shared(request, &app.catalog.current().check).await
}

/// `GET /api/courses`
pub(super) async fn courses(app: &App, request: &Request) -> Result<Response> {
    let generation = app.catalog.current();
    let entity = Entity::file_with_gzip(
        Arc::clone(&generation.file),
        generation.gzip(),
        generation.etag(),
        generation.origin.modified,
        answer::JSON,
    );
    entity
        .map_err(unreadable)?
        .header("cache-control", "no-cache")
        .respond(request)
        .await
}

/// `GET /api/course-detail/{cat}/{route}/{course}`
pub(super) async fn detail(app: &App, request: &Request, refs: &CourseRefs) -> Result<Response> {
    let generation = app.catalog.current();
    let found = find(&generation, refs)?;
    let packed = request.accepts_gzip();
    let range = generation.index.courses[found.course].bytes.clone();
    let large = range.end - range.start > QUICK;
    let quick = !large && pages::probe(&generation.file, range, pages::DENSE) == Pages::Warm;
    let make = {
        let generation = Arc::clone(&generation);
        move || -> io::Result<Arc<Bytes>> {
            let answer = describe(&generation, found)?;
            let bytes = Bytes::once(answer, generation.tag(found.course), packed);
            generation.keep_tag(found.course, bytes.etag());
            Ok(Arc::new(bytes))
        }
    };
    let bytes = match (quick, large) {
        (true, _) => make(),
        // A card that stalls stalls nobody else.
        (false, false) => smol::unblock(make).await,
        // What a hundred clients read at once is there once.
        (false, true) => {
            let _turn = turn(&generation, found.course).await;
            match generation.large(found.course, packed) {
                Some(bytes) => Ok(bytes),
                None => {
                    let made = smol::unblock(make).await;
                    if let Ok(bytes) = &made {
                        generation.keep_large(found.course, packed, bytes);
                    }
                    made
                }
            }
        }
    };
    once(request, bytes.map_err(unreadable)?).await
}

/// Waits until a course may be read: of large ones, one at a time is in memory.
pub(super) async fn turn(
    generation: &Generation,
    course: usize,
) -> Option<SemaphoreGuard<'static>> {
    static ONE: Semaphore = Semaphore::new(1);
    let course = generation.index.courses.get(course)?;
    match course.bytes.end - course.bytes.start > QUICK {
        true => Some(ONE.acquire().await),
        false => None,
    }
}

/// The course that three references lead to.
pub(super) fn find(generation: &Generation, refs: &CourseRefs) -> Result<Found> {
    let found = generation
        .index
        .course(&refs.category, &refs.route, &refs.course);
    found.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            "course_not_found",
            "No course has this address; /courses lists all there are.",
        )
        .with("catRef", refs.category.as_str())
        .with("routeRef", refs.route.as_str())
        .with("courseRef", refs.course.as_str())
    })
}

/// The answer to more or fewer than three references.
pub(super) fn wrong_depth() -> Error {
    Error::new(
        Kind::BadRequest,
        "invalid_course_detail_path",
        "A course is asked for by three segments: of its category, its route and itself.",
    )
    .with("expected", "/api/course-detail/{cat}/{route}/{course}")
}

fn describe(generation: &Generation, found: Found) -> io::Result<Vec<u8>> {
    let index = &generation.index;
    let (category, route) = (
        &index.categories[found.category],
        &index.routes[found.route],
    );
    let course = &index.courses[found.course];
    let id = |id, reference| match index.text(id) {
        "" => index.text(reference).to_owned(),
        id => id.to_owned(),
    };
    let head = json!({
        "catId": id(category.id, category.reference),
        "routeId": id(route.id, route.reference),
        "courseId": id(course.id, course.reference),
        "indices": {
            "catIdx": found.category,
            "routeIdx": found.route - category.routes.start as usize,
            "courseIdx": found.course - route.courses.start as usize,
        },
    });
    let mut answer = head.to_string().into_bytes();
    answer.pop();
    answer.extend_from_slice(b",\"course\":");
    answer.extend_from_slice(&generation.course(found.course)?);
    answer.extend_from_slice(format!(",\"isCourseRoute\":{}}}", route.is_course).as_bytes());
    Ok(answer)
}

/// `GET /api/cache-meta`
pub(super) async fn meta(app: &App, request: &Request) -> Result<Response> {
    let generation = app.catalog.current();
    let origin = &generation.origin;
    let name = origin.path.as_deref().and_then(|path| path.file_name());
    let modified = origin.modified.map(figure::seconds);
    let stats: Value = serde_json::from_str(&generation.stats).unwrap_or(Value::Null);
    let answer = json!({
        "file": name.map(|name| name.to_string_lossy()),
        "source": origin.source.word(),
        "mtimeIso": modified.map(figure::timestamp),
        "mtimeEpoch": modified,
        "stats": stats,
        "payloadBytes": { "full": generation.len, "bootstrap": generation.bootstrap.len() },
        "problem": app.catalog.problem(),
    });
    fresh(request, answer, None).await
}

/// `GET /api/search?q=&limit=`
pub(super) async fn search(app: &App, request: &Request) -> Result<Response> {
    let query = super::query(request, "q").unwrap_or_default();
    if query.chars().count() > MOST_CHARACTERS || query.split_whitespace().count() > MOST_WORDS {
        return Err(Error::new(
            Kind::BadRequest,
            "query_too_long",
            format!(
                "A search takes {MOST_WORDS} words and {MOST_CHARACTERS} characters; leave some out."
            ),
        ));
    }
    let limit = super::query(request, "limit").and_then(|text| text.parse().ok());
    let limit = limit.unwrap_or(HITS).clamp(1, MOST_HITS);
    let generation = app.catalog.current();
    let (total, hits) = generation.search.find(&generation.index, &query, limit);
    let hits: Vec<Value> = hits
        .into_iter()
        .filter_map(|hit| show(&generation, hit))
        .collect();
    fresh(
        request,
        json!({ "query": query, "total": total, "hits": hits }),
        None,
    )
    .await
}

/// A hit: what it is, the names that lead to it, where it is.
fn show(generation: &Generation, hit: Hit) -> Option<Value> {
    let index = &generation.index;
    let course_at = match hit {
        Hit::Course(at) => at,
        Hit::Class(at) => {
            let module = index.classes.get(at)?.module;
            index.modules.get(module as usize)?.course as usize
        }
    };
    let found = index.place(course_at)?;
    let (category, route) = (
        index.categories.get(found.category)?,
        index.routes.get(found.route)?,
    );
    let course = index.courses.get(found.course)?;
    let mut path = vec![index.text(category.name)];
    if !route.is_course {
        path.push(index.text(route.name));
    }
    let mut refs = json!({
        "cat": index.text(category.reference),
        "route": index.text(route.reference),
        "course": index.text(course.reference),
    });
    let (kind, title, link) = match hit {
        Hit::Course(_) => ("course", index.text(course.name), url::course(index, found)),
        Hit::Class(at) => {
            let class = index.classes.get(at)?;
            let module = index.modules.get(class.module as usize)?;
            path.extend([index.text(course.name), index.text(module.name)]);
            refs["module"] = index.text(module.reference).into();
            refs["class"] = index.text(class.reference).into();
            (
                "class",
                index.text(class.name),
                url::class(index, found, at),
            )
        }
    };
    Some(json!({ "kind": kind, "title": title, "path": path, "link": link, "refs": refs }))
}

/// `GET|POST /api/refresh`
pub(super) async fn refresh(app: &App, request: &Request) -> Result<Response> {
    let access = app.access();
    // A page elsewhere can make a browser GET anything.
    access.check_acting(request)?;
    access.require_loopback_or_admin(request).await?;
    if request.method() != Method::Head {
        if super::query(request, "scan").is_some_and(|scan| scan != "0") {
            app.scan.start()?;
        } else {
            let catalog = app.catalog.clone();
            smol::unblock(move || catalog.reload()).detach();
        }
    }
    Ok(answer::json(
        StatusCode::Ok,
        &json!({ "status": "refreshing" }),
    ))
}

/// `GET /courses/files/{path}`
pub(super) async fn file(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    match &app.courses {
        Some(folder) => videos::below(app, folder, request, path).await,
        None => Err(Error::new(
            Kind::NotFound,
            "not_found",
            "No folder of courses is configured; set library.courses in rill.toml.",
        )),
    }
}

async fn shared(request: &Request, bytes: &Arc<Bytes>) -> Result<Response> {
    Entity::bytes(Arc::clone(bytes), answer::JSON)
        .header("cache-control", "no-cache")
        .respond(request)
        .await
}

/// An answer that is made for this request.
async fn fresh(request: &Request, answer: Value, etag: Option<ETag>) -> Result<Response> {
    let text = answer.to_string().into_bytes();
    let bytes = Bytes::once(text, etag, request.accepts_gzip());
    once(request, Arc::new(bytes)).await
}

async fn once(request: &Request, bytes: Arc<Bytes>) -> Result<Response> {
    Entity::bytes(bytes, answer::JSON)
        .varying()
        .header("cache-control", "no-cache")
        .respond(request)
        .await
}

/// The catalog's own file does not give back what was written to it.
pub(super) fn unreadable(error: io::Error) -> Error {
    Error::internal("The catalog cannot be read back; check the disk.").because(error)
}
