use super::*;
use crate::code::RefuseCode;
use crate::frame;
use crate::header::Extensions;
use proptest::prelude::*;

fn config(role: Role, node: &str) -> LinkConfig {
    LinkConfig::new(role, node.parse().unwrap(), Incarnation::from_bits(7))
}

fn pair(now: Instant) -> (LinkSession, LinkSession) {
    let mut a = LinkSession::new(now, config(Role::Dialer, "a"));
    let mut b = LinkSession::new(now, config(Role::Acceptor, "b"));
    carry(now, &mut a, &mut b);
    assert!(matches!(b.poll_event(), Some(Event::Hello(hello)) if hello.node.as_str() == "a"));
    assert_eq!(b.poll_transmit(), None, "the acceptor says nothing before it has checked");
    b.confirm(now);
    carry(now, &mut b, &mut a);
    assert!(matches!(a.poll_event(), Some(Event::Hello(hello)) if hello.node.as_str() == "b"));
    a.confirm(now);
    assert!(a.is_open() && b.is_open());
    (a, b)
}

fn carry(now: Instant, from: &mut LinkSession, to: &mut LinkSession) {
    while let Some(bytes) = from.poll_transmit() {
        to.handle_bytes(now, &bytes);
    }
}

fn closed(session: &mut LinkSession) -> Option<CloseCode> {
    match session.poll_event() {
        Some(Event::Close(close)) => Some(close.code),
        other => panic!("expected a close, got {other:?}"),
    }
}

fn header() -> MediaHeader {
    MediaHeader {
        alias: 1,
        track: 0,
        layer: 0,
        index: 9,
        timestamp: 0,
        marker: false,
        keyframe: true,
        codec: 0,
        capture: 1,
        exts: Extensions::default(),
    }
}

#[test]
fn frames_pass_both_ways_after_hello() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let frame = Control::Refuse { alias: 3, code: RefuseCode::Loop };
    a.send(&frame).unwrap();
    b.send(&frame).unwrap();
    carry(now, &mut a, &mut b);
    carry(now, &mut b, &mut a);
    assert_eq!(a.poll_event(), Some(Event::Control(frame.clone())));
    assert_eq!(b.poll_event(), Some(Event::Control(frame)));
}

#[test]
fn frames_behind_hello_wait_until_it_is_confirmed() {
    let now = Instant::now();
    let mut a = LinkSession::new(now, config(Role::Dialer, "a"));
    let mut b = LinkSession::new(now, config(Role::Acceptor, "b"));
    a.send(&Control::Subscribe { alias: 1, track: 0, layer: 0, from: None }).unwrap();
    carry(now, &mut a, &mut b);
    assert!(matches!(b.poll_event(), Some(Event::Hello(_))));
    assert_eq!(b.poll_event(), None);
    b.confirm(now);
    assert!(matches!(b.poll_event(), Some(Event::Control(Control::Subscribe { .. }))));
}

