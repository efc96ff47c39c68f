//! What viewers of HLS saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Percentiles;

/// What viewers of HLS saw, all together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HlsReport {
    /// The playlist, as it was named.
    pub url: String,
    /// Viewers of the plan.
    pub wanted: u64,
    /// Those that played something.
    pub played: u64,
    /// Those that came and never played.
    pub failed: u64,
    /// Why, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Playlists that were read.
    pub playlists: u64,
    /// Those of them that brought nothing new.
    pub unchanged: u64,
    /// Whole segments that came.
    pub segments: u64,
    /// Parts that came.
    pub parts: u64,
    /// Segments and parts that could not be had, and were passed over.
    pub missing: u64,
    /// Segments and parts that playlists said are not there.
    pub gaps: u64,
    /// Announced parts that were fetched and not listed then.
    pub hints_wasted: u64,
    /// Jumps to near the live edge, because the playlist no longer had what was next.
    pub jumps: u64,
    /// Bytes of media.
    pub bytes: u64,
    /// Bits of media a second, over the whole run.
    pub bits_per_second: u64,
    /// Requests that went wrong, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Times that `Retry-After` was obeyed.
    pub retries_obeyed: u64,
    /// How often players stood still because nothing was left.
    pub stalls: u64,
    /// How long together.
    pub stalled_ms: f64,
    /// The longest stall of each viewer that played.
    pub longest_stall_ms: Option<Percentiles>,
    /// From when a viewer was due until it played.
    pub start_ms: Option<Percentiles>,
    /// From when a segment or part was captured until it was played.
    pub latency_ms: Option<Percentiles>,
    /// From when the last of it was captured until it was here.
    pub edge_ms: Option<Percentiles>,
    /// From the request for it to its last byte.
    pub fetch_ms: Option<Percentiles>,
    /// The longest that each viewer's playlist stayed as it was.
    pub unchanged_ms: Option<Percentiles>,
}

impl HlsReport {
    /// Requests that went wrong.
    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Viewers of HLS in one second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HlsSecond {
    /// Viewers that play, at its end.
    pub playing: u64,
    /// Viewers that came and have not begun to play, at its end.
    pub joining: u64,
    /// Viewers that will not begin any more, so far.
    pub failed: u64,
    /// Stalls that began in it.
    pub stalls: u64,
    /// From when what began to be played in it was captured until it was played.
    pub latency_ms: Option<Percentiles>,
}
