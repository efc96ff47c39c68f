//! Clients of a room's chat: messages that say which they are, and listeners that count them.
//!
//! The one part of the harness that knows Freshet: its chat is an API of its own (docs/api.md, "Room events").

mod client;
pub mod ledger;
pub mod sse;

pub use client::{ChatClient, ChatConfig, ChatSeen};
