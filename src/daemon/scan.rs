//! `rill scan`: a scan that somebody waits for, with a bar on a terminal and a line every ten seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;

use crate::config::Config;
use crate::drive::Drive;
use crate::error::Result;
use crate::jobs::scan::{ScanStatus, Scanner, Summary};
use crate::media::kind;
use crate::store::database::Database;
use crate::sys::executor;

/// Between two drawings of the bar.
const FRAME: Duration = Duration::from_millis(200);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// Folders named in the summary; the catalog names more.
const NAMED: usize = 20;
/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Scans, and prints what came of it to stdout.
///
/// # Errors
/// There is no new catalog: nothing is configured, another scan is under way, or a source or the disk fails.
pub fn run(config: &Config, full: bool) -> Result<()> {
    executor::run(async {
        let database = Database::of(&config.state.dir);
        let drive = Drive::new(config, kind::content_type);
        let scanner = Scanner::new(config, drive, database.clone());
        let began = Instant::now();
        let showing = show(&scanner);
        let outcome = or(scanner.scan(full, "rill scan"), showing).await;
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        smol::unblock(move || database.close()).await;
        let summary = outcome?;
        let mut stdout = io::stdout();
        // Nobody may be listening any more; the catalog is written all the same.
        let _ = stdout.write_all(report(&summary, began.elapsed()).as_bytes());
        let _ = stdout.flush();
        Ok(())
    })
}

/// Shows how far the scan has come, for ever.
async fn show<T>(scanner: &Scanner) -> T {
    let mut stderr = io::stderr();
    let terminal = stderr.is_terminal();
    loop {
        Timer::after(if terminal { FRAME } else { LINE }).await;
        let status = scanner.status();
        // Who does not look at standard error misses nothing.
        let _ = match terminal {
            true => write!(stderr, "\r{}\x1b[K", bar(&status, columns())),
            false => writeln!(stderr, "{}", figures(&status)),
        };
        let _ = stderr.flush();
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    match size.map(|size| usize::from(size.ws_col)) {
        Ok(columns) if columns > 0 => columns,
        _ => COLUMNS,
    }
}

fn figures(status: &ScanStatus) -> String {
    let left = match status.seconds_left {
        Some(seconds) => format!(", {} left", time(seconds)),
        None => String::new(),
    };
    format!(
        "{} of {} folders, {} classes, {} requests{left}",
        status.folders, status.folders_known, status.classes, status.requests
    )
}

/// `[=====>    ] figures`, within `columns`; the figures alone, cut short, where there is no room for both.
fn bar(status: &ScanStatus, columns: usize) -> String {
    let figures = figures(status);
    // The last column stays free: writing it makes some terminals go on to the next line.
    let room = columns.saturating_sub(1);
    let width = room.saturating_sub(figures.chars().count() + 3).min(40);
    if width < 10 {
        return figures.chars().take(room).collect();
    }
    let share = status.folders as f64 / status.folders_known.max(1) as f64;
    let filled = ((width as f64 * share) as usize).min(width);
    let head = if filled < width { ">" } else { "" };
    format!(
        "[{:<width$}] {figures}",
        format!("{}{head}", "=".repeat(filled))
    )
}

fn time(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// The closing summary.
fn report(summary: &Summary, took: Duration) -> String {
    let contents = &summary.contents;
    let mut text = format!(
        "{}: {}, {}, {}\n{} in {}, {}\n",
        match summary.written {
            true => "the catalog is written",
            false => "the catalog was up to date",
        },
        plural(contents.categories as u64, "category", "categories"),
        plural(contents.courses as u64, "course", "courses"),
        plural(contents.classes as u64, "class", "classes"),
        plural(summary.folders, "folder", "folders"),
        plural(summary.requests, "request", "requests"),
        time(took.as_secs()),
    );
    for trouble in &summary.troubles {
        text.push_str(&format!("not everything could be scanned: {trouble}\n"));
    }
    if contents.cut_short {
        text.push_str("the tree is deeper or larger than a library; a part of it was left out\n");
    }
    if !contents.failed.is_empty() {
        let count = plural(contents.failed.len() as u64, "folder", "folders");
        text.push_str(&format!(
            "{count} could not be listed and stay as they were:\n"
        ));
        for (name, reason) in contents.failed.iter().take(NAMED) {
            text.push_str(&format!("  {}: {reason}\n", printable(name)));
        }
        if contents.failed.len() > NAMED {
            text.push_str(&format!("  and {} more\n", contents.failed.len() - NAMED));
        }
    }
    text
}

/// A folder's name must not steer the terminal.
fn printable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fit() {
        let status = ScanStatus {
            folders: 50,
            folders_known: 100,
            classes: 7,
            requests: 3,
            seconds_left: Some(61),
            ..ScanStatus::default()
        };
        assert_eq!(
            bar(&status, 80),
            "[=========>         ] 50 of 100 folders, 7 classes, 3 requests, 1 min 01 s left"
        );
        for columns in 0..300 {
            assert!(
                bar(&status, columns).chars().count() <= columns.saturating_sub(1),
                "{columns}"
            );
        }
        assert!(bar(&ScanStatus::default(), 80).starts_with("[>    "));
    }

    #[test]
    fn summaries() {
        let mut summary = Summary::default();
        summary.contents.failed = (0..25)
            .map(|n| (format!("F{n}\x1b[2J"), "Refused.".to_owned()))
            .collect();
        let text = report(&summary, Duration::from_secs(3725));
        assert!(text.starts_with("the catalog was up to date: 0 categories, 0 courses, 0 classes\n0 folders in 0 requests, 1 h 02 min\n"));
        assert!(text.contains("  F0\u{fffd}[2J: Refused.\n") && text.ends_with("  and 5 more\n"));
    }
}
