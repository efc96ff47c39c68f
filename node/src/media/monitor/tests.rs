//! Encodings that are well, and such that are not.

use super::*;

/// 30 pictures a second of one packet each.
struct Sender {
    monitor: Monitor,
    now: Instant,
    start: Instant,
    seq: u64,
    timestamp: u32,
}

impl Sender {
    fn new() -> Self {
        let now = Instant::now();
        Self { monitor: Monitor::new(90_000, true), now, start: now, seq: 100, timestamp: u32::MAX - 50_000 }
    }

    fn send(&mut self, bytes: usize, keyframe: bool) {
        let heard = Heard { seq: self.seq, timestamp: self.timestamp, bytes, keyframe };
        self.monitor.note(self.now, heard);
        self.step();
    }

    fn step(&mut self) {
        self.seq += 1;
        self.timestamp = self.timestamp.wrapping_add(3_000);
        self.now += Duration::from_micros(33_333);
    }

    fn run(&mut self, frames: u32, bytes: usize) {
        for _ in 0..frames {
            self.send(bytes, false);
        }
    }

    /// Keyframes, each so many pictures after the one before; returns what is said of the encoder's own interval then.
    fn keyframes(&mut self, apart: &[u32]) -> Option<Duration> {
        for frames in apart {
            self.run(frames - 1, 1_000);
            self.send(1_000, true);
        }
        self.monitor.own_interval(self.now)
    }

    fn wall(&self) -> CaptureMicros {
        CaptureMicros(1_000_000_000).later(self.now - self.start)
    }

    /// A sender report of now, with clocks that are wrong by so many microseconds.
    fn report(&mut self, media: i64, ntp: i64) {
        let ticks = (media * 90 / 1_000) as i32;
        let told = NtpTime::from_wall(self.wall().shifted(ntp));
        self.monitor.report(told, self.timestamp.wrapping_add_signed(ticks), self.wall());
    }
}

#[test]
fn rates_are_of_the_last_two_seconds_and_silence_is_none() {
    let mut sender = Sender::new();
    sender.run(150, 1_000);
    let rates = sender.monitor.rates(sender.now);
    assert!((236_000..=244_000).contains(&rates.bps), "{rates:?}");
    assert!((29_500..=30_500).contains(&rates.frames_per_1000_s), "{rates:?}");
    assert_eq!(rates.loss_permille, 0);
    assert!(sender.monitor.jitter_micros() < 10, "{}", sender.monitor.jitter_micros());
    assert_eq!((sender.monitor.packets(), sender.monitor.lost()), (150, 0));
    assert_eq!(sender.monitor.collapsed_from(), None);
    let rates = sender.monitor.rates(sender.now + Duration::from_secs(4));
    assert!(rates.bps < 100_000, "{rates:?}");
    let rates = sender.monitor.rates(sender.now + Duration::from_secs(8));
    assert_eq!((rates.bps, rates.frames_per_1000_s), (0, 0));
}

#[test]
fn what_is_missing_is_lost_until_it_comes() {
    let mut sender = Sender::new();
    let mut missing = Vec::new();
    for n in 0..150 {
        if n % 10 == 5 {
            missing.push((sender.seq, sender.timestamp));
            sender.step();
        } else {
            sender.send(1_000, false);
        }
    }
    assert_eq!(sender.monitor.lost(), 15);
    let loss = sender.monitor.rates(sender.now).loss_permille;
    assert!((80..=120).contains(&loss), "{loss}");
    for (seq, timestamp) in missing {
        sender.monitor.note(sender.now, Heard { seq, timestamp, bytes: 1_000, keyframe: false });
    }
    assert_eq!((sender.monitor.lost(), sender.monitor.packets()), (0, 150));
    assert!(!sender.monitor.has_bframes(sender.now), "what comes again is not of another order");
}

#[test]
fn pictures_sent_in_another_order_than_they_are_shown_in_are_bframes() {
    let mut sender = Sender::new();
    sender.run(30, 1_000);
    assert!(!sender.monitor.has_bframes(sender.now));
    // I P B: the B-picture is shown before the P-picture.
    let (first, seq) = (sender.timestamp, sender.seq);
    for (n, shown) in [0, 2, 1, 4, 3_u32].into_iter().enumerate() {
        let timestamp = first.wrapping_add(shown * 3_000);
        let heard = Heard { seq: seq + n as u64, timestamp, bytes: 1_000, keyframe: false };
        sender.monitor.note(sender.now, heard);
    }
    assert!(sender.monitor.has_bframes(sender.now));
    assert!(!sender.monitor.has_bframes(sender.now + RECENT), "it is not told for ever");
    let mut sound = Monitor::new(48_000, false);
    for (seq, timestamp) in [(1, 1_000), (2, 3_000), (3, 2_000)] {
        sound.note(sender.now, Heard { seq, timestamp, bytes: 100, keyframe: false });
    }
    assert!(!sound.has_bframes(sender.now), "sound has none");
}

#[test]
fn a_keyframe_that_is_asked_for_should_come_soon() {
    let mut sender = Sender::new();
    sender.send(1_000, true);
    sender.run(89, 1_000);
    sender.send(1_000, true);
    let interval = sender.monitor.keyframe_interval().unwrap();
    assert!((2_990..=3_010).contains(&interval.as_millis()), "{interval:?}");
    sender.monitor.ask_keyframe(sender.now);
    sender.run(20, 1_000);
    assert_eq!(sender.monitor.keyframe_late(sender.now), None, "there is time");
    sender.run(70, 1_000);
    assert!(sender.monitor.keyframe_late(sender.now).is_some(), "it is late");
    sender.send(1_000, true);
    let late = sender.monitor.keyframe_late(sender.now).unwrap();
    assert!((2_900..=3_100).contains(&late.as_millis()), "it was late: {late:?}");
    sender.now += RECENT;
    assert_eq!(sender.monitor.keyframe_late(sender.now), None, "that is long ago");
    sender.monitor.ask_keyframe(sender.now);
    sender.run(10, 1_000);
    sender.send(1_000, true);
    assert_eq!(sender.monitor.keyframe_late(sender.now), None, "this one came in time");
}

