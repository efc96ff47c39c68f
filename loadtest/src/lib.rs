//! A load harness for any WHIP and WHEP server.
//!
//! Publishers send synthetic media whose every packet carries who sent it, its number, when it was captured and a fill
//! that follows from them; viewers are whole WebRTC sessions that check each of these. So loss, order, corruption and
//! latency from capture to arrival are measured, not guessed from counters of the server.
//!
//! - [`client`]: a WHIP [`client::Publisher`] and a WHEP [`client::Viewer`], also used by whole-cluster tests.
//! - [`hls`]: viewers of HLS, with a player's buffer and stalls.
//! - [`chat`]: clients of a room's chat.
//! - [`media`]: the stamped media.
//! - [`measure`]: what a viewer saw, and histograms of fixed memory that merge.
//! - [`scenario`]: what is to be run, as people write it.
//! - [`path`]: a bad network between a client and its server.
//! - [`run`]: many of them at once.
//! - [`agents`]: one run on many machines.
//! - [`capacity`]: the largest audience that keeps the bounds.
//! - [`report`]: what a run found, for machines and for people, and the bounds that judge it.
//! - [`units`]: what people write: `2M`, `30s`, `1%`.
//!
//! Only [`chat`] knows Freshet: whatever serves RFC 9725, the WHEP draft or HLS can be the other side of all else.

pub mod agents;
pub mod capacity;
pub mod chat;
pub mod client;
pub mod clock;
pub mod hls;
pub mod measure;
pub mod media;
mod num;
pub mod path;
pub mod report;
pub mod run;
pub mod scenario;
pub mod units;
