//! The wire between a session and its peer: a UDP socket, or an allocation of a TURN server behind one (RFC 8656).

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::ears::{Ear, Tap};
use super::guard::lock;
use super::headers::IceServer;
use super::target::is_near;
use super::turn::{self, Credentials, Draft, Message, Transaction};
use super::{ClientError, Gate};

/// Between two attempts at one question; twice as long each time.
const AGAIN: Duration = Duration::from_millis(250);
const TRIES: u32 = 6;
/// Channels and the allocation are made anew so often: permissions hold for five minutes.
const TEND: Duration = Duration::from_secs(90);
/// So long an allocation is asked for.
const LIFETIME: u32 = 600;
/// Numbers that channels may have (RFC 8656 section 12).
const FIRST_CHANNEL: u16 = 0x4000;
const CHANNELS: usize = 16;
const UDP: u8 = 17;
const STALE_NONCE: u16 = 438;
const UNAUTHORISED: u16 = 401;

/// What a session sends and receives by.
#[derive(Debug)]
pub(super) enum Wire {
    Direct(UdpSocket),
    /// The same, read in steps.
    Steps(Ear),
    Relayed(Box<Relay>),
    /// It could not be told of in another way.
    Nowhere,
}

impl Wire {
    /// From now on it is read in steps, which costs less, and this one counts what comes from there. Where that can't be had,
    /// and by TURN, all stays as it is. Must be called inside a runtime.
    pub fn tap(&mut self, from: SocketAddr, tap: Arc<dyn Tap>) -> io::Result<()> {
        if !Ear::CAN_BE {
            return Ok(());
        }
        // The runtime lets go of the socket.
        *self = match std::mem::replace(self, Self::Nowhere) {
            Self::Direct(socket) => Self::Steps(Ear::new(socket.into_std()?)?),
            other => other,
        };
        if let Self::Steps(ear) = self {
            ear.tap(from, tap);
        }
        Ok(())
    }

    /// Nobody counts any more what comes. Call [`Self::read_at_once`] when what waits has been read.
    pub fn untap(&self) -> io::Result<()> {
        if let Self::Steps(ear) = self { ear.untap() } else { Ok(()) }
    }

    /// From now on it is not read in steps. Must be called inside a runtime.
    pub fn read_at_once(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Nowhere) {
            Self::Steps(ear) => Self::Direct(UdpSocket::from_std(ear.into_socket()?)?),
            other => other,
        };
        Ok(())
    }

    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Direct(socket) => socket.readable().await,
            Self::Steps(ear) => {
                poll_fn(|context| ear.poll(context)).await;
                Ok(())
            }
            Self::Relayed(relay) => relay.socket.readable().await,
            Self::Nowhere => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::Direct(socket) => socket.try_recv_from(buffer),
            Self::Steps(ear) => ear.try_recv_from(buffer),
            Self::Relayed(relay) => relay.receive(buffer),
            Self::Nowhere => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self {
            Self::Direct(socket) => socket.try_send_to(datagram, to),
            Self::Steps(ear) => ear.send_to(datagram, to),
            Self::Relayed(relay) => relay.send(datagram, to),
            Self::Nowhere => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The session is over, and its socket is left open, and deaf. An allocation is given back first, by its own end.
    pub fn deafen(self) -> Option<std::net::UdpSocket> {
        let socket = match self {
            Self::Direct(socket) => socket.into_std(),
            Self::Steps(ear) => ear.into_socket(),
            Self::Relayed(relay) => {
                let socket = Arc::clone(&relay.socket);
                drop(relay);
                Arc::into_inner(socket)?.into_std()
            }
            Self::Nowhere => return None,
        };
        let socket = socket.ok()?;
        deafen(&socket);
        Some(socket)
    }
}

/// What a session leaves when it is over: its socket. The kernel's count of what it dropped there is gone with it.
#[derive(Debug, Default)]
pub(crate) struct Left(Mutex<Option<std::net::UdpSocket>>);

