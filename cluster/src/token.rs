//! Access tokens: JWT (RFC 7519) under HS256 (RFC 7518 section 3.2).
//!
//! The form is small enough to own: three base64url parts, one algorithm. The algorithm is fixed to the key: a token
//! that names another one, `none` included, is refused before its signature is looked at. Signatures are compared in
//! constant time. `typ` and unknown claims mean nothing and are kept.

mod claims;
mod key;
mod limits;
mod problem;
#[cfg(test)]
mod tests;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::unit::UnixMillis;
pub use claims::{Claims, Grant, Grants, Rooms, UnknownGrant};
pub use key::{ApiKey, ApiKeys, KeyError, SECRET_MIN};
pub use limits::{LEEWAY_S, LIFE_MAX_S, TOKEN_MAX};
pub use problem::TokenError;

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
pub fn verify(keys: &ApiKeys, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong { len: token.len() });
    }
    let payload = authenticate(keys, token)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(TokenError::Claims)?;
    check_times(&claims, now.0 / 1000)?;
    Ok(claims)
}

/// Checks form, algorithm and signature; returns the payload's bytes.
fn authenticate(keys: &ApiKeys, token: &str) -> Result<Vec<u8>, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form("it has no dot"))?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form("it has one dot"))?;
    let decode = |part: &str, what| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form(what));
    let header = decode(header, "its header is not base64url")?;
    let payload = decode(payload, "its payload is not base64url, or it has more than two dots")?;
    let signature = decode(signature, "its signature is not base64url")?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| TokenError::Form("its header is not a JSON object with alg"))?;
    if header.alg != "HS256" {
        return Err(TokenError::Algorithm { found: header.alg.chars().take(16).collect() });
    }
    if header.crit.is_some() {
        return Err(TokenError::Form("its header has crit, and no extension is understood"));
    }
    let valid = |key: &ApiKey| hmac::verify(&key.hmac(), signed.as_bytes(), &signature).is_ok();
    match header.kid {
        Some(id) => {
            let key =
                keys.get(&id).ok_or_else(|| TokenError::UnknownKey { kid: id.chars().take(64).collect() })?;
            if valid(key) { Ok(payload) } else { Err(TokenError::Signature) }
        }
        // Without a name every key is tried; there are few.
        None if keys.iter().any(valid) => Ok(payload),
        None => Err(TokenError::Signature),
    }
}

fn check_times(claims: &Claims, now: u64) -> Result<(), TokenError> {
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
    let allowed = if claims.iat.is_some() { LIFE_MAX_S } else { LIFE_MAX_S.saturating_add(LEEWAY_S) };
    if life > allowed {
        return Err(TokenError::TooLongLived { life });
    }
    Ok(())
}
