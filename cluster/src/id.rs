//! Ids: private newtypes, checked once on parse.
//!
//! `Display` is prefixed for logs (`room_main`); `as_str` is the bare text for keys and URLs. Serde uses the bare
//! text and refuses what the parser refuses.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{kind} is empty: use 1 to {max} characters")]
    Empty {
        /// What was parsed.
        kind: &'static str,
        /// Longest length allowed, in characters.
        max: usize,
    },
    /// The text is too long.
    #[error("{kind} has {len} characters: use at most {max}")]
    TooLong {
        /// What was parsed.
        kind: &'static str,
        /// Length found, in characters.
        len: usize,
        /// Longest length allowed, in characters.
        max: usize,
    },
    /// The text has a character outside the alphabet.
    #[error("{kind} contains {found:?}: use only A-Z, a-z, 0-9, '_' and '-'")]
    Character {
        /// What was parsed.
        kind: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
    /// The text has a character that cannot be shown.
    #[error(
        "{kind} contains {found:?}: use 1 to {max} characters of any script, without line ends and other control characters"
    )]
    Control {
        /// What was parsed.
        kind: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// Longest length allowed, in characters.
        max: usize,
    },
    /// The text is not the fixed-width hexadecimal number it should be.
    #[error("{kind} {found:?} is not {digits} lower-case hexadecimal digits")]
    Hex {
        /// What was parsed.
        kind: &'static str,
        /// The text found, shortened.
        found: String,
        /// Digits wanted.
        digits: usize,
    },
}

/// Longest room, stream or node id, in characters.
pub const NAME_MAX: usize = 64;
/// Longest identity, in characters (Unicode scalar values).
pub const IDENTITY_MAX: usize = 128;

fn check_name(kind: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind, max: NAME_MAX });
    }
    if let Some(found) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-')) {
        return Err(IdError::Character { kind, found });
    }
    if text.len() > NAME_MAX {
        return Err(IdError::TooLong { kind, len: text.len(), max: NAME_MAX });
    }
    Ok(())
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The bare text, for keys, subjects and URLs.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name(concat!($kind, " id"), text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_id!(
    /// A room: one event. `[A-Za-z0-9_-]{1,64}`.
    RoomId,
    "room"
);
name_id!(
    /// A stream: what one publisher identity sends into a room. `[A-Za-z0-9_-]{1,64}`.
    StreamId,
    "stream"
);
name_id!(
    /// A node of the cluster. `[A-Za-z0-9_-]{1,64}`.
    NodeId,
    "node"
);

/// Who someone is: 1 to 128 characters of any script, without control characters.
///
/// Never a key or a subject by itself: [`Identity::to_key`] encodes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins as names that Freshet itself gives do: nobody may bring such a one.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('~')
    }

    /// The identity of a text of [`Identity::to_key`].
    pub fn from_key(key: &str) -> Option<Self> {
        String::from_utf8(URL_SAFE_NO_PAD.decode(key).ok()?).ok()?.parse().ok()
    }

    /// The text as base64url without padding (RFC 4648 section 5), safe in keys and subjects.
    pub fn to_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_bytes())
    }
}

impl FromStr for Identity {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let kind = "identity";
        if text.is_empty() {
            return Err(IdError::Empty { kind, max: IDENTITY_MAX });
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(IdError::Control { kind, found, max: IDENTITY_MAX });
        }
        let len = text.chars().count();
        if len > IDENTITY_MAX {
            return Err(IdError::TooLong { kind, len, max: IDENTITY_MAX });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $int:ty, $digits:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($int);

        impl $name {
            /// Makes the id from random bits that the caller drew.
            pub fn from_bits(bits: $int) -> Self {
                Self(bits)
            }

            /// The bits.
            pub fn bits(self) -> $int {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bad = || IdError::Hex {
                    kind: $kind,
                    found: text.chars().take($digits + 8).collect(),
                    digits: $digits,
                };
                let plain = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if text.len() != $digits || !plain {
                    return Err(bad());
                }
                <$int>::from_str_radix(text, 16).map(Self).map_err(|_| bad())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", stringify!($digits), "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// One start of a node: 64 random bits, written as 16 hexadecimal digits.
    Incarnation,
    u64,
    16,
    "incarnation"
);
hex_id!(
    /// One WHIP or WHEP session: 128 random bits, written as 32 hexadecimal digits.
    SessionId,
    u128,
    32,
    "session id"
);

impl SessionId {
    /// What logs say of it: enough to follow one session, and too little to speak for it. Without tokens the whole id
    /// is the credential of its session.
    pub fn short(self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter!(
    /// The order of a room's plans: an integer inside the value. Store revisions never order plans.
    Epoch
);
counter!(
    /// One publish of a stream; the highest wins everywhere.
    ///
    /// A claim takes the larger of "previous + 1" and the milliseconds of the Unix clock, so that a publish after
    /// a lost store is still above every generation that a node remembers.
    Generation
);

impl Generation {
    /// The generation of a new publish.
    pub fn claim(previous: Option<Generation>, unix_ms: u64) -> Generation {
        let floor = previous.map_or(0, |g| g.0.saturating_add(1));
        Generation(floor.max(unix_ms))
    }
}
