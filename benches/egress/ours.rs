//! Our egress: the types of the product, from the ring to the socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_node::forward::egress::{Format, Outlet, Road, Sealer};
use freshet_node::forward::srtp::{Profile, SrtpSender};
use freshet_node::forward::train::{TrainLimits, Trains};
use freshet_node::media::packet::{CaptureMicros, Extensions, Packet};
use freshet_node::media::ring::{Ring, RingConfig};
use freshet_node::socket::{SendBatch, Socket, SocketOptions};

use super::trace::{Sample, Trace};

const VIDEO: Format = Format { pt: 102, rtx: Some(103), clock_rate: 90_000 };
const AUDIO: Format = Format { pt: 111, rtx: None, clock_rate: 48_000 };

struct Viewer {
    sealer: Sealer,
    video: Outlet,
    audio: Outlet,
    address: SocketAddr,
}

pub struct Ours {
    socket: Socket,
    batch: SendBatch,
    trains: Trains,
    viewers: Vec<Viewer>,
    video: Ring,
    audio: Ring,
    now: Instant,
    base: u32,
    sent: (usize, usize),
}

impl Ours {
    pub async fn new(viewers: &[SocketAddr]) -> Self {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        socket.writable().await.unwrap();
        let viewer = |(nth, address): (usize, &SocketAddr)| {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&nth.to_le_bytes());
            let outlet = |ssrc, rtx| Outlet::new(ssrc, rtx, "0", &[], (nth as u32 * 77_777, 0));
            let ssrc = nth as u32 * 3;
            Viewer {
                sealer: Sealer::new(SrtpSender::new(Profile::AeadAes256Gcm, &key, &[3; 12]).unwrap()),
                video: outlet(ssrc + 1, Some(ssrc + 2)),
                audio: outlet(ssrc, None),
                address: *address,
            }
        };
        Self {
            socket,
            batch: SendBatch::new(),
            trains: Trains::new(TrainLimits::default()),
            viewers: viewers.iter().enumerate().map(viewer).collect(),
            video: Ring::new(RingConfig::default()),
            audio: Ring::new(RingConfig::default()),
            now: Instant::now(),
            base: 0,
            sent: (0, 0),
        }
    }

    /// Sends the trace to every viewer and tells `told` after each moment how many packets that were.
    pub fn send(&mut self, trace: &Trace, mut told: impl FnMut(usize)) {
        for moment in &trace.moments {
            self.now += Duration::from_millis(12);
            let (first_video, first_audio) = (next(&self.video), next(&self.audio));
            for sample in moment {
                let ring = if sample.video { &mut self.video } else { &mut self.audio };
                let packet = packet(sample, next(ring), self.base, self.now);
                ring.push(Arc::new(packet));
            }
            self.video.expire(self.now);
            self.audio.expire(self.now);
            let before = self.sent.1;
            let Self { socket, batch, trains, sent, .. } = self;
            let mut depart = |trains: &mut Trains| flush(socket, batch, trains, sent);
            for viewer in &mut self.viewers {
                trains.begin(viewer.address, None);
                let mut road = Road { trains, depart: &mut depart, to: viewer.address };
                for packet in self.video.iter_from(first_video) {
                    viewer.video.send(&mut viewer.sealer, VIDEO, packet, self.now, &mut road).unwrap();
                }
                for packet in self.audio.iter_from(first_audio) {
                    viewer.audio.send(&mut viewer.sealer, AUDIO, packet, self.now, &mut road).unwrap();
                }
                trains.end();
            }
            depart(trains);
            told(self.sent.1 - before);
        }
        self.base = self.base.wrapping_add(trace.moments.len() as u32 * 3_000);
    }

    /// How full trains were, on average.
    pub fn packets_per_train(&self) -> f64 {
        self.sent.1 as f64 / self.sent.0.max(1) as f64
    }
}

fn next(ring: &Ring) -> u64 {
    ring.newest().map_or(1, |newest| newest + 1)
}

fn packet(sample: &Sample, index: u64, base: u32, now: Instant) -> Packet {
    Packet {
        index,
        timestamp: base.wrapping_add(sample.timestamp),
        marker: sample.marker,
        keyframe: sample.keyframe,
        codec: 0,
        capture: CaptureMicros(index),
        arrived: now,
        exts: Extensions::default(),
        payload: sample.payload.clone(),
    }
}

/// Hands all trains to the kernel; loopback always has room in the end.
fn flush(socket: &Socket, batch: &mut SendBatch, trains: &mut Trains, counts: &mut (usize, usize)) {
    while !trains.pending().is_empty() {
        let sent = socket.try_send(batch, trains.arena(), trains.pending());
        assert_eq!(sent.refused, 0, "{sent:?}");
        counts.0 += sent.trains;
        counts.1 += sent.packets;
        trains.advance(sent.trains);
    }
}
