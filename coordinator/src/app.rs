//! What the handlers of one coordinator share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_cluster::{Identity, RoomId};
use freshet_edge::Door;
use freshet_edge::rate::Buckets;

use crate::events::hub::Hubs;
use crate::gateway::call::NodeClient;
use crate::gateway::join::Gateway;
use crate::gateway::publishing::Nobody;
use crate::gateway::roster::Roster;
use crate::shell::state::State;

/// Senders of chat that are remembered.
const CHAT_SENDERS: usize = 20_000;

/// State, gateway and hubs.
pub struct App {
    gateway: Gateway,
    hubs: Arc<Hubs>,
    chat: Mutex<Buckets<(RoomId, Identity)>>,
}

impl App {
    /// Puts them together.
    pub fn new(state: Arc<State>, door: Door) -> Self {
        let client = NodeClient::new(state.config.cluster_secret.clone(), state.config.public_url.clone());
        let chat = Mutex::new(Buckets::new(state.config.chat, CHAT_SENDERS));
        let hubs = Hubs::new(Arc::clone(&state));
        let roster = Roster::new(Arc::clone(&state), client.clone());
        Self { gateway: Gateway { state, client, door, nobody: Nobody::default(), roster }, hubs, chat }
    }

    /// The shared state.
    pub fn state(&self) -> &Arc<State> {
        &self.gateway.state
    }

    /// Joins and sessions.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The sessions of rooms.
    pub fn roster(&self) -> &Roster {
        &self.gateway.roster
    }

    /// Where requests come from, and how often they may.
    pub fn door(&self) -> &Door {
        &self.gateway.door
    }

    /// Room events.
    pub fn hubs(&self) -> &Arc<Hubs> {
        &self.hubs
    }

    /// Lets one chat post through, or says how long to wait.
    pub fn take_chat_token(&self, room: &RoomId, from: &Identity, now: Instant) -> Result<(), Duration> {
        let mut chat = self.chat.lock().unwrap_or_else(PoisonError::into_inner);
        chat.take((room.clone(), from.clone()), now)
    }
}
