//! Certificates of our own making, compared with the registry after the handshake.
//!
//! The verifiers accept any certificate whose key signed the handshake: who it belongs to is settled after Hello, when
//! the claimed node is known, and nothing is exchanged before.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::controller::factory;
use super::types::{CongestionControl, RelayError};

/// The name in all relay certificates; it proves nothing.
pub(super) const SERVER_NAME: &str = "freshet-relay";
/// A connection on which nothing comes for so long is gone.
const IDLE: Duration = Duration::from_secs(10);
/// Datagrams that wait in the connection, in bytes: 50 ms of 40 Mbit/s.
pub(super) const DATAGRAM_BUFFER: usize = 256 * 1024;

/// Certificate and configurations of a relay.
pub(super) struct Identity {
    pub sha256: String,
    pub server: ServerConfig,
    pub client: ClientConfig,
}

/// SHA-256 of a certificate in lower-case hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(4 << 20))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .keep_alive_interval(Some(Duration::from_secs(2)))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .initial_mtu(1_200)
        .congestion_controller_factory(factory(CongestionControl::Delay));
    Arc::new(config)
}

/// Makes a key pair and a certificate.
pub(super) fn identity() -> Result<Identity, RelayError> {
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
    let cert: CertificateDer<'static> = made.cert.der().clone();
    let key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let any = Arc::new(AnyKey(provider.signature_verification_algorithms));

    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(any.clone())
        .with_single_cert(vec![cert.clone()], key())?;
    server.alpn_protocols = vec![freshet_relay_proto::ALPN.to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_client_auth_cert(vec![cert.clone()], key())?;
    client.alpn_protocols = vec![freshet_relay_proto::ALPN.to_vec()];

    let server = QuicServerConfig::try_from(server).map_err(|_| RelayError::Suite)?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport());
    let client = QuicClientConfig::try_from(client).map_err(|_| RelayError::Suite)?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport());
    Ok(Identity { sha256: fingerprint(&cert), server, client })
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

