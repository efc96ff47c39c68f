//! Commands beside a single run.

mod agent;
mod capacity;
mod together;

pub use agent::agent;
pub use capacity::capacity;
pub use together::{brief, drive};
