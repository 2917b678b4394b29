//! Measures rill against nginx and against curl straight to the same upstream, side by side.
//!
//! Run by `tests/perf/run`, which builds what is needed. Peers take turns within one run and every
//! figure is a median, so that a shared, noisy machine moves both sides alike; only ratios are
//! printed as results. What is measured and why is in the README's table.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "../tests/support/catalog.rs"]
#[allow(dead_code, unreachable_pub)]
mod catalog;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Size of the big file, local and on the stand-in for Drive.
const GIB: u64 = 1 << 30;

/// Size of the file that is uploaded.
const UPLOAD: u64 = 512 << 20;

/// Kernel ticks a second, in which `/proc/PID/stat` counts (fixed at 100 on Linux).
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let mut rounds = 5;
    let mut only = String::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--rounds" => rounds = args.next().ok_or("--rounds wants a number")?.parse()?,
            "--only" => {
                only = args.next().ok_or(
                    "--only wants files, json, catalog, drive, live, conversion, upload or memory",
                )?
            }
            _ => {
                println!(
                    "tests/perf/run [--rounds N] [--only files|json|catalog|drive|live|conversion|upload|memory]"
                );
                return Ok(());
            }
        }
    }
    let wanted = |name: &str| only.is_empty() || only == name;

    let bench = Bench::start()?;
    println!(
        "{:<44} {:>12} {:>12} {:>7}  target",
        "measure", "rill", "peer", "ratio"
    );
    if wanted("files") {
        bench.whole_file_one_connection(rounds)?;
        bench.whole_file_many_connections(rounds)?;
        bench.random_ranges(rounds)?;
    }
    if wanted("json") {
        bench.json(rounds)?;
    }
    if wanted("catalog") {
        bench.catalog(rounds)?;
    }
    if wanted("upload") {
        bench.upload(rounds)?;
    }
    if wanted("drive") {
        bench.drive_throughput(rounds)?;
        bench.drive_first_byte(rounds)?;
    }
    if wanted("live") {
        bench.live(rounds)?;
    }
    if wanted("conversion") {
        bench.conversion(rounds)?;
    }
    if wanted("memory") {
        bench.memory()?;
    }
    Ok(())
}

/// rill, nginx and the stand-in for Drive, running over one temporary folder.
struct Bench {
    rill: Server,
    nginx: Server,
    drive: Upstream,
    folder: Folder,
}

struct Server {
    child: Child,
    port: u16,
}

