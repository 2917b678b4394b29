//! A catalog of 500 courses and 20,000 classes.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bench::{Bench, mix};
use crate::clients::{Keeping, get, percentile_99};
use crate::servers::{exec_to_ready, start_rill};
use crate::table::{alone, check, line, median};
use crate::{Result, catalog};

impl Bench {
    /// A daemon of its own over 500 courses and 20,000 classes.
    pub(crate) fn catalog(&self, rounds: usize) -> Result<()> {
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
}

/// The tag of the bootstrap, which changes with the catalog.
fn tag(port: u16) -> Result<String> {
    let mut one = Keeping::connect(port)?;
    one.get("/api/bootstrap", "")?;
    Ok(one.tag)
}
