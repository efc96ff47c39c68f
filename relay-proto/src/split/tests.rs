use super::*;
use crate::header::Extensions;
use proptest::prelude::*;

fn header(index: u64) -> MediaHeader {
    MediaHeader {
        alias: 7,
        track: 1,
        layer: 2,
        index,
        timestamp: 90_000,
        marker: true,
        keyframe: false,
        codec: 0,
        capture: 1_790_000_000_000_000,
        exts: Extensions { orientation: Some(1), ..Extensions::default() },
    }
}

fn feed(joiner: &mut Joiner, now: Instant, datagram: Bytes) -> Option<Bytes> {
    let (header, part, payload) = header::read(datagram).unwrap();
    match part {
        None => Some(payload),
        Some(part) => joiner.handle_part(now, &header, part, payload),
    }
}

proptest! {
    #[test]
    fn a_packet_of_any_size_comes_back_whole_in_any_order(
        len in 0..=20_000_usize, max in 400..1_500_usize, seed: usize,
    ) {
        let payload: Vec<u8> = (0..=250_u8).cycle().take(len).collect();
        let mut parts = split(&header(5), &payload, max).unwrap();
        prop_assert!(parts.iter().all(|p| p.len() <= max));
        // A shuffle that the seed decides.
        for n in 1..parts.len() {
            parts.swap(n, seed.wrapping_mul(n + 31) % (n + 1));
        }
        let mut joiner = Joiner::default();
        let now = Instant::now();
        let last = parts.pop().unwrap();
        for part in parts {
            prop_assert_eq!(feed(&mut joiner, now, part), None);
        }
        prop_assert_eq!(feed(&mut joiner, now, last), Some(Bytes::from(payload)));
        prop_assert_eq!(joiner.waiting(), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded_whatever_comes(
        steps in proptest::collection::vec((0..200_u64, 0..64_u8, 2..=64_u8, 0..3_000_usize, 0..30_u64), 0..400),
    ) {
        let mut joiner = Joiner::default();
        let mut now = Instant::now();
        for (index, number, count, len, millis) in steps {
            now += Duration::from_millis(millis);
            let part = Part { number, count };
            let _ = joiner.handle_part(now, &header(index), part, vec![0; len].into());
            let (packets, bytes) = joiner.waiting();
            prop_assert!(packets <= WAITING_MAX && bytes <= WAITING_BYTES_MAX);
        }
        now += AGE_MAX;
        joiner.handle_timeout(now);
        prop_assert_eq!(joiner.waiting(), (0, 0));
    }
}

#[test]
fn a_packet_at_the_limit_is_not_split_and_one_byte_more_is() {
    let max = split(&header(1), &[0; 100], 1_200).unwrap()[0].len();
    assert_eq!(split(&header(1), &[0; 100], max).unwrap().len(), 1);
    let parts = split(&header(1), &[0; 101], max).unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|p| p.len() <= max));
}

#[test]
fn a_part_that_never_comes_is_given_up_and_counted() {
    let mut joiner = Joiner::default();
    let start = Instant::now();
    let parts = split(&header(1), &[0; 3_000], 1_200).unwrap();
    assert_eq!(feed(&mut joiner, start, parts[0].clone()), None);
    assert_eq!(joiner.poll_timeout(), Some(start + AGE_MAX));
    joiner.handle_timeout(start + AGE_MAX - Duration::from_millis(1));
    assert_eq!(joiner.waiting().0, 1);
    joiner.handle_timeout(start + AGE_MAX);
    assert_eq!(joiner.waiting(), (0, 0));
    assert_eq!(joiner.counters().expired, 1);
}

#[test]
fn the_oldest_goes_when_too_many_wait() {
    let mut joiner = Joiner::default();
    let now = Instant::now();
    let parts = |index| split(&header(index), &[0; 3_000], 1_200).unwrap();
    for index in 0..=u64::try_from(WAITING_MAX).unwrap() {
        assert_eq!(feed(&mut joiner, now, parts(index)[0].clone()), None);
    }
    assert_eq!(joiner.counters().evicted, 1);
    assert_eq!(joiner.waiting().0, WAITING_MAX);
    let rest: Vec<_> = parts(1)[1..].iter().map(|p| feed(&mut joiner, now, p.clone())).collect();
    assert_eq!(
        rest.last().unwrap().as_ref().map(Bytes::len),
        Some(3_000),
        "the second oldest is still there"
    );
}

#[test]
fn a_part_twice_or_of_another_count_changes_nothing() {
    let mut joiner = Joiner::default();
    let now = Instant::now();
    let parts = split(&header(1), &[7; 2_000], 1_200).unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(feed(&mut joiner, now, parts[0].clone()), None);
    assert_eq!(feed(&mut joiner, now, parts[0].clone()), None);
    let other = Part { number: 1, count: 9 };
    assert_eq!(joiner.handle_part(now, &header(1), other, Bytes::from_static(b"x")), None);
    assert_eq!(joiner.counters().refused, 2);
    assert_eq!(feed(&mut joiner, now, parts[1].clone()), Some(Bytes::from(vec![7; 2_000])));
}

#[test]
fn sizes_that_cannot_be_sent_are_refused() {
    assert!(matches!(split(&header(1), &[0; 65_536], 1_200), Err(EncodeError::TooLong { .. })));
    assert!(matches!(split(&header(1), &[0; 100], 20), Err(EncodeError::DatagramTooSmall { .. })));
    assert!(matches!(split(&header(1), &[0; 65_000], 600), Err(EncodeError::DatagramTooSmall { .. })));
}
