//! Header extensions on their way from a publisher to viewers.

use std::time::{Duration, SystemTime};

use str0m::RtcConfig;
use str0m::media::MediaKind::{self, Audio, Video};
use str0m::media::MediaTime;
use str0m::rtp::{AbsCaptureTime, Extension, ExtensionMap, ExtensionValues, RtpWrite, VideoOrientation};

use super::client::{payload, usual};
use super::world::World;
use crate::service::Direction::{Publish, View};

const FRAMES: u64 = 12;

fn with_ids(config: RtcConfig, ids: &[(u8, Extension)]) -> RtcConfig {
    let mut map = ExtensionMap::empty();
    map.set(4, Extension::RtpMid);
    ids.iter().for_each(|(id, extension)| map.set(*id, extension.clone()));
    usual(config).set_extension_map(map)
}

/// What the publisher writes into the n-th packet of a kind. Every third picture says nothing.
fn written(kind: MediaKind, n: u64) -> ExtensionValues {
    let mut values = ExtensionValues::default();
    // By a clock that is nobody's here, and now and then, as browsers write it.
    let capture_time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_000 + n * 33);
    values.abs_capture_time = (n % 4 == 1).then_some(AbsCaptureTime { capture_time, clock_offset: None });
    match (kind, n % 3) {
        (Audio, _) => {
            values.audio_level = Some(-i8::try_from(n * 11).unwrap());
            values.voice_activity = Some(n.is_multiple_of(2));
        }
        (Video, 2) => {}
        (Video, _) => {
            values.video_orientation = Some(VideoOrientation::from(u8::try_from(n % 4).unwrap()));
            values.play_delay_min = Some(MediaTime::from_hundredths(n * 7));
            values.play_delay_max = Some(MediaTime::from_hundredths(4_095 - n));
        }
    }
    values
}

/// Level and voice; orientation; delays; milliseconds of the capture.
type Told = (Option<(i8, bool)>, Option<VideoOrientation>, Option<(Duration, Duration)>, Option<u64>);

fn told(values: &ExtensionValues) -> Told {
    let [min, max] = [values.play_delay_min, values.play_delay_max].map(|t| t.map(Duration::from));
    let captured = values.abs_capture_time.map(|told| {
        let since = told.capture_time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        // str0m reads and writes it by floating point, and is a few microseconds off.
        u64::try_from((since + Duration::from_micros(500)).as_millis()).unwrap()
    });
    (values.audio_level.zip(values.voice_activity), values.video_orientation, min.zip(max), captured)
}

/// Of the packets of a kind, in the order in which they came.
fn came(world: &World, viewer: usize, kind: MediaKind) -> Vec<Told> {
    let got = world.clients[viewer].got.iter();
    let of_kind = got.filter(|packet| (packet.payload.len() > 200) == (kind == Video));
    of_kind.map(|packet| told(&packet.header.ext_vals)).collect()
}

#[test]
fn delays_turns_levels_and_capture_times_go_on_to_viewers_that_take_them_under_their_own_ids() {
    let mut world = World::new();
    let (level, turned, delay) =
        (Extension::AudioLevel, Extension::VideoOrientation, Extension::PlayoutDelay);
    let captured = Extension::AbsoluteCaptureTime;
    let of_publisher = [(1, level.clone()), (13, turned.clone()), (5, delay.clone()), (3, captured.clone())];
    world.join_with(Publish, &[Audio, Video], |config| with_ids(config, &of_publisher));
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let of_viewer = [(6, level), (1, turned), (12, delay), (9, captured)];
    let takes = world.join_with(View, &[Audio, Video], |config| with_ids(config, &of_viewer));
    let without = world.join_with(View, &[Audio, Video], |config| with_ids(config, &[]));
    world.pass(Duration::from_millis(200));
    for n in 0..FRAMES {
        for kind in [Audio, Video] {
            let (now, (pt, ssrc)) = (world.now, world.clients[0].tx(kind));
            let seq = 100 + n;
            let bytes = payload(kind, seq, kind == Video && n == 0);
            let ts = u32::try_from(n).unwrap() * if kind == Video { 3_000 } else { 960 };
            let write = RtpWrite::new(pt, seq.into(), ts, now, bytes).marker(true);
            let write = write.ext_vals(written(kind, n));
            world.clients[0].rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write);
        }
        world.pass(Duration::from_millis(30));
    }
    for kind in [Audio, Video] {
        let sent: Vec<Told> = (0..FRAMES).map(|n| told(&written(kind, n))).collect();
        assert_eq!(came(&world, takes, kind), sent, "{kind:?}");
        let nothing = vec![(None, None, None, None); sent.len()];
        assert_eq!(came(&world, without, kind), nothing, "{kind:?}, not negotiated");
    }
    assert_eq!(world.sfu.counters().unknown_extensions, 0);
}
