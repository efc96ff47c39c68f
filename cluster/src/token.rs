//! Access tokens: JWT (RFC 7519) under HS256 (RFC 7518 section 3.2), and under RS256, ES256 and EdDSA of other issuers.
//!
//! The form is small enough to own: three base64url parts. The algorithm is fixed to the key: a token that names another
//! one, `none` included, is refused before its signature is looked at. Signatures are compared in constant time. `typ`
//! and unknown claims mean nothing and are kept.

mod alg;
mod claims;
mod key;
mod keyring;
mod limits;
mod peek;
mod problem;
mod public;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::unit::UnixMillis;
pub use alg::{Alg, UnknownAlg};
pub use claims::{Bound, Claims, Grant, Grants, MaxSessions, Rooms, UnknownGrant};
pub use key::{ApiKey, ApiKeys, KeyError, SECRET_MIN};
pub use keyring::{Key, Keyring};
pub use limits::{LEEWAY_S, LIFE_MAX_S, LIFE_MOST_S, TOKEN_MAX};
pub use peek::{Peek, key_id, peek};
pub use problem::TokenError;
pub use public::{JWKS_KEYS_MAX, JWKS_MAX, KeySetError, PublicKey, PublicKeys};

/// The JOSE header (RFC 7515 section 4). `crit` is refused: we understand no extension.
#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Makes a token that says these claims.
pub fn sign(key: &ApiKey, claims: &Claims) -> String {
    let header =
        Header { alg: "HS256".into(), typ: Some("JWT".into()), kid: Some(key.id().to_owned()), crit: None };
    // Both are maps with string keys: encoding them cannot fail.
    let part = |json: Result<Vec<u8>, _>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    let mut token = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)));
    let signature = hmac::sign(&key.hmac(), token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// Checks a token: form, algorithm, key, signature, then times. Returns what it says; whether that covers the room
/// and the deed is the caller's next question.
pub fn verify(keys: &Keyring, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong { len: token.len() });
    }
    let (key, payload) = authenticate(keys, token)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(TokenError::Claims)?;
    if claims.identity.is_reserved() {
        return Err(TokenError::Reserved { found: claims.identity });
    }
    if matches!(key, Key::Public(_)) {
        for_us(&claims, keys.audience.as_deref())?;
    }
    in_time(&claims, now, keys.life_max_s)?;
    Ok(claims)
}

/// Whose signature a token has, whatever it says.
pub fn signer<'a>(keys: &'a Keyring, token: &str) -> Result<Key<'a>, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong { len: token.len() });
    }
    authenticate(keys, token).map(|(key, _)| key)
}

/// The three parts of a token.
struct Parts<'a> {
    header: Header,
    payload: Vec<u8>,
    signed: &'a str,
    signature: Vec<u8>,
}

fn split(token: &str) -> Result<Parts<'_>, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form("it has no dot"))?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form("it has one dot"))?;
    let decode = |part: &str, what| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form(what));
    let header = decode(header, "its header is not base64url")?;
    let payload = decode(payload, "its payload is not base64url, or it has more than two dots")?;
    let signature = decode(signature, "its signature is not base64url")?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| TokenError::Form("its header is not a JSON object with alg"))?;
    Ok(Parts { header, payload, signed, signature })
}

/// Checks form, algorithm and signature; returns the key and the payload's bytes.
fn authenticate<'a>(keys: &'a Keyring, token: &str) -> Result<(Key<'a>, Vec<u8>), TokenError> {
    let Parts { header, payload, signed, signature } = split(token)?;
    if header.crit.is_some() {
        return Err(TokenError::Form("its header has crit, and no extension is understood"));
    }
    let key = keys.signer(&header.alg, header.kid.as_deref(), signed.as_bytes(), &signature)?;
    Ok((key, payload))
}

/// Whether another issuer meant a token for us (RFC 7519 section 4.1.3). Without a name of our own no audience is ours.
fn for_us(claims: &Claims, us: Option<&str>) -> Result<(), TokenError> {
    let named = |value: &serde_json::Value| us.is_some_and(|us| value.as_str() == Some(us));
    let why = match (claims.unknown.get("aud"), us) {
        (None, None) => return Ok(()),
        (Some(one), _) if named(one) => return Ok(()),
        (Some(serde_json::Value::Array(several)), _) if several.iter().any(named) => return Ok(()),
        (None, Some(us)) => format!("it has no aud: ask its issuer for one with {us:?}"),
        (Some(_), Some(us)) => format!("its aud does not name {us:?}"),
        (Some(_), None) => "it has an aud, and the cluster has no --jwks-audience to be named by".to_owned(),
    };
    Err(TokenError::Audience(why))
}

/// Whether its times are such that it is taken now.
pub fn in_time(claims: &Claims, now: UnixMillis, life_max_s: u64) -> Result<(), TokenError> {
    check_times(claims, now.0 / 1000, life_max_s)
}

fn check_times(claims: &Claims, now: u64, life_max: u64) -> Result<(), TokenError> {
    let exp = claims.exp;
    if exp.saturating_add(LEEWAY_S) <= now {
        return Err(TokenError::Expired { ago: now.saturating_sub(exp) });
    }
    if let Some(iat) = claims.iat
        && iat > now.saturating_add(LEEWAY_S)
    {
        return Err(TokenError::NotYet { claim: "iat", ahead: iat.saturating_sub(now) });
    }
    if let Some(nbf) = claims.nbf
        && nbf > now.saturating_add(LEEWAY_S)
    {
        return Err(TokenError::NotYet { claim: "nbf", ahead: nbf.saturating_sub(now) });
    }
    let life = exp.saturating_sub(claims.iat.unwrap_or(now));
    let allowed = if claims.iat.is_some() { life_max } else { life_max.saturating_add(LEEWAY_S) };
    if life > allowed {
        return Err(TokenError::TooLongLived { life, most: life_max });
    }
    Ok(())
}
