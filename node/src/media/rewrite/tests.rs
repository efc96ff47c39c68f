use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{Outgoing, Refused, Rewriter, SourceEpoch, SourceStart};

const MS: Duration = Duration::from_millis(1);

fn start(index: u64, timestamp: u32, at: Instant) -> SourceStart {
    SourceStart { index, timestamp, clock_rate: 90_000, at, latest: None }
}

#[test]
fn the_first_packet_is_numbered_below_the_first_roll_over() {
    let now = Instant::now();
    for (random, expected) in [(0, 1), (0x8000, 1), (0xffff, 0x7fff), (77, 77)] {
        let mut rewriter = Rewriter::new(random, 5);
        let epoch = rewriter.begin(start(70_000, 1_000, now));
        let out = rewriter.map(epoch, 70_000, 1_000, now).unwrap();
        assert_eq!(out, Outgoing { seq: expected, timestamp: 5 });
        assert_eq!(out.roc(), 0);
    }
}

#[test]
fn gaps_stay_and_late_packets_fit_into_them() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let epoch = rewriter.begin(start(1_000, 0, now));
    let mut seq = |index| rewriter.map(epoch, index, 0, now).map(|out| out.seq);
    assert_eq!(seq(1_000), Ok(100));
    assert_eq!(seq(1_004), Ok(104));
    assert_eq!(seq(1_002), Ok(102));
    assert_eq!(seq(1_004), Ok(104), "the same packet keeps its number");
    assert_eq!(seq(999), Err(Refused::BeforeStart));
    assert_eq!(rewriter.reverse(102), Some((epoch, 1_002)));
    assert_eq!(rewriter.reverse(103), Some((epoch, 1_003)), "a gap leads to the packet that is missing");
    assert_eq!(rewriter.reverse(105), None, "never used");
    assert_eq!(rewriter.reverse(99), None, "before the first");
}

#[test]
fn a_source_follows_another_without_a_seam() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let first = rewriter.begin(start(1_000, 500_000, now));
    rewriter.map(first, 1_000, 500_000, now).unwrap();
    let last = rewriter.map(first, 1_003, 509_000, now + MS * 100).unwrap();
    let second = rewriter.begin(start(7, 42, now + MS * 150));
    let out = rewriter.map(second, 7, 42, now + MS * 150).unwrap();
    assert_eq!(out.seq, last.seq + 1);
    assert_eq!(out.timestamp, last.timestamp + 50 * 90);
    // The gap at 1,002 of the old source can still be filled; what it sends from now on cannot.
    assert_eq!(rewriter.map(first, 1_002, 506_000, now).unwrap().seq, 102);
    assert_eq!(rewriter.map(first, 1_004, 512_000, now), Err(Refused::LeftOut));
    assert_eq!(rewriter.reverse(101), Some((first, 1_001)));
    assert_eq!(rewriter.reverse(104), Some((second, 7)));
    assert_eq!(rewriter.map(SourceEpoch(99), 7, 0, now), Err(Refused::UnknownSource));
}

#[test]
fn a_new_source_is_later_even_when_its_clock_says_earlier() {
    let now = Instant::now() + MS * 1_000;
    let mut rewriter = Rewriter::new(100, 0);
    let first = rewriter.begin(start(1, 0, now));
    let last = rewriter.map(first, 1, 0, now).unwrap();
    let second = rewriter.begin(start(1, 0, now - MS * 500));
    assert_eq!(rewriter.map(second, 1, 0, now).unwrap().timestamp, last.timestamp + 1);
}

#[test]
fn a_source_that_never_sent_takes_no_number() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let first = rewriter.begin(start(1, 0, now));
    let second = rewriter.begin(start(50, 0, now));
    assert_eq!(rewriter.map(second, 50, 0, now).unwrap().seq, 100);
    assert_eq!(rewriter.map(first, 1, 0, now), Err(Refused::UnknownSource));
}

