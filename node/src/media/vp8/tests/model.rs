//! Random sources, changes, limits, losses and reorders against what a receiver may expect.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// How a source counts.
#[derive(Debug, Clone)]
struct Source {
    first_index: u64,
    id: u16,
    /// Width of the PictureID; none where it is not written.
    long: Option<bool>,
    tl0: u8,
    key: u8,
    /// Temporal layers; 0: none are told.
    layers: u8,
    /// Packets of each picture, pictures skipped before it, the limit that is set before it, and a key frame.
    pictures: Vec<(u8, u8, Option<Option<u8>>, bool)>,
}

fn source(pictures: usize) -> impl Strategy<Value = Source> {
    let limit =
        prop_oneof![5 => Just(None), 1 => (0..3_u8).prop_map(|max| Some(Some(max))), 1 => Just(Some(None))];
    let skipped = prop_oneof![8 => Just(0), 1 => 1..3_u8];
    let picture = (1..4_u8, skipped, limit, prop::bool::weighted(0.05));
    let id = prop_oneof![any::<u16>(), 0x7ff8..0x7fff_u16, 0x78..0x7f_u16];
    let long = prop_oneof![5 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)];
    let numbers = (any::<u8>(), any::<u8>(), 0..4_u8);
    (0..1_000_000_u64, id, long, numbers, prop::collection::vec(picture, 1..pictures)).prop_map(
        |(first_index, id, long, (tl0, key, layers), pictures)| Source {
            first_index,
            id,
            long,
            tl0,
            key,
            layers,
            pictures,
        },
    )
}

/// One picture as its source made it.
#[derive(Debug, Clone)]
struct Picture {
    /// Counted without wrapping; what the source skipped counts.
    number: u64,
    /// Numbers that the source skipped before it.
    skipped: u16,
    tid: u8,
    key: bool,
    /// Numbers of the pictures that it may lean on.
    leans_on: Vec<u64>,
    limit: Option<Option<u8>>,
    packets: Vec<Packet>,
}

impl Source {
    fn pictures(&self) -> Vec<Picture> {
        let (mut index, mut number, mut tl0, mut key, mut at) =
            (self.first_index, u64::from(self.id), self.tl0, self.key, 0_u64);
        let mut latest = [None; 4];
        let mut out = Vec::new();
        for (n, (packets, skipped, limit, wants_key)) in self.pictures.iter().enumerate() {
            let is_key = n == 0 || *wants_key;
            if is_key {
                at = 0;
            }
            let (tid, sync) = match (self.layers, at % 8) {
                (0 | 1, _) | (2, 0 | 2 | 4 | 6) | (3, 0 | 4) => (0, false),
                (2, round) => (1, round == 1),
                (_, 1) => (2, true),
                (_, 2) => (1, true),
                (_, round) => (if round % 4 == 2 { 1 } else { 2 }, false),
            };
            at += 1;
            if n > 0 {
                number += 1 + u64::from(*skipped);
                tl0 = tl0.wrapping_add(u8::from(tid == 0));
                key = key.wrapping_add(u8::from(is_key));
            }
            let leans_on = match (is_key, sync) {
                (true, _) => vec![],
                (false, true) => latest[..1].to_vec(),
                (false, false) => latest[..=usize::from(tid)].to_vec(),
            };
            if is_key {
                latest = [None; 4];
            }
            latest[usize::from(tid)] = Some(number);
            let mask = if self.long == Some(true) { 0x7fff } else { 0x7f };
            let written = |starts| Written {
                starts,
                key: is_key,
                id: self.long.map(|long| (number as u16 & mask, long)),
                tl0: (self.layers > 0).then_some(tl0),
                layer: (self.layers > 0).then_some((tid, sync)),
                keyidx: (self.layers > 1).then_some(key & 0x1f),
            };
            let packets = (0..*packets).map(|part| {
                let packet = packet(index, 3_000 * n as u32, part + 1 == *packets, written(part == 0));
                index += 1;
                packet
            });
            let packets = packets.collect();
            let leans_on = leans_on.into_iter().flatten().collect();
            let skipped = if n == 0 { 0 } else { u16::from(*skipped) };
            out.push(Picture { number, skipped, tid, key: is_key, leans_on, limit: *limit, packets });
        }
        out
    }
}

