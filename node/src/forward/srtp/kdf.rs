//! Session keys from a master key (RFC 3711 section 4.3.1, key derivation rate 0).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::profile::SrtpError;

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the key stream of AES in counter mode, begun at the salt with the label put in.
///
/// A salt of 96 bits counts as one of 112 with zeros at its end (RFC 7714 section 11).
pub(super) fn derive(key: &[u8], salt: &[u8], label: Label, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut start = [0u8; 16];
    for (byte, salt) in start.iter_mut().zip(salt) {
        *byte = *salt;
    }
    let [_, _, _, _, _, _, _, at_label, ..] = &mut start;
    *at_label ^= label as u8;
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    out.fill(0);
    let key = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr);
    let key = key.map_err(|_| SrtpError::Crypto)?;
    key.less_safe_encrypt(out, EncryptionContext::Iv128(start.into())).map_err(|_| SrtpError::Crypto)?;
    Ok(())
}
