//! What can be sent by range: a file, bytes in memory, or a stream that can be opened at an offset.
//!
//! The owner of the bytes says what they are; this file owns the protocol (RFC 9110 sections 8, 13
//! and 14): validators, conditionals, ranges, multipart answers. It reads no socket.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use http_types::{Method, StatusCode};
use smol::future::Boxed;

use crate::error::Result;
use crate::http::conditional::{Outcome, Preconditions, Validators};
use crate::http::multipart::{Frame, PartSource, Parts, RemoteParts};
use crate::http::range::{self, ResolvedRanges};
use crate::http::{Body, Bytes, ETag, Request, Response, date};

/// A piece of a streamed body; giving it back to its pool is its `Drop`.
pub type Chunk = Box<dyn AsRef<[u8]> + Send + Sync>;

/// A body that arrives piece by piece.
///
/// The next piece is asked for only after the client took the one before (back-pressure); dropping
/// the stream is how its source learns that the client is gone.
pub trait ByteStream: Send {
    /// The next piece, `None` after the last. An error ends the connection without a clean end of
    /// the body, so that no client takes a part for the whole.
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>>;
}

/// Something of known length that can be read from any offset, such as a file on Drive.
pub trait RangeSource: Send + Sync {
    /// Opens exactly `range`. It resolves once the first bytes are certain, so that a refusal still
    /// becomes a status; the stream then yields exactly `range.end - range.start` bytes or an error.
    fn open(&self, range: Range<u64>) -> Boxed<Result<Box<dyn ByteStream>>>;
}

/// What is sent: its type, its validators, its bytes.
pub struct Entity {
    source: Source,
    len: u64,
    etag: ETag,
    /// Seconds since 1970.
    modified: Option<u64>,
    content_type: String,
    headers: Vec<(&'static str, String)>,
    /// It has a gzip twin for those who ask, though this answer may be made without.
    varies: bool,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    /// A file and its gzip twin with its length, as soon as that is made.
    Twins(Arc<File>, Option<(Arc<File>, u64)>),
    Bytes(Arc<Bytes>),
    Remote(Arc<dyn RangeSource>),
}

impl Entity {
    /// A local file, opened and known to be regular; `len` and `modified` are from its `fstat`.
    /// The tag is made of inode, length and time.
    ///
    /// # Errors
    /// When `fstat` fails.
    pub fn file(file: Arc<File>, content_type: &str) -> io::Result<Entity> {
        let metadata = file.metadata()?;
        Ok(Entity::known_file(file, &metadata, content_type))
    }

    /// As [`Entity::file`], of a file whose `fstat` was just made.
    pub fn known_file(file: Arc<File>, metadata: &Metadata, content_type: &str) -> Entity {
        let etag = ETag::strong(&format!(
            "{:x}-{:x}-{:x}.{:x}",
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ));
        let modified = metadata.modified().ok();
        let source = Source::File(file);
        Entity::new(source, metadata.len(), etag, modified, content_type)
    }

    /// A file whose tag is known otherwise, and the file that holds its gzip twin, which those who accept gzip are sent
    /// under a tag of its own. Neither may change while it is here.
    ///
    /// # Errors
    /// When `fstat` fails.
    pub fn file_with_gzip(
        file: Arc<File>,
        gzip: Option<Arc<File>>,
        etag: ETag,
        modified: Option<SystemTime>,
        content_type: &str,
    ) -> io::Result<Entity> {
        let len = file.metadata()?.len();
        let gzip = match gzip {
            Some(gzip) => {
                let len = gzip.metadata()?.len();
                Some((gzip, len))
            }
            None => None,
        };
        let source = Source::Twins(file, gzip);
        Ok(Entity::new(source, len, etag, modified, content_type))
    }

    /// Bytes in memory; the gzip twin is sent to those who accept it, under a tag of its own.
    pub fn bytes(bytes: Arc<Bytes>, content_type: &str) -> Entity {
        let (len, etag) = (bytes.len(), bytes.etag().clone());
        Entity::new(Source::Bytes(bytes), len, etag, None, content_type)
    }

    /// A source that is opened by range.
    pub fn remote(
        source: Arc<dyn RangeSource>,
        len: u64,
        etag: ETag,
        modified: Option<SystemTime>,
        content_type: &str,
    ) -> Entity {
        Entity::new(Source::Remote(source), len, etag, modified, content_type)
    }

