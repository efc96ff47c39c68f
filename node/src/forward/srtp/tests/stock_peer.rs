//! What is sealed here is opened by a stock peer: keys taken from a DTLS handshake, headers and reports written by
//! this crate, an unmodified str0m at the other end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::crypto::CryptoProvider;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::forward::rtcp::{SenderReport, write_sender_report};
use crate::forward::rtp::{ExtensionIds, Header, Stamps, abs_send_time};
use crate::forward::srtp::{Profile, RTCP_OVERHEAD, SrtpSender};
use crate::media::clock::NtpTime;
use crate::media::packet::{CaptureMicros, Extensions};
use crate::peer::crypto;
use crate::peer::keys::Keys;

struct Pair {
    now: Instant,
    server: Rtc,
    client: Rtc,
    server_addr: SocketAddr,
    client_addr: SocketAddr,
    keys: Keys,
    mid: Mid,
}

fn drain(rtc: &mut Rtc, sent: &mut Vec<Transmit>, events: &mut Vec<Event>) {
    loop {
        match rtc.poll_output().unwrap() {
            Output::Timeout(_) => return,
            Output::Transmit(transmit) => sent.push(transmit),
            Output::Event(event) => events.push(event),
        }
    }
}

fn give(rtc: &mut Rtc, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
    let receive = Receive { proto: Protocol::Udp, source, destination, contents: bytes.try_into().unwrap() };
    rtc.handle_input(Input::Receive(now, receive)).unwrap();
}

fn connect() -> Pair {
    let mut now = Instant::now();
    let (server_addr, client_addr) = ("127.0.0.1:5000".parse().unwrap(), "127.0.0.1:6000".parse().unwrap());
    let config = |provider: Arc<CryptoProvider>| {
        RtcConfig::new().set_crypto_provider(provider).set_rtp_mode(true).enable_raw_packets(true)
    };
    let mut client = config(Arc::new(str0m_aws_lc_rs::default_provider())).build(now);
    let mut server = config(crypto::provider()).set_ice_lite(true).build(now);
    client.add_local_candidate(Candidate::host(client_addr, "udp").unwrap()).unwrap();
    server.add_local_candidate(Candidate::host(server_addr, "udp").unwrap()).unwrap();
    let mut api = client.sdp_api();
    api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let offer = SdpOffer::from_sdp_string(&offer.to_sdp_string()).unwrap();
    let answer = server.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
    client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    let (mut sent, mut events) = (vec![], vec![]);
    let mut mid = None;
    let mut connected = 0;
    for _ in 0..500 {
        now += Duration::from_millis(5);
        client.handle_input(Input::Timeout(now)).unwrap();
        drain(&mut client, &mut sent, &mut events);
        for transmit in sent.drain(..) {
            give(&mut server, now, client_addr, server_addr, &transmit.contents);
        }
        server.handle_input(Input::Timeout(now)).unwrap();
        drain(&mut server, &mut sent, &mut events);
        for transmit in sent.drain(..) {
            give(&mut client, now, server_addr, client_addr, &transmit.contents);
        }
        for event in events.drain(..) {
            match event {
                Event::Connected => connected += 1,
                Event::MediaAdded(media) => mid = Some(media.mid),
                _ => {}
            }
        }
        if connected == 2 {
            let keys = crypto::take_keys().unwrap();
            return Pair { now, server, client, server_addr, client_addr, keys, mid: mid.unwrap() };
        }
    }
    panic!("the peers did not connect");
}

