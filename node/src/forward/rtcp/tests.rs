use proptest::prelude::*;

use super::{Feedback, SenderReport, Twcc, parse, write_bye, write_sender_report};
use crate::media::clock::NtpTime;

fn packet(count: u8, packet_type: u8, body: &[u8]) -> Vec<u8> {
    let words = u16::try_from(body.len() / 4).unwrap();
    [&[0x80 | count, packet_type], &words.to_be_bytes()[..], body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn nacked(compound: &[u8]) -> Vec<u16> {
    parse(compound)
        .filter_map(|feedback| match feedback {
            Feedback::Nack { seqs, .. } => Some(seqs.collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn what_browsers_send_is_understood() {
    let block = [0x1111, 0x40ff_fffe, 0x0002_0003, 77, 0xaabb_ccdd, 65_536];
    let compound = [
        packet(1, 201, &words(&[&[1][..], &block].concat())),
        packet(1, 202, &words(&[1, 0x0103_6162, 0x6300_0000])),
        packet(1, 205, &words(&[1, 0x1111, 0x000a_8001, 0xffff_0000])),
        packet(1, 206, &words(&[1, 0x1111])),
        packet(4, 206, &words(&[1, 0, 0x1111, 0x0500_0000, 0x2222, 0x0600_0000])),
        packet(15, 206, &words(&[1, 0, 0x5245_4d42, 0x0106_1a80, 0x1111])),
        packet(15, 205, &words(&[1, 0x1111, 0xdead_beef, 0x0102_0304])),
        packet(1, 203, &words(&[0x3333])),
    ]
    .concat();
    let read: Vec<_> = parse(&compound).collect();
    assert_eq!(read.len(), 9, "{read:?}");
    assert_eq!(
        read[0],
        Feedback::ReceiverReport {
            ssrc: 0x1111,
            fraction_lost: 0x40,
            lost: -2,
            highest_seq: 0x0002_0003,
            jitter: 77,
            lsr: 0xaabb_ccdd,
            dlsr: 65_536,
        }
    );
    assert_eq!(read[1], Feedback::Other { packet_type: 202 });
    assert!(matches!(read[2], Feedback::Nack { ssrc: 0x1111, .. }));
    assert_eq!(nacked(&compound), [10, 11, 26, 65_535]);
    assert_eq!(read[3], Feedback::Pli { ssrc: 0x1111 });
    assert_eq!(read[4], Feedback::Fir { ssrc: 0x1111, seq: 5 });
    assert_eq!(read[5], Feedback::Fir { ssrc: 0x2222, seq: 6 });
    assert_eq!(read[6], Feedback::Remb { bitrate: 0x2_1a80 << 1 });
    assert_eq!(read[7], Feedback::Twcc { ssrc: 0x1111, raw: &[0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4] });
    assert_eq!(read[8], Feedback::Bye { ssrc: 0x3333 });
}

#[test]
fn a_mask_names_the_sixteen_that_follow_and_wraps() {
    let compound = packet(1, 205, &words(&[1, 2, 0xfffe_ffff]));
    let expected: Vec<u16> = (0..17u16).map(|step| 0xfffe_u16.wrapping_add(step)).collect();
    assert_eq!(nacked(&compound), expected);
}

/// Each is told, so that whoever acts upon it can count what is too much.
#[test]
fn greed_is_told_in_full() {
    let entries: Vec<u32> = (0..360).map(|step| step << 16 | 0xffff).collect();
    let compound = packet(1, 205, &words(&[&[1, 2][..], &entries].concat()));
    assert_eq!(nacked(&compound).len(), 360 * 17);
    let storm = packet(1, 206, &words(&[1, 2])).repeat(120);
    assert_eq!(parse(&storm).count(), 120);
    let silent = packet(0, 201, &words(&[1])).repeat(180);
    assert_eq!(parse(&silent).count(), 0);
    let entries: Vec<u32> = (0..360).collect();
    let fir = packet(4, 206, &words(&[&[1, 0][..], &entries].concat()));
    assert_eq!(parse(&fir).count(), 180);
}

#[test]
fn padding_is_not_read_as_feedback() {
    let mut compound = packet(1, 205, &words(&[1, 2, 0x0007_0000, 4]));
    compound[0] |= 0x20;
    assert_eq!(nacked(&compound), [7]);
    *compound.last_mut().unwrap() = 200;
    assert_eq!(nacked(&compound), Vec::<u16>::new());
}

#[test]
fn lies_about_lengths_end_the_walk() {
    let good = packet(1, 206, &words(&[1, 2]));
    let mut lying = good.clone();
    lying[3] = 9;
    assert_eq!(parse(&[good.clone(), lying].concat()).count(), 1);
    let mut old = good.clone();
    old[0] = 0x41;
    assert_eq!(parse(&old).count(), 0);
    assert_eq!(parse(&good[..11]).count(), 0);
    let blocks = packet(31, 201, &words(&[1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(parse(&blocks).count(), 1, "31 blocks promised, one there");
}

#[test]
fn a_sender_report_is_read_back_with_its_name() {
    for name in ["", "a", "ab", "abc", "abcd", "a-rather-long-canonical-name@freshet"] {
        let report =
            SenderReport { ssrc: 7, ntp: NtpTime(0x0102_0304_0506_0708), rtp: 9, packets: 10, octets: 11 };
        let mut out = [0xff; 400];
        let len = write_sender_report(&report, name, &mut out).unwrap();
        assert_eq!(len % 4, 0);
        let read: Vec<_> = parse(&out[..len]).collect();
        let expected = Feedback::SenderReport { ssrc: 7, ntp: report.ntp, rtp: 9, packets: 10, octets: 11 };
        assert_eq!(read, [expected, Feedback::Other { packet_type: 202 }], "{name}");
        let sdes = &out[28..len];
        assert_eq!(sdes[..8], [0x81, 202, 0, u8::try_from(sdes.len() / 4 - 1).unwrap(), 0, 0, 0, 7]);
        assert_eq!(sdes[8..10], [1, u8::try_from(name.len()).unwrap()]);
        assert_eq!(&sdes[10..10 + name.len()], name.as_bytes());
        let end = &sdes[10 + name.len()..];
        assert!((1..=4).contains(&end.len()) && end.iter().all(|byte| *byte == 0), "{name}: {end:?}");
        for room in 0..len {
            assert_eq!(write_sender_report(&report, name, &mut out[..room]), None);
        }
    }
    let mut out = [0; 8];
    assert_eq!(write_bye(0x3333, &mut out), Some(8));
    assert_eq!(parse(&out).next(), Some(Feedback::Bye { ssrc: 0x3333 }));
    assert_eq!(write_bye(1, &mut out[..7]), None);
    let report = SenderReport { ssrc: 7, ntp: NtpTime(0), rtp: 0, packets: 0, octets: 0 };
    assert_eq!(write_sender_report(&report, &"n".repeat(256), &mut [0; 600]), None);
}

#[test]
fn all_kinds_of_chunks_of_transport_feedback_are_read() {
    // Base 0xfffe, 2 + 14 + 7 + 4 statuses, reference 2 × 64 ms. A run of two that came; one-bit symbols, of which
    // the first and the last came; two-bit symbols: small, large, none, reserved, small, none, none; a run that did not
    // come, longer than what is left.
    let raw = [
        &[0xff, 0xfe, 0, 27, 0, 0, 2, 9][..],
        &[0x20, 2, 0xa0, 1, 0b1101_1000, 0b1101_0000, 0x1f, 0xff],
        &[4, 0, 8, 1, 2, 0xff, 0xf8, 5],
    ]
    .concat();
    let read: Vec<(u16, Option<u32>)> = Twcc::read(&raw).unwrap().statuses().collect();
    assert_eq!(read.len(), 27);
    assert!(read.iter().enumerate().all(|(n, (seq, _))| *seq == 0xfffe_u16.wrapping_add(n as u16)));
    let came: Vec<(usize, u32)> =
        read.iter().enumerate().filter_map(|(n, (_, time))| time.map(|time| (n, time))).collect();
    assert_eq!(came, [(0, 516), (1, 516), (2, 524), (15, 525), (16, 527), (17, 519), (20, 524)]);
    for len in 0..16 {
        assert_eq!(Twcc::read(&raw[..len]), None, "{len}: it announces more");
    }
    assert_eq!(Twcc::read(&raw[..17]).unwrap().statuses().count(), 1, "deltas end");
}

#[test]
fn chunks_of_nothing_end_the_reading_of_transport_feedback() {
    let raw = [&[0, 0, 0xff, 0xff, 0, 0, 0, 0][..], &[0x40, 0].repeat(700)].concat();
    assert_eq!(Twcc::read(&raw), None);
    let raw = [&[0, 0, 0, 3, 0, 0, 0, 0][..], &[0x20, 0, 0x20, 0, 0x20, 0, 7, 7, 7]].concat();
    assert_eq!(Twcc::read(&raw).unwrap().statuses().count(), 0);
}

proptest! {
    #[test]
    fn no_transport_feedback_is_too_hostile(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(twcc) = Twcc::read(&raw) {
            let announced = usize::from(u16::from_be_bytes([raw[2], raw[3]]));
            prop_assert!(twcc.statuses().count() <= announced);
        }
    }

    #[test]
    fn no_bytes_are_too_hostile(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut asked = 0;
        for feedback in parse(&bytes) {
            asked += if let Feedback::Nack { seqs, .. } = feedback { seqs.count() } else { 0 };
        }
        prop_assert!(asked <= bytes.len() / 4 * 17);
    }

    /// Headers that are nearly right reach further in.
    #[test]
    fn no_packets_are_too_hostile(
        packets in prop::collection::vec(
            (0u8..32, 199u8..208, any::<bool>(), prop::collection::vec(any::<u8>(), 0..60), 0u16..17), 0..20),
    ) {
        let mut compound = vec![];
        for (count, packet_type, padded, body, words) in packets {
            compound.extend([0x80 | u8::from(padded) << 5 | count, packet_type]);
            compound.extend(words.to_be_bytes());
            compound.extend(body);
        }
        let (mut told, mut asked) = (0, 0);
        for feedback in parse(&compound) {
            told += 1;
            asked += if let Feedback::Nack { seqs, .. } = feedback { seqs.count() } else { 0 };
        }
        prop_assert!(told <= compound.len() / 4 && asked <= compound.len() / 4 * 17);
    }
}
