//! What happens over time, and nobody waits for.
//!
//! ```text
//! job      what is to be done, and how it stands      queue    all jobs, in memory and on the disk
//! events   what happens, told to whoever listens      runner   does the jobs, a few at a time
//! attempt  one run of ffmpeg, watched                 part     the file that it writes
//! plan     which streams become what (pure)           convert, repair, poster   the three kinds of work
//! gallery  looks after the folder of videos           scan     reads the course tree into the catalog
//! intake   takes in what is uploaded                  resumable   uploads that go on where they broke off
//! ```

mod attempt;
mod convert;
pub mod events;
pub mod gallery;
pub mod intake;
pub mod job;
mod part;
mod plan;
pub mod poster;
pub mod queue;
pub mod repair;
pub mod resumable;
pub mod runner;
pub mod scan;

pub use attempt::Watched;