struct Upstream {
    child: Child,
    endpoint: String,
    ca_file: String,
    token: String,
    file: String,
    many: Vec<String>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx leaves no workers behind on SIGTERM; SIGKILL to its master would orphan them.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bench {
    fn start() -> Result<Bench> {
        let folder =
            Folder(std::env::temp_dir().join(format!("rill-measure-{}", std::process::id())));
        let path = folder.0.clone();
        let videos = path.join("videos");
        fs::create_dir_all(&videos)?;
        eprintln!("writing 1 GiB and 5,000 names");
        write_big(&videos.join("big.mp4"))?;
        for n in 0..5000u64 {
            // Names that gzip cannot fold, so that the list's gzip twin is of the size asked for.
            let name = format!("{:016x}{:016x}.mp4", mix(n), mix(n ^ 0xabcd));
            fs::write(videos.join(name), b"")?;
        }

        let drive = Upstream::start()?;
        let config = path.join("rill.toml");
        fs::write(
            &config,
            format!(
                "[http]\nlisten = [\"127.0.0.1:0\"]\n[library]\nposters = false\nvideos = {videos:?}\n\
                 [drive]\ncredentials = {:?}\nendpoint = {:?}\nca_file = {:?}\n\
                 [state]\ndir = {:?}\ncache = {:?}\n",
                drive.credentials()?,
                drive.endpoint,
                drive.ca_file,
                path.join("state"),
                path.join("cache"),
            ),
        )?;
        let rill = start_rill(&config, &path)?;

        let json = get(rill.port, "/api/videos", &["Accept-Encoding: gzip"])?;
        fs::create_dir_all(path.join("static"))?;
        fs::write(path.join("static/list.json.gz"), &json)?;
        fs::write(
            path.join("static/list.json"),
            get(rill.port, "/api/videos", &[])?,
        )?;
        eprintln!("the gzipped JSON has {} KiB", json.len() / 1024);

        let nginx = start_nginx(&path)?;
        Ok(Bench {
            rill,
            nginx,
            drive,
            folder,
        })
    }

    fn whole_file_one_connection(&self, rounds: usize) -> Result<()> {
        let run = |server: &Server, path: &str| -> Result<(f64, f64)> {
            let url = format!("http://127.0.0.1:{}{path}", server.port);
            let before = server.cpu()?;
            let started = Instant::now();
            // Four files on one connection, so that ticks of 10 ms measure the processor well enough.
            let status = Command::new("curl")
                .args(["-sS", "-o", "/dev/null", &url, "-o", "/dev/null", &url])
                .args(["-o", "/dev/null", &url, "-o", "/dev/null", &url])
                .status()?;
            check(status.success(), "curl")?;
            let gigabytes = 4.0 * GIB as f64 / 1e9;
            Ok((
                gigabytes / started.elapsed().as_secs_f64(),
                (server.cpu()? - before) / gigabytes,
            ))
        };
        self.against_nginx("1 GiB file, 1 connection", "GB/s", rounds, run)
    }

    fn whole_file_many_connections(&self, rounds: usize) -> Result<()> {
        let run = |server: &Server, path: &str| -> Result<(f64, f64)> {
            let before = server.cpu()?;
            let out = self.wrk(server, path, 64, 4, &[])?;
            let gigabytes = out.bytes / 1e9;
            Ok((
                gigabytes / out.seconds,
                (server.cpu()? - before) / gigabytes,
            ))
        };
        self.against_nginx("1 GiB file, 64 connections", "GB/s", rounds, run)
    }

    fn against_nginx(
        &self,
        name: &str,
        unit: &str,
        rounds: usize,
        run: impl Fn(&Server, &str) -> Result<(f64, f64)>,
    ) -> Result<()> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(run(&self.rill, "/videos/big.mp4")?);
            theirs.push(run(&self.nginx, "/videos/big.mp4")?);
        }
        let speed = |runs: &[(f64, f64)]| median(runs.iter().map(|r| r.0).collect());
        let cpu = |runs: &[(f64, f64)]| median(runs.iter().map(|r| r.1).collect());
        line(name, unit, speed(&ours), speed(&theirs), ">= 1.0");
        line(
            &format!("{name}, CPU"),
            "s/GB",
            cpu(&ours),
            cpu(&theirs),
            "<= 1.0",
        );
        Ok(())
    }

    fn random_ranges(&self, rounds: usize) -> Result<()> {
        // With tcp_nopush nginx waits 40 ms at the end of each of these answers; without it does not.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/perf/random-ranges.lua");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(
                self.wrk(&self.rill, "/videos/big.mp4", 16, 3, &["-s", script])?
                    .rate,
            );
            theirs.push(
                self.wrk(&self.nginx, "/ranges/big.mp4", 16, 3, &["-s", script])?
                    .rate,
            );
        }
        line(
            "64 KiB ranges at random offsets",
            "req/s",
            median(ours),
            median(theirs),
            ">= 1.0",
        );
        Ok(())
    }

    fn json(&self, rounds: usize) -> Result<()> {
        let gzip = &["-H", "Accept-Encoding: gzip"];
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(self.wrk(&self.rill, "/api/videos", 16, 3, gzip)?.rate);
            theirs.push(self.wrk(&self.nginx, "/list.json", 16, 3, gzip)?.rate);
        }
        line(
            "200 KiB gzipped JSON, keep-alive",
            "req/s",
            median(ours),
            median(theirs),
            ">= 1.0",
        );
        Ok(())
    }

    /// `curl -T` of half a GiB, until it is on the disk: rill answers when it is, nginx's copy is synced afterwards.
    fn upload(&self, rounds: usize) -> Result<()> {
        let folder = &self.folder.0;
        fs::create_dir_all(folder.join("dav"))?;
        let source = folder.join("upload.mp3");
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clips/Tune.mp3");
        let mut song = fs::read(clip)?;
        song.resize(UPLOAD as usize, 0x55);
        fs::write(&source, song)?;
        let output = Command::new(beside("../rill")?)
            .args(["token", "--config"])
            .arg(folder.join("rill.toml"))
            .output()?;
        let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let put = |server: &Server, path: &str, copy: &Path, sync: bool| -> Result<(f64, f64)> {
            let before = server.cpu()?;
            let started = Instant::now();
            let status = Command::new("curl")
                .args(["-sS", "--fail", "-o", "/dev/null", "-H"])
                .arg(format!("Authorization: Bearer {token}"))
                .arg("-T")
                .arg(&source)
                .arg(format!("http://127.0.0.1:{}{path}", server.port))
                .status()?;
            check(status.success(), "curl -T")?;
            if sync {
                check(Command::new("sync").arg(copy).status()?.success(), "sync")?;
            }
            let seconds = started.elapsed().as_secs_f64();
            check(fs::metadata(copy)?.len() == UPLOAD, "not all of it came")?;
            fs::remove_file(copy)?;
            let gigabytes = UPLOAD as f64 / 1e9;
            Ok((gigabytes / seconds, (server.cpu()? - before) / gigabytes))
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let copy = folder.join("videos/upload.mp3");
            ours.push(put(&self.rill, "/videos/upload.mp3", &copy, false)?);
            let copy = folder.join("dav/upload.mp3");
            theirs.push(put(&self.nginx, "/dav/upload.mp3", &copy, true)?);
        }
        let speed = |runs: &[(f64, f64)]| median(runs.iter().map(|r| r.0).collect());
        let cpu = |runs: &[(f64, f64)]| median(runs.iter().map(|r| r.1).collect());
        line(
            "upload, on the disk",
            "GB/s",
            speed(&ours),
            speed(&theirs),
            ">= 1.0",
        );
        line("upload, CPU", "s/GB", cpu(&ours), cpu(&theirs), "<= 1.0");
        Ok(())
    }

    /// A daemon of its own over 500 courses and 20,000 classes.
    fn catalog(&self, rounds: usize) -> Result<()> {
        let home = self.folder.0.join("library");
        let (state, cache) = (home.join("state"), home.join("cache"));
        for folder in [&state, &cache, &home.join("videos")] {
            fs::create_dir_all(folder)?;
        }
        let config = home.join("rill.toml");
        fs::write(
            &config,
            format!(
                "[http]\nlisten = [\"127.0.0.1:0\"]\n[library]\nposters = false\nvideos = {:?}\n[state]\ndir = {state:?}\ncache = {cache:?}\n",
                home.join("videos")
            ),
        )?;
        let versions = [0, 1].map(|version| {
            catalog::Shape {
                version,
                ..catalog::HOUSEHOLD
            }
            .json()
        });
        fs::write(state.join("catalog.json"), &versions[0])?;
        eprintln!("the catalog has {} MB", versions[0].len() / 1_000_000);

        let mut ready = Vec::new();
        for _ in 0..rounds {
            ready.push(exec_to_ready(&config, &home)? * 1e3);
        }
        alone(
            "exec to READY, 20 MB catalog",
            "ms",
            median(ready),
            "<= 500",
        );

        let rill = start_rill(&config, &home)?;
        let gzip = &["-H", "Accept-Encoding: gzip"];
        let bootstrap = get(rill.port, "/api/bootstrap", &["Accept-Encoding: gzip"])?;
        fs::write(self.folder.0.join("static/bootstrap.json.gz"), bootstrap)?;
        let plain = get(rill.port, "/api/bootstrap", &[])?;
        fs::write(self.folder.0.join("static/bootstrap.json"), plain)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(self.wrk(&rill, "/api/bootstrap", 16, 3, gzip)?.rate);
            theirs.push(self.wrk(&self.nginx, "/bootstrap.json", 16, 3, gzip)?.rate);
        }
        let name = "bootstrap JSON, gzip, keep-alive";
        line(name, "req/s", median(ours), median(theirs), ">= 1.0");

        let details = (0..2000).map(|n| {
            let (category, route, course) = (mix(n) % 10, mix(n ^ 7) % 10, mix(n ^ 9) % 6);
            let course = if route % 5 == 0 { 0 } else { course };
            format!("/api/course-detail/{category}/{route}/{course}")
        });
        let p99 = percentile_99(rill.port, details, "")? * 1e3;
        alone("course detail of any course, p99", "ms", p99, "< 1");
        let words = [
            "python",
            "p",
            "programacion+basico",
            "a+b+c",
            "introduccion+final+datos",
        ];
        let searches = (0..1000).map(|n| format!("/api/search?q={}", words[n % words.len()]));
        let p99 = percentile_99(rill.port, searches, "")? * 1e3;
        alone("search in 20,000 classes, p99", "ms", p99, "<= 5");

        // 64 readers meanwhile; wrk's figures are refused when an answer failed.
        let mut reloads = Vec::new();
        std::thread::scope(|scope| -> Result<()> {
            let readers = scope.spawn(|| {
                let seconds = 2 * rounds as u32 + 1;
                self.wrk(&rill, "/api/course-detail/1/1/1", 64, seconds, &[])
                    .map_err(|error| error.to_string())
            });
            for round in 0..rounds {
                let before = tag(rill.port)?;
                fs::write(state.join("catalog.new"), &versions[(round + 1) % 2])?;
                let began = Instant::now();
                fs::rename(state.join("catalog.new"), state.join("catalog.json"))?;
                get(rill.port, "/api/refresh", &[])?;
                while tag(rill.port)? == before {
                    check(began.elapsed() < Duration::from_secs(10), "no reload")?;
                    sleep(Duration::from_millis(5));
                }
                reloads.push(began.elapsed().as_secs_f64() * 1e3);
                sleep(Duration::from_millis(1200));
            }
            readers.join().map_err(|_| "the readers failed")??;
            Ok(())
        })?;
        alone(
            "reload under 64 readers, none fails",
            "ms",
            median(reloads),
            "<= 500",
        );
        sleep(Duration::from_secs(3));
        alone(
            "memory, 20 MB catalog, after it all",
            "MiB",
            rill.rss()?,
            "<= 40",
        );
        Ok(())
    }

    /// What others wait for an answer while a film is converted beside them, against nginx beside the same conversion.
    fn conversion(&self, rounds: usize) -> Result<()> {
        let home = self.folder.0.join("converting");
        let (state, videos) = (home.join("state"), home.join("videos"));
        for folder in [&state, &videos] {
            fs::create_dir_all(folder)?;
        }
        let config = home.join("rill.toml");
        let text = format!(
            "[http]\nlisten = [\"127.0.0.1:0\"]\n[library]\nposters = false\nvideos = {videos:?}\n[state]\ndir = {state:?}\n\
             cache = {:?}\n",
            home.join("cache")
        );
        fs::write(&config, text)?;
        fs::write(state.join("catalog.json"), catalog::HOUSEHOLD.json())?;
        let rill = start_rill(&config, &home)?;
        let gzip = "Accept-Encoding: gzip\r\n";
        let bootstrap = get(rill.port, "/api/bootstrap", &["Accept-Encoding: gzip"])?;
        fs::write(self.folder.0.join("static/converting.json.gz"), bootstrap)?;
        let plain = get(rill.port, "/api/bootstrap", &[])?;
        fs::write(self.folder.0.join("static/converting.json"), plain)?;

        // Pictures that must be encoded anew, enough of them to last.
        let film = home.join("film.avi");
        let make = "-v error -y -f lavfi -i testsrc2=size=1280x720:rate=25:duration=15,noise=alls=20:allf=t -c:v mpeg4 -q:v 4";
        let made = Command::new("ffmpeg")
            .args(make.split_whitespace())
            .arg(&film)
            .status()?;
        let long = home.join("long.avi");
        let again = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-stream_loop", "39", "-i"])
            .arg(&film)
            .args(["-c", "copy"])
            .arg(&long)
            .status()?;
        check(made.success() && again.success(), "ffmpeg makes no film")?;
        let token = Command::new(beside("../rill")?)
            .args(["token", "--config"])
            .arg(&config)
            .output()?;
        let token = format!(
            "Authorization: Bearer {}",
            String::from_utf8(token.stdout)?.trim()
        );
        let url = format!("http://127.0.0.1:{}/videos/", rill.port);
        let sent = Command::new("curl")
            .args(["-sS", "-f", "-o", "/dev/null", "-H", &token, "-T"])
            .arg(&long)
            .arg(&url)
            .status()?;
        check(sent.success(), "the film was not taken")?;
        let running = || -> Result<bool> {
            let jobs = String::from_utf8(get(rill.port, "/api/jobs", &[])?)?;
            Ok(jobs.contains("\"state\":\"running\""))
        };
        let began = Instant::now();
        while !running()? {
            check(
                began.elapsed() < Duration::from_secs(30),
                "nothing is converted",
            )?;
            sleep(Duration::from_millis(100));
        }
        // The film that was just sent is written to the disk meanwhile, which is another measure's.
        sleep(Duration::from_secs(5));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (server, path, times) in [
                (&rill, "/api/bootstrap", &mut ours),
                (&self.nginx, "/converting.json", &mut theirs),
            ] {
                let targets = (0..3000).map(|_| path.to_owned());
                times.push(percentile_99(server.port, targets, gzip)? * 1e3);
            }
        }
        check(running()?, "the conversion ended too soon")?;
        let name = "bootstrap beside a conversion, p99";
        line(name, "ms", median(ours), median(theirs), "<= 1.0");
        Ok(())
    }

    fn drive_throughput(&self, rounds: usize) -> Result<()> {
        let (mut ours, mut cpu, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = self.rill.cpu()?;
            let seconds = self.curl_rill("0-", "%{time_total}")?;
            cpu.push((self.rill.cpu()? - before) / (GIB as f64 / 1e9));
            ours.push(GIB as f64 / 1e9 / seconds);
            theirs.push(GIB as f64 / 1e9 / self.curl_straight("0-", "%{time_total}")?);
        }
        line(
            "Drive over TLS, 1 GiB",
            "GB/s",
            median(ours),
            median(theirs),
            ">= 0.6",
        );
        alone("Drive over TLS, CPU of rill", "s/GB", median(cpu), "<= 0.8");
        Ok(())
    }

    fn drive_first_byte(&self, rounds: usize) -> Result<()> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..rounds as u64 * 5 {
            // Offsets away from the head and the tail, which rill may have kept.
            let from = GIB / 4 + n * 7_654_321;
            let range = format!("{from}-{}", from + 65_535);
            ours.push(self.curl_rill(&range, "%{time_starttransfer}")? * 1e3);
            theirs.push(self.curl_straight(&range, "%{time_starttransfer}")? * 1e3);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        line(
            "Drive over TLS, time to first byte",
            "ms",
            ours,
            theirs,
            "+ 5 ms",
        );
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let config = self.folder.0.join("empty.toml");
        let empty = self.folder.0.join("empty");
        fs::create_dir_all(empty.join("videos"))?;
        let text = fs::read_to_string(self.folder.0.join("rill.toml"))?;
        fs::write(
            &config,
            text.replace(
                &*self.folder.0.join("videos").to_string_lossy(),
                &empty.join("videos").to_string_lossy(),
            ),
        )?;
        let rill = start_rill(&config, &empty)?;
        sleep(Duration::from_secs(3));
        let idle = rill.rss()?;
        alone("memory, idle", "MiB", idle, "<= 10");

        let mut clients = Vec::new();
        for id in self.drive.many.iter().cycle().take(50) {
            let mut socket = TcpStream::connect(("127.0.0.1", rill.port))?;
            write!(
                socket,
                "GET /drive/files/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )?;
            // A paused viewer: the first bytes are taken, then nothing.
            let mut some = [0; 4096];
            socket.read_exact(&mut some)?;
            check(
                some.starts_with(b"HTTP/1.1 200"),
                "a stream of the fifty was refused",
            )?;
            clients.push(socket);
        }
        sleep(Duration::from_secs(3));
        alone(
            "memory, 50 Drive streams above idle",
            "MiB",
            rill.rss()? - idle,
            "<= 64",
        );
        Ok(())
    }

    /// A compatible version of a film, against the same ffmpeg over the file itself into a pipe.
    fn live(&self, rounds: usize) -> Result<()> {
        let film = self.folder.0.join("videos/film.mkv");
        write_film(&film)?;
        let path = "/api/video-compatible/videos/film.mkv";
        let url = format!("http://127.0.0.1:{}{path}", self.rill.port);
        let size = curl(&["-w", "%{size_download}", &url])?;
        let arguments = "-nostdin -loglevel error -fflags +genpts+igndts+discardcorrupt -i FILE -map 0:0 -c:v copy \
             -map 0:1 -c:a aac -ac 2 -ar 48000 -b:a 192k -af aresample=async=1 -map_chapters -1 -map_metadata -1 \
             -avoid_negative_ts make_zero -max_muxing_queue_size 2048 -movflags \
             +frag_keyframe+empty_moov+default_base_moof -frag_duration 4000000 -f mp4 pipe:1";
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let started = Instant::now();
            let got = curl(&["-w", "%{size_download}", &url])?;
            ours.push(got / started.elapsed().as_secs_f64() / 1e6);
            check(got == size, "two compatible versions differ in size")?;
            let started = Instant::now();
            let mut ffmpeg = Command::new("ffmpeg")
                .args(arguments.split_whitespace().map(|word| match word {
                    "FILE" => film.as_os_str(),
                    word => word.as_ref(),
                }))
                .stdout(Stdio::piped())
                .spawn()?;
            let mut stdout = ffmpeg.stdout.take().ok_or("no stdout")?;
            let got = std::io::copy(&mut stdout, &mut std::io::sink())?;
            check(ffmpeg.wait()?.success(), "ffmpeg failed")?;
            theirs.push(got as f64 / started.elapsed().as_secs_f64() / 1e6);
            let near = (got as f64 / size - 1.0).abs() < 0.01;
            check(near, "rill's version is of another size than ffmpeg's")?;
        }
        line(
            "live remux, speed",
            "MB/s",
            median(ours),
            median(theirs),
            ">= 0.95",
        );
        fs::remove_file(film)?;
        Ok(())
    }

    fn wrk(
        &self,
        server: &Server,
        path: &str,
        connections: u32,
        seconds: u32,
        more: &[&str],
    ) -> Result<Wrk> {
        let out = Command::new("wrk")
            .args([
                "-t",
                "2",
                "-c",
                &connections.to_string(),
                "-d",
                &format!("{seconds}s"),
            ])
            .args(["--timeout", "60s"])
            .args(more)
            .arg(format!("http://127.0.0.1:{}{path}", server.port))
            .output()?;
        Wrk::parse(&String::from_utf8_lossy(&out.stdout))
    }

    fn curl_rill(&self, range: &str, figure: &str) -> Result<f64> {
        let url = format!(
            "http://127.0.0.1:{}/drive/files/{}",
            self.rill.port, self.drive.file
        );
        curl(&["-r", range, "-w", figure, &url])
    }

    fn curl_straight(&self, range: &str, figure: &str) -> Result<f64> {
        let url = format!(
            "{}/drive/v3/files/{}?alt=media&supportsAllDrives=true",
            self.drive.endpoint, self.drive.file
        );
        let token = format!("Authorization: Bearer {}", self.drive.token);
        curl(&[
            "--http1.1",
            "--cacert",
            &self.drive.ca_file,
            "-H",
            &token,
            "-r",
            range,
            "-w",
            figure,
            &url,
        ])
    }
}

