//! Whether sound and picture of a viewer take equally long: what they do not share, a player has to wait for.

use super::{Histogram, Latencies};
use crate::media::Kind;
use crate::media::stamp::{Stamp, StampError};
use crate::num;

/// Over so many microseconds of arrivals both are compared by their means, so that one packet of a large frame is no skew.
const WINDOW_US: u64 = 1_000_000;
/// Capture times that lie farther apart are those of a broken clock.
const SANE_US: u64 = 3_600_000_000;

/// When a packet was captured, by the clock of its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// Its stamp says so, in microseconds since the Unix epoch.
    Stamped(u64),
    /// By the last sender report of its track: that time in microseconds, and what the clock of RTP counted since.
    Reported {
        /// When the report was made.
        at_us: u64,
        /// From the report's RTP timestamp to the packet's.
        since: i32,
    },
    /// Nobody knows.
    Unknown,
}

impl Captured {
    /// What a packet's stamp says or, where media has none, its track's sender report: microseconds and RTP timestamp.
    pub fn of(stamp: &Result<Stamp, StampError>, report: Option<(u64, u32)>, timestamp: u32) -> Self {
        match (stamp, report) {
            (Ok(stamp), _) => Self::Stamped(stamp.captured_us),
            (Err(StampError::Length { captured_us, .. }), _) => Self::Stamped(*captured_us),
            (Err(StampError::Unstamped), Some((at_us, reported))) => {
                Self::Reported { at_us, since: timestamp.wrapping_sub(reported).cast_signed() }
            }
            (Err(_), _) => Self::Unknown,
        }
    }
}

/// What a viewer's sound and picture were apart.
#[derive(Debug, Clone, Default)]
pub struct SkewReport {
    /// Seconds in which both came.
    pub seconds: u64,
    /// By how much longer the picture took in them, all together, in microseconds; below 0 where the sound did.
    pub video_behind_us: i64,
    /// Of each second by how much longer one took than the other; only those that nobody has fetched.
    pub apart: Histogram,
}

/// Packets of a kind in the window: how many, and how long they took.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    count: i64,
    sum_us: i64,
}

impl Took {
    fn mean(self) -> Option<i64> {
        self.sum_us.checked_div(self.count)
    }
}

/// Measures one viewer.
#[derive(Debug, Clone, Default)]
pub struct SkewMeter {
    /// Since then the session is connected: what was captured before is history.
    live_from_us: u64,
    window_ends_us: u64,
    /// By stamps, and by sender reports, whose clock may be another.
    video: [Took; 2],
    audio: [Took; 2],
    apart: Latencies,
    seconds: u64,
    video_behind_us: i64,
}

impl SkewMeter {
    /// The session is connected, so many microseconds after the Unix epoch.
    pub fn on_connected(&mut self, at_us: u64) {
        self.live_from_us = at_us;
    }

    /// A packet came by first transmission. What is sent again says when it was lost, not how long its track takes.
    pub fn on_packet(&mut self, kind: Kind, at_us: u64, captured: Captured) {
        let Some(took) = self.took(kind, at_us, captured) else { return };
        if at_us >= self.window_ends_us {
            self.close();
            self.window_ends_us = at_us.saturating_add(WINDOW_US);
        }
        let [stamped, reported] = match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        let sum = if matches!(captured, Captured::Stamped(_)) { stamped } else { reported };
        sum.count += 1;
        sum.sum_us = sum.sum_us.saturating_add(took);
    }

    fn took(&self, kind: Kind, at_us: u64, captured: Captured) -> Option<i64> {
        let captured_us = match captured {
            Captured::Stamped(at_us) if at_us < self.live_from_us => return None,
            Captured::Stamped(at_us) => i64::try_from(at_us).ok()?,
            // The publisher's clock may be another, so history is what comes in the first second.
            Captured::Reported { .. } if at_us < self.live_from_us.saturating_add(WINDOW_US) => return None,
            Captured::Reported { at_us, since } => {
                let rate = match kind {
                    Kind::Video => 90_000,
                    Kind::Audio => 48_000,
                };
                i64::try_from(at_us).ok()?.checked_add(i64::from(since) * 1_000_000 / rate)?
            }
            Captured::Unknown => return None,
        };
        i64::try_from(at_us).ok()?.checked_sub(captured_us)
    }

