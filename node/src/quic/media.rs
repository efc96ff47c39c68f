//! Packets out: from the queue of `crate::link::queue` into QUIC's datagram buffer, which is kept short.

use std::time::{Duration, Instant};

use freshet_relay_proto::split::split;
use quinn::Connection;

use super::controller;
use super::handle::{Counters, OutPacket, add};
use super::transport::SEND_BUFFER;
use crate::link::queue::MediaQueue;

/// So much time of the link's rate may stand in QUIC's buffer.
const BUFFER: Duration = Duration::from_millis(50);
/// At least so many bytes may, whatever the rate: some packets, so that a slow link moves at all.
const BUFFER_MIN: u64 = 16 * 1024;
/// At most so many: half of what QUIC would take.
const BUFFER_MAX: u64 = 2 * 1024 * 1024;
/// How often the rate is asked for.
const RATE_EVERY: Duration = Duration::from_millis(10);
/// When packets wait, how soon the buffer is looked at again: well within [`BUFFER`].
const AGAIN: Duration = Duration::from_millis(2);
/// What QUIC counts for a datagram besides its bytes.
const OVERHEAD: u64 = 32;

pub(super) struct Outgoing {
    queue: MediaQueue,
    rate: u64,
    rate_at: Option<Instant>,
}

impl Outgoing {
    pub fn new() -> Self {
        Self { queue: MediaQueue::default(), rate: 0, rate_at: None }
    }

    pub fn push(&mut self, now: Instant, connection: &Connection, packet: OutPacket) {
        if self.rate_at.is_none_or(|at| now.saturating_duration_since(at) >= RATE_EVERY) {
            self.rate = controller::rate(connection);
            self.rate_at = Some(now);
        }
        let OutPacket { kind, header, payload } = packet;
        self.queue.push(now, kind, header, payload, self.rate);
    }

    /// Hands QUIC what it should have; when to come again, if packets still wait.
    pub fn flush(&mut self, now: Instant, connection: &Connection, counters: &Counters) -> Option<Instant> {
        if self.queue.is_empty() {
            counters.set_policy(self.queue.dropped());
            return None;
        }
        let budget = u128::from(self.rate).saturating_mul(BUFFER.as_micros()) / 1_000_000;
        let budget = u64::try_from(budget).unwrap_or(u64::MAX).clamp(BUFFER_MIN, BUFFER_MAX);
        let free = connection.datagram_send_buffer_space();
        let mut used = count(SEND_BUFFER.saturating_sub(free));
        let max = connection.max_datagram_size();
        while used < budget {
            let Some(packet) = self.queue.pop(now) else { break };
            let datagrams = max.and_then(|max| split(&packet.header, &packet.payload, max).ok());
            let mut sent = datagrams.is_some();
            for datagram in datagrams.into_iter().flatten() {
                let len = count(datagram.len());
                // The limit may have shrunk since it was read: the packet counts as dropped.
                sent = sent && connection.send_datagram(datagram).is_ok();
                if sent {
                    used = used.saturating_add(len).saturating_add(OVERHEAD);
                    add(&counters.sent, 1);
                    add(&counters.sent_bytes, len);
                }
            }
            if sent {
                add(&counters.packets, 1);
            } else {
                self.queue.give_up(&packet);
            }
        }
        counters.set_policy(self.queue.dropped());
        (!self.queue.is_empty()).then(|| now + AGAIN)
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
