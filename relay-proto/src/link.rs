//! One link to another node, without I/O: Hello, frames, media, liveness.
//!
//! The shell feeds bytes of the control stream, datagrams and time, and takes out bytes, events and the next time to
//! call. Before frames count, both ends have said Hello and the shell has confirmed that the other end is who it
//! says: the acceptor says Hello only then, so a dialer that hears Hello is accepted.
//!
//! What waits is bounded: frames are cut out of the buffer only when the shell asks for the next event, so a shell
//! that is slow stops reading and the other end feels it. A frame that breaks the protocol, silence of
//! [`SILENCE_MAX`], or more than [`TRANSMIT_MAX`] bytes that the other end does not take, close the link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_cluster::{Incarnation, NodeId};

use crate::code::CloseCode;
use crate::control::{Control, Hello, Stats};
use crate::error::EncodeError;
use crate::frame::FrameDecoder;
use crate::header::{self, MediaHeader};
use crate::split::{JoinCounters, Joiner};
use crate::{MIN_VERSION, VERSION};

/// How long the other end may take for its Hello.
pub const HELLO_MAX: Duration = Duration::from_secs(5);
/// How often an open link is pinged.
pub const PING_EVERY: Duration = Duration::from_secs(1);
/// How long an open link may be silent.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Most bytes of frames that wait for the other end to take them.
pub const TRANSMIT_MAX: usize = 4 * 1024 * 1024;

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This end: it opens the control stream and says Hello first.
    Dialer,
    /// The other end: Hello is the answer to a Hello that was checked.
    Acceptor,
}

/// What a link is told.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Who opened the connection.
    pub role: Role,
    /// This node.
    pub node: NodeId,
    /// This start of it.
    pub incarnation: Incarnation,
    /// Version that is spoken, and the oldest that is understood.
    pub versions: (u32, u32),
}

impl LinkConfig {
    /// With the versions of this build.
    pub fn new(role: Role, node: NodeId, incarnation: Incarnation) -> Self {
        Self { role, node, incarnation, versions: (VERSION, MIN_VERSION) }
    }
}

/// Why a link ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What the other end is told.
    pub code: CloseCode,
    /// For the log: what was wrong, with what.
    pub detail: String,
}

/// What the shell is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The other end says who it is. The shell checks it, then calls [`LinkSession::confirm`] or closes.
    Hello(Hello),
    /// A frame that is not the link's own business.
    Control(Control),
    /// Close the connection. Nothing follows.
    Close(Close),
}

/// What a link counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams that could not be read, or were of a kind that this version does not know.
    pub malformed: u64,
    /// Datagrams that came before the link was open.
    pub early: u64,
    /// Frames received.
    pub frames: u64,
    /// Frames of a type that this version does not know.
    pub unknown_frames: u64,
    /// Packets that came in parts.
    pub parts: JoinCounters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hello { until: Instant },
    Checking,
    Open { ping_at: Instant },
    Closed,
}

/// The machine.
#[derive(Debug)]
pub struct LinkSession {
    config: LinkConfig,
    state: State,
    heard: Instant,
    decoder: FrameDecoder,
    joiner: Joiner,
    transmit: VecDeque<Bytes>,
    transmit_bytes: usize,
    closing: Option<Close>,
    ping: Option<(u64, Instant)>,
    nonce: u64,
    rtt: Option<Duration>,
    counters: LinkCounters,
    sent: Stats,
    theirs: Stats,
}

impl LinkSession {
    /// A link over a connection that has just been made.
    pub fn new(now: Instant, config: LinkConfig) -> Self {
        let mut session = Self {
            state: State::Hello { until: now + HELLO_MAX },
            heard: now,
            decoder: FrameDecoder::default(),
            joiner: Joiner::default(),
            transmit: VecDeque::new(),
            transmit_bytes: 0,
            closing: None,
            ping: None,
            nonce: 0,
            rtt: None,
            counters: LinkCounters::default(),
            sent: Stats::default(),
            theirs: Stats::default(),
            config,
        };
        if session.config.role == Role::Dialer {
            session.say_hello();
        }
        session
    }

