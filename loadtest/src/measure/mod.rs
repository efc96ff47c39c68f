//! What a viewer saw: loss, order, damage, latency, gaps. Machines of fixed memory.

mod carried;
mod gaps;
mod header;
mod histogram;
mod latencies;
mod order;
mod remaking;
mod resent;
mod skew;
mod track;
mod window;
mod wire;

pub use gaps::{FREEZE, Gaps};
pub use header::{Headed, HeaderMeter, Opened};
pub use histogram::{Histogram, NotAHistogram};
pub use latencies::{Latencies, Summary};
use remaking::Remaking;
pub(crate) use skew::mean_ms;
pub use skew::{Captured, SkewMeter, SkewReport};
pub use track::{Observed, Segment, TrackMeter, TrackReport};
pub use window::{Arrival, IndexWindow};
pub use wire::{RtpHead, RtpPeek, WireMeter};
