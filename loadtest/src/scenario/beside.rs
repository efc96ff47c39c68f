//! Who is there beside viewers by WHEP: viewers of HLS, and those who chat.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Arrival;
use crate::units;

/// Who watches by HLS.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Hls {
    /// The playlist, of variants or of segments; `{i}` stands for a publisher's number. Empty: nobody watches by HLS.
    pub url: String,
    /// How many; without it ten if there is a playlist.
    pub viewers: Option<u32>,
    /// When they come.
    #[serde(deserialize_with = "arrival")]
    pub arrival: Arrival,
    /// Hosts beside the playlist's own that may be asked, as `HOST` or `HOST:PORT`.
    pub allow_hosts: Vec<String>,
    /// The environment variable that holds their bearer token.
    pub token_env: String,
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            url: String::new(),
            viewers: None,
            arrival: Arrival::Ramp(50.0),
            allow_hosts: Vec::new(),
            token_env: "FRESHET_LOADTEST_HLS_TOKEN".to_owned(),
        }
    }
}

/// Who chats.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Chat {
    /// The room, `…/v1/rooms/{room}`; `{i}` stands for its number. Without it that of the viewers, or of the publishers.
    pub url: Option<String>,
    /// Rooms that `{i}` counts; without it as many as there are publishers.
    pub rooms: Option<u32>,
    /// How many, all rooms together; without it ten if there is a URL, else none.
    pub clients: Option<u32>,
    /// Messages a second in each room, of all its clients together.
    #[serde(deserialize_with = "rate")]
    pub rate: f64,
    /// When they come.
    #[serde(deserialize_with = "arrival")]
    pub arrival: Arrival,
    /// The environment variable that holds their bearer tokens, with blanks between them.
    pub token_env: String,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            url: None,
            rooms: None,
            clients: None,
            rate: 1.0,
            arrival: Arrival::Ramp(50.0),
            token_env: "FRESHET_LOADTEST_CHAT_TOKEN".to_owned(),
        }
    }
}

fn arrival<'de, D: Deserializer<'de>>(from: D) -> Result<Arrival, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    units::rate(&String::deserialize(from)?).map_err(D::Error::custom)
}
