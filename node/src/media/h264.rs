//! H.264 that can be begun with at each of its keyframes.
//!
//! A decoder needs sequence and picture parameter sets before an IDR picture. Most publishers send them in front of each,
//! in its access unit; some send them once, or in an access unit of their own, and who joins later has none. [`H264`]
//! stands where a publisher's packets get their index. It remembers the sets, and where they are missing it asks for them
//! to be put in front, as packets like any other: so no ring, hop or viewer behind it has to know. All that comes later
//! in the publisher's numbers moves up by as many; what is late keeps the place that it would have had.
//!
//! It also tells keyframes. A viewer, or a link that has dropped something, begins with the first packet that is marked,
//! so a mark promises that the sets come no earlier. While a publisher's sets come in front of IDR pictures and nowhere
//! else, the mark stands on them. Once they were seen apart, it stands on sets that were put in front, for every IDR
//! picture: sets that come twice do no harm. A publisher without IDR pictures has nothing better than its sets: all of
//! them are marked, apart or not.

mod numbers;
mod sets;

use std::time::{Duration, Instant};

use super::codec::h264::{PPS, SPS, Unit, units};
use numbers::Numbers;
use sets::Sets;

/// Other NAL unit types (ITU-T H.264 table 7-1).
const SLICE: u8 = 1;
const PARTITION_A: u8 = 2;
const IDR: u8 = 5;
const SEI: u8 = 6;
/// SEI payload type of a recovery point (ITU-T H.264 table D-1).
const RECOVERY_POINT: u8 = 6;

/// Sets are put in front at most so often: a publisher of nothing but keyframes does not double its packets.
const APART: Duration = Duration::from_millis(100);

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its index.
    pub index: u64,
    /// A decoder can begin here: see above.
    pub keyframe: bool,
    /// So many sets go in front of it, under the indices right below its own: [`H264::sets`].
    pub sets: u64,
}

/// What a packet, or an access unit so far, holds.
#[derive(Debug, Clone, Copy, Default)]
struct Contents {
    sps: bool,
    pps: bool,
    /// An IDR picture begins.
    idr: bool,
    /// Another picture begins.
    other: bool,
    recovers: bool,
}

impl Contents {
    fn add(&mut self, unit: Unit<'_>) {
        if !unit.begins {
            return;
        }
        match unit.kind {
            SPS => self.sps = true,
            PPS => self.pps = true,
            IDR => self.idr = true,
            SLICE | PARTITION_A => self.other = true,
            SEI => self.recovers |= unit.whole.is_some_and(has_recovery_point),
            _ => {}
        }
    }

    fn join(&mut self, more: Self) {
        self.sps |= more.sps;
        self.pps |= more.pps;
        self.idr |= more.idr;
        self.other |= more.other;
        self.recovers |= more.recovers;
    }
}

/// The access unit with the newest packet.
#[derive(Debug, Clone, Copy, Default)]
struct AccessUnit {
    timestamp: u32,
    /// Nothing of it is missing up to the newest packet.
    whole: bool,
    holds: Contents,
    /// A set of its own was marked.
    marked: bool,
    /// Of its first IDR slice: whether it is marked.
    opens: Option<bool>,
}

/// One encoding of a publisher, in the order in which its packets come.
#[derive(Debug, Default)]
pub struct H264 {
    newest: Option<u64>,
    unit: AccessUnit,
    sets: Sets,
    /// Sets were seen apart from IDR pictures, or such a picture without.
    apart: bool,
    /// An IDR picture of this source was seen.
    keyed: bool,
    numbers: Numbers,
    last: Option<Instant>,
}

impl H264 {
    /// Gives a packet of another codec its index; none when it is later than is remembered.
    pub fn index(&mut self, seq: u64) -> Option<u64> {
        self.numbers.give(seq)
    }

    /// The numbers begin anew, as those of another SSRC do: the next packet gets the index behind the highest so far.
    pub fn restart(&mut self) {
        self.numbers.restart();
        (self.newest, self.unit, self.keyed) = (None, AccessUnit::default(), false);
        self.sets.restart();
    }

    /// Sequence sets, then picture sets, as NAL units.
    pub fn sets(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter()
    }

