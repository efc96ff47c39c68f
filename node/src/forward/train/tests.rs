use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{MAX_TRAIN_BYTES, Train, TrainLimits, Trains};

fn to(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn put(trains: &mut Trains, len: usize, fill: u8) -> bool {
    let Some(slot) = trains.slot(len + 40) else { return false };
    slot[..len].fill(fill);
    trains.commit(len);
    true
}

fn shape(trains: &Trains) -> Vec<(u16, usize, usize, usize)> {
    let tell = |train: &Train| (train.dst.port(), train.range.len(), train.segment, train.segments());
    trains.pending().iter().map(tell).collect()
}

#[test]
fn packets_of_one_size_form_a_train_with_a_shorter_one_at_its_end() {
    let mut trains = Trains::new(TrainLimits::default());
    let src = Some(IpAddr::from([127, 0, 0, 9]));
    trains.begin(to(1), src);
    for len in [1_200, 1_200, 1_200, 300, 1_200, 400, 500] {
        assert!(put(&mut trains, len, 1));
    }
    trains.end();
    trains.begin(to(2), None);
    put(&mut trains, 100, 1);
    trains.begin(to(3), None);
    trains.end();
    assert_eq!(
        shape(&trains),
        [(1, 3_900, 1_200, 4), (1, 1_600, 1_200, 2), (1, 500, 500, 1), (2, 100, 100, 1)],
        "a shorter packet ends a train, a longer one begins another, an empty visit leaves nothing"
    );
    assert_eq!(trains.pending()[0].src, src);
}

#[test]
fn trains_stay_within_their_bounds() {
    let mut trains = Trains::new(TrainLimits::default());
    trains.begin(to(1), None);
    for _ in 0..70 {
        put(&mut trains, 100, 1);
    }
    trains.begin(to(2), None);
    for _ in 0..60 {
        put(&mut trains, 1_200, 1);
    }
    trains.end();
    assert_eq!(
        shape(&trains),
        [(1, 6_400, 100, 64), (1, 600, 100, 6), (2, 64_800, 1_200, 54), (2, 7_200, 1_200, 6)]
    );
}

#[test]
fn a_full_arena_refuses_and_is_empty_again_after_the_last_train() {
    let mut trains = Trains::new(TrainLimits { arena: 5_000, ..TrainLimits::default() });
    for round in 0..3 {
        trains.begin(to(1), None);
        let fitted = (0..9).take_while(|_| put(&mut trains, 1_000, 1)).count();
        assert_eq!(fitted, 4, "round {round}");
        trains.end();
        trains.begin(to(2), None);
        assert!(trains.slot(2_000).is_none());
        put(&mut trains, 800, 2);
        trains.end();
        assert_eq!(trains.pending().len(), 2);
        trains.advance(1);
        assert_eq!(shape(&trains), [(2, 800, 800, 1)], "the rest stays, in order");
        assert!(trains.slot(1_000).is_none(), "its bytes too");
        trains.advance(1);
        assert!(trains.is_empty());
    }
}

#[test]
fn nothing_is_committed_outside_a_visit() {
    let mut trains = Trains::new(TrainLimits::default());
    trains.commit(10);
    trains.end();
    trains.begin(to(1), None);
    trains.commit(0);
    trains.commit(usize::MAX / 2);
    trains.end();
    assert!(trains.is_empty());
    trains.begin(to(1), None);
    put(&mut trains, 10, 1);
    trains.commit(usize::MAX);
    trains.end();
    assert_eq!(shape(&trains), [(1, 10, 10, 1)]);
}

proptest! {
    /// Cut up again as the kernel would, trains give every packet, in order, at its destination.
    #[test]
    fn nothing_is_lost_and_nothing_is_moved(
        visits in prop::collection::vec((1u16..4, prop::collection::vec(0usize..4, 0..90)), 1..12),
    ) {
        let mut trains = Trains::new(TrainLimits { arena: 2 << 20, ..TrainLimits::default() });
        let mut expected = vec![];
        for (port, sizes) in visits {
            trains.begin(to(port), None);
            for size in sizes {
                let (len, fill) = ([1_200, 1_200, 800, 90][size], expected.len() as u8);
                prop_assert!(put(&mut trains, len, fill));
                expected.push((port, vec![fill; len]));
            }
            trains.end();
        }
        let mut cut = vec![];
        for train in trains.pending() {
            prop_assert!(train.segments() <= 64 && train.range.len() <= MAX_TRAIN_BYTES);
            for packet in trains.arena()[train.range.clone()].chunks(train.segment) {
                cut.push((train.dst.port(), packet.to_vec()));
            }
        }
        prop_assert_eq!(cut, expected);
    }
}