#[test]
fn packets_left_out_close_up() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let epoch = rewriter.begin(start(0, 0, now));
    for index in 0..300u64 {
        if index % 3 == 1 {
            assert!(rewriter.skip(epoch, index));
            continue;
        }
        let out = rewriter.map(epoch, index, 0, now).unwrap();
        assert_eq!(out.seq, 100 + index - (index + 1) / 3);
        assert_eq!(rewriter.reverse(out.seq16()), Some((epoch, index)));
    }
    assert_eq!(rewriter.map(epoch, 298, 0, now), Err(Refused::LeftOut));
    assert!(!rewriter.skip(epoch, 299), "it has gone out");
}

#[test]
fn a_gap_too_wide_to_be_asked_for_closes_up() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let epoch = rewriter.begin(start(0, 0, now));
    rewriter.map(epoch, 0, 0, now).unwrap();
    assert_eq!(rewriter.map(epoch, 8_193, 0, now).unwrap().seq, 100 + 8_193);
    let out = rewriter.map(epoch, 1_000_000, 0, now).unwrap();
    assert_eq!(out.seq, 100 + 8_194);
    assert_eq!(rewriter.map(epoch, 20_000, 0, now), Err(Refused::LeftOut));
    assert_eq!(rewriter.reverse(out.seq16()), Some((epoch, 1_000_000)));
    assert_eq!(rewriter.map(epoch, 8_000, 0, now).unwrap().seq, 8_100, "late ones still fit");
}

#[test]
fn the_end_of_all_indexes_is_no_trap() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(100, 0);
    let epoch = rewriter.begin(start(u64::MAX - 1, 0, now));
    assert_eq!(rewriter.map(epoch, u64::MAX - 1, 0, now).unwrap().seq, 100);
    assert!(!rewriter.skip(epoch, u64::MAX));
    assert_eq!(rewriter.map(epoch, u64::MAX, 0, now), Err(Refused::LeftOut));
    let next = rewriter.begin(start(u64::MAX, 0, now));
    assert_eq!(rewriter.map(next, u64::MAX, 0, now), Err(Refused::LeftOut));
}

#[test]
fn numbers_and_timestamps_wrap() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(0x7fff, u32::MAX - 10);
    let epoch = rewriter.begin(start(u64::from(u32::MAX) - 70_000, u32::MAX - 5, now));
    let mut last = None;
    for step in 0..140_000u64 {
        let (index, timestamp) =
            (u64::from(u32::MAX) - 70_000 + step, (u32::MAX - 5).wrapping_add(step as u32));
        let out = rewriter.map(epoch, index, timestamp, now).unwrap();
        assert_eq!(out.seq, 0x7fff + step);
        assert_eq!(out.timestamp, (u32::MAX - 10).wrapping_add(step as u32));
        assert_eq!(u64::from(out.roc()) << 16 | u64::from(out.seq16()), out.seq);
        assert_eq!(rewriter.reverse(out.seq16()), Some((epoch, index)));
        last = Some(out);
    }
    assert_eq!(last.unwrap().roc(), 2);
}

/// Written the dull way: every sequence number that was given away, with what it stands for, and each source's
/// timestamps by what was added to its first.
struct Model {
    first: Outgoing,
    out: Vec<(SourceEpoch, u64)>,
    places: HashMap<(SourceEpoch, u64), u64>,
    last: HashMap<SourceEpoch, u64>,
    skipped: HashSet<(SourceEpoch, u64)>,
    present: Option<(SourceEpoch, u64)>,
    shifts: HashMap<SourceEpoch, u32>,
    newest: Option<Outgoing>,
}

/// Of the packet with this index of any source.
fn timestamp(index: u64) -> u32 {
    (index as u32).wrapping_mul(3_000)
}

impl Model {
    fn new(first: Outgoing) -> Self {
        Self {
            first,
            out: vec![],
            places: HashMap::new(),
            last: HashMap::new(),
            skipped: HashSet::new(),
            present: None,
            shifts: HashMap::new(),
            newest: None,
        }
    }

