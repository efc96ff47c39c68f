use std::collections::BTreeMap;

use freshet_edge::sse::{self, EventStream, KEEP_ALIVE};
use freshet_relay_proto::track::MediaKind;
use proptest::prelude::*;

use super::*;
use crate::audience::{RATES_EVERY, STREAMS_MAX, UNREAD};
use crate::session::{LayerView, Line};
use crate::shard::ears::tests::heard;

fn id(n: usize) -> SessionId {
    SessionId::from_bits(n as u128)
}

/// What a session shows whose publisher sends one layer at this rate.
fn showing(bitrate: u64) -> Viewing {
    let layers = vec![LayerView { id: "h".to_owned(), bitrate, current: true }];
    let line = Line { index: 0, mid: "0".to_owned(), kind: MediaKind::Video, layers, unplayable: None };
    Viewing { active: true, lines: vec![line] }
}

/// Where streams' timers live. Tests do not run in it: it would have them read only so much at a time.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// A turn in which every session that is due shows this; says how many sessions were looked at.
fn turn(roll: &mut Roll, now: Instant, viewing: &Viewing) -> u64 {
    let before = roll.looked;
    roll.let_go(now);
    while let Some(session) = roll.due(now) {
        roll.look(now, session, || Some(viewing.clone()));
    }
    roll.looked - before
}

#[test]
fn of_five_thousand_that_are_listened_to_only_the_one_that_is_due_is_looked_at() {
    const ALL: usize = 5_000;
    let runtime = runtime();
    let _entered = runtime.enter();
    let (mut roll, mut now) = (Roll::default(), Instant::now());
    let mut readers: Vec<EventStream> = Vec::new();
    for n in 0..ALL {
        let stream = roll.subscribe(now, id(n), &showing(1_000), Kind::ALL.to_vec()).unwrap();
        let (sender, events) = sse::channel(4, KEEP_ALIVE);
        assert!(roll.read(now, id(n), stream, sender));
        readers.push(events);
    }
    readers.iter_mut().for_each(|events| assert!(!heard(events).0.is_empty()));
    assert_eq!((roll.streams(), roll.readers(), roll.poll_timeout()), (ALL, ALL, None));
    for _ in 0..120 {
        now += Duration::from_secs(1);
        assert_eq!(turn(&mut roll, now, &showing(1_000)), 0, "nobody is due");
    }

    // Rates are told at once to who has heard none for a second, and again after a second.
    roll.changed(now, id(7));
    roll.changed(now, id(7));
    assert_eq!(turn(&mut roll, now, &showing(1_001)), 1, "one changed, however often");
    assert!(heard(&mut readers[7]).0.contains("1001"));
    roll.changed(now, id(7));
    assert_eq!(turn(&mut roll, now, &showing(1_002)), 1);
    assert_eq!((heard(&mut readers[7]).0, roll.poll_timeout()), (String::new(), Some(now + RATES_EVERY)));
    assert_eq!(turn(&mut roll, now, &showing(1_002)), 0);
    now += RATES_EVERY;
    assert_eq!(turn(&mut roll, now, &showing(1_002)), 1, "one is due");
    assert!(heard(&mut readers[7]).0.contains("1002"));

    // A connection that ends is not searched for; then its event stream waits to be forgotten.
    drop(readers.swap_remove(9));
    assert_eq!(turn(&mut roll, now, &showing(1_002)), 1, "one has left");
    assert_eq!((roll.streams(), roll.readers()), (ALL, ALL - 1));
    assert_eq!(roll.poll_timeout(), Some(now + UNREAD));
    assert_eq!(turn(&mut roll, now + UNREAD, &showing(1_002)), 1);
    assert_eq!((roll.streams(), roll.has(id(9)), roll.poll_timeout()), (ALL - 1, false, None));
    drop(readers);
    assert_eq!(turn(&mut roll, now + UNREAD, &showing(1_002)), ALL as u64 - 1, "each once");
    assert_eq!((roll.streams(), roll.readers()), (ALL - 1, 0));
}

#[test]
fn one_without_room_is_looked_at_once_a_second_until_it_reads() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (mut roll, mut now) = (Roll::default(), Instant::now());
    let stream = roll.subscribe(now, id(1), &showing(1_000), vec![Kind::Layers]).unwrap();
    let (sender, mut events) = sse::channel(1, KEEP_ALIVE);
    assert!(roll.read(now, id(1), stream, sender));
    roll.changed(now, id(1));
    assert_eq!(turn(&mut roll, now, &showing(1_001)), 1);
    for _ in 0..5 {
        assert_eq!((turn(&mut roll, now, &showing(0)), roll.poll_timeout()), (0, Some(now + LOOK)));
        now += LOOK;
        assert_eq!(turn(&mut roll, now, &showing(0)), 1);
    }
    assert!(heard(&mut events).0.contains("1000"));
    now += LOOK;
    assert_eq!(turn(&mut roll, now, &showing(0)), 1);
    assert!(heard(&mut events).0.contains("1001"), "as soon as there is room");
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(usize),
    Read(usize, u32, usize),
    Unsubscribe(usize, u32),
    /// The n-th reader that there was leaves.
    Leave(usize),
    Changed(usize, u64),
    End(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (session, stream) = (0..4_usize, 1..6_u32);
    prop_oneof![
        3 => session.clone().prop_map(Step::Subscribe),
        4 => (session.clone(), stream.clone(), 1..3_usize).prop_map(|(n, s, room)| Step::Read(n, s, room)),
        1 => (session.clone(), stream).prop_map(|(n, s)| Step::Unsubscribe(n, s)),
        2 => (0..20_usize).prop_map(Step::Leave),
        2 => (session.clone(), 0..9_u64).prop_map(|(n, rate)| Step::Changed(n, rate)),
        1 => session.prop_map(Step::End),
        2 => prop_oneof![0..2_u64, 55..65_u64].prop_map(Step::Wait),
    ]
}

