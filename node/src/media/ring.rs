//! A track's packets: the one place of a node where they live.
//!
//! Publishers and links push, egress, RTX and links read. Packets are found by the origin's index in O(1); holes stay
//! holes until the missing packet comes, and a packet that comes late takes its place. What is older, larger or more
//! than the bounds falls out at the old end; nothing that fell out comes back.
//!
//! Beside their indices packets have the order in which they arrived: it is the order in which viewers get them, each
//! with a cursor of its own. An arrival number is never used again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::Packet;

/// Bounds of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Packets that arrived longer ago are dropped by [`Ring::expire`].
    pub max_age: Duration,
    /// Most payload bytes kept.
    pub max_bytes: usize,
    /// Widest span of indexes kept, holes included.
    pub max_packets: usize,
}

/// Least and most of a ring's span of indexes: far less than what sequence numbers of 16 bits tell apart. More bytes than
/// go with the most cannot be set.
const SPAN: (usize, usize) = (4_096, 16_384);

impl RingConfig {
    /// So much time, and so many bytes in it. The span has room for packets of a kibibyte; of smaller ones fewer bytes are
    /// kept.
    pub fn new(max_age: Duration, max_bytes: usize) -> Self {
        Self { max_age, max_bytes, max_packets: (max_bytes / 1_024).clamp(SPAN.0, SPAN.1) }
    }
}

impl Default for RingConfig {
    /// Two seconds, and room for 16 Mbit/s in them.
    fn default() -> Self {
        Self::new(Duration::from_secs(2), 4 << 20)
    }
}

/// What became of a pushed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It is in the ring now.
    New,
    /// Its index is there already; the first copy stays.
    Duplicate,
    /// Its place has fallen out of the ring.
    TooOld,
}

/// Where the newest keyframe starts.
#[derive(Debug, Clone, Copy)]
struct Keyframe {
    start: u64,
    timestamp: u32,
    arrived: Instant,
    /// `pushed_bytes` before its first packet.
    bytes_before: u64,
    /// Arrival number of the packet of its frame that came first.
    arrival: u64,
    /// Arrival number of the packet that told that it is one.
    known: u64,
}

/// Where a viewer begins with what a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Index of the keyframe's first packet. What has a lower one is not for this viewer.
    pub index: u64,
    /// Arrival number of the packet of the keyframe that came first. It need not be the first one.
    pub arrival: u64,
}

/// Packets that may have come since the first of a keyframe before it is known for one; those that came earlier are
/// asked for by viewers that begin with it.
const FRAME_MAX: usize = 256;

/// The last packets of one layer of one track.
#[derive(Debug)]
pub struct Ring {
    config: RingConfig,
    /// Slot 0 holds index `base`. The first and the last slot are never holes.
    slots: VecDeque<Option<Arc<Packet>>>,
    base: u64,
    /// Indexes below have fallen out and are refused.
    floor: u64,
    len: usize,
    bytes: usize,
    pushed_bytes: u64,
    keyframe: Option<Keyframe>,
    /// What is held in the order of arrival, and perhaps some that fell out of the middle.
    order: VecDeque<Arc<Packet>>,
    /// Arrival number of the first of them.
    order_from: u64,
}

impl Ring {
    /// An empty ring; it takes memory as packets come.
    pub fn new(config: RingConfig) -> Self {
        let config = RingConfig { max_packets: config.max_packets.max(1), ..config };
        Self {
            config,
            slots: VecDeque::new(),
            base: 0,
            floor: 0,
            len: 0,
            bytes: 0,
            pushed_bytes: 0,
            keyframe: None,
            order: VecDeque::new(),
            order_from: 0,
        }
    }

