//! ffmpeg at work: what a live version costs, and what others wait for beside a conversion.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::clients::{curl, get, percentile_99};
use crate::servers::{beside, start_rill};
use crate::table::{check, line, median};
use crate::{Result, catalog};

impl Bench {
    /// A compatible version of a film, against the same ffmpeg over the file itself into a pipe.
    pub(crate) fn live(&self, rounds: usize) -> Result<()> {
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

    /// What others wait for an answer while a film is converted beside them, against nginx beside the same conversion.
    pub(crate) fn conversion(&self, rounds: usize) -> Result<()> {
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
}

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
