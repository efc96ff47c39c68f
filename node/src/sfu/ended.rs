//! Why sessions ended, for as long as somebody may ask.
//!
//! The machine that ends a session remembers why in the same step, before its client can hear of the end: a publisher
//! that asks the moment its DTLS closes must read that another took over, or it would publish again and fight.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;

/// How long a reason is known.
const KEPT: Duration = Duration::from_secs(60);
/// Reasons kept; older ones go first.
const KEPT_MAX: usize = 10_000;

/// Reasons of sessions that ended within the last minute, 10,000 at most.
#[derive(Debug, Default)]
pub struct Ended {
    order: VecDeque<(Instant, SessionId)>,
    reasons: HashMap<SessionId, EndReason>,
}

impl Ended {
    /// A session has ended.
    pub fn note(&mut self, now: Instant, session: SessionId, reason: EndReason) {
        while let Some((at, oldest)) = self.order.front()
            && (self.order.len() >= KEPT_MAX || now.saturating_duration_since(*at) >= KEPT)
        {
            self.reasons.remove(oldest);
            self.order.pop_front();
        }
        if self.reasons.insert(session, reason).is_none() {
            self.order.push_back((now, session));
        }
    }

    /// Why a session ended; nothing when it has not, or too long ago.
    pub fn reason(&self, session: SessionId) -> Option<EndReason> {
        self.reasons.get(&session).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(n: u128) -> SessionId {
        SessionId::from_bits(n)
    }

    #[test]
    fn a_reason_is_known_for_a_minute() {
        let start = Instant::now();
        let mut ended = Ended::default();
        ended.note(start, id(1), EndReason::TakenOver);
        ended.note(start + Duration::from_secs(59), id(2), EndReason::Closed);
        assert_eq!(ended.reason(id(1)), Some(EndReason::TakenOver));
        ended.note(start + KEPT, id(3), EndReason::Drained);
        assert_eq!(ended.reason(id(1)), None);
        assert_eq!(
            (ended.reason(id(2)), ended.reason(id(3))),
            (Some(EndReason::Closed), Some(EndReason::Drained))
        );
    }

    #[test]
    fn the_oldest_make_room_when_very_many_end_at_once() {
        let now = Instant::now();
        let mut ended = Ended::default();
        for n in 0..=KEPT_MAX {
            ended.note(now, id(n as u128), EndReason::Closed);
        }
        assert_eq!(ended.reason(id(0)), None);
        assert_eq!(ended.reason(id(1)), Some(EndReason::Closed));
        assert_eq!((ended.order.len(), ended.reasons.len()), (KEPT_MAX, KEPT_MAX));
    }
}