    /// Puts a packet in its place.
    pub fn push(&mut self, packet: Arc<Packet>) -> Push {
        let index = packet.index;
        // The very last index has no place behind it; no origin comes that far.
        if index < self.floor || index == u64::MAX {
            return Push::TooOld;
        }
        if self.slots.is_empty() {
            self.base = index;
            self.slots.push_back(None);
        } else if index < self.base {
            if self.end() - index > to_u64(self.config.max_packets) {
                return Push::TooOld;
            }
            while self.base > index {
                self.slots.push_front(None);
                self.base -= 1;
            }
        } else if index - self.base >= to_u64(self.config.max_packets) {
            self.make_room(index);
        }
        while self.end() <= index {
            self.slots.push_back(None);
        }
        match self.slot_mut(index) {
            Some(None) => {}
            Some(Some(_)) => return Push::Duplicate,
            None => return Push::TooOld,
        }
        let len = packet.payload.len();
        self.len += 1;
        self.bytes += len;
        self.order.push_back(packet.clone());
        self.note_keyframe(&packet);
        self.pushed_bytes += to_u64(len);
        if let Some(slot) = self.slot_mut(index) {
            *slot = Some(packet);
        }
        while self.bytes > self.config.max_bytes && self.len > 1 && self.base < index {
            self.drop_oldest();
        }
        self.forget_arrivals();
        Push::New
    }

    /// The packet that arrived as number `arrival`, from 0 on; none when it has fallen out or has not come.
    pub fn arrived(&self, arrival: u64) -> Option<&Arc<Packet>> {
        let offset = usize::try_from(arrival.checked_sub(self.order_from)?).ok()?;
        self.order.get(offset)
    }

    /// The packet that arrived last.
    pub fn latest(&self) -> Option<&Arc<Packet>> {
        self.order.back()
    }

    /// The number that the next packet to arrive gets.
    pub fn next_arrival(&self) -> u64 {
        self.order_from + to_u64(self.order.len())
    }

    /// The lowest arrival number that is held; [`Self::next_arrival`] when nothing is.
    pub fn first_arrival(&self) -> u64 {
        self.order_from
    }

    /// The packet with this index.
    pub fn get(&self, index: u64) -> Option<&Arc<Packet>> {
        let offset = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.slots.get(offset)?.as_ref()
    }

    /// Highest index held.
    pub fn newest(&self) -> Option<u64> {
        (!self.slots.is_empty()).then(|| self.end() - 1)
    }

