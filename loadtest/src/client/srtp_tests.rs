use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Both directions have this master key and salt.
fn session(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Srtp {
    let material = [key, key, salt, salt].concat();
    let keys = Keys { material, profile, client: true };
    Srtp::new(&keys, &str0m_aws_lc_rs::default_provider()).unwrap()
}

const RTP_PLAIN: &str = "800f1234decafbadcafebabe abababababababababababababababab";
const RTCP_PLAIN: &str = "81c8000bcafebabe abababababababababababababababab";

/// Profile, master key, master salt, RTP, RTCP.
type Sealed = (SrtpProfile, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// Packets of libsrtp's self-tests.
fn table() -> [Sealed; 2] {
    [
        (
            SrtpProfile::AES128_CM_SHA1_80,
            hex("e1f97a0d3e018be0d64fa32c06de4139"),
            hex("0ec675ad498afeebb6960b3aabe6"),
            hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb"),
            hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798"),
        ),
        (
            SrtpProfile::AEAD_AES_128_GCM,
            hex("000102030405060708090a0b0c0d0e0f"),
            hex("a0a1a2a3a4a5a6a7a8a9aaab"),
            hex("800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392"),
            hex(
                "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001",
            ),
        ),
    ]
}

#[test]
fn what_others_seal_is_opened_and_what_is_sealed_here_is_theirs() {
    for (profile, key, salt, rtp, rtcp) in table() {
        let mut srtp = session(profile, &key, &salt);
        let plain = srtp.open_rtp(&rtp, 12, 0xcafe_babe, 0x1234).unwrap();
        assert_eq!(plain, &hex(RTP_PLAIN)[12..], "{profile:?}");
        assert_eq!(srtp.seal_rtcp(&hex(RTCP_PLAIN)).unwrap(), rtcp, "{profile:?}");
        assert_eq!(srtp.open_rtcp(&rtcp).unwrap(), hex(RTCP_PLAIN), "{profile:?}");
    }
}

#[test]
fn every_index_is_used_once() {
    for (profile, key, salt, _, rtcp) in table() {
        let mut srtp = session(profile, &key, &salt);
        srtp.seal_rtcp(&hex(RTCP_PLAIN)).unwrap();
        let second = srtp.seal_rtcp(&hex(RTCP_PLAIN)).unwrap();
        assert_ne!(second, rtcp, "{profile:?}");
        assert_eq!(srtp.open_rtcp(&second).unwrap(), hex(RTCP_PLAIN));
        srtp.index = ENCRYPTED - 1;
        assert_eq!(srtp.seal_rtcp(&hex(RTCP_PLAIN)), None, "all are used up");
    }
}

#[test]
fn what_was_changed_or_cut_is_refused() {
    for (profile, key, salt, rtp, rtcp) in table() {
        let mut srtp = session(profile, &key, &salt);
        for place in 0..rtp.len() {
            let mut changed = rtp.clone();
            changed[place] ^= 1;
            assert!(srtp.open_rtp(&changed, 12, 0xcafe_babe, 0x1234).is_none(), "{profile:?} {place}");
            assert!(srtp.open_rtp(&rtp[..place], 12, 0xcafe_babe, 0x1234).is_none());
        }
        assert!(srtp.open_rtp(&rtp, 12, 0xcafe_babe, 0x1_1234).is_none(), "another roll-over counter");
        for place in 0..rtcp.len() {
            let mut changed = rtcp.clone();
            changed[place] ^= 1;
            assert!(srtp.open_rtcp(&changed).is_none(), "{profile:?} {place}");
            assert!(srtp.open_rtcp(&rtcp[..place]).is_none());
        }
        assert!(srtp.seal_rtcp(&rtcp[..7]).is_none());
    }
}

#[test]
fn keys_of_256_bits_are_two_of_a_kind() {
    let (key, salt) = ([7; 32], [9; 12]);
    let other = |client| {
        let material = [[7; 32], [8; 32]].concat().into_iter().chain([9; 12]).chain([10; 12]).collect();
        let keys = Keys { material, profile: SrtpProfile::AEAD_AES_256_GCM, client };
        Srtp::new(&keys, &str0m_aws_lc_rs::default_provider()).unwrap()
    };
    let (mut client, mut server) = (other(true), other(false));
    let sealed = client.seal_rtcp(&hex(RTCP_PLAIN)).unwrap();
    assert_eq!(server.open_rtcp(&sealed).unwrap(), hex(RTCP_PLAIN));
    assert!(client.open_rtcp(&sealed).is_none(), "each side has a key of its own");
    assert_eq!(
        session(SrtpProfile::AEAD_AES_256_GCM, &key, &salt).seal_rtcp(&hex(RTCP_PLAIN)).unwrap(),
        sealed
    );
    let short = Keys { material: vec![0; 80], profile: SrtpProfile::AEAD_AES_256_GCM, client: true };
    assert!(Srtp::new(&short, &str0m_aws_lc_rs::default_provider()).is_none());
}
