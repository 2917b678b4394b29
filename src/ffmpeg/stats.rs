//! What came of live streams, as health tells it. Counted by `ffmpeg::live` alone.

use std::time::{Duration, SystemTime};

/// What is done to the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are copied.
    Copy,
    /// They are encoded anew.
    Reencode,
}

impl Mode {
    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Copy => "copy",
            Mode::Reencode => "reencode",
        }
    }
}

/// What came of live streams since the start.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Asked for, the refused ones too.
    pub requests: u64,
    /// Sent to their end, or to where their viewer left.
    pub successful: u64,
    /// Ended by a failure of ffmpeg or of the source.
    pub failed: u64,
    /// Sent, of all together.
    pub bytes: u64,
    /// The last that ended.
    pub last: Option<Last>,
    /// The last failure: a sentence.
    pub last_error: Option<String>,
}

/// A live stream that ended.
#[derive(Clone, Debug)]
pub struct Last {
    /// What was watched.
    pub reference: String,
    /// How it was made.
    pub mode: Mode,
    /// How long it took.
    pub duration: Duration,
    /// Bytes that were sent of it.
    pub bytes: u64,
    /// When it ended.
    pub at: SystemTime,
}
