use std::collections::HashSet;

use super::cipher::{Cm, Gcm};
use super::kdf::{Label, derive};
use super::{Packet, Profile, RTCP_OVERHEAD, SrtcpReceiver, SrtpError, SrtpSender};

mod stock_peer;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A header and payload sealed with session keys given by hand.
fn seal(cipher: &Gcm, packet: &[u8], roc: u32) -> Vec<u8> {
    let mut out = vec![0; packet.len() + 16];
    out[..12].copy_from_slice(&packet[..12]);
    cipher.seal_rtp(&mut out, 12, Some(&packet[12..]), name(packet, roc)).unwrap();
    out
}

fn name(packet: &[u8], roc: u32) -> Packet {
    Packet {
        ssrc: u32::from_be_bytes(packet[8..12].try_into().unwrap()),
        roc,
        seq: u16::from_be_bytes(packet[2..4].try_into().unwrap()),
    }
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b_3() {
    let (key, salt) = (hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6"));
    let of = |label, len| {
        let mut out = vec![0; len];
        derive(&key, &salt, label, &mut out).unwrap();
        out
    };
    assert_eq!(of(Label::RtpKey, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(of(Label::RtpSalt, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = of(Label::RtpAuth, 94);
    assert_eq!(auth[..32], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE"));
}

/// The profiles derive their keys as others do, and seal RTP and RTCP as libsrtp's self-tests expect it.
#[test]
fn packets_are_sealed_as_others_seal_them() {
    let rtp = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let rtcp = hex("81c8000bcafebabe abababababababababababababababab");
    let table = [
        (
            Profile::Aes128CmSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
            "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798",
        ),
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "a0a1a2a3a4a5a6a7a8a9aaab",
            "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392",
            "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001",
        ),
    ];
    for (profile, key, salt, sealed_rtp, sealed_rtcp) in table {
        let mut sender = SrtpSender::new(profile, &hex(key), &hex(salt)).unwrap();
        let mut out = vec![0; 200];
        out[..12].copy_from_slice(&rtp[..12]);
        let len = sender.seal_rtp(&mut out, 12, &rtp[12..], 0xcafe_babe, 0, 0x1234).unwrap();
        assert_eq!(out[..len], hex(sealed_rtp), "{profile:?}");
        assert_eq!(len, rtp.len() + profile.rtp_overhead());
        out[..rtp.len()].copy_from_slice(&rtp);
        let len = sender.seal_rtp_in_place(&mut out, 12, 16, 0xcafe_babe, 0, 0x1234).unwrap();
        assert_eq!(out[..len], hex(sealed_rtp), "{profile:?} in place");
        let len = sender.seal_rtcp(&rtcp, &mut out).unwrap();
        assert_eq!(out[..len], hex(sealed_rtcp), "{profile:?}");
        assert_eq!(len, rtcp.len() + profile.rtcp_overhead());
    }
}

#[test]
fn gcm_agrees_with_rfc_7714() {
    let salt = hex("517569642070726f2071756f").try_into().unwrap();
    let gallia = hex(
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e6973206469766973612069 6e207061727465732074726573",
    );
    let key: Vec<u8> = (0..16).collect();
    let sealed = hex(
        "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
         899d7f27beb16a9152cf765ee4390cce",
    );
    assert_eq!(seal(&Gcm::new(&key, salt).unwrap(), &gallia, 0), sealed, "section 16.1.1");
    let key: Vec<u8> = (0..32).collect();
    let sealed = hex(
        "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
         7aa3db36dfffd6b0f9bb7878d7a76c13",
    );
    assert_eq!(seal(&Gcm::new(&key, salt).unwrap(), &gallia, 0), sealed, "section 16.2.1");
    let report = hex(
        "81c8000d4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let sealed = hex(
        "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded
         0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4",
    );
    let mut out = vec![0; report.len() + RTCP_OVERHEAD];
    let key: Vec<u8> = (0..16).collect();
    Gcm::new(&key, salt).unwrap().seal_rtcp(&report, &mut out, 0x5d4).unwrap();
    assert_eq!(out, sealed, "section 17.1");
}

#[test]
fn the_roll_over_counter_is_sealed_in() {
    let key: Vec<u8> = (0..16).collect();
    let packet = hex("800f1234decafbadcafebabe abababab");
    let gcm = Gcm::new(&key, [7; 12]).unwrap();
    assert_ne!(seal(&gcm, &packet, 0), seal(&gcm, &packet, 1));
    let cm = Cm::new(&[1; 16], &[2; 20], [3; 14]).unwrap();
    let with = |roc| {
        let mut out = packet.clone();
        out.resize(packet.len() + 10, 0);
        cm.seal_rtp(&mut out, 12, None, name(&packet, roc)).unwrap();
        out
    };
    assert_ne!(with(0), with(1));
}

#[test]
fn an_rtcp_index_is_never_used_twice_and_ends() {
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80] {
        let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
        let mut sender = SrtpSender::new(profile, &key, &salt).unwrap();
        let mut out = [0; 64];
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let len = sender.seal_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9], &mut out).unwrap();
            assert!(seen.insert(out[8..len].to_vec()));
        }
        // A packet that does not fit takes no index.
        assert!(matches!(sender.seal_rtcp(&[0; 60], &mut out), Err(SrtpError::Room { .. })));
        assert_eq!(sender.seal_rtcp(&[0; 7], &mut out), Err(SrtpError::Short(7)));
        assert_eq!(sender.rtcp_index, 1_000);
        sender.rtcp_index = 0x7fff_fffe;
        assert!(sender.seal_rtcp(&[0; 8], &mut out).is_ok());
        assert_eq!(sender.seal_rtcp(&[0; 8], &mut out), Err(SrtpError::Exhausted));
    }
}

#[test]
fn keys_of_a_wrong_length_and_packets_without_room_are_refused() {
    let wrong = SrtpSender::new(Profile::AeadAes256Gcm, &[0; 16], &[0; 12]);
    assert!(matches!(wrong, Err(SrtpError::KeyLength { found: 16, wanted: 32, .. })));
    let material = [0; 55];
    let short = SrtpSender::from_keying_material(Profile::AeadAes128Gcm, &material, true);
    assert!(matches!(short, Err(SrtpError::KeyLength { found: 55, wanted: 56, .. })));
    let sender = SrtpSender::new(Profile::AeadAes128Gcm, &[0; 16], &[0; 12]).unwrap();
    let mut out = [0; 40];
    assert_eq!(
        sender.seal_rtp(&mut out, 12, &[0; 13], 1, 0, 1),
        Err(SrtpError::Room { wanted: 41, room: 40 })
    );
    assert_eq!(sender.seal_rtp(&mut out, 12, &[0; 12], 1, 0, 1), Ok(40));
}

#[test]
fn each_side_takes_its_half_of_the_keying_material() {
    let profile = Profile::AeadAes128Gcm;
    let mut material = vec![1; 16];
    material.extend([2; 16]);
    material.extend([3; 12]);
    material.extend([4; 12]);
    for (client, key, salt) in [(true, 1, 3), (false, 2, 4)] {
        let ours = SrtpSender::from_keying_material(profile, &material, client).unwrap();
        let expected = SrtpSender::new(profile, &[key; 16], &[salt; 12]).unwrap();
        let sealed = |sender: &SrtpSender| {
            let mut out = [0; 60];
            sender.seal_rtp(&mut out, 12, &[5; 20], 1, 0, 1).unwrap();
            out
        };
        assert_eq!(sealed(&ours), sealed(&expected));
    }
}

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];

/// Both ends of a session: the client, and this side as its server.
fn ends(profile: Profile) -> (SrtpSender, SrtcpReceiver) {
    let len = 2 * (profile.key_len() + profile.salt_len());
    let material: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let client = SrtpSender::from_keying_material(profile, &material, true).unwrap();
    (client, SrtcpReceiver::from_keying_material(profile, &material, false).unwrap())
}

fn report(client: &mut SrtpSender, nth: u8) -> (Vec<u8>, Vec<u8>) {
    report_of(client, 9, nth)
}

fn report_of(client: &mut SrtpSender, ssrc: u8, nth: u8) -> (Vec<u8>, Vec<u8>) {
    let plain = [&[0x80, 201, 0, 1, 0, 0, 0, ssrc][..], &[nth; 40]].concat();
    let mut sealed = vec![0; plain.len() + RTCP_OVERHEAD];
    let len = client.seal_rtcp(&plain, &mut sealed).unwrap();
    sealed.truncate(len);
    (plain, sealed)
}

#[test]
fn reports_are_opened_once_in_any_order_within_the_window() {
    for profile in PROFILES {
        let (mut client, mut ours) = ends(profile);
        let reports: Vec<_> = (0..100).map(|nth| report(&mut client, nth)).collect();
        let (mut newest, order) = (0, [0, 2, 1, 80, 17, 99, 79]);
        for nth in order {
            let (plain, sealed) = &reports[nth];
            assert_eq!(ours.open(&mut sealed.clone()), Ok(&plain[..]), "{profile:?} {nth}");
            assert_eq!(ours.was_newest(), nth >= newest, "{profile:?} {nth}: it was overtaken or not");
            newest = newest.max(nth);
            assert_eq!(ours.open(&mut sealed.clone()), Err(SrtpError::Replayed), "{profile:?} {nth}");
        }
        assert_eq!(ours.open(&mut reports[35].1.clone()), Err(SrtpError::Replayed), "too old to tell");
    }
}

#[test]
fn no_changed_report_is_opened_and_none_closes_the_way_for_the_right_one() {
    for profile in PROFILES {
        let (mut client, mut ours) = ends(profile);
        let (plain, sealed) = report(&mut client, 7);
        for at in 0..sealed.len() {
            for bit in [1, 0x80] {
                let mut changed = sealed.clone();
                changed[at] ^= bit;
                assert_eq!(ours.open(&mut changed), Err(SrtpError::Forged), "{profile:?} {at}");
            }
        }
        for len in 0..sealed.len() {
            assert!(ours.open(&mut sealed[..len].to_vec()).is_err(), "{profile:?} {len}");
        }
        // What this side seals is not for this side.
        let material: Vec<u8> = (0..2 * (profile.key_len() + profile.salt_len())).map(|n| n as u8).collect();
        let mut own = SrtpSender::from_keying_material(profile, &material, false).unwrap();
        assert_eq!(ours.open(&mut report(&mut own, 7).1), Err(SrtpError::Forged));
        assert_eq!(ours.open(&mut sealed.clone()), Ok(&plain[..]), "{profile:?}");
    }
}

/// As Firefox does, whose sound and picture report under SSRCs of their own.
#[test]
fn each_ssrc_has_indexes_of_its_own() {
    for profile in PROFILES {
        let ((mut sound, mut ours), (mut picture, _)) = (ends(profile), ends(profile));
        for nth in 0..200 {
            let (plain, sealed) = report_of(&mut picture, 2, nth);
            assert_eq!(ours.open(&mut sealed.clone()), Ok(&plain[..]), "{profile:?} {nth}");
            if nth % 50 == 0 {
                let (plain, sealed) = report_of(&mut sound, 1, nth);
                assert_eq!(ours.open(&mut sealed.clone()), Ok(&plain[..]), "{profile:?} {nth}");
                assert_eq!(ours.open(&mut sealed.clone()), Err(SrtpError::Replayed), "{profile:?} {nth}");
            }
            assert_eq!(ours.open(&mut sealed.clone()), Err(SrtpError::Replayed), "{profile:?} {nth}");
        }
    }
}

#[test]
fn the_ssrcs_heard_last_are_remembered_and_no_more() {
    let (mut client, mut ours) = ends(Profile::AeadAes128Gcm);
    let mut kept = report_of(&mut client, 255, 0).1;
    let original = kept.clone();
    ours.open(&mut kept).unwrap();
    for ssrc in 0..200 {
        ours.open(&mut report_of(&mut client, ssrc, 0).1).unwrap();
        if ssrc % 16 == 0 {
            ours.open(&mut report_of(&mut client, 255, 1).1).unwrap();
        }
    }
    assert_eq!(ours.windows.len(), 32);
    assert_eq!(ours.open(&mut original.clone()), Err(SrtpError::Replayed), "it spoke in between");
    assert_eq!(ours.open(&mut report_of(&mut client, 199, 0).1).map(<[u8]>::len), Ok(48));
}
