//! API keys: who may sign tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;

use crate::secret::Secret;

/// Shortest secret, in bytes. RFC 7518 section 3.2 wants 32 for HS256; shorter ones of 16 and more are common in
/// configuration by hand and still beyond guessing when random.
pub const SECRET_MIN: usize = 16;

/// An API key: a public id and a secret, written `ID:SECRET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: String,
    secret: Secret,
}

/// Why a text is not an API key. The secret is never part of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No colon.
    #[error("an API key is written ID:SECRET, with a colon between")]
    Form,
    /// The id is not of the alphabet.
    #[error("API key id {0:?} is not 1 to 64 of A-Z, a-z, 0-9, '_' and '-'")]
    Id(String),
    /// The secret is too short to be safe.
    #[error("the secret of API key {id:?} has {len} bytes: use at least {SECRET_MIN} random ones")]
    Short {
        /// Which key.
        id: String,
        /// Bytes found.
        len: usize,
    },
    /// Two keys of one id.
    #[error("API key {0:?} is given twice with different secrets: give each id once")]
    Twice(String),
}

impl ApiKey {
    /// Checks and takes a key.
    pub fn new(id: &str, secret: Secret) -> Result<Self, KeyError> {
        let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if id.is_empty() || id.len() > crate::id::NAME_MAX || !plain {
            return Err(KeyError::Id(id.chars().take(80).collect()));
        }
        if secret.expose().len() < SECRET_MIN {
            return Err(KeyError::Short { id: id.to_owned(), len: secret.expose().len() });
        }
        Ok(Self { id: id.to_owned(), secret })
    }

    /// The public id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose().as_bytes())
    }
}

impl FromStr for ApiKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (id, secret) = text.trim().split_once(':').ok_or(KeyError::Form)?;
        Self::new(id, Secret::new(secret))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.secret)
    }
}

/// The keys that a cluster accepts: several, so that one can be changed while another is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(BTreeMap<String, ApiKey>);

impl ApiKeys {
    /// From keys; the same key twice counts once.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, KeyError> {
        let mut map = BTreeMap::new();
        for key in keys {
            if let Some(other) = map.insert(key.id.clone(), key.clone())
                && other != key
            {
                return Err(KeyError::Twice(key.id));
            }
        }
        Ok(Self(map))
    }

    /// Reads a file's text: one `ID:SECRET` a line; empty lines and lines that begin with `#` are skipped.
    pub fn parse_file(text: &str) -> Result<Vec<ApiKey>, KeyError> {
        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::parse).collect()
    }

    /// The key of an id.
    pub fn get(&self, id: &str) -> Option<&ApiKey> {
        self.0.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.0.values()
    }

    /// There is none: no token can be valid.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
