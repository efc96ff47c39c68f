//! A load harness for any WHIP and WHEP server.
//!
//! Publishers send synthetic media whose every packet carries who sent it, its number, when it was captured and a fill
//! that follows from them; viewers are whole WebRTC sessions that check each of these. So loss, order, corruption and
//! latency from capture to arrival are measured, not guessed from counters of the server.
//!
//! - [`client`]: a WHIP [`client::Publisher`] and a WHEP [`client::Viewer`], also used by whole-cluster tests.
//! - [`media`]: the stamped media.
//! - [`measure`]: what a viewer saw, and histograms of fixed memory that merge.
//! - [`run`]: many of them at once, bounds that make the exit status, and the report.
//!
//! Nothing here knows Freshet: whatever serves RFC 9725 and the WHEP draft can be the other side.

pub mod client;
pub mod clock;
pub mod measure;
pub mod media;
mod num;
pub mod run;
