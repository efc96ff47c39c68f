//! Many publishers and viewers at once: a plan and its run.

mod acts;
mod audience;
mod beside;
mod crowd;
mod engine;
mod exposed;
mod files;
mod host;
mod metrics;
mod plan;
mod progress;
mod promise;
mod pulse;
mod real;
mod rejoin;
mod samples;
mod server;
mod tally;
mod timeline;

pub use beside::{BesideAccess, BesidePlan, ChatPlan, HlsPlan};
pub(crate) use crowd::{Crowd, Look};
pub use engine::{run, run_with_agents};
pub use exposed::{Exposed, listen_address};
pub(crate) use files::enough_files;
pub(crate) use host::{CpuMeter, Drops};
pub use metrics::ServerMetrics;
pub use plan::{Access, MAX_PROCESSES, PlanError, RunPlan, Seat};
pub use progress::{Progress, Sums, progress_line};
pub(crate) use pulse::{Pulse, VIEWERS};
pub use real::Media;
pub(crate) use samples::check_decoder;
pub(crate) use tally::{Tally, Truth};

/// Why a run could not be made or measured nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan is impossible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A publisher could not connect, so there is nothing to watch.
    #[error("publisher {number} could not connect: {error}")]
    Publisher {
        /// Its number, from 0.
        number: u32,
        /// What happened.
        error: crate::client::ClientError,
    },
    /// A file of media cannot be sent.
    #[error("{file} cannot be sent: {why}")]
    Media {
        /// Which.
        file: String,
        /// Why not.
        why: String,
    },
    /// The WHEP endpoint cannot be used.
    #[error("the viewers' endpoint cannot be used: {0}")]
    Endpoint(crate::client::ClientError),
    /// No viewer connected.
    #[error("none of {viewers} viewers connected; most often: {reason}")]
    NoViewer {
        /// Viewers that tried.
        viewers: u32,
        /// The most frequent reason.
        reason: String,
    },
    /// Nobody of those beside viewers by WHEP got in.
    #[error("none of {wanted} {who}; most often: {reason}")]
    Nobody {
        /// Who, and what they did not do.
        who: &'static str,
        /// Those who tried.
        wanted: u64,
        /// The most frequent reason.
        reason: String,
    },
    /// This host refused something.
    #[error("{0}")]
    Host(String),
    /// The time limit was reached while sessions were still being opened or closed.
    #[error("the time limit of {0:?} was reached")]
    TimeLimit(std::time::Duration),
}
