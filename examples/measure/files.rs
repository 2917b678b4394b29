//! Files and lists against nginx: whole, in ranges, gzipped, and sent up.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::bench::{Bench, GIB};
use crate::servers::{Server, beside};
use crate::table::{check, line, median};

/// Size of the file that is uploaded.
const UPLOAD: u64 = 512 << 20;

impl Bench {
    pub(crate) fn whole_file_one_connection(&self, rounds: usize) -> Result<()> {
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

    pub(crate) fn whole_file_many_connections(&self, rounds: usize) -> Result<()> {
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

    pub(crate) fn against_nginx(
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

    pub(crate) fn random_ranges(&self, rounds: usize) -> Result<()> {
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

    pub(crate) fn json(&self, rounds: usize) -> Result<()> {
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
    pub(crate) fn upload(&self, rounds: usize) -> Result<()> {
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
}
