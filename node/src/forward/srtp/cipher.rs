//! The two ways to seal and open: AES-GCM, and AES in counter mode with HMAC-SHA1.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::kdf::{Label, derive};
use super::profile::{Packet, Profile, SrtpError};

/// The encrypted flag of an SRTCP index.
const ENCRYPTED: u32 = 0x8000_0000;
/// Bytes at the start of an RTCP packet that stay clear: header and SSRC.
const RTCP_CLEAR: usize = 8;
const SHA1_80: usize = 10;
const GCM_TAG: usize = 16;

/// Prepared contexts, for RTP and for RTCP. The rare ones are large and stand elsewhere.
pub(super) enum Cipher {
    Gcm { rtp: Gcm, rtcp: Gcm },
    Cm { rtp: Box<Cm>, rtcp: Box<Cm> },
}

pub(super) struct Gcm {
    key: LessSafeKey,
    /// 96 bits.
    salt: u128,
}

pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    pub fn derive(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        use Label::{RtcpAuth, RtcpKey, RtcpSalt, RtpAuth, RtpKey, RtpSalt};
        Ok(match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm {
                rtp: Gcm::derive(profile, key, salt, [RtpKey, RtpSalt])?,
                rtcp: Gcm::derive(profile, key, salt, [RtcpKey, RtcpSalt])?,
            },
            Profile::Aes128CmSha1_80 => Self::Cm {
                rtp: Cm::derive(key, salt, [RtpKey, RtpAuth, RtpSalt])?,
                rtcp: Cm::derive(key, salt, [RtcpKey, RtcpAuth, RtcpSalt])?,
            },
        })
    }

    /// Reads what sealing RTP will read, without what stands elsewhere.
    pub fn glance(&self) -> u64 {
        match self {
            Self::Gcm { rtp, .. } => rtp.salt.leading_zeros().into(),
            Self::Cm { .. } => 0,
        }
    }

    /// `packet` is header, payload and room for the tag, exactly. The payload is read from `payload`, or in place.
    pub fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: Option<&[u8]>,
        name: Packet,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { rtp, .. } => rtp.seal_rtp(packet, header_len, payload, name),
            Self::Cm { rtp, .. } => rtp.seal_rtp(packet, header_len, payload, name),
        }
    }

    /// `out` has room for the packet, tag and index, exactly.
    pub fn seal_rtcp(&self, packet: &[u8], out: &mut [u8], index: u32) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { rtcp, .. } => rtcp.seal_rtcp(packet, out, index),
            Self::Cm { rtcp, .. } => rtcp.seal_rtcp(packet, out, index),
        }
    }
}

/// A prepared context for the RTCP that comes.
pub(super) enum Opener {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

impl Opener {
    pub fn derive(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        use Label::{RtcpAuth, RtcpKey, RtcpSalt};
        Ok(match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                Self::Gcm(Gcm::derive(profile, key, salt, [RtcpKey, RtcpSalt])?)
            }
            Profile::Aes128CmSha1_80 => Self::Cm(Cm::derive(key, salt, [RtcpKey, RtcpAuth, RtcpSalt])?),
        })
    }

    /// The index that a packet claims. It says nothing before the packet is opened.
    pub fn index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let (clear, behind) = match self {
            Self::Gcm(_) => (RTCP_CLEAR + GCM_TAG, 0),
            Self::Cm(_) => (RTCP_CLEAR, SHA1_80),
        };
        let word = packet.len().checked_sub(behind).and_then(|end| packet.get(clear..end)?.last_chunk::<4>());
        let word = u32::from_be_bytes(*word.ok_or(SrtpError::Short(packet.len()))?);
        if word & ENCRYPTED == 0 { Err(SrtpError::Forged) } else { Ok(word & !ENCRYPTED) }
    }

    /// Opens a packet whose index has been read.
    pub fn open<'a>(&self, packet: &'a mut [u8], index: u32) -> Result<&'a [u8], SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtcp(packet, index),
            Self::Cm(cm) => cm.open_rtcp(packet, index),
        }
    }
}

