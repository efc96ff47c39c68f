use super::*;

/// Wall-clock time of the feed's start.
const NOON: u64 = 1_795_262_400_000_000;

struct Feed {
    meter: TrackMeter,
    start: Instant,
    publisher: u64,
    /// RTP number of index 0.
    offset: u64,
}

impl Feed {
    fn new() -> Self {
        let start = Instant::now();
        Self { meter: TrackMeter::new("0".into(), Kind::Video, start), start, publisher: 1, offset: 1_000 }
    }

    /// Index `index` captured at `index` ms, arriving at `at` ms; every tenth begins a keyframe.
    fn packet(&mut self, index: u64, at: u64, via_rtx: bool) {
        let stamp = Stamp {
            publisher: self.publisher,
            sequence: index,
            captured_us: NOON + index * 1_000,
            frame: u32::try_from(index).unwrap(),
            part: 0,
            keyframe: index.is_multiple_of(10),
            frame_end: true,
            video: true,
            layer: None,
        };
        let (at, at_us) = (self.start + Duration::from_millis(at), NOON + at * 1_000);
        let sequence = self.offset + index;
        self.meter.on_packet(&Observed {
            at,
            at_us,
            sequence,
            via_rtx,
            bytes: 100,
            stamp: Ok(stamp),
            captured_us: None,
            keyframe: stamp.keyframe,
        });
    }

    fn report(&self) -> TrackReport {
        self.meter.report()
    }
}

#[test]
fn an_undisturbed_track_loses_nothing() {
    let mut feed = Feed::new();
    for index in 3..203 {
        feed.packet(index, index + 5, false);
    }
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.lost_before_recovery, report.late), (200, 0, 0, 0));
    assert_eq!((report.first_index, report.last_index), (Some(3), Some(202)));
    assert_eq!((report.first_keyframe_index, report.keyframes), (Some(10), 20));
    assert_eq!(report.first_packet, Some(Duration::from_millis(8)));
    assert_eq!(report.first_keyframe, Some(Duration::from_millis(15)));
    assert_eq!(report.longest_gap, Duration::from_millis(1));
    assert_eq!(report.latency.max(), Some(Duration::from_millis(5)));
    assert_eq!(report.missing_up_to(212), 10);
    assert!((report.delivered(202) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn silence_to_the_end_is_a_gap_as_long_as_something_was_due() {
    let mut feed = Feed::new();
    for index in [0, 1, 21, 22] {
        feed.packet(index, index, false);
    }
    let report = feed.report();
    let until = |millis: u64| report.longest_gap_until(feed.start + Duration::from_millis(millis));
    assert_eq!(report.longest_gap, Duration::from_millis(20));
    assert_eq!(until(5), Duration::from_millis(20), "due before the last packet came");
    assert_eq!(until(22 + 15), Duration::from_millis(20), "a longer one came before");
    assert_eq!(until(22 + 700), Duration::from_millis(700));
    assert_eq!(Feed::new().report().longest_gap_until(feed.start), Duration::ZERO, "nothing ever came");
}

#[test]
fn loss_before_and_after_recovery_are_two_figures() {
    let mut feed = Feed::new();
    for index in 0..100 {
        if index % 10 != 5 {
            feed.packet(index, index, false);
        }
        // Half of the lost come back 20 ms later.
        if index % 20 == 17 {
            feed.packet(index - 12, index, true);
        }
    }
    let report = feed.report();
    assert_eq!((report.lost_before_recovery, report.recovered_by_rtx, report.missing), (10, 5, 5));
    assert_eq!((report.received, report.late, report.out_of_order_after_recovery), (95, 5, 0));
    assert_eq!(report.latency.max(), Some(Duration::from_millis(12)));
}

#[test]
fn what_is_missing_before_the_first_keyframe_is_told_apart() {
    let mut feed = Feed::new();
    for index in [1, 5, 10, 11, 13] {
        feed.packet(index, index, false);
    }
    let report = feed.report();
    assert_eq!((report.missing, report.missing_after_keyframe), (8, 1));
}

#[test]
fn repeats_wrong_order_and_damage_are_counted() {
    let mut feed = Feed::new();
    for index in 0..10 {
        feed.packet(index, index, false);
    }
    feed.packet(4, 10, false);
    feed.meter.on_repeat();
    // A server that renumbers wrongly: RTP says after 9, the stamp says before.
    feed.offset = 2_000;
    feed.packet(11, 11, false);
    feed.offset = 2_003;
    feed.packet(10, 12, false);
    let bad = Observed {
        at: feed.start,
        at_us: NOON,
        sequence: 9_999,
        via_rtx: false,
        bytes: 1,
        stamp: Err(StampError::Fill),
        captured_us: None,
        keyframe: false,
    };
    feed.meter.on_packet(&bad);
    let report = feed.report();
    assert_eq!((report.duplicates, report.out_of_order_after_recovery, report.payload_mismatch), (2, 1, 1));
    assert_eq!(report.first_mismatch.as_deref(), Some("the payload's bytes are not those that were sent"));
    assert_eq!(report.received, 12);
}

#[test]
fn a_takeover_starts_a_new_segment_without_inventing_loss() {
    let mut feed = Feed::new();
    for index in 0..50 {
        feed.packet(index, index, false);
    }
    feed.publisher = 2;
    feed.offset = 1_050;
    for index in 0..30 {
        feed.packet(index, index + 100, false);
    }
    feed.publisher = 1;
    feed.packet(50, 131, false);
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.late), (80, 0, 1));
    let publishers: Vec<u64> = report.segments.iter().map(|segment| segment.publisher).collect();
    assert_eq!(publishers, [1, 2]);
    assert_eq!(report.last_index, Some(29));
    assert_eq!(report.longest_gap, Duration::from_millis(51));
}

