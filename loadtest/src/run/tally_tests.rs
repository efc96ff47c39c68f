use super::*;
use crate::client::{Depth, TrackSent};
use crate::measure::{Observed, SkewReport, TrackMeter};
use crate::media::stamp::Stamp;

/// A viewer that got 50 packets of sound, one each 20 ms, and then nothing.
fn silenced(start: Instant) -> ViewerReport {
    let mut meter = TrackMeter::new("0".into(), Kind::Audio, start);
    for sequence in 0..50 {
        let at = start + Duration::from_millis(20) * u32::try_from(sequence).unwrap();
        let captured_us = 1_795_262_400_000_000 + sequence * 20_000;
        let (publisher, frame, part) = (7, u32::try_from(sequence).unwrap(), 0);
        let (keyframe, frame_end, video, layer) = (false, true, false, None);
        let stamp =
            Stamp { publisher, sequence, captured_us, frame, part, keyframe, frame_end, video, layer };
        meter.on_packet(&Observed {
            at,
            at_us: captured_us,
            sequence,
            via_rtx: false,
            bytes: 100,
            stamp: Ok(stamp),
            captured_us: None,
            keyframe,
        });
    }
    ViewerReport {
        depth: Depth::Whole,
        state: SessionState::Connected,
        joined: start,
        answered: None,
        ice: None,
        connected: None,
        tracks: vec![meter.report()],
        skew: SkewReport::default(),
        injected_loss: 0,
        injected_rtx_loss: 0,
        unmapped: 0,
        keyframe_requests: 0,
        put_off: Vec::new(),
        relayed: false,
        decoded: None,
    }
}

fn of(truth: &Truth, start: Instant) -> (u64, f64) {
    let mut tally = Tally::default();
    tally.viewer(&silenced(start), Session::First, truth);
    let finished = tally.finish(Duration::from_secs(5));
    (finished.packets.lost, finished.longest_gap.unwrap().max.round())
}

#[test]
fn silence_to_the_end_of_a_run_is_loss_and_a_gap() {
    let start = Instant::now();
    let at = |index: u32| start + Duration::from_millis(20) * index;
    let sent = |last: u32| {
        let audio =
            TrackSent { last_index: Some(last.into()), last_due: Some(at(last)), ..Default::default() };
        HashMap::from([(7, PublisherStats { publisher: 7, audio, ..Default::default() })])
    };
    let until = start + Duration::from_secs(5);
    let whole = Truth { sent: sent(49), ended: HashSet::new(), until };
    assert_eq!(of(&whole, start), (0, 20.0), "all that was sent came");
    let cut = Truth { sent: sent(249), ended: HashSet::new(), until };
    assert_eq!(of(&cut, start), (200, 4_000.0), "four seconds of it did not");
    let ended = Truth { sent: sent(49), ended: HashSet::from([7]), until };
    assert_eq!(of(&ended, start), (0, 4_020.0), "the publisher was gone too, and media was due");
    let others = Truth { sent: HashMap::new(), ended: HashSet::new(), until };
    assert_eq!(of(&others, start), (0, 4_020.0), "somebody else published");
}

#[test]
fn shares_that_went_through_a_message_add_up_to_the_whole() {
    let start = Instant::now();
    let truth = Truth { sent: HashMap::new(), ended: HashSet::new(), until: start + Duration::from_secs(2) };
    let mut viewers: Vec<ViewerReport> = (1..=40_u32)
        .map(|nth| {
            let mut viewer = silenced(start);
            viewer.connected = Some(Duration::from_millis(7) * nth);
            viewer.answered = Some(Duration::from_micros(3_333) * nth);
            viewer.injected_loss = nth.into();
            viewer.relayed = nth % 4 == 0;
            viewer.put_off = vec![503; usize::try_from(nth % 3).unwrap()];
            viewer
        })
        .collect();
    viewers[3].state = SessionState::Ended(crate::client::EndReason::Failed("so".into()));
    let (mut whole, mut shares) = (Tally::default(), [Tally::default(), Tally::default(), Tally::default()]);
    for (nth, viewer) in viewers.iter().enumerate() {
        let course = if nth == 5 { Session::Again(start) } else { Session::First };
        whole.viewer(viewer, course, &truth);
        shares[nth % 3].viewer(viewer, course, &truth);
    }
    for failed in [&mut whole, &mut shares[1]] {
        failed.failed("HTTP 503".into());
        failed.lost("closed by the server".into());
        failed.in_vain("HTTP 503".into());
        failed.not_back(Duration::from_millis(700), "HTTP 503");
        failed.missed(Duration::from_millis(700), true);
        failed.seated();
    }
    let mut merged = Tally::default();
    for share in shares {
        let text = serde_json::to_string(&share).unwrap();
        merged.merge(&serde_json::from_str(&text).unwrap());
    }
    assert_eq!(merged, whole);
    let viewers = &merged.viewers;
    assert_eq!((viewers.sessions, viewers.seated, viewers.failed, viewers.ended_early), (40, 1, 2, 1));
    let finished = merged.finish(Duration::from_secs(2));
    assert_eq!(finished.join.connected_ms.unwrap().max, 280.0);
    assert_eq!((finished.viewers.relayed, finished.viewers.put_off["HTTP 503"]), (10, 40));
    let reconnects = finished.viewers.reconnects;
    assert_eq!((reconnects.lost(), reconnects.back, reconnects.failed["HTTP 503"]), (1, 1, 1));
    assert_eq!((reconnects.not_back, reconnects.first_packet_ms.unwrap().count), (1, 1));
    assert_eq!((reconnects.away_ms.unwrap().count, reconnects.away_ms.unwrap().max), (2, 700.0));
}

#[test]
fn a_server_that_says_something_else_each_time_does_not_make_a_row_of_each() {
    let mut tally = Tally::default();
    for letter in 0..1_000_u32 {
        let word: String = letter.to_string().bytes().map(|byte| char::from(byte + 50)).collect();
        tally.failed(format!("bad response: {word}"));
        tally.lost(format!("closed at 10.0.0.1:{letter} after {letter}0000 ms"));
    }
    assert_eq!(tally.viewers.failed, 1_000);
    assert_eq!(tally.viewers.reasons.len(), REASONS + 1);
    // What another process was told is other words again.
    let mut other = Tally::default();
    ["a", "b"].into_iter().for_each(|word| other.failed(format!("bad response: {word}")));
    other.merge(&tally);
    assert_eq!(other.viewers.reasons.len(), REASONS + 1);
    assert_eq!(other.viewers.reasons.values().sum::<u64>(), 1_002);
    assert_eq!(tally.viewers.reasons.values().sum::<u64>(), 1_000);
    assert_eq!(
        tally.viewers.reconnects.reasons.into_iter().collect::<Vec<_>>(),
        [("closed at … after … ms".to_owned(), 1_000)]
    );
}
