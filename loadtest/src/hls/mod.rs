//! Viewers of HLS: playlists, segments and parts, fetched and played as a player would.

mod fetch;
pub mod player;
pub mod playlist;
mod tags;
pub mod track;
mod viewer;

pub use player::{Player, PlayerReport};
pub use viewer::{HlsConfig, HlsSeen, HlsViewer};
