//! Packets larger than a datagram: split at the sender, joined at the receiver, never dropped for their size.
//!
//! The joiner holds a bounded number of packets, of bytes, and each for a bounded time: parts that were lost do not
//! gather. What it gives up is counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::error::EncodeError;
use crate::header::{self, MediaHeader, PARTS_MAX, Part};

/// Longest payload of a packet, in bytes. RTP over UDP has less.
pub const PAYLOAD_MAX: usize = 65_535;
/// Most packets that wait for parts.
pub const WAITING_MAX: usize = 64;
/// Most bytes of parts that wait.
pub const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// How long parts wait for the others.
pub const AGE_MAX: Duration = Duration::from_millis(200);

/// Writes a packet as one datagram, or as several when it does not fit into `max` bytes.
pub fn split(header: &MediaHeader, payload: &[u8], max: usize) -> Result<Vec<Bytes>, EncodeError> {
    if payload.len() > PAYLOAD_MAX {
        return Err(EncodeError::TooLong { what: "payload", len: payload.len(), max: PAYLOAD_MAX });
    }
    let mut head = Vec::with_capacity(48);
    header::write(&mut head, header, None)?;
    if head.len().saturating_add(payload.len()) <= max {
        head.extend(payload);
        return Ok(vec![head.into()]);
    }
    head.clear();
    header::write(&mut head, header, Some(Part { number: 0, count: 2 }))?;
    let too_small = EncodeError::DatagramTooSmall { max, header: head.len() };
    let room = max.checked_sub(head.len()).filter(|room| *room > 0).ok_or(too_small.clone())?;
    let count = u8::try_from(payload.len().div_ceil(room)).ok().filter(|count| *count <= PARTS_MAX);
    // A packet that just misses one datagram because of the two bytes of its part still makes two parts.
    let count = count.ok_or(too_small)?.max(2);
    let even = payload.len().div_ceil(usize::from(count)).max(1);
    let mut pieces = payload.chunks(even);
    (0..count)
        .map(|number| {
            let piece = pieces.next().unwrap_or_default();
            let mut out = Vec::with_capacity(head.len().saturating_add(piece.len()));
            header::write(&mut out, header, Some(Part { number, count }))?;
            out.extend(piece);
            Ok(out.into())
        })
        .collect()
}

/// What the joiner did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinCounters {
    /// Packets that were put together.
    pub joined: u64,
    /// Packets given up because parts did not come in time.
    pub expired: u64,
    /// Packets given up because too many waited.
    pub evicted: u64,
    /// Parts that did not fit to the others of their packet, or came twice.
    pub refused: u64,
}

#[derive(Debug)]
struct Waiting {
    key: (u32, u8, u8, u64),
    since: Instant,
    parts: Vec<Option<Bytes>>,
    missing: u8,
    bytes: usize,
}

/// Puts parts together.
#[derive(Debug, Default)]
pub struct Joiner {
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    counters: JoinCounters,
}

impl Joiner {
    /// Takes a part; gives the payload when it was the last that was missing.
    pub fn handle_part(
        &mut self,
        now: Instant,
        header: &MediaHeader,
        part: Part,
        payload: Bytes,
    ) -> Option<Bytes> {
        self.handle_timeout(now);
        let key = (header.alias, header.track, header.layer, header.index);
        let known = self.waiting.iter().position(|w| w.key == key);
        let at = match known {
            Some(at) => at,
            None => {
                while self.waiting.len() >= WAITING_MAX {
                    self.evict();
                }
                let parts = vec![None; usize::from(part.count)];
                self.waiting.push_back(Waiting { key, since: now, parts, missing: part.count, bytes: 0 });
                self.waiting.len().saturating_sub(1)
            }
        };
        let packet = self.waiting.get_mut(at)?;
        let fits = packet.parts.len() == usize::from(part.count)
            && packet.bytes.saturating_add(payload.len()) <= PAYLOAD_MAX;
        let slot = packet.parts.get_mut(usize::from(part.number)).filter(|slot| fits && slot.is_none());
        let Some(slot) = slot else {
            self.counters.refused = self.counters.refused.saturating_add(1);
            return None;
        };
        packet.bytes = packet.bytes.saturating_add(payload.len());
        self.bytes = self.bytes.saturating_add(payload.len());
        *slot = Some(payload);
        packet.missing = packet.missing.saturating_sub(1);
        if packet.missing > 0 {
            while self.bytes > WAITING_BYTES_MAX {
                self.evict();
            }
            return None;
        }
        let whole = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(whole.bytes);
        self.counters.joined = self.counters.joined.saturating_add(1);
        let mut out = BytesMut::with_capacity(whole.bytes);
        for piece in whole.parts.into_iter().flatten() {
            out.extend_from_slice(&piece);
        }
        Some(out.freeze())
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(oldest) = self.waiting.front() {
            if now.saturating_duration_since(oldest.since) < AGE_MAX {
                return;
            }
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
            self.waiting.pop_front();
            self.counters.expired = self.counters.expired.saturating_add(1);
        }
    }

    /// When the oldest is given up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|w| w.since + AGE_MAX)
    }

    /// What it did so far.
    pub fn counters(&self) -> JoinCounters {
        self.counters
    }

    /// Packets and bytes that wait.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    fn evict(&mut self) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
            self.counters.evicted = self.counters.evicted.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
