//! How large an audience a server holds within its bounds, found by bisection. Pure.

mod model;
mod page;
mod search;
mod words;

pub use model::{CAPACITY_SCHEMA, CapacityReport, StepReport, Verdicts};
pub use page::html;
pub use search::{Found, Limits, Outcome, Search, Step};
pub use words::{markdown, row, summary, table_head};