    /// No time passes here, so the next timestamp is one tick later.
    fn begin(&mut self, source: SourceEpoch, index: u64) {
        let from = self.newest.map_or(self.first.timestamp, |newest| newest.timestamp.wrapping_add(1));
        self.shifts.insert(source, from.wrapping_sub(timestamp(index)));
        self.present = Some((source, index));
    }

    fn map(&mut self, source: SourceEpoch, index: u64) -> Option<Outgoing> {
        if let Some((present, first)) = self.present
            && present == source
            && !self.skipped.contains(&(source, index))
        {
            let next = self.last.get(&source).map_or(first, |last| last + 1);
            for index in next..=index {
                if !self.skipped.contains(&(source, index)) {
                    self.places.insert((source, index), self.first.seq + self.out.len() as u64);
                    self.out.push((source, index));
                    self.last.insert(source, index);
                }
            }
        }
        let seq = *self.places.get(&(source, index))?;
        let out = Outgoing { seq, timestamp: timestamp(index).wrapping_add(self.shifts[&source]) };
        if self.newest.is_none_or(|newest| newest.seq < seq) {
            self.newest = Some(out);
        }
        Some(out)
    }

    fn skip(&mut self, source: SourceEpoch, index: u64) -> bool {
        let Some((present, first)) = self.present else { return false };
        let too_late = self.last.get(&source).is_some_and(|last| *last >= index);
        // A place already left out has no number to give up.
        if present != source || index < first || too_late || !self.skippable(source, index) {
            return false;
        }
        self.skipped.insert((source, index));
        true
    }

    /// Only the end of what is known may be left out: the present run is cut behind it.
    fn skippable(&self, source: SourceEpoch, index: u64) -> bool {
        self.skipped.iter().all(|(of, skipped)| *of != source || *skipped < index)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Begin { index: u64 },
    Map { source: usize, forward: u64, back: u64 },
    Skip { forward: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let forward = prop_oneof![3 => 0u64..4, 1 => 4u64..40];
    prop_oneof![
        1 => (0u64..1_000_000).prop_map(|index| Step::Begin { index }),
        12 => (0usize..3, forward, 0u64..12).prop_map(|(source, forward, back)| Step::Map { source, forward, back }),
        2 => (1u64..4).prop_map(|forward| Step::Skip { forward }),
    ]
}

/// First sequence numbers: of any kind, and so near to the end of the lower half that play goes beyond it.
fn seed() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), 0x7fc0..=0x7fff_u16]
}

/// First timestamps: of any kind, and so near to the end that play goes beyond it.
fn first_timestamp() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), u32::MAX - 300_000..=u32::MAX]
}

/// Packets that went before: none, or so many that what begins near the end of the lower half stands near the end of
/// the upper.
fn before() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0x7f80..=0x8000_u64]
}

/// Where play reached, over all that was tried.
#[derive(Debug, Default)]
struct Reached {
    upper_half: usize,
    rolled_over: usize,
    timestamp_wrapped: usize,
}

impl Reached {
    fn note(&mut self, (from, to): (Outgoing, Outgoing)) {
        let (from_ts, to_ts) = (from.timestamp, to.timestamp);
        self.upper_half += usize::from(from.seq < 0x8000 && to.seq >= 0x8000);
        self.rolled_over += usize::from(to.seq > 0xffff);
        self.timestamp_wrapped += usize::from(from_ts > 0xf000_0000 && to_ts < 0x1000_0000);
    }
}

