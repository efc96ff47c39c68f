//! Serving → Draining → Stopping → Stopped. Pure: signals, ends of work and `now` come in; actions come out.

use std::time::{Duration, Instant};

/// The last step ends within this time, done or not: 5 s less a margin for the process itself.
pub const STOP_LIMIT: Duration = Duration::from_millis(4_500);

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It takes sessions.
    Serving,
    /// It takes no new ones and waits for those it has.
    Draining,
    /// Sessions are told, the lease is given up.
    Stopping,
    /// The process ends.
    Stopped,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Refuse new sessions.
    Drain,
    /// Tell sessions, give up the lease.
    Stop,
    /// End the process; `clean` when the last step was done in time.
    Exit {
        /// The last step was done in time.
        clean: bool,
    },
}

/// The life of one process.
#[derive(Debug)]
pub struct Lifecycle {
    phase: Phase,
    drain_timeout: Duration,
    deadline: Option<Instant>,
    action: Option<Action>,
}

impl Lifecycle {
    /// A process that serves.
    pub fn new(drain_timeout: Duration) -> Self {
        Self { phase: Phase::Serving, drain_timeout, deadline: None, action: None }
    }

    /// SIGTERM: drain; the second time, the last step at once.
    pub fn handle_terminate(&mut self, now: Instant) {
        match self.phase {
            Phase::Serving if self.drain_timeout.is_zero() => self.stop(now),
            Phase::Serving => {
                self.phase = Phase::Draining;
                // A time-out beyond what the clock can count never comes.
                self.deadline = now.checked_add(self.drain_timeout);
                self.action = Some(Action::Drain);
            }
            Phase::Draining => self.stop(now),
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// Ctrl-C: the last step at once.
    pub fn handle_interrupt(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Serving | Phase::Draining) {
            self.stop(now);
        }
    }

    /// The last session has left.
    pub fn handle_drained(&mut self, now: Instant) {
        if self.phase == Phase::Draining {
            self.stop(now);
        }
    }

    /// The last step is done.
    pub fn handle_stopped(&mut self) {
        if self.phase == Phase::Stopping {
            self.exit(true);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        match self.phase {
            Phase::Draining => self.stop(now),
            Phase::Stopping => self.exit(false),
            Phase::Serving | Phase::Stopped => {}
        }
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// What to do now; ask after each call above.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// Where the process is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn stop(&mut self, now: Instant) {
        self.phase = Phase::Stopping;
        self.deadline = now.checked_add(STOP_LIMIT);
        self.action = Some(Action::Stop);
    }

    fn exit(&mut self, clean: bool) {
        self.phase = Phase::Stopped;
        self.deadline = None;
        self.action = Some(Action::Exit { clean });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn begin(drain: Duration) -> (Lifecycle, Instant) {
        (Lifecycle::new(drain), Instant::now())
    }

    #[test]
    fn a_signal_drains_then_time_stops_then_it_exits() {
        let (mut life, t) = begin(MINUTE);
        assert_eq!((life.phase(), life.poll_timeout()), (Phase::Serving, None));
        life.handle_terminate(t);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Draining, Some(Action::Drain)));
        assert_eq!(life.poll_timeout(), Some(t + MINUTE));
        life.handle_timeout(t + MINUTE - Duration::from_millis(1));
        assert_eq!(life.poll_action(), None, "not before its time");
        life.handle_timeout(t + MINUTE);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopping, Some(Action::Stop)));
        life.handle_stopped();
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopped, Some(Action::Exit { clean: true })));
        assert_eq!(life.poll_timeout(), None);
    }

    #[test]
    fn the_last_session_ends_a_drain_early() {
        let (mut life, t) = begin(MINUTE);
        life.handle_terminate(t);
        life.handle_drained(t);
        assert_eq!(life.phase(), Phase::Stopping);
    }

    #[test]
    fn a_second_signal_and_ctrl_c_go_to_the_last_step_at_once() {
        let (mut life, t) = begin(MINUTE);
        life.handle_terminate(t);
        life.handle_terminate(t);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopping, Some(Action::Stop)));
        let (mut life, t) = begin(MINUTE);
        life.handle_interrupt(t);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopping, Some(Action::Stop)));
        let (mut life, t) = begin(MINUTE);
        life.handle_terminate(t);
        life.handle_interrupt(t);
        assert_eq!(life.phase(), Phase::Stopping);
    }

    #[test]
    fn without_a_drain_timeout_a_signal_stops_at_once() {
        let (mut life, t) = begin(Duration::ZERO);
        life.handle_terminate(t);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopping, Some(Action::Stop)));
    }

    #[test]
    fn a_last_step_that_hangs_is_left_behind_in_time() {
        let (mut life, t) = begin(Duration::ZERO);
        life.handle_interrupt(t);
        life.poll_action();
        life.handle_timeout(t + STOP_LIMIT);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Stopped, Some(Action::Exit { clean: false })));
        assert!(STOP_LIMIT < Duration::from_secs(5));
    }

    #[test]
    fn late_news_and_more_signals_change_nothing() {
        let (mut life, t) = begin(MINUTE);
        life.handle_drained(t);
        life.handle_stopped();
        life.handle_timeout(t + MINUTE);
        assert_eq!((life.phase(), life.poll_action()), (Phase::Serving, None));
        life.handle_interrupt(t);
        life.poll_action();
        let deadline = life.poll_timeout();
        life.handle_interrupt(t + MINUTE);
        life.handle_terminate(t + MINUTE);
        life.handle_drained(t + MINUTE);
        assert_eq!(
            (life.poll_action(), life.poll_timeout()),
            (None, deadline),
            "no signal prolongs the last step"
        );
        life.handle_stopped();
        life.poll_action();
        life.handle_stopped();
        assert_eq!(life.poll_action(), None);
        let (mut endless, t) = begin(Duration::MAX);
        endless.handle_terminate(t);
        endless.handle_timeout(t + 1000 * MINUTE);
        assert_eq!(endless.phase(), Phase::Draining);
    }
}
