//! What happens over time, and nobody waits for.
//!
//! `scan` reads the course tree into the catalog and follows its changes.

pub mod scan;
