//! One connection: bytes, datagrams and time into the link machine, and back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use freshet_cluster::NodeId;
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::control::{Control, Hello};
use freshet_relay_proto::link::{Event, LinkConfig, LinkSession, Role};
use freshet_relay_proto::split::split;
use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use super::relay::Inner;
use super::tls::fingerprint;
use super::types::{
    LinkCounters, LinkHandle, LinkId, MediaIn, MediaOut, MediaPacket, Peer, RelayEvent,
};

/// Frames that wait for a link; more close it.
const FRAMES: usize = 1_024;
/// Packets that wait for a link: half a second of 20 Mbit/s. More are dropped and counted.
const MEDIA: usize = 1_024;
/// Room in the datagram buffer that is left to small packets, so that sound goes before picture.
const RESERVE: usize = 32 * 1024;
/// A packet up to this size counts as small.
const SMALL: usize = 400;

/// Serves a connection until it ends.
pub(super) async fn run(inner: Arc<Inner>, connection: Connection, role: Role, dialled: Option<Peer>) {
    let streams = match role {
        Role::Dialer => connection.open_bi().await,
        Role::Acceptor => connection.accept_bi().await,
    };
    let Ok((send, recv)) = streams else { return };
    let config = LinkConfig::new(role, inner.config.node.clone(), inner.config.incarnation);
    let session = LinkSession::new(Instant::now(), config);
    let (frames_out, frames) = mpsc::channel(FRAMES);
    let (media_out, media) = mpsc::channel(MEDIA);
    let counters = Arc::new(LinkCounters::default());
    let mut task = Task {
        inner,
        connection,
        role,
        dialled,
        session,
        send,
        frames_out,
        media: MediaOut { queue: media_out, counters },
        up: None,
    };
    let reason = task.serve(recv, frames, media).await;
    if let Some(handle) = task.up.take() {
        task.inner.down(&handle, reason).await;
    }
}

struct Task {
    inner: Arc<Inner>,
    connection: Connection,
    role: Role,
    dialled: Option<Peer>,
    session: LinkSession,
    send: SendStream,
    frames_out: mpsc::Sender<Control>,
    media: MediaOut,
    up: Option<LinkHandle>,
}

