use std::time::Instant;

use bytes::Bytes;

use super::{Descriptor, Patch, Vp8};
use crate::media::packet::{CaptureMicros, Extensions, Packet};
use crate::media::rewrite::{Rewriter, SourceEpoch, SourceStart};

mod cases;
mod model;

/// A descriptor as it is written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    starts: bool,
    key: bool,
    /// Number, and whether it is wide.
    id: Option<(u16, bool)>,
    tl0: Option<u8>,
    /// TID and Y.
    layer: Option<(u8, bool)>,
    keyidx: Option<u8>,
}

impl Written {
    fn payload(self) -> Vec<u8> {
        let mut bytes = vec![0x80 | if self.starts { 0x10 } else { 0 }];
        let flag = |there: bool, bit: u8| if there { bit } else { 0 };
        bytes.push(
            flag(self.id.is_some(), 0x80)
                | flag(self.tl0.is_some(), 0x40)
                | flag(self.layer.is_some(), 0x20)
                | flag(self.keyidx.is_some(), 0x10),
        );
        match self.id {
            Some((id, true)) => bytes.extend((id | 0x8000).to_be_bytes()),
            Some((id, false)) => bytes.push(id as u8),
            None => {}
        }
        bytes.extend(self.tl0);
        if self.layer.is_some() || self.keyidx.is_some() {
            let (tid, sync) = self.layer.unwrap_or_default();
            bytes.push(tid << 6 | u8::from(sync) << 5 | self.keyidx.unwrap_or_default());
        }
        bytes.extend([0x50 | u8::from(!self.key), 0xaa, 0xbb]);
        bytes
    }
}

fn packet(index: u64, timestamp: u32, marker: bool, written: Written) -> Packet {
    Packet {
        index,
        timestamp,
        marker,
        keyframe: written.key,
        codec: 0,
        capture: CaptureMicros(0),
        arrived: Instant::now(),
        exts: Extensions::default(),
        payload: Bytes::from(written.payload()),
    }
}

/// What egress does with numbers, and nothing else.
struct Slot {
    rewriter: Rewriter,
    vp8: Vp8,
    source: Option<SourceEpoch>,
    max: Option<u8>,
    now: Instant,
}

impl Slot {
    fn new() -> Self {
        let (rewriter, vp8) = (Rewriter::new(100, 0), Vp8::default());
        Self { rewriter, vp8, source: None, max: None, now: Instant::now() }
    }

    fn begin(&mut self, index: u64) -> SourceEpoch {
        let epoch = self.rewriter.begin(SourceStart {
            index,
            timestamp: 0,
            clock_rate: 90_000,
            at: self.now,
            latest: None,
        });
        *self.source.insert(epoch)
    }

    /// Extended sequence number and payload.
    fn send(&mut self, packet: &Packet) -> Option<(u64, Vec<u8>)> {
        let source = match self.source {
            Some(source) => source,
            None => self.begin(packet.index),
        };
        let descriptor = Descriptor::parse(&packet.payload).unwrap();
        let shift = self.vp8.take(&mut self.rewriter, source, packet, &descriptor, self.max)?;
        let patch = Patch::new(&descriptor, shift);
        let out = self.rewriter.map(source, packet.index, packet.timestamp, self.now).ok()?;
        self.vp8.sent(out.seq, &patch);
        Some((out.seq, patched(packet, &patch)))
    }

    /// The same packet once more.
    fn again(&mut self, source: SourceEpoch, packet: &Packet) -> Option<(u64, Vec<u8>)> {
        let out = self.rewriter.map(source, packet.index, packet.timestamp, self.now).ok()?;
        let shift = self.vp8.shift(source, packet.index)?;
        let patch = Patch::new(&Descriptor::parse(&packet.payload).unwrap(), shift);
        Some((out.seq, patched(packet, &patch)))
    }
}

fn patched(packet: &Packet, patch: &Patch) -> Vec<u8> {
    let mut payload = packet.payload.to_vec();
    patch.apply(&mut payload);
    assert_eq!(patch.is_nothing(), payload[..] == packet.payload[..]);
    payload
}