#[test]
fn versions_must_overlap() {
    for (theirs, ours, opens) in [
        ((1, 1), (1, 1), true),
        ((2, 1), (1, 1), true),
        ((2, 2), (1, 1), false),
        ((1, 1), (3, 2), false),
        ((2, 1), (3, 2), true),
    ] {
        let now = Instant::now();
        let mut a = LinkSession::new(now, LinkConfig { versions: theirs, ..config(Role::Dialer, "a") });
        let mut b = LinkSession::new(now, LinkConfig { versions: ours, ..config(Role::Acceptor, "b") });
        carry(now, &mut a, &mut b);
        match b.poll_event() {
            Some(Event::Hello(_)) => assert!(opens, "{theirs:?} {ours:?}"),
            Some(Event::Close(close)) => {
                assert!(!opens, "{theirs:?} {ours:?}");
                assert_eq!(close.code, CloseCode::Version);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_node_does_not_link_with_itself() {
    let now = Instant::now();
    let mut a = LinkSession::new(now, config(Role::Dialer, "a"));
    let mut b = LinkSession::new(now, config(Role::Acceptor, "a"));
    carry(now, &mut a, &mut b);
    assert_eq!(closed(&mut b), Some(CloseCode::Loop));
}

#[test]
fn a_frame_before_hello_and_a_second_hello_break_the_protocol() {
    let now = Instant::now();
    let mut b = LinkSession::new(now, config(Role::Acceptor, "b"));
    b.handle_bytes(now, &Control::Ping { nonce: 1 }.encode().unwrap());
    assert_eq!(closed(&mut b), Some(CloseCode::Protocol));
    assert_eq!(b.poll_event(), None, "nothing follows");

    let (mut a, mut b) = pair(now);
    let hello = Hello { v: 1, min_v: 1, node: "a".parse().unwrap(), incarnation: Incarnation::from_bits(7) };
    a.send(&Control::Hello(hello)).unwrap();
    carry(now, &mut a, &mut b);
    assert_eq!(closed(&mut b), Some(CloseCode::Protocol));
}

#[test]
fn hello_has_a_time_limit() {
    let start = Instant::now();
    let mut b = LinkSession::new(start, config(Role::Acceptor, "b"));
    assert_eq!(b.poll_timeout(), Some(start + HELLO_MAX));
    b.handle_timeout(start + HELLO_MAX - Duration::from_millis(1));
    assert_eq!(b.poll_event(), None);
    b.handle_timeout(start + HELLO_MAX);
    assert_eq!(closed(&mut b), Some(CloseCode::HelloTimeout));
}

#[test]
fn pings_measure_the_way_and_keep_the_link() {
    let start = Instant::now();
    let (mut a, mut b) = pair(start);
    let half = Duration::from_millis(30);
    let mut now = start;
    for _ in 0..10 {
        a.handle_timeout(now);
        b.handle_timeout(now);
        carry(now + half, &mut a, &mut b);
        assert_eq!(b.poll_event(), None);
        carry(now + half * 2, &mut b, &mut a);
        assert_eq!(a.poll_event(), None);
        now += PING_EVERY;
    }
    assert_eq!(a.rtt(), Some(half * 2));
    assert!(a.is_open() && b.is_open());
}

#[test]
fn silence_closes_and_any_datagram_is_a_sign_of_life() {
    let start = Instant::now();
    let (mut a, mut b) = pair(start);
    let late = start + SILENCE_MAX - Duration::from_millis(1);
    let _ = b.handle_datagram(late, Bytes::from_static(b"?"));
    a.handle_timeout(start + SILENCE_MAX);
    b.handle_timeout(start + SILENCE_MAX);
    assert_eq!(closed(&mut a), Some(CloseCode::Silent));
    assert!(b.is_open());
    assert_eq!(b.counters().malformed, 1);
}

#[test]
fn media_counts_only_when_the_link_is_open() {
    let now = Instant::now();
    let datagrams = crate::split::split(&header(), &[1; 4_000], 1_200).unwrap();
    assert_eq!(datagrams.len(), 4);
    let mut early = LinkSession::new(now, config(Role::Acceptor, "b"));
    assert_eq!(early.handle_datagram(now, datagrams[0].clone()), None);
    assert_eq!(early.counters().early, 1);

    let (_, mut b) = pair(now);
    let packets: Vec<_> = datagrams.iter().filter_map(|d| b.handle_datagram(now, d.clone())).collect();
    assert_eq!(packets, vec![(header(), Bytes::from(vec![1; 4_000]))]);
    assert_eq!(b.counters().parts.joined, 1);
}

#[test]
fn frames_that_nobody_takes_are_bounded() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    let frame = Control::RoomLeave { room: "r".repeat(64).parse().unwrap() };
    for _ in 0..TRANSMIT_MAX / 60 {
        a.send(&frame).unwrap();
    }
    assert_eq!(closed(&mut a), Some(CloseCode::Overflow));
    assert_eq!(a.poll_transmit(), None, "what waited is gone");
    a.send(&frame).unwrap();
    assert_eq!(a.poll_transmit(), None);
}

#[test]
fn frames_from_the_future_are_passed_over() {
    let now = Instant::now();
    let (_, mut b) = pair(now);
    b.handle_bytes(now, &frame::encode(0x1234, &[1, 2, 3]).unwrap());
    b.handle_bytes(now, &Control::RoomLeave { room: "r".parse().unwrap() }.encode().unwrap());
    assert!(matches!(b.poll_event(), Some(Event::Control(Control::RoomLeave { .. }))));
    assert_eq!(b.counters().unknown_frames, 1);
}

#[test]
fn each_end_learns_what_the_other_counted() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    a.set_sent(5, 2);
    a.handle_timeout(now);
    carry(now, &mut a, &mut b);
    assert_eq!(b.poll_event(), None);
    assert_eq!(b.their_stats(), Stats { sent: 5, received: 0, dropped: 2 });
}

proptest! {
    #[test]
    fn no_interleaving_makes_it_panic_or_grow(
        dialer: bool,
        steps in proptest::collection::vec((0..6_u8, proptest::collection::vec(any::<u8>(), 0..200), 0..3_000_u64), 0..100),
    ) {
        let mut now = Instant::now();
        let role = if dialer { Role::Dialer } else { Role::Acceptor };
        let mut session = LinkSession::new(now, config(role, "n"));
        for (what, bytes, millis) in steps {
            now += Duration::from_millis(millis);
            match what {
                0 => session.handle_bytes(now, &bytes),
                1 => drop(session.handle_datagram(now, bytes.into())),
                2 => session.handle_timeout(now),
                3 => session.confirm(now),
                4 => {
                    let hello = Hello { v: 1, min_v: 1, node: "x".parse().unwrap(), incarnation: Incarnation::from_bits(1) };
                    session.handle_bytes(now, &Control::Hello(hello).encode().unwrap());
                }
                _ => while session.poll_event().is_some() {},
            }
            prop_assert!(session.transmit_bytes <= TRANSMIT_MAX);
            prop_assert!(session.decoder.len() <= frame::BUFFER_MAX);
        }
    }
}
