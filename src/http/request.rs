//! A request as a service sees it.
//!
//! Its head was read and validated by `head`; its method comes from `async_h1::server::decode`, which
//! is given a head of our own in memory and never a byte of the client's: it panics on some of those,
//! rewrites others, and loses what follows them. Routes decide on the raw path.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http_types::Method;
use smol::future::FutureExt;
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::error::{Error, Kind, Result};
use crate::http::RequestBody;
use crate::http::head::{Framing, Head};
use crate::http::wire::Wire;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address, an IPv4-mapped one as IPv4.
    pub address: SocketAddr,
}

impl Peer {
    /// The peer at `address`.
    pub fn new(address: SocketAddr) -> Peer {
        Peer {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
        }
    }

    /// Whether the peer is this machine (`127.0.0.0/8`, `::1`, `::ffff:127.0.0.0/104`).
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// A request whose head was read whole and found well-formed.
#[derive(Debug)]
pub struct Request {
    inner: &'static http_types::Request,
    head: Head,
    peer: Peer,
    source: Source,
}

/// Where the body comes from.
#[derive(Debug)]
enum Source {
    Wire(Arc<Wire>, u64),
    Memory(Vec<u8>),
}

impl Request {
    /// The request that `head`, the `number`th of its connection, stands for.
    ///
    /// # Errors
    /// Never but for a fault of ours, for nothing that a client sends reaches `decode`.
    pub(crate) fn new(mut head: Head, wire: Arc<Wire>, number: u64) -> Result<Request> {
        head.join_lists();
        let inner = decode(head.method)?;
        let peer = wire.peer;
        Ok(Request {
            inner,
            head,
            peer,
            source: Source::Wire(wire, number),
        })
    }

    /// A request made in memory, for tests of what answers it. Its Host is `localhost` when `headers` has none, its
    /// peer this machine.
    ///
    /// # Panics
    /// When a connection would have refused it.
    pub fn for_test(method: Method, target: &str, headers: &[(&str, &str)]) -> Request {
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            text.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let made = Head::parse(text.as_bytes()).and_then(|mut head| {
            head.join_lists();
            Ok((decode(head.method)?, head))
        });
        match made {
            Ok((inner, head)) => {
                let peer = Peer {
                    address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                };
                Request {
                    inner,
                    head,
                    peer,
                    source: Source::Memory(Vec::new()),
                }
            }
            Err(error) => panic!("a test made a request that is refused: {error:?}"),
        }
    }

    /// The same with a body, for tests.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.source = Source::Memory(body.into());
        self
    }

    /// The same from another peer, for tests.
    #[must_use]
    pub fn with_peer(mut self, address: SocketAddr) -> Request {
        self.peer = Peer::new(address);
        self
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.inner.method()
    }

    /// The raw path, still percent-encoded, beginning with `/` (or `*` of `OPTIONS *`); of an
    /// absolute-form target its path.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What follows the first `?`, raw.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The host the request names (from an absolute-form target or else the Host header), with its port; `None`
    /// in HTTP/1.0 without one.
    pub fn host(&self) -> Option<&str> {
        self.head.host()
    }

    /// The value of the header `name` (lower case) when it came exactly once, or the values of a
    /// list header joined by commas; bytes that are not UTF-8 are replaced.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Whether the header `name` (lower case) came at all, even so often that [`Request::header`] gives nothing.
    pub fn has(&self, name: &str) -> bool {
        self.head.has(name)
    }

