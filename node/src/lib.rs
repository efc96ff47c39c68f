//! The SFU: sessions, rings, forwarding, relay links.
//!
//! A packet's way: `socket` → `shard` → `peer` (publisher) → `media::ring` → `forward` → `socket`; to another node
//! `media::ring` → `quic`, and there `quic` → *the same* `media::ring`. Two doors, one hallway.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)
)]

pub mod agent;
pub mod audience;
pub mod book;
pub mod control;
pub mod forward;
pub mod http;
pub mod link;
pub mod media;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod quic;
pub mod service;
pub mod session;
pub mod sfu;
pub mod shard;
pub mod socket;
pub mod switchboard;

pub use node::{Node, NodeConfig, StartError};
