//! Codes: why a connection is closed, a stream refused, a link left.

use std::fmt;

use freshet_cluster::room::EndReason;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A code of a newer version.
            Unknown,
        }

        impl $name {
            /// Every code of this version.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The number on the wire.
            pub fn code(self) -> $int {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Unknown => <$int>::MAX,
                }
            }

            /// Reads a number from the wire; one that is not known becomes `Unknown`.
            pub fn from_code(code: $int) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// The word used in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown => "unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// Why a connection was closed: the application error code of QUIC's CONNECTION_CLOSE (RFC 9000 section 19.19).
    CloseCode: u32 {
        /// The node stops, or nobody needs the link any more.
        GoingAway = 0x00, "going-away";
        /// The node id of Hello is not in the registry, or it is not the node that was dialled.
        Stranger = 0x01, "stranger";
        /// The certificate is not the one that the registry names for this node and incarnation.
        Fingerprint = 0x02, "fingerprint";
        /// No version of the control protocol is spoken by both ends.
        Version = 0x03, "version";
        /// The other end is this node itself.
        Loop = 0x04, "loop";
        /// The incarnation of Hello is not the one that the registry names: an older start of the node, or a newer
        /// one that has not registered yet.
        StaleIncarnation = 0x05, "stale-incarnation";
        /// Another connection of the same pair stays: the one that the lower node id dialled, or a newer one.
        Superseded = 0x06, "superseded";
        /// The other end broke the protocol: a malformed frame, or a frame before Hello.
        Protocol = 0x07, "protocol";
        /// More control frames wait than the link holds.
        Overflow = 0x08, "overflow";
        /// Nothing came from the other end for 5 seconds.
        Silent = 0x09, "silent";
        /// Hello did not come in time.
        HelloTimeout = 0x0a, "hello-timeout";
        /// The node has as many links as it takes.
        TooMany = 0x0b, "too-many";
    }
}

codes! {
    /// Why an announced stream is not taken, or a request for one is not served.
    RefuseCode: u8 {
        /// A newer publish of the same stream is known.
        StaleGeneration = 0x01, "stale-generation";
        /// The path of the announcement has this node in it.
        Loop = 0x02, "loop";
        /// The stream is already taken from elsewhere.
        Duplicate = 0x03, "duplicate";
        /// The room was not joined on this link.
        NotJoined = 0x04, "not-joined";
        /// No stream has this alias.
        UnknownAlias = 0x05, "unknown-alias";
        /// A limit of the node is reached.
        Overload = 0x06, "overload";
    }
}

codes! {
    /// Why a node asks that its links be moved elsewhere.
    GoawayReason: u8 {
        /// It is being drained: streams go on until they have moved.
        Draining = 0x01, "draining";
        /// It stops now.
        Stopping = 0x02, "stopping";
    }
}

/// The number of an end reason in Withdraw.
pub fn end_reason_code(reason: EndReason) -> u8 {
    match reason {
        EndReason::Unknown => 0x00,
        EndReason::Closed => 0x01,
        EndReason::IceTimeout => 0x02,
        EndReason::DtlsClosed => 0x03,
        EndReason::TakenOver => 0x04,
        EndReason::Drained => 0x05,
        EndReason::NodeDead => 0x06,
        EndReason::Revoked => 0x07,
        EndReason::DtlsTimeout => 0x08,
    }
}

/// Reads an end reason of Withdraw; a number that is not known becomes `Unknown`.
pub fn end_reason(code: u8) -> EndReason {
    match code {
        0x01 => EndReason::Closed,
        0x02 => EndReason::IceTimeout,
        0x03 => EndReason::DtlsClosed,
        0x04 => EndReason::TakenOver,
        0x05 => EndReason::Drained,
        0x06 => EndReason::NodeDead,
        0x07 => EndReason::Revoked,
        0x08 => EndReason::DtlsTimeout,
        _ => EndReason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_and_strange_ones_are_unknown() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(code.code()), *code);
        }
        for code in RefuseCode::ALL {
            assert_eq!(RefuseCode::from_code(code.code()), *code);
        }
        for code in GoawayReason::ALL {
            assert_eq!(GoawayReason::from_code(code.code()), *code);
        }
        assert_eq!(CloseCode::from_code(0xffff), CloseCode::Unknown);
        assert_eq!(RefuseCode::from_code(RefuseCode::Unknown.code()), RefuseCode::Unknown);
        for n in 0..=255 {
            let reason = end_reason(n);
            assert!(reason == EndReason::Unknown || end_reason_code(reason) == n);
        }
    }
}
