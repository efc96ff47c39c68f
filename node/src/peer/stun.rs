//! STUN (RFC 8489) as far as the node itself reads and asks: whom a check is for, a check of ours, and what answers it. All
//! else of what clients ask is str0m's.

/// Names a transaction.
pub type Id = [u8; 12];

/// HMAC-SHA1 of what is signed, under a key.
pub type Hmac<'a> = &'a dyn Fn(&[u8], &[&[u8]]) -> [u8; 20];

const MAGIC: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLED: u16 = 0x8029;
/// What MESSAGE-INTEGRITY and FINGERPRINT take with their headers.
const INTEGRITY_LEN: usize = 24;
const FINGERPRINT_LEN: usize = 8;
/// The priority of a peer-reflexive candidate of the only component (RFC 8445 section 5.1.2), which the client would
/// learn of us if it did not know us.
const OUR_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// The first two bits of a STUN message are zero and the magic cookie stands at 4 (section 5).
pub fn is_stun(contents: &[u8]) -> bool {
    contents.first().is_some_and(|b| *b < 4) && contents.get(4..8) == Some(&MAGIC)
}

/// The part before the colon of the USERNAME attribute: our own user name (RFC 8445 section 7.2.2).
pub fn local_ufrag(contents: &[u8]) -> Option<&str> {
    let (_, value) = find(contents, USERNAME)?;
    std::str::from_utf8(value).ok()?.split(':').next()
}

/// Where the first attribute of a kind begins, and its value.
fn find(contents: &[u8], kind: u16) -> Option<(usize, &[u8])> {
    let mut at = HEADER;
    loop {
        let [t0, t1, l0, l1] = *contents.get(at..at.checked_add(4)?)?.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let value = contents.get(at.checked_add(4)?..)?.get(..len)?;
        if u16::from_be_bytes([t0, t1]) == kind {
            return Some((at, value));
        }
        at = at.checked_add(4)?.checked_add(len.next_multiple_of(4))?;
    }
}

/// A request to the client of this user name under its password, of `most` bytes at most. What a client expects of a check
/// is in it (RFC 8445 section 7.1) where that is not longer than its own; else only what it can know us by. None where even
/// that is longer.
pub fn check(user: &str, pwd: &str, id: Id, most: usize, hmac: Hmac<'_>) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(128);
    message.extend([0, 1, 0, 0]);
    message.extend(MAGIC);
    message.extend(id);
    attribute(&mut message, USERNAME, user.as_bytes())?;
    let ends = INTEGRITY_LEN + FINGERPRINT_LEN;
    if message.len() + 8 + 12 + ends <= most {
        attribute(&mut message, PRIORITY, &OUR_PRIORITY.to_be_bytes())?;
        attribute(&mut message, CONTROLLED, id.get(4..)?)?;
    }
    if message.len() + ends > most {
        return None;
    }
    // Each of them covers what stands before it, and a length that counts itself (sections 14.5 and 14.7).
    set_len(&mut message, INTEGRITY_LEN)?;
    let tag = hmac(pwd.as_bytes(), &[&message]);
    attribute(&mut message, INTEGRITY, &tag)?;
    set_len(&mut message, FINGERPRINT_LEN)?;
    let sum = crc32(&message) ^ 0x5354_554e;
    attribute(&mut message, FINGERPRINT, &sum.to_be_bytes())?;
    Some(message)
}

/// Which request a response answers, be it that all is well or not.
pub fn answered(contents: &[u8]) -> Option<Id> {
    match contents {
        [1, 0x01 | 0x11, _, _, rest @ ..] if rest.starts_with(&MAGIC) => rest.get(4..16)?.try_into().ok(),
        _ => None,
    }
}

/// Whether a message was made by somebody who knows this password. Nothing else is asked of it: what a client leaves out of
/// an answer, as ffmpeg does the address, is no matter here.
pub fn is_authentic(contents: &[u8], pwd: &str, hmac: Hmac<'_>) -> bool {
    signed(contents, pwd, hmac).is_some_and(|(tag, made)| {
        tag.len() == made.len() && tag.iter().zip(made).fold(0, |other, (a, b)| other | (a ^ b)) == 0
    })
}

