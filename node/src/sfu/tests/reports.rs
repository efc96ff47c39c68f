//! Sender reports: when they go, what stands in them, and under whose SSRC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::media::MediaKind::{Audio, Video};
use str0m::rtp::rtcp::{Rtcp, SdesType};

use super::client::usual;
use super::nodes::Nodes;
use super::world::World;
use crate::service::Direction::{Publish, View};
use crate::sfu::session::{Role, Timers};

const MS: Duration = Duration::from_millis(1);
const VIEWERS: usize = 200;

/// Sound and picture for so many viewers, whose first packets all go in one flush. The viewers themselves fall silent.
struct Audience {
    world: World,
    frame: u32,
}

impl Audience {
    fn new() -> Self {
        Self::of(VIEWERS)
    }

    fn of(viewers: usize) -> Self {
        let mut world = World::with(|config| config.silence = Duration::from_secs(600));
        world.join(Publish, &[Audio, Video]);
        world.claim(0, 1);
        world.pass(MS * 200);
        for _ in 0..viewers {
            world.join(View, &[Audio, Video]);
        }
        world.pass(MS * 100);
        assert!(world.clients.iter().all(|client| client.connected));
        world.clients.truncate(1);
        world.reports.clear();
        Self { world, frame: 0 }
    }

    fn play(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            let n = self.frame;
            self.world.frame(0, Video, 100 + u64::from(n), 1, n * 4_500, n == 0);
            self.world.frame(0, Audio, 100 + u64::from(n), 1, n * 2_400, false);
            self.world.pass(MS * 50);
            self.frame += 1;
        }
    }

    /// Reports sent since `from`, by moment and viewer.
    fn reports(&self, from: Instant) -> BTreeMap<(Instant, SocketAddr), usize> {
        let mut reports = BTreeMap::new();
        for report in self.world.reports.iter().filter(|(at, _)| *at >= from) {
            *reports.entry(*report).or_default() += 1;
        }
        reports
    }
}

#[test]
fn reports_to_viewers_who_began_together_do_not_stay_together() {
    let mut audience = Audience::new();
    let begin = audience.world.now;
    audience.play(MS * 50);
    let first = audience.reports(begin);
    assert_eq!(first.len(), VIEWERS, "everybody is reported to at once");
    assert!(first.keys().all(|(at, _)| *at - begin <= MS * 10));
    audience.play(MS * 5_000);
    let later = audience.world.now;
    audience.play(MS * 4_000);
    let reports = audience.reports(later);
    let a_second = reports.len() / 4;
    assert!((VIEWERS * 9 / 10..=VIEWERS * 11 / 10).contains(&a_second), "one each second: {a_second}");
    assert!(reports.values().all(|datagrams| *datagrams == 1), "sound and picture in one");
    for (from, _) in reports.keys() {
        let together = reports.keys().filter(|(at, _)| (*from..*from + MS * 50).contains(at)).count();
        assert!(together * 100 <= a_second * 15, "{together} of {a_second} within 50 ms");
    }
    for viewer in reports.keys().map(|(_, viewer)| *viewer).take(VIEWERS) {
        let times: Vec<Instant> = reports.keys().filter(|(_, to)| *to == viewer).map(|(at, _)| *at).collect();
        let apart = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.clone().all(|gap| (MS * 500..=MS * 1_510).contains(&gap)), "RFC 3550 section 6.3.1");
        assert!(apart.clone().max() > apart.min(), "drawn anew each time");
    }
}

#[test]
fn who_is_sent_nothing_hears_every_300_ms_that_the_node_is_there_and_at_once_when_it_goes_on() {
    let mut audience = Audience::new();
    audience.play(MS * 1_000);
    let idle = audience.world.now;
    audience.world.pass(MS * 60_000);
    let reports = audience.reports(idle);
    assert!(reports.values().all(|datagrams| *datagrams == 1), "one report says it");
    for viewer in reports.keys().map(|(_, viewer)| *viewer).take(VIEWERS) {
        let times = reports.keys().filter(|(_, to)| *to == viewer).map(|(at, _)| *at);
        let times: Vec<Instant> = [idle].into_iter().chain(times).chain([audience.world.now]).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        // Time goes on in steps of 10 ms here.
        assert!(longest <= MS * 300, "{longest:?}");
        assert!(times.len() <= 60 * 6, "{} reports a minute are enough", times.len());
    }
    assert_eq!(audience.world.sfu.sessions(), VIEWERS + 1, "nobody has to come again");
    let again = audience.world.now;
    audience.play(MS * 50);
    assert_eq!(audience.reports(again).len(), VIEWERS);
    let after = audience.world.now;
    audience.play(MS * 2_000);
    let reports = audience.reports(after).len();
    assert!((VIEWERS * 15 / 10..=VIEWERS * 25 / 10).contains(&reports), "{reports} in 2 s");
}

