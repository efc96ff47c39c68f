//! Profiles, their sizes, and what can go wrong.

use str0m::crypto::dtls::SrtpProfile;

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

    /// The key and the salt of one end, out of `client key | server key | client salt | server salt`.
    pub(super) fn half(self, material: &[u8], of_client: bool) -> Result<(&[u8], &[u8]), SrtpError> {
        let (key_len, salt_len) = (self.key_len(), self.salt_len());
        let wanted = 2 * (key_len + salt_len);
        let short = SrtpError::KeyLength { profile: self, found: material.len(), wanted };
        let (key_at, salt_at) = if of_client { (0, 2 * key_len) } else { (key_len, 2 * key_len + salt_len) };
        if material.len() < wanted {
            return Err(short);
        }
        let key = material.get(key_at..key_at + key_len).ok_or(short)?;
        let salt = material.get(salt_at..salt_at + salt_len).ok_or(short)?;
        Ok((key, salt))
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
    /// The packet's index came before, or is too old to tell.
    #[error("a report under this index came before, or it is too old to tell")]
    Replayed,
    /// The packet is not what the other end sealed.
    #[error("the packet was not sealed, or not encrypted, with the keys of this session")]
    Forged,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to seal")]
    Crypto,
}

/// What makes an RTP packet's nonce.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub ssrc: u32,
    pub roc: u32,
    pub seq: u16,
}
