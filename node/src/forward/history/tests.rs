use super::{EstimateInput, History, KEPT};
use crate::forward::rtcp::Twcc;

use std::time::Duration;

/// A feedback packet behind its SSRCs: runs of (status, count), then deltas.
fn feedback(base: u16, reference: u32, runs: &[(u16, u16)], deltas: &[u8]) -> Vec<u8> {
    let count: u16 = runs.iter().map(|(_, count)| count).sum();
    let [_, r0, r1, r2] = reference.to_be_bytes();
    let mut raw = [base.to_be_bytes(), count.to_be_bytes(), [r0, r1], [r2, 0]].concat();
    for (status, count) in runs {
        raw.extend((status << 13 | count).to_be_bytes());
    }
    raw.extend(deltas);
    raw
}

fn told(history: &mut History, next: u16, raw: &[u8]) -> EstimateInput {
    history.feedback(next, Twcc::read(raw).unwrap())
}

/// Packets from `first` on, one each 10 ms from `micros` on, of 1,000 bytes.
fn sent(history: &mut History, first: u16, count: u16, micros: u32) {
    for n in 0..count {
        history.note(first.wrapping_add(n), micros.wrapping_add(u32::from(n) * 10_000), 1_000);
    }
}

#[test]
fn what_came_is_counted_once_with_its_time_and_how_the_way_grew() {
    let mut history = History::default();
    // Numbers and the clock both wrap on the way.
    sent(&mut history, 65_530, 20, u32::MAX - 25_000);
    let next = 65_530_u16.wrapping_add(20);
    let raw = feedback(65_530, 100, &[(1, 5)], &[4, 40, 40, 40, 40]);
    let first = told(&mut history, next, &raw);
    assert_eq!((first.arrived, first.bytes, first.missing, first.unknown), (5, 5_000, 0, 0));
    assert_eq!((first.span, first.growth), (Duration::ZERO, 0), "nothing to compare with yet");
    // Ten more, each 12 ms behind the one before although they went in steps of 10, and one is lost. Reference 100 is
    // 6.4 s; the fifth came 41 ms later.
    let raw = feedback(
        65_530,
        100,
        &[(1, 5), (0, 1), (1, 9)],
        &[4, 40, 40, 40, 40, 96, 48, 48, 48, 48, 48, 48, 48, 48],
    );
    let second = told(&mut history, next, &raw);
    assert_eq!((second.arrived, second.missing, second.late), (9, 1, 0), "five were told before");
    assert_eq!((second.span, second.growth), (Duration::from_millis(120), 20_000));
    let raw = feedback(65_535, 101, &[(1, 1)], &[3]);
    let third = told(&mut history, next, &raw);
    assert_eq!(
        (third.arrived, third.late, third.growth),
        (1, 1, 0),
        "it came late, and tells nothing of the queue"
    );
}

#[test]
fn what_was_never_sent_or_is_forgotten_is_unknown() {
    let mut history = History::default();
    let raw = feedback(0, 1, &[(1, 3)], &[1, 1, 1]);
    assert_eq!(told(&mut history, 0, &raw).unknown, 3, "nothing was sent");
    sent(&mut history, 0, 10, 0);
    let input = told(&mut history, 10, &feedback(8, 1, &[(1, 4)], &[1, 1, 1, 1]));
    assert_eq!((input.arrived, input.unknown), (2, 2), "beyond the newest");
    sent(&mut history, 10, KEPT, 100_000);
    let input = told(&mut history, 10 + KEPT, &feedback(8, 2, &[(1, 4)], &[1, 1, 1, 1]));
    assert_eq!((input.arrived, input.unknown), (2, 2), "pushed out by newer ones");
}

#[test]
fn a_clock_that_jumps_tells_nothing_and_does_not_stay() {
    let mut history = History::default();
    sent(&mut history, 0, 6, 0);
    told(&mut history, 6, &feedback(0, 1, &[(1, 2)], &[0, 40]));
    let jumped = told(&mut history, 6, &feedback(2, 0x00f0_0000, &[(1, 2)], &[0, 40]));
    assert_eq!((jumped.arrived, jumped.span, jumped.growth), (2, Duration::ZERO, 0));
    let after = told(&mut history, 6, &feedback(4, 0x00f0_0000, &[(1, 2)], &[80, 40]));
    assert_eq!((after.span, after.growth), (Duration::from_millis(20), 0));
}

#[test]
fn huge_feedback_costs_no_more_than_what_is_remembered() {
    let mut history = History::default();
    sent(&mut history, 0, KEPT, 0);
    let runs = [(0, 8_191); 8];
    let raw = feedback(0, 1, &runs, &[]);
    let input = told(&mut history, KEPT, &raw);
    assert_eq!((input.missing, input.unknown), (u32::from(KEPT), 0), "and no more was looked at");
    assert!(std::mem::size_of_val(&history.sent[..]) <= 8_192);
    assert_eq!(History::default().sent.capacity(), 0, "nothing is kept for a viewer who gets nothing");
}
