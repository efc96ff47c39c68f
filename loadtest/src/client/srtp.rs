//! SRTP of a session whose media str0m does not see: opens RTP and RTCP, seals RTCP.
//!
//! Keys are those that DTLS exported (RFC 5764 section 4.2), derived as RFC 3711 section 4.3 says; the ciphers are those
//! that str0m itself would use.
//!
//! Under GCM two packets sealed with one key, SSRC and index give the key away. So everything that leaves such a session
//! is sealed here, under one counter, and what str0m would send is kept back: [`super::sampled`].

use std::fmt;

use str0m::crypto::dtls::SrtpProfile;
use str0m::crypto::{
    AeadAes128Gcm, AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80, Aes128CmSha1_80Cipher,
    CryptoProvider, Sha1HmacProvider,
};

/// Bytes at the start of an RTCP packet that stay clear: header and SSRC.
const RTCP_CLEAR: usize = 8;
/// The encrypted flag of an SRTCP index.
const ENCRYPTED: u32 = 0x8000_0000;
const INDEX: usize = 4;
const GCM_TAG: usize = AeadAes128Gcm::TAG_LEN;
const CM_TAG: usize = Aes128CmSha1_80::HMAC_TAG_LEN;
/// Room that a cipher in counter mode may want behind its output.
const BLOCK: usize = 16;
/// Labels of derived keys: for RTP key, authentication, salt; for RTCP three more.
const RTP: u8 = 0;
const RTCP: u8 = 3;

/// SRTP keys as DTLS exported them.
pub(super) struct Keys {
    /// `client key | server key | client salt | server salt`.
    pub material: Vec<u8>,
    pub profile: SrtpProfile,
    /// This side was the DTLS client.
    pub client: bool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

enum Gcm {
    Of128(Box<dyn AeadAes128GcmCipher>),
    Of256(Box<dyn AeadAes256GcmCipher>),
}

/// One direction of RTP or of RTCP.
enum Cipher {
    Gcm { cipher: Gcm, salt: [u8; 12] },
    Cm { cipher: Box<dyn Aes128CmSha1_80Cipher>, salt: [u8; 14], auth: [u8; 20] },
}

/// A session's SRTP.
pub(super) struct Srtp {
    rtp: Cipher,
    rtcp: Cipher,
    out: Cipher,
    /// Of the RTCP that was sealed last.
    index: u32,
    hmac: &'static dyn Sha1HmacProvider,
    opened: Vec<u8>,
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Srtp {
    /// `None` where DTLS agreed on what is not known here, or exported too little.
    pub fn new(keys: &Keys, provider: &CryptoProvider) -> Option<Self> {
        let (key_len, salt_len) = match keys.profile {
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            _ => return None,
        };
        let half = |client: bool| {
            let nth = usize::from(!client);
            let key = keys.material.get(nth * key_len..)?.get(..key_len)?;
            let salt = keys.material.get(2 * key_len + nth * salt_len..)?.get(..salt_len)?;
            Some((key, salt))
        };
        let (ours, theirs) = (half(keys.client)?, half(!keys.client)?);
        Some(Self {
            rtp: Cipher::derive(provider, theirs, RTP, false)?,
            rtcp: Cipher::derive(provider, theirs, RTCP, false)?,
            out: Cipher::derive(provider, ours, RTCP, true)?,
            index: 0,
            hmac: provider.sha1_hmac_provider,
            opened: Vec::new(),
        })
    }

    /// Bytes that sealing added behind an RTP packet.
    pub fn tag_len(&self) -> usize {
        match self.rtp {
            Cipher::Gcm { .. } => GCM_TAG,
            Cipher::Cm { .. } => CM_TAG,
        }
    }

    /// The payload of a packet of this SSRC and index (roll-over counter and sequence number); `None` if it was sealed
    /// otherwise.
    pub fn open_rtp(&mut self, packet: &[u8], header: usize, ssrc: u32, index: u64) -> Option<&[u8]> {
        let sealed_len = packet.len().checked_sub(self.tag_len())?;
        let (signed, tag) = packet.split_at_checked(sealed_len)?;
        let (head, body) = signed.split_at_checked(header)?;
        self.opened.clear();
        self.opened.resize(body.len() + BLOCK, 0);
        match &mut self.rtp {
            Cipher::Gcm { cipher, salt } => {
                let roc = u32::try_from(index >> 16).ok()?;
                let sequence = u16::try_from(index & 0xffff).ok()?;
                let nonce = AeadAes128Gcm::rtp_iv(*salt, ssrc, roc, sequence);
                cipher.open(&nonce, head, packet.get(header..)?, self.opened.get_mut(..body.len())?)?;
            }
            Cipher::Cm { cipher, salt, auth } => {
                let hmac = |key: &[u8], parts: &[&[u8]]| self.hmac.sha1_hmac(key, parts);
                if !Aes128CmSha1_80::rtp_verify(hmac, auth, signed, index, tag) {
                    return None;
                }
                let nonce = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index);
                cipher.decrypt(&nonce, body, &mut self.opened).ok()?;
            }
        }
        self.opened.get(..body.len())
    }

