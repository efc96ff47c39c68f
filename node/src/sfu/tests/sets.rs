//! H.264 whose parameter sets do not come with its keyframes: viewers join and change layers all the same, as ffmpeg sees
//! it, and each picture is the publisher's.

use std::collections::HashMap;

use str0m::format::Codec;
use str0m::media::MediaKind::Video;
use str0m::media::Rid;
use str0m::rtp::{RtpPacket, RtpWrite};

use super::decode::{
    FRAME, FRAMES, GROUP, decode, encode_in_groups, fragments, joined, same_pictures, units, watch,
};
use super::world::World;
use crate::service::Direction::View;
use crate::sfu::Hop;

const BASELINE: [&str; 10] = [
    "-c:v",
    "libx264",
    "-profile:v",
    "baseline",
    "-threads",
    "1",
    "-x264-params",
    "aud=1:scenecut=0",
    "-f",
    "h264",
];
/// With other sets: CABAC, and more pictures to lean on.
const MAIN: [&str; 12] = [
    "-c:v",
    "libx264",
    "-profile:v",
    "main",
    "-threads",
    "1",
    "-b:v",
    "150k",
    "-x264-params",
    "aud=1:scenecut=0:bframes=0:ref=4",
    "-f",
    "h264",
];

fn is_set(unit: &[u8]) -> bool {
    matches!(unit[0] & 0x1f, 7 | 8)
}

/// NAL units of each access unit, without delimiters.
fn access_units(stream: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all: Vec<Vec<&[u8]>> = Vec::new();
    for unit in units(stream) {
        match unit[0] & 0x1f {
            9 => all.push(Vec::new()),
            _ => all.last_mut().unwrap().push(unit),
        }
    }
    assert_eq!(all.len(), FRAMES);
    assert!(
        all.iter()
            .all(|units| units.iter().all(|unit| !is_set(unit)) || units[..2].iter().all(|u| is_set(u)))
    );
    all
}

fn packets(units: &[&[u8]]) -> Vec<Vec<u8>> {
    units.iter().flat_map(|unit| fragments(unit)).collect()
}

/// Payloads, frame by frame.
type Frames = Vec<Vec<Vec<u8>>>;

/// Frames of packets, with sets in the first alone.
fn sets_once(stream: &[u8]) -> Frames {
    let frames = access_units(stream).into_iter().enumerate();
    let frames = frames.map(|(nth, mut units)| {
        units.retain(|unit| nth == 0 || !is_set(unit));
        packets(&units)
    });
    frames.collect()
}

#[test]
fn a_joiner_decodes_h264_whose_sets_were_sent_once() {
    let stream = encode_in_groups(GROUP, &BASELINE);
    let (received, asked) = watch(Codec::H264, &sets_once(&stream));
    let kinds: Vec<u8> = received[0].iter().take(3).map(|payload| payload[0] & 0x1f).collect();
    assert_eq!(kinds, [7, 8, 28], "sets, then the picture");
    assert_eq!(
        received.iter().flatten().filter(|payload| is_set(payload)).count(),
        2,
        "in front of nothing else"
    );
    same_pictures(&decode("h264", stream), &decode("h264", joined(&received)), asked);
}

#[test]
fn a_joiner_decodes_h264_whose_sets_come_in_units_of_their_own() {
    let stream = encode_in_groups(GROUP, &BASELINE);
    let mut frames: Frames = Vec::new();
    for units in access_units(&stream) {
        let (sets, rest): (Vec<&[u8]>, Vec<&[u8]>) = units.into_iter().partition(|unit| is_set(unit));
        frames.extend((!sets.is_empty()).then(|| packets(&sets)));
        frames.push(packets(&rest));
    }
    assert_eq!(frames.len(), FRAMES + 2);
    let (received, asked) = watch(Codec::H264, &frames);
    assert!(is_set(&received[0][0]) && received[0].len() > 2, "its sets are in the keyframe's own unit");
    same_pictures(&decode("h264", stream), &decode("h264", joined(&received)), asked);
}

/// Frames of packets, each keyframe with its sets.
fn sets_with_each(stream: &[u8]) -> Frames {
    access_units(stream).iter().map(|units| packets(units)).collect()
}

