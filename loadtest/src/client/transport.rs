//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) of a viewer whose media str0m does not
//! see. A machine: time is told.

use std::time::{Duration, Instant};

use super::rtcp;
use crate::num;

/// Between two reports, as browsers do.
const INTERVAL: Duration = Duration::from_millis(100);
/// Numbers of one report at most: what is skipped beyond is another stream's.
const MOST: u64 = 1_000;
const FEEDBACK: u8 = 205;
const FORMAT: u8 = 15;
/// A tick of the reference time and of a delta, in microseconds.
const REFERENCE: u64 = 64_000;
const TICK: u64 = 250;
/// Symbols of a chunk that has two bits for each.
const SYMBOLS: usize = 7;

/// What came since the last report.
#[derive(Debug)]
pub(super) struct Transport {
    epoch: Instant,
    seen: Vec<(u64, Instant)>,
    highest: Option<u64>,
    /// The media that reports name.
    media: u32,
    reports: u8,
    due: Option<Instant>,
}

impl Transport {
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, seen: Vec::new(), highest: None, media: 0, reports: 0, due: None }
    }

    /// A packet with this number came.
    pub fn on_packet(&mut self, number: u16, media: u32, at: Instant) {
        let near = self.highest.unwrap_or(u64::from(number) + 0x1_0000);
        let index = num::extend(near, number);
        self.highest = Some(near.max(index));
        self.media = media;
        self.seen.push((index, at));
        self.due.get_or_insert(at + INTERVAL);
    }

    /// When a report is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// Appends the report, if one is due.
    pub fn report(&mut self, out: &mut Vec<u8>, sender: u32, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        // It is given back: there will be as many of them again.
        let mut seen = std::mem::take(&mut self.seen);
        self.write(&mut seen, out, sender);
        seen.clear();
        self.seen = seen;
    }

    fn write(&mut self, seen: &mut Vec<(u64, Instant)>, out: &mut Vec<u8>, sender: u32) {
        seen.sort_unstable();
        seen.dedup_by_key(|(index, _)| *index);
        let newest = seen.last().map_or(0, |(index, _)| *index);
        seen.retain(|(index, _)| newest - index < MOST);
        let Some((base, begin)) = seen.first().copied() else { return };
        let reports = self.reports;
        self.reports = reports.wrapping_add(1);
        let micros = |at: Instant| num::micros(at.saturating_duration_since(self.epoch));
        // The earliest may not have come first; deltas are signed.
        let reference = micros(begin) / REFERENCE;
        let mut last = reference * REFERENCE / TICK;
        let (mut symbols, mut deltas) = (Vec::with_capacity(seen.len()), Vec::with_capacity(seen.len()));
        let mut expected = base;
        for (index, at) in seen.drain(..) {
            symbols.extend((expected..index).map(|_| 0_u16));
            expected = index + 1;
            let ticks = micros(at) / TICK;
            let delta = i64::try_from(ticks).unwrap_or(0) - i64::try_from(last).unwrap_or(0);
            last = ticks;
            if let Ok(small) = u8::try_from(delta) {
                symbols.push(1);
                deltas.push(small);
            } else {
                let large = i16::try_from(delta).unwrap_or(if delta < 0 { i16::MIN } else { i16::MAX });
                symbols.push(2);
                deltas.extend_from_slice(&large.to_be_bytes());
            }
        }
        let mut body = [sender.to_be_bytes(), self.media.to_be_bytes()].concat();
        body.extend_from_slice(&num::wrap16(base).to_be_bytes());
        body.extend_from_slice(&num::wrap16(num::len(symbols.len())).to_be_bytes());
        let [_, r1, r2, r3] = num::wrap32(reference).to_be_bytes();
        body.extend_from_slice(&[r1, r2, r3, reports]);
        for chunk in symbols.chunks(SYMBOLS) {
            let bits = (0..SYMBOLS).fold(0, |bits, at| bits << 2 | chunk.get(at).copied().unwrap_or(0));
            body.extend_from_slice(&(0xc000 | bits).to_be_bytes());
        }
        body.extend_from_slice(&deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        rtcp::packet(out, FORMAT, FEEDBACK, &body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_when_is_told_and_what_is_missing_too() {
        let epoch = Instant::now();
        let ms = |ms| epoch + Duration::from_millis(ms);
        let mut transport = Transport::new(epoch);
        let mut out = Vec::new();
        assert_eq!(transport.next_due(), None);
        // 65,535 comes at 130 ms; 0 is lost; 1 comes at 131 ms, 2 before it at 130.5 ms; 3 a second later.
        transport.on_packet(65_535, 9, ms(130));
        transport.on_packet(2, 9, epoch + Duration::from_micros(130_500));
        transport.on_packet(1, 9, ms(131));
        assert_eq!(transport.next_due(), Some(ms(230)));
        transport.on_packet(3, 9, ms(1_131));
        transport.report(&mut out, 5, ms(229));
        assert!(out.is_empty());
        transport.report(&mut out, 5, ms(1_132));
        let expected = [
            &[0x8f, 205, 0, 6, 0, 0, 0, 5, 0, 0, 0, 9][..],
            // Base, count, reference time of 128 ms, the first report.
            &[0xff, 0xff, 0, 5, 0, 0, 2, 0],
            // Small, none, small, large, large.
            &[0b1101_0001, 0b1010_0000],
            // 2 ms, 1 ms, -0.5 ms, 1,000.5 ms.
            &[8, 4, 0xff, 0xfe, 0x0f, 0xa2],
        ]
        .concat();
        assert_eq!(out, expected);
        assert_eq!(transport.next_due(), None);
        out.clear();
        transport.on_packet(4, 9, ms(1_140));
        transport.report(&mut out, 5, ms(1_240));
        assert_eq!((out[13], out[15], out[19]), (4, 1, 1), "the second report goes on");
    }

    #[test]
    fn a_jump_does_not_make_a_report_of_everything_between() {
        let epoch = Instant::now();
        let mut transport = Transport::new(epoch);
        transport.on_packet(0, 9, epoch);
        transport.on_packet(30_000, 9, epoch);
        let mut out = Vec::new();
        transport.report(&mut out, 5, epoch + INTERVAL);
        assert_eq!(out[12..16], [0x75, 0x30, 0, 1]);
    }
}
