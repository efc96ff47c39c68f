//! The door of media sessions: who asks, which node takes it, and the request handed on unchanged.
//!
//! The coordinator ends no media and keeps no session. WHIP and WHEP are placed and proxied; a session's URL names
//! node and incarnation, so that any coordinator finds it without a look-up.

pub mod call;
pub mod events;
pub mod health;
pub mod join;
mod onward;
pub mod publishing;
pub mod roster;
pub mod session;
