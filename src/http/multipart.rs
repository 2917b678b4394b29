//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 section 14.6).
//!
//! The length is known before the first byte, and no part is gathered: files and memory are sent slice
//! by slice, a remote source is opened range by range.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use smol::future::Boxed;
use smol::lock::Mutex;

use crate::error::{Error, Result};
use crate::http::{ByteStream, Bytes, Chunk, RangeSource};
use crate::sys::memory;

/// The frame around the parts: what stands before each, and after the last.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) content_type: String,
    parts: Vec<(Vec<u8>, Range<u64>)>,
    tail: Vec<u8>,
}

impl Frame {
    /// Frames `ranges` of a representation of `len` bytes.
    ///
    /// # Errors
    /// When the kernel has no randomness.
    pub(crate) fn new(ranges: Vec<Range<u64>>, len: u64, content_type: &str) -> Result<Frame> {
        let random = memory::random()
            .map_err(|error| Error::internal("The kernel gave no randomness.").because(error))?;
        let boundary: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = ranges
            .into_iter()
            .enumerate()
            .map(|(n, range)| {
                let before = if n == 0 { "" } else { "\r\n" };
                let head = format!(
                    "{before}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {}-{}/{len}\r\n\r\n",
                    range.start,
                    range.end - 1,
                );
                (head.into_bytes(), range)
            })
            .collect();
        Ok(Frame {
            content_type: format!("multipart/byteranges; boundary={boundary}"),
            parts,
            tail: format!("\r\n--{boundary}--\r\n").into_bytes(),
        })
    }

    /// The whole body, in bytes.
    pub(crate) fn len(&self) -> u64 {
        let parts = self
            .parts
            .iter()
            .map(|(head, range)| head.len() as u64 + (range.end - range.start));
        parts.sum::<u64>() + self.tail.len() as u64
    }
}

/// Slices of something that is here, to be sent as parts.
#[derive(Debug)]
pub struct Parts {
    pub(crate) frame: Frame,
    pub(crate) source: PartSource,
}

/// What the parts are slices of.
#[derive(Debug)]
pub(crate) enum PartSource {
    File(Arc<File>),
    Bytes(Arc<Bytes>),
}

impl Parts {
    pub(crate) fn len(&self) -> u64 {
        self.frame.len()
    }

    /// What is sent before each slice, and the slice.
    pub(crate) fn parts(&self) -> &[(Vec<u8>, Range<u64>)] {
        &self.frame.parts
    }

    /// What is sent last.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.frame.tail
    }
}

/// Parts of a remote source, one opened after the other.
pub(crate) struct RemoteParts(Arc<Mutex<Remote>>);

struct Remote {
    source: Arc<dyn RangeSource>,
    open: Option<Box<dyn ByteStream>>,
    parts: std::vec::IntoIter<(Vec<u8>, Range<u64>)>,
    /// The range whose head was given, and which is opened next.
    next: Option<Range<u64>>,
    tail: Option<Vec<u8>>,
}

impl RemoteParts {
    /// Opens the first range already, so that a refusal still becomes a status.
    ///
    /// # Errors
    /// What the source refuses with.
    pub(crate) async fn open(source: Arc<dyn RangeSource>, frame: Frame) -> Result<RemoteParts> {
        let mut parts = frame.parts.into_iter();
        let mut remote = Remote {
            source,
            open: None,
            parts: Vec::new().into_iter(),
            next: None,
            tail: Some(frame.tail),
        };
        if let Some((head, range)) = parts.next() {
            let stream = remote.source.open(range).await?;
            remote.open = Some(Box::new(Headed {
                head: Some(head),
                stream,
            }));
        }
        remote.parts = parts;
        Ok(RemoteParts(Arc::new(Mutex::new(remote))))
    }
}

/// A stream with bytes before it.
struct Headed {
    head: Option<Vec<u8>>,
    stream: Box<dyn ByteStream>,
}

impl ByteStream for Headed {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        match self.head.take() {
            Some(head) => Box::pin(async move { Ok(Some(Box::new(head) as Chunk)) }),
            None => self.stream.next(),
        }
    }
}

impl ByteStream for RemoteParts {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        let remote = self.0.clone();
        Box::pin(async move {
            let mut remote = remote.lock().await;
            if let Some(range) = remote.next.take() {
                let opened = remote.source.open(range).await;
                remote.open = Some(opened.map_err(|error| io::Error::other(error.to_string()))?);
            }
            if let Some(stream) = &mut remote.open {
                if let Some(chunk) = stream.next().await? {
                    return Ok(Some(chunk));
                }
                remote.open = None;
            }
            match remote.parts.next() {
                Some((head, range)) => {
                    remote.next = Some(range);
                    Ok(Some(Box::new(head) as Chunk))
                }
                None => Ok(remote.tail.take().map(|tail| Box::new(tail) as Chunk)),
            }
        })
    }
}

impl fmt::Debug for RemoteParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteParts")
    }
}
