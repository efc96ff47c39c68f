//! How long a token may be and live.

/// Longest token that is looked at, in bytes.
pub const TOKEN_MAX: usize = 4096;
/// Clocks of issuer and cluster may differ by so much, in seconds (RFC 7519 section 4.1.4).
pub const LEEWAY_S: u64 = 60;
/// A token lives at most so long unless configured, in seconds: counted from `iat`, or from now when it has none.
pub const LIFE_MAX_S: u64 = 24 * 3600;
/// The longest life that can be configured, in seconds: a token is no password.
pub const LIFE_MOST_S: u64 = 30 * 24 * 3600;
/// Most public keys whose signature a token is tried with: a stranger's token must not cost one check for each key of a
/// set. API keys are few, and cheap to try.
pub(super) const TRIED_MAX: usize = 4;
