use super::*;

fn refused(format: Format, bytes: &[u8]) -> String {
    let said = Sample::read(format, bytes, 30).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn unit(bytes: &[u8]) -> Vec<u8> {
    [&[0, 0, 1], bytes].concat()
}

/// Constrained baseline, 640 × 360, with timing of 60 fields a second, as x264 writes it.
const SPS: [u8; 25] = [
    0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf2, 0x3c, 0x58, 0xba, 0x80,
];

fn stream() -> Vec<u8> {
    let mut bytes = vec![0];
    for part in [
        &SPS[..],
        &[0x68, 0xce, 0x0f],
        &[0x06, 5, 1],
        // Two slices of one picture: macroblock 0, then another; slice type 7.
        &[0x65, 0b1000_1000, 0x44],
        &[0x65, 0b0100_0010, 0x55],
        &[0x09, 0x30],
        &[0x41, 0b1001_1010, 0x66],
        // A keyframe without parameter sets.
        &[0x65, 0b1000_1000, 0x77],
    ] {
        bytes.extend(unit(part));
        bytes.push(0);
    }
    bytes
}

#[test]
fn a_byte_stream_becomes_pictures_of_which_every_keyframe_has_parameter_sets() {
    let sample = Sample::read(Format::AnnexB, &stream(), 25).unwrap();
    let kinds: Vec<Vec<u8>> =
        sample.frames().iter().map(|frame| frame.units.iter().map(|unit| unit[0] & 0x1f).collect()).collect();
    assert_eq!(kinds, [vec![7, 8, 6, 5, 5], vec![1], vec![7, 8, 5]]);
    let keys: Vec<bool> = sample.frames().iter().map(|frame| frame.keyframe).collect();
    assert_eq!(keys, [true, false, true]);
    let all: Duration = sample.frames().iter().map(|frame| frame.lasts).sum();
    assert_eq!(all, Duration::from_millis(100), "30 a second, as the parameter set says");
}

#[test]
fn a_byte_stream_that_says_no_rate_has_the_one_that_is_named() {
    let plain = [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4];
    let bytes = [unit(&plain), unit(&[0x68, 0xce, 0x38, 0x80]), unit(&[0x65, 0x88, 1])].concat();
    let sample = Sample::read(Format::AnnexB, &bytes, 25).unwrap();
    assert_eq!(sample.frames()[0].lasts, Duration::from_millis(40));
}

#[test]
fn what_is_no_byte_stream_is_refused_in_a_line() {
    let head = [unit(&SPS), unit(&[0x68, 0xce])].concat();
    let with = |more: &[u8]| [&head[..], &unit(more)].concat();
    for (bytes, says) in [
        (Vec::new(), "no H.264 byte stream"),
        (b"<html>\0\0\x01".to_vec(), "no H.264 byte stream"),
        (unit(&[]), "no media"),
        (head.clone(), "no media"),
        (with(&[0x41, 0x9a, 1]), "begin with a keyframe"),
        (unit(&[0x65, 0x88, 1]), "no parameter sets"),
        (with(&[0xe5, 0x88, 1]), "forbidden bit"),
        (with(&[0x65]), "cut"),
        // Slice type 6: B.
        (with(&[0x01, 0b1001_1100, 1]), "B-frames"),
        (with(&[0x02, 0x80]), "partitions"),
    ] {
        let said = refused(Format::AnnexB, &bytes);
        assert!(said.contains(says), "{says}: {said}");
    }
}

fn ivf(codec: &[u8; 4], rate: u32, frames: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = [b"DKIF\0\0\x20\0", &codec[..], &[0x80, 2, 0x68, 1]].concat();
    for number in [rate, 1, 0, 0] {
        bytes.extend(u32::to_le_bytes(number));
    }
    for (at, frame) in frames {
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

#[test]
fn ivf_frames_last_until_the_next_one_and_empty_ones_are_none() {
    let bytes = ivf(b"VP80", 25, &[(0, &[0x10, 1]), (1, &[]), (2, &[0x11, 1]), (3, &[0x11])]);
    let sample = Sample::read(Format::Ivf, &bytes, 30).unwrap();
    let lasts: Vec<u128> = sample.frames().iter().map(|frame| frame.lasts.as_millis()).collect();
    assert_eq!(lasts, [80, 40, 40]);
    let keys: Vec<bool> = sample.frames().iter().map(|frame| frame.keyframe).collect();
    assert_eq!(keys, [true, false, false]);
}

#[test]
fn what_is_no_ivf_is_refused_in_a_line() {
    let good = ivf(b"VP80", 25, &[(0, &[0x10, 1])]);
    let mut huge = good.clone();
    huge[32..36].copy_from_slice(&[0xff; 4]);
    for (bytes, says) in [
        (Vec::new(), "shorter"),
        (vec![b'x'; 40], "DKIF"),
        (ivf(b"VP90", 25, &[]), "not VP8"),
        (ivf(b"VP80", 0, &[]), "time base"),
        (ivf(b"VP80", 25, &[]), "no media"),
        (ivf(b"VP80", 25, &[(0, &[0x11])]), "keyframe"),
        (ivf(b"VP80", 25, &[(1, &[0x10]), (1, &[0x11])]), "order of time"),
        (ivf(b"VP80", 1_000_000, &[(0, &[0x10]), (1, &[0x11])]), "lasts 1µs"),
        (huge, "at most"),
        (good[..good.len() - 1].to_vec(), "cut"),
        (good[..36].to_vec(), "cut"),
    ] {
        let said = refused(Format::Ivf, &bytes);
        assert!(said.contains(says), "{says}: {said}");
    }
}

fn page(number: u32, serial: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut table = Vec::new();
    for packet in packets {
        table.extend(std::iter::repeat_n(255, packet.len() / 255));
        table.push(u8::try_from(packet.len() % 255).unwrap());
    }
    let mut page =
        [b"OggS\0\0".as_slice(), &[0; 8], &serial.to_le_bytes(), &number.to_le_bytes(), &[0; 4]].concat();
    page.push(u8::try_from(table.len()).unwrap());
    page.extend(table);
    packets.iter().for_each(|packet| page.extend_from_slice(packet));
    let sum = ogg::checksum(&page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

const HEAD: &[u8] = b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";

fn ogg(packets: &[&[u8]]) -> Vec<u8> {
    [page(0, 7, &[HEAD]), page(1, 7, &[b"OpusTags"]), page(2, 7, packets)].concat()
}

#[test]
fn opus_packets_last_as_long_as_they_say() {
    let long = [&[0xfc][..], &[9; 600]].concat();
    // CELT 20 ms; SILK 60 ms; two of CELT 2.5 ms; three of hybrid 10 ms.
    let sample = Sample::read(Format::Ogg, &ogg(&[&long, &[0x18, 1], &[0x81, 1], &[0x63, 3]]), 30).unwrap();
    let lasts: Vec<u128> = sample.frames().iter().map(|frame| frame.lasts.as_millis()).collect();
    assert_eq!(lasts, [20, 60, 5, 30]);
    assert_eq!(sample.frames()[0].units, [long]);
    // One packet over two pages.
    let split = [page(0, 7, &[HEAD]), page(1, 7, &[b"OpusTags"]), {
        let mut first = page(2, 7, &[&[0xfc; 255]]);
        // Without the last, empty piece the packet goes on.
        first[26] = 1;
        first.remove(28);
        let sum = ogg::checksum(&first);
        first[22..26].copy_from_slice(&sum.to_le_bytes());
        first
    }];
    let bytes = [split.concat(), page(3, 7, &[&[1, 2, 3]])].concat();
    let sample = Sample::read(Format::Ogg, &bytes, 30).unwrap();
    assert_eq!(sample.frames()[0].units[0].len(), 258);
}

#[test]
fn what_is_no_ogg_is_refused_in_a_line() {
    let good = ogg(&[&[0xfc, 1]]);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, says) in [
        (Vec::new(), "no packet"),
        (vec![b'x'; 60], "no OggS"),
        (good[..good.len() - 1].to_vec(), "cut"),
        (damaged, "checksum"),
        (page(0, 7, &[b"\x01vorbis"]), "no Opus"),
        (page(0, 7, &[b"OpusHead\x01\x06\0\0\x80\xbb\0\0\0\0\x01"]), "two channels"),
        ([page(0, 7, &[HEAD]), page(1, 7, &[b"none"])].concat(), "OpusTags"),
        ([page(0, 7, &[HEAD]), page(1, 8, &[b"OpusTags"])].concat(), "more than one stream"),
        ([page(0, 7, &[HEAD]), page(2, 7, &[b"OpusTags"])].concat(), "missing"),
        (ogg(&[]), "no media"),
        (ogg(&[&[]]), "packet 0"),
        (ogg(&[&[0xff, 63]]), "packet 0"),
        (ogg(&[&[0xfc; 2_000]]), "at most 1900"),
    ] {
        let said = refused(Format::Ogg, &bytes);
        assert!(said.contains(says), "{says}: {said}");
    }
}

#[test]
fn no_bytes_hang_or_panic() {
    let samples = [
        (Format::AnnexB, stream()),
        (Format::Ivf, ivf(b"VP80", 25, &[(0, &[0x10, 1]), (1, &[0x11, 1])])),
        (Format::Ogg, ogg(&[&[0xfc, 1], &[0x63, 3]])),
    ];
    for (format, good) in samples {
        for cut in 0..good.len() {
            let _whatever = Sample::read(format, &good[..cut], 30);
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[cut] ^= 1 << bit;
                let _whatever = Sample::read(format, &changed, 30);
            }
        }
    }
}

#[test]
fn files_are_known_by_their_names() {
    for (name, format) in [
        ("a.h264", Some(Format::AnnexB)),
        ("x/b.264", Some(Format::AnnexB)),
        ("c.IVF", Some(Format::Ivf)),
        ("d.ogg", Some(Format::Ogg)),
        ("e.opus", Some(Format::Ogg)),
        ("f.mp4", None),
        ("ogg", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}