/// Seconds from `exec` to `READY=1`.
fn exec_to_ready(config: &Path, folder: &Path) -> Result<f64> {
    let socket = folder.join("notify");
    let _ = fs::remove_file(&socket);
    let notify = UnixDatagram::bind(&socket)?;
    notify.set_read_timeout(Some(Duration::from_secs(20)))?;
    let began = Instant::now();
    let child = Command::new(beside("../rill")?)
        .args(["serve", "--config"])
        .arg(config)
        .env("NOTIFY_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Server { child, port: 0 };
    let mut message = [0; 4096];
    loop {
        let n = notify.recv(&mut message)?;
        if String::from_utf8_lossy(&message[..n]).contains("READY=1") {
            return Ok(began.elapsed().as_secs_f64());
        }
    }
}

/// The tag of the bootstrap, which changes with the catalog.
fn tag(port: u16) -> Result<String> {
    let mut one = Keeping::connect(port)?;
    one.get("/api/bootstrap", "")?;
    Ok(one.tag)
}

/// The 99th percentile of the seconds that each of these takes, one after the other on one connection, asked for with
/// `headers`, each of which ends its line.
fn percentile_99(port: u16, targets: impl Iterator<Item = String>, headers: &str) -> Result<f64> {
    let mut client = Keeping::connect(port)?;
    let mut times = Vec::new();
    for target in targets {
        let began = Instant::now();
        client.get(&target, headers)?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() * 99 / 100])
}

