//! Gives the window of `link::congestion` to quinn.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

use super::config::CongestionControl;
use crate::link::congestion::{Congestion, INITIAL_WINDOW};

/// The factory of the controller that the configuration names.
pub(super) fn factory(which: CongestionControl) -> Arc<dyn ControllerFactory + Send + Sync> {
    match which {
        CongestionControl::Delay => Arc::new(DelayFactory),
        CongestionControl::QuinnBbr => Arc::new(BbrConfig::default()),
        CongestionControl::QuinnCubic => Arc::new(CubicConfig::default()),
    }
}

/// What the path carries, in bytes a second, as the controller of a connection knows it.
pub(super) fn rate(connection: &quinn::Connection) -> u64 {
    let state = connection.congestion_state();
    let window = state.window();
    match state.into_any().downcast::<Delay>() {
        Ok(delay) => delay.0.rate(),
        Err(_) => {
            let micros = u64::try_from(connection.rtt().as_micros()).unwrap_or(u64::MAX).max(1_000);
            window.saturating_mul(1_000_000) / micros
        }
    }
}

struct DelayFactory;

impl ControllerFactory for DelayFactory {
    fn build(self: Arc<Self>, _now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Delay(Congestion::new(mtu)))
    }
}

#[derive(Clone)]
struct Delay(Congestion);

impl Controller for Delay {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.0.handle_sent(now, bytes);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, _rtt: &RttEstimator) {
        self.0.handle_ack(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        self.0.handle_acks_end(now, in_flight);
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, lost_bytes: u64) {
        self.0.handle_loss(lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.handle_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
