//! Plots as SVG, without a script and without anything to fetch.
//!
//! The outer element has no view box: its places are shares of a width that the page decides, so words stay as large
//! as the page's on a telephone too. Only lines and bars lie in an inner one that is stretched.

mod axis;
mod frame;
mod lines;
mod spread;

pub use axis::Unit;
pub use frame::Mark;
pub use lines::{Lines, Series, Side};
pub use spread::Spread;