/// One connection that is kept.
struct Keeping {
    socket: BufReader<TcpStream>,
    /// Of the last answer.
    tag: String,
}

impl Keeping {
    fn connect(port: u16) -> Result<Keeping> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        Ok(Keeping {
            socket: BufReader::with_capacity(1 << 16, socket),
            tag: String::new(),
        })
    }

    fn get(&mut self, target: &str, headers: &str) -> Result<Vec<u8>> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.socket.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut status) = (0, String::new());
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line)?;
            if status.is_empty() {
                status = line.clone();
            }
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            if let Some(text) = lower.strip_prefix("etag:") {
                self.tag = text.trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
            check(!line.is_empty(), "the connection ended")?;
        }
        check(status.contains(" 200 "), &format!("{target}: {status}"))?;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok(body)
    }
}

fn curl(args: &[&str]) -> Result<f64> {
    let out = Command::new("curl")
        .args(["-sS", "--fail", "-o", "/dev/null"])
        .args(args)
        .output()?;
    check(out.status.success(), &String::from_utf8_lossy(&out.stderr))?;
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

impl Server {
    /// Processor seconds of the server and its children so far.
    fn cpu(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in family(self.child.id())? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let after = stat.rsplit(") ").next().ok_or("no stat")?;
            let fields: Vec<&str> = after.split(' ').collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS)
    }

    /// Resident memory in MiB.
    fn rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }
}

