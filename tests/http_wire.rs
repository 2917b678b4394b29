//! The HTTP layer as a client on a raw socket sees it: bytes in, whole answers out.

mod client;
mod server;

mod deadlines;
mod limits;
mod messages;
mod refusals;
mod streams;
