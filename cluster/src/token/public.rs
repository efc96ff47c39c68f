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
    // Of each, its id and why.
    reasons: Vec<String>,
}

/// Of so many keys that are passed over it is told which and why, each with so many characters of its id.
const TOLD: usize = 8;
const KID_SHOWN: usize = 40;

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
        "JWK set has no key to check tokens with ({passed_over} passed over{}{why}): RSA of 2048 bits or more, EC P-256 and \
         OKP Ed25519 are taken, for use sig",
        if why.is_empty() { "" } else { ", " }
    )]
    NoKey {
        /// Keys of other kinds.
        passed_over: usize,
        /// Of the first of them, which and why.
        why: String,
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
        let mut this = Self::default();
        for value in set.keys {
            let named: String = value
                .get("kid")
                .and_then(|kid| kid.as_str())
                .unwrap_or("no kid")
                .chars()
                .take(KID_SHOWN)
                .collect();
            let read = if this.keys.len() < JWKS_KEYS_MAX {
                serde_json::from_value::<Jwk>(value).map_err(|_| "no JWK").and_then(|jwk| key(&jwk))
            } else {
                Err("one too many")
            };
            match read {
                Ok(key) => this.keys.push(key),
                Err(why) if this.reasons.len() < TOLD => this.reasons.push(format!("{named}: {why}")),
                Err(_) => {}
            }
        }
        this.passed_over = found.saturating_sub(this.keys.len());
        match this.keys.is_empty() {
            true => Err(KeySetError::NoKey { passed_over: this.passed_over, why: this.reasons.join("; ") }),
            false => Ok(this),
        }
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

    /// Of the first of those that were passed over, which it is and why, as in `key-7: not of 2048 to 8192 bits`.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
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

fn key(jwk: &Jwk) -> Result<PublicKey, &'static str> {
    if jwk.used_for.as_deref().is_some_and(|word| word != "sig") {
        return Err("not for use sig");
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("its key_ops have no verify");
    }
    if jwk.kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
        return Err("its kid is too long");
    }
    let bytes = |part: &Option<String>| {
        part.as_deref()
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or("a part is missing or no base64url")
    };
    let (alg, raw, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            // The bounds that RFC 7518 section 3.3 and the library's algorithm have.
            if !(256..=1024).contains(&n.len()) {
                return Err("not of 2048 to 8192 bits");
            }
            let parts = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
            let key = parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| "no RSA key")?;
            (Alg::Rs256, [n, e].concat(), key)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            if x.len() != 32 || y.len() != 32 {
                return Err("its coordinates have not 32 bytes");
            }
            // The uncompressed form of SEC 1 section 2.3.3.
            let point = [vec![4], x, y].concat();
            let key =
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| "no point of P-256")?;
            (Alg::Es256, point, key)
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&jwk.x)?;
            let key = ParsedPublicKey::new(&ED25519, &x).map_err(|_| "no key of Ed25519")?;
            (Alg::EdDsa, x, key)
        }
        _ => return Err("neither RSA, EC P-256 nor OKP Ed25519"),
    };
    if jwk.alg.as_deref().is_some_and(|word| word.parse() != Ok(alg)) {
        return Err("its alg is not one that such a key is taken for");
    }
    Ok(PublicKey { kid: jwk.kid.clone(), alg, raw, key: Arc::new(key) })
}
