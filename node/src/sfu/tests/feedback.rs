//! Feedback from viewers that are no browsers: authentic, and meant to cost as much as it can.

use std::net::SocketAddr;
use std::time::Duration;

use str0m::media::MediaKind::Video;

use super::client::payload;
use super::world::World;
use crate::forward::srtp::{RTCP_OVERHEAD, SrtpSender};
use crate::service::Direction::{Publish, View};
use crate::sfu::Counters;
use crate::sfu::session::Role;

const PUBLISHER: usize = 0;
const HOSTILE: usize = 1;
const HONEST: usize = 2;
const FRAME: Duration = Duration::from_millis(33);
/// Frames a second, and packets of a frame.
const FRAMES: u64 = 30;
const PACKETS: u64 = 5;

/// A stream with two viewers, one of whom is an attacker who has its keys.
struct Attacked {
    world: World,
    srtp: SrtpSender,
    from: SocketAddr,
    /// What it is sent video as.
    ssrc: u32,
    frame: u64,
}

impl Attacked {
    fn new() -> Self {
        let mut world = World::new();
        world.join(Publish, &[Video]);
        world.claim(PUBLISHER, 1);
        world.pass(FRAME * 5);
        for viewer in [HOSTILE, HONEST] {
            assert_eq!(world.join(View, &[Video]), viewer);
        }
        world.pass(FRAME * 5);
        let hostile = &world.clients[HOSTILE];
        let (srtp, from) = (hostile.srtp(), hostile.addr);
        let mut attacked = Self { world, srtp, from, ssrc: 0, frame: 0 };
        attacked.play(2, |_| {});
        attacked.ssrc = *attacked.world.clients[HOSTILE].got.last().unwrap().header.ssrc;
        attacked
    }

    /// Some seconds of the stream, a keyframe in each, with something before each frame. The honest viewer gets all of
    /// it, once and in order. Returns what was counted until then.
    fn play(&mut self, seconds: u64, mut before: impl FnMut(&mut Self)) -> Counters {
        let counters = self.world.sfu.counters().clone();
        let (first, got) = (self.frame, self.world.clients[HONEST].got.len());
        for _ in 0..seconds * FRAMES {
            before(self);
            let (seq, key) = (1_000 + self.frame * PACKETS, self.frame.is_multiple_of(FRAMES));
            self.world.frame(PUBLISHER, Video, seq, PACKETS, self.frame as u32 * 3_000, key);
            self.world.pass(FRAME);
            self.frame += 1;
        }
        let seen = self.world.clients[HONEST].got[got..].iter().map(|packet| packet.payload.to_vec());
        let sent = (first..self.frame).flat_map(|frame| {
            (0..PACKETS).map(move |n| {
                payload(Video, 1_000 + frame * PACKETS + n, frame.is_multiple_of(FRAMES) && n == 0)
            })
        });
        assert!(seen.eq(sent), "the other viewer loses nothing");
        counters
    }

    fn seal(&mut self, compound: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; compound.len() + RTCP_OVERHEAD];
        let len = self.srtp.seal_rtcp(compound, &mut sealed).unwrap();
        sealed.truncate(len);
        sealed
    }

    fn send(&mut self, compound: &[u8]) {
        let sealed = self.seal(compound);
        self.world.sfu.handle_datagram(self.world.now, self.from, &sealed);
    }

    /// The sequence number of the packet that came last.
    fn newest(&self) -> u16 {
        *self.world.clients[HOSTILE].got.last().unwrap().seq_no as u16
    }

    /// Its own player is heard again, and the stream still reaches it.
    fn is_served_again(&mut self) {
        self.play(4, |_| {});
        let (asked, got) =
            (self.world.clients[PUBLISHER].keyframes_asked, self.world.clients[HOSTILE].got.len());
        self.world.clients[HOSTILE].ask_keyframe();
        self.play(1, |_| {});
        assert_eq!(self.world.clients[PUBLISHER].keyframes_asked, asked + 1);
        assert_eq!(self.world.clients[HOSTILE].got.len(), got + (FRAMES * PACKETS) as usize);
    }
}

/// One RTCP message: format or count, packet type, and what stands behind the sender's SSRC.
fn message(format: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let words = 1 + body.len().div_ceil(4);
    let mut message = vec![0x80 | format, kind];
    message.extend(u16::try_from(words).unwrap().to_be_bytes());
    message.extend(7_u32.to_be_bytes());
    message.extend(body);
    message.resize(4 + 4 * words, 0);
    message
}

