use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{NtpTime, PublisherClock, ReportPoint, Skew, TrackClock, Verdict, ViewClock, Wall};
use crate::media::packet::CaptureMicros;

/// The origin's wall at the start of a test.
const START: u64 = 1_790_000_000_000_000;

fn wall(micros: u64) -> CaptureMicros {
    CaptureMicros(START + micros)
}

/// A publisher whose clock runs on its own: what it would write about a moment of real time.
struct Publisher {
    ntp_start: i64,
    drift_ppm: i64,
    rtp_start: u32,
    clock_rate: u32,
}

impl Publisher {
    fn clock(&self, micros: u64) -> i64 {
        let micros = i64::try_from(micros).unwrap();
        self.ntp_start + micros + micros * self.drift_ppm / 1_000_000
    }

    fn ntp(&self, micros: u64) -> NtpTime {
        let clock = u64::try_from(self.clock(micros)).unwrap();
        NtpTime(((clock / 1_000_000) << 32) | (((clock % 1_000_000) << 32) / 1_000_000))
    }

    fn rtp(&self, micros: u64) -> u32 {
        let passed = self.clock(micros) - self.ntp_start;
        self.rtp_start.wrapping_add((i128::from(passed) * i128::from(self.clock_rate) / 1_000_000) as u32)
    }
}

fn pair(ntp_start: i64, drift_ppm: i64) -> (Publisher, Publisher) {
    let audio = Publisher { ntp_start, drift_ppm, rtp_start: u32::MAX - 9_000, clock_rate: 48_000 };
    let video = Publisher { ntp_start, drift_ppm, rtp_start: 123, clock_rate: 90_000 };
    (audio, video)
}

/// A delay between 10 and 70 ms that looks random.
fn delay(step: u64) -> u64 {
    10_000 + step.wrapping_mul(2_654_435_761) % 60_000
}

#[test]
fn ntp_and_wall_agree() {
    let ntp = NtpTime::from_wall(CaptureMicros(1_500_000));
    assert_eq!(ntp.0, 2_208_988_801 << 32 | 0x8000_0000);
    assert_eq!(ntp.micros(), 2_208_988_801_500_000);
    assert_eq!(NtpTime(0x1234_5678_9abc_def0).middle(), 0x5678_9abc);
    let now = Instant::now();
    let clock = Wall::new(now, Duration::from_secs(100));
    assert_eq!(clock.micros(now + Duration::from_millis(5)), CaptureMicros(100_005_000));
    assert_eq!(clock.instant(CaptureMicros(100_005_000)), now + Duration::from_millis(5));
    assert_eq!(clock.micros(clock.instant(CaptureMicros(99_000_000))), CaptureMicros(99_000_000));
}

#[test]
fn before_the_first_report_packets_are_dated_by_arrival() {
    let session = PublisherClock::new();
    let mut track = TrackClock::new(90_000);
    assert_eq!(track.capture(&session, 900, wall(100_000)), wall(100_000), "the first is dated as it comes");
    // The second was less delayed: it corrects the reference.
    assert_eq!(track.capture(&session, 900 + 3_000, wall(113_333)), wall(113_333));
    // The third is 50 ms late, and dated as if it were not.
    assert_eq!(track.capture(&session, 900 + 6_000, wall(196_666)), wall(146_666));
}

#[test]
fn audio_and_video_captured_together_are_dated_together() {
    for (ntp_start, drift) in [(3_900_000_000_000_000, 0), (1_000_000, 80), (2_000_000_000_000_000, -80)] {
        let (audio, video) = pair(ntp_start, drift);
        let mut session = PublisherClock::new();
        let (mut of_audio, mut of_video) = (TrackClock::new(48_000), TrackClock::new(90_000));
        let mut worst = 0;
        for step in 0..6_000u64 {
            let now = step * 20_000;
            if step % 50 == 7 {
                session.report(&mut of_audio, audio.ntp(now), audio.rtp(now), wall(now + delay(step)));
            }
            if step % 50 == 23 {
                session.report(&mut of_video, video.ntp(now), video.rtp(now), wall(now + delay(step * 3)));
            }
            let heard = of_audio.capture(&session, audio.rtp(now), wall(now + delay(step * 5)));
            let seen = of_video.capture(&session, video.rtp(now), wall(now + delay(step * 7)));
            if step > 25 {
                worst = worst.max(heard.0.abs_diff(seen.0));
            }
            if step > 500 {
                // Dated by the least delayed report: at most a few tens of milliseconds after the fact.
                let late = heard.micros_since(wall(now));
                assert!((0..40_000).contains(&late), "step {step}: {late} µs");
            }
        }
        assert!(worst <= 1_000, "lip sync is off by {worst} µs with drift {drift}");
    }
}