    fn new(
        source: Source,
        len: u64,
        etag: ETag,
        modified: Option<SystemTime>,
        content_type: &str,
    ) -> Entity {
        Entity {
            source,
            len,
            etag,
            modified: modified.and_then(date::seconds),
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            varies: false,
        }
    }

    /// Says that there is a gzip twin for those who ask, though it was not made for this answer.
    #[must_use]
    pub fn varying(mut self) -> Entity {
        self.varies = true;
        self
    }

    /// Adds a header to every answer made of this entity (`Cache-Control`, `Content-Disposition`).
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Entity {
        self.headers.push((name, value.into()));
        self
    }

    /// Puts something between a source that is opened by range, whose length it is told, and its readers; other
    /// sources stay as they are.
    #[must_use]
    pub fn through(
        mut self,
        wrap: impl FnOnce(Arc<dyn RangeSource>, u64) -> Arc<dyn RangeSource>,
    ) -> Entity {
        if let Source::Remote(source) = self.source {
            self.source = Source::Remote(wrap(source, self.len));
        }
        self
    }

    /// Says when bytes in memory were last made, for Last-Modified.
    #[must_use]
    pub fn modified(mut self, modified: SystemTime) -> Entity {
        self.modified = date::seconds(modified);
        self
    }

    /// Answers a GET or HEAD: 200, 206, 304, 412 or 416. A HEAD opens nothing.
    ///
    /// # Errors
    /// What a [`RangeSource`] refuses with.
    pub async fn respond(self, request: &Request) -> Result<Response> {
        self.respond_at(request, date::now()).await
    }

    /// The steps of RFC 9110 section 13.2.2, in their order.
    async fn respond_at(mut self, request: &Request, now: u64) -> Result<Response> {
        // Section 14.2: Range is defined for GET alone.
        let range = request
            .header("range")
            .filter(|_| request.method() == Method::Get);
        // A range counts bytes of the plain form, so that it is never of the gzip twin.
        let gzip = range.is_none() && self.sends_gzip(request);
        if gzip {
            self.etag = self.etag.with_suffix("-gz");
            match &self.source {
                Source::Bytes(bytes) => self.len = bytes.form(true).len(),
                Source::Twins(_, Some((_, len))) => self.len = *len,
                _ => {}
            }
        }
        // Section 8.8.2.1: Last-Modified is never later than Date.
        self.modified = self.modified.map(|modified| modified.min(now));
        let fields = Preconditions {
            if_match: request.header("if-match"),
            if_none_match: request.header("if-none-match"),
            if_modified_since: request.header("if-modified-since"),
            if_unmodified_since: request.header("if-unmodified-since"),
            if_range: request.header("if-range"),
        };
        let validators = Validators {
            etag: &self.etag,
            modified: self.modified,
        };
        match fields.evaluate(validators, now) {
            Outcome::Proceed => {}
            Outcome::NotModified => return Ok(self.not_modified()),
            Outcome::Failed => return Ok(self.failed()),
        }
        let ranges = match range.filter(|_| fields.range_applies(validators)) {
            Some(field) => range::resolve(field, self.len),
            None => ResolvedRanges::None,
        };
        match ranges {
            ResolvedRanges::None => self.whole(request, gzip).await,
            ResolvedRanges::NotSatisfiable => Ok(self.not_satisfiable()),
            ResolvedRanges::Satisfiable(ranges) => self.partial(ranges).await,
        }
    }

    fn has_twin(&self) -> bool {
        match &self.source {
            Source::Bytes(bytes) => bytes.gzip().is_some(),
            Source::Twins(_, twin) => twin.is_some(),
            Source::File(_) | Source::Remote(_) => false,
        }
    }

    /// Whether the answer depends on what the client accepts, now or once the twin is made.
    fn varies(&self) -> bool {
        self.varies || self.has_twin() || matches!(self.source, Source::Twins(..))
    }

    fn sends_gzip(&self, request: &Request) -> bool {
        self.has_twin() && request.accepts_gzip()
    }

    async fn whole(self, request: &Request, gzip: bool) -> Result<Response> {
        let mut response = self.described(StatusCode::Ok);
        response
            .headers
            .push(("content-type", self.content_type.clone()));
        if gzip {
            response
                .headers
                .push(("content-encoding", "gzip".to_owned()));
        }
        if request.method() == Method::Head {
            return Ok(response.length(self.len));
        }
        response.body = match self.source {
            Source::Twins(_, Some((twin, _))) if gzip => Body::File(twin, 0..self.len),
            Source::File(file) | Source::Twins(file, _) => Body::File(file, 0..self.len),
            Source::Bytes(bytes) => Body::Shared(bytes, gzip, 0..self.len),
            // Nothing is opened to send nothing.
            Source::Remote(_) if self.len == 0 => Body::Empty,
            Source::Remote(source) => Body::Stream(source.open(0..self.len).await?, Some(self.len)),
        };
        Ok(response)
    }

