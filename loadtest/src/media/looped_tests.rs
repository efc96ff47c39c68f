use super::*;
use crate::media::VideoCodec;
use crate::media::assemble::{Assembler, Piece, Whole};
use crate::media::keyframe::starts_keyframe;
use crate::media::sample::Format;

/// Any wall-clock time.
const NOON: u64 = 1_795_262_400_000_000;
const LIMIT: usize = 1_200;

/// Six frames at 25 a second, of which the first and the fourth are keyframes; the first is large.
fn sample() -> Arc<Sample> {
    let mut bytes = b"DKIF\0\0\x20\0VP80\x80\x02\x68\x01".to_vec();
    for number in [25_u32, 1, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    for at in 0..6_u8 {
        let frame = [vec![u8::from(at % 3 != 0), at], vec![7; if at == 0 { 5_000 } else { 100 }]].concat();
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(u64::from(at).to_le_bytes());
        bytes.extend(frame);
    }
    Arc::new(Sample::read(Format::Ivf, &bytes, 30).unwrap())
}

fn h264() -> Arc<Sample> {
    let unit = |bytes: &[u8]| [&[0, 0, 1], bytes].concat();
    let slice = [&[0x65, 0x88][..], &[9; 4_000]].concat();
    let bytes = [
        unit(&[0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4]),
        unit(&[0x68, 0xce, 0x38, 0x80]),
        unit(&slice),
        unit(&[&[0x41, 0x9a][..], &[8; 300]].concat()),
    ];
    Arc::new(Sample::read(Format::AnnexB, &bytes.concat(), 50).unwrap())
}

fn source(sample: Arc<Sample>) -> (Instant, LoopedSource) {
    let start = Instant::now();
    (start, LoopedSource::new(sample, LIMIT, 7, start, NOON))
}

/// What a viewer puts together of packets.
fn assembled(codec: VideoCodec, packets: &[MediaPacket]) -> Vec<Whole> {
    let mut assembler = Assembler::new(codec);
    let piece = |packet: &MediaPacket| Piece {
        sequence: packet.stamp.sequence,
        timestamp: packet.rtp_time,
        marker: packet.marker,
        at: packet.captured,
        payload: packet.payload.clone(),
    };
    packets.iter().flat_map(|packet| assembler.push(piece(packet))).collect()
}

#[test]
fn rounds_follow_each_other_without_a_seam() {
    let (start, mut source) = source(sample());
    let end = start + Duration::from_millis(40 * 15 - 1);
    let frames: Vec<Vec<MediaPacket>> = std::iter::from_fn(|| source.poll_frame(end)).collect();
    assert_eq!(frames.len(), 15);
    for (number, frame) in frames.iter().enumerate() {
        let due = u64::try_from(number).unwrap() * 40;
        assert!(frame.iter().all(|packet| packet.rtp_time == u32::try_from(due * 90).unwrap()));
        assert!(frame.iter().all(|packet| packet.captured == start + Duration::from_millis(due)));
        assert!(frame.iter().all(|packet| packet.stamp.captured_us == NOON + due * 1_000));
        assert_eq!(frame[0].stamp.keyframe, number % 3 == 0);
        let marked: Vec<bool> = frame.iter().map(|packet| packet.marker).collect();
        assert_eq!(marked.iter().position(|marked| *marked), Some(frame.len() - 1));
        let told: Vec<bool> = frame.iter().map(|packet| packet.told).collect();
        assert_eq!(told.iter().rposition(|told| *told), Some(0), "the first one says when it was captured");
    }
    let packets: Vec<MediaPacket> = frames.concat();
    assert!((0..).zip(&packets).all(|(number, packet)| packet.stamp.sequence == number));
    assert!(packets.iter().all(|packet| packet.payload.len() <= LIMIT));
    let whole = assembled(VideoCodec::Vp8, &packets);
    let sample = sample();
    assert_eq!(whole.len(), 15);
    assert!(
        whole.iter().enumerate().all(|(number, frame)| frame.bytes == sample.frames()[number % 6].units[0])
    );
}

#[test]
fn h264_is_cut_and_put_together_again() {
    let (start, mut source) = source(h264());
    let end = start + Duration::from_millis(79);
    let frames: Vec<Vec<MediaPacket>> = std::iter::from_fn(|| source.poll_frame(end)).collect();
    let packets: Vec<MediaPacket> = frames.concat();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [5, 1, 5, 1]);
    assert_eq!(packets[0].payload[0], 0x78, "STAP-A of the parameter sets");
    assert_eq!(packets[1].payload[..2], [0x7c, 0x85], "FU-A begins");
    assert_eq!(packets[4].payload[..2], [0x7c, 0x45], "FU-A ends");
    assert!(packets.iter().all(|packet| packet.payload.len() <= LIMIT));
    assert!(starts_keyframe(VideoCodec::H264, &packets[0].payload));
    let whole = assembled(VideoCodec::H264, &packets);
    assert_eq!(whole.iter().map(|frame| frame.keyframe).collect::<Vec<_>>(), [true, false, true, false]);
    for (frame, from) in whole.iter().zip(h264().frames().iter().cycle()) {
        let stream: Vec<u8> =
            from.units.iter().flat_map(|unit| [&[0, 0, 0, 1], &unit[..]].concat()).collect();
        assert!(frame.bytes == stream);
    }
}

#[test]
fn a_keyframe_that_is_asked_for_comes_next_and_time_goes_on() {
    let (start, mut source) = source(sample());
    let end = start + Duration::from_secs(1);
    let (first, second) = (source.poll_frame(end).unwrap(), source.poll_frame(end).unwrap());
    source.request_keyframe();
    let third = source.poll_frame(end).unwrap();
    assert_eq!([&first, &second, &third].map(|frame| frame[0].stamp.keyframe), [true, false, true]);
    assert_eq!((third[0].rtp_time, third[0].payload[5]), (2 * 3_600, 3), "the fourth of the sample");
    // After the fourth: the next keyframe is the first of the next round.
    source.request_keyframe();
    assert_eq!(source.poll_frame(end).unwrap()[0].payload[5], 0);
    // After a pause too, and the pause is in the timestamps.
    let now = source.next_due() + Duration::from_millis(400);
    source.resume(now);
    let after = source.poll_frame(now).unwrap();
    assert!(after[0].stamp.keyframe);
    assert_eq!((after[0].rtp_time, after[0].captured), ((4 * 40 + 400) * 90, now));
    assert!(source.poll_frame(now).is_none());
}