/// A process and its direct children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut pids = vec![pid];
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    pids.extend(
        children
            .split_whitespace()
            .filter_map(|p| p.parse::<u32>().ok()),
    );
    Ok(pids)
}

impl Upstream {
    fn start() -> Result<Upstream> {
        let mut child = Command::new(beside("fake-drive")?)
            .args(["--file-size", &GIB.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let files: Vec<String> = said["files"]
            .as_array()
            .ok_or("no files")?
            .iter()
            .filter_map(|f| f.as_str().or(f["id"].as_str()).map(str::to_owned))
            .collect();
        let upstream = Upstream {
            child,
            endpoint: text("endpoint"),
            ca_file: text("ca_file"),
            token: text("curl_token"),
            file: files.first().cloned().ok_or("the stand-in holds no file")?,
            many: files,
        };
        // Kept beside the rest, for the configuration of rill.
        std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))?;
        CREDENTIALS
            .set(text("credentials_file"))
            .map_err(|_| "started twice")?;
        Ok(upstream)
    }

    fn credentials(&self) -> Result<String> {
        Ok(CREDENTIALS.get().ok_or("not started")?.clone())
    }
}

static CREDENTIALS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// What wrk printed.
struct Wrk {
    rate: f64,
    bytes: f64,
    seconds: f64,
}

