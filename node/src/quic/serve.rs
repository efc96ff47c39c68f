//! A link that is up: bytes, datagrams and time into the machines, and what they say back out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::control::Control;
use freshet_relay_proto::link::{Event, LinkCounters, LinkSession};
use futures::FutureExt;
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use super::core::Core;
use super::event::RelayEvent;
use super::handle::{Inbox, Link, OutPacket, add};
use super::media::Outgoing;
use super::types::{Ended, MediaIn};
use crate::link::neighbour::Neighbour;

/// Bytes of the control stream taken at once: the decoder holds four of them.
pub(super) const CHUNK: usize = 64 * 1024;
/// Datagrams, packets and frames taken in one turn, so that none keeps the others waiting.
const PER_TURN: usize = 128;
/// How often a link tells what it counted, and a forgotten one looks whether anybody needs it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a link that goes gives its last frames to leave.
const FAREWELL: Duration = Duration::from_millis(20);

/// Serves a link until it ends.
pub(super) async fn run(
    core: &Arc<Core>,
    link: &Arc<Link>,
    inbox: Inbox,
    session: LinkSession,
    send: SendStream,
    recv: RecvStream,
) -> Ended {
    let mut task = Task {
        core,
        link,
        session,
        neighbour: Neighbour::default(),
        outgoing: Outgoing::new(),
        writing: Bytes::new(),
        waiting: None,
        told: LinkCounters::default(),
    };
    let ended = task.run(inbox, send, recv).await;
    task.tell_counts();
    ended
}

struct Task<'a> {
    core: &'a Arc<Core>,
    link: &'a Arc<Link>,
    session: LinkSession,
    neighbour: Neighbour,
    outgoing: Outgoing,
    /// Bytes that the control stream takes next.
    writing: Bytes,
    /// An event for which the node has no place yet. Until it has, no more of the control stream is read.
    waiting: Option<RelayEvent>,
    /// What of the session's counts is in the relay's sum.
    told: LinkCounters,
}