    /// Compares what came in the window.
    fn close(&mut self) {
        let (video, audio) = (std::mem::take(&mut self.video), std::mem::take(&mut self.audio));
        let mut both =
            video.into_iter().zip(audio).filter_map(|(video, audio)| video.mean().zip(audio.mean()));
        let Some((video, audio)) = both.next() else { return };
        let behind = video.saturating_sub(audio);
        if behind.unsigned_abs() > SANE_US {
            return;
        }
        self.seconds += 1;
        self.video_behind_us = self.video_behind_us.saturating_add(behind);
        self.apart.record_micros(behind.unsigned_abs());
    }

    /// Moves what was measured since this was asked into a histogram of many.
    pub fn take_apart(&mut self, sum: &mut Histogram) {
        self.apart.take_into(sum);
    }

    /// What was seen in whole seconds so far.
    pub fn report(&self) -> SkewReport {
        SkewReport {
            seconds: self.seconds,
            video_behind_us: self.video_behind_us,
            apart: self.apart.histogram(),
        }
    }
}

/// Mean by which pictures are behind, in milliseconds.
pub(crate) fn mean_ms(video_behind_us: i64, seconds: u64) -> Option<f64> {
    let size = num::float(video_behind_us.unsigned_abs()) / 1_000.0;
    let signed = if video_behind_us < 0 { -size } else { size };
    (seconds > 0).then(|| signed / num::float(seconds))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: u64 = 1_795_262_400_000_000;

    /// Sound that takes `audio` ms and pictures that take `video` ms, captured each 20 ms for so many seconds.
    fn feed(meter: &mut SkewMeter, from_s: u64, to_s: u64, audio: u64, video: u64) {
        for captured in (from_s * 1_000..to_s * 1_000).step_by(20) {
            let captured_us = NOON + captured * 1_000;
            meter.on_packet(Kind::Audio, captured_us + audio * 1_000, Captured::Stamped(captured_us));
            // A frame of three packets, of which the last one is late: its mean counts.
            for late in [0, 0, 3] {
                let at_us = captured_us + (video + late) * 1_000;
                meter.on_packet(Kind::Video, at_us, Captured::Stamped(captured_us));
            }
        }
    }

    #[test]
    fn what_is_behind_is_told_with_its_sign() {
        let mut meter = SkewMeter::default();
        meter.on_connected(NOON);
        feed(&mut meter, 0, 10, 5, 44);
        let report = meter.report();
        assert!((9..=10).contains(&report.seconds) && report.apart.len() == report.seconds, "{report:?}");
        // A window may begin or end in the middle of a frame.
        let near = |ms: f64, exact: f64| (ms - exact).abs() < 0.1;
        let median = report.apart.quantile(0.5).unwrap();
        assert!(near(num::millis(median), 40.0), "{median:?}");
        assert!(near(mean_ms(report.video_behind_us, report.seconds).unwrap(), 40.0), "{report:?}");
        // Now the sound takes longer, by 89 ms.
        feed(&mut meter, 10, 40, 134, 44);
        let report = meter.report();
        let most = report.apart.quantile(0.9).unwrap();
        assert!(near(num::millis(most), 89.0), "{most:?}");
        assert!(mean_ms(report.video_behind_us, report.seconds).unwrap() < -50.0, "{report:?}");
        assert_eq!(mean_ms(0, 0), None);
        let mut sum = Histogram::new();
        meter.take_apart(&mut sum);
        meter.take_apart(&mut sum);
        assert_eq!((sum.len(), meter.report().apart.len()), (report.seconds, 0), "each once");
    }

    #[test]
    fn history_and_one_kind_alone_are_no_skew() {
        let mut meter = SkewMeter::default();
        meter.on_connected(NOON + 5_000_000);
        // Captured before anybody was there: old pictures, sent at once.
        for captured in 0..50 {
            meter.on_packet(Kind::Video, NOON + 5_010_000, Captured::Stamped(NOON + captured * 20_000));
        }
        feed(&mut meter, 5, 8, 10, 9);
        let report = meter.report();
        assert_eq!((report.seconds, report.apart.max()), (2, Some(Duration::ZERO)), "{report:?}");
        let mut mute = SkewMeter::default();
        for captured in 0..500 {
            let captured_us = NOON + captured * 20_000;
            mute.on_packet(Kind::Video, captured_us + 9_000, Captured::Stamped(captured_us));
            mute.on_packet(Kind::Audio, captured_us, Captured::Unknown);
        }
        assert_eq!(mute.report().seconds, 0);
    }

    #[test]
    fn sender_reports_tell_it_of_media_without_stamps() {
        let mut meter = SkewMeter::default();
        meter.on_connected(NOON);
        let unstamped = Err(StampError::Unstamped);
        // The publisher's clock is an hour off, its timestamps wrap on the way, and pictures take 30 ms longer.
        let clock = NOON - 3_600_000_000;
        for captured in (0..10_000_u32).step_by(20) {
            let (ms, captured_us) = (u64::from(captured) * 1_000, NOON + u64::from(captured) * 1_000);
            let of = |rate: u32, first: u32| {
                // The first report is made 500 ms later than the first packet.
                let report = (clock + 500_000, first.wrapping_add(500 * rate));
                Captured::of(&unstamped, Some(report), first.wrapping_add(captured * rate))
            };
            meter.on_packet(Kind::Audio, captured_us + 5_000, of(48, u32::MAX - 48 * 3_000));
            meter.on_packet(Kind::Video, NOON + ms + 35_000, of(90, u32::MAX - 90 * 7_000));
        }
        let report = meter.report();
        assert!((8..=9).contains(&report.seconds), "{report:?}");
        assert_eq!(report.apart.quantile(0.01), Some(Duration::from_millis(30)));
        assert_eq!(report.apart.max(), Some(Duration::from_millis(30)));
        assert_eq!(Captured::of(&unstamped, None, 7), Captured::Unknown);
        assert_eq!(Captured::of(&Err(StampError::Checksum), Some((1, 1)), 7), Captured::Unknown);
    }

    #[test]
    fn times_of_two_clocks_are_not_compared() {
        let mut meter = SkewMeter::default();
        meter.on_connected(NOON);
        for captured in 0..500 {
            let captured_us = NOON + captured * 20_000;
            let reported = Captured::Reported { at_us: captured_us - 60_000_000, since: 0 };
            meter.on_packet(Kind::Audio, captured_us + 5_000, Captured::Stamped(captured_us));
            meter.on_packet(Kind::Video, captured_us + 9_000, reported);
        }
        assert_eq!(meter.report().seconds, 0);
        // Where a stamp was cut, it is a stamp.
        let cut = Err(StampError::Length { expected: 9, actual: 8, captured_us: NOON });
        assert_eq!(Captured::of(&cut, Some((1, 1)), 7), Captured::Stamped(NOON));
    }

    #[test]
    fn nonsense_bends_nothing() {
        let mut meter = SkewMeter::default();
        for at_us in [0, u64::MAX, 1, u64::MAX / 2, 7_000_000, 20_000_000] {
            for since in [i32::MIN, i32::MAX] {
                meter.on_packet(Kind::Video, at_us, Captured::Reported { at_us: u64::MAX, since });
                meter.on_packet(Kind::Video, at_us, Captured::Reported { at_us: 0, since });
                meter.on_packet(Kind::Audio, at_us, Captured::Stamped(at_us / 3));
            }
        }
        let report = meter.report();
        assert!(report.apart.max().unwrap_or_default() <= Duration::from_secs(3_600), "{report:?}");
    }
}
