//! What the tests stand on.
//!
//! - `daemon`: the real program as a child, over a temporary folder, killed when the test ends
//! - `client`: HTTP/1.1 by hand over one socket, so that a test sees each byte and decides when to read it
//! - `drive`: Google Drive and its token endpoint on loopback, with faults on demand
//! - `catalog`: files that list courses, of any size
//! - `course_tree`: course trees of any size, for the fake Drive and as a local folder
//! - `scan`: scans of such trees, and the catalogs that they write
//! - `disk`: a disk of a few megabytes, to be filled
//! - `media`: films and music of every kind, made once by ffmpeg
//! - `events`: a reader of server-sent events
//! - `processes`: what a daemon has started, and whether it has ended
//! - `browser`: headless Chromium, driven over its debugging protocol
//! - `keys/`: the fake's CA, its certificate, and the key pair of a service account; good for nothing else

#![allow(
    dead_code,
    reason = "not every helper has a user in every state of the tests"
)]

pub mod browser;
pub mod catalog;
pub mod client;
pub mod course_tree;
pub mod daemon;
pub mod disk;
pub mod drive;
pub mod events;
pub mod media;
pub mod processes;
pub mod scan;
