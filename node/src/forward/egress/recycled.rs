//! A viewer in the memory of another is as one in new memory: nothing of the other can be seen.

use super::tests::{Desk, WITH_RTX, outlet};
use super::{Again, Sealer};
use crate::forward::blank::Blank;
use crate::forward::egress::repeated::Repeat;
use crate::forward::history::{EstimateInput, Sent};
use crate::forward::rtcp::Twcc;
use crate::forward::rtp::parse;
use crate::forward::srtp::{Profile, SrtpSender};

/// What differs from viewer to viewer.
#[derive(Clone, Copy)]
struct Who {
    key: u8,
    ssrc: u32,
    seed: u32,
    first: u64,
    packets: u64,
}

const ONE: Who = Who { key: 7, ssrc: 0x1111, seed: 5 << 16, first: 0, packets: 1_500 };
/// The same numbers under other keys: whatever the other remembers would be found.
const OTHER: Who = Who { key: 8, ssrc: 0x4444, seed: 5 << 16, first: 1_450, packets: 120 };

/// All that a viewer's life shows.
#[derive(Debug, PartialEq)]
struct Shown {
    wire: Vec<Vec<u8>>,
    answers: Vec<Option<u64>>,
    told: Vec<EstimateInput>,
}

/// Feedback of sixty packets from `base` on: two thirds have come.
fn feedback(base: u16) -> Vec<u8> {
    let mut raw = [base.to_be_bytes(), 60_u16.to_be_bytes()].concat();
    raw.extend([0, 0, 9, 1]);
    for chunk in [0x2000_u16 | 40, 20] {
        raw.extend(chunk.to_be_bytes());
    }
    raw.extend([4; 40]);
    raw
}

/// A life in this memory. Returns what it leaves.
fn life(who: Who, history: Blank<Sent>, repeated: Blank<Repeat>) -> (Shown, Blank<Sent>, Blank<Repeat>) {
    let profile = Profile::AeadAes256Gcm;
    let srtp = SrtpSender::new(profile, &[who.key; 32], &[who.key; 12]).unwrap();
    let mut desk = Desk::new(profile);
    desk.sealer = Sealer::new(srtp, history);
    let mut outlet = outlet(who.ssrc, Some(who.ssrc + 1), who.seed).within(repeated);
    let mut shown = Shown { wire: Vec::new(), answers: Vec::new(), told: Vec::new() };
    // Before anything is sent nothing is known of any packet.
    shown.told.push(desk.sealer.feedback(Twcc::read(&feedback(0)).unwrap()));
    for nth in 0..who.packets {
        desk.micros = nth * 10_000;
        desk.send(&mut outlet, WITH_RTX, who.first + nth).unwrap();
        let seq = parse(desk.wire.last().unwrap()).unwrap().fields.seq;
        if nth % 3 == 0 {
            let answer = desk.again(&mut outlet, WITH_RTX, seq);
            shown.answers.push(answer.map(|answer| match answer {
                Again::Sent { bytes, .. } => bytes,
                _ => 0,
            }));
        }
        if nth % 50 == 49 {
            let base = (nth as u16).wrapping_mul(4) / 3;
            shown.told.push(desk.sealer.feedback(Twcc::read(&feedback(base)).unwrap()));
        }
    }
    // Of packets that others were sent, and this one was not.
    for base in [0, 300, 900, 1_023, 1_024, 1_900] {
        shown.told.push(desk.sealer.feedback(Twcc::read(&feedback(base)).unwrap()));
    }
    shown.wire = std::mem::take(&mut desk.wire);
    (shown, desk.sealer.into_memory(), outlet.into_memory())
}

#[test]
fn a_life_in_the_memory_of_another_shows_nothing_of_it() {
    let (first, history, repeated) = life(ONE, Blank::default(), Blank::default());
    assert!(first.answers.iter().flatten().any(|bytes| *bytes > 0) && first.told[0].unknown == 60);
    assert!(history.has_memory() && repeated.has_memory(), "there is something to be seen");
    let (recycled, history, repeated) = life(OTHER, history, repeated);
    let (new, ..) = life(OTHER, Blank::default(), Blank::default());
    assert_eq!(recycled, new);
    // Even the first one again: it is not known that it was there.
    let (again, history, repeated) = life(ONE, history, repeated);
    assert_eq!(again, first);
    assert!(history.into_list().is_empty() && repeated.into_list().is_empty());
}

#[test]
fn what_is_remembered_takes_no_new_memory() {
    let (_, history, repeated) = life(ONE, Blank::default(), Blank::default());
    let (history, repeated) = (history.into_list(), repeated.into_list());
    let places = (history.as_ptr(), repeated.as_ptr());
    let (_, history, repeated) = life(OTHER, Blank::of(history), Blank::of(repeated));
    let (history, repeated) = (history.into_list(), repeated.into_list());
    assert_eq!((history.as_ptr(), repeated.as_ptr()), places);
}