impl Left {
    pub(super) fn put(&self, socket: Option<std::net::UdpSocket>) {
        *lock(&self.0) = socket;
    }
}

/// Nobody reads this socket any more, and others may keep it open to read what the kernel counted there: what a server
/// still sends must not fill its buffer and look as if a viewer had been too slow.
fn deafen(socket: &std::net::UdpSocket) {
    // A connected socket takes datagrams of its peer alone, and its peer is now itself.
    let itself = socket.local_addr();
    if let Err(error) = itself.and_then(|local| socket.connect(local)) {
        tracing::debug!(%error, "a socket that nobody reads stays open to its server");
    }
}

/// An allocation at a TURN server.
pub(super) struct Relay {
    socket: Arc<UdpSocket>,
    /// Where peers reach this session.
    pub address: SocketAddr,
    keep: Mutex<Keep>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({})", self.address)
    }
}

struct Keep {
    by: Credentials,
    peers: Vec<(u16, SocketAddr)>,
    tend_at: Instant,
}

/// The first of these servers that can be used: TURN by UDP, with a name and a password.
pub(super) fn usable(servers: &[IceServer]) -> Option<&IceServer> {
    servers.iter().find(|server| {
        turn::udp_server(&server.url).is_some() && server.username.is_some() && server.credential.is_some()
    })
}

impl Relay {
    /// Allocates an address at a server, and a channel to each peer. `socket` is bound and not connected yet.
    pub async fn allocate(
        socket: Arc<UdpSocket>,
        server: &IceServer,
        peers: &[SocketAddr],
        allow_public: bool,
        gate: Option<&Gate>,
    ) -> Result<Self, ClientError> {
        let failed = |why: String| ClientError::Relay { url: server.url.clone(), why };
        let (host, port) =
            turn::udp_server(&server.url).ok_or_else(|| failed("only TURN by UDP is spoken here".into()))?;
        let like = socket.local_addr().map_err(|error| failed(error.to_string()))?;
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
        let to = found.into_iter().find(|address| address.is_ipv4() == like.is_ipv4());
        let to = to.ok_or_else(|| failed("its name has no address of this family".into()))?;
        if !allow_public && !is_near(to.ip()) {
            return Err(ClientError::ForbiddenTarget { host, address: to.ip() });
        }
        if let Some(gate) = gate {
            let named = if to.is_ipv6() && host.contains(':') { format!("[{host}]") } else { host };
            gate.check(&format!("http://{named}:{port}")).await?;
        }
        socket.connect(to).await.map_err(|error| failed(error.to_string()))?;

        let (username, password) = (server.username.as_deref(), server.credential.as_deref());
        let (username, password) = (username.unwrap_or_default(), password.unwrap_or_default());
        let mut by = None;
        // The first question is refused with what is needed for the second; a nonce may be stale once more.
        for _ in 0..3 {
            let answer = ask(&socket, by.as_ref(), |transaction| allocation(transaction, peers)).await;
            let answer = answer.map_err(failed)?;
            let Some(message) = Message::read(&answer) else { continue };
            if message.is_success() {
                let address = message.address(turn::RELAYED);
                let address = address.ok_or_else(|| failed("its answer names no address".into()))?;
                let by = by.ok_or_else(|| failed("it asked for no password".into()))?;
                return Self {
                    socket,
                    address,
                    keep: Mutex::new(Keep { by, peers: Vec::new(), tend_at: Instant::now() + TEND }),
                }
                .bind(peers)
                .await
                .map_err(failed);
            }
            match (message.error(), message.challenge()) {
                (Some(UNAUTHORISED), Some((realm, nonce))) if by.is_none() => {
                    by = Some(Credentials::new(username, password, realm, nonce));
                }
                (Some(STALE_NONCE), Some((realm, nonce))) => {
                    by = Some(Credentials::new(username, password, realm, nonce));
                }
                (Some(UNAUTHORISED), _) => {
                    return Err(failed("it does not know this user and password".into()));
                }
                (code, _) => {
                    return Err(failed(format!(
                        "it refused an allocation with {}",
                        code.unwrap_or_default()
                    )));
                }
            }
        }
        Err(failed("it does not come to an end with its questions".into()))
    }

