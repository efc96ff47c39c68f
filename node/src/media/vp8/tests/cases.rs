use proptest::prelude::*;

use super::super::{Layer, PictureId};
use super::*;

#[test]
fn a_descriptor_is_read_as_it_is_written() {
    for bits in 0..256_u32 {
        let has = |bit: u32| bits & 1 << bit != 0;
        let written = Written {
            starts: has(0),
            key: has(1),
            id: has(2).then_some(if has(3) { (0x7123, true) } else { (0x7e, false) }),
            tl0: has(4).then_some(0xfe),
            layer: has(5).then_some((2, has(6))),
            keyidx: has(7).then_some(0x1d),
        };
        let read = Descriptor::parse(&written.payload()).unwrap();
        assert_eq!(read.starts, written.starts);
        assert_eq!(read.keyframe, written.starts && written.key);
        assert_eq!(read.picture_id, written.id.map(|(value, long)| PictureId { value, long }));
        assert_eq!(read.tl0, written.tl0);
        assert_eq!(read.layer, written.layer.map(|(tid, sync)| Layer { tid, sync }));
        assert_eq!(read.keyidx, written.keyidx);
        let mut copy = written.payload();
        read.write(&mut copy);
        assert_eq!(copy, written.payload(), "nothing but the numbers is written");
        for cut in 0..copy.len() - 3 {
            assert_eq!(Descriptor::parse(&copy[..cut]), None, "cut short at {cut} of {copy:02x?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_hostile(mut payload in prop::collection::vec(any::<u8>(), 0..12)) {
        let before = payload.clone();
        if let Some(descriptor) = Descriptor::parse(&payload) {
            descriptor.write(&mut payload);
            prop_assert_eq!(&payload, &before);
            // Even a descriptor of another payload writes inside this one.
            for cut in 0..payload.len() {
                descriptor.write(&mut payload[..cut]);
            }
        }
    }
}

/// A packet that is a picture, with all the numbers.
fn whole(index: u64, key: bool, id: (u16, bool), tl0: u8, tid: u8, sync: bool, keyidx: u8) -> Packet {
    let (layer, keyidx) = (Some((tid, sync)), Some(keyidx));
    let written = Written { starts: true, key, id: Some(id), tl0: Some(tl0), layer, keyidx };
    packet(index, index as u32 * 3_000, true, written)
}

fn numbers(sent: Option<(u64, Vec<u8>)>) -> Option<(u64, u16, u8, u8)> {
    let (seq, payload) = sent?;
    let read = Descriptor::parse(&payload).unwrap();
    Some((seq, read.picture_id.unwrap().value, read.tl0.unwrap(), read.keyidx.unwrap()))
}

#[test]
fn numbers_go_on_and_wrap_from_source_to_source() {
    let mut slot = Slot::new();
    let first = slot.begin(10);
    let key = whole(10, true, (0x7ffe, true), 254, 0, false, 31);
    assert_eq!(numbers(slot.send(&key)), Some((100, 0x7ffe, 254, 31)), "the first source's numbers stay");
    let lost = whole(11, false, (0x7fff, true), 255, 0, false, 31);
    let last = whole(12, false, (0, true), 0, 0, false, 31);
    assert_eq!(numbers(slot.send(&last)), Some((102, 0, 0, 31)));
    slot.begin(70);
    assert_eq!(numbers(slot.send(&whole(70, true, (7, true), 200, 0, false, 3))), Some((103, 1, 1, 0)));
    assert_eq!(numbers(slot.send(&whole(71, false, (8, true), 201, 0, false, 3))), Some((104, 2, 2, 0)));
    let gap = whole(73, false, (11, true), 203, 0, false, 3);
    assert_eq!(numbers(slot.send(&gap)), Some((106, 5, 4, 0)), "what the source skipped or lost stays a gap");
    let late = whole(72, false, (10, true), 202, 0, false, 3);
    assert_eq!(numbers(slot.send(&late)), Some((105, 4, 3, 0)));
    assert_eq!(numbers(slot.again(first, &key)), Some((100, 0x7ffe, 254, 31)), "the same bytes as ever");
    assert_eq!(
        numbers(slot.again(first, &lost)),
        Some((101, 0x7fff, 255, 31)),
        "late, but never sent before"
    );
    slot.begin(5);
    let wide = whole(5, true, (0x7fff, true), 9, 0, false, 31);
    assert_eq!(numbers(slot.send(&wide)), Some((107, 6, 5, 1)), "the late packet is not the last");
}

#[test]
fn picture_ids_of_another_width_stay_valid() {
    let mut slot = Slot::new();
    slot.begin(1);
    slot.send(&whole(1, true, (0x1234, true), 0, 0, false, 0));
    slot.begin(1);
    let narrow = |index, id| whole(index, index == 1, (id, false), 0, 0, false, 0);
    assert_eq!(numbers(slot.send(&narrow(1, 126))).unwrap().1, 0x35);
    assert_eq!(numbers(slot.send(&narrow(2, 127))).unwrap().1, 0x36);
    assert_eq!(numbers(slot.send(&narrow(3, 0))).unwrap().1, 0x37);
    assert_eq!(numbers(slot.send(&narrow(4, 0x48))).unwrap().1, 0x7f);
    assert_eq!(numbers(slot.send(&narrow(5, 0x49))).unwrap().1, 0);
    slot.begin(1);
    assert_eq!(numbers(slot.send(&whole(1, true, (0x7fff, true), 0, 0, false, 0))).unwrap().1, 1);
}

#[test]
fn a_source_without_numbers_changes_nothing_and_forgets_nothing() {
    let mut slot = Slot::new();
    slot.begin(1);
    slot.send(&whole(1, true, (40, true), 50, 0, false, 6));
    slot.begin(1);
    let bare = packet(1, 0, true, Written { starts: true, key: true, ..Written::default() });
    assert_eq!(slot.send(&bare).unwrap().1, bare.payload);
    slot.begin(1);
    assert_eq!(numbers(slot.send(&whole(1, true, (9, true), 9, 0, false, 9))), Some((102, 41, 51, 7)));
}

#[test]
fn what_is_forgotten_is_not_sent_under_other_numbers() {
    let mut slot = Slot::new();
    let first = slot.begin(1);
    let key = whole(1, true, (40, true), 50, 0, false, 6);
    slot.send(&key);
    for _ in 0..127 {
        slot.begin(1);
        slot.send(&key);
    }
    assert_eq!(numbers(slot.again(first, &key)), Some((100, 40, 50, 6)));
    slot.begin(1);
    slot.send(&key);
    assert_eq!(slot.vp8.shift(first, 1), None);
    assert_eq!(slot.again(first, &key), None);
}

/// Pictures of one packet each, in three layers: 0 2 1 2, with Y on the first of each layer in every second round.
fn layered(n: u64) -> Packet {
    let tid = [0, 2, 1, 2][n as usize % 4];
    let sync = n % 8 == 1 || n % 8 == 2;
    whole(n, n == 0, (n as u16, true), (n / 4) as u8, tid, sync, 0)
}

#[test]
fn layers_above_the_limit_are_left_out_and_close_up() {
    let mut slot = Slot::new();
    let ids = |slot: &mut Slot, range: std::ops::Range<u64>| -> Vec<Option<(u64, u16)>> {
        range.map(|n| numbers(slot.send(&layered(n))).map(|(seq, id, ..)| (seq, id))).collect()
    };
    slot.begin(0);
    assert_eq!(ids(&mut slot, 0..4), [Some((100, 0)), Some((101, 1)), Some((102, 2)), Some((103, 3))]);
    slot.max = Some(0);
    assert_eq!(ids(&mut slot, 4..8), [Some((104, 4)), None, None, None]);
    slot.max = Some(1);
    assert_eq!(ids(&mut slot, 8..12), [Some((105, 5)), None, Some((106, 6)), None], "up with Y");
    slot.max = None;
    assert_eq!(ids(&mut slot, 12..16), [Some((107, 7)), None, Some((108, 8)), None], "no Y, no way up");
    let all = [Some((109, 9)), Some((110, 10)), Some((111, 11)), Some((112, 12))];
    assert_eq!(ids(&mut slot, 16..20), all);
    slot.max = Some(0);
    assert_eq!(ids(&mut slot, 20..22), [Some((113, 13)), None]);
    slot.max = None;
    // T2 has a Y here, but T1 is not there yet, and later pictures of T2 lean on it.
    assert_eq!(ids(&mut slot, 24..28), [Some((116, 16)), None, Some((117, 17)), None], "lost: 22 and 23");
    assert_eq!(slot.again(slot.source.unwrap(), &layered(5)), None, "left out is left out");
    assert_eq!(numbers(slot.again(slot.source.unwrap(), &layered(8))), Some((105, 5, 2, 0)));
}

#[test]
fn a_keyframe_opens_every_layer() {
    let mut slot = Slot::new();
    slot.max = Some(0);
    slot.begin(0);
    assert!(slot.send(&layered(0)).is_some() && slot.send(&layered(1)).is_none());
    slot.max = None;
    assert!(slot.send(&layered(3)).is_none());
    assert!(slot.send(&whole(4, true, (4, true), 1, 0, false, 1)).is_some());
    assert!(slot.send(&layered(7)).is_some());
}

/// One packet of a picture of several.
fn part(index: u64, picture: u16, tid: u8, first: bool, last: bool) -> Packet {
    let (id, layer) = (Some((picture, true)), Some((tid, false)));
    let written = Written { starts: first, key: picture == 0, id, tl0: Some(0), layer, keyidx: None };
    packet(index, u32::from(picture), last, written)
}

#[test]
fn holes_in_pictures_that_are_left_out_close_up_too() {
    // Of each case: the packets that come, and the sequence number and picture of each; the last is the next picture.
    type Case = (&'static str, Vec<Packet>, Vec<Option<(u64, u16)>>);
    let table: Vec<Case> = vec![
        (
            "the middle is missing",
            vec![part(1, 1, 2, true, false), part(3, 1, 2, false, true), part(4, 2, 0, true, true)],
            vec![None, None, Some((101, 1))],
        ),
        (
            "the end is missing",
            vec![part(1, 1, 2, true, false), part(4, 2, 0, true, true)],
            vec![None, Some((101, 1))],
        ),
        (
            "the start is missing",
            vec![part(2, 1, 2, false, true), part(3, 2, 0, true, true)],
            vec![None, Some((101, 1))],
        ),
        (
            "between two of them",
            vec![part(1, 1, 2, true, false), part(4, 2, 2, false, true), part(5, 3, 0, true, true)],
            vec![None, None, Some((101, 1))],
        ),
        (
            "perhaps the start of the next is missing too",
            vec![part(1, 1, 2, true, false), part(4, 2, 0, false, true)],
            vec![None, Some((103, 1))],
        ),
        (
            "a whole picture is missing, of whatever layer",
            vec![part(1, 1, 2, true, true), part(3, 3, 0, true, true), part(2, 2, 2, true, true)],
            vec![None, Some((102, 2)), Some((101, 1))],
        ),
    ];
    for (what, packets, expected) in table {
        let mut slot = Slot::new();
        slot.max = Some(0);
        assert!(slot.send(&part(0, 0, 0, true, true)).is_some());
        let sent = packets.iter().map(|packet| {
            let (seq, payload) = slot.send(packet)?;
            Some((seq, Descriptor::parse(&payload).unwrap().picture_id.unwrap().value))
        });
        assert_eq!(sent.collect::<Vec<_>>(), expected, "{what}");
    }
}

#[test]
fn a_picture_goes_whole_or_not_at_all() {
    let mut slot = Slot::new();
    let mut sent = |max, packet: &Packet| {
        slot.max = max;
        slot.send(packet).map(|(seq, _)| seq)
    };
    assert_eq!(sent(None, &part(0, 0, 0, true, true)), Some(100));
    assert_eq!(sent(None, &part(1, 1, 2, true, false)), Some(101));
    assert_eq!(sent(Some(0), &part(2, 1, 2, false, true)), Some(102), "it had begun");
    assert_eq!(sent(Some(0), &part(3, 2, 2, true, false)), None);
    assert_eq!(sent(None, &part(4, 2, 2, false, true)), None, "it had been left out");
    assert_eq!(sent(None, &part(5, 3, 0, true, true)), Some(103));
}
