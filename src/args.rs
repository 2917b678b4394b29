//! The command line as a value: argv in, [`Command`] out, and nothing else is looked at.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve until a signal says otherwise.
    Serve(ConfigPath),
    /// Read the course tree into the catalog.
    Scan {
        /// List everything anew.
        full: bool,
        /// Whose library it is.
        config: ConfigPath,
    },
    /// Say what works and what does not.
    Check(ConfigPath),
    /// Print the admin token.
    Token {
        /// Make a new one first.
        new: bool,
        /// Whose state folder holds it.
        config: ConfigPath,
    },
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// The `--config` of a command, if it was given.
pub type ConfigPath = Option<PathBuf>;

/// The synopsis, shown with every mistake.
pub const USAGE: &str = "\
Usage: rill <serve|scan|check> [--config FILE]
       rill scan [--full] [--config FILE]
       rill token [--new] [--config FILE]
       rill --help | --version
";

/// The whole help text.
pub const HELP: &str = "\
rill plays a household's courses, videos and music on every screen of the LAN:
from this machine's disk, from a Google Drive folder, or both.

Usage: rill <command> [options]

Commands:
  serve            Serve over HTTP until SIGTERM; SIGHUP reads the Drive credentials again
  check            Check configuration, Drive, ffmpeg, folders and ports, a line each
  token            Print the admin token, which uploads and changes ask for
  scan             Read the course tree of Drive and of library.courses into the catalog, or what
                   changed in it since the last scan; goes on with a scan that was interrupted

Options:
  -c, --config FILE  The configuration [default: /etc/rill/rill.toml, when there]
      --full         With scan: list every folder anew
      --new          With token: replace the token, and end every login made with the old one
  -h, --help         Print this
  -V, --version      Print the version

Exit status:
  0   done; with check: everything works; with scan: the catalog is up to date, perhaps but for
      folders that could not be listed, which are named
  1   failed; with check: something does not work; with scan: there is no new catalog
  2   the command line is wrong
  78  the configuration is wrong

Environment:
  RILL_LOG         error, warn, info, debug or trace [default: info; with check: error]
  HOST, PORT, GOOGLE_SERVICE_ACCOUNT_FILE, GOOGLE_SERVICE_ACCOUNT_JSON, FFMPEG_PATH and
  MAX_PROGRESS_BYTES win over the configuration file.

Start with `rill serve`, then open http://localhost:8080/ in a browser.
";

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What is wrong with them, as a sentence to be shown above [`USAGE`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(arguments);
    let mut name: Option<String> = None;
    let mut config: ConfigPath = None;
    let mut new = false;
    let mut full = false;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('c') | Arg::Long("config") => {
                let path = parser.value().map_err(|error| error.to_string())?;
                if path.is_empty() {
                    return Err("--config needs the path of a file".to_owned());
                }
                if config.replace(PathBuf::from(path)).is_some() {
                    return Err("--config is given twice".to_owned());
                }
            }
            Arg::Long("new") => new = true,
            Arg::Long("full") => full = true,
            Arg::Value(value) if name.is_none() => {
                name = Some(value.string().map_err(|error| error.to_string())?);
            }
            Arg::Value(value) => {
                return Err(format!(
                    "there is one word too many: `{}`",
                    value.to_string_lossy()
                ));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let Some(name) = name else {
        return Err("a command is missing".to_owned());
    };
    if new && name != "token" {
        return Err("--new belongs to `rill token`".to_owned());
    }
    if full && name != "scan" {
        return Err("--full belongs to `rill scan`".to_owned());
    }
    match name.as_str() {
        "serve" => Ok(Command::Serve(config)),
        "scan" => Ok(Command::Scan { full, config }),
        "check" => Ok(Command::Check(config)),
        "token" => Ok(Command::Token { new, config }),
        "help" => Ok(Command::Help),
        _ => Err(format!("there is no command `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands() {
        let file = Some(PathBuf::from("/x"));
        for (line, command) in [
            ("serve", Command::Serve(None)),
            ("serve --config /x", Command::Serve(file.clone())),
            ("--config=/x check", Command::Check(file.clone())),
            (
                "scan -c /x",
                Command::Scan {
                    full: false,
                    config: file.clone(),
                },
            ),
            (
                "scan --full",
                Command::Scan {
                    full: true,
                    config: None,
                },
            ),
            (
                "token",
                Command::Token {
                    new: false,
                    config: None,
                },
            ),
            (
                "token --new -c/x",
                Command::Token {
                    new: true,
                    config: file,
                },
            ),
            ("--help", Command::Help),
            ("serve -h", Command::Help),
            ("help", Command::Help),
            ("-V", Command::Version),
            ("--version", Command::Version),
        ] {
            assert_eq!(read(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for (line, said) in [
            ("", "a command is missing"),
            ("dance", "no command `dance`"),
            ("serve now", "too many: `now`"),
            ("serve --port 80", "--port"),
            ("serve --new", "belongs to `rill token`"),
            ("check --full", "belongs to `rill scan`"),
            ("serve --config", "config"),
            ("serve --config=", "needs the path"),
            ("serve -c a -c b", "twice"),
            ("token --new=yes", "new"),
            ("-x", "-x"),
        ] {
            let mistake = read(line).expect_err(line);
            assert!(mistake.contains(said), "{line}: {mistake}");
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        for line in HELP.lines().chain(USAGE.lines()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_argument_panics(words in proptest::collection::vec("\\PC{0,12}", 0..6)) {
            let _ = parse(words.into_iter().map(OsString::from));
        }
    }
}
