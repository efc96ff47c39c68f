//! Whose certificates are believed.

use std::sync::{Arc, LazyLock};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::ClientError;

/// The authorities behind the certificates of servers: the system's unless said otherwise.
#[derive(Debug, Clone, Default)]
pub struct Trust(Option<Arc<ClientConfig>>);

/// Read once: a thousand viewers share it.
static SYSTEM: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
    let builder = builder().map_err(|error| error.to_string())?;
    let rooted = builder.with_native_roots().or_else(|error| {
        tracing::warn!(%error, "the system's authorities cannot be read: no https server is believed");
        Ok::<_, String>(
            self::builder().map_err(|e| e.to_string())?.with_root_certificates(RootCertStore::empty()),
        )
    })?;
    Ok(Arc::new(rooted.with_no_client_auth()))
});

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

impl Trust {
    /// The authorities of a PEM text, and nobody else. A certificate that signed itself is its own authority.
    pub fn authorities(pem: &[u8]) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::BadConfig(format!("the authorities cannot be used: {why}"));
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(pem) {
            let cert = cert.map_err(|error| bad(error.to_string()))?;
            roots.add(cert).map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("there is no certificate in PEM".into()));
        }
        let config = builder().map_err(|error| bad(error.to_string()))?;
        Ok(Self(Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))))
    }

    pub(super) fn config(&self) -> Result<ClientConfig, ClientError> {
        if let Some(config) = &self.0 {
            return Ok(ClientConfig::clone(config));
        }
        match &*SYSTEM {
            Ok(config) => Ok(ClientConfig::clone(config)),
            Err(why) => Err(ClientError::BadConfig(format!("TLS cannot be set up: {why}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_certificates_in_pem() {
        for bad in ["", "none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Trust::authorities(bad.as_bytes()), Err(ClientError::BadConfig(_))), "{bad:?}");
        }
    }
}
