//! STUN as a client of ICE, or who pretends to be one, sends it (RFC 8489).

use aws_lc_rs::hmac;

const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let len = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
}

/// The smallest binding request that there can be to this user, and what else it is to carry.
pub fn request(user: &str, pwd: Option<&str>, nth: u64, more: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0];
    message.extend(nth.to_be_bytes());
    attribute(&mut message, USERNAME, user.as_bytes());
    attribute(&mut message, PRIORITY, &7_u32.to_be_bytes());
    for (kind, value) in more {
        attribute(&mut message, *kind, value);
    }
    if let Some(pwd) = pwd {
        sign(&mut message, pwd);
    }
    message
}

/// What who is there answers to a binding request, as short as can be.
#[allow(dead_code, reason = "not all who ask are asked")]
pub fn response(to: &[u8], pwd: &str) -> Vec<u8> {
    let mut message = vec![1, 1, 0, 0];
    message.extend(&to[4..20]);
    sign(&mut message, pwd);
    message
}

fn sign(message: &mut Vec<u8>, pwd: &str) {
    // The length counts the attribute that is being made (RFC 8489 section 14.5).
    let len = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes());
    let tag = hmac::sign(&key, message);
    attribute(message, INTEGRITY, tag.as_ref());
}
