//! The chunked coding (RFC 9112 section 7.1), decoded incrementally and strictly.
//!
//! Pure: bytes in, bytes out, however they are split. Extensions and trailers are read over and
//! dropped, within bounds; whatever another reader could take for something else is an error.

/// Bytes of the trailer section that are read before the body counts as malformed.
const TRAILER_LIMIT: u32 = 8 * 1024;

/// Bytes of framing beyond what is usual for the content so far, before the body counts as malformed: a
/// body of chunks of one byte with long extensions is an attack.
const EXCESS_LIMIT: u64 = 16 * 1024;

/// Digits of a chunk size: what 64 bits hold.
const SIZE_DIGITS: u8 = 16;

/// The bytes are not the chunked coding, or take more framing than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// chunk-size = 1*HEXDIG
    Size {
        value: u64,
        digits: u8,
    },
    /// chunk-ext, until CR.
    Extension {
        size: u64,
    },
    /// The LF of the line of a size.
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// A line of the trailer section; `length` bytes of it were read.
    Trailer {
        length: u32,
    },
    TrailerLf {
        length: u32,
    },
    Done,
}

/// Decodes one chunked body.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    state: State,
    excess: u64,
    trailer: u32,
}

impl Decoder {
    pub(crate) fn new() -> Decoder {
        Decoder {
            state: State::Size {
                value: 0,
                digits: 0,
            },
            excess: 0,
            trailer: 0,
        }
    }

    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Content that is certain to follow without framing, in bytes.
    pub(crate) fn plain(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Counts `n` bytes of content that were moved without passing through here, at most [`Decoder::plain`].
    pub(crate) fn advance(&mut self, n: u64) {
        if let State::Data { left } = &mut self.state {
            *left = left.saturating_sub(n);
            self.excess = self.excess.saturating_sub(2 * n);
            if *left == 0 {
                self.state = State::DataCr;
            }
        }
    }

    /// Decodes from `input` to `output`; returns how much of each was used. It stops when either is
    /// used up, or at the end of the body.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(usize, usize), Malformed> {
        let (mut read, mut written) = (0, 0);
        while let Some(&byte) = input.get(read) {
            match self.state {
                State::Done => break,
                State::Data { left } => {
                    let n = (input.len() - read).min(output.len() - written);
                    let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
                    if n == 0 {
                        break;
                    }
                    output[written..written + n].copy_from_slice(&input[read..read + n]);
                    read += n;
                    written += n;
                    self.advance(n as u64);
                }
                _ => match self.after(byte) {
                    Ok(state) => {
                        self.state = state;
                        read += 1;
                    }
                    // What was good before the fault is given first; the fault is found again.
                    Err(Malformed) if written > 0 => break,
                    Err(Malformed) => return Err(Malformed),
                },
            }
        }
        Ok((read, written))
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        let state = match self.state {
            State::Size { value, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if digits < SIZE_DIGITS => State::Size {
                    value: (value << 4) | u64::from(digit),
                    digits: digits + 1,
                },
                (None, b'\r') if digits > 0 => State::SizeLf { size: value },
                (None, b';') if digits > 0 => State::Extension { size: value },
                _ => return Err(Malformed),
            },
            State::Extension { size } => match byte {
                b'\r' => State::SizeLf { size },
                b'\t' | b' '..=b'~' | 0x80.. => State::Extension { size },
                _ => return Err(Malformed),
            },
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => State::Trailer { length: 0 },
                (b'\n', left) => {
                    // What a size line usually takes is not held against the client.
                    self.excess = self.excess.saturating_sub(16);
                    State::Data { left }
                }
                _ => return Err(Malformed),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size {
                value: 0,
                digits: 0,
            },
            State::Trailer { length } => match byte {
                b'\r' => State::TrailerLf { length },
                b'\t' | b' '..=b'~' | 0x80.. => State::Trailer { length: length + 1 },
                _ => return Err(Malformed),
            },
            State::TrailerLf { length } => match (byte, length) {
                (b'\n', 0) => State::Done,
                (b'\n', _) => State::Trailer { length: 0 },
                _ => return Err(Malformed),
            },
            State::DataCr | State::DataLf | State::Data { .. } | State::Done => {
                return Err(Malformed);
            }
        };
        if matches!(state, State::Trailer { .. } | State::TrailerLf { .. }) {
            self.trailer += 1;
        } else {
            self.excess += 1;
        }
        if self.trailer > TRAILER_LIMIT || self.excess > EXCESS_LIMIT {
            return Err(Malformed);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces of `step` with outputs of `room`; the content, and how much was read of it at the end.
    fn fed(bytes: &[u8], step: usize, room: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let (mut decoder, mut content, mut at) = (Decoder::new(), Vec::new(), 0);
        let mut output = vec![0; room];
        while at < bytes.len() && !decoder.is_done() {
            let end = bytes.len().min(at + step);
            let (read, written) = decoder.decode(&bytes[at..end], &mut output)?;
            assert!(read > 0 || written > 0);
            content.extend_from_slice(&output[..written]);
            at += read;
        }
        Ok(decoder.is_done().then_some((content, at)))
    }

    #[test]
    fn bodies_that_end() {
        for (bytes, content) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (
                b"5;a=b;c=\"d\"\r\nhello\r\n000\r\nX: y\r\nZ: \xe9\r\n\r\n",
                b"hello",
            ),
            (
                b"a\r\n0123456789\r\nA\r\n0123456789\r\n0;x\r\n\r\n",
                b"01234567890123456789",
            ),
        ] {
            for step in 1..bytes.len() + 1 {
                let got = fed(&[bytes, b"GET /"].concat(), step, 3).unwrap().unwrap();
                assert_eq!(got, (content.to_vec(), bytes.len()));
            }
        }
    }

    #[test]
    fn bodies_that_are_refused_or_cut() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"5\nhello",
            b"5\rhello",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"5;a\0\r\n",
            b"5;a\nb\r\n",
            b"0\r\nX: a\nY: b\r\n\r\n",
            b"0\r\n\rx",
            b"-1\r\n",
        ] {
            assert_eq!(
                fed(bytes, 1, 9),
                Err(Malformed),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(fed(b"ffffffffffffffff\r\nabc", 4, 9), Ok(None));
        let long = [b"0\r\n".to_vec(), vec![b'a'; 9000]].concat();
        assert_eq!(fed(&long, 100, 9), Err(Malformed));
        let attack = b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(1000);
        assert_eq!(fed(&attack, 100, 9), Err(Malformed));
        let honest = [b"1\r\nx\r\n".repeat(20_000), b"0\r\n\r\n".to_vec()].concat();
        assert_eq!(fed(&honest, 100, 9).unwrap().unwrap().0.len(), 20_000);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_splits_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b'3'), Just(b';'), Just(b'a'), any::<u8>()
            ], 0..80),
            step in 1usize..80,
            room in 1usize..20,
        ) {
            prop_assert_eq!(fed(&bytes, step, room), fed(&bytes, 1, 1));
        }

        #[test]
        fn what_is_encoded_is_decoded(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..40), 0..10), step in 1usize..50)
        {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            let (content, read) = fed(&bytes, step, 7).unwrap().unwrap();
            prop_assert_eq!(content, pieces.concat());
            prop_assert_eq!(read, bytes.len());
        }
    }
}
