//! One run on many machines: a coordinator publishes and judges, agents watch. They meet on NATS.
//!
//! The coordinator calls until enough agents have answered and gives each its share of the seats. An agent asks for the
//! coordinator's clock, prepares its share, and says that it is ready. All begin at one time by that clock. Each second
//! an agent tells all that it has counted so far, so that of one that is lost nothing is lost but what came later. In
//! the end it counts once more, knowing what was sent.

mod chunks;
mod clocks;
mod field;
mod gather;
mod message;
mod offset;
mod post;
mod serve;
mod work;

use std::time::Duration;

pub use field::Field;
pub use gather::{Wanted, gather};
pub use message::Brief;
pub use serve::serve;

/// Who is not heard for so long is lost.
const LOST: Duration = Duration::from_secs(5);
/// Everybody says so often that they are there.
const BEAT: Duration = Duration::from_secs(1);

/// Why agents cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentsError {
    /// NATS is away, or takes nothing.
    #[error("NATS cannot be used: {0}")]
    Nats(String),
    /// Fewer than were asked for.
    #[error(
        "{found} of {wanted} agents answered within {within:?}{}: start the others with freshet-loadtest agent",
        also(refused)
    )]
    TooFew {
        /// Agents that were asked for.
        wanted: u32,
        /// Agents that answered.
        found: usize,
        /// For how long they were called.
        within: Duration,
        /// Those that answered and cannot be used.
        refused: Vec<String>,
    },
    /// An agent will not do its share.
    #[error("agent {agent} refuses: {why}")]
    Refused {
        /// Its name.
        agent: String,
        /// What it said.
        why: String,
    },
    /// An agent answered and then did not get ready.
    #[error("agent {agent} did not get ready within {within:?}")]
    NotReady {
        /// Its name.
        agent: String,
        /// For how long it was waited for.
        within: Duration,
    },
    /// This host refused something.
    #[error("{0}")]
    Host(String),
}

fn also(refused: &[String]) -> String {
    refused.iter().map(|refused| format!("; {refused}")).collect()
}