impl Wrk {
    fn parse(text: &str) -> Result<Wrk> {
        check(!text.contains("Non-2xx"), text)?;
        let after = |mark: &str| -> Result<&str> {
            let at = text.find(mark).ok_or_else(|| format!("wrk said: {text}"))?;
            Ok(text[at + mark.len()..]
                .split_whitespace()
                .next()
                .unwrap_or_default())
        };
        let rate = after("Requests/sec:")?.parse()?;
        // "  123 requests in 4.00s, 9.75GB read"
        let summary = text
            .lines()
            .find(|l| l.contains(" requests in "))
            .ok_or("no summary")?;
        let (_, rest) = summary.split_once(" requests in ").ok_or("no summary")?;
        let (time, rest) = rest.split_once(", ").ok_or("no summary")?;
        let seconds = time.trim_end_matches('s').parse()?;
        let size = rest.split_whitespace().next().ok_or("no size")?;
        let bytes = match size {
            s if s.ends_with("GB") => s.trim_end_matches("GB").parse::<f64>()? * GIB as f64,
            s if s.ends_with("MB") => s.trim_end_matches("MB").parse::<f64>()? * 1048576.0,
            s => return Err(format!("wrk read only {s}").into()),
        };
        Ok(Wrk {
            rate,
            bytes,
            seconds,
        })
    }
}

