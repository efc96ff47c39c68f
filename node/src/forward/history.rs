//! What a viewer says of packets by their transport-wide numbers, held against when they were sent.

use std::time::Duration;

use crate::forward::blank::Blank;
use crate::forward::rtcp::Twcc;

/// Packets remembered: two seconds of 4 Mbit/s, in 8 kB. A power of two.
const KEPT: u16 = 1_024;
/// Statuses of one feedback packet that are looked at: there are no more packets to tell of.
const STATUSES: usize = 1_024;
/// Microseconds of a tick of the viewer's arrival times.
const TICK: u32 = 250;
/// More than this between two packets is a clock that jumped, or a lie.
const SPAN_MAX: u32 = 10_000_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Missing,
    Arrived,
}

/// One packet: when it went, how large it was, and what was told of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    micros: u32,
    size: u16,
    told: Told,
}

/// The newest packet that arrived: when it was sent and when it came, each by its own clock, in microseconds that wrap.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    number: u16,
    sent: u32,
    came: u32,
}

/// What one feedback packet says of the path: the input of a bandwidth estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EstimateInput {
    /// Packets that came, each told once.
    pub arrived: u32,
    /// Bytes of them as sealed.
    pub bytes: u32,
    /// Packets that had not come, each told once; some of them come later.
    pub missing: u32,
    /// Packets that came although an earlier feedback missed them.
    pub late: u32,
    /// Packets that were never sent, or so long ago that they are forgotten.
    pub unknown: u32,
    /// Time in which they came, since the last of the feedback before.
    pub span: Duration,
    /// By how many microseconds the way became longer in that time: queues fill.
    pub growth: i64,
}

/// The packets sent to one viewer lately.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By the low bits of the number; empty until the first.
    sent: Vec<Sent>,
    /// How many packets stand in it.
    filled: u16,
    last: Option<Arrived>,
}

impl History {
    /// A history of nothing, in memory that another has left.
    pub fn within(memory: Blank<Sent>) -> Self {
        Self { sent: memory.into_list(), filled: 0, last: None }
    }

    /// It is over: what is left is its memory.
    pub fn into_memory(self) -> Blank<Sent> {
        let Self { sent, filled: _, last: _ } = self;
        Blank::of(sent)
    }

    /// Reads the place of a packet that will go, so that it is on its way from memory.
    pub fn glance(&self, number: u16) -> u64 {
        self.sent.get(usize::from(number % KEPT)).map_or(0, |place| u64::from(place.micros))
    }

    /// A packet of `size` bytes went with this number.
    pub fn note(&mut self, number: u16, micros: u32, size: usize) {
        if self.sent.is_empty() {
            self.sent.resize(usize::from(KEPT), Sent::default());
        }
        self.filled = self.filled.saturating_add(1).min(KEPT);
        if let Some(place) = self.sent.get_mut(usize::from(number % KEPT)) {
            *place = Sent { micros, size: u16::try_from(size).unwrap_or(u16::MAX), told: Told::Nothing };
        }
    }

    /// Takes feedback while `next` is the number of the next packet.
    pub fn feedback(&mut self, next: u16, twcc: Twcc<'_>) -> EstimateInput {
        let mut input = EstimateInput::default();
        let before = self.last;
        for (number, arrival) in twcc.statuses().take(STATUSES) {
            let behind = next.wrapping_sub(number);
            let place = self.sent.get_mut(usize::from(number % KEPT));
            let Some(place) = place.filter(|_| (1..=self.filled).contains(&behind)) else {
                input.unknown = input.unknown.saturating_add(1);
                continue;
            };
            match (place.told, arrival) {
                (Told::Arrived, _) | (Told::Missing, None) => {}
                (Told::Nothing, None) => {
                    place.told = Told::Missing;
                    input.missing = input.missing.saturating_add(1);
                }
                (told, Some(ticks)) => {
                    input.arrived = input.arrived.saturating_add(1);
                    input.late = input.late.saturating_add(u32::from(told == Told::Missing));
                    input.bytes = input.bytes.saturating_add(place.size.into());
                    place.told = Told::Arrived;
                    let arrived = Arrived { number, sent: place.micros, came: ticks.wrapping_mul(TICK) };
                    // One that was overtaken says nothing of the queue at its end.
                    let ahead = self.last.map_or(0, |last| last.number.wrapping_sub(number));
                    if !(1..=KEPT).contains(&ahead) {
                        self.last = Some(arrived);
                    }
                }
            }
        }
        if let (Some(before), Some(last)) = (before, self.last) {
            let (sent, came) = (last.sent.wrapping_sub(before.sent), last.came.wrapping_sub(before.came));
            if sent <= SPAN_MAX && came <= SPAN_MAX {
                input.span = Duration::from_micros(came.into());
                input.growth = i64::from(came).saturating_sub(i64::from(sent));
            }
        }
        input
    }
}

#[cfg(test)]
mod tests;
