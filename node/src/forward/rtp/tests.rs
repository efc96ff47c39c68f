use proptest::prelude::*;

use super::{ExtensionIds, Fields, HEADER_MAX, Header, Stamps, abs_send_time, parse};
use crate::media::clock::NtpTime;
use crate::media::packet::{CaptureMicros, Extensions};

const NO_EXTENSIONS: Extensions =
    Extensions { audio_level: None, orientation: None, playout_delay: None, abs_capture_time: None };
const NO_STAMPS: Stamps = Stamps { abs_send_time: None, transport_cc: None };

fn header() -> Header<'static> {
    Header {
        pt: 102,
        marker: true,
        seq: 0x1234,
        timestamp: 0xdeca_fbad,
        ssrc: 0xcafe_babe,
        mid: None,
        exts: &NO_EXTENSIONS,
        stamps: &NO_STAMPS,
    }
}

#[test]
fn a_bare_header_has_twelve_bytes() {
    let mut out = [0; 12];
    assert_eq!(header().write(&ExtensionIds { mid: Some(1), ..ExtensionIds::default() }, &mut out), Some(12));
    assert_eq!(out, [0x80, 0xe6, 0x12, 0x34, 0xde, 0xca, 0xfb, 0xad, 0xca, 0xfe, 0xba, 0xbe]);
}

#[test]
fn extensions_are_laid_out_as_rfc_8285_wants() {
    let ids = ExtensionIds {
        mid: Some(4),
        abs_send_time: Some(2),
        audio_level: Some(1),
        ..ExtensionIds::default()
    };
    let header = Header {
        mid: Some("0"),
        exts: &Extensions { audio_level: Some((35, true)), ..NO_EXTENSIONS },
        stamps: &Stamps { abs_send_time: Some(0x0001_0203), ..NO_STAMPS },
        ..header()
    };
    let mut out = [0xff; HEADER_MAX];
    let len = header.write(&ids, &mut out).unwrap();
    assert_eq!(out[0], 0x90);
    assert_eq!(
        out[12..len],
        [0xbe, 0xde, 0, 2, 0x40, b'0', 0x22, 1, 2, 3, 0x10, 0xa3],
        "mid, send time, level, no padding wanted"
    );
    // The same with an id that needs two bytes.
    let ids = ExtensionIds { audio_level: Some(15), ..ids };
    let len = header.write(&ids, &mut out).unwrap();
    assert_eq!(out[12..len], [0x10, 0, 0, 3, 4, 1, b'0', 2, 3, 1, 2, 3, 15, 1, 0xa3, 0]);
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    let ids = ExtensionIds { mid: Some(4), ..ExtensionIds::default() };
    let header = Header { mid: Some("abcdef"), ..header() };
    let mut out = [0; 100];
    let len = header.write(&ids, &mut out).unwrap();
    for room in 0..len {
        assert_eq!(header.write(&ids, &mut out[..room]), None, "{room}");
    }
    let long = "m".repeat(256);
    assert_eq!(Header { mid: Some(&long), ..header }.write(&ids, &mut [0; 600]), None);
}

#[test]
fn send_time_is_six_bits_of_seconds_and_eighteen_of_fraction() {
    assert_eq!(abs_send_time(NtpTime(64 << 32)), 0);
    assert_eq!(abs_send_time(NtpTime(65 << 32 | 1 << 31)), 1 << 18 | 1 << 17);
    assert!(abs_send_time(NtpTime::from_wall(CaptureMicros(u64::MAX))) < 1 << 24);
}

