//! What is to be run, as people write it: a file of TOML, or the command line. Pure: randomness is a seed.

mod arrival;
mod beside;
mod chance;
mod event;
mod file;
mod rooms;
mod series;
mod stay;

pub use arrival::Arrival;
pub use beside::{Chat, Hls};
pub use event::{Act, Call, Event, Impairment};
pub use file::{Climb, Codec, Mode, Publishers, Scenario, ScenarioError, Server, Turn, Viewers, expand};
pub use rooms::Rooms;
pub use series::Selector;
pub use stay::Stay;

pub use chance::Chance;
