//! PEM files that settings name, read when settings are checked: what `freshet config` shows as fine does start.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::error::ConfigError;
use super::reader::Reader;

/// The file of an authority's certificates.
pub(super) fn authority(reader: &Reader<'_>, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let (Some(path), Some(text)) = (reader.text(key), reader.file(key)?) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for cert in certificates(reader, key, &text)? {
        roots
            .add(cert)
            .map_err(|e| reader.wrong(key, path, format!("no certificate of an authority: {e}")))?;
    }
    Ok(Some(path.into()))
}

/// The files of a certificate and of its key: both or none, and they fit each other.
pub(super) fn pair(
    reader: &Reader<'_>,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    let paths = match (reader.text(cert), reader.text(key)) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (PathBuf::from(cert), PathBuf::from(key)),
        (given, _) => {
            let (given, missing) = if given.is_some() { (cert, key) } else { (key, cert) };
            let said =
                format!("{given} is given without {missing}: a certificate and its key belong together");
            return Err(ConfigError::Contradiction(said));
        }
    };
    let chain = certificates(reader, cert, &reader.file(cert)?.unwrap_or_default())?;
    let path = reader.text(key).unwrap_or_default();
    let text = reader.file(key)?.unwrap_or_default();
    let secret =
        PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| reader.wrong(key, path, no_key(&text)))?;
    CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).map_err(|e| {
        reader.wrong(key, path, format!("it cannot be used as the key of the certificate in {cert}: {e}"))
    })?;
    Ok(Some(paths))
}

fn no_key(text: &str) -> &'static str {
    // PKCS #8 says so in its label, the older forms in a header (RFC 1421 section 4.6.1.1).
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return "the key in it is encrypted, and nobody asks for a passphrase at start: write it without one, as by \
                `openssl pkey -in FILE -out PLAIN`";
    }
    "the file has no private key in PEM form"
}

fn certificates(
    reader: &Reader<'_>,
    key: &'static str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let path = reader.text(key).unwrap_or_default();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(reader.wrong(key, path, "the file has no certificate in PEM form")),
        Err(e) => Err(reader.wrong(key, path, format!("the file is not valid PEM: {e}"))),
    }
}
