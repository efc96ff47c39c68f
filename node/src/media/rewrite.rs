//! One outgoing SSRC from many sources: sequence numbers and timestamps without a seam.
//!
//! A viewer's slot shows one source after another: a join, a layer switch, a publisher that came back. The decoder
//! must see one stream, so a source begins at the next free sequence number and at a timestamp that has advanced by
//! the time that passed. Inside a source the origin's index decides: a gap stays a gap, so that the viewer asks for
//! it, a packet that comes late fits into its gap, and a sequence number in a NACK leads back to the index. Packets
//! left out on purpose close up, so that nobody asks for them.
//!
//! Refused: packets before the place where their source began for this viewer, and packets whose source has ended or
//! has been forgotten.

use std::collections::VecDeque;
use std::time::Instant;

/// Runs of consecutive packets remembered for late packets and NACKs: two seconds of a stream of which every second
/// frame is left out at 60 frames a second. Of such a one, what is older is not sent again, however long rings are.
const MAX_RUNS: usize = 128;
/// A wider gap closes up, though the largest rings would still take its packets: nobody asks for so many, and sequence
/// numbers must stay within half their range.
const MAX_GAP: u64 = 8_192;

/// One stay of one source in a slot. Never used twice in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceEpoch(pub u32);

/// Where a source begins for this viewer.
#[derive(Debug, Clone, Copy)]
pub struct SourceStart {
    /// Index of the first packet that has a place. It need not be the one that is sent first.
    pub index: u64,
    /// RTP timestamp of the frame that it begins.
    pub timestamp: u32,
    /// Ticks of the RTP clock in a second.
    pub clock_rate: u32,
    /// When its media is due: the capture time on this node's clock, or `now` when there is none. The same choice for
    /// every call of one slot.
    pub at: Instant,
    /// The latest timestamp that went out, if that is not the newest packet's: pictures need not come in their order.
    pub latest: Option<u32>,
}

/// What a packet is called on the outgoing SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Extended sequence number; the roll-over counter is 0 at first.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
}

