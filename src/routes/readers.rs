//! What our own programs read: the bytes of files, at an address of their own on loopback.
//!
//! Nothing but what a token names is answered, so that the rules for viewers need not hold here. What a program does
//! not get is noted beside its token, for it would only say that the input ended.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use smol::future::Boxed;
use smol::lock::Mutex;

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::loopback::{self, Reading};
use crate::http::{Body, ByteStream, Chunk, Method, RangeSource, Request, Response, Service};
use crate::routes::{App, Route, catalog, error_response, videos};

/// Serves the programs of an [`App`].
#[derive(Debug)]
pub struct Readers(pub Arc<App>);

impl Readers {
    async fn answer(&self, request: &Request, reading: &Arc<Reading>) -> Result<Response> {
        match Route::decode(request.path()) {
            Route::DriveFile(id) => {
                let entity = self.0.drive.open(&id, false).await?.entity;
                let headed = |source, length| {
                    let reading = reading.clone();
                    Arc::new(Headed {
                        source,
                        length,
                        reading,
                    }) as Arc<dyn RangeSource>
                };
                entity.through(headed).respond(request).await
            }
            Route::Video(path) => videos::file(&self.0, request, &path).await,
            Route::CourseFile(path) => catalog::file(&self.0, request, &path).await,
            _ => Err(forbidden()),
        }
    }
}

impl Service for Readers {
    async fn call(&self, request: &mut Request) -> Response {
        let token = request.header(loopback::HEADER);
        let reads = matches!(request.method(), Method::Get | Method::Head);
        let reading = self.0.loopback.admits(token, request.path());
        let Some(reading) = reading.filter(|_| reads) else {
            return error_response(None, &forbidden());
        };
        match self.answer(request, &reading).await {
            Ok(mut response) => {
                if let Body::Stream(stream, length) = response.body {
                    let stream = Box::new(Noted { stream, reading });
                    response.body = Body::Stream(stream, length);
                }
                response
            }
            Err(error) => {
                let response = error_response(None, &error);
                reading.failed(error);
                response
            }
        }
    }

    fn refuse(&self, error: Error) -> Response {
        error_response(None, &error)
    }
}

fn forbidden() -> Error {
    Error::new(
        Kind::Forbidden,
        "readers_only",
        "This address is for the daemon's own programs; use the one that the log names.",
    )
}

/// A stream whose failure is noted.
struct Noted {
    stream: Box<dyn ByteStream>,
    reading: Arc<Reading>,
}

impl ByteStream for Noted {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        let next = self.stream.next();
        let reading = self.reading.clone();
        Box::pin(async move {
            next.await.inspect_err(|error| {
                let error = Error::new(
                    Kind::BadGateway,
                    "source_failed",
                    format!("The file broke off while it was read ({error}); try again."),
                );
                reading.failed(error);
            })
        })
    }
}

/// Bytes at the beginning of a file on Drive that are fetched in one piece and kept: as many as Drive's own cache keeps
/// of an end of a file.
const HEAD: u64 = 1024 * 1024;

/// Bytes after the head that are asked for by themselves: who only looks into a file has seen enough by then, and
/// nothing beyond is fetched ahead of it.
const STEP: u64 = HEAD + HEAD / 4;

/// A file on Drive whose beginning is fetched once. A program opens it, looks at its end, and comes back; each time it
/// asks for all that follows, and each time Drive would be asked anew.
struct Headed {
    source: Arc<dyn RangeSource>,
    length: u64,
    reading: Arc<Reading>,
}

impl RangeSource for Headed {
    fn open(&self, range: Range<u64>) -> Boxed<Result<Box<dyn ByteStream>>> {
        let end = self.length.min(HEAD);
        let source = self.source.clone();
        if range.start >= end {
            return source.open(range);
        }
        let reading = self.reading.clone();
        Box::pin(async move {
            let head = reading
                .head()
                .get_or_try_init(|| gather(source.open(0..end)))
                .await?
                .clone();
            let from = usize::try_from(range.start).unwrap_or(usize::MAX);
            let to = usize::try_from(range.end)
                .unwrap_or(usize::MAX)
                .min(head.len());
            let rest = (range.end > end).then_some(end..range.end);
            let first = (from < to).then_some(Slice(head, from..to));
            Ok(Box::new(HeadedStream(Arc::new(Mutex::new(Parts {
                first,
                rest,
                source,
                stream: None,
            })))) as Box<dyn ByteStream>)
        })
    }
}

async fn gather(stream: Boxed<Result<Box<dyn ByteStream>>>) -> Result<Arc<Vec<u8>>> {
    let mut stream = stream.await?;
    let mut bytes = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(chunk)) => bytes.extend_from_slice((*chunk).as_ref()),
            Ok(None) => return Ok(Arc::new(bytes)),
            Err(error) => {
                return Err(Error::new(
                    Kind::BadGateway,
                    "source_failed",
                    format!("The file broke off while it was read ({error}); try again."),
                ));
            }
        }
    }
}

struct Slice(Arc<Vec<u8>>, Range<usize>);

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.0.get(self.1.clone()).unwrap_or_default()
    }
}

struct Parts {
    first: Option<Slice>,
    /// What follows; opened when the beginning has been taken.
    rest: Option<Range<u64>>,
    source: Arc<dyn RangeSource>,
    stream: Option<Box<dyn ByteStream>>,
}

struct HeadedStream(Arc<Mutex<Parts>>);

impl ByteStream for HeadedStream {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        let parts = self.0.clone();
        Box::pin(async move {
            let mut parts = parts.lock().await;
            if let Some(first) = parts.first.take() {
                return Ok(Some(Box::new(first) as Chunk));
            }
            loop {
                if let Some(stream) = &mut parts.stream {
                    if let Some(chunk) = stream.next().await? {
                        return Ok(Some(chunk));
                    }
                }
                let Some(rest) = parts.rest.take() else {
                    return Ok(None);
                };
                let step = match parts.stream {
                    None if rest.end - rest.start > STEP => rest.start..rest.start + STEP,
                    _ => rest.clone(),
                };
                parts.rest = (step.end < rest.end).then_some(step.end..rest.end);
                let stream = parts.source.open(step).await;
                parts.stream = Some(stream.map_err(|error| io::Error::other(error.chain()))?);
            }
        })
    }
}
