//! Public keys of other issuers: a JWK set (RFC 7517), of which the keys that sign tokens are taken.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::alg::Alg;

/// Longest JWK set that is read, in bytes.
pub const JWKS_MAX: usize = 64 * 1024;
/// Most keys of a set that are kept.
pub const JWKS_KEYS_MAX: usize = 32;
/// Longest key id that is kept, in bytes.
const KID_MAX: usize = 256;

/// A key that checks signatures, for one algorithm alone.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<String>,
    alg: Alg,
    raw: Vec<u8>,
    key: Arc<ParsedPublicKey>,
}

impl PublicKey {
    /// Its id in the set.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm that it is for.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// Whether the signature is this key's.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(signed, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.kid, self.alg, &self.raw) == (&other.kid, other.alg, &other.raw)
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.kid, self.alg)
    }
}

/// The keys of a set that sign tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys {
    keys: Vec<PublicKey>,
    passed_over: usize,
}

/// Why a text is no JWK set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Longer than [`JWKS_MAX`].
    #[error("JWK set has {len} bytes: at most {JWKS_MAX} are read")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not of the form.
    #[error("not a JWK set (an object with an array keys): {0}")]
    Form(#[from] serde_json::Error),
    /// There is none to use.
    #[error(
        "JWK set has no key to check tokens with ({passed_over} passed over): RSA of 2048 bits or more, EC P-256 and \
         OKP Ed25519 are taken, for use sig"
    )]
    NoKey {
        /// Keys of other kinds.
        passed_over: usize,
    },
}

impl PublicKeys {
    /// Reads a set. Keys of kinds that are not understood, for other uses or malformed are passed over (RFC 7517
    /// section 5); secret ones (`oct`) always: a set is public.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > JWKS_MAX {
            return Err(KeySetError::TooLong { len: text.len() });
        }
        let set: Set = serde_json::from_slice(text)?;
        let found = set.keys.len();
        let read = |value| serde_json::from_value::<Jwk>(value).ok().as_ref().and_then(key);
        let keys: Vec<_> = set.keys.into_iter().filter_map(read).take(JWKS_KEYS_MAX).collect();
        let passed_over = found.saturating_sub(keys.len());
        if keys.is_empty() { Err(KeySetError::NoKey { passed_over }) } else { Ok(Self { keys, passed_over }) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many of the set were passed over.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn key(jwk: &Jwk) -> Option<PublicKey> {
    let signs = jwk.used_for.as_deref().is_none_or(|word| word == "sig");
    let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !signs || !verifies || jwk.kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
        return None;
    }
    let bytes = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?).ok();
    let (alg, raw, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            let parts = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
            let key = parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
            // The bounds that RFC 7518 section 3.3 and the library's algorithm have.
            if !(256..=1024).contains(&n.len()) {
                return None;
            }
            (Alg::Rs256, [n, e].concat(), key)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            // The uncompressed form of SEC 1 section 2.3.3.
            let point = [vec![4], x, y].concat();
            let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?;
            (Alg::Es256, point, key)
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&jwk.x)?;
            let key = ParsedPublicKey::new(&ED25519, &x).ok()?;
            (Alg::EdDsa, x, key)
        }
        _ => return None,
    };
    let fits = jwk.alg.as_deref().is_none_or(|word| word.parse() == Ok(alg));
    fits.then(|| PublicKey { kid: jwk.kid.clone(), alg, raw, key: Arc::new(key) })
}
