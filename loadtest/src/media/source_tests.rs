use super::*;
use crate::media::MAX_PAYLOAD;
use crate::media::keyframe::starts_keyframe;

/// Any wall-clock time.
const NOON: u64 = 1_795_262_400_000_000;

fn frames(config: VideoConfig, seconds: u64) -> Vec<Vec<MediaPacket>> {
    let start = Instant::now();
    let mut source = VideoSource::new(config, 7, start, NOON);
    let end = start + Duration::from_secs(seconds) - Duration::from_nanos(1);
    std::iter::from_fn(|| source.poll_frame(end)).collect()
}

#[test]
fn the_bit_rate_holds_over_groups_of_pictures() {
    for (codec, mbps, fps, gop) in
        [(VideoCodec::H264, 2, 30, 60), (VideoCodec::Vp8, 1, 25, 50), (VideoCodec::H264, 5, 60, 120)]
    {
        let config =
            VideoConfig { codec, bitrate: Bitrate::from_mbps(mbps), fps, gop, ..VideoConfig::default() };
        let frames = frames(config, 10);
        assert_eq!(frames.len(), 10 * usize::try_from(fps).unwrap());
        let bytes: usize = frames.iter().flatten().map(|packet| packet.payload.len()).sum();
        let ratio = bytes as f64 * 8.0 / 10.0 / (mbps * 1_000_000) as f64;
        assert!((0.97..1.03).contains(&ratio), "{codec:?}: {ratio}");
    }
}

#[test]
fn keyframes_come_by_group_and_on_request() {
    let keys = |frames: &[Vec<MediaPacket>]| -> Vec<usize> {
        frames.iter().enumerate().filter(|(_, f)| f[0].stamp.keyframe).map(|(n, _)| n).collect()
    };
    assert_eq!(keys(&frames(VideoConfig { gop: 20, ..VideoConfig::default() }, 2)), [0, 20, 40]);
    assert_eq!(keys(&frames(VideoConfig { gop: 0, ..VideoConfig::default() }, 4)), [0]);

    let start = Instant::now();
    let mut source = VideoSource::new(VideoConfig { gop: 10, ..VideoConfig::default() }, 7, start, NOON);
    let end = start + Duration::from_secs(1) - Duration::from_nanos(1);
    let mut asked = Vec::new();
    for number in 0..30 {
        if number == 4 {
            source.request_keyframe();
        }
        asked.push(source.poll_frame(end).unwrap());
    }
    assert_eq!(keys(&asked), [0, 4, 14, 24], "a request starts a new group");
}

#[test]
fn every_packet_is_legal_numbered_and_readable() {
    for codec in [VideoCodec::H264, VideoCodec::Vp8] {
        let oversized = Some(Oversized { every: 7, bytes: 1_850 });
        let frames = frames(VideoConfig { codec, oversized, ..VideoConfig::default() }, 5);
        let mut sequence = 0;
        for (number, frame) in frames.iter().enumerate() {
            for (part, packet) in frame.iter().enumerate() {
                assert_eq!(Stamp::read(&packet.payload), Ok(packet.stamp));
                assert_eq!(packet.stamp.sequence, sequence);
                assert_eq!(usize::from(packet.stamp.part), part);
                assert_eq!(packet.marker, part + 1 == frame.len());
                assert_eq!(packet.rtp_time, u32::try_from(number).unwrap() * 3_000);
                assert!(packet.payload.len() <= MAX_PAYLOAD);
                let starts = packet.stamp.keyframe && part == 0;
                let idr = packet.stamp.keyframe && part == 1 && codec == VideoCodec::H264;
                assert_eq!(starts_keyframe(codec, &packet.payload), starts || idr);
                sequence += 1;
            }
            let over = number % 7 == 0 && !frame[0].stamp.keyframe;
            assert_eq!(frame.iter().any(|packet| packet.payload.len() == 1_850), over, "frame {number}");
        }
    }
}