/// Asks for 17 packets with each of its entries, from `first` on.
fn nack(ssrc: u32, first: u16, entries: u16) -> Vec<u8> {
    let mut body = ssrc.to_be_bytes().to_vec();
    for entry in 0..entries {
        body.extend(first.wrapping_add(entry * 17).to_be_bytes());
        body.extend([0xff; 2]);
    }
    message(1, 205, &body)
}

fn pli(ssrc: u32) -> Vec<u8> {
    message(1, 206, &ssrc.to_be_bytes())
}

fn fir(ssrc: u32, number: u8) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(ssrc.to_be_bytes());
    body.extend([number, 0, 0, 0]);
    message(4, 206, &body)
}

/// Says to tell of 65,535 packets, by these chunks and bytes of deltas.
fn twcc(ssrc: u32, chunk: u16, chunks: usize, deltas: usize) -> Vec<u8> {
    let mut body = ssrc.to_be_bytes().to_vec();
    body.extend([0, 1, 0xff, 0xff, 0, 0, 9, 1]);
    (0..chunks).for_each(|_| body.extend(chunk.to_be_bytes()));
    body.extend(vec![3; deltas]);
    message(15, 205, &body)
}

/// A report with one block.
fn report(ssrc: u32) -> Vec<u8> {
    let mut body = ssrc.to_be_bytes().to_vec();
    body.extend([0xff; 20]);
    message(1, 201, &body)
}

#[test]
fn forged_ranges_of_nack_are_looked_up_at_a_bounded_rate() {
    const SECONDS: u64 = 10;
    let mut attacked = Attacked::new();
    let before = attacked.play(SECONDS, |attacked| {
        for _ in 0..3 {
            let forged = nack(attacked.ssrc, attacked.newest().wrapping_sub(520), 31);
            attacked.send(&forged);
        }
    });
    let after = attacked.world.sfu.counters();
    let answers = after.rtx_packets + after.rtx_missed + after.rtx_suppressed
        - (before.rtx_packets + before.rtx_missed + before.rtx_suppressed);
    let most = 2_000 + 2_000 * SECONDS;
    let asked = SECONDS * FRAMES * 3 * 31 * 17;
    let looked_up = asked - (after.limited_nacks - before.limited_nacks);
    assert!((most / 2..=most).contains(&looked_up), "{looked_up} of at most {most}");
    // Some are answered twice.
    let twice = after.rtx_packets - before.rtx_packets;
    assert!((answers - twice / 2..=answers).contains(&looked_up), "{looked_up}, {answers}: all are counted");
    // What may be sent again: a fifth of the media, and what is saved up at most.
    let (again, media) = (after.rtx_packets - before.rtx_packets, (2 + SECONDS) * FRAMES * PACKETS);
    assert!(again * 900 < media * 901 / 5 + 128 * 1_024, "{again} sent again of {media}");
    // Of the first ranges, before the allowance goes to what the ring has no more: as many as wait for the pacer at most.
    assert!(again >= 128, "{again}");
    attacked.is_served_again();
}

#[test]
fn a_storm_of_wishes_costs_the_publisher_a_keyframe_a_second_and_is_not_even_read() {
    const SECONDS: u64 = 10;
    let mut attacked = Attacked::new();
    let asked = attacked.world.clients[PUBLISHER].keyframes_asked;
    let mut number = 0;
    let mut sent = 0;
    let before = attacked.play(SECONDS, |attacked| {
        for _ in 0..20 {
            let wishes: Vec<u8> = (0..40)
                .flat_map(|_| {
                    number = u8::wrapping_add(number, 1);
                    [pli(attacked.ssrc), fir(attacked.ssrc, number)].concat()
                })
                .collect();
            attacked.send(&wishes);
            sent += 1;
        }
    });
    let asked = attacked.world.clients[PUBLISHER].keyframes_asked - asked;
    assert!((2..=4 + SECONDS as usize).contains(&asked), "{asked}");
    let after = attacked.world.sfu.counters();
    assert!(after.keyframe_requests - before.keyframe_requests <= 4 + SECONDS);
    let read = after.keyframe_wishes - before.keyframe_wishes;
    // What is at hand, what comes back, and the datagram that brings the debt.
    assert!(read <= 2_000 + 1_000 * SECONDS + 80, "{read} of {} were read", sent * 80);
    let (unread, limited) = (sent - read / 80, after.limited_rtcp - before.limited_rtcp);
    // With what its own player says beside it.
    assert!((unread..=unread + 40 * SECONDS).contains(&limited), "{limited} of {unread}");
    assert!(after.limited_wishes - before.limited_wishes > read / 2);
    attacked.is_served_again();
}