#[test]
fn a_clock_that_jumps_is_followed_and_one_stuck_report_is_not() {
    for jump in [-7_200_000_000i64, 7_200_000_000, -5_000_000, 5_000_000] {
        let (audio, video) = pair(3_900_000_000_000_000, 0);
        let (audio_after, _) = pair(3_900_000_000_000_000 + jump, 0);
        let mut session = PublisherClock::new();
        let (mut of_audio, mut of_video) = (TrackClock::new(48_000), TrackClock::new(90_000));
        for second in 0..5u64 {
            let now = second * 1_000_000;
            session.report(&mut of_audio, audio.ntp(now), audio.rtp(now), wall(now + 20_000));
            session.report(&mut of_video, video.ntp(now), video.rtp(now), wall(now + 20_000));
        }
        // One report was stuck for three seconds.
        let (ntp, rtp) = (audio.ntp(5_000_000), audio.rtp(5_000_000));
        assert_eq!(session.report(&mut of_audio, ntp, rtp, wall(8_000_000)), Verdict::Suspect);
        let mut anchored = 0;
        for second in 9..20u64 {
            let now = second * 1_000_000;
            let verdict =
                session.report(&mut of_audio, audio_after.ntp(now), audio.rtp(now), wall(now + 20_000));
            anchored += u32::from(verdict == Verdict::Anchored);
            let heard = of_audio.capture(&session, audio.rtp(now), wall(now + 30_000));
            // Video has had no report since the jump, and keeps the offset that its own was made with.
            let seen = of_video.capture(&session, video.rtp(now), wall(now + 30_000));
            assert!(heard.0.abs_diff(wall(now + 20_000).0) <= 15_000, "jump {jump}, second {second}");
            assert!(seen.0.abs_diff(wall(now + 20_000).0) <= 15_000, "jump {jump}, second {second}");
        }
        assert_eq!(anchored, 1, "jump {jump}");
    }
}

#[test]
fn days_without_a_report_wrap_the_timestamp_and_nothing_else() {
    let (_, video) = pair(1_000_000, 0);
    let mut session = PublisherClock::new();
    let (mut reported, mut silent) = (TrackClock::new(90_000), TrackClock::new(90_000));
    // The report took 20 ms, packets take 50: what is dated by the one differs from what is dated by the other.
    session.report(&mut reported, video.ntp(0), video.rtp(0), wall(20_000));
    for minute in 0..4 * 24 * 60u64 {
        let now = minute * 60_000_000;
        for (clock, delay) in [(&mut reported, 20_000), (&mut silent, 50_000)] {
            let capture = clock.capture(&session, video.rtp(now), wall(now + 50_000));
            assert!(
                capture.0.abs_diff(wall(now + delay).0) <= 100,
                "minute {minute}: {capture:?}, not {delay}"
            );
        }
    }
}

#[test]
fn a_report_that_makes_no_sense_is_not_believed() {
    let (_, video) = pair(3_900_000_000_000_000, 0);
    let mut session = PublisherClock::new();
    let mut track = TrackClock::new(90_000);
    session.report(&mut track, video.ntp(0), video.rtp(0).wrapping_add(1 << 30), wall(20_000));
    assert_eq!(track.capture(&session, video.rtp(0), wall(20_000)), wall(20_000));
}

