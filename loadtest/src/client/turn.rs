//! TURN as a client speaks it (RFC 8656): its messages, and the parts of an ICE server's URL (RFC 7065). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;
use md5::{Digest, Md5};

pub(super) const ALLOCATE: u16 = 0x003;
pub(super) const REFRESH: u16 = 0x004;
pub(super) const SEND_INDICATION: u16 = 0x016;
pub(super) const DATA_INDICATION: u16 = 0x017;
pub(super) const CHANNEL_BIND: u16 = 0x009;
const SUCCESS: u16 = 0x100;
const FAILURE: u16 = 0x110;

const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
pub(super) const CHANNEL_NUMBER: u16 = 0x000c;
pub(super) const LIFETIME: u16 = 0x000d;
pub(super) const PEER: u16 = 0x0012;
pub(super) const DATA: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
pub(super) const RELAYED: u16 = 0x0016;
pub(super) const FAMILY: u16 = 0x0017;
pub(super) const TRANSPORT: u16 = 0x0019;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEAD: usize = 20;
/// A signature with its head.
const SIGNATURE: usize = 24;
const USUAL_PORT: u16 = 3_478;

/// Which exchange a message belongs to.
pub(super) type Transaction = [u8; 12];

/// Who asks, as the server wants to know it.
#[derive(Clone)]
pub(super) struct Credentials {
    pub username: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: [u8; 16],
}

impl Credentials {
    /// What a server's 401 and a password come to (RFC 8489 section 9.2.2).
    pub fn new(username: &str, password: &str, realm: &[u8], nonce: &[u8]) -> Self {
        let mut hash = Md5::new();
        for part in [username.as_bytes(), b":", realm, b":", password.as_bytes()] {
            hash.update(part);
        }
        let key = hash.finalize().into();
        Self { username: username.to_owned(), realm: realm.to_vec(), nonce: nonce.to_vec(), key }
    }

    /// The server wants another nonce.
    pub fn renew(&mut self, nonce: &[u8]) {
        nonce.clone_into(&mut self.nonce);
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub fn new(kind: u16, transaction: &Transaction) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC);
        bytes.extend(transaction);
        Self(bytes)
    }

    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(kind.to_be_bytes());
        self.0.extend(short(value.len()).to_be_bytes());
        self.0.extend(value);
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
        self
    }

    pub fn with_address(self, kind: u16, address: SocketAddr) -> Self {
        let transaction = self.0.get(8..HEAD).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let value = mask(address, &transaction);
        self.with(kind, &value)
    }

    /// The message, signed where somebody asks who has to be known.
    pub fn finish(self, by: Option<&Credentials>) -> Vec<u8> {
        let Some(by) = by else { return self.measured(0).0 };
        let named = self.with(USERNAME, by.username.as_bytes()).with(REALM, &by.realm).with(NONCE, &by.nonce);
        // The length counts the signature that is being made (RFC 8489 section 14.5).
        let whole = named.measured(SIGNATURE);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &by.key);
        let tag = hmac::sign(&key, &whole.0);
        whole.with(INTEGRITY, tag.as_ref()).0
    }

    fn measured(mut self, more: usize) -> Self {
        let length = short(self.0.len().saturating_sub(HEAD).saturating_add(more));
        if let Some(place) = self.0.get_mut(2..4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self
    }
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub kind: u16,
    pub transaction: Transaction,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Reads a datagram; `None` if it is no STUN message, or a broken one.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = datagram.split_at_checked(HEAD)?;
        let ([kind_high, kind_low, ..], magic) = (head.first_chunk::<4>()?, head.get(4..8)?);
        if kind_high & 0xc0 != 0 || magic != MAGIC {
            return None;
        }
        let mut attributes = Vec::new();
        while let Some((&[k0, k1, l0, l1], after)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = after.get(..length)?;
            attributes.push((u16::from_be_bytes([k0, k1]), value));
            rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        let transaction = head.get(8..)?.try_into().ok()?;
        Some(Self { kind: u16::from_be_bytes([*kind_high, *kind_low]), transaction, attributes })
    }

    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }

    pub fn is_success(&self) -> bool {
        self.kind & FAILURE == SUCCESS
    }

    /// The code of a failure.
    pub fn error(&self) -> Option<u16> {
        if self.kind & FAILURE != FAILURE {
            return None;
        }
        let [_, _, class, number, ..] = self.attribute(ERROR_CODE)? else { return Some(0) };
        Some(u16::from(class & 7) * 100 + u16::from(*number))
    }

    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        unmask(self.attribute(kind)?, &self.transaction)
    }

    /// Realm and nonce of who wants to know who asks.
    pub fn challenge(&self) -> Option<(&'a [u8], &'a [u8])> {
        self.attribute(REALM).zip(self.attribute(NONCE))
    }

    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.attribute(NONCE)
    }
}

