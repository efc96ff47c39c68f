use super::*;

fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::new();
    values.into_iter().for_each(|value| histogram.record_micros(value));
    histogram
}

#[test]
fn percentiles_are_those_of_the_values_to_three_figures() {
    let histogram = of(1..=100_000);
    for (fraction, exact) in [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
        let found = histogram.quantile(fraction).unwrap().as_micros() as f64;
        assert!((0.0..0.001).contains(&(found / exact - 1.0)), "{fraction}: {found}");
    }
    assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(100_000)));
    assert_eq!(histogram.quantile(0.0), Some(Duration::from_micros(1)));
    assert_eq!(histogram.mean(), Some(Duration::from_micros(50_000)));
    assert_eq!(histogram.sum(), Duration::from_micros(5_000_050_000));
    // Up to 2 ms each microsecond is a step of its own.
    let fine = of(1..=2_000);
    for micros in [1, 2, 999, 1_000, 1_001, 2_000] {
        assert_eq!(fine.at_most(Duration::from_micros(micros)), micros);
    }
    assert_eq!(fine.at_most(Duration::from_secs(9)), 2_000);
}

#[test]
fn one_outlier_in_a_thousand_is_seen_at_the_right_percentile_only() {
    let histogram = of((0..999).map(|_| 1_000).chain([1_000_000]));
    assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(1_000)));
    assert_eq!(histogram.quantile(0.999), Some(Duration::from_micros(1_000)));
    assert_eq!(histogram.quantile(0.9995), Some(Duration::from_secs(1)));
}

#[test]
fn merging_equals_counting_together_whichever_is_the_longer() {
    let (short, long) = (0..500, (0..9_000).map(|value| value * 37));
    let all = of(short.clone().chain(long.clone()));
    for (mut one, other) in [(of(short.clone()), of(long.clone())), (of(long), of(short))] {
        one.merge(&other);
        assert_eq!(one, all);
    }
    let mut none = Histogram::new();
    none.merge(&all);
    assert_eq!(none, all);
    none.merge(&Histogram::new());
    assert_eq!(none, all);
}

#[test]
fn what_came_since_is_counted_apart() {
    let earlier = of(0..500);
    let mut all = earlier.clone();
    all.merge(&of((2_000..2_100).chain([5_000_000])));
    let since = all.since(&earlier);
    assert_eq!((since.len(), since.max()), (101, Some(Duration::from_secs(5))));
    assert_eq!(since.quantile(0.001), Some(Duration::from_micros(2_000)));
    assert_eq!(since.steps().map(|(_, count)| count).sum::<u64>(), 101);
    assert!(since.steps().is_sorted());
    assert_eq!(since.sum(), Duration::from_micros((2_000..2_100).sum::<u64>() + 5_000_000));
    assert!(all.since(&all).is_empty() && all.since(&all).max().is_none());
    assert_eq!(all.since(&Histogram::new()).len(), 601);
}

#[test]
fn steps_of_pictures_are_few_and_none_is_wider_than_a_sixty_fourth() {
    let all = of((0..200_000).step_by(3));
    let steps: Vec<(u64, u64)> = all.steps().map(|(end, count)| (num::micros(end), count)).collect();
    assert!(steps.len() < 64 * 13, "{}", steps.len());
    assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), all.len());
    for pair in steps.windows(2) {
        let ([(before, _), (end, count)], width) = (pair, pair[1].0 - pair[0].0) else { unreachable!() };
        // What was counted lies three apart, so a step may seem that much wider.
        assert!(width <= 3 + end / 64, "{before} to {end}: {count}");
    }
}

#[test]
fn nothing_counted_takes_no_room_and_huge_values_are_kept_as_an_hour() {
    assert_eq!(Histogram::new().quantile(0.5), None);
    assert!(std::mem::size_of::<Histogram>() <= 24 && Histogram::new().counts.is_none());
    let hour = of([u64::MAX]);
    assert_eq!(hour.max(), Some(Duration::from_secs(3_600)));
    assert_eq!(hour.quantile(0.5), Some(Duration::from_secs(3_600)));
    // What the comment at the top promises.
    for (longest, kibibytes) in [(2_000, 16), (32_000, 48), (1_000_000, 88), (u64::MAX, 184)] {
        let counts = of([longest]).counts.unwrap();
        assert_eq!(counts.distinct_values() * 8, kibibytes * 1_024, "{longest}");
    }
}

#[test]
fn bytes_are_read_as_they_were_written() {
    let some = of((0..9_000).map(|value| value * 37));
    for histogram in [Histogram::new(), of([0]), of([7; 300]), of([u64::MAX, 0, 12]), some.clone()] {
        let bytes = histogram.to_bytes().unwrap();
        let read = Histogram::from_bytes(&bytes).unwrap();
        assert_eq!(read, histogram);
        // What came over the wire goes on counting, beyond its range too.
        let (mut read, mut histogram) = (read, histogram);
        for histogram in [&mut read, &mut histogram] {
            histogram.record_micros(50_000_000);
            histogram.merge(&some);
        }
        assert_eq!(read, histogram);
    }
}

#[test]
fn what_others_wrote_is_read_as_exactly_as_it_is() {
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    let mut theirs = Hdr::<u64>::new_with_max(3_600_000_000, 3).unwrap();
    theirs.record_n(1_234_567, 10).unwrap();
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&theirs, &mut bytes).unwrap();
    let read = Histogram::from_bytes(&bytes).unwrap();
    assert_eq!(read.len(), 10);
    let (max, mean) = (read.max().unwrap().as_secs_f64(), read.mean().unwrap().as_secs_f64());
    assert!((max / 1.234_567 - 1.0).abs() < 0.001 && (mean / 1.234_567 - 1.0).abs() < 0.001, "{max} {mean}");
}

#[test]
fn broken_bytes_are_refused_and_none_panic() {
    let good = of((0..900).map(|value| value * 3_700)).to_bytes().unwrap();
    let changed = |at: usize, by: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + by.len()].copy_from_slice(by);
        Histogram::from_bytes(&bytes)
    };
    for cut in 0..good.len() {
        // Without the whole tail, or with nothing behind the counts: the latter is plain V2.
        assert_eq!(Histogram::from_bytes(&good[..cut]).is_ok(), cut == good.len() - TAIL, "{cut}");
    }
    assert!(changed(0, &[0x1c, 0x84, 0x93, 0x14]).is_err(), "compressed");
    assert!(changed(4, &[0xff; 4]).is_err(), "four gigabytes of counts");
    assert!(changed(12, &[0, 0, 0, 2]).is_err(), "two figures");
    assert!(changed(24, &[0x7f; 8]).is_err(), "a range of centuries");
    assert!(changed(40, &[0xff; 9]).is_err(), "a count of 2^63");
    assert!(changed(good.len() - TAIL, &[0; 8]).is_err(), "a longest of nothing");
    for at in 0..good.len() {
        for by in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let _whatever = changed(at, &[by]).map(|read| (read.quantile(0.5), read.mean(), read.to_bytes()));
        }
    }
}

const TAIL: usize = 16;
