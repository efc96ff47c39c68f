//! The offset between two clocks, from samples that are late by a random delay.

/// Samples further off than this are a clock that jumped, or a network that stood still.
const JUMP_MICROS: i64 = 1_000_000;
/// For so long after an anchor, the offset follows the smallest sample at once.
const SETTLE_MICROS: u64 = 3_000_000;
/// Length of one of the two windows whose smallest sample is followed.
const WINDOW_MICROS: u64 = 15_000_000;
/// The offset falls by at most a twentieth of the time that passes, and rises by at most a two-hundredth: enough for
/// any quartz, too little to hear or see.
const FALL_DIVISOR: u64 = 20;
const RISE_DIVISOR: u64 = 200;

/// What a sample was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It agrees with the offset.
    Steady,
    /// It is far off; the offset stays until more samples agree with it.
    Suspect,
    /// It is the first, or the clock has jumped: the offset starts anew.
    Anchored,
}

/// How much it takes to believe in a jump to later samples (they may be a stalled network).
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Far-off samples in a row.
    pub samples: u32,
    /// Time from the first of them to the last.
    pub micros: u64,
}

/// Follows the smallest difference of two clocks: the sample that was delayed least.
#[derive(Debug, Clone)]
pub(super) struct OffsetFilter {
    state: Option<State>,
    suspects: u32,
    suspect_since: u64,
    suspect_min: i64,
}

#[derive(Debug, Clone)]
struct State {
    offset: i64,
    anchored_at: u64,
    moved_at: u64,
    window_start: u64,
    window_min: i64,
    before_min: i64,
}

impl OffsetFilter {
    pub fn new() -> Self {
        Self { state: None, suspects: 0, suspect_since: 0, suspect_min: i64::MAX }
    }

    /// The offset in microseconds.
    pub fn offset(&self) -> Option<i64> {
        self.state.as_ref().map(|state| state.offset)
    }

    /// Takes a sample (receiver's clock minus sender's, in microseconds) measured at `at` on the receiver's clock.
    /// `patience` is what it takes to believe this one, should it be late.
    pub fn observe(&mut self, sample: i64, at: u64, patience: Patience) -> Verdict {
        let Some(state) = &mut self.state else { return self.anchor(sample, at) };
        let error = sample.saturating_sub(state.before_min.min(state.window_min));
        if error < -JUMP_MICROS {
            return self.anchor(sample, at);
        }
        if error > JUMP_MICROS {
            return self.suspect(sample, at, patience);
        }
        self.suspects = 0;
        state.take(sample, at);
        Verdict::Steady
    }

    fn suspect(&mut self, sample: i64, at: u64, patience: Patience) -> Verdict {
        if self.suspects == 0 || sample.abs_diff(self.suspect_min) > JUMP_MICROS.unsigned_abs() {
            (self.suspects, self.suspect_since, self.suspect_min) = (0, at, sample);
        }
        self.suspects = self.suspects.saturating_add(1);
        self.suspect_min = self.suspect_min.min(sample);
        let long = at.saturating_sub(self.suspect_since) >= patience.micros;
        if self.suspects >= patience.samples && long {
            return self.anchor(self.suspect_min, at);
        }
        Verdict::Suspect
    }

    fn anchor(&mut self, sample: i64, at: u64) -> Verdict {
        self.suspects = 0;
        self.state = Some(State {
            offset: sample,
            anchored_at: at,
            moved_at: at,
            window_start: at,
            window_min: sample,
            before_min: sample,
        });
        Verdict::Anchored
    }
}

impl State {
    fn take(&mut self, sample: i64, at: u64) {
        if at.saturating_sub(self.window_start) >= WINDOW_MICROS {
            (self.before_min, self.window_min, self.window_start) = (self.window_min, sample, at);
        }
        self.window_min = self.window_min.min(sample);
        let target = self.window_min.min(self.before_min);
        let passed = at.saturating_sub(self.moved_at);
        self.moved_at = self.moved_at.max(at);
        if at.saturating_sub(self.anchored_at) < SETTLE_MICROS {
            self.offset = self.offset.min(target);
            return;
        }
        let step = |divisor: u64| i64::try_from(passed / divisor).unwrap_or(i64::MAX);
        let wanted = target.saturating_sub(self.offset);
        self.offset = self.offset.saturating_add(wanted.clamp(-step(FALL_DIVISOR), step(RISE_DIVISOR)));
    }
}
