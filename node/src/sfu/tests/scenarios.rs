//! What a shard does, told as sentences.

use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
use super::world::World;
use crate::service::Direction::{Publish, View};
use crate::session::{Fragment, IfMatch, Patched};
use crate::sfu::Event;

fn published() -> World {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    assert!(world.clients[0].connected);
    world
}

fn video(world: &World, client: usize) -> Vec<&str0m::rtp::RtpPacket> {
    world.clients[client].got.iter().filter(|p| p.payload.len() > 200).collect()
}

#[test]
fn a_viewer_gets_every_packet_after_its_first_keyframe_and_none_by_str0m() {
    let mut world = published();
    let viewers: Vec<usize> = (0..3).map(|_| world.join(View, &[Audio, Video])).collect();
    world.pass(Duration::from_millis(200));
    for frame in 0..30_u32 {
        let first = 100 + u64::from(frame) * 4;
        world.frame(0, Video, first, 4, frame * 3_000, frame % 10 == 2);
        world.frame(0, Audio, 500 + u64::from(frame), 1, frame * 960, false);
        world.pass(Duration::from_millis(30));
    }
    for viewer in viewers {
        let got = video(&world, viewer);
        assert_eq!(got.len(), 28 * 4, "from the keyframe in frame 2 on");
        for (n, packet) in got.iter().enumerate() {
            let seq = 108 + n as u64;
            assert_eq!(packet.payload[..], payload(Video, seq, n % 40 == 0)[..]);
            assert_eq!(*packet.seq_no, *got[0].seq_no + n as u64, "numbered without a hole");
        }
        let audio = world.clients[viewer].got.iter().filter(|p| p.payload.len() < 200).count();
        assert_eq!(audio, 30);
        let report = got.last().unwrap().last_sender_info.expect("a sender report came");
        assert!(report.sender_packet_count > 0);
    }
    assert_eq!(world.sfu.counters().str0m_viewer_rtp, 0);
    assert_eq!(world.sfu.counters().egress_packets, 3 * (28 * 4 + 30));
}

#[test]
fn what_a_viewer_loses_is_sent_again_from_the_ring() {
    let mut world = published();
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.clients[viewer].lose_every = Some(20);
    for frame in 0..60_u32 {
        world.frame(0, Video, 100 + u64::from(frame) * 4, 4, frame * 3_000, frame == 0);
        world.pass(Duration::from_millis(30));
    }
    world.clients[viewer].lose_every = None;
    world.frame(0, Video, 340, 1, 180_000, false);
    world.pass(Duration::from_millis(500));
    assert!(world.clients[viewer].dropped > 5);
    let mut seqs: Vec<u64> = video(&world, viewer).iter().map(|p| *p.seq_no).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 241, "all of them, once the lost ones have come again");
    // Its reports come seconds apart.
    world.pass(Duration::from_secs(6));
    let counters = world.sfu.counters();
    assert!(counters.rtx_packets > 0);
    assert!(counters.round_trips > 0, "its reports tell the round trip: {counters:?}");
    let trip = counters.round_trip_micros / counters.round_trips;
    assert!(trip < 15_000, "the path takes no time, its clock ticks in 10 ms: {trip} µs");
}

#[test]
fn a_joiner_is_served_from_a_fresh_keyframe_in_the_ring() {
    let mut world = published();
    world.frame(0, Video, 100, 5, 0, true);
    world.frame(0, Video, 105, 5, 3_000, false);
    let asked = world.sfu.counters().keyframe_requests;
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(100));
    assert_eq!(video(&world, viewer).len(), 10, "the ring's keyframe and all behind it");
    assert_eq!(world.sfu.counters().keyframe_requests, asked, "and nobody was asked for one");
}

#[test]
fn a_keyframe_whose_first_packet_comes_last_goes_whole_to_who_waits_and_who_joins() {
    let mut world = published();
    let waits = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.frame(0, Video, 96, 4, 0, false);
    world.first_comes_last = true;
    world.frame(0, Video, 100, 4, 3_000, true);
    let joins = world.join(View, &[Video]);
    world.pass(Duration::from_millis(100));
    world.frame(0, Video, 104, 4, 6_000, false);
    for viewer in [waits, joins] {
        assert_eq!(world.clients[viewer].wire.len(), 8, "all of it went");
        let mut got = video(&world, viewer);
        got.sort_by_key(|packet| packet.seq_no);
        let got: Vec<&[u8]> = got.iter().map(|packet| &packet.payload[..]).collect();
        // The first is sent behind the second, and this library takes nothing from before the first packet that it sees.
        let sent: Vec<Vec<u8>> = (101..108).map(|seq| payload(Video, seq, false)).collect();
        assert_eq!(got, sent);
    }
    assert_eq!(world.sfu.counters().rtx_packets, 0, "nothing had to be asked for");
}

