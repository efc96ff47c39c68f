//! Time on its way from a publisher's camera to a viewer's screen.
//!
//! Three clocks meet: the publisher's NTP, the origin's wall and the viewing node's wall. The origin maps the first
//! onto the second with *one* offset for each publisher session, so that audio and video never drift apart by what
//! each of them guessed; relays carry the result as capture time; the viewing node maps that onto its own wall with
//! one offset for each stream generation, and writes it into its sender reports. Lip sync is what is left: both
//! tracks of a stream go through the same two offsets.

mod filter;
mod publisher;
mod time;
mod view;

pub use filter::Verdict;
pub use publisher::{PublisherClock, TrackClock};
pub(super) use time::ticks_to_micros;
pub use time::{NtpTime, Wall};
pub use view::{ReportPoint, Skew, ViewClock};

#[cfg(test)]
mod tests;
