//! How many sessions are looked at for what comes: as many as it concerns, however many there are.

use std::net::SocketAddr;
use std::time::Duration;

use freshet_relay_proto::control::LayerRate;
use str0m::media::Direction::RecvOnly;
use str0m::media::MediaKind::{Audio, Video};

use super::tests::client::usual;
use super::tests::unproven::stun::request;
use super::tests::world::World;
use crate::service::Direction::{Publish, View};
use crate::sfu::Event;

const STRANGER: ([u8; 4], u16) = ([127, 0, 0, 9], 9);

/// A binding request to the session with this user name; whoever sends it does not know the password.
fn binding(ufrag: &str) -> Vec<u8> {
    request(&format!("{ufrag}:them"), None, 7, &[])
}

/// Sessions looked at for one datagram of each kind that comes, while so many others are there.
fn looked(others: usize) -> Vec<(&'static str, u64)> {
    let mut world = World::new();
    let publisher = world.join(Publish, &[Audio, Video]);
    world.claim(publisher, 1);
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(200));
    world.frame(publisher, Video, 100, 3, 0, true);
    world.pass(Duration::from_millis(1_500));
    let (mut rtc, _) = world.rtc(usual);
    let mut api = rtc.sdp_api();
    for kind in [Audio, Video] {
        api.add_media(kind, RecvOnly, None, None, None);
    }
    let offer = api.apply().unwrap().0.to_sdp_string();
    let mut answer = String::new();
    for _ in 0..others {
        (_, answer) = world.ask(View, offer.clone());
    }
    let ufrag =
        answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap_or("nobody").to_owned();
    let (publishing, viewing) = (world.clients[publisher].addr, world.clients[viewer].addr);
    let mut looked = Vec::new();
    let mut take = |kind, from: SocketAddr, contents: &[u8]| {
        let before = world.sfu.sessions.looked.get();
        world.sfu.handle_datagram(world.now, from, contents);
        looked.push((kind, world.sfu.sessions.looked.get() - before));
    };
    let (media, report) =
        (world.clients[publisher].last_sent.clone(), world.clients[viewer].last_report.clone());
    assert!(media.len() > 900 && !report.is_empty());
    take("media", publishing, &media);
    take("RTCP, and its session was not the last", viewing, &report);
    take("RTCP", viewing, &report);
    take("DTLS", publishing, &[22, 254, 253, 0]);
    take("a stranger's media", STRANGER.into(), &media);
    take("a stranger's STUN", STRANGER.into(), &binding("nobody"));
    take("the first STUN of a session", STRANGER.into(), &binding(&ufrag));
    looked
}

#[test]
fn a_datagram_is_taken_to_its_session_without_a_look_at_the_others() {
    let few = looked(1);
    assert_eq!(looked(2_000), few);
    assert!(few.iter().all(|(_, looked)| *looked <= 40), "{few:?}");
    assert!(few[0].1 > 0 && few[1].1 > 0 && few[6].1 > few[5].1, "they are found: {few:?}");
}

/// Sessions looked at when the publisher's rates drift, of a room of so many viewers, one of whom is listened to; and
/// how often a change is said of it.
fn looked_at_rates(viewers: usize) -> (u64, usize) {
    let mut world = World::with_layers(&["q", "h"]);
    let viewers: Vec<usize> = (0..viewers).map(|_| world.join(View, &[Video])).collect();
    let listened = world.clients[viewers[0]].session;
    world.sfu.listen(listened, true);
    world.pass(Duration::from_millis(200));
    let stream = world.sfu.rooms.values().flat_map(|room| room.streams.values()).next().unwrap();
    let track = stream.tracks[0].id;
    let mut tell = |kbps: [u32; 2]| {
        let rates = (0..).zip(kbps).map(|(layer, kbps)| LayerRate { track, layer, kbps });
        let rates: Vec<LayerRate> = rates.collect();
        let before = world.sfu.sessions.looked.get();
        world.sfu.handle_layers(world.now, &World::key(1), &rates);
        world.sfu.sessions.looked.get() - before
    };
    tell([100, 1_000]);
    let looked = tell([110, 1_100]);
    assert_eq!(tell([120, 1_200]), looked);
    assert!(tell([120, 0]) >= 2 * looked.max(viewers.len() as u64), "now they have to choose");
    let said = std::iter::from_fn(|| world.sfu.poll_event());
    (looked, said.filter(|event| matches!(event, Event::Viewing(said) if *said == listened)).count())
}

#[test]
fn when_rates_drift_only_who_listens_is_told_and_once_until_it_is_heard() {
    let few = looked_at_rates(2);
    assert_eq!(looked_at_rates(30), few);
    assert_eq!(few.1, 1);
}

/// What is looked at when a viewer goes from a room of so many: sessions, and viewers in lists.
fn looked_at_an_end(viewers: usize) -> u64 {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    world.frame(0, Video, 100, 3, 0, true);
    let leaves = world.join(View, &[Audio, Video]);
    let (mut rtc, _) = world.rtc(usual);
    let mut api = rtc.sdp_api();
    for kind in [Audio, Video] {
        api.add_media(kind, RecvOnly, None, None, None);
    }
    let offer = api.apply().unwrap().0.to_sdp_string();
    (1..viewers).for_each(|_| drop(world.ask(View, offer.clone())));
    let looked = |world: &mut World| {
        let rooms: u64 = world.sfu.rooms.values().map(|room| room.viewers.looked.get()).sum();
        let lanes: u64 = world.sfu.lanes.iter_mut().map(|(_, lane)| lane.viewers.looked.get()).sum();
        world.sfu.sessions.looked.get() + rooms + lanes
    };
    let lanes = world.sfu.lanes.iter_mut().map(|(_, lane)| lane.viewers.len());
    assert_eq!(lanes.collect::<Vec<_>>(), [viewers; 2], "all of them take both tracks");
    let (id, before) = (world.clients[leaves].session, looked(&mut world));
    assert!(world.sfu.end(world.now, id, freshet_cluster::room::EndReason::Closed));
    let looked = looked(&mut world) - before;
    assert_eq!(world.sfu.kept().3, viewers - 1);
    looked
}

#[test]
fn a_viewer_goes_without_a_look_at_those_who_stay() {
    let few = looked_at_an_end(3);
    assert_eq!(looked_at_an_end(1_000), few);
    assert!(few <= 40, "{few}");
}
