//! One budget of bytes for the buffers of all streams, and the pieces that count against it.
//!
//! A stream holds a [`Lease`] on two pieces as long as it lives: one with the viewer, one read ahead. That is what a
//! stream may shrink to, and all it ever takes: larger pieces fall out of the processor's cache between
//! decryption and sending, and are slower. So there is nothing to take back from others
//! before a new stream is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reply::Refusal;
use crate::error::Kind;

/// Pieces promised to a stream.
const PIECES: usize = 2;
/// When somebody refused may try again: a stream ends, or is abandoned, every few seconds in a full house.
const SOON: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State {
    limit: u64,
    /// Bytes promised to open streams and for what is gathered.
    promised: u64,
    /// Bytes of buffers that exist.
    held: u64,
    /// Streams open.
    open: u64,
}

/// The budget of all streams; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    state: Arc<Mutex<State>>,
    /// Bytes of a piece.
    chunk: usize,
}

impl Budget {
    /// A budget of `limit` bytes in pieces of `chunk` bytes.
    pub(super) fn new(limit: u64, chunk: usize) -> Budget {
        let state = State {
            limit,
            promised: 0,
            held: 0,
            open: 0,
        };
        Budget {
            state: Arc::new(Mutex::new(state)),
            chunk,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promise(&self) -> u64 {
        (PIECES * self.chunk) as u64
    }

    /// Streams open, and bytes of their buffers.
    pub(super) fn usage(&self) -> (u64, u64) {
        let state = self.state();
        (state.open, state.held)
    }

    /// Room for one more stream.
    ///
    /// # Errors
    /// `busy`, when there is none.
    pub(super) fn lease(&self) -> Result<Lease, Refusal> {
        self.take(self.promise())?;
        self.state().open += 1;
        Ok(Lease(Arc::new(LeaseState {
            budget: self.clone(),
            pieces: Mutex::default(),
        })))
    }

    /// Room for `bytes` gathered in memory, until the reservation is dropped.
    ///
    /// # Errors
    /// `busy`.
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reservation, Refusal> {
        self.take(bytes)?;
        self.state().held += bytes;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    fn take(&self, bytes: u64) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.promised + bytes <= state.limit {
            state.promised += bytes;
            return Ok(());
        }
        let refusal = Refusal::new(
            Kind::Unavailable,
            "busy",
            "Too many streams are open for the memory set aside for them; close one, or raise limits.buffers.",
        );
        Err(refusal.after(SOON))
    }
}

/// Bytes reserved outside of streams.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.promised -= self.bytes;
        state.held -= self.bytes;
    }
}

/// A stream's share of the budget. Clones are the same share; the last one, or the last piece, gives it back.
#[derive(Clone, Debug)]
pub(super) struct Lease(Arc<LeaseState>);

/// Lock order: `pieces` before the budget's state.
#[derive(Debug)]
struct LeaseState {
    budget: Budget,
    pieces: Mutex<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    out: usize,
    /// Buffers for the next pieces; allocating one anew costs its page faults.
    spare: Vec<Vec<u8>>,
}

impl Lease {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer to fill, while fewer than promised are out, or when it `must` be.
    pub(super) fn buffer(&self, must: bool) -> Option<Buffer> {
        let budget = &self.0.budget;
        let mut pieces = self.pieces();
        if pieces.out >= PIECES && !must {
            return None;
        }
        pieces.out += 1;
        budget.state().held += budget.chunk as u64;
        let spare = pieces.spare.pop();
        drop(pieces);
        let bytes = spare.unwrap_or_else(|| vec![0; budget.chunk]);
        Some(Buffer {
            bytes,
            filled: 0,
            lease: self.clone(),
        })
    }
}

impl Drop for LeaseState {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.promised -= self.budget.promise();
        state.open -= 1;
    }
}

/// A piece of a stream. Dropping it gives its bytes back.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    lease: Lease,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {})", self.filled, self.bytes.len())
    }
}

impl Buffer {
    /// Where the next bytes go, `most` at most.
    pub(super) fn space(&mut self, most: u64) -> &mut [u8] {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let end = self.filled.saturating_add(most).min(self.bytes.len());
        &mut self.bytes[self.filled..end]
    }

    /// So many bytes of [`Buffer::space`] were written.
    pub(super) fn advance(&mut self, by: usize) {
        self.filled = (self.filled + by).min(self.bytes.len());
    }

    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.filled
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let budget = &self.lease.0.budget;
        let mut pieces = self.lease.pieces();
        pieces.out -= 1;
        budget.state().held -= budget.chunk as u64;
        if pieces.out + pieces.spare.len() < PIECES {
            pieces.spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 1024;

    #[test]
    fn a_stream_beyond_the_budget_is_refused() {
        let budget = Budget::new(4 * CHUNK as u64 + 1, CHUNK);
        let streams = [budget.lease().unwrap(), budget.lease().unwrap()];
        let refusal = budget.lease().unwrap_err();
        assert_eq!((refusal.code, refusal.kind.status()), ("busy", 503));
        assert!(refusal.retry_after.is_some());
        let pieces: Vec<_> = streams
            .iter()
            .flat_map(|s| [s.buffer(false), s.buffer(false)])
            .collect();
        assert!(pieces.iter().all(Option::is_some) && streams[0].buffer(false).is_none());
        assert_eq!(budget.usage(), (2, 4 * CHUNK as u64));
        drop((pieces, streams));
        assert_eq!(budget.usage(), (0, 0));
        assert!(budget.lease().is_ok());
    }

    #[test]
    fn a_piece_outlives_its_stream() {
        let budget = Budget::new(4 * CHUNK as u64, CHUNK);
        let lease = budget.lease().unwrap();
        let mut piece = lease.buffer(false).unwrap();
        assert_eq!(piece.space(10).len(), 10);
        piece.advance(4);
        assert_eq!(
            (piece.space(u64::MAX).len(), piece.as_ref().len()),
            (CHUNK - 4, 4)
        );
        drop(lease);
        assert_eq!(budget.usage(), (1, CHUNK as u64));
        drop(piece);
        assert_eq!(budget.usage(), (0, 0));
    }

    #[test]
    fn what_is_gathered_counts() {
        let budget = Budget::new(4 * CHUNK as u64, CHUNK);
        let reservation = budget.reserve(3 * CHUNK as u64).unwrap();
        assert!(budget.lease().is_err());
        drop(reservation);
        assert!(budget.reserve(4 * CHUNK as u64).is_ok());
    }
}
