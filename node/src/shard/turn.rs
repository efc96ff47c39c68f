//! One turn after the other: take what came, let the machine decide, flush.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;
use freshet_cluster::{Identity, SessionId};
use tokio::sync::{mpsc, oneshot};

use super::busy::{Busy, Load, Waits};
use super::crossing::{Crossing, Crossings, Inlet};
use super::depart::{BUSY_PAUSE, Lost};
use super::ears::Ears;
use super::intake::Arrivals;
use super::later::{self, Later};
use super::order::{Counted, Order, Tell};
use super::sockets::Sockets;
use super::wire;
use crate::agent::Link;
use crate::forward::train::{TrainLimits, Trains, Way};
use crate::quic::{MediaIn, MediaOut};
use crate::service::{Choice, SessionError};
use crate::sfu::{self, Hop, HopPacket, Sfu};
use crate::socket::{RecvBatch, Stop};

/// Batches of datagrams read from a socket in one turn. At its limit a shard takes 25 ms for a turn, in which thousands ask
/// for packets again: what is not read then pushes signs of life out of the kernel's buffer.
const BATCHES: usize = 256;
/// Datagrams taken in of one socket in one turn. More would keep what is in from going out.
const TAKEN: usize = 512;
/// RTCP packets of them; others are dropped as they are. What they report or ask for is reported and asked for again.
const REPORTS: usize = 384;
/// The same while more comes than goes out: what is sent again then makes what comes wait longer, and more is asked for again.
const REPORTS_BEHIND: usize = 32;
/// Turns, one after the other, that found as many packets as they take: fewer are a burst.
const BEHIND: u32 = 2;
/// Packets of links, and of other shards, and orders taken in one turn.
const PER_TURN: usize = 256;
/// Longest sleep: the machine is looked at again at least so often.
const IDLE: Duration = Duration::from_millis(500);

/// How often the exporter is told what has been counted.
const TELL: Duration = Duration::from_millis(250);

/// What a shard's thread shares with the rest of the node.
pub(super) struct Around {
    pub shard: u16,
    pub events: mpsc::Sender<(u16, sfu::Event)>,
    pub sessions: Arc<AtomicU32>,
    pub latest: Arc<RwLock<Counted>>,
    pub crossings: Crossings,
    pub busy: Busy,
    pub waits: Arc<Waits>,
    pub media: Arrivals,
}

pub(super) struct Turn {
    machine: Sfu,
    sockets: Sockets,
    events: mpsc::Sender<(u16, sfu::Event)>,
    sessions: Arc<AtomicU32>,
    shard: u16,
    links: Vec<(Link, MediaOut)>,
    crossings: Crossings,
    /// What crosses to each shard at the end of this turn.
    leaving: Vec<Vec<Crossing>>,
    inlet: Arc<Inlet>,
    arriving: Vec<Crossing>,
    /// Packets of links.
    media: Arrivals,
    came: Vec<MediaIn>,
    trains: Trains,
    ears: Ears,
    lost: Lost,
    reports_dropped: u64,
    /// Turns, one after the other, that left packets waiting.
    behind: u32,
    later: Later,
    latest: Arc<RwLock<Counted>>,
    told: Instant,
    /// Packets sent to viewers in a second, as of `told`, and all of them until then.
    rate: u64,
    sent_before: u64,
    busy: Busy,
    waits: Arc<Waits>,
    load: Load,
}

impl Turn {
    pub fn new(machine: Sfu, sockets: Sockets, around: Around) -> Self {
        let Around { shard, events, sessions, latest, crossings, busy, waits, media } = around;
        Self {
            machine,
            sockets,
            events,
            sessions,
            shard,
            links: Vec::new(),
            leaving: (0..crossings.len()).map(|_| Vec::new()).collect(),
            inlet: crossings.inlet(shard),
            crossings,
            arriving: Vec::new(),
            media,
            came: Vec::new(),
            trains: Trains::new(TrainLimits::default()),
            ears: Ears::default(),
            lost: Lost::default(),
            reports_dropped: 0,
            behind: 0,
            later: Later::default(),
            latest,
            told: Instant::now(),
            rate: 0,
            sent_before: 0,
            busy,
            waits,
            load: Load::default(),
        }
    }