/// MESSAGE-INTEGRITY of a message, and what it would be under this password (RFC 8489 section 14.5).
fn signed<'a>(contents: &'a [u8], pwd: &str, hmac: Hmac<'_>) -> Option<(&'a [u8], [u8; 20])> {
    let (at, value) = find(contents, INTEGRITY)?;
    let counted = u16::try_from(at.checked_add(INTEGRITY_LEN)?.checked_sub(HEADER)?).ok()?;
    let (kind, rest) = (contents.get(..2)?, contents.get(4..at)?);
    Some((value, hmac(pwd.as_bytes(), &[kind, &counted.to_be_bytes(), rest])))
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    message.extend(kind.to_be_bytes());
    message.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_len(message, 0)
}

/// Writes the length into the header, of what is there and what is to follow.
fn set_len(message: &mut [u8], more: usize) -> Option<()> {
    let len = u16::try_from(message.len().checked_sub(HEADER)?.checked_add(more)?).ok()?;
    message.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
    Some(())
}

/// CRC-32 of ITU V.42, bit by bit: it is made of 100 bytes, once for an address.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _: i32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use str0m::ice::StunMessage;

    use super::*;
    use crate::peer::crypto;

    const ID: Id = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
    const PWD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        crypto::provider().sha1_hmac_provider.sha1_hmac(key, parts)
    }

    #[test]
    fn a_check_is_what_the_other_side_reads() {
        let message = check("evtj:h6vY", PWD, ID, 88, &hmac).unwrap();
        assert_eq!(message.len(), 88);
        let read = StunMessage::parse(&message).unwrap();
        assert!(read.is_binding_request());
        assert_eq!(read.split_username(), Some(("evtj", "h6vY")));
        assert_eq!((read.prio(), read.ice_controlled().is_some()), (Some(0x6EFF_FFFF), true));
        assert!(is_authentic(&message, PWD, &hmac) && !is_authentic(&message, "another", &hmac));
    }

    /// RFC 5769 section 2.1 has the sum of a message; this is the one of the numbers from 1 to 9 that CRC-32 is known by.
    #[test]
    fn the_sum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_check_is_never_longer_than_it_may_be() {
        let lens: Vec<_> =
            (0..120).map(|most| check("evtj:h6vY", PWD, ID, most, &hmac).map(|m| m.len())).collect();
        assert_eq!(lens[67], None);
        assert_eq!((lens[68], lens[87]), (Some(68), Some(68)));
        assert_eq!((lens[88], lens[119]), (Some(88), Some(88)));
        let least = check("evtj:h6vY", PWD, ID, 68, &hmac).unwrap();
        assert!(is_authentic(&least, PWD, &hmac));
        assert_eq!(check(&"x".repeat(70_000), PWD, ID, usize::MAX, &hmac), None);
    }

    #[test]
    fn the_sample_response_of_rfc_5769_answers_its_request() {
        // Section 2.2: MAPPED-ADDRESS 192.0.2.1 port 32853, under the password of the section.
        let sample = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
            \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
            \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
            \x80\x28\x00\x04\xc0\x7d\x4c\x96";
        assert_eq!(answered(sample), Some(ID));
        assert!(is_authentic(sample, PWD, &hmac));
        let mut forged = sample.to_vec();
        forged[8] ^= 1;
        assert!(!is_authentic(&forged, PWD, &hmac));
        // A refusal is an answer, a request is none.
        let mut refusal = sample.to_vec();
        refusal[1] = 0x11;
        assert_eq!(answered(&refusal), Some(ID));
        assert_eq!(answered(&check("a:b", PWD, ID, 200, &hmac).unwrap()), None);
        assert_eq!(answered(&sample[..19]), None);
        // Cut anywhere, it is nothing; without what stands before the signature, it is another's.
        (0..sample.len() - 8).for_each(|len| assert!(!is_authentic(&sample[..len], PWD, &hmac), "{len}"));
    }
}