#[test]
fn h264_fragments_join_to_one_slice() {
    let frames = frames(VideoConfig::default(), 1);
    for frame in &frames {
        let slice: Vec<_> = frame.iter().filter(|packet| packet.payload[0] & 0x1f == 28).collect();
        let kind = if frame[0].stamp.keyframe { 5 } else { 1 };
        for (number, packet) in slice.iter().enumerate() {
            let header = packet.payload[1];
            assert_eq!(header & 0x1f, kind);
            assert_eq!(header & 0x80 != 0, number == 0);
            assert_eq!(header & 0x40 != 0, number + 1 == slice.len());
        }
    }
    let opening = &frames[0][0].payload;
    assert_eq!((opening[0], opening[3], opening[14]), (0x78, 0x67, 0x68), "SPS and PPS in one STAP-A");
    let sei = usize::from(u16::from_be_bytes([opening[18], opening[19]]));
    assert_eq!(opening.len(), 20 + sei, "the sizes of the STAP-A end at the packet's end");
}

#[test]
fn audio_has_fifty_packets_a_second() {
    let start = Instant::now();
    let mut source = AudioSource::new(9, start, NOON);
    let end = start + Duration::from_secs(2) - Duration::from_nanos(1);
    let packets: Vec<_> = std::iter::from_fn(|| source.poll_packet(end)).collect();
    assert_eq!(packets.len(), 100);
    assert_eq!(packets[99].rtp_time, 99 * 960);
    assert!(packets.iter().all(|packet| Stamp::read(&packet.payload) == Ok(packet.stamp)));
}

#[test]
fn a_late_publisher_stamps_when_frames_were_due() {
    let start = Instant::now();
    let mut source = VideoSource::new(VideoConfig { fps: 10, ..VideoConfig::default() }, 7, start, NOON);
    let late = start + Duration::from_millis(450);
    let frames: Vec<_> = std::iter::from_fn(|| source.poll_frame(late)).collect();
    let captured: Vec<u64> =
        frames.iter().map(|frame| frame[0].stamp.captured_us - frames[0][0].stamp.captured_us).collect();
    assert_eq!(captured, [0, 100_000, 200_000, 300_000, 400_000]);
}

#[test]
fn a_pause_moves_capture_and_rtp_time_but_no_numbers() {
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let mut source = VideoSource::new(VideoConfig { fps: 10, ..VideoConfig::default() }, 7, start, NOON);
    let before: Vec<_> = std::iter::from_fn(|| source.poll_frame(at(250))).flatten().collect();
    source.resume(at(1_300));
    assert!(source.poll_frame(at(1_299)).is_none());
    let after = source.poll_frame(at(1_300)).unwrap();
    assert_eq!(after[0].stamp.captured_us, NOON + 1_300_000);
    assert_eq!(after[0].rtp_time, 90 * 1_300);
    assert_eq!(after[0].stamp.sequence, before.last().unwrap().stamp.sequence + 1);
    assert!(after[0].stamp.keyframe, "a viewer that lost its picture in the pause gets a new one");
    assert_eq!(source.next_due(), at(1_400));

    let mut audio = AudioSource::new(7, start, NOON);
    audio.poll_packet(start).unwrap();
    audio.resume(at(520));
    let packet = audio.poll_packet(at(520)).unwrap();
    assert_eq!(
        (packet.stamp.captured_us, packet.rtp_time, packet.stamp.sequence),
        (NOON + 520_000, 48 * 520, 1)
    );
}

#[test]
fn layers_have_the_same_frames_and_a_quarter_of_the_bits_each() {
    let start = Instant::now();
    let config = VideoConfig { bitrate: Bitrate::from_mbps(4), layers: 3, ..VideoConfig::default() };
    let (mut bits, mut frames) = (Vec::new(), Vec::new());
    for layer in 0..3 {
        let mut source = VideoSource::of_layer(layer, config, 7, start, NOON);
        let end = start + Duration::from_secs(4) - Duration::from_nanos(1);
        let packets: Vec<MediaPacket> = std::iter::from_fn(|| source.poll_frame(end)).flatten().collect();
        assert!(packets.iter().all(|packet| packet.stamp.layer == Some(layer)));
        assert!((0..).zip(&packets).all(|(number, packet)| packet.stamp.sequence == number));
        bits.push(packets.iter().map(|packet| packet.payload.len()).sum::<usize>() * 2);
        frames.push(packets.iter().map(|packet| (packet.rtp_time, packet.captured)).collect::<Vec<_>>());
    }
    for (bits, wanted) in bits.iter().zip([4_000_000.0, 1_000_000.0, 250_000.0]) {
        assert!((0.95..1.1).contains(&(*bits as f64 / wanted)), "{bits} for {wanted}");
    }
    frames.iter_mut().for_each(Vec::dedup);
    assert!(frames[0].len() == 120 && frames.iter().all(|one| *one == frames[0]));
}
