//! One file per resource: what a URL means, and the only place that knows wire types.
//!
//! A request passes, in this order: the name it came by ([`access`]), what its URL means ([`route`]), the methods
//! of that route, who may change things ([`access`]), and the file of its resource. Any of them may fail
//! with `?`; the failure becomes an answer in [`answer`], which also writes the log.

pub mod access;
mod answer;
mod assets;
mod catalog;
mod catalog_pages;
mod changes;
mod compatible;
mod drive;
mod events;
mod health;
mod index;
mod jobs;
mod login;
mod pages;
mod posters;
mod progress;
mod readers;
mod repair;
pub mod route;
mod shelf;
mod subtitles;
mod target;
mod upload;
mod uploads;
mod videos;
mod watched;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use http_types::Method;
use serde_json::Value;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::drive::Drive;
use crate::error::{Error, Kind, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::live::LiveStreams;
use crate::ffmpeg::loopback::Loopback;
use crate::http::{Listener, Request, Response, Service, StatusCode};
use crate::jobs::events::Events;
use crate::jobs::intake::Intake;
use crate::jobs::poster::Posters;
use crate::jobs::queue::Queue;
use crate::jobs::repair::Repairs;
use crate::jobs::resumable::Resumable;
use crate::jobs::scan::{ScanStatus, Scanner};
use crate::media::folder::Folder;
use crate::media::prober::Prober;
use crate::store::database::Database;
use crate::store::lacks::Lacks;
use crate::store::progress::Progress;
use crate::store::token::Admin;

pub use access::Access;
pub use answer::error_response;
pub use assets::style;
pub use index::Indexes;
pub use readers::Readers;
pub use route::Route;
pub use subtitles::Subtitles;
pub use target::Target;
pub use videos::VideosJson;

/// What the routes answer from. Built by `daemon`, shared by every connection.
#[derive(Debug)]
pub struct App {
    /// The resolved configuration.
    pub config: Config,
    /// Google Drive.
    pub drive: Drive,
    /// `library.videos`.
    pub videos: Folder,
    /// The courses.
    pub catalog: Catalog,
    /// `library.courses`.
    pub courses: Option<Folder>,
    /// Scans the course tree, and knows how that stands.
    pub scan: Scanner,
    /// The sockets, for their counters.
    pub listener: Arc<Listener>,
    /// When the daemon started.
    pub started: Instant,
    /// Who knows the admin token.
    pub admin: Arc<Admin>,
    /// ffmpeg and ffprobe, as far as they were found.
    pub ffmpeg: Programs,
    /// Where ffmpeg reads what we serve.
    pub loopback: Loopback,
    /// What is in files.
    pub prober: Prober,
    /// Compatible versions that are being watched.
    pub live: LiveStreams,
    /// `/api/videos` as it was last written; begins as its `Default`.
    pub videos_json: VideosJson,
    /// Lists of folders that are being sent; begins as its `Default`.
    pub indexes: Indexes,
    /// Subtitles that are being sent; begins as its `Default`.
    pub subtitles: Subtitles,
    /// The database of the state folder, for how it does.
    pub database: Database,
    /// What the state and the cache lack.
    pub lacks: Lacks,
    /// How far everything was watched, by whom.
    pub progress: Progress,
    /// What is to be done in the background.
    pub queue: Queue,
    /// Mended copies of files on Drive.
    pub repairs: Repairs,
    /// Small pictures of films.
    pub posters: Posters,
    /// Takes in what is uploaded.
    pub intake: Intake,
    /// Uploads that may go on later.
    pub resumable: Resumable,
    /// What happens, for those who listen.
    pub events: Events,
}

impl App {
    /// The rules about who may do what.
    pub fn access(&self) -> Access<'_> {
        Access::new(&self.config.http, &self.admin)
    }

    /// Why nothing can be remembered; `None` when it can.
    fn state_problem(&self) -> Option<String> {
        self.lacks.sentence().or_else(|| self.database.fault())
    }

    /// Answers, or says why not.
    async fn answer(&self, request: &mut Request) -> Result<Response> {
        let access = self.access();
        access.check_host(request)?;
        let route = Route::decode(request.path());
        let method = request.method();
        match route {
            Route::NotFound => return Err(not_found()),
            Route::Malformed => {
                return Err(Error::new(
                    Kind::BadRequest,
                    "malformed_path",
                    "The URL has a broken percent-escape or a NUL; write % as %25.",
                ));
            }
            Route::BadFileId => {
                return Err(Error::new(
                    Kind::BadRequest,
                    "invalid_file_id",
                    "That is no id of a Drive file; copy it from the file's link, after /d/.",
                ));
            }
            _ => {}
        }
        if method == Method::Options {
            let response = access.preflight(request, &route);
            return Ok(uploads::advertise(self, &route, response));
        }
        if !route.methods().contains(&method) {
            return Ok(answer::method_not_allowed(request, &route));
        }
        access.check_site(request)?;
        match route {
            Route::Home => pages::home(self, request).await,
            Route::VideoPage(path) => pages::video(self, request, &path).await,
            Route::Video(path) => match method {
                Method::Put => upload::put(self, request, &path).await,
                Method::Delete => changes::delete(self, request, &path).await,
                _ => videos::file(self, request, &path).await,
            },
            Route::Videos => Ok(index::to_folder(request, None)),
            Route::VideoFolder(path) => index::folder(self, request, path).await,
            Route::VideoDelete(path) => changes::delete_page(self, request, &path).await,
            Route::VideoRename(path) => changes::rename(self, request, &path).await,
            Route::Upload => upload::upload(self, request).await,
            Route::UploadScript => assets::upload(request).await,
            Route::ApiUploads => uploads::create(self, request).await,
            Route::ApiUpload(id) => uploads::one(self, request, &id).await,
            Route::DrivePage(id) => pages::drive(self, request, &id).await,
            Route::DriveFile(id) => drive::file(self, request, &id).await,
            Route::DriveSubtitle(id) => drive::subtitle(self, request, &id).await,
            Route::ApiVideos => videos::list(self, request).await,
            Route::ApiVideoMetadata(id) => drive::metadata(self, request, &id).await,
            Route::ApiCompatible(target) => compatible::stream(self, request, &target).await,
            Route::ApiPlayable(target) => compatible::playable(self, &target).await,
            Route::ApiHealth => Ok(health::health(self).await),
            Route::ApiJobs => jobs::list(self, request).await,
            Route::ApiJob(id) => jobs::one(self, request, id).await,
            Route::ApiEvents => events::events(self, request),
            Route::ApiConvert(path) => jobs::convert(self, request, &path).await,
            Route::ApiRepair(id) => repair::start(self, request, &id).await,
            Route::ApiRepairStatus(id) => repair::status(self, &id).await,
            Route::ApiRepaired(id) => repair::copy(self, request, &id).await,
            Route::Poster(path) => posters::poster(self, request, &path).await,
            Route::ApiProgress => progress::progress(self, request).await,
            Route::ApiProfiles => progress::profiles(self).await,
            Route::ApiProfile(profile) => progress::remove(self, request, &profile).await,
            Route::ApiBootstrap => catalog::bootstrap(self, request).await,
            Route::ApiCourses => catalog::courses(self, request).await,
            Route::ApiCourseDetail(refs) => catalog::detail(self, request, &refs).await,
            Route::ApiCourseDetailDepth => Err(catalog::wrong_depth()),
            Route::ApiCacheMeta => catalog::meta(self, request).await,
            Route::ApiSearch => catalog::search(self, request).await,
            Route::ApiSelfCheck => catalog::self_check(self, request).await,
            Route::ApiRefresh => catalog::refresh(self, request).await,
            Route::Courses => shelf::courses(self, request).await,
            Route::CourseFile(path) => catalog::file(self, request, &path).await,
            Route::CoursePage(refs) => catalog_pages::course(self, request, &refs).await,
            Route::ClassPage(refs, class) => {
                catalog_pages::class(self, request, &refs, &class).await
            }
            Route::PlayerScript => assets::player(request).await,
            Route::Login => login::login(self, request).await,
            Route::Logout => Ok(login::logout()),
            Route::Style => assets::style(request).await,
            Route::Icon => assets::icon(request).await,
            Route::Robots => Ok(assets::robots()),
            Route::Server | Route::BadFileId | Route::Malformed | Route::NotFound => {
                Err(not_found())
            }
        }
    }
}

impl Service for App {
    async fn call(&self, request: &mut Request) -> Response {
        let began = Instant::now();
        let answered = self.answer(request).await;
        let (response, error) = match answered {
            Ok(response) => (response, None),
            Err(error) => (error_response(Some(request), &error), Some(error)),
        };
        let response = uploads::mark(request, self.access().share(request, response));
        answer::log(request, &response, error.as_ref(), began.elapsed());
        response
    }

    fn refuse(&self, error: Error) -> Response {
        error_response(None, &error)
    }
}

/// How the scan stands, for those who listen to events.
pub fn describe_scan(status: &ScanStatus) -> Value {
    health::scan(status)
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "not_found",
        "Nothing is at this address; begin at the start page, /.",
    )
}

/// The value of `name` in the request's query, decoded; `None` when it is not there.
fn query(request: &Request, name: &str) -> Option<String> {
    login::fields(request.query()?)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// A redirect to a path of our own, to be followed by GET (RFC 9110 section 15.4.4).
fn see_other(path: String) -> Response {
    Response::new(StatusCode::SeeOther)
        .header("location", path)
        .header("cache-control", "no-store")
}
