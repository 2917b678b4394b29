//! `/`, `/video/{path}`, `/watch/drive/{id}`: what a person sees. The markup itself is in `web`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;

use crate::drive::{Child, Drive, FileId, Metadata, Status};
use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::jobs::job::{self, Job, State};
use crate::media::folder::{Item, Listing};
use crate::media::kind;
use crate::media::language;
use crate::media::path::MediaPath;
use crate::routes::{App, Target, answer, compatible, drive, repair, see_other};
use crate::sys::executor;
use crate::web::{self, figure, url};

/// Longest that the start page waits for Drive; what comes later is there the next time.
const DRIVE_WAIT: Duration = Duration::from_millis(1500);

/// Longest that the page of a film on Drive waits for the list of what lies beside it.
const TRACKS_WAIT: Duration = Duration::from_secs(4);

/// Subtitles that a page offers; no menu of a player has room for more.
const MOST_TRACKS: usize = 100;

/// What `ask` brings, when it does so in time. It goes on when it does not, so that the next page has it.
async fn soon<T: Default + Send + 'static>(
    ask: impl Future<Output = Result<T>> + Send + 'static,
    patience: Duration,
) -> T {
    let (answer, answered) = smol::channel::bounded(1);
    executor::spawn(async move {
        let found = ask.await.unwrap_or_else(|error| {
            log::debug!("a page does without: {}", error.chain());
            T::default()
        });
        // The page may have been sent without it.
        let _ = answer.send(found).await;
    })
    .detach();
    let late = async {
        Timer::after(patience).await;
        T::default()
    };
    let found = async { answered.recv().await.unwrap_or_default() };
    smol::future::or(found, late).await
}

/// What lies in Drive's root folder, as titles and pages; nothing when Drive does not say so in time.
async fn films(drive: &Drive) -> Vec<(String, String)> {
    let drive = drive.clone();
    let films = soon(async move { drive.films().await }, DRIVE_WAIT).await;
    films
        .iter()
        .take(web::PER_PAGE)
        .map(|film| (figure::title(&film.name), url::drive_page(film.link())))
        .collect()
}

/// Subtitles beside a file on Drive. A film plays without its subtitles; it does not play without its page.
async fn drive_tracks(drive: &Drive, metadata: &Arc<Metadata>) -> Vec<Child> {
    let (drive, metadata) = (drive.clone(), metadata.clone());
    let mut tracks = soon(async move { drive.tracks(&metadata).await }, TRACKS_WAIT).await;
    tracks.truncate(MOST_TRACKS);
    tracks
}

/// The list of local videos, newest first, a page at a time; below it what lies in Drive's root folder.
pub(super) async fn home(app: &App, request: &Request) -> Result<Response> {
    let listing = app.videos.list().await;
    let pages = listing.items.len().div_ceil(web::PER_PAGE).max(1);
    let page = match super::query(request, "page") {
        None => 1,
        Some(text) => match text.parse::<usize>() {
            Ok(page) if (1..=pages).contains(&page) => page,
            // A bookmark into a list that has become shorter, or nonsense: the nearest there is.
            Ok(page) if page > pages => pages,
            _ => 1,
        },
    };
    let films = match page {
        1 => films(&app.drive).await,
        _ => Vec::new(),
    };
    let state = app.state_problem();
    let shown = listing.items.iter().skip((page - 1) * web::PER_PAGE);
    let posters: Vec<bool> = shown
        .take(web::PER_PAGE)
        .map(|item| app.posters.has(item))
        .collect();
    let markup = web::home(&web::Home {
        state: state.as_deref(),
        listing: &listing,
        folder: app.videos.root(),
        page,
        pages,
        posters: &posters,
        drive: &drive_sentence(&app.drive.status()),
        films: &films,
    });
    Ok(answer::page(StatusCode::Ok, markup))
}

