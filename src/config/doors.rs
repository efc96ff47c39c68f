//! Where HTTP is served: with a certificate, and beside it without.

use std::net::SocketAddr;

use freshet_edge::tls::Files;

use super::error::ConfigError;
use super::pem;
use super::reader::Reader;

/// Both files or none.
pub fn tls_files(reader: &Reader<'_>) -> Result<Option<Files>, ConfigError> {
    let pair = pem::pair(reader, "tls-cert", "tls-key")?;
    Ok(pair.map(|(cert, key)| Files { cert, key }))
}

/// Whether dev makes a certificate; `named` says that files with one are given.
pub fn own_tls(reader: &Reader<'_>, named: bool) -> Result<bool, ConfigError> {
    match reader.switch("tls")? {
        true if named => {
            Err(contradiction("tls makes a certificate, and tls-cert names one: give one or the other"))
        }
        asked => Ok(asked),
    }
}

/// Whether joins are sent on to nodes.
pub fn sends_on(reader: &Reader<'_>) -> Result<bool, ConfigError> {
    let advice = "write proxy or redirect";
    let way = |text: &str| match text {
        "proxy" => Ok(false),
        "redirect" => Ok(true),
        _ => Err(advice),
    };
    reader.need_with("join", way, advice)
}

/// The same of dev, whose nodes have no TLS of their own.
pub fn dev_sends_on(reader: &Reader<'_>, tls: bool) -> Result<bool, ConfigError> {
    match sends_on(reader)? {
        true if tls => Err(contradiction(
            "join redirect sends pages on to the nodes of dev, which are on loopback without TLS: leave tls out, or join",
        )),
        asked => Ok(asked),
    }
}

/// Event streams of one identity; 0 is no limit.
pub fn listeners(reader: &Reader<'_>) -> Result<u32, ConfigError> {
    reader.need("identity-listeners", "write a number, or 0 for no limit")
}

/// Where a node serves HTTP without TLS beside `listen`, and where of both coordinators call it: without TLS, since a
/// certificate for clients names no address of the inside.
pub fn plain(
    reader: &Reader<'_>,
    listen: SocketAddr,
    tls: bool,
) -> Result<(Option<SocketAddr>, SocketAddr), ConfigError> {
    let address = |t: &str| t.parse::<SocketAddr>().map_err(|_| "write ADDR:PORT, as in 10.0.0.7:8081");
    match (tls, reader.parse_with("listen-plain", address)?) {
        (false, None) => Ok((None, listen)),
        (true, Some(plain)) => Ok((Some(plain), plain)),
        (true, None) => Err(contradiction(
            "coordinators call nodes without TLS, and with tls-cert listen has nothing else: give listen-plain as well, \
             an address of the inside network, as in 10.0.0.7:8081",
        )),
        (false, Some(_)) => {
            Err(contradiction("listen-plain is for nodes with tls-cert: without it listen has no TLS anyway"))
        }
    }
}

fn contradiction(said: &str) -> ConfigError {
    ConfigError::Contradiction(said.to_owned())
}