#[test]
fn foreign_media_is_counted_by_rtp_numbers() {
    let mut feed = Feed::new();
    for sequence in [70_000, 70_001, 70_003] {
        let at = feed.start + Duration::from_millis(sequence - 70_000);
        let stamp = Err(StampError::Unstamped);
        feed.meter.on_packet(&Observed {
            at,
            at_us: NOON,
            sequence,
            via_rtx: false,
            bytes: 9,
            stamp,
            captured_us: None,
            keyframe: sequence == 70_001,
        });
    }
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.unstamped, report.keyframes), (3, 1, 3, 1));
    assert!(report.latency.is_empty());
}

#[test]
fn the_age_of_history_is_no_latency() {
    let mut feed = Feed::new();
    feed.meter.on_connected(NOON + 500_000);
    for index in 300..600 {
        feed.packet(index, index.max(505) + 2, false);
    }
    let report = feed.report();
    assert_eq!((report.received, report.history, report.latency.len()), (300, 200, 100));
    assert_eq!(report.latency.max(), Some(Duration::from_millis(7)));
}

impl Feed {
    /// A packet at a place of the RTP numbers, with this stamp or none.
    fn odd(&mut self, sequence: u64, bytes: usize, stamp: StampError) {
        let (at, keyframe) = (self.start + Duration::from_millis(sequence), false);
        let (at_us, via_rtx, stamp) = (NOON + sequence * 1_000, false, Err(stamp));
        let captured_us = None;
        self.meter.on_packet(&Observed { at, at_us, sequence, via_rtx, bytes, stamp, captured_us, keyframe });
    }
}

#[test]
fn strays_without_a_stamp_do_not_end_a_publishers_count() {
    let mut feed = Feed::new();
    feed.odd(998, 50, StampError::Unstamped);
    for index in 0..400 {
        if index % 10 == 7 {
            // A packet of other media, and padding, whose numbers are none of the publisher's.
            feed.odd(feed.offset + index, 50, StampError::Unstamped);
            feed.odd(feed.offset + index + 1, 0, StampError::Unstamped);
            feed.offset += 2;
        }
        if index != 300 {
            feed.packet(index, index, false);
        }
    }
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.late, report.unstamped), (399, 1, 0, 41));
    assert_eq!((report.segments.len(), report.segments[0].publisher), (1, 1));
    assert_eq!((report.missing_up_to(402), report.out_of_order_after_recovery), (4, 0));
    // As many as make a stream are one, and who was there before may come back.
    (0..250).for_each(|sequence| feed.odd(10_000 + sequence, 50, StampError::Unstamped));
    feed.offset = 20_000;
    (400..450).for_each(|index| feed.packet(index, index, false));
    let report = feed.report();
    let segments: Vec<_> =
        report.segments.iter().map(|segment| (segment.publisher, segment.received)).collect();
    assert_eq!(segments, [(1, 399), (0, 151), (1, 50)]);
    assert_eq!((report.missing, report.late), (1, 0));
}

#[test]
fn what_is_damaged_came_all_the_same() {
    let mut feed = Feed::new();
    for index in 0..200 {
        match index % 20 {
            5 => feed.odd(feed.offset + index, 100, StampError::Fill),
            6 => feed.odd(feed.offset + index, 100, StampError::Checksum),
            7 => {}
            _ => feed.packet(index, index, false),
        }
    }
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.payload_mismatch), (190, 10, 20));
    assert_eq!((report.late, report.duplicates, report.latency.len()), (0, 0, 170));
    assert_eq!((report.last_index, report.lost_before_recovery), (Some(199), 10));
}

#[test]
fn a_retransmission_without_rtx_is_loss_before_recovery_and_what_is_overtaken_is_none() {
    let feed = |resent: bool| {
        let mut feed = Feed::new();
        if resent {
            feed.meter = feed.meter.resent();
        }
        for index in (0..50).filter(|index| ![10, 20, 30].contains(index)) {
            feed.packet(index, index, false);
        }
        feed.packet(30, 55, false);
        feed.packet(10, 60, false);
        feed.packet(10, 61, false);
        feed.report()
    };
    let report = feed(true);
    assert_eq!((report.received, report.missing, report.recovered_by_rtx, report.late), (49, 1, 1, 2));
    assert_eq!((report.lost_before_recovery, report.duplicates), (2, 1));
    assert_eq!(report.out_of_order_after_recovery, 0);
    assert_eq!(feed(false).recovered_by_rtx, 0, "with RTX they are late");
}