    /// Takes bytes of the control stream. Call [`poll_event`](Self::poll_event) until it is empty before the next.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if self.state == State::Closed {
            return;
        }
        self.heard = now;
        if !self.decoder.feed(bytes) {
            self.close(CloseCode::Overflow, "more bytes of frames came than may wait".into());
        }
    }

    /// Takes a datagram; gives a packet when it is whole.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Bytes) -> Option<(MediaHeader, Bytes)> {
        if !matches!(self.state, State::Open { .. }) {
            self.counters.early = self.counters.early.saturating_add(1);
            return None;
        }
        self.heard = now;
        self.counters.datagrams = self.counters.datagrams.saturating_add(1);
        match header::read(datagram) {
            Ok((header, None, payload)) => Some((header, payload)),
            Ok((header, Some(part), payload)) => {
                let whole = self.joiner.handle_part(now, &header, part, payload)?;
                Some((header, whole))
            }
            Err(_) => {
                self.counters.malformed = self.counters.malformed.saturating_add(1);
                None
            }
        }
    }

    /// The shell has checked the other end's Hello: frames count from now on.
    pub fn confirm(&mut self, now: Instant) {
        if self.state != State::Checking {
            return;
        }
        if self.config.role == Role::Acceptor {
            self.say_hello();
        }
        self.heard = now;
        self.state = State::Open { ping_at: now };
    }

    /// Queues a frame. An error is the caller's: a frame over a limit of the protocol. A link that is closed takes
    /// frames and forgets them.
    pub fn send(&mut self, frame: &Control) -> Result<(), EncodeError> {
        if self.state != State::Closed {
            self.queue(frame.encode()?);
        }
        Ok(())
    }

    /// What the shell has sent as datagrams and dropped as packets, for the other end to compare with what came.
    pub fn set_sent(&mut self, sent: u64, dropped: u64) {
        self.sent.sent = sent;
        self.sent.dropped = dropped;
    }

    /// The next bytes for the control stream.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.transmit.pop_front()?;
        self.transmit_bytes = self.transmit_bytes.saturating_sub(bytes.len());
        Some(bytes)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(close) = self.closing.take() {
                return Some(Event::Close(close));
            }
            if !matches!(self.state, State::Hello { .. } | State::Open { .. }) {
                return None;
            }
            let frame = match self.decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => {
                    self.close(CloseCode::Protocol, error.to_string());
                    continue;
                }
            };
            self.counters.frames = self.counters.frames.saturating_add(1);
            match Control::decode(&frame) {
                Ok(Some(frame)) => {
                    if let Some(event) = self.frame(frame) {
                        return Some(event);
                    }
                }
                Ok(None) => self.counters.unknown_frames = self.counters.unknown_frames.saturating_add(1),
                Err(error) => self.close(CloseCode::Protocol, format!("frame type {}: {error}", frame.kind)),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Hello { until } => Some(until),
            State::Open { ping_at } => {
                let silence = self.heard + SILENCE_MAX;
                Some(ping_at.min(silence).min(self.joiner.poll_timeout().unwrap_or(silence)))
            }
            State::Checking | State::Closed => None,
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Hello { until } if now >= until => {
                self.close(CloseCode::HelloTimeout, format!("no Hello within {HELLO_MAX:?}"));
            }
            State::Open { ping_at } => {
                self.joiner.handle_timeout(now);
                if now.saturating_duration_since(self.heard) >= SILENCE_MAX {
                    self.close(CloseCode::Silent, format!("nothing heard for {SILENCE_MAX:?}"));
                } else if now >= ping_at {
                    self.state = State::Open { ping_at: now + PING_EVERY };
                    self.send_ping(now);
                }
            }
            _ => {}
        }
    }

    /// Smoothed round trip time of control frames.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Frames and media pass.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// What the link counted.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters { parts: self.joiner.counters(), ..self.counters }
    }

    /// What the other end last said that it counted.
    pub fn their_stats(&self) -> Stats {
        self.theirs
    }

    fn frame(&mut self, frame: Control) -> Option<Event> {
        if matches!(self.state, State::Hello { .. }) {
            let Control::Hello(hello) = frame else {
                self.close(CloseCode::Protocol, "a frame came before Hello".into());
                return None;
            };
            return self.hello(hello);
        }
        match frame {
            Control::Hello(_) => self.close(CloseCode::Protocol, "Hello came twice".into()),
            Control::Ping { nonce } => self.queue_own(&Control::Pong { nonce }),
            Control::Pong { nonce } => {
                // `heard` is when the bytes came: frames are cut out of them later.
                if let Some((_, at)) = self.ping.take_if(|(of, _)| *of == nonce) {
                    let sample = self.heard.saturating_duration_since(at);
                    self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
                }
            }
            Control::Stats(stats) => self.theirs = stats,
            frame => return Some(Event::Control(frame)),
        }
        None
    }

    fn hello(&mut self, hello: Hello) -> Option<Event> {
        let (v, min_v) = self.config.versions;
        if hello.min_v > v || hello.v < min_v {
            let theirs = format!("it speaks {} and understands from {} on", hello.v, hello.min_v);
            let detail = format!("{theirs}; this node speaks {v} and understands from {min_v} on");
            self.close(CloseCode::Version, detail);
            return None;
        }
        if hello.node == self.config.node {
            self.close(CloseCode::Loop, "the other end is this node".into());
            return None;
        }
        self.state = State::Checking;
        Some(Event::Hello(hello))
    }

    fn say_hello(&mut self) {
        let (v, min_v) = self.config.versions;
        let (node, incarnation) = (self.config.node.clone(), self.config.incarnation);
        self.queue_own(&Control::Hello(Hello { v, min_v, node, incarnation }));
    }

    fn send_ping(&mut self, now: Instant) {
        self.nonce = self.nonce.wrapping_add(1);
        // An answer to an older ping still says that the other end lives, only not how far it is.
        self.ping = Some((self.nonce, now));
        self.queue_own(&Control::Ping { nonce: self.nonce });
        self.queue_own(&Control::Stats(Stats { received: self.counters.datagrams, ..self.sent }));
    }

    /// Frames of the link itself are within every limit.
    fn queue_own(&mut self, frame: &Control) {
        if let Ok(bytes) = frame.encode() {
            self.queue(bytes);
        }
    }

    fn queue(&mut self, bytes: Bytes) {
        self.transmit_bytes = self.transmit_bytes.saturating_add(bytes.len());
        self.transmit.push_back(bytes);
        if self.transmit_bytes > TRANSMIT_MAX {
            let waiting = self.transmit_bytes;
            self.close(CloseCode::Overflow, format!("{waiting} bytes of frames wait for the other end"));
        }
    }

    fn close(&mut self, code: CloseCode, detail: String) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.transmit.clear();
            self.transmit_bytes = 0;
            self.closing = Some(Close { code, detail });
        }
    }
}

#[cfg(test)]
mod tests;