/// What addresses are combined with, so that no router on the way changes them (RFC 8489 section 14.2).
fn pad(transaction: &Transaction) -> [u8; 16] {
    let mut pad = [0; 16];
    let (magic, rest) = pad.split_at_mut(4);
    magic.copy_from_slice(&MAGIC);
    rest.copy_from_slice(transaction);
    pad
}

fn mask(address: SocketAddr, transaction: &Transaction) -> Vec<u8> {
    let [m0, m1, ..] = MAGIC;
    let [p0, p1] = address.port().to_be_bytes();
    let (family, bytes) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let masked = bytes.iter().zip(pad(transaction)).map(|(byte, pad)| byte ^ pad);
    [0, family, p0 ^ m0, p1 ^ m1].into_iter().chain(masked).collect()
}

fn unmask(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], bytes) = value.split_first_chunk::<4>()?;
    let [m0, m1, ..] = MAGIC;
    let plain: Vec<u8> = bytes.iter().zip(pad(transaction)).map(|(byte, pad)| byte ^ pad).collect();
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(plain.as_slice()).ok()?)),
        2 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(plain.as_slice()).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0 ^ m0, p1 ^ m1])))
}

/// Host and port of `turn:host:port?transport=udp`; `None` where another transport is wanted, or TLS.
pub(super) fn udp_server(url: &str) -> Option<(String, u16)> {
    let rest = url.trim().strip_prefix("turn:")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let transport = query.split('&').find_map(|part| part.strip_prefix("transport="));
    if transport.is_some_and(|transport| !transport.eq_ignore_ascii_case("udp")) {
        return None;
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(USUAL_PORT), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let transaction = [7; 12];
        for peer in ["192.0.2.1:5000", "[2001:db8::7]:6000"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let bytes = Draft::new(CHANNEL_BIND | SUCCESS, &transaction)
                .with(CHANNEL_NUMBER, &[0x40, 1, 0, 0])
                .with_address(PEER, peer)
                .with(DATA, b"odd")
                .finish(None);
            assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - HEAD);
            let message = Message::read(&bytes).unwrap();
            assert_eq!((message.transaction, message.address(PEER)), (transaction, Some(peer)));
            assert_eq!(
                (message.attribute(DATA), message.attribute(CHANNEL_NUMBER)),
                (Some(&b"odd"[..]), Some(&[0x40, 1, 0, 0][..]))
            );
            assert!(message.is_success() && message.error().is_none());
            for cut in 0..bytes.len() {
                let _no_panic = Message::read(&bytes[..cut]);
            }
        }
    }

    #[test]
    fn failures_have_their_code() {
        let bytes = Draft::new(ALLOCATE | FAILURE, &[0; 12]).with(ERROR_CODE, &[0, 0, 4, 38]).finish(None);
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.error(), message.is_success()), (Some(438), false));
    }

    /// The vector of RFC 5769 section 2.4.
    #[test]
    fn messages_are_signed_as_the_rfc_does() {
        let transaction = [0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e];
        let user = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
        let by = Credentials::new(user, "TheMatrIX", b"example.org", b"f//499k954d6OL34oL9FSTvy64sA");
        // The vector's order is nonce before realm, which changes the signature: so the key is what is compared.
        let mut message = Draft::new(1, &transaction)
            .with(USERNAME, user.as_bytes())
            .with(NONCE, &by.nonce)
            .with(REALM, &by.realm)
            .measured(SIGNATURE);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &by.key);
        let tag = hmac::sign(&key, &message.0);
        message = message.with(INTEGRITY, tag.as_ref());
        let expected = [
            0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2,
            0x8c, 0xa8, 0x96, 0x66,
        ];
        assert_eq!(message.0[message.0.len() - 20..], expected);
    }

    #[test]
    fn servers_are_named_by_urls() {
        for (url, expected) in [
            ("turn:t.example", Some(("t.example", 3_478))),
            ("turn:192.0.2.1:5?transport=UDP", Some(("192.0.2.1", 5))),
            ("turn:[2001:db8::1]:7", Some(("2001:db8::1", 7))),
            ("turn:[::1]", Some(("::1", 3_478))),
            ("turn:t.example?transport=tcp", None),
            ("turns:t.example", None),
            ("stun:t.example", None),
            ("turn:", None),
            ("turn:t.example:x", None),
        ] {
            let found = udp_server(url);
            let found = found.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(found, expected, "{url}");
        }
    }
}
