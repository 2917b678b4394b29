//! What only the kernel or systemd can do, each in a function small enough to see whole.
//!
//! The only room where `unsafe` is allowed; most of it goes through rustix and needs none.

pub mod descriptors;
pub mod disk;
pub mod executor;
pub(crate) mod memory;
pub mod notify;
pub(crate) mod pages;
pub mod process;
pub(crate) mod reactor;
pub mod signals;
pub(crate) mod socket;
pub mod sockets;
pub mod watch;
