//! Fields: how each is read from and written to a message, with its limit.

use std::str::FromStr;

use freshet_cluster::id::{IDENTITY_MAX, NAME_MAX};
use freshet_cluster::{Identity, NodeId, RoomId, StreamId};

use crate::error::{DecodeError, EncodeError};
use crate::varint;

/// Longest identity on the wire, in bytes: a character has at most 4.
pub(crate) const IDENTITY_BYTES: usize = IDENTITY_MAX * 4;

/// What is left of a message.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        varint::read(&mut self.rest).ok_or(DecodeError::Truncated { what })
    }

    pub fn varint32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(what)?).map_err(|_| DecodeError::Invalid { what })
    }

    /// A length, of bytes or of items, that is checked before anything is reserved for it.
    pub fn len(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let len = self.varint(what)?;
        usize::try_from(len).ok().filter(|l| *l <= max).ok_or(DecodeError::TooLong { what, len, max })
    }

    /// Bytes with their length in front.
    pub fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.len(what, max)?;
        self.take(what, len)
    }

    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(what, max)?).map_err(|_| DecodeError::Invalid { what })
    }

    pub fn name<T: FromStr>(&mut self, what: &'static str, max: usize) -> Result<T, DecodeError> {
        self.text(what, max)?.parse().map_err(|_| DecodeError::Invalid { what })
    }

    pub fn room(&mut self) -> Result<RoomId, DecodeError> {
        self.name("room", NAME_MAX)
    }

    pub fn stream(&mut self) -> Result<StreamId, DecodeError> {
        self.name("stream", NAME_MAX)
    }

    pub fn node(&mut self) -> Result<NodeId, DecodeError> {
        self.name("node", NAME_MAX)
    }

    pub fn identity(&mut self) -> Result<Identity, DecodeError> {
        self.name("identity", IDENTITY_BYTES)
    }
}

/// A message as it grows.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.out.extend(value.to_be_bytes());
    }

    pub fn varint32(&mut self, value: u32) {
        // 32 bits always fit.
        let _ = varint::write(&mut self.out, "number", u64::from(value));
    }

    pub fn len(&mut self, what: &'static str, len: usize, max: usize) -> Result<(), EncodeError> {
        let too_long = EncodeError::TooLong { what, len, max };
        if len > max {
            return Err(too_long);
        }
        varint::write(&mut self.out, what, u64::try_from(len).map_err(|_| too_long)?)
    }

    pub fn bytes(&mut self, what: &'static str, bytes: &[u8], max: usize) -> Result<(), EncodeError> {
        self.len(what, bytes.len(), max)?;
        self.out.extend(bytes);
        Ok(())
    }

    pub fn text(&mut self, what: &'static str, text: &str, max: usize) -> Result<(), EncodeError> {
        self.bytes(what, text.as_bytes(), max)
    }

    pub fn room(&mut self, id: &RoomId) -> Result<(), EncodeError> {
        self.text("room", id.as_str(), NAME_MAX)
    }

    pub fn stream(&mut self, id: &StreamId) -> Result<(), EncodeError> {
        self.text("stream", id.as_str(), NAME_MAX)
    }

    pub fn node(&mut self, id: &NodeId) -> Result<(), EncodeError> {
        self.text("node", id.as_str(), NAME_MAX)
    }

    pub fn identity(&mut self, id: &Identity) -> Result<(), EncodeError> {
        self.text("identity", id.as_str(), IDENTITY_BYTES)
    }
}