#[test]
fn uris_name_their_ids() {
    let ids = ExtensionIds::from_uris([
        (0, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        (3, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        (9, "urn:unknown"),
        (13, "urn:3gpp:video-orientation"),
    ]);
    assert_eq!(ids, ExtensionIds { mid: Some(3), orientation: Some(13), ..ExtensionIds::default() });
}

#[test]
fn padding_and_sources_are_passed_over() {
    let mut packet = vec![0xa2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 1, 1, 1, 2, 2, 2, 2, 7, 8, 9, 0, 0, 3];
    let parsed = parse(&packet).unwrap();
    assert_eq!((parsed.header_len, parsed.payload), (20, &[7, 8, 9][..]));
    *packet.last_mut().unwrap() = 7;
    assert_eq!(parse(&packet), None, "more padding than payload");
    *packet.last_mut().unwrap() = 0;
    assert_eq!(parse(&packet), None, "padding that does not count itself");
}

fn id() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![Just(None), (1u8..=255).prop_map(Some), (1u8..15).prop_map(Some)]
}

prop_compose! {
    fn distinct_ids()(ids in prop::collection::hash_set(1u8..=16, 7), given in prop::array::uniform7(any::<bool>())) -> ExtensionIds {
        let ids: Vec<Option<u8>> = ids.into_iter().zip(given).map(|(id, given)| given.then_some(id)).collect();
        ExtensionIds {
            mid: ids[0],
            abs_send_time: ids[1],
            transport_cc: ids[2],
            audio_level: ids[3],
            orientation: ids[4],
            playout_delay: ids[5],
            abs_capture_time: ids[6],
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        ids in distinct_ids(),
        mid in prop::option::of("[a-z0-9]{0,20}"),
        (pt, marker, seq, timestamp, ssrc) in (0u8..128, any::<bool>(), any::<u16>(), any::<u32>(), any::<u32>()),
        level in prop::option::of((0u8..128, any::<bool>())),
        orientation in prop::option::of(0u8..16),
        delay in prop::option::of((0u16..4_096, 0u16..4_096)),
        (send, cc, capture) in (prop::option::of(0u32..1 << 24), any::<Option<u16>>(), any::<Option<u64>>()),
        payload in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let header = Header {
            pt, marker, seq, timestamp, ssrc,
            mid: mid.as_deref(),
            exts: &Extensions { audio_level: level, orientation, playout_delay: delay, abs_capture_time: capture },
            stamps: &Stamps { abs_send_time: send, transport_cc: cc },
        };
        let mut out = [0xffu8; HEADER_MAX + 50];
        let len = header.write(&ids, &mut out).unwrap();
        prop_assert!(len <= HEADER_MAX && len.is_multiple_of(4));
        out[len..len + payload.len()].copy_from_slice(&payload);
        let parsed = parse(&out[..len + payload.len()]).unwrap();
        prop_assert_eq!(parsed.fields, Fields { pt, marker, seq, timestamp, ssrc });
        prop_assert_eq!((parsed.header_len, parsed.payload), (len, &payload[..]));
        let read = |id: Option<u8>| id.and_then(|id| parsed.extension(id)).map(<[u8]>::to_vec);
        let both = |id: Option<u8>, value: Option<Vec<u8>>| id.and(value);
        prop_assert_eq!(read(ids.mid), both(ids.mid, mid.map(String::into_bytes)));
        prop_assert_eq!(read(ids.abs_send_time), both(ids.abs_send_time, send.map(|v| v.to_be_bytes()[1..].to_vec())));
        prop_assert_eq!(read(ids.transport_cc), both(ids.transport_cc, cc.map(|v| v.to_be_bytes().to_vec())));
        prop_assert_eq!(
            read(ids.audio_level),
            both(ids.audio_level, level.map(|(level, voice)| vec![u8::from(voice) << 7 | level]))
        );
        prop_assert_eq!(read(ids.orientation), both(ids.orientation, orientation.map(|v| vec![v])));
        prop_assert_eq!(
            read(ids.playout_delay),
            both(ids.playout_delay, delay.map(|(a, b)| (u32::from(a) << 12 | u32::from(b)).to_be_bytes()[1..].to_vec()))
        );
        prop_assert_eq!(
            read(ids.abs_capture_time),
            both(ids.abs_capture_time, capture.map(|v| v.to_be_bytes().to_vec()))
        );
    }

    #[test]
    fn no_bytes_are_too_hostile(bytes in prop::collection::vec(any::<u8>(), 0..80), wanted in id()) {
        if let Some(parsed) = parse(&bytes) {
            parsed.extension(wanted.unwrap_or(1));
            prop_assert!(parsed.header_len + parsed.payload.len() <= bytes.len());
        }
    }
}
