//! The whole link machine under any order of bytes, frames, datagrams, time and calls.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use freshet_cluster::Incarnation;
use freshet_relay_proto::control::{Control, Hello};
use freshet_relay_proto::link::{Event, LinkConfig, LinkSession, Role, TRANSMIT_MAX};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step {
    Bytes(Vec<u8>),
    Hello { v: u8, min_v: u8 },
    Ping(u64),
    Pong(u64),
    Datagram(Vec<u8>),
    Wait(u16),
    Confirm,
    Send { alias: u32, track: u8, from: Option<u64> },
    Events,
    Transmit,
}

#[derive(Debug, Arbitrary)]
struct Input {
    dialer: bool,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let mut now = Instant::now();
    let role = if input.dialer { Role::Dialer } else { Role::Acceptor };
    let (Ok(me), Ok(other)) = ("me".parse(), "other".parse()) else { return };
    let mut session = LinkSession::new(now, LinkConfig::new(role, me, Incarnation::from_bits(1)));
    let mut closed = false;
    for step in input.steps {
        let frame = match step {
            Step::Bytes(bytes) => {
                session.handle_bytes(now, &bytes);
                continue;
            }
            Step::Hello { v, min_v } => Control::Hello(Hello {
                v: v.into(),
                min_v: min_v.into(),
                node: Clone::clone(&other),
                incarnation: Incarnation::from_bits(2),
            }),
            Step::Ping(nonce) => Control::Ping { nonce },
            Step::Pong(nonce) => Control::Pong { nonce },
            Step::Datagram(datagram) => {
                let open = session.is_open();
                let packet = session.handle_datagram(now, Bytes::from(datagram));
                assert!(open || packet.is_none(), "no media before the link is open");
                continue;
            }
            Step::Wait(millis) => {
                now += Duration::from_millis(millis.into());
                if session.poll_timeout().is_some_and(|due| due <= now) {
                    session.handle_timeout(now);
                    assert!(session.poll_timeout().is_none_or(|due| due > now), "time moves on");
                }
                continue;
            }
            Step::Confirm => {
                session.confirm(now);
                continue;
            }
            Step::Send { alias, track, from } => {
                let frame = Control::Subscribe { alias, track, layer: 0, from };
                session.send(&frame).expect("a frame within the limits");
                continue;
            }
            Step::Events => {
                while let Some(event) = session.poll_event() {
                    assert!(!closed, "nothing follows the close");
                    closed = matches!(event, Event::Close(_));
                    if matches!(event, Event::Control(_)) {
                        assert!(session.is_open(), "no frame counts before the link is open");
                    }
                }
                continue;
            }
            Step::Transmit => {
                let mut waiting = 0_usize;
                while let Some(bytes) = session.poll_transmit() {
                    waiting = waiting.saturating_add(bytes.len());
                }
                assert!(waiting <= TRANSMIT_MAX);
                continue;
            }
        };
        session.handle_bytes(now, &frame.encode().expect("a frame within the limits"));
    }
});
