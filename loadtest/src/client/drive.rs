//! Drives one str0m session on one UDP socket: a shell around `Rtc`, the same for publisher and viewer.
//!
//! Each mutation is followed by a drain to the next timeout, as str0m wants it. Dropping every handle of a session ends
//! it without a word, as a crash would; [`Command::Close`] says goodbye by DTLS.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::sync::watch;

use super::contain::{PANICKED, contained};
use super::ears::Tap;
use super::gate::Reach;
use super::guard::lock;
use super::mail;
use super::relay::{Left, Wire};
use super::rtc;
use super::srtp::Keys;
use crate::num;
use crate::path::{Fate, Path};
use crate::scenario::{Chance, Impairment};

/// Commands waiting for a session; callers wait for room, they are few.
pub(super) const COMMANDS: usize = 8;
/// Largest datagram read: more than any publisher can send.
const DATAGRAM: usize = 4_096;
/// Datagrams read before timers are looked at again.
const READ_BURST: usize = 64;
/// Mutations in one go before other tasks get their turn.
const SETTLE_BURST: usize = 256;
/// Addresses of the other side that are remembered; ICE tries a handful.
const KNOWN: usize = 32;
/// Sessions that are not in a hurry wake at multiples of this, in microseconds since [`BEGUN`].
const GRID_MICROS: u64 = 32_000;
static BEGUN: OnceLock<Instant> = OnceLock::new();
/// How long a closing session may take to send its goodbye.
const CLOSE_TIME: Duration = Duration::from_millis(200);

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// This side stopped it.
    Stopped,
    /// The other side closed DTLS.
    RemoteClosed,
    /// It broke.
    Failed(String),
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::RemoteClosed => f.write_str("closed by the server"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// ICE or DTLS is not done.
    Connecting,
    /// Media can flow.
    Connected,
    /// ICE hears nothing from the other side; it may come back.
    Disconnected,
    /// Over for good.
    Ended(EndReason),
}

/// When the phases of connecting were done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    pub ice: Option<Instant>,
    pub connected: Option<Instant>,
}

/// What the task of a session is asked to do.
pub(super) enum Command {
    /// Run this on the session.
    With(Box<dyn FnOnce(&mut Rtc) + Send>),
    /// Look at the endpoint's due times again.
    Wake,
    /// Make the network between this session and its server bad, or good again.
    Impair(Option<Impairment>),
    /// Say goodbye and end.
    Close,
}

/// What a publisher or viewer adds to a session.
pub(super) trait Endpoint: Send + 'static {
    fn on_event(&mut self, rtc: &mut Rtc, event: Event, now: Instant);
    /// DTLS agreed on SRTP keys.
    fn on_keys(&mut self, _keys: &Keys) {}
    /// The session wants to send this; false keeps it back.
    fn may_send(&self, _datagram: &[u8]) -> bool {
        true
    }
    /// What is to be sent beside what the session sends.
    fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    /// A datagram came; false keeps it from the session.
    fn before_datagram(&mut self, _datagram: &[u8], _now: Instant) -> bool {
        true
    }
    /// The events of an admitted datagram were all given.
    fn after_datagram(&mut self) {}
    /// Who can count from now on what comes, so that the session is told of the rest alone.
    fn tap(&self) -> Option<Arc<dyn Tap>> {
        None
    }
    /// When [`Self::on_due`] wants to be called.
    fn next_due(&mut self) -> Option<Instant>;
    /// The time has come; at most one mutation of the session.
    fn on_due(&mut self, rtc: &mut Rtc, now: Instant);
}

