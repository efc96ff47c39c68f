//! What a token says, read without judging it: for explanations, never for decisions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::Claims;
use super::limits::TOKEN_MAX;
use super::problem::TokenError;
use super::{Header, split};

/// A token taken apart. Nothing of it is proven.
#[derive(Debug)]
pub struct Peek {
    /// The algorithm named.
    pub alg: String,
    /// The key named.
    pub kid: Option<String>,
    /// It wants an extension to be understood (RFC 7515 section 4.1.11), and none is.
    pub critical: bool,
    /// The payload, where it is JSON.
    pub payload: serde_json::Value,
    /// Its claims, or what is wrong with them.
    pub claims: Result<Claims, TokenError>,
}

/// Takes a token apart.
pub fn peek(token: &str) -> Result<Peek, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong { len: token.len() });
    }
    let parts = split(token)?;
    let Header { alg, kid, crit, .. } = parts.header;
    let payload =
        serde_json::from_slice(&parts.payload).map_err(|_| TokenError::Form("its payload is not JSON"))?;
    let claims = serde_json::from_slice(&parts.payload).map_err(TokenError::Claims);
    Ok(Peek { alg, kid, critical: crit.is_some(), payload, claims })
}

/// The key that a token names; none when it names none or is no token. Not proven.
pub fn key_id(token: &str) -> Option<String> {
    if token.len() > TOKEN_MAX {
        return None;
    }
    let header = URL_SAFE_NO_PAD.decode(token.split_once('.')?.0).ok()?;
    serde_json::from_slice::<Header>(&header).ok()?.kid
}
