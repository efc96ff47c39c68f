//! Why a token is refused, in words for whoever holds it.

use super::limits::{TOKEN_MAX, TRIED_MAX};
use crate::id::Identity;

/// Why a token is refused. No variant shows the token, its signature or a key.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_MAX`].
    #[error("token has {len} bytes: at most {TOKEN_MAX} are read")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not a JWT in compact form.
    #[error("token is not a JWT (header.payload.signature): {0}")]
    Form(&'static str),
    /// Another algorithm than the keys are for.
    #[error("token names the algorithm {found:?}: its key is for {accepted} only")]
    Algorithm {
        /// The algorithm named, shortened.
        found: String,
        /// Those that the key, or any key of ours, is for.
        accepted: String,
    },
    /// The header names a key that is not configured.
    #[error(
        "token names the key {kid:?}, which this cluster does not have: sign with an API key of its own, or with a key at its --jwks-url"
    )]
    UnknownKey {
        /// The key id named, shortened.
        kid: String,
    },
    /// The signature does not fit.
    #[error(
        "token has a wrong signature: the key that it names did not sign it, or it was changed afterwards"
    )]
    Signature,
    /// It names no key, and there are too many to try them all.
    #[error(
        "token names no key (kid), and the first {TRIED_MAX} of the {keys} keys of its algorithm did not sign it: have its \
         issuer name the key"
    )]
    Unnamed {
        /// How many keys are of its algorithm.
        keys: usize,
    },
    /// The claims are missing or of a wrong form.
    #[error("token has wrong claims: {0}; room, identity and exp are needed, times in seconds")]
    Claims(serde_json::Error),
    /// The identity is one that Freshet itself gives.
    #[error("token has the identity {found:?}: names that begin with ~ are Freshet's own; use another one")]
    Reserved {
        /// The identity found.
        found: Identity,
    },
    /// Another issuer's token that is not meant for us, or does not say so.
    #[error("token is not for this cluster: {0}")]
    Audience(String),
    /// Its time is over.
    #[error("token expired {ago} s ago: get a new one")]
    Expired {
        /// Seconds since `exp`.
        ago: u64,
    },
    /// Its time has not come.
    #[error("token's {claim} is {ahead} s ahead: wait, or set the issuer's clock right")]
    NotYet {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// Seconds until then.
        ahead: u64,
    },
    /// It would live too long.
    #[error("token lives {life} s: at most {most} s are accepted; issue shorter ones")]
    TooLongLived {
        /// Seconds from its issue, or from now, to `exp`.
        life: u64,
        /// Seconds that are accepted.
        most: u64,
    },
}

impl TokenError {
    /// Whether one of our keys signed the token, so that it is refused for what it says, and not as a guess.
    pub fn is_signed(&self) -> bool {
        match self {
            Self::Expired { .. } | Self::NotYet { .. } | Self::TooLongLived { .. } => true,
            Self::Claims(_) | Self::Reserved { .. } | Self::Audience(_) => true,
            Self::TooLong { .. } | Self::Form(_) | Self::Algorithm { .. } => false,
            Self::UnknownKey { .. } | Self::Signature | Self::Unnamed { .. } => false,
        }
    }
}