#[test]
fn nothing_is_captured_long_after_it_came() {
    let (_, video) = pair(3_900_000_000_000_000, 0);
    let (mut session, mut track) = (PublisherClock::new(), TrackClock::new(90_000));
    // The first report was stuck on its way, so that the offset is too late by 1.8 s.
    session.report(&mut track, video.ntp(0), video.rtp(0), wall(1_800_000));
    let capture = track.capture(&session, video.rtp(2_000_000), wall(2_020_000));
    assert_eq!(capture, wall(2_020_000), "arrival stands in");
    session.report(&mut track, video.ntp(2_100_000), video.rtp(2_100_000), wall(2_110_000));
    let capture = track.capture(&session, video.rtp(2_200_000), wall(2_240_000));
    assert_eq!(capture.micros_since(wall(2_210_000)).abs() / 100, 0, "the next one sets it right");
}

#[test]
fn a_long_way_is_not_a_jump_and_moves_no_track_against_another() {
    let (audio, video) = pair(3_900_000_000_000_000, 0);
    let mut session = PublisherClock::new();
    let (mut of_audio, mut of_video) = (TrackClock::new(48_000), TrackClock::new(90_000));
    // For six seconds everything takes 1.6 s more; of video no report comes in that time.
    for step in 0..400_u64 {
        let now = step * 50_000;
        let late = if (100..220).contains(&step) { 1_620_000 } else { 20_000 };
        if step % 20 == 0 {
            session.report(&mut of_audio, audio.ntp(now), audio.rtp(now), wall(now + late));
        }
        if step % 20 == 10 && late < 1_000_000 {
            session.report(&mut of_video, video.ntp(now), video.rtp(now), wall(now + late));
        }
        if step > 40 {
            let heard = of_audio.capture(&session, audio.rtp(now), wall(now + late));
            let seen = of_video.capture(&session, video.rtp(now), wall(now + late));
            for capture in [heard, seen] {
                assert!(capture.0.abs_diff(wall(now + 20_000).0) <= 100, "step {step}: {heard:?}, {seen:?}");
            }
        }
    }
}

#[test]
fn a_late_first_report_of_a_layer_dates_it_as_its_siblings() {
    let (audio, video) = pair(3_900_000_000_000_000, 0);
    let mut session = PublisherClock::new();
    let (mut of_audio, mut of_video) = (TrackClock::new(48_000), TrackClock::new(90_000));
    for second in 0..5u64 {
        let now = second * 1_000_000;
        session.report(&mut of_audio, audio.ntp(now), audio.rtp(now), wall(now + 20_000));
    }
    of_audio.capture(&session, audio.rtp(5_000_000), wall(6_520_000));
    let delay = of_audio.delay(wall(6_520_000));
    assert_eq!(delay.map(|delay| delay / 1_000), Some(1_500));
    assert_eq!(of_audio.delay(wall(9_000_000)), None, "long ago");
    // Everything takes 1.5 s more when the layer begins: first without a report, then with one that was as late.
    let first = of_video.capture_behind(&session, video.rtp(5_000_000), wall(6_520_000), delay);
    assert!(first.0.abs_diff(wall(5_020_000).0) <= 100, "{first:?}");
    let verdict = session.report(&mut of_video, video.ntp(5_100_000), video.rtp(5_100_000), wall(6_620_000));
    assert_eq!(verdict, Verdict::Suspect);
    let next = of_video.capture(&session, video.rtp(5_200_000), wall(6_900_000));
    assert!(next.0.abs_diff(wall(5_220_000).0) <= 100, "{next:?}");
}

/// What a viewer makes of a report: the NTP time of an RTP timestamp, in microseconds.
fn presented(report: (NtpTime, u32), rtp: u32, clock_rate: u32) -> i64 {
    report.0.micros()
        + i64::from(rtp.wrapping_sub(report.1).cast_signed()) * 1_000_000 / i64::from(clock_rate)
}

