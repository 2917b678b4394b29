//! A body into a sink: a piece is gathered while the one before is written.

use std::io;

use smol::io::{AsyncRead, AsyncReadExt};

use crate::error::Result;
use crate::store::sink::{PIECE, Sink};

/// How a body ended.
#[derive(Debug)]
pub enum Poured {
    /// With its end.
    Whole,
    /// Before it; all that came is in the sink.
    Cut(io::Error),
}

/// Pours all of `body` into `sink`.
///
/// # Errors
/// The sink's. What came after is lost with it.
pub async fn pour<R: AsyncRead + Unpin>(body: &mut R, sink: &mut Sink) -> Result<Poured> {
    let mut buffer = vec![0; PIECE];
    loop {
        let (length, end) = gather(body, &mut buffer, 0).await;
        if length > 0 {
            buffer = sink.write(buffer, 0..length).await?;
        }
        match end {
            None => {}
            Some(Ok(())) => return Ok(Poured::Whole),
            Some(Err(error)) => return Ok(Poured::Cut(error)),
        }
    }
}

/// Fills `buffer` from `filled` on: how far it is full, and how the body ended if it did.
pub async fn gather<R: AsyncRead + Unpin>(
    body: &mut R,
    buffer: &mut [u8],
    mut filled: usize,
) -> (usize, Option<io::Result<()>>) {
    while filled < buffer.len() {
        match body.read(&mut buffer[filled..]).await {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(Err(error))),
        }
    }
    (filled, None)
}
