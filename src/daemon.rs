//! The daemon from its first log line to its last: built bottom-up, stopped in the reverse order.
//!
//! What is wrong in the configuration ends it before it began (or, where systemd holds the sockets, leaves
//! `misconfigured` to say so). What is missing in the world never does: the daemon runs, says what is
//! missing, and `upkeep` finds it when it appears.

mod alone;
pub mod check;
mod listen;
mod misconfigured;
mod probe;
mod readers;
pub mod scan;
mod upkeep;
mod watchdog;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::future::or;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::drive::{Drive, ResourceKey};
use crate::error::{Error, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::live::LiveStreams;
use crate::ffmpeg::loopback::Loopback;
use crate::http::Listener;
use crate::jobs::events::Events;
use crate::jobs::gallery;
use crate::jobs::intake::Intake;
use crate::jobs::poster::Posters;
use crate::jobs::queue::{Gate, Queue};
use crate::jobs::repair::Repairs;
use crate::jobs::resumable::Resumable;
use crate::jobs::runner::Runner;
use crate::jobs::scan::Scanner;
use crate::logging;
use crate::media::folder::Folder;
use crate::media::kind;
use crate::media::prober::Prober;
use crate::routes::{App, Indexes, Readers, Subtitles, VideosJson, describe_scan};
use crate::store::database::Database;
use crate::store::lacks::Lacks;
use crate::store::progress::Progress;
use crate::store::token::Admin;
use crate::sys::notify::Message;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{descriptors, executor, memory, notify, sockets};

/// How long streams may go on after SIGTERM. The unit's `TimeoutStopSec` is longer.
const GRACE: Duration = Duration::from_secs(5);

/// How long the start waits for the catalog. A Pi reads one of 20 MB within two seconds.
const CATALOG_PATIENCE: Duration = Duration::from_secs(10);

/// How long a reload may keep systemd waiting for its end.
const RELOAD_PATIENCE: Duration = Duration::from_secs(15);

/// Descriptors beside those of connections: the database, pipes of children, pooled connections to Drive.
const SPARE_DESCRIPTORS: u64 = 512;

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// No socket can be bound.
pub fn run(config: Config) -> Result<()> {
    start(&|| Ok(config.clone()))
}

/// Runs the daemon with the configuration that `load` gives; it is asked again while it fails and
/// systemd holds the sockets.
///
/// # Errors
/// What `load` fails with when no socket was inherited; no socket can be bound.
pub fn start(load: &dyn Fn() -> Result<Config>) -> Result<()> {
    // First of all, before the numbers of the descriptors can be another file's.
    let inherited = sockets::inherited();
    memory::keep_little();
    executor::run(async {
        let mut signals = Signals::new().map_err(|error| {
            Error::internal("the kernel refused the signal handlers").because(error)
        })?;
        let config = match load() {
            Ok(config) => config,
            Err(error) if inherited.is_empty() => return Err(error),
            Err(error) => {
                match misconfigured::serve(error, &inherited, load, &mut signals).await? {
                    Some(config) => config,
                    None => return Ok(()),
                }
            }
        };
        serve(config, inherited, signals).await
    })
}

async fn serve(config: Config, inherited: Vec<TcpListener>, mut signals: Signals) -> Result<()> {
    let started = Instant::now();
    log::info!("rill {} starts", env!("CARGO_PKG_VERSION"));
    descriptors::allow(2 * config.http.max_connections as u64 + SPARE_DESCRIPTORS);

    let admin = Arc::new(Admin::open(&config.state.dir));
    // To the end of this function, and so behind the last who writes there.
    let alone = alone::Alone::default();
    let folders = upkeep::Folders::of(&config, alone.clone());
    let Some(missing) = signals.unless_stopped(folders.make_at_start(&admin)).await else {
        return stopped_early().await;
    };

    let ffmpeg = Programs::new(&config.ffmpeg);
    let loopback = Loopback::new();
    let live = LiveStreams::new(config.ffmpeg.live_streams);
    // The disk that holds the credentials may hang as well as any other.
    let drive = smol::unblock({
        let config = config.clone();
        move || Drive::new(&config, kind::content_type)
    });
    let Some(drive) = signals.unless_stopped(drive).await else {
        return stopped_early().await;
    };
    let videos = Folder::new(config.library.videos.clone());
    let database = Database::of(&config.state.dir);
    let scanner = Scanner::new(&config, drive.clone(), database.clone());
    let progress = Progress::new(
        database.clone(),
        config.state.dir.join("progress.json"),
        config.limits.progress,
    );
    let events = Events::new();
    let lacks = Lacks::default();
    let gate = Gate::new({
        let alone = alone.clone();
        move || alone.refusal()
    });
    let queue = Queue::new(database.clone(), events.clone(), gate);
    let repairs = Repairs::new(
        &config,
        drive.clone(),
        ffmpeg.clone(),
        loopback.clone(),
        queue.clone(),
    );
    let posters = Posters::new(&config, videos.clone(), ffmpeg.clone(), queue.clone());
    let runner = Runner::new(
        &config,
        queue.clone(),
        videos.clone(),
        ffmpeg.clone(),
        repairs.clone(),
        posters.clone(),
        {
            let live = live.clone();
            Arc::new(move || live.active() > 0)
        },
    );
    let intake = Intake::new(&config, videos.clone(), ffmpeg.clone(), queue.clone());
    let resumable = Resumable::new(intake.clone(), database.clone());
    let courses = config.library.courses.clone().map(Folder::new);
    let catalog = Catalog::new(&config).map_err(|error| {
        Error::internal("the kernel gives no memory for a catalog").because(error)
    })?;

    drive.ask_for_keys({
        let catalog = catalog.clone();
        move |id| {
            let generation = catalog.current();
            ResourceKey::parse(generation.index.resource_key(id.as_str())?).ok()
        }
    });

    let max_connections = config.http.max_connections;
    let sockets = listen::sockets_at_last(&config.http.listen, inherited);
    let Some(sockets) = signals.unless_stopped(sockets).await else {
        return stopped_early().await;
    };
    let sockets = sockets?;
    let listener = Listener::new(sockets, max_connections)
        .map_err(|error| Error::internal("the sockets cannot be served").because(error))?;
    let listener = Arc::new(listener);
    let app = Arc::new(App {
        config,
        drive: drive.clone(),
        videos: videos.clone(),
        catalog: catalog.clone(),
        courses,
        scan: scanner.clone(),
        listener: Arc::clone(&listener),
        started,
        admin: Arc::clone(&admin),
        ffmpeg: ffmpeg.clone(),
        loopback: loopback.clone(),
        prober: Prober::new(ffmpeg.clone(), database.clone()),
        live,
        videos_json: VideosJson::default(),
        indexes: Indexes::default(),
        subtitles: Subtitles::default(),
        progress: progress.clone(),
        database: database.clone(),
        lacks: lacks.clone(),
        queue: queue.clone(),
        repairs,
        posters: posters.clone(),
        events: events.clone(),
        intake,
        resumable: resumable.clone(),
    });

    // Beside the start: a disk that is slow or gone must not hold it up, and the log tells what it says.
    let preparing = executor::spawn({
        let progress = progress.clone();
        async move { progress.prepare().await }
    });
    let (read, first_read) = smol::channel::bounded(1);
    let following = executor::spawn(async move { catalog.follow(read).await });
    let read = or(async { _ = first_read.recv().await }, late());
    if signals.unless_stopped(read).await.is_none() {
        return stopped_early().await;
    }

    let readers = readers::listen(&loopback);
    let door = readers
        .as_ref()
        .and_then(|readers| readers.addresses().pop());
    let reading = readers.clone().map(|readers| {
        let service = Arc::new(Readers(Arc::clone(&app)));
        executor::spawn(async move { readers.serve(service).await })
    });
    let serving = executor::spawn({
        let listener = Arc::clone(&listener);
        async move { listener.serve(app).await }
    });
    announce(&listener.addresses());

    let gallery_videos = videos.clone();
    let upkeep = upkeep::Upkeep {
        folders,
        missing,
        lacks,
        database,
        admin,
        ffmpeg,
        drive: drive.clone(),
        videos,
    };
    upkeep.publish();
    let first_status = upkeep.first_status();
    notify::send(vec![Message::Ready, notify::status(&first_status)]).await;
    let upkeep = executor::spawn(upkeep.run(first_status));
    let scanner_told = scanner.clone();
    let scanning = executor::spawn(async move { scanner.watch().await });
    let keep = gallery::keep(gallery_videos, posters, queue.clone(), events.clone());
    let working = executor::spawn(alone.clone().first(runner.run()));
    let keeping = executor::spawn(alone.clone().first(keep));
    let sweep = async move { resumable.watch().await };
    let sweeping = executor::spawn(alone.clone().first(sweep));
    let telling = executor::spawn(tell_scan(scanner_told, events.clone()));
    let watchdog = watchdog::start(door);

    while signals.next().await == Signal::Reload {
        if signals.unless_stopped(reload(&drive)).await.is_none() {
            break;
        }
    }

    log::info!("rill stops; streams have {} s to end", GRACE.as_secs());
    notify::send(vec![Message::Stopping, notify::status("stopping")]).await;
    drop(watchdog);
    drop(following);
    drop(upkeep);
    drop(scanning);
    drop(telling);
    drop(keeping);
    drop(sweeping);
    // What runs is ended, and found again at the next start.
    drop(working);
    lay_down(&queue).await;
    // Those who listen to events would otherwise stay to the end of their grace.
    events.close();
    // Who asks twice does not want to wait.
    or(listener.close(GRACE), signals.stop()).await;
    drop(serving);
    drop(reading);
    drop(preparing);
    close(&progress).await;
    drop(alone);
    log::info!("rill has stopped");
    Ok(())
}

/// The end of a daemon that was asked to stop before it served anybody.
async fn stopped_early() -> Result<()> {
    notify::send(vec![Message::Stopping, notify::status("stopping")]).await;
    log::info!("rill has stopped before it began to serve");
    Ok(())
}

/// Writes that the jobs were laid down, but for a disk that hangs: they count one attempt more then.
async fn lay_down(queue: &Queue) {
    let late = async {
        smol::Timer::after(Duration::from_secs(1)).await;
    };
    or(queue.lay_down(), late).await;
}

/// Closes the database, but for a disk that hangs: what was answered is in its log by now.
async fn close(progress: &Progress) {
    let late = async {
        smol::Timer::after(GRACE).await;
        log::warn!("the database did not close in time");
    };
    or(progress.close(), late).await;
}

/// What the start waits for the catalog at most; one on a disk that hangs appears when it is read.
async fn late() {
    smol::Timer::after(CATALOG_PATIENCE).await;
}

/// Tells those who listen to events how far the scan is, once a second at most.
async fn tell_scan(scanner: Scanner, events: Events) {
    let changes = scanner.changes();
    while changes.recv().await.is_ok() {
        events.publish("scan", &describe_scan(&scanner.status()));
        smol::Timer::after(Duration::from_secs(1)).await;
    }
}

async fn reload(drive: &Drive) {
    log::info!("reading the Drive credentials again");
    notify::send(vec![Message::Reloading]).await;
    let drive = drive.clone();
    let read = smol::unblock(move || drive.reload());
    let late = async {
        smol::Timer::after(RELOAD_PATIENCE).await;
        log::warn!("the Drive credentials are not read yet: their disk does not answer");
    };
    or(read, late).await;
    notify::send(vec![Message::Ready]).await;
}

/// Tells stdout, for scripts and people who started us by hand, and the log where to go. A stdout that is the journal
/// has the log's lines already.
fn announce(addresses: &[SocketAddr]) {
    let mut stdout = std::io::stdout();
    let told = logging::journal_reads(&stdout);
    for address in addresses {
        log::info!("listening on http://{address}/");
        if !told {
            // A closed stdout is no reason to stop serving.
            let _ = writeln!(stdout, "listening on http://{address}/");
        }
    }
    let _ = stdout.flush();
}

/// The admin token of the configured state folder, a new one when `new`.
///
/// # Errors
/// The token's file cannot be read or written.
pub fn token(config: &Config, new: bool) -> Result<String> {
    let admin = Admin::open(&config.state.dir);
    if new { admin.replace() } else { admin.token() }
}