#[test]
fn media_without_stamps_is_as_old_as_its_headers_say() {
    let start = Instant::now();
    let mut meter = TrackMeter::new("1".into(), Kind::Video, start);
    meter.on_connected(NOON);
    for (sequence, captured_us) in [(1, Some(NOON - 1)), (2, None), (3, Some(NOON + 10_000))] {
        meter.on_packet(&Observed {
            at: start,
            at_us: NOON + 25_000,
            sequence,
            via_rtx: false,
            bytes: 100,
            stamp: Err(StampError::Unstamped),
            captured_us,
            keyframe: false,
        });
    }
    let report = meter.report();
    assert_eq!((report.history, report.unstamped, report.latency.len()), (1, 3, 1));
    assert_eq!(report.latency.max(), Some(Duration::from_millis(15)));
}

#[test]
fn layers_are_one_stream_by_the_numbers_of_the_server() {
    let mut feed = Feed::new();
    let mut packet = |rtp: u64, layer: u8, sequence: u64, frame: u32, via_rtx: bool| {
        let stamp = Stamp {
            publisher: 7,
            sequence,
            captured_us: NOON + u64::from(frame) * 33_000,
            frame,
            part: 0,
            keyframe: frame.is_multiple_of(10),
            frame_end: true,
            video: true,
            layer: Some(layer),
        };
        let (at, at_us) = (feed.start + Duration::from_millis(rtp), stamp.captured_us + 5_000);
        let (sequence, stamp, keyframe) = (rtp, Ok(stamp), stamp.keyframe);
        let (bytes, captured_us) = (100, None);
        feed.meter.on_packet(&Observed { at, at_us, sequence, via_rtx, bytes, stamp, captured_us, keyframe });
    };
    // The server goes over to the smallest layer at frame 10 and back at frame 20; each layer has its own numbers.
    for frame in 0..30_u32 {
        let layer = if (10..20).contains(&frame) { 2 } else { 0 };
        let rtp = 5_000 + u64::from(frame);
        // One is lost for good, and one comes again when the layer is another one.
        if frame == 15 || frame == 9 {
            continue;
        }
        packet(rtp, layer, if layer == 0 { u64::from(frame) * 7 } else { u64::from(frame) }, frame, false);
        if frame == 12 {
            packet(5_009, 0, 63, 9, true);
        }
    }
    let report = feed.report();
    assert_eq!((report.layers, report.layer_switches), ([20, 0, 9], 2));
    assert_eq!((report.received, report.missing, report.recovered_by_rtx), (29, 1, 1));
    assert_eq!((report.duplicates, report.out_of_order_after_recovery, report.segments.len()), (0, 0, 1));
    assert_eq!(report.keyframes, 3);
    assert_eq!((report.first_index, report.last_index), (Some(5_000), Some(5_029)));
}

#[test]
fn a_server_that_makes_packets_anew_loses_nothing_by_it() {
    let start = Instant::now();
    let mut meter = TrackMeter::new("1".into(), Kind::Video, start);
    meter.on_connected(NOON);
    let pieces = crate::measure::remaking::tests::remade(200, NOON);
    let all = u64::try_from(pieces.len()).unwrap();
    assert_eq!(all, 1_000, "five of each four");
    for (sequence, (after_us, stamp)) in (50_000..).zip(pieces) {
        // One is lost.
        if sequence == 50_700 {
            continue;
        }
        let at = start + Duration::from_micros(after_us);
        let at_us = NOON + after_us + 4_000;
        let (via_rtx, bytes, captured_us, keyframe) = (false, 250, None, sequence % 100 == 0);
        meter.on_packet(&Observed { at, at_us, sequence, via_rtx, bytes, stamp, captured_us, keyframe });
    }
    let report = meter.report();
    assert_eq!((report.missing, report.payload_mismatch, report.duplicates, report.late), (1, 0, 0, 0));
    assert_eq!(report.out_of_order_after_recovery, 0);
    assert!(report.received > all - 60 && report.unstamped == report.received, "{report:?}");
    assert_eq!(report.last_index, Some(50_999), "by RTP's numbers");
    // What begins with a stamp is as old as it says.
    assert!(report.latency.len() > 300, "{}", report.latency.len());
    assert_eq!(report.latency.max(), Some(Duration::from_millis(4)));
    assert_eq!((report.keyframes, report.first_keyframe), (9, Some(Duration::ZERO)), "one was lost");
}

#[test]
fn what_is_cut_now_and_then_is_damage() {
    let mut feed = Feed::new();
    for index in 0..400 {
        let cut = StampError::Length { expected: 100, actual: 90, captured_us: NOON };
        match index % 20 {
            5 => feed.odd(feed.offset + index, 90, cut),
            _ => feed.packet(index, index, false),
        }
    }
    let report = feed.report();
    assert_eq!((report.received, report.missing, report.payload_mismatch, report.unstamped), (400, 0, 20, 0));
}
