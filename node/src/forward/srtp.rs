//! SRTP as a sender: a viewer's packets are sealed here, out of place into the train they leave in. Of what a viewer
//! sends, its reports are opened here, in place.
//!
//! Key derivation is RFC 3711 section 4.3 with a key derivation rate of zero, the profiles are those of DTLS-SRTP:
//! AES-GCM (RFC 7714) and, for clients without it, AES-CM with HMAC-SHA1-80 (RFC 3711). A sender's cost is the cipher
//! alone: contexts are prepared once, nothing is allocated.
//!
//! Under GCM one (SSRC, index) pair sealed twice gives the key away. Extended sequence numbers that are never reused
//! see to it for RTP (the same packet sent again must be the same bytes); for RTCP a sender keeps an index of its own,
//! so everything sealed with one master key under one SSRC must come from one [`SrtpSender`].

use std::fmt;

mod cipher;
mod kdf;
mod open;
mod profile;

use cipher::Cipher;
pub use open::SrtcpReceiver;
use profile::Packet;
pub use profile::{Profile, RTCP_OVERHEAD, RTP_OVERHEAD, SrtpError};

/// Largest SRTCP index (31 bits, RFC 3711 section 3.4).
const MAX_RTCP_INDEX: u32 = 0x7fff_ffff;

/// Seals what goes to one viewer.
#[repr(C)]
pub struct SrtpSender {
    profile: Profile,
    rtcp_index: u32,
    cipher: Cipher,
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
        let (key, salt) = profile.half(material, we_are_client)?;
        Self::new(profile, key, salt)
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Reads what sealing will read, as far as it can be reached, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        u64::from(self.profile == Profile::Aes128CmSha1_80) ^ self.cipher.glance()
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

fn room(out: &mut [u8], wanted: usize) -> Result<&mut [u8], SrtpError> {
    let room = out.len();
    out.get_mut(..wanted).ok_or(SrtpError::Room { wanted, room })
}

#[cfg(test)]
mod tests;
