use std::time::{Duration, Instant};

use super::{H264, Taken};

mod model;

/// Larger than the time between sets that are put in front.
const FRAME: Duration = Duration::from_millis(200);

fn sps(of: u8) -> Vec<u8> {
    vec![0x67, 0x42, 0xc0, 0x1f, 0x80 | of]
}

fn pps(of: u8) -> Vec<u8> {
    vec![0x68, 0x80 | of]
}

/// Sets with an id other than 0, in the code of ITU-T H.264 section 9.1.
fn numbered(set: Vec<u8>, id: u32) -> Vec<u8> {
    let bits = u32::BITS - (id + 1).leading_zeros();
    let code = (id + 1) << (33 - 2 * bits);
    [&set[..set.len() - 1], &code.to_be_bytes()].concat()
}

/// A fragment of a unit of this type.
fn fragment(kind: u8, first: bool) -> Vec<u8> {
    vec![0x7c, if first { 0x80 } else { 0 } | kind, 1, 2]
}

/// STAP-A.
fn together(units: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![0x78];
    for unit in units {
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(unit);
    }
    payload
}

const IDR: [u8; 2] = [0x65, 0x88];
const SLICE: [u8; 2] = [0x41, 0x9a];
const AUD: [u8; 2] = [0x09, 0xf0];
/// Of a picture timing message and a recovery point.
const SEI: [u8; 8] = [0x06, 1, 1, 0, 6, 1, 0x84, 0x80];

/// A publisher whose packets come in order.
struct Publisher {
    h264: H264,
    seq: u64,
    frame: u32,
    now: Instant,
}

impl Publisher {
    fn new() -> Self {
        Self { h264: H264::default(), seq: 100, frame: 0, now: Instant::now() }
    }

    /// The next packet of the present access unit.
    fn packet(&mut self, payload: &[u8]) -> Taken {
        self.seq += 1;
        self.h264.take(self.seq, self.frame * 3_000, self.now, payload).unwrap()
    }

    /// An access unit: which of its packets are marked, and how many sets go in front of each.
    fn unit(&mut self, packets: &[Vec<u8>]) -> (Vec<bool>, Vec<u64>) {
        self.frame += 1;
        self.now += FRAME;
        let taken: Vec<Taken> = packets.iter().map(|payload| self.packet(payload)).collect();
        (taken.iter().map(|t| t.keyframe).collect(), taken.iter().map(|t| t.sets).collect())
    }

    fn sets(&self) -> Vec<Vec<u8>> {
        self.h264.sets().map(<[u8]>::to_vec).collect()
    }
}

#[test]
fn sets_in_front_of_each_idr_picture_are_enough() {
    let mut publisher = Publisher::new();
    for round in 0..3 {
        for own in [
            vec![sps(0), pps(0), IDR.to_vec()],
            vec![AUD.to_vec(), sps(0), pps(0), fragment(5, true), fragment(5, false)],
            vec![together(&[sps(0), pps(0)]), fragment(5, true), fragment(5, false), fragment(5, true)],
            vec![together(&[AUD.to_vec(), sps(0), pps(0), IDR.to_vec()]), IDR.to_vec()],
        ] {
            let starts = own.iter().position(|p| p[0] != AUD[0]).unwrap();
            let (marks, sets) = publisher.unit(&own);
            assert!(
                marks[starts] && !marks[..starts].contains(&true),
                "round {round}: {marks:?} of {own:02x?}"
            );
            assert!(sets.iter().all(|sets| *sets == 0), "{sets:?} of {own:02x?}");
            let (marks, sets) = publisher.unit(&[SLICE.to_vec(), fragment(1, true), fragment(1, false)]);
            assert_eq!((marks, sets), (vec![false; 3], vec![0; 3]));
        }
    }
    assert_eq!(publisher.h264.index(publisher.seq), Some(publisher.seq), "nothing moves");
}

#[test]
fn sets_that_come_once_go_in_front_of_every_later_idr_picture() {
    for first in [
        // In front of the first, in a unit of their own, or with a picture that cannot be begun with.
        vec![vec![sps(3), pps(3), IDR.to_vec()]],
        vec![vec![together(&[sps(3), pps(3)])], vec![IDR.to_vec()]],
        vec![vec![sps(3)], vec![pps(3)], vec![IDR.to_vec()]],
    ] {
        let mut publisher = Publisher::new();
        let mut moved = 0;
        for unit in &first {
            moved += publisher.unit(unit).1.iter().sum::<u64>();
        }
        for unit in [
            vec![IDR.to_vec(), IDR.to_vec()],
            vec![AUD.to_vec(), SEI.to_vec(), fragment(5, true), fragment(5, false), fragment(5, true)],
            vec![together(&[AUD.to_vec(), IDR.to_vec()])],
            // A unit of one of them is not enough.
            vec![pps(3), IDR.to_vec()],
        ] {
            assert_eq!(publisher.unit(&[SLICE.to_vec()]), (vec![false], vec![0]));
            let before = publisher.h264.index(publisher.seq).unwrap();
            let (marks, sets) = publisher.unit(&unit);
            let slice = unit.iter().position(|p| *p != AUD && *p != SEI && *p != pps(3)).unwrap();
            assert_eq!(marks.iter().position(|mark| *mark), Some(slice), "{unit:02x?}");
            assert_eq!((sets[slice], sets.iter().sum::<u64>()), (2, 2), "{unit:02x?}");
            assert_eq!(publisher.sets(), [sps(3), pps(3)]);
            moved += 2;
            let after = publisher.h264.index(publisher.seq).unwrap();
            assert_eq!(after - before, unit.len() as u64 + 2);
            assert_eq!(after - publisher.seq, moved);
        }
    }
}