    /// The compound packet in an SRTCP packet; `None` if the other side did not seal it.
    pub fn open_rtcp(&mut self, packet: &[u8]) -> Option<&[u8]> {
        let (clear, rest) = packet.split_at_checked(RTCP_CLEAR)?;
        let ssrc = u32::from_be_bytes(*clear.last_chunk()?);
        self.opened.clear();
        self.opened.extend_from_slice(clear);
        let length = match &mut self.rtcp {
            Cipher::Gcm { cipher, salt } => {
                let (body, word) = rest.split_last_chunk::<INDEX>()?;
                let index = index_of(*word)?;
                let length = body.len().checked_sub(GCM_TAG)?;
                self.opened.resize(RTCP_CLEAR + length, 0);
                let nonce = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                let plain = self.opened.get_mut(RTCP_CLEAR..)?;
                cipher.open(&nonce, &[clear, word].concat(), body, plain)?;
                length
            }
            Cipher::Cm { cipher, salt, auth } => {
                let (signed, tag) = packet.split_last_chunk::<CM_TAG>()?;
                let hmac = |key: &[u8], parts: &[&[u8]]| self.hmac.sha1_hmac(key, parts);
                if !Aes128CmSha1_80::rtcp_verify(hmac, auth, signed, tag) {
                    return None;
                }
                let (plain, word) = signed.split_last_chunk::<INDEX>()?;
                let index = index_of(*word)?;
                let body = plain.get(RTCP_CLEAR..)?;
                self.opened.resize(RTCP_CLEAR + body.len() + BLOCK, 0);
                let nonce = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index.into());
                cipher.decrypt(&nonce, body, self.opened.get_mut(RTCP_CLEAR..)?).ok()?;
                body.len()
            }
        };
        self.opened.get(..RTCP_CLEAR + length)
    }

    /// Seals a compound packet under the next index; `None` once there is none left.
    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (clear, body) = packet.split_at_checked(RTCP_CLEAR)?;
        let ssrc = u32::from_be_bytes(*clear.last_chunk()?);
        self.index = self.index.checked_add(1).filter(|index| *index < ENCRYPTED)?;
        let word = (ENCRYPTED | self.index).to_be_bytes();
        let mut sealed = clear.to_vec();
        match &mut self.out {
            Cipher::Gcm { cipher, salt } => {
                let nonce = AeadAes128Gcm::rtcp_iv(*salt, ssrc, self.index);
                sealed.resize(RTCP_CLEAR + body.len() + GCM_TAG, 0);
                cipher.seal(&nonce, &[clear, &word].concat(), body, sealed.get_mut(RTCP_CLEAR..)?)?;
                sealed.extend_from_slice(&word);
            }
            Cipher::Cm { cipher, salt, auth } => {
                let nonce = Aes128CmSha1_80::rtp_iv(*salt, ssrc, self.index.into());
                sealed.resize(packet.len() + BLOCK, 0);
                cipher.encrypt(&nonce, body, sealed.get_mut(RTCP_CLEAR..)?).ok()?;
                sealed.truncate(packet.len());
                sealed.extend_from_slice(&word);
                let tag = self.hmac.sha1_hmac(auth, &[&sealed]);
                sealed.extend_from_slice(tag.get(..CM_TAG)?);
            }
        }
        Some(sealed)
    }
}