/// One play: our numbering beside the model's. Returns where it began and where it ended.
fn play(
    (seed, first_timestamp, before): (u16, u32, u64),
    steps: Vec<Step>,
) -> Result<(Outgoing, Outgoing), TestCaseError> {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(seed, first_timestamp);
    let first = Outgoing { seq: u64::from(seed & 0x7fff).max(1), timestamp: first_timestamp };
    let mut model = Model::new(first);
    let mut sources: Vec<(SourceEpoch, u64)> = vec![];
    if before > 0 {
        let epoch = rewriter.begin(start(0, 0, now));
        model.begin(epoch, 0);
        for index in (0..before).step_by(4_096).chain([before - 1]) {
            let ours = rewriter.map(epoch, index, timestamp(index), now).ok();
            prop_assert_eq!(ours, model.map(epoch, index), "{}", index);
        }
        sources.push((epoch, before - 1));
    }
    for step in steps {
        match step {
            Step::Begin { index } => {
                let epoch = rewriter.begin(start(index, timestamp(index), now));
                model.begin(epoch, index);
                sources.push((epoch, index));
            }
            Step::Map { source, forward, back } => {
                let Some(place) = sources.len().checked_sub(1 + source) else { continue };
                let (epoch, top) = sources[place];
                let index = (top + forward).saturating_sub(back);
                let ours = rewriter.map(epoch, index, timestamp(index), now).ok();
                let first =
                    model.present.filter(|(present, _)| *present == epoch).map_or(0, |(_, first)| first);
                let expected = if index < first { None } else { model.map(epoch, index) };
                prop_assert_eq!(ours, expected, "{:?} {}", epoch, index);
                if let Some(ours) = ours {
                    prop_assert_eq!(u64::from(ours.roc()) << 16 | u64::from(ours.seq16()), ours.seq);
                    sources[place].1 = top.max(index);
                }
            }
            Step::Skip { forward } => {
                let Some((epoch, top)) = sources.last().copied() else { continue };
                let index = top + forward;
                let done = rewriter.skip(epoch, index);
                prop_assert_eq!(done, model.skip(epoch, index), "skip {}", index);
            }
        }
        for (place, entry) in model.out.iter().enumerate().rev().take(40) {
            let seq16 = (first.seq + place as u64) as u16;
            prop_assert_eq!(rewriter.reverse(seq16), Some(*entry));
        }
    }
    Ok((first, model.newest.unwrap_or(first)))
}

#[test]
fn it_numbers_as_the_dull_model_does_over_all_edges() {
    let reached = RefCell::new(Reached::default());
    let plays = (seed(), first_timestamp(), before());
    let result =
        TestRunner::default().run(&(plays, prop::collection::vec(step(), 1..250)), |(play_of, steps)| {
            reached.borrow_mut().note(play(play_of, steps)?);
            Ok(())
        });
    result.unwrap_or_else(|failed| panic!("{failed}"));
    let reached = reached.into_inner();
    assert!(
        reached.upper_half > 5 && reached.rolled_over > 5 && reached.timestamp_wrapped > 5,
        "plays go over every edge: {reached:?}"
    );
}

proptest! {
    /// However sources follow each other, timestamps only go forward, by the time that passed.
    #[test]
    fn timestamps_advance_by_the_time_between(
        seeds in (seed(), first_timestamp()),
        sources in prop::collection::vec((any::<u32>(), any::<u64>(), 1u64..100, 0u64..5_000), 1..20),
    ) {
        let mut now = Instant::now();
        let mut rewriter = Rewriter::new(seeds.0, seeds.1);
        let mut last: Option<Outgoing> = None;
        for (timestamp, index, packets, pause) in sources {
            let index = index >> 1;
            now += Duration::from_millis(pause);
            let epoch = rewriter.begin(start(index, timestamp, now));
            let mut begun = now;
            for step in 0..packets {
                let at = timestamp.wrapping_add((step * 3_000) as u32);
                let out = rewriter.map(epoch, index + step, at, begun).unwrap();
                if let Some(last) = last {
                    prop_assert_eq!(out.seq, last.seq + 1);
                    let ticks = if step == 0 { (pause * 90).max(1) } else { 3_000 };
                    prop_assert_eq!(out.timestamp.wrapping_sub(last.timestamp), ticks as u32);
                }
                last = Some(out);
                now = begun;
                begun += Duration::from_micros(33_333);
            }
        }
    }
}
