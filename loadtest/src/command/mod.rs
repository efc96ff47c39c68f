//! Commands beside a single run.

mod agent;
mod together;

pub use agent::agent;
pub use together::{brief, drive};