/// The index behind a packet; a packet that is not encrypted has none.
fn index_of(word: [u8; INDEX]) -> Option<u32> {
    let word = u32::from_be_bytes(word);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}

impl Gcm {
    fn open(&mut self, nonce: &[u8; 12], signed: &[u8], sealed: &[u8], plain: &mut [u8]) -> Option<usize> {
        match self {
            Self::Of128(cipher) => cipher.decrypt(nonce, &[signed], sealed, plain).ok(),
            Self::Of256(cipher) => cipher.decrypt(nonce, &[signed], sealed, plain).ok(),
        }
    }

    fn seal(&mut self, nonce: &[u8; 12], signed: &[u8], plain: &[u8], sealed: &mut [u8]) -> Option<()> {
        match self {
            Self::Of128(cipher) => cipher.encrypt(nonce, signed, plain, sealed).ok(),
            Self::Of256(cipher) => cipher.encrypt(nonce, signed, plain, sealed).ok(),
        }
    }
}

impl Cipher {
    fn derive(
        provider: &CryptoProvider,
        (key, salt): (&[u8], &[u8]),
        labels: u8,
        seals: bool,
    ) -> Option<Self> {
        let of = |label: u8, out: &mut [u8]| derive(provider, key, salt, labels + label, out);
        let ciphers = provider.srtp_provider;
        if salt.len() == 14 {
            let (mut session, mut auth, mut own_salt) = ([0; 16], [0; 20], [0; 14]);
            of(0, &mut session)?;
            of(1, &mut auth)?;
            of(2, &mut own_salt)?;
            let cipher = ciphers.aes_128_cm_sha1_80().create_cipher(session, seals);
            return Some(Self::Cm { cipher, salt: own_salt, auth });
        }
        let mut own_salt = [0; 12];
        of(2, &mut own_salt)?;
        let cipher = if key.len() == 32 {
            let mut session = [0; 32];
            of(0, &mut session)?;
            Gcm::Of256(ciphers.aead_aes_256_gcm().create_cipher(session, seals))
        } else {
            let mut session = [0; 16];
            of(0, &mut session)?;
            Gcm::Of128(ciphers.aead_aes_128_gcm().create_cipher(session, seals))
        };
        Some(Self::Gcm { cipher, salt: own_salt })
    }
}

/// Fills `out` with the key stream of AES in counter mode, begun at the salt with the label put in. A salt of 96 bits
/// counts as one of 112 with zeros at its end (RFC 7714 section 11).
fn derive(provider: &CryptoProvider, key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    let mut start = [0u8; 16];
    for (byte, salt) in start.iter_mut().zip(salt) {
        *byte = *salt;
    }
    *start.get_mut(7)? ^= label;
    for (round, chunk) in (0u16..).zip(out.chunks_mut(16)) {
        *start.last_chunk_mut::<2>()? = round.to_be_bytes();
        let mut stream = [0u8; 32];
        if key.len() == 32 {
            provider.srtp_provider.srtp_aes_256_ecb_round(key, &start, &mut stream);
        } else {
            provider.srtp_provider.srtp_aes_128_ecb_round(key, &start, &mut stream);
        }
        chunk.copy_from_slice(stream.get(..chunk.len())?);
    }
    Some(())
}

#[cfg(test)]
#[path = "srtp_tests.rs"]
mod tests;
