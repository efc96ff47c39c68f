//! Why bytes are not a message, and why a message is not sent.

/// Why bytes from the other end cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{what} ends early")]
    Truncated {
        /// The field.
        what: &'static str,
    },
    /// A text, a list or a frame is longer than the protocol allows.
    #[error("{what} has length {len}: at most {max} is allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Length found: bytes of a text or frame, items of a list.
        len: u64,
        /// Longest length allowed.
        max: usize,
    },
    /// A field has a value that it cannot have.
    #[error("{what} has a value that is not allowed")]
    Invalid {
        /// The field.
        what: &'static str,
    },
    /// A datagram of a kind or version that this build does not know.
    #[error("datagram kind {kind:#04x} is unknown")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
}

/// Why a message cannot be written: the caller broke a limit of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text, a list, a frame or a packet is longer than the protocol allows.
    #[error("{what} has length {len}: at most {max} can be sent")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Length found: bytes of a text, frame or packet, items of a list.
        len: usize,
        /// Longest length allowed.
        max: usize,
    },
    /// A number is above what a varint holds (2^62 − 1).
    #[error("{what} is {value}: at most 2^62-1 can be sent")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Value found.
        value: u64,
    },
    /// The path carries datagrams too small for a header and some payload.
    #[error("datagrams of {max} bytes have no room for a header of {header} bytes and a payload")]
    DatagramTooSmall {
        /// Longest datagram, in bytes.
        max: usize,
        /// Header, in bytes.
        header: usize,
    },
}