#[test]
fn viewers_keep_their_session_when_the_publisher_comes_back() {
    let mut world = published();
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(100));
    for frame in 0..10_u32 {
        world.frame(0, Video, 100 + u64::from(frame), 1, frame * 3_000, frame == 0);
        world.pass(Duration::from_millis(30));
    }
    let session = world.clients[0].session;
    assert!(world.sfu.end(world.now, session, freshet_cluster::room::EndReason::Closed));
    world.pass(Duration::from_millis(300));
    let again = world.join(Publish, &[Audio, Video]);
    world.claim(again, 2);
    world.pass(Duration::from_millis(200));
    for frame in 0..10_u32 {
        world.frame(again, Video, 7_000 + u64::from(frame), 1, 900_000 + frame * 3_000, frame == 0);
        world.pass(Duration::from_millis(30));
    }
    let got = video(&world, viewer);
    assert_eq!(got.len(), 20);
    for pair in got.windows(2) {
        assert_eq!(*pair[1].seq_no, *pair[0].seq_no + 1, "one sequence across both publishers");
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
        assert!(step > 0 && step < 90_000 * 2, "timestamps go on, by {step}");
    }
}

#[test]
fn a_viewer_whom_nothing_of_a_publish_fits_gets_the_publish_that_takes_it_over() {
    let mut world = World::new();
    let old = world.join(Publish, &[Audio]);
    world.claim(old, 1);
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.frame(old, Audio, 500, 1, 0, false);
    assert_eq!(world.clients[viewer].got.len(), 0);
    let new = world.join(Publish, &[Audio, Video]);
    world.claim(new, 2);
    world.pass(Duration::from_millis(200));
    world.frame(new, Video, 7_000, 4, 0, true);
    assert_eq!(video(&world, viewer).len(), 4);
}

/// The way of a publisher's packets is remembered; here another stream comes to stand where it led.
#[test]
fn a_publisher_whose_stream_was_taken_over_sends_nothing_into_the_one_that_took_it() {
    let mut world = World::new();
    let old = world.join(Publish, &[Video]);
    world.claim(old, 1);
    let new = world.join(Publish, &[Video]);
    world.pass(Duration::from_millis(200));
    world.frame(old, Video, 100, 4, 0, true);
    assert_eq!(world.sfu.counters().ingress_packets, 4);
    world.claim(new, 2);
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.frame(old, Video, 104, 4, 3_000, true);
    assert_eq!((world.sfu.counters().ingress_packets, world.sfu.counters().unplaced_packets), (4, 4));
    world.frame(new, Video, 7_000, 4, 0, true);
    world.pass(Duration::from_millis(100));
    let got: Vec<&[u8]> = video(&world, viewer).iter().map(|packet| &packet.payload[..]).collect();
    let sent: Vec<Vec<u8>> = (7_000..7_004).map(|seq| payload(Video, seq, seq == 7_000)).collect();
    assert_eq!(got, sent);
}

#[test]
fn nothing_is_left_of_fifty_joins_and_leaves() {
    let mut world = World::new();
    for round in 0..50 {
        let publisher = world.join(Publish, &[Audio, Video]);
        world.claim(publisher, 1 + round);
        let viewer = world.join(View, &[Audio, Video]);
        world.pass(Duration::from_millis(60));
        for client in [publisher, viewer] {
            let session = world.clients[client].session;
            assert!(world.sfu.end(world.now, session, freshet_cluster::room::EndReason::Closed));
        }
        world.clients.clear();
        world.pass(Duration::from_millis(20));
    }
    assert_eq!(world.sfu.kept(), (0, 0, 0, 0));
    let mut ended = 0;
    while let Some(event) = world.sfu.poll_event() {
        ended += usize::from(matches!(event, Event::Ended { .. }));
    }
    assert_eq!(ended, 100);
}