#[test]
fn huge_feedback_of_transport_is_read_at_a_bounded_rate() {
    const SECONDS: u64 = 5;
    let mut attacked = Attacked::new();
    let mut sent = 0;
    let before = attacked.play(SECONDS, |attacked| {
        let ssrc = attacked.ssrc;
        // Runs that nothing came of, runs of deltas that are not there, single bits, pairs.
        let huge = [
            (0..30).flat_map(|_| twcc(ssrc, 0x1fff, 9, 0)).collect(),
            twcc(ssrc, 0x3fff, 9, 1_200),
            twcc(ssrc, 0x2001, 600, 100),
            twcc(ssrc, 0xbfff, 600, 100),
            twcc(ssrc, 0xe000 | 0x1555, 600, 100),
        ];
        for compound in huge.iter().cycle().take(50) {
            let compound: &Vec<u8> = compound;
            assert!(compound.len() < 1_400);
            attacked.send(compound);
            sent += 1;
        }
    });
    let after = attacked.world.sfu.counters();
    let opened = sent - (after.limited_rtcp - before.limited_rtcp);
    assert!((50..=(2_000 + 1_000 * SECONDS) / 2).contains(&opened), "{opened} of {sent}");
    assert_eq!((after.rejected_rtcp, after.bad_datagrams), (0, 0));
    attacked.is_served_again();
}

#[test]
fn feedback_about_others_is_counted_and_nothing_else() {
    let mut attacked = Attacked::new();
    let others: Vec<u32> = [HONEST, PUBLISHER]
        .map(|client| attacked.world.clients[client].got.last().map_or(3, |packet| *packet.header.ssrc))
        .to_vec();
    let wishes = attacked.world.clients[PUBLISHER].keyframes_asked;
    let before = attacked.play(1, |attacked| {
        for ssrc in &others {
            let (nack, wishes) = (nack(*ssrc, 0, 31), [pli(*ssrc), fir(*ssrc, 1)].concat());
            attacked.send(&[nack, wishes, report(*ssrc)].concat());
        }
    });
    let after = attacked.world.sfu.counters();
    assert_eq!(after.strange_feedback - before.strange_feedback, FRAMES * 2 * 4);
    assert_eq!(attacked.world.clients[PUBLISHER].keyframes_asked, wishes);
    let of = |c: &Counters| (c.rtx_packets, c.rtx_missed, c.rtx_suppressed, c.keyframe_requests);
    assert_eq!(of(after), of(&before));
    attacked.is_served_again();
}

#[test]
fn forged_feedback_takes_nothing_of_what_its_victim_may_ask_for() {
    let mut attacked = Attacked::new();
    let mut sent = 0;
    let before = attacked.play(2, |attacked| {
        let mut forged = attacked.seal(&pli(attacked.ssrc));
        *forged.last_mut().unwrap() ^= 1;
        for _ in 0..100 {
            attacked.world.sfu.handle_datagram(attacked.world.now, attacked.from, &forged);
            sent += 1;
        }
    });
    let after = attacked.world.sfu.counters();
    assert_eq!(after.rejected_rtcp - before.rejected_rtcp, sent);
    assert_eq!((after.limited_rtcp, after.keyframe_wishes), (0, before.keyframe_wishes));
    attacked.is_served_again();
}

#[test]
fn a_datagram_longer_than_any_path_carries_is_not_opened() {
    let mut attacked = Attacked::new();
    let before = attacked.play(1, |attacked| {
        let wishes: Vec<u8> = (0..4_000).flat_map(|_| pli(attacked.ssrc)).collect();
        attacked.send(&wishes);
    });
    let after = attacked.world.sfu.counters();
    assert_eq!(after.rejected_rtcp - before.rejected_rtcp, FRAMES);
    assert_eq!(after.keyframe_wishes, before.keyframe_wishes);
    attacked.is_served_again();
}

