//! Messages of any length over a bus that carries short ones. Pure.
//!
//! A chunk is the number of its message, its own number, how many there are, and its bytes. What one sender sends comes
//! in its order, so chunks of one message are never mixed with those of another.

use crate::num;

/// Bytes of a message in one chunk: far below what a bus takes by default (1 MiB), and below most that were made stricter.
const CHUNK: usize = 60_000;
/// Bytes before them.
const HEAD: usize = 16;
/// Longest message that is put together again.
pub const LONGEST: usize = 64 << 20;

/// Why chunks are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It has not even a head, or says that it is behind the last one.
    #[error("a chunk that is none")]
    Malformed,
    /// One before it did not come.
    #[error("a chunk is missing before this one")]
    Missing,
    /// The message would be too long.
    #[error("a message of more than {LONGEST} bytes")]
    TooLong,
}

/// A message as chunks; at least one.
pub fn split(message: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
    let count = bytes.len().div_ceil(CHUNK).max(1);
    (0..count)
        .map(|place| {
            let from = place * CHUNK;
            let part = bytes.get(from..bytes.len().min(from + CHUNK)).unwrap_or_default();
            let mut chunk = Vec::with_capacity(HEAD + part.len());
            chunk.extend_from_slice(&message.to_be_bytes());
            chunk.extend_from_slice(&num::wrap32(num::len(place)).to_be_bytes());
            chunk.extend_from_slice(&num::wrap32(num::len(count)).to_be_bytes());
            chunk.extend_from_slice(part);
            chunk
        })
        .collect()
}

/// Puts the messages of one sender together.
#[derive(Debug, Default)]
pub struct Assembler {
    message: u64,
    /// The chunk that comes next, and how many there are.
    next: u32,
    count: u32,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes a chunk; gives the message that it completes. After an error the next message begins anew.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<Vec<u8>>, ChunkError> {
        let read = self.take(chunk);
        if !matches!(read, Ok(None)) {
            self.next = 0;
            self.bytes = Vec::new();
        }
        read
    }

    fn take(&mut self, chunk: &[u8]) -> Result<Option<Vec<u8>>, ChunkError> {
        let (head, part) = chunk.split_first_chunk::<HEAD>().ok_or(ChunkError::Malformed)?;
        let (message, head) = head.split_first_chunk::<8>().ok_or(ChunkError::Malformed)?;
        let (place, count) = head.split_first_chunk::<4>().ok_or(ChunkError::Malformed)?;
        let count = count.first_chunk::<4>().ok_or(ChunkError::Malformed)?;
        let (message, place) = (u64::from_be_bytes(*message), u32::from_be_bytes(*place));
        let count = u32::from_be_bytes(*count);
        if place >= count {
            return Err(ChunkError::Malformed);
        }
        if place == 0 {
            (self.message, self.count, self.next) = (message, count, 0);
            self.bytes.clear();
        }
        if (message, place, count) != (self.message, self.next, self.count) {
            return Err(ChunkError::Missing);
        }
        if self.bytes.len().saturating_add(part.len()) > LONGEST {
            return Err(ChunkError::TooLong);
        }
        self.bytes.extend_from_slice(part);
        self.next = self.next.saturating_add(1);
        Ok((self.next == count).then(|| std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(assembler: &mut Assembler, chunks: &[Vec<u8>]) -> Vec<Result<Option<Vec<u8>>, ChunkError>> {
        chunks.iter().map(|chunk| assembler.push(chunk)).collect()
    }

    #[test]
    fn messages_of_any_length_come_whole() {
        let mut assembler = Assembler::default();
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..length).map(|place| num::wrap8(num::len(place * 7))).collect();
            let chunks = split(num::len(length), &bytes);
            assert_eq!(chunks.len(), length.div_ceil(CHUNK).max(1));
            assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK + HEAD));
            let mut came = whole(&mut assembler, &chunks);
            assert_eq!(came.pop(), Some(Ok(Some(bytes))));
            assert!(came.iter().all(|one| *one == Ok(None)));
        }
    }

    #[test]
    fn what_is_missing_costs_its_message_and_no_other() {
        let mut assembler = Assembler::default();
        let (one, two) = (split(1, &vec![1; 3 * CHUNK]), split(2, &vec![2; CHUNK + 9]));
        assert_eq!(assembler.push(&one[0]), Ok(None));
        assert_eq!(assembler.push(&one[2]), Err(ChunkError::Missing));
        assert_eq!(assembler.push(&one[1]), Err(ChunkError::Missing));
        // The end of a message whose beginning never came.
        assert_eq!(assembler.push(&two[1]), Err(ChunkError::Missing));
        assert_eq!(assembler.push(&one[0]), Ok(None));
        assert_eq!(assembler.push(&two[0]), Ok(None), "a new one begins");
        assert_eq!(assembler.push(&two[1]).map(|came| came.map(|bytes| bytes.len())), Ok(Some(CHUNK + 9)));
    }

    #[test]
    fn nonsense_is_refused_and_memory_is_bounded() {
        let mut assembler = Assembler::default();
        for bad in [&[][..], &[0; 15], &[0; 16], &[255; 16]] {
            assert_eq!(assembler.push(bad), Err(ChunkError::Malformed), "{bad:?}");
        }
        let mut chunk = split(9, &[7; CHUNK]).remove(0);
        chunk[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut came = Ok(None);
        for place in 0..u32::MAX {
            chunk[8..12].copy_from_slice(&place.to_be_bytes());
            came = assembler.push(&chunk);
            if came != Ok(None) {
                break;
            }
        }
        assert_eq!(came, Err(ChunkError::TooLong));
        assert!(assembler.bytes.is_empty());
    }
}