impl Task {
    async fn serve(
        &mut self,
        mut recv: RecvStream,
        mut frames: mpsc::Receiver<Control>,
        mut media: mpsc::Receiver<MediaPacket>,
    ) -> String {
        loop {
            while let Some(bytes) = self.session.poll_transmit() {
                if let Err(error) = self.send.write_all(&bytes).await {
                    return error.to_string();
                }
            }
            while let Some(event) = self.session.poll_event() {
                if let Err(reason) = self.event(event).await {
                    return reason;
                }
            }
            if self.session.poll_timeout().is_some_and(|due| due <= Instant::now()) {
                self.session.handle_timeout(Instant::now());
                continue;
            }
            let due = self.session.poll_timeout();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = recv.read_chunk(64 * 1024, true) => match chunk {
                    Ok(Some(chunk)) => self.session.handle_bytes(Instant::now(), &chunk.bytes),
                    Ok(None) => return "control stream ended".into(),
                    Err(error) => return error.to_string(),
                },
                datagram = self.connection.read_datagram() => match datagram {
                    Ok(datagram) => self.datagram(datagram),
                    Err(error) => return error.to_string(),
                },
                Some(frame) = frames.recv() => {
                    if let Err(error) = self.session.send(&frame) {
                        tracing::warn!(%error, "a relay frame was not sent");
                    }
                }
                Some(packet) = media.recv() => {
                    self.packet(&packet);
                    while let Ok(packet) = media.try_recv() {
                        self.packet(&packet);
                    }
                }
                () = sleep => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    fn datagram(&mut self, datagram: bytes::Bytes) {
        let arrived = Instant::now();
        let Some((header, payload)) = self.session.handle_datagram(arrived, datagram) else { return };
        let Some(up) = &self.up else { return };
        self.media.counters.received.fetch_add(1, Ordering::Relaxed);
        let packet = MediaIn { link: up.id, header, payload, arrived };
        if self.inner.media_in.try_send(packet).is_err() {
            self.media.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn packet(&mut self, packet: &MediaPacket) {
        let counters = &self.media.counters;
        let Some(max) = self.connection.max_datagram_size() else { return };
        let space = self.connection.datagram_send_buffer_space();
        let wanted = packet.payload.len().saturating_add(64);
        let keep = if packet.payload.len() > SMALL { RESERVE } else { 0 };
        let Ok(datagrams) = split(&packet.header, &packet.payload, max) else {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if space < wanted.saturating_mul(datagrams.len().max(1)).saturating_add(keep) {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for datagram in datagrams {
            let len = u64::try_from(datagram.len()).unwrap_or(0);
            if self.connection.send_datagram(datagram).is_ok() {
                counters.sent.fetch_add(1, Ordering::Relaxed);
                counters.sent_bytes.fetch_add(len, Ordering::Relaxed);
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Hello(hello) => match self.check(&hello).await {
                Ok(()) => {
                    let handle = LinkHandle {
                        id: LinkId(self.inner.next_id.fetch_add(1, Ordering::Relaxed)),
                        peer: hello.node,
                        incarnation: hello.incarnation,
                        frames: self.frames_out.clone(),
                        media: self.media.clone(),
                        connection: self.connection.clone(),
                    };
                    if !self.inner.up(&handle, self.dialer(&handle.peer)).await {
                        return Err(self.close(CloseCode::Superseded, "another connection stays"));
                    }
                    self.up = Some(handle);
                    self.session.confirm(Instant::now());
                    Ok(())
                }
                Err((code, detail)) => {
                    let addr = self.connection.remote_address();
                    tracing::warn!(node = %hello.node, %addr, code = code.as_str(), detail, "relay link refused");
                    Err(self.close(code, detail))
                }
            },
            Event::Control(frame) => {
                if let Some(up) = &self.up {
                    let event = RelayEvent::Control { link: up.id, frame };
                    self.inner.events.send(event).await.map_err(|_| "node stops".to_owned())?;
                }
                Ok(())
            }
            Event::Close(close) => {
                let addr = self.connection.remote_address();
                tracing::warn!(%addr, code = close.code.as_str(), detail = close.detail, "relay link closed");
                Err(self.close(close.code, &close.detail))
            }
        }
    }

    fn close(&self, code: CloseCode, detail: &str) -> String {
        self.connection.close(code.code().into(), detail.as_bytes());
        format!("{code}: {detail}")
    }

    fn dialer(&self, peer: &NodeId) -> NodeId {
        if self.role == Role::Dialer { self.inner.config.node.clone() } else { peer.clone() }
    }

    /// Compares who the other end says it is with the registry.
    async fn check(&self, hello: &Hello) -> Result<(), (CloseCode, &'static str)> {
        if hello.node == self.inner.config.node {
            return Err((CloseCode::Loop, "the other end is this node itself"));
        }
        if self.dialled.as_ref().is_some_and(|d| d.node != hello.node) {
            return Err((CloseCode::Stranger, "another node answers at this address"));
        }
        let Some(peer) = self.inner.directory.find(&hello.node).await else {
            return Err((CloseCode::Stranger, "the registry does not know this node"));
        };
        if peer.incarnation != hello.incarnation {
            return Err((CloseCode::StaleIncarnation, "the registry knows another start of this node"));
        }
        let identity = self.connection.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
        let shown = identity.and_then(|certs| certs.first().map(|c| fingerprint(c)));
        if shown.is_none_or(|shown| shown != peer.cert_sha256) {
            return Err((CloseCode::Fingerprint, "the certificate is not the one in the registry"));
        }
        Ok(())
    }
}
