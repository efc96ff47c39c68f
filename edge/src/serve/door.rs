//! Where connections come in: in clear, or by TLS.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::word::tell;
use crate::hops::Trusted;
use crate::metrics::HttpMetrics;
use crate::places::Holder;
use crate::tls::Tls;

/// A listener, the certificate that its clients are shown, and the proxies through which they come.
pub struct Door {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Tls>,
    pub(super) proxies: Trusted,
}

impl Door {
    /// In clear without `tls`.
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        Self { listener, tls, proxies: Trusted::NONE }
    }

    /// Connections of these proxies carry many people's requests.
    pub fn behind(self, proxies: Trusted) -> Self {
        Self { proxies, ..self }
    }
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None)
    }
}

/// Whose places a connection takes; nobody's if it is a proxy's.
pub(super) fn holder(from: IpAddr, proxies: &Trusted) -> Option<Holder> {
    (!proxies.contains(from)).then(|| Holder::Behind(from.into()))
}

/// Looks after the certificate, without end.
pub(super) async fn renewal(tls: Option<&Tls>, metrics: Option<&HttpMetrics>) {
    match tls {
        Some(tls) => tls.renew(metrics).await,
        None => std::future::pending().await,
    }
}

/// Why there is no TLS on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the handshake took too long")]
    Slow,
    #[error("it speaks HTTP without TLS")]
    Plain,
    #[error("the handshake failed: {0}")]
    Broken(#[from] io::Error),
}

impl Failed {
    /// The word in metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Plain => "plain",
            Self::Broken(_) => "broken",
        }
    }
}

/// Every TLS connection begins with a record of this type (RFC 8446 section 5.1); no word of HTTP does.
const HANDSHAKE: u8 = 22;

/// Makes TLS of a connection. Who speaks HTTP without it is told what to do.
pub(super) async fn secure(
    stream: TcpStream,
    tls: &Tls,
    time: Duration,
) -> Result<TlsStream<TcpStream>, Failed> {
    const PROBLEM: &str = concat!(
        r#"{"type":"/problems/tls-needed","title":"Bad Request","status":400,"reason":"tls-needed","#,
        r#""detail":"this port speaks HTTP by TLS alone: ask again with https:// in front"}"#,
    );
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ if first != [HANDSHAKE] => {
                let plain = first.iter().all(u8::is_ascii_uppercase);
                if plain {
                    tell(stream, "400 Bad Request", PROBLEM).await;
                }
                Err(if plain { Failed::Plain } else { io::Error::from(io::ErrorKind::InvalidData).into() })
            }
            _ => Ok(tls.accept(stream).await?),
        }
    };
    timeout(time, handshake).await.unwrap_or(Err(Failed::Slow))
}