    /// Lowest index held.
    pub fn oldest(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.base)
    }

    /// Start of the newest keyframe that is still held, and when it arrived.
    ///
    /// The start is the first packet of its frame, so that parameter sets sent in packets of their own are included.
    pub fn last_keyframe(&self) -> Option<(u64, Instant)> {
        self.keyframe.map(|keyframe| (keyframe.start, keyframe.arrived))
    }

    /// The newest keyframe, if the packet that tells that it is one has the arrival number `arrival` or came later.
    pub fn keyframe_since(&self, arrival: u64) -> Option<Beginning> {
        let keyframe = self.keyframe.filter(|keyframe| keyframe.known >= arrival)?;
        Some(Beginning { index: keyframe.start, arrival: keyframe.arrival.max(self.order_from) })
    }

    /// Forgets what is held: what comes next does not follow it, and may be the same again. Arrival numbers go on.
    pub fn clear(&mut self) {
        self.order_from = self.next_arrival();
        self.order.clear();
        self.slots.clear();
        (self.base, self.floor, self.len, self.bytes, self.keyframe) = (0, 0, 0, 0, None);
    }

    /// Payload bytes pushed since the newest keyframe began, itself included: what a joiner served from it is sent.
    /// Zero without a keyframe.
    pub fn bytes_since_keyframe(&self) -> usize {
        let Some(keyframe) = self.keyframe else { return 0 };
        usize::try_from(self.pushed_bytes - keyframe.bytes_before).unwrap_or(usize::MAX)
    }

    /// Packets held from `index` on, in order, holes left out.
    pub fn iter_from(&self, index: u64) -> impl Iterator<Item = &Arc<Packet>> {
        self.slots.range(self.offset_from(index)..).flatten()
    }

    /// Indexes from `index` on that are missing below the newest packet, in order.
    pub fn missing_from(&self, index: u64) -> impl Iterator<Item = u64> {
        let start = self.offset_from(index);
        let first = self.base + to_u64(start);
        (first..).zip(self.slots.range(start..)).filter(|(_, slot)| slot.is_none()).map(|(index, _)| index)
    }

    /// Drops what arrived more than `max_age` before `now`, from the old end.
    pub fn expire(&mut self, now: Instant) {
        while let Some(Some(oldest)) = self.slots.front() {
            if now.saturating_duration_since(oldest.arrived) <= self.config.max_age {
                break;
            }
            self.drop_oldest();
        }
        self.forget_arrivals();
    }

    /// Payload bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One past the highest slot.
    fn end(&self) -> u64 {
        self.base + to_u64(self.slots.len())
    }

    fn offset_from(&self, index: u64) -> usize {
        let offset = usize::try_from(index.saturating_sub(self.base)).unwrap_or(usize::MAX);
        offset.min(self.slots.len())
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Option<Arc<Packet>>> {
        let offset = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(offset)
    }

    /// Drops at the old end until `index` fits the span.
    fn make_room(&mut self, index: u64) {
        let base = index - to_u64(self.config.max_packets) + 1;
        if base >= self.end() {
            self.floor = self.end();
            self.slots.clear();
            (self.len, self.bytes, self.keyframe) = (0, 0, None);
            self.base = index;
            return;
        }
        while self.base < base {
            self.drop_oldest();
        }
    }

    /// Drops from the order of arrival what the ring does not hold any more.
    fn forget_arrivals(&mut self) {
        while self.order.front().is_some_and(|packet| self.get(packet.index).is_none()) {
            self.order.pop_front();
            self.order_from += 1;
        }
    }

    /// Drops the oldest packet and the holes behind it.
    fn drop_oldest(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.base += 1;
            if let Some(packet) = slot {
                self.len -= 1;
                self.bytes -= packet.payload.len();
            }
        }
        self.floor = self.base;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.base += 1;
        }
        if self.keyframe.is_some_and(|keyframe| keyframe.start < self.base) {
            self.keyframe = None;
        }
    }

    /// Keeps the start of the newest keyframe true after `packet` took its place.
    fn note_keyframe(&mut self, packet: &Packet) {
        if let Some(known) = &mut self.keyframe {
            let same_frame = known.timestamp == packet.timestamp;
            if same_frame && packet.index.checked_add(1) == Some(known.start) {
                known.start = packet.index;
                known.arrived = known.arrived.min(packet.arrived);
                self.start_frame_earlier();
                return;
            }
            if same_frame || packet.index < known.start {
                return;
            }
        }
        if packet.keyframe {
            self.keyframe = Some(Keyframe {
                start: packet.index,
                timestamp: packet.timestamp,
                arrived: packet.arrived,
                bytes_before: self.pushed_bytes,
                arrival: self.frame_arrival(packet),
                known: self.next_arrival() - 1,
            });
            self.start_frame_earlier();
        }
    }

    /// The arrival number of that packet of a frame that came first; `last` is the one that has just come. Packets of
    /// later frames may have come in between: what the publisher sends again is late by a round trip.
    fn frame_arrival(&self, last: &Packet) -> u64 {
        let of_frame = |packet: &Packet| packet.timestamp == last.timestamp;
        let since = self.order.iter().enumerate().rev().take(FRAME_MAX);
        let since = since.take_while(|(_, packet)| of_frame(packet) || packet.index > last.index);
        let first = since.filter(|(_, packet)| of_frame(packet)).map(|(at, _)| to_u64(at)).last();
        self.order_from + first.unwrap_or_default()
    }

    /// Moves the keyframe's start back over packets of the same frame that stand right before it.
    fn start_frame_earlier(&mut self) {
        let Some(mut keyframe) = self.keyframe else { return };
        while let Some(index) = keyframe.start.checked_sub(1)
            && let Some(before) = self.get(index)
            && before.timestamp == keyframe.timestamp
        {
            keyframe.start = index;
            keyframe.arrived = keyframe.arrived.min(before.arrived);
            keyframe.bytes_before = keyframe.bytes_before.saturating_sub(to_u64(before.payload.len()));
        }
        self.keyframe = Some(keyframe);
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
