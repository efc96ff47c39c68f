//! What a viewer's transport-wide feedback told in the last second: the input of whoever decides what it is sent.
//!
//! Each feedback is added to one of five sums of 200 ms, so a second costs 128 bytes however often a viewer tells,
//! which are allocated when it tells for the first time.

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;

use super::history::EstimateInput;

/// One sum covers so much time, by when the feedback came; so many make the second.
const WIDTH: Duration = Duration::from_millis(200);
const SUMS: usize = 5;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    arrived: u32,
    missing: u32,
    late: u32,
    /// Bytes that came in `micros`.
    bytes: u32,
    micros: u32,
    growth: i32,
}

impl Sum {
    fn add(self, more: Self) -> Self {
        Self {
            arrived: self.arrived.saturating_add(more.arrived),
            missing: self.missing.saturating_add(more.missing),
            late: self.late.saturating_add(more.late),
            bytes: self.bytes.saturating_add(more.bytes),
            micros: self.micros.saturating_add(more.micros),
            growth: self.growth.saturating_add(more.growth),
        }
    }
}

/// The last second of one viewer's feedback.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// The newest first.
    sums: [Sum; SUMS],
    /// When the newest began.
    since: Option<Instant>,
}

/// What the last second told, of what a viewer was sent with transport-wide numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSecond {
    /// Packets that came.
    pub arrived: u32,
    /// Packets that have not come.
    pub lost: u32,
    /// How much came in a second; none where no feedback told a time.
    pub rate: Option<Bitrate>,
    /// By how many microseconds the way became longer: queues fill. Less than nothing while they empty.
    pub growth: i64,
}

impl LastSecond {
    /// The share that was lost, in 256ths as receiver reports have it.
    pub fn fraction_lost(&self) -> u8 {
        let told = u64::from(self.arrived).saturating_add(self.lost.into()).max(1);
        u8::try_from(u64::from(self.lost).saturating_mul(256) / told).unwrap_or(u8::MAX)
    }
}

impl Recent {
    /// Takes what a feedback that came at `now` tells.
    pub fn note(&mut self, now: Instant, input: EstimateInput) {
        let since = *self.since.get_or_insert(now);
        let steps = steps(since, now);
        if steps > 0 {
            let gone = usize::try_from(steps).map_or(SUMS, |steps| steps.min(SUMS));
            self.sums.rotate_right(gone);
            self.sums.iter_mut().take(gone).for_each(|sum| *sum = Sum::default());
            // After a long silence time begins anew.
            self.since = since.checked_add(WIDTH.saturating_mul(steps)).or(Some(now));
        }
        let EstimateInput { arrived, bytes, missing, late, unknown: _, span, growth } = input;
        let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        let growth = i32::try_from(growth).unwrap_or(if growth < 0 { i32::MIN } else { i32::MAX });
        // Without a time, bytes make no rate: the first feedback, a clock that jumped, or only what was overtaken.
        let bytes = if micros > 0 { bytes } else { 0 };
        if let Some(newest) = self.sums.first_mut() {
            *newest = newest.add(Sum { arrived, missing, late, bytes, micros, growth });
        }
    }

    /// What was told in the second before `now`, give or take 200 ms; none when nothing was.
    pub fn second(&self, now: Instant) -> Option<LastSecond> {
        let steps = usize::try_from(steps(self.since?, now)).ok()?;
        let sums = self.sums.iter().take(SUMS.saturating_sub(steps));
        let Sum { arrived, missing, late, bytes, micros, growth } =
            sums.copied().reduce(Sum::add).unwrap_or_default();
        if arrived == 0 && missing == 0 {
            return None;
        }
        let bits = u64::from(bytes).saturating_mul(8_000_000);
        let rate = bits.checked_div(micros.into()).map(Bitrate::from_bps);
        Some(LastSecond { arrived, lost: missing.saturating_sub(late), rate, growth: growth.into() })
    }
}

/// Whole sums' time from one moment to another.
fn steps(since: Instant, now: Instant) -> u32 {
    let steps = now.saturating_duration_since(since).as_micros() / WIDTH.as_micros();
    u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Feedback of 50 ms in which ten packets of 1,000 bytes came.
    fn usual() -> EstimateInput {
        EstimateInput { arrived: 10, bytes: 10_000, span: MS * 50, ..EstimateInput::default() }
    }

    #[test]
    fn rate_loss_and_growth_are_those_of_the_last_second() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        assert_eq!(recent.second(start), None);
        for n in 0..40 {
            recent.note(start + MS * 50 * n, usual());
        }
        let now = start + MS * 1_950;
        let second = recent.second(now).unwrap();
        assert_eq!(second.rate, Some(Bitrate::from_kbps(1_600)));
        assert_eq!((second.arrived, second.lost, second.fraction_lost(), second.growth), (200, 0, 0, 0));
        // From here on each loses a fifth, one of them comes late, and the way grows by 2 ms each time.
        for n in 40..60 {
            let input =
                EstimateInput { arrived: 8, bytes: 8_000, missing: 3, late: 1, growth: 2_000, ..usual() };
            recent.note(start + MS * 50 * n, input);
        }
        let second = recent.second(start + MS * 2_950).unwrap();
        assert_eq!((second.arrived, second.lost, second.fraction_lost()), (160, 40, 51));
        assert_eq!((second.rate, second.growth), (Some(Bitrate::from_kbps(1_280)), 40_000));
        // It goes as it came, and is gone after a second.
        let left: Vec<u32> = (0..7)
            .map(|n| start + MS * (2_950 + 200 * n))
            .map(|at| recent.second(at).map_or(0, |second| second.arrived))
            .collect();
        assert_eq!(left, [160, 128, 96, 64, 32, 0, 0]);
        recent.note(start + MS * 90_000, usual());
        assert_eq!(recent.second(start + MS * 90_000).unwrap().arrived, 10, "nothing old comes back");
    }

    #[test]
    fn what_tells_no_time_makes_no_rate() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.note(now, EstimateInput { span: Duration::ZERO, ..usual() });
        assert_eq!(recent.second(now).unwrap().rate, None, "the first tells no time");
        recent.note(now, usual());
        assert_eq!(
            recent.second(now).unwrap().rate,
            Some(Bitrate::from_kbps(1_600)),
            "and does not count later"
        );
        assert!(std::mem::size_of::<Recent>() <= 144, "{}", std::mem::size_of::<Recent>());
    }

    proptest! {
        /// Whatever is told and whenever: never less than the last 800 ms, and never more than the last second.
        #[test]
        fn a_second_is_between_800_and_1000_ms(
            told in proptest::collection::vec((0..700_u32, 0..50_u32, 0..50_u32), 1..60),
            then in 0..1_500_u32,
        ) {
            let (mut recent, mut now) = (Recent::default(), Instant::now());
            let mut all = Vec::new();
            for (wait, arrived, missing) in told {
                now += MS * wait;
                recent.note(now, EstimateInput { arrived, missing, ..EstimateInput::default() });
                all.push((now, arrived + missing));
            }
            now += MS * then;
            let within = |ms: u32| {
                all.iter().filter(|(at, _)| now - *at < MS * ms).map(|(_, told)| *told).sum::<u32>()
            };
            let second = recent.second(now).map_or(0, |second| second.arrived + second.lost);
            prop_assert!((within(800)..=within(1_000)).contains(&second), "{second}");
        }
    }
}
