//! What the benches share: the floor, sinks, the stream that is sent, a shard with clients, a live one with a crowd, clocks and tables.

pub mod allocations;
pub mod awake;
pub mod client;
pub mod crowd;
pub mod feedback;
pub mod floor;
pub mod joiners;
pub mod live;
pub mod measure;
pub mod plot;
pub mod pulse;
pub mod report;
pub mod sinks;
pub mod stage;
pub mod trace;

/// What one run is asked for.
pub struct Settings {
    /// Sizes and repetitions that only show that it works.
    pub quick: bool,
}

impl Settings {
    /// The full size, or the one of a quick run.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
