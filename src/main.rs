//! `rill`: parse, log, run, say what went wrong, exit.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use rill::args::{self, Command};
use rill::config::Config;
use rill::error::{Kind, Result};
use rill::{daemon, logging};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(mistake) => {
            let _ = write!(std::io::stderr(), "rill: {mistake}\n{}", args::USAGE);
            return ExitCode::from(USAGE);
        }
    };
    // The report of a check says it all.
    logging::start(if matches!(command, Command::Check(_)) {
        "error"
    } else {
        "info"
    });
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            logging::last_words(&error);
            ExitCode::from(if error.kind() == Kind::Misconfigured {
                CONFIG
            } else {
                FAILED
            })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(file) => daemon::start(&|| load(file.as_deref()))?,
        Command::Check(file) => {
            let all_works = daemon::check::run(&load(file.as_deref())?, file.as_deref());
            return Ok(if all_works {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FAILED)
            });
        }
        Command::Token { new, config } => print(&daemon::token(&load(config.as_deref())?, new)?),
        Command::Scan { full, config } => daemon::scan::run(&load(config.as_deref())?, full)?,
        Command::Help => print(args::HELP.trim_end()),
        Command::Version => print(concat!("rill ", env!("CARGO_PKG_VERSION"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn load(file: Option<&Path>) -> Result<Config> {
    Config::load(file, &|name| {
        std::env::var_os(name).map(|v| OsStr::to_string_lossy(&v).into_owned())
    })
}

/// A reader who has gone (`rill --help | head -1`) is no failure.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
