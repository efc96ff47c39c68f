//! What the shard's core can do now: virtual machines become a third faster or slower from one half minute to the next.
//!
//! The floor's work for a moment, on the core of the shard while that has nothing to do, and read on the other
//! core as the crowd reads: so it feels what the shard will feel.

use std::time::{Duration, Instant};

use super::floor::{Floor, Profile};
use super::measure::{Meter, pin};
use super::sinks::{Reading, Sinks};
use super::trace::{Moment, Trace};
use crate::{READER_CORE, WORKER_CORE};

const TIME: Duration = Duration::from_millis(150);
/// Frames sent before the reader is waited for: what a socket's buffer takes.
const FRAMES: usize = 6;

pub struct Gauge {
    sinks: Sinks,
    floor: Floor,
    frame: Moment,
}

impl Gauge {
    pub fn new(trace: &Trace, viewers: usize) -> Self {
        let sinks = Sinks::new(viewers, Reading::Read, READER_CORE);
        let floor = Floor::new(&sinks.addresses(), Profile::Gcm);
        let usual = |moment: &&Moment| moment.packets[0].video && !moment.packets[0].keyframe;
        let frame = trace.moments.iter().find(usual).unwrap().clone();
        Self { sinks, floor, frame }
    }

    /// Packets that the floor sends now in a second of CPU time: the shard may still be busy with what was asked for again.
    pub fn read(&mut self) -> f64 {
        pin(WORKER_CORE);
        let (begin, mut meter, mut packets) = (Instant::now(), Meter::default(), 0);
        while begin.elapsed() < TIME {
            let sent: usize = meter.time(|| (0..FRAMES).map(|_| self.floor.send(&self.frame.packets)).sum());
            packets += sent;
            self.sinks.expect(sent);
        }
        pin(READER_CORE);
        packets as f64 / meter.micros() * 1e6
    }
}