    fn counted(&self) -> Counted {
        let counters = self.machine.counters().clone();
        let (crossings_dropped, arrivals_dropped) = (self.inlet.dropped(), self.media.dropped());
        let kept = self.machine.kept();
        let packets_per_second = self.rate;
        let listeners = (self.ears.streams(), self.ears.readers());
        Counted {
            counters,
            packets_per_second,
            load: self.load,
            kept,
            half_open: self.machine.half_open(),
            listeners,
            socket_dropped: self.lost.dropped,
            socket_refused: self.lost.refused,
            socket_overflow: self.sockets.overflow(),
            reports_dropped: self.reports_dropped,
            handshakes_dropped: self.later.dropped,
            crossings_dropped,
            arrivals_dropped,
        }
    }

    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut received = self.sockets.batches();
        let mut waited = true;
        loop {
            let now = Instant::now();
            let due = [self.machine.poll_timeout(), self.ears.poll_timeout()].into_iter().flatten().min();
            let due = due.map_or(IDLE, |due| due.saturating_duration_since(now)).min(IDLE);
            let waiting = !self.trains.is_empty();
            let joining = self.later.waiting() > 0;
            if !std::mem::take(&mut waited) {
                // The kernel is asked what has come only when this thread waits or yields. Where something is there to do at every
                // turn, joins or what links bring, nobody would be heard, and whoever is not heard ends by silence.
                tokio::task::yield_now().await;
            }
            self.later.begin();
            tokio::select! {
                biased;
                () = self.sockets.readable() => self.receive(&mut received),
                () = self.sockets.writable(), if waiting => {}
                () = self.media.filled() => {}
                () = self.inlet.filled() => {}
                order = orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                () = std::future::ready(()), if joining => {}
                () = tokio::time::sleep(due) => {}
                // Asked last, when none of the others is ready.
                () = poll_fn(|_| { waited = true; Poll::Pending }) => {}
            }
            self.rest(&mut orders).await;
        }
    }

    /// Every door at every turn: a socket that is never empty does not keep links and other shards out.
    async fn rest(&mut self, orders: &mut mpsc::Receiver<Order>) {
        let surplus = self.link_packets() | self.arrive();
        self.behind = if surplus { self.behind.saturating_add(1) } else { 0 };
        self.join(orders);
        self.finish().await;
    }

    fn receive(&mut self, received: &mut [RecvBatch]) {
        for (socket, received) in received.iter_mut().enumerate() {
            let (mut taken, mut reports) = (0, 0);
            let most = if self.behind >= BEHIND { REPORTS_BEHIND } else { REPORTS };
            for _ in 0..BATCHES {
                if taken >= TAKEN || self.sockets.try_recv(socket, received) == 0 {
                    break;
                }
                let bound = self.sockets.bound_to(socket);
                let mut now = Instant::now();
                for datagram in received.iter() {
                    if is_rtcp(datagram.bytes) {
                        if reports == most {
                            self.reports_dropped += 1;
                            continue;
                        }
                        reports += 1;
                    }
                    taken += 1;
                    let way = Way { peer: datagram.source, local: datagram.local.or(bound) };
                    now = self.take(now, way, datagram.bytes);
                }
            }
        }
    }

    /// Takes a datagram in now, or a handshake's later. What time it is then.
    fn take(&mut self, now: Instant, way: Way, datagram: &[u8]) -> Instant {
        // Strangers' never wait: they would take the places of those who join, and cost a look-up now.
        if self.later.takes(datagram) && self.machine.knows(way.peer) {
            self.later.put(way, datagram);
            now
        } else if later::is_handshake(datagram) {
            self.handshake(way, datagram)
        } else {
            self.machine.handle_datagram(now, way, datagram);
            now
        }
    }

    /// A step of a handshake, on the turn's clock. When it is done.
    fn handshake(&mut self, way: Way, datagram: &[u8]) -> Instant {
        let began = Instant::now();
        self.machine.handle_datagram(began, way, datagram);
        let done = Instant::now();
        self.later.spend(began, done);
        done
    }

    /// What waits of handshakes and what the node orders, by turns, as long as the turn has time for it. Of the handshakes
    /// one step is done in any case: an order may have taken the whole slice.
    fn join(&mut self, orders: &mut mpsc::Receiver<Order>) {
        for nth in 0..PER_TURN {
            let in_time = self.later.has_time();
            if nth > 0 && !in_time {
                return;
            }
            let waited = self.later.next();
            if let Some((way, datagram)) = &waited {
                self.handshake(*way, datagram);
            }
            if !in_time {
                return;
            }
            match orders.try_recv() {
                Ok(order) => self.order(order),
                Err(_) if waited.is_none() => return,
                Err(_) => {}
            }
        }
    }

    /// Takes what links have brought. Whether it was as much as a turn takes.
    fn link_packets(&mut self) -> bool {
        self.media.take(Instant::now(), PER_TURN, &mut self.came);
        let surplus = self.came.len() == PER_TURN;
        for packet in self.came.drain(..) {
            let lane = (packet.header.track, packet.header.layer);
            let (alias, hop) = (packet.header.alias, Hop::Link(Link(packet.link.0)));
            self.machine.handle_hop_packet(Instant::now(), hop, alias, lane, wire::packet(packet));
        }
        surplus
    }

    /// Takes what other shards have sent. Whether it was as much as a turn takes.
    fn arrive(&mut self) -> bool {
        let now = Instant::now();
        self.inlet.take(now, PER_TURN, &mut self.arriving);
        let surplus = self.arriving.len() == PER_TURN;
        for Crossing { from, alias, lane, packet } in self.arriving.drain(..) {
            self.machine.handle_hop_packet(now, Hop::Shard(from), alias, lane, packet);
        }
        surplus
    }

    /// Hands packets to links, and to other shards in one batch each.
    fn leave(&mut self, now: Instant) {
        for packet in self.machine.drain_hop_packets() {
            match packet.hop {
                Hop::Link(link) => {
                    let to = self.links.iter().find(|(known, _)| *known == link);
                    if let Some((_, media)) = to {
                        wire::send(media, &packet);
                    }
                }
                Hop::Shard(to) => {
                    let HopPacket { alias, lane, packet, .. } = packet;
                    if let Some(leaving) = self.leaving.get_mut(usize::from(to)) {
                        leaving.push(Crossing { from: self.shard, alias, lane, packet });
                    }
                }
            }
        }
        self.crossings.put(now, &mut self.leaving);
    }

    /// Lets time pass, flushes, and hands out what the machine wants handed out.
    async fn finish(&mut self) {
        let now = Instant::now();
        if self.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_timeout(now);
        }
        let Self { machine, trains, sockets, lost, .. } = self;
        let mut depart = |trains: &mut Trains| lost.empty(trains, sockets);
        while let Some(datagram) = machine.poll_datagram() {
            trains.begin(datagram.to, datagram.from);
            if trains.slot(datagram.contents.len()).is_none() {
                trains.end();
                depart(trains);
                trains.begin(datagram.to, datagram.from);
            }
            if let Some(slot) = trains.slot(datagram.contents.len()) {
                slot.copy_from_slice(&datagram.contents);
                trains.commit(datagram.contents.len());
            }
            trains.end();
        }
        machine.flush(now, trains, &mut depart);
        trains.end();
        if lost.send(trains, sockets) == Some(Stop::Busy) {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        self.leave(now);
        self.sessions.store(u32::try_from(self.machine.sessions()).unwrap_or(u32::MAX), Ordering::Relaxed);
        let since = now.saturating_duration_since(self.told);
        if since >= TELL {
            self.told = now;
            let sent = self.machine.counters().egress_packets;
            let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
            self.rate = sent.saturating_sub(self.sent_before).saturating_mul(1_000) / millis;
            self.sent_before = sent;
            self.load = self.busy.note(now, self.waits.total());
            *self.latest.write().unwrap_or_else(PoisonError::into_inner) = self.counted();
        }
        // Events wait in the machine while the node's task is busy: one for each session that ends, and what a stream has to
        // say, which is a few a second for each.
        while let Some(event) = self.machine.poll_event() {
            match &event {
                sfu::Event::Viewing(session) => {
                    self.ears.changed(now, *session);
                    continue;
                }
                sfu::Event::Ended { session, .. } => self.ears.ended(*session),
                _ => {}
            }
            match self.events.try_send((self.shard, event)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full((_, event))) => {
                    self.machine.unpoll_event(event);
                    break;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => break,
            }
        }
        self.ears.turn(now, &mut self.machine);
    }

    fn order(&mut self, order: Order) {
        let began = Instant::now();
        self.carry_out(began, order);
        self.later.spend(began, Instant::now());
    }

    fn carry_out(&mut self, now: Instant, order: Order) {
        let machine = &mut self.machine;
        // A client that went away does not wait for its answer: the session ends by silence.
        match order {
            Order::Create(ask, reply) => {
                let id = ask.session;
                if reply.send(machine.create(now, ask)).is_err() {
                    machine.end(now, id, EndReason::Closed);
                }
            }
            Order::Look(session, who, reply) => drop(reply.send(machine.look(session, who.as_ref()))),
            Order::Patch { session, who, if_match, fragment, reply } => {
                drop(reply.send(machine.patch(now, session, who.as_ref(), &if_match, &fragment)));
            }
            Order::Subscribe { session, who, wants, reply } => {
                drop(reply.send(self.ears.subscribe(now, machine, session, who.as_ref(), wants)));
            }
            Order::Read { session, who, stream, reader, reply } => {
                drop(reply.send(self.ears.read(now, machine, session, who.as_ref(), stream, reader)));
            }
            Order::HasStream(session, who, stream, reply) => {
                drop(reply.send(self.ears.has_stream(now, machine, session, who.as_ref(), stream)));
            }
            Order::Unsubscribe(session, who, stream, reply) => {
                drop(reply.send(self.ears.unsubscribe(now, machine, session, who.as_ref(), stream)));
            }
            Order::Choose { session, who, media_id, choice, reply } => {
                drop(reply.send(choose(machine, now, session, who.as_ref(), media_id.as_deref(), choice)));
            }
            Order::EndBy(session, who, reply) => drop(reply.send(machine.end_by(now, session, who.as_ref()))),
            Order::EndAll(reason, reply) => self.end_all(now, reason, reply),
            Order::Health(room, stream, reply) => drop(reply.send(machine.health(now, &room, &stream))),
            Order::Tell(tell) => self.tell(now, tell),
            Order::Count(reply) => {
                drop(reply.send(self.counted()));
            }
        }
    }

    fn end_all(&mut self, now: Instant, reason: EndReason, reply: oneshot::Sender<()>) {
        self.machine.end_all(now, reason);
        let _ = reply.send(());
    }

    fn tell(&mut self, now: Instant, tell: Tell) {
        let machine = &mut self.machine;
        match tell {
            Tell::End(session, reason) => {
                machine.end(now, session, reason);
            }
            Tell::Claimed { session, key, started_at } => {
                machine.handle_claimed(now, session, key, started_at);
            }
            Tell::Up(stream) => machine.handle_incoming_up(now, stream),
            Tell::Layers(key, rates) => machine.handle_layers(now, &key, &rates),
            Tell::Down(key) => machine.handle_incoming_down(now, &key),
            Tell::Forward { key, lane, hop, alias, from } => {
                machine.handle_forward(now, &key, lane, hop, alias, from);
            }
            Tell::Unforward { key, lane, hop } => machine.handle_unforward(&key, lane, hop),
            Tell::Keyframe(key, lane) => machine.handle_keyframe_request(now, &key, lane),
            Tell::LinkUp(link, media) => self.links.push((link, media)),
            Tell::LinkDown(link) => {
                self.links.retain(|(l, _)| *l != link);
                machine.handle_link_down(link);
            }
        }
    }
}

/// By the packet types that RFC 5761 section 4 keeps for RTCP.
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

/// Picks a layer for the m-line that the client names by its place in the SDP.
fn choose(
    machine: &mut Sfu,
    now: Instant,
    session: SessionId,
    who: Option<&Identity>,
    media_id: Option<&str>,
    choice: Choice,
) -> Result<(), SessionError> {
    machine.look(session, who)?;
    let viewing = machine.viewing(session).ok_or(SessionError::NotAViewer)?;
    let missing = |id: &str| SessionError::NoSuchLayer(format!("the session has no m-line {id:?}"));
    let line = media_id.map(|id| viewing.numbered(id).ok_or_else(|| missing(id))).transpose()?;
    machine.choose_layer(now, session, who, line.map(|line| line.mid.as_str()), choice)
}
