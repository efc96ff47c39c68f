//! What is written into a packet when it is sent: the time, and its place in all that goes to one viewer.

use crate::forward::blank::Blank;
use crate::forward::history::{EstimateInput, History, Sent};
use crate::forward::rtcp::Twcc;
use crate::forward::rtp::{ExtensionIds, Stamps, abs_send_time};
use crate::media::clock::NtpTime;
use crate::media::packet::CaptureMicros;
use crate::media::wrap::low_32;

/// The moment of a flush, made once for all packets that a viewer gets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SentAt {
    /// Microseconds of the node's wall clock; they wrap after 71 minutes.
    pub micros: u32,
    /// The same as `abs-send-time` has it.
    abs: u32,
}

impl SentAt {
    /// From the wall clock at the beginning of the flush.
    pub fn new(wall: CaptureMicros) -> Self {
        Self { micros: low_32(wall.0), abs: abs_send_time(NtpTime::from_wall(wall)) }
    }
}

/// Numbers all packets of one viewer, whatever their SSRC, and remembers when they went.
#[derive(Debug, Clone, Default)]
pub struct Stamper {
    /// The transport-wide number of the next packet.
    next: u16,
    history: History,
}

impl Stamper {
    /// One that has numbered nothing, in memory that another has left.
    pub fn within(memory: Blank<Sent>) -> Self {
        Self { next: 0, history: History::within(memory) }
    }

    /// It is over: what is left is its memory.
    pub fn into_memory(self) -> Blank<Sent> {
        let Self { next: _, history } = self;
        history.into_memory()
    }

    /// Reads what sending will read and write, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        u64::from(self.next) ^ self.history.glance(self.next)
    }

    /// What the next packet carries, as far as the viewer negotiated it.
    pub fn stamps(&self, ids: &ExtensionIds, at: SentAt) -> Stamps {
        Stamps {
            abs_send_time: ids.abs_send_time.map(|_| at.abs),
            transport_cc: ids.transport_cc.map(|_| self.next),
        }
    }

    /// A packet of `size` bytes with these stamps stands in a train: its number is used up.
    pub fn sent(&mut self, stamps: Stamps, at: SentAt, size: usize) {
        if let Some(number) = stamps.transport_cc {
            self.next = number.wrapping_add(1);
            self.history.note(number, at.micros, size);
        }
    }

    /// What the viewer tells of packets by their numbers.
    pub fn feedback(&mut self, twcc: Twcc<'_>) -> EstimateInput {
        self.history.feedback(self.next, twcc)
    }
}

/// The sequence numbers of an SSRC that have been sent for the first time.
///
/// A stamped packet is sealed once under its number: a second time its stamps were others, and under AES-GCM two
/// plaintexts under one nonce give the key away. Whoever feeds an outlet sends each packet once; this holds when a
/// feeder does not.
#[derive(Debug, Clone, Default)]
pub struct Once {
    newest: u64,
    /// Bit n: `newest - n` has been sent.
    seen: u128,
}

impl Once {
    /// Reads what sending will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        self.newest
    }

    /// Whether this is the first time, as far as it can be told: what is far behind is taken for sent.
    pub fn first(&mut self, seq: u64) -> bool {
        if seq > self.newest {
            let ahead = u32::try_from(seq - self.newest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = seq;
            return true;
        }
        let bit = u32::try_from(self.newest - seq).ok().and_then(|behind| 1_u128.checked_shl(behind));
        let Some(bit) = bit.filter(|bit| self.seen & bit == 0) else { return false };
        self.seen |= bit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_passes_once_and_what_is_far_behind_not_at_all() {
        let mut once = Once::default();
        let passed: Vec<bool> =
            [5, 5, 7, 6, 6, 7, 300, 299, 172, 173, 173, 5, u64::MAX, 300].map(|seq| once.first(seq)).to_vec();
        assert_eq!(
            passed,
            [true, false, true, true, false, false, true, true, false, true, false, false, true, false]
        );
    }

    #[test]
    fn numbers_wrap_and_only_count_what_was_sent_with_one() {
        let ids = ExtensionIds { transport_cc: Some(3), ..ExtensionIds::default() };
        let at = SentAt::new(CaptureMicros(1_800_000_000_000_000));
        let mut stamper = Stamper { next: u16::MAX, ..Stamper::default() };
        assert_eq!(stamper.stamps(&ids, at).transport_cc, Some(u16::MAX));
        stamper.sent(Stamps::default(), at, 100);
        assert_eq!(stamper.stamps(&ids, at).transport_cc, Some(u16::MAX), "a packet without a number");
        stamper.sent(stamper.stamps(&ids, at), at, 100);
        assert_eq!(stamper.stamps(&ids, at).transport_cc, Some(0));
        assert_eq!(stamper.stamps(&ids, at).abs_send_time, None, "not negotiated");
    }

    #[test]
    fn the_time_is_that_of_the_flush_in_units_of_four_microseconds() {
        let ids = ExtensionIds { abs_send_time: Some(2), ..ExtensionIds::default() };
        let start = 1_800_000_000_000_000;
        let of = |micros: u64| {
            let at = SentAt::new(CaptureMicros(start + micros));
            i64::from(Stamper::default().stamps(&ids, at).abs_send_time.unwrap())
        };
        for (micros, units) in
            [(0, 0_i64), (1_000_000, 1 << 18), (33_333, 8_738), (63_999_999, (64 << 18) - 1)]
        {
            let told = (of(micros) - of(0)).rem_euclid(1 << 24);
            assert!((told - units).abs() <= 1, "{micros} µs: {told}, not {units}");
        }
    }
}