/// The numbers that a receiver has seen last.
#[derive(Debug, Default)]
struct Receiver {
    seq: Option<u64>,
    id: Option<u16>,
    tl0: Option<u8>,
    key: Option<u8>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Where nothing gets lost, a receiver sees sequence numbers and pictures one after the other, TL0PICIDX step with
    /// the base layer and KEYIDX with keyframes, and every picture that a picture may lean on.
    #[test]
    fn a_whole_stream_has_no_seam(sources in prop::collection::vec(source(24), 1..5)) {
        let mut slot = Slot::new();
        let mut receiver = Receiver::default();
        let mut limited = false;
        for (of, source) in sources.iter().enumerate() {
            slot.source = None;
            let mut sent_pictures: HashSet<u64> = HashSet::new();
            let mut skipped_since = 0;
            for picture in source.pictures() {
                if let Some(limit) = picture.limit {
                    slot.max = limit;
                    limited = true;
                }
                skipped_since += picture.skipped;
                let sent: Vec<_> = picture.packets.iter().filter_map(|packet| slot.send(packet)).collect();
                prop_assert!(sent.is_empty() || sent.len() == picture.packets.len(), "whole or not at all");
                if sent.is_empty() {
                    prop_assert!(picture.tid > 0 && limited, "nothing is left out without a reason");
                    continue;
                }
                prop_assert!(slot.max.is_none_or(|max| picture.tid <= max));
                prop_assert!(picture.leans_on.iter().all(|of| sent_pictures.contains(of)), "{:?}", picture);
                sent_pictures.insert(picture.number);
                if of == 0 && !limited {
                    let same = sent.iter().zip(&picture.packets).all(|((_, out), packet)| *out == packet.payload);
                    prop_assert!(same, "one source goes as it is");
                }
                for (n, (seq, payload)) in sent.into_iter().enumerate() {
                    prop_assert_eq!(seq, receiver.seq.map_or(seq, |last| last + 1));
                    receiver.seq = Some(seq);
                    let read = Descriptor::parse(&payload).unwrap();
                    let begins = n == 0;
                    if let Some(id) = read.picture_id {
                        let by = if begins { 1 + skipped_since } else { 0 };
                        let expected = receiver.id.map_or(id.value, |last| last.wrapping_add(by) & id.mask());
                        prop_assert_eq!(id.value, expected);
                        receiver.id = Some(id.value);
                    }
                    if let Some(tl0) = read.tl0 {
                        let by = u8::from(begins && picture.tid == 0);
                        prop_assert_eq!(tl0, receiver.tl0.map_or(tl0, |last| last.wrapping_add(by)));
                        receiver.tl0 = Some(tl0);
                    }
                    if let Some(key) = read.keyidx {
                        let by = u8::from(begins && picture.key);
                        prop_assert_eq!(key, receiver.key.map_or(key, |last| (last + by) & 0x1f));
                        receiver.key = Some(key);
                    }
                }
                skipped_since = 0;
            }
        }
    }

    /// With losses and reorders: what is lost stays a gap, what is left out closes up, nothing goes back, and a packet
    /// that is sent again, of whatever source, has the very same bytes.
    #[test]
    fn a_torn_stream_keeps_its_numbers(
        sources in prop::collection::vec(source(20), 1..4),
        luck in prop::collection::vec((0..10_u8, 0..12_u64), 1..160),
    ) {
        let mut slot = Slot::new();
        // A layer that was closed opens at a sync picture, which may be long after the limit has gone.
        let mut limited = false;
        // By sequence number: source, place of the picture in it, payload.
        let mut out: BTreeMap<u64, (usize, usize, Vec<u8>)> = BTreeMap::new();
        let mut repeats: Vec<(SourceEpoch, Packet, (u64, Vec<u8>))> = vec![];
        let mut left_out: HashSet<(usize, usize)> = HashSet::new();
        let mut all: HashMap<usize, Vec<Picture>> = HashMap::new();
        let mut luck = luck.into_iter().cycle();
        for (of, source) in sources.iter().enumerate() {
            let pictures = source.pictures();
            let mut arrivals: Vec<(u64, usize, Packet)> = vec![];
            for (n, picture) in pictures.iter().enumerate() {
                for packet in &picture.packets {
                    let place = arrivals.len() as u64;
                    let (loss, late) = luck.next().unwrap();
                    match (place, loss, late) {
                        (0, ..) => arrivals.push((0, n, packet.clone())),
                        (_, 0, _) => {}
                        (_, _, late) => {
                            let delay = if late > 8 { late } else { 0 };
                            arrivals.push((10 * place + 10 * delay, n, packet.clone()));
                        }
                    }
                }
            }
            arrivals.sort_by_key(|(at, ..)| *at);
            slot.source = None;
            for (_, n, packet) in arrivals {
                if let Some(limit) = pictures[n].limit {
                    slot.max = limit;
                    limited |= limit.is_some();
                }
                match slot.send(&packet) {
                    None => {
                        prop_assert!(pictures[n].tid > 0 && limited || left_out.contains(&(of, n)));
                        left_out.insert((of, n));
                    }
                    Some((seq, payload)) => {
                        let before = out.insert(seq, (of, n, payload.clone()));
                        prop_assert!(before.is_none(), "a sequence number is used once");
                        repeats.push((slot.source.unwrap(), packet, (seq, payload)));
                    }
                }
                let pick = luck.next().unwrap().1 as usize * repeats.len() / 12;
                let (source, packet, expected) = &repeats[pick];
                prop_assert_eq!(slot.again(*source, packet), Some(expected.clone()));
            }
            all.insert(of, pictures);
        }
        for (source, packet, expected) in &repeats {
            prop_assert_eq!(slot.again(*source, packet), Some(expected.clone()));
        }
        // The rest of a picture that came too late to be left out with it stands for nothing.
        let (mut last, mut newest): (Option<(usize, usize, u16)>, Option<u16>) = (None, None);
        for (seq, (of, n, payload)) in &out {
            let Some(id) = Descriptor::parse(payload).unwrap().picture_id else { continue };
            let before = newest.replace(id.value);
            if left_out.contains(&(*of, *n)) {
                continue;
            }
            let expected = match last {
                None => id.value,
                Some((last_of, last_n, last_id)) if last_of == *of => {
                    prop_assert!(last_n <= *n, "pictures never go back");
                    let gone = (last_n..*n).filter(|n| left_out.contains(&(*of, *n))).count() as u64;
                    let step = all[of][*n].number - all[of][last_n].number - gone;
                    last_id.wrapping_add(step as u16)
                }
                Some(_) => before.unwrap().wrapping_add(1),
            };
            prop_assert_eq!(id.value, expected & id.mask(), "seq {} of {}:{}", seq, of, n);
            last = Some((*of, *n, id.value));
        }
    }
}
