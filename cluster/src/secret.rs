//! Secrets: text that no log, debug print or error shows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What stands in the place of a secret wherever it would be printed.
pub const MASK: &str = "********";

/// A secret text. `Debug` and `Display` print [`MASK`]; there is no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a text that must not be shown.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for a key schedule or a handshake; never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// URLs as one text for messages, without a name and password that stand in them.
pub fn addresses(urls: &[String]) -> String {
    let bare = |url: &String| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.clone(),
    };
    urls.iter().map(bare).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_the_password_in_them() {
        let urls = ["nats://a:4222", "nats://me:hun@ter@b:4222", "me:hunter@c:4222"].map(str::to_owned);
        assert_eq!(addresses(&urls), "nats://a:4222,nats://b:4222,c:4222");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "******** ******** Some(********)");
        assert_eq!(secret.expose(), "hunter2hunter2");
    }
}