#[test]
fn sets_alone_are_no_keyframe_once_they_were_seen_apart() {
    let mut publisher = Publisher::new();
    publisher.unit(&[sps(0), pps(0), IDR.to_vec()]);
    publisher.unit(&[sps(0), pps(0)]);
    publisher.unit(&[SLICE.to_vec()]);
    assert_eq!(publisher.unit(&[sps(0), pps(0)]), (vec![false; 2], vec![0; 2]));
    assert_eq!(publisher.unit(&[sps(0), SLICE.to_vec()]), (vec![false; 2], vec![0; 2]));
    // Its own may come in front of it too: the mark stands where sets are sure.
    assert_eq!(publisher.unit(&[sps(1), pps(1), IDR.to_vec()]).0, [false, false, true]);
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![true], vec![2]));
    assert_eq!(publisher.sets(), [sps(1), pps(1)]);
}

#[test]
fn sets_of_every_id_are_kept_and_the_newest_of_each() {
    let mut publisher = Publisher::new();
    let (one, seven) = (numbered(sps(0), 1), numbered(pps(0), 7));
    publisher.unit(&[pps(1), seven.clone(), one.clone(), sps(0), pps(2), IDR.to_vec()]);
    assert_eq!(publisher.sets(), [sps(0), one, pps(2), seven], "sequence sets first");
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![true], vec![4]));
    // One that comes late does not bring back what has been replaced.
    publisher.h264.take(50, 0, publisher.now, &pps(5)).unwrap();
    assert_eq!(publisher.sets()[2], pps(2));
}

#[test]
fn a_picture_without_its_sets_is_begun_with_only_when_nobody_has_any() {
    let mut publisher = Publisher::new();
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![true], vec![0]), "they may be in the client's SDP");
    assert_eq!(publisher.unit(&[pps(0), IDR.to_vec()]), (vec![false, true], vec![0, 0]));
    let mut publisher = Publisher::new();
    publisher.unit(&[sps(0), pps(0), IDR.to_vec()]);
    // The packet in front of it is on its way: it may be the sets.
    publisher.seq += 1;
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![false], vec![0]));
    publisher.unit(&[IDR.to_vec()]);
    publisher.seq += 1;
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![true], vec![2]), "this publisher sends none there");
}

#[test]
fn a_keyframe_of_which_only_the_rest_came_says_nothing_about_its_publisher() {
    let own = [together(&[sps(0), pps(0)]), fragment(5, true), fragment(5, false)];
    let mut publisher = Publisher::new();
    publisher.unit(&own[1..]);
    for _ in 0..3 {
        assert_eq!(publisher.unit(&own), (vec![true, true, false], vec![0; 3]));
        publisher.unit(&[SLICE.to_vec()]);
        // Its picture is lost, then its sets.
        publisher.unit(&own[..1]);
        publisher.seq += 2;
        publisher.unit(&[SLICE.to_vec()]);
        publisher.seq += 1;
        assert_eq!(publisher.unit(&own[1..]), (vec![false; 2], vec![0; 2]));
        // They come after all: whoever waits begins with them, and asks for the rest.
        let late = publisher.h264.take(publisher.seq - 2, publisher.frame * 3_000, publisher.now, &own[0]);
        assert_eq!(late.map(|taken| (taken.keyframe, taken.sets)), Some((true, 0)));
    }
}

#[test]
fn recovery_points_with_sets_stay_what_they_were() {
    let mut publisher = Publisher::new();
    publisher.unit(&[sps(0), pps(0), IDR.to_vec()]);
    for _ in 0..3 {
        publisher.unit(&[SLICE.to_vec()]);
        assert_eq!(
            publisher.unit(&[sps(0), pps(0), SEI.to_vec(), SLICE.to_vec()]).0,
            [true, false, false, false]
        );
    }
    // Without an IDR picture ever, sets tell all there is to tell.
    let mut publisher = Publisher::new();
    for _ in 0..3 {
        assert_eq!(publisher.unit(&[sps(0), pps(0), SLICE.to_vec()]).0, [true, false, false]);
    }
}

