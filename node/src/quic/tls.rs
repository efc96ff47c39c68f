//! Certificates: of our own making and compared with the registry, or of an authority.
//!
//! Without an authority the verifiers take any certificate whose key signed the handshake. Who it belongs to is
//! settled after Hello, when the claimed node is known, and no frame counts before.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::config::{RelayConfig, RelayError, Trust};
use super::transport;

/// The name in all relay certificates. Which node it is says the registry.
pub(super) const SERVER_NAME: &str = "freshet-relay";

/// Certificate and configurations of a relay.
pub(super) struct Identity {
    pub sha256: String,
    pub server: quinn::ServerConfig,
    pub client: quinn::ClientConfig,
}

/// SHA-256 of a certificate in lower-case hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The fingerprint of the certificate that the other end showed.
pub(super) fn shown(connection: &quinn::Connection) -> Option<String> {
    let certs = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certs.first().map(|cert| fingerprint(cert))
}

struct Keys {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    server: Arc<dyn ServerCertVerifier>,
    client: Arc<dyn ClientCertVerifier>,
}

/// Makes or reads the certificate.
pub(super) fn identity(config: &RelayConfig) -> Result<Identity, RelayError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let keys = match &config.trust {
        Trust::Registry => own(&provider)?,
        Trust::CaFiles { ca, cert, key } => of_authority(&provider, ca, cert, key)?,
    };
    let sha256 = keys.chain.first().map(|cert| fingerprint(cert)).unwrap_or_default();
    let alpn = vec![freshet_relay_proto::ALPN.to_vec()];
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(keys.client)
        .with_single_cert(keys.chain.clone(), keys.key.clone_key())?;
    server.alpn_protocols = alpn.clone();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(keys.server)
        .with_client_auth_cert(keys.chain, keys.key)?;
    client.alpn_protocols = alpn;

    let transport = transport::config(config.congestion);
    let server = QuicServerConfig::try_from(server).map_err(|_| RelayError::Suite)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport.clone());
    let client = QuicClientConfig::try_from(client).map_err(|_| RelayError::Suite)?;
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    Ok(Identity { sha256, server, client })
}

fn own(provider: &CryptoProvider) -> Result<Keys, RelayError> {
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
    let any = Arc::new(AnyKey(provider.signature_verification_algorithms));
    Ok(Keys {
        chain: vec![made.cert.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der())),
        server: any.clone(),
        client: any,
    })
}

fn of_authority(
    provider: &Arc<CryptoProvider>,
    ca: &Path,
    cert: &Path,
    key: &Path,
) -> Result<Keys, RelayError> {
    let file = |path: &Path, reason: String| RelayError::File { path: path.to_owned(), reason };
    let certs = |path: &Path| -> Result<Vec<CertificateDer<'static>>, RelayError> {
        let read = CertificateDer::pem_file_iter(path).map_err(|e| file(path, e.to_string()))?;
        let certs: Result<Vec<_>, _> = read.collect();
        let certs = certs.map_err(|e| file(path, e.to_string()))?;
        if certs.is_empty() { Err(file(path, "no certificate in it".into())) } else { Ok(certs) }
    };
    let mut roots = RootCertStore::empty();
    for root in certs(ca)? {
        roots.add(root)?;
    }
    let roots = Arc::new(roots);
    let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let client = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
    Ok(Keys {
        chain: certs(cert)?,
        key: PrivateKeyDer::from_pem_file(key).map_err(|e| file(key, e.to_string()))?,
        server: server.map_err(|e| file(ca, e.to_string()))?,
        client: client.map_err(|e| file(ca, e.to_string()))?,
    })
}

/// Checks signatures, not names.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
