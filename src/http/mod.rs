//! Sockets and HTTP/1.1. Knows nothing of media, Drive or pages.
//!
//! A [`Listener`] accepts, a connection (`conn`) reads one bounded, validated head at a time (`head`), hands a
//! [`Request`] to the [`Service`], and writes the [`Response`] it returns (`send`). What can be sent by range is
//! an [`Entity`], which answers conditionals and ranges by itself.
//!
//! | file | what it is |
//! |---|---|
//! | `listener`, `registry`, `deadlines` | accepting, counting, ending late connections |
//! | `conn`, `wire`, `send` | one connection: its order, its socket, its bytes out |
//! | `head`, `body`, `chunked`, `request` | what comes in; the parsers are pure |
//! | `form`, `parameters` | a form with files in it, as it comes in; pure too |
//! | `respond`, `date` | what goes out |
//! | `entity`, `range`, `conditional`, `etag`, `encoding`, `multipart`, `bytes` | RFC 9110 |

mod body;
mod bytes;
mod chunked;
mod conditional;
mod conn;
pub mod date;
mod deadlines;
mod encoding;
mod entity;
mod etag;
pub mod form;
mod head;
mod listener;
mod multipart;
mod parameters;
mod range;
mod registry;
mod request;
mod respond;
mod send;
mod wire;

#[doc(hidden)]
pub mod fuzz;

pub use body::RequestBody;
pub use bytes::Bytes;
pub use deadlines::Deadlines;
pub use entity::{ByteStream, Chunk, Entity, RangeSource};
pub use etag::ETag;
pub use listener::{Listener, Service, Stats};
pub use multipart::Parts;
pub use request::{Peer, Request, body_error};
pub use respond::{Body, Response};

pub use http_types::{Method, StatusCode};