/// Plays a local file.
pub(super) async fn video(app: &App, request: &Request, path: &MediaPath) -> Result<Response> {
    let converted = app.queue.latest(&job::Kind::Convert(path.clone()));
    // Asked of the disk and not of the list, which may be some seconds old.
    if let Err(error) = app.videos.open(path).await {
        let Some(job) = converted.filter(|job| job.state == State::Completed) else {
            return Err(error);
        };
        // The list may be older than what came of it.
        app.videos.changed();
        return match result(&*app.videos.list().await, path, &job) {
            Some(result) => Ok(see_other(url::video_page(&result))),
            None => Err(error),
        };
    }
    let listing = app.videos.list().await;
    let position = listing.position(path);
    let neighbour = |at: Option<usize>| {
        let item: &Item = listing.items.get(at?)?;
        Some((
            figure::title(&item.path.name_text()),
            url::video_page(&item.path),
        ))
    };
    let kind = kind::of_name(path.name());
    let mut compatible = compatible::choice(app, request, &Target::Video(path.clone()), kind).await;
    ask_once(&mut compatible, converted.as_ref());
    // Another film of that name is none that failed.
    let replaced_since =
        |end: i64| position.is_some_and(|at| listing.items[at].modified > end.div_euclid(1000));
    let markup = web::watch(&web::Watch {
        title: figure::title(&path.name_text()),
        kind,
        source: url::video(path),
        content_type: kind::by_name(path.name()).to_owned(),
        poster: position
            .filter(|at| app.posters.has(&listing.items[*at]))
            .map(|_| url::poster(path)),
        compatible,
        tracks: local_tracks(&listing, path, request),
        back: position.map_or("/".to_owned(), |at| url::home(at / web::PER_PAGE + 1)),
        previous: neighbour(position.and_then(|at| at.checked_sub(1))),
        next: neighbour(position.map(|at| at + 1)),
        facts: position.map(|at| {
            figure::facts(
                Some(listing.items[at].bytes),
                Some(listing.items[at].modified),
                None,
            )
        }),
        notice: converted
            .filter(|job| !job.finished.is_some_and(replaced_since))
            .and_then(|job| conversion(url::video_page(path), &job)),
        change: app.access().is_admin(request).await.then(|| web::Change {
            rename: url::rename(path),
            delete: url::delete(path),
        }),
    });
    Ok(answer::page(StatusCode::Ok, markup))
}

/// What became of a film that was converted and is no more: who waited for it is led there. The result has the name of
/// the film, or one after it where that was taken, which only its length tells from the file that took it.
fn result(listing: &Listing, path: &MediaPath, job: &Job) -> Option<MediaPath> {
    let size = job.made.size?;
    let mut items = listing.items.iter().map(|item| (item.bytes, &item.path));
    let (_, result) = items.find(|(bytes, item)| {
        *bytes == size && item.folder() == path.folder() && item.stem().starts_with(path.stem())
    })?;
    (result != path).then(|| result.clone())
}

/// Takes away the button that asks for a conversion which is under way.
fn ask_once(compatible: &mut Option<web::Compatible>, job: Option<&Job>) {
    let under_way = job.is_some_and(|job| !job.state.is_final());
    if let Some(compatible) = compatible.as_mut().filter(|_| under_way) {
        compatible.job = None;
    }
}

/// How the conversion of a film stands, and where to go meanwhile; nothing of one that is done.
fn conversion(page: String, job: &Job) -> Option<web::Notice> {
    let (sentence, label, url) = match job.state {
        State::Queued => (
            "It waits to be converted to what every screen plays.".to_owned(),
            "Look again",
            page,
        ),
        State::Running if job.progress.paused => (
            "It is being converted to what every screen plays, which goes on when nobody watches."
                .to_owned(),
            "Look again",
            page,
        ),
        State::Running => (
            format!(
                "It is being converted to what every screen plays: {:.0} % so far.",
                (job.progress.done * 100.0).floor()
            ),
            "Look again",
            page,
        ),
        State::Failed => (
            format!(
                "It could not be converted. {}",
                job.error.as_deref().unwrap_or_default()
            ),
            "Convert it while it plays",
            url::with(&page, "compatible=reencode"),
        ),
        State::Completed | State::Cancelled => return None,
    };
    Some(web::Notice {
        sentence,
        label: label.to_owned(),
        url,
    })
}

