//! What happens over time, and nobody waits for.
//!
//! `scan` reads the course tree into the catalog and follows its changes. `queue` holds the [`job`]s that a person or
//! the daemon asked for, and `events` tells all of it to whoever listens.

pub mod events;
pub mod job;
pub mod queue;
pub mod scan;