/// A session that is being driven.
pub(super) struct Driver<E> {
    pub rtc: Rtc,
    pub socket: Wire,
    /// Takes the socket at the end.
    pub left: Arc<Left>,
    pub local: SocketAddr,
    pub endpoint: E,
    pub commands: mail::Receiver<Command>,
    pub state: watch::Sender<SessionState>,
    pub marks: Arc<Mutex<Marks>>,
    /// The network towards this session, and from it.
    pub paths: Paths,
    /// Where the session has sent something: nothing of the endpoint's own goes to anybody else.
    pub known: Vec<SocketAddr>,
    /// Who of them sent the last datagram that the endpoint kept for itself.
    pub peer: Option<SocketAddr>,
    /// It may send to addresses that are neither loopback nor private.
    pub reach: Reach,
    /// Where what is counted outside this task comes from, while it is.
    pub tapped: Option<SocketAddr>,
}

/// Why a session broke.
struct Broken(String);

/// Does something with a session. One that panicked is not touched again.
fn within<T>(work: impl FnOnce() -> Result<T, RtcError>) -> Result<T, Broken> {
    match contained(work) {
        Some(done) => done.map_err(|error| Broken(error.to_string())),
        None => Err(Broken(PANICKED.into())),
    }
}

/// A network, both ways.
pub(super) struct Paths {
    pub inward: Path,
    pub outward: Path,
}

impl Paths {
    /// A good network; `seed` decides once it is bad.
    pub fn new(seed: u64) -> Self {
        let way = |number| Path::new(Chance::of(seed, number));
        Self { inward: way(0), outward: way(1) }
    }

    pub fn set(&mut self, bad: Option<Impairment>) {
        self.inward.set(bad);
        self.outward.set(bad);
    }

    /// Something is done to what goes there.
    fn are_bad(&self) -> bool {
        self.inward.is_bad() || self.outward.is_bad()
    }

    fn next_due(&self) -> Option<Instant> {
        self.inward.next_due().into_iter().chain(self.outward.next_due()).min()
    }
}

impl<E: Endpoint> Driver<E> {
    /// Runs the session to its end.
    pub async fn run(mut self) {
        let reason = match self.turn().await {
            Ok(reason) => reason,
            Err(Broken(why)) => EndReason::Failed(why),
        };
        self.left.put(self.socket.deafen());
        self.state.send_replace(SessionState::Ended(reason));
    }

    async fn turn(&mut self) -> Result<EndReason, Broken> {
        let mut buffer = vec![0u8; DATAGRAM];
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let mut closing: Option<Instant> = None;
        // None while it is to be looked what is due. Datagrams that the session is not shown change nothing of that,
        // and of a sampled viewer these are nearly all.
        let mut wake: Option<Instant> = None;
        loop {
            let due = match wake {
                Some(due) => due,
                None => {
                    self.tap(&mut buffer)
                        .map_err(|error| Broken(format!("its socket cannot be read: {error}")))?;
                    let mut due = within(|| self.settle())?;
                    if !self.rtc.is_alive() {
                        return Ok(if closing.is_some() {
                            EndReason::Stopped
                        } else {
                            EndReason::RemoteClosed
                        });
                    }
                    if let Some(end) = closing {
                        if Instant::now() >= end {
                            return Ok(EndReason::Stopped);
                        }
                        due = due.min(end);
                    }
                    sleep.as_mut().reset(self.waking(due).into());
                    wake = Some(due);
                    due
                }
            };
            tokio::select! {
                biased;
                command = poll_fn(|context| self.commands.poll(context)) => {
                    wake = None;
                    match command {
                        Some(Command::With(action)) => within(|| {
                            action(&mut self.rtc);
                            Ok(())
                        })?,
                        Some(Command::Wake) => {}
                        Some(Command::Impair(bad)) => self.paths.set(bad),
                        Some(Command::Close) => {
                            within(|| self.rtc.close())?;
                            closing = Some(Instant::now() + CLOSE_TIME);
                        }
                        None => return Ok(EndReason::Stopped),
                    }
                }
                // Before what was read: who is sent more than can be read has timers, too.
                () = &mut sleep => wake = None,
                readable = self.socket.readable() => {
                    let shown = readable.is_ok() && within(|| self.read(&mut buffer))?;
                    if shown || self.endpoint.next_due().is_some_and(|next| next < due) {
                        wake = None;
                    }
                }
            }
        }
    }

