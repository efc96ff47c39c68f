//! The HTTP client of the tests, and a certificate for servers that they start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshet_loadtest::client::Trust;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Certificates that this process believes.
static BELIEVED: Mutex<Vec<CertificateDer<'static>>> = Mutex::new(Vec::new());

/// A certificate and its key in a folder, in PEM.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// Makes one that signed itself, for these names and addresses; requests of this process believe it.
    pub fn make(dir: &Path, names: &[&str]) -> Self {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let made = made.unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        let pair = Self { cert: dir.join("tls.crt"), key: dir.join("tls.key") };
        std::fs::write(&pair.cert, pem("CERTIFICATE", made.cert.der())).unwrap();
        std::fs::write(&pair.key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
        believe(&pair.cert);
        pair
    }

    /// For the load harness's clients.
    pub fn trust(&self) -> Trust {
        trust(&self.cert)
    }
}

/// A certificate file that the load harness's clients shall believe.
pub fn trust(cert: &Path) -> Trust {
    Trust::authorities(&std::fs::read(cert).unwrap()).unwrap()
}

/// Requests of this process believe the certificate in this file from now on.
pub fn believe(cert: &Path) {
    let cert = CertificateDer::from_pem_file(cert).unwrap();
    BELIEVED.lock().unwrap().push(cert);
}

fn connector() -> HttpsConnectorBuilder<hyper_rustls::builderstates::WantsProtocols1> {
    let mut roots = RootCertStore::empty();
    for cert in BELIEVED.lock().unwrap().iter() {
        roots.add(cert.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    HttpsConnectorBuilder::new().with_tls_config(config).https_or_http()
}

/// HTTP/1.1 in clear; by TLS what the server likes best.
pub fn client<B>() -> Client<HttpsConnector<HttpConnector>, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build(connector().enable_all_versions().build())
}

/// HTTP/1.1 alone.
pub fn old_client<B>() -> Client<HttpsConnector<HttpConnector>, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build(connector().enable_http1().build())
}