#[test]
fn each_viewers_path_is_told_by_its_own_reports() {
    let mut attacked = Attacked::new();
    attacked.play(2, |_| {});
    let counters = attacked.world.sfu.counters();
    let before = (counters.viewer_lost_packets, counters.jitters, counters.jitter_micros);
    // A quarter lost of late, three in all; 900 ticks of 90 kHz.
    let mut body = attacked.ssrc.to_be_bytes().to_vec();
    body.extend([64, 0, 0, 3, 0, 0, 9, 9]);
    body.extend(900_u32.to_be_bytes());
    body.extend([0; 8]);
    attacked.send(&message(1, 201, &body));
    let counters = attacked.world.sfu.counters();
    assert_eq!(counters.viewer_lost_packets - before.0, 3);
    assert_eq!((counters.jitters - before.1, counters.jitter_micros - before.2), (1, 10_000));
    let told = [HOSTILE, HONEST].map(|client| {
        let at = attacked.world.sfu.by_id[&attacked.world.clients[client].session];
        let Role::Viewer(viewer) = &attacked.world.sfu.sessions.get(at).unwrap().role else { panic!() };
        viewer.slots[0].losses.latest()
    });
    assert_eq!(told[0], (64, Some(Duration::from_millis(10))));
    assert!(told[1].0 == 0 && told[1].1 != told[0].1, "{told:?}");
}

#[test]
fn what_comes_of_what_each_viewer_is_sent_is_known_of_the_last_second() {
    let mut attacked = Attacked::new();
    attacked.world.clients[HOSTILE].lose_every = Some(5);
    attacked.play(3, |_| {});
    let now = attacked.world.now;
    let path = |client: usize| {
        let session = attacked.world.clients[client].session;
        attacked.world.sfu.path(now, session)
    };
    let [lossy, honest] = [HOSTILE, HONEST].map(|client| path(client).unwrap());
    let [bad, good] = [&lossy, &honest].map(|path| path.second.unwrap());
    let packets = (FRAMES * PACKETS) as u32;
    assert!((packets * 7 / 10..=packets).contains(&good.arrived) && good.lost == 0, "{good:?}");
    // With what it is sent again, of which it loses as much.
    assert!((40..=62).contains(&bad.fraction_lost()) && bad.arrived > packets * 6 / 10, "{bad:?}");
    let rates = [good, bad].map(|second| second.rate.unwrap().bps());
    let sent = FRAMES * PACKETS * 8 * attacked.world.clients[HONEST].wire.last().unwrap().1 as u64;
    assert!((sent * 9 / 10..=sent * 11 / 10).contains(&rates[0]), "{rates:?} of {sent}");
    assert!(good.growth.abs() <= 10_000, "the way stays as it is: {good:?}");
    assert!(lossy.slots[0].fraction_lost > 0 && honest.slots[0].fraction_lost == 0);
    assert_eq!(path(PUBLISHER), None, "who publishes has no such path");
    attacked.world.pass(Duration::from_secs(2));
    let session = attacked.world.clients[HONEST].session;
    assert_eq!(attacked.world.sfu.path(attacked.world.now, session).unwrap().second, None, "it is over");
}

/// A publisher is a client as any other. What its reports ask for costs it its reports, and no more.
#[test]
fn a_publishers_storm_of_reports_is_read_at_a_bounded_rate() {
    const SECONDS: u64 = 5;
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.claim(PUBLISHER, 1);
    world.pass(FRAME * 5);
    let viewer = world.join(View, &[Video]);
    world.pass(FRAME * 5);
    let (mut srtp, from) = (world.clients[PUBLISHER].srtp(), world.clients[PUBLISHER].addr);
    let storm: Vec<u8> = (0..100).flat_map(|_| pli(9)).collect();
    let before = world.sfu.counters().clone();
    let mut sent = 0;
    for frame in 0..SECONDS * FRAMES {
        for _ in 0..20 {
            let mut sealed = vec![0; storm.len() + RTCP_OVERHEAD];
            let len = srtp.seal_rtcp(&storm, &mut sealed).unwrap();
            world.sfu.handle_datagram(world.now, from, &sealed[..len]);
            sent += 1;
        }
        world.frame(PUBLISHER, Video, 1_000 + frame * PACKETS, PACKETS, frame as u32 * 3_000, frame == 0);
        world.pass(FRAME);
    }
    assert_eq!(world.clients[viewer].got.len() as u64, SECONDS * FRAMES * PACKETS, "its media goes on");
    let after = world.sfu.counters().clone();
    assert_eq!((after.rejected_rtcp, after.bad_datagrams), (before.rejected_rtcp, before.bad_datagrams));
    let read = sent - (after.limited_rtcp - before.limited_rtcp).min(sent);
    let most = (8_000 + 4_000 * SECONDS) / (storm.len() as u64 / 8) + 1;
    assert!((most / 2..=most).contains(&read), "{read} of {sent} are read, {most} at most");
    // It may report again.
    world.pass(Duration::from_secs(4));
    assert_eq!(world.sfu.counters().limited_rtcp - after.limited_rtcp, 0);
}
