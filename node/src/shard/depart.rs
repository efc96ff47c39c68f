//! How trains leave a shard, and what is lost when the system does not take them.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::forward::train::{Train, Trains};
use crate::socket::{Sent, Stop};

/// How often, and with what pauses, a full socket is tried again while the arena is full too.
const BUSY_TRIES: usize = 20;
pub(super) const BUSY_PAUSE: Duration = Duration::from_micros(100);

/// Where trains leave.
pub(super) trait Exit {
    /// Sends as many trains as there is room for, from the first on.
    fn try_send(&mut self, arena: &[u8], trains: &[Train]) -> Sent;
    /// What the last call left will not be sent. Returns the packets of it that have not gone.
    fn give_up(&mut self, left: &[Train]) -> usize;
    /// Waits a little for room.
    fn pause(&mut self);
}

/// What the system did not take.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Packets given up.
    pub dropped: u64,
    /// Packets that the system refused for good.
    pub refused: u64,
}

impl Lost {
    /// Sends what is pending as far as there is room; the rest stays, in order. Says why there is a rest.
    pub fn send(&mut self, trains: &mut Trains, exit: &mut impl Exit) -> Option<Stop> {
        let sent = exit.try_send(trains.arena(), trains.pending());
        trains.advance(sent.trains);
        self.refused = self.refused.saturating_add(u64::try_from(sent.refused).unwrap_or(u64::MAX));
        if let Some(error) = &sent.error {
            tracing::debug!(%error, packets = sent.refused, "the system refused packets");
        }
        sent.stop
    }

    /// Empties a full arena: waits a little for room, then gives up what is left and counts it.
    pub fn empty(&mut self, trains: &mut Trains, exit: &mut impl Exit) {
        for _ in 0..BUSY_TRIES {
            if self.send(trains, exit).is_none() {
                return;
            }
            exit.pause();
        }
        let packets = exit.give_up(trains.pending());
        self.dropped = self.dropped.saturating_add(u64::try_from(packets).unwrap_or(u64::MAX));
        trains.advance(trains.pending().len());
    }
}