    async fn partial(self, mut ranges: Vec<Range<u64>>) -> Result<Response> {
        let mut response = self.described(StatusCode::PartialContent);
        if ranges.len() > 1 {
            let frame = Frame::new(ranges, self.len, &self.content_type)?;
            response
                .headers
                .push(("content-type", frame.content_type.clone()));
            response.body = match self.source {
                Source::File(file) | Source::Twins(file, _) => Body::Parts(Box::new(Parts {
                    frame,
                    source: PartSource::File(file),
                })),
                Source::Bytes(bytes) => Body::Parts(Box::new(Parts {
                    frame,
                    source: PartSource::Bytes(bytes),
                })),
                Source::Remote(source) => {
                    let len = frame.len();
                    Body::Stream(Box::new(RemoteParts::open(source, frame).await?), Some(len))
                }
            };
            return Ok(response);
        }
        // `resolve` gives no empty list; an empty range of the start would be the harmless reading of one.
        let range = ranges.pop().unwrap_or(0..0);
        let content_range = format!(
            "bytes {}-{}/{}",
            range.start,
            range.end.saturating_sub(1),
            self.len
        );
        response.headers.push(("content-type", self.content_type));
        response.headers.push(("content-range", content_range));
        response.body = match self.source {
            Source::File(file) | Source::Twins(file, _) => Body::File(file, range),
            Source::Bytes(bytes) => Body::Shared(bytes, false, range),
            Source::Remote(source) => {
                let len = range.end - range.start;
                Body::Stream(source.open(range).await?, Some(len))
            }
        };
        Ok(response)
    }

    /// Section 15.4.5: what a 200 would have said, as far as a cache needs it.
    fn not_modified(&self) -> Response {
        let mut response = self.validated(StatusCode::NotModified);
        let kept = ["cache-control", "content-location", "expires", "vary"];
        for (name, value) in &self.headers {
            if kept.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                response.headers.push((name, value.clone()));
            }
        }
        response
    }

    fn failed(&self) -> Response {
        refusal(
            self.validated(StatusCode::PreconditionFailed),
            "precondition_failed",
            "It has changed since the version that the request names; load it again.",
        )
    }

    /// Section 15.5.17: the length is said, so that the client can ask for what there is.
    fn not_satisfiable(&self) -> Response {
        let response = self
            .validated(StatusCode::RequestedRangeNotSatisfiable)
            .header("accept-ranges", "bytes")
            .header("content-range", format!("bytes */{}", self.len));
        refusal(
            response,
            "range_not_satisfiable",
            "The range lies beyond the end; ask for bytes that are there.",
        )
    }

    /// An answer with the validators, and with Vary when the coding was chosen.
    fn validated(&self, status: StatusCode) -> Response {
        let mut response = Response::new(status);
        response.headers.reserve(8 + self.headers.len());
        response
            .headers
            .push(("etag", self.etag.as_str().to_owned()));
        if let Some(modified) = self.modified {
            response
                .headers
                .push(("last-modified", date::format(modified)));
        }
        if self.varies() {
            response
                .headers
                .push(("vary", "Accept-Encoding".to_owned()));
        }
        response
    }

    /// An answer with all that is said of the entity but its type, which parts have each.
    fn described(&self, status: StatusCode) -> Response {
        let mut response = self.validated(status);
        response.headers.push(("accept-ranges", "bytes".to_owned()));
        response.headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (*name, value.clone())),
        );
        response
    }
}

/// The form of every error (design section 8). Both sentences are ours and need no escaping.
fn refusal(response: Response, code: &str, detail: &str) -> Response {
    let text = format!("{{\"error\":\"{code}\",\"detail\":\"{detail}\"}}");
    response.body(
        "application/json; charset=utf-8",
        Body::Text(text.into_bytes()),
    )
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::File(_) => "file",
            Source::Twins(..) => "file with gzip twin",
            Source::Bytes(_) => "bytes",
            Source::Remote(_) => "remote",
        };
        f.debug_struct("Entity")
            .field("source", &source)
            .field("len", &self.len)
            .field("etag", &self.etag)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
