use super::*;

fn meter() -> (HeaderMeter, Instant) {
    let joined = Instant::now();
    (HeaderMeter::new("1".into(), Kind::Video, joined), joined)
}

fn headed(at: Instant, sequence: u16) -> Headed {
    Headed { at, ssrc: 7, sequence, bytes: 1_000, padded: false, again: false }
}

fn opened(publisher: u64, sequence: u64, keyframe: bool) -> Opened {
    let frame = num::wrap32(sequence);
    let (part, frame_end, video, layer) = (0, true, true, None);
    let stamp = Stamp { publisher, sequence, captured_us: 1, frame, part, keyframe, frame_end, video, layer };
    Opened { stamp: Ok(stamp), keyframe, padding: false }
}

fn unstamped() -> Opened {
    Opened { stamp: Err(StampError::Unstamped), keyframe: false, padding: false }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn holes_are_loss_before_recovery_and_what_comes_again_is_none_after_it() {
    let (mut meter, begin) = meter();
    assert!(meter.wants(&headed(begin, 65_530)), "nothing is known yet");
    assert_eq!(meter.on_packet(&headed(begin, 65_530), Some(&opened(5, 100, true))), 131_066..131_066);
    assert!(
        !meter.wants(&headed(begin + ms(999), 65_531)) && meter.wants(&headed(begin + ms(1_000), 65_531))
    );
    // 65,533 and 1 are lost; 1 comes again.
    for sequence in [65_531, 65_532, 65_534, 65_535, 0, 2] {
        let at = begin + ms(20);
        let skipped = meter.on_packet(&headed(at, sequence), None);
        let expected = match sequence {
            65_534 => 131_069..131_070,
            2 => 131_073..131_074,
            _ => skipped.end..skipped.end,
        };
        assert_eq!(skipped, expected, "{sequence}");
    }
    let again = opened(5, 107, false);
    assert_eq!(meter.on_recovered(&headed(begin + ms(30), 1), &again), Some(131_073));
    assert_eq!(meter.on_recovered(&headed(begin + ms(31), 1), &again), None, "once is enough");
    meter.on_packet(&headed(begin + ms(32), 2), None);
    let report = meter.report();
    assert_eq!((report.received, report.missing, report.recovered_by_rtx), (8, 1, 1));
    assert_eq!((report.lost_before_recovery, report.duplicates, report.bytes), (2, 1, 8_000));
    assert_eq!((report.first_index, report.last_index), (Some(100), Some(108)), "by the publisher's numbers");
    assert_eq!(report.segments.last().unwrap().publisher, 5);
    assert_eq!(report.missing_up_to(110), 3, "what it sent last is missing too");
    assert_eq!(
        (report.keyframes, report.first_keyframe, report.first_keyframe_index),
        (1, Some(ms(0)), Some(100))
    );
    assert_eq!((report.longest_gap, report.freezes), (ms(20), 0));
    assert_eq!(meter.srtp_index(7, 3), 65_536 + 3);
}

#[test]
fn another_publisher_is_known_by_its_numbers_or_by_its_source() {
    let (mut meter, begin) = meter();
    meter.on_packet(&headed(begin, 10), Some(&opened(5, 0, true)));
    meter.on_packet(&headed(begin, 12), None);
    // One source, and numbers that jump.
    let jump = headed(begin, 9_000);
    assert!(meter.wants(&jump));
    assert_eq!(meter.on_packet(&jump, Some(&opened(6, 0, true))).count(), 0);
    let segments = meter.report().segments;
    assert_eq!(segments.iter().map(|one| (one.publisher, one.missing)).collect::<Vec<_>>(), [(5, 1), (6, 0)]);
    // The same publisher lost as many.
    let skipped = meter.on_packet(&headed(begin, 10_001), Some(&opened(6, 1_001, false)));
    assert_eq!((skipped.count(), meter.report().missing), (1_000, 1_001));
    // Another source.
    let other = Headed { ssrc: 8, ..headed(begin, 3) };
    assert!(meter.wants(&other));
    meter.on_packet(&other, Some(&opened(9, 40, false)));
    meter.on_packet(&headed(begin, 10_002), None);
    let report = meter.report();
    assert_eq!((report.segments.len(), report.late, meter.source()), (3, 1, Some(8)));
    assert_eq!((report.first_index, report.received), (Some(40), 5));
    assert_eq!(meter.srtp_index(8, 4), 4);
}

#[test]
fn media_of_others_is_counted_by_rtp_numbers() {
    let (mut meter, begin) = meter();
    let foreign = unstamped();
    meter.on_packet(&headed(begin, 500), Some(&foreign));
    assert!(meter.wants(&headed(begin, 501)), "no keyframe began yet");
    meter.on_packet(&headed(begin, 501), Some(&Opened { keyframe: true, ..foreign }));
    assert!(!meter.wants(&headed(begin, 502)));
    meter.on_packet(&headed(begin, 503), None);
    let report = meter.report();
    assert_eq!((report.first_index, report.last_index), (Some(500), Some(503)));
    assert_eq!((report.unstamped, report.missing, report.keyframes), (3, 1, 1));
    assert_eq!((report.segments[0].publisher, report.missing_after_keyframe), (0, 1));
}

#[test]
fn damage_is_seen_where_a_packet_is_opened() {
    let (mut meter, begin) = meter();
    let damaged = Opened { stamp: Err(StampError::Fill), ..unstamped() };
    meter.on_packet(&headed(begin, 1), Some(&damaged));
    meter.on_rejected();
    let report = meter.report();
    assert_eq!((report.received, report.payload_mismatch, report.rejected), (1, 1, 1));
    assert!(report.first_mismatch.unwrap().contains("bytes"));
}

#[test]
fn padding_and_strays_do_not_end_a_publishers_count() {
    let (mut meter, begin) = meter();
    meter.on_packet(&headed(begin, 100), Some(&opened(5, 0, true)));
    meter.on_packet(&headed(begin, 101), None);
    // Two numbers that the publisher did not give; each is opened, and so is what follows.
    for (sequence, padding) in [(102, true), (103, false)] {
        let packet = Headed { padded: padding, ..headed(begin, sequence) };
        assert!(meter.wants(&packet), "{sequence}");
        assert!(meter.on_packet(&packet, Some(&Opened { padding, ..unstamped() })).is_empty());
        let report = meter.report();
        assert_eq!((report.last_index, report.missing_up_to(1)), (Some(1), 0), "{sequence}");
    }
    assert!(meter.wants(&headed(begin, 104)));
    meter.on_packet(&headed(begin, 104), Some(&opened(5, 2, false)));
    assert!(!meter.wants(&headed(begin, 105)));
    // One is lost; what comes late does not change how numbers are now.
    meter.on_packet(&headed(begin, 106), None);
    assert_eq!(meter.on_recovered(&headed(begin, 101), &opened(5, 1, false)), None, "it came before");
    let report = meter.report();
    assert_eq!((report.received, report.missing, report.unstamped), (4, 1, 1));
    assert_eq!((report.last_index, report.missing_up_to(5)), (Some(4), 2));
    assert_eq!((report.segments.len(), report.bytes), (1, 4_000));
    // As many as make a stream are one.
    for sequence in 107..300 {
        meter.on_packet(&headed(begin, sequence), Some(&unstamped()));
    }
    let report = meter.report();
    let publishers: Vec<u64> = report.segments.iter().map(|segment| segment.publisher).collect();
    assert_eq!((publishers, report.missing), (vec![5, 0], 1));
    meter.on_packet(&headed(begin, 301), Some(&opened(5, 9, false)));
    let report = meter.report();
    assert_eq!((report.segments.len(), report.last_index), (3, Some(9)), "and who was there comes back");
}

#[test]
fn what_was_asked_for_is_recovered_under_its_own_number_too() {
    let (mut meter, begin) = meter();
    meter.on_packet(&headed(begin, 10), Some(&opened(5, 0, true)));
    meter.on_packet(&headed(begin, 14), None);
    meter.on_packet(&Headed { again: true, ..headed(begin, 11) }, None);
    meter.on_packet(&headed(begin, 12), None);
    meter.on_packet(&Headed { again: true, ..headed(begin, 11) }, None);
    let report = meter.report();
    assert_eq!((report.received, report.missing, report.recovered_by_rtx), (4, 1, 1));
    assert_eq!((report.lost_before_recovery, report.late, report.duplicates), (2, 2, 1));
}

#[test]
fn a_server_that_makes_packets_anew_is_counted_by_its_own_numbers() {
    let (mut meter, begin) = meter();
    let pieces = crate::measure::remaking::tests::remade(200, 1);
    for (sequence, (_, stamp)) in (0_u16..).zip(pieces) {
        let packet = headed(begin, sequence);
        let opened = Opened { stamp, keyframe: sequence % 100 == 1, padding: false };
        let opened = meter.wants(&packet).then_some(opened);
        if sequence != 700 {
            meter.on_packet(&packet, opened.as_ref());
        }
    }
    let report = meter.report();
    assert_eq!((report.missing, report.payload_mismatch, report.duplicates), (1, 0, 0), "{report:?}");
    assert_eq!((report.segments.len(), report.segments[0].publisher), (1, 0));
    assert!(report.received > 900 && report.unstamped == report.received, "{report:?}");
    assert_eq!((report.last_index, report.missing_up_to(999)), (Some(999), 1));
}
