//! A stream that falls silent: its viewers are told soon that the node is there.
//!
//! While media flows reports go a second apart, and what comes says that the node lives. When nothing comes any more the
//! next report may be a second and a half away, and a client cannot tell a quiet publisher from a dead node so long.
//! And what its ring still holds grows old without anything that would push it out.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rand::Rng;

use super::machine::Sfu;
use super::session::Role;

/// A lane of which nothing has come for so long has fallen silent. With the ticks at which reports go, less than 300 ms.
const HUSH: Duration = Duration::from_millis(240);
/// What is older than a ring keeps is so much older at least.
const MOMENT: Duration = Duration::from_millis(1);
/// So many ticks of reports share those of a large audience.
const HUSH_TICKS: u64 = 4;

impl Sfu {
    /// A packet came into a lane.
    pub(super) fn lane_heard(&mut self, now: Instant, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.heard = Some(now);
        let due = now.checked_add(HUSH);
        // The timer is moved when it goes off, and not for each packet. One that is further off is the ring's.
        if lane.hush_due.is_none_or(|set| due.is_some_and(|due| due < set)) {
            lane.hush_due = due;
            self.timers.hushes.extend(lane.hush_due.map(|due| Reverse((due, at))));
        }
    }

    /// Makes a report due to the viewers of lanes that have fallen silent, and empties the rings of those that stay so.
    pub(super) fn hush_timeout(&mut self, now: Instant) {
        while let Some(Reverse((due, at))) = self.timers.hushes.peek().copied()
            && due <= now
        {
            self.timers.hushes.pop();
            let Some(lane) = self.lanes.get_mut(at).filter(|lane| lane.hush_due == Some(due)) else {
                continue;
            };
            let after = |rest: Duration| lane.heard.and_then(|heard| heard.checked_add(rest));
            let (hush, old) = (after(HUSH), after(self.config.ring.max_age.saturating_add(MOMENT)));
            lane.hush_due = [hush, old].into_iter().flatten().filter(|due| *due > now).min();
            self.timers.hushes.extend(lane.hush_due.map(|due| Reverse((due, at))));
            if old.is_some_and(|old| old <= now) {
                lane.ring.expire(now);
            }
            if hush != Some(due) {
                continue;
            }
            let viewers = lane.viewers.lend();
            for (session, _) in &viewers {
                self.hushed(now, *session);
            }
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.viewers.give_back(viewers);
            }
        }
    }

    /// A viewer to whom nothing else goes either is reported to at one of the next ticks.
    fn hushed(&mut self, now: Instant, session: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(session).map(|session| &mut session.role)
        else {
            return;
        };
        if viewer.is_quiet(now) {
            let due = viewer.hushed(now, &self.config.wall, self.rng.random_range(0..HUSH_TICKS));
            self.schedule(session, due);
        }
    }
}