/// One event stream as whoever goes over all of them sees it.
struct Naive {
    unread: Option<Instant>,
    /// Which of all readers reads it.
    reader: Option<usize>,
}

#[derive(Default)]
struct Model {
    sessions: BTreeMap<usize, (u32, BTreeMap<u32, Naive>)>,
}

impl Model {
    fn stream(&mut self, n: usize, stream: u32) -> Option<&mut Naive> {
        self.sessions.get_mut(&n)?.1.get_mut(&stream)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Naive> {
        self.sessions.values_mut().flat_map(|(_, streams)| streams.values_mut())
    }

    fn forget(&mut self, now: Instant) {
        for (_, streams) in self.sessions.values_mut() {
            streams.retain(|_, naive| naive.unread.is_none_or(|since| now < since + UNREAD));
        }
        self.sessions.retain(|_, (_, streams)| !streams.is_empty());
    }
}

proptest! {
    #[test]
    fn counts_and_times_are_those_that_going_over_all_would_find(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let (mut roll, mut model, mut now) = (Roll::default(), Model::default(), Instant::now());
        let mut readers: Vec<Option<EventStream>> = Vec::new();
        let mut rate = 1;
        for step in steps {
            match step {
                Step::Subscribe(n) => {
                    let made = roll.subscribe(now, id(n), &showing(rate), Kind::ALL.to_vec());
                    let (next, streams) = model.sessions.entry(n).or_insert((1, BTreeMap::new()));
                    let wanted = if streams.len() < STREAMS_MAX { Ok(*next) } else { Err(TooMany) };
                    prop_assert_eq!(made, wanted);
                    if let Ok(stream) = made {
                        streams.insert(stream, Naive { unread: Some(now), reader: None });
                        *next += 1;
                    }
                }
                Step::Read(n, stream, room) => {
                    let (sender, events) = sse::channel(room, KEEP_ALIVE);
                    let is_there = roll.read(now, id(n), stream, sender);
                    let known = model.stream(n, stream);
                    prop_assert_eq!(is_there, known.is_some());
                    if let Some(known) = known {
                        let before = known.reader.replace(readers.len());
                        known.unread = None;
                        if let Some(events) = before.and_then(|before| readers[before].as_mut()) {
                            prop_assert!(heard(events).1, "another reads instead");
                        }
                        readers.push(Some(events));
                    }
                }
                Step::Unsubscribe(n, stream) => {
                    let was_there = roll.unsubscribe(now, id(n), stream);
                    let of_session = model.sessions.get_mut(&n);
                    let removed = of_session.and_then(|(_, streams)| streams.remove(&stream));
                    prop_assert_eq!(was_there, removed.is_some());
                    if let Some(events) = removed.and_then(|r| readers[r.reader?].as_mut()) {
                        prop_assert!(heard(events).1, "there is nothing to read any more");
                    }
                }
                Step::Leave(reader) => {
                    if readers.get_mut(reader).is_some_and(|reader| reader.take().is_some()) {
                        let left = model.all().filter(|naive| naive.reader == Some(reader));
                        left.for_each(|naive| (naive.unread, naive.reader) = (Some(now), None));
                    }
                }
                Step::Changed(n, to) => {
                    rate = to;
                    roll.changed(now, id(n));
                }
                Step::End(n) => {
                    roll.ended(id(n));
                    model.sessions.remove(&n);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            turn(&mut roll, now, &showing(rate));
            model.forget(now);
            let streams = model.all().count();
            let reading = model.all().filter(|naive| naive.reader.is_some()).count();
            prop_assert_eq!((roll.streams(), roll.readers()), (streams, reading));
            prop_assert_eq!(roll.sessions.len(), model.sessions.len());
            prop_assert_eq!(roll.ends.len(), reading, "nothing waits for what is over");
            let noted = roll.sessions.iter().filter_map(|(id, ear)| Some((ear.due?, *id)));
            prop_assert_eq!(noted.collect::<BTreeSet<_>>(), roll.due.clone());
            let unread = model.all().filter_map(|naive| Some(naive.unread? + UNREAD)).min();
            prop_assert!(unread.is_none_or(|due| roll.poll_timeout().is_some_and(|at| at <= due + LOOK)));
            prop_assert!(roll.poll_timeout().is_none_or(|due| due > now), "what was due has been done");
        }
    }
}
