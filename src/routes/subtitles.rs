//! Subtitles as WebVTT: made one at a time, and shared by all who are being sent them.
//!
//! A conversion takes up to some hundred MiB for a moment (the largest file, in the worst encoding, with its gzip
//! twin), and what comes of it stays as long as its slowest reader. A crowd of readers, or of files that are none,
//! costs no more than one: whoever leaves while it is made does not make room for the next before it is done.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use smol::lock::Mutex;

use crate::error::{Error, Kind, Result};
use crate::http::{Bytes, Entity};
use crate::media::subtitle;
use crate::web::figure;

/// The type of what is made.
const VTT: &str = "text/vtt; charset=utf-8";

/// What is being sent to somebody, by what it was made of.
#[derive(Debug, Default)]
pub struct Subtitles {
    /// Held while one is made.
    made: Arc<Mutex<HashMap<String, Weak<Bytes>>>>,
}

impl Subtitles {
    /// The WebVTT of the file that `read` reads, SubRip or WebVTT already; `stamp` changes whenever the file does.
    /// `read` is called on the blocking pool, and only when nobody is being sent the same.
    pub(super) async fn entity(
        &self,
        stamp: String,
        read: impl FnOnce() -> Result<Vec<u8>> + Send + 'static,
    ) -> Result<Entity> {
        let mut made = self.made.clone().lock_arc().await;
        let bytes = match made.get(&stamp).and_then(Weak::upgrade) {
            Some(bytes) => bytes,
            None => {
                // The lock goes along: it is held to the end of the work, also when nobody waits for that any more.
                smol::unblock(move || -> Result<Arc<Bytes>> {
                    let bytes = Arc::new(Bytes::new(vtt(read()?)?));
                    made.retain(|_, bytes| bytes.strong_count() > 0);
                    made.insert(stamp, Arc::downgrade(&bytes));
                    Ok(bytes)
                })
                .await?
            }
        };
        Ok(Entity::bytes(bytes, VTT))
    }
}

fn vtt(text: Vec<u8>) -> Result<Vec<u8>> {
    if text.len() as u64 > subtitle::LARGEST {
        return Err(too_large());
    }
    // A mark before the signature is allowed (W3C WebVTT section 4.1).
    match text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text) {
        vtt if vtt.starts_with(b"WEBVTT") => Ok(text),
        _ => Ok(subtitle::srt_to_vtt(&text)),
    }
}

/// The refusal of a subtitle file that is probably none.
pub(super) fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "subtitle_too_large",
        format!(
            "Subtitles above {} are not converted; this file is probably none.",
            figure::bytes(subtitle::LARGEST)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn readers_at_the_same_time_share_one_conversion() {
        let subtitles = Subtitles::default();
        let read = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let read = read.clone();
            subtitles.entity("a".to_owned(), move || {
                read.fetch_add(1, Ordering::SeqCst);
                Ok(b"1\n0:0:1 --> 0:0:2\nx".to_vec())
            })
        };
        smol::block_on(async {
            let both = smol::future::zip(ask(), ask()).await;
            assert!(both.0.is_ok() && both.1.is_ok());
            assert_eq!(read.load(Ordering::SeqCst), 1);
            drop(both);
            assert!(ask().await.is_ok());
            assert_eq!(read.load(Ordering::SeqCst), 2);
        });
    }
}