#[test]
fn what_waited_long_at_the_door_is_no_silence() {
    let mut home = World::new();
    home.join(Publish, &[Audio, Video]);
    home.claim(0, 1);
    home.pass(MS * 200);
    let mut nodes = Nodes::new(home);
    // From here on its packets are so old when their turn comes, as in a shard with too much to do.
    nodes.child.pass(MS * 400);
    nodes.child.join(View, &[Audio, Video]);
    nodes.pass(MS * 200);
    let play = |nodes: &mut Nodes, from: u32| {
        for n in from..from + 80 {
            nodes.home.frame(0, Video, 100 + u64::from(n), 1, n * 4_500, n == 0);
            nodes.home.frame(0, Audio, 100 + u64::from(n), 1, n * 2_400, false);
            nodes.pass(MS * 50);
        }
    };
    play(&mut nodes, 0);
    nodes.child.reports.clear();
    let packets = nodes.child.sfu.counters().egress_packets;
    play(&mut nodes, 80);
    assert_eq!(nodes.child.sfu.counters().egress_packets - packets, 160, "all of it is sent");
    let reports = nodes.child.reports.len();
    assert!((2..=8).contains(&reports), "{reports} in 4 s of media");
}

/// A timer goes off for the session that set it: what a session costs does not grow with the others that are there.
#[test]
fn timers_that_go_off_are_as_many_for_each_session_however_many_there_are() {
    let of_each = |viewers: usize| {
        let mut audience = Audience::of(viewers);
        audience.play(MS * 2_000);
        let before = audience.world.sfu.timers.went_off;
        audience.play(MS * 10_000);
        let Timers { went_off, heap, .. } = &audience.world.sfu.timers;
        assert!(heap.len() <= 4 * (viewers + 1), "{} timers of {viewers} viewers wait", heap.len());
        (went_off - before) as f64 / viewers as f64
    };
    let (few, many) = (of_each(20), of_each(VIEWERS));
    assert!(few > 10.0, "{few} for each: one report a second is one");
    assert!(many < few * 1.2, "{many} for each of {VIEWERS} and {few} for each of 20");
}

#[test]
fn reports_to_those_who_are_sent_nothing_go_together_at_ticks() {
    let mut audience = Audience::new();
    audience.play(MS * 1_000);
    audience.world.pass(MS * 1_510);
    let World { sfu, now, .. } = &mut audience.world;
    let end = *now + MS * 3_000;
    let (mut wakings, mut reports) = (0, 0);
    // Here time goes from one timer to the next, as in a shard.
    while let Some(due) = sfu.poll_timeout().filter(|due| *due < end) {
        *now = due.max(*now);
        sfu.handle_timeout(*now);
        let sent = std::iter::from_fn(|| sfu.poll_datagram());
        let sent =
            sent.filter(|datagram| matches!(datagram.contents[..], [128..=191, 192..=223, ..])).count();
        wakings += usize::from(sent > 0);
        reports += sent;
    }
    assert!(reports >= VIEWERS * 3_000 / 300, "{reports}");
    // One for each tick, and a few for the publisher's, which are str0m's.
    assert!(wakings <= 310, "{wakings} wakings for {reports} reports");
}