/// A publisher of two layers.
struct Show {
    world: World,
    layers: [(&'static str, Frames, u64); 2],
    /// The first two packets of a keyframe change places on their way, but for the first: what is before the very first
    /// packet is nothing to a receiver.
    swapped: bool,
}

impl Show {
    fn new(layers: [Frames; 2], swapped: bool) -> Self {
        let world = World::with_layers(&["a", "b"]);
        let [a, b] = layers;
        Self { world, layers: [("a", a, 1_000), ("b", b, 50_000)], swapped }
    }

    fn frame(&mut self, nth: usize) {
        let now = self.world.now;
        for (name, frames, seq) in &mut self.layers {
            let client = &mut self.world.clients[0];
            let ((pt, _), mid) = (client.tx_of(Video, Codec::H264), client.mids[0].1);
            let mut packets: Vec<(usize, &Vec<u8>)> = frames[nth].iter().enumerate().collect();
            if self.swapped && nth > 0 && is_set(packets[0].1) {
                packets.swap(0, 1);
            }
            for (n, payload) in &packets {
                let number = *seq + *n as u64;
                let write = RtpWrite::new(pt, number.into(), nth as u32 * 3_000, now, payload.to_vec());
                let write = write.marker(n + 1 == packets.len()).nackable(true);
                let mut api = client.rtc.direct_api();
                api.stream_tx_by_mid(mid, Some(Rid::from(*name))).unwrap().write_rtp(write);
            }
            *seq += packets.len() as u64;
            self.world.settle();
        }
        self.world.pass(FRAME);
    }

    fn shown(&self, viewer: usize) -> String {
        let viewing = self.world.sfu.viewing(self.world.clients[viewer].session).unwrap();
        viewing.lines[0].layers.iter().find(|layer| layer.current).unwrap().id.clone()
    }

    fn pick(&mut self, viewer: usize, name: &str) {
        self.world.pick(viewer, name).unwrap();
    }
}

/// The packets of each frame, in order of their numbers.
fn frames(got: &[RtpPacket]) -> Frames {
    let mut got: Vec<&RtpPacket> = got.iter().collect();
    got.sort_by_key(|packet| *packet.seq_no);
    got.dedup_by_key(|packet| *packet.seq_no);
    assert!(got.windows(2).all(|two| *two[1].seq_no == *two[0].seq_no + 1), "numbered without a hole");
    got.chunk_by(|a, _| !a.header.marker)
        .map(|frame| frame.iter().map(|p| p.payload.to_vec()).collect())
        .collect()
}

/// A viewer joins, changes layers three times, and sees all pictures that there were to see.
fn assert_seamless(make: fn(&[u8]) -> Frames, swapped: bool, losses: &[Option<usize>]) {
    let streams = [encode_in_groups(30, &BASELINE), encode_in_groups(30, &MAIN)];
    let mut source: HashMap<Vec<u8>, (usize, usize)> = HashMap::new();
    for (layer, stream) in streams.iter().enumerate() {
        let pictures = decode("h264", stream.clone()).into_iter().enumerate();
        source.extend(pictures.map(|(nth, picture)| (picture, (layer, nth))));
    }
    assert_eq!(source.len(), 2 * FRAMES, "no two pictures are alike");
    for loss in losses {
        let mut show = Show::new([make(&streams[0]), make(&streams[1])], swapped);
        let mut viewer = None;
        for nth in 0..FRAMES {
            match nth {
                12 => viewer = Some(show.world.join(View, &[Video])),
                20 | 50 | 80 => {
                    let viewer = viewer.unwrap();
                    show.world.clients[viewer].lose_every = *loss;
                    let other = if show.shown(viewer) == "a" { "b" } else { "a" };
                    show.pick(viewer, other);
                }
                // What is lost last is never missed.
                115 => show.world.clients[viewer.unwrap()].lose_every = None,
                _ => {}
            }
            show.frame(nth);
        }
        show.world.pass(FRAME * 20);
        let client = &show.world.clients[viewer.unwrap()];
        assert_eq!(loss.is_some(), client.dropped > 10, "{}", client.dropped);
        let seen = decode("h264", joined(&frames(&client.got)));
        let known = seen.iter().map(|picture| *source.get(picture).expect("a picture of the publisher's"));
        let known: Vec<(usize, usize)> = known.collect();
        assert_eq!((known[0].1, known.last().unwrap().1), (0, FRAMES - 1), "all that was there to see");
        let mut changes = Vec::new();
        for two in known.windows(2) {
            let ((layer, before), (next, frame)) = (two[0], two[1]);
            // A change may show the same moment twice.
            assert!(frame == before + 1 || layer != next && frame == before, "{two:?}");
            changes.extend((layer != next).then_some(frame));
        }
        assert_eq!(changes, [30, 60, 90], "at the next keyframe of the other layer");
    }
}

/// With loss on the viewer's path, what was put in front is sent again like anything else.
#[test]
fn a_viewer_changes_layers_whose_sets_were_sent_once() {
    assert_seamless(sets_once, false, &[None, Some(9)]);
}

#[test]
fn a_viewer_changes_layers_whose_keyframes_begin_out_of_order() {
    assert_seamless(sets_with_each, true, &[None]);
}

#[test]
fn a_hop_that_comes_later_gets_the_sets_with_the_keyframe() {
    let stream = encode_in_groups(30, &BASELINE);
    let mut show = Show::new([sets_once(&stream), sets_once(&stream)], false);
    for nth in 0..40 {
        show.frame(nth);
    }
    show.world.sfu.drain_hop_packets();
    show.world.sfu.handle_forward(show.world.now, &World::key(1), (0, 0), Hop::Shard(1), 7, None);
    let packets: Vec<_> = show.world.sfu.drain_hop_packets().map(|packet| packet.packet).collect();
    let kinds: Vec<u8> = packets.iter().take(3).map(|packet| packet.payload[0] & 0x1f).collect();
    assert_eq!(kinds, [7, 8, 28]);
    assert!(
        packets[..3].iter().all(|packet| packet.keyframe && packet.timestamp == 90_000 && !packet.marker)
    );
    assert!(packets.windows(2).all(|two| two[1].index == two[0].index + 1));
}