impl Outgoing {
    /// The sequence number as it stands in the header.
    pub fn seq16(self) -> u16 {
        let [.., high, low] = self.seq.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The roll-over counter that SRTP seals with (RFC 3711 section 3.3.1).
    pub fn roc(self) -> u32 {
        let [_, _, a, b, c, d, _, _] = self.seq.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Why a packet is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its source is not on this slot, or no longer remembered.
    #[error("the packet's source is not on this slot")]
    UnknownSource,
    /// It comes before the place where the viewer joined the source.
    #[error("the packet comes before the place where the viewer joined")]
    BeforeStart,
    /// It was left out on purpose, or its gap has been closed.
    #[error("the packet was left out or its gap has been closed")]
    LeftOut,
}

/// Consecutive indexes that map to consecutive sequence numbers.
#[derive(Debug, Clone, Copy)]
struct Run {
    source: SourceEpoch,
    first_index: u64,
    /// One past the last index; [`u64::MAX`] while the run is open.
    end_index: u64,
    first_seq: u64,
    /// Added to a source timestamp.
    shift: u32,
}

impl Run {
    fn seq(&self, index: u64) -> u64 {
        self.first_seq.saturating_add(index.saturating_sub(self.first_index))
    }
}

/// The newest packet that went out.
#[derive(Debug, Clone, Copy)]
struct Newest {
    index: u64,
    outgoing: Outgoing,
    at: Instant,
}

/// The numbering of one viewer's slot.
#[derive(Debug, Clone)]
pub struct Rewriter {
    /// The newest run stands here, where nothing has to be fetched for it.
    last: Option<Run>,
    /// Those before it, oldest first.
    earlier: VecDeque<Run>,
    next_epoch: u32,
    /// What the next source starts with while nothing has gone out.
    first: Outgoing,
    newest: Option<Newest>,
    clock_rate: u32,
}

impl Rewriter {
    /// A slot whose first sequence number is made of `random_seq`, in 1 to 32,767, and whose first timestamp is
    /// `random_timestamp` (RFC 3550 section 5.1 wants both unpredictable).
    ///
    /// The lower half matters: a receiver that misses the first packets still guesses a roll-over counter of 0.
    pub fn new(random_seq: u16, random_timestamp: u32) -> Self {
        let seq = u64::from(random_seq & 0x7fff).max(1);
        Self {
            last: None,
            earlier: VecDeque::new(),
            next_epoch: 1,
            first: Outgoing { seq, timestamp: random_timestamp },
            newest: None,
            clock_rate: 90_000,
        }
    }

    /// Begins a source: a join, a new generation, another layer, or the same one after a pause.
    ///
    /// Its first packet gets the next sequence number, and a timestamp later than the newest by the time between them.
    pub fn begin(&mut self, start: SourceStart) -> SourceEpoch {
        let epoch = SourceEpoch(self.next_epoch);
        self.next_epoch = self.next_epoch.wrapping_add(1);
        self.clock_rate = start.clock_rate;
        let outgoing = match self.newest {
            None => self.first,
            Some(newest) => {
                let latest = later(newest.outgoing.timestamp, start.latest);
                Outgoing {
                    seq: newest.outgoing.seq.saturating_add(1),
                    timestamp: latest.wrapping_add(ticks(newest.at, start.at, start.clock_rate)),
                }
            }
        };
        self.close_last();
        self.open(Run {
            source: epoch,
            first_index: start.index,
            end_index: u64::MAX,
            first_seq: outgoing.seq,
            shift: outgoing.timestamp.wrapping_sub(start.timestamp),
        });
        epoch
    }

    /// The source whose packets go out now.
    pub fn epoch(&self) -> Option<SourceEpoch> {
        self.last.map(|run| run.source)
    }

    /// The first index of the source whose packets go out now that has a place, or of what has not been closed up yet.
    pub fn first_index(&self) -> Option<u64> {
        self.last.map(|run| run.first_index)
    }

    /// The packet that went out with the highest sequence number.
    pub fn newest(&self) -> Option<Outgoing> {
        self.newest.map(|newest| newest.outgoing)
    }

    /// Reads what renumbering will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        self.newest.map_or(0, |newest| newest.index) ^ self.first_index().unwrap_or_default()
    }

    /// When it went.
    pub fn newest_at(&self) -> Option<Instant> {
        self.newest.map(|newest| newest.at)
    }

    /// The name of a packet on the outgoing SSRC; the same for every call with the same packet.
    ///
    /// # Errors
    /// [`Refused`] when the packet has no place: it is not to be sent.
    pub fn map(
        &mut self,
        source: SourceEpoch,
        index: u64,
        timestamp: u32,
        at: Instant,
    ) -> Result<Outgoing, Refused> {
        if self.epoch() == Some(source) {
            self.close_wide_gap(index);
        }
        let mut refused = Refused::UnknownSource;
        for run in self.last.iter().chain(self.earlier.iter().rev()) {
            if run.source != source {
                if refused == Refused::UnknownSource {
                    continue;
                }
                break;
            }
            if index < run.first_index {
                refused = Refused::BeforeStart;
            } else if index >= run.end_index {
                return Err(Refused::LeftOut);
            } else {
                let outgoing = Outgoing { seq: run.seq(index), timestamp: timestamp.wrapping_add(run.shift) };
                if self.newest.is_none_or(|newest| outgoing.seq > newest.outgoing.seq) {
                    self.newest = Some(Newest { index, outgoing, at });
                }
                return Ok(outgoing);
            }
        }
        Err(refused)
    }

    /// Leaves a packet of the present source out for good, so that the next one takes its sequence number.
    ///
    /// False: it is too late, because a later packet has gone out or the source is another; the packet stays a gap.
    pub fn skip(&mut self, source: SourceEpoch, index: u64) -> bool {
        let newest = self.newest;
        let (Some(run), Some(next)) = (self.last.as_mut(), index.checked_add(1)) else { return false };
        let sent = newest.filter(|newest| newest.outgoing.seq >= run.first_seq);
        if run.source != source || index < run.first_index || sent.is_some_and(|sent| sent.index >= index) {
            return false;
        }
        let after = Run { first_index: next, first_seq: run.seq(index), ..*run };
        if index == run.first_index {
            *run = after;
        } else {
            run.end_index = index;
            self.open(after);
        }
        true
    }

    /// The source and index of a packet that went out, from the sequence number in a viewer's NACK.
    ///
    /// None for numbers never used, forgotten, or more than half the range old.
    pub fn reverse(&self, seq16: u16) -> Option<(SourceEpoch, u64)> {
        let newest = self.newest?.outgoing;
        let behind = newest.seq16().wrapping_sub(seq16);
        if behind >= 0x8000 {
            return None;
        }
        let seq = newest.seq.checked_sub(u64::from(behind))?;
        let run = self.runs().find(|run| run.first_seq <= seq && run.end_index > run.first_index)?;
        let index = run.first_index.checked_add(seq - run.first_seq)?;
        (index < run.end_index).then_some((run.source, index))
    }

    /// The sequence number behind the newest that went out.
    fn next_seq(&self) -> u64 {
        self.newest.map_or(self.first.seq, |newest| newest.outgoing.seq.saturating_add(1))
    }

    /// Ends the runs behind the newest packet that went out.
    fn close_last(&mut self) {
        let next_seq = self.next_seq();
        while self.last.is_some_and(|run| run.first_seq >= next_seq) {
            self.last = self.earlier.pop_back();
        }
        if let (Some(run), Some(newest)) = (self.last.as_mut(), self.newest) {
            run.end_index = run.end_index.min(newest.index.saturating_add(1));
        }
    }

    /// Starts a new run of the present source where the origin jumped further than anyone can ask back.
    fn close_wide_gap(&mut self, index: u64) {
        let Some(run) = self.last else { return };
        let sent = self.newest.filter(|newest| newest.outgoing.seq >= run.first_seq);
        let next = sent.map_or(run.first_index, |sent| sent.index.saturating_add(1));
        if index.saturating_sub(next) > MAX_GAP {
            self.close_last();
            self.open(Run { first_index: index, first_seq: self.next_seq(), ..run });
        }
    }

    fn open(&mut self, run: Run) {
        self.earlier.extend(self.last.replace(run));
        if self.earlier.len() >= MAX_RUNS {
            self.earlier.pop_front();
        }
    }

    /// From the newest on.
    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.last.iter().chain(self.earlier.iter().rev())
    }
}

/// The later of two timestamps on their circle.
fn later(timestamp: u32, other: Option<u32>) -> u32 {
    other.filter(|other| other.wrapping_sub(timestamp).cast_signed() > 0).unwrap_or(timestamp)
}

/// Ticks from one moment to a later one, at least one.
fn ticks(from: Instant, to: Instant, clock_rate: u32) -> u32 {
    let micros = to.saturating_duration_since(from).as_micros();
    let ticks = micros.saturating_mul(u128::from(clock_rate)) / 1_000_000;
    let [.., a, b, c, d] = ticks.max(1).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
