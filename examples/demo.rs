//! `cargo demo`: the real daemon over a temporary folder, with the same clips on its disk and on a
//! stand-in for Google Drive, so that both kinds play without any account.
//!
//! The stand-in is the tests' own: real TLS with a CA of its own, tokens earned by a signed assertion, ranges. Nothing
//! leaves this machine, and nothing stays on it: the folder goes when the demo ends. The clips lie in `examples/clips`,
//! with the script that made them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to whoever started it"
)]

#[path = "../tests/support/drive/mod.rs"]
mod drive;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use drive::{Content, FakeDrive, File};

/// The port people know; another is taken when it is in use.
const PORT: u16 = 8080;
/// How long the daemon may take to accept before the demo says that something is wrong.
const START: Duration = Duration::from_secs(20);
/// The folder that the clips lie in on the stand-in.
const FOLDER: &str = "demo-folder-0001";

/// A file that is on the disk and on the stand-in.
struct Clip {
    id: &'static str,
    name: &'static str,
    mime: &'static str,
    /// Pixels and milliseconds, where Drive would know them.
    video: Option<(u32, u32, u64)>,
}

const fn clip(id: &'static str, name: &'static str, mime: &'static str) -> Clip {
    Clip {
        id,
        name,
        mime,
        video: None,
    }
}

const fn video(clip: Clip, width: u32, height: u32, milliseconds: u64) -> Clip {
    Clip {
        video: Some((width, height, milliseconds)),
        ..clip
    }
}

const CLIPS: [Clip; 7] = [
    video(
        clip("demo-clock-0001", "Clock.mp4", "video/mp4"),
        640,
        360,
        20_000,
    ),
    clip("demo-clock-en-0001", "Clock.en.vtt", "text/vtt"),
    clip("demo-clock-de-0001", "Clock.de.vtt", "text/vtt"),
    video(
        clip("demo-life-0001", "Game of life.mp4", "video/mp4"),
        640,
        360,
        12_000,
    ),
    clip(
        "demo-life-en-0001",
        "Game of life.en.srt",
        "application/x-subrip",
    ),
    video(
        clip("demo-colours-0001", "Colours.webm", "video/webm"),
        480,
        270,
        10_008,
    ),
    clip("demo-tune-0001", "Tune.mp3", "audio/mpeg"),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut lan = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("lan") => lan = true,
            lexopt::Arg::Long("help") => {
                println!(
                    "cargo demo [-- --lan]\n\n\
                     Plays short clips from this disk and from a stand-in for Google Drive.\n\
                     --lan   listen for the television and the phone too, not on this machine alone"
                );
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();

    println!("demo: laying out clips in a temporary folder");
    let folder = tempfile::Builder::new().prefix("rill-demo-").tempdir()?;
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clips");
    let videos = folder.path().join("videos");
    std::fs::create_dir(&videos)?;
    for Clip { name, .. } in &CLIPS {
        std::fs::copy(clips.join(name), videos.join(name)).map_err(|error| {
            format!(
                "{}: {error}; check the sources out whole",
                clips.join(name).display()
            )
        })?;
    }

    println!("demo: starting a stand-in for Google Drive that holds the same clips");
    let fake = FakeDrive::start();
    fake.add(File::folder(FOLDER, "rill demo"));
    for Clip {
        id,
        name,
        mime,
        video,
    } in &CLIPS
    {
        let file = File::new(id, name, mime, Content::Path(clips.join(name))).within(FOLDER);
        fake.add(file.with(|file| file.video = *video));
    }
    let (ca, credentials) = fake.write_files(folder.path())?;

    println!("demo: starting rill");
    let port = free_port(lan)?;
    let host = if lan { "0.0.0.0" } else { "127.0.0.1" };
    let state = folder.path().join("state");
    let cache = folder.path().join("cache");
    std::fs::create_dir(&state)?;
    std::fs::create_dir(&cache)?;
    let text = format!(
        "[http]\nlisten = [\"{host}:{port}\"]\n\
         [library]\nvideos = {:?}\n\
         [drive]\ncredentials = {:?}\nroot = \"{FOLDER}\"\nendpoint = {:?}\nca_file = {:?}\n\
         [limits]\nfree_space = \"1MiB\"\n\
         [state]\ndir = {:?}\ncache = {:?}\n",
        videos,
        credentials,
        fake.endpoint(),
        ca,
        state,
        cache,
    );
    let config = rill::config::Config::from_toml(&text).map_err(|error| error.chain())?;
    std::thread::spawn(move || announce(port, lan));
    // Ctrl-C and SIGTERM end the daemon, which then returns; the folder is removed on the way out.
    let ended = rill::daemon::run(config);
    println!("demo: over; removing {}", folder.path().display());
    folder.close()?;
    ended.map_err(|error| error.chain().into())
}

/// [`PORT`] when nobody has it, else one that the system picks.
fn free_port(lan: bool) -> std::io::Result<u16> {
    let ip = if lan {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    };
    let listener = TcpListener::bind((ip, PORT)).or_else(|_| TcpListener::bind((ip, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until the daemon answers, then says what to open.
fn announce(port: u16, lan: bool) {
    let begun = Instant::now();
    while !answers(port) {
        if begun.elapsed() > START {
            eprintln!("demo: rill does not answer on port {port} yet; its log above may say why");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let base = format!("http://localhost:{port}");
    println!(
        "\n  Open  {base}/\n\n\
         \x20 There you see the clips on this disk; each opens a page that plays it, with subtitles.\n\
         \x20 The same clip from the stand-in for Google Drive, over TLS and by range:\n\n\
         \x20       {base}/watch/drive/{}\n\n\
         \x20 What rill says of itself:  {base}/api/health",
        CLIPS[0].id
    );
    if lan {
        println!("  On another screen of the LAN: http://<this machine's address>:{port}/");
    }
    println!("  Ctrl-C ends the demo and removes everything it made.\n");
    let _ = std::io::stdout().flush();
}

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let request = "GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes())?;
        let mut first = [0; 12];
        socket.read_exact(&mut first)?;
        Ok(&first == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
