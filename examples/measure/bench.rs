//! What is measured over: rill, nginx and the stand-in for Drive, and the files that they serve.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::clients::{Wrk, get};
use crate::servers::{Server, Upstream, start_nginx, start_rill};

/// Size of the big file, local and on the stand-in for Drive.
pub(crate) const GIB: u64 = 1 << 30;

/// rill, nginx and the stand-in for Drive, running over one temporary folder.
pub(crate) struct Bench {
    pub(crate) rill: Server,
    pub(crate) nginx: Server,
    pub(crate) drive: Upstream,
    pub(crate) folder: Folder,
}

pub(crate) struct Folder(pub(crate) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Bench {
    pub(crate) fn start() -> Result<Bench> {
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

    pub(crate) fn wrk(
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
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