    /// Takes a packet with this extended sequence number; none when it is later than is remembered.
    pub fn take(&mut self, seq: u64, timestamp: u32, now: Instant, payload: &[u8]) -> Option<Taken> {
        let mut index = self.numbers.give(seq)?;
        let late = self.newest.is_some_and(|newest| seq <= newest);
        // What came before the first packet is not known.
        let follows = self.newest.is_some_and(|newest| newest.checked_add(1) == Some(seq));
        let same = self.newest.is_some() && self.unit.timestamp == timestamp;
        if !late {
            self.newest = Some(seq);
            if same {
                self.unit.whole &= follows;
            } else {
                let AccessUnit { whole, holds, .. } = self.unit;
                // Sets alone.
                self.apart |= whole && follows && holds.sps && !holds.idr && !holds.other;
                self.unit = AccessUnit { timestamp, whole: follows, ..AccessUnit::default() };
            }
        }
        let (mut holds, sets) = (Contents::default(), &mut self.sets);
        units(payload, |unit| {
            holds.add(unit);
            if let (SPS | PPS, Some(bytes)) = (unit.kind, unit.whole) {
                sets.remember(seq, bytes);
            }
        });
        if late && !same {
            let keyframe = self.begins(holds) || holds.idr && !self.sets.is_complete();
            return Some(Taken { index, keyframe, sets: 0 });
        }
        let begins = holds.other && !self.unit.holds.other;
        self.unit.holds.join(holds);
        if begins && self.keyed && self.unit.whole && self.unit.holds.sps && !self.unit.holds.recovers {
            // Sets in front of a picture that cannot be begun with.
            self.apart = true;
        }
        let mut keyframe = self.begins(holds);
        self.unit.marked |= keyframe;
        let mut added = 0;
        if holds.idr {
            self.keyed = true;
            match self.unit.opens {
                Some(opens) => keyframe |= opens,
                None => {
                    let opens = self.opens(late);
                    if opens == Opens::WithSets && self.is_time(now) {
                        added = self.sets.len();
                        index = self.numbers.make_room(seq, added);
                    }
                    keyframe |= opens == Opens::AsItIs || added > 0;
                    self.unit.opens = Some(keyframe);
                }
            }
        }
        Some(Taken { index, keyframe, sets: added })
    }

    /// A decoder can begin with a packet's own sets.
    fn begins(&self, holds: Contents) -> bool {
        holds.sps && (!self.apart || !self.keyed)
    }

    /// Whether a decoder can begin with the access unit whose first IDR slice has come.
    fn opens(&mut self, late: bool) -> Opens {
        let AccessUnit { whole, holds, marked, .. } = self.unit;
        let own = holds.sps && holds.pps;
        self.apart |= whole && !own;
        if own && marked || !self.sets.is_complete() {
            // Without sets the client may have them from elsewhere, or the decoder from before.
            Opens::AsItIs
        } else if late || !(own || whole || self.apart) {
            // There is no room in front of what has its index; and sets that are on their way come behind no others.
            Opens::Not
        } else {
            Opens::WithSets
        }
    }

    fn is_time(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= APART);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// How a decoder can begin with an IDR picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    /// Its sets come before it.
    AsItIs,
    /// Once the remembered sets are put in front.
    WithSets,
    Not,
}

/// An SEI unit holds a recovery point message (ITU-T H.264 section 7.3.2.3.1).
fn has_recovery_point(unit: &[u8]) -> bool {
    let mut rest = unit.get(1..).unwrap_or_default();
    // What is left of the smallest message: type and size.
    while rest.len() >= 2 {
        let Some((kind, after)) = coded(rest) else { return false };
        if kind == usize::from(RECOVERY_POINT) {
            return true;
        }
        let Some((size, body)) = coded(after) else { return false };
        rest = body.get(size..).unwrap_or_default();
    }
    false
}

/// A number in steps of 255, and what follows it.
fn coded(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 0xff).count();
    let (last, rest) = bytes.get(full..)?.split_first()?;
    Some((full * 255 + usize::from(*last), rest))
}

#[cfg(test)]
mod tests;
