//! Measures rill against nginx and against curl straight to the same upstream, side by side.
//!
//! Run by `tests/perf/run`, which builds what is needed. Peers take turns within one run and every
//! figure is a median, so that a shared, noisy machine moves both sides alike; only ratios are
//! printed as results. What is measured and why is in the README's table.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod clients;
mod converting;
mod drive;
mod files;
mod library;
mod memory;
mod servers;
mod table;

use std::error::Error;

use bench::Bench;

#[path = "../../tests/support/catalog.rs"]
#[allow(dead_code, unreachable_pub)]
mod catalog;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

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