impl Task<'_> {
    async fn run(&mut self, mut inbox: Inbox, mut send: SendStream, mut recv: RecvStream) -> Ended {
        let connection = &self.link.connection;
        let mut frames = Vec::with_capacity(PER_TURN);
        let mut packets = Vec::with_capacity(PER_TURN);
        let mut look = Instant::now() + LOOK;
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            if let Err(ended) = self.events() {
                return ended;
            }
            if self.writing.is_empty() {
                self.writing = self.session.poll_transmit().unwrap_or_default();
            }
            let now = Instant::now();
            let again = self.outgoing.flush(now, connection, &self.link.counters);
            let due = [self.session.poll_timeout(), again].into_iter().flatten().fold(look, Instant::min);
            sleep.as_mut().reset(due.into());
            tokio::select! {
                _ = inbox.kill.changed() => {
                    let ended = inbox.kill.borrow().clone();
                    let ended = ended.unwrap_or_else(|| Ended::new(CloseCode::GoingAway, "nobody holds the link"));
                    self.farewell(&mut inbox, &mut send).await;
                    return ended;
                }
                datagram = connection.read_datagram() => match datagram {
                    Ok(datagram) => {
                        self.datagram(datagram);
                        for _ in 0..PER_TURN {
                            let Some(Ok(datagram)) = connection.read_datagram().now_or_never() else { break };
                            self.datagram(datagram);
                        }
                    }
                    Err(error) => return error.into(),
                },
                n = inbox.media.recv_many(&mut packets, PER_TURN) => {
                    if n == 0 {
                        return Ended::new(CloseCode::GoingAway, "nobody holds the link");
                    }
                    self.packets(packets.drain(..));
                }
                n = inbox.frames.recv_many(&mut frames, PER_TURN) => {
                    if n == 0 {
                        return Ended::new(CloseCode::GoingAway, "nobody holds the link");
                    }
                    self.frames(frames.drain(..));
                }
                chunk = recv.read_chunk(CHUNK, true), if self.waiting.is_none() => match chunk {
                    Ok(Some(chunk)) => self.session.handle_bytes(Instant::now(), &chunk.bytes),
                    Ok(None) => return Ended::new(CloseCode::Protocol, "the control stream ended"),
                    Err(error) => return read_error(error),
                },
                written = send.write(&self.writing), if !self.writing.is_empty() => match written {
                    Ok(n) => self.writing.advance(n),
                    Err(error) => return write_error(error),
                },
                permit = self.core.events.reserve(), if self.waiting.is_some() => {
                    let Ok(permit) = permit else { return Ended::new(CloseCode::GoingAway, "the node stops") };
                    if let Some(event) = self.waiting.take() {
                        permit.send(event);
                    }
                }
                () = &mut sleep => {
                    let now = Instant::now();
                    let counters = &self.link.counters;
                    self.session.set_sent(counters.sent.load(Ordering::Relaxed), counters.dropped());
                    self.session.handle_timeout(now);
                    if now >= look {
                        look = now + LOOK;
                        self.tell_counts();
                        if self.is_forgotten() {
                            return Ended::new(CloseCode::GoingAway, "nobody needs the link");
                        }
                    }
                }
            }
        }
    }

    /// Only the end that dialled closes: the other may not know that it is needed.
    fn is_forgotten(&self) -> bool {
        self.link.dialled && self.link.forgotten.load(Ordering::Acquire) && !self.neighbour.is_needed()
    }

    fn tell_counts(&mut self) {
        self.core.counted.add(&mut self.told, self.session.counters());
    }

    fn events(&mut self) -> Result<(), Ended> {
        while self.waiting.is_none() {
            match self.session.poll_event() {
                Some(Event::Control(frame)) => {
                    self.neighbour.handle_received(&frame);
                    let event = RelayEvent::Control { link: self.link.id, frame };
                    if let Err(full) = self.core.events.try_send(event) {
                        self.waiting = Some(full.into_inner());
                    }
                }
                Some(Event::Close(close)) => return Err(Ended::new(close.code, close.detail)),
                Some(Event::Hello(_)) => {}
                None => break,
            }
        }
        Ok(())
    }

    fn datagram(&mut self, datagram: Bytes) {
        let arrived = Instant::now();
        let Some((header, payload)) = self.session.handle_datagram(arrived, datagram) else { return };
        let counters = &self.link.counters;
        add(&counters.received, 1);
        add(&counters.received_bytes, u64::try_from(payload.len()).unwrap_or(u64::MAX));
        let packet = MediaIn { link: self.link.id, header, payload, arrived };
        self.core.media_in.take(packet);
    }

    fn packets(&mut self, packets: impl Iterator<Item = OutPacket>) {
        let now = Instant::now();
        for packet in packets {
            self.outgoing.push(now, &self.link.connection, packet);
        }
    }

    fn frames(&mut self, frames: impl Iterator<Item = Control>) {
        for frame in frames {
            if let Err(error) = self.session.send(&frame) {
                tracing::warn!(peer = %self.link.peer, %error, "a relay frame cannot be sent");
            }
        }
    }

    /// Lets the last frames leave before the connection closes: withdrawals are among them.
    async fn farewell(&mut self, inbox: &mut Inbox, send: &mut SendStream) {
        let mut frames = Vec::new();
        while let Ok(frame) = inbox.frames.try_recv() {
            frames.push(frame);
        }
        self.frames(frames.into_iter());
        let last = async {
            let mut next = Some(std::mem::take(&mut self.writing));
            while let Some(bytes) = next {
                send.write_all(&bytes).await?;
                next = self.session.poll_transmit();
            }
            Ok::<_, WriteError>(())
        };
        let _ = tokio::time::timeout(FAREWELL, last).await;
        tokio::time::sleep(FAREWELL).await;
    }
}

pub(super) fn read_error(error: ReadError) -> Ended {
    match error {
        ReadError::ConnectionLost(error) => error.into(),
        error => Ended::new(CloseCode::Protocol, error.to_string()),
    }
}

pub(super) fn write_error(error: WriteError) -> Ended {
    match error {
        WriteError::ConnectionLost(error) => error.into(),
        error => Ended::new(CloseCode::Protocol, error.to_string()),
    }
}
