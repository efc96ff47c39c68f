//! The cryptography that sessions share: one certificate, one cached DTLS configuration, and SRTP keys that are
//! seen as they pass.
//!
//! Viewers' media is sealed by `forward::egress`, not by str0m, so the keys that DTLS agrees on (RFC 5764) must be
//! known here. str0m asks a [`DtlsProvider`] for every session's DTLS; ours wraps dimpl and leaves a copy of the
//! keying material where the session that is being polled on this very thread picks it up. Building dimpl's
//! configuration runs a self-test of 0.6 ms, so it happens once for each process.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use str0m::config::{DtlsCert, DtlsVersion};
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};
use str0m::crypto::{CryptoError, CryptoProvider};

use super::keys::Keys;
use super::opened;

/// Largest DTLS record written, in bytes: fits an IPv6 path of 1,280 with room for relays.
const DTLS_MTU: usize = 1_150;

thread_local! {
    static SEEN: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// Takes the keys that came up while the last session was polled on this thread.
pub fn take_keys() -> Option<Keys> {
    SEEN.with(|seen| seen.borrow_mut().take())
}

fn base() -> &'static CryptoProvider {
    static BASE: OnceLock<CryptoProvider> = OnceLock::new();
    BASE.get_or_init(str0m_aws_lc_rs::default_provider)
}

/// The provider for every session of the process.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = base().clone();
            provider.dtls_provider = &WATCHED;
            provider.srtp_provider = opened::counting();
            Arc::new(provider)
        })
        .clone()
}

/// A new self-signed certificate for DTLS.
pub fn certificate() -> Option<DtlsCert> {
    base().dtls_provider.generate_certificate()
}

/// Looks at what DTLS says before str0m does, and may change it; true for a DTLS client. It is asked at each poll, so it
/// is shown the value where it lies: to hand it through would be to copy what was written a moment ago.
type See = fn(&mut DtlsOutput<'_>, bool);

#[derive(Debug)]
struct Watched(See);
static WATCHED: Watched = Watched(note);

/// Leaves a copy of keys where they are picked up.
fn note(output: &mut DtlsOutput<'_>, client: bool) {
    if let DtlsOutput::KeyingMaterial(material, profile) = output {
        let keys = Keys { material: material.as_ref().to_vec(), profile: *profile, client };
        SEEN.with(|seen| *seen.borrow_mut() = Some(keys));
    }
}

/// The same provider with other eyes on DTLS.
#[cfg(test)]
pub(crate) fn provider_seen(see: See) -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&provider());
    provider.dtls_provider = Box::leak(Box::new(Watched(see)));
    Arc::new(provider)
}

fn dtls_config() -> Result<Arc<dimpl::Config>, CryptoError> {
    static CONFIG: OnceLock<Option<Arc<dimpl::Config>>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let config = dimpl::Config::builder().use_server_cookie(false).mtu(DTLS_MTU).build();
            config.map(Arc::new).map_err(|error| tracing::error!(%error, "DTLS cannot be configured")).ok()
        })
        .clone()
        .ok_or_else(|| CryptoError::Other("DTLS cannot be configured".into()))
}

impl DtlsProvider for Watched {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = dtls_config()?;
        let cert = dimpl::DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        let dtls = match version {
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert, now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert, now),
            _ => dimpl::Dtls::new_12(config, cert, now),
        };
        Ok(Box::new(WatchedDtls { dtls, see: self.0 }))
    }
}

struct WatchedDtls {
    dtls: dimpl::Dtls,
    see: See,
}

impl fmt::Debug for WatchedDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedDtls")
    }
}

impl DtlsInstance for WatchedDtls {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let client = self.dtls.is_active();
        let mut output = self.dtls.poll_output(buf);
        (self.see)(&mut output, client);
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
