//! The figures the Drive part works with, each with its unit and its reason.
//!
//! They are parameters, so that a test of a ten-second stall need not last ten seconds; the daemon
//! runs with [`Tuning::default`].

use std::time::Duration;

/// Limits in bytes and times. Every field has a default that suits a Raspberry Pi on a home line.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes of one piece of a stream. Two exist per stream (one with the client, one read ahead); with
    /// [`Tuning::receive_buffer`] a stream stays below 1 MiB. Smaller ones cost more wake-ups, larger ones
    /// leave the processor's cache: of 64 KiB to 1 MiB this was the fastest.
    pub chunk: usize,
    /// How long a piece that is not full waits for more once it holds a byte: long enough that a slow
    /// line does not make many tiny pieces, too short for a viewer to notice.
    pub linger: Duration,
    /// Bytes asked of the kernel for a connection's receive buffer. What a paused stream holds in the
    /// kernel is bounded by it; Linux caps it at `net.core.rmem_max`.
    pub receive_buffer: usize,
    /// Bytes of the first upstream range of a stream: small, since most first reads are probes.
    pub first_range: u64,
    /// Bytes of the ranges of a settled stream, reached in steps of four.
    pub usual_range: u64,
    /// Bytes of the largest range; only reached by a stream that empties a range in less than
    /// [`Tuning::hurried`].
    pub largest_range: u64,
    /// A range read faster than this makes the next one larger: above 27 downloads a second Google refuses.
    pub hurried: Duration,
    /// The next range is asked for when this many bytes of the current one are unread.
    pub overlap: u64,
    /// A rest of an abandoned range up to this many bytes is read, and its connection kept.
    pub drain: u64,
    /// Without a byte for this long an upstream counts as stalled.
    pub stall: Duration,
    /// Longest wait for a name to resolve.
    pub resolve: Duration,
    /// Longest wait for a connection, TLS included.
    pub connect: Duration,
    /// Connections unused for longer are closed. Longer than a viewer thinks before the next seek;
    /// Google closes after four minutes.
    pub idle: Duration,
    /// How long metadata and folder listings are believed.
    pub believe: Duration,
    /// How long a refusal is: enough for those who ask at the same time.
    pub believe_refusal: Duration,
    /// Files whose metadata are kept.
    pub entries: usize,
    /// A credentials file is looked at again after this long.
    pub recheck: Duration,
    /// A token is replaced when it has less than this to live, or a quarter of its life.
    pub token_margin: Duration,
    /// Bytes of the disk for the first and last bytes of films.
    pub blocks: u64,
    /// From a viewer's request to the first byte of a file or the reason why there is none: metadata, those of a
    /// shortcut's target and the bytes together. Players give up after 30 s.
    pub opening: Duration,
    /// How playback, seeks, metadata and scans retry.
    pub lanes: Lanes,
}

/// How each lane retries.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// A file is opened at its beginning, or opened again in mid-stream.
    pub playback: Policy,
    /// A file is opened elsewhere.
    pub seek: Policy,
    /// What a page or an opener needs to know first.
    pub metadata: Policy,
    /// Listings that nobody waits for.
    pub scan: Policy,
}

/// How one lane retries.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Upper bound of the first delay; doubled for each further one.
    pub base: Duration,
    /// Upper bound of any delay.
    pub cap: Duration,
    /// Tries in all.
    pub attempts: u32,
    /// From the first try to the last answer.
    pub deadline: Duration,
}

impl Default for Tuning {
    fn default() -> Tuning {
        let mib = 1024 * 1024;
        Tuning {
            chunk: 128 * 1024,
            linger: Duration::from_millis(50),
            receive_buffer: 512 * 1024,
            first_range: mib,
            usual_range: 16 * mib,
            largest_range: 64 * mib,
            hurried: Duration::from_secs(1),
            overlap: 512 * 1024,
            drain: 16 * 1024,
            stall: Duration::from_secs(10),
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(100),
            believe: Duration::from_secs(300),
            believe_refusal: Duration::from_secs(2),
            entries: 1024,
            recheck: Duration::from_secs(3),
            token_margin: Duration::from_secs(60),
            blocks: 256 * mib,
            opening: Duration::from_secs(25),
            lanes: Lanes::default(),
        }
    }
}

impl Default for Lanes {
    fn default() -> Lanes {
        let lane = |base, cap, attempts, deadline| Policy {
            base: Duration::from_millis(base),
            cap: Duration::from_secs(cap),
            attempts,
            deadline: Duration::from_secs(deadline),
        };
        Lanes {
            playback: lane(250, 4, 5, 25),
            seek: lane(150, 3, 5, 20),
            metadata: lane(250, 4, 5, 20),
            scan: lane(1000, 60, 8, 300),
        }
    }
}
