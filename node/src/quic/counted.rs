//! What the links of a relay counted together, those included that are gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use freshet_relay_proto::link::LinkCounters;
use freshet_relay_proto::split::JoinCounters;

/// The sum. Links tell theirs once a second and at their end.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<LinkCounters>);

impl Counted {
    fn sum(&self) -> MutexGuard<'_, LinkCounters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a link has counted since it told last.
    pub fn add(&self, told: &mut LinkCounters, now: LinkCounters) {
        let mut sum = self.sum();
        let before = std::mem::replace(told, now);
        let more = |sum: u64, now: u64, before: u64| sum.saturating_add(now.saturating_sub(before));
        *sum = LinkCounters {
            datagrams: more(sum.datagrams, now.datagrams, before.datagrams),
            malformed: more(sum.malformed, now.malformed, before.malformed),
            early: more(sum.early, now.early, before.early),
            frames: more(sum.frames, now.frames, before.frames),
            unknown_frames: more(sum.unknown_frames, now.unknown_frames, before.unknown_frames),
            parts: JoinCounters {
                joined: more(sum.parts.joined, now.parts.joined, before.parts.joined),
                expired: more(sum.parts.expired, now.parts.expired, before.parts.expired),
                evicted: more(sum.parts.evicted, now.parts.evicted, before.parts.evicted),
                refused: more(sum.parts.refused, now.parts.refused, before.parts.refused),
            },
        };
    }

    /// A datagram came before the connection was a link.
    pub fn early(&self) {
        let mut sum = self.sum();
        sum.early = sum.early.saturating_add(1);
    }

    /// The sum now.
    pub fn get(&self) -> LinkCounters {
        *self.sum()
    }
}