    /// When to wake for what is due then. Where media is counted elsewhere nothing is urgent, and many sessions wake at once.
    fn waking(&self, due: Instant) -> Instant {
        if self.tapped.is_none() {
            return due;
        }
        let begun = *BEGUN.get_or_init(Instant::now);
        let over = num::micros(due.saturating_duration_since(begun)) % GRID_MICROS;
        if over == 0 { due } else { due + Duration::from_micros(GRID_MICROS - over) }
    }

    /// Lets what comes be counted outside this task, where that can be: not in a bad network, which is made here.
    fn tap(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let from = if self.paths.are_bad() { None } else { self.peer };
        if from == self.tapped {
            return Ok(());
        }
        if let Some(from) = from {
            let Some(tap) = self.endpoint.tap() else { return Ok(()) };
            self.socket.tap(from, tap)?;
        } else {
            self.socket.untap()?;
            let read = self.read(buffer);
            self.socket.read_at_once()?;
            read.map_err(io::Error::other)?;
        }
        self.tapped = from;
        Ok(())
    }

    /// Does all that is due and tells when something will be due again.
    fn settle(&mut self) -> Result<Instant, RtcError> {
        for _ in 0..SETTLE_BURST {
            self.pass_on()?;
            let deadline = self.drain()?;
            let due = self.endpoint.next_due().into_iter().chain(self.paths.next_due()).min();
            let now = Instant::now();
            if self.endpoint.next_due().is_some_and(|due| due <= now) {
                self.endpoint.on_due(&mut self.rtc, now);
                self.transmit_own();
            } else if deadline <= now && self.rtc.is_alive() {
                self.input(Input::Timeout(now))?;
            } else {
                return Ok(due.map_or(deadline, |due| due.min(deadline)));
            }
        }
        Ok(Instant::now())
    }

    /// Where something went already more may go.
    fn may_go_to(&self, address: SocketAddr) -> bool {
        self.known.contains(&address) || self.reach.allows(address.ip())
    }