/// Worst difference, in microseconds, between a flash and a beep made at one moment, as a viewer's reports have them.
fn lip_sync(skew: Skew) -> i64 {
    let mut view = ViewClock::new();
    let mut worst = 0;
    // The viewing node's wall is three hours ahead, and a link of 40 to 100 ms lies between.
    let local = |micros: u64| CaptureMicros(START + 10_800_000_000 + micros);
    for step in 0..2_000u64 {
        let now = step * 20_000;
        let arrival = local(now + 30_000 + delay(step));
        view.observe(wall(now), arrival);
        view.observe(wall(now), local(now + 30_000 + delay(step * 3)));
        let (heard, seen) = ((now * 48 / 1_000) as u32 + 77, (now * 90 / 1_000) as u32 + 5_000_000);
        let audio = ReportPoint { timestamp: heard, capture: wall(now), clock_rate: 48_000, skew: Skew(0) };
        let video = ReportPoint { timestamp: seen, capture: wall(now), clock_rate: 90_000, skew };
        let of_audio = view.sender_report(arrival, audio);
        // The other report goes out at another time.
        let of_video = view.sender_report(arrival.later(Duration::from_millis(step % 700)), video);
        let difference = presented(of_audio, heard, 48_000) - presented(of_video, seen, 90_000);
        worst = worst.max(difference.abs());
    }
    worst
}

#[test]
fn reports_keep_lip_sync_across_a_relay_and_an_error_in_them_is_seen() {
    assert!(lip_sync(Skew::default()) <= 100, "{}", lip_sync(Skew::default()));
    assert!((199_000..=201_000).contains(&lip_sync(Skew(200_000))), "{}", lip_sync(Skew(200_000)));
}

#[test]
fn reports_carry_the_viewing_nodes_clock() {
    let mut view = ViewClock::new();
    assert_eq!(view.local(wall(5)), wall(5), "before the first packet the walls are taken to agree");
    for step in 0..500u64 {
        view.observe(wall(step * 20_000), CaptureMicros(START + 9_000_000_000 + step * 20_000 + delay(step)));
    }
    let offset = view.local(wall(0)).micros_since(wall(0)) - 9_000_000_000;
    assert!((10_000..12_000).contains(&offset), "the least delayed packet counts: {offset}");
    let now = CaptureMicros(START + 9_000_000_000 + 10_000_000);
    let point =
        ReportPoint { timestamp: u32::MAX - 3, capture: wall(9_980_000), clock_rate: 90_000, skew: Skew(0) };
    let (ntp, rtp) = view.sender_report(now, point);
    assert_eq!(ntp, NtpTime::from_wall(now));
    let ticks = i64::from(rtp.wrapping_sub(u32::MAX - 3).cast_signed());
    assert!((ticks - (20_000 - offset) * 9 / 100).abs() <= 1, "{ticks}");
}

#[test]
fn a_stalled_link_does_not_move_the_view_and_a_jump_does() {
    let mut view = ViewClock::new();
    for step in 0..200u64 {
        view.observe(wall(step * 20_000), wall(step * 20_000 + 5_000));
    }
    let before = view.local(wall(0));
    // Everything of 2.5 seconds comes at once.
    for step in 200..325u64 {
        view.observe(wall(step * 20_000), wall(6_505_000));
    }
    assert!(view.local(wall(0)).0.abs_diff(before.0) <= 1_000);
    // The origin's wall steps back by a minute.
    for step in 325..600u64 {
        view.observe(wall(step * 20_000).shifted(-60_000_000), wall(step * 20_000 + 5_000));
    }
    assert_eq!(view.local(wall(0).shifted(-60_000_000)), wall(5_000));
}

proptest! {
    #[test]
    fn no_report_and_no_packet_is_too_wild(
        steps in prop::collection::vec((any::<u64>(), 0..1u64 << 62, any::<u32>(), any::<bool>()), 1..60),
        clock_rate: u32,
    ) {
        let (mut session, mut view) = (PublisherClock::new(), ViewClock::new());
        let mut track = TrackClock::new(clock_rate);
        for (ntp, arrival, rtp, report) in steps {
            let (ntp, arrival) = (NtpTime(ntp), CaptureMicros(arrival));
            if report {
                session.report(&mut track, ntp, rtp, arrival);
            }
            let capture = track.capture(&session, rtp, arrival);
            prop_assert!(capture.0.abs_diff(arrival.0) <= 10_000_000, "{:?} at {:?}", capture, arrival);
            view.observe(capture, arrival);
            let point = ReportPoint { timestamp: rtp, capture, clock_rate, skew: Skew(i64::MIN) };
            view.sender_report(arrival, point);
        }
    }
}