    /// Whether gzip may be sent, and is not liked less than the plain form.
    pub fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding")
            .is_some_and(crate::http::encoding::accepts_gzip)
    }

    /// Who sent it.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What the request says its body is long: `Some(0)` without one, `None` when it is chunked.
    pub fn content_length(&self) -> Option<u64> {
        if let Source::Memory(bytes) = &self.source {
            return Some(bytes.len() as u64);
        }
        match self.head.framing {
            Framing::None => Some(0),
            Framing::Sized(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    /// The body, to be read at most once; `100 Continue` is sent at its first read.
    pub fn body(&mut self) -> RequestBody {
        match &mut self.source {
            Source::Wire(wire, number) => RequestBody::of_wire(wire.clone(), *number),
            Source::Memory(bytes) => RequestBody::of_memory(std::mem::take(bytes)),
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// `payload_too_large` (413) beyond `limit` bytes, without reading further; `malformed_body` and
    /// `body_cut_short` (400), `request_timeout` (408).
    pub async fn read_body(&mut self, limit: u64) -> Result<Vec<u8>> {
        let length = self.content_length();
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        // What the client announces is reserved only as far as it is little; the rest grows as it comes.
        let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(64 * 1024) as usize);
        let mut body = self.body();
        let mut piece = [0; 8 * 1024];
        loop {
            let n = body.read(&mut piece).await.map_err(body_error)?;
            if n == 0 {
                return Ok(bytes);
            }
            if bytes.len() as u64 + n as u64 > limit {
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&piece[..n]);
        }
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::TooLarge,
        "payload_too_large",
        format!(
            "The body of the request is larger than the {limit} bytes that are taken here; send less."
        ),
    )
}

/// What a failure to read the body of a request means.
pub fn body_error(error: io::Error) -> Error {
    let (kind, code, sentence) = match error.kind() {
        io::ErrorKind::InvalidData => (
            Kind::BadRequest,
            "malformed_body",
            "The chunked body of the request is malformed; mend the client.",
        ),
        io::ErrorKind::TimedOut => (
            Kind::Timeout,
            "request_timeout",
            "The body of the request did not come in time; send it again.",
        ),
        _ => (
            Kind::BadRequest,
            "body_cut_short",
            "The body of the request ended before its length; send it again.",
        ),
    };
    Error::new(kind, code, sentence).because(error)
}

/// The methods that are served, each with the head of our own that stands for it.
const HEADS: [(Method, &[u8]); 7] = [
    (Method::Get, b"GET / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Head, b"HEAD / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Options, b"OPTIONS / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Post, b"POST / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Put, b"PUT / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Patch, b"PATCH / HTTP/1.1\r\nhost: rill\r\n\r\n"),
    (Method::Delete, b"DELETE / HTTP/1.1\r\nhost: rill\r\n\r\n"),
];

/// What `decode` makes of the head of our own for `method`.
///
/// The same bytes are the same request, so that each is decoded once: doing it for every request took a
/// twelfth of the time of a 200 KiB answer.
fn decode(method: Method) -> Result<&'static http_types::Request> {
    static DECODED: [OnceLock<Option<http_types::Request>>; HEADS.len()] =
        [const { OnceLock::new() }; HEADS.len()];
    let Some(at) = HEADS.iter().position(|(known, _)| *known == method) else {
        return Err(Error::internal(
            "A method that is not served passed the head.",
        ));
    };
    let decoded = DECODED[at].get_or_init(|| {
        let mut decoding = Box::pin(async_h1::server::decode(Memory(HEADS[at].1)));
        // Memory never waits, so that the first poll is the last.
        match decoding.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Ok(Some((request, _)))) => Some(request),
            _ => None,
        }
    });
    decoded
        .as_ref()
        .ok_or_else(|| Error::internal("A head of our own could not be decoded."))
}

/// A head in memory, as the reader and writer that `decode` wants.
#[derive(Clone)]
struct Memory(&'static [u8]);

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        output: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Read::read(&mut self.0, output))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_test_is_like_one_from_a_socket() {
        let mut request = Request::for_test(
            Method::Post,
            "/a/%2e%2e/b?c=d",
            &[
                ("Accept", "x"),
                ("accept", "y"),
                ("X-One", "1"),
                ("x-one", "2"),
            ],
        )
        .with_body("hello");
        assert_eq!(request.method(), Method::Post);
        assert_eq!(
            (request.path(), request.query()),
            ("/a/%2e%2e/b", Some("c=d"))
        );
        assert_eq!(request.host(), Some("localhost"));
        assert_eq!(
            (request.header("accept"), request.header("x-one")),
            (Some("x, y"), None)
        );
        assert!(request.peer().is_loopback());
        smol::block_on(async {
            assert_eq!(
                request.read_body(4).await.unwrap_err().kind(),
                Kind::TooLarge
            );
            assert_eq!(request.read_body(5).await.unwrap(), b"hello");
        });
        let mapped = Peer::new("[::ffff:127.0.0.1]:9".parse().unwrap());
        assert!(mapped.is_loopback() && mapped.address.is_ipv4());
    }

    #[test]
    fn every_method_is_decoded() {
        use Method::{Delete, Get, Head, Options, Patch, Post, Put};
        for method in [Get, Head, Options, Post, Put, Patch, Delete] {
            assert_eq!(decode(method).unwrap().method(), method);
        }
        assert!(decode(Method::Trace).is_err());
    }
}
