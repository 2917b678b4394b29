//! What ffmpeg says of its progress under `-progress pipe:1`: lines of `key=value`, in blocks that end with
//! `progress=continue` or `progress=end`.
//!
//! A pure parser: bytes in, reports out. What is not understood is passed over, for the keys differ between versions.

use std::time::Duration;

/// Longest line that is looked at, in bytes; ffmpeg's are below 40.
const LINE: usize = 256;

/// How far ffmpeg has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Time that was written; zero before the first packet.
    pub out_time: Duration,
    /// How many times faster than it plays; `None` while it is not known.
    pub speed: Option<f64>,
    /// Bytes that were written; `None` where the output has no size.
    pub size: Option<u64>,
    /// It was the last report.
    pub end: bool,
}

/// Reads what comes through the pipe, in pieces of any size.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    report: Report,
}

impl Parser {
    /// Takes a piece; the last report that ended in it.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Report> {
        let mut last = None;
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if let Ok(line) = std::str::from_utf8(&line) {
                        last = self.line(line).or(last);
                    }
                }
                _ if self.line.len() < LINE => self.line.push(byte),
                _ => {}
            }
        }
        last
    }

    fn line(&mut self, line: &str) -> Option<Report> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        match key.trim() {
            // `out_time_ms` counts microseconds as well, and in old versions alone.
            "out_time_us" | "out_time_ms" => {
                // Negative before the first packet, and `N/A` in later versions.
                if let Ok(micros) = value.parse::<i64>() {
                    self.report.out_time = Duration::from_micros(micros.max(0).unsigned_abs());
                }
            }
            "speed" => {
                let speed = value.strip_suffix('x').and_then(|v| v.trim().parse().ok());
                self.report.speed = speed.filter(|s: &f64| s.is_finite() && *s > 0.0);
            }
            "total_size" => self.report.size = value.parse().ok(),
            "progress" => {
                self.report.end = value == "end";
                return Some(self.report.clone());
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "frame=1\nfps=0.00\nbitrate=N/A\ntotal_size=N/A\nout_time_us=-9223372036854775808\n\
                        out_time=-577014:32:22.77\nspeed=N/A\nprogress=continue\nframe=300\ntotal_size=123456\n\
                        out_time_us=12010667\nout_time_ms=12010667\nspeed=4.3e+01x\nprogress=end\n";

    #[test]
    fn blocks_become_reports() {
        let (first, second) = TEXT.split_at(TEXT.find("frame=300").unwrap());
        let mut parser = Parser::default();
        assert_eq!(parser.feed(first.as_bytes()), Some(Report::default()));
        assert_eq!(
            parser.feed(second.as_bytes()),
            Some(Report {
                out_time: Duration::from_micros(12_010_667),
                speed: Some(43.0),
                size: Some(123_456),
                end: true,
            })
        );
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_say_the_same(cuts in prop::collection::vec(0..TEXT.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, TEXT.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut last = None;
            for pair in cuts.windows(2) {
                last = parser.feed(&TEXT.as_bytes()[pair[0]..pair[1]]).or(last);
            }
            prop_assert_eq!(last, Parser::default().feed(TEXT.as_bytes()));
        }

        #[test]
        fn nonsense_is_passed_over(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut parser = Parser::default();
            parser.feed(&bytes);
            prop_assert!(parser.line.len() <= LINE);
        }
    }
}