    /// Makes a channel to each peer, which lets it in as well.
    async fn bind(self, peers: &[SocketAddr]) -> Result<Self, String> {
        let by = lock(&self.keep).by.clone();
        let mut refused = None;
        for (channel, peer) in (FIRST_CHANNEL..).zip(peers).take(CHANNELS) {
            let answer =
                ask(&self.socket, Some(&by), |transaction| binding(transaction, channel, *peer)).await?;
            match Message::read(&answer).map(|message| (message.is_success(), message.error())) {
                Some((true, _)) => lock(&self.keep).peers.push((channel, *peer)),
                other => refused = other.and_then(|(_, code)| code),
            }
        }
        if lock(&self.keep).peers.is_empty() {
            let code = refused.unwrap_or_default();
            return Err(format!("it lets nobody of {} candidates in ({code})", peers.len()));
        }
        Ok(self)
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.tend();
        let channel =
            lock(&self.keep).peers.iter().find(|(_, peer)| *peer == to).map(|(channel, _)| *channel);
        let framed = match channel {
            Some(channel) => {
                let length = u16::try_from(datagram.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut framed = Vec::with_capacity(datagram.len() + 4);
                framed.extend(channel.to_be_bytes());
                framed.extend(length.to_be_bytes());
                framed.extend(datagram);
                framed
            }
            None => Draft::new(turn::SEND_INDICATION, &rand::random())
                .with_address(turn::PEER, to)
                .with(turn::DATA, datagram)
                .finish(None),
        };
        self.socket.try_send(&framed).map(|_| datagram.len())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let length = self.socket.try_recv(buffer)?;
            let datagram = buffer.get(..length).unwrap_or_default();
            if let Some((from, at, length)) = self.unwrapped(datagram) {
                buffer.copy_within(at..at.saturating_add(length), 0);
                return Ok((length, from));
            }
        }
    }

    /// Whom a datagram of the server is from, and where in it its content stands. The rest is between us and the server.
    fn unwrapped(&self, datagram: &[u8]) -> Option<(SocketAddr, usize, usize)> {
        if datagram.first().is_some_and(|first| first & 0xc0 == 0x40) {
            let [c0, c1, l0, l1] = *datagram.first_chunk::<4>()?;
            let (channel, length) = (u16::from_be_bytes([c0, c1]), usize::from(u16::from_be_bytes([l0, l1])));
            let from = lock(&self.keep).peers.iter().find(|(known, _)| *known == channel)?.1;
            return (datagram.len() >= length.saturating_add(4)).then_some((from, 4, length));
        }
        let message = Message::read(datagram)?;
        if message.kind == turn::DATA_INDICATION {
            let (from, data) = (message.address(turn::PEER)?, message.attribute(turn::DATA)?);
            let at = data.as_ptr().addr().checked_sub(datagram.as_ptr().addr())?;
            return Some((from, at, data.len()));
        }
        if let (Some(STALE_NONCE), Some(nonce)) = (message.error(), message.nonce()) {
            let mut keep = lock(&self.keep);
            keep.by.renew(nonce);
            keep.tend_at = Instant::now();
        }
        None
    }

