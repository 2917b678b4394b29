//! What a URL means. Pure and total: every byte string is a route, [`Route::NotFound`] at worst.

use http_types::Method;
use percent_encoding::percent_decode;

use crate::drive::FileId;
use crate::jobs::job::JobId;
use crate::media::kind;
use crate::media::path::MediaPath;
use crate::routes::target::Target;
use crate::store::progress::Profile;

/// Every URL there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: the list of local videos, by pages of `?page=N`.
    Home,
    /// `/video/{path}`: plays a local file.
    VideoPage(MediaPath),
    /// `/videos/{path}`: its bytes; `?download=1` saves them. A `.vtt` may be made of a `.srt`.
    Video(MediaPath),
    /// `/videos`: leads to `/videos/`.
    Videos,
    /// `/videos/` and `/videos/{path}/`: what lies in a folder, for programs that walk it.
    VideoFolder(Option<MediaPath>),
    /// `/watch/drive/{id}`: plays a file on Drive.
    DrivePage(FileId),
    /// `/drive/files/{id}`: its bytes; `?download=1` saves them.
    DriveFile(FileId),
    /// `/drive/subtitles/{id}.vtt`: a subtitle file on Drive as WebVTT.
    DriveSubtitle(FileId),
    /// `/api/videos`: local files as JSON.
    ApiVideos,
    /// `/api/video-metadata/{id}`: what Drive says of a file.
    ApiVideoMetadata(FileId),
    /// `/api/video-compatible/{ref}`: an MP4 for every screen, made while it is watched; `?t=SECONDS`,
    /// `?mode=reencode`.
    ApiCompatible(Target),
    /// `/api/playable/{ref}`: what is in a file, and how to play it.
    ApiPlayable(Target),
    /// `/api/health`: what works and what does not.
    ApiHealth,
    /// `/api/jobs`: what is done in the background.
    ApiJobs,
    /// `/api/jobs/{n}`: one of them, to look at and to cancel.
    ApiJob(JobId),
    /// `/api/events`: what happens, as it happens.
    ApiEvents,
    /// `/api/convert/videos/{path}`: makes of a local file what browsers play.
    ApiConvert(MediaPath),
    /// `/api/repair/{id}`: makes a mended copy of a file on Drive.
    ApiRepair(FileId),
    /// `/api/repair-status/{id}`: how it stands with that.
    ApiRepairStatus(FileId),
    /// `/api/repaired/{id}`: the copy.
    ApiRepaired(FileId),
    /// `/posters/{path}.jpg`: a small picture of a local film.
    Poster(MediaPath),
    /// `/api/progress`: positions in what is watched; `?profile=NAME` whose.
    ApiProgress,
    /// `/api/profiles`: who watches.
    ApiProfiles,
    /// `/api/profiles/{name}`: one of them, to remove.
    ApiProfile(Profile),
    /// `/api/bootstrap`: the catalog without its classes.
    ApiBootstrap,
    /// `/api/courses`: the whole catalog.
    ApiCourses,
    /// `/api/course-detail/{cat}/{route}/{course}`: one course.
    ApiCourseDetail(CourseRefs),
    /// `/api/course-detail` with more or fewer segments.
    ApiCourseDetailDepth,
    /// `/api/cache-meta`: where the catalog came from.
    ApiCacheMeta,
    /// `/api/search?q=&limit=`: courses and classes by words.
    ApiSearch,
    /// `/api/self-check-drive`: what is wrong with the references of the catalog.
    ApiSelfCheck,
    /// `/api/refresh`: reads the catalog again; `?scan=1` makes a new one.
    ApiRefresh,
    /// `/courses`: categories, their courses (`?category=`), and what a search finds (`?q=`), by pages of `?page=N`.
    Courses,
    /// `/courses/files/{path}`: a file below `library.courses`.
    CourseFile(MediaPath),
    /// `/course/{cat}/{route}/{course}`: modules and classes, by pages of `?page=N`.
    CoursePage(CourseRefs),
    /// `/watch/{cat}/{route}/{course}/{module}/{class}`: plays a class.
    ClassPage(CourseRefs, ClassRefs),
    /// `/player.js?v={hash}`
    PlayerScript,
    /// `/upload`: the form that sends files.
    Upload,
    /// `/upload.js?v={hash}`
    UploadScript,
    /// `/api/uploads`: begins an upload that may go on later.
    ApiUploads,
    /// `/api/uploads/{id}`: goes on with it, and tells how it stands.
    ApiUpload(String),
    /// `/videos/{path}/delete`: asks whether it is meant, and deletes.
    VideoDelete(MediaPath),
    /// `/videos/{path}/rename`: asks for a name, and renames.
    VideoRename(MediaPath),
    /// `/login`: asks for the admin token, and sets the cookie.
    Login,
    /// `/logout`: takes the cookie back.
    Logout,
    /// `/style.css?v={hash}`
    Style,
    /// `/favicon.ico`
    Icon,
    /// `/robots.txt`
    Robots,
    /// `*`: the daemon as a whole, for OPTIONS alone.
    Server,
    /// A Drive URL whose id is none.
    BadFileId,
    /// A path with a broken percent-escape or a NUL.
    Malformed,
    /// Nothing.
    NotFound,
}