#[test]
fn a_stream_without_idr_pictures_can_be_begun_with_at_each_of_its_sets() {
    let mut publisher = Publisher::new();
    for round in 0..3 {
        let (sets, alone) = ([sps(0), pps(0)], (vec![true, false], vec![0; 2]));
        assert_eq!(publisher.unit(&sets), alone, "round {round}");
        assert_eq!(publisher.unit(&[SEI.to_vec(), SLICE.to_vec()]).0, [false; 2]);
        assert_eq!(publisher.unit(&[SLICE.to_vec()]).0, [false]);
        // Sets that come when the picture behind them is there.
        publisher.seq += 1;
        publisher.unit(&[SLICE.to_vec()]);
        let (seq, frame) = (publisher.seq - 1, (publisher.frame - 1) * 3_000 + 1);
        let late = publisher.h264.take(seq, frame, publisher.now, &together(&sets));
        assert_eq!(late.map(|taken| taken.keyframe), Some(true), "round {round}");
    }
    // With an IDR picture there is something better to begin with.
    assert_eq!(publisher.unit(&[IDR.to_vec()]), (vec![true], vec![2]));
    assert_eq!(publisher.unit(&[sps(0), pps(0)]).0, [false; 2]);
    // Another source may have none again.
    publisher.h264.restart();
    publisher.unit(&[SLICE.to_vec()]);
    assert_eq!(publisher.unit(&[sps(0), pps(0)]).0, [true, false]);
}

#[test]
fn nothing_but_keyframes_costs_no_more_than_ten_times_the_sets_in_a_second() {
    let mut publisher = Publisher::new();
    publisher.unit(&[sps(0), pps(0)]);
    let (mut sets, mut marks) = (0, 0);
    for _ in 0..1_000 {
        publisher.frame += 1;
        publisher.now += Duration::from_millis(1);
        let taken = publisher.packet(&IDR);
        (sets, marks) = (sets + taken.sets, marks + u32::from(taken.keyframe));
        assert_eq!(taken.keyframe, taken.sets > 0);
    }
    assert_eq!((sets, marks), (20, 10));
}

#[test]
fn sets_are_few_and_small() {
    let mut publisher = Publisher::new();
    for id in 0..40 {
        publisher.unit(&[numbered(sps(0), id), numbered(pps(0), id)]);
    }
    assert_eq!(publisher.sets().len(), 8);
    assert_eq!(publisher.sets()[0], numbered(sps(0), 36), "the newest");
    publisher.unit(&[[sps(0), vec![7; 2_000]].concat(), pps(0)]);
    assert!(publisher.sets().concat().len() <= 1_024, "{:02x?}", publisher.sets());
    let mut lone = Publisher::new();
    lone.unit(&[[sps(0), vec![7; 2_000]].concat(), pps(0)]);
    assert_eq!(lone.unit(&[IDR.to_vec()]), (vec![true], vec![0]), "as one without any");
}

#[test]
fn another_source_goes_on_right_behind_the_newest_wherever_its_numbers_begin() {
    let mut publisher = Publisher::new();
    // Its 16 bits have wrapped three times.
    publisher.seq = (3 << 16) + 100;
    publisher.unit(&[sps(0), pps(0)]);
    publisher.unit(&[IDR.to_vec()]);
    let mut last = publisher.seq + 2;
    assert_eq!(publisher.packet(&SLICE).index, last + 1);
    for first in [11, 65_000, 0, 1 << 20, (3 << 16) + 500] {
        publisher.h264.restart();
        publisher.h264.restart();
        publisher.frame += 1;
        publisher.seq = first;
        let payloads = [&SLICE[..], &SLICE, &IDR];
        let taken = payloads.map(|payload| {
            publisher.frame += 1;
            publisher.now += FRAME;
            let taken = publisher.h264.take(publisher.seq, publisher.frame * 3_000, publisher.now, payload);
            publisher.seq += 1;
            taken.map(|taken| (taken.index, taken.sets))
        });
        last += 1;
        assert_eq!(taken, [(last + 1, 0), (last + 2, 0), (last + 5, 2)].map(Some), "from {first}");
        let late = publisher.h264.take(first + 1, 0, publisher.now, &SLICE).map(|taken| taken.index);
        assert_eq!(late, Some(last + 2), "what is late keeps its place");
        if let Some(before) = first.checked_sub(1) {
            let early = publisher.h264.take(before, 0, publisher.now, &SLICE);
            assert_eq!(early, None, "there is no room below the newest of the source before");
        }
        last += 4;
    }
}

#[test]
fn a_source_of_another_codec_goes_on_there_too() {
    let mut h264 = H264::default();
    for seq in [70_000, 70_002, 70_001] {
        assert_eq!(h264.index(seq), Some(seq), "late or not");
    }
    h264.restart();
    assert_eq!([9, 11, 10, 8].map(|seq| h264.index(seq)), [Some(70_003), Some(70_005), Some(70_004), None]);
}

#[test]
fn sets_of_another_source_are_newer_whatever_their_numbers() {
    let mut publisher = Publisher::new();
    publisher.unit(&[sps(0), pps(0)]);
    publisher.h264.restart();
    publisher.seq = 10;
    publisher.unit(&[sps(1), pps(1)]);
    let changed = [[sps(0), vec![9]].concat()];
    publisher.unit(&changed);
    assert_eq!(publisher.sets()[0], changed[0]);
}
