//! The tests' stand-in for Google Drive as a program of its own, for measuring and for trying things by hand.
//!
//! `cargo run --release --example fake-drive -- --file-size 1GiB --latency-ms 0` prints one line of JSON
//! that says how to reach it, and serves until standard input ends.

#![allow(
    clippy::print_stdout,
    reason = "the line on standard output is its interface"
)]

#[path = "../tests/support/course_tree.rs"]
#[allow(dead_code, unreachable_pub)]
mod course_tree;
#[path = "../tests/support/drive/mod.rs"]
mod drive;

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use course_tree::{CourseTree, Shape};
use drive::{Action, Content, FakeDrive, File, Kind};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut size, mut latency, mut folder) = (1 << 30, Duration::ZERO, None);
    let mut tree = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("file-size") => size = bytes(&arguments.value()?.to_string_lossy())?,
            lexopt::Arg::Long("latency-ms") => {
                latency = Duration::from_millis(arguments.value()?.to_string_lossy().parse()?);
            }
            lexopt::Arg::Long("folder") => folder = Some(PathBuf::from(arguments.value()?)),
            lexopt::Arg::Long("tree") => {
                tree = Some(shape(&arguments.value()?.to_string_lossy())?);
            }
            lexopt::Arg::Long("help") => {
                println!(
                    "fake-drive [--file-size BYTES|64MiB|1GiB] [--latency-ms N] [--folder FOR-ITS-FILES]\n\
                     \x20          [--tree CATEGORIESxCOURSESxMODULESxCLASSES]"
                );
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let fake = FakeDrive::start();
    let id = "pattern-file-0001";
    fake.add(File::folder("folder-root-0001", "Course")).add(
        File::new(id, "pattern.mp4", "video/mp4", Content::Pattern(size))
            .within("folder-root-0001"),
    );
    let tree = tree.map(CourseTree::of);
    if let Some(tree) = &tree {
        tree.put(&fake);
    }
    if !latency.is_zero() {
        fake.on(Kind::Any).does(Action::Latency(latency));
    }
    let own = match folder {
        Some(folder) => {
            std::fs::create_dir_all(&folder)?;
            (folder, false)
        }
        None => {
            let folder = std::env::temp_dir().join(format!("fake-drive-{}", std::process::id()));
            std::fs::create_dir(&folder)?;
            (folder, true)
        }
    };
    let (ca, credentials) = fake.write_files(&own.0)?;
    let line = serde_json::json!({
        "endpoint": fake.endpoint(),
        "ca_file": ca,
        "credentials_file": credentials,
        "curl_token": fake.token(),
        "files": [{ "id": id, "name": "pattern.mp4", "size": size }],
        "tree": tree.as_ref().map(|tree| serde_json::json!({ "root": tree.root(), "files": tree.nodes.len() })),
        "pid": std::process::id(),
    });
    println!("{line}");
    std::io::stdout().flush()?;
    // Whoever started it ends it by closing the pipe, so that none is left behind.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    if own.1 {
        std::fs::remove_dir_all(&own.0)?;
    }
    Ok(())
}

/// Reads the shape of a course tree: `20x500x4x10`.
fn shape(text: &str) -> Result<Shape, Box<dyn Error>> {
    let numbers: Vec<usize> = text.split('x').map(str::parse).collect::<Result<_, _>>()?;
    match numbers[..] {
        [categories, courses, modules, classes] => Ok(Shape {
            categories,
            courses,
            modules,
            classes,
        }),
        _ => Err("a tree is four numbers: 20x500x4x10".into()),
    }
}

/// Reads a size: digits, and `KiB`, `MiB` or `GiB` if it likes.
fn bytes(text: &str) -> Result<u64, Box<dyn Error>> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    for (suffix, unit) in units {
        if let Some(number) = text.strip_suffix(suffix) {
            return Ok(number.trim().parse::<u64>()? * unit);
        }
    }
    Ok(text.parse()?)
}