fn start_rill(config: &Path, folder: &Path) -> Result<Server> {
    let log = fs::File::create(folder.join("rill.log"))?;
    let mut child = Command::new(beside("../rill")?)
        .args(["serve", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let port = line
        .trim()
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse();
    let port = port.map_err(|_| {
        format!(
            "rill said {line:?}; see {}",
            folder.join("rill.log").display()
        )
    })?;
    Ok(Server { child, port })
}

fn start_nginx(folder: &Path) -> Result<Server> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = folder.join("nginx.conf");
    let dir = folder.display();
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
               client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
               uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
               types {{ video/mp4 mp4; application/json json; }}\n\
               server {{ listen 127.0.0.1:{port}; root {dir}/static; gzip_static on;\n\
                 location /videos/ {{ alias {dir}/videos/; }}\n\
                 location /ranges/ {{ alias {dir}/videos/; tcp_nopush off; }}
                 location /dav/ {{ alias {dir}/dav/; dav_methods PUT DELETE; client_max_body_size 0; }} }}\n\
             }}\n"
        ),
    )?;
    let nginx = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    // As root nginx's workers would run as nobody, who cannot read the temporary folder.
    let user = fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)?;
    let mut command = Command::new(nginx);
    command.arg("-c").arg(&config);
    if user {
        command.args(["-g", "user root;"]);
    }
    let child = command.spawn()?;
    let server = Server { child, port };
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(server);
        }
        sleep(Duration::from_millis(50));
    }
    Err("nginx does not answer".into())
}

