//! All keys that a process takes tokens of, and how long those may live.

use super::alg::Alg;
use super::key::{ApiKey, ApiKeys};
use super::limits::{LIFE_MAX_S, TRIED_MAX};
use super::problem::TokenError;
use super::public::{PublicKey, PublicKeys};

/// API keys, keys of other issuers, and the bound on a token's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Our own: secrets, for HS256.
    pub api: ApiKeys,
    /// Of other issuers: public, for the algorithm of their kind.
    pub public: PublicKeys,
    /// How tokens of other issuers name us in `aud`.
    pub audience: Option<String>,
    /// Longest life of a token, in seconds.
    pub life_max_s: u64,
}

impl Default for Keyring {
    fn default() -> Self {
        Self {
            api: ApiKeys::default(),
            public: PublicKeys::default(),
            audience: None,
            life_max_s: LIFE_MAX_S,
        }
    }
}

impl From<ApiKeys> for Keyring {
    fn from(api: ApiKeys) -> Self {
        Self { api, ..Self::default() }
    }
}

/// One key of a ring.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// Ours.
    Api(&'a ApiKey),
    /// Another issuer's.
    Public(&'a PublicKey),
}

impl Key<'_> {
    /// The one algorithm that it is for.
    pub fn alg(&self) -> Alg {
        match self {
            Self::Api(_) => Alg::Hs256,
            Self::Public(key) => key.alg(),
        }
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Api(key) => Some(key.id()),
            Self::Public(key) => key.kid(),
        }
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Api(key) => aws_lc_rs::hmac::verify(&key.hmac(), signed, signature).is_ok(),
            Self::Public(key) => key.verifies(signed, signature),
        }
    }
}

impl Keyring {
    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        self.api.iter().map(Key::Api).chain(self.public.iter().map(Key::Public))
    }

    /// Whether there is a key of this id.
    pub fn knows(&self, kid: &str) -> bool {
        self.iter().any(|key| key.id() == Some(kid))
    }

    /// The key whose signature it is. The key decides the algorithm: one that is named otherwise is refused before the
    /// signature is looked at, so that a public key never serves as an HMAC's secret.
    pub(super) fn signer(
        &self,
        alg: &str,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<Key<'_>, TokenError> {
        let shown = |text: &str, max| text.chars().take(max).collect::<String>();
        let foreign = |accepted| TokenError::Algorithm { found: shown(alg, 16), accepted };
        let named = alg.parse::<Alg>().map_err(|_| foreign(self.accepted()))?;
        let Some(kid) = kid else {
            if named != Alg::Hs256 && !self.iter().any(|key| key.alg() == named) {
                return Err(foreign(self.accepted()));
            }
            let fitting = || self.iter().filter(move |key| key.alg() == named);
            let most = if named == Alg::Hs256 { usize::MAX } else { TRIED_MAX };
            let found = fitting().take(most).find(|key| key.verifies(signed, signature));
            return found.ok_or_else(|| match fitting().count() {
                keys if keys > most => TokenError::Unnamed { keys },
                _ => TokenError::Signature,
            });
        };
        let mut of_name = self.iter().filter(|key| key.id() == Some(kid)).peekable();
        let Some(first) = of_name.peek().copied() else {
            return Err(TokenError::UnknownKey { kid: shown(kid, 64) });
        };
        let mut fitting = of_name.filter(|key| key.alg() == named).peekable();
        if fitting.peek().is_none() {
            return Err(foreign(first.alg().to_string()));
        }
        fitting.take(TRIED_MAX).find(|key| key.verifies(signed, signature)).ok_or(TokenError::Signature)
    }

    /// The algorithms that there are keys for.
    fn accepted(&self) -> String {
        let mut words = vec![Alg::Hs256.as_str()];
        for key in self.public.iter() {
            if !words.contains(&key.alg().as_str()) {
                words.push(key.alg().as_str());
            }
        }
        words.join(", ")
    }
}