    fn drain(&mut self) -> Result<Instant, RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.take_keys();
                    return Ok(deadline);
                }
                // Whatever a candidate was and however it was learnt: nobody is sent anything whom the user did not allow.
                Output::Transmit(packet) if !self.may_go_to(packet.destination) => {
                    tracing::debug!("a datagram to an address of nobody who was named was not sent");
                }
                Output::Transmit(packet) => {
                    if self.known.len() < KNOWN && !self.known.contains(&packet.destination) {
                        self.known.push(packet.destination);
                    }
                    if self.endpoint.may_send(&packet.contents) {
                        self.transmit(&packet.contents, packet.destination);
                    }
                }
                Output::Event(event) => {
                    self.take_keys();
                    let now = Instant::now();
                    self.note(&event, now);
                    self.endpoint.on_event(&mut self.rtc, event, now);
                }
            }
        }
    }

    fn input(&mut self, input: Input<'_>) -> Result<(), RtcError> {
        let done = self.rtc.handle_input(input);
        self.take_keys();
        done
    }

    /// Keys lie where any session of this thread would find them.
    fn take_keys(&mut self) {
        if let Some(keys) = rtc::take_keys() {
            self.endpoint.on_keys(&keys);
        }
    }

    /// Sends what the endpoint wrote itself to where its media comes from.
    fn transmit_own(&mut self) {
        for datagram in self.endpoint.take_datagrams() {
            if let Some(peer) = self.peer {
                self.transmit(&datagram, peer);
            }
        }
    }

    fn transmit(&mut self, datagram: &[u8], to: SocketAddr) {
        if self.paths.outward.offer(Instant::now(), to, datagram) == Fate::Passes {
            self.send(datagram, to);
        }
    }

    fn note(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Connected => {
                lock(&self.marks).connected.get_or_insert(now);
                self.state.send_replace(SessionState::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.state.send_replace(SessionState::Disconnected);
            }
            Event::IceConnectionStateChange(ice) if ice.is_connected() => {
                let connected = {
                    let mut marks = lock(&self.marks);
                    marks.ice.get_or_insert(now);
                    marks.connected.is_some()
                };
                if connected {
                    self.state.send_replace(SessionState::Connected);
                }
            }
            _ => {}
        }
    }

    /// Reads what there is; true if the session was shown something, or something waits on its way, or all has to be looked
    /// at anew.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, RtcError> {
        let mut shown = false;
        for _ in 0..READ_BURST {
            let (length, source) = match self.socket.try_recv_from(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // ICMP errors of earlier datagrams surface here; ICE notices by itself.
                Err(_) => continue,
            };
            let now = Instant::now();
            let datagram = buffer.get(..length).unwrap_or_default();
            shown |= match self.paths.inward.offer(now, source, datagram) {
                Fate::Passes => self.take(datagram, source, now)?,
                Fate::Waits => true,
                Fate::Lost => false,
            };
        }
        Ok(shown)
    }

    /// A datagram has come; true if the session was shown it, or it came from where none had.
    fn take(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) -> Result<bool, RtcError> {
        if !self.endpoint.before_datagram(datagram, now) {
            if self.peer != Some(source) && self.known.contains(&source) {
                self.peer = Some(source);
                return Ok(true);
            }
            return Ok(false);
        }
        if let Ok(contents) = datagram.try_into() {
            let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
            self.input(Input::Receive(now, receive))?;
            self.drain()?;
        }
        self.endpoint.after_datagram();
        Ok(true)
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) {
        // A full send buffer loses the datagram, as a network would.
        if let Err(error) = self.socket.try_send_to(datagram, to) {
            tracing::trace!(%error, "datagram not sent");
        }
    }

    /// What a bad network held back and lets go by now.
    fn pass_on(&mut self) -> Result<(), RtcError> {
        let now = Instant::now();
        while let Some(held) = self.paths.outward.take_due(now) {
            self.send(&held.datagram, held.peer);
        }
        while let Some(held) = self.paths.inward.take_due(now) {
            self.take(&held.datagram, held.peer, now)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use str0m::Candidate;
    use str0m::change::SdpAnswer;
    use str0m::media::{Direction, MediaKind};

    use super::super::rtc::{Codecs, build};
    use super::*;

    struct Nothing;

    impl Endpoint for Nothing {
        fn on_event(&mut self, _rtc: &mut Rtc, _event: Event, _now: Instant) {}
        fn next_due(&mut self) -> Option<Instant> {
            None
        }
        fn on_due(&mut self, _rtc: &mut Rtc, _now: Instant) {}
    }

    /// Whom a session sends to whose server claims to be at a public address.
    async fn asked(allow_public: bool) -> Vec<SocketAddr> {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = udp.local_addr().unwrap();
        let codecs = Codecs { video: Vec::new(), video_rtx: false, audio_rtx: false, capture_time: false };
        let session = |address| {
            let mut rtc = build(&codecs, Instant::now()).unwrap();
            rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
            rtc
        };
        let (mut rtc, mut server) = (session(local), session("192.0.2.1:9".parse().unwrap()));
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answer = server.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        let (_commands, commands) = mail::mail(1);
        let mut driver = Driver {
            rtc,
            socket: Wire::Direct(udp),
            left: Arc::default(),
            local,
            endpoint: Nothing,
            commands,
            state: watch::channel(SessionState::Connecting).0,
            marks: Arc::default(),
            paths: Paths::new(1),
            known: Vec::new(),
            peer: None,
            reach: Reach { allow_public, gate: None },
            tapped: None,
        };
        for _ in 0..20 {
            driver.settle().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        driver.known
    }

    #[tokio::test]
    async fn a_session_sends_to_no_public_address_however_it_learnt_of_it() {
        assert_eq!(asked(false).await, []);
        // Where the user allows it the check goes out, as far as a socket of loopback can send it.
        assert_eq!(asked(true).await, ["192.0.2.1:9".parse().unwrap()]);
    }
}
