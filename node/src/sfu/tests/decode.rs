//! What a joiner receives, decoded by ffmpeg: from the ring's keyframe on, the very pictures that were sent.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use str0m::format::Codec;
use str0m::media::MediaKind::Video;
use str0m::rtp::RtpWrite;

use super::world::World;
use crate::service::Direction::{Publish, View};

const WIDTH: usize = 320;
const HEIGHT: usize = 180;
/// Frames in all, frames from one keyframe to the next, and how many have been sent when the joiner comes.
pub const FRAMES: usize = 120;
pub const GROUP: usize = 60;
const BEFORE: usize = 75;
const PAYLOAD: usize = 1_100;
pub const FRAME: Duration = Duration::from_millis(33);

/// Runs ffmpeg. Anything that it complains of fails the test.
fn ffmpeg(args: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "warning"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is needed: scripts/install.sh --for test");
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // What does not want its input closes it.
        let _ = stdin.write_all(&input);
    });
    let done = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.is_empty(), "ffmpeg {args:?}: {told}");
    done.stdout
}

fn encode(codec: &[&str]) -> Vec<u8> {
    encode_in_groups(GROUP, codec)
}

/// Frames with a keyframe at every `group`th.
pub fn encode_in_groups(group: usize, codec: &[&str]) -> Vec<u8> {
    let source = format!("testsrc2=size={WIDTH}x{HEIGHT}:rate=30");
    let (frames, group) = (FRAMES.to_string(), group.to_string());
    let mut args =
        vec!["-f", "lavfi", "-i", &source, "-frames:v", &frames, "-pix_fmt", "yuv420p", "-g", &group];
    args.extend(codec);
    args.push("-");
    ffmpeg(&args, Vec::new())
}

/// The luma and chroma of each frame.
pub fn decode(format: &str, stream: Vec<u8>) -> Vec<Vec<u8>> {
    let args = [
        "-xerror",
        "-err_detect",
        "explode",
        "-f",
        format,
        "-i",
        "-",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-",
    ];
    let pictures = ffmpeg(&args, stream);
    let size = WIDTH * HEIGHT * 3 / 2;
    assert_eq!(pictures.len() % size, 0, "whole pictures");
    pictures.chunks(size).map(<[u8]>::to_vec).collect()
}

/// A picture, not one colour: what a decoder without a keyframe shows is grey.
fn is_picture(frame: &[u8]) -> bool {
    let luma = &frame[..WIDTH * HEIGHT];
    let mean = luma.iter().map(|y| usize::from(*y)).sum::<usize>() / luma.len();
    let spread = luma.iter().map(|y| usize::from(*y).abs_diff(mean)).sum::<usize>() / luma.len();
    spread > 20
}

/// Publishes frames of packets, with a joiner when a part of them has gone. Returns its payloads, frame by frame, and
/// the keyframes that the publisher was asked for.
pub fn watch(codec: Codec, frames: &[Vec<Vec<u8>>]) -> (Vec<Vec<Vec<u8>>>, usize) {
    let mut world = World::with(|config| config.batch = Duration::from_millis(5));
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(FRAME * 6);
    let mut seq = 1_000_u64;
    let mut joiner = None;
    for (nth, frame) in frames.iter().enumerate() {
        if nth == BEFORE {
            joiner = Some(world.join(View, &[Video]));
        }
        let now = world.now;
        let publisher = &mut world.clients[0];
        let (pt, ssrc) = publisher.tx_of(Video, codec);
        for (n, payload) in frame.iter().enumerate() {
            let marker = n + 1 == frame.len();
            let write = RtpWrite::new(pt, seq.into(), nth as u32 * 3_000, now, payload.clone());
            let write = write.marker(marker).nackable(true);
            publisher.rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write);
            seq += 1;
        }
        world.settle();
        world.pass(FRAME);
    }
    world.pass(FRAME * 6);
    let got = &world.clients[joiner.unwrap()].got;
    assert!(got.windows(2).all(|two| *two[1].seq_no == *two[0].seq_no + 1), "in order, without a hole");
    let mut received: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut ended = true;
    for packet in got {
        if ended {
            received.push(Vec::new());
        }
        received.last_mut().unwrap().push(packet.payload.to_vec());
        ended = packet.header.marker;
    }
    assert!(ended, "the last frame is whole");
    (received, world.clients[0].keyframes_asked)
}