#[test]
fn a_silent_session_ends_after_its_time() {
    let mut world = published();
    world.clients.clear();
    world.now += Duration::from_millis(14_500);
    world.sfu.handle_timeout(world.now);
    assert_eq!(world.sfu.kept().0, 1, "it may come back");
    world.now += Duration::from_millis(1_500);
    world.sfu.handle_timeout(world.now);
    assert_eq!(world.sfu.kept().0, 0);
    let ended = std::iter::from_fn(|| world.sfu.poll_event()).find_map(|event| match event {
        Event::Ended { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(ended, Some(freshet_cluster::room::EndReason::IceTimeout));
}

#[test]
fn answers_have_one_stream_and_every_codec_of_the_offer() {
    let mut world = published();
    let viewer = world.join(View, &[Audio, Video]);
    let answer = &world.clients[viewer].answer;
    let streams: std::collections::BTreeSet<&str> = answer
        .lines()
        .filter_map(|l| l.strip_prefix("a=msid:"))
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(streams.len(), 1);
    let cnames: std::collections::BTreeSet<&str> =
        answer.lines().filter_map(|l| l.split_once("cname:")).map(|(_, c)| c).collect();
    assert_eq!(cnames.len(), 1);
    for codec in ["H264/90000", "VP8/90000", "opus/48000/2"] {
        assert!(answer.contains(codec), "{codec} in {answer}");
    }
}

#[test]
fn hostile_datagrams_are_counted_and_dropped() {
    let mut world = published();
    let addr = world.clients[0].addr;
    for len in 0..200_usize {
        for first in [0x00, 0x16, 0x80, 0x90, 0xbf, 0xff] {
            let mut bytes = vec![first; len];
            if len > 8 {
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            }
            world.sfu.handle_datagram(world.now, addr, &bytes);
            let stranger: std::net::SocketAddr = "127.0.0.1:9".parse().unwrap();
            world.sfu.handle_datagram(world.now, stranger, &bytes);
        }
    }
    world.pass(Duration::from_millis(50));
    assert!(world.sfu.counters().unknown_datagrams > 0);
    world.frame(0, Video, 100, 3, 0, true);
    assert_eq!(world.sfu.counters().ingress_packets, 3, "the session goes on");
}

#[test]
fn viewers_of_one_make_are_negotiated_once() {
    let mut world = published();
    let viewers: Vec<usize> = (0..5).map(|_| world.join(View, &[Audio, Video])).collect();
    assert_eq!(world.sfu.answers.shapes(), 1);
    let other = world.join(View, &[Video]);
    assert_eq!(world.sfu.answers.shapes(), 2);
    world.pass(Duration::from_millis(200));
    assert!(viewers.iter().chain([&other]).all(|viewer| world.clients[*viewer].connected));
}

#[test]
fn no_restart_of_ice_gives_a_viewers_media_back_to_str0m() {
    let mut world = published();
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(100));
    let (id, mids) = (world.clients[viewer].session, world.clients[viewer].mids.clone());
    let fragment = Fragment {
        ufrag: Some("anewone".into()),
        pwd: Some("aNewPasswordOfTheClient1".into()),
        ..Fragment::default()
    };
    let patched = world.sfu.patch(world.now, id, None, &IfMatch::Any, &fragment).unwrap();
    let Patched::Restarted { fragment, etag } = patched else { panic!("{patched:?}") };
    assert!(fragment.contains(&format!("a=ice-ufrag:{etag}\r\n")), "{fragment}");
    assert!(fragment.contains("m=audio ") && fragment.contains(&format!("a=mid:{}\r\n", mids[0].1)));
    assert!(fragment.contains("a=candidate:"), "{fragment}");
    let at = world.sfu.by_id[&id];
    let session = world.sfu.sessions.get_mut(at).unwrap();
    for (_, mid) in mids {
        assert!(session.rtc.media(mid).is_some(), "the whole offer was negotiated");
        assert!(session.rtc.direct_api().stream_tx_by_mid(mid, None).is_none());
    }
}

/// A stock client reads them as what they are, and its feedback disturbs nothing.
#[test]
fn viewers_get_send_times_and_transport_wide_numbers_where_they_take_them() {
    let mut world = published();
    let viewer = world.join(View, &[Audio, Video]);
    let answer = &world.clients[viewer].answer;
    for wanted in ["abs-send-time", "transport-wide-cc-extensions-01", "transport-cc"] {
        assert_eq!(
            answer.lines().filter(|line| line.contains(wanted)).count().min(2),
            2,
            "{wanted} in {answer}"
        );
    }
    world.pass(Duration::from_millis(200));
    for frame in 0..60_u32 {
        world.frame(0, Video, 100 + u64::from(frame) * 4, 4, frame * 3_000, frame == 0);
        world.frame(0, Audio, 500 + u64::from(frame), 1, frame * 960, false);
        world.pass(Duration::from_millis(30));
    }
    let got = &world.clients[viewer].got;
    let mut numbers: Vec<u16> = got.iter().map(|p| p.header.ext_vals.transport_cc.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<u16>>(), "one count for sound and picture");
    let times: Vec<_> = got.iter().map(|p| p.header.ext_vals.abs_send_time.unwrap()).collect();
    let passed = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!((Duration::from_millis(1_760)..Duration::from_millis(1_780)).contains(&passed), "{passed:?}");
    world.pass(Duration::from_secs(6));
    let counters = world.sfu.counters();
    assert_eq!((counters.bad_datagrams, counters.str0m_viewer_rtp), (0, 0), "{counters:?}");
    assert_eq!(counters.rejected_rtcp, 0);
    let told = &counters.feedback;
    assert_eq!((told.packets, told.missing, told.unknown), (300, 0, 0), "each told once: {told:?}");
    assert_eq!(told.bytes, counters.egress_bytes);
    // The path takes no time: what came in a time is what was sent in it.
    assert!((1_500_000..1_780_000).contains(&told.micros), "{told:?}");
    assert!(told.rise_micros + told.fall_micros < 20_000, "{told:?}");
    assert!(counters.jitters > 0 && counters.jitter_micros / counters.jitters < 40_000, "{counters:?}");
}

#[test]
fn what_is_lost_is_missing_in_feedback() {
    let mut world = published();
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.clients[viewer].lose_every = Some(20);
    for frame in 0..100_u32 {
        world.frame(0, Video, 100 + u64::from(frame) * 4, 4, frame * 3_000, frame == 0);
        world.pass(Duration::from_millis(30));
    }
    world.clients[viewer].lose_every = None;
    world.frame(0, Video, 500, 1, 300_000, false);
    world.pass(Duration::from_secs(1));
    let (dropped, counters) = (world.clients[viewer].dropped as u64, world.sfu.counters());
    let told = &counters.feedback;
    assert!(dropped > 15, "{dropped}");
    // One lost between the last packet of a feedback and the first of the next is told of by neither.
    assert!(told.missing > dropped / 2 && told.missing <= dropped, "{dropped} lost: {told:?}");
    assert_eq!((told.late, told.unknown), (0, 0), "{told:?}");
    // Retransmissions are numbered too, and may go twice.
    let client = &world.clients[viewer];
    let of_it = world.sent.iter().filter(|(_, to, _)| *to == client.addr);
    let sent: u64 = of_it.map(|(_, _, packets)| *packets as u64).sum();
    assert!(sent >= counters.egress_packets + counters.rtx_packets && counters.rtx_packets > 0);
    assert_eq!(told.packets, sent - dropped, "{told:?}");
}

#[test]
fn reports_that_are_forged_or_come_twice_are_counted_and_move_nothing() {
    let mut world = published();
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    world.frame(0, Video, 100, 3, 0, true);
    world.clients[viewer].ask_keyframe();
    world.pass(Duration::from_millis(100));
    let wishes = world.sfu.counters().keyframe_wishes;
    assert_eq!((wishes, world.sfu.counters().rejected_rtcp), (1, 0));
    let (sent, addr) = (world.clients[viewer].last_report.clone(), world.clients[viewer].addr);
    let at = world.sfu.by_id[&world.clients[viewer].session];
    let to = |world: &World| match &world.sfu.sessions.get(at).unwrap().role {
        crate::sfu::session::Role::Viewer(viewer) => viewer.to,
        crate::sfu::session::Role::Publisher(_) => None,
    };
    let before = to(&world);
    let mut forged = sent.clone();
    *forged.last_mut().unwrap() ^= 1;
    for packet in [&sent[..], &forged, &sent[..12], &[0x80, 201]] {
        world.sfu.handle_datagram(world.now, addr, packet);
    }
    assert_eq!((world.sfu.counters().keyframe_wishes, world.sfu.counters().rejected_rtcp), (wishes, 4));
    assert_eq!(to(&world), before);
    world.clients[viewer].ask_keyframe();
    world.pass(Duration::from_millis(700));
    assert!(world.sfu.counters().keyframe_wishes > wishes, "it is heard as before");
}

#[test]
fn all_that_a_client_gets_comes_from_the_address_that_it_called_last() {
    let mut world = World::new();
    let [first, second] = [7, 8].map(|n| Some(std::net::IpAddr::from([127, 0, 0, n])));
    world.called = first;
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(300));
    world.play(0..100);
    let answers = std::mem::take(&mut world.answered);
    assert!(answers.len() > 100 && answers.iter().all(|(_, from)| *from == first), "{answers:?}");
    let checks = std::mem::take(&mut world.check_answers);
    assert!(checks.len() > 1 && checks.iter().all(|from| *from == first), "{checks:?}");
    world.called = second;
    world.play(100..110);
    world.answered.clear();
    world.play(110..210);
    let addresses = [world.clients[0].addr, world.clients[viewer].addr];
    let [to_publisher, to_viewer] = addresses.map(|addr| {
        let of_it = world.answered.iter().filter(|(to, _)| *to == addr);
        of_it.map(|(_, from)| *from).collect::<Vec<_>>()
    });
    assert!(to_viewer.len() > 100 && !to_publisher.is_empty(), "media to one, reports to the other");
    assert!(to_viewer.iter().all(|from| *from == second), "{to_viewer:?}");
}
