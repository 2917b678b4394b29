//! What the fake Drive saw and sent: a line per request, growing while its body flows.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use super::fault::Kind;

/// A request as tests look at it.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its head was read.
    pub at: Instant,
    /// Kind.
    pub kind: Kind,
    /// Method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The raw query.
    pub query: String,
    /// Id of the file it names.
    pub id: Option<String>,
    /// `Range`.
    pub range: Option<String>,
    /// `Accept-Encoding`.
    pub accept_encoding: Option<String>,
    /// `Host`.
    pub host: Option<String>,
    /// An `Authorization` header came with it.
    pub authorized: bool,
    /// Number of its connection, from 1.
    pub connection: usize,
    /// Status answered; 0 before.
    pub status: u16,
    /// Bytes of body handed to the connection so far.
    pub sent: u64,
    /// Nothing more will be sent: the body is whole, was cut, or the client left.
    pub ended: bool,
}

pub(super) struct Record {
    pub(super) first: Request,
    pub(super) status: AtomicU16,
    pub(super) sent: AtomicU64,
    pub(super) ended: AtomicBool,
}

impl Record {
    pub(super) fn new(first: Request) -> Record {
        Record {
            first,
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> Request {
        Request {
            status: self.status.load(Ordering::Acquire),
            sent: self.sent.load(Ordering::Acquire),
            ended: self.ended.load(Ordering::Acquire),
            ..self.first.clone()
        }
    }
}