#[test]
fn a_long_interval_that_an_encoder_keeps_is_told_until_one_is_shorter() {
    let mut sender = Sender::new();
    sender.send(1_000, true);
    assert_eq!(sender.keyframes(&[300]), None, "one alone may be chance");
    let own = sender.keyframes(&[300]).unwrap();
    assert!((9_990..=10_010).contains(&own.as_millis()), "{own:?}");
    assert_eq!(sender.monitor.keyframe_late(sender.now), None, "nobody asked");
    assert_eq!(sender.keyframes(&[60]), None, "it is shorter");
    assert_eq!(sender.keyframes(&[300]), None, "one again");
    assert!(sender.keyframes(&[300]).is_some());
    assert!(sender.monitor.own_interval(sender.now + OWN_MAX / 2).is_some());
    assert_eq!(sender.monitor.own_interval(sender.now + OWN_MAX * 2), None, "it keeps none any more");
}

#[test]
fn an_interval_is_an_encoders_where_it_is_4_to_30_s_and_of_one_length() {
    // In thirtieths of a second.
    for (apart, told) in [
        ([60, 60], false),
        ([119, 119], false),
        // Four seconds, and what the network adds.
        ([122, 122], false),
        ([125, 119], false),
        ([119, 125], false),
        ([125, 125], true),
        ([895, 895], true),
        ([895, 905], false),
        ([905, 895], false),
        ([1_800, 1_800], false),
        ([245, 300], true),
        ([300, 245], true),
        ([235, 300], false),
        ([300, 235], false),
    ] {
        let mut sender = Sender::new();
        sender.send(1_000, true);
        assert_eq!(sender.keyframes(&apart).is_some(), told, "{apart:?}");
    }
}

#[test]
fn keyframes_that_are_asked_for_or_begin_a_stream_are_no_interval_of_an_encoder() {
    let ask: fn(&mut Sender) = |sender| sender.monitor.ask_keyframe(sender.now);
    let ask_other: fn(&mut Sender) = |sender| sender.monitor.ask_other();
    let restart: fn(&mut Sender) = |sender| sender.monitor.restart(90_000);
    for (how, prompt) in [("asked", ask), ("another layer asked", ask_other), ("another SSRC", restart)] {
        let mut sender = Sender::new();
        sender.send(1_000, true);
        for _ in 0..4 {
            sender.run(290, 1_000);
            prompt(&mut sender);
            assert_eq!(sender.keyframes(&[10]), None, "{how}: as browsers do");
        }
        assert_eq!(sender.keyframes(&[300]), None, "{how}: one by itself");
        assert!(sender.keyframes(&[300]).is_some(), "{how}: two");
        prompt(&mut sender);
        assert_eq!(sender.keyframes(&[300, 300]), None, "{how}: one of two");
    }
}

#[test]
fn a_rate_that_falls_to_a_quarter_has_collapsed() {
    let mut sender = Sender::new();
    sender.run(300, 1_000);
    sender.run(90, 400);
    sender.monitor.rates(sender.now);
    assert_eq!(sender.monitor.collapsed_from(), None, "less, and no collapse");
    sender.run(300, 1_000);
    sender.run(130, 100);
    sender.monitor.rates(sender.now);
    let usual = sender.monitor.collapsed_from().expect("a tenth of it is left");
    assert!(usual > 150_000, "{usual}");
    // Sound as loud, that pauses.
    let mut sound = Sender { monitor: Monitor::new(48_000, false), ..Sender::new() };
    sound.run(300, 1_000);
    sound.run(130, 10);
    sound.monitor.rates(sound.now);
    assert_eq!(sound.monitor.collapsed_from(), None, "who says nothing sends next to nothing");
}

#[test]
fn clocks_that_jump_are_told_and_those_that_run_are_not() {
    let mut sender = Sender::new();
    for _ in 0..5 {
        sender.run(30, 1_000);
        sender.report(0, 0);
    }
    assert!(!sender.monitor.clock_jumped(sender.wall()));
    for (media, ntp) in [(3_000_000, 0), (0, 10_000_000), (-3_000_000, 0)] {
        let mut sender = Sender::new();
        sender.report(0, 0);
        sender.run(30, 1_000);
        sender.report(media, ntp);
        assert!(sender.monitor.clock_jumped(sender.wall()), "{media} {ntp}");
        sender.now += RECENT;
        assert!(!sender.monitor.clock_jumped(sender.wall()));
    }
}

#[test]
fn another_ssrc_is_no_loss_and_no_jump_and_long_packets_are_counted() {
    let mut sender = Sender::new();
    sender.run(30, 1_000);
    sender.report(0, 0);
    sender.monitor.restart(90_000);
    (sender.seq, sender.timestamp) = (7, 12_345);
    sender.report(0, 0);
    sender.run(30, PACKET_MAX + 1);
    assert_eq!((sender.monitor.lost(), sender.monitor.packets()), (0, 60));
    assert_eq!(sender.monitor.oversized(), 30);
    assert!(!sender.monitor.clock_jumped(sender.wall()) && !sender.monitor.has_bframes(sender.now));
    sender.run(1, PACKET_MAX);
    assert_eq!(sender.monitor.oversized(), 30);
}
