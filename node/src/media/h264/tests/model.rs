//! Packets that are lost or come late and out of order, against what sets in front of pictures mean.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An access unit: whether it has sets of its own, whether they are alone in it, an IDR picture or another, fragments.
#[derive(Debug, Clone, Copy)]
struct Made {
    sets: bool,
    alone: bool,
    idr: bool,
    parts: usize,
}

fn made() -> impl Strategy<Value = Made> {
    (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.4), 1..4_usize)
        .prop_map(|(sets, alone, idr, parts)| Made { sets: sets || alone, alone, idr, parts })
}

/// A packet as it is sent.
#[derive(Debug, Clone)]
struct Sent {
    seq: u64,
    unit: usize,
    payload: Vec<u8>,
    begins_idr: bool,
}

fn sent(units: &[Made]) -> Vec<Sent> {
    let mut packets = Vec::new();
    for (unit, made) in units.iter().enumerate() {
        let version = unit as u8;
        let kind = if made.idr { 5 } else { 1 };
        let sets =
            if made.sets { vec![versioned(sps(0), version), versioned(pps(0), version)] } else { vec![] };
        let parts = if made.alone { 0 } else { made.parts };
        let parts = (0..parts).map(|part| fragment(kind, part == 0));
        for payload in sets.into_iter().chain(parts) {
            let begins_idr = payload[..2] == [0x7c, 0x85];
            packets.push(Sent { seq: 1_000 + packets.len() as u64, unit, payload, begins_idr });
        }
    }
    packets
}

fn versioned(mut set: Vec<u8>, version: u8) -> Vec<u8> {
    set.push(version);
    set
}

proptest! {
    #[test]
    fn every_mark_keeps_its_promise_and_every_index_its_order(
        units in prop::collection::vec(made(), 1..24),
        delays in prop::collection::vec((0..6_u64, prop::bool::weighted(0.05)), 200),
        disorder in any::<bool>(),
    ) {
        let all = sent(&units);
        let mut order: Vec<(u64, &Sent)> = Vec::new();
        for (packet, (delay, lost)) in all.iter().zip(&delays) {
            if !disorder {
                order.push((packet.seq, packet));
            } else if !lost {
                // Some are later by up to five packets.
                order.push((packet.seq + delay / 3 * delay, packet));
            }
        }
        order.sort_by_key(|(due, _)| *due);

        let mut h264 = H264::default();
        let start = Instant::now();
        // What stands under each index, and where sets were put in front: number of the packet, and how many.
        let mut placed: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut added: Vec<(u64, u64)> = Vec::new();
        let mut taken_at: Vec<(u64, u64)> = Vec::new();
        for (_, packet) in &order {
            let now = start + FRAME * packet.unit as u32;
            let taken = h264.take(packet.seq, packet.unit as u32 * 3_000, now, &packet.payload).unwrap();
            for (nth, set) in h264.sets().take(taken.sets as usize).enumerate() {
                let index = taken.index - taken.sets + nth as u64;
                prop_assert!(placed.insert(index, set.to_vec()).is_none(), "a place that was taken: {index}");
            }
            prop_assert!(placed.insert(taken.index, packet.payload.clone()).is_none(), "{taken:?} was taken");
            if taken.sets > 0 {
                added.push((packet.seq, taken.sets));
            }
            taken_at.push((packet.seq, taken.index));

            // What a mark on a picture promises: the newest sets that came, right in front or in its own unit.
            if packet.begins_idr && taken.keyframe {
                let newest = |of: u8| {
                    let came = taken_at.iter().filter_map(|(seq, _)| all.iter().find(|p| p.seq == *seq));
                    came.filter(|p| p.payload[0] == of && p.seq < packet.seq).max_by_key(|p| p.seq)
                };
                if let (Some(sps), Some(pps)) = (newest(0x67), newest(0x68)) {
                    let own = sps.unit == packet.unit && pps.unit == packet.unit;
                    let in_front = taken.sets == 2
                        && placed.get(&(taken.index - 2)) == Some(&sps.payload)
                        && placed.get(&(taken.index - 1)) == Some(&pps.payload);
                    prop_assert!(own || in_front, "{packet:?} {taken:?} {added:?}");
                }
            }
        }
        // The model: a packet's index is its number, and what was added at or below it.
        for (seq, index) in &taken_at {
            let below: u64 = added.iter().filter(|(at, _)| at <= seq).map(|(_, sets)| sets).sum();
            prop_assert_eq!(*index, seq + below);
        }
        // In order and without loss, every IDR picture is one to begin with.
        if !disorder {
            let mut h264 = H264::default();
            for packet in &all {
                let now = start + FRAME * packet.unit as u32;
                let taken = h264.take(packet.seq, packet.unit as u32 * 3_000, now, &packet.payload).unwrap();
                prop_assert!(!packet.begins_idr || taken.keyframe, "{packet:?} {taken:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_and_numbers_are_too_hostile(
        packets in prop::collection::vec(
            (any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..60),
    ) {
        let (mut h264, now) = (H264::default(), Instant::now());
        for (n, (seq, frame, payload)) in packets.iter().enumerate() {
            let now = now + FRAME * n as u32;
            if let Some(taken) = h264.take(u64::from(*seq), u32::from(*frame), now, payload) {
                prop_assert!(taken.index >= u64::from(*seq) && taken.sets <= 8);
                prop_assert_eq!(h264.index(u64::from(*seq)), Some(taken.index));
            }
        }
    }
}
