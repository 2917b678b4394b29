//! Bytes in memory that are made once and sent many times, with their gzip twin.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::ETag;
use crate::sys::memory;

/// From this size on bytes are kept in a memfd and sent by `sendfile`: below, copying them into the socket with
/// the head in one call costs less than the second call.
const MEMFD_FROM: usize = 32 * 1024;

/// Bytes in memory with their gzip twin, made once and sent many times.
#[derive(Debug)]
pub struct Bytes {
    plain: Kept,
    gzip: Option<Kept>,
    etag: ETag,
}

/// One form of the bytes.
pub(crate) enum Kept {
    /// In the process.
    Heap(Box<[u8]>),
    /// In a file without a name, and of this length.
    Memfd(File, u64),
}

impl Bytes {
    /// Keeps `plain`, and a gzip twin when that is smaller. It compresses: bytes that are many are
    /// made on the blocking pool.
    pub fn new(plain: Vec<u8>) -> Bytes {
        let etag = tag(&plain);
        let gzip = compress(&plain, Compression::default()).filter(|gzip| gzip.len() < plain.len());
        Bytes {
            plain: Kept::new(plain),
            gzip: gzip.map(Kept::new),
            etag,
        }
    }

    /// Bytes of one answer, packed quickly and only for a client that asks for gzip (`packed`). Their tag is made of
    /// them unless it is known already.
    pub fn once(plain: Vec<u8>, etag: Option<ETag>, packed: bool) -> Bytes {
        let etag = etag.unwrap_or_else(|| tag(&plain));
        let gzip = match packed {
            true => compress(&plain, Compression::fast()).filter(|gzip| gzip.len() < plain.len()),
            false => None,
        };
        Bytes {
            plain: Kept::Heap(plain.into_boxed_slice()),
            gzip: gzip.map(|gzip| Kept::Heap(gzip.into_boxed_slice())),
            etag,
        }
    }

    /// How long the plain form is.
    pub fn len(&self) -> u64 {
        self.plain.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tag of the plain form, made of its content.
    pub fn etag(&self) -> &ETag {
        &self.etag
    }

    /// The gzip twin, when there is one.
    pub(crate) fn gzip(&self) -> Option<&Kept> {
        self.gzip.as_ref()
    }

    /// The form that a `Body::Shared` names; the plain one when there is no twin.
    pub(crate) fn form(&self, gzip: bool) -> &Kept {
        match &self.gzip {
            Some(twin) if gzip => twin,
            _ => &self.plain,
        }
    }

    /// The plain form, copied.
    ///
    /// # Errors
    /// When the kernel does not give back what it keeps.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        self.plain.read(0..self.len())
    }
}

impl Kept {
    fn new(bytes: Vec<u8>) -> Kept {
        if bytes.len() >= MEMFD_FROM {
            match memory::file_of(&bytes) {
                Ok(file) => return Kept::Memfd(file, bytes.len() as u64),
                Err(error) => log::debug!("bytes stay in the process: {error}"),
            }
        }
        Kept::Heap(bytes.into_boxed_slice())
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Kept::Heap(bytes) => bytes.len() as u64,
            Kept::Memfd(_, len) => *len,
        }
    }

    /// A copy of a range, cut at the end.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        match self {
            Kept::Heap(bytes) => Ok(slice(bytes, &range).to_vec()),
            Kept::Memfd(file, len) => {
                let end = range.end.min(*len);
                let start = range.start.min(end);
                let mut bytes = vec![0; (end - start) as usize];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes)
            }
        }
    }
}

/// A range of bytes, cut at their end.
pub(crate) fn slice<'a>(bytes: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let end = usize::try_from(range.end)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
    &bytes[start..end]
}

/// A tag made of content.
fn tag(plain: &[u8]) -> ETag {
    let hash = ring::digest::digest(&ring::digest::SHA256, plain);
    // 128 bits tell any two versions of a thing apart.
    let opaque: String = hash.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ETag::strong(&opaque)
}

fn compress(plain: &[u8], level: Compression) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Heap(bytes) => write!(f, "Heap({})", bytes.len()),
            Kept::Memfd(_, len) => write!(f, "Memfd({len})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn both_forms_are_the_same_bytes_in_either_place() {
        for size in [0, 10, 1000, MEMFD_FROM, 300_000] {
            let plain: Vec<u8> = (0..size).map(|n| b'a' + (n % 7) as u8).collect();
            let bytes = Bytes::new(plain.clone());
            assert_eq!(bytes.len(), size as u64);
            assert_eq!(bytes.to_vec().unwrap(), plain);
            assert_eq!(bytes.plain.read(3..9).unwrap(), slice(&plain, &(3..9)));
            if let Some(gzip) = bytes.gzip() {
                let packed = gzip.read(0..gzip.len()).unwrap();
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(&packed[..])
                    .read_to_end(&mut back)
                    .unwrap();
                assert_eq!(back, plain);
            } else {
                assert!(size <= 10);
            }
        }
        assert_ne!(
            Bytes::new(b"a".to_vec()).etag(),
            Bytes::new(b"b".to_vec()).etag()
        );
    }
}