#[test]
fn reports_are_sender_reports_and_cnames_of_sound_and_picture_in_one_datagram() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let viewer = world.join_with(View, &[Audio, Video], |config| usual(config).enable_raw_packets(true));
    world.pass(MS * 100);
    for n in 0..100_u32 {
        world.frame(0, Video, 100 + u64::from(n), 1, n * 4_500, n == 0);
        world.frame(0, Audio, 100 + u64::from(n), 1, n * 2_400, false);
        world.pass(MS * 50);
    }
    let client = &world.clients[viewer];
    let cname = client.answer.lines().find_map(|line| line.split_once("cname:")).unwrap().1;
    let mut datagrams: BTreeMap<usize, Vec<&Rtcp>> = BTreeMap::new();
    for (_, datagram, rtcp) in &client.told {
        datagrams.entry(*datagram).or_default().push(rtcp);
    }
    assert!((4..=11).contains(&datagrams.len()), "for five seconds: {}", datagrams.len());
    // What said that the node was there before anything was sent.
    datagrams.retain(|_, compound| !matches!(compound[0], Rtcp::ReceiverReport(_)));
    let mut both = 0;
    for compound in datagrams.values() {
        let (reports, rest) = compound.as_chunks::<2>();
        assert!((1..=2).contains(&reports.len()) && rest.is_empty(), "{compound:?}");
        let mut told = BTreeSet::new();
        for pair in reports {
            let [Rtcp::SenderReport(report), Rtcp::SourceDescription(description)] = pair else {
                panic!("{compound:?}")
            };
            let ssrc = report.sender_info.ssrc;
            assert!(client.got.iter().any(|packet| packet.header.ssrc == ssrc));
            let described: Vec<_> = description.reports.iter().collect();
            assert_eq!(described.len(), 1);
            assert_eq!(described[0].ssrc, ssrc);
            let values: Vec<_> = described[0].values.iter().collect();
            assert_eq!(values, [&(SdesType::CNAME, cname.to_owned())]);
            told.insert(*ssrc);
        }
        assert_eq!(told.len(), reports.len(), "each of another");
        both += usize::from(told.len() == 2);
    }
    assert!(both + 2 >= datagrams.len(), "{both} of {} tell of both", datagrams.len());

    // One report says that the node is there; older browsers show those of sound alone.
    world.pass(MS * 1_510);
    let quiet = world.clients[viewer].told.len();
    world.pass(MS * 3_000);
    let client = &world.clients[viewer];
    let (sound, _) =
        client.got.iter().map(|p| (p.header.ssrc, p.payload.len())).min_by_key(|got| got.1).unwrap();
    let told: Vec<&Rtcp> = client.told[quiet..].iter().map(|(_, _, rtcp)| rtcp).collect();
    let of = told.iter().filter_map(|rtcp| match rtcp {
        Rtcp::SenderReport(report) => Some(report.sender_info.ssrc),
        _ => None,
    });
    let of: Vec<_> = of.collect();
    assert!((10..=11).contains(&of.len()) && of.iter().all(|ssrc| *ssrc == sound), "{of:?}, not {sound}");
}

#[test]
fn a_viewer_of_a_publisher_who_has_sent_nothing_yet_hears_that_the_node_is_there() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let viewer = world.join_with(View, &[Audio, Video], |config| usual(config).enable_raw_packets(true));
    world.pass(MS * 3_000);
    let told = &world.clients[viewer].told;
    let heard: Vec<Instant> = told
        .iter()
        .filter(|(.., rtcp)| matches!(rtcp, Rtcp::ReceiverReport(_)))
        .map(|(at, ..)| *at)
        .collect();
    assert!(heard.len() >= 9, "{}", heard.len());
    assert!(heard.windows(2).all(|pair| pair[1] - pair[0] <= MS * 300), "{heard:?}");
    assert!(
        told.iter().all(|(.., rtcp)| !matches!(rtcp, Rtcp::SenderReport(_))),
        "there is nothing to report"
    );
}

/// Under AES-GCM an SSRC and an index make the nonce (RFC 7714 section 9.1), and each side would count its own.
#[test]
fn str0m_sends_neither_media_nor_reports_to_a_viewer_that_loses_packets_and_reports_it() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let viewer = world.join(View, &[Audio, Video]);
    world.clients[viewer].lose_every = Some(7);
    for n in 0..200_u32 {
        world.frame(0, Video, 100 + u64::from(n), 1, n * 4_500, n == 0);
        world.frame(0, Audio, 100 + u64::from(n), 1, n * 2_400, false);
        world.pass(MS * 50);
    }
    assert!(world.clients[viewer].dropped > 20 && world.sfu.counters().rtx_packets > 0);
    assert_eq!(world.sfu.counters().str0m_viewer_rtp, 0);
    let at = world.sfu.by_id[&world.clients[viewer].session];
    let Role::Viewer(viewer) = &mut world.sfu.sessions.get_mut(at).unwrap().role else { panic!() };
    let to = viewer.to.unwrap();
    for kind in [96, 111, 200, 201, 203, 205, 206] {
        assert!(viewer.note_transmit(to, &[0x80, kind, 0, 1, 0, 0, 0, 9]), "{kind} would be counted");
    }
    assert!(!viewer.note_transmit(to, &[22, 254, 253, 0]), "DTLS is not");
    assert!(!viewer.note_transmit(to, &[0, 1, 0, 0]), "nor is STUN");
}