impl Gcm {
    fn derive(profile: Profile, key: &[u8], salt: &[u8], labels: [Label; 2]) -> Result<Self, SrtpError> {
        let (mut session_key, mut session_salt) = ([0u8; 32], [0u8; 12]);
        let session_key = session_key.get_mut(..profile.key_len()).ok_or(SrtpError::Crypto)?;
        let [of_key, of_salt] = labels;
        derive(key, salt, of_key, session_key)?;
        derive(key, salt, of_salt, &mut session_salt)?;
        Self::new(session_key, session_salt)
    }

    pub fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Crypto)?;
        let salt = salt.iter().fold(0, |so_far, byte| so_far << 8 | u128::from(*byte));
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// Two bytes of zeros, the SSRC, and an index of 48 bits, with the salt over them.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let name = u128::from(ssrc) << 48 | u128::from(index);
        let [_, _, _, _, nonce @ ..] = (self.salt ^ name).to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 7714 section 8: the nonce is SSRC, roll-over counter and sequence number; the header is authenticated.
    pub fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: Option<&[u8]>,
        name: Packet,
    ) -> Result<(), SrtpError> {
        let nonce = self.nonce(name.ssrc, u64::from(name.roc) << 16 | u64::from(name.seq));
        let (header, body) = split(packet, header_len)?;
        let body_len = body.len().checked_sub(GCM_TAG).ok_or(SrtpError::Crypto)?;
        let (body, tag) = split(body, body_len)?;
        self.seal(nonce, header, payload, body, tag)
    }

    /// RFC 7714 section 9: the clear header and the index are authenticated; the index stands after the tag.
    pub fn seal_rtcp(&self, packet: &[u8], out: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let (clear, plain) =
            packet.split_first_chunk::<RTCP_CLEAR>().ok_or(SrtpError::Short(packet.len()))?;
        let [_, _, _, _, ssrc @ ..] = *clear;
        let nonce = self.nonce(u32::from_be_bytes(ssrc), index.into());
        let word = (ENCRYPTED | index).to_be_bytes();
        let mut authenticated = [0u8; RTCP_CLEAR + 4];
        for (byte, from) in authenticated.iter_mut().zip(clear.iter().chain(&word)) {
            *byte = *from;
        }
        let (header, rest) = split(out, RTCP_CLEAR)?;
        header.copy_from_slice(clear);
        let (body, rest) = split(rest, plain.len())?;
        let (tag, at_word) = split(rest, GCM_TAG)?;
        at_word.copy_from_slice(&word);
        self.seal(nonce, &authenticated, Some(plain), body, tag)
    }

    /// The reverse of [`Self::seal_rtcp`], in place.
    fn open_rtcp<'a>(&self, packet: &'a mut [u8], index: u32) -> Result<&'a [u8], SrtpError> {
        let short = SrtpError::Short(packet.len());
        let sealed_len = packet.len().checked_sub(4).ok_or(short)?;
        let (sealed, word) = split(packet, sealed_len)?;
        let (clear, body) = split(sealed, RTCP_CLEAR)?;
        let [_, _, _, _, ssrc @ ..] = *clear.first_chunk::<RTCP_CLEAR>().ok_or(short)?;
        let nonce = self.nonce(u32::from_be_bytes(ssrc), index.into());
        let mut authenticated = [0u8; RTCP_CLEAR + 4];
        for (byte, from) in authenticated.iter_mut().zip(clear.iter().chain(&*word)) {
            *byte = *from;
        }
        let opened = self.key.open_in_place(nonce, Aad::from(&authenticated), body);
        let len = RTCP_CLEAR + opened.map_err(|_| SrtpError::Forged)?.len();
        packet.get(..len).ok_or(short)
    }

    fn seal(
        &self,
        nonce: Nonce,
        authenticated: &[u8],
        plain: Option<&[u8]>,
        body: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        let aad = Aad::from(authenticated);
        match plain {
            Some(plain) => self.key.seal_out_of_place_scatter(nonce, aad, plain, body, &[], tag),
            None => self.key.seal_in_place_separate_tag(nonce, aad, body).map(|made| {
                for (byte, from) in tag.iter_mut().zip(made.as_ref()) {
                    *byte = *from;
                }
            }),
        }
        .map_err(|_| SrtpError::Crypto)
    }
}