/// The joiner's pictures are the source's, from the last keyframe before it came.
pub fn same_pictures(source: &[Vec<u8>], seen: &[Vec<u8>], asked: usize) {
    assert_eq!(asked, 0, "it was served from the ring");
    assert_eq!(source.len(), FRAMES);
    assert_eq!(seen.len(), FRAMES - GROUP, "every frame since the keyframe");
    assert!(is_picture(&seen[0]), "the first frame is a picture");
    for (nth, (sent, seen)) in source[GROUP..].iter().zip(seen).enumerate() {
        assert!(sent == seen, "frame {nth} is another picture");
    }
}

/// NAL units of a stream of Annex B.
pub fn units(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(n, _)| n + 3).collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let unit = &stream[*start..end];
            let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
            &unit[..unit.len() - zeros]
        })
        .collect()
}

/// Packets of a NAL unit: itself, or fragments (RFC 6184 section 5.8).
pub fn fragments(unit: &[u8]) -> Vec<Vec<u8>> {
    if unit.len() <= PAYLOAD {
        return vec![unit.to_vec()];
    }
    let parts: Vec<&[u8]> = unit[1..].chunks(PAYLOAD).collect();
    let last = parts.len() - 1;
    let fragment = |(n, part): (usize, &&[u8])| {
        let flags = if n == 0 { 0x80 } else { 0 } | if n == last { 0x40 } else { 0 };
        [&[unit[0] & 0xe0 | 28, flags | unit[0] & 0x1f][..], part].concat()
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// The stream of Annex B that the packets carry.
pub fn joined(frames: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for payload in frames.iter().flatten() {
        match payload[0] & 0x1f {
            28 => {
                if payload[1] & 0x80 != 0 {
                    stream.extend([0, 0, 0, 1, payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                stream.extend(&payload[2..]);
            }
            _ => {
                stream.extend([0, 0, 0, 1]);
                stream.extend(payload);
            }
        }
    }
    stream
}

#[test]
fn a_joiner_decodes_h264_from_the_keyframe_in_the_ring() {
    let x264 =
        ["-c:v", "libx264", "-profile:v", "baseline", "-threads", "1", "-x264-params", "aud=1:scenecut=0"];
    let stream = encode(&[&x264[..], &["-f", "h264"]].concat());
    // Parameter sets travel in packets of their own, as Chromium may send them. Delimiters do not travel.
    let mut frames: Vec<Vec<Vec<u8>>> = Vec::new();
    for unit in units(&stream) {
        match unit[0] & 0x1f {
            9 => frames.push(Vec::new()),
            _ => frames.last_mut().unwrap().extend(fragments(unit)),
        }
    }
    assert_eq!(frames.len(), FRAMES);
    assert!(frames.iter().any(|frame| frame.len() > 4), "some are fragmented");
    let (received, asked) = watch(Codec::H264, &frames);
    same_pictures(&decode("h264", stream), &decode("h264", joined(&received)), asked);
}

/// Frames of an IVF file: a header of 32 bytes, then a header of 12 before each.
fn ivf(file: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut frames) = (&file[32..], Vec::new());
    while let Some((header, after)) = rest.split_first_chunk::<12>() {
        let len = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let (frame, next) = after.split_at(len);
        frames.push(frame);
        rest = next;
    }
    frames
}

/// Packets of a frame with picture ids of 15 bits (RFC 7741 section 4.2).
fn described(nth: usize, frame: &[u8]) -> Vec<Vec<u8>> {
    let packet = |(n, part): (usize, &[u8])| {
        let start = if n == 0 { 0x10 } else { 0 };
        [&[0x80 | start, 0x80, 0x80 | (nth >> 8) as u8, nth as u8][..], part].concat()
    };
    frame.chunks(PAYLOAD).enumerate().map(packet).collect()
}

#[test]
fn a_joiner_decodes_vp8_from_the_keyframe_in_the_ring() {
    let vpx =
        ["-c:v", "libvpx", "-b:v", "800k", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0"];
    let file = encode(&[&vpx[..], &["-f", "ivf"]].concat());
    let frames: Vec<Vec<Vec<u8>>> =
        ivf(&file).into_iter().enumerate().map(|(nth, frame)| described(nth, frame)).collect();
    assert_eq!(frames.len(), FRAMES);
    let (received, asked) = watch(Codec::Vp8, &frames);
    let mut seen = file[..32].to_vec();
    seen[24..28].copy_from_slice(&(received.len() as u32).to_le_bytes());
    for (nth, packets) in received.iter().enumerate() {
        let frame: Vec<u8> = packets.iter().flat_map(|payload| payload[4..].to_vec()).collect();
        seen.extend((frame.len() as u32).to_le_bytes());
        seen.extend((nth as u64).to_le_bytes());
        seen.extend(frame);
    }
    same_pictures(&decode("ivf", file), &decode("ivf", seen), asked);
}
