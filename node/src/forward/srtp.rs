//! SRTP as a sender: a viewer's packets are sealed here, out of place into the train they leave in.
//!
//! Key derivation is RFC 3711 section 4.3 with a key derivation rate of zero, the profiles are those of DTLS-SRTP:
//! AES-GCM (RFC 7714) and, for clients without it, AES-CM with HMAC-SHA1-80 (RFC 3711). A sender's cost is the cipher
//! alone: contexts are prepared once, nothing is allocated.
//!
//! Under GCM one (SSRC, index) pair sealed twice gives the key away. Extended sequence numbers that are never reused
//! see to it for RTP (the same packet sent again must be the same bytes); for RTCP a sender keeps an index of its own,
//! so everything sealed with one master key under one SSRC must come from one [`SrtpSender`].

use std::fmt;

use str0m::crypto::dtls::SrtpProfile;

mod cipher;
mod kdf;

use cipher::Cipher;

/// Largest SRTCP index (31 bits, RFC 3711 section 3.4).
const MAX_RTCP_INDEX: u32 = 0x7fff_ffff;

/// How SRTP is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764).
    Aes128CmSha1_80,
}

impl Profile {
    /// Length of the master key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes that sealing adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// Bytes that sealing adds to a compound RTCP packet: the tag and the index.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + 4
    }
}

impl TryFrom<SrtpProfile> for Profile {
    type Error = SrtpError;

    fn try_from(profile: SrtpProfile) -> Result<Self, SrtpError> {
        match profile {
            SrtpProfile::AEAD_AES_128_GCM => Ok(Self::AeadAes128Gcm),
            SrtpProfile::AEAD_AES_256_GCM => Ok(Self::AeadAes256Gcm),
            SrtpProfile::AES128_CM_SHA1_80 => Ok(Self::Aes128CmSha1_80),
            _ => Err(SrtpError::Profile),
        }
    }
}

/// Most that sealing adds to an RTP packet, by any profile.
pub const RTP_OVERHEAD: usize = 16;
/// Most that sealing adds to an RTCP packet, by any profile.
pub const RTCP_OVERHEAD: usize = RTP_OVERHEAD + 4;

/// Why something is not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// DTLS agreed on a profile that is not known here.
    #[error("DTLS agreed on an SRTP profile that is not supported: offer AES-GCM or AES128-CM-SHA1-80")]
    Profile,
    /// The keys do not have the length of their profile.
    #[error("SRTP keys of {profile:?} have {found} bytes in place of {wanted}")]
    KeyLength {
        /// The profile.
        profile: Profile,
        /// Bytes given.
        found: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// The sealed packet does not fit.
    #[error("a sealed packet of {wanted} bytes does not fit a buffer of {room}")]
    Room {
        /// Bytes wanted.
        wanted: usize,
        /// Bytes there are.
        room: usize,
    },
    /// The packet to seal is not RTCP: its header alone has 8 bytes.
    #[error("an RTCP packet of {0} bytes has no header")]
    Short(usize),
    /// All SRTCP indexes of this key are used up: the session must end.
    #[error("all SRTCP indexes of this key are used up: end the session")]
    Exhausted,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to seal")]
    Crypto,
}

/// Seals what goes to one viewer.
pub struct SrtpSender {
    profile: Profile,
    cipher: Cipher,
    rtcp_index: u32,
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender")
            .field("profile", &self.profile)
            .field("rtcp_index", &self.rtcp_index)
            .finish_non_exhaustive()
    }
}

impl SrtpSender {
    /// From a master key and a master salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] when one of them does not have the profile's length.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        for (found, wanted) in [(key.len(), profile.key_len()), (salt.len(), profile.salt_len())] {
            if found != wanted {
                return Err(SrtpError::KeyLength { profile, found, wanted });
            }
        }
        Ok(Self { profile, cipher: Cipher::derive(profile, key, salt)?, rtcp_index: 0 })
    }

    /// From what DTLS exported, `client key | server key | client salt | server salt` (RFC 5764 section 4.2).
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] when the material is too short for the profile.
    pub fn from_keying_material(
        profile: Profile,
        material: &[u8],
        we_are_client: bool,
    ) -> Result<Self, SrtpError> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let wanted = 2 * (key_len + salt_len);
        let short = SrtpError::KeyLength { profile, found: material.len(), wanted };
        let (key_at, salt_at) =
            if we_are_client { (0, 2 * key_len) } else { (key_len, 2 * key_len + salt_len) };
        if material.len() < wanted {
            return Err(short);
        }
        let key = material.get(key_at..key_at + key_len).ok_or(short)?;
        let salt = material.get(salt_at..salt_at + salt_len).ok_or(short)?;
        Self::new(profile, key, salt)
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Seals an RTP packet whose header stands in `out[..header_len]`, extensions included, and whose payload is
    /// elsewhere. Returns the length of the packet in `out`.
    ///
    /// # Errors
    /// [`SrtpError::Room`] when the packet does not fit `out`.
    pub fn seal_rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        roc: u32,
        seq: u16,
    ) -> Result<usize, SrtpError> {
        let wanted = header_len + payload.len() + self.profile.rtp_overhead();
        let packet = room(out, wanted)?;
        self.cipher.seal_rtp(packet, header_len, Some(payload), Packet { ssrc, roc, seq })?;
        Ok(wanted)
    }

    /// Seals an RTP packet whose header and payload stand in `out` one after the other, as a retransmission's do
    /// after its original sequence number was put before its payload (RFC 4588). Returns the length of the packet.
    ///
    /// # Errors
    /// [`SrtpError::Room`] when the packet does not fit `out`.
    pub fn seal_rtp_in_place(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload_len: usize,
        ssrc: u32,
        roc: u32,
        seq: u16,
    ) -> Result<usize, SrtpError> {
        let wanted = header_len + payload_len + self.profile.rtp_overhead();
        let packet = room(out, wanted)?;
        self.cipher.seal_rtp(packet, header_len, None, Packet { ssrc, roc, seq })?;
        Ok(wanted)
    }

    /// Seals a compound RTCP packet into `out` under the next index. Returns its length.
    ///
    /// # Errors
    /// [`SrtpError::Exhausted`] after 2³¹ − 1 packets; [`SrtpError::Room`] when it does not fit `out`;
    /// [`SrtpError::Short`] when `packet` has no RTCP header.
    pub fn seal_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < 8 {
            return Err(SrtpError::Short(packet.len()));
        }
        if self.rtcp_index >= MAX_RTCP_INDEX {
            return Err(SrtpError::Exhausted);
        }
        let wanted = packet.len() + self.profile.rtcp_overhead();
        let out = room(out, wanted)?;
        self.rtcp_index += 1;
        self.cipher.seal_rtcp(packet, out, self.rtcp_index)?;
        Ok(wanted)
    }
}

/// What makes an RTP packet's nonce.
#[derive(Debug, Clone, Copy)]
struct Packet {
    ssrc: u32,
    roc: u32,
    seq: u16,
}

fn room(out: &mut [u8], wanted: usize) -> Result<&mut [u8], SrtpError> {
    let room = out.len();
    out.get_mut(..wanted).ok_or(SrtpError::Room { wanted, room })
}

#[cfg(test)]
mod tests;