/// Body of a small GET, by curl.
fn get(port: u16, path: &str, headers: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let out = command
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()?;
    check(out.status.success(), &String::from_utf8_lossy(&out.stderr))?;
    Ok(out.stdout)
}

/// A program that was built into the folder of this one.
fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().ok_or("no folder")?.join(name))
}

fn write_big(path: &Path) -> Result<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    for n in 0..GIB / 8 {
        file.write_all(&mix(n).to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

/// A cheap function of a number whose values look random (SplitMix64's finisher).
/// Ten minutes of H.264 at some 8 Mbit/s with 5.1 sound, from half a minute of it.
fn write_film(path: &Path) -> Result<()> {
    eprintln!("making a film");
    let part = path.with_extension("part.mkv");
    let make = "-v error -y -f lavfi -i testsrc2=size=1280x720:rate=25:duration=30,noise=alls=20:allf=t -f lavfi -i \
         sine=frequency=440:sample_rate=48000:duration=30 -c:v libx264 -preset ultrafast -b:v 8M -maxrate 8M -bufsize 16M \
         -pix_fmt yuv420p -g 50 -c:a ac3 -ac 6";
    let first = Command::new("ffmpeg")
        .args(make.split_whitespace())
        .arg(&part)
        .status()?;
    let again = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-stream_loop", "19", "-i"])
        .arg(&part)
        .args(["-c", "copy"])
        .arg(path)
        .status()?;
    fs::remove_file(part)?;
    check(first.success() && again.success(), "ffmpeg makes no film")
}

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn line(name: &str, unit: &str, ours: f64, theirs: f64, target: &str) {
    println!(
        "{:<44} {:>12} {:>12} {:>7.2}  {target}",
        format!("{name} ({unit})"),
        figure(ours),
        figure(theirs),
        ours / theirs
    );
}

fn alone(name: &str, unit: &str, ours: f64, target: &str) {
    println!(
        "{:<44} {:>12} {:>12} {:>7}  {target}",
        format!("{name} ({unit})"),
        figure(ours),
        "-",
        "-"
    );
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(what.to_owned().into())
    }
}
