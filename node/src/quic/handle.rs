//! What others hold of a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::control::Control;
use freshet_relay_proto::header::MediaHeader;
use freshet_relay_proto::track::MediaKind;
use tokio::sync::{mpsc, watch};

use super::types::{Ended, LinkId, LinkInfo};
use crate::link::queue::Dropped;
use crate::quic::controller;

/// Frames that wait for a link's task; more close it. A neighbour that joins a room hears of all its streams at once.
const FRAMES: usize = 8_192;
/// Packets that wait for a link's task: a second of 20 Mbit/s, so that only a task that does not run loses any.
const MEDIA: usize = 2_048;

/// Counts of a link.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub offered: AtomicU64,
    pub overflowed: AtomicU64,
    pub packets: AtomicU64,
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    pub audio: AtomicU64,
    pub keyframe: AtomicU64,
    pub delta: AtomicU64,
}

impl Counters {
    pub fn policy(&self) -> Dropped {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Dropped { audio: get(&self.audio), keyframe: get(&self.keyframe), delta: get(&self.delta) }
    }

    pub fn dropped(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed).saturating_add(self.policy().total())
    }

    pub fn set_policy(&self, dropped: Dropped) {
        self.audio.store(dropped.audio, Ordering::Relaxed);
        self.keyframe.store(dropped.keyframe, Ordering::Relaxed);
        self.delta.store(dropped.delta, Ordering::Relaxed);
    }
}

pub(super) fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

/// A link as its task, the table and its handles share it.
#[derive(Debug)]
pub(super) struct Link {
    pub id: LinkId,
    pub peer: NodeId,
    pub incarnation: Incarnation,
    pub dialled: bool,
    pub connection: quinn::Connection,
    pub counters: Counters,
    /// Set once: the task closes the link for this reason.
    pub kill: watch::Sender<Option<Ended>>,
    /// Its end has been told.
    pub gone: watch::Sender<bool>,
    /// Nobody here dials this node any more; the link goes when the other end needs it no more either.
    pub forgotten: AtomicBool,
    frames: mpsc::Sender<Control>,
    media: mpsc::Sender<OutPacket>,
}

/// A packet on its way to a link's task.
#[derive(Debug)]
pub(super) struct OutPacket {
    pub kind: MediaKind,
    pub header: MediaHeader,
    pub payload: Bytes,
}

/// The ends of a link's queues that its task reads.
pub(super) struct Inbox {
    pub frames: mpsc::Receiver<Control>,
    pub media: mpsc::Receiver<OutPacket>,
    pub kill: watch::Receiver<Option<Ended>>,
}

impl Link {
    pub fn new(
        id: LinkId,
        peer: NodeId,
        incarnation: Incarnation,
        dialled: bool,
        connection: quinn::Connection,
    ) -> (Arc<Self>, Inbox) {
        let (frames, frames_in) = mpsc::channel(FRAMES);
        let (media, media_in) = mpsc::channel(MEDIA);
        let (kill, killed) = watch::channel(None);
        let link = Self {
            id,
            peer,
            incarnation,
            dialled,
            connection,
            counters: Counters::default(),
            kill,
            gone: watch::channel(false).0,
            forgotten: AtomicBool::new(false),
            frames,
            media,
        };
        (Arc::new(link), Inbox { frames: frames_in, media: media_in, kill: killed })
    }

    /// Closes the link; the first reason counts.
    pub fn kill(&self, reason: Ended) {
        self.kill.send_if_modified(|kill| {
            let first = kill.is_none();
            if first {
                *kill = Some(reason);
            }
            first
        });
    }

    /// Waits until its end has been told.
    pub async fn gone(&self) {
        let mut gone = self.gone.subscribe();
        // The sender lives in `self`.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    pub fn info(&self) -> LinkInfo {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counters = &self.counters;
        LinkInfo {
            id: self.id,
            peer: self.peer.clone(),
            incarnation: self.incarnation,
            address: self.connection.remote_address(),
            dialled: self.dialled,
            rtt: self.connection.rtt(),
            rate: controller::rate(&self.connection),
            offered: get(&counters.offered),
            packets: get(&counters.packets),
            sent: get(&counters.sent),
            sent_bytes: get(&counters.sent_bytes),
            lost: self.connection.stats().path.lost_packets,
            dropped: counters.dropped(),
            policy: counters.policy(),
            received: get(&counters.received),
            received_bytes: get(&counters.received_bytes),
        }
    }
}

/// Where shards put packets for a link.
#[derive(Debug, Clone)]
pub struct MediaOut(Arc<Link>);

impl MediaOut {
    /// Queues a packet and never waits; `kind` tells the drop policy what it is. False: the queue was full or the link is gone; dropped and counted. What the
    /// link is too slow for is dropped later, by policy, and counted too.
    pub fn try_send(&self, kind: MediaKind, header: MediaHeader, payload: Bytes) -> bool {
        add(&self.0.counters.offered, 1);
        let queued = self.0.media.try_send(OutPacket { kind, header, payload }).is_ok();
        if !queued {
            add(&self.0.counters.overflowed, 1);
        }
        queued
    }
}

/// Talks to a link.
#[derive(Debug, Clone)]
pub struct LinkHandle(pub(super) Arc<Link>);

impl LinkHandle {
    /// Its number.
    pub fn id(&self) -> LinkId {
        self.0.id
    }

    /// The other end.
    pub fn peer(&self) -> &NodeId {
        &self.0.peer
    }

    /// Which start of the other end.
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// Queues a frame. False: the link is gone, or goes because too many frames wait.
    pub fn send(&self, frame: Control) -> bool {
        match self.0.frames.try_send(frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.0.kill(Ended::new(CloseCode::Overflow, format!("{FRAMES} frames wait for the link")));
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Where packets for it go.
    pub fn media(&self) -> MediaOut {
        MediaOut(self.0.clone())
    }
}