/// Plays a file on Drive.
pub(super) async fn drive(app: &App, request: &Request, id: &FileId) -> Result<Response> {
    // Everything on the page goes by the link that led here, which may be a shortcut's: what is known of it is asked
    // once.
    let link = drive::link(request, id)?;
    let metadata = app.drive.metadata(&link).await?;
    if metadata.mime_type == "application/vnd.google-apps.folder" {
        return Err(Error::new(
            Kind::Unsupported,
            "drive_not_downloadable",
            "That is a folder on Drive; open one of the files in it.",
        ));
    }
    let kind = match kind::of_type(&metadata.mime_type) {
        kind::Kind::Other => kind::of(&metadata.name),
        kind => kind,
    };
    let tracks = match kind {
        kind::Kind::Video | kind::Kind::Audio => drive_tracks(&app.drive, &metadata).await,
        _ => Vec::new(),
    };
    let tracks = tracks
        .iter()
        .map(|track| {
            (
                language::of_subtitle(&metadata.name, &track.name),
                url::drive_subtitle(track.link()),
            )
        })
        .collect();
    let modified = metadata.modified.map(figure::seconds);
    let despite_abuse = drive::despite_abuse(request);
    let insist = |url: String| url::with(&url, url::DESPITE_ABUSE);
    let notice = (app.drive.is_withheld(&metadata.id) && !despite_abuse).then(|| web::Notice {
        sentence: "Google has marked this file as malware or spam and hands it to its owner alone."
            .to_owned(),
        label: "Play it all the same".to_owned(),
        url: insist(url::drive_page(&link)),
    });
    // A copy that was mended plays on any screen, and from this disk.
    let mended = repair::mended(app, &metadata.id, metadata.modified).await;
    let mut compatible = match &mended {
        Some(_) => None,
        None => compatible::choice(app, request, &Target::Drive(metadata.id.clone()), kind).await,
    };
    let repair = app.queue.latest(&job::Kind::Repair(metadata.id.clone()));
    let repair = repair.filter(|_| mended.is_none());
    ask_once(&mut compatible, repair.as_ref());
    let notice = notice.or_else(|| conversion(url::drive_page(&link), &repair?));
    let content_type = match &mended {
        Some(_) => repair::MP4.to_owned(),
        None => metadata.mime_type.clone(),
    };
    let source = mended.unwrap_or_else(|| match despite_abuse {
        true => insist(url::drive_file(&link)),
        false => url::drive_file(&link),
    });
    let markup = web::watch(&web::Watch {
        title: figure::title(&metadata.name),
        kind,
        source,
        content_type,
        poster: None,
        compatible,
        tracks: with_default(tracks, request),
        back: "/".to_owned(),
        previous: None,
        next: None,
        change: None,
        facts: Some(figure::facts(metadata.size, modified, metadata.duration_ms)),
        notice,
    });
    Ok(answer::page(StatusCode::Ok, markup))
}

/// The subtitles beside a local file. A `.srt` is linked as the `.vtt` it is served as, unless
/// that one lies there too.
fn local_tracks(listing: &Listing, path: &MediaPath, request: &Request) -> Vec<web::Track> {
    let mut sources: HashSet<MediaPath> = HashSet::new();
    let mut tracks = Vec::new();
    for item in listing.subtitles_of(path) {
        let source = match item.path.name().to_ascii_lowercase().ends_with(b".srt") {
            true => item.path.with_extension("vtt"),
            false => item.path.clone(),
        };
        let address = url::video(&source);
        if sources.insert(source) {
            let language = language::of_subtitle(&path.name_text(), &item.path.name_text());
            tracks.push((language, address));
        }
        if tracks.len() == MOST_TRACKS {
            break;
        }
    }
    with_default(tracks, request)
}

/// Chooses the track that shows without being asked for: the browser's language, else the first. Who puts
/// subtitles beside a film wants to see them, and many televisions have no button to turn them on.
pub(super) fn with_default(
    tracks: Vec<(language::Language, String)>,
    request: &Request,
) -> Vec<web::Track> {
    let tags: Vec<&str> = tracks
        .iter()
        .map(|(language, _)| language.tag.as_str())
        .collect();
    let accepted = request.header("accept-language").unwrap_or_default();
    let chosen = language::best(&tags, accepted).unwrap_or(0);
    let track = |(at, (language, source))| web::Track {
        source,
        language,
        default: at == chosen,
    };
    tracks.into_iter().enumerate().map(track).collect()
}

/// What the Drive part says of itself, in one sentence.
fn drive_sentence(status: &Status) -> String {
    match (&status.error, &status.account) {
        (Some((_, sentence)), _) => sentence.clone(),
        (None, Some(account)) if status.available => {
            format!("Google Drive is connected as {account}; share a file with that address to play it here.")
        }
        (None, _) if status.available => "Google Drive is connected.".to_owned(),
        (None, _) => {
            "Google Drive is not set up; put credentials into rill.toml, as the README says step by step."
                .to_owned()
        }
    }
}