#[test]
fn a_stock_peer_opens_packets_and_reports() {
    let mut pair = connect();
    let Keys { material, profile, client: active } = pair.keys;
    let profile = Profile::try_from(profile).unwrap();
    assert_eq!(profile, Profile::AeadAes256Gcm, "what a DTLS 1.2 server picks");
    let mut sender = SrtpSender::from_keying_material(profile, &material, active).unwrap();
    let pt: Pt = pair.server.media(pair.mid).unwrap().remote_pts()[0];
    let ssrc = pair.server.direct_api().stream_tx_by_mid(pair.mid, None).unwrap().ssrc();
    pair.server.direct_api().remove_stream_tx(ssrc);
    let mut ids = ExtensionIds::default();
    for (id, extension) in pair.server.media(pair.mid).unwrap().remote_extmap().iter_video() {
        let known = ExtensionIds::from_uris([(id, extension.as_uri())]);
        ids.mid = ids.mid.or(known.mid);
        ids.abs_send_time = ids.abs_send_time.or(known.abs_send_time);
        ids.transport_cc = ids.transport_cc.or(known.transport_cc);
        ids.orientation = ids.orientation.or(known.orientation);
        ids.playout_delay = ids.playout_delay.or(known.playout_delay);
    }
    assert!(ids.mid.is_some() && ids.abs_send_time.is_some() && ids.transport_cc.is_some());

    let ntp = NtpTime::from_wall(CaptureMicros(1_790_000_000_500_000));
    let mid = pair.mid.to_string();
    let (mut opened, mut out, mut lost) = (vec![], [0; 1_500], vec![]);
    let (mut sent, mut events) = (vec![], vec![]);
    // Past 65,535, so that the roll-over counter takes part.
    for seq in 64_000u64..67_000 {
        pair.now += Duration::from_micros(500);
        let payload = [seq.to_be_bytes().as_slice(), &[0x55; 900]].concat();
        let header = Header {
            pt: *pt,
            marker: seq % 7 == 0,
            seq: seq as u16,
            timestamp: seq as u32 * 400,
            ssrc: *ssrc,
            mid: Some(&mid),
            exts: &Extensions { orientation: Some(1), playout_delay: Some((3, 40)), ..Extensions::default() },
            stamps: &Stamps { abs_send_time: Some(abs_send_time(ntp)), transport_cc: Some(seq as u16) },
        };
        let header_len = header.write(&ids, &mut out).unwrap();
        let roc = (seq >> 16) as u32;
        let len = sender.seal_rtp(&mut out, header_len, &payload, *ssrc, roc, seq as u16).unwrap();
        if seq % 500 == 250 {
            lost.push(seq);
            continue;
        }
        give(&mut pair.client, pair.now, pair.server_addr, pair.client_addr, &out[..len]);
        drain(&mut pair.client, &mut sent, &mut events);
        for event in events.drain(..) {
            if let Event::RtpPacket(packet) = event {
                assert_eq!(packet.payload[8..], [0x55; 900]);
                assert_eq!(packet.header.ext_vals.mid.map(|mid| mid.to_string()), Some(mid.clone()));
                assert_eq!(packet.header.ext_vals.transport_cc, Some(packet.header.sequence_number));
                opened.push(u64::from_be_bytes(packet.payload[..8].try_into().unwrap()));
            }
        }
    }
    assert_eq!(opened.len() + lost.len(), 3_000);
    assert_eq!((opened[0], opened[opened.len() - 1]), (64_000, 66_999));

    let report = SenderReport { ssrc: *ssrc, ntp, rtp: 66_999 * 400, packets: 3_000, octets: 2_700_000 };
    let mut plain = [0; 400];
    let len = write_sender_report(&report, "freshet", &mut plain).unwrap();
    let mut sealed = [0; 400 + RTCP_OVERHEAD];
    let len = sender.seal_rtcp(&plain[..len], &mut sealed).unwrap();
    give(&mut pair.client, pair.now, pair.server_addr, pair.client_addr, &sealed[..len]);
    pair.now += Duration::from_secs(1);
    pair.client.handle_input(Input::Timeout(pair.now)).unwrap();
    drain(&mut pair.client, &mut sent, &mut events);
    let read = events
        .iter()
        .map(|event| format!("{event:?}"))
        .filter(|event| event.contains("RtcpRx(SenderReport"))
        .count();
    assert_eq!(read, 1, "{events:?}");

    // Its feedback about what we sent comes back through the session: the lost packets are asked for.
    for transmit in sent.drain(..) {
        give(&mut pair.server, pair.now, pair.client_addr, pair.server_addr, &transmit.contents);
    }
    events.clear();
    drain(&mut pair.server, &mut sent, &mut events);
    assert!(events.iter().any(|event| format!("{event:?}").contains("Nack")), "{events:?}");
}
