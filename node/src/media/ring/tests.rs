use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Beginning, Push, Ring, RingConfig};
use crate::media::packet::{CaptureMicros, Extensions, Packet};

fn packet(index: u64, timestamp: u32, keyframe: bool, arrived: Instant, len: usize) -> Arc<Packet> {
    Arc::new(Packet {
        index,
        timestamp,
        marker: false,
        keyframe,
        codec: 0,
        capture: CaptureMicros(0),
        arrived,
        exts: Extensions::default(),
        payload: Bytes::from(vec![0; len]),
    })
}

fn plain(index: u64) -> Arc<Packet> {
    packet(index, 0, false, Instant::now(), 100)
}

fn ring(max_packets: usize) -> Ring {
    Ring::new(RingConfig { max_packets, ..RingConfig::default() })
}

fn held(ring: &Ring) -> Vec<u64> {
    ring.iter_from(0).map(|packet| packet.index).collect()
}

#[test]
fn the_span_grows_with_the_bytes_up_to_the_most_that_can_be_set() {
    let span = |mebibytes: usize| RingConfig::new(Duration::from_secs(2), mebibytes << 20).max_packets;
    assert_eq!([1, 4, 8, 16].map(span), [4_096, 4_096, 8_192, 16_384]);
}

#[test]
fn packets_that_come_out_of_order_stand_in_order() {
    let mut ring = ring(64);
    for index in [10, 12, 11, 9, 15] {
        assert_eq!(ring.push(plain(index)), Push::New, "{index}");
    }
    assert_eq!(held(&ring), [9, 10, 11, 12, 15]);
    assert_eq!(ring.push(plain(11)), Push::Duplicate);
    assert_eq!((ring.oldest(), ring.newest(), ring.len()), (Some(9), Some(15), 5));
    assert_eq!(ring.missing_from(0).collect::<Vec<_>>(), [13, 14]);
    assert_eq!(ring.missing_from(14).collect::<Vec<_>>(), [14]);
    assert!(ring.get(13).is_none() && ring.get(8).is_none() && ring.get(16).is_none());
    assert_eq!(ring.iter_from(12).map(|packet| packet.index).collect::<Vec<_>>(), [12, 15]);
    assert_eq!(ring.iter_from(99).count(), 0);
}

#[test]
fn what_fell_out_does_not_come_back() {
    let mut ring = ring(4);
    for index in 0..10 {
        ring.push(plain(index));
    }
    assert_eq!(held(&ring), [6, 7, 8, 9]);
    assert_eq!(ring.push(plain(5)), Push::TooOld);
    assert_eq!(ring.bytes(), 400);
}

#[test]
fn a_leap_of_the_origin_clears_and_goes_on() {
    let mut ring = ring(8);
    ring.push(plain(3));
    assert_eq!(ring.push(plain(u64::MAX - 5)), Push::New);
    assert_eq!(held(&ring), [u64::MAX - 5]);
    assert_eq!(ring.push(plain(u64::MAX - 7)), Push::New, "late, but within the span");
    assert_eq!(ring.push(plain(4)), Push::TooOld);
    assert_eq!(ring.push(plain(u64::MAX)), Push::TooOld, "nothing fits behind it");
    assert_eq!(ring.push(plain(u64::MAX - 1)), Push::New);
    assert_eq!(ring.newest(), Some(u64::MAX - 1));
}

#[test]
fn a_late_packet_may_not_widen_the_ring_beyond_its_bound() {
    let mut ring = ring(4);
    ring.push(plain(100));
    assert_eq!(ring.push(plain(97)), Push::New);
    assert_eq!(ring.push(plain(96)), Push::TooOld);
}

#[test]
fn age_and_bytes_drop_at_the_old_end_and_take_holes_along() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut ring = Ring::new(RingConfig { max_bytes: 1_000, ..RingConfig::default() });
    for (index, ms) in [(1, 0), (2, 10), (5, 1_500), (6, 1_600)] {
        ring.push(packet(index, 0, false, at(ms), 100));
    }
    ring.expire(at(2_000));
    assert_eq!(held(&ring), [1, 2, 5, 6]);
    ring.expire(at(2_011));
    assert_eq!((ring.oldest(), ring.len()), (Some(5), 2));
    ring.push(packet(7, 0, false, at(2_020), 900));
    assert_eq!(held(&ring), [6, 7]);
    ring.push(packet(8, 0, false, at(2_030), 5_000));
    assert_eq!(held(&ring), [8], "one packet is kept however large");
    ring.expire(at(9_999));
    assert!(ring.is_empty() && ring.oldest().is_none() && ring.bytes() == 0);
    assert_eq!(ring.push(plain(8)), Push::TooOld, "an emptied ring still knows what it has let go");
}

#[test]
fn a_keyframe_starts_at_the_first_packet_of_its_frame() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut ring = ring(64);
    assert_eq!(ring.last_keyframe(), None);
    ring.push(packet(1, 100, false, at(0), 10));
    // SEI, SPS and PPS in packets of their own, then the slices: the frame begins with the SEI.
    ring.push(packet(2, 200, false, at(1), 20));
    ring.push(packet(3, 200, true, at(2), 30));
    ring.push(packet(4, 200, true, at(3), 40));
    assert_eq!(ring.last_keyframe(), Some((2, at(1))));
    assert_eq!(ring.bytes_since_keyframe(), 90);
    ring.push(packet(5, 300, false, at(4), 50));
    assert_eq!(ring.bytes_since_keyframe(), 140);
    // A keyframe whose first packets come late.
    ring.push(packet(9, 400, true, at(6), 10));
    assert_eq!(ring.last_keyframe(), Some((9, at(6))));
    ring.push(packet(7, 400, false, at(7), 10));
    ring.push(packet(8, 400, true, at(8), 10));
    assert_eq!(ring.last_keyframe().unwrap().0, 7);
    // An older keyframe that comes late is not the newest.
    ring.push(packet(6, 350, true, at(9), 10));
    assert_eq!(ring.last_keyframe().unwrap().0, 7);
}

