//! The certificate that clients are shown, and its renewal without a restart.
//!
//! Both files are read again every few seconds. A pair that fits is shown to clients from then on; connections that
//! stand are not touched. Of a pair that does not fit the log says why, once, and the pair before stays: while one file
//! is written after the other they never fit, so a pair is called bad when two looks found the same.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::HttpMetrics;

mod expiry;

use expiry::Notice;
pub use expiry::not_after;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often the log says that a certificate ends soon, or has ended.
const REMIND: Duration = Duration::from_secs(24 * 3600);
/// Largest file that is read: a long chain has some ten kilobytes.
const FILE_MAX: u64 = 1 << 20;
/// What is spoken inside, the first choice first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// PEM: the server's certificate first, then what leads from it to its authority.
    pub cert: PathBuf,
    /// PEM: the key of the first.
    pub key: PathBuf,
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate in the one file.
    #[error("no certificate in {place}: it wants PEM, the server's certificate first: {reason}")]
    Certificate {
        /// Where it should be.
        place: String,
        /// What was found.
        reason: String,
    },
    /// No key in the other.
    #[error("no private key in {place}: it wants PEM, PKCS#8, PKCS#1 or SEC1, not encrypted: {reason}")]
    Key {
        /// Where it should be.
        place: String,
        /// What was found.
        reason: String,
    },
    /// They are no pair.
    #[error(
        "the certificate in {cert} cannot be shown with the key in {key}: {source}: give the key that it was made for"
    )]
    Pair {
        /// Where the certificate is.
        cert: String,
        /// Where the key is.
        key: String,
        /// What TLS said.
        source: rustls::Error,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What a server needs for TLS. Clones share one certificate.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// `None`: the certificate stays as long as the process.
    files: Option<Files>,
    look: Duration,
    remind: Duration,
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

/// The pair that the next client is shown.
#[derive(Debug)]
struct Shown(ArcSwap<Pair>);

#[derive(Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    /// Of what was read, so that a change is seen and no copy of the key is kept for it.
    digest: [u8; 32],
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair, and looks at its files from time to time once it serves.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        Self::looked_at(files, LOOK, REMIND)
    }

    fn looked_at(files: Files, look: Duration, remind: Duration) -> Result<Self, TlsError> {
        let pair = read(&files)?;
        Self::new(pair, Some(files), look, remind)
    }

    /// Shows a pair that is in no file.
    pub fn of_pem(cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::new(pair(cert, key, ("memory", "memory"))?, None, LOOK, REMIND)
    }

    fn new(pair: Pair, files: Option<Files>, look: Duration, remind: Duration) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(pair)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(Arc::new(Inner { files, look, remind, acceptor, shown })))
    }

    /// The end of the shown certificate in seconds of the Unix clock, if it can be read.
    pub fn expires(&self) -> Option<u64> {
        not_after(self.0.shown.0.load().certified.cert.first()?)
    }

    /// SHA-256 of the shown certificate as browsers write it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let shown = self.0.shown.0.load();
        let der = shown.certified.cert.first().map(AsRef::as_ref).unwrap_or_default();
        let pairs: Vec<String> = digest(&SHA256, der).as_ref().iter().map(|b| format!("{b:02X}")).collect();
        pairs.join(":")
    }

    /// The server's side of a handshake.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.0.acceptor.accept(stream).await
    }

    /// Looks after the pair until it is dropped.
    pub(crate) async fn renew(&self, metrics: Option<&HttpMetrics>) {
        tokio::join!(self.follow(metrics), self.remind(metrics));
    }

    /// Says at once and then daily when the certificate ends, once that is near.
    async fn remind(&self, metrics: Option<&HttpMetrics>) {
        loop {
            self.tell_expiry(metrics);
            tokio::time::sleep(self.0.remind).await;
        }
    }

    /// Takes what is written into the files.
    async fn follow(&self, metrics: Option<&HttpMetrics>) {
        let Some(files) = &self.0.files else { return std::future::pending().await };
        let mut found: Option<String> = None;
        let mut told = false;
        loop {
            tokio::time::sleep(self.0.look).await;
            let (asked, digest) = (files.clone(), self.0.shown.0.load().digest);
            let Ok(read) = tokio::task::spawn_blocking(move || read(&asked)).await else { continue };
            match read {
                Ok(pair) if pair.digest == digest => (found, told) = (None, false),
                Ok(pair) => {
                    self.0.shown.0.store(Arc::new(pair));
                    (found, told) = (None, false);
                    tracing::info!(
                        fingerprint = self.fingerprint(),
                        "another certificate is shown from now on"
                    );
                    self.tell_expiry(metrics);
                    if let Some(metrics) = metrics {
                        metrics.tls_reloaded("taken");
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if found.as_ref() != Some(&error) {
                        (found, told) = (Some(error), false);
                    } else if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            error,
                            "the new certificate is not taken: clients are shown the one before"
                        );
                        if let Some(metrics) = metrics {
                            metrics.tls_reloaded("refused");
                        }
                    }
                }
            }
        }
    }

    fn tell_expiry(&self, metrics: Option<&HttpMetrics>) {
        let Some(at) = self.expires() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match Notice::of(at, now) {
            Some(Notice::Expired) => tracing::warn!(
                expired = at,
                now,
                "the certificate has expired: clients will refuse it; renew it"
            ),
            Some(Notice::Soon { days }) => tracing::warn!(
                expires = at,
                days,
                "the certificate ends within a week: clients will refuse it then; renew it"
            ),
            None => {}
        }
        if let Some(metrics) = metrics {
            metrics.tls_expires(at);
        }
    }
}

fn read(files: &Files) -> Result<Pair, TlsError> {
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let done = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
        done.map(|_| bytes).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
    };
    let name = |path: &Path| path.display().to_string();
    let (cert, key) = (read(&files.cert)?, read(&files.key)?);
    pair(&cert, &key, (&name(&files.cert), &name(&files.key)))
}

/// A pair that fits, of two PEM texts; `places` are for messages.
fn pair(cert: &[u8], key: &[u8], places: (&str, &str)) -> Result<Pair, TlsError> {
    let no_cert = |reason: String| TlsError::Certificate { place: places.0.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|error| no_cert(error.to_string()))?;
    if chain.is_empty() {
        return Err(no_cert("there is none".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| TlsError::Key { place: places.1.to_owned(), reason: error.to_string() })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|source| TlsError::Pair {
        cert: places.0.to_owned(),
        key: places.1.to_owned(),
        source,
    })?;
    let lengths = [cert.len().to_be_bytes(), key.len().to_be_bytes()].concat();
    let all = digest(&SHA256, &[lengths.as_slice(), cert, key].concat());
    let digest = <[u8; 32]>::try_from(all.as_ref()).unwrap_or_default();
    Ok(Pair { certified: Arc::new(certified), digest })
}

#[cfg(test)]
mod tests;
