//! How QUIC is set up for media.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use super::config::CongestionControl;
use super::controller;

/// A connection on which nothing comes for so long is gone. The link's own limit is half of it.
const IDLE: Duration = Duration::from_secs(10);
/// Datagrams that the socket brought and nobody has read yet: QUIC drops the oldest beyond this.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// The datagram buffer as QUIC knows it. It is never filled: `media` keeps 50 ms of the link's rate in it, because
/// what is beyond its limit QUIC throws away, oldest first and silently.
pub(super) const SEND_BUFFER: usize = 4 * 1024 * 1024;
/// Bytes of the control stream that may be on the way.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What is overtaken is lost after so many round trips, not after so many packets: jitter of some milliseconds
/// reorders bursts of many streams by hundreds, and a datagram that counts as lost is not repeated anyway.
const REORDERING: u32 = 4_096;
const REORDERING_TIME: f32 = 2.0;

pub(super) fn config(congestion: CongestionControl) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_receive_buffer_size(Some(RECEIVE_BUFFER))
        .datagram_send_buffer_size(SEND_BUFFER)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .packet_threshold(REORDERING)
        .time_threshold(REORDERING_TIME)
        // Every path carries this; MTU discovery, which is on by default, finds more.
        .initial_mtu(1_200)
        .congestion_controller_factory(controller::factory(congestion));
    Arc::new(config)
}