#[test]
fn a_keyframe_is_forgotten_with_its_first_packet() {
    let mut ring = ring(4);
    ring.push(packet(1, 1, true, Instant::now(), 1));
    for index in 2..5 {
        ring.push(plain(index));
    }
    assert_eq!(ring.last_keyframe().unwrap().0, 1);
    ring.push(plain(5));
    assert_eq!((ring.last_keyframe(), ring.bytes_since_keyframe()), (None, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Against a map that keeps everything, cut to the span of the ring.
    #[test]
    fn it_holds_what_a_map_would(steps in prop::collection::vec((0u64..6, 0u64..12, any::<bool>()), 1..300)) {
        let span = 16;
        let mut ring = ring(span);
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        let (mut top, mut lowest) = (1_000u64, 0u64);
        for (forward, back, keyframe) in steps {
            let index = (top + forward).saturating_sub(back);
            top = top.max(index);
            let timestamp = u32::try_from(index / 3).unwrap();
            let pushed = ring.push(packet(index, timestamp, keyframe, Instant::now(), 7));
            let newest = model.last_key_value().map_or(index, |(newest, _)| *newest).max(index);
            let fits = index >= lowest && newest - index < span as u64;
            prop_assert_eq!(pushed != Push::TooOld, fits, "{} below {}", index, lowest);
            if fits {
                prop_assert_eq!(pushed == Push::Duplicate, model.contains_key(&index));
                model.entry(index).or_insert(timestamp);
                let cut = (newest + 1).saturating_sub(span as u64);
                let kept = model.split_off(&cut);
                // A hole at the old end stays open to its packet; the place of a packet that fell out does not.
                lowest = model.last_key_value().map_or(lowest, |(dropped, _)| dropped + 1);
                model = kept;
            }
            prop_assert_eq!(held(&ring), model.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(ring.len(), model.len());
            prop_assert_eq!(ring.bytes(), 7 * model.len());
            if let Some((start, _)) = ring.last_keyframe() {
                let timestamp = model.get(&start).copied();
                prop_assert!(timestamp.is_some(), "the keyframe is held");
                prop_assert!(start == 0 || model.get(&(start - 1)).copied() != timestamp, "it is the frame's first");
            }
        }
    }
}

#[test]
fn arrival_numbers_follow_the_order_of_arrival_and_are_not_used_again() {
    let mut ring = ring(4);
    assert_eq!((ring.first_arrival(), ring.next_arrival()), (0, 0));
    for index in [10, 12, 11, 11, 13] {
        ring.push(plain(index));
    }
    let order = |ring: &Ring| -> Vec<u64> {
        (ring.first_arrival()..ring.next_arrival()).map(|n| ring.arrived(n).unwrap().index).collect()
    };
    assert_eq!(order(&ring), [10, 12, 11, 13], "a duplicate does not count");
    ring.push(plain(14));
    assert_eq!((ring.first_arrival(), order(&ring)), (1, vec![12, 11, 13, 14]));
    ring.push(plain(15));
    // 11 has fallen out of the middle of the order: it stays until what came before it goes.
    assert_eq!(held(&ring), [12, 13, 14, 15]);
    assert_eq!(ring.first_arrival(), 1);
    ring.push(plain(16));
    assert_eq!((ring.first_arrival(), order(&ring)), (3, vec![13, 14, 15, 16]));
    assert!(ring.arrived(2).is_none() && ring.arrived(7).is_none());
    assert_eq!(ring.next_arrival(), 7);
}

#[test]
fn a_keyframe_begins_at_the_first_packet_of_its_frame_to_arrive() {
    let mut ring = ring(64);
    let now = Instant::now();
    ring.push(packet(1, 0, false, now, 100));
    // Parameter sets in a packet of their own, then slices, the first two of them in the wrong order.
    for index in [2, 4, 3] {
        ring.push(packet(index, 3_000, index != 2, now, 100));
    }
    ring.push(packet(5, 6_000, false, now, 100));
    // It is known for one with the third.
    assert_eq!(ring.keyframe_since(2), Some(Beginning { index: 2, arrival: 1 }));
    assert_eq!(ring.keyframe_since(3), None);
    // The first packet of the next is sent again, and comes when the frame behind it is there.
    for (index, frame) in [(7, 3), (8, 3), (9, 4), (6, 3)] {
        ring.push(packet(index, frame * 3_000, index == 6, now, 100));
    }
    assert_eq!(ring.keyframe_since(8), Some(Beginning { index: 6, arrival: 5 }));
}

#[test]
fn a_ring_that_was_cleared_takes_the_same_again_under_new_arrival_numbers() {
    let mut ring = ring(4);
    let fill = |ring: &mut Ring| {
        for index in 0..10 {
            assert_eq!(ring.push(packet(index, 0, index == 7, Instant::now(), 100)), Push::New, "{index}");
        }
    };
    fill(&mut ring);
    ring.clear();
    assert!(ring.is_empty() && ring.oldest().is_none() && ring.latest().is_none());
    assert_eq!((ring.keyframe_since(0), ring.bytes_since_keyframe()), (None, 0));
    assert_eq!((ring.first_arrival(), ring.next_arrival()), (10, 10));
    fill(&mut ring);
    assert_eq!(held(&ring), [6, 7, 8, 9]);
    assert_eq!((ring.first_arrival(), ring.next_arrival()), (16, 20));
}