/// What leads to a course: the number of a place, an id, a name or a slug each, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CourseRefs {
    /// Of the category.
    pub category: String,
    /// Of the route.
    pub route: String,
    /// Of the course.
    pub course: String,
}

/// What leads to a class of a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRefs {
    /// Of the module.
    pub module: String,
    /// Of the class.
    pub class: String,
}

/// Reading only.
const READ: &[Method] = &[Method::Get, Method::Head];

impl Route {
    /// Reads a raw path, as it stands in the request: percent-encoded, beginning with `/`.
    ///
    /// Nothing is normalised but a plain `.` among the segments: `..`, `%2e`, empty segments (but the last of a folder)
    /// and encoded slashes are found nowhere, so that no two readers of a URL can disagree about what it names (RFC
    /// 3986 section 6.2.2.3 leaves that to browsers).
    pub fn decode(path: &str) -> Route {
        match path {
            "/" => return Route::Home,
            "*" => return Route::Server,
            _ => {}
        }
        let Some(raw) = path.strip_prefix('/') else {
            return Route::NotFound;
        };
        if let Some(route) = catalog(raw) {
            return route;
        }
        let (raw, is_folder) = match raw.strip_suffix('/') {
            Some(raw) => (raw, true),
            None => (raw, false),
        };
        let mut segments = Vec::new();
        // rclone writes `./` before a name with a colon, lest it be taken for a scheme (RFC 3986 section 4.2).
        for segment in raw.split('/').filter(|segment| *segment != ".") {
            match decode_segment(segment) {
                Segment::Sound(bytes) => segments.push(bytes),
                Segment::Elsewhere(_) => return Route::NotFound,
                Segment::Malformed => return Route::Malformed,
            }
        }
        let segments: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
        match segments.as_slice() {
            [b"videos"] if is_folder => Route::VideoFolder(None),
            [b"videos", path @ ..] if is_folder => {
                media(path, |path| Route::VideoFolder(Some(path)))
            }
            _ if is_folder => Route::NotFound,
            [b"videos"] => Route::Videos,
            [b"video", path @ ..] => media(path, Route::VideoPage),
            // Films have names with an extension: what is called otherwise may well be in a folder of that name.
            [b"videos", path @ .., name, b"delete"] if is_media(name) => {
                media(&[path, &[*name]].concat(), Route::VideoDelete)
            }
            [b"videos", path @ .., name, b"rename"] if is_media(name) => {
                media(&[path, &[*name]].concat(), Route::VideoRename)
            }
            [b"videos", path @ ..] => media(path, Route::Video),
            [b"watch", b"drive", id] => drive(id, Route::DrivePage),
            [b"drive", b"files", id] => drive(id, Route::DriveFile),
            [b"drive", b"subtitles", name] => match name.strip_suffix(b".vtt") {
                Some(id) => drive(id, Route::DriveSubtitle),
                None => Route::NotFound,
            },
            [b"api", b"videos"] => Route::ApiVideos,
            [b"api", b"video-metadata", id] => drive(id, Route::ApiVideoMetadata),
            [b"api", b"video-compatible", rest @ ..] => target(rest, Route::ApiCompatible),
            [b"api", b"playable", rest @ ..] => target(rest, Route::ApiPlayable),
            [b"api", b"health"] => Route::ApiHealth,
            [b"api", b"jobs"] => Route::ApiJobs,
            [b"api", b"jobs", number] => job(number),
            [b"api", b"events"] => Route::ApiEvents,
            [b"api", b"convert", b"videos", path @ ..] => media(path, Route::ApiConvert),
            [b"api", b"repair", id] => drive(id, Route::ApiRepair),
            [b"api", b"repair-status", id] => drive(id, Route::ApiRepairStatus),
            [b"api", b"repaired", id] => drive(id, Route::ApiRepaired),
            [b"posters", path @ ..] => poster(path),
            [b"api", b"progress"] => Route::ApiProgress,
            [b"api", b"profiles"] => Route::ApiProfiles,
            [b"api", b"profiles", name] => profile(name),
            [b"api", b"bootstrap"] => Route::ApiBootstrap,
            [b"api", b"courses"] => Route::ApiCourses,
            [b"api", b"cache-meta"] => Route::ApiCacheMeta,
            [b"api", b"search"] => Route::ApiSearch,
            [b"api", b"self-check-drive"] => Route::ApiSelfCheck,
            [b"api", b"refresh"] => Route::ApiRefresh,
            [b"courses"] => Route::Courses,
            [b"courses", b"files", path @ ..] => media(path, Route::CourseFile),
            [b"player.js"] => Route::PlayerScript,
            [b"upload"] => Route::Upload,
            [b"upload.js"] => Route::UploadScript,
            [b"api", b"uploads"] => Route::ApiUploads,
            [b"api", b"uploads", id] => upload(id),
            [b"login"] => Route::Login,
            [b"logout"] => Route::Logout,
            [b"style.css"] => Route::Style,
            [b"favicon.ico"] => Route::Icon,
            [b"robots.txt"] => Route::Robots,
            _ => Route::NotFound,
        }
    }

