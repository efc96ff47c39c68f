//! Frames of the control stream: type, length, body. Bytes come in pieces of any size.
//!
//! A frame is at most 64 kB. The decoder holds at most [`BUFFER_MAX`] bytes that have not been taken out; a caller
//! that feeds more without taking frames out is told so.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::varint;

/// Longest body of a frame, in bytes.
pub const FRAME_MAX: usize = 64 * 1024;
/// Most bytes that the decoder holds: four of the longest frames.
pub const BUFFER_MAX: usize = 4 * FRAME_MAX;

/// One frame, not looked into yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u64,
    /// Its body.
    pub body: Bytes,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// Takes bytes from the stream. `false` when they do not fit: nothing of them was taken.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_MAX {
            return false;
        }
        self.buffer.extend_from_slice(bytes);
        true
    }

    /// The next whole frame. After an error the stream cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, DecodeError> {
        let mut rest = &self.buffer[..];
        let before = rest.len();
        let (Some(kind), Some(len)) = (varint::read(&mut rest), varint::read(&mut rest)) else {
            return Ok(None);
        };
        let body = usize::try_from(len).ok().filter(|l| *l <= FRAME_MAX);
        let body = body.ok_or(DecodeError::TooLong { what: "frame", len, max: FRAME_MAX })?;
        if rest.len() < body {
            return Ok(None);
        }
        let head = before.saturating_sub(rest.len());
        self.buffer.advance(head);
        Ok(Some(RawFrame { kind, body: self.buffer.split_to(body).freeze() }))
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Writes a frame.
pub fn encode(kind: u64, body: &[u8]) -> Result<Bytes, EncodeError> {
    if body.len() > FRAME_MAX {
        return Err(EncodeError::TooLong { what: "frame", len: body.len(), max: FRAME_MAX });
    }
    let mut out = Vec::with_capacity(body.len().saturating_add(12));
    varint::write(&mut out, "frame type", kind)?;
    varint::write(&mut out, "frame length", u64::try_from(body.len()).unwrap_or(u64::MAX))?;
    out.extend(body);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_buffered() {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, "t", 1).unwrap();
        varint::write(&mut bytes, "l", 1 << 30).unwrap();
        let mut decoder = FrameDecoder::default();
        assert!(decoder.feed(&bytes));
        let refused = DecodeError::TooLong { what: "frame", len: 1 << 30, max: FRAME_MAX };
        assert_eq!(decoder.next_frame(), Err(refused));
        assert!(encode(1, &vec![0; FRAME_MAX + 1]).is_err());
    }

    #[test]
    fn what_is_not_taken_out_is_bounded() {
        let mut decoder = FrameDecoder::default();
        assert!(decoder.feed(&vec![0; BUFFER_MAX]));
        assert!(!decoder.feed(&[0]));
        assert_eq!(decoder.len(), BUFFER_MAX);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            frames in proptest::collection::vec((0..=varint::MAX, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1_usize..50,
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|(k, b)| encode(*k, b).unwrap()).collect();
            let mut decoder = FrameDecoder::default();
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                prop_assert!(decoder.feed(piece));
                while let Some(frame) = decoder.next_frame().unwrap() {
                    out.push((frame.kind, frame.body.to_vec()));
                }
            }
            prop_assert_eq!(out, frames);
            prop_assert!(decoder.is_empty());
        }
    }
}