    /// Keeps allocation and channels alive. Answers are not waited for: what is lost is asked again long before it is due.
    fn tend(&self) {
        let mut keep = lock(&self.keep);
        let now = Instant::now();
        if now < keep.tend_at {
            return;
        }
        keep.tend_at = now + TEND;
        let refresh = refreshing(&rand::random(), LIFETIME).finish(Some(&keep.by));
        let bindings = keep
            .peers
            .iter()
            .map(|(channel, peer)| binding(&rand::random(), *channel, *peer).finish(Some(&keep.by)));
        for question in std::iter::once(refresh).chain(bindings) {
            let _asked_again = self.socket.try_send(&question);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let goodbye = refreshing(&rand::random(), 0).finish(Some(&lock(&self.keep).by));
        let _it_ends_by_itself = self.socket.try_send(&goodbye);
    }
}

fn allocation(transaction: &Transaction, peers: &[SocketAddr]) -> Draft {
    let draft = Draft::new(turn::ALLOCATE, transaction)
        .with(turn::TRANSPORT, &[UDP, 0, 0, 0])
        .with(turn::LIFETIME, &LIFETIME.to_be_bytes());
    // Without it an address of IPv4 is meant.
    match peers.first().map(SocketAddr::ip) {
        Some(IpAddr::V6(_)) => draft.with(turn::FAMILY, &[2, 0, 0, 0]),
        Some(IpAddr::V4(_)) | None => draft,
    }
}

fn refreshing(transaction: &Transaction, lifetime: u32) -> Draft {
    Draft::new(turn::REFRESH, transaction).with(turn::LIFETIME, &lifetime.to_be_bytes())
}

fn binding(transaction: &Transaction, channel: u16, peer: SocketAddr) -> Draft {
    let [high, low] = channel.to_be_bytes();
    Draft::new(turn::CHANNEL_BIND, transaction)
        .with(turn::CHANNEL_NUMBER, &[high, low, 0, 0])
        .with_address(turn::PEER, peer)
}

/// Asks until an answer comes, which is given as it came.
async fn ask(
    socket: &UdpSocket,
    by: Option<&Credentials>,
    question: impl Fn(&Transaction) -> Draft,
) -> Result<Vec<u8>, String> {
    let transaction: Transaction = rand::random();
    let question = question(&transaction).finish(by);
    let mut buffer = vec![0; 2_048];
    let mut pause = AGAIN;
    for _ in 0..TRIES {
        socket.send(&question).await.map_err(|error| error.to_string())?;
        let until = tokio::time::Instant::now() + pause;
        while let Ok(came) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
            let length = came.map_err(|error| format!("it cannot be reached: {error}"))?;
            let answer = buffer.get(..length).unwrap_or_default();
            if Message::read(answer).is_some_and(|message| message.transaction == transaction) {
                return Ok(answer.to_vec());
            }
        }
        pause = pause.saturating_mul(2);
    }
    Err("it does not answer".to_owned())
}

#[cfg(test)]
mod tests {
    use std::slice::Chunks;

    use super::super::ears::Due;
    use super::*;

    struct Nobody;

    impl Tap for Nobody {
        fn take(&self, _datagrams: Chunks<'_, u8>, _at: Instant, _aside: &mut dyn FnMut(&[u8])) {}
        fn due(&self, _now: Instant) -> Due {
            Due::default()
        }
        fn let_go(&self) {}
    }

    #[tokio::test]
    async fn a_socket_that_nobody_reads_takes_nothing_more() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for in_steps in [false, true] {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let local = socket.local_addr().unwrap();
            let mut wire = Wire::Direct(socket);
            if in_steps {
                wire.tap(local, Arc::new(Nobody)).unwrap();
                assert!(matches!(wire, Wire::Steps(_)));
            }
            let mut buffer = [0; 16];
            server.send_to(b"read", local).await.unwrap();
            wire.readable().await.unwrap();
            assert_eq!(wire.try_recv_from(&mut buffer).unwrap().0, 4);
            let socket = wire.deafen().unwrap();
            server.send_to(b"late", local).await.unwrap();
            // Loopback delivers before the call is over; an error is what the server may hear of it.
            let late = socket.recv_from(&mut buffer);
            assert!(late.is_err(), "{late:?}");
        }
    }
}