    /// The methods that the route answers beside OPTIONS. None where nothing is.
    pub fn methods(&self) -> &'static [Method] {
        match self {
            Route::Login | Route::Upload | Route::VideoDelete(_) | Route::VideoRename(_) => {
                &[Method::Get, Method::Head, Method::Post]
            }
            Route::Video(_) => &[Method::Get, Method::Head, Method::Put, Method::Delete],
            Route::ApiUploads => &[Method::Post],
            Route::ApiUpload(_) => &[
                Method::Get,
                Method::Head,
                Method::Post,
                Method::Patch,
                Method::Delete,
            ],
            Route::Logout => &[Method::Post],
            Route::ApiRefresh => &[Method::Get, Method::Head, Method::Post],
            Route::ApiProgress => &[Method::Get, Method::Head, Method::Post, Method::Patch],
            Route::ApiProfile(_) => &[Method::Delete],
            Route::ApiJob(_) => &[Method::Get, Method::Head, Method::Delete],
            Route::ApiConvert(_) | Route::ApiRepair(_) => &[Method::Post],
            Route::Server | Route::BadFileId | Route::Malformed | Route::NotFound => &[],
            _ => READ,
        }
    }

    /// [`Route::methods`] and OPTIONS, as the `Allow` header lists them (RFC 9110 section 10.2.1).
    pub fn allow(&self) -> String {
        let methods = self.methods().iter().map(ToString::to_string);
        methods
            .chain(["OPTIONS".to_owned()])
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Routes whose segments are references to the catalog. A name may hold what no path may, an encoded slash among it: it
/// is compared with names and reaches no disk.
fn catalog(raw: &str) -> Option<Route> {
    let (kind, rest) = raw.split_once('/').unwrap_or((raw, ""));
    let rest = match (kind, rest.split_once('/')) {
        ("course" | "watch", _) => rest,
        ("api", Some(("course-detail", rest))) => rest,
        ("api", None) if rest == "course-detail" => return Some(Route::ApiCourseDetailDepth),
        _ => return None,
    };
    let mut refs = Vec::new();
    for segment in rest.split('/') {
        match decode_segment(segment) {
            Segment::Malformed => return Some(Route::Malformed),
            Segment::Sound(bytes) | Segment::Elsewhere(bytes) => {
                refs.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    let found = match <[String; 3]>::try_from(refs) {
        Ok([category, route, course]) => {
            let whole = ![&category, &route, &course]
                .iter()
                .any(|text| text.is_empty());
            let refs = CourseRefs {
                category,
                route,
                course,
            };
            match kind {
                "course" if whole => Some(Route::CoursePage(refs)),
                "api" if whole => Some(Route::ApiCourseDetail(refs)),
                _ => None,
            }
        }
        Err(refs) => match <[String; 5]>::try_from(refs) {
            Ok([category, route, course, module, class]) if kind == "watch" => {
                let refs = CourseRefs {
                    category,
                    route,
                    course,
                };
                Some(Route::ClassPage(refs, ClassRefs { module, class }))
            }
            _ => None,
        },
    };
    match kind {
        "api" => Some(found.unwrap_or(Route::ApiCourseDetailDepth)),
        _ => found,
    }
}

enum Segment {
    Sound(Vec<u8>),
    /// As a part of a path it would mean another place than the one it is written at.
    Elsewhere(Vec<u8>),
    Malformed,
}

/// Decodes one segment (RFC 3986 section 2.1): `pct-encoded = "%" HEXDIG HEXDIG`.
fn decode_segment(raw: &str) -> Segment {
    let mut rest = raw.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Segment::Malformed,
        }
    }
    let bytes: Vec<u8> = percent_decode(raw.as_bytes()).collect();
    if bytes.contains(&0) {
        Segment::Malformed
    } else if matches!(bytes.as_slice(), b"" | b"." | b"..") || bytes.contains(&b'/') {
        Segment::Elsewhere(bytes)
    } else {
        Segment::Sound(bytes)
    }
}

fn media(segments: &[&[u8]], route: fn(MediaPath) -> Route) -> Route {
    MediaPath::new(&segments.join(&b'/')).map_or(Route::NotFound, route)
}

/// A film's whole name, and `.jpg` behind it.
fn poster(segments: &[&[u8]]) -> Route {
    let path = segments.join(&b'/');
    let film = path.strip_suffix(b".jpg").and_then(MediaPath::new);
    film.map_or(Route::NotFound, Route::Poster)
}

/// A number as it is written by us: one job has one address.
fn job(number: &[u8]) -> Route {
    let text = std::str::from_utf8(number).unwrap_or_default();
    let number = text.parse().ok().filter(|n: &u64| n.to_string() == text);
    number.map_or(Route::NotFound, |n| Route::ApiJob(JobId(n)))
}

/// `{drive id}`, `videos/{path}` or `courses/{path}`.
fn target(segments: &[&[u8]], route: fn(Target) -> Route) -> Route {
    let local = |path: &[&[u8]], target: fn(MediaPath) -> Target| {
        MediaPath::new(&path.join(&b'/')).map_or(Route::NotFound, |path| route(target(path)))
    };
    match segments {
        [b"videos", path @ ..] => local(path, Target::Video),
        [b"courses", path @ ..] => local(path, Target::Course),
        [id] => {
            let id = std::str::from_utf8(id)
                .ok()
                .and_then(|id| FileId::parse(id).ok());
            id.map_or(Route::BadFileId, |id| route(Target::Drive(id)))
        }
        _ => Route::NotFound,
    }
}

fn is_media(name: &[u8]) -> bool {
    kind::of_name(name) != kind::Kind::Other
}

/// An id as we give it: 32 digits of hex.
fn upload(id: &[u8]) -> Route {
    let digits = id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match std::str::from_utf8(id) {
        Ok(id) if digits && id.len() == 32 => Route::ApiUpload(id.to_owned()),
        _ => Route::NotFound,
    }
}

fn profile(name: &[u8]) -> Route {
    let named = std::str::from_utf8(name)
        .ok()
        .and_then(|name| Profile::named(name).ok())
        .filter(|profile| profile.name().is_some());
    named.map_or(Route::NotFound, Route::ApiProfile)
}

fn drive(id: &[u8], route: fn(FileId) -> Route) -> Route {
    match std::str::from_utf8(id)
        .ok()
        .and_then(|id| FileId::parse(id).ok())
    {
        Some(id) => route(id),
        None => Route::BadFileId,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(bytes: &[u8]) -> MediaPath {
        MediaPath::new(bytes).unwrap()
    }

    fn id() -> FileId {
        FileId::parse("1aB_-cDeFgH").unwrap()
    }

    #[test]
    fn what_each_url_means() {
        let table = [
            ("/", Route::Home),
            ("/video/a.mp4", Route::VideoPage(path(b"a.mp4"))),
            ("/videos/a/b%20c.mp4", Route::Video(path(b"a/b c.mp4"))),
            (
                "/videos/%F0%9F%8E%AC.mp4",
                Route::Video(path("🎬.mp4".as_bytes())),
            ),
            ("/videos/%ff.mp4", Route::Video(path(b"\xff.mp4"))),
            ("/videos/100%25.mp4", Route::Video(path(b"100%.mp4"))),
            ("/videos/%252e%252e/x", Route::Video(path(b"%2e%2e/x"))),
            ("/videos/a+b", Route::Video(path(b"a+b"))),
            ("/watch/drive/1aB_-cDeFgH", Route::DrivePage(id())),
            ("/drive/files/1aB_-cDeFgH", Route::DriveFile(id())),
            (
                "/drive/subtitles/1aB_-cDeFgH.vtt",
                Route::DriveSubtitle(id()),
            ),
            ("/api/videos", Route::ApiVideos),
            (
                "/api/video-metadata/1aB_-cDeFgH",
                Route::ApiVideoMetadata(id()),
            ),
            (
                "/api/video-compatible/1aB_-cDeFgH",
                Route::ApiCompatible(Target::Drive(id())),
            ),
            (
                "/api/video-compatible/videos/a%20b/c.mkv",
                Route::ApiCompatible(Target::Video(path(b"a b/c.mkv"))),
            ),
            (
                "/api/playable/courses/a/c.mkv",
                Route::ApiPlayable(Target::Course(path(b"a/c.mkv"))),
            ),
            ("/api/playable/1aB_-cDeFgH/x", Route::NotFound),
            ("/api/playable/videos", Route::NotFound),
            ("/api/playable/videos/../x", Route::NotFound),
            ("/api/playable/short", Route::BadFileId),
            ("/api/playable", Route::NotFound),
            ("/api/health", Route::ApiHealth),
            ("/api/jobs", Route::ApiJobs),
            ("/api/jobs/17", Route::ApiJob(JobId(17))),
            ("/api/jobs/+17", Route::NotFound),
            ("/api/jobs/017", Route::NotFound),
            ("/api/jobs/18446744073709551616", Route::NotFound),
            ("/api/events", Route::ApiEvents),
            (
                "/api/convert/videos/a/b.mkv",
                Route::ApiConvert(path(b"a/b.mkv")),
            ),
            ("/api/convert/videos", Route::NotFound),
            ("/api/repair/1aB_-cDeFgH", Route::ApiRepair(id())),
            (
                "/api/repair-status/1aB_-cDeFgH",
                Route::ApiRepairStatus(id()),
            ),
            ("/api/repaired/1aB_-cDeFgH", Route::ApiRepaired(id())),
            ("/api/repair/x", Route::BadFileId),
            ("/posters/a/b.mp4.jpg", Route::Poster(path(b"a/b.mp4"))),
            ("/posters/a.mp4", Route::NotFound),
            ("/posters/.jpg", Route::NotFound),
            ("/posters/a/.jpg", Route::NotFound),
            ("/api/progress", Route::ApiProgress),
            ("/api/profiles", Route::ApiProfiles),
            (
                "/api/profiles/Ana%20M",
                Route::ApiProfile(Profile::named("Ana M").unwrap()),
            ),
            ("/api/profiles/a%3Cb", Route::NotFound),
            ("/api/profiles/%20", Route::NotFound),
            ("/upload", Route::Upload),
            ("/upload.js", Route::UploadScript),
            ("/api/uploads", Route::ApiUploads),
            (
                "/api/uploads/0123456789abcdef0123456789abcdef",
                Route::ApiUpload("0123456789abcdef0123456789abcdef".to_owned()),
            ),
            ("/api/uploads/", Route::NotFound),
            ("/api/uploads/..%2fx", Route::NotFound),
            (
                "/api/uploads/0123456789ABCDEF0123456789abcdef",
                Route::NotFound,
            ),
            (
                "/videos/a/b.mp4/delete",
                Route::VideoDelete(path(b"a/b.mp4")),
            ),
            ("/videos/b.mkv/rename", Route::VideoRename(path(b"b.mkv"))),
            ("/videos/a/rename", Route::Video(path(b"a/rename"))),
            ("/videos/delete", Route::Video(path(b"delete"))),
            ("/login", Route::Login),
            ("/logout", Route::Logout),
            ("/style.css", Route::Style),
            ("/favicon.ico", Route::Icon),
            ("/robots.txt", Route::Robots),
            ("*", Route::Server),
            ("/drive/files/short", Route::BadFileId),
            ("/drive/files/1aB_-cDeFg%2e", Route::BadFileId),
            ("/drive/files/1aB_-cDeF%ff%ff", Route::BadFileId),
            ("/watch/drive/1aB_-cDeFg'", Route::BadFileId),
            ("/drive/subtitles/1aB_-cDeFgH", Route::NotFound),
            ("/videos/a%", Route::Malformed),
            ("/videos/a%2", Route::Malformed),
            ("/videos/a%zz", Route::Malformed),
            ("/videos/a%+1", Route::Malformed),
            ("/videos/a%00.mp4", Route::Malformed),
            ("", Route::NotFound),
            ("videos/a", Route::NotFound),
            ("//", Route::NotFound),
            ("//videos/a", Route::NotFound),
            ("/videos", Route::Videos),
            ("/videos/", Route::VideoFolder(None)),
            ("/videos/a/%20/", Route::VideoFolder(Some(path(b"a/ ")))),
            (
                "/videos/a.mp4/delete/",
                Route::VideoFolder(Some(path(b"a.mp4/delete"))),
            ),
            ("/videos//", Route::NotFound),
            ("/videos/a//", Route::NotFound),
            ("/videos/../", Route::NotFound),
            ("/videos/a%2f/", Route::NotFound),
            ("/videos/%00/", Route::Malformed),
            ("/video/a.mp4/", Route::NotFound),
            ("/videos//a", Route::NotFound),
            ("/videos/./a: b.mp4", Route::Video(path(b"a: b.mp4"))),
            ("/videos/%2e/a", Route::NotFound),
            ("/videos/./../a", Route::NotFound),
            ("/videos/.", Route::Videos),
            ("/.", Route::NotFound),
            ("/./", Route::NotFound),
            ("/videos/../a", Route::NotFound),
            ("/videos/%2e%2e/a", Route::NotFound),
            ("/videos/.%2E/a", Route::NotFound),
            ("/videos/a%2fb", Route::NotFound),
            ("/videos/..%2f..%2fetc", Route::NotFound),
            ("/api/health/", Route::NotFound),
            ("/API/health", Route::NotFound),
            ("/nothing", Route::NotFound),
        ];
        for (url, want) in table {
            assert_eq!(Route::decode(url), want, "{url}");
        }
    }

    #[test]
    fn what_each_url_of_the_catalog_means() {
        let refs = |category: &str, route: &str, course: &str| CourseRefs {
            category: category.to_owned(),
            route: route.to_owned(),
            course: course.to_owned(),
        };
        let class = ClassRefs {
            module: "1".to_owned(),
            class: "x y".to_owned(),
        };
        let table = [
            ("/api/bootstrap", Route::ApiBootstrap),
            ("/api/courses", Route::ApiCourses),
            ("/api/cache-meta", Route::ApiCacheMeta),
            ("/api/search", Route::ApiSearch),
            ("/api/self-check-drive", Route::ApiSelfCheck),
            ("/api/refresh", Route::ApiRefresh),
            (
                "/api/course-detail/a/b/c",
                Route::ApiCourseDetail(refs("a", "b", "c")),
            ),
            (
                "/api/course-detail/%C3%B1/a%2Fb/..",
                Route::ApiCourseDetail(refs("ñ", "a/b", "..")),
            ),
            ("/api/course-detail", Route::ApiCourseDetailDepth),
            ("/api/course-detail/", Route::ApiCourseDetailDepth),
            ("/api/course-detail/a/b", Route::ApiCourseDetailDepth),
            ("/api/course-detail/a//c", Route::ApiCourseDetailDepth),
            ("/api/course-detail/a/b/c/", Route::ApiCourseDetailDepth),
            ("/api/course-detail/a/b/c/d/e", Route::ApiCourseDetailDepth),
            ("/api/course-detail/a/%zz/c", Route::Malformed),
            ("/api/course-detail/a/%00/c", Route::Malformed),
            ("/courses", Route::Courses),
            (
                "/courses/files/a/b.mp4",
                Route::CourseFile(path(b"a/b.mp4")),
            ),
            ("/courses/files/../b.mp4", Route::NotFound),
            ("/courses/files/a%2fb.mp4", Route::NotFound),
            ("/course/a/b/c", Route::CoursePage(refs("a", "b", "c"))),
            ("/course/a/b", Route::NotFound),
            ("/course", Route::NotFound),
            (
                "/watch/a/b/c/1/x%20y",
                Route::ClassPage(refs("a", "b", "c"), class),
            ),
            ("/watch/a/b/c/1", Route::NotFound),
            ("/player.js", Route::PlayerScript),
        ];
        for (url, want) in table {
            assert_eq!(Route::decode(url), want, "{url}");
        }
    }

    #[test]
    fn methods_as_a_header() {
        assert_eq!(Route::Home.allow(), "GET, HEAD, OPTIONS");
        assert_eq!(
            Route::ApiProgress.allow(),
            "GET, HEAD, POST, PATCH, OPTIONS"
        );
    }

    proptest! {
        #[test]
        fn any_text_decodes(text in "\\PC*") {
            let _ = Route::decode(&text);
        }

        #[test]
        fn any_path_below_videos_stays_there(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let url = format!("/videos/{}", String::from_utf8_lossy(&bytes));
            if let Route::Video(path) = Route::decode(&url) {
                prop_assert!(MediaPath::new(path.as_bytes()).is_some());
            }
        }

        #[test]
        fn any_sound_path_survives_its_url(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            if let Some(path) = MediaPath::new(&bytes) {
                let url = crate::web::url::video(&path);
                prop_assert!(url.is_ascii());
                prop_assert_eq!(Route::decode(&url), Route::Video(path.clone()));
                let url = crate::web::url::folder(Some(&path));
                prop_assert_eq!(Route::decode(&url), Route::VideoFolder(Some(path)));
            }
        }
    }
}
