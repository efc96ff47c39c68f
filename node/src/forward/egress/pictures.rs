use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::*;
use crate::forward::blank::Blank;
use crate::forward::rtp::parse;
use crate::forward::srtp::Profile;
use crate::forward::train::TrainLimits;
use crate::media::packet::Extensions;

const VP8: Format = Format { pt: 96, rtx: Some(97), nack: true, clock_rate: 90_000, vp8: true };
const OTHER: Format = Format { pt: 98, rtx: Some(99), nack: true, clock_rate: 90_000, vp8: false };

fn srtp() -> SrtpSender {
    SrtpSender::new(Profile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap()
}

/// A viewer's outlet, and the train that it sends with.
struct Bench {
    sealer: Sealer,
    outlet: Outlet,
    trains: Trains,
    now: Instant,
}

impl Bench {
    fn new(rtx_ssrc: Option<u32>) -> Self {
        Self {
            sealer: Sealer::new(srtp(), Blank::default()),
            outlet: Outlet::new(11, rtx_ssrc, "0", &[], (5 << 16 | 6, 0)),
            trains: Trains::new(TrainLimits::default()),
            now: Instant::now(),
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Outlet, &mut Sealer, &mut Road<'_>) -> T) -> (T, Vec<u8>) {
        let to = &Way::from(SocketAddr::from(([127, 0, 0, 1], 9)));
        self.trains.begin_way(to);
        let depart = &mut |_: &mut Trains| {};
        let mut road = Road { trains: &mut self.trains, depart, to, at: SentAt::default() };
        let result = call(&mut self.outlet, &mut self.sealer, &mut road);
        self.trains.end();
        let bytes =
            self.trains.pending().first().map(|train| self.trains.arena()[train.range.clone()].to_vec());
        self.trains.advance(self.trains.pending().len());
        (result, bytes.unwrap_or_default())
    }

    fn send(&mut self, format: Format, packet: &Packet) -> Vec<u8> {
        let now = self.now;
        self.with(|outlet, sealer, road| outlet.send(sealer, format, packet, now, road)).1
    }

    fn again(&mut self, format: Format, packet: &Packet, seq: u16) -> Vec<u8> {
        let Some((source, _)) = self.outlet.find(seq) else { return Vec::new() };
        let request = Request { seq, source, now: self.now, round_trip: None, copies: 2 };
        self.with(|outlet, sealer, road| outlet.again(sealer, format, packet, request, road)).1
    }
}

/// A picture of one packet; every field of the descriptor is there.
fn picture(index: u64, id: u16, tl0: u8, tid: u8, keyidx: u8, key: bool) -> Packet {
    let [high, low] = id.to_be_bytes();
    let start = [0x90, 0xf0, 0x80 | high, low, tl0, tid << 6 | keyidx, u8::from(!key)];
    let payload: Vec<u8> =
        start.into_iter().chain((0..1_000_u32).map(|n| (n ^ u32::from(id)) as u8)).collect();
    Packet {
        index,
        timestamp: index as u32 * 3_000,
        marker: true,
        keyframe: key,
        codec: 0,
        capture: CaptureMicros(0),
        arrived: Instant::now(),
        exts: Extensions::default(),
        payload: Bytes::from(payload),
    }
}

/// What a sealed packet must be with this payload.
fn sealed(header_of: &[u8], payload: &[u8]) -> Vec<u8> {
    let parsed = parse(header_of).unwrap();
    let (fields, len) = (parsed.fields, parsed.header_len);
    let mut out = header_of[..len].to_vec();
    out.resize(len + payload.len() + RTP_OVERHEAD, 0);
    let len = srtp().seal_rtp(&mut out, len, payload, fields.ssrc, 0, fields.seq).unwrap();
    out.truncate(len);
    out
}

#[test]
fn a_source_whose_first_packet_comes_last_keeps_a_place_for_it() {
    let mut bench = Bench::new(Some(12));
    bench.send(VP8, &picture(70, 300, 9, 0, 3, true));
    bench.outlet.switch_source();
    bench.outlet.begin_at(20);
    let mut numbers = Vec::new();
    for index in [21, 19, 22, 20] {
        let packet = Packet { timestamp: 7, ..picture(index, 500, 7, 0, 5, true) };
        let bytes = bench.send(VP8, &packet);
        if bytes.is_empty() {
            assert_eq!(index, 19, "of the frame before");
            continue;
        }
        let expected = [&[0x90, 0xf0, 0x81, 0x2d, 10, 4, 0], &packet.payload[7..]].concat();
        assert_eq!(bytes, sealed(&bytes, &expected), "{index}: of one picture");
        let fields = parse(&bytes).unwrap().fields;
        numbers.push((fields.seq, fields.timestamp));
    }
    let (first, timestamp) = (numbers[2].0, numbers[2].1);
    assert_eq!(numbers, [first + 1, first + 2, first].map(|seq| (seq, timestamp)));
    assert_eq!(bench.outlet.find(first).map(|(_, index)| index), Some(20));
}

#[test]
fn vp8_goes_on_in_its_numbers_and_is_repeated_in_the_same() {
    for rtx_ssrc in [None, Some(12)] {
        let mut bench = Bench::new(rtx_ssrc);
        let first = picture(70, 0x7fff, 255, 0, 31, true);
        let first_bytes = bench.send(VP8, &first);
        assert_eq!(first_bytes, sealed(&first_bytes, &first.payload), "the first source goes as it is");
        bench.outlet.switch_source();
        let second = picture(9, 500, 7, 0, 3, true);
        let expected = [&[0x90, 0xf0, 0x80, 0, 0, 0, 0], &second.payload[7..]].concat();
        let bytes = bench.send(VP8, &second);
        assert_eq!(bytes, sealed(&bytes, &expected));
        assert_eq!(second.payload[2..4], [0x81, 0xf4], "the ring's payload stays what it is");
        let seq = parse(&bytes).unwrap().fields.seq;
        let again = bench.again(VP8, &second, seq);
        match rtx_ssrc {
            None => {
                assert_eq!(again, bytes, "one nonce, the same bytes");
                assert_eq!(bench.again(VP8, &first, seq - 1), first_bytes, "of the source before, too");
            }
            Some(_) => {
                let with_seq = [&seq.to_be_bytes(), &expected[..]].concat();
                assert_eq!(again, sealed(&again, &with_seq));
                assert_eq!(parse(&again).unwrap().fields.pt, 97);
            }
        }
    }
}

#[test]
fn layers_above_the_limit_have_no_number_that_could_be_asked_for() {
    let mut bench = Bench::new(None);
    let first = bench.send(VP8, &picture(1, 1, 0, 0, 0, true));
    let seq = parse(&first).unwrap().fields.seq;
    bench.outlet.set_max_temporal(Some(0));
    assert!(bench.send(VP8, &picture(2, 2, 0, 2, 0, false)).is_empty());
    let third = picture(3, 3, 1, 0, 0, false);
    let bytes = bench.send(VP8, &third);
    let mut expected = third.payload.to_vec();
    expected[3] = 2;
    assert_eq!(bytes, sealed(&bytes, &expected), "its picture takes the place of the one before");
    assert_eq!(parse(&bytes).unwrap().fields.seq, seq + 1, "sequence numbers close up");
    assert_eq!(
        bench.again(VP8, &picture(2, 2, 0, 2, 0, false), seq + 1),
        [0_u8; 0],
        "it is never sent again"
    );
    assert_eq!(bench.again(VP8, &third, seq + 1), bytes);
}

#[test]
fn other_codecs_go_as_they_are() {
    let mut bench = Bench::new(None);
    for _ in 0..3 {
        bench.outlet.switch_source();
        let packet = picture(5, 77, 1, 2, 3, true);
        bench.outlet.set_max_temporal(Some(0));
        let bytes = bench.send(OTHER, &packet);
        assert_eq!(bytes, sealed(&bytes, &packet.payload));
    }
    assert!(bench.outlet.vp8.is_none(), "and cost nothing");
}

#[test]
fn retransmissions_go_twice_while_they_are_few_and_once_when_many_are_asked_for() {
    let mut bench = Bench::new(Some(12));
    let packets: Vec<Packet> = (1..=400_u16)
        .map(|n| Packet { payload: Bytes::from(vec![7; 1_000]), ..picture(u64::from(n), n, 0, 0, 0, n == 1) })
        .collect();
    let mut seqs = Vec::new();
    for packet in &packets {
        seqs.push(parse(&bench.send(OTHER, packet)).unwrap().fields.seq);
    }
    let copies: Vec<usize> = packets
        .iter()
        .zip(seqs)
        .take(60)
        .map(|(packet, seq)| bench.again(OTHER, packet, seq).len() / 1_000)
        .collect();
    assert_eq!(copies[..10], [2; 10]);
    assert_eq!(copies[40..], [1; 20], "above a twentieth of the media: {copies:?}");
}
