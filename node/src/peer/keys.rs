//! SRTP keys on their way from DTLS to egress.

use std::fmt;

use str0m::crypto::dtls::SrtpProfile;

/// SRTP keys as DTLS exported them.
pub struct Keys {
    /// `client key | server key | client salt | server salt` (RFC 5764 section 4.2).
    pub material: Vec<u8>,
    /// The profile that was agreed on.
    pub profile: SrtpProfile,
    /// This side was the DTLS client.
    pub client: bool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("profile", &self.profile)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