impl Cm {
    fn derive(key: &[u8], salt: &[u8], labels: [Label; 3]) -> Result<Box<Self>, SrtpError> {
        let (mut session_key, mut auth, mut session_salt) = ([0u8; 16], [0u8; 20], [0u8; 14]);
        let [of_key, of_auth, of_salt] = labels;
        derive(key, salt, of_key, &mut session_key)?;
        derive(key, salt, of_auth, &mut auth)?;
        derive(key, salt, of_salt, &mut session_salt)?;
        Self::new(&session_key, &auth, session_salt).map(Box::new)
    }

    pub fn new(key: &[u8; 16], auth: &[u8; 20], salt: [u8; 14]) -> Result<Self, SrtpError> {
        let key = UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::ctr);
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth);
        Ok(Self { key: key.map_err(|_| SrtpError::Crypto)?, salt, auth })
    }

    /// RFC 3711 section 4.1.1: salt · 2¹⁶ ⊕ SSRC · 2⁶⁴ ⊕ index · 2¹⁶.
    fn encrypt(&self, ssrc: [u8; 4], index: [u8; 6], body: &mut [u8]) -> Result<(), SrtpError> {
        let ([a, b, c, d], [e, f, g, h, i, j]) = (ssrc, index);
        let mut start = [0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, 0, 0];
        for (byte, salt) in start.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        let done = self.key.less_safe_encrypt(body, EncryptionContext::Iv128(start.into()));
        done.map(drop).map_err(|_| SrtpError::Crypto)
    }

    fn sign(&self, signed: &[u8], more: &[u8], tag: &mut [u8]) {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(signed);
        context.update(more);
        for (byte, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *byte = *from;
        }
    }

    pub fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: Option<&[u8]>,
        name: Packet,
    ) -> Result<(), SrtpError> {
        let sealed_len = packet.len().checked_sub(SHA1_80).ok_or(SrtpError::Crypto)?;
        let (sealed, tag) = split(packet, sealed_len)?;
        let (_, body) = split(sealed, header_len)?;
        if let Some(payload) = payload {
            body.copy_from_slice(payload);
        }
        let ([a, b, c, d], [e, f]) = (name.roc.to_be_bytes(), name.seq.to_be_bytes());
        self.encrypt(name.ssrc.to_be_bytes(), [a, b, c, d, e, f], body)?;
        self.sign(sealed, &name.roc.to_be_bytes(), tag);
        Ok(())
    }

    pub fn seal_rtcp(&self, packet: &[u8], out: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let (clear, _) = packet.split_first_chunk::<RTCP_CLEAR>().ok_or(SrtpError::Short(packet.len()))?;
        let [_, _, _, _, ssrc @ ..] = *clear;
        let signed_len = packet.len() + 4;
        let (signed, tag) = split(out, signed_len)?;
        let (copy, word) = split(signed, packet.len())?;
        copy.copy_from_slice(packet);
        word.copy_from_slice(&(ENCRYPTED | index).to_be_bytes());
        let [a, b, c, d] = index.to_be_bytes();
        self.encrypt(ssrc, [0, 0, a, b, c, d], split(copy, RTCP_CLEAR)?.1)?;
        self.sign(signed, &[], tag);
        Ok(())
    }

    /// The reverse of [`Self::seal_rtcp`], in place.
    fn open_rtcp<'a>(&self, packet: &'a mut [u8], index: u32) -> Result<&'a [u8], SrtpError> {
        let short = SrtpError::Short(packet.len());
        let signed_len = packet.len().checked_sub(SHA1_80).ok_or(short)?;
        let (signed, tag) = split(packet, signed_len)?;
        let mut expected = [0u8; SHA1_80];
        self.sign(signed, &[], &mut expected);
        verify_slices_are_equal(&expected, tag).map_err(|_| SrtpError::Forged)?;
        let len = signed_len.checked_sub(4).ok_or(short)?;
        let (clear, body) = split(split(signed, len)?.0, RTCP_CLEAR)?;
        let [_, _, _, _, ssrc @ ..] = *clear.first_chunk::<RTCP_CLEAR>().ok_or(short)?;
        let [a, b, c, d] = index.to_be_bytes();
        self.encrypt(ssrc, [0, 0, a, b, c, d], body)?;
        packet.get(..len).ok_or(short)
    }
}

fn split(bytes: &mut [u8], at: usize) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let room = bytes.len();
    bytes.split_at_mut_checked(at).ok_or(SrtpError::Room { wanted: at, room })
}
