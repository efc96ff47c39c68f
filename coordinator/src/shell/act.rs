//! Does what the core puts out.

use freshet_cluster::keys::{self, Topic};
use freshet_cluster::room::{EndReason, StreamEvent, StreamState};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION, encode};

use super::state::State;
use crate::core::Output;
use crate::view::Death;

/// Does what the core put out.
pub async fn drain(state: &State) {
    loop {
        let output = state.core().poll_output();
        match output {
            None => return,
            Some(Output::Changed(room)) => state.wake(&room),
            Some(Output::Died(death)) => mourn(state, death).await,
        }
    }
}

/// Tells the rooms which streams ended with a node.
async fn mourn(state: &State, death: Death) {
    state.metrics.nodes_died.inc();
    tracing::warn!(
        node = death.node.as_str(),
        incarnation = %death.incarnation,
        superseded = death.superseded,
        streams = death.streams.len(),
        "node is dead"
    );
    for (room, stream, view) in death.streams {
        let event = StreamEvent {
            v: VERSION,
            min_v: MIN_VERSION,
            room: room.clone(),
            stream,
            generation: view.generation,
            identity: view.identity,
            node: view.node,
            state: StreamState::Ended,
            reason: Some(EndReason::NodeDead),
            at: UnixMillis::now(),
            unknown: Unknown::new(),
        };
        let subject = keys::room_subject(&room, Topic::Stream);
        if let Err(error) = state.bus.publish(&subject, encode(&event)).await {
            tracing::debug!(room = room.as_str(), %error, "end of a stream not told");
        }
    }
}
