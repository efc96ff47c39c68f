//! What a token says.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{IdError, Identity, RoomId, StreamId};
use crate::version::Unknown;

/// A deed that a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// Send a stream.
    Publish,
    /// Receive streams and the room's events.
    Subscribe,
    /// Write chat messages.
    Chat,
    /// Remove messages and people.
    Moderate,
    /// Everything in the room, and its settings.
    Admin,
}

impl Grant {
    /// All, in the order of their power.
    pub const ALL: [Grant; 5] = [Self::Publish, Self::Subscribe, Self::Chat, Self::Moderate, Self::Admin];

    /// The word in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Chat => "chat",
            Self::Moderate => "moderate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no grant: use publish, subscribe, chat, moderate or admin")]
pub struct UnknownGrant(String);

impl FromStr for Grant {
    type Err = UnknownGrant;
    fn from_str(text: &str) -> Result<Self, UnknownGrant> {
        let found = Self::ALL.into_iter().find(|g| g.as_str() == text);
        found.ok_or_else(|| UnknownGrant(text.chars().take(32).collect()))
    }
}

/// The grants of a token. Words that this version does not know are kept and allow nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    known: BTreeSet<Grant>,
    unknown: BTreeSet<String>,
}

impl Grants {
    /// Everything: what `--open` gives.
    pub fn all() -> Self {
        Grant::ALL.into_iter().collect()
    }

    /// Whether the deed is allowed. `admin` allows every deed.
    pub fn allows(&self, grant: Grant) -> bool {
        self.known.contains(&grant) || self.known.contains(&Grant::Admin)
    }

    /// The known grants, in the order of their power.
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.known.iter().copied()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self { known: grants.into_iter().collect(), unknown: BTreeSet::new() }
    }
}

impl Serialize for Grants {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.known.iter().map(|g| g.as_str()).chain(self.unknown.iter().map(String::as_str)))
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut grants = Self::default();
        let words = Vec::<String>::deserialize(d).map_err(|_| {
            serde::de::Error::custom("grants is an array of publish, subscribe, chat, moderate and admin")
        })?;
        for word in words {
            match word.parse() {
                Ok(grant) => drop(grants.known.insert(grant)),
                Err(_) => drop(grants.unknown.insert(word)),
            }
        }
        Ok(grants)
    }
}

/// The rooms that a token is for. There are no other patterns than `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rooms {
    /// One room.
    One(RoomId),
    /// `"*"`: every room.
    Every,
}

impl Rooms {
    /// Whether the room is among them.
    pub fn covers(&self, room: &RoomId) -> bool {
        match self {
            Self::One(one) => one == room,
            Self::Every => true,
        }
    }

    /// The text in a token.
    pub fn as_str(&self) -> &str {
        match self {
            Self::One(room) => room.as_str(),
            Self::Every => "*",
        }
    }
}

impl FromStr for Rooms {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == "*" { Ok(Self::Every) } else { text.parse().map(Self::One) }
    }
}

impl Serialize for Rooms {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Rooms {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How many sessions an identity may hold in a room: one number for each direction, or for both apart. None is without
/// bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MaxSessions {
    /// So many that publish, and so many that watch.
    Each(NonZeroU32),
    /// Each by itself; what is left out is as without the claim.
    Apart {
        /// That publish.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        publish: Option<NonZeroU32>,
        /// That watch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subscribe: Option<NonZeroU32>,
    },
}

impl<'de> Deserialize<'de> for MaxSessions {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // A bound that is misspelt is none: that is refused, not passed over.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Apart {
            publish: Option<NonZeroU32>,
            subscribe: Option<NonZeroU32>,
        }
        let value = serde_json::Value::deserialize(d)?;
        let found = match &value {
            serde_json::Value::Number(_) => serde_json::from_value(value).ok().map(Self::Each),
            serde_json::Value::Object(_) => serde_json::from_value(value)
                .ok()
                .map(|Apart { publish, subscribe }| Self::Apart { publish, subscribe }),
            _ => None,
        };
        found.ok_or_else(|| {
            serde::de::Error::custom(
                "max_sessions is a number from 1, or has such numbers as publish and subscribe, each or both",
            )
        })
    }
}

/// How many sessions one may hold in a room, as it is in force; none without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bound {
    /// That publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<NonZeroU32>,
    /// That watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<NonZeroU32>,
}

impl Bound {
    /// What a token means: one that publishes unless it says more.
    pub fn of(claim: Option<MaxSessions>) -> Self {
        let one = Some(NonZeroU32::MIN);
        match claim {
            None => Self { publish: one, subscribe: None },
            Some(MaxSessions::Each(n)) => Self { publish: Some(n), subscribe: Some(n) },
            Some(MaxSessions::Apart { publish, subscribe }) => Self { publish: publish.or(one), subscribe },
        }
    }
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Where.
    pub room: Rooms,
    /// Who.
    pub identity: Identity,
    /// What. None, when the token does not say.
    #[serde(default)]
    pub grants: Grants,
    /// Streams that may be named in `POST /whip/{room}/{stream}`: ids, or `"*"` for every one. The stream of the
    /// identity itself needs no mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub streams: Vec<String>,
    /// How many sessions the identity may hold in a room; the default without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<MaxSessions>,
    /// It ends at, in seconds since the Unix epoch.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// It was issued at, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "maybe_seconds")]
    pub iat: Option<u64>,
    /// It begins at, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "maybe_seconds")]
    pub nbf: Option<u64>,
    /// Claims that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Claims {
    /// Whether the deed is allowed in the room.
    pub fn allows(&self, room: &RoomId, grant: Grant) -> bool {
        self.room.covers(room) && self.grants.allows(grant)
    }

    /// Whether the token names the stream (or all of them).
    pub fn names_stream(&self, stream: &StreamId) -> bool {
        self.streams.iter().any(|s| s == "*" || s == stream.as_str())
    }
}

/// A text alone is a list of it.
fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Streams {
        One(String),
        Many(Vec<String>),
    }
    match Streams::deserialize(d) {
        Ok(Streams::One(one)) => Ok(vec![one]),
        Ok(Streams::Many(many)) => Ok(many),
        Err(_) => Err(serde::de::Error::custom("streams is an array of stream ids, or \"*\" for every one")),
    }
}

/// A NumericDate (RFC 7519 section 2) may have a fraction; it is cut off. Negative, infinite and absurd ones are
/// refused.
fn whole(value: &serde_json::Number) -> Option<u64> {
    /// The year 9999: beyond it a date is a mistake (milliseconds, mostly).
    const LATEST: u64 = 253_402_300_800;
    let found = value.as_u64().or_else(|| {
        let text = value.as_f64().filter(|f| *f >= 0.0 && f.is_finite()).map(|f| format!("{:.0}", f.floor()));
        text.and_then(|t| t.parse().ok())
    });
    found.filter(|s| *s <= LATEST)
}

fn seconds<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(d)?;
    whole(&number).ok_or_else(|| {
        serde::de::Error::custom(format!("{number} is not a time in seconds since the Unix epoch"))
    })
}

fn maybe_seconds<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    seconds(d).map(Some)
}
